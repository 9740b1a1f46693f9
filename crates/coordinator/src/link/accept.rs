//! The listener for nodes.

use std::{
    error::Error,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use quorate_model::NodeId;
use quorate_pinning::{PinningError, TlsIdentity};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    FindNode, LinkEvent, LinkPolicy, call,
    registry::{Admission, Registry},
};

// Answers of a batch are megabytes at times; a link carries many of them at once.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

// A round of ECDSA is tens of kilobytes; in fewer pieces it wakes fewer tasks on its way.
const FRAME_BYTES: u32 = 32 << 10;

/// The pause after an error of the listener itself, most likely that no file descriptor is free.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
enum Rejected {
    #[error("shake hands")]
    Handshake(#[source] io::Error),
    #[error("shake hands in time")]
    TimedOut,
    #[error("the TLS key is no node's any more")]
    Stranger,
    #[error("speak HTTP/2")]
    Http(#[source] hyper::Error),
    #[error("the node does not say which process it is")]
    Silent,
    #[error("another process answers for the same node: two machines have one identity")]
    Duplicate,
    #[error("other connections of the same node wait already")]
    Crowded,
}

/// Accepts nodes until `stop` becomes true, then closes all links.
///
/// Only keys for which `find` names a node get past the handshake. Strangers cost a bounded number
/// of connections at a time.
pub async fn accept_nodes(
    listener: TcpListener,
    identity: &TlsIdentity,
    find: FindNode,
    policy: LinkPolicy,
    events: mpsc::Sender<LinkEvent>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), PinningError> {
    let known = Arc::clone(&find);
    let tls =
        quorate_pinning::server_config(identity, Arc::new(move |hash| known(hash).is_some()))?;
    let door = Arc::new(Door {
        tls: TlsAcceptor::from(Arc::new(tls)),
        find,
        policy,
        registry: Registry::new(policy.probe_timeout, events),
    });
    let half_open = Arc::new(Semaphore::new(policy.max_half_open));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = accept(&listener, &half_open) => match accepted {
                Ok((stream, permit)) => {
                    connections.spawn(Arc::clone(&door).host(stream, permit));
                }
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    tracing::error!(reason = %error, "accept a connection of a node");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stopped(&mut stop) => return Ok(()),
        }
    }
}

/// Ends when the coordinator goes down, also when whoever would say so is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Takes the next connection once it may take a place among the half-open ones.
async fn accept(
    listener: &TcpListener,
    half_open: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(half_open)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// Whether a peer gave up before it was accepted, which says nothing about the listener.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// What every connection goes through.
struct Door {
    tls: TlsAcceptor,
    find: FindNode,
    policy: LinkPolicy,
    registry: Registry,
}

impl Door {
    async fn host(self: Arc<Self>, stream: TcpStream, permit: OwnedSemaphorePermit) {
        let start = Instant::now();
        let address = stream
            .peer_addr()
            .map_or_else(|_| String::new(), |peer| peer.to_string());
        let shaken = timeout(self.policy.handshake_timeout, self.shake_hands(stream)).await;
        let (node, rejected) = match shaken.unwrap_or(Err(Rejected::TimedOut)) {
            Ok((node, stream)) => {
                let rejected = self.link(&node, stream, permit).await.err();
                (Some(node), rejected)
            }
            Err(rejected) => (None, Some(rejected)),
        };
        if let Some(rejected) = rejected {
            let elapsed_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            let node = node.as_ref().map(NodeId::as_str);
            let reason = chain(&rejected);
            tracing::warn!(
                peer = address,
                node,
                reason,
                elapsed_ms,
                "connection is refused"
            );
        }
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> Result<(NodeId, TlsStream<TcpStream>), Rejected> {
        stream.set_nodelay(true).map_err(Rejected::Handshake)?;
        let stream = self.tls.accept(stream).await.map_err(Rejected::Handshake)?;
        let node = quorate_pinning::peer_key_hash(stream.get_ref().1)
            .and_then(|hash| (self.find)(&hash))
            .ok_or(Rejected::Stranger)?;
        Ok((node, stream))
    }

    /// Makes a connection the node's link and drives it until it is over or replaced.
    async fn link(
        &self,
        node: &NodeId,
        stream: TlsStream<TcpStream>,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), Rejected> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(self.policy.keep_alive_interval)
            .keep_alive_timeout(self.policy.keep_alive_timeout)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Rejected::Http)?;
        // Driven beside the judgment, and ended together with this task.
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        let admission = self
            .registry
            .admit(node.clone(), call::client(sender))
            .await;
        let (generation, replaced) = match admission {
            Admission::Admitted {
                generation,
                replaced,
            } => (generation, replaced),
            Admission::Silent => return Err(Rejected::Silent),
            Admission::Duplicate => return Err(Rejected::Duplicate),
            Admission::Crowded => return Err(Rejected::Crowded),
        };
        drop(permit);
        tracing::info!(node = %node, "link is up");
        let start = Instant::now();
        let reason = tokio::select! {
            ended = connections.join_next() => match ended {
                Some(Ok(Err(error))) => chain(&error),
                Some(Err(error)) => chain(&error),
                Some(Ok(Ok(()))) | None => "the node closed it".to_owned(),
            },
            _ = replaced => "the node connected again".to_owned(),
        };
        self.registry.remove(node, generation).await;
        let elapsed_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(node = %node, reason, elapsed_ms, "link is down");
        Ok(())
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
