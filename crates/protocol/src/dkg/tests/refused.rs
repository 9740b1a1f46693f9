//! Whatever does not come signed from the right party in the right place is refused, blames nobody,
//! and leaves the run where it was (P14).

use proptest::prelude::*;
use quorate_model::wire::WireError;

use super::harness::{Cluster, assert_blameless, assert_refused, facts, identity, party};
use crate::{
    Fault,
    dkg::{Advance, Rejected, round},
    envelope::{Envelope, MAX_ENVELOPE_BYTES},
    evidence::Evidence,
};

/// Delivers a changed round, which is refused, and then the true one, which is taken.
fn check(round: u8, change: impl Fn(&Cluster, &mut Vec<Envelope>), expected: &Rejected) {
    let mut cluster = Cluster::at(round, &[], 1);
    let me = party(1);
    let mut changed = cluster.inbound(me);
    change(&cluster, &mut changed);
    assert_ne!(changed, cluster.inbound(me));

    let outcome = cluster.deliver(me, &changed);

    let machine = assert_refused(outcome, expected);
    assert_eq!(machine.round(), round);
    cluster.machines.insert(me, machine);
    let inbound = cluster.inbound(me);
    let outcome = cluster.deliver(me, &inbound);
    assert!(matches!(
        outcome,
        Advance::Running { .. } | Advance::Finished { .. }
    ));
}

#[test]
fn an_incomplete_round_is_refused() {
    let expected = Rejected::Incomplete {
        missing: vec![party(3)],
    };
    for round in round::HELLO..=round::REVEAL_ECHO {
        check(round, |_, inbound| drop(inbound.remove(2)), &expected);
    }
    check(
        round::SHARE,
        |_, inbound| drop(inbound.remove(1)),
        &expected,
    );
}

#[test]
fn a_round_without_the_own_broadcast_is_refused() {
    let expected = Rejected::Incomplete {
        missing: vec![party(1)],
    };

    check(
        round::COMMIT,
        |_, inbound| drop(inbound.remove(0)),
        &expected,
    );
}

#[test]
fn a_changed_byte_is_refused() {
    for round in round::HELLO..=round::REVEAL_ECHO {
        check(
            round,
            |_, inbound| *inbound[1].body.last_mut().unwrap() ^= 1,
            &Rejected::BadSignature(party(2)),
        );
    }
    check(
        round::SHARE,
        |_, inbound| *inbound[0].body.last_mut().unwrap() ^= 1,
        &Rejected::BadSignature(party(2)),
    );
}

#[test]
fn another_key_signing_for_a_party_is_refused() {
    check(
        round::COMMIT,
        |cluster, inbound| {
            let slot = cluster.slot(party(2), None);
            inbound[1] = Envelope::sign(slot, inbound[1].body.clone(), &identity(party(3)));
        },
        &Rejected::BadSignature(party(2)),
    );
}

#[test]
fn a_stranger_is_refused() {
    check(
        round::COMMIT,
        |cluster, inbound| {
            let slot = cluster.slot(party(4), None);
            inbound[1] = Envelope::sign(slot, inbound[1].body.clone(), &identity(party(4)));
        },
        &Rejected::Stranger(party(4)),
    );
}

#[test]
fn a_share_for_somebody_else_is_refused() {
    check(
        round::SHARE,
        |cluster, inbound| inbound[0] = cluster.inbound(party(3))[1].clone(),
        &Rejected::NotForMe(party(2)),
    );
}

#[test]
fn a_broadcast_for_one_recipient_is_refused() {
    check(
        round::REVEAL,
        |cluster, inbound| {
            let slot = cluster.slot(party(2), Some(party(1)));
            inbound[1] = Envelope::sign(slot, inbound[1].body.clone(), &identity(party(2)));
        },
        &Rejected::NotForMe(party(2)),
    );
}

#[test]
fn a_share_from_oneself_is_refused() {
    check(
        round::SHARE,
        |cluster, inbound| {
            let slot = cluster.slot(party(1), Some(party(1)));
            inbound[0] = Envelope::sign(slot, inbound[0].body.clone(), &identity(party(2)));
        },
        &Rejected::BadSignature(party(1)),
    );
}

#[test]
fn a_replay_from_another_session_is_refused() {
    for round in round::COMMIT..=round::REVEAL_ECHO {
        let other = Cluster::at(round, &[], 2);
        check(
            round,
            |_, inbound| inbound[1] = other.inbound(party(1))[1].clone(),
            &Rejected::OtherSession(party(2)),
        );
    }
    let other = Cluster::at(round::SHARE, &[], 2);
    check(
        round::SHARE,
        |_, inbound| inbound[0] = other.inbound(party(1))[0].clone(),
        &Rejected::OtherSession(party(2)),
    );
}

#[test]
fn an_old_hello_of_this_party_is_refused() {
    let other = Cluster::at(round::HELLO, &[], 2);

    check(
        round::HELLO,
        |_, inbound| inbound[0] = other.inbound(party(1))[0].clone(),
        &Rejected::OtherSession(party(1)),
    );
}

