//! PSBTs of ECDSA keys: spends that Bitcoin Core accepts, and what is refused of them, each with
//! exactly one check that fires.

use bitcoin::{
    Amount, CompressedPublicKey, OutPoint, Psbt, ScriptBuf, Transaction, TxOut, Witness, absolute,
    consensus, psbt::PsbtSighashType,
};
use proptest::{collection::vec, prelude::*, sample};
use quorate_model::{DerivationPath, Payload};

use super::{
    fixtures::{WholeKey, decode_psbt, funding, output, spend, stranger},
    judges::{core_accepts, sign},
};
use crate::{
    AddressType, BatchUndecodable, Facts, ItemTweak, ScriptKind, Undecodable, Unfinishable, decode,
    decode_all, finalize, finish,
};

const FORMS: &[AddressType] = &[
    AddressType::P2wpkh,
    AddressType::P2shP2wpkh,
    AddressType::P2pkh,
];

/// Which of the two statements about its output an input carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Claimed,
    Proven,
    Both,
}

/// Something for a key to spend.
#[derive(Clone, Debug)]
struct Coin {
    form: AddressType,
    path: DerivationPath,
    sat: u64,
    proof: Proof,
}

fn coin(form: AddressType, path: &str, sat: u64) -> Coin {
    Coin {
        form,
        path: path.parse().unwrap(),
        sat,
        proof: Proof::Both,
    }
}

/// The script that pays to a public key, by the Bitcoin library alone.
fn script_of(key: &CompressedPublicKey, form: AddressType) -> ScriptBuf {
    let segwit = ScriptBuf::new_p2wpkh(&key.wpubkey_hash());
    match form {
        AddressType::P2wpkh => segwit,
        AddressType::P2shP2wpkh => ScriptBuf::new_p2sh(&segwit.script_hash()),
        AddressType::P2pkh => ScriptBuf::new_p2pkh(&key.pubkey_hash()),
        AddressType::P2tr => panic!("no ECDSA key spends taproot outputs"),
    }
}

fn script(key: &WholeKey, form: AddressType, path: &str) -> ScriptBuf {
    script_of(&key.child(&path.parse().unwrap()), form)
}

/// The origin of a child, as wallets write it.
fn origin(key: &WholeKey, path: &DerivationPath) -> bitcoin::bip32::KeySource {
    let steps = path.steps().iter().map(|step| (*step).into()).collect();
    (key.fingerprint(), steps)
}

fn claim_output(key: &WholeKey, psbt: &mut Psbt, index: usize, path: &str) {
    let path = path.parse().unwrap();
    psbt.outputs[index].bip32_derivation = [(key.child(&path).0, origin(key, &path))].into();
}

/// Puts the coin where the input spends it from.
fn fund(psbt: &mut Psbt, index: usize, coin: &TxOut, proof: Proof) {
    let mut previous = funding(vec![output(stranger(), 5), coin.clone()]);
    previous.lock_time = absolute::LockTime::from_consensus(u32::try_from(index).unwrap());
    psbt.unsigned_tx.input[index].previous_output = OutPoint::new(previous.compute_txid(), 1);
    psbt.inputs[index].witness_utxo = (proof != Proof::Proven).then(|| coin.clone());
    psbt.inputs[index].non_witness_utxo = (proof != Proof::Claimed).then_some(previous);
}

/// A PSBT that spends these coins, with what it spends.
fn spend_coins(key: &WholeKey, coins: &[Coin], paid: Vec<TxOut>) -> (Psbt, Vec<TxOut>) {
    let spent: Vec<_> = coins
        .iter()
        .map(|coin| output(script_of(&key.child(&coin.path), coin.form), coin.sat))
        .collect();
    let mut psbt = spend(spent.clone(), paid);
    for (index, coin) in coins.iter().enumerate() {
        fund(&mut psbt, index, &spent[index], coin.proof);
        if !coin.path.is_root() {
            let child = key.child(&coin.path).0;
            psbt.inputs[index].bip32_derivation = [(child, origin(key, &coin.path))].into();
        }
    }
    (psbt, spent)
}

