//! States of keys over real processes: nodes that restart, nodes that were away, a coordinator that
//! knows nothing, and a node's console.

use serde_json::Value;

use crate::harness::{Cluster, Process, program, run, wait_for};

fn sign(cluster: &Cluster) -> crate::harness::Done {
    cluster.quorate(&["sign", "message", "notes", "--text", "pay"])
}

fn change(cluster: &Cluster, verb: &str) -> Value {
    cluster.json(&["key", verb, "notes", "--reason", "a drill"])
}

fn shown(cluster: &Cluster) -> Value {
    cluster.json(&["key", "show", "notes"])
}

fn import(cluster: &Cluster, node: &str, file: &str) -> crate::harness::Done {
    run(program("quorate-node")
        .args(["import-states", "--config"])
        .arg(cluster.node_config(node))
        .arg(file))
}

#[test]
fn a_suspension_outlives_restarts_and_a_resumption_ends_it() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");

    let suspended = change(&cluster, "suspend");

    assert_eq!(suspended["state"], "SUSPENDED");
    assert_eq!(suspended["acknowledged_by"].as_array().unwrap().len(), 3);
    assert_eq!(suspended["binding"], 2);
    sign(&cluster).refused(3, "KEY_SUSPENDED");
    sign(&cluster).refused(3, "a drill");

    let names = ["node-a", "node-b", "node-c"];
    for name in names {
        cluster.kill_node(name);
    }
    let _nodes: Vec<Process> = names.map(|name| cluster.start_node(name)).into();
    let _coordinator = cluster.restart_coordinator_with("");
    wait_for("a coordinator that learned the state", || {
        (shown(&cluster)["state"] == "SUSPENDED").then_some(())
    });
    sign(&cluster).refused(3, "KEY_SUSPENDED");
    assert_eq!(change(&cluster, "suspend")["state"], "SUSPENDED");

    assert_eq!(change(&cluster, "resume")["state"], "ACTIVE");
    cluster
        .quorate(&["key", "resume", "notes", "--reason", "again"])
        .refused(1, "is ACTIVE already");
    assert_eq!(sign(&cluster).code, 0);
    let states = cluster.json(&["key", "states", "notes"]);
    assert_eq!(states[0]["change"], "resume");
    assert_eq!(states[0]["sequence"], 3);
    assert_eq!(states[0]["by"].as_array().unwrap().len(), 1);
}

#[test]
fn a_node_that_was_away_hears_of_it_from_a_coordinator_or_at_its_console() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "transactions,messages");
    cluster.kill_node("node-c");
    cluster.wait_for_connected(2);

    let reported = change(&cluster, "compromise");
    assert_eq!(reported["missing"], serde_json::json!(["node-c"]));
    let file = cluster.file("notes.states");
    cluster.json(&["key", "states", "notes", "--out", &file]);

    let done = import(&cluster, "node-c", &file);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(
        done.stdout
            .contains("compromise notes at sequence 1: acted by"),
        "{}",
        done.stdout
    );
    let again = import(&cluster, "node-c", &file);
    assert!(again.stdout.contains("is COMPROMISED"), "{}", again.stdout);

    let _node = cluster.start_node("node-c");
    cluster.wait_for_connected(3);
    sign(&cluster).refused(3, "KEY_COMPROMISED");
    cluster
        .quorate(&["key", "resume", "notes", "--reason", "no"])
        .refused(1, "STATE_OUTDATED");
    for more in [&[][..], &["--attested"]] {
        let address = [&["key", "address", "notes"], more].concat();
        cluster.quorate(&address).refused(3, "KEY_COMPROMISED");
    }
}

