//! Keys of every scheme, every payload, and verification.

use serde_json::Value;

use crate::harness::Cluster;

fn signers(answer: &Value) -> usize {
    answer["signers"].as_array().unwrap().len()
}

#[test]
fn every_scheme_makes_keys_whose_signatures_verify() {
    let cluster = Cluster::start(&[]);

    for scheme in ["bip340", "frost-secp256k1", "ed25519"] {
        let name = format!("key-{scheme}");
        cluster.create_key(&name, scheme, "messages");
        let shown = cluster.json(&["key", "show", &name]);
        assert_eq!(shown["state"], "ACTIVE");
        assert_eq!(shown["threshold"], 2);
        let length = if scheme == "ed25519" { 64 } else { 66 };
        assert_eq!(shown["public_key"].as_str().unwrap().len(), length);

        let file = cluster.directory().join("message");
        std::fs::write(&file, b"pay nobody").unwrap();
        let file = file.to_str().unwrap();
        let signed = cluster.json(&["sign", "message", &name, "--file", file]);
        assert_eq!(signers(&signed), 2);
        assert_eq!(signed["scheme"], scheme);
        let signature = signed["signature"].as_str().unwrap();
        let good = cluster.quorate(&["verify", &name, "--file", file, "--signature", signature]);
        assert_eq!(good.code, 0, "{good:?}");

        std::fs::write(file, b"pay somebody").unwrap();
        let bad = cluster.quorate(&["verify", &name, "--file", file, "--signature", signature]);
        assert_eq!(bad.code, 7, "{bad:?}");
    }
}

#[test]
fn who_knows_the_id_of_a_key_gets_that_key_or_nothing() {
    let cluster = Cluster::start(&[]);
    let created = cluster.create_key("notes", "bip340", "transactions,messages");
    let id = created["id"].as_str().unwrap();
    assert_eq!(id.len(), 64);
    assert_eq!(id, id.to_lowercase());
    assert_eq!(cluster.json(&["key", "show", "notes"])["id"], id);
    let listed = cluster.json(&["key", "list"]);
    let of_name = |key: &&Value| key["name"] == "notes";
    let listed = listed.as_array().unwrap().iter().find(of_name);
    assert_eq!(listed.unwrap()["id"], id);
    let shown = cluster.quorate(&["key", "show", "notes"]);
    assert!(shown.stdout.contains(id), "{shown:?}");

    let sign = ["sign", "message", "notes", "--text", "hello", "--key-id"];
    let signed = cluster.json(&[&sign[..], &[id]].concat());
    assert_eq!(signed["key_id"], id);
    let file = cluster.file("message");
    std::fs::write(&file, "hello").unwrap();
    let signature = signed["signature"].as_str().unwrap();
    let verify = ["verify", "notes", "--file", &file, "--signature", signature];
    let reading = [
        &verify[..],
        &["key", "address", "notes"],
        &["key", "xpub", "notes"],
    ];
    for arguments in reading {
        let done = cluster.quorate(&[arguments, &["--key-id", id]].concat());
        assert_eq!(done.code, 0, "{done:?}");
    }

    let other = "ab".repeat(32);
    for arguments in [&[&sign[..5]], &reading[..]].concat() {
        let done = cluster.quorate(&[arguments, &["--key-id", &other]].concat());
        done.refused(7, id);
        done.refused(7, &other);
        assert_eq!(done.stdout, "", "{done:?}");
    }
}

#[test]
fn an_empty_message_is_a_message() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "ed25519", "messages");

    let signed = cluster.json(&["sign", "message", "notes", "--text", ""]);

    assert_eq!(signed["signature"].as_str().unwrap().len(), 128);
}

#[test]
fn a_digest_is_signed_by_a_key_for_digests() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("digests", "bip340", "digests");

    let signed = cluster.json(&["sign", "digest", "digests", "--hex", &"ab".repeat(32)]);

    assert_eq!(signed["signature"].as_str().unwrap().len(), 128);
    assert_eq!(signers(&signed), 2);
}