fn plain(key: &WholeKey, form: AddressType) -> (Psbt, Vec<TxOut>) {
    let paid = vec![output(stranger(), 60_000), output(key_script(key), 39_000)];
    spend_coins(key, &[coin(form, "m/0/5", 100_000)], paid)
}

fn key_script(key: &WholeKey) -> ScriptBuf {
    script(key, AddressType::P2wpkh, "m")
}

fn key() -> WholeKey {
    WholeKey::ecdsa([1; 32])
}

fn transaction_of(signed: &[u8]) -> Transaction {
    let bytes = finalize(signed).unwrap().transaction.unwrap();
    consensus::encode::deserialize(&bytes).unwrap()
}

#[test]
fn core_accepts_every_form_of_input_in_one_spend() {
    let key = key();
    let coins = [
        coin(AddressType::P2wpkh, "m/0/5", 100_000),
        coin(AddressType::P2pkh, "m/0/6", 200_000),
        coin(AddressType::P2shP2wpkh, "m/0/2147483647", 300_000),
        coin(AddressType::P2wpkh, "m", 400_000),
        coin(AddressType::P2pkh, "m", 500_000),
    ];
    let change = ["m/1/1", "m/1/2", "m/1/3"];
    let mut paid: Vec<_> = FORMS
        .iter()
        .zip(change)
        .map(|(form, path)| output(script(&key, *form, path), 100_000))
        .collect();
    paid.push(output(stranger(), 1_190_000));
    let (mut psbt, spent) = spend_coins(&key, &coins, paid);
    for (index, path) in change.into_iter().enumerate() {
        claim_output(&key, &mut psbt, index, path);
    }
    psbt.inputs[1].sighash_type = Some(PsbtSighashType::from_u32(1));

    let decoded = decode_psbt(&key, &psbt).unwrap();
    let transaction = transaction_of(&sign(&key, &psbt));

    let paths: Vec<_> = decoded.items.iter().map(|item| item.path.clone()).collect();
    let expected: Vec<_> = coins.iter().map(|coin| coin.path.clone()).collect();
    assert_eq!(paths, expected);
    assert!(
        decoded
            .items
            .iter()
            .all(|item| item.tweak == ItemTweak::None)
    );
    for input in 0..coins.len() {
        assert!(core_accepts(&transaction, &spent, input), "input {input}");
    }
    let Facts::Psbt(facts) = decoded.facts else {
        panic!("the facts are those of a PSBT")
    };
    assert_eq!(facts.own_input_total_sat, 1_500_000);
    assert_eq!(facts.change_total_sat, 300_000);
    assert_eq!(facts.fee_sat, 10_000);
    let kinds: Vec<_> = facts.inputs.iter().map(|input| input.kind).collect();
    let (segwit, legacy) = (ScriptKind::P2wpkh, ScriptKind::P2pkh);
    assert_eq!(kinds, [segwit, legacy, ScriptKind::P2sh, segwit, legacy]);
    let vsize = u64::try_from(transaction.vsize()).unwrap();
    let rate = facts.fee_sat * 1000 / vsize;
    assert!(facts.fee_rate_sat_per_kvb.abs_diff(rate) <= rate / 100);
}

#[test]
fn core_refuses_a_signed_spend_that_was_changed() {
    let key = key();
    for form in FORMS {
        let (psbt, spent) = plain(&key, *form);

        let transaction = transaction_of(&sign(&key, &psbt));

        assert!(core_accepts(&transaction, &spent, 0), "{form}");
        let mut robbed = transaction.clone();
        robbed.output[0].script_pubkey = key_script(&key);
        assert!(!core_accepts(&robbed, &spent, 0), "{form}");
        let mut less = transaction;
        less.output[1].value = Amount::from_sat(38_999);
        assert!(!core_accepts(&less, &spent, 0), "{form}");
    }
}

