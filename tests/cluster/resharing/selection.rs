//! Which keys a command about many of them takes.

use serde_json::json;

use super::{create, epochs};
use crate::harness::Cluster;

#[test]
fn a_filter_refreshes_the_keys_that_it_names_and_no_others() {
    let cluster = Cluster::start(&[]);
    for name in ["user-1", "user-2", "treasury"] {
        create(&cluster, name, "bip340", "messages");
    }

    cluster.json(&["key", "refresh", "--filter", "user-*", "--parallel", "2"]);

    let after = epochs(&cluster);
    assert_eq!(
        (after["user-1"], after["user-2"], after["treasury"]),
        (2, 2, 1)
    );
    let none = cluster.quorate(&["key", "refresh", "--filter", "nobody-*"]);
    assert_ne!(none.code, 0, "{none:?}");
    // The same for another threshold; what has it already is left alone.
    let words = ["key", "reshare", "--filter", "user-*", "--threshold", "3"];
    let to_all = ["--nodes", "node-a,node-b,node-c", "--accept-fragile"];
    let words = [&words[..], &to_all].concat();
    cluster.json(&words);
    let shown = |name| cluster.json(&["key", "show", name])["threshold"].clone();
    assert_eq!(
        ["user-1", "user-2", "treasury"].map(shown),
        [json!(3), json!(3), json!(2)]
    );
    let again = cluster.json(&words);
    assert_eq!(again["skipped"].as_array().unwrap().len(), 2);
    let named = ["--key-id", "00"];
    cluster
        .quorate(&[&words[..2], &["user-1", "user-2"], &named, &words[4..]].concat())
        .refused(2, "--key-id");
}

#[test]
fn all_keys_go_to_another_committee_by_one_command() {
    let cluster = Cluster::start(&["--nodes", "4"]);
    create(&cluster, "notes", "bip340", "messages");
    create(&cluster, "account", "ecdsa-secp256k1", "messages");
    let words = ["key", "reshare", "--all", "--threshold", "2", "--nodes"];
    let words = [&words[..], &["node-b,node-c,node-d"]].concat();
    cluster
        .quorate(&[&words[..], &["notes"]].concat())
        .refused(2, "cannot be used with");

    let moved = cluster.json(&words);

    let keys = ["account", "demo-taproot", "notes"];
    assert_eq!(moved["done"].as_array().unwrap().len(), 3, "{moved}");
    for key in keys {
        let shown = cluster.json(&["key", "show", key]);
        assert_eq!(shown["nodes"], json!(["node-b", "node-c", "node-d"]));
        assert_eq!(
            (&shown["threshold"], &shown["epoch"]),
            (&json!(2), &json!(2))
        );
        assert_eq!(cluster.vault_files("node-a", key), [""; 0]);
    }
    for words in [["message", "notes"], ["evm-message", "account"]] {
        let signed = cluster.json(&[&["sign"][..], &words, &["--text", "pay"]].concat());
        assert_eq!(signed["epoch"], 2);
    }
    // What is there already is left alone.
    let again = cluster.json(&words);
    assert_eq!(again["skipped"].as_array().unwrap().len(), 3, "{again}");
    assert!(epochs(&cluster).values().all(|epoch| *epoch == 2));
}
