//! For each check one input at which exactly that check fires.

use std::collections::BTreeSet;

use proptest::prelude::*;
use quorate_model::{
    Scheme, TicketId,
    share::{Commitments, SetEntry, SetOfSigners},
};

use super::{
    super::{
        AggregateError, Hedge, KeyShareError, NonceCommitments, NoncePair, PublicKeys,
        PublicKeysError, SetError, SignError, SigningKeyShare, SigningSet, Tweak, aggregate,
        generate_batch, sign_share, verify_share,
    },
    dealt::{deal, kinds, party},
};
use crate::sharing::SigningShare;

const MESSAGE: &[u8] = b"message";

#[test]
fn one_bad_share_names_its_signer_and_no_other() {
    for (scheme, tweak) in kinds() {
        for at in 0..3 {
            let mut dealt = deal(scheme, 3, 5, 1);
            let (set, mut shares) = dealt.sign(&[1, 3, 4], MESSAGE, tweak);
            shares[at].1[16] ^= 1;
            let keys = dealt.keys();

            let outcome = aggregate(&keys, &set, MESSAGE, tweak, &shares);

            let (culprit, share) = shares[at];
            let expected = AggregateError::Cheaters {
                culprits: BTreeSet::from([culprit]),
            };
            assert_eq!(outcome, Err(expected.clone()));
            let alone = verify_share(&keys, &set, MESSAGE, tweak, culprit, &share);
            assert_eq!(alone, Err(expected));
        }
    }
}

#[test]
fn all_bad_shares_are_named() {
    for (scheme, tweak) in kinds() {
        let mut dealt = deal(scheme, 2, 3, 2);
        let (set, _) = dealt.sign(&[1, 2], MESSAGE, tweak);
        let (_, foreign) = dealt.sign(&[1, 2], MESSAGE, tweak);

        let outcome = aggregate(&dealt.keys(), &set, MESSAGE, tweak, &foreign);

        let culprits = BTreeSet::from([party(1), party(2)]);
        assert_eq!(outcome, Err(AggregateError::Cheaters { culprits }));
    }
}

#[test]
fn two_bad_shares_whose_sum_is_right_make_a_signature() {
    // Shares are only a way to a signature: whether it holds is what counts.
    let mut dealt = deal(Scheme::Ed25519, 2, 3, 3);
    let (set, mut shares) = dealt.sign(&[1, 2], MESSAGE, Tweak::None);
    let [one, two] = [shares[0].1, shares[1].1]
        .map(|share| curve25519_dalek::Scalar::from_canonical_bytes(share).unwrap());
    let shift = curve25519_dalek::Scalar::from(5u64);
    shares[0].1 = (one + shift).to_bytes();
    shares[1].1 = (two - shift).to_bytes();

    assert!(aggregate(&dealt.keys(), &set, MESSAGE, Tweak::None, &shares).is_ok());
}

#[test]
fn a_share_not_below_the_order_names_its_signer() {
    for (scheme, tweak) in kinds() {
        let mut dealt = deal(scheme, 2, 3, 4);
        let (set, mut shares) = dealt.sign(&[1, 2], MESSAGE, tweak);
        shares[1].1 = [0xff; 32];

        let outcome = aggregate(&dealt.keys(), &set, MESSAGE, tweak, &shares);

        let culprits = BTreeSet::from([party(2)]);
        assert_eq!(outcome, Err(AggregateError::Cheaters { culprits }));
    }
}

#[test]
fn a_zero_share_names_its_signer() {
    for (scheme, tweak) in kinds() {
        let mut dealt = deal(scheme, 2, 3, 4);
        let (set, mut shares) = dealt.sign(&[1, 2], MESSAGE, tweak);
        shares[0].1 = [0; 32];

        let outcome = aggregate(&dealt.keys(), &set, MESSAGE, tweak, &shares);

        let culprits = BTreeSet::from([party(1)]);
        assert_eq!(outcome, Err(AggregateError::Cheaters { culprits }));
    }
}

