//! What comes back: shares, refusals, silence; and from shares to signatures.

use std::sync::Arc;

use quorate_model::{
    Digest, NodeId, PartyIndex, Reason, Refusal,
    ids::CommandId,
    node_api::{NodeReply, ShareBatch},
    operation::{CommandOutcome, CommandState, SignOutcome},
    share::{ShareReceipt, ShareStatement, share_batch_digest},
};

use super::{Answer, Attempt, Material, Phase};
use crate::core::{
    CallFailure, Core, Moment, Part,
    math::{self, Message, Spoilt},
};

impl Core {
    pub(in crate::core) fn shares_reply(
        &mut self,
        moment: &Moment<'_>,
        node: &NodeId,
        parts: &[Part],
        result: Result<NodeReply, CallFailure>,
    ) {
        match result {
            Ok(NodeReply::Shares(batch)) if batch.outcomes.len() == parts.len() => {
                self.share_batch(moment, node, parts, batch);
            }
            Ok(_) => {
                self.misbehaved(moment, node, "answered with something else", false);
                self.cheated(node, parts);
            }
            Err(CallFailure::Refused(refusal)) => {
                for part in parts {
                    self.refused(moment, node, part, refusal.clone());
                }
            }
            Err(CallFailure::Lost | CallFailure::TimedOut) => {
                for part in parts {
                    self.signing.give_up(part);
                    if let Some(op) = self.signing.ops.get_mut(&part.op) {
                        op.set_back(node, moment.ms(), None);
                    }
                    self.signing.wait(part.op);
                }
            }
        }
    }

    /// One signature covers the whole batch, so it is checked once.
    fn share_batch(
        &mut self,
        moment: &Moment<'_>,
        node: &NodeId,
        parts: &[Part],
        batch: ShareBatch,
    ) {
        let hashes = Arc::new(batch.batch());
        let holds = self.peers.get(node).is_some_and(|peer| {
            peer.verify(&share_batch_digest(&hashes), &batch.signature)
                .is_ok()
        });
        if !holds {
            self.misbehaved(moment, node, "signed its shares with another key", false);
            return self.cheated(node, parts);
        }
        for (part, outcome) in parts.iter().zip(batch.outcomes) {
            match outcome {
                Ok(statement) => {
                    let answer = Answer {
                        statement,
                        batch: Arc::clone(&hashes),
                        signature: batch.signature,
                    };
                    self.accept(moment, node, part, answer);
                }
                Err(refusal) => self.refused(moment, node, part, refusal),
            }
        }
    }

    /// Nothing that the node said in this call counts, and it takes no further part.
    fn cheated(&mut self, node: &NodeId, parts: &[Part]) {
        for part in parts {
            self.signing.give_up(part);
            if let Some(op) = self.signing.ops.get_mut(&part.op) {
                op.cheats.insert(node.clone());
            }
            self.signing.wait(part.op);
        }
    }

    fn refused(&mut self, moment: &Moment<'_>, node: &NodeId, part: &Part, refusal: Refusal) {
        self.signing.give_up(part);
        let Some(op) = self.signing.ops.get_mut(&part.op) else {
            return;
        };
        if refusal.reason == Reason::TicketUnknown
            && let Some(material) = &op.material
        {
            // The node may have restarted; then all its tickets are gone.
            self.tickets.pool(node, material.key.record.scheme).clear();
        }
        if refusal.reason == Reason::ClockSuspect
            && let Some(peer) = self.peers.get_mut(node)
        {
            peer.next_status_ms = 0;
        }
        let changed = refusal.reason == Reason::EpochChanged;
        if refusal.reason.is_retryable() {
            op.set_back(node, moment.ms(), Some(refusal));
            if changed {
                self.seek_epoch(moment, part.op, node);
            }
        } else {
            op.refusals.insert(node.clone(), refusal);
        }
        self.signing.wait(part.op);
    }

    fn accept(&mut self, moment: &Moment<'_>, node: &NodeId, part: &Part, answer: Answer) {
        // What comes for a command that is over has no use.
        let Some(op) = self.signing.ops.get_mut(&part.op) else {
            return;
        };
        let Some(material) = op.material.clone() else {
            return;
        };
        let digest = op.digest;
        let Some(attempt) = op.attempts.get_mut(&part.attempt) else {
            return;
        };
        if !fits(&answer.statement, node, digest, &material, attempt) {
            self.misbehaved(moment, node, "signed shares of something else", false);
            return self.cheated(node, std::slice::from_ref(part));
        }
        if let Some(signer) = attempt.signers.get_mut(&part.signer) {
            signer.phase = Phase::Answered(Box::new(answer));
        }
        if attempt.has_pending() {
            return;
        }
        let Some(attempt) = op.attempts.remove(&part.attempt) else {
            return;
        };
        if attempt.alive {
            self.finish(moment, part.op, &material, &attempt);
        } else {
            self.signing.wait(part.op);
        }
    }

