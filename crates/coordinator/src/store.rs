//! What survives a restart of the coordinator: keys, outcomes of commands, evidence.
//!
//! None of it is trusted by anybody: keys can be learned from the nodes again, and a forgotten
//! outcome is made again by them. It is kept so that a command id has one outcome (P8), and so that
//! a start needs no node.

mod memory;
mod sled_store;
mod writer;

pub use memory::MemoryStore;
pub use sled_store::{Opened, SledStore};
pub use writer::{Full, StoreWriter};

use quorate_model::{
    Digest,
    ids::{CommandId, UnixMillis},
    operation::CommandView,
    tagged::{Tag, digest_of},
    wire::WireError,
};

use crate::core::{StoreItem, StoredCommand};

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database reports an error.
    #[error("use the database")]
    Database(#[from] sled::Error),
    /// The database breaks down.
    #[error("use the database: it broke down, its files are damaged")]
    BrokeDown,
    /// Rows are missing that must be there.
    #[error("read the database: rows are missing")]
    Forgot,
    /// A row is not what this version writes.
    #[error("read a row of the database")]
    Row(#[from] WireError),
    /// Files cannot be made durable.
    #[error("make the database durable")]
    Sync(#[source] std::io::Error),
    /// A damaged database cannot be moved out of the way.
    #[error("set the damaged database aside")]
    SetAside(#[source] std::io::Error),
}

/// A place in the list of commands, latest first: the time when it was made, and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When the command was made.
    pub created: UnixMillis,
    /// Its id.
    pub id: CommandId,
}

impl Place {
    /// The place of a command.
    pub fn of(view: &CommandView) -> Self {
        Self {
            created: view.created,
            id: view.id,
        }
    }
}

/// Keeps what the core asks to have kept. One thread writes; any may read.
pub trait CoordinatorStore: Send + Sync {
    /// The keys and the evidence: what a core starts with.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn load(&self) -> Result<Vec<StoreItem>, StoreError>;

    /// Makes writes durable, all or none: when it returns, they survive a loss of power.
    ///
    /// # Errors
    ///
    /// When they may not be durable.
    fn apply(&self, writes: &[StoreItem]) -> Result<(), StoreError>;

    /// What a command came to.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn command(&self, id: CommandId) -> Result<Option<StoredCommand>, StoreError>;

    /// A page of commands after a place, latest first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn commands(
        &self,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<StoredCommand>, StoreError>;

    /// Forgets commands whose time has come, at most so many; says how many were forgotten.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    fn prune(&self, now: UnixMillis, at_most: usize) -> Result<usize, StoreError>;
}

/// The hash that names evidence.
pub fn evidence_hash(evidence: &[u8]) -> Digest {
    digest_of(Tag::Audit, evidence)
}

#[cfg(test)]
mod tests;
