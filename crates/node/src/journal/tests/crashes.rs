//! Crashes, storage errors, and the writer.

use super::*;

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
