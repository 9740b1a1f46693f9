//! The keyring: one wrapped data key per key and epoch. Without its data key a vault record is
//! noise, so erasing the data key erases the share.
//!
//! The first frame of the file holds the table key, wrapped by the KEK; each later frame holds a
//! data key, wrapped by the table key. Adding appends, with one fsync for a batch. Erasing draws a
//! new table key, wraps what remains under it and replaces the whole file: the old file and the
//! old table key are worth nothing from then on.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quorate_model::{Digest, Epoch, KeyName, NodeId, wire};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    disk::{self, Disk, DiskError, OpenFile},
    frame::{self, Damage, Found, FrameReader},
    sealing::{Associated, Kek, SealKey, SealedKind},
};

/// Where the keyring lies.
pub(crate) const PATH: &str = "keyring";
const MAGIC: &[u8; 16] = b"quorate-keyring1";
const MAX_FRAME: usize = 4096;

/// A share as it is kept: a key and one of its epochs.
pub type ShareId = (KeyName, Epoch);

/// A keyring that cannot be made, opened or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The disk refused.
    #[error("use file keyring")]
    Disk(#[from] DiskError),
    /// There is none.
    #[error(
        "there is no file keyring in this directory: put its newest copy back, or leave the node \
         out of service, and any t other holders of a key go on signing"
    )]
    Missing,
    /// There is one with data keys already.
    #[error("there is a file keyring with data keys in this directory already")]
    Exists,
    /// A frame is damaged.
    #[error(
        "file keyring is damaged at byte {offset}: put its newest copy back, or leave the node out \
         of service, and any t other holders of a key go on signing"
    )]
    Damaged {
        /// Where the frame begins.
        offset: u64,
        /// What is wrong with it.
        #[source]
        damage: Option<Damage>,
    },
    /// The file does not open under the node's KEK.
    #[error(
        "file keyring was changed, or belongs to another node: put this node's own newest copy \
         back, or leave the node out of service, and any t other holders of a key go on signing"
    )]
    Tampered,
    /// One data key does not open.
    #[error(
        "the data key of {key} epoch {epoch} was changed: put the newest copy of file keyring \
         back; without one the share is lost, and any t other holders of the key go on signing"
    )]
    TamperedKey {
        /// The key.
        key: KeyName,
        /// The epoch.
        epoch: Epoch,
    },
    /// An earlier write failed. What is on the disk is unknown until the node starts again.
    #[error("the keyring stopped at an earlier storage error; the node must stop")]
    Poisoned,
    /// A wrapped key that cannot be written.
    #[error("a data key cannot be wrapped")]
    Unwritable,
}

#[derive(Serialize, Deserialize)]
struct Row {
    key: KeyName,
    epoch: Epoch,
    wrapped: Vec<u8>,
}

/// The data keys of a node.
pub struct Keyring<D: Disk> {
    disk: D,
    node: NodeId,
    kek: Arc<dyn Kek>,
    state: Mutex<State>,
}

struct State {
    table: SealKey,
    wrapped: BTreeMap<ShareId, Vec<u8>>,
    poisoned: bool,
}