#[test]
fn a_false_amount_of_a_segwit_input_makes_a_worthless_signature() {
    let key = key();
    for form in [AddressType::P2wpkh, AddressType::P2shP2wpkh] {
        let (mut psbt, spent) = plain(&key, form);
        psbt.inputs[0].non_witness_utxo = None;
        assert!(core_accepts(&transaction_of(&sign(&key, &psbt)), &spent, 0));
        let claimed = psbt.inputs[0].witness_utxo.as_mut().unwrap();
        claimed.value = Amount::from_sat(99_999);

        let transaction = transaction_of(&sign(&key, &psbt));

        assert!(!core_accepts(&transaction, &spent, 0), "{form}");
    }
}

#[test]
fn a_false_amount_is_refused_beside_the_previous_transaction() {
    for form in FORMS {
        let error = refused(*form, |psbt| {
            let claimed = psbt.inputs[0].witness_utxo.as_mut().unwrap();
            claimed.value = Amount::from_sat(99_999);
        });

        assert_eq!(error, Undecodable::UtxoDisagreement { input: 0 }, "{form}");
    }
}

#[test]
fn a_previous_transaction_is_held_to_its_hash() {
    for form in FORMS {
        let error = refused(*form, |psbt| {
            let previous = psbt.inputs[0].non_witness_utxo.as_mut().unwrap();
            previous.output[1].value = Amount::from_sat(1);
        });

        assert_eq!(error, Undecodable::WrongPrevious { input: 0 }, "{form}");
    }
}

#[test]
fn p2pkh_without_the_previous_transaction_is_refused() {
    let error = refused(AddressType::P2pkh, |psbt| {
        psbt.inputs[0].non_witness_utxo = None;
    });

    assert_eq!(error, Undecodable::NoPrevious { input: 0 });
}

#[test]
fn a_missing_amount_is_refused_on_any_input() {
    let key = key();
    for (input, form) in FORMS.iter().enumerate() {
        let coins: Vec<_> = FORMS
            .iter()
            .map(|form| coin(*form, "m/0/5", 100_000))
            .collect();
        let (mut psbt, _) = spend_coins(&key, &coins, vec![output(stranger(), 290_000)]);
        psbt.inputs[input].witness_utxo = None;
        psbt.inputs[input].non_witness_utxo = None;

        let error = decode_psbt(&key, &psbt).unwrap_err();

        assert_eq!(error, Undecodable::NoAmount { input }, "{form}");
    }
}

#[test]
fn only_sighash_all_is_signed() {
    for form in FORMS {
        for found in [0x00, 0x02, 0x03, 0x80, 0x81, 0x82, 0x83, 0x101] {
            let error = refused(*form, |psbt| {
                psbt.inputs[0].sighash_type = Some(PsbtSighashType::from_u32(found));
            });

            assert_eq!(error, Undecodable::EcdsaSighashType { input: 0, found });
        }
    }
}

#[test]
fn scripts_that_contradict_the_input_are_refused() {
    let mismatch = |field, form| Undecodable::ScriptMismatch {
        input: 0,
        field,
        form,
    };
    for form in FORMS {
        let redeem = refused(*form, |psbt| {
            psbt.inputs[0].redeem_script = Some(stranger());
        });
        let witness = refused(*form, |psbt| {
            psbt.inputs[0].witness_script = Some(ScriptBuf::new());
        });

        assert_eq!(redeem, mismatch("redeem_script", *form));
        assert_eq!(witness, mismatch("witness_script", *form));
    }
    let key = key();
    let (mut right, _) = plain(&key, AddressType::P2shP2wpkh);
    right.inputs[0].redeem_script = Some(script(&key, AddressType::P2wpkh, "m/0/5"));
    assert!(decode_psbt(&key, &right).is_ok());
}

#[test]
fn an_input_that_is_signed_already_is_refused() {
    let key = key();
    for form in FORMS {
        let (psbt, _) = plain(&key, *form);
        let signed = Psbt::deserialize(&sign(&key, &psbt)).unwrap();
        let again = decode_psbt(&key, &signed).unwrap_err();
        let field = |field| Undecodable::AlreadySigned { input: 0, field };

        assert_eq!(again, field("partial_sig"));
        let witness = refused(*form, |psbt| {
            psbt.inputs[0].final_script_witness = Some(Witness::new());
        });
        assert_eq!(witness, field("final_script_witness"));
        let script_sig = refused(*form, |psbt| {
            psbt.inputs[0].final_script_sig = Some(ScriptBuf::new());
        });
        assert_eq!(script_sig, field("final_script_sig"));
    }
}

