//! Processes that die.

use std::process::Command;

use crate::harness::{Cluster, Process, program, run, wait_for};

#[test]
fn signing_goes_on_when_any_one_node_is_killed() {
    for victim in 0..3 {
        let cluster = Cluster::start(&[]);
        cluster.create_key("notes", "bip340", "messages");
        let name = cluster.nodes()[victim]["name"].as_str().unwrap().to_owned();

        cluster.kill_node(&name);

        for number in 0..5 {
            let text = format!("message {number}");
            let signed = cluster.json(&["sign", "message", "notes", "--text", &text]);
            let signers = signed["signers"].as_array().unwrap();
            assert_eq!(signers.len(), 2);
            assert!(
                signers.iter().all(|signer| *signer != name.as_str()),
                "{signed}"
            );
        }
    }
}

#[test]
fn a_command_keeps_its_one_outcome_over_the_death_of_the_coordinator() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let id = "6c1f0f4e-93a5-4f0e-8a43-1d7c6f2f9a10";
    let sign = [
        "sign",
        "message",
        "notes",
        "--text",
        "once",
        "--command-id",
        id,
    ];
    let before = cluster.json(&sign);

    cluster.kill_coordinator();
    let (_, directory) = cluster.stop();
    let cluster = Cluster::start_in(directory, &[]);
    let after = cluster.json(&sign);

    assert_eq!(before["signature"], after["signature"]);
    assert_eq!(before["command_id"], after["command_id"]);
}

#[test]
fn the_key_list_comes_back_from_the_nodes_when_the_coordinator_loses_everything() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "ed25519", "messages");
    cluster.json(&["sign", "message", "notes", "--text", "once"]);
    let before = cluster.json(&["key", "show", "notes"]);

    cluster.kill_coordinator();
    let (_, directory) = cluster.stop();
    let store = directory.path().join("coordinator").join("store");
    assert!(
        store.is_dir(),
        "the coordinator keeps its store in {}",
        store.display()
    );
    std::fs::remove_dir_all(store).unwrap();
    let cluster = Cluster::start_in(directory, &[]);

    assert_eq!(
        cluster.json(&["key", "show", "notes"])["public_key"],
        before["public_key"]
    );
    // So does what they noted of its use, as soon as as many have listed it as sign.
    wait_for("word of the use", || {
        let life = &cluster.json(&["key", "show", "notes"])["life"];
        let (activated, used) = (
            life["activated_ms"].as_u64()?,
            life["last_used_ms"].as_u64()?,
        );
        assert!(used >= activated, "{life}");
        Some(())
    });
    cluster.json(&["sign", "message", "notes", "--text", "again"]);
}

#[test]
fn a_node_without_its_index_rebuilds_it_and_one_with_a_changed_journal_does_not_start() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "ed25519", "messages");
    let (_, directory) = cluster.stop();
    let node = directory.path().join("nodes").join("node-a");
    std::fs::remove_dir_all(node.join("index")).unwrap();
    let cluster = Cluster::start_in(directory, &[]);
    cluster.json(&["sign", "message", "notes", "--text", "again"]);
    let (_, directory) = cluster.stop();
    let node = directory.path().join("nodes").join("node-a");
    let segment = std::fs::read_dir(node.join("journal"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    let key_file = directory.path().join("nodes").join("node-a.key");
    let done = run(program("quorate-node")
        .arg("run")
        .arg("--dir")
        .arg(&node)
        .arg("--key-file")
        .arg(key_file)
        .args(["--coordinator", "coordinator-1=127.0.0.1:1"]));

    assert_ne!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("record"), "{done:?}");
}

#[test]
fn a_node_that_cheats_is_proven_guilty_and_signing_goes_on_without_it() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    cluster.kill_node("node-a");
    cluster.kill_node("node-b");
    cluster.wait_for_connected(1);
    let _cheat = Process::start(
        Command::new(env!("CARGO_BIN_EXE_quorate-cheating-node"))
            .arg(cluster.node_config("node-a")),
    );
    cluster.wait_for_connected(2);

    // With the cheat and one honest node there is no signature, and there is proof.
    let alone = cluster.quorate(&["sign", "message", "notes", "--text", "one"]);
    assert_eq!(alone.code, 5, "{alone:?}");

    // With another honest node, the two sign without the cheat.
    let _back = cluster.start_node("node-b");
    cluster.wait_for_connected(3);
    let signed = cluster.json(&["sign", "message", "notes", "--text", "two"]);
    let signers = signed["signers"].as_array().unwrap();
    assert!(signers.iter().all(|signer| *signer != "node-a"), "{signed}");

    // The proof convinces whoever has the roster, offline.
    let evidence = cluster.directory().join("evidence");
    let (log, directory) = (
        cluster.directory().join("c.audit"),
        evidence.to_str().unwrap(),
    );
    let log = log.to_str().unwrap();
    let done = cluster.quorate(&[
        "audit",
        "export",
        "--node",
        "node-c",
        "--out",
        log,
        "--evidence",
        directory,
    ]);
    assert_eq!(done.code, 0, "{done:?}");
    let file = std::fs::read_dir(&evidence)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let verified = cluster.quorate(&["audit", "verify", log, file.to_str().unwrap()]);
    assert_eq!(verified.code, 0, "{verified:?}");
    assert!(verified.stdout.contains("node-a"), "{verified:?}");
}
