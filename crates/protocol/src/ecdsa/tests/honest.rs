use k256::{Scalar, elliptic_curve::PrimeField as _};
use quorate_model::PartyIndex;
use secp256k1::{Message, PublicKey, SecretKey, ecdsa};

use super::{
    super::{Advance, EcdsaSignature, PairingState, renews_pairings, signing},
    harness::{Holders, subsets},
};
use crate::{
    Fault,
    dkg::tests::harness::{identity, party},
    verify,
};

/// What the verifiers outside say, who know neither the engine nor this crate.
fn assert_valid(key: &[u8; 33], digest: [u8; 32], signature: &EcdsaSignature) {
    assert_eq!(signature.public_key, *key);
    let compact = signature.compact();
    let key = PublicKey::from_byte_array_compressed(*key).unwrap();
    let read = ecdsa::Signature::from_compact(&compact).unwrap();
    let mut low = read;
    low.normalize_s();
    assert_eq!(low, read, "s is low");
    assert!(ecdsa::verify(&read, Message::from_digest(digest), &key).is_ok());

    let read = k256::ecdsa::Signature::from_slice(&compact).unwrap();
    let id = k256::ecdsa::RecoveryId::from_byte(signature.recovery_id).unwrap();
    let recovered = k256::ecdsa::VerifyingKey::recover_from_prehash(&digest, &read, id).unwrap();
    assert_eq!(recovered.to_encoded_point(true).as_bytes(), key.serialize());
}

fn check_shape(holders: &Holders, count: u16, messages: u8) {
    for (seed, signers) in (100..).zip(&subsets(holders.threshold, count)) {
        for message in 0..messages {
            let digest = [message.wrapping_mul(37); 32];
            let signature = holders.signature(signers, digest, None, seed);

            assert_valid(&holders.group_key(), digest, &signature);
        }
    }
}

#[test]
fn every_two_of_three_holders_sign_for_the_key_that_was_generated() {
    check_shape(Holders::small(), 3, 8);
}

#[test]
fn every_three_of_five_holders_sign_for_the_key_that_was_generated() {
    check_shape(Holders::large(), 5, 2);
}

#[test]
fn a_tweak_moves_the_key_by_as_much() {
    let holders = Holders::small();
    for (at, tweak) in (1..).zip([[1; 32], [0x77; 32], [0xfe; 32]]) {
        let scalar = secp256k1::Scalar::from_be_bytes(tweak).unwrap();
        let moved = PublicKey::from_byte_array_compressed(holders.group_key())
            .unwrap()
            .add_exp_tweak(&scalar)
            .unwrap()
            .serialize();
        for signers in subsets(2, 3) {
            let digest = [at; 32];
            let signature = holders.signature(&signers, digest, Some(tweak), 7);

            assert_valid(&moved, digest, &signature);
        }
    }
}

#[test]
fn renewed_pairings_sign_and_do_not_meet_old_ones() {
    let holders = Holders::small();
    let mut renewed = holders.pair(&[1, 2], 99).finish();
    let mut states = [1, 2].map(|me| {
        let mut state = holders.pairings(me);
        let later = renewed.remove(&party(me)).unwrap();
        state.renew(later).unwrap();
        (party(me), state)
    });
    let begin = |states: &[(PartyIndex, PairingState)]| {
        let mut cluster = holders.sign(&[1, 2], [3; 32], None, 5);
        for (at, (me, state)) in states.iter().enumerate() {
            let share = holders.share(me.number());
            let setup = holders.signing(&share, state, &[1, 2], [3; 32], None);
            let (machine, hello) = signing::start(setup, &identity(*me), &mut cluster.rng).unwrap();
            cluster.machines.insert(*me, machine);
            cluster.outgoing[at] = hello;
        }
        cluster
    };
    assert_eq!(begin(&states).finish().len(), 2);

    states[1].1 = holders.pairings(2);
    for outcome in begin(&states).end().into_values() {
        let Advance::Aborted { abort } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(abort.fault(), Some(Fault::PairingMismatch));
        assert!(renews_pairings(&abort));
        assert!(abort.culprits().is_empty());
    }
}

#[test]
fn the_stand_in_signs_in_the_same_pattern() {
    check_shape(Holders::stand_in(), 5, 2);
}

#[test]
fn the_stand_in_replays_exactly_from_its_randomness() {
    let holders = Holders::stand_in();
    let sign = |seed| holders.signature(&[1, 2, 3], [1; 32], None, seed);

    assert_eq!(sign(1), sign(1));
    assert_ne!(sign(1), sign(2));
}

/// Checks of a signature that must not leave: the two libraries, each by itself.
#[test]
fn a_signature_that_is_altered_in_any_part_is_none() {
    let holders = Holders::stand_in();
    let digest = [4; 32];
    let good = holders.signature(&[1, 2, 3], digest, None, 1);
    let check = |key: &[u8; 33], digest, signature: &EcdsaSignature| {
        verify::ecdsa(key, digest, &signature.compact(), signature.recovery_id)
    };
    let key = holders.group_key();
    assert_eq!(check(&key, &digest, &good), Ok(()));
    let high = (-Scalar::from_repr(good.s.into()).unwrap())
        .to_repr()
        .into();

    let altered = [
        EcdsaSignature { r: good.s, ..good },
        EcdsaSignature { s: good.r, ..good },
        EcdsaSignature { s: [0; 32], ..good },
        EcdsaSignature {
            recovery_id: good.recovery_id ^ 1,
            ..good
        },
        EcdsaSignature {
            recovery_id: 4,
            ..good
        },
        EcdsaSignature {
            s: high,
            recovery_id: good.recovery_id ^ 1,
            ..good
        },
    ];
    for signature in altered {
        assert!(check(&key, &digest, &signature).is_err(), "{signature:?}");
    }
    assert!(check(&key, &[5; 32], &good).is_err());
    let other = SecretKey::from_secret_bytes([1; 32]).unwrap();
    let other = PublicKey::from_secret_key(&other).serialize();
    assert!(check(&other, &digest, &good).is_err());
}
