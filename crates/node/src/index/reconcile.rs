//! Whether an index may be believed, decided by the journal.

use quorate_model::{
    Digest,
    audit::{Entry, Record},
    wire::WireError,
};

use super::{Index, IndexError, RowChange, StoreImage};
use crate::{
    disk::Disk,
    journal::{Journal, JournalError},
};

/// What to do with an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The rows are those of a signed checkpoint, and nothing happened since.
    Use,
    /// The rows are those of a signed checkpoint; the records from here on are still to be folded.
    CatchUp {
        /// The first record that is missing.
        from: u64,
    },
    /// The rows are not to be believed: clear the index and fold the journal from its start.
    Rebuild(RebuildReason),
    /// The index has seen records that the journal does not hold. Rows are written only after the
    /// journal is durable, so the journal was cut or replaced. The node must not start.
    JournalLost {
        /// Where the index stands.
        index: u64,
        /// Where the journal ends.
        journal: u64,
    },
}

impl Decision {
    /// How many records of a journal with this head are folded by it.
    pub const fn folds(self, head: u64) -> u64 {
        match self {
            Self::Use | Self::JournalLost { .. } => 0,
            Self::CatchUp { from } => head.saturating_add(1).saturating_sub(from),
            Self::Rebuild(_) => head,
        }
    }
}

/// Why an index is folded anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebuildReason {
    /// It holds nothing, or nothing that counts.
    Empty,
    /// No checkpoint covers the sequence that it says it is at.
    Uncovered,
    /// Its rows are not those that the checkpoint covers.
    Different,
}

impl std::fmt::Display for RebuildReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "the index is empty",
            Self::Uncovered => "no checkpoint covers the index",
            Self::Different => "the index differs from the one that the checkpoint covers",
        })
    }
}

/// Compares an index with the checkpoints of the journal, while the journal is being opened.
#[derive(Debug)]
pub struct Reconciler {
    image: StoreImage,
    covered: Option<Digest>,
    head: u64,
}

impl Reconciler {
    /// Starts with what the index held when it was opened.
    pub fn new(image: StoreImage) -> Self {
        Self {
            image,
            covered: None,
            head: 0,
        }
    }

    /// Sees one record of the journal; all are shown in order.
    pub fn observe(&mut self, record: &Record) {
        self.head = record.sequence;
        if let Entry::Checkpoint(checkpoint) = &record.entry
            && checkpoint.index_sequence == self.image.sequence
        {
            self.covered = Some(checkpoint.index_digest);
        }
    }

    /// The decision, after the last record.
    pub fn decide(&self) -> Decision {
        let at = self.image.sequence;
        if at > self.head {
            return Decision::JournalLost {
                index: at,
                journal: self.head,
            };
        }
        if at == 0 {
            return Decision::Rebuild(RebuildReason::Empty);
        }
        match self.covered {
            None => Decision::Rebuild(RebuildReason::Uncovered),
            Some(digest) if digest != self.image.digest => {
                Decision::Rebuild(RebuildReason::Different)
            }
            Some(_) if at == self.head => Decision::Use,
            Some(_) => Decision::CatchUp {
                from: at.saturating_add(1),
            },
        }
    }
}

/// An index that cannot be brought up to the journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The journal cannot be read.
    #[error("read the journal for the index")]
    Journal(#[from] JournalError),
    /// The index cannot be written.
    #[error("fold the journal into the index")]
    Index(#[from] IndexError),
    /// A verified record does not decode.
    #[error("decode a record for the index")]
    Record(#[from] WireError),
    /// The journal is behind the index.
    #[error(
        "the index has seen record {index}, and the journal ends at {journal}: records that the \
         node acted on are lost. Put the newest journal back; never delete the index to get around \
         this"
    )]
    JournalLost {
        /// Where the index stands.
        index: u64,
        /// Where the journal ends.
        journal: u64,
    },
}

/// How much of the journal is read at a time, in records and bytes.
const PAGE_RECORDS: usize = 1024;
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// How many records are folded at the least before the rows are written to the store, so that a
/// rebuild of a long journal does not hold all of its rows in memory.
const SETTLE_EVERY: u64 = 10_000;

/// Whether a record is a checkpoint over the index as it stands before the record.
fn covers(record: &Record, index: &dyn Index) -> bool {
    let Entry::Checkpoint(checkpoint) = &record.entry else {
        return false;
    };
    let at = index.position();
    checkpoint.index_sequence == at.sequence && checkpoint.index_digest == at.digest
}

/// Brings an index up to the end of the journal, by a decision. `fold` says what rows a record
/// changes, given the rows before it.
pub fn replay<D: Disk>(
    decision: Decision,
    journal: &Journal<D>,
    index: &dyn Index,
    mut fold: impl FnMut(&dyn Index, &Record) -> Result<Vec<RowChange>, IndexError>,
) -> Result<(), ReplayError> {
    let mut next = match decision {
        Decision::Use => return Ok(()),
        Decision::CatchUp { from } => from,
        Decision::Rebuild(_) => {
            index.clear()?;
            1
        }
        Decision::JournalLost { index, journal } => {
            return Err(ReplayError::JournalLost { index, journal });
        }
    };
    let mut settled = next;
    loop {
        let page = journal.read_range(next, PAGE_RECORDS, PAGE_BYTES)?;
        if page.is_empty() {
            return Ok(());
        }
        for stored in page {
            let record = Record::from_bytes(&stored.bytes)?;
            if record.sequence.saturating_sub(settled) >= SETTLE_EVERY && covers(&record, index) {
                index.freeze();
                index.settle(&journal.durable())?;
                settled = record.sequence;
            }
            let changes = fold(index, &record)?;
            index.apply(record.sequence, changes)?;
            next = record.sequence.saturating_add(1);
        }
    }
}
