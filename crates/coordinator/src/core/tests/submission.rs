//! Commands: idempotency, bounds, answers after durability, asking without doing.

use quorate_model::{
    Reason, Refusal, Scheme,
    command::{Command, CommandBody},
    ids::UnixMillis,
    node_api::NodeRequest,
    operation::CommandState,
    payload::Payload,
};

use super::{
    super::{Limits, admit},
    world::{WALL, World},
};

fn is_shares(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::SignShares { .. })
}

fn is_begin(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::BeginCeremony { .. })
}

fn shares_asked(world: &World) -> usize {
    (0..world.nodes.len())
        .map(|index| world.count(index, is_shares))
        .sum()
}

#[test]
fn an_answer_leaves_only_after_its_outcome_is_stored() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    world.stores = false;
    let signed = world.signature("vault", &["a"]);

    let handle = world.submit(&signed);
    world.run();
    world.pass(50);

    assert!(!world.answers.contains_key(&handle));
    let id = world.admitted(&signed).command().id;
    assert_eq!(world.core.command(id).unwrap().state, CommandState::Running);
    assert!(world.core.command(id).unwrap().outcome.is_none());
    for event in std::mem::take(&mut world.unstored) {
        world.push(event);
    }
    world.run();
    world.signed(handle, &["a"]);
}

#[test]
fn the_same_command_again_has_the_same_outcome_and_costs_nothing() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    let signed = world.signature("vault", &["a"]);
    let first = world.submit(&signed);
    world.run();
    world.pass(50);
    let asked = shares_asked(&world);

    let second = world.submit(&signed);
    world.run();

    assert_eq!(world.view(first), world.view(second));
    assert_eq!(shares_asked(&world), asked);
}

#[test]
fn the_same_command_after_a_restart_has_the_stored_outcome() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    let signed = world.signature("vault", &["a"]);
    let first = world.submit(&signed);
    world.run();
    world.pass(50);
    let store = world.store.clone();
    world.restart_coordinator(store);
    let asked = shares_asked(&world);

    let second = world.submit(&signed);
    world.run();

    assert_eq!(world.view(first), world.view(second));
    assert_eq!(shares_asked(&world), asked);
}

#[test]
fn a_command_that_a_crash_forgot_is_carried_out_when_it_comes_again() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    let keys = world.store.clone();
    world.stores = false;
    let signed = world.signature("vault", &["a"]);
    let lost = world.submit(&signed);
    world.run();
    world.stores = true;
    world.store = keys.clone();
    world.restart_coordinator(keys);

    let again = world.submit(&signed);
    world.run();
    world.pass(50);

    assert!(!world.answers.contains_key(&lost));
    world.signed(again, &["a"]);
}

#[test]
fn callers_who_submit_the_same_command_at_once_share_its_outcome() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    let signed = world.signature("vault", &["a"]);

    let handles: Vec<_> = (0..3).map(|_| world.submit(&signed)).collect();
    world.run();
    world.pass(50);

    for handle in &handles {
        assert_eq!(world.view(*handle), world.view(handles[0]));
    }
}

#[test]
fn an_id_with_other_bytes_is_refused_whether_it_runs_is_over_or_is_only_stored() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    let first = world.sign("vault", vec![Payload::message(*b"a")]);
    let second = world.sign("vault", vec![Payload::message(*b"b")]);
    let (command, first) = world.command(CommandBody::Sign(first));
    let other = world.endorsed(&Command {
        body: CommandBody::Sign(second),
        ..command
    });
    world.silence(0);
    world.silence(1);
    world.silence(2);
    let kept = world.submit(&first);
    world.run();

    let running = world.submit(&other);
    world.run();
    (0..3).for_each(|index| world.speak(index));
    world.pass(50);
    let over = world.submit(&other);
    world.run();
    let store = world.store.clone();
    world.restart_coordinator(store);
    let stored = world.submit(&other);
    world.run();

    for handle in [running, over, stored] {
        assert_eq!(world.refusal(handle).reason, Reason::RequestIdReused);
    }
    assert_eq!(world.view(kept).state, CommandState::Succeeded);
}

