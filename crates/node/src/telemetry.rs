//! Logs, metrics and health, all local.

use std::{convert::Infallible, net::SocketAddr, sync::OnceLock};

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::LogFormat;

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
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handle = handle.clone();
            tokio::spawn(async move {
                let answer = service_fn(move |request| {
                    let response = respond(&request, &handle);
                    async move { Ok::<_, Infallible>(response) }
                });
                // A scraper that hangs up is its own business.
                let _served = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    });
    Ok(Some(bound))
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