#[test]
fn a_claim_that_is_not_true_is_refused_wherever_it_stands() {
    let key = key();
    let (child, other) = ("m/0/5".parse().unwrap(), "m/0/6".parse().unwrap());
    let check = |psbt: &Psbt, side: &'static str| {
        let error = decode_psbt(&key, psbt).unwrap_err();
        assert_eq!(error, Undecodable::FalseOrigin { side, index: 0 });
    };
    for form in FORMS {
        let (psbt, _) = plain(&key, *form);

        // Another path than that of the script.
        let mut other_path = psbt.clone();
        other_path.inputs[0].bip32_derivation =
            [(key.child(&other).0, origin(&key, &other))].into();
        check(&other_path, "input");
        // The right path under the wrong key.
        let mut other_key = psbt.clone();
        other_key.inputs[0].bip32_derivation = [(key.child(&other).0, origin(&key, &child))].into();
        check(&other_key, "input");
        // Change to a stranger.
        let mut steals = psbt.clone();
        claim_output(&key, &mut steals, 0, "m/1/0");
        check(&steals, "output");
        // Change to a script with conditions, in which the child is named.
        let mut hides = psbt.clone();
        let conditions = ScriptBuf::builder().push_key(&key.child(&child).into());
        let hash = conditions.into_script().wscript_hash();
        hides.unsigned_tx.output[0].script_pubkey = ScriptBuf::new_p2wsh(&hash);
        claim_output(&key, &mut hides, 0, "m/0/5");
        check(&hides, "output");
        // Paths that no shared key has.
        let at = |path: &str| {
            let mut psbt = psbt.clone();
            let source = (key.fingerprint(), path.parse().unwrap());
            psbt.outputs[0].bip32_derivation = [(key.child(&child).0, source)].into();
            decode_psbt(&key, &psbt).unwrap_err()
        };
        let (side, index) = ("output", 0);
        assert_eq!(at("44'/0"), Undecodable::HardenedOrigin { side, index });
        let steps = 11;
        assert_eq!(
            at("0/1/2/3/4/5/6/7/8/9/10"),
            Undecodable::LongOrigin { side, index, steps }
        );
    }
}

#[test]
fn what_only_looks_like_the_key_is_not_ours() {
    let key = key();
    let root = key.child(&DerivationPath::ROOT);
    let uncompressed = bitcoin::PublicKey::new_uncompressed(root.0);
    let scripts: Vec<_> = FORMS
        .iter()
        .map(|form| format!("{form} {}", script(&key, *form, "m").to_hex_string()))
        .collect();
    let expected = Undecodable::NotOurs {
        scripts: scripts.join(", "),
        fingerprint: key.fingerprint().to_string(),
    };
    let others = [
        ScriptBuf::new_p2pkh(&uncompressed.pubkey_hash()),
        ScriptBuf::new_p2pk(&root.into()),
        // The taproot output of the same key.
        key.script(),
        // A child that no origin names.
        script(&key, AddressType::P2wpkh, "m/0/5"),
        // A script hash of something else, beside a redeem script of ours.
        ScriptBuf::new_p2sh(&stranger().script_hash()),
    ];

    for script in others {
        let coin = output(script, 100_000);
        let mut psbt = spend(vec![coin.clone()], vec![output(stranger(), 95_000)]);
        fund(&mut psbt, 0, &coin, Proof::Both);
        psbt.inputs[0].redeem_script = Some(key_script(&key));

        assert_eq!(decode_psbt(&key, &psbt).unwrap_err(), expected);
    }
}

#[test]
fn an_uncompressed_key_in_an_origin_does_not_make_its_script_ours() {
    let key = key();
    let path = "m/0/5".parse().unwrap();
    let child = key.child(&path);
    let uncompressed = bitcoin::PublicKey::new_uncompressed(child.0).pubkey_hash();
    let error = refused(AddressType::P2wpkh, |psbt| {
        psbt.unsigned_tx.output[0].script_pubkey = ScriptBuf::new_p2pkh(&uncompressed);
        claim_output(&key, psbt, 0, "m/0/5");
    });

    let side = "output";
    assert_eq!(error, Undecodable::FalseOrigin { side, index: 0 });
}

