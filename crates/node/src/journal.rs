//! The journal: append-only, hash-chained records of everything that the node decided. It is the
//! audit log and the source of truth in one (P37).
//!
//! ```text
//!  append ──► place in the chain, hash, frame (memory) ──► queue
//!                                                            │  one write, one fsync for all
//!  commit, on_durable ◄── proof ◄── durable up to s ◄────────┘
//! ```
//!
//! [`Journal::append`] never waits for the disk. Nothing may leave the node on the strength of a
//! record before [`Journal::commit`] or [`Journal::on_durable`] has answered with [`Committed`].
//! Any storage error poisons the journal: what reached the disk is unknown, every later call
//! fails, and the process must stop.
//!
//! A torn end, the write that a crash interrupted, is cut and reported. Anything else that does not
//! hold is refused with the first broken record; the journal never repairs what was acknowledged.

mod error;
mod proof;
mod queue;
mod segment;
mod writer;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ed25519_dalek::SigningKey;
use quorate_model::{
    Digest, IdentityKey, UnixMillis,
    audit::{ChainPosition, Entry, FIRST_SEQUENCE, MAX_RECORD_BYTES, Record, record_hash},
};
use tokio::sync::watch;

pub use error::{Broken, BrokenFault, JournalError};
pub use proof::{Appended, Committed, Durable, StoredRecord};
pub use segment::TornTail;
pub(crate) use segment::is_file_of_journal;
pub use writer::Writer;

use crate::{
    disk::{self, Disk, DiskError},
    frame::{Found, FrameReader},
};
use queue::{Batch, Queue};
use segment::Segment;

/// How large the files and the queue of a journal grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalLimits {
    /// A file is not begun again before it has this many bytes.
    pub segment_bytes: u64,
    /// At most this many bytes wait in memory for the disk.
    pub waiting_bytes: usize,
}

impl Default for JournalLimits {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            waiting_bytes: 64 * 1024 * 1024,
        }
    }
}

/// What a journal is opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// The node's identity key: it must have signed the checkpoints.
    pub identity: IdentityKey,
    /// This run of the process; fresh at every start.
    pub boot: [u8; 16],
    /// The limits.
    pub limits: JournalLimits,
}

/// What opening a journal found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// The last record.
    pub head: ChainPosition,
    /// How many records there are.
    pub records: u64,
    /// The last checkpoint: what comes after it is chained, but not covered by a signature.
    pub last_checkpoint: Option<u64>,
    /// The unfinished record that was cut, if there was one.
    pub torn: Option<TornTail>,
}

/// The journal of one node. Clones share it.
pub struct Journal<D: Disk> {
    shared: Arc<Shared<D>>,
}

impl<D: Disk> Clone for Journal<D> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

struct Shared<D: Disk> {
    disk: D,
    limits: JournalLimits,
    /// Locked after `files` where both are.
    queue: Mutex<Queue>,
    work: Condvar,
    files: Mutex<Files>,
    progress: watch::Sender<Progress>,
}

/// The files, and an empty batch whose memory is used again.
struct Files {
    segments: Vec<Segment>,
    spare: Batch,
}

