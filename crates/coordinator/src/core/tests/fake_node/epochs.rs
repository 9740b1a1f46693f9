//! The epochs of a key at a node: which it has in use, which beside that, and what is erased.

use quorate_model::{
    Digest, Epoch, KeyName, KeyRecord, Reason, Refusal, Signature,
    certificate::{CommitCertificate, PossessionProof},
    identity::sign_digest,
    node_api::{ActivationReceipt, EraseCertificate, EraseReceipt, NodeReply},
    roster::PinnedRoster,
};
use quorate_protocol::{frost::PublicKeys, possession};

use super::{FakeNode, Held, ending::destroyed};

pub(super) fn epoch_changed() -> Refusal {
    Refusal::new(Reason::EpochChanged, "another epoch is in use")
}

impl Held {
    /// What the certificate of the epoch says.
    pub(super) fn record(&self, pinned: &PinnedRoster) -> Result<KeyRecord, Refusal> {
        let certificate = self.certificate.as_ref().unwrap();
        quorate_proto::certificate::verify(certificate, self.birth.as_deref(), pinned)
            .map(|(_, record)| record)
    }

    fn order(&self) -> (Epoch, Digest) {
        (self.epoch, self.session)
    }
}

impl FakeNode {
    /// The epoch that the node has in use.
    pub(in crate::core::tests) fn epoch(&self, key: &KeyName) -> Option<Epoch> {
        self.keys.get(key).map(|held| held.epoch)
    }

    /// Whether the node has a share of the epoch in use.
    pub(in crate::core::tests) fn holds(&self, key: &KeyName) -> bool {
        self.keys.get(key).is_some_and(|held| held.share.is_some())
    }

    /// Whether the node has any share of the key, of whatever epoch.
    pub(in crate::core::tests) fn has_shares(&self, key: &KeyName) -> bool {
        let spare = self.spare.get(key).into_iter().flatten();
        let mut all = spare.chain(self.keys.get(key));
        all.any(|held| held.share.is_some())
    }

    /// Whether the node keeps shares of lower epochs than the one in use.
    pub(in crate::core::tests) fn keeps_old(&self, key: &KeyName) -> bool {
        let spare = self.spare.get(key).into_iter().flatten();
        let used = self.keys.get(key).map(Held::order);
        spare
            .filter(|held| held.share.is_some())
            .any(|held| used.is_some_and(|used| held.order() < used))
    }

    /// The highest epoch of which the node knows a number.
    pub(super) fn prepared_to(&self, key: &KeyName) -> Epoch {
        let all = self.spare.get(key).into_iter().flatten();
        let all = all.chain(self.keys.get(key));
        all.map(|held| held.epoch).max().unwrap_or(Epoch(0))
    }

    /// The certificate of the birth of a key that the node knows.
    pub(super) fn birth_of(&self, key: &KeyName) -> Option<Vec<u8>> {
        let spare = self.spare.get(key).into_iter().flatten();
        let mut all = self.keys.get(key).into_iter().chain(spare);
        all.find_map(|held| held.birth.clone().or_else(|| held.certificate.clone()))
    }

    /// Takes the certificate of an epoch that the node has prepared.
    pub(super) fn certify_spare(
        &mut self,
        parsed: &CommitCertificate,
        certificate: &[u8],
    ) -> Result<(), Refusal> {
        let statement = &parsed.statement;
        let birth = self.birth_of(&statement.key);
        let (_, record) =
            quorate_proto::certificate::verify(certificate, birth.as_deref(), &self.pinned)?;
        let used = self.keys.get(&statement.key);
        if used.is_some_and(|used| used.order() >= (statement.epoch, statement.session)) {
            return Err(epoch_changed());
        }
        let nodes: Vec<_> = record.participants.iter().map(|p| p.node.clone()).collect();
        match used.map(|used| used.record(&self.pinned)) {
            Some(source) => {
                let asked = (record.threshold, nodes.as_slice());
                self.judge_standing(&record.name, &source?, asked)?;
            }
            None => self.standing(&record.name).check_signs(&record.name)?,
        }
        let spare = self.spare.get_mut(&statement.key).into_iter().flatten();
        let mut prepared = spare.filter(|held| held.session == statement.session);
        let Some(held) = prepared.next() else {
            return Err(Refusal::new(Reason::ProtocolViolation, "not prepared"));
        };
        held.certificate = Some(certificate.to_vec());
        Ok(())
    }

