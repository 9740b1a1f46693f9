//! What fewer holders than the threshold of either epoch learn, and what a complaint gives away.

use std::collections::BTreeMap;

use frost_core::Scalar;
use quorate_model::{PartyIndex, Scheme};

use super::harness::{BOTH, DEALER, Held, RECEIVER, at, blames, identity, nodes, party, subsets};
use crate::{
    Fault,
    ceremony::messages::{Share, decode},
    envelope::{Envelope, SessionSecretKey, open},
    evidence::Evidence,
    reshare::{ReshareOutput, round},
    suite::{Secp, Suite as _, decode_scalar, encode_element, lagrange, zero},
};

/// What the values at these points interpolate to at zero, as a key.
fn interpolate(points: &[(PartyIndex, Scalar<Secp>)]) -> Option<Vec<u8>> {
    let indices: Vec<_> = points.iter().map(|(index, _)| *index).collect();
    let mut sum = zero::<Secp>();
    for (index, value) in points {
        sum += *value * lagrange::<Secp>(&indices, *index)?;
    }
    encode_element::<Secp>(&Secp::mul_base(&sum))
}

fn points(held: &Held, indices: &[PartyIndex]) -> Vec<(PartyIndex, Scalar<Secp>)> {
    indices
        .iter()
        .map(|index| {
            let share = decode_scalar::<Secp>(held.shares[index].expose()).unwrap();
            (*index, share)
        })
        .collect()
}

#[test]
fn one_short_of_each_threshold_no_shares_of_two_epochs_make_the_key() {
    let old = Held::dealt(Scheme::Bip340, 3, 5, 1);
    let new = old.reshare(&[1, 2, 3], &[1, 2, 3, 4, 5], 3, 1);
    let key = &old.source.statement.group_key;
    assert_eq!(
        interpolate(&points(&old, &subsets(5, 3)[0])).as_ref(),
        Some(key)
    );
    assert_eq!(
        interpolate(&points(&new, &subsets(5, 3)[0])).as_ref(),
        Some(key)
    );
    let mut tried = 0;
    for old_ones in subsets(5, 2) {
        for new_ones in subsets(5, 2) {
            let mut all = points(&old, &old_ones);
            all.extend(points(&new, &new_ones));
            for bits in 1u32..16 {
                let chosen: Vec<_> = (0..4)
                    .filter(|at| bits & (1 << at) != 0)
                    .map(|at| all[at])
                    .collect();
                tried += u32::from(interpolate(&chosen).is_some());
                assert_ne!(interpolate(&chosen).as_ref(), Some(key));
            }
        }
    }
    assert!(tried > 1_000);
}

#[test]
fn a_machine_whose_node_left_holds_nothing_of_the_new_epoch() {
    let cluster = at(round::SHARE, &[], 1);
    let sealed: Vec<_> = cluster.outgoing.values().flatten().cloned().collect();
    assert!(
        sealed
            .iter()
            .all(|share| share.header.recipient != Some(party(DEALER)))
    );

    let outputs = cluster.finish();

    assert!(matches!(outputs[3], ReshareOutput::Dealer { .. }));
    assert_eq!(
        outputs[3].sharing().session.binding.participants[3].node,
        nodes(&[1])[0]
    );
}

#[test]
fn no_key_that_survives_a_session_opens_a_sealed_share() {
    let cluster = at(round::SHARE, &[], 1);
    let sealed: Vec<_> = cluster.outgoing.values().flatten().cloned().collect();
    assert_eq!(sealed.len(), 5);
    let held = Held::small();
    let disks: Vec<[u8; 32]> = (1..=5)
        .map(|number| identity(party(number)).to_bytes())
        .chain(held.shares.values().map(|share| *share.expose()))
        .collect();

    for envelope in &sealed {
        let share: Share = decode(round::SHARE, &envelope.body).unwrap();
        for secret in &disks {
            let key = SessionSecretKey::from_revealed(*secret);
            assert!(open(&key, &envelope.header.slot(), &share.sealed).is_err());
        }
    }
}

#[test]
fn a_complaint_opens_the_share_of_the_accused_for_the_accuser_and_no_other() {
    let mut cluster = at(round::SHARE, &[DEALER], 2);
    // The relay's copy for the accuser is one for somebody else, signed by the dealer.
    let shares = cluster.outgoing.get_mut(&party(DEALER)).unwrap();
    let for_both = shares[0].clone();
    let body = shares[1].body.clone();
    assert_eq!(for_both.header.recipient, Some(party(BOTH)));
    shares[1] = Envelope::sign(
        shares[1].header.slot(),
        for_both.body.clone(),
        &identity(party(1)),
    );
    let honest = Envelope::sign(shares[1].header.slot(), body, &identity(party(1)));
    let inbound = cluster.inbound(party(RECEIVER));

    let outcome = cluster.deliver(party(RECEIVER), &inbound);

    let evidence = blames(outcome, DEALER, Fault::BadSubShare);
    let Evidence::BadSubShare(complaint) = evidence else {
        panic!()
    };
    let all = cluster.outgoing.values().flatten().chain([&honest]);
    let opened: BTreeMap<_, _> = all
        .map(|envelope| {
            let share: Share = decode(round::SHARE, &envelope.body).unwrap();
            let key = SessionSecretKey::from_revealed(complaint.revealed);
            let header = &envelope.header;
            let is_open = open(&key, &header.slot(), &share.sealed).is_ok();
            ((header.sender, header.recipient.unwrap()), is_open)
        })
        .collect();
    assert!(opened[&(party(DEALER), party(RECEIVER))]);
    assert_eq!(opened.values().filter(|opened| **opened).count(), 1);
}