impl<D: Disk> Keyring<D> {
    /// Makes an empty keyring where there is none. One without data keys that an interrupted set-up
    /// left is kept, if it opens under the KEK.
    pub fn create(
        disk: &D,
        node: &NodeId,
        kek: &dyn Kek,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(), KeyringError> {
        if disk.exists(PATH)? {
            let (found, torn) = read(disk, node, kek)?;
            if !found.wrapped.is_empty() || torn.is_some() {
                return Err(KeyringError::Exists);
            }
            disk.sync_directory("")?;
            return Ok(());
        }
        let bytes = header(node, kek, &SealKey::generate(rng), rng)?;
        disk::replace(disk, PATH, &bytes)?;
        Ok(())
    }

    /// Opens the keyring. An unfinished frame at its end is cut; the answer says how many bytes.
    pub fn open(
        disk: D,
        node: NodeId,
        kek: Arc<dyn Kek>,
    ) -> Result<(Self, Option<u64>), KeyringError> {
        if !disk.exists(PATH)? {
            return Err(KeyringError::Missing);
        }
        let temporary = disk::temporary_of(PATH);
        if disk.exists(&temporary)? {
            disk.remove(&temporary)?;
        }
        let (state, torn) = read(&disk, &node, &*kek)?;
        if let Some((offset, _)) = torn {
            disk.truncate(PATH, offset)?;
        }
        disk.sync_file(PATH)?;
        disk.sync_directory("")?;
        let keyring = Self {
            disk,
            node,
            kek,
            state: Mutex::new(state),
        };
        Ok((keyring, torn.map(|(_, bytes)| bytes)))
    }

    /// How many data keys there are.
    pub fn len(&self) -> usize {
        self.state().wrapped.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a share has a data key.
    pub fn contains(&self, share: &ShareId) -> bool {
        self.state().wrapped.contains_key(share)
    }

    /// The epochs of a key below one that have a data key, ascending.
    pub fn epochs_below(&self, key: &KeyName, epoch: Epoch) -> Vec<Epoch> {
        let from = (key.clone(), Epoch(0));
        let to = (key.clone(), epoch);
        let state = self.state();
        let shares = state.wrapped.range(from..to);
        shares.map(|((_, epoch), _)| *epoch).collect()
    }

    /// The file as it is at this moment, and the shares whose data keys it holds.
    pub(crate) fn snapshot(&self) -> Result<(Box<dyn OpenFile>, Vec<ShareId>), KeyringError> {
        let state = self.state();
        state.check()?;
        let file = self.disk.open(PATH)?;
        Ok((file, state.wrapped.keys().cloned().collect()))
    }

    /// Draws data keys for shares; they are durable when this returns. A share that has one gets
    /// another.
    pub fn add(
        &self,
        shares: &[ShareId],
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Vec<SealKey>, KeyringError> {
        let mut state = self.state();
        state.check()?;
        let mut bytes = Vec::new();
        let mut rows = Vec::with_capacity(shares.len());
        let mut keys = Vec::with_capacity(shares.len());
        for share in shares {
            let key = SealKey::generate(rng);
            let wrapped = wrap(&state.table, &self.node, share, &key, rng)?;
            push_row(&mut bytes, share, &wrapped)?;
            rows.push((share.clone(), wrapped));
            keys.push(key);
        }
        let written = self
            .disk
            .append(PATH, &bytes)
            .and_then(|()| self.disk.sync_file(PATH));
        state.settle(written)?;
        state.wrapped.extend(rows);
        Ok(keys)
    }

    /// The data key of a share, if it has one.
    pub fn data_key(&self, share: &ShareId) -> Result<Option<SealKey>, KeyringError> {
        let state = self.state();
        state
            .wrapped
            .get(share)
            .map(|wrapped| unwrap(&state.table, &self.node, share, wrapped))
            .transpose()
    }

    /// Erases data keys; when this returns, the disk holds nothing that opens them. Shares that
    /// have none are passed over.
    pub fn erase(
        &self,
        shares: &BTreeSet<ShareId>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(), KeyringError> {
        let mut state = self.state();
        state.check()?;
        let table = SealKey::generate(rng);
        let mut bytes = header(&self.node, &*self.kek, &table, rng)?;
        let mut rewrapped = BTreeMap::new();
        for (share, wrapped) in &state.wrapped {
            if shares.contains(share) {
                continue;
            }
            let key = unwrap(&state.table, &self.node, share, wrapped)?;
            let wrapped = wrap(&table, &self.node, share, &key, rng)?;
            push_row(&mut bytes, share, &wrapped)?;
            rewrapped.insert(share.clone(), wrapped);
        }
        let written = disk::replace(&self.disk, PATH, &bytes);
        state.settle(written)?;
        state.table = table;
        state.wrapped = rewrapped;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self) -> Result<(), KeyringError> {
        if self.poisoned {
            Err(KeyringError::Poisoned)
        } else {
            Ok(())
        }
    }

    /// After a failed write the file and the memory may differ.
    fn settle(&mut self, written: Result<(), DiskError>) -> Result<(), KeyringError> {
        self.poisoned = written.is_err();
        written.map_err(KeyringError::Disk)
    }
}

/// Reads the whole file: the state, and where an unfinished frame begins with its size.
fn read(
    disk: &dyn Disk,
    node: &NodeId,
    kek: &dyn Kek,
) -> Result<(State, Option<(u64, u64)>), KeyringError> {
    let mut reader = FrameReader::open(disk, PATH, 0, MAX_FRAME, hash_of)?;
    let table = match reader.next()? {
        Found::Frame { body, .. } => {
            let wrapped = body.strip_prefix(MAGIC).ok_or(KeyringError::Tampered)?;
            kek.unwrap(wrapped, table_of(node))
                .ok()
                .and_then(|table| SealKey::from_slice(&table))
                .ok_or(KeyringError::Tampered)?
        }
        // The first frame is put in place whole.
        Found::End | Found::Torn(_) => {
            return Err(KeyringError::Damaged {
                offset: 0,
                damage: None,
            });
        }
        Found::Damaged(damage) => {
            return Err(KeyringError::Damaged {
                offset: 0,
                damage: Some(damage),
            });
        }
    };
    let mut state = State {
        table,
        wrapped: BTreeMap::new(),
        poisoned: false,
    };
    loop {
        let offset = reader.position();
        match reader.next()? {
            Found::Frame { body, .. } => {
                let row: Row = wire::decode(&body).map_err(|_| KeyringError::Damaged {
                    offset,
                    damage: None,
                })?;
                state.wrapped.insert((row.key, row.epoch), row.wrapped);
            }
            Found::End => return Ok((state, None)),
            Found::Torn(bytes) => return Ok((state, Some((offset, bytes)))),
            Found::Damaged(damage) => {
                return Err(KeyringError::Damaged {
                    offset,
                    damage: Some(damage),
                });
            }
        }
    }
}

fn header(
    node: &NodeId,
    kek: &dyn Kek,
    table: &SealKey,
    rng: &mut dyn CryptoRngCore,
) -> Result<Vec<u8>, KeyringError> {
    let wrapped = kek
        .wrap(table.expose(), table_of(node), rng)
        .map_err(|_| KeyringError::Unwritable)?;
    let mut body = MAGIC.to_vec();
    body.extend_from_slice(&wrapped);
    let mut bytes = Vec::new();
    frame::push(&mut bytes, &body, &hash_of(&body));
    Ok(bytes)
}

fn push_row(bytes: &mut Vec<u8>, share: &ShareId, wrapped: &[u8]) -> Result<(), KeyringError> {
    let (key, epoch) = share.clone();
    let row = Row {
        key,
        epoch,
        wrapped: wrapped.to_vec(),
    };
    let body = wire::encode(&row).map_err(|_| KeyringError::Unwritable)?;
    frame::push(bytes, &body, &hash_of(&body));
    Ok(())
}

fn wrap(
    table: &SealKey,
    node: &NodeId,
    share: &ShareId,
    key: &SealKey,
    rng: &mut dyn CryptoRngCore,
) -> Result<Vec<u8>, KeyringError> {
    table
        .seal(key.expose(), row_of(node, share), rng)
        .map_err(|_| KeyringError::Unwritable)
}

fn unwrap(
    table: &SealKey,
    node: &NodeId,
    share: &ShareId,
    wrapped: &[u8],
) -> Result<SealKey, KeyringError> {
    table
        .open(wrapped, row_of(node, share))
        .ok()
        .and_then(|key| SealKey::from_slice(&key))
        .ok_or_else(|| KeyringError::TamperedKey {
            key: share.0.clone(),
            epoch: share.1,
        })
}

fn table_of(node: &NodeId) -> Associated<'_> {
    Associated {
        kind: SealedKind::TableKey,
        node,
        share: None,
        public: &[],
    }
}

fn row_of<'a>(node: &'a NodeId, share: &'a ShareId) -> Associated<'a> {
    Associated {
        kind: SealedKind::DataKey,
        node,
        share: Some((&share.0, share.1)),
        public: &[],
    }
}

fn hash_of(body: &[u8]) -> Digest {
    let hash = Sha256::new()
        .chain_update(b"quorate/v1/keyring-frame")
        .chain_update(body);
    Digest::new(hash.finalize().into())
}

#[cfg(test)]
mod tests;
