//! Whether a peer went back in time, or runs twice, by what it says in hellos (P35).
//!
//! A hello alone proves nothing: it may be an old one that is relayed again. It counts once its
//! sender has spoken in a session whose id holds this node's nonce, about a view that holds that
//! hello. Even then the hello may be older than the nonce, if its sender waited; so what lies behind
//! is a rollback only if another process shows it, and this node had the later proof before it drew
//! its nonce: who spoke since then came after that proof, and an honest journal only grows.
//!
//! All of it is in memory: a process that starts again has seen nothing.

use std::collections::BTreeMap;

use quorate_model::{
    NodeId, PartyIndex,
    audit::{Entry, JournalPoint, PeerRolledBack},
};
use quorate_protocol::ceremony::{HelloState, Proven};

use super::{
    Context, Fatal, NodeCore,
    budget::{Budget, ROLLBACKS},
    lock,
};
use crate::disk::Disk;

/// Where the other nodes of the roster have proven to stand.
#[derive(Default)]
pub(super) struct Seen {
    /// Counts what was learned and forgotten, in its order.
    moment: u64,
    peers: BTreeMap<NodeId, Peer>,
    /// Incidents that the operator has not been told of.
    untold: Vec<PeerRolledBack>,
}

/// When a session began, in the order of what was learned.
#[derive(Clone, Copy)]
pub(super) struct Begun(u64);

struct Peer {
    /// The highest, and when it was learned.
    highest: Option<(JournalPoint, u64)>,
    /// Sessions that began before this say nothing of the peer.
    forgotten: u64,
    /// Of each peer its own: one that fills the journal hides no other.
    incidents: Budget,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            highest: None,
            forgotten: 0,
            incidents: Budget::new(ROLLBACKS),
        }
    }
}

fn point(state: &HelloState) -> JournalPoint {
    JournalPoint {
        sequence: state.journal_sequence,
        head: state.journal_head,
        boot: state.boot_id,
    }
}

impl Seen {
    /// Taken before a session draws its nonce.
    pub(super) fn begun(&self) -> Begun {
        Begun(self.moment)
    }

    fn next(&mut self) -> u64 {
        self.moment = self.moment.saturating_add(1);
        self.moment
    }

    /// Forgets a node that was restored: it stands where its backup was made.
    pub(super) fn forget(&mut self, node: &NodeId) {
        let forgotten = self.next();
        let peer = self.peers.entry(node.clone()).or_default();
        peer.highest = None;
        peer.forgotten = forgotten;
    }

    /// Compares what a peer has proven in a session with the highest that it had proven before. Says
    /// what it had proven where the two do not go together and its budget allows to record that.
    fn judge(
        &mut self,
        node: &NodeId,
        shown: &JournalPoint,
        begun: Begun,
        now_ms: u64,
    ) -> Option<JournalPoint> {
        let now = self.next();
        let peer = self.peers.entry(node.clone()).or_default();
        if peer.forgotten > begun.0 {
            return None;
        }
        if let Some((highest, learned)) = &peer.highest {
            let differs = shown.sequence == highest.sequence && shown.head != highest.head;
            let is_behind = shown.sequence < highest.sequence
                && shown.boot != highest.boot
                && *learned <= begun.0;
            if differs || is_behind {
                let before = highest.clone();
                return peer.incidents.take(now_ms).then_some(before);
            }
            if shown.sequence <= highest.sequence {
                return None;
            }
        }
        peer.highest = Some((shown.clone(), now));
        None
    }

    /// Goes on from what a peer shows once that is on the record: it is told once, and not before.
    fn recorded(&mut self, incident: &PeerRolledBack) {
        let now = self.next();
        let peer = self.peers.entry(incident.node.clone()).or_default();
        peer.highest = Some((incident.shown.clone(), now));
        self.untold.push(incident.clone());
    }
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Judges where the others stand, by the hellos of a session that are proven to be of it, and
    /// records who went back in time. It is told to people and refused by nobody: the session, and
    /// what it is for, goes on.
    ///
    /// # Errors
    ///
    /// [`Fatal`] where the journal does not take the incident.
    pub(super) fn note_rollbacks(
        &self,
        context: &Context<'_>,
        proven: &Proven,
        node_at: impl Fn(PartyIndex) -> Option<NodeId>,
        begun: Begun,
    ) -> Result<(), Fatal> {
        let pinned = self.pinned();
        let listed = |node: &NodeId| pinned.roster().node(node).is_some();
        let now_ms = context.reading.monotonic_ms;
        let mut seen = lock(&self.seen);
        seen.peers.retain(|node, _| listed(node));
        let mut incidents = Vec::new();
        for (index, state) in &proven.states {
            let node = node_at(*index).filter(|node| *node != self.me && listed(node));
            let Some(node) = node else {
                continue;
            };
            let shown = point(state);
            if let Some(before) = seen.judge(&node, &shown, begun, now_ms) {
                incidents.push(PeerRolledBack {
                    node,
                    session: proven.session,
                    before,
                    shown,
                });
            }
        }
        drop(seen);
        self.record_rollbacks(context, &incidents)
    }

    fn record_rollbacks(
        &self,
        context: &Context<'_>,
        incidents: &[PeerRolledBack],
    ) -> Result<(), Fatal> {
        if incidents.is_empty() {
            return Ok(());
        }
        let mut state = lock(&self.state);
        let time = state.clock.elapsed(context.reading);
        let entries = incidents.iter().cloned();
        let entries = entries.map(Entry::PeerRolledBack).collect();
        // Nothing leaves this node on the strength of it, so nothing waits until it is durable.
        let _ = self.record(&mut state, time, entries)?;
        drop(state);
        let mut seen = lock(&self.seen);
        for incident in incidents {
            seen.recorded(incident);
        }
        Ok(())
    }

