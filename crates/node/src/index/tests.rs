use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use quorate_model::{
    IdentityKey, NodeId, UnixMillis,
    audit::{Entry, Record},
};

use super::*;
use crate::{
    disk::MemoryDisk,
    journal::{Journal, JournalConfig, JournalLimits},
    sealing::HedgeSecret,
};

#[test]
fn rows_are_applied_record_by_record_in_order() {
    let (index, _) = memory(&MemoryRows::new());
    index
        .apply(
            1,
            vec![put(Table::Keys, "a", "1"), put(Table::Meta, "a", "2")],
        )
        .unwrap();
    index
        .apply(
            2,
            vec![put(Table::Keys, "a", "3"), delete(Table::Meta, "a")],
        )
        .unwrap();

    assert_eq!(get(&index, Table::Keys, "a").as_deref(), Some("3"));
    assert_eq!(get(&index, Table::Meta, "a"), None);
    assert_eq!(index.position().sequence, 2);
    for wrong in [2, 4] {
        assert!(matches!(
            index
                .apply(wrong, vec![put(Table::Keys, "a", "x")])
                .unwrap_err(),
            IndexError::OutOfOrder { expected: 3, .. }
        ));
    }
    assert_eq!(get(&index, Table::Keys, "a").as_deref(), Some("3"));
}

#[test]
fn nothing_is_written_before_its_checkpoint_is_durable() {
    let rows = MemoryRows::new();
    let (index, _) = memory(&rows);
    let journal = Rig::new(&rows).journal;
    append(&journal, 1);
    index.apply(1, vec![put(Table::Keys, "a", "1")]).unwrap();

    let at = index.freeze();
    assert!(!index.settle(&journal.durable()).unwrap());
    assert_eq!(rows.sequence().unwrap(), 0);

    let checkpoint = journal
        .append_checkpoint(UnixMillis(1), &signer(), at.sequence, at.digest)
        .unwrap();
    assert!(!index.settle(&journal.durable()).unwrap());
    journal.commit(&checkpoint).unwrap();

    assert!(index.settle(&journal.durable()).unwrap());
    assert_eq!(rows.sequence().unwrap(), 1);
    assert!(!index.settle(&journal.durable()).unwrap());
}

#[test]
fn rows_are_read_through_all_layers() {
    let rows = MemoryRows::new();
    let rig = Rig::new(&rows);
    let index = &rig.index;
    rig.apply(&[
        put(Table::Keys, "a", "stored"),
        put(Table::Keys, "d", "stored"),
    ]);
    rig.checkpoint();
    index.settle(&rig.journal.durable()).unwrap();
    rig.apply(&[put(Table::Keys, "b", "frozen"), delete(Table::Keys, "d")]);
    index.freeze();
    rig.apply(&[
        put(Table::Keys, "c", "recent"),
        put(Table::Keys, "a", "changed"),
    ]);
    rig.apply(&[put(Table::Commands, "z", "x"), put(Table::Meta, "a", "x")]);

    assert_eq!(get(index, Table::Keys, "d"), None);
    let all = scan(index, Table::Keys, None, 10);
    assert_eq!(
        all,
        [("a", "changed"), ("b", "frozen"), ("c", "recent")].map(owned)
    );
    assert_eq!(
        scan(index, Table::Keys, Some("a"), 1),
        [("b", "frozen")].map(owned)
    );
    assert_eq!(
        scan(index, Table::Keys, Some("c"), 5),
        [("", ""); 0].map(owned)
    );
}

#[test]
fn an_index_that_is_caught_up_is_used() {
    let rows = MemoryRows::new();
    let rig = Rig::new(&rows);
    rig.apply(&[put(Table::Keys, "a", "1")]);
    rig.checkpoint();
    rig.index.settle(&rig.journal.durable()).unwrap();

    // The checkpoint itself is a record that the image has not seen.
    assert_eq!(rig.decision(), Decision::CatchUp { from: 2 });
    rig.restart_and_compare();
}

#[test]
fn an_index_that_is_behind_folds_the_rest() {
    let rows = MemoryRows::new();
    let rig = Rig::new(&rows);
    rig.apply(&[put(Table::Keys, "a", "1")]);
    rig.checkpoint();
    rig.index.settle(&rig.journal.durable()).unwrap();
    for at in 0..3000 {
        rig.apply(&[put(Table::Keys, &format!("k{at}"), "2")]);
    }

    assert_eq!(rig.decision(), Decision::CatchUp { from: 2 });
    rig.restart_and_compare();
}

