//! Whatever a relay does to envelopes is found before an engine sees anything: the machine waits
//! on, nobody is banned or blamed, and the session ends well once the relay does its work.

use quorate_model::wire::WireError;

use super::{
    super::{Advance, pairing, signing},
    harness::{Cluster, Holders, Run, assert_refused},
};
use crate::{
    dkg::{
        Rejected,
        tests::harness::{identity, party},
    },
    envelope::{Envelope, Slot},
};

const SIGNERS: [u16; 3] = [1, 2, 4];

fn signature(seed: u64) -> Cluster<signing::Machine> {
    Holders::stand_in().sign(&SIGNERS, [9; 32], None, seed)
}

fn set_up(seed: u64) -> Cluster<pairing::Machine> {
    Holders::stand_in().pair(&SIGNERS, seed)
}

fn from(envelopes: &[Envelope], sender: u16) -> usize {
    envelopes
        .iter()
        .position(|envelope| envelope.header.sender == party(sender))
        .unwrap()
}

/// A relay, which sees every envelope of the round and those of another session, and decides what
/// party 1 gets.
type Relay<M> = fn(&Cluster<M>, &Cluster<M>, &mut Inbound);

type Inbound = std::collections::VecDeque<Vec<u8>>;

fn check<M: Run>(start: fn(u64) -> Cluster<M>, round: u8, relay: Relay<M>, expected: &Rejected) {
    let mut cluster = start(1).to(round);
    let other = start(2).to(round);
    let mut inbound: Inbound = cluster
        .inbound(1)
        .iter()
        .map(|envelope| envelope.to_bytes().unwrap())
        .collect();
    relay(&cluster, &other, &mut inbound);

    let outcome = cluster.deliver_bytes(1, inbound.make_contiguous());

    let machine = assert_refused(outcome, expected);
    assert_eq!(machine.awaited(), round);
    cluster.machines.insert(party(1), machine);
    assert_eq!(cluster.finish().len(), SIGNERS.len());
}

/// The same in every round of both protocols.
fn check_all(
    rounds: std::ops::RangeInclusive<u8>,
    in_signing: Relay<signing::Machine>,
    in_set_up: Relay<pairing::Machine>,
    expected: &Rejected,
) {
    for round in rounds {
        check(signature, round, in_signing, expected);
        check(set_up, round, in_set_up, expected);
    }
}

/// Brings this instead of what party 2 sent.
fn instead<M: Run>(cluster: &Cluster<M>, inbound: &mut Inbound, bytes: Vec<u8>) {
    let place = from(&cluster.inbound(1), 2);
    inbound[place] = bytes;
}

fn sent<M: Run>(cluster: &Cluster<M>, sender: u16, to: u16) -> Envelope {
    let inbound = cluster.inbound(to);
    inbound[from(&inbound, sender)].clone()
}

fn corrupt<M: Run>(cluster: &Cluster<M>, _: &Cluster<M>, inbound: &mut Inbound) {
    let mut envelope = sent(cluster, 2, 1);
    let middle = envelope.body.len() / 2;
    envelope.body[middle] ^= 1;
    instead(cluster, inbound, envelope.to_bytes().unwrap());
}

#[test]
fn a_corrupted_envelope_is_dropped() {
    check_all(0..=3, corrupt, corrupt, &Rejected::BadSignature(party(2)));
}

fn swap_bodies<M: Run>(cluster: &Cluster<M>, _: &Cluster<M>, inbound: &mut Inbound) {
    let mut envelope = sent(cluster, 2, 1);
    envelope.body = sent(cluster, 4, 1).body;
    instead(cluster, inbound, envelope.to_bytes().unwrap());
}

#[test]
fn the_body_of_another_envelope_is_dropped() {
    let expected = Rejected::BadSignature(party(2));
    for round in 0..=3 {
        check(signature, round, swap_bodies, &expected);
    }
    // Honest echoes say the same, so there the swap changes nothing.
    for round in [0, 1, 3] {
        check(set_up, round, swap_bodies, &expected);
    }
}

