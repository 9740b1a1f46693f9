//! The proof of possession, and the activation that follows it (P20).

use std::{collections::BTreeMap, sync::Arc};

use quorate_model::{
    KeyName, NodeId, PartyIndex, Reason, Refusal,
    certificate::{KeyEvidence, PossessionProof},
    node_api::{ActivationReceipt, NodeReply, NodeRequest},
    operation::{CommandOutcome, CommandState},
    share::{SetEntry, SetOfSigners, ShareReceipt},
};
use quorate_protocol::frost::SigningSet;

use super::{Aim, Stage};
use crate::core::{
    Core, Moment,
    keys::Certified,
    math::{self, Message, Spoilt},
};

/// What all holders are asked to prove.
pub(super) struct Proving {
    pub(super) key: Arc<Certified>,
    set: SetOfSigners,
    parsed: SigningSet,
}

impl Core {
    /// Asks every holder for its share of the proof, as soon as there is a ticket of each.
    pub(super) fn begin_proving(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        key: &Arc<Certified>,
    ) {
        let Some((set, parsed)) = self.full_set(key) else {
            return self.await_tickets(moment, name, key);
        };
        let request = NodeRequest::ProveKey {
            certificate: key.certificate.clone(),
            set: set.clone(),
        };
        let requests = key
            .record
            .participants
            .iter()
            .map(|p| (p.node.clone(), request.clone()))
            .collect();
        let proving = Box::new(Proving {
            key: Arc::clone(key),
            set,
            parsed,
        });
        self.ask_all(moment, name, Stage::Proving(proving), requests);
    }

    fn await_tickets(&mut self, moment: &Moment<'_>, name: &KeyName, key: &Arc<Certified>) {
        let number = self.fresh_id();
        if let Some(op) = self.ceremonies.ops.get_mut(name) {
            if !matches!(op.stage, Stage::Tickets { .. }) {
                op.stage_ms = moment.ms();
            }
            op.number = number;
            op.stage = Stage::Tickets {
                key: Arc::clone(key),
            };
            op.asks.clear();
        }
        self.tell_progress(name);
    }

    /// One ticket of every holder.
    fn full_set(&mut self, key: &Certified) -> Option<(SetOfSigners, SigningSet)> {
        let limits = self.config.limits.clone();
        let scheme = key.record.scheme.proven_by();
        let mut all = true;
        for participant in &key.record.participants {
            let pool = self.tickets.pool(&participant.node, scheme);
            if pool.available() == 0 {
                pool.want(1, &limits);
                all = false;
            }
        }
        if !all {
            return None;
        }
        let mut entries = Vec::new();
        let mut commitments = Vec::new();
        for participant in &key.record.participants {
            let held = self
                .tickets
                .pool(&participant.node, scheme)
                .take(1)?
                .pop()?;
            commitments.push((participant.index, held.parsed));
            entries.push(SetEntry {
                signer: participant.index,
                ticket: held.id,
                commitments: held.received,
            });
        }
        Some((SetOfSigners { entries }, SigningSet::new(commitments).ok()?))
    }

    /// The set cannot be answered by all any more: another one, with other tickets.
    pub(super) fn prove_again(&mut self, name: &KeyName, key: Arc<Certified>) {
        // The stage keeps its age, so that a node that is gone ends the creation in time.
        let number = self.fresh_id();
        if let Some(op) = self.ceremonies.ops.get_mut(name) {
            op.number = number;
            op.asks.clear();
            op.stage = Stage::Tickets { key };
        }
        self.tell_progress(name);
    }

    pub(super) fn proved(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        proving: &Proving,
        replies: BTreeMap<NodeId, NodeReply>,
    ) {
        let record = &proving.key.record;
        let message = Message::possession(&record.certificate);
        let mut receipts = Vec::with_capacity(record.participants.len());
        let mut shares: Vec<(PartyIndex, [u8; 32])> = Vec::new();
        let mut replies = replies;
        for participant in &record.participants {
            let Some(NodeReply::Proved(receipt)) = replies.remove(&participant.node) else {
                return self.spoilt(moment, name, &participant.node, None);
            };
            let Some(share) = self.share_of(&receipt, proving, &participant.node, &message) else {
                return self.spoilt(moment, name, &participant.node, None);
            };
            shares.push((participant.index, share));
            receipts.push(receipt);
        }
        let signature = match math::add_up(&proving.key.public, &proving.parsed, &message, &shares)
        {
            Ok(signature) => signature,
            Err(Spoilt::By(culprits)) => {
                let culprit = culprits.first().and_then(|index| {
                    let at = record.participants.iter().position(|p| p.index == *index)?;
                    Some((record.node_at(*index)?.clone(), receipts.get(at)?.clone()))
                });
                let Some((node, receipt)) = culprit else {
                    return self.prove_again(name, Arc::clone(&proving.key));
                };
                let evidence = math::bad_share(receipt, 0, proving.set.clone(), &message);
                return self.spoilt(moment, name, &node, evidence);
            }
            Err(Spoilt::Unusable) => {
                return self.prove_again(name, Arc::clone(&proving.key));
            }
        };
        let proof = PossessionProof {
            certificate: record.certificate,
            set: proving.set.clone(),
            receipts,
            signature,
        };
        let certified = proof.to_bytes().ok().and_then(|proof| {
            let evidence = KeyEvidence {
                proof: Some(proof),
                ..proving.key.evidence()
            };
            Certified::verify(&self.pinned, &evidence)
        });
        match certified {
            Some(key) => self.activate(moment, name, &Arc::new(key)),
            // A single share may be wrong where their sum is right: only all of them are a proof.
            None => self.name_the_wrong_share(moment, name, proving, &message, &shares, proof),
        }
    }

