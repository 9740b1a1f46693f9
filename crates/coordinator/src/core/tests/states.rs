//! Changes of the states of keys: to whom they come, who acknowledges them, and who is told later.

use quorate_model::{
    CommandId, KeyName, KeyState, Payload, Reason, Scheme,
    command::{CommandBody, EndorsementKind, SignedCommand},
    evacuation::Evacuate,
    node_api::NodeRequest,
    operation::{CommandKind, CommandOutcome, CommandState, StateOutcome},
    roster::Role,
    standing::StateChange,
};

use super::{
    super::{Limits, Notice},
    world::{World, signing_key},
};

use StateChange::{Compromise, Resume, Suspend};

fn outcome(world: &World, handle: u64) -> StateOutcome {
    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Succeeded, "{:?}", view.error);
    match &view.outcome {
        Some(CommandOutcome::KeyStateSet(outcome)) => outcome.clone(),
        other => panic!("{other:?}"),
    }
}

fn state(world: &mut World, key: &KeyName) -> KeyState {
    world.core.key(key).unwrap().state
}

fn with_key() -> (World, KeyName) {
    let mut world = World::new(3);
    let key = world.key("vault", Scheme::Bip340, 2);
    (world, key)
}

/// Suspends the key at every node that answers.
fn suspend(world: &mut World, key: &KeyName) -> u64 {
    let command = world.state_change(key, 1, Suspend);
    let handle = world.submit(&command);
    world.run();
    handle
}

#[test]
fn a_suspension_is_acknowledged_by_every_holder_and_stops_signing() {
    let (mut world, key) = with_key();

    let handle = suspend(&mut world, &key);
    world.pass(20);

    let outcome = outcome(&world, handle);
    assert_eq!((outcome.receipts.len(), outcome.binding), (3, 2));
    assert!(outcome.missing.is_empty());
    assert_eq!(state(&mut world, &key), KeyState::Suspended);
    let sign = world.signature("vault", &["a"]);
    let handle = world.submit(&sign);
    world.run();
    world.pass(50);
    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Denied);
    assert_eq!(view.error.as_ref().unwrap().reason, Reason::KeySuspended);
}

#[test]
fn it_binds_without_those_who_are_away_and_they_hear_of_it_when_they_are_back() {
    let (mut world, key) = with_key();
    world.disconnect(2);

    let handle = suspend(&mut world, &key);
    world.pass(20);

    let outcome = outcome(&world, handle);
    assert_eq!(outcome.receipts.len(), 2);
    assert_eq!(outcome.missing, [world.id(2)]);
    assert!(world.node(2).standings.is_empty());
    world.connect(2);
    world.pass(50);
    assert_eq!(
        world.node(2).standings[&key].state(true),
        KeyState::Suspended
    );
}

#[test]
fn where_too_few_hear_of_it_that_is_said_and_the_same_command_goes_on() {
    let (mut world, key) = with_key();
    world.disconnect(1);
    world.disconnect(2);
    let command = world.state_change(&key, 1, Suspend);
    let handle = world.submit(&command);
    world.run();
    world.pass(10_000);

    let view = world.view(handle).clone();
    assert_eq!(view.state, CommandState::Failed);
    let refusal = view.error.unwrap();
    assert_eq!(refusal.reason, Reason::QuorumUnavailable);
    assert_eq!(refusal.get("missing"), Some("node-b, node-c"));
    // Whoever heard of it keeps to it.
    assert_eq!(state(&mut world, &key), KeyState::Suspended);

    world.connect(1);
    let handle = world.submit(&command);
    world.run();
    world.pass(50);
    assert_eq!(outcome(&world, handle).receipts.len(), 2);
}

#[test]
fn what_no_holder_heard_stands_nowhere_and_the_same_command_goes_on() {
    let (mut world, key) = with_key();
    for node in 0..3 {
        world.disconnect(node);
    }
    let command = world.state_change(&key, 1, Suspend);
    let handle = world.submit(&command);
    world.pass(10_000);
    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Failed);
    let refusal = view.error.as_ref().unwrap();
    assert_eq!(refusal.reason, Reason::QuorumUnavailable);
    assert_eq!(refusal.get("missing"), Some("node-a, node-b, node-c"));
    assert!(refusal.message.contains("stands as before"), "{refusal}");

    for node in 0..3 {
        world.connect(node);
    }
    world.pass(50);
    assert_eq!(state(&mut world, &key), KeyState::Active);

    let handle = world.submit(&command);
    world.pass(50);
    assert_eq!(outcome(&world, handle).receipts.len(), 3);
    assert_eq!(state(&mut world, &key), KeyState::Suspended);
}