#[test]
fn keys_of_the_two_schemes_spend_nothing_of_each_other() {
    let (ecdsa, taproot) = (key(), WholeKey::number(1));
    let (segwit, _) = plain(&ecdsa, AddressType::P2wpkh);
    let claims = decode_psbt(&taproot, &segwit).unwrap_err();
    assert_eq!(claims.detail(), "PSBT_NO_INPUT_OF_KEY");

    let both = vec![
        output(key_script(&ecdsa), 100_000),
        output(taproot.script(), 100_000),
    ];
    let psbt = spend(both, vec![output(stranger(), 190_000)]);
    let inputs = |key: &WholeKey| -> Vec<_> {
        let items = decode_psbt(key, &psbt).unwrap().items;
        items.iter().map(|item| item.input).collect()
    };
    assert_eq!(inputs(&ecdsa), [Some(0)]);
    assert_eq!(inputs(&taproot), [Some(1)]);
}

#[test]
fn one_transaction_may_be_signed_by_keys_of_both_schemes() {
    let (ecdsa, taproot) = (key(), WholeKey::number(2));
    let spent = vec![
        output(key_script(&ecdsa), 100_000),
        output(taproot.script(), 100_000),
    ];
    let psbt = spend(spent.clone(), vec![output(stranger(), 190_000)]);

    let by_one = Psbt::deserialize(&sign(&ecdsa, &psbt)).unwrap();
    let transaction = transaction_of(&sign(&taproot, &by_one));

    assert!(core_accepts(&transaction, &spent, 0));
    assert!(core_accepts(&transaction, &spent, 1));
}

#[test]
fn a_high_fee_needs_the_flag() {
    let error = refused(AddressType::P2wpkh, |psbt| {
        psbt.unsigned_tx.output[1].value = Amount::from_sat(1);
    });

    let (fee_sat, inputs_sat) = (39_999, 100_000);
    assert_eq!(
        error,
        Undecodable::HighFee {
            fee_sat,
            inputs_sat
        }
    );
}

#[test]
fn a_legacy_transaction_that_nobody_relays_is_refused() {
    let key = key();
    let many = |form| {
        let paid = vec![output(stranger(), 1_000); 3_300];
        let (psbt, _) = spend_coins(&key, &[coin(form, "m", 3_310_000)], paid);
        decode_psbt(&key, &psbt)
    };

    assert!(matches!(
        many(AddressType::P2pkh),
        Err(Undecodable::LegacyTooLarge { found: 102_303.. })
    ));
    assert!(many(AddressType::P2wpkh).is_ok());
}

#[test]
fn a_command_does_not_make_a_node_derive_without_end() {
    let key = key();
    let far = |count: usize| {
        let paths: Vec<_> = (0..count)
            .map(|at| format!("m/{at}/0/0/0/0/0/0/0/0/0"))
            .collect();
        let paid = paths
            .iter()
            .map(|path| output(script(&key, AddressType::P2wpkh, path), 1))
            .collect();
        let coins = [coin(AddressType::P2wpkh, "m", 100_000)];
        let (mut psbt, _) = spend_coins(&key, &coins, paid);
        for (index, path) in paths.iter().enumerate() {
            claim_output(&key, &mut psbt, index, path);
        }
        Payload {
            allow_high_fee: true,
            ..Payload::psbt(psbt.serialize())
        }
    };
    let half = far(600);

    assert!(decode(&half, &key.facts()).is_ok());
    let error = Undecodable::TooManyChildren;
    assert_eq!(decode(&far(1_200), &key.facts()), Err(error.clone()));
    let twice = decode_all(&[half.clone(), half], &key.facts());
    assert_eq!(twice, Err(BatchUndecodable::Payload { index: 1, error }));
}

