//! Keys whose end is ordered while they are reshared (P34).

use quorate_model::{
    Epoch, KeyName, KeyState, Reason, Refusal,
    destruction::DestroyStep::{Announce, AtOnce},
    operation::CommandState,
    standing::StateChange,
};

use super::{
    super::{
        super::Handle,
        destroying::{approve_and_run, confirm, outcome, step},
        world::Kind,
    },
    World, is_activate, is_begin, is_erase, is_prove, is_round,
};

const ALL: [usize; 3] = [0, 1, 2];

/// A key of the three nodes that is retired.
fn retired() -> (World, KeyName) {
    let (mut world, key) = World::with_vault(3);
    let command = world.state_change(&key, 1, StateChange::Deactivate);
    approve_and_run(&mut world, &command);
    (world, key)
}

/// A resharing of it in which the last node falls silent when it is asked such a thing.
fn stopped_at(kind: Kind) -> (World, KeyName, Handle) {
    let (mut world, key) = retired();
    world.silence_at(2, kind);
    let handle = world.reshare(&key, 2, &ALL);
    assert!(!world.answers.contains_key(&handle));
    (world, key, handle)
}

/// Every node has destroyed the key and has nothing of it, and nobody is asked to bring anything of
/// it back or to erase what is gone.
fn assert_gone_for_good(world: &mut World, key: &KeyName) {
    assert_eq!(world.core.key(key).unwrap().state, KeyState::Destroyed);
    world.pass(60_000);
    let goes_on: Kind = |request| is_begin(request) || is_activate(request) || is_erase(request);
    let asked = |world: &World| ALL.map(|index| world.count(index, goes_on));
    let before = asked(world);
    world.pass(120_000);
    assert_eq!(asked(world), before);
    for index in ALL {
        assert!(world.node(index).has_destroyed(key), "node {index}");
        assert!(!world.node(index).has_shares(key), "node {index}");
    }
}

#[test]
fn a_run_is_refused_once_its_key_is_destroyed() {
    let kinds: [Kind; 3] = [is_begin, is_round, is_prove];
    for kind in kinds {
        let (mut world, key, reshares) = stopped_at(kind);
        let (_, destroys) = step(&mut world, &key, AtOnce);
        assert!(world.node(0).has_destroyed(&key));

        world.speak(2);
        world.pass(500);

        world.failure(reshares, CommandState::Denied, Reason::KeyDestroyed);
        assert_eq!(outcome(&world, destroys).receipts.len(), 3);
        assert_gone_for_good(&mut world, &key);
    }
}

#[test]
fn a_holder_that_hears_of_the_end_before_the_switch_does_not_switch() {
    let (mut world, key) = retired();
    for index in [1, 2] {
        world.node(index).manners.stuck.insert(key.clone());
    }
    let reshares = world.reshare(&key, 2, &ALL);
    let (_, destroys) = step(&mut world, &key, AtOnce);
    world.pass(500);

    world.failure(reshares, CommandState::Denied, Reason::KeyDestroyed);
    assert_eq!(outcome(&world, destroys).receipts.len(), 3);
    assert_eq!(world.node(0).epoch(&key), Some(Epoch(2)));
    assert_eq!(world.node(1).epoch(&key), Some(Epoch(1)));
    assert_gone_for_good(&mut world, &key);
}

#[test]
fn an_end_in_the_middle_of_the_switch_leaves_nothing_to_wait_for() {
    let (mut world, key, reshares) = stopped_at(is_activate);
    let (_, destroys) = step(&mut world, &key, AtOnce);

    world.speak(2);
    world.pass(500);

    // The last holder has switched before it heard of the end.
    let switched = world.reshare_outcome(reshares);
    assert_eq!(switched.missing, []);
    assert_eq!(outcome(&world, destroys).receipts.len(), 3);
    assert_gone_for_good(&mut world, &key);
}

#[test]
fn an_end_while_old_shares_are_erased_takes_them_too() {
    let (mut world, key) = retired();
    let (announcement, _) = step(&mut world, &key, Announce);
    for index in ALL {
        let refusal = Refusal::new(Reason::Overloaded, "not yet");
        world.node(index).manners.refuses_erasures = Some(refusal);
    }
    let reshares = world.reshare(&key, 2, &ALL);
    assert!(
        ALL.iter()
            .all(|index| world.nodes[&world.id(*index)].keeps_old(&key))
    );

    let (_, destroys) = step(&mut world, &key, confirm(&announcement));
    for index in ALL {
        world.node(index).manners.refuses_erasures = None;
    }
    world.pass(1_000);

    assert_eq!(outcome(&world, destroys).receipts.len(), 3);
    let switched = world.reshare_outcome(reshares);
    assert_eq!((switched.erased, switched.missing), (vec![], vec![]));
    assert_gone_for_good(&mut world, &key);
}

#[test]
fn an_end_that_a_holder_has_not_heard_of_is_partial_and_the_run_ends_all_the_same() {
    let (mut world, key, reshares) = stopped_at(is_round);
    let (announcement, _) = step(&mut world, &key, Announce);
    let (_, destroys) = step(&mut world, &key, confirm(&announcement));
    world.pass(20_000);

    let partial = outcome(&world, destroys);
    assert_eq!((partial.receipts.len(), partial.missing.len()), (2, 1));
    assert_eq!(world.core.key(&key).unwrap().state, KeyState::Deactivated);
    let view = world.view(reshares).clone();
    assert_eq!(view.state, CommandState::Failed, "{:?}", view.error);
    world.disconnect(2);
    world.connect(2);
    for _ in 0..40 {
        world.pass(1_000);
    }

    assert_gone_for_good(&mut world, &key);
}
