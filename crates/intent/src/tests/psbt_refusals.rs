//! What is refused of PSBTs, each test with exactly one check that fires.

use bitcoin::{
    Psbt, ScriptBuf, TapLeafHash, TapNodeHash, Witness, XOnlyPublicKey, ecdsa,
    hashes::Hash as _,
    psbt::{PsbtSighashType, raw},
    taproot::{ControlBlock, LeafVersion},
};
use quorate_model::Payload;

use super::fixtures::{WholeKey, decode_psbt, funding, mixed, output, plain, spend, stranger};
use crate::{HIGH_FEE_SAT, MAX_INPUTS, MAX_OUTPUTS, Network, Undecodable, decode, watch_only};

const MAX_MONEY: u64 = 21_000_000 * 100_000_000;

#[test]
fn garbage_is_no_psbt() {
    let key = WholeKey::number(1);
    let base64 = b"cHNidP8BAHECAAAA".to_vec();
    for bytes in [vec![], b"psbt".to_vec(), vec![0; 100], base64] {
        let error = decode(&Payload::psbt(bytes), &key.facts()).unwrap_err();
        assert_eq!(error, Undecodable::NotPsbt);
    }
}

#[test]
fn a_psbt_cut_short_anywhere_is_refused() {
    let key = WholeKey::number(1);
    let whole = plain(&key).serialize();
    for end in 5..whole.len() {
        let error = decode(&Payload::psbt(&whole[..end]), &key.facts()).unwrap_err();
        assert!(
            matches!(error, Undecodable::Unreadable { .. }),
            "{end}: {error:?}"
        );
    }
}

#[test]
fn what_the_parser_says_about_a_psbt_is_bounded() {
    let key = WholeKey::number(1);
    // A key of type 0 must be empty; the parser repeats it in hex.
    let mut bytes = b"psbt\xff\xfd\x00\x80\x00".to_vec();
    bytes.resize(bytes.len() + 0x7fff, 0xab);
    bytes.extend([1, 0, 0]);

    let error = decode(&Payload::psbt(bytes), &key.facts()).unwrap_err();

    assert_eq!(error.detail(), "PSBT_UNREADABLE");
    assert!(error.to_string().contains("invalid key"), "{error}");
    assert!(error.to_string().len() < 400);
}

#[test]
fn a_transaction_that_is_not_unsigned_is_refused() {
    let key = WholeKey::number(1);
    let whole = plain(&key);
    let mut signed = whole.clone();
    signed.unsigned_tx.input[0].script_sig = ScriptBuf::from_hex("51").unwrap();

    let error = decode_psbt(&key, &signed).unwrap_err();

    let detail = "the unsigned transaction has script sigs".to_owned();
    assert_eq!(error, Undecodable::Unreadable { detail });
}

#[test]
fn a_psbt_of_version_2_is_refused_with_advice() {
    let key = WholeKey::number(1);
    let mut newer = plain(&key);
    newer.version = 2;

    let error = decode_psbt(&key, &newer).unwrap_err();

    assert_eq!(error.detail(), "PSBT_UNREADABLE");
    assert!(
        error
            .to_string()
            .contains("convert version 2 to version 0 first"),
        "{error}"
    );
}

#[test]
fn bytes_after_a_psbt_are_refused() {
    let key = WholeKey::number(1);
    let mut bytes = plain(&key).serialize();
    bytes.extend([0, 0]);

    let error = decode(&Payload::psbt(bytes), &key.facts()).unwrap_err();

    assert_eq!(error, Undecodable::TrailingBytes { count: 2 });
}

