//! The ends of keys: who is asked, who answers, and who is told later.

use quorate_model::{
    Digest, KeyName, KeyState, Reason, Refusal, Scheme,
    command::{EndorsementKind, SignedCommand},
    destruction::{DestroyStep, DestructionReceipt, Said},
    node_api::NodeRequest,
    operation::{CommandOutcome, CommandState, DestructionOutcome},
    standing::StateChange,
};

use super::{
    super::{Notice, StoreItem},
    world::World,
};

use DestroyStep::{Announce, AtOnce};

pub(super) fn outcome(world: &World, handle: u64) -> DestructionOutcome {
    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Succeeded, "{:?}", view.error);
    match &view.outcome {
        Some(CommandOutcome::KeyDestruction(outcome)) => outcome.clone(),
        other => panic!("{other:?}"),
    }
}

/// A key of the first nodes, which stands as deactivated.
fn retired(nodes: usize) -> (World, KeyName) {
    let mut world = World::new(nodes);
    let key = world.key("old", Scheme::Bip340, 2);
    let command = world.state_change(&key, 1, StateChange::Deactivate);
    approve_and_run(&mut world, &command);
    (world, key)
}

/// Has a command carried out by the word of both admins.
pub(super) fn approve_and_run(world: &mut World, command: &SignedCommand) -> u64 {
    let handle = world.submit(command);
    world.run();
    let view = world.view(handle).clone();
    if view.state != CommandState::AwaitingEndorsement {
        return handle;
    }
    let said = world.word_of_bob(command, EndorsementKind::Approve);
    let handle = world.endorse(view.id, said);
    world.run();
    world.pass(50);
    handle
}

pub(super) fn step(world: &mut World, key: &KeyName, step: DestroyStep) -> (SignedCommand, u64) {
    let command = world.end_step(key, step);
    let handle = approve_and_run(world, &command);
    (command, handle)
}

pub(super) fn confirm(announcement: &SignedCommand) -> DestroyStep {
    DestroyStep::Confirm {
        announcement: announcement.digest(),
    }
}

fn asked(world: &World, command: &SignedCommand) -> usize {
    let about = |(_, request): &&(_, NodeRequest)| matches!(request, NodeRequest::DestroyKey { command: one } if one.bytes == command.bytes);
    world.requests.iter().filter(about).count()
}

#[test]
fn every_node_is_asked_and_the_key_is_destroyed_once_every_holder_says_so() {
    let (mut world, key) = retired(3);
    let (announcement, heard) = step(&mut world, &key, Announce);
    assert_eq!(outcome(&world, heard).receipts.len(), 3);
    assert_eq!(world.core.key(&key).unwrap().state, KeyState::Deactivated);

    let (order, done) = step(&mut world, &key, confirm(&announcement));

    let outcome = outcome(&world, done);
    assert_eq!((outcome.receipts.len(), outcome.missing.len()), (3, 0));
    let shown = world.core.key(&key).unwrap();
    assert_eq!(shown.state, KeyState::Destroyed);
    assert_eq!(shown.destruction.destroyed().count(), 3);
    assert!(shown.destruction.order(&order.digest()).is_some());
    assert!(shown.destruction.order(&announcement.digest()).is_some());
}

#[test]
fn whoever_is_away_is_told_of_both_steps_when_it_is_back() {
    let (mut world, key) = retired(3);
    world.disconnect(2);
    let (announcement, _) = step(&mut world, &key, Announce);
    let (_, done) = step(&mut world, &key, confirm(&announcement));
    let partial = outcome(&world, done);
    assert_eq!(partial.receipts.len(), 2);
    assert_eq!(partial.missing, [(world.id(2), None)]);
    assert_eq!(world.core.key(&key).unwrap().state, KeyState::Deactivated);

    world.connect(2);
    for _ in 0..40 {
        world.pass(1_000);
    }

    assert!(world.node(2).has_destroyed(&key));
    assert_eq!(world.core.key(&key).unwrap().state, KeyState::Destroyed);
}

#[test]
fn a_coordinator_that_lost_everything_learns_the_end_and_tells_whoever_missed_it() {
    let (mut world, key) = retired(3);
    world.disconnect(2);
    let (announcement, _) = step(&mut world, &key, Announce);
    step(&mut world, &key, confirm(&announcement));

    world.restart_coordinator(vec![]);
    world.pass(300);
    let shown = world.core.key(&key).unwrap().destruction;
    assert_eq!(shown.destroyed().count(), 2);
    world.connect(2);
    for _ in 0..40 {
        world.pass(1_000);
    }

    // What the destroyed nodes list is the order and its announcement.
    assert!(world.node(2).has_destroyed(&key));
}

