//! The end of old epochs (P29).
//!
//! Shares of lower epochs are worth keeping until every holder of a higher one has said that its
//! share is durable, that it holds the certificate and has verified the proof. From then on they
//! are worth stealing and nothing else. The record comes first: whatever dies after it erases when
//! it starts again.

use std::{collections::BTreeSet, sync::Arc};

use quorate_model::{
    Digest, Epoch, KeyName, Reason, Refusal, Signature,
    audit::Entry,
    identity::sign_digest,
    node_api::{EraseCertificate, EraseReceipt, NodeReply},
};

use rand_core::CryptoRngCore;

use super::{
    Context, Fatal, NodeCore, Outcome, Pending, State,
    destroying::check_not_destroyed,
    ledger::{self, EpochRow, KeyRow},
    loaded::{epoch_changed, unknown},
    lock,
};
use crate::{disk::Disk, journal::Committed, keyring::ShareId};

/// An erasure that is carried out, and where its record stands.
struct Erasure {
    key: KeyName,
    epoch: Epoch,
    certificate: Digest,
    record: Place,
}

enum Place {
    /// At this sequence.
    Before(u64),
    /// Among the records that are being written, at this place.
    Now(usize),
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Erases shares of old epochs, all of them with one rewrite of the keyring.
    pub(super) fn erase_epochs(
        self: &Arc<Self>,
        context: &Context<'_>,
        erasures: Vec<EraseCertificate>,
    ) -> Result<Outcome, Fatal> {
        let mut verified = Vec::with_capacity(erasures.len());
        let mut names = BTreeSet::new();
        for erasure in erasures {
            let judged = if names.insert(erasure.key.clone()) {
                self.verify_erasure(&erasure)?
            } else {
                Err(Refusal::new(
                    Reason::RequestInvalid,
                    format!("key \"{}\" is named twice", erasure.key),
                ))
            };
            verified.push(judged.map(|()| erasure));
        }
        let mut state = lock(&self.state);
        let mut shares = BTreeSet::new();
        let mut entries = Vec::new();
        let mut outcomes = Vec::with_capacity(verified.len());
        for erasure in verified {
            outcomes.push(match erasure {
                Ok(erasure) => self.judge_erasure(&state, &erasure, &mut shares, &mut entries)?,
                Err(refusal) => Err(refusal),
            });
        }
        if entries.is_empty() {
            drop(state);
            return Ok(Outcome::Ready(Ok(self.erase_receipts(outcomes, None))));
        }
        let time = state.clock.elapsed(context.reading);
        let appended = self.record(&mut state, time, entries)?;
        drop(state);
        let core = Arc::clone(self);
        Ok(Pending::act(appended, move |committed, rng| {
            if !shares.is_empty() {
                core.vault.erase(&shares, rng)?;
                core.ecdsa.forget_pairings(&shares);
            }
            Ok(Ok(core.erase_receipts(outcomes, Some(committed))))
        }))
    }

    /// Checks that all holders of the epoch in use have vouched for it.
    fn verify_erasure(&self, erasure: &EraseCertificate) -> Result<Result<(), Refusal>, Fatal> {
        let state = lock(&self.state);
        if let Err(refusal) = check_not_destroyed(&state, &erasure.key)? {
            return Ok(Err(refusal));
        }
        let row = ledger::key(&*state.index, &erasure.key)?;
        drop(state);
        let Some(row) = row else {
            return Ok(Err(unknown(&erasure.key)));
        };
        Ok(in_use(&row, erasure)
            .and_then(|active| self.record_of(&row, active))
            .and_then(|record| erasure.verify(&self.pinned(), &record)))
    }