#[test]
fn more_inputs_or_outputs_than_the_bounds_are_refused() {
    let key = WholeKey::number(1);
    let inputs = |count: usize| {
        let spent = vec![output(key.script(), 1000); count];
        let paid = vec![output(stranger(), 950 * u64::try_from(count).unwrap())];
        decode_psbt(&key, &spend(spent, paid))
    };
    let outputs = |count: usize| {
        let paid = vec![output(stranger(), 1000); count];
        let spent = vec![output(key.script(), 1001 * u64::try_from(count).unwrap())];
        decode_psbt(&key, &spend(spent, paid))
    };

    assert_eq!(inputs(MAX_INPUTS).unwrap().items.len(), MAX_INPUTS);
    assert_eq!(
        inputs(MAX_INPUTS + 1).unwrap_err(),
        Undecodable::TooManyInputs {
            found: MAX_INPUTS + 1
        }
    );
    assert!(outputs(MAX_OUTPUTS).is_ok());
    assert_eq!(
        outputs(MAX_OUTPUTS + 1).unwrap_err(),
        Undecodable::TooManyOutputs {
            found: MAX_OUTPUTS + 1
        }
    );
}

#[test]
fn a_transaction_without_outputs_is_refused() {
    let error = refused(|psbt| {
        psbt.unsigned_tx.output.clear();
        psbt.outputs.clear();
    });

    assert_eq!(error, Undecodable::NoOutputs);
}

#[test]
fn two_inputs_that_spend_the_same_output_are_refused() {
    let key = WholeKey::number(1);
    let mut psbt = mixed(&key);
    psbt.unsigned_tx.input[3].previous_output = psbt.unsigned_tx.input[1].previous_output;

    let error = decode_psbt(&key, &psbt).unwrap_err();

    assert_eq!(
        error,
        Undecodable::DuplicateInput {
            first: 1,
            second: 3
        }
    );
}

#[test]
fn a_missing_amount_is_refused_on_any_input_ours_or_not() {
    let key = WholeKey::number(1);
    for input in 0..4 {
        let mut psbt = mixed(&key);
        psbt.inputs[input].witness_utxo = None;

        assert_eq!(
            decode_psbt(&key, &psbt).unwrap_err(),
            Undecodable::NoAmount { input }
        );
    }
}

#[test]
fn a_previous_transaction_must_be_the_one_that_the_input_names() {
    let error = refused(|psbt| {
        let utxo = psbt.inputs[0].witness_utxo.clone().unwrap();
        psbt.inputs[0].non_witness_utxo = Some(funding(vec![utxo]));
    });

    assert_eq!(error, Undecodable::WrongPrevious { input: 0 });
}

#[test]
fn a_previous_transaction_must_have_the_output_that_is_spent() {
    let error = refused(|psbt| {
        let previous = funding(vec![output(stranger(), 5)]);
        psbt.unsigned_tx.input[0].previous_output.txid = previous.compute_txid();
        psbt.unsigned_tx.input[0].previous_output.vout = 1;
        psbt.inputs[0].non_witness_utxo = Some(previous);
    });

    assert_eq!(
        error,
        Undecodable::NoSuchOutput {
            input: 0,
            vout: 1,
            outputs: 1
        }
    );
}

#[test]
fn a_claimed_amount_or_script_must_agree_with_the_previous_transaction() {
    let with = |proven: fn(&mut bitcoin::TxOut)| {
        move |psbt: &mut Psbt| {
            let mut utxo = psbt.inputs[0].witness_utxo.clone().unwrap();
            proven(&mut utxo);
            let previous = funding(vec![utxo]);
            psbt.unsigned_tx.input[0].previous_output.txid = previous.compute_txid();
            psbt.inputs[0].non_witness_utxo = Some(previous);
        }
    };
    let disagreement = Undecodable::UtxoDisagreement { input: 0 };

    assert_eq!(
        refused(with(|utxo| utxo.value = bitcoin::Amount::from_sat(100_001))),
        disagreement
    );
    assert_eq!(
        refused(with(|utxo| utxo.script_pubkey = stranger())),
        disagreement
    );
    let key = WholeKey::number(1);
    let mut agreeing = plain(&key);
    with(|_| ())(&mut agreeing);
    assert!(decode_psbt(&key, &agreeing).is_ok());
}