#[test]
fn a_share_for_another_message_tweak_or_set_does_not_hold() {
    for (scheme, tweak) in kinds() {
        let mut dealt = deal(scheme, 2, 3, 5);
        let (set, shares) = dealt.sign(&[1, 2], MESSAGE, tweak);
        let (other_set, _) = dealt.sign(&[1, 2], MESSAGE, tweak);
        let keys = dealt.keys();
        let (signer, share) = shares[0];

        assert!(verify_share(&keys, &set, MESSAGE, tweak, signer, &share).is_ok());
        assert!(verify_share(&keys, &set, b"other", tweak, signer, &share).is_err());
        assert!(verify_share(&keys, &other_set, MESSAGE, tweak, signer, &share).is_err());
        assert!(verify_share(&keys, &set, MESSAGE, tweak, party(2), &share).is_err());
    }
    let mut dealt = deal(Scheme::Bip340, 2, 3, 5);
    let (set, shares) = dealt.sign(&[1, 2], MESSAGE, Tweak::None);
    let (signer, share) = shares[0];
    let other = verify_share(
        &dealt.keys(),
        &set,
        MESSAGE,
        Tweak::TaprootKeyPath,
        signer,
        &share,
    );
    assert!(other.is_err());
}

#[test]
fn shares_that_are_not_those_of_the_set_are_refused() {
    let mut dealt = deal(Scheme::Bip340, 2, 3, 6);
    let (set, shares) = dealt.sign(&[1, 2], MESSAGE, Tweak::None);
    let keys = dealt.keys();
    let check = |shares: &[_]| aggregate(&keys, &set, MESSAGE, Tweak::None, shares).unwrap_err();
    let (one, two) = (shares[0], shares[1]);

    assert_eq!(check(&[one]), AggregateError::OtherShares);
    assert_eq!(check(&[two, one]), AggregateError::OtherShares);
    assert_eq!(check(&[one, one]), AggregateError::OtherShares);
    assert_eq!(
        check(&[one, two, (party(3), two.1)]),
        AggregateError::OtherShares
    );
    assert_eq!(
        verify_share(&keys, &set, MESSAGE, Tweak::None, party(3), &one.1),
        Err(AggregateError::OtherShares)
    );
}

#[test]
fn a_signer_without_a_share_is_a_stranger() {
    let mut dealt = deal(Scheme::Bip340, 2, 3, 7);
    let (_, set) = dealt.set(&[1, 4]);
    let shares = [(party(1), [1; 32]), (party(4), [1; 32])];
    let keys = dealt.keys();

    let expected = AggregateError::Stranger(party(4));
    assert_eq!(
        aggregate(&keys, &set, MESSAGE, Tweak::None, &shares),
        Err(expected.clone())
    );
    assert_eq!(
        verify_share(&keys, &set, MESSAGE, Tweak::None, party(1), &[1; 32]),
        Err(expected)
    );
}

#[test]
fn fewer_signers_than_the_threshold_are_refused_by_signer_and_aggregator() {
    for scheme in Scheme::FROST {
        let mut dealt = deal(scheme, 3, 5, 8);
        let (nonces, set) = dealt.set(&[1, 2]);
        let nonces = nonces.into_iter().next().unwrap();
        let shares = [(party(1), [1; 32]), (party(2), [1; 32])];

        assert_eq!(
            sign_share(&dealt.key(party(1)), nonces, &set, MESSAGE, Tweak::None),
            Err(SignError::TooFewSigners {
                signers: 2,
                threshold: 3
            })
        );
        assert_eq!(
            aggregate(&dealt.keys(), &set, MESSAGE, Tweak::None, &shares),
            Err(AggregateError::TooFewSigners {
                signers: 2,
                threshold: 3
            })
        );
    }
}

#[test]
fn a_set_without_the_signer_is_refused() {
    let mut dealt = deal(Scheme::Ed25519, 2, 3, 9);
    let (nonces, set) = dealt.set(&[1, 2]);
    let nonces = nonces.into_iter().next().unwrap();

    let share = sign_share(&dealt.key(party(3)), nonces, &set, MESSAGE, Tweak::None);

    assert_eq!(share, Err(SignError::NotInSet));
}

