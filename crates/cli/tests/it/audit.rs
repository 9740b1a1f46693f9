//! `audit verify` over files that were exported, and over files that somebody has changed.

use quorate_client::{
    audit::JournalWriter,
    model::{
        Digest, UnixMillis,
        audit::{Checkpoint, Entry, Record, checkpoint_digest, record_hash},
        identity::sign_digest,
    },
};

use crate::workspace::{Workspace, node_key};

#[test]
fn an_exported_journal_verifies_offline() {
    let workspace = Workspace::new();
    let hash = workspace.cluster();
    workspace.write("node-a.audit", &journal(&hash, "node-a", 1));

    let by_profile = workspace
        .succeed("audit verify node-a.audit -o json")
        .json();
    let by_roster = workspace.succeed(&format!(
        "audit verify node-a.audit --roster roster.json --hash {hash} -o json --home elsewhere"
    ));

    assert_eq!(by_profile["valid"], true);
    assert_eq!(by_profile["files"][0]["node"], "node-a");
    assert_eq!(by_profile["files"][0]["records"], 2);
    assert_eq!(by_profile["files"][0]["checkpoints"], 1);
    assert_eq!(by_roster.json(), by_profile);
}

#[test]
fn changed_files_exit_with_7_and_name_what_is_wrong() {
    let workspace = Workspace::new();
    let hash = workspace.cluster();
    let good = journal(&hash, "node-a", 1);
    let lines: Vec<&str> = good.lines().collect();
    let flipped = {
        let record = lines[1];
        let at = record.len() - 4;
        let digit = if record.as_bytes()[at] == b'0' {
            "1"
        } else {
            "0"
        };
        let record = format!("{}{digit}{}", &record[..at], &record[at + 1..]);
        [lines[0], &record, lines[2], lines[3]].join("\n")
    };
    for (name, content, expected) in [
        ("flipped", flipped, "record"),
        ("cut", lines[..2].join("\n"), "the file is cut"),
        (
            "gap",
            [lines[0], lines[2], lines[3]].join("\n"),
            "record 1 does not hold",
        ),
        (
            "forged",
            journal(&hash, "node-a", 2),
            "is not signed by the node",
        ),
        (
            "stranger",
            journal(&hash, "node-z", 1),
            "\"node-z\" is in no roster of the cluster",
        ),
        (
            "foreign",
            journal(&"1".repeat(64), "node-a", 1),
            "which is not known",
        ),
        (
            "garbage",
            "garbage".to_owned(),
            "line 1 is no line of an audit file",
        ),
    ] {
        workspace.write(name, &content);

        let run = workspace.run(&format!("audit verify {name}"));

        assert_eq!(run.code, 7, "{name}: {}", run.err);
        assert!(run.err.contains(expected), "{name}: {}", run.err);
        assert!(run.err.contains(name), "{name}: {}", run.err);
        assert_eq!(run.out, "");
    }
    assert_eq!(workspace.run("audit verify absent").code, 1);
}

/// The journal of a node: a boot and a checkpoint, signed with the key of this number.
fn journal(roster: &str, node: &str, number: u8) -> String {
    let roster = Digest::from_hex(roster).unwrap();
    let entry = Entry::Boot {
        version: "0.1.0".to_owned(),
        node: node.parse().unwrap(),
    };
    let boot = record(1, Digest::ZERO, entry);
    let previous = record_hash(&boot);
    let index = Digest::new([8; 32]);
    let digest = checkpoint_digest(2, &previous, UnixMillis(7), &[0; 16], 1, &index);
    let checkpoint = Checkpoint {
        index_sequence: 1,
        index_digest: index,
        signature: sign_digest(&node_key(number), &digest),
    };
    let mut writer = JournalWriter::new(Vec::new(), roster, node.parse().unwrap()).unwrap();
    writer.push(&boot).unwrap();
    writer
        .push(&record(2, previous, Entry::Checkpoint(checkpoint)))
        .unwrap();
    String::from_utf8(writer.finish().unwrap().0).unwrap()
}

fn record(sequence: u64, previous: Digest, entry: Entry) -> Vec<u8> {
    let record = Record {
        sequence,
        previous,
        time: UnixMillis(7),
        boot: [0; 16],
        entry,
    };
    record.to_bytes().unwrap()
}
