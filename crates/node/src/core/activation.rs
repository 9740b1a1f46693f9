//! From a certificate to an epoch in use (P20, P28, P30).
//!
//! A node proves possession for one certified creation of a key name, ever. A key counts only with
//! the proof of all holders, so a certificate of an abandoned attempt that a coordinator kept back
//! can never become a second key of the same name (I4).
//!
//! Later epochs are made of the one in use. Of several, the highest that is proven counts; a node
//! that learns of it moves up, whether it holds a share of it or not, and does not go back.

use std::sync::Arc;

use quorate_intent::{ItemTweak, SigningItem};
use quorate_model::{
    CommandId, DerivationPath, Epoch, KeyName, KeyRecord, KeyState, Reason, Refusal, Signature,
    audit::{Entry, Judgment, SharePurpose, ShareReleased},
    certificate::{CommitCertificate, PossessionProof},
    identity::sign_digest,
    node_api::{ActivationReceipt, NodeReply},
    payload::pop_message,
    share::{SetOfSigners, ShareReceipt, share_batch_digest},
};
use quorate_protocol::frost::PublicKeys;

use super::{
    Context, Fatal, NodeCore, Outcome, Pending, State, Subject,
    binding::check_binding,
    destroying::check_not_destroyed,
    ledger::{self, KeyRow},
    loaded::{LoadedKey, epoch_changed, unknown},
    lock,
    signing::item_record,
    standing::check_standing,
};
use crate::disk::Disk;

/// A certificate with the record that follows from it, and what the node knows of its key.
type OwnCertificate = (CommitCertificate, KeyRecord, Option<KeyRow>);

/// The refusal of a proof that is not asked for any more.
fn outdated(row: &KeyRow, certificate: &CommitCertificate) -> Option<Refusal> {
    let statement = &certificate.statement;
    let active = row.active()?;
    if active.order() < (statement.epoch, statement.session) {
        return None;
    }
    // The proof exists; whoever lost it finds it in the listing of keys.
    Some(if active.hash == certificate.hash() {
        super::ceremony::exists(&statement.key)
    } else {
        epoch_changed(&statement.key, active.epoch)
    })
}

/// The refusal of an epoch below the one in use (P30).
fn superseded(row: &KeyRow, certificate: &CommitCertificate) -> Option<Refusal> {
    let statement = &certificate.statement;
    let active = row.active()?;
    (active.order() > (statement.epoch, statement.session))
        .then(|| epoch_changed(&statement.key, active.epoch))
}

fn command_id_of(certificate: &CommitCertificate) -> Result<CommandId, Fatal> {
    quorate_proto::command::decode(&certificate.command.bytes)
        .map(|command| command.id)
        .map_err(|_| Fatal::Invariant("a verified certificate has a command"))
}

