//! What a backup rests on (P36): its record, the shares as they are at that record, and the node's
//! signatures. What is written where is decided elsewhere.
//!
//! The record and the picture of the keyring are taken in one piece. Every erasure is recorded
//! before it is carried out, so whatever the journal says up to the record that this node holds, is
//! in the picture.

use std::sync::Arc;

use quorate_model::{
    Digest, Epoch, KeyName, Signature,
    audit::{BackupMade, Entry},
    backup::{BackupHeader, SignedHeader, end_digest},
    identity::sign_digest,
};

use super::{Fatal, NodeCore, Reading, State, ledger, lock};
use crate::{
    disk::Disk,
    journal::{Appended, Committed},
    vault::VaultSnapshot,
};

/// How many keys are looked at in one piece.
const PAGE: usize = 256;

/// A vault that is being copied, until this is dropped.
struct Copying<D: Disk + 'static>(Arc<NodeCore<D>>);

impl<D: Disk + 'static> Drop for Copying<D> {
    fn drop(&mut self) {
        // What cannot be removed has lost its data key: it is noise, and a failing disk is found
        // out by whoever needs it.
        let _removed = self.0.vault.end_copy();
    }
}

/// A backup whose record may not be durable yet.
#[must_use]
pub struct PendingBackup<D: Disk + 'static> {
    appended: Appended,
    header: BackupHeader,
    snapshot: VaultSnapshot,
    copying: Copying<D>,
}

impl<D: Disk + 'static> PendingBackup<D> {
    /// The record that must be durable first.
    pub fn appended(&self) -> &Appended {
        &self.appended
    }

    /// The backup, for the proof that its record is durable.
    pub fn release(self, committed: &Committed) -> Result<Backup<D>, Fatal> {
        let missing = Fatal::Invariant("a backup has a record");
        let (sequence, head) = committed.last().ok_or(missing)?;
        let core = Arc::clone(&self.copying.0);
        let header = BackupHeader {
            sequence,
            head,
            ..self.header
        };
        let signature = sign_digest(&core.identity, &header.digest());
        let journal = core.journal.files_up_to(sequence)?;
        let header = SignedHeader { header, signature };
        Ok(Backup {
            header,
            snapshot: self.snapshot,
            journal,
            copying: self.copying,
        })
    }
}

/// A backup that may leave the node.
pub struct Backup<D: Disk + 'static> {
    header: SignedHeader,
    snapshot: VaultSnapshot,
    journal: Vec<(String, u64)>,
    copying: Copying<D>,
}

impl<D: Disk + 'static> Backup<D> {
    /// What it says of itself.
    pub fn header(&self) -> &SignedHeader {
        &self.header
    }

    /// The shares as they were at its record.
    pub(crate) fn snapshot(&self) -> &VaultSnapshot {
        &self.snapshot
    }

    /// The files of the journal, and how much of each.
    pub(crate) fn journal(&self) -> &[(String, u64)] {
        &self.journal
    }

    /// The disk.
    pub(crate) fn disk(&self) -> &D {
        self.copying.0.vault.disk()
    }

    /// The epoch of each key, a page at a time: others sign meanwhile.
    pub(crate) fn epochs(&self) -> Result<Vec<(KeyName, Epoch)>, Fatal> {
        let core = &self.copying.0;
        let mut epochs: Vec<(KeyName, Epoch)> = Vec::new();
        loop {
            let after = epochs.last().map(|(name, _)| name);
            let page = ledger::keys_after(&*lock(&core.state).index, after, PAGE)?;
            if page.is_empty() {
                return Ok(epochs);
            }
            epochs.extend(page.into_iter().map(|(name, row)| (name, row.epoch())));
        }
    }

    /// The node's signature over the whole.
    pub(crate) fn sign_end(&self, files: u64, last: &Digest) -> Signature {
        sign_digest(&self.copying.0.identity, &end_digest(files, last))
    }
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Whether shares are still there of which the journal says that they are erased.
    fn is_erasing(&self, state: &State) -> Result<bool, Fatal> {
        let erasing = ledger::erasing(&*state.index)?;
        let keyring = self.vault.keyring();
        Ok(erasing.iter().any(|share| keyring.contains(share)))
    }

    /// Begins a backup: its record, and the shares as they are. There is none while shares of a
    /// destroyed key or of an old epoch are on their way out: nobody counts it as one that holds them.
    pub fn begin_backup(
        self: &Arc<Self>,
        reading: Reading,
        made: BackupMade,
    ) -> Result<Option<PendingBackup<D>>, Fatal> {
        let backup = made.backup;
        let mut state = lock(&self.state);
        if !self.undead(&state)?.is_empty() || self.is_erasing(&state)? {
            return Ok(None);
        }
        let snapshot = self.vault.begin_copy()?;
        let copying = Copying(Arc::clone(self));
        let time = state.clock.elapsed(reading);
        let appended = self.record(&mut state, time, vec![Entry::BackupMade(made)])?;
        drop(state);
        Ok(Some(PendingBackup {
            appended,
            header: BackupHeader {
                node: self.me.clone(),
                cluster: self.pinned().cluster(),
                backup,
                time,
                sequence: 0,
                head: Digest::ZERO,
            },
            snapshot,
            copying,
        }))
    }
}
