//! The vault: one sealed file per key and epoch, and for ECDSA one more with the pairings of the
//! share, sealed under the same data key.
//!
//! A record has a public part in clear and a secret part sealed under its own data key. Node, key,
//! epoch and the public part are associated data, so that records cannot be swapped or relabeled.
//! [`Vault::store`] returns when the record is durable, has been read back, and has opened: only
//! then may a node say PREPARED (P19).

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quorate_model::{Epoch, KeyName, NodeId, wire};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::{
    disk::{self, Disk, DiskError, OpenFile},
    keyring::{Keyring, KeyringError, ShareId},
    sealing::{Associated, Kek, SEAL_OVERHEAD, SealKey, SealedKind},
};

pub(crate) const DIRECTORY: &str = "vault";
const MAGIC: &[u8; 16] = b"quorate-vault-01";

/// The most bytes that one record may have, secret and public parts together.
pub const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

/// A vault that cannot be made, opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The disk refused.
    #[error("use the vault's files")]
    Disk(#[from] DiskError),
    /// The keyring cannot be used.
    #[error("use the keyring")]
    Keyring(#[from] KeyringError),
    /// There is a record of this key and epoch already; a record is never replaced.
    #[error("there is a vault record {path} already")]
    Exists {
        /// The file.
        path: String,
    },
    /// There is no record of this key and epoch.
    #[error("there is no vault record {path}")]
    Missing {
        /// The file.
        path: String,
    },
    /// The record is there, its data key is not: the share was erased.
    #[error("vault record {path} has no data key: its share was erased")]
    Erased {
        /// The file.
        path: String,
    },
    /// The record belongs to another key, epoch or node.
    #[error(
        "vault record {path} belongs to {found}: put each record back in its place; any t other \
         holders of the key go on signing"
    )]
    Swapped {
        /// The file.
        path: String,
        /// What it belongs to.
        found: String,
    },
    /// The record was changed.
    #[error(
        "vault record {path} was changed: put an exact copy of this file back; without one the \
         share is lost, and any t other holders of the key go on signing"
    )]
    Tampered {
        /// The file.
        path: String,
    },
    /// What was read back is not what was written.
    #[error("vault record {path} did not read back as it was written; the node must stop")]
    ReadBack {
        /// The file.
        path: String,
    },
    /// The record is larger than records may be.
    #[error("a vault record of {0} bytes is larger than the {MAX_RECORD_BYTES} allowed")]
    TooLarge(usize),
}

/// A record to store.
pub struct NewRecord<'a> {
    /// The key.
    pub key: &'a KeyName,
    /// The epoch.
    pub epoch: Epoch,
    /// What may lie in clear.
    pub public: &'a [u8],
    /// What is sealed.
    pub secret: &'a Zeroizing<Vec<u8>>,
}

/// A record that was read.
pub struct VaultRecord {
    /// What lay in clear; it is authentic.
    pub public: Vec<u8>,
    /// What was sealed.
    pub secret: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for VaultRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { public, secret: _ } = self;
        f.debug_struct("VaultRecord")
            .field("public", &public.len())
            .field("secret", &"redacted")
            .finish()
    }
}

/// Proof that a record is durable and has been read back (P19). Only the vault makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a share is durable only with this proof"]
pub struct Stored {
    key: KeyName,
    epoch: Epoch,
}

