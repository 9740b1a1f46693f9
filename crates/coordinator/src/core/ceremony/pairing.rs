//! The pairwise set-up of an ECDSA key, between its certificate and its proof: only a node that has
//! pairings with all others proves its share (P28).

use std::{collections::BTreeMap, sync::Arc};

use quorate_model::{
    KeyName, NodeId, Refusal,
    node_api::{AttemptId, NodeReply, NodeRequest, PairingReply},
    operation::CommandState,
};

use super::{AGAIN_MS, MAX_TRIES, Stage, rounds::disagreement};
use crate::core::{
    Core, Moment,
    keys::Certified,
    mail::{self, Said},
};

impl Core {
    pub(super) fn begin_pairing(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        key: &Arc<Certified>,
    ) {
        let attempt: AttemptId = moment.bytes();
        let participants = &key.record.participants;
        let request = NodeRequest::BeginPairing {
            attempt,
            certificate: key.certificate.clone(),
            holders: participants.iter().map(|p| p.index).collect(),
        };
        let requests = participants
            .iter()
            .map(|p| (p.node.clone(), request.clone()))
            .collect();
        let stage = Stage::Pairing {
            key: Arc::clone(key),
            attempt,
        };
        self.ask_all(moment, name, stage, requests);
    }

    pub(super) fn pairing_round_done(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        key: &Arc<Certified>,
        attempt: AttemptId,
        replies: BTreeMap<NodeId, NodeReply>,
    ) {
        let mut said = BTreeMap::new();
        for (node, reply) in replies {
            let NodeReply::Pairing(reply) = reply else {
                return self.pair_again(moment, name, key, disagreement());
            };
            let PairingReply {
                round, envelopes, ..
            } = reply;
            if !reply.paired {
                said.insert(node, Said { round, envelopes });
            }
        }
        if said.is_empty() {
            return self.begin_proving(moment, name, key);
        }
        let sorted = mail::sort(&key.record.participants, &said);
        let Some((round, mail)) = self.sorted(moment, sorted) else {
            return self.pair_again(moment, name, key, disagreement());
        };
        let requests = mail
            .into_iter()
            .map(|(node, envelopes)| {
                (
                    node,
                    NodeRequest::AdvancePairing {
                        attempt,
                        round,
                        envelopes,
                    },
                )
            })
            .collect();
        let stage = Stage::Pairing {
            key: Arc::clone(key),
            attempt,
        };
        self.ask_all(moment, name, stage, requests);
    }

    /// Another set-up, after a while. The sharing stays as it is certified.
    pub(super) fn pair_again(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        key: &Arc<Certified>,
        why: Refusal,
    ) {
        let number = self.fresh_id();
        let Some(op) = self.ceremonies.ops.get_mut(name) else {
            return;
        };
        op.tries = op.tries.saturating_add(1);
        op.number = number;
        op.asks.clear();
        if op.tries >= MAX_TRIES {
            return self.fail_creation(moment, name, CommandState::Failed, why);
        }
        let wait = AGAIN_MS.saturating_mul(u64::from(op.tries));
        op.stage = Stage::Unpaired {
            key: Arc::clone(key),
            not_before_ms: moment.now.ms().saturating_add(wait),
        };
        self.tell_progress(name);
    }
}
