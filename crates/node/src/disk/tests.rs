use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// Runs one check against a real and a simulated disk.
fn check(act: impl Fn(&dyn Disk)) {
    let directory = tempfile::tempdir().unwrap();
    act(&RealDisk::open(directory.path().join("node")).unwrap());
    act(&MemoryDisk::new());
    act(&Arc::new(MemoryDisk::new()));
}

#[test]
fn files_hold_what_was_written_appended_and_cut() {
    check(|disk| {
        disk.create_directory("a").unwrap();
        disk.create_directory("a").unwrap();
        disk.write("a/file", b"one").unwrap();
        disk.append("a/file", b" two").unwrap();
        disk.append("a/file", b" three").unwrap();
        disk.truncate("a/file", 7).unwrap();
        disk.append("a/file", b"!").unwrap();
        disk.sync_file("a/file").unwrap();

        assert_eq!(disk.read("a/file", 0, 100).unwrap(), b"one two!");
        assert_eq!(disk.read("a/file", 4, 3).unwrap(), b"two");
        assert_eq!(disk.read("a/file", 100, 3).unwrap(), b"");
        assert_eq!(disk.length("a/file").unwrap(), 8);
    });
}

#[test]
fn a_file_written_again_or_renamed_over_is_the_one_that_is_appended_to() {
    check(|disk| {
        disk.write("file", b"old").unwrap();
        disk.append("file", b"er").unwrap();
        disk.write("other", b"new").unwrap();
        disk.append("other", b"er").unwrap();
        disk.rename("other", "file").unwrap();
        disk.append("file", b"!").unwrap();

        assert_eq!(disk.read("file", 0, 100).unwrap(), b"newer!");
        assert!(!disk.exists("other").unwrap());

        disk.write("file", b"x").unwrap();
        disk.append("file", b"y").unwrap();

        assert_eq!(disk.read("file", 0, 100).unwrap(), b"xy");
    });
}

#[test]
fn a_file_that_is_open_stays_what_it_was() {
    check(|disk| {
        disk.write("file", b"before").unwrap();
        let open = disk.open("file").unwrap();
        disk.append("file", b" and after").unwrap();
        disk.write("other", b"another").unwrap();
        disk.rename("other", "file").unwrap();
        disk.remove("file").unwrap();

        assert_eq!(open.length(), 6);
        assert_eq!(open.read(0, 100).unwrap(), b"before");
        assert_eq!(open.read(2, 3).unwrap(), b"for");
        assert_eq!(open.read(6, 3).unwrap(), b"");
        assert!(disk.open("file").err().unwrap().is_not_found());
        assert!(disk.open("../file").is_err());
    });
}

#[test]
fn names_are_listed_sorted_and_removed() {
    check(|disk| {
        disk.create_directory("d").unwrap();
        disk.create_directory("d/e").unwrap();
        disk.write("d/b", b"").unwrap();
        disk.write("d/a", b"").unwrap();
        disk.write("d/e/inner", b"").unwrap();
        disk.sync_directory("d").unwrap();
        disk.sync_directory("").unwrap();

        assert_eq!(disk.list("d").unwrap(), ["a", "b", "e"]);
        assert!(disk.exists("d/a").unwrap());

        disk.remove("d/a").unwrap();

        assert_eq!(disk.list("d").unwrap(), ["b", "e"]);
        assert!(!disk.exists("d/a").unwrap());
    });
}

#[test]
fn what_does_not_exist_is_not_found() {
    check(|disk| {
        assert!(disk.read("x", 0, 1).unwrap_err().is_not_found());
        assert!(disk.append("x", b"1").unwrap_err().is_not_found());
        assert!(disk.remove("x").unwrap_err().is_not_found());
        assert!(disk.list("x").unwrap_err().is_not_found());
        assert!(disk.rename("x", "y").unwrap_err().is_not_found());
        assert!(disk.write("x/y", b"1").unwrap_err().is_not_found());
        assert!(disk.sync_directory("x").unwrap_err().is_not_found());
        assert!(!disk.exists("x").unwrap());
    });
}

#[test]
fn paths_that_leave_the_directory_are_refused() {
    check(|disk| {
        for path in [
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            ".",
            "",
            "a/",
            "a\\b",
        ] {
            let refused = disk.write(path, b"").unwrap_err();

            assert!(matches!(refused, DiskError::Path { .. }), "{path}");
        }
        disk.create_directory("a").unwrap();
        disk.write("file", b"").unwrap();

        assert!(matches!(
            disk.rename("file", "a/file").unwrap_err(),
            DiskError::Path { .. }
        ));
    });
}

#[test]
fn a_real_directory_is_used_by_one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();

    let first = RealDisk::open(directory.path()).unwrap();
    let second = RealDisk::open(directory.path());

    let Err(error) = second else {
        panic!("opened twice")
    };
    assert!(matches!(error, DiskError::InUse { .. }));
    assert!(error.to_string().contains("in use by another process"));

    drop(first);

    assert!(RealDisk::open(directory.path()).is_ok());
}

