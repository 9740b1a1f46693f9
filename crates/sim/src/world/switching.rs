//! Signatures that meet a resharing of their key (P31), by real nodes and coordinators.

use std::ops::Range;

use quorate_coordinator::core::CallFailure;
use quorate_model::{
    DerivationPath, Epoch, Reason, Scheme, UnixMillis,
    node_api::NodeRequest,
    operation::{CommandOutcome, CommandState},
};
use quorate_protocol::ecdsa::signing::round;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use super::{EPOCH_MS, World, happenings::Happening, plan::Shape};
use crate::{Faults, Trick};

/// Within which time a client is answered that meets the switch, in microseconds: much sooner than
/// anybody is asked anew for other reasons.
const SOON_US: u64 = 500_000;

/// Within which time everything happens that is waited for, in microseconds.
const LONG_US: u64 = 30_000_000;

/// A seed of which node 0 is among the first that deal.
const SEED: u64 = 11;

/// Three nodes, two of which sign, and two coordinators; nothing happens by itself.
pub(super) fn calm_shape(scheme: Scheme) -> Shape {
    Shape {
        nodes: 3,
        threshold: 2,
        coordinators: 2,
        signatures: 0,
        scheme,
        mutation: None,
        cheat: None,
        only_reshares: true,
        twice: false,
        states: false,
        spares: 0,
        reshares: 0,
        ending: None,
        restoring: None,
        moving: None,
    }
}

/// A calm cluster with a key that two of its three nodes sign with. Node 0 may cheat in resharings.
fn calm(scheme: Scheme, cheat: Option<(Trick, u32)>) -> World {
    let shape = Shape {
        cheat,
        ..calm_shape(scheme)
    };
    let mut world = World::build(SEED, ChaCha8Rng::seed_from_u64(SEED), Faults::NONE, &shape);
    world.step_until(|world| world.operations[0].done);
    // The second coordinator hears of the key when it is asked for a signature.
    let signs = world.sign_at(1, scheme);
    world.step_until(|world| world.operations[signs].done);
    assert_eq!(world.epoch_at(1), Epoch(1));
    world
}

impl World {
    pub(super) fn step_until(&mut self, is_there: impl Fn(&Self) -> bool) {
        self.step_without(|_| false, is_there);
    }

    /// Lets things happen until something is so, but for some requests, which wait: they are the
    /// answer.
    fn step_without(
        &mut self,
        waits: impl Fn(&NodeRequest) -> bool,
        is_there: impl Fn(&Self) -> bool,
    ) -> Vec<Happening> {
        let mut held = Vec::new();
        let mut steps = 0;
        let limit = self.now_us + LONG_US;
        while !is_there(self) {
            assert!(self.now_us < limit, "what is waited for never happens");
            let next = self.queue.first_key_value().map(|(at, next)| (*at, next));
            match next.expect("nothing happens any more") {
                (at, Happening::ToNode { request, .. }) if waits(request) => {
                    held.extend(self.queue.remove(&at));
                }
                _ => {
                    self.step(&mut steps).expect("a rule is broken");
                }
            }
        }
        held
    }

    /// A client asks a coordinator for a signature; the answer is the place of the operation.
    pub(super) fn sign_at(&mut self, desk: usize, scheme: Scheme) -> usize {
        let first = &self.operations[0];
        let key = (first.key.clone(), first.key_id);
        let created = UnixMillis(EPOCH_MS + self.now_us / 1_000);
        let id = self.id();
        let operation = self.people.client().sign(
            id,
            created,
            key,
            scheme,
            b"in flight".to_vec(),
            DerivationPath::ROOT,
        );
        self.ask(operation.through(Some(desk)))
    }

    /// The admins ask a coordinator for new shares for all three nodes.
    fn reshare_at(&mut self, desk: usize) -> usize {
        self.reshare_to(desk, 0..3)
    }

    /// The admins ask a coordinator for new shares for some nodes.
    pub(super) fn reshare_to(&mut self, desk: usize, nodes: Range<usize>) -> usize {
        let key = self.people.key_name();
        let shown = self.desks[desk].shows(&key).expect("the key is known");
        let nodes = nodes.map(|node| self.people.node_id(node)).collect();
        let created = UnixMillis(EPOCH_MS + self.now_us / 1_000);
        let id = self.id();
        let next = Epoch(shown.record.epoch.0 + 1);
        let operation = self
            .people
            .quorum()
            .reshare(id, created, &shown.record, next, 2, nodes);
        self.ask(operation.through(Some(desk)))
    }

