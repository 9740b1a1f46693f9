//! What the core knows of each node, and the calls that it has under way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ed25519_dalek::VerifyingKey;
use quorate_model::{
    Digest, KeyName, NodeId, PartyIndex, Refusal, Scheme, Signature,
    backup::RestoreId,
    bytes::Nonce32,
    identity::{BadSignature, verify_with},
    ids::{CommandId, KeyId},
    node_api::{ClockState, NodeStatus, TimeAttestation},
    operation::NodeView,
    roster::{NodeCard, PinnedRoster},
    share::ShareRequest,
};

use super::{config::Limits, event::CallId};

/// One signer's part in one attempt at one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) op: CommandId,
    pub(super) attempt: u64,
    pub(super) signer: PartyIndex,
}

/// A share request that waits for its call.
pub(super) struct Queued {
    pub(super) part: Part,
    pub(super) request: ShareRequest,
}

/// What a call is for.
pub(super) enum Purpose {
    Status {
        nonce: Nonce32,
    },
    Sync {
        /// The name after which the page begins.
        after: Option<KeyName>,
    },
    Tickets {
        scheme: Scheme,
    },
    Shares(Vec<Part>),
    /// One node's answer in one stage of a ceremony.
    Ceremony {
        key: KeyName,
        stage: u64,
    },
    /// One signer's answer in one round of a signature.
    Signing {
        session: u64,
    },
    /// One holder's answer in one round of a set-up of pairings.
    Renewal {
        id: u64,
    },
    /// Looks for the certificate of a key whose name is taken.
    Lookup {
        key: KeyName,
        stage: u64,
    },
    Validate {
        validation: u64,
    },
    /// One holder's answer to a change of state.
    State {
        op: CommandId,
    },
    /// One node's answer to a step towards the end of a key.
    Destroy {
        /// The command that waits for it, if one does.
        op: Option<CommandId>,
        key: KeyId,
        order: Digest,
    },
    /// Looks for a key that another coordinator may have created.
    Seek {
        op: CommandId,
    },
    Attest {
        suspect: NodeId,
        challenge: Nonce32,
    },
    Confirm,
    /// What a node knows of the keys, for one that was restored (P35).
    Heads {
        restored: NodeId,
        /// The restoration that was asked about; another one may have begun when the answer comes.
        restore: RestoreId,
        /// The last key of the page before.
        after: Option<KeyName>,
    },
    /// A restored node takes a page of what another one knows, or the word of the admins alone.
    Readmit {
        witness: Option<NodeId>,
        /// The command that was brought with it.
        op: Option<CommandId>,
        /// The page after which the next one begins; none after the last page.
        next: Option<KeyName>,
    },
    /// A node hears of the epoch that is in use.
    MoveUp {
        key: KeyName,
    },
    /// A node erases its shares of old epochs.
    Erase {
        keys: Vec<KeyName>,
    },
    /// A node follows a roster.
    Roster {
        roster: Digest,
    },
    /// The rosters that a node knows.
    Rosters,
    /// Told for their good; nothing depends on the answer.
    Courtesy,
}

/// A call under way.
pub(super) struct Call {
    pub(super) node: NodeId,
    pub(super) sent_us: u64,
    pub(super) overdue: bool,
    pub(super) purpose: Purpose,
}

/// Statements of time that are gathered for a node whose clock is in doubt (P43).
pub(super) struct Confirming {
    pub(super) challenge: Nonce32,
    pub(super) awaited: BTreeSet<NodeId>,
    pub(super) attestations: Vec<TimeAttestation>,
}

/// What is known of the roster that a node goes by.
#[derive(Default)]
pub(super) struct PeerRoster {
    /// The one that is in force there, as it said last.
    pub(super) hash: Option<Digest>,
    /// Whether a call about it is under way.
    pub(super) is_telling: bool,
    /// Whether it listed what is not understood before its rosters are known.
    pub(super) is_misunderstood: bool,
    /// The rosters that it knows and does not act by, because another one follows the same.
    pub(super) forked: BTreeSet<Digest>,
    /// Whether the roster in force does not list it any more: it is told so, and nothing else.
    pub(super) is_leaving: bool,
}

/// Why a node does not give its word for a restored one.
pub(super) struct HeadsRefused {
    pub(super) restore: RestoreId,
    pub(super) refusal: Refusal,
    /// When it is asked again.
    pub(super) again_ms: u64,
}

