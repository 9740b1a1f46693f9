use proptest::prelude::*;
use quorate_model::{PartyIndex, Scheme};

use super::harness::{BOTH, Cluster, DEALER, Held, RECEIVER, at, party};
use crate::{
    frost::Tweak,
    reshare::{Advance, ReshareOutput, round},
    sharing::check_public_sharing,
    verify,
};

/// Reshares, and lets the last t' holders sign under the key.
fn check(held: &Held, dealers: &[u16], receivers: &[u16], threshold: u16, seed: u64) -> Held {
    let next = held.reshare(dealers, receivers, threshold, seed);
    let statement = &next.source.statement;
    assert_eq!(
        check_public_sharing(
            statement.scheme,
            threshold,
            &statement.group_key,
            &next.source.verifying_shares
        ),
        Ok(())
    );
    let count = u16::try_from(receivers.len()).unwrap();
    let signers: Vec<_> = PartyIndex::first(count)
        .skip(usize::from(count - threshold))
        .collect();
    let signature = next.sign(&signers, b"a message");
    let scheme = statement.scheme.proven_by();
    let key = &held.source.statement.group_key;
    assert!(verify::signature(scheme, key, b"a message", Tweak::None, &signature).is_ok());
    next
}

#[test]
fn every_kind_of_committee_takes_a_key_of_every_scheme_over() {
    for scheme in Scheme::ALL {
        let two_of_three = Held::dealt(scheme, 2, 3, 1);
        let three_of_five = Held::dealt(scheme, 3, 5, 2);

        check(&two_of_three, &[1, 2], &[1, 2, 3], 2, 1);
        check(&two_of_three, &[1, 3], &[3, 1, 2], 2, 2);
        check(&two_of_three, &[2, 3], &[1, 2, 3, 4, 5], 3, 3);
        check(&three_of_five, &[5, 1, 3], &[1, 2, 3, 4], 2, 4);
        check(&two_of_three, &[1, 3], &[4, 5, 6], 2, 5);
        check(&two_of_three, &[1, 3], &[4, 3, 5], 2, 6);
        check(&two_of_three, &[1, 2], &[2, 3, 4], 3, 7);
        check(&three_of_five, &[1, 2, 3], &[4, 5], 1, 8);
    }
}

#[test]
fn the_largest_committees_that_do_not_overlap_reshare() {
    let held = Held::dealt(Scheme::Ed25519, 32, 32, 1);
    let dealers: Vec<_> = (1..=32).collect();
    let receivers: Vec<_> = (33..=64).collect();

    check(&held, &dealers, &receivers, 32, 1);
}

#[test]
fn a_key_of_one_dealer_who_receives_too_is_reshared() {
    let held = Held::dealt(Scheme::Bip340, 1, 2, 1);

    check(&held, &[2], &[2, 3], 2, 1);
    check(&held, &[2], &[3, 4], 2, 2);
}

#[test]
fn a_refresh_changes_every_share() {
    let held = Held::small();

    let next = held.reshare(&[1, 2], &[1, 2, 3], 2, 1);

    for (index, share) in &held.shares {
        assert_ne!(share.expose(), next.shares[index].expose());
    }
    assert_ne!(held.source.verifying_shares, next.source.verifying_shares);
}

#[test]
fn a_run_replays_exactly_from_its_randomness_and_no_other() {
    let held = Held::small();
    let shares = |seed| {
        let next = held.reshare(&[1, 3], &[3, 4, 5], 2, seed);
        next.shares
            .values()
            .map(|s| *s.expose())
            .collect::<Vec<_>>()
    };

    assert_eq!(shares(1), shares(1));
    assert_ne!(shares(1), shares(2));
}

#[test]
fn whoever_only_receives_says_hello_and_echoes_and_nothing_else() {
    for round in round::HELLO..=round::SHARE {
        let cluster = at(round, &[], 1);

        let said = cluster.outgoing[&party(RECEIVER)].len();

        let speaks = matches!(
            round,
            round::HELLO | round::COMMIT_ECHO | round::REVEAL_ECHO
        );
        assert_eq!(said, usize::from(speaks), "round {round}");
    }
}

