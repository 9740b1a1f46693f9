//! Signing while a key changes its holders (P31).

use quorate_model::{Epoch, node_api::NodeRequest};

use super::{World, is_activate, is_round};

fn is_sign(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::SignShares { .. })
}

#[test]
fn the_old_epoch_signs_while_a_run_is_under_way() {
    let (mut world, key) = World::with_vault(6);
    world.silence_at(4, is_round);
    let handle = world.reshare(&key, 2, &[3, 4, 5]);

    world.assert_signs(&key, 1);

    world.speak(4);
    world.pass(100);
    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2));
    world.assert_signs(&key, 2);
}

#[test]
fn the_new_epoch_signs_as_soon_as_enough_holders_have_it_in_use() {
    let (mut world, key) = World::with_vault(6);
    world.silence_at(5, is_activate);

    let handle = world.reshare(&key, 2, &[3, 4, 5]);

    world.assert_signs(&key, 2);
    assert!(!world.answers.contains_key(&handle));
}

#[test]
fn a_signature_that_meets_the_switch_is_made_under_the_new_epoch() {
    let (mut world, key) = World::with_vault(3);
    // One of three has the new epoch in use, and the coordinator has the old one.
    world.silence_at(1, is_activate);
    world.silence_at(2, is_activate);
    let reshare = world.reshare(&key, 2, &[0, 1, 2]);
    let command = world.signature("vault", &["a", "b"]);
    let handle = world.hand_in(&command);
    world.pass(200);
    assert!(!world.answers.contains_key(&handle));

    world.speak(1);
    world.speak(2);
    world.pass(300);

    assert_eq!(world.reshare_outcome(reshare).epoch, Epoch(2));
    assert_eq!(world.signed(handle, &["a", "b"]).epoch, Epoch(2));
}

#[test]
fn shares_that_were_asked_for_before_the_switch_meet_no_others() {
    let (mut world, key) = World::with_vault(6);
    world.silence_at(3, is_activate);
    world.silence_at(4, is_activate);
    world.silence_at(5, is_activate);
    let reshare = world.reshare(&key, 2, &[3, 4, 5]);
    // One old holder answers under the old epoch, the other never does.
    for index in 0..3 {
        world.silence_at(index, is_sign);
    }
    let command = world.signature("vault", &["a"]);
    let handle = world.hand_in(&command);
    for index in [3, 4, 5] {
        world.speak(index);
    }
    world.pass(300);

    assert_eq!(world.signed(handle, &["a"]).epoch, Epoch(2));
    for index in 0..3 {
        world.speak(index);
    }
    world.pass(3_000);
    assert_eq!(world.reshare_outcome(reshare).epoch, Epoch(2));
    world.assert_no_ticket_is_used_twice();
}

#[test]
fn an_epoch_of_another_coordinator_is_found_when_nodes_refuse_the_old_one() {
    let (mut world, key) = World::with_vault(3);
    let mut other = world.with_another_coordinator();
    other.reshared(&key, 2, &[0, 1, 2]);
    std::mem::swap(&mut world.nodes, &mut other.nodes);
    assert_eq!(world.epoch_of(&key), Epoch(1));

    world.assert_signs(&key, 2);

    world.assert_in_use(&key, 2, &[0, 1, 2]);
}

#[test]
fn a_run_that_waits_keeps_nobody_from_finding_the_epoch_of_another_coordinator() {
    let (mut world, key) = World::with_vault(6);
    world.disconnect(5);
    world.reshare(&key, 2, &[3, 4, 5]);
    let mut other = world.with_another_coordinator();
    other.reshared(&key, 2, &[0, 1, 2]);
    std::mem::swap(&mut world.nodes, &mut other.nodes);
    let command = world.signature("vault", &["a"]);

    let handle = world.hand_in(&command);
    world.pass(1_000);

    assert_eq!(world.signed(handle, &["a"]).epoch, Epoch(2));
}