#[test]
fn a_command_past_its_time_is_refused_and_asks_no_node() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    let sign = world.sign("vault", vec![Payload::message(*b"a")]);
    let (command, _) = world.command(CommandBody::Sign(sign));
    let old = Command {
        created: UnixMillis(WALL - 10),
        expires: UnixMillis(WALL),
        ..command.clone()
    };
    let early = Command {
        created: UnixMillis(WALL + 1_000_000),
        expires: UnixMillis(WALL + 2_000_000),
        ..command.clone()
    };
    let endless = Command {
        expires: command.created.plus(8 * 86_400_000),
        ..command
    };

    let check = |world: &mut World, command: &Command, expected| {
        let signed = world.endorsed(command);
        let handle = world.submit(&signed);
        world.run();
        assert_eq!(world.refusal(handle).reason, expected);
    };
    check(&mut world, &old, Reason::CommandExpired);
    check(&mut world, &early, Reason::CommandTimeInvalid);
    // What no clock makes right is not even admitted.
    let endless = admit(&world.pinned, world.endorsed(&endless));
    assert_eq!(endless.unwrap_err().reason, Reason::CommandTimeInvalid);
    assert_eq!(shares_asked(&world), 0);
}

#[test]
fn more_commands_than_the_bound_are_refused_as_overload() {
    let mut world = World::with_limits(
        3,
        Limits {
            max_pending: 2,
            ..Limits::default()
        },
    );
    world.key("vault", Scheme::Bip340, 2);
    (0..3).for_each(|index| world.silence(index));
    for _ in 0..2 {
        let signed = world.signature("vault", &["a"]);
        world.submit(&signed);
    }

    let signed = world.signature("vault", &["a"]);
    let handle = world.submit(&signed);
    world.run();

    assert_eq!(world.refusal(handle).reason, Reason::Overloaded);
}

#[test]
fn a_draining_coordinator_finishes_and_takes_nothing_up() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    (0..3).for_each(|index| world.silence(index));
    let signed = world.signature("vault", &["a"]);
    let begun = world.submit(&signed);
    world.run();
    world.core.drain();

    let signed = world.signature("vault", &["b"]);
    let late = world.submit(&signed);
    world.run();
    assert!(!world.core.is_idle());
    (0..3).for_each(|index| world.speak(index));
    world.pass(50);

    assert_eq!(world.refusal(late).reason, Reason::ShuttingDown);
    world.signed(begun, &["a"]);
    assert!(world.core.is_idle());
}

#[test]
fn commands_that_no_node_would_take_are_refused_before_any_is_asked() {
    let mut world = World::new(3);
    let good = world.creation("vault", Scheme::Bip340, 2);
    let check = |signed, expected| {
        let refusal: Refusal = admit(&world.pinned, signed).unwrap_err();
        assert_eq!(refusal.reason, expected);
    };
    let mut tampered = good.clone();
    tampered.bytes.push(0);
    check(tampered, Reason::EndorsementInvalid);
    let decoded = quorate_proto::command::decode(&good.bytes).unwrap();
    let other_cluster = Command {
        cluster: quorate_model::Digest::ZERO,
        ..decoded.clone()
    };
    check(world.endorsed(&other_cluster), Reason::WrongCluster);
    let other_roster = Command {
        roster: quorate_model::Digest::ZERO,
        ..decoded.clone()
    };
    check(world.endorsed(&other_roster), Reason::RosterBehind);
    let CommandBody::CreateKey(create) = decoded.body.clone() else {
        panic!()
    };
    let one = CommandBody::CreateKey(quorate_model::command::CreateKey {
        threshold: 1,
        ..create.clone()
    });
    check(
        world.endorsed(&Command {
            body: one,
            ..decoded.clone()
        }),
        Reason::ShapeInvalid,
    );
    let mut stranger = create;
    stranger.nodes[0] = "stranger".parse().unwrap();
    let stranger = Command {
        body: CommandBody::CreateKey(stranger),
        ..decoded
    };
    check(world.endorsed(&stranger), Reason::NodeUnknown);
    let mut by_client = good.clone();
    by_client.endorsements.clear();
    by_client.endorse(
        &world.pinned.cluster(),
        quorate_model::command::EndorsementKind::Propose,
        &"wallet".parse().unwrap(),
        quorate_model::roster::Role::Client,
        &super::world::signing_key(102),
    );
    check(by_client, Reason::RoleMissing);
}