    /// The incidents of peers that went back in time since this was asked last.
    pub(crate) fn take_rollbacks(&self) -> Vec<PeerRolledBack> {
        std::mem::take(&mut lock(&self.seen).untold)
    }
}

#[cfg(test)]
mod tests {
    use quorate_model::Digest;

    use super::*;

    fn peer() -> NodeId {
        "node-1".parse().unwrap()
    }

    fn at(sequence: u64, boot: u8) -> JournalPoint {
        JournalPoint {
            sequence,
            head: Digest::from_slice(&[u8::try_from(sequence).unwrap(); 32]).unwrap(),
            boot: [boot; 16],
        }
    }

    /// What is found when a session that begins now ends with this.
    fn judge(seen: &mut Seen, shown: &JournalPoint) -> Option<JournalPoint> {
        let begun = seen.begun();
        judge_at(seen, (&peer(), shown), begun, 0)
    }

    /// The same in a session that began then, at a time; what is found is recorded.
    fn judge_at(
        seen: &mut Seen,
        (node, shown): (&NodeId, &JournalPoint),
        begun: Begun,
        now_ms: u64,
    ) -> Option<JournalPoint> {
        let before = seen.judge(node, shown, begun, now_ms)?;
        seen.recorded(&PeerRolledBack {
            node: node.clone(),
            session: Digest::ZERO,
            before: before.clone(),
            shown: shown.clone(),
        });
        Some(before)
    }

    #[test]
    fn another_process_behind_what_was_proven_is_a_rollback_and_is_told_once() {
        let mut seen = Seen::default();
        assert_eq!(judge(&mut seen, &at(9, 1)), None);

        assert_eq!(judge(&mut seen, &at(8, 2)), Some(at(9, 1)));
        assert_eq!(judge(&mut seen, &at(8, 2)), None);
        assert_eq!(judge(&mut seen, &at(9, 2)), None);
        assert_eq!(judge(&mut seen, &at(7, 3)), Some(at(9, 2)));
    }

    #[test]
    fn a_process_that_starts_again_goes_on_from_where_it_stood() {
        let mut seen = Seen::default();
        for shown in [at(9, 1), at(9, 2), at(10, 2), at(12, 3)] {
            assert_eq!(judge(&mut seen, &shown), None);
        }
    }

    #[test]
    fn the_same_record_with_another_head_is_a_copy_whoever_shows_it() {
        let mut seen = Seen::default();
        let late = seen.begun();
        judge(&mut seen, &at(9, 1));
        let mut other = at(9, 1);
        other.head = Digest::from_slice(&[1; 32]).unwrap();

        let found = judge_at(&mut seen, (&peer(), &other), late, 0);
        assert_eq!(found, Some(at(9, 1)));
        assert_eq!(judge(&mut seen, &at(9, 1)), Some(other));
    }

    #[test]
    fn an_older_hello_of_the_same_process_is_no_rollback() {
        let mut seen = Seen::default();
        judge(&mut seen, &at(9, 1));

        assert_eq!(judge(&mut seen, &at(7, 1)), None);
        // And takes nothing back.
        assert_eq!(judge(&mut seen, &at(8, 2)), Some(at(9, 1)));
    }

    #[test]
    fn a_session_that_began_before_the_later_proof_frames_nobody() {
        let mut seen = Seen::default();
        let slow = seen.begun();
        // The peer answers it, starts again, and goes on in another session that ends first.
        judge(&mut seen, &at(9, 2));

        let found = judge_at(&mut seen, (&peer(), &at(7, 1)), slow, 0);
        assert_eq!(found, None);
    }

    #[test]
    fn a_restored_peer_is_not_judged_by_what_it_had_proven_before() {
        let mut seen = Seen::default();
        judge(&mut seen, &at(9, 1));
        let slow = seen.begun();
        seen.forget(&peer());

        // Its last words before it was lost come late.
        let found = judge_at(&mut seen, (&peer(), &at(9, 1)), slow, 0);
        assert_eq!(found, None);
        assert_eq!(judge(&mut seen, &at(5, 2)), None);
        assert_eq!(judge(&mut seen, &at(4, 3)), Some(at(5, 2)));
    }

    #[test]
    fn who_goes_back_again_and_again_is_recorded_within_a_bound_and_hides_nobody() {
        let mut seen = Seen::default();
        let other: NodeId = "node-2".parse().unwrap();
        let begun = seen.begun();
        judge_at(&mut seen, (&other, &at(9, 1)), begun, 0);
        judge(&mut seen, &at(9, 1));

        let mut found = 0;
        for boot in 2..250 {
            let mut shown = at(9, boot);
            shown.head = Digest::new([boot; 32]);
            found += usize::from(judge(&mut seen, &shown).is_some());
        }
        assert!((1..200).contains(&found), "{found}");

        let begun = seen.begun();
        let back = judge_at(&mut seen, (&other, &at(5, 2)), begun, 0);
        assert_eq!(back, Some(at(9, 1)));
        // What was not recorded for want of room is told later.
        let begun = seen.begun();
        let later = judge_at(&mut seen, (&peer(), &at(3, 251)), begun, 10_000);
        assert!(later.is_some());
    }
}
