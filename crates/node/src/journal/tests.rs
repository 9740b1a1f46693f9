use std::collections::BTreeSet;

use proptest::prelude::*;
use quorate_model::{NodeId, audit::verify_chain};

use super::*;
use crate::disk::{Fault, MemoryDisk, RealDisk, Survival};

const FIRST: &str = "journal/00000000000000000001.segment";

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
fn a_torn_end_is_cut_and_reported_and_the_journal_goes_on() {
    let disk = new_disk();
    let (journal, _) = open(&disk);
    commit(&journal, 2);
    let kept = disk.length(FIRST).unwrap();
    commit(&journal, 1);
    let whole = disk.length(FIRST).unwrap();

    for cut in kept + 1..whole {
        let disk = disk.fork();
        disk.truncate(FIRST, cut).unwrap();

        let (journal, report) = open(&disk);

        let torn = report.torn.unwrap();
        assert_eq!((torn.offset, torn.bytes, torn.after), (kept, cut - kept, 2));
        assert_eq!(torn.segment, FIRST);
        assert!(torn.to_string().contains("after record 2"));
        assert_eq!(disk.length(FIRST).unwrap(), kept);
        commit(&journal, 1);
        let (_, report) = open(&disk);
        assert_eq!((report.head.sequence, report.torn), (3, None));
    }
}

#[test]
fn an_end_of_zeros_is_cut_and_reported() {
    let disk = new_disk();
    let (journal, _) = open(&disk);
    commit(&journal, 2);
    let kept = disk.length(FIRST).unwrap();
    commit(&journal, 1);
    let whole = disk.length(FIRST).unwrap();

    for cut in kept..whole {
        let disk = disk.fork();
        disk.truncate(FIRST, cut).unwrap();
        disk.append(FIRST, &vec![0; 4096]).unwrap();

        let (_, report) = open(&disk);

        assert_eq!(report.head.sequence, 2);
        assert_eq!(report.torn.unwrap().offset, kept);
    }
}

#[test]
fn every_flipped_bit_is_refused_with_its_record_named() {
    let disk = new_disk();
    let small = limits(300, 1 << 20);
    let (journal, _) = Journal::open(disk.clone(), &small, |_, _| {}).unwrap();
    for _ in 0..3 {
        commit(&journal, 2);
    }
    let files = disk.list("journal").unwrap();
    assert!(files.len() > 1);
    for file in files {
        let path = format!("journal/{file}");
        for offset in 0..usize::try_from(disk.length(&path).unwrap()).unwrap() {
            for bit in 0..8 {
                let disk = disk.fork();
                disk.flip(&path, offset, 1 << bit).unwrap();

                let broken = broken(&disk);

                assert_eq!(broken.segment, path, "offset {offset} bit {bit}");
                assert!(broken.offset <= offset as u64);
                assert!(
                    matches!(broken.fault, BrokenFault::Frame(_)),
                    "{:?}",
                    broken.fault
                );
            }
        }
    }
}

#[test]
fn a_broken_record_is_named_with_what_to_do() {
    let disk = new_disk();
    let (journal, _) = open(&disk);
    commit(&journal, 2);
    let second = disk.length(FIRST).unwrap();
    commit(&journal, 2);
    disk.flip(FIRST, usize::try_from(second).unwrap() + 40, 4)
        .unwrap();

    let broken = broken(&disk);

    assert_eq!((broken.sequence, broken.offset), (3, second));
    let text = broken.to_string();
    assert!(text.contains("record 3") && text.contains(FIRST), "{text}");
    assert!(
        text.contains("exact copy") && text.contains("out of service"),
        "{text}"
    );
    assert!(text.contains("never edit"), "{text}");
}

#[test]
fn a_flipped_bit_behind_a_torn_end_is_cut_with_it() {
    // The record was never acknowledged, whatever its bytes are.
    let disk = new_disk();
    let (journal, _) = open(&disk);
    commit(&journal, 1);
    let kept = usize::try_from(disk.length(FIRST).unwrap()).unwrap();
    commit(&journal, 1);
    disk.truncate(FIRST, kept as u64 + 60).unwrap();
    disk.flip(FIRST, kept + 30, 1).unwrap();

    assert_eq!(open(&disk).1.head.sequence, 1);
}

#[test]
fn a_missing_file_is_refused() {
    let disk = new_disk();
    let small = limits(1, 1 << 20);
    let (journal, _) = Journal::open(disk.clone(), &small, |_, _| {}).unwrap();
    for _ in 0..4 {
        commit(&journal, 1);
    }
    let files = disk.list("journal").unwrap();
    for file in &files[..files.len() - 1] {
        let disk = disk.fork();
        disk.remove(&format!("journal/{file}")).unwrap();

        assert!(
            matches!(broken(&disk).fault, BrokenFault::Gap { .. }),
            "{file}"
        );
    }
}