#[test]
fn an_end_is_known_again_without_any_node_and_what_does_not_verify_is_not() {
    let (mut world, key) = retired(3);
    let (announcement, _) = step(&mut world, &key, Announce);
    step(&mut world, &key, confirm(&announcement));
    let shown = world.core.key(&key).unwrap();
    assert_eq!(shown.state, KeyState::Destroyed);
    (0..3).for_each(|index| world.silence(index));
    let stored = world.store.clone();

    world.restart_coordinator(stored.clone());

    let again = world.core.key(&key).unwrap();
    assert_eq!(again.state, KeyState::Destroyed);
    assert_eq!(again.destruction, shown.destruction);

    let mut damaged = stored;
    for item in &mut damaged {
        if let StoreItem::End(end) = item {
            for receipt in &mut end.destruction.receipts {
                receipt.record += 1;
            }
        }
    }
    world.restart_coordinator(damaged);
    assert_eq!(world.core.key(&key).unwrap().destruction.receipts, []);
}

/// A node that was restored while the coordinator was down has its share again.
#[test]
fn what_a_node_lists_takes_the_place_of_its_end_in_the_store() {
    let (mut world, key) = retired(3);
    let (announcement, _) = step(&mut world, &key, Announce);
    step(&mut world, &key, confirm(&announcement));
    world.node(2).forget_end(&key);
    let stored = world.store.clone();

    world.restart_coordinator(stored);
    world.pass(300);

    let shown = world.core.key(&key).unwrap();
    assert_eq!(shown.state, KeyState::Deactivated);
    assert_eq!(shown.destruction.destroyed().count(), 2);
}

#[test]
fn a_node_for_which_it_is_too_early_is_asked_again_as_long_as_the_order_lives() {
    let (mut world, key) = retired(3);
    let (announcement, _) = step(&mut world, &key, Announce);
    let early = Refusal::new(Reason::DestructionTooEarly, "not yet").with("left_s", 2);
    world.node(1).manners.refuses_ends = Some(early.clone());

    let (order, done) = step(&mut world, &key, confirm(&announcement));

    let partial = outcome(&world, done);
    assert_eq!(partial.missing, [(world.id(1), Some(early))]);
    let before = asked(&world, &order);
    world.pass(1_000);
    assert_eq!(asked(&world, &order), before, "not before its time");
    world.node(1).manners.refuses_ends = None;
    for _ in 0..10 {
        world.pass(1_000);
    }
    assert!(world.node(1).has_destroyed(&key));
}

/// A node that is not ready is asked again in a while, and keeps nobody waiting for long.
#[test]
fn a_node_that_is_not_ready_is_neither_hammered_nor_waited_for_to_the_end() {
    let (mut world, key) = retired(4);
    world.node(3).manners.refuses_ends = Some(Refusal::new(Reason::NodeQuarantined, "not yet"));

    let (announcement, done) = step(&mut world, &key, Announce);
    let first = asked(&world, &announcement);
    assert!(first <= 5, "{first} requests within a moment");
    world.pass(2_200);

    let partial = outcome(&world, done);
    assert_eq!(partial.receipts.len(), 3);
    assert_eq!(partial.missing.len(), 1);
    let all = asked(&world, &announcement);
    assert!((8..=30).contains(&all), "{all} requests in two seconds");
}

#[test]
fn where_every_holder_refuses_nothing_comes_of_it_and_nobody_hears_of_it_again() {
    let (mut world, key) = retired(3);
    // The coordinator has heard that the key is retired, and the nodes say otherwise.
    let not = Refusal::new(Reason::KeyNotRetired, "in use");
    for at in 0..3 {
        world.node(at).manners.refuses_ends = Some(not.clone());
    }

    let (order, refused) = step(&mut world, &key, AtOnce);

    let view = world.view(refused);
    assert_eq!(view.state, CommandState::Denied);
    assert_eq!(view.error.as_ref().unwrap().reason, Reason::KeyNotRetired);
    for at in 0..3 {
        world.node(at).manners.refuses_ends = None;
    }
    let before = asked(&world, &order);
    for _ in 0..20 {
        world.pass(1_000);
    }
    assert_eq!(asked(&world, &order), before);
    assert!(!world.node(0).has_destroyed(&key));
}