/// One node of the roster.
pub(super) struct Peer {
    pub(super) id: NodeId,
    region: String,
    identity: Option<VerifyingKey>,
    pub(super) connected: bool,
    pub(super) status: Option<NodeStatus>,
    pub(super) rtt_us: Option<u64>,
    share_us: Option<u64>,
    /// Misbehaved: left out until then.
    pub(super) left_out_until_ms: u64,
    /// Evidence proves the misbehavior; more of it says nothing new until then.
    pub(super) proven_until_ms: u64,
    /// Stalled: used only where no other can be, until then.
    pub(super) avoided_until_ms: u64,
    stalls: u32,
    /// How many calls for shares are in flight, and how many of them take too long.
    pub(super) share_calls: usize,
    pub(super) overdue_calls: usize,
    pub(super) queue: VecDeque<Queued>,
    pub(super) status_call: Option<CallId>,
    pub(super) next_status_ms: u64,
    /// Whether its keys have been listed on this link.
    pub(super) synced: bool,
    pub(super) synced_ms: u64,
    pub(super) syncing: bool,
    pub(super) confirming: Option<Confirming>,
    pub(super) roster: PeerRoster,
    /// Those whose word is on its way to this node, which was restored.
    pub(super) readmitting: BTreeSet<NodeId>,
    /// Nodes that refuse their word for the restoration it is in quarantine for.
    pub(super) heads_refused: BTreeMap<NodeId, HeadsRefused>,
}

impl Peer {
    fn new(card: &NodeCard) -> Self {
        Self {
            id: card.id.clone(),
            region: card.region.clone(),
            identity: card.identity_key.parse().ok(),
            connected: false,
            status: None,
            rtt_us: None,
            share_us: None,
            left_out_until_ms: 0,
            proven_until_ms: 0,
            avoided_until_ms: 0,
            stalls: 0,
            share_calls: 0,
            overdue_calls: 0,
            queue: VecDeque::new(),
            status_call: None,
            next_status_ms: 0,
            synced: false,
            synced_ms: 0,
            syncing: false,
            confirming: None,
            roster: PeerRoster::default(),
            readmitting: BTreeSet::new(),
            heads_refused: BTreeMap::new(),
        }
    }

    /// Checks a signature of the node.
    pub(super) fn verify(
        &self,
        digest: &Digest,
        signature: &Signature,
    ) -> Result<(), BadSignature> {
        verify_with(
            self.identity.as_ref().ok_or(BadSignature)?,
            digest,
            signature,
        )
    }

    pub(super) fn usable(&self, now_ms: u64) -> bool {
        self.connected
            && !self.roster.is_leaving
            && self.left_out_until_ms <= now_ms
            && self.overdue_calls == 0
            && !self.is_quarantined()
    }

    /// Whether the node was restored from a backup and waits to be readmitted.
    pub(super) fn is_quarantined(&self) -> bool {
        self.status
            .as_ref()
            .is_some_and(|status| status.quarantine.is_some())
    }

    /// The restoration that it is in quarantine for.
    pub(super) fn restore(&self) -> Option<RestoreId> {
        let quarantine = self.status.as_ref()?.quarantine.as_ref()?;
        Some(quarantine.restore)
    }

    /// After what delay a call for shares counts as stalled.
    pub(super) fn stall_ms(&self, limits: &Limits) -> u64 {
        let usual_us = self.share_us.or(self.rtt_us).unwrap_or(0);
        (usual_us.saturating_mul(limits.stall_factor) / 1_000)
            .clamp(limits.stall_min_ms, limits.stall_max_ms)
    }

    /// A call for shares took too long: the node is avoided, the longer the more often it happens.
    pub(super) fn stalled(&mut self, now_ms: u64, limits: &Limits) {
        let delay = limits.stall_min_ms.saturating_mul(1 << self.stalls.min(8));
        self.avoided_until_ms = now_ms.saturating_add(delay.min(30_000));
        self.stalls = self.stalls.saturating_add(1);
    }

    /// A call for shares was answered.
    pub(super) fn answered_shares(&mut self, elapsed_us: u64, in_time: bool) {
        smooth(&mut self.share_us, elapsed_us);
        if in_time {
            self.stalls = 0;
            self.avoided_until_ms = 0;
        }
    }

