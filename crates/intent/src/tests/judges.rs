//! Bitcoin Core's script verification, and BIP-341, BIP-350 written out once more over `sha2` and
//! `k256`: none of them shares code with the crate.

use bitcoin::{Amount, Psbt, Transaction, TxOut, consensus, psbt::PsbtSighashType};
use k256::{
    ProjectivePoint, PublicKey, Scalar, U256,
    elliptic_curve::{ops::Reduce, point::AffineCoordinates as _},
};
use quorate_model::{DerivationPath, Payload};
use sha2::{Digest as _, Sha256};

use super::fixtures::{WholeKey, decode_psbt, mixed, output, plain, spend, stranger, tagged_hash};
use crate::{Finished, KeyFacts, decode, finalize, finish};

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

pub(crate) fn spent_outputs(psbt: &Psbt) -> Vec<TxOut> {
    psbt.inputs
        .iter()
        .map(|input| input.witness_utxo.clone().unwrap())
        .collect()
}

/// The PSBT with the signatures of the key, as the crate puts them in.
pub(crate) fn sign(key: &WholeKey, psbt: &Psbt) -> Vec<u8> {
    let payload = Payload {
        allow_high_fee: true,
        ..Payload::psbt(psbt.serialize())
    };
    let signatures = key.sign_all(&decode(&payload, &key.facts()).unwrap());
    match finish(&payload, &key.facts(), &signatures).unwrap() {
        Finished::Psbt(bytes) => bytes,
        Finished::Signature(_) => panic!("a PSBT comes back as a PSBT"),
    }
}

/// The witness that others add to theirs does not matter for the inputs that are judged.
pub(crate) fn transaction_of(signed: &[u8]) -> Transaction {
    let finalized = finalize(signed).unwrap();
    Psbt::deserialize(&finalized.psbt)
        .unwrap()
        .extract_tx_unchecked_fee_rate()
}

#[test]
fn core_accepts_a_spend_signed_over_the_digest_and_refuses_a_changed_one() {
    let key = WholeKey::number(1);
    let psbt = plain(&key);
    let spent = spent_outputs(&psbt);

    let finalized = finalize(&sign(&key, &psbt)).unwrap();

    let bytes = finalized.transaction.unwrap();
    let transaction: Transaction = consensus::encode::deserialize(&bytes).unwrap();
    assert!(core_accepts(&transaction, &spent, 0));
    let mut paid_less = transaction.clone();
    paid_less.output[0].value = Amount::from_sat(59_999);
    assert!(!core_accepts(&paid_less, &spent, 0));
    let mut elsewhere = transaction.clone();
    elsewhere.output[0].script_pubkey = key.script();
    assert!(!core_accepts(&elsewhere, &spent, 0));
    let mut later = transaction.clone();
    later.input[0].sequence = bitcoin::Sequence::MAX;
    assert!(!core_accepts(&later, &spent, 0));
    let mut signature = transaction.input[0].witness.nth(0).unwrap().to_vec();
    signature[40] ^= 1;
    let mut flipped = transaction;
    flipped.input[0].witness = bitcoin::Witness::from_slice(&[signature]);
    assert!(!core_accepts(&flipped, &spent, 0));
}

#[test]
fn core_accepts_every_input_of_a_spend_by_two_keys_in_turn() {
    let (one, two) = (WholeKey::number(1), WholeKey::number(2));
    let spent = vec![
        output(one.script(), 100_000),
        output(two.script(), 200_000),
        output(one.script(), 300_000),
        output(two.script(), 400_000),
    ];
    let mut psbt = spend(spent.clone(), vec![output(stranger(), 990_000)]);
    psbt.inputs[1].sighash_type = Some(PsbtSighashType::from_u32(1));
    psbt.inputs[2].sighash_type = Some(PsbtSighashType::from_u32(0));

    let by_one = Psbt::deserialize(&sign(&one, &psbt)).unwrap();
    let by_both = sign(&two, &by_one);

    let bytes = finalize(&by_both).unwrap().transaction.unwrap();
    let transaction: Transaction = consensus::encode::deserialize(&bytes).unwrap();
    for input in 0..4 {
        assert!(core_accepts(&transaction, &spent, input), "input {input}");
    }
    let lengths: Vec<_> = transaction
        .input
        .iter()
        .map(|input| input.witness.nth(0).unwrap().len())
        .collect();
    assert_eq!(lengths, [64, 65, 64, 64]);
}

#[test]
fn core_accepts_our_inputs_among_those_of_others_and_no_false_amount_anywhere() {
    let key = WholeKey::number(1);
    let psbt = mixed(&key);
    let spent = spent_outputs(&psbt);

    let signed = sign(&key, &psbt);

    let transaction = transaction_of(&signed);
    assert!(core_accepts(&transaction, &spent, 1));
    assert!(core_accepts(&transaction, &spent, 2));
    assert!(
        !core_accepts(&transaction, &spent, 0),
        "nobody signed for the stranger"
    );
    assert_eq!(finalize(&signed).unwrap().transaction, None);
    for index in 0..4 {
        let mut false_amount = spent.clone();
        false_amount[index].value = Amount::from_sat(1);
        assert!(
            !core_accepts(&transaction, &false_amount, 1),
            "amount of input {index}"
        );
    }
}

#[test]
fn a_proven_amount_serves_as_well_as_a_claimed_one() {
    let key = WholeKey::number(1);
    let mut psbt = plain(&key);
    let spent = spent_outputs(&psbt);
    let previous = super::fixtures::funding(vec![output(stranger(), 5), spent[0].clone()]);
    psbt.unsigned_tx.input[0].previous_output = bitcoin::OutPoint {
        txid: previous.compute_txid(),
        vout: 1,
    };
    psbt.inputs[0].witness_utxo = None;
    psbt.inputs[0].non_witness_utxo = Some(previous);

    let transaction = transaction_of(&sign(&key, &psbt));

    assert!(core_accepts(&transaction, &spent, 0));
}

