//! What a journal refuses to open, and what it cuts.

use super::*;

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
