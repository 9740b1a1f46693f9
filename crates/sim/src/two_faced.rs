//! A coordinator that shows one key of a name to some clients and another to the others.
//!
//! Two desks play it. Each keeps from its process what the other's committee holds, so that it
//! shows its clients the key of its own committee; and each brings commands that the other was
//! given before its own nodes.

use quorate_model::{
    command::SignedCommand,
    node_api::{NodeReply, NodeRequest},
};
use rand_chacha::ChaCha8Rng;

use crate::faults::happens;

/// Of 1000 requests for shares, how many carry a command that the other desk was given.
const CROSSED: u32 = 250;

/// What two desks need to know to play one coordinator with two faces.
pub(crate) struct TwoFaced {
    committees: [Vec<usize>; 2],
    /// The last command that each desk had signed.
    given: [Option<SignedCommand>; 2],
    crosses: bool,
}

impl TwoFaced {
    /// Splits the nodes into two committees.
    pub(crate) fn new(nodes: usize) -> Self {
        let half = nodes / 2;
        Self {
            committees: [(0..half).collect(), (half..nodes).collect()],
            given: [None, None],
            crosses: true,
        }
    }

    /// The nodes of the key that each desk shows.
    pub(crate) fn committees(&self) -> &[Vec<usize>; 2] {
        &self.committees
    }

    /// From here on every command goes to the nodes that it is for. What was hidden stays hidden.
    pub(crate) fn stop(&mut self) {
        self.crosses = false;
    }

    /// What is made of a request of a desk on its way to a node.
    pub(crate) fn relay(
        &mut self,
        rng: &mut ChaCha8Rng,
        desk: usize,
        mut request: NodeRequest,
    ) -> NodeRequest {
        let NodeRequest::SignShares { requests } = &mut request else {
            return request;
        };
        if let Some(first) = requests.first_mut() {
            self.given[desk] = Some(first.command.clone());
            if let Some(other) = &self.given[1 - desk]
                && self.crosses
                && happens(rng, CROSSED)
            {
                first.command = other.clone();
            }
        }
        request
    }

    /// What a desk's process hears of what a node says.
    pub(crate) fn hears(&self, desk: usize, node: usize, reply: NodeReply) -> NodeReply {
        match reply {
            NodeReply::Keys(_) if !self.committees[desk].contains(&node) => {
                NodeReply::Keys(Vec::new())
            }
            reply => reply,
        }
    }
}