#[test]
fn the_digest_that_is_signed_is_the_one_that_bip_341_defines() {
    let key = WholeKey::number(1);
    let mut psbt = mixed(&key);
    psbt.inputs[2].sighash_type = Some(PsbtSighashType::from_u32(1));

    let decoded = decode_psbt(&key, &psbt).unwrap();

    let spent = spent_outputs(&psbt);
    assert_eq!(
        decoded.items[0].message,
        bip341_sighash(&psbt.unsigned_tx, &spent, 1, 0)
    );
    assert_eq!(
        decoded.items[1].message,
        bip341_sighash(&psbt.unsigned_tx, &spent, 2, 1)
    );
}

#[test]
fn the_sign_of_the_group_key_does_not_change_the_address() {
    let key = WholeKey::number(1);
    let mut negated = key.group_key().to_vec();
    negated[0] ^= 1;

    let other = KeyFacts {
        group_key: &negated,
        ..key.facts()
    };

    for network in crate::Network::ALL {
        assert_eq!(
            crate::address(&other, &DerivationPath::ROOT, network, None).unwrap(),
            crate::address(&key.facts(), &DerivationPath::ROOT, network, None).unwrap()
        );
    }
}

/// The digest of BIP-341 for the key path with sighash DEFAULT (0) or ALL (1), without annex.
pub(crate) fn bip341_sighash(
    transaction: &Transaction,
    spent: &[TxOut],
    input: usize,
    sighash_type: u8,
) -> [u8; 32] {
    let hash = |parts: Vec<Vec<u8>>| Sha256::digest(parts.concat()).to_vec();
    let with_length = |script: &bitcoin::Script| {
        let length = script.len();
        assert!(length < 253, "longer scripts have another length prefix");
        [&[u8::try_from(length).unwrap()], script.as_bytes()].concat()
    };
    let inputs = &transaction.input;
    let outpoint = |input: &bitcoin::TxIn| {
        let txid: [u8; 32] = bitcoin::hashes::Hash::to_byte_array(input.previous_output.txid);
        [&txid[..], &input.previous_output.vout.to_le_bytes()].concat()
    };
    let sequence = |input: &bitcoin::TxIn| input.sequence.0.to_le_bytes().to_vec();
    let amount = |output: &TxOut| output.value.to_sat().to_le_bytes().to_vec();
    let script = |output: &TxOut| with_length(&output.script_pubkey);
    let whole = |output: &TxOut| [amount(output), script(output)].concat();
    let message = [
        vec![0, sighash_type],
        transaction.version.0.to_le_bytes().to_vec(),
        transaction
            .lock_time
            .to_consensus_u32()
            .to_le_bytes()
            .to_vec(),
        hash(inputs.iter().map(outpoint).collect()),
        hash(spent.iter().map(amount).collect()),
        hash(spent.iter().map(script).collect()),
        hash(inputs.iter().map(sequence).collect()),
        hash(transaction.output.iter().map(whole).collect()),
        vec![0],
        u32::try_from(input).unwrap().to_le_bytes().to_vec(),
    ];
    tagged_hash("TapSighash", &message.concat())
}

/// The output key of BIP-341 with no script tree, by k256.
pub(crate) fn bip341_output_key(group_key: &[u8]) -> [u8; 32] {
    let x = &group_key[1..];
    let even = PublicKey::from_sec1_bytes(&[&[2], x].concat()).unwrap();
    let tweak = <Scalar as Reduce<U256>>::reduce_bytes(&tagged_hash("TapTweak", x).into());
    let point = even.to_projective() + ProjectivePoint::GENERATOR * tweak;
    point.to_affine().x().into()
}

/// The address of a version 1 witness program, by BIP-350.
pub(crate) fn bip350_address(prefix: &str, program: &[u8; 32]) -> String {
    const LETTERS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let mut data = vec![1u8];
    let (mut buffer, mut bits) = (0u32, 0u32);
    for byte in program {
        buffer = (buffer << 8 | u32::from(*byte)) & 0xfff;
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            data.push(u8::try_from(buffer >> bits & 31).unwrap());
        }
    }
    data.push(u8::try_from(buffer << (5 - bits) & 31).unwrap());
    let expanded = prefix
        .bytes()
        .map(|c| c >> 5)
        .chain([0])
        .chain(prefix.bytes().map(|c| c & 31));
    let checked = expanded.chain(data.iter().copied()).chain([0; 6]);
    let checksum = checked.fold(1u32, |sum, value| {
        let generators = [
            0x3b6a_57b2,
            0x2650_8e6d,
            0x1ea1_19fa,
            0x3d42_33dd,
            0x2a14_62b3,
        ];
        let start = (sum & 0x1ff_ffff) << 5 ^ u32::from(value);
        generators
            .iter()
            .enumerate()
            .fold(start, |sum_so_far, (bit, generator)| {
                if sum >> 25 >> bit & 1 == 1 {
                    sum_so_far ^ generator
                } else {
                    sum_so_far
                }
            })
    }) ^ 0x2bc8_30a3;
    data.extend(
        (0..6)
            .rev()
            .map(|place| u8::try_from(checksum >> (5 * place) & 31).unwrap()),
    );
    let text = data
        .into_iter()
        .map(|value| char::from(LETTERS[usize::from(value)]));
    format!("{prefix}1{}", text.collect::<String>())
}
