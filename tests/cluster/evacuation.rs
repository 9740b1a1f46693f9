//! Keys whose time is over, moved to where their creation says, by two admins at two keyboards.

use serde_json::{Value, json};

use crate::harness::{Cluster, Done};

const SAFE: &str = "0x3535353535353535353535353535353535353535";
const THIEF: &str = "0x3636363636363636363636363636363636363636";

/// A file with a transfer of everything but the fee.
fn transfer(cluster: &Cluster, name: &str, to: &str) -> String {
    let file = cluster.file(name);
    let transaction = json!({
        "to": to,
        "gas": "0x5208",
        "nonce": "0x0",
        "value": "0xde0b6b3a7640000",
        "chainId": "0x7a69",
        "maxFeePerGas": "0x4a817c800",
        "maxPriorityFeePerGas": "0x1",
    });
    std::fs::write(&file, transaction.to_string()).unwrap();
    file
}

fn evacuate(cluster: &Cluster, file: &str, more: &[&str]) -> Done {
    let words = ["sign", "evm-tx", "payout", "--in", file];
    let why = ["--evacuate", "--reason", "a theft is suspected"];
    cluster.quorate(&[&words[..], &why, more, &["-o", "json"]].concat())
}

/// The second admin approves what waits under an id.
fn approve(cluster: &Cluster, id: &str) -> Done {
    let waiting = cluster.json(&["command", "show", id]);
    let digest = waiting["digest"].as_str().unwrap();
    let words = ["command", "approve", id, "--identity", "admin-2", "--yes"];
    cluster.quorate(&[&words[..], &["--digest", digest]].concat())
}

#[test]
fn a_compromised_key_moves_what_it_holds_to_the_pinned_account_and_nowhere_else() {
    let cluster = Cluster::start(&["--second-admin"]);
    let pinned = format!("eip155:31337:{SAFE}");
    let create = ["key", "create", "payout", "--scheme", "ecdsa-secp256k1"];
    // Who pins a destination has a way to what the key will hold: no admin does it alone.
    let id = "7d0f5f4c-55c7-4a39-8d5e-2f6f2b0c9a51";
    let pinning = ["--evacuate-to", &pinned, "--command-id", id];
    cluster
        .quorate(&[&create[..], &pinning].concat())
        .refused(4, "quorate command approve");
    // A repeat by another admin approves nothing, because it shows nothing.
    let repeat = [&create[..], &pinning, &["--identity", "admin-2"]].concat();
    cluster
        .quorate(&repeat)
        .refused(2, "was proposed by another admin");
    let waiting = cluster.json(&["command", "show", id]);
    assert_eq!(waiting["state"], "AWAITING_ENDORSEMENT");
    let created = approve(&cluster, id);
    assert_eq!(created.code, 0, "{}", created.stderr);
    for shown in ["create key payout", &pinned, "nobody changes them later"] {
        assert!(created.stderr.contains(shown), "{}", created.stderr);
    }
    let made = cluster.json(&[&create[..], &pinning].concat());
    assert_eq!(made["life"]["evacuation_destinations"], json!([pinned]));
    // Whoever has the certificate sees them, without the cluster.
    let directory = cluster.file("certificates");
    cluster.json(&["key", "certificates", "payout", "--out", &directory]);
    let certificate = format!("{directory}/payout-creation.cert");
    let verified = cluster.json(&["verify", "certificate", &certificate]);
    assert_eq!(verified["life"]["evacuation_destinations"], json!([pinned]));
    let verified = cluster.quorate(&["verify", "certificate", &certificate]);
    assert!(verified.stdout.contains(&pinned), "{verified:?}");
    let [safe, thief] =
        [("safe", SAFE), ("thief", THIEF)].map(|(name, to)| transfer(&cluster, name, to));
    evacuate(&cluster, &safe, &[]).refused(3, "KEY_NOT_RETIRED");
    let id = "6f1f4f0e-3c1e-4a57-9a53-0d4c5f1f2a11";
    let compromise = [
        "key",
        "compromise",
        "payout",
        "--reason",
        "found",
        "--command-id",
        id,
    ];
    let proposed = cluster.quorate(&compromise);
    proposed.refused(4, "quorate command approve");
    let approved = approve(&cluster, id);
    assert_eq!(approved.code, 0, "{}", approved.stderr);
    // Both are told what becomes of what the key holds.
    for told in [&proposed.stderr, &approved.stderr] {
        assert!(told.contains("pinned destinations alone"), "{told}");
        assert!(told.contains(&pinned), "{told}");
    }
    let address = ["key", "address", "payout", "--chain", "ethereum"];
    let refused = cluster.quorate(&address);
    refused.refused(3, "KEY_COMPROMISED");
    assert!(refused.stderr.contains("add --retired"), "{refused:?}");
    let retired = cluster.quorate(&[&address[..], &["--retired"]].concat());
    assert!(retired.stdout.starts_with("0x"), "{retired:?}");
    assert!(retired.stderr.contains("pay nothing to it"), "{retired:?}");

    let as_before = cluster.quorate(&["sign", "evm-tx", "payout", "--in", &safe]);
    as_before.refused(3, "KEY_COMPROMISED");
    assert!(as_before.stderr.contains("--evacuate"), "{as_before:?}");
    evacuate(&cluster, &thief, &[]).refused(3, "DESTINATION_NOT_PINNED");
    evacuate(&cluster, &safe, &["--identity", "client"]).refused(3, "ROLE_MISSING");
    let proposed = evacuate(&cluster, &safe, &[]);
    assert_eq!(proposed.code, 4, "{}", proposed.stderr);
    let waiting: Value = serde_json::from_str(&proposed.stdout).unwrap();
    assert_eq!(waiting["kind"], "evacuate");
    let id = waiting["command_id"].as_str().unwrap();
    assert!(proposed.stderr.contains(id), "{}", proposed.stderr);

    // Whoever approves sees what nodes see, and where it may go.
    let approved = approve(&cluster, id);
    assert_eq!(approved.code, 0, "{}", approved.stderr);
    for shown in ["evacuate key payout", "a theft is suspected", SAFE, &pinned] {
        assert!(approved.stderr.contains(shown), "{}", approved.stderr);
    }
    let receipts = cluster.file("receipts");
    let signed = evacuate(
        &cluster,
        &safe,
        &["--command-id", id, "--receipts", &receipts],
    )
    .json();
    assert!(signed["raw"].as_str().unwrap().starts_with("0x02"));
    assert_eq!(signed["command_id"], id);
    assert!(std::fs::metadata(&receipts).unwrap().len() > 0);
}

