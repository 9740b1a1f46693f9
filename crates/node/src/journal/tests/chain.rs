//! What is appended, committed and read again.

use quorate_model::audit::PairBanned;

use super::*;

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let disk = new_disk();
    let (journal, report) = open(&disk);
    assert_eq!(report.records, 0);
    let appended = journal.append(UnixMillis(5), entries(3)).unwrap();

    let committed = journal.commit(&appended).unwrap();
    disk.crash(Survival::Nothing);

    let mut seen = Vec::new();
    let (journal, report) = Journal::open(disk, &config(2), |record, hash| {
        seen.push((record.sequence, *hash));
    })
    .unwrap();
    assert_eq!(seen, committed.positions());
    assert_eq!(seen, appended.positions().collect::<Vec<_>>());
    assert_eq!((appended.first(), appended.last()), (1, 3));
    assert_eq!(committed.hash_of(2), Some(seen[1].1));
    assert_eq!(
        committed.last(),
        Some((report.head.sequence, report.head.hash))
    );
    assert_eq!(report.torn, None);
    assert_eq!(journal.head(), journal.durable().position());
}

#[test]
fn what_was_appended_and_not_committed_is_not_durable_and_not_read() {
    let disk = new_disk();
    let (journal, _) = open(&disk);
    commit(&journal, 2);

    let appended = journal.append(UnixMillis(5), entries(1)).unwrap();

    assert_eq!(appended.first(), 3);
    assert_eq!(journal.head().sequence, 3);
    assert_eq!(journal.durable().sequence(), 2);
    assert_eq!(journal.read_range(1, 10, 1 << 20).unwrap().len(), 2);
    disk.crash(Survival::Nothing);
    assert_eq!(open(&disk).1.head.sequence, 2);
}

#[test]
fn a_process_that_was_killed_leaves_its_written_records_durable_at_the_next_start() {
    let disk = new_disk();
    let (journal, _) = open(&disk);
    let appended = journal.append(UnixMillis(5), entries(1)).unwrap();
    // The write happens, the fsync does not.
    disk.fail_at(disk.operations() + 1, Fault::Stop);
    journal.commit(&appended).unwrap_err();
    disk.crash(Survival::Everything);
    let (_, report) = open(&disk);
    disk.crash(Survival::Nothing);

    assert_eq!(report.head.sequence, 1);
    assert_eq!(open(&disk).1.head.sequence, 1);
}

#[test]
fn many_records_share_one_write_and_one_fsync() {
    let disk = new_disk();
    let (journal, _) = open(&disk);
    let all: Vec<_> = (0..100)
        .map(|_| journal.append(UnixMillis(5), entries(2)).unwrap())
        .collect();
    let before = disk.operations();

    for appended in all.iter().rev() {
        journal.commit(appended).unwrap();
    }

    assert_eq!(disk.operations() - before, 2);
    assert_eq!(journal.durable().sequence(), 200);
}

#[test]
fn time_never_goes_back_along_the_chain() {
    let (journal, _) = open(&new_disk());
    let first = journal.append(UnixMillis(50), entries(1)).unwrap();

    let second = journal.append(UnixMillis(49), entries(1)).unwrap();

    assert_eq!(first.records()[0].time, UnixMillis(50));
    assert_eq!(second.records()[0].time, UnixMillis(50));
}

#[test]
fn an_export_of_the_journal_verifies_offline() {
    let disk = new_disk();
    let (journal, _) = open(&disk);
    commit(&journal, 3);
    let checkpoint = journal
        .append_checkpoint(UnixMillis(9), &signer(), 3, Digest::new([1; 32]))
        .unwrap();
    journal.commit(&checkpoint).unwrap();
    commit(&journal, 1);

    let records = journal.read_range(1, 100, 1 << 20).unwrap();

    let summary = verify_chain(records.iter().map(|record| &record.bytes), &identity()).unwrap();
    assert_eq!(summary.head, journal.head());
    assert_eq!(summary.last_checkpoint, Some(4));
    assert_eq!(open(&disk.fork()).1.last_checkpoint, Some(4));
}

#[test]
fn pages_end_at_their_limits_and_hold_at_least_one_record() {
    let (journal, _) = open(&new_disk());
    commit(&journal, 20);
    let size = journal.read_range(1, 1, 1).unwrap()[0].bytes.len();

    let sequences = |from, records, bytes| -> Vec<u64> {
        let page = journal.read_range(from, records, bytes).unwrap();
        page.iter().map(|record| record.sequence).collect()
    };

    assert_eq!(sequences(0, 2, 1 << 20), [1, 2]);
    assert_eq!(sequences(19, 10, 1 << 20), [19, 20]);
    assert_eq!(sequences(5, 10, 2 * size), [5, 6]);
    assert_eq!(sequences(5, 10, 3 * size - 1), [5, 6]);
    assert_eq!(sequences(5, 10, 0), [5]);
    assert_eq!(sequences(21, 10, 1 << 20), [0; 0]);
    assert_eq!(sequences(1, 0, 1 << 20), [0; 0]);
}

#[test]
fn full_files_are_followed_by_new_ones_and_pages_run_across_them() {
    let disk = new_disk();
    let small = limits(400, 1 << 20);
    let (journal, _) = Journal::open(disk.clone(), &small, |_, _| {}).unwrap();
    for _ in 0..20 {
        commit(&journal, 2);
    }
    let files = disk.list("journal").unwrap();
    assert!(files.len() > 5, "{files:?}");

    let (again, report) = Journal::open(disk, &small, |_, _| {}).unwrap();

    assert_eq!(report.head, journal.head());
    for from in 1..=40 {
        for journal in [&journal, &again] {
            let page = journal.read_range(from, 100, 1 << 20).unwrap();
            let sequences: Vec<_> = page.iter().map(|record| record.sequence).collect();
            assert_eq!(sequences, (from..=40).collect::<Vec<_>>());
        }
    }
    commit(&again, 1);
    assert_eq!(again.durable().sequence(), 41);
}

