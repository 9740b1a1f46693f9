//! Nodes that are away or fall silent.

use quorate_model::{Epoch, Reason, node_api::NodeRequest, operation::CommandState};
use quorate_protocol::reshare::round;

use super::{World, is_activate, is_begin, is_prove, is_round};

fn is_last_round(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::AdvanceCeremony { round, .. } if *round == round::SHARE)
}

/// What a command that waits for a node in vain comes to.
fn assert_waited_for(world: &World, handle: u64, missing: &str) {
    let error = world.failure(handle, CommandState::Failed, Reason::QuorumUnavailable);
    assert_eq!(error.get("missing"), Some(missing), "{error}");
}

#[test]
fn another_holder_deals_in_the_place_of_a_silent_one() {
    for kind in [is_begin, is_round, is_last_round_of_dealers] {
        let (mut world, key) = World::with_vault(6);
        world.silence_at(0, kind);

        let handle = world.reshare(&key, 2, &[3, 4, 5]);
        world.pass(9_000);

        let outcome = world.reshare_outcome(handle);
        assert_eq!(outcome.missing, world.nodes_at(&[0]));
        let dealers = [world.nodes_at(&[0, 1]), world.nodes_at(&[1, 2])];
        assert_eq!(world.dealers(), dealers);
        assert_eq!(world.attempted(), [Epoch(2), Epoch(2)]);
        world.speak(0);
        world.pass(1_000);
        world.assert_nobody_keeps_old_shares(&key);
        world.assert_in_use(&key, 2, &[3, 4, 5]);
    }
}

fn is_last_round_of_dealers(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::AdvanceCeremony { round, .. } if *round == round::REVEAL_ECHO)
}

#[test]
fn a_silent_dealer_that_nobody_can_replace_is_named() {
    let (mut world, key) = World::with_vault(6);
    world.disconnect(2);
    world.silence_at(0, is_round);

    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(8_100);

    assert_waited_for(&world, handle, "node-a");
    world.speak(0);
    world.pass(100);
    world.assert_in_use(&key, 1, &[0, 1, 2]);
}

#[test]
fn a_link_that_breaks_in_a_round_is_waited_for_and_the_round_goes_on() {
    for index in [0, 4] {
        let (mut world, key) = World::with_vault(6);
        world.silence_at(index, is_round);
        let handle = world.reshare(&key, 2, &[3, 4, 5]);
        world.disconnect(index);
        world.pass(500);
        world.speak(index);

        world.connect(index);
        world.pass(300);

        assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2));
        assert_eq!(world.attempted(), [Epoch(2)], "it was not given up");
    }
}

#[test]
fn a_receiver_that_crashes_in_the_middle_takes_part_in_another_attempt() {
    let (mut world, key) = World::with_vault(6);
    world.silence_at(4, is_round);
    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    world.disconnect(4);
    world.node(4).restart();
    world.speak(4);

    world.connect(4);
    world.pass(1_000);

    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2));
    world.assert_in_use(&key, 2, &[3, 4, 5]);
}

#[test]
fn a_silent_receiver_ends_the_run_and_the_old_epoch_stays_in_use() {
    for kind in [is_begin, is_round, is_last_round] {
        let (mut world, key) = World::with_vault(6);
        world.silence_at(4, kind);

        let handle = world.reshare(&key, 2, &[3, 4, 5]);
        world.pass(8_100);

        assert_waited_for(&world, handle, "node-e");
        world.assert_in_use(&key, 1, &[0, 1, 2]);
    }
}

#[test]
fn the_next_run_takes_a_higher_epoch_than_one_that_was_prepared() {
    let (mut world, key) = World::with_vault(6);
    world.silence_at(4, is_last_round);
    let command = world.reshare_command(&key, 2, &[3, 4, 5]);
    let first = world.hand_in(&command);
    world.pass(8_100);
    assert_waited_for(&world, first, "node-e");
    world.speak(4);

    let second = world.hand_in(&command);
    world.pass(1_000);

    assert_eq!(world.reshare_outcome(second).epoch, Epoch(3));
    world.assert_nobody_keeps_old_shares(&key);
    world.assert_in_use(&key, 3, &[3, 4, 5]);
}

#[test]
fn a_receiver_that_does_not_prove_its_share_ends_the_run_in_time() {
    let (mut world, key) = World::with_vault(6);
    world.silence_at(4, is_prove);
    let command = world.reshare_command(&key, 2, &[3, 4, 5]);

    let first = world.hand_in(&command);
    world.pass(60_100);

    assert_eq!(world.view(first).state, CommandState::Failed);
    world.assert_in_use(&key, 1, &[0, 1, 2]);
    world.speak(4);
    let second = world.hand_in(&command);
    world.pass(1_000);
    assert_eq!(world.reshare_outcome(second).epoch, Epoch(3));
    world.assert_in_use(&key, 3, &[3, 4, 5]);
    world.assert_no_ticket_is_used_twice();
}

#[test]
fn a_holder_that_does_not_hear_of_the_new_epoch_blocks_the_erasure_until_it_does() {
    let (mut world, key) = World::with_vault(6);
    world.silence_at(4, is_activate);

    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(8_100);

    assert_waited_for(&world, handle, "node-e");
    world.assert_signs(&key, 2);
    assert!(world.node(0).is_active(&key) && !world.node(4).is_active(&key));
    for index in 0..3 {
        assert!(world.node(index).holds(&key) || world.node(index).keeps_old(&key));
    }
    world.speak(4);
    world.pass(2_000);
    world.assert_nobody_keeps_old_shares(&key);
    world.assert_in_use(&key, 2, &[3, 4, 5]);
}

#[test]
fn a_holder_that_is_away_at_the_beginning_does_not_deal() {
    let (mut world, key) = World::with_vault(6);
    world.disconnect(0);

    let outcome = world.reshared_within(&key, 2, &[3, 4, 5], 2_500);

    assert_eq!(world.dealers(), [world.nodes_at(&[1, 2])]);
    assert_eq!(outcome.missing, world.nodes_at(&[0]));
    world.connect(0);
    world.pass(1_000);
    world.assert_nobody_keeps_old_shares(&key);
    world.assert_in_use(&key, 2, &[3, 4, 5]);
}

#[test]
fn where_too_few_can_deal_that_is_said_and_nothing_begins() {
    let (mut world, key) = World::with_vault(6);
    world.disconnect(0);
    world.disconnect(1);

    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(8_100);

    assert_waited_for(&world, handle, "node-a, node-b");
    assert!(world.attempted().is_empty());
}

#[test]
fn a_receiver_that_is_away_at_the_beginning_is_named() {
    let (mut world, key) = World::with_vault(6);
    world.disconnect(5);

    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(8_100);

    assert_waited_for(&world, handle, "node-f");
    assert!(world.attempted().is_empty());
}

#[test]
fn whoever_comes_in_time_is_waited_for() {
    let (mut world, key) = World::with_vault(6);
    for index in [0, 1, 4] {
        world.disconnect(index);
    }
    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(5_000);
    assert!(!world.answers.contains_key(&handle));

    world.connect(1);
    world.connect(4);
    world.pass(3_000);

    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2));
    assert_eq!(world.dealers(), [world.nodes_at(&[1, 2])]);
}
