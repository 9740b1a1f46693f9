//! Verification of a chain of records, by the node at its start and by anyone offline.

use ed25519_dalek::VerifyingKey;

use super::{
    Checkpoint, Entry, FIRST_SEQUENCE, MAX_RECORD_BYTES, Record, checkpoint_digest, record_hash,
};
use crate::{
    bytes::Digest,
    identity::{BadSignature, IdentityKey, Signature, verify_with},
    ids::UnixMillis,
    wire::WireError,
};

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainFault {
    /// The bytes are no record.
    #[error("the bytes are no record")]
    Undecodable(#[source] WireError),
    /// The record is larger than any record may be.
    #[error("the record has {0} bytes, more than the {MAX_RECORD_BYTES} allowed")]
    TooLarge(usize),
    /// A record is missing, repeated or out of order.
    #[error("it says that its sequence is {found}")]
    Sequence {
        /// The sequence in the record.
        found: u64,
    },
    /// The record does not follow the one before it.
    #[error("it does not name the hash of the record before it")]
    Previous,
    /// Time goes back.
    #[error("its time {found} lies before {earlier}, the time of the record before it")]
    Time {
        /// The time of the record.
        found: u64,
        /// The time of the record before it.
        earlier: u64,
    },
    /// A checkpoint claims an index that is ahead of the chain.
    #[error("its checkpoint covers an index at {index_sequence}, which lies ahead of it")]
    IndexAhead {
        /// The sequence of the index.
        index_sequence: u64,
    },
    /// A checkpoint is not signed by the node.
    #[error("its checkpoint is not signed by the node")]
    Signature,
}

/// The first record of a chain that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {sequence} does not hold")]
pub struct ChainError {
    /// The sequence at which a good record was expected.
    pub sequence: u64,
    /// What is wrong.
    #[source]
    pub fault: ChainFault,
}

/// A point in a chain, from which verification can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainPosition {
    /// The sequence of the last record, zero before the first.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
    /// Its time.
    pub time: UnixMillis,
}

impl ChainPosition {
    /// Before the first record.
    pub const START: Self = Self {
        sequence: 0,
        hash: Digest::ZERO,
        time: UnixMillis(0),
    };

    /// The sequence of the next record.
    pub const fn next_sequence(&self) -> u64 {
        self.sequence.saturating_add(FIRST_SEQUENCE)
    }
}

/// What a verified chain says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainSummary {
    /// Where verification began.
    pub start: ChainPosition,
    /// The last record.
    pub head: ChainPosition,
    /// How many records were verified.
    pub records: u64,
    /// How many of them are checkpoints.
    pub checkpoints: u64,
    /// The last checkpoint: records after it are chained, but not covered by a signature.
    pub last_checkpoint: Option<u64>,
}

/// Which checkpoint signatures are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signatures {
    /// Each of them, at once.
    Each,
    /// The newest, at the end: it covers the hash of everything before it.
    Newest,
}

/// Verifies a chain record by record.
#[derive(Debug)]
pub struct ChainVerifier {
    key: VerifyingKey,
    signatures: Signatures,
    start: ChainPosition,
    head: ChainPosition,
    records: u64,
    checkpoints: u64,
    newest: Option<(u64, Digest, Signature)>,
}

impl ChainVerifier {
    /// Verifies from a position, with the signature of each checkpoint.
    pub fn new(key: &IdentityKey, start: ChainPosition) -> Result<Self, BadSignature> {
        Ok(Self {
            key: key.parse()?,
            signatures: Signatures::Each,
            start,
            head: start,
            records: 0,
            checkpoints: 0,
            newest: None,
        })
    }

    /// Checks only the newest checkpoint's signature, in [`Self::finish`]. It covers the hash of
    /// its predecessor and so all records before it; what is saved is time at the start of a node.
    #[must_use]
    pub fn newest_signature_only(mut self) -> Self {
        self.signatures = Signatures::Newest;
        self
    }

    /// Takes the exact bytes of the next record.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(Record, Digest), ChainError> {
        let hash = record_hash(bytes);
        self.push_hashed(bytes, hash).map(|record| (record, hash))
    }

    /// Takes the exact bytes of the next record with their [`record_hash`], which the caller has
    /// computed over them.
    pub fn push_hashed(&mut self, bytes: &[u8], hash: Digest) -> Result<Record, ChainError> {
        let sequence = self.head.next_sequence();
        self.check(bytes, hash)
            .map_err(|fault| ChainError { sequence, fault })
    }

    /// The last record that was verified.
    pub fn head(&self) -> ChainPosition {
        self.head
    }

    /// Ends the verification.
    pub fn finish(self) -> Result<ChainSummary, ChainError> {
        if let (Signatures::Newest, Some((sequence, digest, signature))) =
            (self.signatures, &self.newest)
        {
            verify_with(&self.key, digest, signature).map_err(|_| ChainError {
                sequence: *sequence,
                fault: ChainFault::Signature,
            })?;
        }
        Ok(ChainSummary {
            start: self.start,
            head: self.head,
            records: self.records,
            checkpoints: self.checkpoints,
            last_checkpoint: self.newest.map(|(sequence, ..)| sequence),
        })
    }

    fn check(&mut self, bytes: &[u8], hash: Digest) -> Result<Record, ChainFault> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(ChainFault::TooLarge(bytes.len()));
        }
        let record = Record::from_bytes(bytes).map_err(ChainFault::Undecodable)?;
        if record.sequence != self.head.next_sequence() {
            return Err(ChainFault::Sequence {
                found: record.sequence,
            });
        }
        if record.previous != self.head.hash {
            return Err(ChainFault::Previous);
        }
        if record.time < self.head.time {
            return Err(ChainFault::Time {
                found: record.time.0,
                earlier: self.head.time.0,
            });
        }
        if let Entry::Checkpoint(checkpoint) = &record.entry {
            self.check_checkpoint(&record, checkpoint)?;
        }
        self.head = ChainPosition {
            sequence: record.sequence,
            hash,
            time: record.time,
        };
        self.records = self.records.saturating_add(1);
        Ok(record)
    }

    fn check_checkpoint(
        &mut self,
        record: &Record,
        checkpoint: &Checkpoint,
    ) -> Result<(), ChainFault> {
        if checkpoint.index_sequence >= record.sequence {
            return Err(ChainFault::IndexAhead {
                index_sequence: checkpoint.index_sequence,
            });
        }
        let digest = checkpoint_digest(
            record.sequence,
            &record.previous,
            record.time,
            &record.boot,
            checkpoint.index_sequence,
            &checkpoint.index_digest,
        );
        if self.signatures == Signatures::Each {
            verify_with(&self.key, &digest, &checkpoint.signature)
                .map_err(|_| ChainFault::Signature)?;
        }
        self.newest = Some((record.sequence, digest, checkpoint.signature));
        self.checkpoints = self.checkpoints.saturating_add(1);
        Ok(())
    }
}

/// Verifies a whole chain from its first record, with the signature of each checkpoint.
///
/// An export that begins later is verified with [`ChainVerifier`] from a known position.
pub fn verify_chain<B: AsRef<[u8]>>(
    records: impl IntoIterator<Item = B>,
    key: &IdentityKey,
) -> Result<ChainSummary, ChainError> {
    let mut verifier = ChainVerifier::new(key, ChainPosition::START).map_err(|_| ChainError {
        sequence: FIRST_SEQUENCE,
        fault: ChainFault::Signature,
    })?;
    for bytes in records {
        verifier.push(bytes.as_ref())?;
    }
    verifier.finish()
}