#[test]
fn a_command_waits_for_the_words_of_as_many_as_it_takes() {
    let (mut world, key) = with_key();
    suspend(&mut world, &key);
    let command = world.state_change(&key, 2, Resume);
    let handle = world.submit(&command);
    world.run();

    let view = world.view(handle).clone();
    assert_eq!(view.state, CommandState::AwaitingEndorsement);
    assert_eq!(view.awaiting.as_ref(), Some(&command));
    let asked = |world: &World| {
        let about = |(_, request): &&(_, NodeRequest)| matches!(request, NodeRequest::SetKeyState { command: one } if one.bytes == command.bytes);
        world.requests.iter().filter(about).count()
    };
    assert_eq!(asked(&world), 0, "no node is asked before");

    // Again, by the proposer: answered at once, and nothing more is there.
    let again = world.submit(&command);
    world.run();
    assert_eq!(world.view(again).state, CommandState::AwaitingEndorsement);

    let said = world.word_of_bob(&command, EndorsementKind::Approve);
    let approved = world.endorse(view.id, said);
    world.run();
    world.pass(50);

    assert_eq!(outcome(&world, approved).receipts.len(), 3);
    assert_eq!(state(&mut world, &key), KeyState::Active);
    assert_eq!(world.core.command(view.id).unwrap().awaiting, None);
}

/// P33: an evacuation is signed like any other payload, once the admin quorum has spoken.
#[test]
fn an_evacuation_waits_for_the_admin_quorum_and_is_signed_then() {
    let (mut world, key) = with_key();
    let payload = Payload::message(b"sweep".as_slice());
    let body = CommandBody::Evacuate(Evacuate {
        sign: world.sign(key.as_str(), vec![payload]),
        reason: "a drill".to_owned(),
    });
    let (_, command) = world.command(body);
    let handle = world.submit(&command);
    world.run();

    let view = world.view(handle).clone();
    assert_eq!(view.kind, CommandKind::Evacuate);
    assert_eq!(view.state, CommandState::AwaitingEndorsement);
    let asked = |world: &World| {
        let shares =
            |(_, request): &&(_, NodeRequest)| matches!(request, NodeRequest::SignShares { .. });
        world.requests.iter().filter(shares).count()
    };
    assert_eq!(asked(&world), 0, "no node is asked before");

    let said = world.word_of_bob(&command, EndorsementKind::Approve);
    world.endorse(view.id, said);
    world.run();
    world.pass(50);

    let again = world.submit(&command);
    world.run();
    world.signed(again, &["sweep"]);
}

#[test]
fn a_word_that_does_not_hold_changes_nothing_and_a_rejection_ends_it() {
    let (mut world, key) = with_key();
    let command = world.state_change(&key, 1, Compromise);
    let handle = world.submit(&command);
    world.run();
    let id = world.view(handle).id;
    let other = world.state_change(&key, 1, Compromise);

    // Made for another command.
    let said = world.word_of_bob(&other, EndorsementKind::Approve);
    let handle = world.endorse(id, said);
    world.run();
    assert_eq!(world.refusal(handle).reason, Reason::EndorsementInvalid);
    assert_eq!(
        world.core.command(id).unwrap().state,
        CommandState::AwaitingEndorsement
    );

    let said = world.word_of_bob(&command, EndorsementKind::Reject);
    let handle = world.endorse(id, said);
    world.run();
    world.pass(20);
    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Denied);
    assert_eq!(view.error.as_ref().unwrap().reason, Reason::CommandRejected);
    assert_eq!(state(&mut world, &key), KeyState::Active);
    let said = world.word_of_bob(&command, EndorsementKind::Approve);
    let handle = world.endorse(id, said);
    world.run();
    assert_eq!(world.view(handle).state, CommandState::Denied);
}