#[test]
fn a_key_in_use_is_not_destroyed_and_nobody_is_asked() {
    let mut world = World::new(3);
    let key = world.key("hot", Scheme::Bip340, 2);

    let (order, refused) = step(&mut world, &key, AtOnce);

    let view = world.view(refused);
    assert_eq!(view.state, CommandState::Denied);
    assert_eq!(view.error.as_ref().unwrap().reason, Reason::KeyNotRetired);
    assert_eq!(asked(&world, &order), 0);
}

/// What came to nothing leaves no receipts behind that clients could not make sense of.
#[test]
fn a_step_that_an_admin_forbids_under_way_leaves_nothing_that_does_not_fit() {
    let (mut world, key) = retired(3);
    world.silence(2);
    let command = world.end_step(&key, Announce);
    let handle = world.submit(&command);
    world.run();
    let id = world.view(handle).id;
    let said = world.word_of_bob(&command, EndorsementKind::Approve);
    world.endorse(id, said);
    world.run();

    let said = world.word_of_bob(&command, EndorsementKind::Reject);
    world.endorse(id, said);
    world.run();

    let shown = world.core.key(&key).unwrap().destruction;
    for receipt in &shown.receipts {
        assert!(shown.order(&receipt.command).is_some());
    }
}

/// One admin's withdrawals of what nobody announced take nobody's room.
#[test]
fn any_number_of_withdrawals_leaves_room_for_orders() {
    let (mut world, key) = retired(3);
    for number in 0..100 {
        let cancel = DestroyStep::Cancel {
            announcement: Digest::new([number; 32]),
        };
        let keep = world.end_step(&key, cancel);
        world.submit(&keep);
        world.run();
        world.pass(20);
    }

    let (announcement, heard) = step(&mut world, &key, Announce);
    assert_eq!(outcome(&world, heard).receipts.len(), 3);
    step(&mut world, &key, confirm(&announcement));

    assert_eq!(world.core.key(&key).unwrap().state, KeyState::Destroyed);
}

#[test]
fn what_was_withdrawn_at_one_node_is_carried_out_at_no_other() {
    let (mut world, key) = retired(3);
    let (announcement, _) = step(&mut world, &key, Announce);
    // The withdrawal reaches one of them.
    for node in [1, 2] {
        world.disconnect(node);
    }
    let keep = world.end_step(
        &key,
        DestroyStep::Cancel {
            announcement: announcement.digest(),
        },
    );
    world.submit(&keep);
    world.run();
    world.pass(50);
    let (_, late) = step(&mut world, &key, confirm(&announcement));
    let view = world.view(late);
    assert_eq!(view.state, CommandState::Denied);
    let refusal = view.error.as_ref().unwrap();
    assert_eq!(refusal.reason, Reason::DestructionNotAnnounced);
    assert!(refusal.message.contains("withdrawn"), "{refusal}");

    for node in [1, 2] {
        world.connect(node);
    }
    world.pass(10_000);

    assert!((0..3).all(|node| !world.node(node).has_destroyed(&key)));
    let (again, _) = step(&mut world, &key, Announce);
    let (_, done) = step(&mut world, &key, confirm(&again));
    assert_eq!(world.view(done).state, CommandState::Succeeded);
    assert!((0..3).all(|node| world.node(node).has_destroyed(&key)));
}

/// A node lists its last withdrawals only; whoever heard of an earlier one does not carry that
/// announcement out meanwhile.
#[test]
fn a_later_withdrawal_does_not_hide_an_earlier_one() {
    let (mut world, key) = retired(3);
    let (first, _) = step(&mut world, &key, Announce);
    let (second, _) = step(&mut world, &key, Announce);
    for node in [1, 2] {
        world.disconnect(node);
    }
    for announcement in [&first, &second] {
        let cancel = DestroyStep::Cancel {
            announcement: announcement.digest(),
        };
        let keep = world.end_step(&key, cancel);
        world.submit(&keep);
        world.run();
        world.pass(50);
    }
    // The orders expire, and the node has come to list the later one alone.
    world.node(0).forget_withdrawal(&key, first.digest());
    world.disconnect(0);
    world.pass(3_600_000);
    world.connect(0);
    world.pass(50);

    for announcement in [&first, &second] {
        let (_, late) = step(&mut world, &key, confirm(announcement));
        let view = world.view(late);
        assert_eq!(view.state, CommandState::Denied);
        let refusal = view.error.as_ref().unwrap();
        assert!(refusal.message.contains("withdrawn"), "{refusal}");
    }
}

