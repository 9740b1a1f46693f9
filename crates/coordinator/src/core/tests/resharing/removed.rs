//! Ceremonies that wait for nodes which the roster in force does not list any more (P7).

use quorate_model::{
    Reason, Scheme,
    operation::{CommandOutcome, CommandState},
};

use super::{super::membership::remove, World};

impl World {
    /// The admins remove a node.
    fn removed(&mut self, index: usize) {
        let node = self.id(index);
        self.change_roster(remove(node));
    }

    /// The admins add a node again that they removed, and it connects.
    fn added_again(&mut self, index: usize) {
        let card = self.pinned.card(&self.id(index)).unwrap().clone();
        self.change_roster(|roster| roster.nodes.push(card));
        self.connect(index);
        self.pass(100);
    }
}

#[test]
fn a_resharing_of_a_key_with_too_few_holders_left_is_denied_at_once() {
    let (mut world, key) = World::with_vault(5);
    world.removed(1);
    world.removed(2);

    let handle = world.reshare(&key, 2, &[0, 3, 4]);

    let refusal = world.failure(handle, CommandState::Denied, Reason::NodeUnknown);
    assert_eq!(refusal.get("missing"), Some("node-b, node-c"));
    assert!(world.attempted().is_empty());
}

#[test]
fn a_resharing_goes_on_while_enough_holders_are_left() {
    let (mut world, key) = World::with_vault(5);
    world.removed(1);

    let outcome = world.reshared(&key, 2, &[0, 3, 4]);

    assert_eq!(outcome.missing, [world.id(1)]);
}

#[test]
fn a_resharing_that_was_denied_works_when_the_holders_are_listed_again() {
    let (mut world, key) = World::with_vault(5);
    let command = world.reshare_command(&key, 2, &[0, 3, 4]);
    world.removed(1);
    world.removed(2);
    let denied = world.hand_in(&command);
    world.failure(denied, CommandState::Denied, Reason::NodeUnknown);

    world.added_again(1);
    let handle = world.hand_in(&command);
    world.pass(100);

    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Succeeded, "{:?}", view.error);
}

#[test]
fn a_resharing_that_waits_for_a_node_is_denied_when_that_is_removed() {
    let (mut world, key) = World::with_vault(5);
    world.disconnect(4);
    let handle = world.reshare(&key, 2, &[0, 3, 4]);
    world.pass(100);
    assert!(!world.answers.contains_key(&handle));

    world.removed(4);

    world.failure(handle, CommandState::Denied, Reason::NodeUnknown);
}

#[test]
fn a_resharing_that_waits_for_holders_is_denied_when_those_are_removed() {
    let (mut world, key) = World::with_vault(5);
    world.disconnect(1);
    world.disconnect(2);
    let handle = world.reshare(&key, 2, &[0, 3, 4]);
    world.pass(100);
    world.removed(1);
    assert!(!world.answers.contains_key(&handle));

    world.removed(2);

    world.failure(handle, CommandState::Denied, Reason::NodeUnknown);
}

#[test]
fn a_creation_that_waits_for_a_node_is_denied_when_that_is_removed() {
    let mut world = World::new(4);
    world.disconnect(3);
    let nodes = world.nodes_at(&[0, 1, 3]);
    let command = world.creation_on("vault", Scheme::Bip340, 2, nodes);
    let handle = world.hand_in(&command);
    world.pass(100);
    assert!(!world.answers.contains_key(&handle));

    world.removed(3);

    world.failure(handle, CommandState::Denied, Reason::NodeUnknown);
    let nodes = world.nodes_at(&[0, 1, 2]);
    let next = world.creation_on("vault", Scheme::Bip340, 2, nodes);
    let handle = world.hand_in(&next);
    world.pass(100);
    let outcome = &world.view(handle).outcome;
    assert!(matches!(outcome, Some(CommandOutcome::KeyCreated { .. })));
}
