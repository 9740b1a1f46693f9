//! Ceremonies that need a node in quarantine: it takes no part before the others have told it what it
//! may have forgotten (P35).

use std::collections::BTreeSet;

use quorate_model::{KeyName, NodeId, Reason, Refusal};

use super::{Aim, resharing::join};
use crate::core::{Core, peers::Peer};

impl Core {
    /// Whether a node is there and says that it was restored and waits to be readmitted.
    pub(super) fn is_in_quarantine(&self, node: &NodeId) -> bool {
        self.peers.is_connected(node) && self.peers.get(node).is_some_and(Peer::is_quarantined)
    }

    /// Why a ceremony cannot begin: a node that is to hold a share is in quarantine, or so many holders
    /// are that too few are left to deal.
    ///
    /// A node may wait there for days, until one that is down is back or admins speak for it, so who
    /// commands it is told at once. It is not final: the same command is judged afresh when it is
    /// submitted again (P8).
    pub(super) fn quarantined(&self, name: &KeyName) -> Option<Refusal> {
        let aim = &self.ceremonies.ops.get(name)?.aim;
        let is_quarantined = |node: &NodeId| self.is_in_quarantine(node);
        let holders = aim.holders().iter().cloned();
        let mut waiting: BTreeSet<NodeId> = holders.filter(is_quarantined).collect();
        if let Aim::Reshare(resharing) = aim {
            let roster = self.pinned.roster();
            let listed = resharing.holders().into_iter();
            let listed = listed.filter(|node| roster.node(node).is_some());
            let (back, able): (BTreeSet<NodeId>, BTreeSet<NodeId>) =
                listed.partition(is_quarantined);
            if able.len() < resharing.needed() {
                waiting.extend(back);
            }
        }
        if waiting.is_empty() {
            return None;
        }
        let nodes = join(&waiting.into_iter().collect::<Vec<_>>());
        let refusal = Refusal::new(
            Reason::NodeQuarantined,
            format!(
                "{}, and none in quarantine does, as {nodes} after a restoration: submit the same \
                 command again when the other nodes are connected and have told what was missed, \
                 have admins readmit it, or choose other nodes",
                aim.needs()
            ),
        );
        Some(refusal.with("key", name).with("node", nodes))
    }
}