    fn name_the_wrong_share(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        proving: &Proving,
        message: &Message,
        shares: &[(PartyIndex, [u8; 32])],
        proof: PossessionProof,
    ) {
        let record = &proving.key.record;
        let wrong = shares
            .iter()
            .zip(proof.receipts)
            .find(|((index, share), _)| {
                !math::share_holds(&proving.key.public, &proving.parsed, message, *index, share)
            });
        match wrong.and_then(|((index, _), receipt)| Some((record.node_at(*index)?, receipt))) {
            Some((node, receipt)) => {
                let evidence = math::bad_share(receipt, 0, proving.set.clone(), message);
                self.spoilt(moment, name, &node.clone(), evidence);
            }
            None => self.prove_again(name, Arc::clone(&proving.key)),
        }
    }

    /// The share in a receipt that is of exactly what was asked.
    fn share_of(
        &self,
        receipt: &ShareReceipt,
        proving: &Proving,
        node: &NodeId,
        message: &Message,
    ) -> Option<[u8; 32]> {
        let record = &proving.key.record;
        let statement = &receipt.statement;
        let card = self.pinned.roster().node(node)?;
        receipt.verify(&card.identity_key).ok()?;
        let fits = statement.node == *node
            && statement.key == record.name
            && statement.epoch == record.epoch
            && statement.command == record.certificate
            && statement.items.len() == 1;
        let item = statement.items.first().filter(|_| fits)?;
        (item.signing_set == proving.set.digest() && item.message == message.hash)
            .then_some(item.share)
    }

    /// A holder does not prove its share: the key cannot become active.
    fn spoilt(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        node: &NodeId,
        evidence: Option<Vec<u8>>,
    ) {
        self.misbehaved(moment, node, "did not prove its share", evidence.is_some());
        if let Some(evidence) = evidence {
            self.keep_evidence(moment, node, &evidence);
        }
        let refusal = Refusal::new(
            Reason::PeerMisbehaved,
            format!("node {node} does not prove its share: the new shares cannot be used"),
        )
        .with("node", node);
        self.fail_creation(moment, name, CommandState::Failed, refusal);
    }

    /// Hands the proof to every holder.
    pub(super) fn activate(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        key: &Arc<Certified>,
    ) {
        let Some(proof) = &key.proof else {
            return;
        };
        let request = NodeRequest::ActivateKey {
            key: name.clone(),
            epoch: key.record.epoch,
            certificate: key.certificate.clone(),
            proof: proof.clone(),
        };
        let requests = key
            .record
            .participants
            .iter()
            .map(|p| (p.node.clone(), request.clone()))
            .collect();
        self.ask_all(
            moment,
            name,
            Stage::Activating {
                key: Arc::clone(key),
            },
            requests,
        );
    }

    pub(super) fn activated(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        key: &Arc<Certified>,
        replies: BTreeMap<NodeId, NodeReply>,
    ) {
        let mut receipts = BTreeMap::new();
        for (node, reply) in replies {
            let receipt = if let NodeReply::Activated(receipt) = reply {
                Some(receipt).filter(|receipt| self.acknowledges(receipt, key, &node))
            } else {
                None
            };
            let Some(receipt) = receipt else {
                return self.spoilt(moment, name, &node, None);
            };
            receipts.insert(node, receipt);
        }
        self.remember_key(moment, key);
        let aim = self.ceremonies.ops.get(name).map(|op| &op.aim);
        if let Some(Aim::Reshare(_)) = aim {
            return self.begin_ending(moment, name, key, receipts);
        }
        if key.birth.is_none() {
            self.note_activation(&key.record, moment.now.wall);
        }
        self.end_creation(moment, name, key);
    }

    /// The key of a creation is there.
    pub(super) fn end_creation(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        key: &Certified,
    ) {
        let Some(op) = self.ceremonies.ops.remove(name) else {
            return;
        };
        if let Some(id) = op.id {
            let outcome = CommandOutcome::KeyCreated {
                key: name.clone(),
                epoch: key.record.epoch,
            };
            self.end(id, CommandState::Succeeded, Some(outcome), None);
        }
        self.take_turns(moment);
    }

    pub(in crate::core) fn acknowledges(
        &self,
        receipt: &ActivationReceipt,
        key: &Certified,
        node: &NodeId,
    ) -> bool {
        receipt.node == *node
            && receipt.key == key.record.name
            && receipt.epoch == key.record.epoch
            && receipt.certificate == key.record.certificate
            && self
                .peers
                .get(node)
                .is_some_and(|peer| peer.verify(&receipt.digest(), &receipt.signature).is_ok())
    }
}
