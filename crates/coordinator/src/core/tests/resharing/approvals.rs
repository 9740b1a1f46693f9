//! Who must speak for a resharing, and what ends one (P6, P11).

use quorate_model::{
    Epoch, KeyName, Reason, Scheme,
    command::{Endorsement, EndorsementKind, SignedCommand},
    operation::CommandState,
};

use super::{
    super::super::{Handle, Limits},
    World, is_activate, is_begin, is_erase, is_round,
};

/// A command that waits for a second person.
fn proposed() -> (World, KeyName, SignedCommand, Handle) {
    let (mut world, key) = World::with_vault(6);
    let command = world.proposal(&key, 2, &[3, 4, 5]);
    let handle = world.hand_in(&command);
    (world, key, command, handle)
}

impl World {
    fn word(&mut self, command: &SignedCommand, word: Endorsement) -> Handle {
        let id = self.admitted(command).command().id;
        let handle = self.endorse(id, word);
        self.run();
        handle
    }

    fn approve(&mut self, command: &SignedCommand) -> Handle {
        let word = self.word_of_bob(command, EndorsementKind::Approve);
        self.word(command, word)
    }

    fn reject(&mut self, command: &SignedCommand) -> Handle {
        let word = self.word_of_bob(command, EndorsementKind::Reject);
        self.word(command, word)
    }

    /// The same command with another end of its life.
    fn expiring_in(&mut self, command: &SignedCommand, ms: u64) -> SignedCommand {
        let mut decoded = self.admitted(command).command().clone();
        decoded.expires = decoded.created.plus(ms);
        let mut signed = self.endorsed(&decoded);
        let word = self.word_of_bob(&signed, EndorsementKind::Approve);
        signed.endorsements.push(word);
        signed
    }
}

#[test]
fn a_proposal_waits_and_the_word_of_a_second_person_begins_it() {
    let (mut world, key, command, handle) = proposed();
    let view = world.view(handle).clone();
    assert_eq!(view.state, CommandState::AwaitingEndorsement);
    assert_eq!(view.awaiting.as_ref(), Some(&command));
    world.pass(5_000);
    assert!(world.attempted().is_empty());

    let approved = world.approve(&command);
    world.pass(100);

    assert_eq!(world.reshare_outcome(approved).epoch, Epoch(2));
    world.assert_in_use(&key, 2, &[3, 4, 5]);
}

#[test]
fn the_same_command_with_more_words_begins_it_too() {
    let (mut world, _, mut command, _) = proposed();
    let approval = world.word_of_bob(&command, EndorsementKind::Approve);
    command.endorsements.push(approval);

    let handle = world.hand_in(&command);
    world.pass(100);

    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2));
}

#[test]
fn the_word_of_the_same_person_counts_once() {
    let (mut world, _, command, _) = proposed();
    let approval = command.endorsements[0].clone();

    let again = world.word(&command, approval);
    world.pass(1_000);

    let view = world.view(again);
    assert_eq!(view.state, CommandState::AwaitingEndorsement);
    assert!(world.attempted().is_empty());
}

#[test]
fn a_rejection_ends_what_waits_and_no_approval_revives_it() {
    let (mut world, key, mut command, _) = proposed();

    let rejected = world.reject(&command);
    world.failure(rejected, CommandState::Denied, Reason::CommandRejected);
    // Every node hears of it.
    assert!((0..6).all(|index| world.count(index, is_begin) > 0));
    let approved = world.approve(&command);
    let approval = world.word_of_bob(&command, EndorsementKind::Approve);
    command.endorsements.push(approval);
    let again = world.hand_in(&command);
    world.pass(1_000);

    for handle in [approved, again] {
        world.failure(handle, CommandState::Denied, Reason::CommandRejected);
    }
    world.assert_in_use(&key, 1, &[0, 1, 2]);
}

#[test]
fn a_proposal_that_nobody_approves_expires() {
    let (mut world, key) = World::with_vault(4);
    let command = world.proposal(&key, 2, &[1, 2, 3]);
    let mut short = world.expiring_in(&command, 5_000);
    let approval = short.endorsements.pop().unwrap();
    world.hand_in(&short);

    world.pass(5_100);
    let late = world.word(&short, approval);

    world.failure(late, CommandState::Expired, Reason::CommandExpired);
    assert!(world.attempted().is_empty());
}

