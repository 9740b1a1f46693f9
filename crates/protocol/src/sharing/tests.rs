use proptest::prelude::*;
use quorate_model::Digest;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::*;
use crate::suite::{lagrange, one};

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn party(index: u16) -> PartyIndex {
    PartyIndex::new(index).unwrap()
}

fn sharing<C: Suite>(threshold: u16, count: u16, seed: u64) -> (Vec<u8>, Vec<Vec<u8>>) {
    let commitment = Polynomial::<C>::random(threshold, &mut rng(seed)).commit();
    let shares = PartyIndex::first(count)
        .map(|index| encode_element::<C>(&commitment.evaluate(index)).unwrap())
        .collect();
    (encode_element::<C>(&commitment.constant()).unwrap(), shares)
}

fn any_shares_interpolate_to_the_constant<C: Suite>(threshold: u16, signers: &[PartyIndex]) {
    let polynomial = Polynomial::<C>::random(threshold, &mut rng(1));
    let commitment = polynomial.commit();

    let mut sum = zero::<C>();
    for index in signers {
        let share = polynomial.evaluate(*index);
        assert!(commitment.fits(*index, &share));
        sum = sum + lagrange::<C>(signers, *index).unwrap() * *share.expose();
    }

    assert!(C::mul_base(&sum) == commitment.constant());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_t_shares_make_the_secret(
        signers in proptest::sample::subsequence((1u16..=9).collect::<Vec<_>>(), 1..=6)
            .prop_shuffle()
    ) {
        let signers: Vec<_> = signers.into_iter().map(party).collect();
        let threshold = u16::try_from(signers.len()).unwrap();
        any_shares_interpolate_to_the_constant::<Secp>(threshold, &signers);
        any_shares_interpolate_to_the_constant::<Edwards>(threshold, &signers);
    }

    #[test]
    fn a_public_sharing_of_any_shape_holds(threshold in 1u16..6, more in 0u16..4, seed: u64) {
        let count = threshold + more;
        let (key, shares) = sharing::<Secp>(threshold, count, seed);
        prop_assert_eq!(
            check_public_sharing(Scheme::Bip340, threshold, &key, &shares),
            Ok(())
        );
        let (key, shares) = sharing::<Edwards>(threshold, count, seed);
        prop_assert_eq!(
            check_public_sharing(Scheme::Ed25519, threshold, &key, &shares),
            Ok(())
        );
    }
}

#[test]
fn a_given_constant_is_what_is_shared() {
    let secret = Secp::number(42);
    let polynomial = Polynomial::<Secp>::with_constant(SecretScalar::new(secret), 3, &mut rng(2));

    assert_eq!(polynomial.commit().constant(), Secp::mul_base(&secret));
}

#[test]
fn a_share_of_another_index_or_off_by_one_does_not_fit() {
    let polynomial = Polynomial::<Edwards>::random(3, &mut rng(3));
    let commitment = polynomial.commit();
    let share = polynomial.evaluate(party(1));
    let off = SecretScalar::new(*share.expose() + one::<Edwards>());

    assert!(commitment.fits(party(1), &share));
    assert!(!commitment.fits(party(2), &share));
    assert!(!commitment.fits(party(1), &off));
}

#[test]
fn commitments_of_another_degree_or_with_a_bad_point_are_refused() {
    let points = Polynomial::<Secp>::random(3, &mut rng(4))
        .commit()
        .encode()
        .unwrap();
    let mut with_identity = points.clone();
    with_identity[2] = vec![0; 33];
    let decode =
        |points: &[Vec<u8>], threshold| Commitment::<Secp>::decode(points, threshold).map(|_| ());

    assert_eq!(decode(&points, 3), Ok(()));
    assert_eq!(decode(&points, 2), Err(CommitmentError::WrongDegree));
    assert_eq!(decode(&points, 4), Err(CommitmentError::WrongDegree));
    assert_eq!(decode(&[], 0), Err(CommitmentError::WrongDegree));
    assert_eq!(decode(&with_identity, 3), Err(CommitmentError::BadPoint));
}

#[test]
fn commitments_of_a_sum_are_the_sum_of_commitments() {
    let (one, two) = (
        Polynomial::<Secp>::random(2, &mut rng(5)),
        Polynomial::<Secp>::random(2, &mut rng(6)),
    );
    let mut share = one.evaluate(party(7));
    share.add(&two.evaluate(party(7)));

    assert!(one.commit().plus(&two.commit()).fits(party(7), &share));
}

#[test]
fn a_sharing_with_one_foreign_share_or_key_is_inconsistent() {
    let (key, shares) = sharing::<Secp>(3, 5, 7);
    let (other_key, other_shares) = sharing::<Secp>(3, 5, 8);
    let check = |threshold, key: &[u8], shares: &[Vec<u8>]| {
        check_public_sharing(Scheme::FrostSecp256k1, threshold, key, shares)
    };

    assert_eq!(check(3, &key, &shares), Ok(()));
    assert_eq!(
        check(3, &other_key, &shares),
        Err(SharingError::Inconsistent)
    );
    for at in 0..5 {
        let mut mixed = shares.clone();
        mixed[at].clone_from(&other_shares[at]);
        assert_eq!(
            check(3, &key, &mixed),
            Err(SharingError::Inconsistent),
            "share {at}"
        );
    }
    assert_eq!(check(2, &key, &shares), Err(SharingError::Inconsistent));
    assert_eq!(
        check(6, &key, &shares),
        Err(SharingError::Shape {
            threshold: 6,
            count: 5
        })
    );
    assert_eq!(
        check(0, &key, &shares),
        Err(SharingError::Shape {
            threshold: 0,
            count: 5
        })
    );
    assert_eq!(check(3, &[2; 32], &shares), Err(SharingError::BadPoint));
}

#[test]
fn a_proof_of_knowledge_holds_for_its_session_dealer_and_term_only() {
    let session = Digest::new([1; 32]);
    let polynomial = Polynomial::<Secp>::random(2, &mut rng(9));
    let other = Polynomial::<Secp>::random(2, &mut rng(10)).commit();
    let commitment = polynomial.commit();

    let proof = ProofOfKnowledge::prove(&session, party(1), &polynomial, &mut rng(11)).unwrap();

    assert!(proof.holds(&session, party(1), &commitment));
    assert!(!proof.holds(&Digest::new([2; 32]), party(1), &commitment));
    assert!(!proof.holds(&session, party(2), &commitment));
    assert!(!proof.holds(&session, party(1), &other));
    let mut changed = proof.clone();
    changed.response[31] ^= 1;
    assert!(!changed.holds(&session, party(1), &commitment));
    let mut changed = proof;
    changed.commitment = vec![0; 33];
    assert!(!changed.holds(&session, party(1), &commitment));
}

#[test]
fn debug_output_of_secrets_shows_nothing() {
    let polynomial = Polynomial::<Secp>::random(2, &mut rng(12));

    assert_eq!(format!("{polynomial:?}"), "Polynomial(<redacted>)");
    assert_eq!(
        format!("{:?}", polynomial.evaluate(party(1))),
        "SecretScalar(<redacted>)"
    );
    assert_eq!(
        format!("{:?}", SigningShare::from_bytes([7; 32])),
        "SigningShare(<redacted>)"
    );
}
