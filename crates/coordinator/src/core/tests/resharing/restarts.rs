//! A coordinator that starts again in the middle of a run.

use quorate_model::{
    Epoch, KeyName, Scheme,
    command::SignedCommand,
    node_api::NodeRequest,
    operation::{CommandOutcome, CommandState},
};
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
fn a_creation_whose_key_was_reshared_since_has_worked() {
    let mut world = World::new(3);
    let signed = world.creation("vault", Scheme::Bip340, 2);
    world.hand_in(&signed);
    world.pass(50);
    let key: KeyName = "vault".parse().unwrap();
    world.reshared(&key, 2, &[0, 1, 2]);
    let outcome = CommandOutcome::KeyCreated {
        key,
        epoch: Epoch(2),
    };

    // The coordinator has lost its store, and begins before nodes list what they hold.
    let asked_before = asked_for_births(&world);
    for node in 0..3 {
        world.silence(node);
    }
    restart(&mut world, false);
    let repeated = world.hand_in(&signed);
    for node in 0..3 {
        world.connect(node);
    }
    world.pass(5_000);
    assert_eq!(world.view(repeated).outcome.as_ref(), Some(&outcome));
    assert_eq!(asked_for_births(&world), asked_before + 3);
}

fn asked_for_births(world: &World) -> usize {
    let is_birth =
        |request: &NodeRequest| matches!(request, NodeRequest::BeginCeremony { source: None, .. });
    (0..3).map(|node| world.count(node, is_birth)).sum()
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
    assert_eq!(failed.state, CommandState::Failed);

    for index in 0..6 {
        world.connect(index);
    }
    world.pass(300);
    let again = world.hand_in(&command);
    world.pass(1_000);

    assert_eq!(world.reshare_outcome(again).epoch, Epoch(2));
    world.assert_in_use(&key, 2, &[3, 4, 5]);
}

/// More batches, and more requests, than a run has.
const MOST: usize = 200;

/// Something that happens to a run.
type Trouble = fn(&mut World);

/// When the coordinator dies in a run.
#[derive(Clone, Copy)]
enum Death {
    /// With a batch of writes, which is stored or lost.
    Batch { number: usize, keeps: bool },
    /// After so many requests.
    Request(usize),
}

/// A run of 2 of 3 to other holders, whose coordinator dies. False: it was over before.
fn survives(trouble: Trouble, holders: &[usize], death: Death) -> bool {
    let (mut world, key) = World::with_vault(6);
    let command = world.reshare_command(&key, 2, holders);
    trouble(&mut world);
    match death {
        Death::Batch { number, keeps } => world.die_after(number, keeps),
        Death::Request(number) => world.die_before(number),
    }
    let handle = world.hand_in(&command);
    while !world.is_dead && !world.answers.contains_key(&handle) {
        world.pass(100);
    }
    let died = world.is_dead;

    let stored = world.store.clone();
    world.restart_coordinator(stored);
    for index in 0..6 {
        world.speak(index);
        world.connect(index);
    }
    world.pass(2_000);
    let before = world.epoch_of(&key);
    let again = world.hand_in(&command);
    world.pass(3_000);
    // It is over, or was never begun; whatever it came to, nothing is in the way of the next.
    let view = world.view(again).clone();
    assert_eq!(view.state, CommandState::Succeeded, "{:?}", view.error);
    let epoch = world.epoch_of(&key);
    assert!(epoch >= before && epoch > Epoch(1));
    world.assert_nobody_keeps_old_shares(&key);
    world.assert_in_use(&key, epoch.0, holders);

    world.reshared_within(&key, 2, &[0, 1, 2], 500);
    world.assert_nobody_keeps_old_shares(&key);
    world.assert_in_use(&key, epoch.0 + 1, &[0, 1, 2]);
    died
}

fn check_batches(trouble: Trouble, holders: &[usize], least: usize) {
    for keeps in [true, false] {
        let dies = |number: &usize| {
            let number = *number;
            survives(trouble, holders, Death::Batch { number, keeps })
        };
        let count = (1..MOST).take_while(dies).count();
        assert!(
            (least..MOST - 1).contains(&count),
            "{count} batches were written"
        );
    }
}

#[test]
fn a_run_survives_a_coordinator_that_dies_with_any_batch_of_writes() {
    for holders in [&[3, 4, 5], &[1, 2, 3], &[0, 1, 2]] {
        check_batches(|_| {}, holders, 2);
    }
}

#[test]
fn a_run_with_a_guilty_dealer_survives_a_coordinator_that_dies_with_any_batch_of_writes() {
    let spoils: Trouble = |world| world.node(0).manners.spoils_round = Some(round::REVEAL);

    check_batches(spoils, &[3, 4, 5], 3);
}

#[test]
fn a_run_that_one_holder_hears_the_end_of_survives_a_coordinator_that_dies_with_any_batch() {
    let falls: Trouble = |world| {
        world.silence_at(4, is_activate);
        world.silence_at(5, is_activate);
    };

    check_batches(falls, &[3, 4, 5], 1);
}

#[test]
fn a_run_whose_answers_are_lost_survives_a_coordinator_that_dies_with_any_batch_of_writes() {
    let loses: Trouble = |world| {
        world.lose_answer(3, is_prove);
        world.lose_answer(4, is_activate);
        world.lose_answer(0, is_erase);
    };

    check_batches(loses, &[3, 4, 5], 2);
}

#[test]
fn a_run_survives_a_coordinator_that_dies_before_any_request() {
    let holders = [1, 2, 3];

    let dies = |number: &usize| survives(|_| {}, &holders, Death::Request(*number));
    let count = (0..MOST).take_while(dies).count();

    assert!((30..MOST).contains(&count), "{count} requests were made");
}
