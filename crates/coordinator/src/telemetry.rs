//! Logs, metrics and health, all local. Metrics carry no label that names a key or a caller.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{net::TcpListener, sync::Semaphore};
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::LogFormat;

/// Connections to the local address at a time.
const MAX_CONNECTIONS: usize = 64;

const SECONDS: [f64; 12] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The recorder cannot be installed.
    #[error("collect metrics")]
    Recorder(#[from] BuildError),
    /// The address cannot be listened on.
    #[error("listen on {address} for metrics")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Starts logging to standard error; `RUST_LOG` chooses what.
pub fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false);
    // A second start in one process keeps the first.
    let _started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Whether the coordinator is well: its threads run and enough nodes are connected.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<AtomicBool>);

impl Health {
    /// Tells how things are.
    pub fn set(&self, well: bool) {
        self.0.store(well, Ordering::Relaxed);
    }

    /// How things are.
    pub fn is_well(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

fn recorder() -> Result<PrometheusHandle, BuildError> {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = RECORDER.get() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()?;
    Ok(RECORDER.get_or_init(|| handle).clone())
}

/// Serves `/metrics` and `/healthz`; the answer is where.
///
/// # Errors
///
/// When the address cannot be used.
pub async fn serve(address: SocketAddr, health: Health) -> Result<SocketAddr, TelemetryError> {
    let handle = recorder()?;
    let failed = |source| TelemetryError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tokio::spawn(accept(listener, handle, health));
    Ok(bound)
}

async fn accept(listener: TcpListener, handle: PrometheusHandle, health: Health) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let (handle, health) = (handle.clone(), health.clone());
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let response = respond(request.method(), request.uri().path(), &handle, &health);
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

fn respond(
    method: &Method,
    path: &str,
    handle: &PrometheusHandle,
    health: &Health,
) -> Response<Full<Bytes>> {
    let (status, body) = match (method, path) {
        (&Method::GET, "/metrics") => {
            handle.run_upkeep();
            (StatusCode::OK, handle.render())
        }
        (&Method::GET, "/healthz") if health.is_well() => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET, "/healthz") => (
            StatusCode::SERVICE_UNAVAILABLE,
            "too few nodes are connected\n".to_owned(),
        ),
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
    use super::*;

    #[test]
    fn health_is_told_as_it_is_and_nothing_else_is_served() {
        let handle = recorder().unwrap();
        let health = Health::default();
        let status = |method: Method, path: &str| respond(&method, path, &handle, &health).status();
        assert_eq!(
            status(Method::GET, "/healthz"),
            StatusCode::SERVICE_UNAVAILABLE
        );

        health.set(true);

        assert_eq!(status(Method::GET, "/healthz"), StatusCode::OK);
        assert_eq!(status(Method::GET, "/metrics"), StatusCode::OK);
        assert_eq!(status(Method::GET, "/"), StatusCode::NOT_FOUND);
        assert_eq!(status(Method::POST, "/metrics"), StatusCode::NOT_FOUND);
    }
}