#[test]
fn a_file_that_is_cut_before_the_last_is_refused() {
    let disk = new_disk();
    let small = limits(1, 1 << 20);
    let (journal, _) = Journal::open(disk.clone(), &small, |_, _| {}).unwrap();
    for _ in 0..3 {
        commit(&journal, 1);
    }
    let second = format!("journal/{}", disk.list("journal").unwrap()[1]);
    let length = disk.length(&second).unwrap();
    let inside = disk.fork();
    inside.truncate(&second, length - 1).unwrap();
    let whole_record = disk.fork();
    whole_record
        .truncate(&second, new_disk().length(FIRST).unwrap())
        .unwrap();
    let inside_start = disk.fork();
    inside_start.truncate(&second, 20).unwrap();

    assert_eq!(broken(&inside).fault, BrokenFault::EndsEarly);
    assert_eq!(broken(&inside).sequence, 2);
    assert_eq!(
        broken(&whole_record).fault,
        BrokenFault::Gap { expected: 2 }
    );
    assert_eq!(broken(&inside_start).fault, BrokenFault::Header);
}

#[test]
fn a_file_in_the_place_of_another_is_refused() {
    let disk = new_disk();
    let small = limits(1, 1 << 20);
    let (journal, _) = Journal::open(disk.clone(), &small, |_, _| {}).unwrap();
    for _ in 0..4 {
        commit(&journal, 1);
    }
    let files = disk.list("journal").unwrap();
    let [second, third] = [1, 2].map(|at| format!("journal/{}", files[at]));
    let content = disk.read(&third, 0, 1 << 20).unwrap();
    disk.write(&second, &content).unwrap();

    let broken = broken(&disk);

    assert_eq!(
        (broken.segment, broken.fault),
        (second, BrokenFault::Header)
    );
}

#[test]
fn records_of_another_chain_are_refused() {
    let disk = new_disk();
    let (journal, _) = open(&disk);
    commit(&journal, 1);
    let other = new_disk();
    let (foreign, _) = Journal::open(other.clone(), &config(9), |_, _| {}).unwrap();
    commit(&foreign, 2);
    let length = disk.length(FIRST).unwrap();
    let tail = other.read(FIRST, length, 1 << 20).unwrap();
    disk.append(FIRST, &tail).unwrap();

    let broken = broken(&disk);

    assert_eq!(broken.sequence, 2);
    assert_eq!(
        broken.fault,
        BrokenFault::Chain(quorate_model::audit::ChainFault::Previous)
    );
}

#[test]
fn a_checkpoint_that_another_key_signed_is_refused() {
    let disk = new_disk();
    let (journal, _) = open(&disk);
    commit(&journal, 1);
    let other = SigningKey::from_bytes(&[8; 32]);
    let forged = journal
        .append_checkpoint(UnixMillis(9), &other, 1, Digest::ZERO)
        .unwrap();
    journal.commit(&forged).unwrap();
    commit(&journal, 1);

    let broken = broken(&disk);

    assert_eq!(broken.sequence, 2);
    assert_eq!(
        broken.fault,
        BrokenFault::Chain(quorate_model::audit::ChainFault::Signature)
    );
}