#[test]
fn a_deleted_a_changed_and_an_added_row_lead_to_a_rebuild() {
    for tampering in [
        delete(Table::Keys, "a"),
        put(Table::Keys, "a", "2"),
        put(Table::Keys, "b", "1"),
        put(Table::Meta, "a", "1"),
    ] {
        let rows = MemoryRows::new();
        let rig = Rig::new(&rows);
        rig.apply(&[put(Table::Keys, "a", "1")]);
        rig.checkpoint();
        rig.index.settle(&rig.journal.durable()).unwrap();
        rows.tamper(tampering.clone());

        assert_eq!(
            rig.decision(),
            Decision::Rebuild(RebuildReason::Different),
            "{tampering:?}"
        );
        rig.restart_and_compare();
    }
}

#[test]
fn an_empty_index_and_one_that_no_checkpoint_covers_are_rebuilt() {
    let rows = MemoryRows::new();
    let rig = Rig::new(&rows);
    rig.apply(&[put(Table::Keys, "a", "1")]);
    rig.checkpoint();
    assert_eq!(rig.decision(), Decision::Rebuild(RebuildReason::Empty));
    rig.restart_and_compare();

    rows.write(2, &[put(Table::Keys, "a", "1")]).unwrap();
    assert_eq!(rig.decision(), Decision::Rebuild(RebuildReason::Uncovered));
    rig.restart_and_compare();
}

#[test]
fn an_index_that_has_seen_more_than_the_journal_stops_the_node() {
    let rows = MemoryRows::new();
    let rig = Rig::new(&rows);
    rig.apply(&[put(Table::Keys, "a", "1")]);
    rows.write(7, &[]).unwrap();

    let decision = rig.decision();
    let error = replay(decision, &rig.journal, &rig.index, fold).unwrap_err();

    assert_eq!(
        decision,
        Decision::JournalLost {
            index: 7,
            journal: 1
        }
    );
    assert!(matches!(error, ReplayError::JournalLost { .. }));
    assert!(error.to_string().contains("Put the newest journal back"));
}

#[test]
fn an_index_with_another_secret_is_rebuilt() {
    let rows = MemoryRows::new();
    let rig = Rig::new(&rows);
    rig.apply(&[put(Table::Keys, "a", "1")]);
    rig.checkpoint();
    rig.index.settle(&rig.journal.durable()).unwrap();

    let other = IndexKey::derive(&HedgeSecret::new(&[8; 32]));
    let (_, image) = MemoryIndex::open(rows, other).unwrap();

    assert_eq!(
        rig.decide(image),
        Decision::Rebuild(RebuildReason::Different)
    );
}

#[test]
fn a_long_rebuild_writes_its_rows_as_it_goes() {
    let rows = MemoryRows::new();
    let rig = Rig::new(&rows);
    for at in 0..25_000_u32 {
        rig.apply(&[put(Table::Keys, &format!("k{}", at % 100), &at.to_string())]);
        if at % 1000 == 999 {
            rig.checkpoint();
        }
    }
    rows.clear().unwrap();

    let index = rig.restart_and_compare();

    assert!(rows.sequence().unwrap() > 15_000);
    assert_eq!(index.position(), rig.index.position());
}

#[test]
fn redb_holds_rows_over_restarts_and_a_deleted_directory_is_an_empty_index() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    let rig = Rig::new(&MemoryRows::new());
    fill_redb(&path, &rig);

    let (index, image, reason) = open_redb(&path);
    assert!(reason.is_none());
    assert_eq!(rig.decide(image), Decision::CatchUp { from: 60 });
    assert_eq!(
        scan(&index, Table::Keys, None, 100),
        scan(&rig.index, Table::Keys, None, 100)
    );
    drop(index);

    std::fs::remove_dir_all(&path).unwrap();
    let (index, image, _) = open_redb(&path);
    let decision = rig.decide(image);
    assert_eq!(decision, Decision::Rebuild(RebuildReason::Empty));
    replay(decision, &rig.journal, &index, fold).unwrap();
    assert_eq!(index.position(), rig.index.position());
}

/// How often a file is damaged, each time somewhere else.
const TRIALS: usize = 60;

