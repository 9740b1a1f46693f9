//! Spends of before taproot, made by a cluster and judged by Bitcoin Core's script verification.

use std::str::FromStr as _;

use bitcoin::{
    Address, CompressedPublicKey, Network, OutPoint, Psbt, ScriptBuf, Transaction, TxOut, Witness,
    bip32::{ChildNumber, Fingerprint, KeySource, Xpub},
    key::Secp256k1,
    script::{Builder, PushBytesBuf},
};

use crate::{
    harness::Cluster,
    psbt::{core_accepts, output, payee, spend},
};

/// A key as a watch-only wallet knows it.
struct Watched<'a> {
    cluster: &'a Cluster,
    xpub: Xpub,
    fingerprint: Fingerprint,
}

impl<'a> Watched<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let shown = cluster.json(&["key", "xpub", "hot", "--network", "regtest"]);
        let text = |field: &str| shown[field].as_str().unwrap().to_owned();
        Self {
            cluster,
            xpub: text("xpub").parse().unwrap(),
            fingerprint: text("fingerprint").parse().unwrap(),
        }
    }

    fn child(&self, steps: [u32; 2]) -> CompressedPublicKey {
        let steps = steps.map(ChildNumber::from);
        let child = self.xpub.derive_pub(&Secp256k1::new(), &steps).unwrap();
        CompressedPublicKey(child.public_key)
    }

    fn origin(&self, steps: [u32; 2]) -> (bitcoin::secp256k1::PublicKey, KeySource) {
        let path = steps.into_iter().map(ChildNumber::from).collect();
        (self.child(steps).0, (self.fingerprint, path))
    }

    /// The script of the address that the command line shows, which must be that of the child.
    fn script(&self, form: &str, steps: [u32; 2]) -> ScriptBuf {
        let path = format!("m/{}/{}", steps[0], steps[1]);
        let asked = [
            "key",
            "address",
            "hot",
            "--network",
            "regtest",
            "--type",
            form,
            "--path",
            &path,
        ];
        let shown = self.cluster.json(&asked);
        let address = Address::from_str(shown["address"].as_str().unwrap()).unwrap();
        let script = address
            .require_network(Network::Regtest)
            .unwrap()
            .script_pubkey();
        let (child, network) = (self.child(steps), Network::Regtest);
        let derived = match form {
            "p2wpkh" => Address::p2wpkh(&child, network),
            "p2sh-p2wpkh" => Address::p2shwpkh(&child, network),
            _ => Address::p2pkh(child, network),
        };
        assert_eq!(script, derived.script_pubkey(), "{form} {path}");
        script
    }
}

#[test]
fn bitcoin_core_accepts_what_a_cluster_signs_with_an_ecdsa_key() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("hot", "ecdsa-secp256k1", "transactions");
    let key = Watched::of(&cluster);
    let at = [[0, 5], [0, 6], [0, 2_147_483_647]];
    let forms = ["p2wpkh", "p2pkh", "p2sh-p2wpkh"];
    let spent: Vec<_> = forms
        .iter()
        .zip(at)
        .map(|(form, steps)| output(&key.script(form, steps), 100_000))
        .collect();
    let change = key.script("p2wpkh", [1, 0]);
    let paid = [output(&payee(), 200_000), output(&change, 98_000)];
    let mut psbt = spend(&spent, &paid);
    for (index, steps) in at.into_iter().enumerate() {
        psbt.inputs[index].bip32_derivation = [key.origin(steps)].into();
    }
    psbt.outputs[1].bip32_derivation = [key.origin([1, 0])].into();
    let (file, out) = (cluster.file("in.psbt"), cluster.file("out.psbt"));
    let sign = ["sign", "psbt", "hot", "--in", &file, "--out", &out];

    // The signature of P2PKH commits to no amount.
    std::fs::write(&file, psbt.serialize()).unwrap();
    let refused = cluster.quorate(&sign);
    refused.refused(3, "input 1 is P2PKH and has no non_witness_utxo");
    prove(&mut psbt, 1, &spent[1]);
    std::fs::write(&file, psbt.serialize()).unwrap();

    let signed = cluster.json(&sign);

    assert_eq!(signed["signatures"].as_array().unwrap().len(), 3);
    let returned = Psbt::deserialize(&std::fs::read(&out).unwrap()).unwrap();
    let transaction = finished(&returned, &forms);
    for (input, form) in forms.iter().enumerate() {
        assert!(core_accepts(&transaction, &spent, input), "{form}");
    }
    let mut robbed = transaction;
    robbed.output[0].script_pubkey = change;
    for (input, form) in forms.iter().enumerate() {
        assert!(!core_accepts(&robbed, &spent, input), "{form}");
    }
}

