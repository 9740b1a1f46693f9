//! The links from nodes: nodes dial in, and the coordinator is the client on the connections that
//! it accepts.
//!
//! A peer is the node whose TLS key it proves to have; there is no other way in. Each node has one
//! link at a time. A second connection of a node replaces the first when that is dead or of the
//! same process; when another process answers on the first, two machines share one identity, and
//! the second is refused and reported.

mod accept;
mod call;
mod registry;

use std::{fmt, sync::Arc, time::Duration};

use quorate_model::{
    Digest, NodeId, Nonce32, Refusal,
    node_api::{NodeReply, NodeRequest, NodeStatus},
};
use rand_core::{OsRng, RngCore as _};
use tokio::time::timeout;

use crate::runtime::Rosters;

pub use accept::accept_nodes;

/// Which node has a TLS key; asked at every handshake.
pub type FindNode = Arc<dyn Fn(&Digest) -> Option<NodeId> + Send + Sync>;

/// Finds the nodes of the roster that is in force by then.
pub fn nodes_of(rosters: Rosters) -> FindNode {
    Arc::new(move |hash| {
        let pinned = rosters();
        let mut nodes = pinned.roster().nodes.iter();
        let card = nodes.find(|card| card.tls_key_hash == *hash)?;
        Some(card.id.clone())
    })
}

/// The bounds of the listener for nodes.
#[derive(Clone, Copy, Debug)]
pub struct LinkPolicy {
    /// How long a peer may take to become a link.
    pub handshake_timeout: Duration,
    /// How long a link may take to say which process it leads to.
    pub probe_timeout: Duration,
    /// How many connections may be on their way to become links.
    pub max_half_open: usize,
    /// How often a quiet link is tried.
    pub keep_alive_interval: Duration,
    /// How long a tried link may stay silent.
    pub keep_alive_timeout: Duration,
}

impl Default for LinkPolicy {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(2),
            max_half_open: 256,
            keep_alive_interval: Duration::from_secs(5),
            keep_alive_timeout: Duration::from_secs(10),
        }
    }
}

/// What happens to links. For one node, events come in the order in which things happened.
#[derive(Clone, Debug)]
pub enum LinkEvent {
    /// The node can be called.
    Up(NodeId, NodeLink),
    /// The link with this generation is over. It is told before another link of the node.
    Down(NodeId, u64),
    /// Two processes, most likely on two machines, use this node's identity at the same time.
    Duplicate {
        /// The node.
        node: NodeId,
    },
}

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The node refuses.
    #[error("the node refuses")]
    Refused(#[source] Refusal),
    /// The link broke; nobody knows whether the node acted.
    #[error("the link broke before the answer")]
    Lost,
    /// The time ran out; nobody knows whether the node acted.
    #[error("the node did not answer in time")]
    TimedOut,
}

/// A way to call one node; cheap to clone. Calls on a link that is over are [`CallError::Lost`].
#[derive(Clone)]
pub struct NodeLink {
    node: NodeId,
    generation: u64,
    client: call::Client,
}

impl NodeLink {
    /// Who is called.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// The number of this link; later links have higher ones.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Asks the node.
    pub async fn call(
        &self,
        request: NodeRequest,
        limit: Duration,
    ) -> Result<NodeReply, CallError> {
        timeout(limit, call::call(self.client.clone(), request))
            .await
            .unwrap_or(Err(CallError::TimedOut))
    }

    /// Which process answers; none when nothing sensible comes back in time.
    async fn probe(&self, limit: Duration) -> Option<NodeStatus> {
        let mut nonce = Nonce32([0; 32]);
        OsRng.fill_bytes(&mut nonce.0);
        match self.call(NodeRequest::Status { nonce }, limit).await {
            Ok(NodeReply::Status(status)) => {
                Some(status).filter(|status| status.node == self.node && status.nonce == nonce)
            }
            _ => None,
        }
    }
}

impl fmt::Debug for NodeLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeLink")
            .field("node", &self.node)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
