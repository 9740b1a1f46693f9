//! Keys that go to committees without any of their holders.

use serde_json::{Value, json};

use super::{audited, xpub};
use crate::{
    ecdsa::{DIGEST, recovered},
    harness::{Cluster, Process},
};

/// Both nodes of a committee are needed for a signature, with pairings of their own. Those that get the
/// key back have not heard of the epoch that it comes from.
#[test]
fn an_ecdsa_key_goes_to_committees_without_any_of_its_holders_and_back() {
    let cluster = Cluster::start(&["--nodes", "6"]);
    let committees = [
        ["node-a", "node-b"],
        ["node-c", "node-d"],
        ["node-e", "node-f"],
    ];
    let names = committees.map(|nodes| nodes.join(","));
    let committee = |at: usize| {
        [
            "--threshold",
            "2",
            "--accept-fragile",
            "--nodes",
            &names[at],
        ]
    };
    let words = ["key", "create", "hot", "--scheme", "ecdsa-secp256k1"];
    let born = cluster.json(&[&words[..], &["--purpose", "digests"], &committee(0)].concat());
    let watched = xpub(&cluster, "hot");
    let mut back: Vec<Process> = Vec::new();

    for (epoch, [before, after]) in [(2, [0, 1]), (3, [1, 2]), (4, [2, 0])] {
        let moved = cluster.json(&[&["key", "reshare", "hot"][..], &committee(after)].concat());

        assert_eq!(moved["epoch"], epoch, "{moved}");
        assert_eq!(moved["public_key"], born["public_key"]);
        assert_eq!(moved["missing"], json!([]), "{moved}");
        for node in committees[before] {
            assert_eq!(cluster.vault_files(node, "hot"), [""; 0], "{node}");
        }
        let share = format!("hot.{epoch}");
        let files = [share.clone(), format!("{share}.pairings")];
        for node in committees[after] {
            assert_eq!(cluster.vault_files(node, "hot"), files, "{node}");
        }
        // Those that gave it up are not needed for it.
        for node in committees[before] {
            cluster.kill_node(node);
        }
        let signed = signed(&cluster);
        assert_eq!(signed["signers"], json!(committees[after]));
        assert_eq!(signed["epoch"], epoch);
        assert_eq!(recovered(&signed), born["public_key"].as_str().unwrap());
        assert_eq!(xpub(&cluster, "hot"), watched);
        back.extend(committees[before].map(|node| cluster.start_node(node)));
        cluster.wait_for_connected(6);
    }
    audited(&cluster);
}

fn signed(cluster: &Cluster) -> Value {
    cluster.json(&["sign", "digest", "hot", "--hex", &hex::encode(DIGEST)])
}
