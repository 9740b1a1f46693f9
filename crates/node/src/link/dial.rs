//! One link: dial, serve, wait, again.

use std::{
    convert::Infallible,
    error::Error,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use quorate_proto::limits::node_call;
use rand_core::{OsRng, RngCore as _};
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::Service as _;

use super::{LinkPolicy, Target, room::Room};
use crate::service::{HandleRequests, NodeGrpc, within};

// Requests of a batch are megabytes at times; a link carries many of them at once. What arrives
// before there is room for its request waits within the connection's window.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
pub(super) const MAX_REQUESTS_AT_A_TIME: u32 = 128;

// A round of ECDSA is tens of kilobytes; in fewer pieces it wakes fewer tasks on its way.
pub(super) const FRAME_BYTES: u32 = 32 << 10;

/// Why a connection came to nothing or ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("connect to {address}")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("shake hands with {address}")]
    Handshake {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("no connection to {address} in time")]
    TimedOut { address: String },
    #[error("the connection broke")]
    Broken(#[source] hyper::Error),
    #[error("the coordinator closed the connection")]
    Closed,
}

/// Keeps one link until `stop` becomes true, then lets requests under way finish.
pub async fn keep_linked<H: HandleRequests>(
    target: Target,
    policy: LinkPolicy,
    handler: Arc<H>,
    mut stop: watch::Receiver<bool>,
) {
    let mut failures: u32 = 0;
    while !*stop.borrow() {
        let attempt = Attempt {
            target: &target,
            policy,
            handler: &handler,
        };
        let start = Instant::now();
        let Some((served, ended)) = attempt.run(&mut stop).await else {
            return;
        };
        failures = if served {
            0
        } else {
            failures.saturating_add(1)
        };
        report(&target, failures, &ended, start);
        let delay = policy
            .backoff
            .delay(failures.saturating_sub(1), OsRng.next_u32());
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// Ends when the node goes down, also when whoever would say so is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A person looks once, not at every attempt.
fn report(target: &Target, failures: u32, ended: &Ended, start: Instant) {
    let elapsed_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let reason = chain(ended);
    if failures <= 1 {
        tracing::warn!(peer = %target.id, reason, elapsed_ms, "link is down");
    } else {
        tracing::debug!(peer = %target.id, reason, elapsed_ms, "link stays down");
    }
}

/// An error with its causes, once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// One attempt at a connection, and what is served on it.
struct Attempt<'a, H> {
    target: &'a Target,
    policy: LinkPolicy,
    handler: &'a Arc<H>,
}

impl<H: HandleRequests> Attempt<'_, H> {
    /// Tells whether the coordinator ever asked anything, and why the connection ended; nothing
    /// when the node goes down.
    async fn run(&self, stop: &mut watch::Receiver<bool>) -> Option<(bool, Ended)> {
        let connected = tokio::select! {
            connected = timeout(self.policy.connect_timeout, self.connect()) => connected,
            () = stopped(stop) => return None,
        };
        let address = || self.target.address.clone();
        match connected {
            Ok(Ok(stream)) => self.serve(stream, stop).await,
            Ok(Err(ended)) => Some((false, ended)),
            Err(_) => Some((false, Ended::TimedOut { address: address() })),
        }
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, Ended> {
        let address = || self.target.address.clone();
        let connect = |source| Ended::Connect {
            address: address(),
            source,
        };
        let tcp = TcpStream::connect(&self.target.address)
            .await
            .map_err(connect)?;
        tcp.set_nodelay(true).map_err(connect)?;
        TlsConnector::from(Arc::clone(&self.target.tls))
            .connect(quorate_pinning::server_name(), tcp)
            .await
            .map_err(|source| Ended::Handshake {
                address: address(),
                source,
            })
    }

    async fn serve(
        &self,
        stream: TlsStream<TcpStream>,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<(bool, Ended)> {
        let peer = &self.target.id;
        let grpc = NodeGrpc::new(Arc::clone(self.handler), peer.clone()).into_server();
        // The coordinator judges the node's key after the handshake is over on this side, so a
        // link counts as up only once the coordinator asks something.
        let served = Arc::new(AtomicBool::new(false));
        let room = Room::of_a_link();
        let service = service_fn(|request: hyper::Request<Incoming>| {
            if !served.swap(true, Ordering::Relaxed) {
                tracing::info!(peer = %peer, "link is up");
            }
            let limits = node_call(request.uri().path());
            let (mut grpc, room) = (within(grpc.clone(), limits), room.clone());
            async move {
                let taken = room.take(limits).await;
                let response = answer(grpc.call(request).await);
                // The answer takes its room until it has been sent.
                Ok::<_, Infallible>(response.map(|body| {
                    body.map_frame(move |frame| {
                        let _ = &taken;
                        frame
                    })
                }))
            }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(self.policy.keep_alive_interval)
            .keep_alive_timeout(self.policy.keep_alive_timeout)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .max_concurrent_streams(MAX_REQUESTS_AT_A_TIME)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped(stop) => {
                connection.as_mut().graceful_shutdown();
                let drained = timeout(self.policy.drain_timeout, connection).await;
                let reason = if drained.is_ok() { "drained" } else { "drained too slowly" };
                tracing::info!(peer = %peer, reason, "link is closed");
                return None;
            }
        };
        let ended = ended.map_or_else(Ended::Broken, |()| Ended::Closed);
        Some((served.load(Ordering::Relaxed), ended))
    }
}

/// The generated service never fails: refusals are answers.
fn answer<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests;