impl Stored {
    /// The key.
    pub fn key(&self) -> &KeyName {
        &self.key
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    node: NodeId,
    key: KeyName,
    epoch: Epoch,
    public: Vec<u8>,
}

/// The sealed shares of a node.
pub struct Vault<D: Disk> {
    disk: D,
    node: NodeId,
    keyring: Keyring<D>,
    /// Held while records are written: the fan-out directories whose names are durable.
    directories: Mutex<BTreeSet<String>>,
    copying: Mutex<Copying>,
}

/// What is left to do after the vault was copied.
#[derive(Default)]
struct Copying {
    /// How many copies are being made.
    copies: usize,
    /// Files that are worth nothing any more, and that a copy may still have to read.
    unwanted: BTreeSet<String>,
}

/// The vault as it was at one moment.
pub(crate) struct VaultSnapshot {
    /// The keyring.
    pub(crate) keyring: Box<dyn OpenFile>,
    /// The shares whose data keys it holds.
    pub(crate) shares: Vec<ShareId>,
}

impl<D: Disk + Clone> Vault<D> {
    /// Makes an empty vault and its keyring.
    pub fn create(
        disk: &D,
        node: &NodeId,
        kek: &dyn Kek,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(), VaultError> {
        disk::ensure_directory(disk, DIRECTORY)?;
        Keyring::create(disk, node, kek, rng)?;
        Ok(())
    }

    /// Opens the vault. Records are read when they are asked for. The second part of the answer is
    /// the size of an unfinished frame that was cut from the keyring.
    pub fn open(
        disk: D,
        node: NodeId,
        kek: Arc<dyn Kek>,
    ) -> Result<(Self, Option<u64>), VaultError> {
        let (keyring, torn) = Keyring::open(disk.clone(), node.clone(), kek)?;
        let directories = Mutex::new(BTreeSet::new());
        Ok((
            Self {
                disk,
                node,
                keyring,
                directories,
                copying: Mutex::default(),
            },
            torn,
        ))
    }
}

impl<D: Disk> Vault<D> {
    /// The data keys.
    pub fn keyring(&self) -> &Keyring<D> {
        &self.keyring
    }

    /// Stores one record, durably and read back.
    pub fn store(
        &self,
        record: &NewRecord<'_>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Stored, VaultError> {
        let mut stored = self.store_all(std::slice::from_ref(record), rng)?;
        stored.pop().ok_or_else(|| VaultError::ReadBack {
            path: path_of(record.key, record.epoch),
        })
    }

