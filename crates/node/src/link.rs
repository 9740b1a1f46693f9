//! The links to coordinators: the node dials, proves its key, checks the coordinator's, and then
//! serves its API on the connection that it opened (ARCHITECTURE.md, "Invariants, by what is absent"). Nothing listens on a node.
//!
//! A link lives for as long as the process: whenever its connection ends it dials again, after a
//! delay that grows while the coordinator does not talk and that is never the same at two nodes.

mod backoff;
mod dial;
mod room;

use std::{future::Future, sync::Arc, time::Duration};

use quorate_model::{CoordinatorId, roster::PinnedRoster};
use quorate_pinning::{PinningError, TlsIdentity};
use tokio::{sync::watch, task::JoinSet};
use tokio_rustls::rustls::ClientConfig;
use zeroize::Zeroizing;

use crate::{config::CoordinatorAddress, sealing::NodeIdentity, service::HandleRequests};

pub use backoff::Backoff;
pub use dial::keep_linked;

/// Why a link cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The configuration names a coordinator that the roster does not list.
    #[error("coordinator \"{0}\" is not in the roster: check the configuration")]
    UnknownCoordinator(CoordinatorId),
    /// The node's TLS identity cannot be used.
    #[error("set up the link")]
    Identity(#[source] PinningError),
}

/// The times of a link.
#[derive(Clone, Copy, Debug)]
pub struct LinkPolicy {
    /// How long to wait for a connection with its handshake.
    pub connect_timeout: Duration,
    /// How often a quiet connection is tried.
    pub keep_alive_interval: Duration,
    /// How long a tried connection may stay silent.
    pub keep_alive_timeout: Duration,
    /// How long requests under way may take once the node goes down.
    pub drain_timeout: Duration,
    /// How long to wait between attempts.
    pub backoff: Backoff,
}

impl Default for LinkPolicy {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            keep_alive_interval: Duration::from_secs(5),
            keep_alive_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(5),
            backoff: Backoff {
                first: Duration::from_millis(50),
                cap: Duration::from_secs(5),
            },
        }
    }
}

/// A coordinator to dial.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its id in the roster.
    pub id: CoordinatorId,
    /// `host:port` of its listener for nodes.
    pub address: String,
    /// TLS that accepts this coordinator's key and no other.
    pub tls: Arc<ClientConfig>,
}

impl Target {
    /// A coordinator of the roster, at an address, as this node dials it.
    pub fn new(
        address: &CoordinatorAddress,
        identity: &TlsIdentity,
        pinned: &PinnedRoster,
    ) -> Result<Self, LinkError> {
        let card = pinned
            .roster()
            .coordinator(&address.id)
            .ok_or_else(|| LinkError::UnknownCoordinator(address.id.clone()))?;
        let allowed = quorate_pinning::allow([card.tls_key_hash]);
        let tls = quorate_pinning::client_config(identity, allowed).map_err(LinkError::Identity)?;
        Ok(Self {
            id: card.id.clone(),
            address: address.address.clone(),
            tls: Arc::new(tls),
        })
    }
}

/// Keeps a link to each coordinator until `stop` becomes true. The future that it returns ends
/// when all links have drained.
pub fn dial_all<H: HandleRequests>(
    coordinators: &[CoordinatorAddress],
    identity: &NodeIdentity,
    pinned: &PinnedRoster,
    handler: &Arc<H>,
    stop: &watch::Receiver<bool>,
) -> Result<impl Future<Output = ()> + use<H>, LinkError> {
    let key = Zeroizing::new(identity.tls_key.expose().to_vec());
    let identity = TlsIdentity::from_der(identity.tls_certificate.clone(), key)
        .map_err(LinkError::Identity)?;
    let targets = coordinators
        .iter()
        .map(|address| Target::new(address, &identity, pinned))
        .collect::<Result<Vec<_>, _>>()?;
    let mut links = JoinSet::new();
    for target in targets {
        let (handler, stop) = (Arc::clone(handler), stop.clone());
        links.spawn(keep_linked(target, LinkPolicy::default(), handler, stop));
    }
    Ok(async move { while links.join_next().await.is_some() {} })
}