#[test]
fn a_file_that_is_none_of_the_journals_is_refused() {
    for name in [
        "1.segment",
        "notes.txt",
        "00000000000000000009.segment.bak",
        "x.tmp",
    ] {
        let disk = new_disk();
        disk.write(&format!("journal/{name}"), b"x").unwrap();

        let error = Journal::open(disk, &config(1), |_, _| {}).err().unwrap();

        assert!(
            matches!(error, JournalError::Unexpected { .. }),
            "{name}: {error}"
        );
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

#[test]
fn any_storage_error_poisons_the_journal() {
    for fault in [Fault::Error, Fault::Half, Fault::Stop] {
        for operation in 0..2 {
            let disk = new_disk();
            let (journal, _) = open(&disk);
            let before = commit_appended(&journal);
            let appended = journal.append(UnixMillis(5), entries(1)).unwrap();
            disk.fail_at(disk.operations() + operation, fault);

            let first = journal.commit(&appended).unwrap_err();

            assert!(matches!(first, JournalError::Poisoned(_)));
            let operations = disk.operations();
            let again = journal.commit(&appended).unwrap_err();
            assert!(matches!(again, JournalError::Poisoned(_)));
            let earlier = journal.commit(&before).unwrap_err();
            assert!(matches!(earlier, JournalError::Poisoned(_)));
            let append = journal.append(UnixMillis(5), entries(1)).unwrap_err();
            assert!(matches!(append, JournalError::Poisoned(_)));
            let read = journal.read_range(1, 1, 1).unwrap_err();
            assert!(matches!(read, JournalError::Poisoned(_)));
            assert_eq!(disk.operations(), operations);
        }
    }
}

#[test]
fn a_crash_at_every_operation_keeps_everything_that_was_acknowledged() {
    let run = |disk: &MemoryDisk| -> u64 {
        let mut acknowledged = 0;
        let small = limits(500, 1 << 20);
        let _ = Journal::create(disk);
        if let Ok((journal, _)) = Journal::open(disk.clone(), &small, |_, _| {}) {
            acknowledged = journal.durable().sequence();
            for round in 0..8 {
                let Ok(appended) = journal.append(UnixMillis(round), entries(2)) else {
                    break;
                };
                let Ok(committed) = journal.commit(&appended) else {
                    break;
                };
                acknowledged = committed.last().unwrap().0;
            }
        }
        acknowledged
    };
    let whole = MemoryDisk::new();
    assert_eq!(run(&whole), 16);

    for at in 0..whole.operations() {
        for survival in survivals() {
            let disk = MemoryDisk::new();
            disk.fail_at(at, Fault::Stop);
            let acknowledged = run(&disk);
            disk.crash(survival);

            let result = Journal::open(disk.clone(), &config(3), |_, _| {});

            match result {
                Ok((_, report)) => {
                    assert!(report.head.sequence >= acknowledged, "{at} {survival:?}");
                }
                Err(JournalError::Missing) => assert_eq!(acknowledged, 0),
                Err(error) => panic!("{at} {survival:?}: {error:?}"),
            }
            assert!(run(&disk) >= acknowledged + 16);
        }
    }
}

#[test]
fn the_writer_makes_records_of_many_tasks_durable() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(directory.path()).unwrap());
    Journal::create(&disk).unwrap();
    let (journal, _) = Journal::open(Arc::clone(&disk), &config(1), |_, _| {}).unwrap();
    let writer = journal.start_writer().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();

    let sequences: BTreeSet<u64> = runtime.block_on(async {
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let journal = journal.clone();
                tokio::spawn(async move {
                    let mut last = 0;
                    for _ in 0..10 {
                        let appended = journal.append(UnixMillis(1), entries(1)).unwrap();
                        let committed = journal.on_durable(&appended).await.unwrap();
                        last = committed.last().unwrap().0;
                        assert!(journal.durable().sequence() >= last);
                    }
                    last
                })
            })
            .collect();
        let mut all = BTreeSet::new();
        for task in tasks {
            all.insert(task.await.unwrap());
        }
        all
    });

    assert_eq!(sequences.len(), 64);
    assert_eq!(journal.durable().sequence(), 640);
    drop(writer);
    let (_, report) = Journal::open(disk, &config(2), |_, _| {}).unwrap();
    assert_eq!(report.records, 640);
}

#[test]
fn a_writer_that_stops_writes_what_waits_and_closes_the_journal() {
    let disk = new_disk();
    let (journal, _) = open(&disk);
    let appended = journal.append(UnixMillis(1), entries(5)).unwrap();
    let writer = journal.start_writer().unwrap();

    drop(writer);

    assert_eq!(journal.durable().sequence(), 5);
    assert!(block_on(journal.on_durable(&appended)).is_ok());
    let refused = journal.append(UnixMillis(1), entries(1)).unwrap_err();
    assert!(matches!(refused, JournalError::Stopped));
    assert_eq!(journal.read_range(1, 10, 1 << 20).unwrap().len(), 5);
}

#[test]
fn those_who_wait_are_told_of_a_storage_error() {
    let disk = new_disk();
    let (journal, _) = open(&disk);
    disk.fail_at(disk.operations() + 1, Fault::Error);
    let appended = journal.append(UnixMillis(1), entries(1)).unwrap();
    let waiting = journal.on_durable(&appended);
    let _writer = journal.start_writer().unwrap();

    let error = block_on(waiting).unwrap_err();

    assert!(matches!(error, JournalError::Poisoned(_)));
    assert!(matches!(
        block_on(journal.on_durable(&appended)).unwrap_err(),
        JournalError::Poisoned(_)
    ));
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8),
    Commit,
    Checkpoint,
    Crash(Survival),
    StopAt(u8, Survival),
}