    pub(super) fn epoch_at(&mut self, desk: usize) -> Epoch {
        let key = self.people.key_name();
        self.desks[desk].shows(&key).unwrap().record.epoch
    }

    /// Whether a refusal of an old epoch is on its way to a coordinator.
    fn refuses_epoch(&self, to: usize) -> bool {
        self.queue.values().any(|happening| {
            matches!(
                happening,
                Happening::ToDesk { desk, result, .. } if *desk == to && matches!(
                    &**result,
                    Err(CallFailure::Refused(refusal)) if refusal.reason == Reason::EpochChanged
                )
            )
        })
    }

    /// The client is answered once, soon, with one signature of an epoch. That it holds is an
    /// invariant.
    fn assert_signed_soon(&mut self, operation: usize, epoch: u32) {
        let soon = self.now_us + SOON_US;
        self.step_until(|world| {
            world.now_us > soon || !world.operations[operation].answers.is_empty()
        });
        let answers = &self.operations[operation].answers;
        let [Ok(view)] = answers.as_slice() else {
            panic!("{answers:?}");
        };
        assert_eq!(view.state, CommandState::Succeeded, "{:?}", view.error);
        let Some(CommandOutcome::Signed(signed)) = &view.outcome else {
            panic!("{view:?}");
        };
        assert_eq!((signed.epoch, signed.signatures.len()), (Epoch(epoch), 1));
    }
}

/// A session stops before one of its rounds, the second epoch comes into use through a coordinator,
/// and the session goes on.
fn check_in_flight(before: u8, reshared_by: usize) {
    let mut world = calm(Scheme::EcdsaSecp256k1, None);
    let signs = world.sign_at(0, Scheme::EcdsaSecp256k1);
    let waits = |request: &NodeRequest| matches!(request, NodeRequest::AdvanceSigning { round, .. } if *round == before);
    let is_there = |request: &Happening| matches!(request, Happening::ToNode { request, .. } if waits(request));
    world.step_until(|world| world.queue.values().any(is_there));

    let reshares = world.reshare_at(reshared_by);
    let held = world.step_without(waits, |world| world.operations[reshares].done);
    assert!(world.operations[reshares].is_reshared());
    assert!(world.operations[signs].answers.is_empty(), "round {before}");
    assert_eq!(held.len(), 2);
    for request in held {
        world.after(100, request);
    }

    // Before the last of them every part of the signature has left its signer in the old epoch.
    let epoch = if before == round::COMBINE { 1 } else { 2 };
    world.assert_signed_soon(signs, epoch);
}

#[test]
fn a_session_in_flight_when_its_coordinator_switches_ends_with_a_signature() {
    for before in [round::HELLO, round::COMMIT, round::MULTIPLY, round::COMBINE] {
        check_in_flight(before, 0);
    }
}

#[test]
fn a_session_in_flight_when_another_coordinator_switches_ends_with_a_signature() {
    for before in [round::HELLO, round::COMMIT, round::MULTIPLY, round::COMBINE] {
        check_in_flight(before, 1);
    }
}

#[test]
fn a_session_that_nodes_refuse_to_begin_for_its_epoch_is_begun_in_theirs() {
    let mut world = calm(Scheme::EcdsaSecp256k1, None);
    let reshares = world.reshare_at(1);
    world.step_until(|world| world.operations[reshares].done);
    assert!(world.operations[reshares].is_reshared());
    assert_eq!(world.epoch_at(0), Epoch(1));

    let signs = world.sign_at(0, Scheme::EcdsaSecp256k1);
    world.step_until(|world| world.refuses_epoch(0));

    world.assert_signed_soon(signs, 2);
}

#[test]
fn a_dealer_that_lies_is_proven_guilty_and_the_old_epoch_signs_until_others_have_dealt() {
    for trick in [Trick::FalseSubShare, Trick::FalseReveal, Trick::SplitView] {
        let mut world = calm(Scheme::Bip340, Some((trick, 1)));
        let reshares = world.reshare_at(0);
        world.step_until(|world| world.invariants.proven() > 0);

        let signs = world.sign_at(0, Scheme::Bip340);
        world.assert_signed_soon(signs, 1);
        assert!(!world.operations[reshares].done, "{trick:?}");
        world.step_until(|world| world.operations[reshares].done);

        assert!(world.operations[reshares].is_reshared(), "{trick:?}");
        // The attempt that failed may have used up a number.
        let Epoch(epoch) = world.epoch_at(0);
        assert!(epoch > 1, "{trick:?}");
        let signs = world.sign_at(0, Scheme::Bip340);
        world.assert_signed_soon(signs, epoch);
    }
}
