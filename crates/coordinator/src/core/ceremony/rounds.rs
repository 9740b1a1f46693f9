//! The rounds of key generation: what every node said goes to every node, until all have signed
//! that they hold their shares (P18, P19).

use std::{collections::BTreeMap, sync::Arc};

use super::Stage;
use crate::core::{
    Core, Moment,
    keys::Certified,
    mail::{self, Said},
    math,
};
use quorate_protocol::ceremony::round::SHARE;

use quorate_model::{
    KeyName, NodeId, Reason, Refusal,
    certificate::{CommitCertificate, KeyEvidence, NodeSignature},
    node_api::{Aborted, AttemptId, CeremonyReply, NodeReply, NodeRequest, Prepared},
    operation::CommandState,
};

impl Core {
    pub(super) fn begin_rounds(&mut self, moment: &mut Moment<'_>, name: &KeyName) {
        let attempt: AttemptId = moment.bytes();
        self.choose_dealers(moment, name);
        let Some(op) = self.ceremonies.ops.get(name) else {
            return;
        };
        let request = NodeRequest::BeginCeremony {
            attempt,
            command: op.signed.as_ref().clone(),
            epoch: op.epoch,
            source: op.aim.source(),
        };
        // The proof at the end takes a ticket of every holder.
        for node in op.aim.holders() {
            self.tickets.pool(node, op.aim.scheme().proven_by());
        }
        let requests = op
            .aim
            .participants()
            .into_iter()
            .map(|participant| (participant.node, request.clone()))
            .collect();
        self.ask_all(
            moment,
            name,
            Stage::Rounds {
                attempt,
                round: None,
            },
            requests,
        );
    }

    pub(super) fn round_done(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        attempt: AttemptId,
        replies: BTreeMap<NodeId, NodeReply>,
    ) {
        let mut said = BTreeMap::new();
        let mut prepared = BTreeMap::new();
        for (node, reply) in replies {
            let NodeReply::Ceremony(reply) = reply else {
                return self.again(moment, name, disagreement());
            };
            if let Some(promise) = reply.prepared {
                prepared.insert(node, promise);
            } else {
                let CeremonyReply {
                    round, envelopes, ..
                } = reply;
                said.insert(node, Said { round, envelopes });
            }
        }
        if said.is_empty() {
            return self.all_prepared(moment, name, prepared);
        }
        let Some(op) = self.ceremonies.ops.get(name) else {
            return;
        };
        let sorted = mail::sort(&op.aim.participants(), &said);
        let holders = op.aim.holders().to_vec();
        let Some((round, mut mail)) = self.sorted(moment, sorted) else {
            return self.again(moment, name, disagreement());
        };
        // Who only deals is done with its last word.
        if round == SHARE {
            mail.retain(|node, _| holders.contains(node));
        }
        let requests = mail
            .into_iter()
            .map(|(node, envelopes)| {
                (
                    node,
                    NodeRequest::AdvanceCeremony {
                        attempt,
                        round,
                        envelopes,
                    },
                )
            })
            .collect();
        self.ask_all(
            moment,
            name,
            Stage::Rounds {
                attempt,
                round: Some(round),
            },
            requests,
        );
    }

    /// A node found that the run cannot end well. Whoever is proven to have spoilt it would spoil
    /// the next one too.
    pub(super) fn aborted(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        node: &NodeId,
        aborted: &Aborted,
        current: bool,
    ) {
        // Only what happened in this creation ends it: whoever was proven guilty before may have been
        // mended since, and old evidence must not keep it out for ever.
        let Some(op) = self.ceremonies.ops.get(name) else {
            return;
        };
        let proven = aborted.evidence.as_ref().and_then(|bytes| {
            let culprit = math::spoilt_by(&self.pinned, &op.digest, bytes)?;
            Some((culprit, bytes.clone()))
        });
        let refusal = Refusal::new(
            Reason::PeerMisbehaved,
            format!("node {node} ended the ceremony: {}", aborted.message),
        )
        .with("node", node);
        match proven {
            Some((culprit, evidence)) => {
                self.misbehaved(moment, &culprit, "spoilt a ceremony", true);
                self.keep_evidence(moment, &culprit, &evidence);
                // Others deal in its place already; what is found of it later ends nothing more.
                if self.is_avoided(name, &culprit) {
                    if current {
                        self.run_again(moment, name, refusal);
                    }
                    return;
                }
                let refusal = refusal.with("culprit", &culprit);
                if self.goes_on_without(name, &culprit) {
                    return self.again(moment, name, refusal);
                }
                self.fail_creation(moment, name, CommandState::Failed, refusal);
            }
            None if current => self.run_again(moment, name, refusal),
            None => {}
        }
    }

    /// All shares are durable: the certificate (P20).
    fn all_prepared(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        mut prepared: BTreeMap<NodeId, Prepared>,
    ) {
        let Some(op) = self.ceremonies.ops.get(name) else {
            return;
        };
        let signatures: Option<Vec<NodeSignature>> = op
            .aim
            .holders()
            .iter()
            .map(|node| {
                let signature = prepared.get(node)?.signature;
                Some(NodeSignature {
                    node: node.clone(),
                    signature,
                })
            })
            .collect();
        let same = {
            let mut statements = prepared.values().map(|one| &one.statement);
            let first = statements.next();
            statements.all(|other| Some(other) == first)
        };
        let certified = prepared
            .pop_first()
            .zip(signatures)
            .filter(|_| same)
            .and_then(|((_, one), signatures)| {
                let certificate = CommitCertificate {
                    command: op.signed.as_ref().clone(),
                    session: one.session,
                    statement: one.statement,
                    verifying_shares: one.verifying_shares,
                    signatures,
                };
                let evidence = KeyEvidence {
                    certificate: certificate.to_bytes().ok()?,
                    proof: None,
                    birth: op.aim.birth(),
                };
                Certified::verify(&self.pinned, &evidence)
            });
        if let Some(key) = certified {
            let source = op.aim.source_record().cloned();
            let key = Arc::new(key);
            // A later epoch is nothing to remember before it is proven.
            if key.birth.is_none() {
                self.remember_key(moment, &key);
            }
            // They prove nothing under a state that forbids it, if they have heard of it (P33).
            if let Some(source) = source {
                self.tell_new_holders(moment, &source, &key.record);
            }
            if key.record.scheme.is_frost() {
                self.begin_proving(moment, name, &key);
            } else {
                self.begin_pairing(moment, name, &key);
            }
            return;
        }
        // The epoch is spent at every node that prepared it (P19).
        if let Some(op) = self.ceremonies.ops.get_mut(name) {
            op.epoch.0 = op.epoch.0.saturating_add(1);
        }
        self.again(moment, name, disagreement());
    }
}

/// The nodes do not stand at the same place.
pub(super) fn disagreement() -> Refusal {
    Refusal::new(
        Reason::PeerMisbehaved,
        "the nodes do not agree on where the ceremony stands",
    )
}
