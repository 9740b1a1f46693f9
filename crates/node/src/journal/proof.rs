//! What appending and committing answer: records with their places, and proofs of durability that
//! only the journal can make.

use quorate_model::{
    Digest,
    audit::{ChainPosition, Record},
};

/// Records that have their places in the chain, and may not be durable yet.
#[derive(Clone, Debug)]
#[must_use = "nothing may leave the node before the records are durable"]
pub struct Appended {
    pub(super) boot: [u8; 16],
    pub(super) records: Vec<Record>,
    pub(super) hashes: Vec<Digest>,
}

impl Appended {
    /// The records in order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The sequence and hash of each record, in order.
    pub fn positions(&self) -> impl ExactSizeIterator<Item = (u64, Digest)> + '_ {
        self.records
            .iter()
            .zip(&self.hashes)
            .map(|(record, hash)| (record.sequence, *hash))
    }

    /// The first sequence, zero if there is no record.
    pub fn first(&self) -> u64 {
        self.records.first().map_or(0, |record| record.sequence)
    }

    /// The last sequence, zero if there is no record.
    pub fn last(&self) -> u64 {
        self.records.last().map_or(0, |record| record.sequence)
    }

    pub(super) fn committed(&self) -> Committed {
        Committed {
            positions: self.positions().collect(),
        }
    }
}

/// Proof that records are durable: *persist, then send* as a type.
///
/// Only the journal makes one:
///
/// ```compile_fail,E0451
/// let forged = quorate_node::journal::Committed { positions: Vec::new() };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    positions: Vec<(u64, Digest)>,
}

impl Committed {
    /// The sequence and hash of each record, in order.
    pub fn positions(&self) -> &[(u64, Digest)] {
        &self.positions
    }

    /// The first record.
    pub fn first(&self) -> Option<(u64, Digest)> {
        self.positions.first().copied()
    }

    /// The last record.
    pub fn last(&self) -> Option<(u64, Digest)> {
        self.positions.last().copied()
    }

    /// The hash of the record with this sequence.
    pub fn hash_of(&self, sequence: u64) -> Option<Digest> {
        self.positions
            .iter()
            .find(|(at, _)| *at == sequence)
            .map(|(_, hash)| *hash)
    }
}

/// Proof that a journal is durable up to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable(pub(super) ChainPosition);

impl Durable {
    /// The last durable record.
    pub fn position(&self) -> ChainPosition {
        self.0
    }

    /// Its sequence, zero if there is none.
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }
}

/// A durable record as it is stored and exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// The sequence.
    pub sequence: u64,
    /// The hash over the bytes.
    pub hash: Digest,
    /// The exact encoded bytes.
    pub bytes: Vec<u8>,
}
