//! One suite for every backend, and what only a disk can do.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use quorate_model::{
    Digest, KeyId, KeyName,
    command::SignedCommand,
    destruction::Destruction,
    ids::{CommandId, UnixMillis},
    operation::{CommandKind, CommandState, CommandView},
};
use uuid::Uuid;

use super::{CoordinatorStore, MemoryStore, Place, SledStore, StoreError, StoreWriter};
use crate::core::{BatchId, StoreItem, StoredCommand, StoredEnd, StoredKey, StoredUse};

fn command(number: u64, created: u64) -> StoredCommand {
    StoredCommand {
        view: CommandView {
            id: CommandId(Uuid::from_u128(number.into())),
            digest: Digest::ZERO,
            kind: CommandKind::Sign,
            key: Some(name("vault")),
            state: CommandState::Succeeded,
            created: UnixMillis(created),
            expires: UnixMillis(created).plus(100),
            progress: None,
            outcome: None,
            error: None,
            awaiting: None,
        },
        forget: UnixMillis(created).plus(1_000),
    }
}

fn outcome(number: u64, created: u64) -> StoreItem {
    StoreItem::Command(command(number, created))
}

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

fn key(text: &str, certificate: &[u8]) -> StoredKey {
    StoredKey {
        name: name(text),
        certificate: certificate.to_vec(),
        proof: None,
        birth: None,
    }
}

fn used(number: u8, at: u64) -> StoredUse {
    StoredUse {
        key_id: KeyId([number; 32]),
        activated: Some(UnixMillis(1)),
        used: Some(UnixMillis(at)),
    }
}

fn end(number: u8, orders: usize) -> StoredEnd {
    let order = SignedCommand {
        bytes: vec![number],
        endorsements: Vec::new(),
    };
    StoredEnd {
        key: "vault".parse().unwrap(),
        key_id: KeyId([number; 32]),
        destruction: Destruction {
            orders: vec![order; orders],
            receipts: Vec::new(),
        },
    }
}

/// Runs a check on every backend.
fn each(check: fn(&dyn CoordinatorStore)) {
    check(&MemoryStore::default());
    let dir = tempfile::tempdir().unwrap();
    check(&SledStore::open(&dir.path().join("store")).unwrap().store);
}

#[test]
fn what_is_applied_is_loaded() {
    each(|store| {
        let items = vec![
            StoreItem::Key(key("one-key", b"1")),
            StoreItem::Key(key("two-key", b"2")),
            StoreItem::Evidence(vec![9; 10]),
            StoreItem::Use(used(1, 7)),
            StoreItem::Use(used(2, 8)),
            StoreItem::End(end(1, 0)),
            StoreItem::End(end(2, 1)),
        ];
        store.apply(&items).unwrap();
        store.apply(&[outcome(1, 50)]).unwrap();

        assert_eq!(
            store.load().unwrap(),
            items,
            "commands are asked for one by one"
        );
        let id = CommandId(Uuid::from_u128(1));
        assert_eq!(store.command(id).unwrap(), Some(command(1, 50)));
        assert_eq!(store.command(CommandId(Uuid::from_u128(2))).unwrap(), None);
    });
}

#[test]
fn a_later_write_takes_the_place_of_an_earlier_one() {
    each(|store| {
        store
            .apply(&[StoreItem::Key(key("vault", b"old"))])
            .unwrap();
        store.apply(&[StoreItem::Evidence(vec![1])]).unwrap();

        let with_proof = StoredKey {
            proof: Some(vec![7]),
            ..key("vault", b"old")
        };
        store.apply(&[StoreItem::Key(with_proof.clone())]).unwrap();
        store.apply(&[StoreItem::Evidence(vec![1])]).unwrap();
        store.apply(&[StoreItem::Use(used(1, 7))]).unwrap();
        store.apply(&[StoreItem::Use(used(1, 8))]).unwrap();
        store.apply(&[StoreItem::End(end(1, 0))]).unwrap();
        store.apply(&[StoreItem::End(end(1, 1))]).unwrap();

        let expected = [
            StoreItem::Key(with_proof),
            StoreItem::Evidence(vec![1]),
            StoreItem::Use(used(1, 8)),
            StoreItem::End(end(1, 1)),
        ];
        assert_eq!(store.load().unwrap(), expected);
    });
}

#[test]
fn commands_are_listed_latest_first_in_pages() {
    each(|store| {
        for (number, created) in [(1, 30), (2, 10), (3, 20), (4, 20)] {
            store.apply(&[outcome(number, created)]).unwrap();
        }

        let first = store.commands(None, 2).unwrap();
        let second = store.commands(Some(Place::of(&first[1].view)), 9).unwrap();

        let ids: Vec<u128> = first
            .iter()
            .chain(&second)
            .map(|c| c.view.id.0.as_u128())
            .collect();
        assert_eq!(ids, [1, 4, 3, 2]);
    });
}