#[test]
fn whoever_only_deals_is_done_without_a_share_when_its_shares_are_out() {
    let cluster = at(round::SHARE, &[], 1);

    let recipients: Vec<_> = cluster.outgoing[&party(DEALER)]
        .iter()
        .map(|share| share.header.recipient.unwrap().number())
        .collect();

    assert_eq!(recipients, [1, 2, 3]);
    let dealer = &cluster.outputs[&party(DEALER)];
    assert!(matches!(dealer, ReshareOutput::Dealer { .. }));
    let dealt = dealer.sharing().clone();
    let outputs = cluster.finish();
    assert_eq!(outputs.len(), 4);
    for holder in &outputs[..3] {
        assert!(matches!(holder, ReshareOutput::Holder { .. }));
        assert_eq!(*holder.sharing(), dealt);
    }
}

#[test]
fn the_session_names_the_dealers_by_their_shares_and_the_receivers_by_their_places() {
    let mut cluster = at(round::COMMIT, &[], 1);
    let session = cluster.session();
    cluster.step();
    let sharing = cluster.finish()[0].sharing().clone();

    let source = sharing.session.binding.source.as_ref().unwrap();
    let dealers: Vec<_> = source
        .dealers
        .iter()
        .map(|dealer| (dealer.index.number(), dealer.source_index.number()))
        .collect();

    assert_eq!(sharing.session.id(), session);
    assert_eq!(dealers, [(BOTH, 3), (DEALER, 1)]);
    assert_eq!(source.receivers, 3);
}

#[test]
fn repeated_envelopes_and_any_order_are_harmless_to_everybody() {
    for to in [BOTH, RECEIVER, DEALER] {
        for round in round::HELLO..round::SHARE {
            let mut cluster = at(round, &[], 6);
            let mut inbound = cluster.inbound(party(to));
            inbound.extend(inbound.clone());
            inbound.reverse();

            let outcome = cluster.deliver(party(to), &inbound);

            assert!(matches!(
                outcome,
                Advance::Running { .. } | Advance::Finished { .. }
            ));
        }
    }
}

#[test]
fn debug_output_shows_no_share() {
    let cluster: Cluster = at(round::SHARE, &[], 7);
    let outputs = cluster.finish();
    let ReshareOutput::Holder { share, .. } = &outputs[0] else {
        panic!()
    };

    let shown = format!("{:?}", outputs[0]);

    assert!(shown.contains("SigningShare(<redacted>)"));
    assert!(!shown.contains(&format!("{:?}", share.expose())));
}

/// Distinct numbers below a bound, in any order.
fn some_of(bound: u16, count: usize) -> impl Strategy<Value = Vec<u16>> {
    Just((1..=bound).collect::<Vec<_>>())
        .prop_shuffle()
        .prop_map(move |mut all| {
            all.truncate(count);
            all
        })
}

fn committees() -> impl Strategy<Value = (u16, u16, Vec<u16>, Vec<u16>, u16)> {
    (2u16..=5, 2usize..=6)
        .prop_flat_map(|(holders, receivers)| (Just(holders), 1..=holders, Just(receivers)))
        .prop_flat_map(|(holders, threshold, receivers)| {
            let to = u16::try_from(receivers).unwrap();
            (
                Just(holders),
                Just(threshold),
                some_of(holders, usize::from(threshold)),
                some_of(8, receivers),
                1..=to,
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_committees_reshare_a_key_that_any_new_quorum_signs_for(
        scheme in proptest::sample::select(Scheme::ALL.to_vec()),
        (holders, threshold, dealers, receivers, new_threshold) in committees(),
        seed: u64,
    ) {
        let held = Held::dealt(scheme, threshold, holders, seed);

        check(&held, &dealers, &receivers, new_threshold, seed);
    }
}
