//! From a certificate to an active key (P20), and evidence against peers (P16).
//!
//! A node proves possession for one certified creation of a key name, ever. A key counts only with
//! the proof of all holders, so a certificate of an abandoned attempt that a coordinator kept back
//! can never become a second key of the same name (I4).

use std::sync::Arc;

use quorate_intent::{ItemTweak, SigningItem};
use quorate_model::{
    CommandId, DerivationPath, Epoch, KeyName, KeyRecord, NodeId, Reason, Refusal, Signature,
    audit::{Entry, Judgment, SharePurpose, ShareReleased},
    certificate::{CommitCertificate, PossessionProof},
    identity::sign_digest,
    node_api::{ActivationReceipt, NodeReply},
    payload::pop_message,
    share::{SetOfSigners, ShareReceipt, share_batch_digest},
    tagged::{Tag, digest_of},
};
use quorate_protocol::evidence::{self, Evidence};

use super::{
    Context, Fatal, NodeCore, Outcome, Pending, Subject,
    binding::check_binding,
    ledger::{self, KeyRow},
    loaded::LoadedKey,
    lock,
    signing::item_record,
};
use crate::{disk::Disk, journal::Committed};

/// The most bytes of evidence that a node records.
const MAX_EVIDENCE_BYTES: usize = 256 * 1024;

/// The most pieces of evidence against one node that are recorded in one run of the process.
const MAX_EVIDENCE_PER_NODE: usize = 16;

fn command_id_of(certificate: &CommitCertificate) -> Result<CommandId, Fatal> {
    quorate_proto::command::decode(&certificate.command.bytes)
        .map(|command| command.id)
        .map_err(|_| Fatal::Invariant("a verified certificate has a command"))
}

