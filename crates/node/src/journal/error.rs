//! What can go wrong with a journal.

use quorate_model::audit::{ChainFault, MAX_RECORD_BYTES};

use crate::{disk::DiskError, frame::Damage};

/// A call on the journal that did not succeed. Cheap to clone, so that every waiter can be told.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The disk refused while the journal was being opened, made or read.
    #[error("use the journal's files")]
    Disk(#[source] DiskError),
    /// There is no journal.
    #[error(
        "there is no journal in this directory; a node that has shares must never start without \
         its journal: put its newest journal back, or leave the node out of service, and any t \
         other holders of a key go on signing"
    )]
    Missing,
    /// A journal is about to be made where one is.
    #[error("there is a journal in this directory already")]
    Exists,
    /// The journal's directory holds a file that is none of its own.
    #[error(
        "directory journal holds {name}, which the node did not write under that name; put the \
         journal's files back as they were"
    )]
    Unexpected {
        /// The name.
        name: String,
    },
    /// A record is damaged, missing or forged.
    #[error(transparent)]
    Broken(#[from] Box<Broken>),
    /// The node's identity key verifies nothing.
    #[error("the identity key is not one that can verify a journal")]
    Identity,
    /// An earlier write failed. What is on the disk is unknown until the node starts again.
    #[error("the journal stopped at an earlier storage error; the node must stop")]
    Poisoned(#[source] DiskError),
    /// A record is larger than records may be.
    #[error("a record of {0} bytes is larger than the {MAX_RECORD_BYTES} allowed")]
    TooLarge(usize),
    /// More is waiting to be written than memory allows.
    #[error("more records wait to be written than the journal holds in memory")]
    Backlog,
    /// A record that cannot be encoded.
    #[error("a record cannot be encoded")]
    Unencodable,
    /// A checkpoint came in as a plain entry.
    #[error("a checkpoint is appended by its own call, which signs it")]
    PlainCheckpoint,
    /// A checkpoint claims an index that is ahead of the journal.
    #[error("a checkpoint covers an index at {index_sequence}, ahead of the journal")]
    IndexAhead {
        /// The sequence of the index.
        index_sequence: u64,
    },
    /// The proof is asked for records of another run or another journal.
    #[error("the records were appended to another journal")]
    Foreign,
    /// The writer has stopped, so the records never become durable.
    #[error("the journal's writer has stopped")]
    Stopped,
}

/// The first record of a journal that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "journal record {sequence} is broken, in {segment} at byte {offset}: put back an exact copy of \
     the journal that is not older, or leave the node out of service, and any t other holders of a \
     key go on signing; never edit the journal"
)]
pub struct Broken {
    /// The file.
    pub segment: String,
    /// Where in the file the record begins.
    pub offset: u64,
    /// The sequence that the record has, or should have.
    pub sequence: u64,
    /// What is wrong.
    #[source]
    pub fault: BrokenFault,
}

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokenFault {
    /// The frame around it is damaged.
    #[error("the record's frame is damaged")]
    Frame(#[source] Damage),
    /// It does not fit the chain.
    #[error("the record does not fit the chain")]
    Chain(#[source] ChainFault),
    /// The file does not begin as a file of the journal that follows the one before.
    #[error("the file does not begin where the one before it ends")]
    Header,
    /// Files between this one and the one before it are missing.
    #[error("the records from {expected} to the start of the file are missing")]
    Gap {
        /// The sequence that should come first.
        expected: u64,
    },
    /// A file that is not the last ends within a record.
    #[error("the file ends within a record, and others follow it")]
    EndsEarly,
}
