//! Several commands, and several coordinators, that change one key.

use quorate_model::{Epoch, Reason, Refusal, operation::CommandState};

use super::{super::world::Kind, World, is_activate, is_begin, is_round};

impl World {
    /// Another coordinator of the same cluster. It has the nodes from here on; swap them back.
    pub(super) fn with_another_coordinator(&mut self) -> Self {
        let mut other = Self::new(self.nodes.len());
        std::mem::swap(&mut self.nodes, &mut other.nodes);
        other.created.clone_from(&self.created);
        other.now_us = self.now_us;
        other.next_ids_after(self);
        other.restart_coordinator(vec![]);
        other.pass(50);
        other
    }
}

#[test]
fn a_second_command_for_a_key_that_is_being_reshared_is_refused() {
    let (mut world, key) = World::with_vault(6);
    world.silence_at(4, is_round);
    let first = world.reshare(&key, 2, &[3, 4, 5]);

    let second = world.reshare(&key, 2, &[0, 1, 2]);

    let error = world.failure(second, CommandState::Failed, Reason::SessionLimit);
    assert!(error.message.contains("another command is changing key"));
    world.speak(4);
    world.pass(100);
    assert_eq!(world.reshare_outcome(first).epoch, Epoch(2));
}

#[test]
fn the_same_command_twice_at_a_time_is_one_run() {
    let (mut world, key) = World::with_vault(6);
    let command = world.reshare_command(&key, 2, &[3, 4, 5]);
    world.silence_at(4, is_round);
    let first = world.hand_in(&command);
    let second = world.hand_in(&command);

    world.speak(4);
    world.pass(100);

    assert_eq!(world.reshare_outcome(first), world.reshare_outcome(second));
    assert_eq!(world.attempted(), [Epoch(2)]);
}

#[test]
fn a_command_whose_source_is_not_in_use_any_more_is_refused() {
    let (mut world, key) = World::with_vault(6);
    let late = world.reshare_command(&key, 2, &[0, 3, 4]);
    world.reshared(&key, 2, &[3, 4, 5]);

    let handle = world.hand_in(&late);

    let error = world.failure(handle, CommandState::Denied, Reason::EpochChanged);
    assert_eq!(error.get("epoch"), Some("2"));
    assert!(error.message.contains("make the command again"), "{error}");
}

#[test]
fn a_command_for_another_key_of_the_name_is_refused() {
    let (mut world, key) = World::with_vault(6);
    world.key("other", quorate_model::Scheme::Bip340, 2);
    let id = world.created[&"other".parse().unwrap()];
    let right = world.created.insert(key.clone(), id).unwrap();

    let handle = world.reshare(&key, 2, &[3, 4, 5]);

    world.failure(handle, CommandState::Denied, Reason::KeyIdMismatch);
    world.created.insert(key.clone(), right);
    assert!(world.attempted().is_empty());
}

#[test]
fn one_command_at_two_coordinators_ends_well_at_both() {
    for kind in [is_begin, is_round, is_activate] {
        let (mut world, key) = World::with_vault(6);
        let command = world.reshare_command(&key, 2, &[3, 4, 5]);
        for index in [3, 4, 5] {
            world.silence_at(index, kind);
        }
        let first = world.hand_in(&command);
        let mut other = world.with_another_coordinator();
        let second = other.hand_in(&command);
        other.pass(1_000);
        let epoch = other.reshare_outcome(second).epoch;
        std::mem::swap(&mut world.nodes, &mut other.nodes);

        for index in [3, 4, 5] {
            world.speak(index);
        }
        world.pass(3_000);

        let outcome = world.reshare_outcome(first);
        assert_eq!((outcome.epoch, outcome.erased.len()), (epoch, 0));
        world.assert_nobody_keeps_old_shares(&key);
        world.assert_in_use(&key, epoch.0, &[3, 4, 5]);
    }
}

#[test]
fn of_two_commands_at_two_coordinators_one_ends_well_and_the_other_says_why_not() {
    // Where both are proven, the higher of the two epochs wins.
    let meets: [(Kind, [usize; 3]); 3] = [
        (is_begin, [0, 1, 3]),
        (is_round, [0, 1, 3]),
        (is_activate, [3, 4, 5]),
    ];
    for (kind, nodes) in meets {
        let (mut world, key) = World::with_vault(6);
        for index in [3, 4, 5] {
            world.silence_at(index, kind);
        }
        let first = world.reshare(&key, 2, &[3, 4, 5]);
        let mut other = world.with_another_coordinator();
        let second = other.reshare(&key, 3, &nodes);
        other.pass(1_000);
        let epoch = other.reshare_outcome(second).epoch;
        std::mem::swap(&mut world.nodes, &mut other.nodes);

        for index in [3, 4, 5] {
            world.speak(index);
        }
        world.pass(3_000);

        world.failure(first, CommandState::Denied, Reason::EpochChanged);
        world.assert_nobody_keeps_old_shares(&key);
        world.assert_in_use(&key, epoch.0, &nodes);
    }
}

#[test]
fn a_coordinator_gives_way_while_another_one_is_at_it() {
    let (mut world, key) = World::with_vault(6);
    let busy = Refusal::new(Reason::SessionLimit, "another coordinator changes it");
    world.node(4).manners.refuses_rounds = Some(busy);
    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(1_000);
    assert_eq!(world.attempted().len(), 1, "nobody comes back at once");

    world.node(4).manners.refuses_rounds = None;
    world.pass(4_000);

    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2));
}

#[test]
fn a_key_that_others_are_busy_with_for_long_fails_and_can_be_tried_again() {
    let (mut world, key) = World::with_vault(6);
    let busy = Refusal::new(Reason::SessionLimit, "another coordinator changes it");
    world.node(4).manners.refuses_rounds = Some(busy);
    let command = world.reshare_command(&key, 2, &[3, 4, 5]);
    let first = world.hand_in(&command);
    world.pass(60_100);
    assert_eq!(world.view(first).state, CommandState::Failed);
    world.node(4).manners.refuses_rounds = None;

    let second = world.hand_in(&command);
    world.pass(1_000);

    assert_eq!(world.reshare_outcome(second).epoch, Epoch(2));
}