fn refused(refusal: Refusal) -> Outcome {
    Outcome::Ready(Err(refusal))
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Takes a commit certificate and answers with this node's share of the proof of possession.
    pub(super) fn prove_key(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        certificate: &[u8],
        set: &SetOfSigners,
    ) -> Result<Outcome, Fatal> {
        let (parsed, record) =
            match quorate_proto::certificate::verify(certificate, None, &self.pinned) {
                Ok(verified) => verified,
                Err(refusal) => return self.refused(context, Subject::default(), refusal),
            };
        let subject = Subject {
            command: Some(record.command),
            key: Some(record.name.clone()),
            epoch: Some(record.epoch),
            ..Subject::default()
        };
        let row = ledger::key(&*lock(&self.state).index, &record.name)?;
        if let Err(refusal) = self.check_own(&parsed, &record, row.as_ref()) {
            return self.refused(context, subject, refusal);
        }
        if row.as_ref().is_some_and(|row| row.activated.is_some()) {
            // The proof exists; whoever lost it finds it in the listing of keys.
            return Ok(refused(super::ceremony::exists(&record.name)));
        }
        let news = row.is_none_or(|row| row.certified.is_none());
        let name = record.name.clone();
        let key = match self.load_share(record, parsed.statement.epoch, false)? {
            Ok(key) => key,
            Err(refusal) => return self.refused(context, subject, refusal),
        };
        let nonces = self.take_tickets(context, &key, std::slice::from_ref(set));
        if let Err(refusal) = self.is_paired(&key)? {
            return self.refused(context, subject, refusal);
        }
        let proof = SigningItem {
            message: pop_message(&parsed.hash()),
            path: DerivationPath::ROOT,
            tweak: ItemTweak::None,
            input: None,
        };
        let everybody = key.record.participants.len();
        let tasks = nonces.and_then(|nonces| {
            self.tasks(
                &key,
                vec![proof],
                std::slice::from_ref(set),
                nonces,
                everybody,
            )
        });
        let tasks = match tasks {
            Ok(tasks) => tasks,
            Err(refusal) => return self.refused(context, subject, refusal),
        };

        let mut entries = Vec::new();
        if news {
            entries.push(Entry::KeyCertified {
                key: name.clone(),
                epoch: key.record.epoch,
                certificate: certificate.to_vec(),
            });
        }
        let command_id = command_id_of(&parsed)?;
        entries.push(self.possession_entry(
            &key,
            &parsed,
            tasks.iter().map(item_record).collect(),
        )?);
        let share_at = entries.len().saturating_sub(1);
        let mut state = lock(&self.state);
        let again = ledger::key(&*state.index, &name)?;
        let judged = self
            .check_own(&parsed, &key.record, again.as_ref())
            .map_or_else(
                |refusal| Ok(Err(refusal)),
                |()| check_binding(&state, command_id, parsed.command.digest()),
            )?;
        if let Err(refusal) = judged {
            drop(state);
            return self.refused(context, subject, refusal);
        }
        // Every proof takes a record, and only the first brings the key forward for sure.
        let repeated = again.is_some_and(|row| row.certified.is_some());
        if repeated && !state.repeated_proofs.take(context.reading.monotonic_ms) {
            return Ok(refused(Refusal::new(
                Reason::Overloaded,
                format!("key \"{name}\" was proven too often: try again later"),
            )));
        }
        let time = state.clock.elapsed(context.reading);
        let appended = self.record(&mut state, time, entries)?;
        drop(state);
        self.loaded.forget(&name);

        let core = Arc::clone(self);
        let certificate = parsed.hash();
        Ok(Outcome::Pending(Pending {
            appended,
            release: Box::new(move |committed| {
                let statement = core.release(committed, share_at, &key, certificate, tasks)?;
                let batch = vec![statement.digest()];
                let signature = sign_digest(&core.identity, &share_batch_digest(&batch));
                Ok(NodeReply::Proved(ShareReceipt {
                    statement,
                    batch,
                    signature,
                }))
            }),
        }))
    }

    fn possession_entry(
        &self,
        key: &LoadedKey,
        certificate: &CommitCertificate,
        items: Vec<quorate_model::audit::ItemRecord>,
    ) -> Result<Entry, Fatal> {
        let command = quorate_proto::command::decode(&certificate.command.bytes)
            .map_err(|_| Fatal::Invariant("a verified certificate has a command"))?;
        Ok(Entry::ShareReleased(ShareReleased {
            judgment: Judgment {
                command: certificate.command.digest(),
                command_id: command.id,
                endorsements: certificate.command.endorsement_set_hash(),
                policy: self.policy(),
                rule: "role:admin".to_owned(),
            },
            expires: command.expires,
            key: key.record.name.clone(),
            epoch: key.record.epoch,
            purpose: SharePurpose::ProofOfPossession,
            items,
        }))
    }

    /// Checks that the certificate is of the sharing that this node prepared, and of the one
    /// creation that it proves for this name.
    pub(super) fn check_own(
        &self,
        certificate: &CommitCertificate,
        record: &KeyRecord,
        row: Option<&KeyRow>,
    ) -> Result<(), Refusal> {
        let statement = &certificate.statement;
        let prepared = row.and_then(|row| {
            row.prepared.iter().find(|mark| {
                mark.epoch == statement.epoch
                    && mark.session == statement.session
                    && mark.statement == statement.digest()
            })
        });
        if record.index_of(&self.me).is_none() || prepared.is_none() {
            return Err(Refusal::new(
                Reason::ProtocolViolation,
                format!(
                    "node {} has not prepared epoch {}",
                    self.me, statement.epoch
                ),
            ));
        }
        let certified = row.and_then(|row| row.certified.as_ref());
        let other = certified.is_some_and(|(_, held)| {
            CommitCertificate::from_bytes(held).map(|held| held.hash()) != Ok(certificate.hash())
        });
        if other {
            Err(super::ceremony::exists(&record.name))
        } else {
            Ok(())
        }
    }

    /// Takes the finished proof of possession: the key becomes active.
    pub(super) fn activate_key(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        name: &KeyName,
        epoch: Epoch,
        proof: &[u8],
    ) -> Result<Outcome, Fatal> {
        let subject = Subject {
            key: Some(name.clone()),
            epoch: Some(epoch),
            ..Subject::default()
        };
        let key = match self.load(name)? {
            Ok(key) if key.record.epoch == epoch => key,
            Ok(_) => {
                let refusal = Refusal::new(
                    Reason::EpochChanged,
                    format!("key \"{name}\" is not certified in epoch {epoch}"),
                );
                return self.refused(context, subject, refusal);
            }
            Err(refusal) => return self.refused(context, subject, refusal),
        };
        if let Err(refusal) = self.check_proof(&key, proof) {
            return self.refused(context, subject, refusal);
        }
        let mut state = lock(&self.state);
        let row = ledger::key(&*state.index, name)?;
        let certificate = row.as_ref().and_then(|row| row.certified.as_ref());
        if let Some(parsed) =
            certificate.and_then(|(_, bytes)| CommitCertificate::from_bytes(bytes).ok())
            && let Err(refusal) =
                check_binding(&state, command_id_of(&parsed)?, parsed.command.digest())?
        {
            drop(state);
            return self.refused(context, subject, refusal);
        }
        if let Some((sequence, _)) = row.and_then(|row| row.activated) {
            drop(state);
            // A receipt names a record, so it leaves only when that record is durable.
            if self.journal.durable().sequence() < sequence {
                return Ok(refused(Refusal::new(
                    Reason::Overloaded,
                    "the activation is being written: ask again",
                )));
            }
            return Ok(Outcome::Ready(Ok(self.activation_receipt(&key, sequence))));
        }
        let time = state.clock.elapsed(context.reading);
        let entry = Entry::KeyActivated {
            key: name.clone(),
            epoch,
            proof: proof.to_vec(),
        };
        let appended = self.record(&mut state, time, vec![entry])?;
        drop(state);
        self.loaded.forget(name);
        self.forget_sessions(name);
        let core = Arc::clone(self);
        let sequence = appended.last();
        Ok(Outcome::Pending(Pending {
            appended,
            release: Box::new(move |_| Ok(core.activation_receipt(&key, sequence))),
        }))
    }

    /// The ceremonies that made a key have no more to say, and give room to others.
    fn forget_sessions(&self, name: &KeyName) {
        lock(&self.sessions).retain(|_, session| session.key() != name);
        self.ecdsa.forget_set_ups(name);
    }

    fn activation_receipt(&self, key: &LoadedKey, sequence: u64) -> NodeReply {
        let mut receipt = ActivationReceipt {
            node: self.me.clone(),
            key: key.record.name.clone(),
            epoch: key.record.epoch,
            certificate: key.record.certificate,
            sequence,
            signature: Signature([0; 64]),
        };
        receipt.signature = sign_digest(&self.identity, &receipt.digest());
        NodeReply::Activated(receipt)
    }

    /// Checks a proof whole: who took part, every single share, and the signature.
    fn check_proof(&self, key: &LoadedKey, proof: &[u8]) -> Result<(), Refusal> {
        let proof = PossessionProof::from_bytes(proof)?;
        quorate_protocol::possession::verify(&self.pinned, &key.record, &key.public, &proof)
    }

    /// Takes evidence against a peer into the audit log, if it proves anything (P16).
    pub(super) fn record_evidence(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        evidence: Vec<u8>,
    ) -> Result<Outcome, Fatal> {
        if evidence.len() > MAX_EVIDENCE_BYTES {
            return Ok(refused(Refusal::new(
                Reason::TooLarge,
                format!(
                    "the evidence has {} bytes, at most {MAX_EVIDENCE_BYTES}",
                    evidence.len()
                ),
            )));
        }
        let parsed = Evidence::from_bytes(&evidence);
        // A signature share is judged by the key that it claims to be of, as this node knows it.
        let key = match &parsed {
            Ok(Evidence::BadSignatureShare(share)) => self.load(&share.receipt.statement.key)?.ok(),
            _ => None,
        };
        let signing = key.as_ref().map(|key| evidence::SigningFacts {
            key: &key.record.name,
            epoch: key.record.epoch,
            participants: &key.record.participants,
            keys: &key.public,
            chain_code: &key.record.chain_code,
        });
        let blamed = parsed
            .map_err(|error| error.to_string())
            .and_then(|evidence| {
                let identity_of = |node: &NodeId| {
                    self.pinned
                        .roster()
                        .node(node)
                        .map(|card| card.identity_key)
                };
                let facts = evidence::Facts {
                    identity_of: &identity_of,
                    signing,
                };
                evidence.verify(&facts).map_err(|error| error.to_string())
            });
        let blamed = match blamed {
            Ok(blamed) => blamed.node,
            Err(why) => {
                let refusal = Refusal::new(
                    Reason::ProtocolViolation,
                    format!("the evidence proves nothing: {why}"),
                );
                return self.refused(context, Subject::default(), refusal);
            }
        };
        let mut state = lock(&self.state);
        let digest = digest_of(Tag::Audit, &evidence);
        let seen = state.blamed.entry(blamed.clone()).or_default();
        if seen.contains(&digest) {
            return Ok(Outcome::Ready(Ok(NodeReply::Done)));
        }
        if seen.len() >= MAX_EVIDENCE_PER_NODE || !state.refusals.take(context.reading.monotonic_ms)
        {
            return Ok(refused(Refusal::new(
                Reason::Overloaded,
                "too much evidence at once: try again later",
            )));
        }
        let time = state.clock.elapsed(context.reading);
        let entry = Entry::PeerBlamed {
            node: blamed.clone(),
            evidence,
        };
        let appended = self.record(&mut state, time, vec![entry])?;
        state.blamed.entry(blamed).or_default().insert(digest);
        Ok(Outcome::Pending(Pending {
            appended,
            release: Box::new(|_| Ok(NodeReply::Done)),
        }))
    }

    /// Answers with a refusal and records it.
    pub(super) fn refused(
        &self,
        context: &Context<'_>,
        subject: Subject,
        refusal: Refusal,
    ) -> Result<Outcome, Fatal> {
        let appended = self.refuse(&mut lock(&self.state), context.reading, subject, &refusal)?;
        match appended {
            // Final only once it is durable (P8): the answer waits for it.
            Some(appended) if refusal.reason == Reason::CommandRejected => {
                let release = Box::new(move |_: &Committed| Err(refusal));
                Ok(Outcome::Pending(Pending { appended, release }))
            }
            None if refusal.reason == Reason::CommandRejected => {
                Ok(refused(self.recorded_rejection(refusal)))
            }
            _ => Ok(refused(refusal)),
        }
    }
}