pub(super) fn refused(refusal: Refusal) -> Outcome {
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
        let (parsed, record, row) = match self.own_certificate(certificate)? {
            Ok(own) => own,
            Err(refusal) => return self.refused(context, Subject::default(), refusal),
        };
        let subject = Subject {
            command: Some(record.command),
            key: Some(record.name.clone()),
            epoch: Some(record.epoch),
            ..Subject::default()
        };
        if let Err(refusal) = self.check_own(&parsed, &record, row.as_ref()) {
            return self.refused(context, subject, refusal);
        }
        if let Some(refusal) = row.as_ref().and_then(|row| outdated(row, &parsed)) {
            return Ok(refused(refusal));
        }
        let news = row.is_none_or(|row| row.certified(&record.certificate).is_none());
        let name = record.name.clone();
        let key = match self.load_share(record, false)? {
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
        let judged = match self.check_own(&parsed, &key.record, again.as_ref()) {
            Ok(()) => match check_binding(&state, command_id, parsed.command.digest())? {
                Ok(()) => self.check_proves(&mut state, context, &parsed, again.as_ref())?,
                refused => refused,
            },
            refused => refused,
        };
        if let Err(refusal) = judged {
            drop(state);
            return self.refused(context, subject, refusal);
        }
        // Every proof takes a record, and only the first brings the key forward for sure.
        if let Some(refusal) = again.as_ref().and_then(|row| outdated(row, &parsed)) {
            return Ok(refused(refusal));
        }
        let repeated = again.is_some_and(|row| row.certified(&parsed.hash()).is_some());
        if repeated && !state.repeated_proofs.take(context.reading.monotonic_ms) {
            return Ok(refused(Refusal::new(
                Reason::Overloaded,
                format!("key \"{name}\" was proven too often: try again later"),
            )));
        }
        let time = state.clock.elapsed(context.reading);
        let appended = self.record(&mut state, time, entries)?;
        drop(state);

        let core = Arc::clone(self);
        let certificate = parsed.hash();
        Ok(Pending::answer(appended, move |committed| {
            let statement = core.release(committed, share_at, &key, certificate, tasks)?;
            let batch = vec![statement.digest()];
            let signature = sign_digest(&core.identity, &share_batch_digest(&batch));
            Ok(NodeReply::Proved(ShareReceipt {
                statement,
                batch,
                signature,
            }))
        }))
    }

    /// Judges what may have changed since shares were prepared: a run that was held back does not
    /// outlive its command, nor take a key to others that has been suspended meanwhile (P33).
    fn check_proves(
        &self,
        state: &mut State,
        context: &mut Context<'_>,
        certificate: &CommitCertificate,
        row: Option<&KeyRow>,
    ) -> Result<Result<(), Refusal>, Fatal> {
        let statement = &certificate.statement;
        if let Err(refusal) = check_not_destroyed(state, &statement.key)? {
            return Ok(Err(refusal));
        }
        if statement.source.is_none() {
            return Ok(Ok(()));
        }
        let command = quorate_proto::command::decode(&certificate.command.bytes)
            .map_err(|_| Fatal::Invariant("a verified certificate has a command"))?;
        let now = match self.trusted_time(state, context)? {
            Ok(now) => now,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Err(refusal) = quorate_proto::admission::check_time(&command, now) {
            return Ok(Err(refusal));
        }
        let standing = ledger::standing(&*state.index, &statement.key)?.standing;
        if standing.state(true) == KeyState::Active {
            return Ok(Ok(()));
        }
        let active = row.and_then(|row| Some((row, row.active()?)));
        let source = active.and_then(|(row, active)| self.record_of(row, active).ok());
        let stays = source.is_some_and(|source| {
            source.threshold == statement.threshold && source.participants == statement.participants
        });
        Ok(if stays {
            Ok(())
        } else {
            check_standing(state, &statement.key)?
        })
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
        // Another creation of the name is certified here (I4). Epochs of other keys than the one
        // that is known were not verified beside its birth.
        let other = row
            .and_then(|row| Some((row, row.origin()?)))
            .is_some_and(|(row, _)| {
                statement.source.is_none() && row.certified(&certificate.hash()).is_none()
            });
        if other {
            Err(super::ceremony::exists(&record.name))
        } else {
            Ok(())
        }
    }

    /// What the node knows of a key, unless it is destroyed.
    fn row_of(&self, name: &KeyName) -> Result<Result<Option<KeyRow>, Refusal>, Fatal> {
        let state = lock(&self.state);
        if let Err(refusal) = check_not_destroyed(&state, name)? {
            return Ok(Err(refusal));
        }
        Ok(Ok(ledger::key(&*state.index, name)?))
    }

    /// Reads a certificate of an epoch that this node may hold, verified beside the birth that it
    /// knows, with what it knows of the key.
    pub(super) fn own_certificate(
        &self,
        certificate: &[u8],
    ) -> Result<Result<OwnCertificate, Refusal>, Fatal> {
        let parsed = match CommitCertificate::from_bytes(certificate) {
            Ok(parsed) => parsed,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let row = match self.row_of(&parsed.statement.key)? {
            Ok(row) => row,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let birth = if parsed.statement.source.is_none() {
            None
        } else {
            match row.as_ref().and_then(KeyRow::origin) {
                Some(birth) => Some(birth),
                None => return Ok(Err(unknown(&parsed.statement.key))),
            }
        };
        let verified = quorate_proto::certificate::verify(certificate, birth, &self.pinned());
        Ok(verified.map(|(parsed, record)| (parsed, record, row)))
    }

    /// Takes the finished proof of possession: the epoch is the one in use from here on.
    pub(super) fn activate_key(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        (name, epoch): (&KeyName, Epoch),
        certificate: &[u8],
        proof: &[u8],
    ) -> Result<Outcome, Fatal> {
        let subject = Subject {
            key: Some(name.clone()),
            epoch: Some(epoch),
            ..Subject::default()
        };
        let parsed = match PossessionProof::from_bytes(proof) {
            Ok(parsed) => parsed,
            Err(refusal) => return self.refused(context, subject, refusal),
        };
        let row = match self
            .row_of(name)?
            .and_then(|row| row.ok_or_else(|| unknown(name)))
        {
            Ok(row) => row,
            Err(refusal) => return self.refused(context, subject, refusal),
        };
        let held = row.certified(&parsed.certificate).cloned();
        let certificate = held
            .as_ref()
            .map_or(certificate, |held| held.certificate.as_slice());
        let (own, record, row) = match self.own_certificate(certificate)? {
            Ok((own, record, Some(row))) if own.hash() == parsed.certificate => (own, record, row),
            Ok(_) => {
                let refusal = Refusal::new(
                    Reason::EpochChanged,
                    format!("key \"{name}\" is not certified in epoch {epoch}"),
                );
                return self.refused(context, subject, refusal);
            }
            Err(refusal) => return self.refused(context, subject, refusal),
        };
        if record.name != *name || record.epoch != epoch {
            let refusal = Refusal::new(
                Reason::EpochChanged,
                format!("the proof is not of epoch {epoch} of key \"{name}\""),
            );
            return self.refused(context, subject, refusal);
        }
        if let Some(refusal) = superseded(&row, &own) {
            return Ok(refused(refusal));
        }
        // What a holder says of its share it says of one that it can use at this moment (P29).
        let holds = record.index_of(&self.me).is_some();
        // A birth is judged by nobody but its holders: it may be that of another key of the name.
        let judged = holds || own.statement.source.is_none();
        let forgotten = self.may_have_forgotten(&row, &own)?;
        if held.is_none()
            && judged
            && !forgotten
            && let Err(refusal) = self.check_own(&own, &record, Some(&row))
        {
            return self.refused(context, subject, refusal);
        }
        let mut lost = None;
        if holds && let Err(refusal) = self.load_share(record.clone(), false)? {
            if !forgotten {
                return self.refused(context, subject, refusal);
            }
            lost = Some(refusal);
        }
        // Known already, and without the share: its word would be that it has it.
        if let Some(refusal) = &lost
            && held.as_ref().is_some_and(|held| held.proof.is_some())
        {
            return Ok(refused(refusal.clone()));
        }
        if let Some((sequence, _)) = held.as_ref().and_then(|held| held.proof.as_ref()) {
            // A receipt names a record, so it leaves only when that record is durable.
            if self.journal.durable().sequence() < *sequence {
                return Ok(refused(Refusal::new(
                    Reason::Overloaded,
                    "the activation is being written: ask again",
                )));
            }
            return Ok(Outcome::Ready(Ok(
                self.activation_receipt(&record, *sequence)
            )));
        }
        if let Err(refusal) = self.check_proof(&record, &parsed) {
            return self.refused(context, subject, refusal);
        }
        let entries = |row: &KeyRow| {
            let news = row.certified(&parsed.certificate).is_none();
            let certified = news.then(|| Entry::KeyCertified {
                key: name.clone(),
                epoch,
                certificate: certificate.to_vec(),
            });
            let activated = Entry::KeyActivated {
                key: name.clone(),
                epoch,
                proof: proof.to_vec(),
            };
            certified.into_iter().chain([activated]).collect()
        };
        self.take_epoch(context, (subject, lost), &own, &record, entries)
    }

    /// Whether this node may have prepared and proven an epoch before it was restored from a backup, and
    /// has forgotten it: it moves up without its share. Others may have told it that the epoch is in
    /// use, or nobody had heard of it yet; its number is one of those that were left out then.
    fn may_have_forgotten(&self, row: &KeyRow, own: &CommitCertificate) -> Result<bool, Fatal> {
        if own.statement.source.is_none() {
            return Ok(false);
        }
        let epoch = own.statement.epoch;
        let state = lock(&self.state);
        if ledger::superseded(&*state.index, &own.statement.key)?.is_some() {
            return Ok(true);
        }
        let prepared = row.prepared.iter().any(|mark| mark.epoch == epoch);
        let left_out = epoch <= row.prepared_to && !prepared;
        Ok(left_out && ledger::returned(&*state.index)?.is_some())
    }

    /// Records that an epoch is in use, unless something else came first.
    fn take_epoch(
        self: &Arc<Self>,
        context: &Context<'_>,
        (subject, lost): (Subject, Option<Refusal>),
        own: &CommitCertificate,
        record: &KeyRecord,
        entries: impl FnOnce(&KeyRow) -> Vec<Entry>,
    ) -> Result<Outcome, Fatal> {
        let name = &record.name;
        let mut state = lock(&self.state);
        let row = ledger::key(&*state.index, name)?.unwrap_or_default();
        if let Err(refusal) = check_not_destroyed(&state, name)? {
            drop(state);
            return self.refused(context, subject, refusal);
        }
        if let Some(refusal) = superseded(&row, own) {
            return Ok(refused(refusal));
        }
        let taken = row
            .certified(&record.certificate)
            .is_some_and(|held| held.proof.is_some());
        if taken {
            return Ok(refused(Refusal::new(
                Reason::Overloaded,
                "the activation is being written: ask again",
            )));
        }
        if own.statement.source.is_none()
            && let Err(refusal) = self.check_own(own, record, Some(&row))
        {
            drop(state);
            return self.refused(context, subject, refusal);
        }
        // Once a later epoch is proven, all its holders have a part in it: no word against its
        // command keeps a node behind.
        if own.statement.source.is_none()
            && let Err(refusal) = check_binding(&state, command_id_of(own)?, own.command.digest())?
        {
            drop(state);
            return self.refused(context, subject, refusal);
        }
        let time = state.clock.elapsed(context.reading);
        let appended = self.record(&mut state, time, entries(&row))?;
        if !self.stays_behind() {
            self.loaded.forget(name);
        }
        drop(state);
        self.forget_sessions(name);
        let core = Arc::clone(self);
        let sequence = appended.last();
        let record = record.clone();
        Ok(Pending::answer(appended, move |_| match lost {
            // Its word would be that it has the share.
            Some(refusal) => Err(refusal),
            None => Ok(core.activation_receipt(&record, sequence)),
        }))
    }

    #[cfg(debug_assertions)]
    fn stays_behind(&self) -> bool {
        self.stays_behind.load(std::sync::atomic::Ordering::Relaxed)
    }

    #[cfg(not(debug_assertions))]
    #[expect(
        clippy::unused_self,
        reason = "the seam is in builds with debug assertions"
    )]
    const fn stays_behind(&self) -> bool {
        false
    }

    /// The ceremonies that made a key have no more to say, and give room to others.
    pub(super) fn forget_sessions(&self, name: &KeyName) {
        lock(&self.sessions).retain(|_, session| session.key() != name);
        self.ecdsa.forget_set_ups(name);
    }

    fn activation_receipt(&self, record: &KeyRecord, sequence: u64) -> NodeReply {
        let mut receipt = ActivationReceipt {
            node: self.me.clone(),
            key: record.name.clone(),
            epoch: record.epoch,
            certificate: record.certificate,
            sequence,
            signature: Signature([0; 64]),
        };
        receipt.signature = sign_digest(&self.identity, &receipt.digest());
        NodeReply::Activated(receipt)
    }

    /// Checks a proof whole: who took part, every single share, and the signature.
    fn check_proof(&self, record: &KeyRecord, proof: &PossessionProof) -> Result<(), Refusal> {
        let public = PublicKeys::of_record(record)
            .map_err(|_| Refusal::new(Reason::ProtocolViolation, "the key is no key"))?;
        quorate_protocol::possession::verify(&self.pinned(), record, &public, proof)
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
                Ok(Pending::answer(appended, move |_| Err(refusal)))
            }
            None if refusal.reason == Reason::CommandRejected => {
                Ok(refused(self.recorded_rejection(refusal)))
            }
            _ => Ok(refused(refusal)),
        }
    }
}
