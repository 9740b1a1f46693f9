//! When waiting on is no use: expiry, too few nodes, too much time.

use quorate_model::{NodeId, Reason, Refusal, ids::CommandId, operation::CommandState};
use quorate_proto::admission;

use super::most_common;
use crate::core::{Core, Moment};

impl Core {
    /// Ends commands whose time is over.
    pub(in crate::core) fn end_overdue(&mut self, moment: &Moment<'_>) {
        let now_ms = moment.ms();
        while let Some((at, id)) = self.signing.timers.first().copied() {
            if at > now_ms {
                return;
            }
            self.signing.timers.remove(&(at, id));
            let Some(op) = self.signing.ops.get(&id) else {
                continue;
            };
            let (expires, started_ms) = (op.expires, op.started_ms);
            let age_ms = now_ms.saturating_sub(started_ms);
            if expires <= moment.now.wall {
                self.end_signing(id, CommandState::Expired, admission::expired());
            } else if let Some(refusal) = self.starved(id, age_ms, now_ms) {
                self.end_signing(id, CommandState::Failed, refusal);
            } else {
                let next = now_ms.saturating_add(expires.since(moment.now.wall).clamp(1, 500));
                self.signing.timers.insert((next, id));
            }
        }
    }

    /// Why a command that has waited so long has no signature yet, if waiting on is no use.
    pub(super) fn starved(&self, id: CommandId, age_ms: u64, now_ms: u64) -> Option<Refusal> {
        let limits = &self.config.limits;
        if age_ms < limits.quorum_wait_ms {
            return None;
        }
        let op = self.signing.ops.get(&id)?;
        let Some(material) = &op.material else {
            let majority = (self.pinned.roster().nodes.len() / 2).saturating_add(1);
            return Some(self.no_quorum(majority, now_ms, |_| true));
        };
        let record = &material.key.record;
        let reachable = record
            .participants
            .iter()
            .filter(|p| {
                self.peers
                    .get(&p.node)
                    .is_some_and(|peer| peer.usable(now_ms))
            })
            .count();
        if reachable < usize::from(record.threshold) {
            let is_holder = |node: &NodeId| record.index_of(node).is_some();
            let needed = usize::from(record.threshold);
            return Some(self.no_quorum(needed, now_ms, is_holder));
        }
        let refusing: Vec<&Refusal> = op
            .setbacks
            .values()
            .filter_map(|setback| setback.refusal.as_ref())
            .chain(op.refusals.values())
            .collect();
        let is_lost = |node: &NodeId| {
            let set_back = op.setbacks.get(node);
            op.refusals.contains_key(node)
                || set_back.is_some_and(|setback| setback.refusal.is_some())
                || !self.peers.get(node).is_some_and(|peer| peer.usable(now_ms))
        };
        let holders = record.participants.iter();
        let willing = holders.filter(|p| !is_lost(&p.node)).count();
        if willing < usize::from(record.threshold)
            && let Some(refusal) = most_common(refusing.into_iter())
        {
            return Some(refusal);
        }
        (age_ms >= limits.sign_deadline_ms).then(|| {
            Refusal::new(
                Reason::TimedOut,
                format!("no {} nodes signed within {age_ms} ms", record.threshold),
            )
        })
    }

    /// Too few nodes answer; names those that do not.
    pub(in crate::core) fn no_quorum(
        &self,
        needed: usize,
        now_ms: u64,
        counts: impl Fn(&NodeId) -> bool,
    ) -> Refusal {
        let missing: Vec<&str> = self
            .peers
            .iter()
            .filter(|peer| counts(&peer.id) && !peer.usable(now_ms))
            .map(|peer| peer.id.as_str())
            .collect();
        let missing = missing.join(", ");
        Refusal::new(
            Reason::QuorumUnavailable,
            format!(
                "{needed} nodes must answer, but too few do: not reachable, in quarantine, or left out \
                 because they cheated, are {missing}"
            ),
        )
        .with("needed", needed)
        .with("missing", missing)
    }
}
