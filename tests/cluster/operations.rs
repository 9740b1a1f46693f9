//! What operators see and do: metrics, health, logs, and stops that lose nothing.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Cluster, Process, signal_all, wait_for};

/// The fields that `docs/operations/logging.md` lists, and those that every line has.
fn documented_fields() -> BTreeSet<String> {
    let page = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/operations/logging.md"
    ))
    .unwrap();
    let fields = page.split("## Fields").nth(1).unwrap();
    let fields = fields.split("## ").next().unwrap();
    fields
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .chain(["timestamp", "level", "target", "message"])
        .map(str::to_owned)
        .collect()
}

#[test]
fn daemons_tell_their_health_their_metrics_and_in_json_what_happened() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    cluster.kill_node("node-a");
    let mut node = Process::start(
        cluster
            .node_command("node-a")
            .args(["--log-format", "json"]),
    );
    let node_address = metrics_address(&node.ready());
    let mut coordinator = cluster.restart_coordinator_with("log_format = \"json\"");
    let address = metrics_address(&coordinator.ready());
    cluster.kill_node("node-b");
    cluster.wait_for_connected(2);

    let text = "a text that must not stand in any log";
    let signed = cluster.json(&["sign", "message", "notes", "--text", text]);
    assert_eq!(signed["signers"], serde_json::json!(["node-a", "node-c"]));

    wait_for_health(&address, 200);
    assert_eq!(get(&node_address, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(&address, "/").0, 404);
    // Gauges are set once in a while.
    let metrics = wait_for("two connected nodes in the metrics", || {
        let (_, metrics) = get(&address, "/metrics");
        (sample(&metrics, "quorate_connected_nodes", &[]) == "2").then_some(metrics)
    });
    assert_eq!(sample(&metrics, "quorate_keys", &[]), "2");
    let labels = ["kind=\"sign\"", "state=\"SUCCEEDED\""];
    assert_eq!(sample(&metrics, "quorate_commands_total", &labels), "1");
    let (_, of_node) = get(&node_address, "/metrics");
    let labels = ["kind=\"sign-shares\"", "outcome=\"ok\""];
    assert_ne!(
        sample(&of_node, "quorate_node_requests_total", &labels),
        "0"
    );
    for page in [&metrics, &of_node] {
        assert!(!page.contains("notes"), "a label names a key: {page}");
    }

    cluster.kill_node("node-c");
    cluster.wait_for_connected(1);
    wait_for_health(&address, 503);
    node.signal(Signal::TERM);
    coordinator.signal(Signal::TERM);
    let key = std::fs::read_to_string(cluster.file("nodes/node-a.key")).unwrap();
    let allowed = documented_fields();
    for (name, process) in [("node", &mut node), ("coordinator", &mut coordinator)] {
        let done = process.end();
        assert_eq!(done.code, 0, "{name}: {done:?}");
        assert!(!done.stderr.is_empty());
        for line in done.stderr.lines() {
            let parsed: Value = serde_json::from_str(line).unwrap();
            let fields: BTreeSet<String> = parsed.as_object().unwrap().keys().cloned().collect();
            assert!(
                fields.is_subset(&allowed),
                "{name} has other fields: {line}"
            );
            for secret in [text, &hex::encode(text), key.trim()] {
                assert!(!line.contains(secret), "{name}: {line}");
            }
        }
    }
    let over = coordinator.stderr.wait_for("command is over");
    let over: Value = serde_json::from_str(&over).unwrap();
    assert_eq!(over["request_id"], signed["command_id"]);
    assert_eq!(over["state"], "SUCCEEDED");
}

