//! The index: rows folded from the journal, for fast answers. It is never trusted alone.
//!
//! ```text
//!  apply (a record's rows) ──► recent ──freeze──► frozen ──settle──► store (redb)
//!                                                           ▲
//!                          checkpoint durable in the journal ┘
//! ```
//!
//! Rows are applied in memory, one record at a time, at once when a record has its place in the
//! journal. A checkpoint names the digest of the index at its sequence; [`Index::freeze`] sets
//! aside the rows up to there, and [`Index::settle`] writes them to the store in one atomic batch,
//! but only against the proof that the journal holds the checkpoint. So the store is never ahead of
//! the journal, and what it holds is always the state at a signed checkpoint: at the start all of
//! its rows are hashed and compared with that checkpoint, before any of them is believed. Missing,
//! damaged, edited or behind: the answer is to fold the journal again.

mod digest;
mod layered;
mod memory;
mod reconcile;
mod redb_store;

use quorate_model::Digest;

pub use digest::IndexKey;
pub use layered::{LayeredIndex, RowStore, StoreImage};
pub use memory::{MemoryIndex, MemoryRows};
pub use reconcile::{Decision, RebuildReason, Reconciler, ReplayError, replay};
pub use redb_store::{RedbIndex, RedbRows};

use crate::journal::Durable;

/// A group of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Command ids.
    Commands,
    /// Keys.
    Keys,
    /// Command ids by the time at which they may be forgotten.
    Expiry,
    /// Whatever stands alone.
    Meta,
    /// Peers that failed a check.
    Bans,
    /// Pairings that are not to be used.
    Suspended,
    /// Where keys stand by the word of admins.
    Standings,
    /// Shares whose erasure is recorded.
    Erasing,
    /// The ends of keys, announced and carried out.
    Destructions,
    /// Withdrawn announcements of the ends of keys.
    Withdrawals,
    /// That this node or others were restored from backups.
    Restores,
    /// Keys of which others say that a later epoch is in use.
    Superseded,
    /// The rosters that were followed.
    Rosters,
    /// When keys were put in use and last used.
    Uses,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 14] = [
        Self::Commands,
        Self::Keys,
        Self::Expiry,
        Self::Meta,
        Self::Bans,
        Self::Suspended,
        Self::Standings,
        Self::Erasing,
        Self::Destructions,
        Self::Withdrawals,
        Self::Restores,
        Self::Superseded,
        Self::Rosters,
        Self::Uses,
    ];

    /// The byte that stands for the table in the store. Zero is the store's own.
    const fn number(self) -> u8 {
        match self {
            Self::Commands => 1,
            Self::Keys => 2,
            Self::Expiry => 3,
            Self::Meta => 4,
            Self::Bans => 5,
            Self::Suspended => 6,
            Self::Standings => 7,
            Self::Erasing => 8,
            Self::Destructions => 9,
            Self::Withdrawals => 10,
            Self::Restores => 12,
            Self::Superseded => 13,
            Self::Rosters => 14,
            Self::Uses => 15,
        }
    }
}

/// A change of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// The row has this value from here on.
    Put {
        /// The table.
        table: Table,
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// The row is gone from here on.
    Delete {
        /// The table.
        table: Table,
        /// The key.
        key: Vec<u8>,
    },
}

/// A row's key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Where an index stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexPosition {
    /// The last record whose rows were applied, zero for none.
    pub sequence: u64,
    /// The digest over all rows. It is made with a secret of the node: only the node itself can
    /// compare it.
    pub digest: Digest,
}

/// An index that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The store refused.
    #[error("use the index's store")]
    Store(#[source] Box<redb::Error>),
    /// The store panicked, as it may over damaged files.
    #[error("the index's store is damaged; it is rebuilt when the node starts again")]
    Damaged,
    /// The store's directory cannot be replaced.
    #[error("replace the index's directory {path}")]
    Replace {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A row that is not what its reader expects.
    #[error("a row of the index is malformed; the index is rebuilt when it is deleted")]
    MalformedRow,
    /// A record's rows come out of order.
    #[error("rows of record {found} come where those of record {expected} belong")]
    OutOfOrder {
        /// The sequence that comes next.
        expected: u64,
        /// The sequence that came.
        found: u64,
    },
}

/// Rows folded from the journal.
pub trait Index: Send + Sync {
    /// The value of a row.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;

    /// Rows of a table in order of their keys, after a key.
    fn scan(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, IndexError>;

    /// Applies what one record changes, all of it or nothing. Records come in order.
    fn apply(&self, sequence: u64, changes: Vec<RowChange>) -> Result<(), IndexError>;

    /// Where the index stands: what a checkpoint carries. Costs nothing.
    fn position(&self) -> IndexPosition;

    /// Like [`Index::position`], and sets aside what was applied so far to be written when the
    /// checkpoint with this position is durable. While something is set aside already, it only
    /// answers.
    fn freeze(&self) -> IndexPosition;

    /// Writes what was set aside, once the journal is durable beyond it. Answers whether something
    /// was written.
    fn settle(&self, durable: &Durable) -> Result<bool, IndexError>;

    /// Drops all rows: the index stands before the first record.
    fn clear(&self) -> Result<(), IndexError>;
}

#[cfg(test)]
mod tests;