#[test]
fn a_rejection_ends_a_run_and_the_old_epoch_stays_in_use() {
    let (mut world, key) = World::with_vault(6);
    world.silence_at(4, is_round);
    let command = world.reshare_command(&key, 2, &[3, 4, 5]);
    let handle = world.hand_in(&command);

    world.reject(&command);
    world.speak(4);
    world.pass(1_000);

    world.failure(handle, CommandState::Denied, Reason::CommandRejected);
    world.assert_in_use(&key, 1, &[0, 1, 2]);
    // The key is free for another command.
    assert_eq!(world.reshared(&key, 2, &[3, 4, 5]).epoch, Epoch(2));
}

#[test]
fn a_run_that_is_rejected_gives_its_turn_to_the_next() {
    let limits = Limits {
        max_ceremonies: 1,
        ..Limits::default()
    };
    let mut world = World::with_limits(4, limits);
    let holders = world.nodes_at(&[0, 1, 2]);
    let key = world.key_on("vault", Scheme::Bip340, 2, holders);
    world.silence_at(3, is_round);
    let command = world.reshare_command(&key, 2, &[1, 2, 3]);
    world.hand_in(&command);
    let creation = world.creation("next", Scheme::Ed25519, 2);
    let waits = world.hand_in(&creation);

    world.reject(&command);
    world.speak(3);
    world.pass(500);

    assert_eq!(world.view(waits).state, CommandState::Succeeded);
}

#[test]
fn a_rejection_comes_too_late_for_an_epoch_that_is_in_use() {
    let (mut world, key) = World::with_vault(6);
    for index in 0..3 {
        world.silence_at(index, is_erase);
    }
    let command = world.reshare_command(&key, 2, &[3, 4, 5]);
    let handle = world.hand_in(&command);
    assert_eq!(world.epoch_of(&key), Epoch(2));

    let late = world.reject(&command);
    world.pass(2_500);

    let refusal = world.refusal(late);
    assert_eq!(refusal.reason, Reason::RequestInvalid);
    assert!(refusal.message.contains("in use already"), "{refusal}");
    let outcome = world.reshare_outcome(handle);
    assert_eq!((outcome.epoch, outcome.missing.len()), (Epoch(2), 3));
}

#[test]
fn a_rejection_in_the_middle_of_the_switch_leaves_no_old_shares() {
    let (mut world, key) = World::with_vault(6);
    world.silence_at(5, is_activate);
    let command = world.reshare_command(&key, 2, &[3, 4, 5]);
    let handle = world.hand_in(&command);

    world.reject(&command);
    world.pass(100);
    world.failure(handle, CommandState::Denied, Reason::CommandRejected);
    world.speak(5);
    world.pass(2_000);

    // What is proven is in use, whatever is said of its command by then.
    world.assert_nobody_keeps_old_shares(&key);
    world.assert_in_use(&key, 2, &[3, 4, 5]);
}

#[test]
fn a_command_that_expires_in_the_middle_of_its_rounds_ends_then() {
    let (mut world, key) = World::with_vault(6);
    world.silence_at(4, is_round);
    let command = world.reshare_command(&key, 2, &[3, 4, 5]);
    let short = world.expiring_in(&command, 3_000);

    let handle = world.hand_in(&short);
    world.pass(3_100);

    world.failure(handle, CommandState::Expired, Reason::CommandExpired);
    world.assert_in_use(&key, 1, &[0, 1, 2]);
}

#[test]
fn a_command_that_expires_while_old_shares_are_erased_is_told_as_done() {
    let (mut world, key) = World::with_vault(6);
    for index in 0..3 {
        world.silence_at(index, is_erase);
    }
    let command = world.reshare_command(&key, 2, &[3, 4, 5]);
    let short = world.expiring_in(&command, 1_000);

    let handle = world.hand_in(&short);
    world.pass(2_500);

    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2));
}

#[test]
fn a_command_that_expires_in_the_middle_of_the_switch_is_carried_to_its_end() {
    let (mut world, key) = World::with_vault(6);
    for index in [3, 4, 5] {
        world.silence_at(index, is_activate);
    }
    let command = world.reshare_command(&key, 2, &[3, 4, 5]);
    let short = world.expiring_in(&command, 1_000);
    let handle = world.hand_in(&short);
    world.pass(1_500);

    for index in [3, 4, 5] {
        world.speak(index);
    }
    world.pass(500);

    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2));
    world.assert_nobody_keeps_old_shares(&key);
}