/// A transfer of lamports from the signer, in the form of a legacy Solana message.
fn solana_transfer(signer: &[u8]) -> Vec<u8> {
    let mut message = vec![1, 0, 1, 3];
    message.extend(signer);
    message.extend([9; 32]);
    message.extend([0; 32]);
    message.extend([3; 32]);
    message.extend([1, 2, 2, 0, 1, 12, 2, 0, 0, 0]);
    message.extend(1_000_000_u64.to_le_bytes());
    message
}

#[test]
fn a_solana_transaction_is_signed_by_its_signer_and_by_nobody_else() {
    let cluster = Cluster::start(&[]);
    cluster.json(&["key", "create", "sol", "--scheme", "ed25519"]);
    let shown = cluster.json(&["key", "show", "sol"]);
    let key: [u8; 32] = hex::decode(shown["public_key"].as_str().unwrap())
        .unwrap()
        .try_into()
        .unwrap();
    let message = solana_transfer(&key);
    let file = cluster.directory().join("message");
    let out = cluster.directory().join("transaction");
    let (file, out) = (file.to_str().unwrap(), out.to_str().unwrap());
    std::fs::write(file, &message).unwrap();

    let signed = cluster.json(&["sign", "solana", "sol", "--in", file, "--out", out]);

    assert_eq!(signers(&signed), 2);
    assert_eq!(signed["complete"], true);
    let transaction = std::fs::read(out).unwrap();
    assert_eq!(transaction[0], 1);
    assert_eq!(transaction[65..], message);
    let signature = ed25519_dalek::Signature::from_slice(&transaction[1..65]).unwrap();
    let verifier = ed25519_dalek::VerifyingKey::from_bytes(&key).unwrap();
    verifier.verify_strict(&message, &signature).unwrap();

    std::fs::write(file, solana_transfer(&[7; 32])).unwrap();
    let refused = cluster.quorate(&["sign", "solana", "sol", "--in", file]);
    refused.refused(3, "required signers");
}

#[test]
fn larger_committees_work() {
    let cluster = Cluster::start(&["--nodes", "5", "--threshold", "3"]);
    cluster.create_key("wide", "ed25519", "messages");

    let signed = cluster.json(&["sign", "message", "wide", "--text", "hello"]);

    assert_eq!(signers(&signed), 3);
}

#[test]
fn the_same_command_id_gives_the_same_bytes() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("notes", "bip340", "messages");
    let id = "0190a5c2-7d4e-4c6a-8f2b-1f2e3d4c5b6a";
    let sign = [
        "sign",
        "message",
        "notes",
        "--text",
        "once",
        "--command-id",
        id,
    ];

    let first = cluster.json(&sign);
    let second = cluster.json(&sign);

    assert_eq!(first["command_id"], id);
    assert_eq!(first["signature"], second["signature"]);
    let other = [
        "sign",
        "message",
        "notes",
        "--text",
        "twice",
        "--command-id",
        id,
    ];
    let reused = cluster.quorate(&other);
    assert_ne!(reused.code, 0, "{reused:?}");
    assert!(reused.stderr.contains("id"), "{reused:?}");
}

#[test]
fn the_audit_log_of_every_node_verifies_and_a_changed_byte_does_not() {
    let cluster = Cluster::start(&[]);
    let mut files = Vec::new();
    for node in cluster.nodes() {
        let name = node["name"].as_str().unwrap().to_owned();
        let file = cluster.directory().join(format!("{name}.audit"));
        let file = file.to_str().unwrap().to_owned();
        let done = cluster.quorate(&["audit", "export", "--node", &name, "--out", &file]);
        assert_eq!(done.code, 0, "{done:?}");
        files.push(file);
    }
    let mut verify = vec!["audit", "verify"];
    verify.extend(files.iter().map(String::as_str));
    let done = cluster.quorate(&verify);
    assert_eq!(done.code, 0, "{done:?}");

    let mut bytes = std::fs::read(&files[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&files[0], bytes).unwrap();

    let tampered = cluster.quorate(&["audit", "verify", &files[0]]);
    assert_eq!(tampered.code, 7, "{tampered:?}");
}
