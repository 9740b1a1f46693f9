//! How a backup becomes a node's directory again.
//!
//! It is unsealed into a directory of its own beside the one that is asked for, verified there as a
//! whole, marked as restored, and only then given its name. So there is never half a node, and
//! never a restored one that does not know that it is.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use age::{DecryptError, Decryptor, x25519::Identity};
use quorate_model::{
    Digest, IdentityKey,
    audit::{ChainPosition, Entry, Record},
    backup::{BackupHeader, BackupId, RestoreId, SignedHeader, end_digest},
    roster::{PinnedRoster, SignedRoster},
};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};

use super::{
    EPOCHS, PLAIN_FILES, RestoreError,
    archive::{Item, Reader},
};
use crate::{
    core::ledger,
    disk::{self, Disk, RealDisk},
    index::{Index as _, IndexError, IndexKey, MemoryIndex, MemoryRows},
    journal::{Journal, JournalConfig, JournalLimits, is_file_of_journal},
    keyring,
    sealing::{KekSource, NodeIdentity, node_of, open_kek},
    vault::{Vault, is_file_of_share},
};

mod examine;

pub use examine::{FoundKey, Usable};

/// The name of the file that says that a directory was restored.
pub const MARKER: &str = "quarantine.json";

const ROSTER: &str = "roster.json";

/// The most bytes of a file that a backup holds whole in memory to look at.
const MAX_PLAIN_BYTES: u64 = 4 << 20;

/// What a restored directory says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// The form of this file; 1.
    pub format: u32,
    /// The backup.
    pub backup: BackupId,
    /// This restoration of it.
    pub restore: RestoreId,
    /// The last journal record in the backup.
    pub sequence: u64,
    /// Its hash.
    pub head: Digest,
}

/// What is to be restored, and where.
pub struct Restoration<'a> {
    /// The secret keys of a recipient.
    pub identities: &'a [Identity],
    /// What unseals the node.
    pub source: &'a KekSource,
    /// The hash of the roster that the backup must have, where one is asked for.
    pub roster: Option<Digest>,
}

/// A directory that holds what a backup held.
#[derive(Debug)]
pub struct Restored {
    /// What the backup says of itself.
    pub header: BackupHeader,
    /// What became of each key.
    pub keys: Vec<FoundKey>,
}

/// Restores a backup into a directory that does not exist or is empty, and marks it. Whatever goes
/// wrong, nothing is left behind.
pub fn restore(
    from: impl Read,
    what: &Restoration<'_>,
    dir: &Path,
    rng: &mut dyn CryptoRngCore,
) -> Result<(Restored, Marker), RestoreError> {
    check_free(dir)?;
    let mut restore = [0; 16];
    rng.fill_bytes(&mut restore);
    let restore = RestoreId(restore);
    let scratch = Scratch::beside(dir, restore);
    let restored = unseal(from, what, &scratch.0, rng)?;
    let marker = Marker {
        format: 1,
        backup: restored.header.backup,
        restore,
        sequence: restored.header.sequence,
        head: restored.header.head,
    };
    let text = serde_json::to_vec_pretty(&marker)
        .map_err(|_| RestoreError::Damaged("its marker cannot be written"))?;
    let disk = RealDisk::open(&scratch.0)?;
    disk::replace(&disk, MARKER, &text)?;
    drop(disk);
    put_in_place(&scratch.0, dir).map_err(|source| RestoreError::Directory {
        path: dir.to_owned(),
        source,
    })?;
    Ok((restored, marker))
}

/// Restores a backup into a directory of its own below another one, looks at what is there, and removes
/// it again. No node can be started from it: it is never marked.
///
/// # Errors
///
/// What would keep the backup from being restored.
pub fn rehearse(
    from: impl Read,
    what: &Restoration<'_>,
    below: &Path,
    rng: &mut dyn CryptoRngCore,
) -> Result<Restored, RestoreError> {
    let mut random = [0; 16];
    rng.fill_bytes(&mut random);
    let scratch = Scratch(below.join(format!("quorate-rehearsal-{}", RestoreId(random))));
    let restored = unseal(from, what, &scratch.0, rng)?;
    fs::remove_dir_all(&scratch.0).map_err(|source| RestoreError::Directory {
        path: scratch.0.clone(),
        source,
    })?;
    Ok(restored)
}

