//! Who signs: the fastest t holders that are free, connected, trusted, and have tickets.

use quorate_model::{
    NodeId, PartyIndex,
    ids::CommandId,
    share::{SetEntry, SetOfSigners, ShareRequest},
};
use quorate_protocol::frost::SigningSet;

use super::{Attempt, Material, Phase, SignOp, Signer};
use crate::core::{Core, Moment, Part, Queued, tickets::Held};

impl Core {
    /// Begins an attempt with the best subset. False: none can be formed at the moment.
    pub(super) fn begin_attempt(&mut self, moment: &Moment<'_>, id: CommandId) -> bool {
        let Some(op) = self.signing.ops.get(&id) else {
            return true;
        };
        let Some(material) = op.material.clone() else {
            return false;
        };
        let record = &material.key.record;
        let needed = usize::from(record.threshold);
        let at_most = record
            .participants
            .len()
            .saturating_sub(needed)
            .saturating_add(1);
        if op
            .attempts
            .values()
            .any(|attempt| attempt.alive && self.progresses(attempt))
        {
            return true;
        }
        if op.attempts.len() >= at_most {
            return false;
        }
        let candidates = self.candidates(moment, op, &material);
        let Some(chosen) = self.with_tickets(moment, &material, candidates, needed) else {
            return false;
        };
        let Some(tickets) = self.take_tickets(&material, &chosen) else {
            return false;
        };
        let Some(attempt) = attempt(&material, &chosen, tickets) else {
            return false;
        };
        self.launch(id, &material, attempt);
        true
    }

    /// Whether everybody whose answer is awaited can be expected to answer soon.
    fn progresses(&self, attempt: &Attempt) -> bool {
        attempt
            .signers
            .values()
            .filter(|signer| matches!(signer.phase, Phase::Pending))
            .all(|signer| {
                self.peers
                    .get(&signer.node)
                    .is_some_and(|peer| peer.connected && peer.overdue_calls == 0)
            })
    }

    /// The holders that could sign, best first.
    pub(in crate::core) fn candidates(
        &self,
        moment: &Moment<'_>,
        op: &SignOp,
        material: &Material,
    ) -> Vec<(PartyIndex, NodeId)> {
        let now_ms = moment.ms();
        let mut ranked: Vec<_> = material
            .key
            .record
            .participants
            .iter()
            .filter(|p| !op.refusals.contains_key(&p.node) && !op.cheats.contains(&p.node))
            .filter(|p| {
                op.setbacks
                    .get(&p.node)
                    .is_none_or(|s| s.until_ms <= now_ms)
            })
            .filter(|p| {
                !op.attempts
                    .values()
                    .any(|attempt| attempt.is_pending(p.index))
            })
            .filter_map(|p| {
                let peer = self.peers.get(&p.node).filter(|peer| peer.usable(now_ms))?;
                Some((peer.rank(now_ms), p.index, p.node.clone()))
            })
            .collect();
        ranked.sort();
        ranked
            .into_iter()
            .map(|(_, index, node)| (index, node))
            .collect()
    }

    /// The best t of them with a ticket for every message. One that is about to have tickets is
    /// waited for; one that does not give any is passed over.
    fn with_tickets(
        &mut self,
        moment: &Moment<'_>,
        material: &Material,
        candidates: Vec<(PartyIndex, NodeId)>,
        needed: usize,
    ) -> Option<Vec<(PartyIndex, NodeId)>> {
        if candidates.len() < needed {
            return None;
        }
        let limits = self.config.limits.clone();
        let (scheme, count) = (material.key.record.scheme, material.messages.len());
        let mut chosen = Vec::with_capacity(needed);
        let mut waits = false;
        for (index, node) in candidates {
            if chosen.len() >= needed {
                break;
            }
            let patience_ms = self
                .peers
                .get(&node)
                .map_or(limits.stall_min_ms, |peer| peer.stall_ms(&limits));
            let pool = self.tickets.pool(&node, scheme);
            if pool.available() >= count {
                chosen.push((index, node));
                continue;
            }
            pool.want(count, &limits);
            let asked_ms = pool.fetching_since_ms.unwrap_or(moment.ms());
            let late = moment.ms().saturating_sub(asked_ms) >= patience_ms;
            if !late && pool.retry_at_ms <= moment.ms() {
                // It is among the best, and its tickets are on their way.
                waits = true;
                chosen.push((index, node));
            }
        }
        if waits || chosen.len() < needed {
            return None;
        }
        chosen.sort();
        Some(chosen)
    }

    fn take_tickets(
        &mut self,
        material: &Material,
        chosen: &[(PartyIndex, NodeId)],
    ) -> Option<Vec<Vec<Held>>> {
        let scheme = material.key.record.scheme;
        chosen
            .iter()
            .map(|(_, node)| {
                self.tickets
                    .pool(node, scheme)
                    .take(material.messages.len())
            })
            .collect()
    }

    /// Queues one request at each signer.
    fn launch(&mut self, id: CommandId, material: &Material, attempt: Attempt) {
        let Some(op) = self.signing.ops.get_mut(&id) else {
            return;
        };
        let number = op.next_attempt;
        op.next_attempt = number.saturating_add(1);
        for (signer, one) in &attempt.signers {
            let request = ShareRequest {
                command: op.command.as_ref().clone(),
                key: material.key.record.name.clone(),
                epoch: material.key.record.epoch,
                items: attempt.sets.clone(),
            };
            let part = Part {
                op: id,
                attempt: number,
                signer: *signer,
            };
            if let Some(peer) = self.peers.get_mut(&one.node) {
                peer.queue.push_back(Queued { part, request });
            }
        }
        op.attempts.insert(number, attempt);
    }
}

/// One signing set per message, each with one ticket of every signer.
fn attempt(
    material: &Material,
    chosen: &[(PartyIndex, NodeId)],
    tickets: Vec<Vec<Held>>,
) -> Option<Attempt> {
    let mut columns: Vec<_> = tickets.into_iter().map(Vec::into_iter).collect();
    let mut sets = Vec::with_capacity(material.messages.len());
    let mut parsed = Vec::with_capacity(material.messages.len());
    for _ in 0..material.messages.len() {
        let mut entries = Vec::with_capacity(chosen.len());
        let mut commitments = Vec::with_capacity(chosen.len());
        for ((signer, _), column) in chosen.iter().zip(&mut columns) {
            let held = column.next()?;
            commitments.push((*signer, held.parsed));
            entries.push(SetEntry {
                signer: *signer,
                ticket: held.id,
                commitments: held.received,
            });
        }
        sets.push(SetOfSigners { entries });
        parsed.push(SigningSet::new(commitments).ok()?);
    }
    let signers = chosen
        .iter()
        .map(|(index, node)| {
            (
                *index,
                Signer {
                    node: node.clone(),
                    phase: Phase::Pending,
                },
            )
        })
        .collect();
    let digests = sets.iter().map(SetOfSigners::digest).collect();
    Some(Attempt {
        sets,
        digests,
        parsed,
        signers,
        alive: true,
    })
}