/// P11: two admins, at two keyboards.
#[test]
fn a_resumption_waits_for_the_second_admin() {
    let cluster = Cluster::start(&["--second-admin"]);
    cluster.create_key("notes", "bip340", "messages");
    change(&cluster, "suspend");
    let resume = |id: &str| {
        let words = ["key", "resume", "notes", "--reason", "found"];
        cluster.quorate(&[&words[..], &["--command-id", id, "-o", "json"]].concat())
    };
    let speak = |verb: &str, id: &str, who: &str, digest: &str| {
        let words = ["command", verb, id, "--identity", who, "--yes"];
        cluster.quorate(&[&words[..], &["--digest", digest]].concat())
    };

    let first = "0e6c5c2f-7f64-4a1e-9d1c-52a0f3b87d10";
    resume(first).refused(4, "quorate command approve");
    sign(&cluster).refused(3, "KEY_SUSPENDED");
    let waiting = cluster.json(&["command", "show", first]);
    assert_eq!(waiting["state"], "AWAITING_ENDORSEMENT");
    let digest = waiting["digest"].as_str().unwrap();

    // The same admin again, another command's digest, a client: none of them carries it.
    speak("approve", first, "admin", digest).refused(3, "endorses twice");
    speak("approve", first, "admin-2", &"0".repeat(64)).refused(7, "not the one");
    speak("approve", first, "client", digest).refused(3, "ROLE_MISSING");
    let approved = speak("approve", first, "admin-2", digest);
    assert_eq!(approved.code, 0, "{}", approved.stderr);
    assert!(
        approved.stderr.contains("resume key notes"),
        "{}",
        approved.stderr
    );
    assert_eq!(sign(&cluster).code, 0);
    // The same request under the same id has the same outcome, although the key has moved on.
    let again = resume(first).json();
    assert_eq!(
        (&again["command_id"], &again["state"]),
        (&first.into(), &"ACTIVE".into())
    );
    let other = [
        "key",
        "resume",
        "notes",
        "--reason",
        "other",
        "--command-id",
    ];
    cluster
        .quorate(&[&other[..], &[first]].concat())
        .refused(1, "is ACTIVE already");

    change(&cluster, "suspend");
    let second = "3b9f4d71-0a52-4c7e-8a3d-1f6e29c4b058";
    resume(second).refused(4, "quorate command approve");
    let waiting = cluster.json(&["command", "show", second]);
    let digest = waiting["digest"].as_str().unwrap();
    let rejected = speak("reject", second, "admin-2", digest);
    assert!(
        rejected.stdout.contains("COMMAND_REJECTED"),
        "{}",
        rejected.stdout
    );
    sign(&cluster).refused(3, "KEY_SUSPENDED");
    resume(second).refused(3, "COMMAND_REJECTED");
}

#[test]
fn what_is_no_state_changes_nothing_at_a_console() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    change(&cluster, "suspend");
    let file = cluster.file("notes.states");
    cluster.json(&["key", "states", "notes", "--out", &file]);
    let garbage = cluster.file("garbage.states");
    std::fs::write(&garbage, b"garbage").unwrap();
    let forged = cluster.file("forged.states");
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    std::fs::write(&forged, bytes).unwrap();

    import(&cluster, "node-a", &file).refused(1, "stop it first");
    cluster.kill_node("node-a");
    import(&cluster, "node-a", &garbage).refused(1, "expected a file");
    let done = import(&cluster, "node-a", &forged);
    assert_eq!(done.code, 1, "{}", done.stdout);
    assert!(
        done.stdout.contains("ENDORSEMENT_INVALID"),
        "{}",
        done.stdout
    );
    cluster
        .quorate(&["key", "states", "demo-taproot", "--out", &file])
        .refused(2, "nobody changed the state");
    cluster
        .quorate(&["key", "suspend", "notes", "--reason", ""])
        .refused(1, "needs a reason");
    let unknown = "5e7a1c94-8b2d-4f36-9a0e-d3c6b1f4e827";
    cluster
        .quorate(&["command", "approve", unknown])
        .refused(1, "COMMAND_UNKNOWN");
    cluster
        .quorate(&["command", "approve", unknown, "--yes"])
        .refused(2, "--digest");
}