#[test]
fn redb_with_damaged_files_is_never_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    let rig = Rig::new(&MemoryRows::new());
    fill_redb(&path, &rig);
    let files: Vec<PathBuf> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    let mut outcomes = BTreeMap::new();

    for file in &files {
        let content = std::fs::read(file).unwrap();
        for trial in 0..TRIALS {
            let copy = directory.path().join("copy");
            copy_directory(&path, &copy);
            let mut damaged = content.clone();
            if trial == 0 {
                damaged.truncate(content.len() / 2);
            } else {
                let used = content.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
                let at = used * trial / TRIALS;
                if let Some(byte) = damaged.get_mut(at) {
                    *byte ^= 0x40;
                }
            }
            std::fs::write(copy.join(file.file_name().unwrap()), damaged).unwrap();

            let (index, image, _) = open_redb(&copy);
            let decision = rig.decide(image);
            *outcomes.entry(format!("{decision:?}")).or_insert(0) += 1;
            if let Decision::JournalLost { .. } = decision {
                continue;
            }
            replay(decision, &rig.journal, &index, fold).unwrap();

            assert_eq!(index.position(), rig.index.position());
            assert_eq!(
                scan(&index, Table::Keys, None, 100),
                scan(&rig.index, Table::Keys, None, 100)
            );
        }
    }

    assert!(
        outcomes
            .keys()
            .any(|outcome| outcome.starts_with("Rebuild")),
        "{outcomes:?}"
    );
}

#[test]
fn a_file_in_the_place_of_the_index_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("index");
    std::fs::write(&path, "not a directory").unwrap();

    let (_, image, reason) = open_redb(&path);

    assert_eq!(image.sequence, 0);
    assert!(reason.is_some());
}

proptest! {
    #[test]
    fn an_index_is_what_a_map_is_in_every_layer(
        steps in proptest::collection::vec(
            (0_u8..4, proptest::collection::vec((0_u8..8, any::<Option<u8>>()), 0..4)),
            1..40,
        )
    ) {
        let rows = MemoryRows::new();
        let rig = Rig::new(&rows);
        let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (action, changes) in steps {
            let changes: Vec<RowChange> = changes
                .into_iter()
                .map(|(key, value)| {
                    if let Some(value) = value {
                        expected.insert(vec![key], vec![value]);
                        RowChange::Put { table: Table::Keys, key: vec![key], value: vec![value] }
                    } else {
                        expected.remove(&vec![key]);
                        RowChange::Delete { table: Table::Keys, key: vec![key] }
                    }
                })
                .collect();
            rig.apply(&changes);
            if action == 1 {
                rig.checkpoint();
            }
            if action == 2 {
                rig.index.settle(&rig.journal.durable()).unwrap();
            }
            let all: Vec<Row> =
                expected.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            prop_assert_eq!(&rig.index.scan(Table::Keys, None, 100).unwrap(), &all);
            for limit in [1, 2] {
                let after = [3];
                let some: Vec<Row> =
                    all.iter().filter(|(key, _)| key > &vec![3]).take(limit).cloned().collect();
                prop_assert_eq!(rig.index.scan(Table::Keys, Some(&after), limit).unwrap(), some);
            }
        }
        rig.restart_and_compare();
    }
}

/// An index beside a journal; each record's boot entry carries the rows that it changes.
struct Rig {
    rows: MemoryRows,
    index: MemoryIndex,
    /// What the index should be, over rows that nothing happens to.
    twin: MemoryIndex,
    journal: Journal<MemoryDisk>,
    disk: MemoryDisk,
}

impl Rig {
    fn new(rows: &MemoryRows) -> Self {
        let disk = MemoryDisk::new();
        Journal::create(&disk).unwrap();
        let (journal, _) = Journal::open(disk.clone(), &config(), |_, _| {}).unwrap();
        let twin = memory(&MemoryRows::new()).0;
        Self {
            rows: rows.clone(),
            index: memory(rows).0,
            twin,
            journal,
            disk,
        }
    }

    fn apply(&self, changes: &[RowChange]) {
        let entry = Entry::RosterPinned {
            roster: encode(changes),
        };
        let appended = self.journal.append(UnixMillis(1), vec![entry]).unwrap();
        self.journal.commit(&appended).unwrap();
        for record in appended.records() {
            let folded = fold(&self.index, record).unwrap();
            assert_eq!(folded, changes);
            self.index.apply(record.sequence, folded.clone()).unwrap();
            self.twin.apply(record.sequence, folded).unwrap();
        }
    }

    fn checkpoint(&self) {
        let at = self.index.freeze();
        let appended = self
            .journal
            .append_checkpoint(UnixMillis(1), &signer(), at.sequence, at.digest)
            .unwrap();
        self.journal.commit(&appended).unwrap();
        self.index.apply(appended.last(), Vec::new()).unwrap();
        self.twin.apply(appended.last(), Vec::new()).unwrap();
    }