#[test]
fn a_signature_that_does_not_verify_is_not_put_in() {
    let key = key();
    let coins = [
        coin(AddressType::P2wpkh, "m/0/5", 100_000),
        coin(AddressType::P2pkh, "m/0/6", 100_000),
    ];
    let (psbt, _) = spend_coins(&key, &coins, vec![output(stranger(), 190_000)]);
    let payload = Payload::psbt(psbt.serialize());
    let right = key.sign_all(&decode(&payload, &key.facts()).unwrap());
    let finish = |signatures: &[Vec<u8>]| finish(&payload, &key.facts(), signatures);
    let with_second = |second: Vec<u8>| [right[0].clone(), second];
    let invalid = |item| Err(Unfinishable::Invalid { item, input: item });

    assert!(finish(&right).is_ok());
    let mut flipped = right[1].clone();
    flipped[20] ^= 1;
    assert_eq!(finish(&with_second(flipped)), invalid(1));
    assert_eq!(finish(&with_second(vec![0xff; 65])), invalid(1));
    assert_eq!(finish(&with_second(high_s(&right[1]))), invalid(1));
    let swapped = [right[1].clone(), right[0].clone()];
    assert_eq!(finish(&swapped), invalid(0));
    let (expected, found) = (65, 64);
    assert_eq!(
        finish(&with_second(right[1][..64].to_vec())),
        Err(Unfinishable::Length {
            item: 1,
            expected,
            found
        })
    );
}

/// The other signature of the same message, which the network does not relay.
fn high_s(signature: &[u8]) -> Vec<u8> {
    let (compact, id) = signature.split_at(64);
    let low = k256::ecdsa::Signature::from_slice(compact).unwrap();
    let (r, s) = low.split_scalars();
    let high = k256::ecdsa::Signature::from_scalars(r, -s).unwrap();
    [&high.to_bytes()[..], id].concat()
}

#[test]
fn signatures_stand_under_the_key_of_the_child_and_nothing_else_changes() {
    let key = key();
    for form in FORMS {
        let (psbt, _) = plain(&key, *form);

        let mut signed = Psbt::deserialize(&sign(&key, &psbt)).unwrap();

        let child = key.child(&"m/0/5".parse().unwrap());
        let signatures = std::mem::take(&mut signed.inputs[0].partial_sigs);
        let under: Vec<_> = signatures.into_keys().collect();
        assert_eq!(under, [child.into()]);
        let nested = *form == AddressType::P2shP2wpkh;
        let redeem = signed.inputs[0].redeem_script.take();
        let expected = nested.then(|| script_of(&child, AddressType::P2wpkh));
        assert_eq!(redeem, expected);
        assert_eq!(signed, psbt);
    }
}

#[test]
fn finalizing_takes_the_signature_that_the_script_asks_for() {
    let key = key();
    for form in FORMS {
        let (psbt, spent) = plain(&key, *form);
        let mut signed = Psbt::deserialize(&sign(&key, &psbt)).unwrap();
        let signature = *signed.inputs[0].partial_sigs.values().next().unwrap();
        for other in ["m/9/1", "m/9/2", "m/9/3", "m/9/4"] {
            let other = key.child(&other.parse().unwrap()).into();
            signed.inputs[0].partial_sigs.insert(other, signature);
        }
        signed.inputs[0].tap_key_sig =
            Some(bitcoin::taproot::Signature::from_slice(&[1; 64]).unwrap());

        let transaction = transaction_of(&signed.serialize());

        assert!(core_accepts(&transaction, &spent, 0), "{form}");
    }
    let (psbt, _) = plain(&key, AddressType::P2pkh);
    let unsigned = finalize(&psbt.serialize()).unwrap();
    assert_eq!(unsigned.psbt, psbt.serialize());
    assert_eq!(unsigned.transaction, None);
}

fn any_path() -> impl Strategy<Value = DerivationPath> {
    vec(0u32..1 << 31, 0..=4).prop_map(|steps| DerivationPath::new(steps).unwrap())
}

fn any_coin() -> impl Strategy<Value = Coin> {
    let proof = sample::select(vec![Proof::Claimed, Proof::Proven, Proof::Both]);
    let form = sample::select(FORMS.to_vec());
    (form, any_path(), 1000u64..1_000_000_000, proof).prop_map(|(form, path, sat, proof)| Coin {
        form,
        path,
        sat,
        proof: match (form, proof) {
            (AddressType::P2pkh, Proof::Claimed) => Proof::Proven,
            _ => proof,
        },
    })
}

