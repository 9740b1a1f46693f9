//! What a simulated disk holds, and what of it a crash leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::{Fault, Survival};
use crate::disk::parent;

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    File(u64),
    Directory,
}

/// One change of the names in a directory.
#[derive(Clone)]
enum NameChange {
    Set(String, Target),
    /// One change, so that a crash leaves neither both names nor none.
    Rename(String, String, Target),
    Remove(String),
}

/// The content of a file.
#[derive(Clone, Default)]
pub(super) struct Inode {
    pub(super) data: Vec<u8>,
    durable: Durable,
}

/// The content that survives any crash.
#[derive(Clone)]
enum Durable {
    /// So many bytes from the start of the present content. Appending keeps this form, so that a
    /// sync of a long file costs nothing.
    Prefix(usize),
    /// Another content.
    Other(Vec<u8>),
}

impl Default for Durable {
    fn default() -> Self {
        Self::Prefix(0)
    }
}

impl Inode {
    pub(super) fn sync(&mut self) {
        self.durable = Durable::Prefix(self.data.len());
    }

    pub(super) fn truncate(&mut self, length: usize) {
        if let Durable::Prefix(kept) = self.durable
            && kept > length
        {
            self.durable = Durable::Other(self.durable_content());
        }
        self.data.resize(length, 0);
    }

    fn replace(&mut self, bytes: &[u8]) {
        self.durable = Durable::Other(self.durable_content());
        self.data = bytes.to_vec();
    }

    fn durable_content(&self) -> Vec<u8> {
        match &self.durable {
            Durable::Prefix(kept) => self.data.get(..*kept).unwrap_or_default().to_vec(),
            Durable::Other(content) => content.clone(),
        }
    }

    fn crash(&mut self, survival: Survival, dice: &mut Dice) {
        match survival {
            Survival::Everything => {}
            Survival::Nothing => self.data = self.durable_content(),
            Survival::Torn(_) => self.tear(dice),
        }
        self.sync();
    }

    fn tear(&mut self, dice: &mut Dice) {
        let durable = self.durable_content();
        if self.data.starts_with(&durable) {
            let length = dice.between(durable.len(), self.data.len());
            let kept = dice.between(durable.len(), length);
            self.data.truncate(kept);
            // The length reached the disk, the data behind it did not.
            self.data.resize(length, 0);
        } else if dice.coin() {
            self.data = durable;
        } else if !durable.starts_with(&self.data) {
            let kept = dice.between(0, self.data.len());
            self.data.truncate(kept);
        }
    }
}

/// The whole disk.
#[derive(Clone, Default)]
pub(super) struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, Target>,
    durable_names: BTreeMap<String, Target>,
    /// Changes of names that are not durable, per directory, in order.
    pending: BTreeMap<String, Vec<NameChange>>,
    next_inode: u64,
    pub(super) operations: u64,
    pub(super) fault: Option<(u64, Fault)>,
    pub(super) stopped: bool,
}

impl State {
    /// Counts an operation; the answer is the fault that happens at it.
    pub(super) fn begin(&mut self) -> Option<Fault> {
        let number = self.operations;
        self.operations = self.operations.saturating_add(1);
        if self.stopped {
            return Some(Fault::Stop);
        }
        let (at, fault) = self.fault?;
        if at != number {
            return None;
        }
        self.fault = None;
        self.stopped = fault == Fault::Stop;
        Some(fault)
    }

    pub(super) fn file(&self, path: &str) -> io::Result<&Inode> {
        match self.names.get(path) {
            Some(Target::File(inode)) => self.inodes.get(inode).ok_or_else(not_found),
            Some(Target::Directory) => Err(io::Error::other("is a directory")),
            None => Err(not_found()),
        }
    }

    pub(super) fn file_mut(&mut self, path: &str) -> io::Result<&mut Inode> {
        match self.names.get(path) {
            Some(Target::File(inode)) => self.inodes.get_mut(inode).ok_or_else(not_found),
            Some(Target::Directory) => Err(io::Error::other("is a directory")),
            None => Err(not_found()),
        }
    }

    pub(super) fn directory(&self, path: &str) -> io::Result<()> {
        if path.is_empty() || self.names.get(path) == Some(&Target::Directory) {
            Ok(())
        } else {
            Err(not_found())
        }
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        path.is_empty() || self.names.contains_key(path)
    }

    pub(super) fn names_in(&self, path: &str) -> Vec<String> {
        self.names
            .keys()
            .filter(|name| parent(name) == path)
            .map(|name| name.rsplit('/').next().unwrap_or(name).to_owned())
            .collect()
    }