#[test]
fn a_command_that_nobody_approves_expires() {
    let (mut world, key) = with_key();
    let command = world.state_change(&key, 1, Compromise);
    let handle = world.submit(&command);
    world.run();
    let id = world.view(handle).id;

    world.now_us += 700_000_000;
    world.pass(20);

    assert_eq!(world.core.command(id).unwrap().state, CommandState::Expired);
}

#[test]
fn a_receipt_that_does_not_hold_counts_for_nothing() {
    let (mut world, key) = with_key();
    world.node(0).manners.false_signature = true;

    let handle = suspend(&mut world, &key);
    world.pass(20);

    let outcome = outcome(&world, handle);
    assert_eq!(outcome.missing, [world.id(0)]);
    assert_eq!(outcome.receipts.len(), 2);
}

#[test]
fn a_coordinator_that_lost_everything_learns_states_and_tells_whoever_missed_them() {
    let (mut world, key) = with_key();
    world.disconnect(2);
    suspend(&mut world, &key);
    world.pass(20);
    world.connect(2);
    world.node(2).standings.clear();
    world.disconnect(2);

    world.restart_coordinator(vec![]);
    world.pass(300);
    assert_eq!(state(&mut world, &key), KeyState::Suspended);
    world.connect(2);
    world.pass(50);

    assert_eq!(
        world.node(2).standings[&key].state(true),
        KeyState::Suspended
    );
}

/// A node cannot make a state up: every command is checked, as the other nodes check it.
#[test]
fn a_state_that_no_admins_commanded_is_not_believed() {
    let (mut world, key) = with_key();
    let alone = world.state_change(&key, 1, Compromise);
    let set = quorate_proto::command::decode(&alone.bytes).unwrap().body;
    let CommandBody::SetKeyState(set) = set else {
        panic!("no change of state")
    };
    let mark = quorate_model::standing::StateMark::new(&set, alone);
    let node = world.node(0);
    node.standings.entry(key.clone()).or_default().take(mark);

    world.restart_coordinator(vec![]);
    world.pass(300);

    assert_eq!(state(&mut world, &key), KeyState::Active);
    assert!(world.node(1).standings.is_empty());
    let told = world.notices.iter().any(
        |notice| matches!(notice, Notice::Misbehaved { what, .. } if what.contains("no admin")),
    );
    assert!(told);
}

#[test]
fn a_change_of_another_key_of_the_name_is_denied() {
    let (mut world, key) = with_key();
    let held = world.created[&key];
    world
        .created
        .insert(key.clone(), quorate_model::KeyId([9; 32]));
    let command = world.state_change(&key, 1, Suspend);
    world.created.insert(key.clone(), held);

    let handle = world.submit(&command);
    world.run();

    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Denied);
    assert_eq!(view.error.as_ref().unwrap().reason, Reason::KeyIdMismatch);
}

#[test]
fn commands_that_wait_keep_no_suspension_from_its_holders() {
    let limits = Limits {
        max_waiting_approvals: 8,
        ..Limits::default()
    };
    let mut world = World::with_limits(3, limits);
    let key = world.key("vault", Scheme::Bip340, 2);
    let mut last = None;
    for _ in 0..9 {
        let command = world.state_change(&key, 2, Resume);
        last = Some(world.submit(&command));
        world.run();
        world.pass(10);
    }
    let view = world.view(last.unwrap());
    assert_eq!(view.state, CommandState::Failed);
    assert_eq!(view.error.as_ref().unwrap().reason, Reason::Overloaded);

    let handle = suspend(&mut world, &key);
    world.pass(20);

    assert_eq!(outcome(&world, handle).receipts.len(), 3);
}

#[test]
fn nobody_forbids_a_suspension_that_is_under_way() {
    let (mut world, key) = with_key();
    world.silence(1);
    world.silence(2);
    let command = world.state_change(&key, 1, Suspend);
    let waiting = world.submit(&command);
    world.run();
    let id = quorate_proto::command::decode(&command.bytes).unwrap().id;

    let said = world.word_of_bob(&command, EndorsementKind::Reject);
    let handle = world.endorse(id, said);
    world.run();

    assert_eq!(world.refusal(handle).reason, Reason::RequestInvalid);
    world.speak(1);
    world.speak(2);
    world.pass(20);
    assert_eq!(outcome(&world, waiting).receipts.len(), 3);
}