#[test]
fn amounts_that_cannot_exist_are_refused() {
    let key = WholeKey::number(1);
    let decode = |spent: &[u64], paid: &[u64]| {
        let spent = spent.iter().map(|sat| output(key.script(), *sat)).collect();
        let paid = paid.iter().map(|sat| output(stranger(), *sat)).collect();
        decode_psbt(&key, &spend(spent, paid)).unwrap_err()
    };
    let inputs = Undecodable::AmountOutOfRange { side: "inputs" };
    let outputs = Undecodable::AmountOutOfRange { side: "outputs" };

    assert_eq!(decode(&[MAX_MONEY + 1], &[1]), inputs);
    assert_eq!(decode(&[MAX_MONEY, 1], &[1]), inputs);
    assert_eq!(decode(&[u64::MAX, u64::MAX], &[1]), inputs);
    assert_eq!(decode(&[1], &[u64::MAX, 2]), outputs);
    assert!(matches!(
        decode(&[MAX_MONEY], &[1]),
        Undecodable::HighFee { .. }
    ));
}

#[test]
fn a_psbt_without_an_input_of_the_key_is_refused() {
    let key = WholeKey::number(1);
    let other = WholeKey::number(2);
    let untweaked = ScriptBuf::from_bytes([&[0x51, 0x20], &key.group_key()[1..]].concat());
    let expected = Undecodable::NotOurs {
        scripts: format!("p2tr {}", key.script().to_hex_string()),
        fingerprint: watch_only(&key.facts(), Network::Bitcoin)
            .unwrap()
            .fingerprint,
    };
    let paid = vec![output(key.script(), 900)];

    for script in [other.script(), stranger(), untweaked] {
        let psbt = spend(vec![output(script, 1000)], paid.clone());
        assert_eq!(decode_psbt(&key, &psbt).unwrap_err(), expected);
    }
    let no_inputs = spend(vec![], paid);
    assert_eq!(decode_psbt(&key, &no_inputs).unwrap_err(), expected);
}

#[test]
fn only_sighash_types_that_sign_the_whole_transaction_are_accepted() {
    for found in [0x02, 0x03, 0x80, 0x81, 0x82, 0x83, 0x04, 0x101, 0xffff_ffff] {
        let error = refused(|psbt| {
            psbt.inputs[0].sighash_type = Some(PsbtSighashType::from_u32(found));
        });
        assert_eq!(error, Undecodable::SighashType { input: 0, found });
    }
}

#[test]
fn a_script_tree_on_an_input_of_the_key_is_refused() {
    let script_path = |field| Undecodable::ScriptPath { input: 0, field };
    let leaf = TapLeafHash::from_byte_array([4; 32]);
    let internal = x_only(&WholeKey::number(1));

    assert_eq!(
        refused(|psbt| {
            psbt.inputs[0].tap_merkle_root = Some(TapNodeHash::from_byte_array([4; 32]));
        }),
        script_path("tap_merkle_root")
    );
    assert_eq!(
        refused(|psbt| {
            let block = [&[0xc0][..], &internal.serialize()].concat();
            psbt.inputs[0].tap_scripts.insert(
                ControlBlock::decode(&block).unwrap(),
                (ScriptBuf::from_hex("51").unwrap(), LeafVersion::TapScript),
            );
        }),
        script_path("tap_leaf_script")
    );
    assert_eq!(
        refused(|psbt| {
            let signature = bitcoin::taproot::Signature::from_slice(&[1; 64]).unwrap();
            psbt.inputs[0]
                .tap_script_sigs
                .insert((internal, leaf), signature);
        }),
        script_path("tap_script_sig")
    );
    assert_eq!(
        refused(|psbt| {
            psbt.inputs[0]
                .tap_key_origins
                .insert(internal, (vec![leaf], Default::default()));
        }),
        script_path("tap_bip32_derivation with leaves")
    );
}

#[test]
fn an_internal_key_that_contradicts_the_key_is_refused() {
    let key = WholeKey::number(1);

    let error = refused(|psbt| {
        psbt.inputs[0].tap_internal_key = Some(x_only(&WholeKey::number(2)));
    });

    let expected = x_only(&key).to_string();
    assert_eq!(
        error,
        Undecodable::InternalKeyMismatch { input: 0, expected }
    );
    let mut right = plain(&key);
    right.inputs[0].tap_internal_key = Some(x_only(&key));
    right.inputs[0]
        .tap_key_origins
        .insert(x_only(&key), Default::default());
    assert!(decode_psbt(&key, &right).is_ok());
}