    /// Stores records with one write to the keyring.
    pub fn store_all(
        &self,
        records: &[NewRecord<'_>],
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Vec<Stored>, VaultError> {
        let mut directories = self.directories();
        let mut shares = Vec::with_capacity(records.len());
        for record in records {
            let size = record.secret.len().saturating_add(record.public.len());
            if size > MAX_RECORD_BYTES {
                return Err(VaultError::TooLarge(size));
            }
            let path = path_of(record.key, record.epoch);
            let share = (record.key.clone(), record.epoch);
            if self.disk.exists(&path)? || shares.contains(&share) {
                return Err(VaultError::Exists { path });
            }
            shares.push(share);
        }
        let keys = self.keyring.add(&shares, rng)?;
        records
            .iter()
            .zip(keys)
            .map(|(record, data_key)| {
                let kind = SealedKind::VaultRecord;
                self.put(kind, record, &data_key, &mut directories, rng)?;
                Ok(Stored {
                    key: record.key.clone(),
                    epoch: record.epoch,
                })
            })
            .collect()
    }

    /// Reads a record.
    pub fn load(&self, key: &KeyName, epoch: Epoch) -> Result<VaultRecord, VaultError> {
        self.read(SealedKind::VaultRecord, key, epoch)
    }

    /// Stores the pairings of a share, durably and read back, in the place of those that were
    /// there. The share must be there.
    pub fn store_pairings(
        &self,
        key: &KeyName,
        epoch: Epoch,
        pairings: &Zeroizing<Vec<u8>>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(), VaultError> {
        let mut directories = self.directories();
        let path = file_of(SealedKind::Pairings, key, epoch);
        if pairings.len() > MAX_RECORD_BYTES {
            return Err(VaultError::TooLarge(pairings.len()));
        }
        let data_key = self
            .keyring
            .data_key(&(key.clone(), epoch))?
            .ok_or(VaultError::Erased { path })?;
        let record = NewRecord {
            key,
            epoch,
            public: &[],
            secret: pairings,
        };
        self.put(
            SealedKind::Pairings,
            &record,
            &data_key,
            &mut directories,
            rng,
        )
    }

    /// Reads the pairings of a share.
    pub fn load_pairings(
        &self,
        key: &KeyName,
        epoch: Epoch,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let record = self.read(SealedKind::Pairings, key, epoch)?;
        Ok(record.secret)
    }

    fn read(
        &self,
        kind: SealedKind,
        key: &KeyName,
        epoch: Epoch,
    ) -> Result<VaultRecord, VaultError> {
        let path = file_of(kind, key, epoch);
        let limit = MAX_RECORD_BYTES.saturating_mul(2);
        let bytes = disk::read_whole(&self.disk, &path, limit)?
            .ok_or_else(|| VaultError::Missing { path: path.clone() })?;
        let tampered = || VaultError::Tampered { path: path.clone() };
        let (clear, header, sealed) = parse(&bytes).ok_or_else(tampered)?;
        if header.node != self.node || header.key != *key || header.epoch != epoch {
            let found = format!(
                "key {} epoch {} of node {}",
                header.key, header.epoch, header.node
            );
            return Err(VaultError::Swapped { path, found });
        }
        let data_key = self
            .keyring
            .data_key(&(key.clone(), epoch))?
            .ok_or_else(|| VaultError::Erased { path: path.clone() })?;
        let secret = data_key
            .open(sealed, associated(kind, &self.node, key, epoch, clear))
            .map_err(|_| tampered())?;
        Ok(VaultRecord {
            public: header.public,
            secret,
        })
    }

    /// Whether there is a file for a key and epoch.
    pub fn contains(&self, key: &KeyName, epoch: Epoch) -> Result<bool, VaultError> {
        Ok(self.disk.exists(&path_of(key, epoch))?)
    }

    /// Whether anything of a share is on the disk: its file, or that of its pairings.
    pub fn has_files(&self, key: &KeyName, epoch: Epoch) -> Result<bool, VaultError> {
        for kind in [SealedKind::VaultRecord, SealedKind::Pairings] {
            if self.disk.exists(&file_of(kind, key, epoch))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Every key and epoch that has a file, sorted.
    pub fn list(&self) -> Result<Vec<ShareId>, VaultError> {
        let mut shares = Vec::new();
        for fan in self.disk.list(DIRECTORY)? {
            for name in self.disk.list(&format!("{DIRECTORY}/{fan}"))? {
                shares.extend(share_of(&name));
            }
        }
        shares.sort();
        Ok(shares)
    }

    /// Erases shares: first the data keys, durably, then the files.
    pub fn erase(
        &self,
        shares: &BTreeSet<ShareId>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(), VaultError> {
        let _writing = self.directories();
        self.keyring.erase(shares, rng)?;
        let names = shares.iter().flat_map(|(key, epoch)| {
            let files = [SealedKind::VaultRecord, SealedKind::Pairings];
            files.into_iter().flat_map(move |kind| {
                let path = file_of(kind, key, *epoch);
                [disk::temporary_of(&path), path]
            })
        });
        let mut copying = self.copying();
        if copying.copies > 0 {
            copying.unwanted.extend(names);
            return Ok(());
        }
        drop(copying);
        self.remove(names)
    }

    /// Begins a copy: the data keys as they are, and every file that they open stays until
    /// [`Self::end_copy`]. What is erased meanwhile loses its data key at once.
    pub(crate) fn begin_copy(&self) -> Result<VaultSnapshot, VaultError> {
        let mut copying = self.copying();
        let (keyring, shares) = self.keyring.snapshot()?;
        copying.copies = copying.copies.saturating_add(1);
        Ok(VaultSnapshot { keyring, shares })
    }

    /// Ends a copy, and removes what was erased while it was made.
    pub(crate) fn end_copy(&self) -> Result<(), VaultError> {
        let _writing = self.directories();
        let mut copying = self.copying();
        copying.copies = copying.copies.saturating_sub(1);
        if copying.copies > 0 {
            return Ok(());
        }
        let unwanted = std::mem::take(&mut copying.unwanted);
        drop(copying);
        self.remove(unwanted)
    }

    /// The names of the files of a share.
    pub(crate) fn files_of(share: &ShareId) -> [String; 2] {
        let (key, epoch) = share;
        [SealedKind::VaultRecord, SealedKind::Pairings].map(|kind| file_of(kind, key, *epoch))
    }

    /// The disk.
    pub(crate) fn disk(&self) -> &D {
        &self.disk
    }

    fn remove(&self, names: impl IntoIterator<Item = String>) -> Result<(), VaultError> {
        let mut changed = BTreeSet::new();
        for name in names {
            if self.disk.exists(&name)? {
                self.disk.remove(&name)?;
                changed.insert(disk::parent(&name).to_owned());
            }
        }
        for directory in changed {
            self.disk.sync_directory(&directory)?;
        }
        Ok(())
    }

    fn copying(&self) -> MutexGuard<'_, Copying> {
        self.copying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directories(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals a record, puts it in place and reads it back.
    fn put(
        &self,
        kind: SealedKind,
        record: &NewRecord<'_>,
        data_key: &SealKey,
        directories: &mut BTreeSet<String>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(), VaultError> {
        let NewRecord {
            key,
            epoch,
            public,
            secret,
        } = *record;
        let path = file_of(kind, key, epoch);
        let directory = disk::parent(&path);
        if !directories.contains(directory) {
            disk::ensure_directory(&self.disk, directory)?;
            directories.insert(directory.to_owned());
        }
        let too_large = || VaultError::TooLarge(secret.len().saturating_add(public.len()));
        let header = Header {
            node: self.node.clone(),
            key: key.clone(),
            epoch,
            public: public.to_vec(),
        };
        let clear = wire::encode(&header).map_err(|_| too_large())?;
        let sealed = data_key
            .seal(
                secret,
                associated(kind, &self.node, key, epoch, &clear),
                rng,
            )
            .map_err(|_| too_large())?;
        disk::replace(&self.disk, &path, &assemble(&clear, &sealed))?;
        let back = self.read(kind, key, epoch)?;
        if !bool::from(back.secret.ct_eq(secret)) || back.public != public {
            return Err(VaultError::ReadBack { path });
        }
        Ok(())
    }
}

/// Whether a path is one that a record or pairings have.
pub(crate) fn is_file_of_share(path: &str) -> bool {
    let name = path.rsplit_once('/').map_or("", |(_, name)| name);
    let record = name.strip_suffix(".pairings").unwrap_or(name);
    share_of(record).is_some_and(|(key, epoch)| {
        [SealedKind::VaultRecord, SealedKind::Pairings]
            .into_iter()
            .any(|kind| file_of(kind, &key, epoch) == path)
    })
}

/// The file of a record, in one of 256 directories, so that none grows long.
fn path_of(key: &KeyName, epoch: Epoch) -> String {
    let hash = Sha256::digest(key.as_str().as_bytes());
    let fan = hash.first().copied().unwrap_or_default();
    format!("{DIRECTORY}/{fan:02x}/{key}.{epoch}")
}

/// The file of one kind.
fn file_of(kind: SealedKind, key: &KeyName, epoch: Epoch) -> String {
    let record = path_of(key, epoch);
    if kind == SealedKind::Pairings {
        format!("{record}.pairings")
    } else {
        record
    }
}

fn share_of(name: &str) -> Option<ShareId> {
    let (key, epoch) = name.split_once('.')?;
    Some((key.parse().ok()?, Epoch(epoch.parse().ok()?)))
}

/// Magic, length of the clear part, clear part, sealed part.
fn assemble(clear: &[u8], sealed: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&u32::try_from(clear.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(clear);
    bytes.extend_from_slice(sealed);
    bytes
}

fn parse(bytes: &[u8]) -> Option<(&[u8], Header, &[u8])> {
    let (length, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (clear, sealed) = rest.split_at_checked(length)?;
    if sealed.len() < SEAL_OVERHEAD {
        return None;
    }
    Some((clear, wire::decode(clear).ok()?, sealed))
}

fn associated<'a>(
    kind: SealedKind,
    node: &'a NodeId,
    key: &'a KeyName,
    epoch: Epoch,
    clear: &'a [u8],
) -> Associated<'a> {
    Associated {
        kind,
        node,
        share: Some((key, epoch)),
        public: clear,
    }
}

#[cfg(test)]
mod tests;
