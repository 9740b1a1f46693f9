//! Where a key stands, on its way to other holders (P33).

use quorate_model::{
    Epoch, KeyName, KeyState, Reason,
    command::EndorsementKind,
    operation::{CommandOutcome, CommandState},
    standing::StateChange::{self, Resume, Suspend},
};

use super::{super::super::Handle, World, is_activate, is_prove, is_round};

impl World {
    fn change_state(&mut self, key: &KeyName, sequence: u64, change: StateChange) -> Handle {
        let mut command = self.state_change(key, sequence, change);
        if !change.needs_one() {
            let word = self.word_of_bob(&command, EndorsementKind::Approve);
            command.endorsements.push(word);
        }
        self.hand_in(&command)
    }

    /// Which of the nodes have heard how far the states of a key go.
    fn heard(&self, key: &KeyName, sequence: u64) -> Vec<usize> {
        let nodes = 0..self.nodes.len();
        let heard = |index: &usize| {
            let standing = self.nodes[&self.id(*index)].standings.get(key);
            standing.is_some_and(|standing| standing.sequence() == sequence)
        };
        nodes.filter(heard).collect()
    }

    fn assert_signs_nothing(&mut self, key: &KeyName, reason: Reason) {
        let signed = self.signature(key.as_str(), &["a"]);
        let handle = self.hand_in(&signed);
        self.pass(100);
        self.failure(handle, CommandState::Denied, reason);
    }
}

#[test]
fn new_holders_hear_of_the_states_of_the_key_before_they_prove_it() {
    let (mut world, key) = World::with_vault(6);
    world.change_state(&key, 1, Suspend);
    world.change_state(&key, 2, Resume);
    world.pass(100);
    world.silence_at(3, is_prove);

    let handle = world.reshare(&key, 2, &[3, 4, 5]);

    assert_eq!(world.heard(&key, 2), [0, 1, 2, 3, 4, 5]);
    world.speak(3);
    world.pass(200);
    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2));
    world.assert_in_use(&key, 2, &[3, 4, 5]);
}

#[test]
fn a_suspended_key_goes_to_no_other_nodes() {
    let (mut world, key) = World::with_vault(6);
    world.change_state(&key, 1, Suspend);
    world.pass(100);

    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(1_000);

    world.failure(handle, CommandState::Denied, Reason::KeySuspended);
    assert!(world.node(3).standings.is_empty());
}

#[test]
fn a_suspended_key_is_refreshed_and_stays_suspended() {
    let (mut world, key) = World::with_vault(3);
    world.change_state(&key, 1, Suspend);
    world.pass(100);

    let outcome = world.reshared(&key, 2, &[0, 1, 2]);

    assert_eq!(outcome.epoch, Epoch(2));
    assert_eq!(world.core.key(&key).unwrap().state, KeyState::Suspended);
    world.assert_signs_nothing(&key, Reason::KeySuspended);
    world.change_state(&key, 2, Resume);
    world.pass(100);
    world.assert_signs(&key, 2);
}

#[test]
fn a_suspension_in_the_middle_of_the_rounds_ends_the_run() {
    let (mut world, key) = World::with_vault(6);
    world.silence_at(4, is_round);
    let handle = world.reshare(&key, 2, &[3, 4, 5]);

    world.change_state(&key, 1, Suspend);
    world.speak(4);
    world.pass(1_000);

    world.failure(handle, CommandState::Denied, Reason::KeySuspended);
    assert_eq!(world.epoch_of(&key), Epoch(1));
}

#[test]
fn a_suspension_in_the_middle_of_the_switch_reaches_the_new_holders() {
    let (mut world, key) = World::with_vault(6);
    for index in [3, 4, 5] {
        world.silence_at(index, is_activate);
    }
    let handle = world.reshare(&key, 2, &[3, 4, 5]);

    let suspended = world.change_state(&key, 1, Suspend);
    world.pass(100);
    assert_eq!(world.view(suspended).state, CommandState::Succeeded);
    for index in [3, 4, 5] {
        world.speak(index);
    }
    world.pass(200);

    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2));
    assert_eq!(world.heard(&key, 1), [0, 1, 2, 3, 4, 5]);
    world.assert_signs_nothing(&key, Reason::KeySuspended);
}

#[test]
fn a_suspension_that_is_under_way_at_the_switch_binds_the_new_holders() {
    let (mut world, key) = World::with_vault(6);
    for index in [3, 4, 5] {
        world.silence_at(index, is_activate);
    }
    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    // Too few of the old holders answer for it to bind.
    world.silence(1);
    world.silence(2);
    let suspended = world.change_state(&key, 1, Suspend);
    for index in [3, 4, 5] {
        world.speak(index);
    }
    world.pass(200);

    let view = world.view(suspended);
    let Some(CommandOutcome::KeyStateSet(outcome)) = &view.outcome else {
        panic!("{:?}", view.error)
    };
    assert!(outcome.missing.is_empty(), "{:?}", outcome.missing);
    let acknowledged: Vec<_> = outcome.receipts.iter().map(|r| r.node.clone()).collect();
    let holders = world.nodes_at(&[3, 4, 5]);
    assert!(holders.iter().all(|node| acknowledged.contains(node)));
    world.pass(3_000);
    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2));
    world.assert_signs_nothing(&key, Reason::KeySuspended);
}

#[test]
fn new_holders_hear_of_states_from_a_coordinator_that_learns_the_epoch() {
    let (mut world, key) = World::with_vault(6);
    world.silence_at(4, is_activate);
    world.silence_at(5, is_activate);
    world.reshare(&key, 2, &[3, 4, 5]);
    world.change_state(&key, 1, Suspend);
    world.pass(100);

    world.restart_coordinator(vec![]);
    world.speak(4);
    world.speak(5);
    world.connect(4);
    world.connect(5);
    world.pass(2_000);

    assert_eq!(world.epoch_of(&key), Epoch(2));
    assert_eq!(world.heard(&key, 1), [0, 1, 2, 3, 4, 5]);
}
