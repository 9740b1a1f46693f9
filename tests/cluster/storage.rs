//! Nodes whose disk or secret is not what it was.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::harness::{Cluster, program, run};

#[test]
fn a_node_does_not_start_without_the_secret_that_it_was_sealed_with() {
    let cluster = Cluster::start(&[]);
    let (stranger, phrase, other) = (
        cluster.file("stranger"),
        cluster.file("phrase"),
        cluster.file("other"),
    );
    fs::write(&phrase, "correct horse battery staple\n").unwrap();
    fs::write(&other, "correct horse battery stable\n").unwrap();
    let made = run(program("quorate-node")
        .args(["init", "--id", "node-x", "--region", "r"])
        .args(["--organisation", "o", "--dir", &stranger])
        .args(["--passphrase-file", &phrase]));
    assert_eq!(made.code, 0, "{made:?}");
    let start = |unseal: &[&str]| {
        run(program("quorate-node")
            .args(["run", "--dir", &stranger])
            .args(["--coordinator", "coordinator=127.0.0.1:1"])
            .args(unseal))
    };
    cluster.kill_node("node-a");
    let node_a = |unseal: &[&str]| run(cluster.node_command("node-a").args(unseal));
    let key_of_b = cluster.file("nodes/node-b.key");

    start(&["--passphrase-file", &other]).refused(1, "the passphrase is wrong");
    start(&["--passphrase-file", &phrase]).refused(1, "no roster pinned yet");
    node_a(&["--key-file", &key_of_b]).refused(1, "the key file is not the one");
    let journal = fs::read_dir(cluster.file("nodes/node-a/journal")).unwrap();
    assert_eq!(journal.count(), 1);
    let _back = cluster.start_node("node-a");
    cluster.wait_for_connected(3);
}

#[test]
fn a_node_that_lost_its_journal_is_not_pinned_again() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let shown = cluster.json(&["cluster", "show"]);
    let cluster_id = shown["cluster_id"].as_str().unwrap();
    cluster.kill_node("node-a");
    let dir = cluster.file("nodes/node-a");
    let (journal, away) = (format!("{dir}/journal"), cluster.file("journal"));
    fs::rename(&journal, &away).unwrap();
    let pin = || {
        run(program("quorate-node")
            .args(["pin", "--dir", &dir, "--hash", cluster_id, "--roster"])
            .arg(cluster.home().join("roster.json"))
            .args(["--key-file", &cluster.file("nodes/node-a.key")]))
    };

    pin().refused(1, "forgotten what it promised");
    fs::remove_dir_all(format!("{dir}/index")).unwrap();
    pin().refused(1, "forgotten what it promised");
    run(&mut cluster.node_command("node-a")).refused(1, "there is no journal");

    fs::rename(&away, &journal).unwrap();
    let _back = cluster.start_node("node-a");
    cluster.wait_for_connected(3);
}

#[test]
fn a_share_that_was_tampered_with_is_named_and_never_used() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let (_, directory) = cluster.stop();
    let record = record_of(&directory.path().join("nodes/node-a/vault"), "notes");
    let mut bytes = fs::read(&record).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&record, bytes).unwrap();
    let cluster = Cluster::start_in(directory, &[]);

    for number in 0..5 {
        let text = format!("message {number}");
        let signed = cluster.json(&["sign", "message", "notes", "--text", &text]);
        assert_eq!(signed["signers"], serde_json::json!(["node-b", "node-c"]));
    }
    let _coordinator = cluster.restart_coordinator_with("[limits]\nquorum_wait_ms = 500");
    cluster.kill_node("node-b");
    cluster.wait_for_connected(2);
    let alone = cluster.quorate(&["sign", "message", "notes", "--text", "x"]);

    let name = record.file_name().unwrap().to_str().unwrap();
    let changed = format!("{name} was changed");
    alone.refused(1, &changed);
    alone.refused(1, "SHARE_UNAVAILABLE");
    let log = cluster.log("node-a");
    let lines: Vec<_> = log.lines().filter(|line| line.contains(&changed)).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("a share does not open"), "{log}");
    // The other key of the node is not affected.
    let (file, out) = (cluster.file("demo.psbt"), cluster.file("signed.psbt"));
    cluster.json(&["sign", "psbt", "demo-taproot", "--in", &file, "--out", &out]);
}

#[test]
fn a_torn_end_of_the_journal_is_cut_and_the_node_takes_part_again() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let (_, directory) = cluster.stop();
    let segment = newest_segment(&directory.path().join("nodes/node-a/journal"));
    let length = fs::metadata(&segment).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_len(length - 3).unwrap();
    let cluster = Cluster::start_in(directory, &[]);

    assert!(
        cluster
            .log("node-a")
            .contains("cut an unfinished record off the end of the journal")
    );
    cluster.kill_node("node-b");
    let signed = cluster.json(&["sign", "message", "notes", "--text", "again"]);
    assert_eq!(signed["signers"], serde_json::json!(["node-a", "node-c"]));
    let log = cluster.file("node-a.audit");
    let exported = cluster.quorate(&["audit", "export", "--node", "node-a", "--out", &log]);
    assert_eq!(exported.code, 0, "{exported:?}");
    let verified = cluster.quorate(&["audit", "verify", &log]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

/// The file of a vault that holds the share of a key.
fn record_of(vault: &Path, key: &str) -> PathBuf {
    let files = fs::read_dir(vault)
        .unwrap()
        .flat_map(|fan| fs::read_dir(fan.unwrap().path()).unwrap());
    files
        .map(|file| file.unwrap().path())
        .find(|path| path.file_stem().is_some_and(|stem| stem == key))
        .unwrap()
}

fn newest_segment(journal: &Path) -> PathBuf {
    let files = fs::read_dir(journal).unwrap();
    files.map(|file| file.unwrap().path()).max().unwrap()
}
