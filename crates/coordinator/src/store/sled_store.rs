//! The embedded store of one machine, on sled.
//!
//! sled 0.34 does not fsync on Linux when it flushes, and large values lie in files of their own
//! that it never syncs. So after each flush the files are synced here. A damaged database makes
//! sled fail, panic or forget; a start that notices sets the directory aside and begins anew, and
//! the keys come back from the nodes.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use quorate_model::{
    command::SignedCommand,
    ids::{CommandId, UnixMillis},
    wire,
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{CoordinatorStore, Place, StoreError, evidence_hash};
use crate::core::{StoreItem, StoredCommand, StoredEnd, StoredKey, StoredUse};

const CACHE_BYTES: u64 = 64 << 20;

/// All rows lie in one tree under the letter of their table, so that one batch covers them all.
const KEY: u8 = b'k';
const COMMAND: u8 = b'c';
/// Commands by the time at which they may be forgotten.
const FORGET: u8 = b'f';
/// Commands by the time when they were made, latest first.
const LATEST: u8 = b'l';
const EVIDENCE: u8 = b'e';
const ROSTER: u8 = b'r';
/// When keys were put in use and last used, by the ids of the keys.
const USE: u8 = b'u';
/// The ends of keys, by the ids of the keys.
const END: u8 = b'd';
/// Stands in every store from its beginning; a store without it has forgotten.
const MARK: u8 = b'm';

/// A store on disk.
pub struct SledStore {
    path: PathBuf,
    db: sled::Db,
    /// The log itself; sled never replaces the file.
    log: File,
    /// Value files that have been synced; they are written once and never changed.
    synced: Mutex<BTreeSet<OsString>>,
}

/// A store that was opened, and what had to be done for it.
pub struct Opened {
    /// The store.
    pub store: SledStore,
    /// Where the damaged one lies that was there before.
    pub set_aside: Option<PathBuf>,
}

impl SledStore {
    /// Opens the store, or sets a damaged one aside and begins anew.
    ///
    /// # Errors
    ///
    /// When no store can be made in this place at all.
    pub fn open(path: &Path) -> Result<Opened, StoreError> {
        match Self::open_as_it_is(path) {
            Ok(store) => Ok(Opened {
                store,
                set_aside: None,
            }),
            // Another process that holds it is no damage.
            Err(error) if !path.exists() || is_locked(&error) => Err(error),
            Err(_) => {
                let set_aside = set_aside(path).map_err(StoreError::SetAside)?;
                let store = Self::open_as_it_is(path)?;
                Ok(Opened {
                    store,
                    set_aside: Some(set_aside),
                })
            }
        }
    }

    fn open_as_it_is(path: &Path) -> Result<Self, StoreError> {
        let existed = path.join("db").exists();
        let db = guarded(|| {
            Ok(sled::Config::new()
                .path(path)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None)
                .open()?)
        })?;
        // The directory is synced once: the log and the directory of large values stay where they
        // are, and a snapshot that is lost only makes the next start slower.
        File::open(path)
            .and_then(|dir| dir.sync_all())
            .map_err(StoreError::Sync)?;
        let store = Self {
            path: path.to_owned(),
            db,
            log: File::open(path.join("db")).map_err(StoreError::Sync)?,
            synced: Mutex::new(BTreeSet::new()),
        };
        // Every row is read once, so that damage shows at the start and not in the middle.
        if existed {
            store.check()?;
        } else {
            let mut batch = sled::Batch::default();
            batch.insert(vec![MARK], Vec::new());
            store.commit(batch)?;
        }
        Ok(store)
    }

    /// Damage that sled does not notice shows in rows that cannot be read, and in tables that do
    /// not fit each other: every command has one row in each of three.
    fn check(&self) -> Result<(), StoreError> {
        guarded(|| {
            let (mut marks, mut commands, mut forgets, mut latest) = (0u64, 0u64, 0u64, 0u64);
            for row in self.db.iter() {
                let (key, value) = row?;
                let count = match key.first() {
                    Some(&KEY) => {
                        wire::decode::<StoredKey>(&value)?;
                        continue;
                    }
                    Some(&COMMAND) => {
                        wire::decode::<StoredCommand>(&value)?;
                        &mut commands
                    }
                    Some(&ROSTER) => {
                        wire::decode::<(u32, SignedCommand)>(&value)?;
                        continue;
                    }
                    Some(&USE) => {
                        wire::decode::<StoredUse>(&value)?;
                        continue;
                    }
                    Some(&END) => {
                        wire::decode::<StoredEnd>(&value)?;
                        continue;
                    }
                    Some(&MARK) => &mut marks,
                    Some(&FORGET) => &mut forgets,
                    Some(&LATEST) => &mut latest,
                    _ => continue,
                };
                *count = count.saturating_add(1);
            }
            if marks == 1 && commands == forgets && commands == latest {
                Ok(())
            } else {
                Err(StoreError::Forgot)
            }
        })
    }

    fn read<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        guarded(|| {
            let Some(value) = self.db.get(key)? else {
                return Ok(None);
            };
            Ok(Some(wire::decode(&value)?))
        })
    }

    fn commit(&self, batch: sled::Batch) -> Result<(), StoreError> {
        guarded(|| {
            self.db.apply_batch(batch)?;
            self.db.flush()?;
            Ok(())
        })?;
        self.sync().map_err(StoreError::Sync)
    }

    /// Syncs what sled wrote and did not sync. Value files come first, because the log names them.
    fn sync(&self) -> io::Result<()> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        let values = self.path.join("blobs");
        let mut present = BTreeSet::new();
        let mut news = false;
        for entry in fs::read_dir(&values)? {
            let entry = entry?;
            let name = entry.file_name();
            if !synced.contains(&name) {
                match File::open(entry.path()) {
                    Ok(file) => file.sync_all()?,
                    // It was overwritten by a later value and collected.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                news = true;
            }
            present.insert(name);
        }
        if news {
            File::open(&values)?.sync_all()?;
        }
        *synced = present;
        self.log.sync_data()
    }
}

