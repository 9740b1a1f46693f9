//! Taproot spends made by a cluster, judged by Bitcoin Core's script verification.

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bitcoin::{
    Address, Amount, Network, OutPoint, Psbt, ScriptBuf, Sequence, TapSighashType, Transaction,
    TxIn, TxOut, Txid, WPubkeyHash, Witness, absolute, consensus,
    hashes::Hash as _,
    key::{Keypair, TapTweak as _},
    secp256k1::{Message, Secp256k1, SecretKey},
    sighash::{Prevouts, SighashCache},
    taproot, transaction,
};

use crate::harness::Cluster;

#[test]
fn bitcoin_core_accepts_what_a_cluster_signs_in_either_form_of_psbt() {
    let cluster = Cluster::start(&[]);
    cluster.create_key("treasury", "bip340", "transactions");
    let own = script_of(&cluster, "treasury");
    let other = Somebody::new();
    let spent = [
        output(&own, 100_000),
        output(&other.script(), 70_000),
        output(&own, 250_000),
    ];
    let mut psbt = spend(&spent, &[output(&payee(), 300_000), output(&own, 118_000)]);
    other.sign(&mut psbt, &spent, 1);
    let binary = psbt.serialize();
    let text = BASE64_STANDARD.encode(&binary).into_bytes();

    for (form, given) in [("binary", binary), ("base64", text)] {
        let (file, out) = (cluster.file("in.psbt"), cluster.file(form));
        std::fs::write(&file, given).unwrap();
        let signed = cluster.json(&["sign", "psbt", "treasury", "--in", &file, "--out", &out]);

        assert_eq!(signed["signatures"].as_array().unwrap().len(), 2);
        let bytes = std::fs::read(&out).unwrap();
        let bytes = match form {
            "binary" => bytes,
            _ => BASE64_STANDARD.decode(bytes).unwrap(),
        };
        let returned = Psbt::deserialize(&bytes).unwrap();
        assert_eq!(returned.unsigned_tx, psbt.unsigned_tx);
        assert_eq!(returned.inputs[1], psbt.inputs[1], "somebody else's input");
        let transaction = finished(&returned);
        for input in 0..3 {
            assert!(core_accepts(&transaction, &spent, input), "input {input}");
        }
        let mut robbed = transaction;
        robbed.output[0].script_pubkey = other.script();
        for input in 0..3 {
            assert!(!core_accepts(&robbed, &spent, input), "input {input}");
        }
    }
}

#[test]
fn a_transaction_that_must_not_be_signed_is_refused_and_nothing_is_written() {
    let cluster = Cluster::start(&[]);
    let own = script_of(&cluster, "demo-taproot");
    let other = Somebody::new().script();
    let (file, out) = (cluster.file("in.psbt"), cluster.file("out.psbt"));
    let sign = ["sign", "psbt", "demo-taproot", "--in", &file, "--out", &out];
    let refused = |psbt: &Psbt, code: i32, says: &[&str]| {
        std::fs::write(&file, psbt.serialize()).unwrap();
        let done = cluster.quorate(&sign);
        for says in says {
            done.refused(code, says);
        }
        assert!(!Path::new(&out).exists(), "an output was written");
    };

    let foreign = spend(&[output(&other, 90_000)], &[output(&payee(), 89_000)]);
    refused(
        &foreign,
        3,
        &[
            "no input of the PSBT belongs to this key",
            "PAYLOAD_REFUSED",
        ],
    );

    let both = [output(&own, 100_000), output(&other, 50_000)];
    for missing in 0..2 {
        let mut psbt = spend(&both, &[output(&payee(), 149_000)]);
        psbt.inputs[missing].witness_utxo = None;
        let says = format!("input {missing} of the PSBT has no witness_utxo");
        refused(&psbt, 3, &[&says, "PAYLOAD_REFUSED"]);
    }

    let generous = spend(&both, &[output(&payee(), 130_000)]);
    refused(&generous, 3, &["20000 sat", "FEE_TOO_HIGH"]);
    let allowed = cluster.quorate(&[&sign[..], &["--allow-high-fee"]].concat());
    assert_eq!(allowed.code, 0, "{allowed:?}");
    let signed = Psbt::deserialize(&std::fs::read(&out).unwrap()).unwrap();
    assert!(signed.inputs[0].tap_key_sig.is_some());
    assert!(signed.inputs[1].tap_key_sig.is_none());
    assert!(core_accepts(&finished(&signed), &both, 0));
}

