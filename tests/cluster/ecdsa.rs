//! Threshold ECDSA: creation with pairings, every subset, children, and what is lost and damaged.

use std::{fs, path::PathBuf};

use bitcoin::bip32::{ChildNumber, Xpub};
use secp256k1::{
    Message, PublicKey,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use serde_json::{Value, json};

use crate::harness::{Cluster, wait_for};

pub(crate) const DIGEST: [u8; 32] = [0xab; 32];

fn create(cluster: &Cluster) -> Value {
    cluster.create_key("hot", "ecdsa-secp256k1", "digests")
}

fn sign(cluster: &Cluster) -> Value {
    cluster.json(&["sign", "digest", "hot", "--hex", &hex::encode(DIGEST)])
}

/// The key that a signature over the digest is of, as libsecp256k1 recovers it.
pub(crate) fn recovered(signed: &Value) -> String {
    let bytes = hex::decode(signed["signature"].as_str().unwrap()).unwrap();
    let (compact, id) = bytes.split_at(64);
    let id = RecoveryId::try_from(i32::from(id[0])).unwrap();
    let signature = RecoverableSignature::from_compact(compact, id).unwrap();
    // A high s would be changed by this.
    let mut normalized = signature.to_standard();
    normalized.normalize_s();
    assert_eq!(normalized, signature.to_standard());
    let key: PublicKey = signature
        .recover_ecdsa(Message::from_digest(DIGEST))
        .unwrap();
    hex::encode(key.serialize())
}

#[test]
fn every_subset_signs_and_the_key_is_recovered_from_each_signature() {
    let cluster = Cluster::start(&[]);
    let created = create(&cluster);
    assert_eq!(created["state"], "ACTIVE");
    assert_eq!(created["scheme"], "ecdsa-secp256k1");

    let mut started = Vec::new();
    for (victim, others) in [
        ("node-a", ["node-b", "node-c"]),
        ("node-b", ["node-a", "node-c"]),
        ("node-c", ["node-a", "node-b"]),
    ] {
        cluster.kill_node(victim);
        let signed = sign(&cluster);
        assert_eq!(signed["signers"], json!(others));
        assert_eq!(recovered(&signed), created["public_key"].as_str().unwrap());
        started.push(cluster.start_node(victim));
        cluster.wait_for_connected(3);
    }
    let life = &cluster.json(&["key", "show", "hot"])["life"];
    let used = life["last_used_ms"].as_u64().unwrap();
    assert!(used >= life["activated_ms"].as_u64().unwrap(), "{life}");
    // Those that came back have the pairings from before.
    cluster.kill_node("node-a");
    let signed = sign(&cluster);
    assert_eq!(signed["signers"], json!(["node-b", "node-c"]));
    assert_eq!(recovered(&signed), created["public_key"].as_str().unwrap());
}

#[test]
fn any_three_of_five_sign_for_children_that_the_xpub_alone_derives() {
    let cluster = Cluster::start(&["--nodes", "5", "--threshold", "3"]);
    create(&cluster);
    let shown = cluster.json(&["key", "xpub", "hot"]);
    let xpub: Xpub = shown["xpub"].as_str().unwrap().parse().unwrap();

    let curve = bitcoin::secp256k1::Secp256k1::verification_only();
    for index in [0, 7, 2_147_483_647] {
        let path = format!("m/1/{index}");
        let hex = hex::encode(DIGEST);
        let signed = cluster.json(&["sign", "digest", "hot", "--hex", &hex, "--path", &path]);

        let steps = [1, index].map(|step| ChildNumber::from_normal_idx(step).unwrap());
        let child = xpub.derive_pub(&curve, &steps).unwrap();
        assert_eq!(recovered(&signed), child.public_key.to_string());
        assert_eq!(signed["signers"].as_array().unwrap().len(), 3);
    }
    cluster.kill_node("node-b");
    cluster.kill_node("node-d");
    assert_eq!(
        sign(&cluster)["signers"],
        json!(["node-a", "node-c", "node-e"])
    );
    cluster.kill_node("node-e");
    cluster.wait_for_connected(2);
    let hex = hex::encode(DIGEST);
    let alone = cluster.quorate(&["sign", "digest", "hot", "--hex", &hex]);
    assert_eq!(alone.code, 5, "{alone:?}");
}

#[test]
fn pairings_that_are_lost_or_damaged_are_set_up_afresh_and_the_key_signs_on() {
    let cluster = Cluster::start(&[]);
    let created = create(&cluster);
    let (_, directory) = cluster.stop();
    let pairings = |node: &str| -> PathBuf {
        let vault = directory.path().join("nodes").join(node).join("vault");
        let fans = fs::read_dir(vault).unwrap();
        let mut files = fans.flat_map(|fan| fs::read_dir(fan.unwrap().path()).unwrap());
        files
            .find_map(|file| {
                let path = file.unwrap().path();
                path.extension()
                    .is_some_and(|end| end == "pairings")
                    .then_some(path)
            })
            .unwrap()
    };
    fs::remove_file(pairings("node-a")).unwrap();
    let damaged = pairings("node-b");
    let mut bytes = fs::read(&damaged).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let cluster = Cluster::start_in(directory, &[]);
    // However long pairings take on a machine that has other work.
    let _coordinator = cluster.restart_coordinator_with("[limits]\nquorum_wait_ms = 60000");
    cluster.kill_node("node-c");
    cluster.wait_for_connected(2);

    let signed = sign(&cluster);

    assert_eq!(signed["signers"], json!(["node-a", "node-b"]));
    assert_eq!(recovered(&signed), created["public_key"].as_str().unwrap());
    let _back = cluster.start_node("node-c");
    cluster.wait_for_connected(3);
    cluster.kill_node("node-a");
    let signed = sign(&cluster);
    assert_eq!(signed["signers"], json!(["node-b", "node-c"]));
}

#[test]
fn one_command_id_has_one_ecdsa_signature_over_the_death_of_the_coordinator() {
    let cluster = Cluster::start(&[]);
    create(&cluster);
    let hex = hex::encode(DIGEST);
    let id = "0b1f7f4e-93a5-4f0e-8a43-1d7c6f2f9a11";
    let command = ["sign", "digest", "hot", "--hex", &hex, "--command-id", id];
    let before = cluster.json(&command);

    cluster.kill_coordinator();
    let (_, directory) = cluster.stop();
    let cluster = Cluster::start_in(directory, &[]);

    assert_eq!(cluster.json(&command)["signature"], before["signature"]);
}

#[test]
fn a_node_that_dies_while_pairings_are_set_up_leaves_a_name_that_comes_to_one_usable_key() {
    let cluster = Cluster::start(&[]);
    cluster.kill_node("node-c");
    let mut victim = cluster.start_node("node-c");
    cluster.wait_for_connected(3);
    let create = [
        "key",
        "create",
        "hot",
        "--scheme",
        "ecdsa-secp256k1",
        "--purpose",
        "digests",
    ];

    let mut creating = cluster.begin(&create);
    creating.stderr.wait_for("pair");
    victim.kill();
    let _back = cluster.start_node("node-c");
    cluster.wait_for_connected(3);
    creating.end();

    let again = cluster.quorate(&create);
    if again.code != 0 {
        again.refused(3, "KEY_EXISTS");
    }
    wait_for("an active key", || {
        let shown = cluster.quorate(&["key", "show", "hot", "-o", "json"]);
        (shown.code == 0 && shown.json()["state"] == "ACTIVE").then_some(())
    });
    cluster.kill_node("node-a");
    assert_eq!(sign(&cluster)["signers"], json!(["node-b", "node-c"]));
}

#[test]
fn the_audit_logs_of_ecdsa_signers_verify_together() {
    let cluster = Cluster::start(&[]);
    create(&cluster);
    let receipts = cluster.file("receipts");
    let hex = hex::encode(DIGEST);
    cluster.json(&[
        "sign",
        "digest",
        "hot",
        "--hex",
        &hex,
        "--receipts",
        &receipts,
    ]);

    let mut verify = vec!["audit".to_owned(), "verify".to_owned(), receipts];
    for node in ["node-a", "node-b", "node-c"] {
        let log = cluster.file(node);
        let exported = cluster.quorate(&["audit", "export", "--node", node, "--out", &log]);
        assert_eq!(exported.code, 0, "{exported:?}");
        verify.push(log);
    }
    let verify: Vec<&str> = verify.iter().map(String::as_str).collect();
    let verified = cluster.quorate(&verify);
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[test]
fn an_ecdsa_key_signs_no_raw_message_and_says_what_to_do() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("hot", "ecdsa-secp256k1", "messages");

    let refused = cluster.quorate(&["sign", "message", "hot", "--text", "hello"]);

    refused.refused(1, "SCHEME_MISMATCH");
}