/// Where a damaged database lies after it was moved out of the way.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let mut number: u32 = 1;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        let target = PathBuf::from(name);
        if !target.exists() {
            fs::rename(path, &target)?;
            return Ok(target);
        }
        number = number.saturating_add(1);
    }
}

fn is_locked(error: &StoreError) -> bool {
    if let StoreError::Database(sled::Error::Io(error)) = error {
        return error.to_string().contains("could not acquire lock");
    }
    false
}

/// Turns a panic of the database into an error: sled panics on some kinds of damage.
fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(StoreError::BrokeDown))
}

fn row_key(table: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![table];
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

fn forget_key(forget: UnixMillis, id: CommandId) -> Vec<u8> {
    row_key(FORGET, &[&forget.0.to_be_bytes(), id.0.as_bytes()])
}

/// Ascends as places descend.
fn latest_key(place: Place) -> Vec<u8> {
    let inverted: Vec<u8> = place.id.0.as_bytes().iter().map(|byte| !byte).collect();
    row_key(LATEST, &[&(!place.created.0).to_be_bytes(), &inverted])
}

fn id_in(bytes: &[u8]) -> Option<CommandId> {
    Uuid::from_slice(bytes).ok().map(CommandId)
}

fn encoded<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    Ok(wire::encode(value)?)
}

impl CoordinatorStore for SledStore {
    fn load(&self) -> Result<Vec<StoreItem>, StoreError> {
        guarded(|| {
            let mut items = Vec::new();
            for row in self.db.scan_prefix([KEY]) {
                items.push(StoreItem::Key(wire::decode(&row?.1)?));
            }
            for row in self.db.scan_prefix([EVIDENCE]) {
                items.push(StoreItem::Evidence(row?.1.to_vec()));
            }
            for row in self.db.scan_prefix([ROSTER]) {
                let (at, command) = wire::decode(&row?.1)?;
                items.push(StoreItem::Roster(at, command));
            }
            for row in self.db.scan_prefix([USE]) {
                items.push(StoreItem::Use(wire::decode(&row?.1)?));
            }
            for row in self.db.scan_prefix([END]) {
                items.push(StoreItem::End(wire::decode(&row?.1)?));
            }
            Ok(items)
        })
    }

    fn apply(&self, writes: &[StoreItem]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for write in writes {
            match write {
                StoreItem::Key(key) => {
                    batch.insert(row_key(KEY, &[key.name.as_str().as_bytes()]), encoded(key)?);
                }
                StoreItem::Command(command) => {
                    let id = command.view.id;
                    batch.insert(row_key(COMMAND, &[id.0.as_bytes()]), encoded(command)?);
                    batch.insert(forget_key(command.forget, id), Vec::new());
                    let latest = latest_key(Place::of(&command.view));
                    batch.insert(latest, id.0.as_bytes().to_vec());
                }
                StoreItem::Evidence(evidence) => {
                    let hash = evidence_hash(evidence);
                    batch.insert(row_key(EVIDENCE, &[hash.as_bytes()]), evidence.clone());
                }
                StoreItem::Roster(at, command) => {
                    let place = at.to_be_bytes();
                    batch.insert(row_key(ROSTER, &[&place]), encoded(&(at, command))?);
                }
                StoreItem::Use(used) => {
                    batch.insert(row_key(USE, &[used.key_id.as_bytes()]), encoded(used)?);
                }
                StoreItem::End(end) => {
                    batch.insert(row_key(END, &[end.key_id.as_bytes()]), encoded(end)?);
                }
            }
        }
        self.commit(batch)
    }

    fn command(&self, id: CommandId) -> Result<Option<StoredCommand>, StoreError> {
        self.read(&row_key(COMMAND, &[id.0.as_bytes()]))
    }

    fn commands(
        &self,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<StoredCommand>, StoreError> {
        let start = after.map_or_else(|| vec![LATEST], latest_key);
        let mut found = Vec::new();
        guarded(|| {
            for row in self.db.range(start.clone()..vec![LATEST.saturating_add(1)]) {
                let (key, id) = row?;
                if found.len() >= limit {
                    break;
                }
                if key != start {
                    found.extend(id_in(&id));
                }
            }
            Ok(())
        })?;
        let mut commands = Vec::with_capacity(found.len());
        for id in found {
            commands.extend(self.command(id)?);
        }
        Ok(commands)
    }

    fn prune(&self, now: UnixMillis, at_most: usize) -> Result<usize, StoreError> {
        let mut batch = sled::Batch::default();
        let mut count: usize = 0;
        let end = row_key(FORGET, &[&now.0.to_be_bytes()]);
        let over: Vec<(sled::IVec, CommandId)> = guarded(|| {
            let mut over = Vec::new();
            for row in self.db.range(vec![FORGET]..end).keys().take(at_most) {
                let key = row?;
                if let Some(id) = key.get(9..).and_then(id_in) {
                    over.push((key, id));
                }
            }
            Ok(over)
        })?;
        for (key, id) in over {
            batch.remove(key);
            if let Some(command) = self.command(id)? {
                // A command that was tried again may have to be remembered longer.
                if command.forget < now {
                    batch.remove(row_key(COMMAND, &[id.0.as_bytes()]));
                    batch.remove(latest_key(Place::of(&command.view)));
                }
            }
            count = count.saturating_add(1);
        }
        if count > 0 {
            self.commit(batch)?;
        }
        Ok(count)
    }
}
