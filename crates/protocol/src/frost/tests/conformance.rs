//! Shares and signatures are bit for bit those of the reference implementation.

use std::collections::BTreeMap;

use frost_core::{
    Ciphersuite, Identifier, SigningPackage, VerifyingKey,
    keys::{KeyPackage, PublicKeyPackage, SigningShare, VerifyingShare},
    round1::SigningCommitments,
    round2,
};
use frost_secp256k1_tr::Secp256K1Sha256TR;
use proptest::prelude::*;
use quorate_model::{PartyIndex, Scheme};

use super::{
    super::{
        NonceCommitments, NoncePair, ShareBytes, Tweak, aggregate,
        nonces::{NoncePair as Pair, Scalars},
        sign_share, verify_share,
    },
    dealt::{Dealt, deal, kinds, party},
};
use crate::{
    sharing::SecretScalar,
    suite::{Edwards, Secp, decode_scalar},
    verify,
};

fn identifier<C: Ciphersuite>(index: PartyIndex) -> Identifier<C> {
    Identifier::try_from(index.number()).unwrap()
}

/// Our pair out of the reference's nonces.
fn pair_of<C: Ciphersuite>(
    scheme: Scheme,
    nonces: &frost_core::round1::SigningNonces<C>,
    commitments: &SigningCommitments<C>,
) -> (NoncePair, NonceCommitments) {
    let commitments = NonceCommitments::from_bytes(
        scheme,
        &commitments.hiding().serialize().unwrap(),
        &commitments.binding().serialize().unwrap(),
    )
    .unwrap();
    let (hiding, binding) = (nonces.hiding().serialize(), nonces.binding().serialize());
    let scalars = if scheme == Scheme::Ed25519 {
        Scalars::Edwards {
            hiding: SecretScalar::new(decode_scalar::<Edwards>(&hiding).unwrap()),
            binding: SecretScalar::new(decode_scalar::<Edwards>(&binding).unwrap()),
        }
    } else {
        Scalars::Secp {
            hiding: SecretScalar::new(decode_scalar::<Secp>(&hiding).unwrap()),
            binding: SecretScalar::new(decode_scalar::<Secp>(&binding).unwrap()),
        }
    };
    (
        Pair {
            scalars: Box::new(scalars),
            commitments: commitments.clone(),
        },
        commitments,
    )
}

struct Reference<C: Ciphersuite> {
    packages: BTreeMap<PartyIndex, KeyPackage<C>>,
    public: PublicKeyPackage<C>,
}

fn reference<C: Ciphersuite>(dealt: &Dealt) -> Reference<C> {
    let verifying_key = VerifyingKey::<C>::deserialize(&dealt.group_key).unwrap();
    let mut verifying_shares = BTreeMap::new();
    let mut packages = BTreeMap::new();
    let indices = PartyIndex::first(u16::try_from(dealt.shares.len()).unwrap());
    for ((index, share), public) in indices.zip(&dealt.shares).zip(&dealt.verifying_shares) {
        let id = identifier::<C>(index);
        let verifying_share = VerifyingShare::deserialize(public).unwrap();
        verifying_shares.insert(id, verifying_share);
        let share = SigningShare::deserialize(share).unwrap();
        let package = KeyPackage::new(id, share, verifying_share, verifying_key, dealt.threshold);
        packages.insert(index, package);
    }
    let public = PublicKeyPackage::new(verifying_shares, verifying_key, Some(dealt.threshold));
    Reference { packages, public }
}

type Shares<C> = BTreeMap<Identifier<C>, round2::SignatureShare<C>>;

/// Signs one message with both, from the same nonces, and compares all shares and the signature.
fn compare<C: Ciphersuite>(
    dealt: &mut Dealt,
    signers: &[u16],
    message: &[u8],
    tweak: Tweak,
    sign: impl Fn(
        &SigningPackage<C>,
        &frost_core::round1::SigningNonces<C>,
        &KeyPackage<C>,
    ) -> round2::SignatureShare<C>,
    finish: impl Fn(&SigningPackage<C>, &Shares<C>, &PublicKeyPackage<C>) -> Vec<u8>,
) {
    let Reference { packages, public } = reference::<C>(dealt);
    let mut theirs = BTreeMap::new();
    let mut ours = Vec::new();
    let mut commitments = BTreeMap::new();
    let mut entries = Vec::new();
    for index in signers.iter().map(|signer| party(*signer)) {
        let (nonces, committed) =
            frost_core::round1::commit::<C, _>(packages[&index].signing_share(), &mut dealt.rng);
        let (pair, parsed) = pair_of(dealt.scheme, &nonces, &committed);
        theirs.insert(index, nonces);
        ours.push(pair);
        commitments.insert(identifier::<C>(index), committed);
        entries.push((index, parsed));
    }
    let set = super::super::SigningSet::new(entries).unwrap();
    let package = SigningPackage::new(commitments, message);

    let mut shares: Vec<(PartyIndex, ShareBytes)> = Vec::new();
    let mut reference_shares = BTreeMap::new();
    for (pair, (index, nonces)) in ours.into_iter().zip(&theirs) {
        let share = sign_share(&dealt.key(*index), pair, &set, message, tweak).unwrap();
        let expected = sign(&package, nonces, &packages[index]);
        assert_eq!(share.as_slice(), expected.serialize());
        let keys = dealt.keys();
        assert_eq!(
            verify_share(&keys, &set, message, tweak, *index, &share),
            Ok(())
        );
        shares.push((*index, share));
        reference_shares.insert(identifier::<C>(*index), expected);
    }
    let signature = aggregate(&dealt.keys(), &set, message, tweak, &shares).unwrap();

    assert_eq!(signature, finish(&package, &reference_shares, &public));
    let verified = verify::signature(dealt.scheme, &dealt.group_key, message, tweak, &signature);
    assert_eq!(verified, Ok(()));
}

