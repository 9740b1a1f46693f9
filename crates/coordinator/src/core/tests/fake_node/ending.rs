//! What a node says of the ends of keys.

use quorate_model::{
    Digest, Epoch, KeyId, KeyName, KeyState, Reason, Refusal, Signature, UnixMillis,
    certificate::CommitCertificate,
    command::{CommandBody, SignedCommand},
    destruction::{DestroyKey, DestroyStep, Destruction, DestructionReceipt, ErasureMethod, Said},
    node_api::{NodeReply, NodeRequest},
};

use super::FakeNode;

pub(super) fn destroyed() -> Refusal {
    Refusal::new(Reason::KeyDestroyed, "the key is destroyed")
}

impl FakeNode {
    /// Takes every step that comes in its order.
    pub(super) fn take_step(&mut self, signed: &SignedCommand) -> Result<NodeReply, Refusal> {
        if let Some(refusal) = &self.manners.refuses_ends {
            return Err(refusal.clone());
        }
        let command = quorate_proto::admission::admit(&self.pinned, signed)?;
        let CommandBody::DestroyKey(destroy) = command.body else {
            panic!("not about the end of a key")
        };
        let known = self.ends.entry(destroy.key.clone()).or_default();
        if let Some(receipt) = known.destroyed().next() {
            return Ok(NodeReply::Destruction(receipt.clone()));
        }
        let heard = |digest: &Digest| known.order(digest).is_some();
        let said = match destroy.step {
            DestroyStep::Announce => Said::Announced {
                since: UnixMillis(1),
                from: UnixMillis(2),
                until: UnixMillis(u64::MAX),
            },
            DestroyStep::Cancel { announcement } => Said::Withdrawn { announcement },
            DestroyStep::Confirm { announcement } if !heard(&announcement) => {
                return Err(Refusal::new(
                    Reason::DestructionNotAnnounced,
                    "not announced",
                ));
            }
            DestroyStep::Confirm { .. } | DestroyStep::AtOnce => Said::Destroyed {
                state: KeyState::Destroyed,
                epochs: vec![Epoch(1)],
                method: ErasureMethod::BestEffort,
                backups: 0,
            },
        };
        let receipt = self.word(&destroy, signed, said);
        let known = self.ends.entry(destroy.key.clone()).or_default();
        known.orders.push(signed.clone());
        known.receipts.retain(|earlier| {
            !receipt.is_destroyed() && Some(earlier.command) != destroy.step.announcement()
        });
        known.receipts.push(receipt.clone());
        if receipt.is_destroyed() {
            self.erase_all(&destroy.key);
        }
        Ok(NodeReply::Destruction(receipt))
    }

    fn erase_all(&mut self, key: &KeyName) {
        self.reshares.remove(key);
        self.spare.remove(key);
        if let Some(held) = self.keys.get_mut(key) {
            held.share = None;
        }
    }

    /// Refuses whatever would bring a destroyed key back.
    pub(super) fn judge_end(&self, request: &NodeRequest) -> Result<(), Refusal> {
        let key = match request {
            NodeRequest::BeginCeremony { command, .. } => {
                match quorate_proto::command::decode(&command.bytes)?.body {
                    CommandBody::ReshareKey(reshare) => reshare.key,
                    CommandBody::CreateKey(create) => create.key,
                    _ => return Ok(()),
                }
            }
            NodeRequest::ProveKey { certificate, .. } => {
                CommitCertificate::from_bytes(certificate)?.statement.key
            }
            NodeRequest::ActivateKey { key, .. } => key.clone(),
            _ => return Ok(()),
        };
        if self.has_destroyed(&key) {
            return Err(destroyed());
        }
        Ok(())
    }

    fn word(&self, destroy: &DestroyKey, signed: &SignedCommand, said: Said) -> DestructionReceipt {
        let receipt = DestructionReceipt {
            node: self.id.clone(),
            key: destroy.key.clone(),
            key_id: destroy.key_id,
            command: signed.digest(),
            said,
            record: 1,
            head: Digest::ZERO,
            signature: Signature([0; 64]),
        };
        let other = ed25519_dalek::SigningKey::from_bytes(&[99; 32]);
        let key = if self.manners.false_signature {
            &other
        } else {
            &self.key
        };
        receipt.sign(key)
    }

    pub(super) fn end_of(&self, name: &KeyName) -> Destruction {
        self.ends.get(name).cloned().unwrap_or_default()
    }

    /// Whether the node has destroyed what it had of a key.
    pub(in super::super) fn has_destroyed(&self, name: &KeyName) -> bool {
        self.end_of(name).destroyed().next().is_some()
    }

    /// Has never heard of the end of a key, and lists what it knew before.
    pub(in super::super) fn forget_end(&mut self, name: &KeyName) {
        self.ends.remove(name);
        self.manners.refuses_ends = Some(Refusal::new(Reason::Overloaded, "not ready"));
    }

    /// Lists a withdrawal no more.
    pub(in super::super) fn forget_withdrawal(&mut self, name: &KeyName, announcement: Digest) {
        let known = self.ends.entry(name.clone()).or_default();
        let said = Said::Withdrawn { announcement };
        let forgotten = |receipt: &DestructionReceipt| receipt.said == said;
        let orders: Vec<Digest> = known
            .receipts
            .iter()
            .filter(|r| forgotten(r))
            .map(|r| r.command)
            .collect();
        known.receipts.retain(|receipt| !forgotten(receipt));
        known
            .orders
            .retain(|order| !orders.contains(&order.digest()));
    }

    /// Lists the end of a key that nobody ordered.
    pub(in super::super) fn make_up_an_end(
        &mut self,
        name: &KeyName,
        id: KeyId,
        order: &SignedCommand,
    ) {
        let destroy = DestroyKey {
            key: name.clone(),
            key_id: id,
            step: DestroyStep::AtOnce,
            reason: "none".to_owned(),
        };
        let said = Said::Announced {
            since: UnixMillis(1),
            from: UnixMillis(2),
            until: UnixMillis(3),
        };
        let receipt = self.word(&destroy, order, said);
        let known = self.ends.entry(name.clone()).or_default();
        known.orders.push(order.clone());
        known.receipts.push(receipt);
    }

    /// Says of an announcement that somebody withdrew it, which nobody did.
    pub(in super::super) fn make_up_a_withdrawal(
        &mut self,
        name: &KeyName,
        id: KeyId,
        announcement: &SignedCommand,
    ) {
        let destroy = DestroyKey {
            key: name.clone(),
            key_id: id,
            step: DestroyStep::Announce,
            reason: "none".to_owned(),
        };
        let said = Said::Withdrawn {
            announcement: announcement.digest(),
        };
        let receipt = self.word(&destroy, announcement, said);
        let known = self.ends.entry(name.clone()).or_default();
        known.receipts = vec![receipt];
    }
}
