//! The gateway on a socket: connections at a time, headers in time, and an end without cutting
//! what is under way.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};

use super::{
    GatewayError, cluster::Cluster, config::GatewayConfig, http::app, methods::Gateway,
    upstream::Upstream,
};

/// How long the headers of a request may take, and how long a connection may do nothing.
const HEADERS: Duration = Duration::from_mins(1);

/// A gateway that listens.
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    /// Ends when the last request has been answered after a stop.
    pub done: JoinHandle<()>,
}

/// Listens, until told to stop.
///
/// # Errors
///
/// When the token cannot be read or the address cannot be used.
pub async fn serve<C: Cluster, U: Upstream>(
    config: &GatewayConfig,
    gateway: Gateway<C, U>,
    stop: watch::Receiver<bool>,
) -> Result<Listening, GatewayError> {
    let app = app(config, gateway)?;
    let listen = |source| GatewayError::Listen {
        address: config.listen,
        source,
    };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    if !address.ip().is_loopback() {
        let protection = if config.token_file.is_some() {
            "callers show a token, which travels in clear: put TLS in front of it"
        } else {
            "WHOEVER CONNECTS MAY SIGN: set a token_file"
        };
        tracing::warn!(
            peer = %address,
            reason = protection,
            "the gateway listens where other machines can connect"
        );
    }
    let room = Arc::new(Semaphore::new(
        config.max_connections.min(Semaphore::MAX_PERMITS),
    ));
    let done = tokio::spawn(accept(listener, app, room, stop));
    Ok(Listening { address, done })
}

async fn accept(
    listener: TcpListener,
    app: Router,
    room: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await.ok()?;
            let stream = listener.accept().await;
            Some((stream, permit))
        };
        let (stream, permit) = tokio::select! {
            accepted = accepted => match accepted {
                Some((Ok((stream, _)), permit)) => (stream, permit),
                Some((Err(_), _)) => {
                    // Too many files are open, as a rule.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                None => break,
            },
            () = stopped(&mut stop) => break,
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A caller that hangs up is its own business.
            let _served = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever would say so may be gone, which says the same.
    let _stopped = stop.wait_for(|stop| *stop).await;
}
