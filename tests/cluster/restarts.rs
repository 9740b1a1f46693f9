//! Processes that die while something is under way. What is under way cannot end before that,
//! because the nodes that it needs are stopped.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Cluster, Process, signal, signal_all, wait_for};

/// Limits under which no command ends because the nodes that it needs are stopped.
const PATIENT: &str = "[limits]
quorum_wait_ms = 600000
sign_deadline_ms = 600000
ceremony_deadline_ms = 600000
round_timeout_ms = 600000
";

/// Limits under which a key creation ends soon when a node is gone.
const IMPATIENT: &str = "[limits]
quorum_wait_ms = 200
round_timeout_ms = 600000
";

#[test]
fn a_command_in_flight_when_the_coordinator_dies_comes_to_one_outcome() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let mut coordinator = cluster.restart_coordinator_with(PATIENT);
    let id = "2b9d3f6a-51c7-4a0e-9d8b-7e4f1a6c3d52";
    let sign = [
        "sign",
        "message",
        "notes",
        "--text",
        "once",
        "--command-id",
        id,
    ];
    let nodes = cluster.node_pids();

    signal_all(&nodes, Signal::STOP);
    let mut waiting = cluster.begin(&sign);
    cluster.wait_for_state(id, "RUNNING");
    coordinator.kill();
    let interrupted = waiting.end();
    signal_all(&nodes, Signal::CONT);
    let mut coordinator = cluster.start_coordinator();
    let outcome = cluster.json(&sign);
    let repeated = cluster.json(&sign);
    coordinator.kill();
    let _coordinator = cluster.start_coordinator();
    let remembered = cluster.json(&sign);

    interrupted.refused(5, "no coordinator can be reached");
    assert_eq!(outcome["command_id"], id);
    assert_eq!(outcome["signatures"].as_array().unwrap().len(), 1);
    assert_eq!(repeated["signatures"], outcome["signatures"]);
    assert_eq!(remembered["signatures"], outcome["signatures"]);
    let shown = cluster.wait_for_state(id, "SUCCEEDED");
    assert_eq!(shown["signatures"], outcome["signatures"]);
    let file = cluster.file("message");
    std::fs::write(&file, "once").unwrap();
    let signature = outcome["signature"].as_str().unwrap();
    let verified = cluster.quorate(&["verify", "notes", "--file", &file, "--signature", signature]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[test]
fn a_node_that_dies_in_the_middle_of_a_key_creation_leaves_no_key_and_the_next_attempt_works() {
    let cluster = Cluster::start(&[]);
    let _coordinator = cluster.restart_coordinator_with(IMPATIENT);

    let mut creating = create_until_node_c_is_awaited(&cluster);
    cluster.kill_node("node-c");
    creating.end().refused(5, "QUORUM_UNAVAILABLE");

    assert_eq!(usable_keys(&cluster), ["demo-taproot"]);
    let sign = ["sign", "message", "notes", "--text", "too early"];
    assert_ne!(cluster.quorate(&sign).code, 0);
    sign_the_demonstration(&cluster);
    let _back = cluster.start_node("node-c");
    cluster.wait_for_connected(3);
    let created = cluster.create_key("notes", "bip340", "messages");
    assert_eq!(created["state"], "ACTIVE");
    sign_with_node_c(&cluster);
}

#[test]
fn a_key_creation_goes_on_when_the_node_that_died_in_its_middle_comes_back() {
    let cluster = Cluster::start(&[]);
    let _coordinator = cluster.restart_coordinator_with(PATIENT);

    let mut creating = create_until_node_c_is_awaited(&cluster);
    cluster.kill_node("node-c");
    cluster.wait_for_connected(2);
    assert_eq!(usable_keys(&cluster), ["demo-taproot"]);
    sign_the_demonstration(&cluster);
    let _back = cluster.start_node("node-c");

    assert_eq!(creating.end().json()["state"], "ACTIVE");
    sign_with_node_c(&cluster);
}

#[test]
fn in_whatever_round_a_node_dies_the_name_comes_to_one_usable_key() {
    let cluster = Cluster::start(&[]);
    let _coordinator = cluster.restart_coordinator_with(IMPATIENT);
    cluster.kill_node("node-c");

    for round in ["commit", "reveal", "shares", "prepare", "prove", "activate"] {
        let mut victim = cluster.start_node("node-c");
        cluster.wait_for_connected(3);
        let create = [
            "key",
            "create",
            round,
            "--scheme",
            "ed25519",
            "--purpose",
            "messages",
        ];
        let mut creating = cluster.begin(&create);
        creating.stderr.wait_for(round);
        victim.kill();
        // Where exactly the node died, and so whether the key was made, differs from run to run.
        creating.end();
        let _back = cluster.start_node("node-c");
        cluster.wait_for_connected(3);

        let again = cluster.quorate(&create);
        if again.code != 0 {
            // Every node has certified the key: it is finished and not begun again.
            again.refused(3, "KEY_EXISTS");
        }
        wait_for("an active key", || {
            usable_keys(&cluster)
                .contains(&round.to_owned())
                .then_some(())
        });
        cluster.json(&["sign", "message", round, "--text", "x"]);
    }
}

/// Begins to create the key "notes" and answers when the other nodes have done what they can.
fn create_until_node_c_is_awaited(cluster: &Cluster) -> Process {
    let id = "7d0c8a41-3e5b-4f92-b6a7-1c9e2d4f8b63";
    signal(cluster.node_pid("node-c"), Signal::STOP);
    let mut creating = cluster.begin(&[
        "key",
        "create",
        "notes",
        "--scheme",
        "bip340",
        "--purpose",
        "messages",
        "--command-id",
        id,
    ]);
    creating.stderr.wait_for("%");
    cluster.wait_for_awaited(id, &["node-c"]);
    creating
}

/// Signs with the key "notes" such that node-c must take part.
fn sign_with_node_c(cluster: &Cluster) {
    cluster.kill_node("node-a");
    let signed = cluster.json(&["sign", "message", "notes", "--text", "x"]);
    assert_eq!(signed["signers"], serde_json::json!(["node-b", "node-c"]));
}

/// The names of the keys that are listed as usable.
fn usable_keys(cluster: &Cluster) -> Vec<String> {
    let listed = cluster.json(&["key", "list"]);
    let keys = listed.as_array().unwrap().iter();
    keys.filter(|key| key["state"] == "ACTIVE")
        .map(|key| key["name"].as_str().unwrap().to_owned())
        .collect()
}

fn sign_the_demonstration(cluster: &Cluster) -> Value {
    let (file, out) = (cluster.file("demo.psbt"), cluster.file("signed.psbt"));
    cluster.json(&["sign", "psbt", "demo-taproot", "--in", &file, "--out", &out])
}