/// Refuses a directory that holds anything, before anything is read.
fn check_free(dir: &Path) -> Result<(), RestoreError> {
    match fs::read_dir(dir).map(|mut names| names.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(RestoreError::NotEmpty(dir.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(RestoreError::NotEmpty(dir.to_owned()))
        }
        Err(source) => Err(RestoreError::Directory {
            path: dir.to_owned(),
            source,
        }),
    }
}

/// An empty directory gives way; one that was filled meanwhile does not.
fn put_in_place(scratch: &Path, dir: &Path) -> io::Result<()> {
    fs::rename(scratch, dir)?;
    fs::File::open(parent_of(dir))?.sync_all()
}

fn parent_of(dir: &Path) -> &Path {
    dir.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// A directory that goes when it is not put in place.
struct Scratch(PathBuf);

impl Scratch {
    fn beside(dir: &Path, restore: RestoreId) -> Self {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        Self(parent_of(dir).join(format!(".{name}.restoring-{restore}")))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After it was put in place there is none of this name.
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// Unseals a backup into a directory that does not exist, and verifies all of it.
pub fn unseal(
    from: impl Read,
    what: &Restoration<'_>,
    dir: &Path,
    rng: &mut dyn CryptoRngCore,
) -> Result<Restored, RestoreError> {
    if !parent_of(dir).is_dir() {
        return Err(RestoreError::Directory {
            path: parent_of(dir).to_owned(),
            source: io::ErrorKind::NotFound.into(),
        });
    }
    let plain = decrypt(BufReader::new(from), what.identities)?;
    let (mut reader, signed) = Reader::begin(BufReader::new(plain))?;
    let disk = RealDisk::open(dir)?;
    // Whoever dies before the end leaves a directory from which no node starts.
    disk::replace(&disk, MARKER, b"unfinished")?;
    let disk = std::sync::Arc::new(disk);
    let key = copy(&mut reader, &signed, &disk, what.roster)?;
    verify(&disk, &signed.header, &key, what.source, rng)
}

fn decrypt(from: impl BufRead, identities: &[Identity]) -> Result<impl Read, RestoreError> {
    let keys = identities.iter().map(|key| key as &dyn age::Identity);
    Decryptor::new_buffered(from)
        .and_then(|sealed| sealed.decrypt(keys))
        .map_err(|error| match error {
            DecryptError::NoMatchingKeys => RestoreError::WrongIdentity,
            DecryptError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                RestoreError::Read(error)
            }
            DecryptError::InvalidHeader | DecryptError::UnknownFormat | DecryptError::Io(_) => {
                RestoreError::NotSealed
            }
            DecryptError::DecryptionFailed
            | DecryptError::ExcessiveWork { .. }
            | DecryptError::InvalidMac
            | DecryptError::KeyDecryptionFailed => RestoreError::Damaged("its seal does not hold"),
        })
}

/// Writes the files; the answer is the key of the node that signed all of it.
fn copy(
    reader: &mut Reader<impl Read>,
    signed: &SignedHeader,
    disk: &dyn Disk,
    expected: Option<Digest>,
) -> Result<IdentityKey, RestoreError> {
    let mut seen = BTreeSet::new();
    let mut believed = None;
    let (files, link, signature) = loop {
        match reader.next()? {
            Item::End {
                files,
                link,
                signature,
            } => break (files, link, signature),
            Item::File { name, length } => {
                // Nothing else is taken before it is known whose signatures count.
                if believed.is_none() && name != ROSTER {
                    return Err(RestoreError::Damaged("its roster does not come first"));
                }
                if !is_expected(&name) || !seen.insert(name.clone()) {
                    return Err(RestoreError::UnexpectedFile(name));
                }
                if name == EPOCHS {
                    reader.content(&name, length, |_| Ok(()))?;
                    continue;
                }
                copy_file(reader, disk, &name, length)?;
                if name == ROSTER {
                    believed = Some(check_signer(disk, signed, expected)?);
                }
            }
        }
    };
    let key = believed.ok_or(RestoreError::Damaged("it has no roster"))?;
    key.verify(&end_digest(files, &link), &signature)
        .map_err(|_| RestoreError::Forged)?;
    if !PLAIN_FILES.iter().all(|name| seen.contains(*name)) || !seen.contains(keyring::PATH) {
        return Err(RestoreError::Damaged("files are missing"));
    }
    for directory in ["vault", "journal"] {
        disk::ensure_directory(disk, directory)?;
        disk.sync_directory(directory)?;
    }
    disk.sync_directory("")?;
    Ok(key)
}

fn is_expected(name: &str) -> bool {
    PLAIN_FILES.contains(&name)
        || name == EPOCHS
        || name == keyring::PATH
        || is_file_of_share(name)
        || is_file_of_journal(name)
}

fn copy_file(
    reader: &mut Reader<impl Read>,
    disk: &dyn Disk,
    name: &str,
    length: u64,
) -> Result<(), RestoreError> {
    if PLAIN_FILES.contains(&name) && length > MAX_PLAIN_BYTES {
        return Err(RestoreError::Damaged("a file is larger than it can be"));
    }
    let mut directory = String::new();
    for part in disk::parent(name)
        .split('/')
        .filter(|part| !part.is_empty())
    {
        if !directory.is_empty() {
            directory.push('/');
        }
        directory.push_str(part);
        disk::ensure_directory(disk, &directory)?;
    }
    disk.write(name, &[])?;
    reader.content(name, length, |piece| Ok(disk.append(name, piece)?))?;
    disk.sync_file(name)?;
    Ok(disk.sync_directory(disk::parent(name))?)
}

/// Whether the node that the header names is one of the roster and signed it.
fn check_signer(
    disk: &dyn Disk,
    signed: &SignedHeader,
    expected: Option<Digest>,
) -> Result<IdentityKey, RestoreError> {
    let pinned = roster_of(disk)?;
    if let Some(expected) = expected
        && pinned.cluster() != expected
    {
        let found = pinned.cluster();
        return Err(RestoreError::OtherRoster { found, expected });
    }
    let header = &signed.header;
    let card = pinned
        .card(&header.node)
        .filter(|_| header.cluster == pinned.cluster());
    let key = card.ok_or(RestoreError::Forged)?.identity_key;
    key.verify(&header.digest(), &signed.signature)
        .map_err(|_| RestoreError::Forged)?;
    Ok(key)
}

fn roster_of(disk: &dyn Disk) -> Result<PinnedRoster, RestoreError> {
    let limit = usize::try_from(MAX_PLAIN_BYTES).unwrap_or(usize::MAX);
    let text = disk::read_whole(disk, ROSTER, limit)?;
    let signed: SignedRoster = text
        .and_then(|text| serde_json::from_slice(&text).ok())
        .ok_or(RestoreError::Damaged("its roster is malformed"))?;
    Ok(quorate_proto::roster::open(&signed)?)
}

/// Opens everything that was copied, as the node would.
fn verify(
    disk: &std::sync::Arc<RealDisk>,
    header: &BackupHeader,
    key: &IdentityKey,
    source: &KekSource,
    rng: &mut dyn CryptoRngCore,
) -> Result<Restored, RestoreError> {
    if node_of(disk)? != header.node {
        return Err(RestoreError::Forged);
    }
    let kek = open_kek(disk, &header.node, source)?;
    let identity = NodeIdentity::open(disk, &header.node, &kek)?;
    if identity.public() != *key {
        return Err(RestoreError::Forged);
    }
    let pinned = roster_of(disk)?;
    let mut boot = [0; 16];
    rng.fill_bytes(&mut boot);
    let config = JournalConfig {
        identity: identity.public(),
        boot,
        limits: JournalLimits::default(),
    };
    let index = MemoryIndex::open(MemoryRows::new(), IndexKey::derive(&identity.hedge))
        .map_err(|_| RestoreError::OtherJournal)?
        .0;
    let mut folded: Result<(), IndexError> = Ok(());
    let mut same_roster = false;
    let (_, report) = Journal::open(
        std::sync::Arc::clone(disk),
        &config,
        |record: &Record, _| {
            if let Entry::RosterPinned { roster } = &record.entry {
                same_roster = serde_json::from_slice::<SignedRoster>(roster)
                    .is_ok_and(|signed| signed.hash() == pinned.cluster());
            }
            if folded.is_ok() {
                folded = ledger::changes(&index, record)
                    .and_then(|changes| index.apply(record.sequence, changes));
            }
        },
    )?;
    let head = ChainPosition {
        time: report.head.time,
        sequence: header.sequence,
        hash: header.head,
    };
    if report.head != head || report.torn.is_some() || !same_roster || folded.is_err() {
        return Err(RestoreError::OtherJournal);
    }
    let kek = std::sync::Arc::new(kek);
    let (vault, torn) = Vault::open(std::sync::Arc::clone(disk), header.node.clone(), kek)?;
    if torn.is_some() {
        return Err(RestoreError::Damaged("its keyring is not whole"));
    }
    let pinned =
        crate::host::follow_recorded(pinned, &index).map_err(|_| RestoreError::OtherJournal)?;
    let keys = examine::keys(&index, &vault, &pinned, &header.node)
        .map_err(|_| RestoreError::OtherJournal)?;
    Ok(Restored {
        header: header.clone(),
        keys,
    })
}
