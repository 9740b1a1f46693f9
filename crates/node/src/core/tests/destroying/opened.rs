//! What somebody opens who has a copy of a node's disk, what unseals it, and every file of shares
//! that was ever on it.

use std::{collections::BTreeSet, sync::Arc};

use quorate_model::KeyName;

use super::*;
use crate::{
    core::tests::harness::{PASSPHRASE, unseals},
    disk::{Disk as _, MemoryDisk, Survival},
    keyring,
    sealing::{Kek, open_kek},
    vault::Vault,
};

/// A disk as it was, and all files of it that a thief has.
pub(super) struct Thief {
    before: MemoryDisk,
}

impl Thief {
    pub(super) fn new(before: &MemoryDisk) -> Self {
        Self {
            before: before.fork(),
        }
    }

    /// The epochs of a key of which a share or pairings open with what is on a later disk.
    pub(super) fn opens(&self, at: usize, later: &MemoryDisk, name: &KeyName) -> BTreeSet<Epoch> {
        let disk = later.fork();
        for path in files(&self.before, "vault") {
            copy(&self.before, &path, &disk, &path);
        }
        let kek: Arc<dyn Kek> =
            Arc::new(open_kek(&disk, &node_id(at), &unseals(PASSPHRASE)).unwrap());
        let mut opened = BTreeSet::new();
        // Whatever is on the disk may be a keyring that was left behind.
        for path in files(later, "") {
            copy(later, &path, &disk, keyring::PATH);
            let Ok((vault, _)) = Vault::open(disk.clone(), node_id(at), Arc::clone(&kek)) else {
                continue;
            };
            opened.extend((0..10).map(Epoch).filter(|epoch| {
                vault.load(name, *epoch).is_ok() || vault.load_pairings(name, *epoch).is_ok()
            }));
        }
        opened
    }

    /// The same of a disk and of what a crash makes of it.
    pub(super) fn opens_of_any(
        &self,
        at: usize,
        later: &MemoryDisk,
        name: &KeyName,
    ) -> BTreeSet<Epoch> {
        let mut opened = self.opens(at, later, name);
        let torn = (0..3).map(Survival::Torn);
        for survival in [Survival::Nothing, Survival::Everything]
            .into_iter()
            .chain(torn)
        {
            let copy = later.fork();
            copy.crash(survival);
            opened.extend(self.opens(at, &copy, name));
        }
        opened
    }
}

/// The paths of all files in a directory and below it.
fn files(disk: &MemoryDisk, directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    for name in disk.list(directory).unwrap() {
        let path = if directory.is_empty() {
            name
        } else {
            format!("{directory}/{name}")
        };
        if disk.list(&path).is_ok() {
            found.extend(files(disk, &path));
        } else {
            found.push(path);
        }
    }
    found
}

fn copy(from: &MemoryDisk, path: &str, to: &MemoryDisk, name: &str) {
    let bytes = from.read(path, 0, usize::MAX).unwrap();
    let parent = crate::disk::parent(name);
    if !parent.is_empty() {
        to.create_directory(parent).unwrap();
    }
    to.write(name, &bytes).unwrap();
}

/// The passphrase is no secret to whoever has had the node: it opens what is there, and nothing of
/// what was erased.
#[test]
fn a_copy_taken_after_the_end_yields_no_share_even_with_the_passphrase() {
    let mut cluster = Cluster::new(3);
    let name: KeyName = "notes".parse().unwrap();
    let other: KeyName = "other".parse().unwrap();
    cluster.retired("notes");
    cluster.create("other", Scheme::Bip340, 2);
    let before = Thief::new(&cluster.disks[0]);
    let first = BTreeSet::from([Epoch(1)]);
    assert_eq!(before.opens(0, &cluster.disks[0], &name), first);
    let order = cluster.step("notes", AtOnce);

    assert!(cluster.destroy(0, &order).unwrap().is_destroyed());

    let later = &cluster.disks[0];
    assert_eq!(before.opens_of_any(0, later, &name), BTreeSet::new());
    assert_eq!(before.opens(0, later, &other), first);
}