    pub(super) fn answered_status(&mut self, elapsed_us: u64) {
        smooth(&mut self.rtt_us, elapsed_us);
    }

    /// Orders nodes for selection: those that are avoided last, then by how much they have to do,
    /// then by latency. Both are coarse, so that nodes that are about equal keep their order and
    /// batches at the chosen ones stay large.
    pub(super) fn rank(&self, now_ms: u64) -> (bool, usize, u32) {
        let load = self.queue.len() / 512;
        let latency = self.rtt_us.unwrap_or(1_000_000).max(250).ilog2();
        (self.avoided_until_ms > now_ms, load, latency)
    }

    pub(super) fn view(&self) -> NodeView {
        let status = self.status.as_ref();
        NodeView {
            id: self.id.clone(),
            region: self.region.clone(),
            connected: self.connected,
            version: status.map(|s| s.version.clone()).unwrap_or_default(),
            latency_us: self.rtt_us.unwrap_or(0),
            journal_sequence: status.map_or(0, |s| s.journal_sequence),
            pid: status.filter(|_| self.connected).map_or(0, |s| s.pid),
            clock_confirmed: status.is_some_and(|s| s.clock == ClockState::Confirmed),
            quarantine: status.and_then(|s| s.quarantine).map(|q| q.restore),
        }
    }
}

/// An exponentially weighted average with weight 1/4 for the latest.
fn smooth(average: &mut Option<u64>, sample: u64) {
    *average = Some(match *average {
        None => sample,
        Some(old) => (old.saturating_mul(3).saturating_add(sample)) / 4,
    });
}

/// All nodes of the roster, by id.
pub(super) struct Peers(BTreeMap<NodeId, Peer>);

impl Peers {
    pub(super) fn new(pinned: &PinnedRoster) -> Self {
        Self(
            pinned
                .roster()
                .nodes
                .iter()
                .map(|card| (card.id.clone(), Peer::new(card)))
                .collect(),
        )
    }

    /// Goes by another roster: new nodes come, and removed ones stay until their links are down.
    pub(super) fn follow(&mut self, pinned: &PinnedRoster) {
        for card in &pinned.roster().nodes {
            let peer = self.0.entry(card.id.clone());
            peer.or_insert_with(|| Peer::new(card)).roster.is_leaving = false;
        }
        for (id, peer) in &mut self.0 {
            peer.roster.is_leaving = pinned.roster().node(id).is_none();
        }
        self.0
            .retain(|_, peer| !peer.roster.is_leaving || peer.connected);
    }

    /// The nodes that were removed and are still connected.
    pub(super) fn leaving(&self) -> Vec<NodeId> {
        let leaving = self.0.values().filter(|peer| peer.roster.is_leaving);
        leaving.map(|peer| peer.id.clone()).collect()
    }

    /// The nodes of the roster.
    pub(super) fn members(&self) -> Vec<NodeId> {
        let members = self.0.values().filter(|peer| !peer.roster.is_leaving);
        members.map(|peer| peer.id.clone()).collect()
    }

    pub(super) fn remove(&mut self, node: &NodeId) {
        self.0.remove(node);
    }

    /// All nodes list their keys again.
    pub(super) fn forget_synced(&mut self) {
        for peer in self.0.values_mut() {
            peer.synced = false;
        }
    }

    pub(super) fn get(&self, node: &NodeId) -> Option<&Peer> {
        self.0.get(node)
    }

    pub(super) fn get_mut(&mut self, node: &NodeId) -> Option<&mut Peer> {
        self.0.get_mut(node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.0.values().filter(|peer| !peer.roster.is_leaving)
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn connected(&self) -> Vec<NodeId> {
        self.0
            .values()
            .filter(|peer| peer.connected && !peer.roster.is_leaving)
            .map(|peer| peer.id.clone())
            .collect()
    }

    pub(super) fn is_connected(&self, node: &NodeId) -> bool {
        self.0
            .get(node)
            .is_some_and(|peer| peer.connected && !peer.roster.is_leaving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_the_samples_slowly() {
        let mut average = None;

        smooth(&mut average, 1_000);
        smooth(&mut average, 5_000);

        assert_eq!(average, Some(2_000));
    }
}