    /// What is to be erased, and the record of it; none where it was recorded before.
    fn judge_erasure(
        &self,
        state: &State,
        erasure: &EraseCertificate,
        shares: &mut BTreeSet<ShareId>,
        entries: &mut Vec<Entry>,
    ) -> Result<Result<Erasure, Refusal>, Fatal> {
        if let Err(refusal) = check_not_destroyed(state, &erasure.key)? {
            return Ok(Err(refusal));
        }
        let row = ledger::key(&*state.index, &erasure.key)?.unwrap_or_default();
        let active = match in_use(&row, erasure) {
            Ok(active) => active,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let key = erasure.key.clone();
        let mut below: BTreeSet<Epoch> = row.prepared_below(active.order()).collect();
        // A crash between the vault and the journal left what no record names.
        below.extend(self.vault.keyring().epochs_below(&key, active.epoch));
        // And a call that was given up may have left what a record names.
        let named = ledger::erasing_of(&*state.index, &key)?;
        let keyring = self.vault.keyring();
        below.extend(
            named
                .into_iter()
                .filter(|epoch| keyring.contains(&(key.clone(), *epoch))),
        );
        let erased = row.erased.as_ref();
        let before = erased.filter(|erased| erased.certificate == active.hash);
        let record = match before {
            Some(before)
                if below.is_empty() && self.journal.durable().sequence() >= before.sequence =>
            {
                Place::Before(before.sequence)
            }
            Some(before) if self.journal.durable().sequence() < before.sequence => {
                return Ok(Err(Refusal::new(
                    Reason::Overloaded,
                    "the erasure is being written: ask again",
                )));
            }
            _ => {
                entries.push(Entry::EpochsErased {
                    certificate: erasure.clone(),
                });
                Place::Now(entries.len().saturating_sub(1))
            }
        };
        shares.extend(below.into_iter().map(|epoch| (key.clone(), epoch)));
        Ok(Ok(Erasure {
            key,
            epoch: active.epoch,
            certificate: active.hash,
            record,
        }))
    }

    fn erase_receipts(
        &self,
        outcomes: Vec<Result<Erasure, Refusal>>,
        committed: Option<&Committed>,
    ) -> NodeReply {
        let position = |place: &Place| match place {
            Place::Before(sequence) => Some(*sequence),
            Place::Now(at) => committed?
                .positions()
                .get(*at)
                .map(|(sequence, _)| *sequence),
        };
        let receipt = |erasure: Erasure| {
            let sequence = position(&erasure.record)
                .ok_or_else(|| Refusal::new(Reason::Invariant, "an erasure has no record"))?;
            let mut receipt = EraseReceipt {
                node: self.me.clone(),
                key: erasure.key,
                epoch: erasure.epoch,
                certificate: erasure.certificate,
                sequence,
                signature: Signature([0; 64]),
            };
            receipt.signature = sign_digest(&self.identity, &receipt.digest());
            Ok(receipt)
        };
        NodeReply::Erased(
            outcomes
                .into_iter()
                .map(|outcome| outcome.and_then(receipt))
                .collect(),
        )
    }

    /// Erases the shares below an epoch where nobody has vouched for it; see
    /// [`NodeCore::erase_early`].
    #[cfg(debug_assertions)]
    pub(super) fn erase_unvouched(
        &self,
        key: &KeyName,
        epoch: Epoch,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(), Fatal> {
        let erases = self.erases_early.load(std::sync::atomic::Ordering::Relaxed);
        let below = self.vault.keyring().epochs_below(key, epoch);
        if erases && !below.is_empty() {
            let shares = below.into_iter().map(|epoch| (key.clone(), epoch));
            self.vault.erase(&shares.collect(), rng)?;
        }
        Ok(())
    }

    /// Erases what a process that died had recorded and not carried out.
    pub fn finish_erasures(&self, rng: &mut dyn CryptoRngCore) -> Result<usize, Fatal> {
        let state = lock(&self.state);
        let mut left = self.undead(&state)?;
        for (key, epoch) in ledger::erasing(&*state.index)? {
            // A process may also have died between the data key and the file.
            let share = (key, epoch);
            if self.vault.keyring().contains(&share) || self.vault.has_files(&share.0, epoch)? {
                left.insert(share);
            }
        }
        drop(state);
        if !left.is_empty() {
            self.vault.erase(&left, rng)?;
        }
        Ok(left.len())
    }
}

/// The epoch in use, if the erasure is of that one: what is below a lower one goes with it, and a
/// higher one is not in use here yet.
fn in_use<'a>(row: &'a KeyRow, erasure: &EraseCertificate) -> Result<&'a EpochRow, Refusal> {
    let vouched = erasure.receipts.first().map(|receipt| receipt.certificate);
    row.active()
        .filter(|active| active.epoch == erasure.epoch && vouched == Some(active.hash))
        .ok_or_else(|| epoch_changed(&erasure.key, row.epoch()))
}