/// What is due is told to whoever watches, not only to whoever asks.
#[test]
fn keys_that_are_due_are_counted_in_the_metrics() {
    let cluster = Cluster::start(&[]);
    let words = ["key", "create", "hot", "--scheme", "bip340"];
    cluster.json(
        &[
            &words[..],
            &["--refresh-every", "1s", "--cryptoperiod", "3d"],
        ]
        .concat(),
    );
    let mut coordinator = cluster.restart_coordinator_with("");
    let address = metrics_address(&coordinator.ready());
    cluster.wait_for_connected(3);
    wait_for("a key that is due", || {
        let (_, page) = get(&address, "/metrics");
        // Gauges are set once in a while.
        if !page.contains("quorate_keys_due") {
            return None;
        }
        let refresh = ["duty=\"refresh\""];
        let rotation = ["duty=\"rotation\""];
        (sample(&page, "quorate_keys_due", &refresh) == "1"
            && sample(&page, "quorate_keys_due", &rotation) == "0"
            && sample(&page, "quorate_keys_due_soon", &rotation) == "1")
            .then_some(())
    });
}

#[test]
fn a_coordinator_that_is_told_to_stop_finishes_what_is_under_way() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let mut coordinator = cluster.restart_coordinator_with("drain_ms = 600000");
    let id = "c1d2e3f4-5a6b-4c7d-8e9f-0a1b2c3d4e5f";
    let nodes = cluster.node_pids();
    signal_all(&nodes, Signal::STOP);
    let mut under_way = cluster.begin(&sign("x", id));
    cluster.wait_for_state(id, "RUNNING");

    coordinator.signal(Signal::TERM);
    coordinator.stderr.wait_for("drain");
    signal_all(&nodes, Signal::CONT);

    assert_eq!(under_way.end().json()["command_id"], id);
    assert_eq!(coordinator.end().code, 0);
}

#[test]
fn a_coordinator_that_cannot_finish_in_time_refuses_in_a_way_that_may_be_retried() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let mut coordinator = cluster.restart_coordinator_with("drain_ms = 100");
    let id = "d2e3f4a5-6b7c-4d8e-9fa0-1b2c3d4e5f60";
    let nodes = cluster.node_pids();
    signal_all(&nodes, Signal::STOP);
    let mut under_way = cluster.begin(&sign("x", id));
    cluster.wait_for_state(id, "RUNNING");

    coordinator.signal(Signal::TERM);

    assert_eq!(coordinator.end().code, 0);
    under_way.end().refused(5, "no coordinator can be reached");
    signal_all(&nodes, Signal::CONT);
    let _coordinator = cluster.start_coordinator();
    assert_eq!(cluster.json(&sign("x", id))["command_id"], id);
}

#[test]
fn a_node_that_is_told_to_stop_ends_well_while_a_request_is_under_way() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    cluster.kill_node("node-a");
    let mut node = cluster.start_node("node-a");
    cluster.wait_for_connected(3);
    cluster.kill_node("node-b");
    cluster.wait_for_connected(2);
    let id = "e3f4a5b6-7c8d-4e9f-a0b1-2c3d4e5f6071";
    node.signal(Signal::STOP);
    let mut under_way = cluster.begin(&sign("x", id));
    cluster.wait_for_state(id, "RUNNING");

    node.signal(Signal::TERM);
    node.signal(Signal::CONT);

    let done = node.end();
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("stop"), "{done:?}");
    let done = under_way.end();
    assert!(done.code == 0 || done.code == 5, "{done:?}");
    let _back = cluster.start_node("node-a");
    cluster.wait_for_connected(2);
    assert_eq!(cluster.json(&sign("x", id))["command_id"], id);
}

fn sign<'a>(text: &'a str, id: &'a str) -> [&'a str; 7] {
    [
        "sign",
        "message",
        "notes",
        "--text",
        text,
        "--command-id",
        id,
    ]
}

fn metrics_address(ready: &Value) -> String {
    ready["metrics"].as_str().unwrap().to_owned()
}

fn wait_for_health(address: &str, status: u16) {
    wait_for(&format!("health {status}"), || {
        (get(address, "/healthz").0 == status).then_some(())
    });
}

/// The status and the body of an HTTP answer.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The value of the first sample with this name and these labels.
fn sample<'a>(page: &'a str, name: &str, labels: &[&str]) -> &'a str {
    let line = page
        .lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name))
        .find(|line| labels.iter().all(|label| line.contains(label)))
        .unwrap_or_else(|| panic!("no {name} with {labels:?}: {page}"));
    line.rsplit(' ').next().unwrap()
}