#[test]
fn other_commitments_than_those_of_the_nonces_are_refused() {
    for scheme in Scheme::FROST {
        let mut dealt = deal(scheme, 2, 3, 10);
        let (_, set) = dealt.set(&[1, 2]);
        let (nonces, own) = dealt.nonces();
        let two = set.commitments(party(2)).unwrap().clone();
        let half_own = NonceCommitments::from_bytes(
            scheme,
            own.hiding(),
            set.commitments(party(1)).unwrap().binding(),
        )
        .unwrap();
        let half = SigningSet::new(vec![(party(1), half_own), (party(2), two)]).unwrap();
        let (more_nonces, _) = dealt.nonces();
        let key = dealt.key(party(1));

        let expected = Err(SignError::ForeignCommitments);
        assert_eq!(
            sign_share(&key, nonces, &half, MESSAGE, Tweak::None),
            expected
        );
        assert_eq!(
            sign_share(&key, more_nonces, &set, MESSAGE, Tweak::None),
            expected
        );
    }
}

#[test]
fn only_bip340_keys_take_the_taproot_tweak() {
    for scheme in [Scheme::FrostSecp256k1, Scheme::Ed25519] {
        let mut dealt = deal(scheme, 2, 3, 11);
        let (nonces, set) = dealt.set(&[1, 2]);
        let nonces = nonces.into_iter().next().unwrap();
        let shares = [(party(1), [1; 32]), (party(2), [1; 32])];
        let tweak = Tweak::TaprootKeyPath;

        assert_eq!(
            sign_share(&dealt.key(party(1)), nonces, &set, MESSAGE, tweak),
            Err(SignError::TweakUnsupported)
        );
        assert_eq!(
            aggregate(&dealt.keys(), &set, MESSAGE, tweak, &shares),
            Err(AggregateError::TweakUnsupported)
        );
        assert!(dealt.keys().verifier(tweak).is_none());
    }
}

#[test]
fn nonces_of_another_curve_are_refused() {
    let (mut secp, mut edwards) = (
        deal(Scheme::Bip340, 2, 3, 12),
        deal(Scheme::Ed25519, 2, 3, 12),
    );
    let (nonces, set) = secp.set(&[1, 2]);
    let nonces = nonces.into_iter().next().unwrap();
    assert_eq!(
        sign_share(&edwards.key(party(1)), nonces, &set, MESSAGE, Tweak::None),
        Err(SignError::OtherScheme)
    );
    let (nonces, set) = edwards.set(&[1, 2]);
    let nonces = nonces.into_iter().next().unwrap();
    assert_eq!(
        sign_share(&secp.key(party(1)), nonces, &set, MESSAGE, Tweak::None),
        Err(SignError::OtherScheme)
    );
    let shares = [(party(1), [1; 32]), (party(2), [1; 32])];
    assert_eq!(
        aggregate(&secp.keys(), &set, MESSAGE, Tweak::None, &shares),
        Err(AggregateError::BadCommitments)
    );
}

#[test]
fn points_that_are_none_are_no_commitments() {
    for scheme in Scheme::FROST {
        let mut dealt = deal(scheme, 2, 3, 14);
        let (_, own) = dealt.nonces();
        let (hiding, binding) = (own.hiding().to_vec(), own.binding().to_vec());
        let length = hiding.len();
        let mut identity = vec![0; length];
        if scheme == Scheme::Ed25519 {
            identity[0] = 1;
        }
        let check = |hiding: &[u8], binding: &[u8]| {
            NonceCommitments::from_bytes(scheme, hiding, binding).map(|_| ())
        };

        assert_eq!(check(&hiding, &binding), Ok(()));
        for bad in [identity, vec![0xff; length], vec![], vec![2; length + 1]] {
            assert_eq!(check(&bad, &binding), Err(SetError::BadPoint));
            assert_eq!(check(&hiding, &bad), Err(SetError::BadPoint));
        }
        assert_eq!(
            NonceCommitments::from_received(scheme, &own.to_received()).as_ref(),
            Ok(&own)
        );
    }
}

