//! A coordinator that starts again in the middle of a run.

use quorate_model::{Epoch, KeyName, command::SignedCommand, node_api::NodeRequest};
use quorate_protocol::reshare::round;

use super::{super::world::Kind, World, is_activate, is_erase, is_prove};

fn is_reveal(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::AdvanceCeremony { round, .. } if *round == round::REVEAL)
}

/// A run of a coordinator that dies before it asks for something, and the command.
fn dies_before(kind: Kind) -> (World, KeyName, SignedCommand) {
    let (mut world, key) = World::with_vault(6);
    let command = world.reshare_command(&key, 2, &[3, 4, 5]);
    world.lose_from(kind);
    world.hand_in(&command);
    world.pass(50);
    world.lose_none();
    (world, key, command)
}

/// The coordinator starts again, with its store or without.
fn restart(world: &mut World, keeps_store: bool) {
    if !keeps_store {
        world.store.clear();
    }
    let stored = world.store.clone();
    world.restart_coordinator(stored);
}

#[test]
fn a_run_that_nobody_prepared_leaves_no_trace() {
    for keeps_store in [true, false] {
        let (mut world, key, command) = dies_before(is_reveal);

        restart(&mut world, keeps_store);
        world.pass(1_000);
        world.assert_in_use(&key, 1, &[0, 1, 2]);
        let again = world.hand_in(&command);
        world.pass(1_000);

        assert_eq!(world.reshare_outcome(again).epoch, Epoch(2));
        world.assert_nobody_keeps_old_shares(&key);
        world.assert_in_use(&key, 2, &[3, 4, 5]);
    }
}

#[test]
fn an_epoch_that_was_prepared_and_not_proven_is_passed_over() {
    for kind in [is_prove, is_activate] {
        for keeps_store in [true, false] {
            let (mut world, key, command) = dies_before(kind);

            restart(&mut world, keeps_store);
            world.pass(1_000);
            world.assert_in_use(&key, 1, &[0, 1, 2]);
            let again = world.hand_in(&command);
            world.pass(1_000);

            assert_eq!(world.reshare_outcome(again).epoch, Epoch(3));
            world.assert_nobody_keeps_old_shares(&key);
            world.assert_in_use(&key, 3, &[3, 4, 5]);
        }
    }
}

#[test]
fn an_epoch_that_one_node_has_in_use_is_brought_to_all_without_being_asked() {
    for keeps_store in [true, false] {
        let (mut world, key) = World::with_vault(6);
        let command = world.reshare_command(&key, 2, &[3, 4, 5]);
        world.silence_at(4, is_activate);
        world.silence_at(5, is_activate);
        world.hand_in(&command);
        world.pass(50);
        assert!(world.node(3).is_active(&key) && !world.node(4).is_active(&key));

        restart(&mut world, keeps_store);
        world.speak(4);
        world.speak(5);
        world.connect(4);
        world.connect(5);
        world.pass(2_000);

        world.assert_nobody_keeps_old_shares(&key);
        world.assert_in_use(&key, 2, &[3, 4, 5]);
        let again = world.hand_in(&command);
        let outcome = world.reshare_outcome(again);
        assert_eq!((outcome.epoch, outcome.erased.len()), (Epoch(2), 0));
    }
}

#[test]
fn a_run_that_is_over_but_for_its_erasures_is_found_done() {
    let (mut world, key, command) = dies_before(is_erase);

    world.restart_coordinator(vec![]);
    world.pass(1_000);
    let again = world.hand_in(&command);

    let outcome = world.reshare_outcome(again);
    assert_eq!((outcome.epoch, outcome.erased.len()), (Epoch(2), 0));
    world.assert_nobody_keeps_old_shares(&key);
    world.assert_in_use(&key, 2, &[3, 4, 5]);
}

#[test]
fn a_command_that_is_handed_in_before_any_node_is_there_can_be_repeated() {
    let (mut world, key, command) = dies_before(is_reveal);
    (0..6).for_each(|index| world.silence(index));
    world.restart_coordinator(vec![]);
    let early = world.hand_in(&command);
    let failed = world.view(early).clone();
    assert_eq!(failed.state, quorate_model::operation::CommandState::Failed);

    for index in 0..6 {
        world.connect(index);
    }
    world.pass(300);
    let again = world.hand_in(&command);
    world.pass(1_000);

    assert_eq!(world.reshare_outcome(again).epoch, Epoch(2));
    world.assert_in_use(&key, 2, &[3, 4, 5]);
}
