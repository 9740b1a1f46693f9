//! What a recording of everything that was relayed gives away: nothing without session secrets,
//! which no disk ever holds.

use std::collections::BTreeMap;

use quorate_model::PartyIndex;

use super::harness::{Cluster, identity, party};
use crate::{
    ceremony::messages::{Hello, Share, decode},
    dkg::round,
    envelope::{Envelope, OpenError, SessionSecretKey, open},
    sharing::check_public_sharing,
    suite::{Secp, Suite as _, decode_scalar, encode_element, lagrange, zero},
};

/// Every share envelope of a run, with the outputs.
fn record(seed: u64) -> (Vec<Envelope>, Vec<crate::dkg::DkgOutput>) {
    let cluster = Cluster::at(round::SHARE, &[], seed);
    let shares = cluster.outgoing.values().flatten().cloned().collect();
    (shares, cluster.finish())
}

#[test]
fn no_key_that_survives_a_session_opens_a_sealed_share() {
    let (shares, outputs) = record(1);
    let disks: Vec<[u8; 32]> = PartyIndex::first(3)
        .map(|index| identity(index).to_bytes())
        .chain(outputs.iter().map(|output| *output.share.expose()))
        .collect();

    for envelope in &shares {
        let share: Share = decode(round::SHARE, &envelope.body).unwrap();
        for secret in &disks {
            let key = SessionSecretKey::from_revealed(*secret);
            let opened = open(&key, &envelope.header.slot(), &share.sealed);
            assert_eq!(opened.unwrap_err(), OpenError);
        }
    }
}

#[test]
fn a_revealed_session_key_opens_the_share_of_its_sender_and_no_other() {
    let mut cluster = Cluster::at(round::SHARE, &[2], 2);
    let slot = cluster.slot(party(2), Some(party(1)));
    let mut bad = cluster.outgoing[&party(2)][0].clone();
    assert_eq!(bad.header.recipient, Some(party(1)));
    let hello: Hello = decode(0, &cluster.history[&round::HELLO][0].body).unwrap();
    let to = hello
        .session_keys
        .iter()
        .find(|(from, _)| *from == party(2))
        .unwrap()
        .1;
    let sealed = crate::envelope::seal(&to, &slot, &[1; 32], &mut cluster.rng).unwrap();
    let body = crate::ceremony::messages::encode(&Share { sealed }).unwrap();
    bad = Envelope::sign(bad.header.slot(), body, &identity(party(2)));
    cluster.outgoing.get_mut(&party(2)).unwrap()[0] = bad;
    let shares: Vec<_> = cluster.outgoing.values().flatten().cloned().collect();

    let inbound = cluster.inbound(party(1));
    let outcome = cluster.deliver(party(1), &inbound);

    let evidence = super::harness::assert_blames(outcome, 2, crate::Fault::BadSubShare);
    let crate::evidence::Evidence::BadSubShare(complaint) = evidence else {
        panic!()
    };
    let opened: BTreeMap<_, _> = shares
        .iter()
        .map(|envelope| {
            let share: Share = decode(round::SHARE, &envelope.body).unwrap();
            let key = SessionSecretKey::from_revealed(complaint.revealed);
            let place = (envelope.header.sender, envelope.header.recipient.unwrap());
            (
                place,
                open(&key, &envelope.header.slot(), &share.sealed).is_ok(),
            )
        })
        .collect();
    assert!(opened[&(party(2), party(1))]);
    assert_eq!(opened.values().filter(|opened| **opened).count(), 1);
}

#[test]
fn fewer_shares_than_the_threshold_do_not_make_the_key() {
    let outputs = Cluster::new(quorate_model::Scheme::Bip340, 3, 5, 3).finish();
    let interpolate = |indices: &[PartyIndex]| {
        let secret = indices.iter().fold(zero::<Secp>(), |sum, index| {
            let share = outputs[usize::from(index.number()) - 1].share.expose();
            let share = decode_scalar::<Secp>(share).unwrap();
            sum + share * lagrange::<Secp>(indices, *index).unwrap()
        });
        encode_element::<Secp>(&Secp::mul_base(&secret)).unwrap()
    };
    let all: Vec<_> = PartyIndex::first(5).collect();

    assert_eq!(interpolate(&all[..3]), outputs[0].group_key);
    assert_eq!(interpolate(&all[1..]), outputs[0].group_key);
    assert_ne!(interpolate(&all[..2]), outputs[0].group_key);
    let DkgOutputParts { key, shares } = DkgOutputParts::of(&outputs[0]);
    assert!(check_public_sharing(quorate_model::Scheme::Bip340, 2, &key, &shares).is_err());
}

struct DkgOutputParts {
    key: Vec<u8>,
    shares: Vec<Vec<u8>>,
}

impl DkgOutputParts {
    fn of(output: &crate::dkg::DkgOutput) -> Self {
        Self {
            key: output.group_key.clone(),
            shares: output.verifying_shares.clone(),
        }
    }
}