    fn decide(&self, image: StoreImage) -> Decision {
        let mut reconciler = Reconciler::new(image);
        Journal::open(self.disk.fork(), &config(), |record, _| {
            reconciler.observe(record);
        })
        .unwrap();
        reconciler.decide()
    }

    fn decision(&self) -> Decision {
        self.decide(memory(&self.rows).1)
    }

    /// Starts anew over the stored rows, and holds the result against what it should be.
    fn restart_and_compare(&self) -> MemoryIndex {
        let (index, image) = memory(&self.rows);
        replay(self.decide(image), &self.journal, &index, fold).unwrap();
        assert_eq!(index.position(), self.twin.position());
        for table in Table::ALL {
            assert_eq!(
                index.scan(table, None, 10_000).unwrap(),
                self.twin.scan(table, None, 10_000).unwrap()
            );
        }
        index
    }
}

type EncodedRow = (u8, Vec<u8>, Option<Vec<u8>>);

fn encode(changes: &[RowChange]) -> Vec<u8> {
    let rows: Vec<EncodedRow> = changes
        .iter()
        .map(|change| match change {
            RowChange::Put { table, key, value } => {
                (table.number(), key.clone(), Some(value.clone()))
            }
            RowChange::Delete { table, key } => (table.number(), key.clone(), None),
        })
        .collect();
    postcard::to_allocvec(&rows).unwrap()
}

fn fold(_: &dyn Index, record: &Record) -> Result<Vec<RowChange>, IndexError> {
    let Entry::RosterPinned { roster } = &record.entry else {
        return Ok(Vec::new());
    };
    if roster.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<EncodedRow> =
        postcard::from_bytes(roster).map_err(|_| IndexError::MalformedRow)?;
    Ok(rows
        .into_iter()
        .map(|(number, key, value)| {
            let table = Table::ALL
                .into_iter()
                .find(|table| table.number() == number)
                .unwrap();
            match value {
                Some(value) => RowChange::Put { table, key, value },
                None => RowChange::Delete { table, key },
            }
        })
        .collect())
}

fn fill_redb(path: &Path, rig: &Rig) {
    let (index, _, _) = open_redb(path);
    for at in 0..50 {
        rig.apply(&[put(Table::Keys, &format!("key-{at}"), &"value".repeat(50))]);
        follow(&index, rig);
        if at % 5 == 4 {
            index.freeze();
            rig.checkpoint();
            assert!(index.settle(&rig.journal.durable()).unwrap());
            follow(&index, rig);
        }
    }
}

/// Folds what the journal holds beyond the index.
fn follow(index: &dyn Index, rig: &Rig) {
    let from = index.position().sequence.saturating_add(1);
    replay(Decision::CatchUp { from }, &rig.journal, index, fold).unwrap();
}

fn open_redb(path: &Path) -> (RedbIndex, StoreImage, Option<IndexError>) {
    RedbIndex::open_directory(path, &secret).unwrap()
}

fn copy_directory(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_directory(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn append(journal: &Journal<MemoryDisk>, count: usize) {
    let node: NodeId = "node-a".parse().unwrap();
    let entry = Entry::Boot {
        version: String::new(),
        node,
    };
    let appended = journal.append(UnixMillis(1), vec![entry; count]).unwrap();
    journal.commit(&appended).unwrap();
}

fn memory(rows: &MemoryRows) -> (MemoryIndex, StoreImage) {
    MemoryIndex::open(rows.clone(), secret()).unwrap()
}

fn secret() -> IndexKey {
    IndexKey::derive(&HedgeSecret::new(&[7; 32]))
}

fn signer() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn config() -> JournalConfig {
    JournalConfig {
        identity: IdentityKey::of(&signer()),
        boot: [1; 16],
        limits: JournalLimits::default(),
    }
}

fn get(index: &dyn Index, table: Table, key: &str) -> Option<String> {
    let value = index.get(table, key.as_bytes()).unwrap();
    value.map(|value| String::from_utf8(value).unwrap())
}

fn scan(
    index: &dyn Index,
    table: Table,
    after: Option<&str>,
    limit: usize,
) -> Vec<(String, String)> {
    let rows = index.scan(table, after.map(str::as_bytes), limit).unwrap();
    rows.into_iter()
        .map(|(key, value)| {
            (
                String::from_utf8(key).unwrap(),
                String::from_utf8(value).unwrap(),
            )
        })
        .collect()
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn put(table: Table, key: &str, value: &str) -> RowChange {
    RowChange::Put {
        table,
        key: key.into(),
        value: value.into(),
    }
}

fn delete(table: Table, key: &str) -> RowChange {
    RowChange::Delete {
        table,
        key: key.into(),
    }
}
