//! Going on where an earlier run stopped, with the certificate that nodes hold.

use std::sync::Arc;

use quorate_model::{
    KeyName, NodeId,
    certificate::{CommitCertificate, KeyEvidence},
    command::CommandBody,
    node_api::{NodeReply, NodeRequest},
    operation::CommandState,
};

use super::{Aim, Stage, taken};
use crate::core::{
    CallFailure, Core, Moment, Purpose,
    keys::{self, Certified},
};

/// How often a key that is certified and not proven is taken up, in milliseconds.
const FINISH_EVERY_MS: u64 = 5_000;

/// How often that doubles for one key: to about a day.
const MAX_DOUBLINGS: u32 = 14;

impl Core {
    /// Asks the node that knows the name for its certificate.
    pub(super) fn look(&mut self, moment: &Moment<'_>, name: &KeyName, node: &NodeId) {
        let number = self.fresh_id();
        let Some(op) = self.ceremonies.ops.get_mut(name) else {
            return;
        };
        op.stage = Stage::Looking;
        op.stage_ms = moment.ms();
        op.number = number;
        op.asks.clear();
        let request = NodeRequest::ListKeys {
            after: keys::before(name),
            limit: 1,
        };
        let timeout = self.config.limits.call_timeout_ms;
        let purpose = Purpose::Lookup {
            key: name.clone(),
            stage: number,
        };
        self.call(moment, node, request, timeout, purpose);
    }

    pub(in crate::core) fn lookup_reply(
        &mut self,
        moment: &mut Moment<'_>,
        (name, node): (&KeyName, &NodeId),
        number: u64,
        result: Result<NodeReply, CallFailure>,
    ) {
        let Some(op) = self
            .ceremonies
            .ops
            .get(name)
            .filter(|op| op.number == number)
        else {
            return;
        };
        if let Aim::Reshare(_) = &op.aim {
            return self.looked_for_epoch(moment, name, node, result);
        }
        let digest = op.digest;
        let found = match result {
            Ok(NodeReply::Keys(listings)) => listings
                .into_iter()
                .find(|listing| listing.key == *name)
                .and_then(|listing| {
                    let evidence = KeyEvidence {
                        certificate: listing.certificate?,
                        proof: listing.proof,
                        birth: listing.birth,
                    };
                    Certified::verify(&self.pinned, &evidence)
                })
                // What a node lists under a name can be the certificate of any other key.
                .filter(|key| key.record.name == *name),
            _ => None,
        };
        match found {
            Some(key) if key.record.command == digest => {
                let key = Arc::new(key);
                self.remember_key(moment, &key);
                match (&key.birth, &key.proof) {
                    // What was reshared since was in use before.
                    (Some(_), Some(_)) => self.end_creation(moment, name, &key),
                    // Nobody who is honest lists an epoch of a resharing before it is proven.
                    (Some(_), None) => self.again(moment, name, taken(name)),
                    (None, Some(_)) => self.activate(moment, name, &key),
                    (None, None) => self.prove_again(name, key),
                }
            }
            Some(key) => {
                self.remember_key(moment, &Arc::new(key));
                self.fail_creation(moment, name, CommandState::Denied, taken(name));
            }
            None => self.again(moment, name, taken(name)),
        }
    }

    /// Goes on with the unproven keys that a node holds a share of, whether it lists them or not: it
    /// may have been away when they were certified.
    pub(in crate::core) fn finish_creations(&mut self, moment: &mut Moment<'_>, node: &NodeId) {
        for name in self.keys.unproven() {
            let key = self.keys.get(&self.pinned, &name);
            if key.is_some_and(|key| key.record.index_of(node).is_some()) {
                self.finish_creation(moment, node, &name, false);
            }
        }
    }

    /// Takes up the next of the keys that are certified and not proven, while nothing else waits for
    /// its turn. Nodes list them once when they connect; what was under way with the name at that
    /// time may have ended since without finishing them.
    pub(in crate::core) fn finish_next_creation(&mut self, moment: &mut Moment<'_>) {
        let ceremonies = &self.ceremonies;
        let unasked = ceremonies.ops.values().any(|op| op.id.is_none());
        if moment.ms() < ceremonies.finish_ms || unasked || !ceremonies.queue.is_empty() {
            return;
        }
        let now_ms = moment.ms();
        let unproven = self.keys.unproven();
        self.ceremonies.finish_ms = now_ms.saturating_add(FINISH_EVERY_MS);
        let finished = &mut self.ceremonies.finished;
        finished.retain(|name, _| unproven.contains(name));
        // What was rejected or destroyed before it was proven is never finished: it is tried less and
        // less often.
        let due = |name: &&KeyName| {
            finished
                .get(*name)
                .is_none_or(|(_, at_ms)| *at_ms <= now_ms)
        };
        let due: Vec<KeyName> = unproven.iter().filter(due).cloned().collect();
        let Some(next) = due.iter().find(|name| self.can_be_proven(name)) else {
            return;
        };
        let finished = &mut self.ceremonies.finished;
        let (tries, at_ms) = finished.entry(next.clone()).or_default();
        let wait = FINISH_EVERY_MS << (*tries).min(MAX_DOUBLINGS);
        *at_ms = now_ms.saturating_add(wait);
        *tries = tries.saturating_add(1);
        self.prove_certified(moment, next);
    }

    /// Goes on with a key that nodes list, where an earlier run ended too early: hands the proof to
    /// a node that lacks it, or has the certificate proven once all holders are there.
    pub(in crate::core) fn finish_creation(
        &mut self,
        moment: &mut Moment<'_>,
        node: &NodeId,
        name: &KeyName,
        listed_proof: bool,
    ) {
        if self.ceremonies.ops.contains_key(name) {
            return;
        }
        let Some(key) = self.keys.get(&self.pinned, name) else {
            return;
        };
        if key.proof.is_none() {
            self.prove_certified(moment, name);
        } else if !listed_proof {
            self.move_up(moment, node, &key);
        }
    }

    /// Whether all holders of a key are there, and no command is changing it.
    fn can_be_proven(&mut self, name: &KeyName) -> bool {
        let Some(key) = self.keys.get(&self.pinned, name) else {
            return false;
        };
        let mut holders = key.record.participants.iter();
        !self.ceremonies.ops.contains_key(name)
            && holders.all(|holder| self.peers.is_connected(&holder.node))
    }

    /// Has a certificate proven, if no command is changing the key and all holders are there.
    fn prove_certified(&mut self, moment: &mut Moment<'_>, name: &KeyName) {
        if self.ceremonies.ops.contains_key(name) {
            return;
        }
        let Some(key) = self.keys.get(&self.pinned, name) else {
            return;
        };
        if key.proof.is_some() {
            return;
        }
        let all = key
            .record
            .participants
            .iter()
            .all(|p| self.peers.is_connected(&p.node));
        let Ok(certificate) = CommitCertificate::from_bytes(&key.certificate) else {
            return;
        };
        let Ok(command) = quorate_proto::command::decode(&certificate.command.bytes) else {
            return;
        };
        if let CommandBody::CreateKey(create) = command.body
            && all
        {
            let signed = Arc::new(certificate.command);
            let aim = Aim::Create(create);
            self.add_change(moment, None, signed, aim, command.expires, Some(key));
        }
    }
}