/// Somebody who holds a taproot key in one piece.
struct Somebody(Keypair);

impl Somebody {
    fn new() -> Self {
        let secret = SecretKey::from_slice(&[7; 32]).unwrap();
        Self(Keypair::from_secret_key(&Secp256k1::new(), &secret))
    }

    fn script(&self) -> ScriptBuf {
        let internal = self.0.x_only_public_key().0;
        ScriptBuf::new_p2tr(&Secp256k1::new(), internal, None)
    }

    fn sign(&self, psbt: &mut Psbt, spent: &[TxOut], input: usize) {
        let sighash_type = TapSighashType::Default;
        let hash = SighashCache::new(&psbt.unsigned_tx)
            .taproot_key_spend_signature_hash(input, &Prevouts::All(spent), sighash_type)
            .unwrap();
        let secp = Secp256k1::new();
        let pair = self.0.tap_tweak(&secp, None).to_keypair();
        let message = Message::from_digest(hash.to_byte_array());
        psbt.inputs[input].tap_key_sig = Some(taproot::Signature {
            signature: secp.sign_schnorr_no_aux_rand(&message, &pair),
            sighash_type,
        });
    }
}

/// The script of the address that the command line gives for a key.
fn script_of(cluster: &Cluster, key: &str) -> ScriptBuf {
    let shown = cluster.json(&["key", "address", key, "--network", "regtest"]);
    let address: Address<_> = shown["address"].as_str().unwrap().parse().unwrap();
    address
        .require_network(Network::Regtest)
        .unwrap()
        .script_pubkey()
}

pub(crate) fn payee() -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::hash(b"a payee"))
}

pub(crate) fn output(script: &ScriptBuf, sat: u64) -> TxOut {
    TxOut {
        value: Amount::from_sat(sat),
        script_pubkey: script.clone(),
    }
}

/// A PSBT that spends these outputs and says nothing but what each of them is.
pub(crate) fn spend(spent: &[TxOut], paid: &[TxOut]) -> Psbt {
    let inputs = (0..spent.len()).map(|index| TxIn {
        previous_output: OutPoint::new(Txid::hash(b"a coin"), u32::try_from(index).unwrap()),
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    });
    let mut psbt = Psbt::from_unsigned_tx(Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: inputs.collect(),
        output: paid.to_vec(),
    })
    .unwrap();
    for (input, output) in psbt.inputs.iter_mut().zip(spent) {
        input.witness_utxo = Some(output.clone());
    }
    psbt
}

/// The transaction with the signatures that the PSBT holds.
pub(crate) fn finished(psbt: &Psbt) -> Transaction {
    let mut transaction = psbt.unsigned_tx.clone();
    for (input, signed) in transaction.input.iter_mut().zip(&psbt.inputs) {
        if let Some(signature) = &signed.tap_key_sig {
            input.witness = Witness::p2tr_key_spend(signature);
        }
    }
    transaction
}

/// Whether Bitcoin Core accepts an input of a transaction that spends these outputs.
pub(crate) fn core_accepts(transaction: &Transaction, spent: &[TxOut], input: usize) -> bool {
    let utxos: Vec<_> = spent
        .iter()
        .map(|output| bitcoinconsensus::Utxo {
            script_pubkey: output.script_pubkey.as_bytes().as_ptr(),
            script_pubkey_len: u32::try_from(output.script_pubkey.len()).unwrap(),
            value: i64::try_from(output.value.to_sat()).unwrap(),
        })
        .collect();
    bitcoinconsensus::verify_with_flags(
        spent[input].script_pubkey.as_bytes(),
        spent[input].value.to_sat(),
        &consensus::encode::serialize(transaction),
        Some(&utxos),
        input,
        bitcoinconsensus::VERIFY_ALL_PRE_TAPROOT | bitcoinconsensus::VERIFY_TAPROOT,
    )
    .is_ok()
}