#[test]
fn destinations_are_checked_at_creation_and_kept_by_the_successor() {
    let cluster = Cluster::start(&[]);
    let create = |name: &str, scheme: &str, to: &str| {
        let words = ["key", "create", name, "--scheme", scheme];
        cluster.quorate(&[&words[..], &["--evacuate-to", to, "-o", "json"]].concat())
    };
    create("cold", "bip340", "ethereum:0x35").refused(2, "expected an address");
    create("cold", "bip340", &format!("ethereum:{SAFE}")).refused(1, "do not sign for");
    create(
        "cold",
        "bip340",
        "bitcoin:tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",
    )
    .refused(1, "none of the network bitcoin");
    let to = format!(
        "regtest:{},ethereum:{SAFE}",
        "bcrt1qar0srrr7xfkvy5l643lydnw9re59gtzzzrgy0w"
    );
    create("hot", "ecdsa-secp256k1", &to).refused(1, "names no address");

    let words = [
        "sign",
        "psbt",
        "hot",
        "--in",
        "x",
        "--out",
        "y",
        "--evacuate",
    ];
    cluster
        .quorate(&[&words[..], &["--reason", "r", "--allow-high-fee"]].concat())
        .refused(2, "cannot be used with");
    let made = create("payout", "ecdsa-secp256k1", &format!("ethereum:{SAFE}")).json();
    cluster.json(&["key", "rotate", "payout"]);

    let pinned = json!([format!("eip155:1:{SAFE}")]);
    assert_eq!(made["life"]["evacuation_destinations"], pinned);
    let next = cluster.json(&["key", "show", "payout-2"]);
    assert_eq!(next["life"]["evacuation_destinations"], pinned);
}