#[test]
fn commitments_with_a_part_of_small_order_are_refused_and_name_their_signer() {
    let mut dealt = deal(Scheme::Ed25519, 2, 3, 20);
    let torsion = curve25519_dalek::constants::EIGHT_TORSION[1];
    let (own, one) = dealt.nonces();
    let (other, two) = dealt.nonces();
    let mixed = curve25519_dalek::edwards::CompressedEdwardsY::from_slice(two.hiding())
        .unwrap()
        .decompress()
        .unwrap()
        + torsion;
    let mut received = two.to_received();
    received.hiding = mixed.compress().to_bytes().to_vec();
    let entry = |signer: u16, commitments: Commitments| SetEntry {
        signer: party(signer),
        ticket: TicketId([0; 16]),
        commitments,
    };
    let entries = vec![entry(1, one.to_received()), entry(2, received.clone())];
    let set = SigningSet::from_received(Scheme::Ed25519, &SetOfSigners { entries }).unwrap();

    let share = sign_share(&dealt.key(party(1)), own, &set, MESSAGE, Tweak::None);

    assert_eq!(share, Err(SignError::BadCommitments));
    assert_eq!(
        NonceCommitments::from_received(Scheme::Ed25519, &received),
        Err(SetError::BadPoint)
    );
    let commitments = set.commitments(party(2)).unwrap().clone();
    let pair = NoncePair {
        scalars: other.scalars,
        commitments,
    };
    let share = sign_share(&dealt.key(party(2)), pair, &set, MESSAGE, Tweak::None);
    assert_eq!(share, Err(SignError::BadCommitments));
}

#[test]
fn points_of_small_order_are_not_read_with_a_set_either() {
    let mut dealt = deal(Scheme::Ed25519, 2, 3, 21);
    let (_, own) = dealt.nonces();
    for point in curve25519_dalek::constants::EIGHT_TORSION {
        let mut received = own.to_received();
        received.binding = point.compress().to_bytes().to_vec();
        let entry = SetEntry {
            signer: party(1),
            ticket: TicketId([0; 16]),
            commitments: received,
        };

        let set = SetOfSigners {
            entries: vec![entry],
        };

        assert_eq!(
            SigningSet::from_received(Scheme::Ed25519, &set),
            Err(SetError::BadPoint)
        );
    }
}

#[test]
fn unordered_repeated_empty_oversized_and_mixed_sets_are_refused() {
    let (mut secp, mut edwards) = (
        deal(Scheme::Bip340, 2, 3, 15),
        deal(Scheme::Ed25519, 2, 3, 15),
    );
    let mut entry = |index| (party(index), secp.nonces().1);
    let (one, two) = (entry(1), entry(2));
    let many: Vec<_> = (1..=33).map(entry).collect();
    let mixed = vec![one.clone(), (party(2), edwards.nonces().1)];
    let check = |entries| SigningSet::new(entries).map(|_| ());

    assert_eq!(check(vec![one.clone(), two.clone()]), Ok(()));
    assert_eq!(check(vec![two, one.clone()]), Err(SetError::Unordered));
    assert_eq!(check(vec![one.clone(), one]), Err(SetError::Unordered));
    assert_eq!(check(vec![]), Err(SetError::Size(0)));
    assert_eq!(check(many), Err(SetError::Size(33)));
    assert_eq!(check(mixed), Err(SetError::MixedCurves));
}

#[test]
fn bytes_that_are_no_share_of_the_key_are_refused() {
    for scheme in Scheme::FROST {
        let dealt = deal(scheme, 2, 3, 16);
        let other = deal(scheme, 2, 3, 17);
        let check = |threshold, share: [u8; 32], group_key: &[u8], verifying_share: &[u8]| {
            SigningKeyShare::new(
                scheme,
                party(1),
                threshold,
                &SigningShare::from_bytes(share),
                group_key,
                verifying_share,
            )
            .map(|_| ())
        };
        let (share, key, public) = (
            dealt.shares[0],
            &dealt.group_key,
            &dealt.verifying_shares[0],
        );

        assert_eq!(check(2, share, key, public), Ok(()));
        assert_eq!(check(0, share, key, public), Err(KeyShareError::Threshold));
        assert_eq!(check(2, [0; 32], key, public), Err(KeyShareError::BadShare));
        assert_eq!(
            check(2, [0xff; 32], key, public),
            Err(KeyShareError::BadShare)
        );
        assert_eq!(
            check(2, share, &key[1..], public),
            Err(KeyShareError::BadGroupKey)
        );
        assert_eq!(
            check(2, other.shares[0], key, public),
            Err(KeyShareError::Mismatch)
        );
        assert_eq!(
            check(2, share, key, &dealt.verifying_shares[1]),
            Err(KeyShareError::Mismatch)
        );
    }
}