#[test]
fn a_withdrawn_announcement_is_not_carried_to_anybody() {
    let (mut world, key) = retired(3);
    world.disconnect(2);
    let (announcement, _) = step(&mut world, &key, Announce);
    let cancel = DestroyStep::Cancel {
        announcement: announcement.digest(),
    };
    // One admin is enough.
    let keep = world.end_step(&key, cancel);
    let handle = world.submit(&keep);
    world.run();
    world.pass(50);
    assert_eq!(outcome(&world, handle).receipts.len(), 2);

    world.connect(2);
    for _ in 0..20 {
        world.pass(1_000);
    }

    let told = |world: &World, command: &SignedCommand| {
        world.requests.iter().any(|(node, request)| {
            *node == world.id(2)
                && matches!(request, NodeRequest::DestroyKey { command: one } if one.bytes == command.bytes)
        })
    };
    assert!(told(&world, &keep));
    assert!(!told(&world, &announcement));
}

#[test]
fn a_receipt_that_does_not_hold_counts_for_nothing() {
    let (mut world, key) = retired(3);
    let (announcement, _) = step(&mut world, &key, Announce);
    world.node(0).manners.false_signature = true;

    let (_, done) = step(&mut world, &key, confirm(&announcement));

    let partial = outcome(&world, done);
    assert_eq!(partial.receipts.len(), 2);
    assert_eq!(partial.missing.len(), 1);
    assert_eq!(world.core.key(&key).unwrap().state, KeyState::Deactivated);
}

/// A node cannot make an end up: every order is checked, as the other nodes check it.
#[test]
fn an_end_that_no_admins_ordered_is_not_believed() {
    let (mut world, key) = retired(3);
    let id = world.created[&key];
    let alone = world.end_step(&key, AtOnce);
    world.node(0).make_up_an_end(&key, id, &alone);

    world.restart_coordinator(vec![]);
    world.pass(300);

    let told = world.notices.iter().any(
        |notice| matches!(notice, Notice::Misbehaved { what, .. } if what.contains("no admin")),
    );
    assert!(told);
    assert!(world.core.key(&key).unwrap().destruction.orders.is_empty());
    assert_eq!(asked(&world, &alone), 0);
}

/// A node that lies about what was ordered keeps nobody from hearing of it, and clients from nothing.
#[test]
fn a_withdrawal_that_nobody_ordered_is_not_believed() {
    let (mut world, key) = retired(3);
    world.disconnect(2);
    let (announcement, _) = step(&mut world, &key, Announce);
    let id = world.created[&key];
    world.node(0).make_up_a_withdrawal(&key, id, &announcement);

    world.restart_coordinator(vec![]);
    world.pass(300);
    world.connect(2);
    for _ in 0..20 {
        world.pass(1_000);
    }

    let shown = world.core.key(&key).unwrap().destruction;
    let heard = |receipt: &DestructionReceipt| matches!(receipt.said, Said::Announced { .. });
    assert!(shown.receipts.iter().all(heard));
    // The liar is told again, as whoever has not heard of it.
    assert_eq!(shown.receipts.len(), 3);
}

#[test]
fn an_end_of_another_key_of_the_name_is_denied_and_nobody_forbids_a_withdrawal() {
    let (mut world, key) = retired(3);
    let (announcement, _) = step(&mut world, &key, Announce);
    let held = world.created[&key];
    world
        .created
        .insert(key.clone(), quorate_model::KeyId([9; 32]));
    let (_, foreign) = step(&mut world, &key, AtOnce);
    world.created.insert(key.clone(), held);
    let view = world.view(foreign);
    assert_eq!(view.state, CommandState::Denied);
    assert_eq!(view.error.as_ref().unwrap().reason, Reason::KeyIdMismatch);

    for at in 0..3 {
        world.silence(at);
    }
    let cancel = DestroyStep::Cancel {
        announcement: announcement.digest(),
    };
    let keep = world.end_step(&key, cancel);
    let waiting = world.submit(&keep);
    world.run();
    let id = quorate_proto::command::decode(&keep.bytes).unwrap().id;
    let said = world.word_of_bob(&keep, EndorsementKind::Reject);
    let handle = world.endorse(id, said);
    world.run();
    assert_eq!(world.refusal(handle).reason, Reason::RequestInvalid);
    for at in 0..3 {
        world.speak(at);
    }
    world.pass(20);
    assert_eq!(outcome(&world, waiting).receipts.len(), 3);
}