fn any_secret() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>().prop_filter("a secret key is below the order and not zero", |bytes| {
        secp256k1::Keypair::from_secret_bytes(*bytes).is_ok()
    })
}

proptest! {
    #[test]
    fn core_accepts_any_spend(
        secret in any_secret(),
        coins in vec(any_coin(), 1..=5),
        others in vec(0u64..1_000_000_000, 0..=3),
        paid in vec((vec(any::<u8>(), 0..80), 0u64..200), 1..=5),
        (version, lock_time, sequence) in any::<(i32, u32, u32)>(),
    ) {
        let key = WholeKey::ecdsa(secret);
        let paid = paid
            .into_iter()
            .map(|(script, sat)| output(ScriptBuf::from_bytes(script), sat))
            .collect();
        let (mut psbt, mut spent) = spend_coins(&key, &coins, paid);
        let more = spend(others.iter().map(|sat| output(stranger(), *sat)).collect(), vec![]);
        spent.extend(more.inputs.iter().map(|input| input.witness_utxo.clone().unwrap()));
        psbt.unsigned_tx.input.extend(more.unsigned_tx.input);
        psbt.inputs.extend(more.inputs);
        psbt.unsigned_tx.version = bitcoin::transaction::Version(version);
        psbt.unsigned_tx.lock_time = absolute::LockTime::from_consensus(lock_time);
        psbt.unsigned_tx.input[0].sequence = bitcoin::Sequence(sequence);

        let signed = finalize(&sign(&key, &psbt)).unwrap();

        prop_assert_eq!(signed.transaction.is_some(), others.is_empty());
        let finalized = Psbt::deserialize(&signed.psbt).unwrap();
        let transaction = finalized.extract_tx_unchecked_fee_rate();
        for input in 0..coins.len() {
            prop_assert!(core_accepts(&transaction, &spent, input), "input {}", input);
        }
    }

    #[test]
    fn a_damaged_psbt_never_panics_and_what_is_accepted_is_what_core_accepts(
        damages in vec(super::properties::Damage::any(), 1..4),
        forms in vec(sample::select(FORMS.to_vec()), 1..=3),
    ) {
        let key = key();
        let coins: Vec<_> = forms.iter().map(|form| coin(*form, "m/0/5", 100_000)).collect();
        let (mut psbt, _) = spend_coins(&key, &coins, vec![output(key_script(&key), 95_000)]);
        claim_output(&key, &mut psbt, 0, "m");
        let mut bytes = psbt.serialize();
        for damage in damages {
            damage.inflict(&mut bytes);
        }
        let payload = Payload { allow_high_fee: true, ..Payload::psbt(bytes.clone()) };

        if let Ok(decoded) = decode(&payload, &key.facts()) {
            let Facts::Psbt(facts) = &decoded.facts else { panic!("a PSBT has facts of its own") };
            let spent: Vec<_> = facts
                .inputs
                .iter()
                .map(|i| output(ScriptBuf::from_bytes(i.script.as_bytes().to_vec()), i.amount_sat))
                .collect();
            let signed = finalize(&sign(&key, &Psbt::deserialize(&bytes).unwrap())).unwrap();
            let finalized = Psbt::deserialize(&signed.psbt).unwrap();
            let transaction = finalized.extract_tx_unchecked_fee_rate();
            for item in &decoded.items {
                let input = usize::try_from(item.input.unwrap()).unwrap();
                prop_assert!(core_accepts(&transaction, &spent, input));
            }
        }
        let _ = finalize(&bytes);
    }
}

/// What is said about a plain spend after a change to it.
fn refused(form: AddressType, change: impl FnOnce(&mut Psbt)) -> Undecodable {
    let key = key();
    let (mut psbt, _) = plain(&key, form);
    assert!(decode_psbt(&key, &psbt).is_ok());
    change(&mut psbt);
    decode_psbt(&key, &psbt).unwrap_err()
}