#[test]
fn real_files_and_directories_are_open_to_their_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(directory.path().join("node")).unwrap();
    disk.create_directory("d").unwrap();
    disk.write("d/file", b"x").unwrap();

    let mode = |path: &str| {
        std::fs::metadata(disk.root().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };

    assert_eq!(mode(""), 0o700);
    assert_eq!(mode("d"), 0o700);
    assert_eq!(mode("d/file"), 0o600);
    assert_eq!(mode("lock"), 0o600);
}

#[test]
fn a_crash_loses_what_was_not_synced() {
    let disk = MemoryDisk::new();
    disk.write("kept", b"durable").unwrap();
    disk.sync_file("kept").unwrap();
    disk.sync_directory("").unwrap();
    disk.append("kept", b" and more").unwrap();
    disk.write("unnamed", b"content").unwrap();
    disk.sync_file("unnamed").unwrap();

    disk.crash(Survival::Nothing);

    assert_eq!(disk.read("kept", 0, 100).unwrap(), b"durable");
    assert!(!disk.exists("unnamed").unwrap());
}

#[test]
fn a_name_without_synced_content_stands_for_an_empty_file() {
    let disk = MemoryDisk::new();
    disk.write("file", b"content").unwrap();
    disk.sync_directory("").unwrap();

    disk.crash(Survival::Nothing);

    assert_eq!(disk.read("file", 0, 100).unwrap(), b"");
}

#[test]
fn a_rename_is_undone_by_a_crash_before_its_directory_is_synced() {
    let disk = MemoryDisk::new();
    replace(&disk, "file", b"old").unwrap();
    disk.write("new", b"new").unwrap();
    disk.sync_file("new").unwrap();
    disk.rename("new", "file").unwrap();
    let undone = disk.fork();

    undone.crash(Survival::Nothing);
    disk.sync_directory("").unwrap();
    disk.crash(Survival::Nothing);

    assert_eq!(undone.read("file", 0, 100).unwrap(), b"old");
    assert_eq!(disk.read("file", 0, 100).unwrap(), b"new");
}

#[test]
fn a_killed_process_loses_nothing() {
    let disk = MemoryDisk::new();
    disk.write("file", b"content").unwrap();

    disk.crash(Survival::Everything);

    assert_eq!(disk.read("file", 0, 100).unwrap(), b"content");
}

#[test]
fn a_torn_append_is_a_prefix_and_zeros_and_replays_from_its_seed() {
    let disk = MemoryDisk::new();
    replace(&disk, "file", b"durable").unwrap();
    disk.append("file", &[7; 20]).unwrap();
    let mut seen = std::collections::BTreeSet::new();

    for seed in 0..300 {
        let torn = disk.fork();
        torn.crash(Survival::Torn(seed));
        let again = disk.fork();
        again.crash(Survival::Torn(seed));

        let bytes = torn.read("file", 0, 100).unwrap();
        assert_eq!(bytes, again.read("file", 0, 100).unwrap());
        let tail = bytes.strip_prefix(b"durable").unwrap();
        let kept = tail.iter().take_while(|byte| **byte == 7).count();
        assert!(tail[kept..].iter().all(|byte| *byte == 0));
        seen.insert((kept, tail.len()));
    }

    assert!(seen.len() > 50, "{}", seen.len());
}

#[test]
fn faults_happen_at_their_operation() {
    let disk = MemoryDisk::new();
    disk.write("file", b"").unwrap();
    disk.fail_at(disk.operations(), Fault::Half);
    assert!(disk.append("file", b"1234").is_err());
    assert_eq!(disk.read("file", 0, 9).unwrap(), b"12");

    disk.fail_at(disk.operations() + 1, Fault::Error);
    disk.append("file", b"3").unwrap();
    assert!(disk.append("file", b"4").is_err());
    disk.append("file", b"5").unwrap();
    assert_eq!(disk.read("file", 0, 9).unwrap(), b"1235");

    disk.fail_at(disk.operations(), Fault::Stop);
    assert!(disk.sync_file("file").is_err());
    assert!(disk.append("file", b"6").is_err());
    assert!(disk.read("file", 0, 9).is_err());
    disk.crash(Survival::Everything);
    assert_eq!(disk.read("file", 0, 9).unwrap(), b"1235");
}

#[test]
fn a_flipped_byte_stays_flipped() {
    let disk = MemoryDisk::new();
    replace(&disk, "file", b"abc").unwrap();

    disk.flip("file", 1, 1).unwrap();
    disk.crash(Survival::Nothing);

    assert_eq!(disk.read("file", 0, 9).unwrap(), b"acc");
}

#[test]
fn a_crash_at_any_point_of_a_replacement_leaves_the_old_or_the_new_file() {
    let disk = MemoryDisk::new();
    replace(&disk, "file", b"old content").unwrap();
    let mut outcomes = std::collections::BTreeSet::new();

    for at in 0..5 {
        for seed in 0..50 {
            let disk = disk.fork();
            disk.fail_at(disk.operations() + at, Fault::Stop);
            let done = replace(&disk, "file", b"new").is_ok();
            disk.crash(Survival::Torn(seed));

            let content = disk.read("file", 0, 100).unwrap();
            assert!(content == b"new" || (content == b"old content" && !done));
            outcomes.insert(content);
        }
    }

    assert_eq!(outcomes.len(), 2);
}