#[test]
fn an_input_that_is_signed_already_is_refused() {
    let signed = |field| Undecodable::AlreadySigned { input: 0, field };

    assert_eq!(
        refused(|psbt| {
            let signature = bitcoin::taproot::Signature::from_slice(&[1; 64]).unwrap();
            psbt.inputs[0].tap_key_sig = Some(signature);
        }),
        signed("tap_key_sig")
    );
    assert_eq!(
        refused(|psbt| psbt.inputs[0].final_script_witness = Some(Witness::new())),
        signed("final_script_witness")
    );
    assert_eq!(
        refused(|psbt| psbt.inputs[0].final_script_sig = Some(ScriptBuf::new())),
        signed("final_script_sig")
    );
}

#[test]
fn what_stands_beside_the_inputs_of_others_is_left_alone() {
    let key = WholeKey::number(1);
    let mut psbt = mixed(&key);
    psbt.inputs[0].sighash_type = Some(PsbtSighashType::from_u32(0x83));
    psbt.inputs[0].tap_merkle_root = Some(TapNodeHash::from_byte_array([4; 32]));
    psbt.inputs[0].tap_internal_key = Some(x_only(&WholeKey::number(2)));
    psbt.inputs[3].final_script_witness = Some(Witness::from_slice(&[[1; 8]]));
    psbt.inputs[3].unknown.insert(
        raw::Key {
            type_value: 0xf0,
            key: vec![1],
        },
        vec![2],
    );
    let public = bitcoin::PublicKey::from_slice(key.group_key()).unwrap();
    let der = "300602010102010101";
    let signature = ecdsa::Signature::from_slice(&hex::decode(der).unwrap()).unwrap();
    psbt.inputs[0].partial_sigs.insert(public, signature);

    let decoded = decode_psbt(&key, &psbt).unwrap();

    let signed: Vec<_> = decoded.items.iter().map(|item| item.input).collect();
    assert_eq!(signed, [Some(1), Some(2)]);
}

#[test]
fn outputs_that_exceed_the_inputs_are_refused() {
    let error =
        refused(|psbt| psbt.unsigned_tx.output[0].value = bitcoin::Amount::from_sat(61_001));

    let expected = Undecodable::OutputsExceedInputs {
        inputs_sat: 100_000,
        outputs_sat: 100_001,
    };
    assert_eq!(error, expected);
}

#[test]
fn a_fee_above_one_tenth_of_the_inputs_or_a_tenth_of_a_bitcoin_needs_the_flag() {
    let key = WholeKey::number(1);
    let check = |inputs_sat: u64, fee_sat: u64, is_high: bool| {
        let spent = vec![output(key.script(), inputs_sat)];
        let psbt = spend(spent, vec![output(stranger(), inputs_sat - fee_sat)]);
        let mut payload = Payload::psbt(psbt.serialize());

        let without = decode(&payload, &key.facts());
        payload.allow_high_fee = true;
        let with = decode(&payload, &key.facts());

        if is_high {
            assert_eq!(
                without.unwrap_err(),
                Undecodable::HighFee {
                    fee_sat,
                    inputs_sat
                }
            );
        } else {
            assert!(without.is_ok());
        }
        assert!(with.is_ok());
    };

    check(100_000, 10_000, false);
    check(100_000, 10_001, true);
    check(99_999, 9_999, false);
    check(99_999, 10_000, true);
    check(10_000_000_000, HIGH_FEE_SAT, false);
    check(10_000_000_000, HIGH_FEE_SAT + 1, true);
    check(1, 1, true);
    check(MAX_MONEY, MAX_MONEY, true);
}

/// What is said about the plain spend after a change to it.
fn refused(change: impl FnOnce(&mut Psbt)) -> Undecodable {
    let key = WholeKey::number(1);
    let mut psbt = plain(&key);
    assert!(decode_psbt(&key, &psbt).is_ok());
    change(&mut psbt);
    decode_psbt(&key, &psbt).unwrap_err()
}

fn x_only(key: &WholeKey) -> XOnlyPublicKey {
    XOnlyPublicKey::from_slice(&key.group_key()[1..]).unwrap()
}