fn claim_sender<M: Run>(cluster: &Cluster<M>, _: &Cluster<M>, inbound: &mut Inbound) {
    let mut envelope = sent(cluster, 4, 1);
    envelope.header.sender = party(2);
    instead(cluster, inbound, envelope.to_bytes().unwrap());
}

#[test]
fn an_envelope_under_the_name_of_another_sender_is_dropped() {
    check_all(
        0..=3,
        claim_sender,
        claim_sender,
        &Rejected::BadSignature(party(2)),
    );
}

fn sign_again<M: Run>(cluster: &Cluster<M>, _: &Cluster<M>, inbound: &mut Inbound) {
    let envelope = sent(cluster, 2, 1);
    let forged = Envelope::sign(envelope.header.slot(), envelope.body, &identity(party(9)));
    instead(cluster, inbound, forged.to_bytes().unwrap());
}

#[test]
fn an_envelope_signed_by_the_relay_is_dropped() {
    check_all(
        0..=3,
        sign_again,
        sign_again,
        &Rejected::BadSignature(party(2)),
    );
}

fn misroute<M: Run>(cluster: &Cluster<M>, _: &Cluster<M>, inbound: &mut Inbound) {
    let envelope = sent(cluster, 2, 4);
    instead(cluster, inbound, envelope.to_bytes().unwrap());
}

#[test]
fn an_envelope_for_another_recipient_is_dropped() {
    for round in 1..=3 {
        check(signature, round, misroute, &Rejected::NotForMe(party(2)));
    }
    check(set_up, 3, misroute, &Rejected::NotForMe(party(2)));
}

fn replay<M: Run>(cluster: &Cluster<M>, other: &Cluster<M>, inbound: &mut Inbound) {
    let envelope = sent(other, 2, 1);
    instead(cluster, inbound, envelope.to_bytes().unwrap());
}

#[test]
fn an_envelope_of_another_session_is_dropped() {
    check_all(1..=3, replay, replay, &Rejected::OtherSession(party(2)));
}

#[test]
fn an_envelope_of_the_other_protocol_is_dropped() {
    let mut cluster = signature(1);
    let hello = set_up(1).inbound(1);
    let mut inbound = cluster.inbound(1);
    inbound[1] = hello[1].clone();

    let outcome = cluster.deliver(1, &inbound);

    assert_refused(outcome, &Rejected::OtherSession(party(2)));
}

#[test]
fn a_replayed_hello_leads_to_no_common_session_and_blames_nobody() {
    let mut cluster = signature(1);
    let old = signature(2);
    let mut inbound = cluster.inbound(1);
    inbound[1] = old.outgoing[1].clone();
    let Advance::Running { machine, outgoing } = cluster.deliver(1, &inbound) else {
        panic!("a hello is fresh only to its sender")
    };
    cluster.machines.insert(party(1), machine);
    for to in [2, 4] {
        let inbound = cluster.inbound(to);
        let Advance::Running { machine, .. } = cluster.deliver(to, &inbound) else {
            panic!("party {to} saw what was said")
        };
        let mut misled = outgoing.clone();
        misled.retain(|envelope| envelope.header.recipient == Some(party(to)));
        cluster.machines.insert(party(to), machine);
        let outcome = cluster.deliver(to, &misled);
        assert_refused(outcome, &Rejected::OtherSession(party(1)));
    }
}

#[test]
fn an_envelope_of_an_earlier_round_is_dropped() {
    for round in 2..=3 {
        let mut cluster = signature(1).to(round - 1);
        let early = cluster.inbound(1);
        cluster.step();

        let outcome = cluster.deliver(1, &early);

        let rejected = Rejected::OtherRound {
            sender: party(2),
            round: round - 1,
        };
        let machine = assert_refused(outcome, &rejected);
        cluster.machines.insert(party(1), machine);
        cluster.finish();
    }
}