#[derive(Clone, Debug)]
struct Progress {
    durable: ChainPosition,
    failed: Option<DiskError>,
    stopped: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Disk> Journal<D> {
    /// Makes an empty journal where there is none. Opening is a step of its own, so that a node
    /// whose journal was lost does not start with an empty one. A journal without records that an
    /// interrupted set-up left is kept.
    pub fn create(disk: &D) -> Result<(), JournalError> {
        if Self::exists(disk)? {
            return Err(JournalError::Exists);
        }
        // An empty journal is replaced by an equal one.
        disk::ensure_directory(disk, segment::DIRECTORY).map_err(JournalError::Disk)?;
        let start = ChainPosition::START;
        segment::create(disk, start.next_sequence(), &start.hash).map_err(JournalError::Disk)?;
        Ok(())
    }

    /// Whether there is a journal with a record on a disk. One without is an interrupted set-up,
    /// which [`Journal::create`] completes.
    pub fn exists(disk: &D) -> Result<bool, JournalError> {
        let firsts = segment::list(disk)?;
        match firsts.as_slice() {
            [] => Ok(false),
            [first] if *first == FIRST_SEQUENCE => segment::holds_more_than_a_header(disk, *first),
            _ => Ok(true),
        }
    }

    /// Opens the journal: checks every record and shows it to `visit`, cuts a torn end, and makes
    /// durable what an earlier process wrote and did not get to sync.
    pub fn open(
        disk: D,
        config: &JournalConfig,
        mut visit: impl FnMut(&Record, &Digest),
    ) -> Result<(Self, OpenReport), JournalError> {
        let firsts = segment::list(&disk)?;
        if firsts.is_empty() {
            return Err(JournalError::Missing);
        }
        let scan = segment::scan(&disk, &firsts, &config.identity, &mut visit)?;
        if let Some(torn) = &scan.torn {
            disk.truncate(&torn.segment, torn.offset)
                .map_err(JournalError::Disk)?;
        }
        if let Some(last) = scan.segments.last() {
            disk.sync_file(&last.path()).map_err(JournalError::Disk)?;
        }
        disk.sync_directory(segment::DIRECTORY)
            .map_err(JournalError::Disk)?;
        let head = scan.summary.head;
        let report = OpenReport {
            head,
            records: scan.summary.records,
            last_checkpoint: scan.summary.last_checkpoint,
            torn: scan.torn,
        };
        let queue = Queue {
            boot: config.boot,
            head,
            waiting: Batch::default(),
            limit: config.limits.waiting_bytes,
            failed: None,
            stopped: false,
        };
        let progress = Progress {
            durable: head,
            failed: None,
            stopped: false,
        };
        let shared = Shared {
            disk,
            limits: config.limits,
            queue: Mutex::new(queue),
            work: Condvar::new(),
            files: Mutex::new(Files {
                segments: scan.segments,
                spare: Batch::default(),
            }),
            progress: watch::Sender::new(progress),
        };
        Ok((
            Self {
                shared: Arc::new(shared),
            },
            report,
        ))
    }

    /// Gives records their places in the chain, all or none, without waiting for the disk. Times
    /// that lie before the last record's are moved up to it. Of several records a crash may keep
    /// the first ones, so each must be true without those after it.
    pub fn append(&self, time: UnixMillis, entries: Vec<Entry>) -> Result<Appended, JournalError> {
        if entries
            .iter()
            .any(|entry| matches!(entry, Entry::Checkpoint(_)))
        {
            return Err(JournalError::PlainCheckpoint);
        }
        let appended = lock(&self.shared.queue).append(time, entries)?;
        self.shared.work.notify_one();
        Ok(appended)
    }

    /// Appends a checkpoint over the index as it stands at a sequence, signed with the node's
    /// identity key.
    pub fn append_checkpoint(
        &self,
        time: UnixMillis,
        key: &SigningKey,
        index_sequence: u64,
        index_digest: Digest,
    ) -> Result<Appended, JournalError> {
        let appended =
            lock(&self.shared.queue).append_checkpoint(time, key, index_sequence, index_digest)?;
        self.shared.work.notify_one();
        Ok(appended)
    }

    /// Makes records durable in the calling thread. Whoever comes first writes for all that wait.
    pub fn commit(&self, appended: &Appended) -> Result<Committed, JournalError> {
        self.check_origin(appended)?;
        if !self.is_durable(appended)? {
            let mut files = lock(&self.shared.files);
            if !self.is_durable(appended)? {
                self.shared.flush(&mut files)?;
            }
        }
        Ok(appended.committed())
    }

    /// Waits until records are durable. Needs the thread of [`Journal::start_writer`], or someone
    /// who calls [`Journal::commit`].
    pub fn on_durable(
        &self,
        appended: &Appended,
    ) -> impl Future<Output = Result<Committed, JournalError>> + Send + use<D> {
        let origin = self.check_origin(appended);
        let last = appended.last();
        let committed = appended.committed();
        let mut progress = self.shared.progress.subscribe();
        async move {
            origin?;
            let reached = progress
                .wait_for(|now| now.failed.is_some() || now.stopped || now.durable.sequence >= last)
                .await
                .map_err(|_| JournalError::Stopped)?;
            if let Some(error) = &reached.failed {
                return Err(JournalError::Poisoned(error.clone()));
            }
            if reached.durable.sequence < last {
                return Err(JournalError::Stopped);
            }
            Ok(committed)
        }
    }

    /// The last record that has a place in the chain, durable or not.
    pub fn head(&self) -> ChainPosition {
        lock(&self.shared.queue).head
    }

    /// How far the journal is durable.
    pub fn durable(&self) -> Durable {
        Durable(self.shared.progress.borrow().durable)
    }

    /// Durable records from a sequence on: at most so many, and at most so many bytes, but at least
    /// one if there is one.
    pub fn read_range(
        &self,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredRecord>, JournalError> {
        lock(&self.shared.queue).check_health()?;
        let last = self.durable().sequence();
        let mut page = Page {
            records: Vec::new(),
            bytes: 0,
            max_records,
            max_bytes,
        };
        let mut next = from.max(1);
        while next <= last && !page.is_full() {
            let Some((segment, place)) = self.locate(next) else {
                break;
            };
            let before = next;
            next = self.read_segment(&segment, place, next, last, &mut page)?;
            if next == before {
                break;
            }
        }
        Ok(page.records)
    }

    /// The files that hold the durable records up to one, and how many bytes of each: in the last
    /// one, those up to the end of that record.
    pub(crate) fn files_up_to(&self, sequence: u64) -> Result<Vec<(String, u64)>, JournalError> {
        lock(&self.shared.queue).check_health()?;
        let Some((last, (mut at, offset))) = self.locate(sequence) else {
            return Ok(Vec::new());
        };
        let mut files: Vec<(String, u64)> = lock(&self.shared.files)
            .segments
            .iter()
            .take_while(|segment| segment.first < last.first)
            .map(|segment| (segment.path(), segment.length))
            .collect();
        let path = last.path();
        let mut reader = FrameReader::open(
            &self.shared.disk,
            &path,
            offset,
            MAX_RECORD_BYTES,
            record_hash,
        )
        .map_err(JournalError::Disk)?;
        while at <= sequence {
            let place = reader.position();
            let fault = match reader.next().map_err(JournalError::Disk)? {
                Found::Frame { .. } => {
                    at = at.saturating_add(1);
                    continue;
                }
                Found::Damaged(damage) => BrokenFault::Frame(damage),
                Found::End | Found::Torn(_) => BrokenFault::EndsEarly,
            };
            let before = at.saturating_sub(1);
            return Err(segment::broken(last.first, place, before, fault));
        }
        files.push((path.clone(), reader.position()));
        Ok(files)
    }

    fn check_origin(&self, appended: &Appended) -> Result<(), JournalError> {
        let queue = lock(&self.shared.queue);
        if appended.boot == queue.boot && appended.last() <= queue.head.sequence {
            Ok(())
        } else {
            Err(JournalError::Foreign)
        }
    }

    fn is_durable(&self, appended: &Appended) -> Result<bool, JournalError> {
        let progress = self.shared.progress.borrow();
        match &progress.failed {
            Some(error) => Err(JournalError::Poisoned(error.clone())),
            None => Ok(progress.durable.sequence >= appended.last()),
        }
    }

    /// The file that holds a record, and a place in it at or before the record.
    fn locate(&self, sequence: u64) -> Option<(Segment, (u64, u64))> {
        let files = lock(&self.shared.files);
        let after = files
            .segments
            .partition_point(|segment| segment.first <= sequence);
        let segment = files.segments.get(after.checked_sub(1)?)?;
        let place = segment.place_before(sequence)?;
        Some((segment.without_marks(), place))
    }

    /// Reads from one file; the answer is the sequence to go on with.
    fn read_segment(
        &self,
        segment: &Segment,
        place: (u64, u64),
        from: u64,
        last: u64,
        page: &mut Page,
    ) -> Result<u64, JournalError> {
        let path = segment.path();
        let (mut sequence, offset) = place;
        let disk = &self.shared.disk;
        let mut reader = FrameReader::open(disk, &path, offset, MAX_RECORD_BYTES, record_hash)
            .map_err(JournalError::Disk)?;
        while sequence <= last && !page.is_full() {
            let at = reader.position();
            if at >= segment.length {
                break;
            }
            let fault = match reader.next().map_err(JournalError::Disk)? {
                Found::Frame { body, hash } => {
                    if sequence >= from && !page.push(sequence, hash, body) {
                        return Ok(sequence);
                    }
                    sequence = sequence.saturating_add(1);
                    continue;
                }
                Found::Damaged(damage) => BrokenFault::Frame(damage),
                Found::End | Found::Torn(_) => BrokenFault::EndsEarly,
            };
            return Err(segment::broken(
                segment.first,
                at,
                sequence.saturating_sub(1),
                fault,
            ));
        }
        Ok(sequence)
    }
}

/// A page that is being read.
struct Page {
    records: Vec<StoredRecord>,
    bytes: usize,
    max_records: usize,
    max_bytes: usize,
}

impl Page {
    fn is_full(&self) -> bool {
        self.records.len() >= self.max_records
            || (self.bytes >= self.max_bytes && !self.records.is_empty())
    }

    /// Adds a record if it fits, or if it is the first.
    fn push(&mut self, sequence: u64, hash: Digest, bytes: Vec<u8>) -> bool {
        let sum = self.bytes.saturating_add(bytes.len());
        if sum > self.max_bytes && !self.records.is_empty() {
            self.bytes = self.max_bytes;
            return false;
        }
        self.bytes = sum;
        self.records.push(StoredRecord {
            sequence,
            hash,
            bytes,
        });
        true
    }
}

impl<D: Disk> Shared<D> {
    /// Writes and syncs everything that waits. The caller holds the files.
    fn flush(&self, files: &mut Files) -> Result<(), JournalError> {
        let mut batch = std::mem::take(&mut files.spare);
        {
            let mut queue = lock(&self.queue);
            queue.check_health()?;
            std::mem::swap(&mut queue.waiting, &mut batch);
        }
        if let Some(last) = batch.last {
            if let Err(error) = self.write(files, &batch) {
                lock(&self.queue).failed = Some(error.clone());
                self.progress
                    .send_modify(|progress| progress.failed = Some(error.clone()));
                return Err(JournalError::Poisoned(error));
            }
            self.progress
                .send_modify(|progress| progress.durable = last);
        }
        batch.clear();
        files.spare = batch;
        Ok(())
    }

    fn write(&self, files: &mut Files, batch: &Batch) -> Result<(), DiskError> {
        let full = files
            .segments
            .last()
            .is_none_or(|segment| segment.length >= self.limits.segment_bytes);
        if full {
            files
                .segments
                .push(segment::create(&self.disk, batch.first(), &batch.previous)?);
        }
        let Some(segment) = files.segments.last_mut() else {
            return Ok(());
        };
        let path = segment.path();
        self.disk.append(&path, &batch.frames)?;
        self.disk.sync_file(&path)?;
        for (sequence, start) in &batch.starts {
            segment.mark(*sequence, segment.length.saturating_add(*start as u64));
        }
        segment.length = segment.length.saturating_add(batch.frames.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
