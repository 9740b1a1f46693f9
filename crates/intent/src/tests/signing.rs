//! Signatures on their way back into what was asked for.

use bitcoin::{Psbt, psbt::raw};
use quorate_model::{KeyPurpose, Payload, Purposes, Scheme, payload::MAX_PAYLOAD_BYTES};

use super::{
    fixtures::{CHAIN_CODE, WholeKey, decode_psbt, mixed, plain},
    judges::sign,
};
use crate::{Finished, KeyFacts, Undecodable, Unfinishable, decode, finalize, finish};

#[test]
fn signatures_go_into_our_inputs_and_nothing_else_changes() {
    let key = WholeKey::number(1);
    let mut psbt = mixed(&key);
    psbt.unknown.insert(
        raw::Key {
            type_value: 0xf0,
            key: vec![1],
        },
        vec![2],
    );
    psbt.inputs[0].unknown.insert(
        raw::Key {
            type_value: 0xf1,
            key: vec![3],
        },
        vec![4],
    );

    let mut signed = Psbt::deserialize(&sign(&key, &psbt)).unwrap();

    let filled: Vec<_> = signed
        .inputs
        .iter()
        .map(|input| input.tap_key_sig.is_some())
        .collect();
    assert_eq!(filled, [false, true, true, false]);
    signed
        .inputs
        .iter_mut()
        .for_each(|input| input.tap_key_sig = None);
    assert_eq!(signed, psbt);
}

#[test]
fn a_signed_psbt_is_not_signed_twice() {
    let key = WholeKey::number(1);
    let signed = Psbt::deserialize(&sign(&key, &plain(&key))).unwrap();

    let error = decode_psbt(&key, &signed).unwrap_err();

    assert_eq!(
        error,
        Undecodable::AlreadySigned {
            input: 0,
            field: "tap_key_sig"
        }
    );
}

#[test]
fn a_signature_that_does_not_verify_is_not_put_in() {
    let key = WholeKey::number(1);
    let payload = Payload::psbt(mixed(&key).serialize());
    let right = key.sign_all(&decode(&payload, &key.facts()).unwrap());
    let finish = |signatures: &[Vec<u8>]| finish(&payload, &key.facts(), signatures);
    let mut flipped = right.clone();
    flipped[1][20] ^= 1;
    let swapped = [right[1].clone(), right[0].clone()];
    let overflowing = [right[0].clone(), vec![0xff; 64]];

    assert!(finish(&right).is_ok());
    assert_eq!(
        finish(&flipped),
        Err(Unfinishable::Invalid { item: 1, input: 2 })
    );
    assert_eq!(
        finish(&swapped),
        Err(Unfinishable::Invalid { item: 0, input: 1 })
    );
    assert_eq!(
        finish(&overflowing),
        Err(Unfinishable::Invalid { item: 1, input: 2 })
    );
}

#[test]
fn a_signature_under_the_untweaked_key_is_not_put_in() {
    let key = WholeKey::number(1);
    let payload = Payload::psbt(plain(&key).serialize());
    let decoded = decode(&payload, &key.facts()).unwrap();
    let untweaked = secp256k1::Keypair::from_secret_bytes([1; 32]).unwrap();
    let signature = untweaked.sign_schnorr_no_aux_rand(&decoded.items[0].message);

    let result = finish(
        &payload,
        &key.facts(),
        &[signature.to_byte_array().to_vec()],
    );

    assert_eq!(result, Err(Unfinishable::Invalid { item: 0, input: 0 }));
}