#[test]
fn validation_asks_every_node_and_signs_nothing() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    let signed = world.signature("vault", &["a"]);

    let handle = world.validate(&signed);
    world.run();

    assert_eq!(world.view(handle).state, CommandState::Succeeded);
    assert!(world.view(handle).outcome.is_none());
    assert_eq!(shares_asked(&world), 0);
    let id = world.admitted(&signed).command().id;
    assert!(world.core.command(id).is_none());
}

#[test]
fn validation_tells_the_refusal_of_a_single_node() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    world.node(1).manners.refuses_validation = Some(Refusal::new(Reason::FeeTooHigh, "no"));
    let signed = world.signature("vault", &["a"]);

    let handle = world.validate(&signed);
    world.run();

    assert_eq!(world.view(handle).state, CommandState::Denied);
    assert_eq!(
        world.view(handle).error.as_ref().unwrap().reason,
        Reason::FeeTooHigh
    );
}

#[test]
fn validation_needs_the_threshold_to_sign_and_everybody_to_create() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    world.disconnect(2);
    let signed = world.signature("vault", &["a"]);
    let enough = world.validate(&signed);
    world.run();
    let creation = world.creation("other", Scheme::Bip340, 2);
    let too_few = world.validate(&creation);
    world.run();
    world.silence(1);
    let silent = world.validate(&signed);
    world.run();
    assert!(!world.answers.contains_key(&silent));
    world.pass(6_000);

    assert_eq!(world.view(enough).state, CommandState::Succeeded);
    for handle in [too_few, silent] {
        assert_eq!(world.view(handle).state, CommandState::Failed);
        let error = world.view(handle).error.as_ref().unwrap();
        assert_eq!(error.reason, Reason::QuorumUnavailable);
    }
    let error = world.view(too_few).error.as_ref().unwrap();
    assert_eq!(error.get("missing"), Some("node-c"));
}

#[test]
fn an_admin_can_forbid_a_command_that_waits_and_every_node_hears_of_it() {
    let mut world = World::new(3);
    let signed = world.creation("vault", Scheme::Bip340, 2);
    world.disconnect(2);
    let waiting = world.submit(&signed);
    world.run();
    let id = world.admitted(&signed).command().id;
    let rejection = world.rejection(&signed);

    let spoken = world.endorse(id, rejection);
    world.run();

    for handle in [waiting, spoken] {
        assert_eq!(world.view(handle).state, CommandState::Denied);
        let error = world.view(handle).error.as_ref().unwrap();
        assert_eq!(error.reason, Reason::CommandRejected);
    }
    assert_eq!(world.count(0, is_begin), 1);
    assert_eq!(world.count(1, is_begin), 1);
    let again = world.submit(&signed);
    world.run();
    assert_eq!(world.view(again).state, CommandState::Denied);
}

#[test]
fn a_word_on_a_command_that_is_not_known_or_by_a_stranger_is_refused() {
    let mut world = World::new(3);
    let signed = world.creation("vault", Scheme::Bip340, 2);
    let id = world.admitted(&signed).command().id;
    let good = world.rejection(&signed);
    let unknown = world.endorse(id, good.clone());
    world.disconnect(2);
    world.submit(&signed);
    world.run();

    let mut forged = good;
    forged.signature = quorate_model::Signature([1; 64]);
    forged.principal = "wallet".parse().unwrap();
    forged.role = quorate_model::roster::Role::Client;
    let forged = world.endorse(id, forged);
    world.run();

    assert_eq!(world.refusal(unknown).reason, Reason::CommandUnknown);
    assert_eq!(world.refusal(forged).reason, Reason::EndorsementInvalid);
    assert_eq!(world.core.command(id).unwrap().state, CommandState::Running);
}
