//! Bad input gets a clear error and loses nothing.

use crate::harness::Cluster;

#[test]
fn every_wrong_request_says_what_is_wrong() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "ed25519", "messages");
    let refused = |arguments: &[&str], code: i32, says: &str| {
        cluster.quorate(arguments).refused(code, says);
    };

    refused(&["key", "show", "nothing"], 1, "no key");
    refused(&["sign", "message", "nothing", "--text", "x"], 1, "no key");
    refused(
        &["sign", "message", "demo-taproot", "--text", "x"],
        3,
        "purpose",
    );
    let digest = "ab".repeat(32);
    refused(
        &["sign", "digest", "demo-taproot", "--hex", &digest],
        3,
        "purpose",
    );
    refused(&["sign", "digest", "notes", "--hex", &digest], 1, "ed25519");
    refused(&["sign", "digest", "notes", "--hex", "abc"], 2, "hex");
    refused(
        &["key", "create", "notes", "--scheme", "ed25519"],
        3,
        "exists",
    );
    refused(&["key", "create", "k-two", "--scheme", "rsa"], 2, "bip340");
    refused(
        &["key", "create", "Bad_Name", "--scheme", "ed25519"],
        2,
        "name",
    );
    let create = [
        "key",
        "create",
        "other",
        "--scheme",
        "ed25519",
        "--threshold",
    ];
    refused(&[&create[..], &["4"]].concat(), 2, "threshold");
    refused(&[&create[..], &["1"]].concat(), 2, "at least 2");
    refused(&[&create[..], &["3"]].concat(), 2, "fragile");
    refused(
        &[&create[..], &["2", "--nodes", "node-a,node-x"]].concat(),
        1,
        "node-x",
    );

    let shown = cluster.json(&["key", "list"]);
    let count = shown
        .as_array()
        .or_else(|| shown["keys"].as_array())
        .unwrap()
        .len();
    assert_eq!(count, 2, "{shown}");
}

#[test]
fn the_wrong_identity_is_denied() {
    let cluster = Cluster::start(&[]);

    let created = cluster.quorate(&[
        "key",
        "create",
        "other",
        "--scheme",
        "ed25519",
        "--identity",
        "client",
    ]);

    assert_eq!(created.code, 3, "{created:?}");
}

#[test]
fn garbage_and_foreign_transactions_are_refused() {
    let cluster = Cluster::start(&[]);
    let file = cluster.directory().join("garbage.psbt");
    std::fs::write(&file, b"psbt\xffgarbage").unwrap();
    let (file, out) = (file.to_str().unwrap(), cluster.directory().join("out.psbt"));
    let out = out.to_str().unwrap();

    let done = cluster.quorate(&["sign", "psbt", "demo-taproot", "--in", file, "--out", out]);

    assert_ne!(done.code, 0, "{done:?}");
    assert!(done.stderr.to_lowercase().contains("psbt"), "{done:?}");
    assert!(!std::path::Path::new(out).exists(), "an output was written");
}

#[test]
fn with_too_few_nodes_the_quorum_is_unavailable() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "ed25519", "messages");
    let names: Vec<String> = cluster
        .nodes()
        .iter()
        .map(|node| node["name"].as_str().unwrap().to_owned())
        .collect();
    cluster.kill_node(&names[0]);
    cluster.kill_node(&names[1]);

    let done = cluster.quorate(&["sign", "message", "notes", "--text", "x"]);

    assert_eq!(done.code, 5, "{done:?}");
}