/// A holder that signs for anything cannot make a state seem to be one that no honest node takes.
#[test]
fn one_receipt_for_what_the_others_refuse_teaches_nothing() {
    let (mut world, key) = with_key();
    let command = world.state_change(&key, 1 << 40, Suspend);
    let set = quorate_proto::command::decode(&command.bytes).unwrap().body;
    let CommandBody::SetKeyState(set) = set else {
        panic!("no change of state")
    };
    let mark = quorate_model::standing::StateMark::new(&set, command.clone());
    let node = world.node(0);
    node.standings.entry(key.clone()).or_default().take(mark);

    let handle = world.submit(&command);
    world.run();
    world.pass(20);

    assert_eq!(world.view(handle).state, CommandState::Denied);
    assert_eq!(state(&mut world, &key), KeyState::Active);
}

/// The admins of a world in which commands are large.
const MANY_ADMINS: [(&str, u8); 6] = [
    ("ada", 101),
    ("bob", 103),
    ("cyd", 104),
    ("dan", 105),
    ("eve", 106),
    ("fay", 107),
];

/// What became of an evacuation of about so many MiB, four of which are the most, by this admin.
fn evacuation(world: &mut World, admin: usize, mebibytes: usize) -> (CommandState, SignedCommand) {
    let message = vec![b'a'; (1 << 20) - 1_024];
    let payloads = vec![Payload::message(message); mebibytes];
    let body = CommandBody::Evacuate(Evacuate {
        sign: world.sign("vault", payloads),
        reason: "a drill".to_owned(),
    });
    let (_, proposal) = world.command(body);
    let (name, seed) = MANY_ADMINS[admin];
    let command = SignedCommand::propose(
        proposal.bytes,
        &world.pinned.cluster(),
        &name.parse().unwrap(),
        Role::Admin,
        &signing_key(seed),
    );
    let handle = world.submit(&command);
    world.run();
    let view = world.view(handle);
    if view.state == CommandState::Failed {
        let refusal = view.error.clone().unwrap();
        assert_eq!(refusal.reason, Reason::Overloaded);
        assert!(
            refusal.message.contains("approved or rejected"),
            "{refusal}"
        );
    }
    (view.state, command)
}

#[test]
fn the_commands_of_one_admin_that_wait_are_bounded_by_their_bytes() {
    let mut world = World::with_admins(3, &MANY_ADMINS);
    world.key("vault", Scheme::Bip340, 2);
    let (first, large) = evacuation(&mut world, 0, 4);
    assert_eq!(first, CommandState::AwaitingEndorsement);
    let (second, _) = evacuation(&mut world, 0, 3);
    assert_eq!(second, CommandState::AwaitingEndorsement);

    let (third, _) = evacuation(&mut world, 0, 2);
    let (of_another, _) = evacuation(&mut world, 1, 4);

    assert_eq!(third, CommandState::Failed);
    assert_eq!(of_another, CommandState::AwaitingEndorsement);
    let id: CommandId = quorate_proto::command::decode(&large.bytes).unwrap().id;
    let said = world.rejection(&large);
    world.endorse(id, said);
    world.run();
    let (fourth, _) = evacuation(&mut world, 0, 4);
    assert_eq!(fourth, CommandState::AwaitingEndorsement);
}

#[test]
fn the_commands_that_wait_are_bounded_by_their_bytes_and_one_of_each_admin_fits() {
    let mut world = World::with_admins(3, &MANY_ADMINS);
    world.key("vault", Scheme::Bip340, 2);
    for admin in 0..4 {
        for mebibytes in [4, 3] {
            let (state, _) = evacuation(&mut world, admin, mebibytes);
            assert_eq!(state, CommandState::AwaitingEndorsement);
        }
    }

    for admin in [4, 5] {
        let (first, _) = evacuation(&mut world, admin, 4);
        assert_eq!(first, CommandState::AwaitingEndorsement);
        let (second, _) = evacuation(&mut world, admin, 1);
        assert_eq!(second, CommandState::Failed);
    }
}
