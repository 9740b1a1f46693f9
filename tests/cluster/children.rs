//! Children of a key, signed for by a cluster and judged by libraries that derive them themselves.

use std::str::FromStr as _;

use bitcoin::{
    Network, Psbt, ScriptBuf,
    bip32::{ChildNumber, Fingerprint, Xpub},
    secp256k1::{Secp256k1, XOnlyPublicKey},
};
use ed25519_dalek::VerifyingKey;
use serde_json::Value;

use crate::{
    harness::Cluster,
    psbt::{core_accepts, finished, output, payee, spend},
};

/// The extended key of a key, as the command line shows it.
fn xpub(cluster: &Cluster, key: &str) -> (Xpub, Fingerprint) {
    let shown = cluster.json(&["key", "xpub", key, "--network", "regtest"]);
    let text = |field: &str| shown[field].as_str().unwrap().to_owned();
    (
        text("xpub").parse().unwrap(),
        text("fingerprint").parse().unwrap(),
    )
}

fn child(xpub: &Xpub, steps: &[u32]) -> XOnlyPublicKey {
    let steps: Vec<ChildNumber> = steps.iter().map(|step| (*step).into()).collect();
    let child = xpub.derive_pub(&Secp256k1::new(), &steps).unwrap();
    child.public_key.x_only_public_key().0
}

fn script(xpub: &Xpub, steps: &[u32]) -> ScriptBuf {
    ScriptBuf::new_p2tr(&Secp256k1::new(), child(xpub, steps), None)
}

type Origins = std::collections::BTreeMap<
    XOnlyPublicKey,
    (Vec<bitcoin::TapLeafHash>, bitcoin::bip32::KeySource),
>;

fn origin(xpub: &Xpub, fingerprint: Fingerprint, steps: &[u32]) -> Origins {
    let path = steps.iter().map(|step| ChildNumber::from(*step)).collect();
    [(child(xpub, steps), (vec![], (fingerprint, path)))].into()
}

#[test]
fn bitcoin_core_accepts_a_spend_of_children_that_a_watch_only_wallet_derived() {
    let cluster = Cluster::start(&[]);
    let (xpub, fingerprint) = xpub(&cluster, "demo-taproot");
    for steps in [&[0, 5][..], &[1, 2_147_483_647]] {
        let path = format!("m/{}/{}", steps[0], steps[1]);
        let address = [
            "key",
            "address",
            "demo-taproot",
            "--network",
            "regtest",
            "--path",
            &path,
        ];
        let shown = cluster.json(&address);
        let shown = bitcoin::Address::from_str(shown["address"].as_str().unwrap()).unwrap();
        let shown = shown.require_network(Network::Regtest).unwrap();
        assert_eq!(shown.script_pubkey(), script(&xpub, steps), "{path}");
    }
    let (one, two, change) = ([0, 5], [7, 7], [1, 3]);
    let spent = [
        output(&script(&xpub, &one), 100_000),
        output(&script(&xpub, &two), 250_000),
    ];
    let paid = [
        output(&payee(), 300_000),
        output(&script(&xpub, &change), 48_000),
    ];
    let mut psbt = spend(&spent, &paid);
    psbt.inputs[0].tap_key_origins = origin(&xpub, fingerprint, &one);
    psbt.inputs[1].tap_key_origins = origin(&xpub, fingerprint, &two);
    psbt.outputs[1].tap_key_origins = origin(&xpub, fingerprint, &change);
    let (file, out) = (cluster.file("in.psbt"), cluster.file("out.psbt"));
    let sign = ["sign", "psbt", "demo-taproot", "--in", &file, "--out", &out];
    std::fs::write(&file, psbt.serialize()).unwrap();

    let signed = cluster.json(&sign);

    assert_eq!(signed["signatures"].as_array().unwrap().len(), 2);
    let returned = Psbt::deserialize(&std::fs::read(&out).unwrap()).unwrap();
    let transaction = finished(&returned);
    assert!(core_accepts(&transaction, &spent, 0));
    assert!(core_accepts(&transaction, &spent, 1));

    // Change that claims a path and goes elsewhere is refused.
    psbt.unsigned_tx.output[1].script_pubkey = payee();
    std::fs::write(&file, psbt.serialize()).unwrap();
    cluster
        .quorate(&sign)
        .refused(3, "output 1 claims by its key origin to belong to this key");
}

#[test]
fn a_child_signs_messages_under_its_own_key_in_every_scheme() {
    let cluster = Cluster::start(&[]);
    let message = cluster.file("message");
    std::fs::write(&message, "paid").unwrap();
    for scheme in ["bip340", "frost-secp256k1", "ed25519"] {
        cluster.create_key(scheme, scheme, "messages");
        let sign = [
            "sign", "message", scheme, "--file", &message, "--path", "m/0/5",
        ];

        let signed = cluster.json(&sign);

        let text = |field: &str| signed[field].as_str().unwrap().to_owned();
        let (signature, key) = (text("signature"), text("child_public_key"));
        assert_ne!(key, text("public_key"), "{scheme}");
        let verify = |more: &[&str]| {
            let given = [
                "verify",
                scheme,
                "--file",
                &message,
                "--signature",
                &signature,
            ];
            cluster.quorate(&[&given[..], more].concat())
        };
        assert_eq!(verify(&["--path", "m/0/5"]).code, 0);
        verify(&[]).refused(7, "is not one of key");
        verify(&["--path", "m/0/6"]).refused(7, "m/0/6");
        judge(scheme, &cluster, &signed);
    }
}

/// What libraries say that derive the child, or verify under it, themselves.
fn judge(scheme: &str, cluster: &Cluster, signed: &Value) {
    let bytes = |field: &str| hex::decode(signed[field].as_str().unwrap()).unwrap();
    let (signature, key) = (bytes("signature"), bytes("child_public_key"));
    match scheme {
        "bip340" => {
            let (xpub, _) = xpub(cluster, scheme);
            let expected = child(&xpub, &[0, 5]);
            assert_eq!(key[1..], expected.serialize());
            let expected =
                secp256k1::XOnlyPublicKey::from_byte_array(expected.serialize()).unwrap();
            let signature = signature.as_slice().try_into().unwrap();
            let signature = secp256k1::schnorr::Signature::from_byte_array(signature);
            secp256k1::schnorr::verify(&signature, b"paid", &expected).unwrap();
        }
        "ed25519" => {
            let key = VerifyingKey::from_bytes(key.as_slice().try_into().unwrap()).unwrap();
            let signature = signature.as_slice().try_into().unwrap();
            key.verify_strict(b"paid", &signature).unwrap();
        }
        // No other library verifies it: `quorate verify` has been asked.
        _ => {
            let (xpub, _) = xpub(cluster, scheme);
            assert_eq!(key[1..], child(&xpub, &[0, 5]).serialize());
        }
    }
}

#[test]
fn paths_that_no_shared_key_has_are_refused_with_the_reason() {
    let cluster = Cluster::start(&[]);
    for (path, says) in [
        ("m/44'/0", "hardened"),
        ("m/2147483648", "hardened"),
        ("0/5", "no derivation path"),
        ("m/1/1/1/1/1/1/1/1/1/1/1", "at most 10"),
    ] {
        let done = cluster.quorate(&["key", "address", "demo-taproot", "--path", path]);
        done.refused(2, says);
    }
}