fn step() -> impl Strategy<Value = Step> {
    let survival = prop_oneof![
        Just(Survival::Nothing),
        Just(Survival::Everything),
        any::<u64>().prop_map(Survival::Torn),
    ];
    prop_oneof![
        4 => (0_u8..4).prop_map(Step::Append),
        3 => Just(Step::Commit),
        1 => Just(Step::Checkpoint),
        1 => survival.clone().prop_map(Step::Crash),
        1 => (0_u8..12, survival).prop_map(|(at, survival)| Step::StopAt(at, survival)),
    ]
}

proptest! {
    #[test]
    fn nothing_acknowledged_is_ever_lost_or_changed(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let disk = new_disk();
        let mut boot = 0_u8;
        let mut journal = Journal::open(disk.clone(), &limits(600, 1 << 20), |_, _| {}).unwrap().0;
        let mut acknowledged: Vec<(u64, Digest)> = Vec::new();
        let mut waiting: Vec<Appended> = Vec::new();
        let mut next_crash = Survival::Nothing;
        for step in steps {
            let mut failed = None;
            match step {
                Step::Append(count) => {
                    let entries = entries(count.into());
                    waiting.push(journal.append(UnixMillis(1), entries).unwrap());
                }
                Step::Checkpoint => {
                    let at = journal.head().sequence;
                    waiting.push(
                        journal
                            .append_checkpoint(UnixMillis(1), &signer(), at, Digest::ZERO)
                            .unwrap(),
                    );
                }
                Step::Commit => {
                    for appended in waiting.drain(..) {
                        let Ok(committed) = journal.commit(&appended) else {
                            failed = Some(next_crash);
                            break;
                        };
                        acknowledged.extend(committed.positions());
                    }
                }
                Step::Crash(survival) => failed = Some(survival),
                Step::StopAt(after, survival) => {
                    let at = disk.operations().saturating_add(after.into());
                    disk.fail_at(at, Fault::Stop);
                    next_crash = survival;
                }
            }
            if let Some(survival) = failed {
                waiting.clear();
                disk.crash(survival);
                boot = boot.wrapping_add(1);
                let mut found = Vec::new();
                let config = JournalConfig { boot: [boot; 16], ..limits(600, 1 << 20) };
                let opened = Journal::open(disk.clone(), &config, |record, hash| {
                    found.push((record.sequence, *hash));
                });
                journal = opened.unwrap().0;
                prop_assert!(found.starts_with(&acknowledged));
                acknowledged = found;
            }
        }
    }
}

#[test]
fn every_survival_is_tried() {
    assert!(survivals().count() > 10);
}

fn survivals() -> impl Iterator<Item = Survival> {
    [Survival::Nothing, Survival::Everything]
        .into_iter()
        .chain((0..10).map(Survival::Torn))
}

fn new_disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    Journal::create(&disk).unwrap();
    disk
}

fn open(disk: &MemoryDisk) -> (Journal<MemoryDisk>, OpenReport) {
    Journal::open(disk.clone(), &config(1), |_, _| {}).unwrap()
}

fn broken(disk: &MemoryDisk) -> Broken {
    match Journal::open(disk.clone(), &config(1), |_, _| {}) {
        Err(JournalError::Broken(broken)) => *broken,
        Err(error) => panic!("{error:?}"),
        Ok((_, report)) => panic!("opened: {report:?}"),
    }
}

fn commit<D: Disk>(journal: &Journal<D>, count: usize) -> Committed {
    let appended = journal.append(UnixMillis(5), entries(count)).unwrap();
    journal.commit(&appended).unwrap()
}

fn commit_appended(journal: &Journal<MemoryDisk>) -> Appended {
    let appended = journal.append(UnixMillis(5), entries(1)).unwrap();
    journal.commit(&appended).unwrap();
    appended
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn config(boot: u8) -> JournalConfig {
    JournalConfig {
        identity: identity(),
        boot: [boot; 16],
        limits: JournalLimits::default(),
    }
}

fn limits(segment_bytes: u64, waiting_bytes: usize) -> JournalConfig {
    JournalConfig {
        limits: JournalLimits {
            segment_bytes,
            waiting_bytes,
        },
        ..config(1)
    }
}

fn signer() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn identity() -> IdentityKey {
    IdentityKey::of(&signer())
}

fn entries(count: usize) -> Vec<Entry> {
    vec![boot(); count]
}

fn boot() -> Entry {
    let node: NodeId = "node-a".parse().unwrap();
    Entry::Boot {
        version: "0.1.0".to_owned(),
        node,
    }
}
