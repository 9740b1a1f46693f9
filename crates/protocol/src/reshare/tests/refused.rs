//! Whatever does not come signed from the right party in the right place is refused, blames nobody,
//! and leaves the run where it was (P14).

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::harness::{
    BOTH, Cluster, DEALER, Held, RECEIVER, assert_blameless, assert_refused, at, party, sign, state,
};
use crate::{
    Fault,
    ceremony::Output,
    dkg,
    envelope::{Envelope, ProtocolId, Slot},
    reshare::{Advance, Rejected, ReshareOutput, round, start},
};

fn delivers(to: u16, round: u8, change: impl Fn(&Cluster, &mut Vec<Envelope>)) -> Advance {
    let mut cluster = at(round, &[], 1);
    let mut inbound = cluster.inbound(party(to));
    change(&cluster, &mut inbound);
    assert_ne!(inbound, cluster.inbound(party(to)));
    cluster.deliver(party(to), &inbound)
}

/// Refused with this reason, and the machine waits on.
fn refused(to: u16, round: u8, change: impl Fn(&Cluster, &mut Vec<Envelope>), expected: &Rejected) {
    let machine = assert_refused(delivers(to, round, change), expected);

    assert_eq!(machine.round(), round);
}

#[test]
fn a_round_waits_for_exactly_those_who_speak_in_it() {
    for to in [BOTH, RECEIVER, DEALER] {
        for round in round::HELLO..=round::REVEAL_ECHO {
            let mut cluster = at(round, &[], 1);
            let outcome = cluster.deliver(party(to), &[]);
            let speakers: Vec<_> = if matches!(round, round::COMMIT | round::REVEAL) {
                vec![party(BOTH), party(DEALER)]
            } else {
                cluster.parties()
            };
            assert_refused(outcome, &Rejected::Incomplete { missing: speakers });
        }
    }
    let mut cluster = at(round::SHARE, &[], 1);
    let missing = vec![party(DEALER)];
    let outcome = cluster.deliver(party(BOTH), &[]);
    assert_refused(outcome, &Rejected::Incomplete { missing });
    let missing = vec![party(BOTH), party(DEALER)];
    let outcome = cluster.deliver(party(RECEIVER), &[]);
    assert_refused(outcome, &Rejected::Incomplete { missing });
}

#[test]
fn a_replay_from_another_session_of_the_same_resharing_is_refused() {
    for round in round::COMMIT..=round::SHARE {
        let other = at(round, &[], 2);
        refused(
            RECEIVER,
            round,
            |_, inbound| inbound[0] = other.inbound(party(RECEIVER))[0].clone(),
            &Rejected::OtherSession(other.inbound(party(RECEIVER))[0].header.sender),
        );
    }
}

/// Whoever hears a hello that its peer said in another run is in a session by itself (P12, P35): it
/// believes nobody, nobody believes it, and neither names a liar.
fn hears_an_old_hello(speaker: u16, hearer: u16) {
    let old = at(round::HELLO, &[], 2).outgoing[&party(speaker)].clone();
    let mut cluster = at(round::HELLO, &[], 1);
    let mut next = BTreeMap::new();
    for to in cluster.parties() {
        let mut inbound = cluster.inbound(to);
        if to == party(hearer) {
            inbound.retain(|envelope| envelope.header.sender != party(speaker));
            inbound.extend(old.clone());
        }
        let outcome = cluster.deliver(to, &inbound);
        let Advance::Running { machine, outgoing } = outcome else {
            panic!("{outcome:?}")
        };
        cluster.machines.insert(to, machine);
        next.insert(to, outgoing);
    }
    cluster.outgoing = next;

    for to in cluster.parties() {
        let inbound = cluster.inbound(to);
        let outcome = cluster.deliver(to, &inbound);

        let others = [BOTH, DEALER].into_iter().find(|dealer| *dealer != hearer);
        let stranger = if to == party(hearer) {
            others.unwrap()
        } else {
            hearer
        };
        if to != party(hearer) && hearer == RECEIVER {
            // It deals nothing, so what the others wait for in vain is its echo.
            let Advance::Running { machine, .. } = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(machine.round(), round::COMMIT_ECHO);
            continue;
        }
        let machine = assert_refused(outcome, &Rejected::OtherSession(party(stranger)));
        assert_eq!(machine.round(), round::COMMIT);
    }
}

#[test]
fn an_old_hello_of_a_peer_lets_nobody_finish_and_blames_nobody() {
    for hearer in [BOTH, RECEIVER, DEALER] {
        for speaker in [BOTH, RECEIVER, DEALER] {
            if speaker != hearer {
                hears_an_old_hello(speaker, hearer);
            }
        }
    }
}

#[test]
fn messages_of_key_generation_are_none_of_resharing() {
    for round in [round::HELLO, round::COMMIT, round::REVEAL] {
        let mut cluster = at(round, &[DEALER], 1);
        let honest = cluster.outgoing[&party(DEALER)][0].clone();
        let slot = Slot {
            protocol: ProtocolId::Dkg,
            ..honest.header.slot()
        };
        let envelope = Envelope::sign(slot, honest.body, &cluster.identity(party(DEALER)));
        cluster.outgoing.insert(party(DEALER), vec![envelope]);
        let inbound = cluster.inbound(party(RECEIVER));

        let outcome = cluster.deliver(party(RECEIVER), &inbound);

        assert_refused(outcome, &Rejected::OtherSession(party(DEALER)));
    }
}