#[test]
fn an_ecdsa_key_shows_addresses_and_descriptors_of_what_it_can_spend() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("hot", "ecdsa-secp256k1", "transactions");

    let usual = cluster.json(&["key", "address", "hot", "--path", "m/0/5"]);
    let segwit = [
        "key", "address", "hot", "--path", "m/0/5", "--type", "p2wpkh",
    ];
    assert_eq!(usual["address"], cluster.json(&segwit)["address"]);
    assert_eq!(usual["type"], "p2wpkh");
    let account = cluster.json(&["key", "address", "hot", "--chain", "ethereum"]);
    let account = account["address"].as_str().unwrap().to_owned();
    assert!(
        account.starts_with("0x") && account.len() == 42,
        "{account}"
    );
    let taproot = cluster.quorate(&["key", "address", "hot", "--type", "p2tr"]);
    taproot.refused(1, "cannot spend p2tr addresses: use p2wpkh");
    let solana = cluster.quorate(&["key", "address", "hot", "--chain", "solana"]);
    solana.refused(1, "use a key of scheme ed25519");

    let shown = cluster.json(&["key", "xpub", "hot"]);
    let descriptors = shown["descriptors"].as_array().unwrap();
    let xpub = shown["xpub"].as_str().unwrap();
    let bodies = [
        format!("wpkh({xpub}/<0;1>/*)"),
        format!("sh(wpkh({xpub}/<0;1>/*))"),
        format!("pkh({xpub}/<0;1>/*)"),
    ];
    for (descriptor, body) in descriptors.iter().zip(bodies) {
        let (found, checksum) = descriptor.as_str().unwrap().split_once('#').unwrap();
        assert_eq!((found, checksum.len()), (&body[..], 8));
    }
    assert_eq!(descriptors.len(), 3);
    let legacy = cluster.json(&["key", "descriptor", "hot", "--type", "p2pkh"]);
    assert_eq!(legacy["descriptor"], descriptors[2]);
}

#[test]
fn an_address_is_attested_by_as_many_holders_as_sign_and_not_by_fewer() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("hot", "ecdsa-secp256k1", "transactions");
    let nodes: Vec<_> = cluster
        .nodes()
        .iter()
        .map(|node| node["name"].as_str().unwrap().to_owned())
        .collect();
    for chain in ["bitcoin", "ethereum"] {
        let ask = ["key", "address", "hot", "--chain", chain, "--path", "m/0/5"];
        let plain = cluster.json(&ask);

        let attested = cluster.json(&[&ask[..], &["--attested"]].concat());

        assert_eq!(attested["address"], plain["address"]);
        let by = attested["attested_by"].as_array().unwrap();
        assert!(by.len() >= 2 && by[0] != by[1], "{by:?}");
        assert!(
            by.iter()
                .all(|node| nodes.iter().any(|known| node == known))
        );
    }

    cluster.kill_node(&nodes[0]);
    cluster.kill_node(&nodes[1]);
    cluster.wait_for_connected(1);

    let refused = cluster.quorate(&["key", "address", "hot", "--attested"]);
    refused.refused(5, "of 3 holders of key \"hot\" state the address");
    cluster.json(&["key", "address", "hot"]);
}

/// Gives an input a previous transaction that pays what it spends.
fn prove(psbt: &mut Psbt, input: usize, spent: &TxOut) {
    let mut previous = spend(&[output(&payee(), 1)], std::slice::from_ref(spent)).unsigned_tx;
    previous.input[0].previous_output.vout = 7;
    psbt.unsigned_tx.input[input].previous_output = OutPoint::new(previous.compute_txid(), 0);
    psbt.inputs[input].non_witness_utxo = Some(previous);
}

/// The transaction with the signatures that the PSBT holds, put in by hand.
fn finished(psbt: &Psbt, forms: &[&str]) -> Transaction {
    let mut transaction = psbt.unsigned_tx.clone();
    let inputs = transaction.input.iter_mut().zip(&psbt.inputs).zip(forms);
    for ((input, signed), form) in inputs {
        let (key, signature) = signed.partial_sigs.iter().next().unwrap();
        match *form {
            "p2pkh" => {
                let signature = PushBytesBuf::try_from(signature.to_vec()).unwrap();
                let script = Builder::new().push_slice(signature).push_key(key);
                input.script_sig = script.into_script();
            }
            form => {
                input.witness = Witness::p2wpkh(signature, &key.inner);
                if form == "p2sh-p2wpkh" {
                    let redeem = signed.redeem_script.as_ref().unwrap().to_bytes();
                    let redeem = PushBytesBuf::try_from(redeem).unwrap();
                    input.script_sig = Builder::new().push_slice(redeem).into_script();
                }
            }
        }
    }
    transaction
}