#[test]
fn long_files_are_read_from_a_remembered_place() {
    let disk = new_disk();
    let (journal, _) = open(&disk);
    for _ in 0..30 {
        let big = vec![
            Entry::RosterPinned {
                roster: vec![1; 10_000]
            };
            3
        ];
        let appended = journal.append(UnixMillis(1), big).unwrap();
        journal.commit(&appended).unwrap();
    }
    let (again, _) = open(&disk);

    for journal in [&journal, &again] {
        for from in [1, 44, 90] {
            let page = journal.read_range(from, 2, 1 << 20).unwrap();
            assert_eq!(page[0].sequence, from);
            assert_eq!(Record::from_bytes(&page[0].bytes).unwrap().sequence, from);
        }
    }
}

#[test]
fn a_journal_is_made_once_and_never_by_opening() {
    let disk = MemoryDisk::new();
    assert!(!Journal::exists(&disk).unwrap());
    let missing = Journal::open(disk.clone(), &config(1), |_, _| {})
        .err()
        .unwrap();
    assert!(matches!(missing, JournalError::Missing));

    Journal::create(&disk).unwrap();
    assert!(!Journal::exists(&disk).unwrap());
    Journal::create(&disk).unwrap();
    commit(&open(&disk).0, 1);

    assert!(Journal::exists(&disk).unwrap());
    let again = Journal::create(&disk).unwrap_err();
    assert!(matches!(again, JournalError::Exists));
}

#[test]
fn what_is_left_of_a_journal_is_not_taken_for_an_interrupted_set_up() {
    let disk = new_disk();
    let (journal, _) = Journal::open(disk.clone(), &limits(1, 1 << 20), |_, _| {}).unwrap();
    commit(&journal, 1);
    let damaged = disk.fork();
    damaged.flip(FIRST, 130, 1).unwrap();
    commit(&journal, 1);
    disk.remove(FIRST).unwrap();
    let names = disk.list("journal").unwrap();
    let last = format!("journal/{}", names[0]);
    disk.truncate(&last, new_disk().length(FIRST).unwrap())
        .unwrap();

    for disk in [damaged, disk] {
        assert!(Journal::exists(&disk).unwrap());
        assert!(Journal::create(&disk).is_err());
    }
}

#[test]
fn a_weak_identity_key_opens_no_journal() {
    let weak = JournalConfig {
        identity: IdentityKey([0; 32]),
        ..config(1)
    };

    let error = Journal::open(new_disk(), &weak, |_, _| {}).err().unwrap();

    assert!(matches!(error, JournalError::Identity));
}

#[test]
fn what_is_final_is_recorded_however_much_waits() {
    let (journal, _) = Journal::open(new_disk(), &limits(1 << 20, 2 << 20), |_, _| {}).unwrap();
    let large = Entry::RosterPinned {
        roster: vec![0; 900_000],
    };
    let ban = Entry::PairBanned(PairBanned {
        peer: "node-b".parse().unwrap(),
        key: "hot".parse().unwrap(),
        epoch: quorate_model::Epoch(1),
        session: Digest::ZERO,
        round: 2,
    });
    let append = |entry: &Entry| journal.append(UnixMillis(1), vec![entry.clone()]);
    while append(&large).is_ok() {}
    while append(&boot()).is_ok() {}

    let appended = append(&ban).unwrap();

    assert_eq!(appended.records()[0].entry, ban);
    assert!(matches!(append(&boot()), Err(JournalError::Backlog)));
    journal.commit(&appended).unwrap();
    assert!(append(&boot()).is_ok());
}

#[test]
fn entries_that_cannot_stand_are_refused_and_leave_no_gap() {
    let (journal, _) = Journal::open(new_disk(), &limits(1 << 20, 2 << 20), |_, _| {}).unwrap();
    let giant = Entry::RosterPinned {
        roster: vec![0; MAX_RECORD_BYTES],
    };
    let large = Entry::RosterPinned {
        roster: vec![0; 900_000],
    };
    let checkpoint = Entry::Checkpoint(quorate_model::audit::Checkpoint {
        index_sequence: 0,
        index_digest: Digest::ZERO,
        signature: quorate_model::Signature([0; 64]),
    });
    let refused = |entries| journal.append(UnixMillis(1), entries).unwrap_err();

    assert!(matches!(
        refused(vec![boot(), giant]),
        JournalError::TooLarge(_)
    ));
    assert!(matches!(
        refused(vec![boot(), checkpoint]),
        JournalError::PlainCheckpoint
    ));
    assert!(matches!(refused(vec![large; 3]), JournalError::Backlog));
    assert!(matches!(
        journal
            .append_checkpoint(UnixMillis(1), &signer(), 1, Digest::ZERO)
            .unwrap_err(),
        JournalError::IndexAhead { index_sequence: 1 }
    ));
    assert_eq!(commit(&journal, 1).first().unwrap().0, 1);
}

#[test]
fn the_records_of_another_journal_are_not_committed() {
    let (journal, _) = open(&new_disk());
    let (other, _) = Journal::open(new_disk(), &config(2), |_, _| {}).unwrap();
    commit(&journal, 1);
    let appended = other.append(UnixMillis(1), entries(1)).unwrap();

    assert!(matches!(
        journal.commit(&appended).unwrap_err(),
        JournalError::Foreign
    ));
}
