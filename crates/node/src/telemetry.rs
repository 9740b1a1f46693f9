//! Logs, metrics and health, all local.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::{net::TcpListener, sync::Semaphore};
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::LogFormat;

/// Connections to the local address at a time.
const MAX_CONNECTIONS: usize = 64;

/// How long to wait after a connection could not be accepted.
const RETRY_ACCEPT: Duration = Duration::from_millis(100);

/// Starts logging to standard error; `RUST_LOG` chooses what.
pub fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // A second start in one process keeps the first.
    let _started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Serves `/metrics` and `/healthz` on a local address; the answer is where.
pub async fn serve(address: Option<SocketAddr>) -> Result<Option<SocketAddr>> {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let Some(address) = address else {
        return Ok(None);
    };
    let handle = if let Some(handle) = RECORDER.get() {
        handle.clone()
    } else {
        let handle = PrometheusBuilder::new()
            .install_recorder()
            .context("collect metrics")?;
        RECORDER.get_or_init(|| handle).clone()
    };
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address} for metrics"))?;
    let bound = listener
        .local_addr()
        .context("find the address of the metrics")?;
    tokio::spawn(accept(listener, handle));
    Ok(Some(bound))
}

async fn accept(listener: TcpListener, handle: PrometheusHandle) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely no file descriptor is free; the next attempt may find one.
            tokio::time::sleep(RETRY_ACCEPT).await;
            continue;
        };
        let handle = handle.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let response = respond(&request, &handle);
                async move { Ok::<_, Infallible>(response) }
            });
            // A scraper that hangs up is its own business.
            let _served = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            drop(permit);
        });
    }
}

fn respond(request: &Request<Incoming>, handle: &PrometheusHandle) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            handle.run_upkeep();
            (StatusCode::OK, handle.render())
        }
        (&Method::GET, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
        _ => (
            StatusCode::NOT_FOUND,
            "there is /metrics and /healthz\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    #[tokio::test]
    async fn metrics_and_health_are_served_to_one_after_another() {
        let address = "127.0.0.1:0".parse().unwrap();
        let bound = serve(Some(address)).await.unwrap().unwrap();

        // More than may be open at a time.
        for _ in 0..=MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(bound).await.unwrap();
            let ask = b"GET /healthz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
            stream.write_all(ask).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
}