fn leave_out<M: Run>(cluster: &Cluster<M>, _: &Cluster<M>, inbound: &mut Inbound) {
    let place = from(&cluster.inbound(1), 2);
    inbound.remove(place);
}

#[test]
fn a_round_without_one_of_the_parties_is_not_taken() {
    let missing = Rejected::Incomplete {
        missing: vec![party(2)],
    };
    check_all(0..=3, leave_out, leave_out, &missing);
}

fn garbage<M: Run>(cluster: &Cluster<M>, _: &Cluster<M>, inbound: &mut Inbound) {
    let place = from(&cluster.inbound(1), 2);
    let position = inbound.len();
    inbound.remove(place);
    inbound.insert(0, vec![1; 32]);
    assert_eq!(inbound.len(), position);
}

#[test]
fn bytes_that_are_no_envelope_are_dropped() {
    let unreadable = Rejected::Unreadable {
        position: 0,
        source: WireError::Malformed,
    };
    check_all(0..=3, garbage, garbage, &unreadable);
}

fn inflate<M: Run>(cluster: &Cluster<M>, _: &Cluster<M>, inbound: &mut Inbound) {
    let envelope = sent(cluster, 2, 1);
    let slot: Slot = envelope.header.slot();
    let huge = Envelope::sign(slot, vec![0; 40 * 1024], &identity(party(2)));
    let place = from(&cluster.inbound(1), 2);
    inbound.remove(place);
    inbound.insert(0, huge.to_bytes().unwrap());
}

#[test]
fn an_envelope_over_the_limit_of_its_round_is_not_read() {
    let unreadable = Rejected::Unreadable {
        position: 0,
        source: WireError::Malformed,
    };
    check_all(0..=3, inflate, inflate, &unreadable);
}

fn flood<M: Run>(_: &Cluster<M>, _: &Cluster<M>, inbound: &mut Inbound) {
    let one = inbound[0].clone();
    inbound.resize(7, one);
}

#[test]
fn more_envelopes_than_a_round_can_have_are_not_read() {
    check_all(0..=3, flood, flood, &Rejected::TooMany(7));
}

fn repeat_in_any_order<M: Run>(start: fn(u64) -> Cluster<M>) {
    for round in 0..=3 {
        let mut cluster = start(1).to(round);
        let mut inbound = cluster.inbound(1);
        inbound.extend(inbound.clone());
        inbound.reverse();

        let outcome = cluster.deliver(1, &inbound);

        let goes_on = matches!(outcome, Advance::Running { .. } | Advance::Finished { .. });
        assert!(goes_on);
    }
}

#[test]
fn repeated_envelopes_and_any_order_are_harmless() {
    repeat_in_any_order(signature);
    repeat_in_any_order(set_up);
}

/// The same manipulations, one after the other, on a session of the real engine.
#[test]
fn the_real_engine_never_sees_what_a_relay_has_touched() {
    let holders = Holders::small();
    let start = |seed| holders.sign(&[1, 2], [5; 32], None, seed);
    let mut cluster = start(1);
    let mut other = start(2);
    for round in 0..=3 {
        for relay in [corrupt, claim_self, sign_again, garbage, leave_out] as [Relay<_>; 5] {
            let mut inbound: Inbound = cluster
                .inbound(1)
                .iter()
                .map(|envelope| envelope.to_bytes().unwrap())
                .collect();
            relay(&cluster, &other, &mut inbound);
            let Advance::Refused { machine, .. } =
                cluster.deliver_bytes(1, inbound.make_contiguous())
            else {
                panic!("round {round} was taken from a relay that touched it")
            };
            cluster.machines.insert(party(1), machine);
        }
        if round < 3 {
            cluster.step();
            other.step();
        }
    }

    assert_eq!(cluster.finish().len(), 2);
}

fn claim_self<M: Run>(cluster: &Cluster<M>, _: &Cluster<M>, inbound: &mut Inbound) {
    let mut envelope = sent(cluster, 2, 1);
    envelope.header.sender = party(1);
    instead(cluster, inbound, envelope.to_bytes().unwrap());
}