fn compare_kind(dealt: &mut Dealt, signers: &[u16], message: &[u8], tweak: Tweak) {
    match (dealt.scheme, tweak) {
        (Scheme::Bip340, Tweak::TaprootKeyPath) => compare::<Secp256K1Sha256TR>(
            dealt,
            signers,
            message,
            tweak,
            |package, nonces, key| {
                frost_secp256k1_tr::round2::sign_with_tweak(package, nonces, key, None).unwrap()
            },
            |package, shares, public| {
                frost_secp256k1_tr::aggregate_with_tweak(package, shares, public, None)
                    .unwrap()
                    .serialize()
                    .unwrap()
            },
        ),
        (Scheme::Bip340, Tweak::None) => {
            compare_plain::<Secp256K1Sha256TR>(dealt, signers, message);
        }
        (Scheme::FrostSecp256k1, Tweak::None) => compare_plain::<Secp>(dealt, signers, message),
        (Scheme::Ed25519, Tweak::None) => compare_plain::<Edwards>(dealt, signers, message),
        other => panic!("{other:?}"),
    }
}

fn compare_plain<C: Ciphersuite>(dealt: &mut Dealt, signers: &[u16], message: &[u8]) {
    compare::<C>(
        dealt,
        signers,
        message,
        Tweak::None,
        |package, nonces, key| round2::sign(package, nonces, key).unwrap(),
        |package, shares, public| {
            frost_core::aggregate(package, shares, public)
                .unwrap()
                .serialize()
                .unwrap()
        },
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn shares_and_signatures_are_those_of_the_reference(
        (scheme, tweak) in proptest::sample::select(kinds()),
        signers in proptest::sample::subsequence((1u16..=9).collect::<Vec<_>>(), 1..=6),
        fewer in 0u16..3,
        seed: u64,
        message in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        // Any set of at least t signers will do: in a proof of possession all n sign.
        let threshold = u16::try_from(signers.len()).unwrap().saturating_sub(fewer).max(1);
        let mut dealt = deal(scheme, threshold, 9, seed);

        compare_kind(&mut dealt, &signers, &message, tweak);
    }
}

#[test]
fn both_parities_of_every_point_are_met() {
    let mut parities = std::collections::BTreeSet::new();
    for seed in 0..32 {
        for tweak in [Tweak::None, Tweak::TaprootKeyPath] {
            let mut dealt = deal(Scheme::Bip340, 2, 3, seed);
            compare_kind(&mut dealt, &[1, 3], &[7; 32], tweak);
            parities.insert(dealt.group_key[0]);
        }
    }

    assert_eq!(parities, [2, 3].into());
}

#[test]
fn the_shares_of_a_whole_committee_of_32_make_a_signature() {
    for (scheme, tweak) in kinds() {
        let mut dealt = deal(scheme, 17, 32, 5);
        let all: Vec<_> = (1..=32).collect();

        compare_kind(&mut dealt, &all, b"all of us", tweak);
    }
}

#[test]
fn a_taproot_signature_holds_for_the_output_key_and_not_for_the_internal_one() {
    let mut dealt = deal(Scheme::Bip340, 2, 3, 6);
    let (set, shares) = dealt.sign(&[1, 2], &[3; 32], Tweak::TaprootKeyPath);

    let signature = aggregate(
        &dealt.keys(),
        &set,
        &[3; 32],
        Tweak::TaprootKeyPath,
        &shares,
    )
    .unwrap();

    let output = verify::taproot_output_key(&dealt.group_key).unwrap();
    let output = secp256k1::XOnlyPublicKey::from_byte_array(output).unwrap();
    let parsed =
        secp256k1::schnorr::Signature::from_byte_array(signature.as_slice().try_into().unwrap());
    assert!(secp256k1::schnorr::verify(&parsed, &[3; 32], &output).is_ok());
    let untweaked = verify::signature(
        Scheme::Bip340,
        &dealt.group_key,
        &[3; 32],
        Tweak::None,
        &signature,
    );
    assert!(untweaked.is_err());
}