#[test]
fn a_share_for_somebody_else_is_refused() {
    refused(
        RECEIVER,
        round::SHARE,
        |cluster, inbound| inbound[0] = cluster.inbound(party(3))[0].clone(),
        &Rejected::NotForMe(party(BOTH)),
    );
}

#[test]
fn a_changed_byte_is_refused() {
    for round in round::HELLO..=round::SHARE {
        refused(
            RECEIVER,
            round,
            |_, inbound| *inbound[0].body.last_mut().unwrap() ^= 1,
            &Rejected::BadSignature(party(BOTH)),
        );
    }
}

#[test]
fn indices_that_nobody_has_are_refused() {
    for index in [5, u16::MAX] {
        refused(
            RECEIVER,
            round::COMMIT,
            |cluster, inbound| {
                let slot = cluster.slot(party(index), None);
                let key = cluster.identity(party(DEALER));
                inbound[1] = Envelope::sign(slot, inbound[1].body.clone(), &key);
            },
            &Rejected::Stranger(party(index)),
        );
    }
}

#[test]
fn a_dealer_under_its_index_of_the_source_is_somebody_else() {
    // Node 1 has index 1 in the source and 4 in the session; node 3 has 3 and 1.
    refused(
        RECEIVER,
        round::COMMIT,
        |cluster, inbound| {
            let slot = cluster.slot(party(1), None);
            let key = cluster.identity(party(DEALER));
            inbound[0] = Envelope::sign(slot, inbound[1].body.clone(), &key);
        },
        &Rejected::BadSignature(party(BOTH)),
    );
}

#[test]
fn a_message_of_a_receiver_under_its_own_name_that_it_never_sent_ends_its_run() {
    let outcome = delivers(RECEIVER, round::COMMIT, |cluster, inbound| {
        let slot = cluster.slot(party(RECEIVER), None);
        let key = cluster.identity(party(RECEIVER));
        inbound.push(Envelope::sign(slot, inbound[0].body.clone(), &key));
    });

    assert_blameless(outcome, Fault::Impersonated);
}

#[test]
fn too_many_envelopes_are_refused_unread() {
    refused(
        RECEIVER,
        round::COMMIT,
        |_, inbound| inbound.extend(vec![inbound[1].clone(); 7]),
        &Rejected::TooMany(9),
    );
}

/// One party of the run starts from another certificate, of the same key and epoch.
fn with_another_source_at(odd: u16) {
    let (held, other) = (Held::small(), Held::born(held_scheme(), 2, 3, 9));
    let mut cluster = held.run(&[1, 3], &[3, 4, 5], 2, 1);
    let binding = other.binding(&[1, 3], &[3, 4, 5], 2);
    let (machine, hello) = start(
        other.setup(&binding, party(odd)),
        other.share_for(&binding, party(odd)),
        state(1),
        &cluster.identity(party(odd)),
        &mut cluster.rng,
    )
    .unwrap();
    cluster.enroll(party(odd), machine, hello);

    for to in cluster.parties() {
        let inbound = cluster.inbound(to);
        let outcome = cluster.deliver(to, &inbound);

        let culprit = if to == party(odd) {
            // It alone is right in its own eyes.
            inbound[usize::from(odd == 1)].header.sender
        } else {
            party(odd)
        };
        assert_refused(outcome, &Rejected::OtherSession(culprit));
    }
}

fn held_scheme() -> quorate_model::Scheme {
    Held::small().source.statement.scheme
}

#[test]
fn whoever_starts_from_another_certificate_is_in_another_session_and_nobody_is_blamed() {
    for odd in [BOTH, RECEIVER, DEALER] {
        with_another_source_at(odd);
    }
}

#[test]
fn an_epoch_that_is_reshared_twice_makes_two_epochs_that_do_not_mix() {
    let held = Held::small();
    let one = held.reshare(&[1, 3], &[3, 4, 5], 2, 1);
    let two = held.reshare(&[1, 3], &[3, 4, 5], 2, 2);

    let parts = [(&one, party(1)), (&two, party(2))];

    assert!(sign(&one, &parts, b"payment").is_err());
    assert!(sign(&two, &parts, b"payment").is_err());
}

#[test]
fn an_output_of_resharing_without_a_share_is_none_of_key_generation() {
    let outputs = at(round::SHARE, &[], 1).finish();
    let Some(ReshareOutput::Dealer { sharing }) = outputs.into_iter().nth(3) else {
        panic!()
    };

    let outcome = crate::ceremony::Outcome {
        share: None,
        sharing,
    };

    assert!(dkg::DkgOutput::conclude(outcome).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_a_relay_does_to_the_bytes_is_refused_and_blames_nobody(
        round in round::HELLO..=round::SHARE,
        to in 1u16..=4,
        which: proptest::sample::Index,
        at_byte: proptest::sample::Index,
        bit in 0u8..8,
    ) {
        let to = if round == round::SHARE { to.min(3) } else { to };
        let mut cluster = at(round, &[], 1);
        let mut bytes: Vec<_> = cluster
            .inbound(party(to))
            .iter()
            .map(|envelope| envelope.to_bytes().unwrap())
            .collect();
        let which = which.index(bytes.len());
        let at_byte = at_byte.index(bytes[which].len());
        bytes[which][at_byte] ^= 1 << bit;

        let outcome = cluster.deliver_bytes(party(to), &bytes);

        let Advance::Refused { machine, .. } = outcome else { panic!("{outcome:?}") };
        prop_assert_eq!(machine.round(), round);
    }
}