    /// Takes a proof: the epoch is the one in use, whether the node has a share of it or not.
    pub(super) fn activate(
        &mut self,
        key: &KeyName,
        certificate: &[u8],
        proof: Vec<u8>,
    ) -> Result<NodeReply, Refusal> {
        if self.manners.stuck.contains(key) {
            return Err(Refusal::new(Reason::ShareUnavailable, "no share"));
        }
        let Some(birth) = self.birth_of(key) else {
            return Err(Refusal::new(Reason::KeyUnknown, "no such key"));
        };
        let parsed = CommitCertificate::from_bytes(certificate)?;
        let later = parsed.statement.source.map(|_| birth);
        let (_, record) =
            quorate_proto::certificate::verify(certificate, later.as_deref(), &self.pinned)?;
        let public = PublicKeys::of_record(&record).unwrap();
        let read = PossessionProof::from_bytes(&proof)?;
        possession::verify(&self.pinned, &record, &public, &read)?;
        let order = (parsed.statement.epoch, parsed.statement.session);
        let used = self.keys.get(key).map(Held::order);
        if used.is_some_and(|used| used > order) {
            return Err(epoch_changed());
        }
        if used != Some(order) {
            self.move_up(certificate, later, &parsed, &record)?;
        }
        let held = self.keys.get_mut(key).unwrap();
        held.certificate = Some(certificate.to_vec());
        held.proof = Some(proof);
        self.reshares.remove(key);
        let mut receipt = ActivationReceipt {
            node: self.id.clone(),
            key: key.clone(),
            epoch: record.epoch,
            certificate: record.certificate,
            sequence: 1,
            signature: Signature([0; 64]),
        };
        receipt.signature = sign_digest(&self.key, &receipt.digest());
        Ok(NodeReply::Activated(receipt))
    }

    fn move_up(
        &mut self,
        certificate: &[u8],
        birth: Option<Vec<u8>>,
        parsed: &CommitCertificate,
        record: &KeyRecord,
    ) -> Result<(), Refusal> {
        let session = parsed.statement.session;
        let spare = self.spare.entry(record.name.clone()).or_default();
        let at = spare.iter().position(|held| held.session == session);
        let mut next = match at {
            Some(at) => spare.remove(at),
            None if record.index_of(&self.id).is_some() => {
                return Err(Refusal::new(Reason::ProtocolViolation, "not prepared"));
            }
            None => Held {
                certificate: None,
                proof: None,
                birth,
                session,
                epoch: record.epoch,
                prepared: record.epoch.0,
                scheme: record.scheme,
                threshold: record.threshold,
                share: None,
                group_key: record.group_key.clone(),
                verifying_share: Vec::new(),
            },
        };
        next.certificate = Some(certificate.to_vec());
        let old = self.keys.insert(record.name.clone(), next);
        self.spare
            .entry(record.name.clone())
            .or_default()
            .extend(old);
        Ok(())
    }

    pub(super) fn erase(&mut self, erasures: &[EraseCertificate]) -> NodeReply {
        let outcomes = erasures.iter().map(|erasure| self.erase_one(erasure));
        NodeReply::Erased(outcomes.collect())
    }

    fn erase_one(&mut self, erasure: &EraseCertificate) -> Result<EraseReceipt, Refusal> {
        if let Some(refusal) = &self.manners.refuses_erasures {
            return Err(refusal.clone());
        }
        if self.has_destroyed(&erasure.key) {
            return Err(destroyed());
        }
        let Some(held) = self.keys.get(&erasure.key) else {
            return Err(Refusal::new(Reason::KeyUnknown, "no such key"));
        };
        let record = held.record(&self.pinned)?;
        let vouched = erasure.receipts.first().map(|receipt| receipt.certificate);
        if record.epoch != erasure.epoch || vouched != Some(record.certificate) {
            return Err(epoch_changed());
        }
        erasure.verify(&self.pinned, &record)?;
        let used = held.order();
        if let Some(spare) = self.spare.get_mut(&erasure.key) {
            spare.retain(|held| held.order() > used);
        }
        let mut receipt = EraseReceipt {
            node: self.id.clone(),
            key: erasure.key.clone(),
            epoch: record.epoch,
            certificate: record.certificate,
            sequence: 2,
            signature: Signature([0; 64]),
        };
        receipt.signature = sign_digest(&self.key, &receipt.digest());
        Ok(receipt)
    }
}
