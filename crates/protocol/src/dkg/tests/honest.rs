use proptest::prelude::*;
use quorate_model::{PartyIndex, Scheme};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::harness::{Cluster, party};
use crate::{
    dkg::{DkgOutput, round},
    frost::{
        Hedge, NoncePair, PublicKeys, SigningKeyShare, SigningSet, Tweak, aggregate, sign_share,
    },
    sharing::check_public_sharing,
    verify,
};

fn sign(outputs: &[DkgOutput], signers: &[PartyIndex], message: &[u8]) -> Vec<u8> {
    let first = &outputs[0];
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let hedge = Hedge::new([8; 32]);
    let (nonces, entries): (Vec<_>, Vec<_>) = signers
        .iter()
        .map(|signer| {
            let (nonces, commitments) =
                NoncePair::generate(first.scheme.proven_by(), &hedge, &mut rng).unwrap();
            (nonces, (*signer, commitments))
        })
        .unzip();
    let set = SigningSet::new(entries).unwrap();
    let shares: Vec<_> = signers
        .iter()
        .zip(nonces)
        .map(|(signer, nonces)| {
            let output = &outputs[usize::from(signer.number()) - 1];
            let key = SigningKeyShare::new(
                first.scheme.proven_by(),
                *signer,
                output.threshold,
                &output.share,
                &output.group_key,
                &output.verifying_shares[usize::from(signer.number()) - 1],
            )
            .unwrap();
            (
                *signer,
                sign_share(&key, nonces, &set, message, Tweak::None).unwrap(),
            )
        })
        .collect();
    let keys = PublicKeys::new(
        first.scheme.proven_by(),
        first.threshold,
        &first.group_key,
        &first.verifying_shares,
    )
    .unwrap();
    aggregate(&keys, &set, message, Tweak::None, &shares).unwrap()
}

fn check_shape(scheme: Scheme, threshold: u16, count: u16, seed: u64) {
    let outputs = Cluster::new(scheme, threshold, count, seed).finish();

    let first = &outputs[0];
    assert_eq!(outputs.len(), usize::from(count));
    for output in &outputs {
        assert_eq!(output.group_key, first.group_key);
        assert_eq!(output.verifying_shares, first.verifying_shares);
        assert_eq!(output.chain_code, first.chain_code);
        assert_eq!(output.session, first.session);
        assert_eq!(output.transcript, first.transcript);
    }
    let DkgOutput {
        group_key,
        verifying_shares,
        ..
    } = first;
    assert_eq!(
        check_public_sharing(scheme, threshold, group_key, verifying_shares),
        Ok(())
    );
    let last: Vec<_> = PartyIndex::first(count)
        .skip(usize::from(count - threshold))
        .collect();
    let signature = sign(&outputs, &last, b"a message");
    let proven_by = scheme.proven_by();
    assert!(verify::signature(proven_by, group_key, b"a message", Tweak::None, &signature).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_shape_of_every_scheme_makes_a_key_that_its_last_t_holders_sign_for(
        scheme in proptest::sample::select(Scheme::ALL.to_vec()),
        threshold in 1u16..=5,
        more in 0u16..=4,
        seed: u64,
    ) {
        check_shape(scheme, threshold, (threshold + more).max(2), seed);
    }
}

#[test]
fn two_of_three_and_the_largest_shape_make_keys() {
    for scheme in Scheme::ALL {
        check_shape(scheme, 2, 3, 1);
    }
    check_shape(Scheme::Ed25519, 17, 32, 1);
}

#[test]
fn bip340_keys_come_in_both_parities() {
    let parities: std::collections::BTreeSet<_> = (0..16)
        .map(|seed| Cluster::small(seed).finish()[0].group_key[0])
        .collect();

    assert_eq!(parities, [2, 3].into());
}

#[test]
fn runs_with_other_randomness_make_other_keys_and_chain_codes() {
    let (one, other) = (Cluster::small(1).finish(), Cluster::small(2).finish());

    assert_ne!(one[0].group_key, other[0].group_key);
    assert_ne!(one[0].chain_code, other[0].chain_code);
    assert_ne!(one[0].session, other[0].session);
    assert_ne!(one[0].transcript, other[0].transcript);
}

#[test]
fn a_run_replays_exactly_from_its_randomness() {
    let (one, again) = (Cluster::small(3).finish(), Cluster::small(3).finish());

    assert_eq!(one[0].transcript, again[0].transcript);
    assert_eq!(one[0].share.expose(), again[0].share.expose());
}

#[test]
fn the_session_id_is_the_hash_of_the_preimage_that_is_handed_out() {
    let mut cluster = Cluster::small(4);
    assert_eq!(cluster.machines[&party(1)].session(), None);
    cluster.step();
    let session = cluster.session();

    assert_eq!(cluster.finish()[0].session.id(), session);
}

#[test]
fn everybody_learns_where_the_others_stand() {
    let mut cluster = Cluster::small(5);
    cluster.step();

    let states = cluster.machines[&party(1)].states();

    let sequences: Vec<_> = states
        .values()
        .map(|state| state.journal_sequence)
        .collect();
    assert_eq!(sequences, [1, 2, 3]);
}

#[test]
fn where_the_others_stand_is_proven_only_once_all_have_echoed() {
    let mut cluster = Cluster::small(5);
    for _ in 0..3 {
        let machine = &cluster.machines[&party(1)];
        assert_eq!(machine.proven(), None);
        cluster.step();
    }

    let machine = &cluster.machines[&party(1)];
    assert_eq!(machine.round(), round::REVEAL);
    assert_eq!(&machine.proven().unwrap().states, machine.states());
}

#[test]
fn repeated_envelopes_and_any_order_are_harmless() {
    let mut cluster = Cluster::small(6);
    let mut inbound = cluster.inbound(party(1));
    inbound.extend(inbound.clone());
    inbound.reverse();

    let outcome = cluster.deliver(party(1), &inbound);

    assert!(matches!(outcome, crate::dkg::Advance::Running { .. }));
}

#[test]
fn debug_output_of_a_machine_and_an_output_shows_no_secret() {
    let cluster = Cluster::small(7);
    let machine = format!("{:?}", cluster.machines[&party(1)]);
    let output = format!("{:?}", cluster.finish()[0].share);

    assert_eq!(machine, "Machine { me: PartyIndex(1), round: 0, .. }");
    assert_eq!(output, "SigningShare(<redacted>)");
}