    pub(super) fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.directory(parent(path))?;
        if let Some(target) = self.names.get(path) {
            let Target::File(_) = target else {
                return Err(io::Error::other("is a directory"));
            };
            self.file_mut(path)?.replace(bytes);
            return Ok(());
        }
        let inode = self.next_inode;
        self.next_inode = self.next_inode.saturating_add(1);
        self.inodes.insert(
            inode,
            Inode {
                data: bytes.to_vec(),
                ..Inode::default()
            },
        );
        self.set_name(path, Target::File(inode));
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let target = *self.names.get(from).ok_or_else(not_found)?;
        let Target::File(_) = target else {
            return Err(io::Error::other("is a directory"));
        };
        self.names.remove(from);
        self.names.insert(to.to_owned(), target);
        self.pending
            .entry(parent(from).to_owned())
            .or_default()
            .push(NameChange::Rename(from.to_owned(), to.to_owned(), target));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str) -> io::Result<()> {
        self.file(path)?;
        self.names.remove(path);
        self.pending
            .entry(parent(path).to_owned())
            .or_default()
            .push(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    pub(super) fn create_directory(&mut self, path: &str) -> io::Result<()> {
        match self.names.get(path) {
            Some(Target::Directory) => {}
            Some(Target::File(_)) => return Err(io::Error::other("is a file")),
            None => self.set_name(path, Target::Directory),
        }
        Ok(())
    }

    pub(super) fn sync_directory(&mut self, path: &str) -> io::Result<()> {
        self.directory(path)?;
        for change in self.pending.remove(path).unwrap_or_default() {
            self.make_durable(change);
        }
        // Sometimes is enough: it walks over every name.
        if self.inodes.len() > self.names.len().saturating_mul(2).saturating_add(64) {
            self.collect_garbage();
        }
        Ok(())
    }

    pub(super) fn flip(&mut self, path: &str, offset: usize, mask: u8) -> io::Result<()> {
        let inode = self.file_mut(path)?;
        *inode.data.get_mut(offset).ok_or_else(not_found)? ^= mask;
        Ok(())
    }

    pub(super) fn crash(&mut self, survival: Survival) {
        let mut dice = Dice(match survival {
            Survival::Torn(seed) => seed,
            Survival::Nothing | Survival::Everything => 0,
        });
        for (_, changes) in std::mem::take(&mut self.pending) {
            let kept = match survival {
                Survival::Nothing => 0,
                Survival::Everything => changes.len(),
                Survival::Torn(_) => dice.between(0, changes.len()),
            };
            for change in changes.into_iter().take(kept) {
                self.make_durable(change);
            }
        }
        self.names = self.durable_names.clone();
        let mut orphans: Vec<String> = Vec::new();
        for name in self.names.keys() {
            let mut directory = parent(name);
            while !directory.is_empty() {
                if !self.names.contains_key(directory) {
                    orphans.push(name.clone());
                }
                directory = parent(directory);
            }
        }
        for name in orphans {
            self.names.remove(&name);
            self.durable_names.remove(&name);
        }
        for inode in self.inodes.values_mut() {
            inode.crash(survival, &mut dice);
        }
        self.collect_garbage();
        self.fault = None;
        self.stopped = false;
    }

    fn set_name(&mut self, path: &str, target: Target) {
        self.names.insert(path.to_owned(), target);
        self.pending
            .entry(parent(path).to_owned())
            .or_default()
            .push(NameChange::Set(path.to_owned(), target));
    }

    fn make_durable(&mut self, change: NameChange) {
        match change {
            NameChange::Set(name, target) => {
                self.durable_names.insert(name, target);
            }
            NameChange::Rename(from, to, target) => {
                self.durable_names.remove(&from);
                self.durable_names.insert(to, target);
            }
            NameChange::Remove(name) => {
                self.durable_names.remove(&name);
            }
        }
    }

    /// Drops contents that no name stands for, neither at present nor after a crash.
    fn collect_garbage(&mut self) {
        let pending = self
            .pending
            .values()
            .flatten()
            .filter_map(|change| match change {
                NameChange::Set(_, Target::File(inode))
                | NameChange::Rename(_, _, Target::File(inode)) => Some(*inode),
                NameChange::Set(_, Target::Directory)
                | NameChange::Rename(_, _, Target::Directory)
                | NameChange::Remove(_) => None,
            });
        let named = self.names.values().chain(self.durable_names.values());
        let live: BTreeSet<u64> = named
            .filter_map(|target| match target {
                Target::File(inode) => Some(*inode),
                Target::Directory => None,
            })
            .chain(pending)
            .collect();
        self.inodes.retain(|inode, _| live.contains(inode));
    }
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

/// Numbers from a seed (splitmix64), so that a crash replays exactly.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }

    /// A number from `low` to `high`, both included.
    fn between(&mut self, low: usize, high: usize) -> usize {
        let choices = (high.saturating_sub(low) as u64).saturating_add(1);
        let drawn = self.next().checked_rem(choices).unwrap_or(0);
        low.saturating_add(usize::try_from(drawn).unwrap_or(0))
    }
}