#[test]
fn commands_are_forgotten_when_their_time_has_come_and_not_before() {
    each(|store| {
        for (number, created) in [(1, 10), (2, 20), (3, 30)] {
            store.apply(&[outcome(number, created)]).unwrap();
        }

        assert_eq!(store.prune(UnixMillis(1_010), 10).unwrap(), 0);
        assert_eq!(store.prune(UnixMillis(1_025), 1).unwrap(), 1);
        assert_eq!(store.prune(UnixMillis(1_025), 10).unwrap(), 1);

        let left: Vec<u128> = store
            .commands(None, 9)
            .unwrap()
            .iter()
            .map(|c| c.view.id.0.as_u128())
            .collect();
        assert_eq!(left, [3]);
        assert_eq!(store.command(CommandId(Uuid::from_u128(1))).unwrap(), None);
    });
}

#[test]
fn what_is_on_disk_survives_a_restart_large_values_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let large = key("vault", &vec![5; 900_000]);
    {
        let store = SledStore::open(&path).unwrap().store;
        store.apply(&[StoreItem::Key(large.clone())]).unwrap();
        store.apply(&[outcome(1, 10)]).unwrap();
    }

    let opened = SledStore::open(&path).unwrap();

    assert!(opened.set_aside.is_none());
    assert_eq!(opened.store.load().unwrap(), [StoreItem::Key(large)]);
    assert_eq!(opened.store.commands(None, 9).unwrap(), [command(1, 10)]);
}

#[test]
fn a_damaged_database_is_set_aside_and_a_new_one_begins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    for round in 1..=2 {
        {
            let store = SledStore::open(&path).unwrap().store;
            for number in 0..50 {
                store.apply(&[outcome(number, number)]).unwrap();
            }
        }
        ruin(&path);

        let opened = SledStore::open(&path).unwrap();

        let expected = dir.path().join(format!("store.damaged-{round}"));
        assert_eq!(opened.set_aside, Some(expected.clone()));
        assert!(expected.is_dir());
        assert_eq!(opened.store.load().unwrap(), []);
        opened
            .store
            .apply(&[StoreItem::Key(key("vault", b"1"))])
            .unwrap();
    }
}

#[test]
fn a_row_of_another_form_counts_as_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    {
        let db = sled::open(&path).unwrap();
        db.insert(b"kvault", b"\x09garbage").unwrap();
        db.flush().unwrap();
    }

    let opened = SledStore::open(&path).unwrap();

    assert!(opened.set_aside.is_some());
}

#[test]
fn a_database_that_another_process_holds_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let held = SledStore::open(&path).unwrap();

    let second = SledStore::open(&path);

    assert!(second.is_err());
    assert!(!dir.path().join("store.damaged-1").exists());
    drop(held);
}

#[test]
fn the_writer_reports_batches_in_order_after_they_are_durable() {
    let store = Arc::new(MemoryStore::default());
    let told = Arc::new(Mutex::new(Vec::new()));
    let reports = Arc::clone(&told);
    let seen = Arc::clone(&store);
    let thread = StoreWriter::start(store, move |batch| {
        let BatchId(number) = batch.unwrap();
        let id = CommandId(Uuid::from_u128(number.into()));
        assert!(seen.command(id).unwrap().is_some());
        reports.lock().unwrap().push(number);
    })
    .unwrap();

    for number in 1..=100 {
        let writes = vec![outcome(number, 1)];
        thread.apply(BatchId(number), writes).unwrap();
    }
    drop(thread);

    assert_eq!(*told.lock().unwrap(), (1..=100).collect::<Vec<u64>>());
}

/// A store that cannot write.
struct Broken;

impl CoordinatorStore for Broken {
    fn load(&self) -> Result<Vec<StoreItem>, StoreError> {
        Ok(vec![])
    }
    fn apply(&self, _: &[StoreItem]) -> Result<(), StoreError> {
        Err(StoreError::BrokeDown)
    }
    fn command(&self, _: CommandId) -> Result<Option<StoredCommand>, StoreError> {
        Ok(None)
    }
    fn commands(&self, _: Option<Place>, _: usize) -> Result<Vec<StoredCommand>, StoreError> {
        Ok(vec![])
    }
    fn prune(&self, _: UnixMillis, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}

#[test]
fn a_write_that_fails_is_reported_as_such_and_never_as_durable() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let reports = Arc::clone(&told);
    let writer = StoreWriter::start(Arc::new(Broken), move |batch| {
        reports.lock().unwrap().push(batch.is_ok());
    })
    .unwrap();

    writer
        .apply(BatchId(1), vec![StoreItem::Evidence(vec![1])])
        .unwrap();
    drop(writer);

    assert_eq!(*told.lock().unwrap(), [false]);
}

/// Overwrites the middle of the log.
fn ruin(path: &Path) {
    let file = path.join("db");
    let mut bytes = fs::read(&file).unwrap();
    let length = bytes.len();
    for byte in &mut bytes[..length.min(65_536)] {
        *byte = 0x5a;
    }
    fs::write(&file, bytes).unwrap();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("snap") {
            fs::write(entry.path(), b"torn").unwrap();
        }
    }
}
