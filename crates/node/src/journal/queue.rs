//! Records on their way to the disk: they get their place in the chain here, in memory.

use ed25519_dalek::SigningKey;
use quorate_model::{
    Digest, UnixMillis,
    audit::{
        ChainPosition, Checkpoint, Entry, MAX_RECORD_BYTES, Record, checkpoint_digest, record_hash,
    },
    identity::sign_digest,
};

use super::{Appended, JournalError};
use crate::{disk::DiskError, frame};

/// Encoded frames that wait to be written in one go.
pub(super) struct Batch {
    pub(super) frames: Vec<u8>,
    /// The sequence of each record, and where its frame begins in `frames`.
    pub(super) starts: Vec<(u64, usize)>,
    /// The place of the last record.
    pub(super) last: Option<ChainPosition>,
    /// The hash of the record before the first.
    pub(super) previous: Digest,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            frames: Vec::new(),
            starts: Vec::new(),
            last: None,
            previous: Digest::ZERO,
        }
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    pub(super) fn first(&self) -> u64 {
        self.starts.first().map_or(0, |(sequence, _)| *sequence)
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.starts.clear();
        self.last = None;
    }
}

/// The end of the chain in memory.
pub(super) struct Queue {
    pub(super) boot: [u8; 16],
    pub(super) head: ChainPosition,
    pub(super) waiting: Batch,
    pub(super) limit: usize,
    pub(super) failed: Option<DiskError>,
    pub(super) stopped: bool,
}

impl Queue {
    /// Refuses everything after a storage error.
    pub(super) fn check_health(&self) -> Result<(), JournalError> {
        self.failed
            .as_ref()
            .map_or(Ok(()), |error| Err(JournalError::Poisoned(error.clone())))
    }

    /// Gives all entries their places, or none.
    pub(super) fn append(
        &mut self,
        time: UnixMillis,
        entries: Vec<Entry>,
    ) -> Result<Appended, JournalError> {
        self.check_health()?;
        if self.stopped {
            return Err(JournalError::Stopped);
        }
        let mut head = self.head;
        let mut appended = Appended {
            boot: self.boot,
            records: Vec::with_capacity(entries.len()),
            hashes: Vec::with_capacity(entries.len()),
        };
        let mut bodies = Vec::with_capacity(entries.len());
        for entry in entries {
            let record = Record {
                sequence: head.next_sequence(),
                previous: head.hash,
                // Callers read the clock before they get here, and not in the order in which
                // they get here; time in the chain never goes back.
                time: time.max(head.time),
                boot: self.boot,
                entry,
            };
            let body = record.to_bytes().map_err(|_| JournalError::Unencodable)?;
            if body.len() > MAX_RECORD_BYTES {
                return Err(JournalError::TooLarge(body.len()));
            }
            let hash = record_hash(&body);
            head = ChainPosition {
                sequence: record.sequence,
                hash,
                time: record.time,
            };
            appended.records.push(record);
            appended.hashes.push(hash);
            bodies.push(body);
        }
        let bytes = bodies.iter().fold(self.waiting.frames.len(), |sum, body| {
            sum.saturating_add(body.len())
                .saturating_add(frame::OVERHEAD)
        });
        let is_final = appended
            .records
            .iter()
            .any(|record| record.entry.is_final());
        if bytes > self.limit && !is_final {
            return Err(JournalError::Backlog);
        }
        self.enqueue(&appended, &bodies, head);
        Ok(appended)
    }

    /// Gives a checkpoint its place and signs it there.
    pub(super) fn append_checkpoint(
        &mut self,
        time: UnixMillis,
        key: &SigningKey,
        index_sequence: u64,
        index_digest: Digest,
    ) -> Result<Appended, JournalError> {
        let sequence = self.head.next_sequence();
        if index_sequence >= sequence {
            return Err(JournalError::IndexAhead { index_sequence });
        }
        let time = time.max(self.head.time);
        let digest = checkpoint_digest(
            sequence,
            &self.head.hash,
            time,
            &self.boot,
            index_sequence,
            &index_digest,
        );
        let signature = sign_digest(key, &digest);
        let checkpoint = Checkpoint {
            index_sequence,
            index_digest,
            signature,
        };
        self.append(time, vec![Entry::Checkpoint(checkpoint)])
    }

    fn enqueue(&mut self, appended: &Appended, bodies: &[Vec<u8>], head: ChainPosition) {
        if appended.records.is_empty() {
            return;
        }
        if self.waiting.is_empty() {
            self.waiting.previous = self.head.hash;
        }
        for ((sequence, hash), body) in appended.positions().zip(bodies) {
            self.waiting
                .starts
                .push((sequence, self.waiting.frames.len()));
            frame::push(&mut self.waiting.frames, body, &hash);
        }
        self.waiting.last = Some(head);
        self.head = head;
    }
}