    /// Everybody has answered: adds the shares up (P25).
    fn finish(
        &mut self,
        moment: &Moment<'_>,
        id: CommandId,
        material: &Material,
        attempt: &Attempt,
    ) {
        let mut signatures = Vec::with_capacity(material.messages.len());
        for (item, (message, set)) in material.messages.iter().zip(&attempt.parsed).enumerate() {
            let shares = shares_of(attempt, item);
            match math::add_up(&material.key.public, set, message, &shares) {
                Ok(signature) => signatures.push(signature),
                Err(Spoilt::By(culprits)) => {
                    for culprit in culprits {
                        self.blame(moment, id, attempt, culprit, (item, message));
                    }
                    return self.signing.wait(id);
                }
                // The set cannot be signed under, whoever made it so: other tickets will do.
                Err(Spoilt::Unusable) => return self.signing.wait(id),
            }
        }
        let record = &material.key.record;
        let receipts: Vec<ShareReceipt> = attempt
            .signers
            .values()
            .filter_map(|signer| receipt(&signer.phase))
            .collect();
        let outcome = SignOutcome {
            key: record.name.clone(),
            epoch: record.epoch,
            scheme: record.scheme,
            signers: attempt
                .signers
                .values()
                .map(|signer| signer.node.clone())
                .collect(),
            signatures,
            receipts,
        };
        self.note_use(record, moment.now.wall);
        self.signing.remove(id);
        self.end(
            id,
            CommandState::Succeeded,
            Some(CommandOutcome::Signed(outcome)),
            None,
        );
    }

    /// A signed share does not hold: that is evidence (P16), and the signer is left out.
    fn blame(
        &mut self,
        moment: &Moment<'_>,
        id: CommandId,
        attempt: &Attempt,
        culprit: PartyIndex,
        (item, message): (usize, &Message),
    ) {
        let Some(signer) = attempt.signers.get(&culprit) else {
            return;
        };
        if let Some(op) = self.signing.ops.get_mut(&id) {
            op.cheats.insert(signer.node.clone());
        }
        // One proof is enough; a batch of bad shares does not make a batch of evidence.
        let known = self
            .peers
            .get(&signer.node)
            .is_some_and(|peer| peer.proven_until_ms > moment.ms());
        if known {
            return;
        }
        let evidence = receipt(&signer.phase)
            .zip(attempt.sets.get(item).cloned())
            .and_then(|(receipt, set)| math::bad_share(receipt, item, set, message));
        self.misbehaved(
            moment,
            &signer.node,
            "made a share that does not hold",
            evidence.is_some(),
        );
        if let Some(evidence) = evidence {
            self.keep_evidence(moment, &signer.node, &evidence);
        }
    }
}

/// Whether a statement is of exactly what was asked.
fn fits(
    statement: &ShareStatement,
    node: &NodeId,
    command: Digest,
    material: &Material,
    attempt: &Attempt,
) -> bool {
    let record = &material.key.record;
    statement.node == *node
        && statement.command == command
        && statement.key == record.name
        && statement.epoch == record.epoch
        && statement.items.len() == material.messages.len()
        && statement
            .items
            .iter()
            .zip(&attempt.digests)
            .zip(material.messages.iter())
            .all(|((item, set), message)| item.signing_set == *set && item.message == message.hash)
}

fn shares_of(attempt: &Attempt, item: usize) -> Vec<(PartyIndex, [u8; 32])> {
    attempt
        .signers
        .iter()
        .filter_map(|(index, signer)| match &signer.phase {
            Phase::Answered(answer) => answer
                .statement
                .items
                .get(item)
                .map(|found| (*index, found.share)),
            Phase::Pending | Phase::Gone => None,
        })
        .collect()
}

fn receipt(phase: &Phase) -> Option<ShareReceipt> {
    match phase {
        Phase::Answered(answer) => Some(ShareReceipt {
            statement: answer.statement.clone(),
            batch: answer.batch.as_ref().clone(),
            signature: answer.signature,
        }),
        Phase::Pending | Phase::Gone => None,
    }
}
