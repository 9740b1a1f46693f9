//! Signing by children of a key (P26).

use quorate_model::DerivationPath;

use super::{
    super::{AggregateError, Tweak, aggregate, sign_share, verify_share},
    dealt::{deal, kinds, party},
};
use crate::{derivation::Child, verify};

const CHAIN_CODE: [u8; 32] = [8; 32];

fn path() -> DerivationPath {
    "m/1/2147483647/5".parse().unwrap()
}

#[test]
fn every_subset_signs_for_a_child_and_the_library_agrees() {
    for (scheme, tweak) in kinds() {
        let mut dealt = deal(scheme, 2, 3, 41);
        let child = Child::derive(scheme, &dealt.group_key, &CHAIN_CODE, &path()).unwrap();
        let keys = dealt.keys().child(&CHAIN_CODE, &path()).unwrap();
        assert_eq!(keys.group_key(), child.key());
        for signers in [[1, 2], [1, 3], [2, 3]] {
            let (nonces, set) = dealt.set(&signers);
            let shares: Vec<_> = set
                .signers()
                .zip(nonces)
                .map(|(signer, nonces)| {
                    let key = dealt.key(signer).child(&child).unwrap();
                    (
                        signer,
                        sign_share(&key, nonces, &set, b"paid", tweak).unwrap(),
                    )
                })
                .collect();

            let signature = aggregate(&keys, &set, b"paid", tweak, &shares).unwrap();

            verify::signature(scheme, child.key(), b"paid", tweak, &signature).unwrap();
            let parent = verify::signature(scheme, &dealt.group_key, b"paid", tweak, &signature);
            assert!(parent.is_err(), "{scheme}");
        }
    }
}

#[test]
fn a_false_share_of_a_child_is_named_and_a_true_one_is_not() {
    for (scheme, tweak) in kinds() {
        let mut dealt = deal(scheme, 2, 3, 42);
        let child = Child::derive(scheme, &dealt.group_key, &CHAIN_CODE, &path()).unwrap();
        let keys = dealt.keys().child(&CHAIN_CODE, &path()).unwrap();
        let (nonces, set) = dealt.set(&[1, 3]);
        let mut shares: Vec<_> = set
            .signers()
            .zip(nonces)
            .map(|(signer, nonces)| {
                let key = dealt.key(signer).child(&child).unwrap();
                (
                    signer,
                    sign_share(&key, nonces, &set, b"paid", tweak).unwrap(),
                )
            })
            .collect();
        for (signer, share) in &shares {
            verify_share(&keys, &set, b"paid", tweak, *signer, share).unwrap();
        }
        shares[1].1[20] ^= 1;

        let error = aggregate(&keys, &set, b"paid", tweak, &shares).unwrap_err();

        let culprits = [party(3)].into();
        assert_eq!(error, AggregateError::Cheaters { culprits }, "{scheme}");
    }
}

#[test]
fn a_share_does_not_become_one_of_a_child_on_another_curve() {
    let secp = deal(quorate_model::Scheme::Bip340, 2, 3, 43);
    let edwards = deal(quorate_model::Scheme::Ed25519, 2, 3, 43);
    let child = Child::derive(edwards.scheme, &edwards.group_key, &CHAIN_CODE, &path()).unwrap();

    assert!(secp.key(party(1)).child(&child).is_none());
}

#[test]
fn a_taproot_child_is_derived_first_and_tweaked_then() {
    use bitcoin::{key::TapTweak as _, secp256k1::Secp256k1};
    let dealt = deal(quorate_model::Scheme::Bip340, 2, 3, 44);
    let child = Child::derive(dealt.scheme, &dealt.group_key, &CHAIN_CODE, &path()).unwrap();
    let internal = bitcoin::secp256k1::PublicKey::from_slice(child.key()).unwrap();
    let (internal, _) = internal.x_only_public_key();

    let (expected, _) = internal.tap_tweak(&Secp256k1::verification_only(), None);

    let output = verify::taproot_output_key(child.key()).unwrap();
    assert_eq!(output, expected.to_x_only_public_key().serialize());
    assert_ne!(verify::taproot_output_key(&dealt.group_key), Ok(output));
    assert_eq!(Tweak::default(), Tweak::None);
}