#[test]
fn two_hellos_of_one_party_are_refused_and_blame_nobody() {
    let other = Cluster::at(round::HELLO, &[], 2);

    check(
        round::HELLO,
        |_, inbound| inbound.push(other.inbound(party(1))[1].clone()),
        &Rejected::OtherSession(party(2)),
    );
}

#[test]
fn an_old_hello_of_a_peer_lets_nobody_finish_and_blames_nobody() {
    let other = Cluster::at(round::HELLO, &[], 2);
    let mut cluster = Cluster::at(round::HELLO, &[], 1);
    let mut inbound = cluster.inbound(party(1));
    inbound[1] = other.inbound(party(1))[1].clone();
    let outcome = cluster.deliver(party(1), &inbound);
    let Advance::Running { machine, outgoing } = outcome else {
        panic!("{outcome:?}")
    };
    cluster.machines.insert(party(1), machine);
    for to in [party(2), party(3)] {
        let inbound = cluster.inbound(to);
        let Advance::Running { machine, .. } = cluster.deliver(to, &inbound) else {
            panic!()
        };
        cluster.machines.insert(to, machine);
    }

    let outcome = cluster.deliver(party(2), &outgoing);

    assert_refused(outcome, &Rejected::OtherSession(party(1)));
}

#[test]
fn an_envelope_of_another_round_is_refused() {
    let expected = Rejected::OtherRound {
        sender: party(2),
        round: round::COMMIT,
    };

    check(
        round::REVEAL,
        |cluster, inbound| inbound[1] = cluster.history[&round::COMMIT][1].clone(),
        &expected,
    );
}

#[test]
fn too_many_envelopes_are_refused_unread() {
    check(
        round::COMMIT,
        |_, inbound| inbound.extend(vec![inbound[1].clone(); 4]),
        &Rejected::TooMany(7),
    );
}

#[test]
fn bytes_that_are_no_envelope_are_refused() {
    let mut cluster = Cluster::at(round::COMMIT, &[], 1);
    let mut bytes: Vec<_> = cluster
        .inbound(party(1))
        .iter()
        .map(|envelope| envelope.to_bytes().unwrap())
        .collect();
    for (garbage, source) in [
        (vec![], WireError::Empty),
        (vec![1, 2, 3], WireError::Malformed),
        (vec![9; 100], WireError::UnknownVersion(9)),
        (vec![1; MAX_ENVELOPE_BYTES + 1], WireError::Malformed),
    ] {
        bytes[1] = garbage;

        let outcome = cluster.deliver_bytes(party(1), &bytes);

        let expected = Rejected::Unreadable {
            position: 1,
            source,
        };
        let machine = assert_refused(outcome, &expected);
        cluster.machines.insert(party(1), machine);
    }
}

#[test]
fn garbage_beside_a_whole_round_does_not_stop_it() {
    let mut cluster = Cluster::at(round::COMMIT, &[], 1);
    let mut bytes: Vec<_> = cluster
        .inbound(party(1))
        .iter()
        .map(|envelope| envelope.to_bytes().unwrap())
        .collect();
    bytes.insert(0, vec![7; 7]);

    let outcome = cluster.deliver_bytes(party(1), &bytes);

    assert!(matches!(outcome, Advance::Running { .. }));
}

#[test]
fn another_message_under_the_own_identity_ends_the_run() {
    let mut cluster = Cluster::at(round::COMMIT, &[], 1);
    let mut inbound = cluster.inbound(party(1));
    let slot = cluster.slot(party(1), None);
    inbound[0] = Envelope::sign(slot, inbound[1].body.clone(), &identity(party(1)));

    let outcome = cluster.deliver(party(1), &inbound);

    assert_blameless(outcome, Fault::Impersonated);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_relay_does_to_the_bytes_is_refused_and_blames_nobody(
        round in round::HELLO..=round::SHARE,
        which in 0usize..2,
        at: proptest::sample::Index,
        bit in 0u8..8,
        cut: proptest::sample::Index,
        truncate: bool,
    ) {
        let mut cluster = Cluster::at(round, &[], 1);
        let mut bytes: Vec<_> = cluster
            .inbound(party(1))
            .iter()
            .map(|envelope| envelope.to_bytes().unwrap())
            .collect();
        let changed = &mut bytes[which];
        if truncate {
            changed.truncate(cut.index(changed.len()));
        } else {
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
        }

        let outcome = cluster.deliver_bytes(party(1), &bytes);

        let Advance::Refused { machine, .. } = outcome else { panic!("{outcome:?}") };
        prop_assert_eq!(machine.round(), round);
    }

    #[test]
    fn arbitrary_bytes_are_no_envelope_and_no_evidence(
        bytes in proptest::collection::vec(any::<u8>(), 0..512)
    ) {
        let versioned = [&[1], bytes.as_slice()].concat();
        if let Ok(envelope) = Envelope::from_bytes(&versioned) {
            prop_assert!(envelope.verify(&identity(party(1)).verifying_key()).is_err());
        }
        if let Ok(evidence) = Evidence::from_bytes(&versioned) {
            prop_assert!(evidence.verify(&facts()).is_err());
        }
    }
}