#[test]
fn public_keys_of_the_wrong_shape_or_with_a_bad_point_are_refused() {
    for scheme in Scheme::FROST {
        let dealt = deal(scheme, 2, 3, 18);
        let check = |threshold, key: &[u8], shares: &[Vec<u8>]| {
            PublicKeys::new(scheme, threshold, key, shares).map(|_| ())
        };
        let (key, shares) = (&dealt.group_key, &dealt.verifying_shares);
        let bad = vec![shares[0].clone(), vec![0; key.len()], shares[2].clone()];

        assert_eq!(check(2, key, shares), Ok(()));
        let shape = |threshold| {
            Err(PublicKeysError::Shape {
                threshold,
                count: 3,
            })
        };
        assert_eq!(check(0, key, shares), shape(0));
        assert_eq!(check(4, key, shares), shape(4));
        assert_eq!(
            check(2, &vec![0; key.len()], shares),
            Err(PublicKeysError::BadPoint)
        );
        assert_eq!(check(2, key, &bad), Err(PublicKeysError::BadPoint));
    }
}

#[test]
fn debug_output_of_secrets_shows_nothing() {
    let mut dealt = deal(Scheme::Ed25519, 2, 3, 19);
    let share = hex::encode(dealt.shares[0]);

    assert_eq!(format!("{:?}", dealt.nonces().0), "NoncePair(<redacted>)");
    assert_eq!(format!("{:?}", Hedge::new([7; 32])), "Hedge(<redacted>)");
    let shown = format!("{:?}", dealt.key(party(1)));
    assert!(shown.contains("<redacted>"));
    assert!(!shown.contains(&share[..8]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_batch_is_that_many_distinct_pairs_that_sign(
        (scheme, tweak) in proptest::sample::select(kinds()),
        count in 0usize..8,
        seed: u64,
    ) {
        let mut dealt = deal(scheme, 2, 2, seed);
        let hedge = Hedge::new([1; 32]);
        let one = generate_batch(scheme, count, &hedge, &mut dealt.rng).unwrap();
        let two = generate_batch(scheme, count, &hedge, &mut dealt.rng).unwrap();
        let distinct: BTreeSet<_> = one
            .iter()
            .chain(&two)
            .flat_map(|(_, commitments)| {
                [commitments.hiding().to_vec(), commitments.binding().to_vec()]
            })
            .collect();
        prop_assert_eq!(distinct.len(), 4 * count);
        let keys = dealt.keys();
        for ((first, committed), (second, also)) in one.into_iter().zip(two) {
            prop_assert_eq!(first.commitments(), &committed);
            let set = SigningSet::new(vec![(party(1), committed), (party(2), also)]).unwrap();
            let shares = [(party(1), first), (party(2), second)].map(|(index, nonces)| {
                let key = dealt.key(index);
                (index, sign_share(&key, nonces, &set, MESSAGE, tweak).unwrap())
            });
            prop_assert!(aggregate(&keys, &set, MESSAGE, tweak, &shares).is_ok());
        }
    }

    #[test]
    fn nonces_depend_on_the_randomness_and_on_the_node_secret(scheme in
        proptest::sample::select(Scheme::FROST.to_vec()), seed: u64)
    {
        use rand_core::SeedableRng as _;
        let make = |secret, seed| {
            let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(seed);
            NoncePair::generate(scheme, &Hedge::new([secret; 32]), &mut rng).unwrap().1
        };

        prop_assert_eq!(make(1, seed), make(1, seed));
        prop_assert_ne!(make(1, seed), make(2, seed));
        prop_assert_ne!(make(1, seed), make(1, seed.wrapping_add(1)));
        prop_assert_ne!(make(1, seed).hiding().to_vec(), make(1, seed).binding().to_vec());
    }
}