#[test]
fn there_is_one_signature_of_the_right_length_for_each_item() {
    let key = WholeKey::number(1);
    let payload = Payload::psbt(mixed(&key).serialize());
    let right = key.sign_all(&decode(&payload, &key.facts()).unwrap());
    let finish = |signatures: &[Vec<u8>]| finish(&payload, &key.facts(), signatures);
    let long = [right[0].clone(), [&right[1][..], &[0]].concat()];

    assert_eq!(
        finish(&right[..1]),
        Err(Unfinishable::Count {
            expected: 2,
            found: 1
        })
    );
    assert_eq!(
        finish(&[]),
        Err(Unfinishable::Count {
            expected: 2,
            found: 0
        })
    );
    assert_eq!(
        finish(&long),
        Err(Unfinishable::Length {
            item: 1,
            expected: 64,
            found: 65
        })
    );
}

#[test]
fn what_cannot_be_decoded_cannot_be_finished() {
    let key = WholeKey::number(1);

    let result = finish(&Payload::psbt(vec![]), &key.facts(), &[]);

    assert_eq!(result, Err(Unfinishable::Undecodable(Undecodable::NotPsbt)));
}

#[test]
fn the_signature_of_a_message_or_digest_is_returned_as_it_is() {
    let purposes = Purposes::new(KeyPurpose::ALL.to_vec()).unwrap();
    for (scheme, length) in [
        (Scheme::Bip340, 64),
        (Scheme::FrostSecp256k1, 65),
        (Scheme::Ed25519, 64),
    ] {
        let key = KeyFacts {
            scheme,
            purposes: &purposes,
            group_key: &[2; 33],
            chain_code: &CHAIN_CODE,
        };
        let payload = Payload::message(*b"hello");
        let signature = vec![9; length];

        let finished = finish(&payload, &key, std::slice::from_ref(&signature));
        let short = finish(&payload, &key, &[vec![9; length - 1]]);

        assert_eq!(finished, Ok(Finished::Signature(signature)));
        let found = length - 1;
        assert_eq!(
            short,
            Err(Unfinishable::Length {
                item: 0,
                expected: length,
                found
            })
        );
        assert_eq!(
            finish(&payload, &key, &[vec![9; length], vec![9; length]]),
            Err(Unfinishable::Count {
                expected: 1,
                found: 2
            })
        );
    }
    let key = KeyFacts {
        scheme: Scheme::Bip340,
        purposes: &purposes,
        group_key: &[2; 33],
        chain_code: &CHAIN_CODE,
    };
    assert_eq!(
        finish(&Payload::digest([1; 32]), &key, &[vec![9; 64]]),
        Ok(Finished::Signature(vec![9; 64]))
    );
}

#[test]
fn finalizing_keeps_only_what_a_finalizer_may_keep() {
    let key = WholeKey::number(1);
    let mut psbt = plain(&key);
    let unknown = raw::Key {
        type_value: 0xf1,
        key: vec![3],
    };
    let internal = bitcoin::XOnlyPublicKey::from_slice(&key.group_key()[1..]).unwrap();
    psbt.inputs[0].unknown.insert(unknown.clone(), vec![4]);
    psbt.inputs[0].tap_internal_key = Some(internal);

    let finalized = finalize(&sign(&key, &psbt)).unwrap();

    let input = Psbt::deserialize(&finalized.psbt).unwrap().inputs.remove(0);
    let mut expected = plain(&key).inputs.remove(0);
    expected.unknown.insert(unknown, vec![4]);
    expected.final_script_witness = input.final_script_witness.clone();
    assert!(expected.final_script_witness.is_some());
    assert_eq!(input, expected);
}

#[test]
fn finalizing_an_unsigned_psbt_changes_nothing_and_yields_no_transaction() {
    let psbt = plain(&WholeKey::number(1)).serialize();

    let finalized = finalize(&psbt).unwrap();

    assert_eq!(finalized.psbt, psbt);
    assert_eq!(finalized.transaction, None);
    assert_eq!(finalize(b"hello"), Err(Undecodable::NotPsbt));
    let long = vec![0; 2 * MAX_PAYLOAD_BYTES + 1];
    assert_eq!(finalize(&long).unwrap_err().detail(), "PAYLOAD_TOO_LARGE");
}
