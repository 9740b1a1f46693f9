//! Births of keys: rounds, disturbances, going on from where an earlier run stopped.

use std::sync::Arc;

use quorate_model::{
    Epoch, Reason, Refusal, Scheme,
    certificate::PossessionProof,
    node_api::NodeRequest,
    operation::{CommandOutcome, CommandState},
};
use quorate_protocol::{dkg::round, frost::PublicKeys};

use super::{
    super::{Limits, Notice, StoreItem},
    world::World,
};

fn is_begin(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::BeginCeremony { .. })
}

fn create(world: &mut World, name: &str) -> u64 {
    let signed = world.creation(name, Scheme::Bip340, 2);
    let handle = world.submit(&signed);
    world.run();
    handle
}

fn assert_active_everywhere(world: &mut World, name: &str) {
    let key = name.parse().unwrap();
    for id in world.ids() {
        assert!(world.nodes[&id].is_active(&key), "{id}");
    }
    let view = world.core.key(&key).unwrap();
    let (_, record) =
        quorate_proto::certificate::verify(&view.evidence.certificate, None, &world.pinned)
            .unwrap();
    let proof = PossessionProof::from_bytes(view.evidence.proof.as_ref().unwrap()).unwrap();
    let keys = PublicKeys::of_record(&record).unwrap();
    quorate_protocol::possession::verify(&world.pinned, &record, &keys, &proof).unwrap();
}

#[test]
fn a_key_is_born_certified_and_proven_by_all() {
    let mut world = World::new(5);
    let signed = world.creation("vault", Scheme::Ed25519, 3);

    let handle = world.submit(&signed);
    world.run();
    world.pass(50);

    assert_active_everywhere(&mut world, "vault");
    let outcome = CommandOutcome::KeyCreated {
        key: "vault".parse().unwrap(),
        epoch: Epoch(1),
    };
    assert_eq!(world.view(handle).outcome, Some(outcome));
    world.assert_no_ticket_is_used_twice();
}

#[test]
fn progress_names_every_step_and_only_rises() {
    let mut world = World::new(3);

    create(&mut world, "vault");
    world.pass(50);

    let mut steps: Vec<(u8, String)> = world
        .progress
        .iter()
        .filter_map(|view| view.progress.clone())
        .map(|progress| (progress.percent, progress.step))
        .collect();
    assert!(steps.is_sorted_by_key(|(percent, _)| *percent));
    steps.dedup();
    let names: Vec<&str> = steps.iter().map(|(_, step)| step.as_str()).collect();
    assert_eq!(
        names,
        [
            "hello",
            "commit",
            "commit echo",
            "reveal",
            "reveal echo",
            "shares",
            "prepare",
            "prove",
            "activate"
        ]
    );
    assert_eq!(
        world.progress.last().unwrap().state,
        CommandState::Succeeded
    );
}

#[test]
fn progress_names_whose_answer_is_awaited() {
    let mut world = World::new(3);
    world.silence(1);

    create(&mut world, "vault");

    let last = world.progress.last().unwrap().progress.clone().unwrap();
    assert_eq!(last.awaited, [world.id(1)]);
    assert_eq!(last.step, "hello");
}

#[test]
fn a_name_that_stands_for_another_key_is_refused() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    let known = create(&mut world, "vault");
    let by_nodes = {
        world.restart_coordinator(vec![]);
        create(&mut world, "vault")
    };
    world.pass(50);

    for handle in [known, by_nodes] {
        assert_eq!(world.view(handle).state, CommandState::Denied);
        assert_eq!(
            world.view(handle).error.as_ref().unwrap().reason,
            Reason::KeyExists
        );
    }
}

#[test]
fn a_link_that_breaks_in_a_round_is_waited_for_and_the_round_goes_on() {
    let mut world = World::new(3);
    world.silence(2);
    let handle = create(&mut world, "vault");
    world.disconnect(2);
    world.pass(500);
    assert!(!world.answers.contains_key(&handle));

    world.connect(2);
    world.pass(300);

    assert_eq!(world.view(handle).state, CommandState::Succeeded);
    assert_active_everywhere(&mut world, "vault");
    assert_eq!(world.count(0, is_begin), 1, "the attempt was not given up");
}

#[test]
fn a_node_that_crashes_in_the_middle_leaves_no_half_key_and_the_next_attempt_works() {
    let mut world = World::new(3);
    world.silence(2);
    let handle = create(&mut world, "vault");
    world.disconnect(2);
    world.node(2).restart();
    world.connect(2);
    // It knows nothing of the attempt and says so when the next round comes.
    world.pass(1_000);

    assert_eq!(world.view(handle).state, CommandState::Succeeded);
    assert_active_everywhere(&mut world, "vault");
}

#[test]
fn a_missing_node_fails_the_creation_in_time_and_is_named() {
    let mut world = World::new(3);
    world.disconnect(1);
    let absent = create(&mut world, "vault");
    world.pass(8_100);
    world.connect(1);
    world.silence(2);
    let silent = create(&mut world, "other");
    world.pass(9_900);

    let check = |handle, expected| {
        let view = world.view(handle);
        assert_eq!(view.state, CommandState::Failed);
        let error = view.error.as_ref().unwrap();
        assert_eq!(error.reason, Reason::QuorumUnavailable);
        assert_eq!(error.get("missing"), Some(expected));
    };
    check(absent, "node-b");
    check(silent, "node-c");
}

#[test]
fn a_creation_that_failed_works_when_it_is_submitted_again() {
    let mut world = World::new(3);
    world.disconnect(1);
    let signed = world.creation("vault", Scheme::Bip340, 2);
    world.submit(&signed);
    world.run();
    world.pass(8_100);
    world.connect(1);

    let again = world.submit(&signed);
    world.run();
    world.pass(50);

    assert_eq!(world.view(again).state, CommandState::Succeeded);
}

#[test]
fn a_node_that_refuses_what_it_certified_is_asked_with_pauses_and_not_for_ever() {
    let mut world = World::new(3);
    let another = Refusal::new(Reason::KeyExists, "another key has the name");
    world.node(1).manners.refuses_activation = Some(another);

    let handle = create(&mut world, "vault");
    world.pass(30_000);

    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Failed);
    assert_eq!(view.error.as_ref().unwrap().reason, Reason::KeyExists);
    let asked = world.count(1, |request| {
        matches!(request, NodeRequest::ActivateKey { .. })
    });
    assert!((2..=24).contains(&asked), "asked {asked} times");
}

#[test]
fn a_run_that_aborts_without_blame_is_tried_again_from_zero() {
    let mut world = World::new(3);
    world.node(1).manners.aborts_at = Some(3);

    let handle = create(&mut world, "vault");
    world.pass(500);

    assert_eq!(world.view(handle).state, CommandState::Succeeded);
    let attempts: std::collections::BTreeSet<_> = world
        .requests
        .iter()
        .filter_map(|(_, request)| match request {
            NodeRequest::BeginCeremony { attempt, .. } => Some(*attempt),
            _ => None,
        })
        .collect();
    assert_eq!(attempts.len(), 2, "each attempt has an id of its own");
    assert!(
        world
            .notices
            .iter()
            .any(|n| matches!(n, Notice::CeremonyAgain { .. }))
    );
}

#[test]
fn a_refusal_that_lasts_denies_and_one_that_may_pass_fails() {
    let check = |reason, expected| {
        let mut world = World::new(3);
        world.node(1).manners.refuses_rounds = Some(Refusal::new(reason, "no"));
        let handle = create(&mut world, "vault");
        world.pass(50_000);
        assert_eq!(world.view(handle).state, expected);
        assert_eq!(world.view(handle).error.as_ref().unwrap().reason, reason);
    };
    check(Reason::CommandExpired, CommandState::Denied);
    check(Reason::SessionLimit, CommandState::Failed);
}

#[test]
fn an_epoch_that_is_taken_is_left_behind() {
    let mut world = World::new(3);
    // All prepare, and the coordinator dies before anybody gets the certificate.
    let signed = world.creation("vault", Scheme::Bip340, 2);
    world.submit(&signed);
    stop_before(&mut world, |request| {
        matches!(request, NodeRequest::ProveKey { .. })
    });
    world.restart_coordinator(vec![]);

    let again = world.submit(&signed);
    world.run();
    world.pass(500);

    let outcome = CommandOutcome::KeyCreated {
        key: "vault".parse().unwrap(),
        epoch: Epoch(2),
    };
    assert_eq!(world.view(again).outcome, Some(outcome));
    assert_active_everywhere(&mut world, "vault");
}

#[test]
fn a_creation_goes_on_from_the_certificate_that_nodes_hold() {
    let mut world = World::new(3);
    let signed = world.creation("vault", Scheme::Bip340, 2);
    world.submit(&signed);
    stop_before(&mut world, |request| {
        matches!(request, NodeRequest::ActivateKey { .. })
    });
    let key = "vault".parse().unwrap();
    let certificate = world.node(0).certificate(&key).unwrap();

    world.restart_coordinator(vec![]);
    let again = world.submit(&signed);
    world.run();
    world.pass(500);

    assert_eq!(world.view(again).state, CommandState::Succeeded);
    assert_active_everywhere(&mut world, "vault");
    assert_eq!(
        world.node(0).certificate(&key).unwrap(),
        certificate,
        "it is the same key"
    );
}

#[test]
fn what_an_earlier_run_left_unfinished_is_finished_without_being_asked() {
    let mut world = World::new(3);
    let signed = world.creation("vault", Scheme::Bip340, 2);
    world.submit(&signed);
    stop_before(&mut world, |request| {
        matches!(request, NodeRequest::ActivateKey { .. })
    });

    world.restart_coordinator(vec![]);
    world.pass(500);

    assert_active_everywhere(&mut world, "vault");
}

#[test]
fn a_certified_key_is_finished_when_the_node_that_died_before_its_proof_comes_back() {
    let mut world = World::new(3);
    let signed = world.creation("vault", Scheme::Bip340, 2);
    let handle = world.submit(&signed);
    stop_before(&mut world, |request| {
        matches!(request, NodeRequest::ProveKey { .. })
    });
    world.disconnect(2);
    world.pass(8_100);
    assert_eq!(world.view(handle).state, CommandState::Failed);

    world.node(2).restart();
    world.connect(2);
    world.pass(500);

    assert_active_everywhere(&mut world, "vault");
}

#[test]
fn a_certified_key_is_finished_although_another_command_had_its_name_when_it_was_listed() {
    let mut world = World::new(3);
    let signed = world.creation("vault", Scheme::Bip340, 2);
    world.submit(&signed);
    stop_before(&mut world, |request| {
        matches!(request, NodeRequest::ActivateKey { .. })
    });
    for node in 0..3 {
        world.disconnect(node);
    }
    world.restart_coordinator(vec![]);

    let other = world.creation("vault", Scheme::Bip340, 2);
    let other = world.submit(&other);
    for node in 0..3 {
        world.connect(node);
    }
    world.pass(1_000);
    let error = world.view(other).error.as_ref().unwrap();
    assert_eq!(error.reason, Reason::KeyExists);

    world.pass(15_000);
    assert_active_everywhere(&mut world, "vault");
}

#[test]
fn a_name_whose_creation_is_certified_and_not_finished_says_so() {
    let mut world = World::new(3);
    let signed = world.creation("vault", Scheme::Bip340, 2);
    world.submit(&signed);
    stop_before(&mut world, |request| {
        matches!(request, NodeRequest::ProveKey { .. })
    });
    world.disconnect(2);
    world.pass(50);

    let other = create(&mut world, "vault");

    let error = world.view(other).error.as_ref().unwrap();
    assert_eq!(error.reason, Reason::KeyExists);
    assert!(error.message.contains("not finished"), "{error}");
}

#[test]
fn a_node_that_missed_the_proof_is_given_it() {
    let mut world = World::new(3);
    let key = world.key("vault", Scheme::Bip340, 2);
    world.disconnect(1);
    world.node(1).forget_proof(&key);

    world.connect(1);
    world.pass(50);

    assert_active_everywhere(&mut world, "vault");
}

#[test]
fn a_false_share_in_the_proof_is_blamed_and_the_key_does_not_become_active() {
    let mut world = World::new(3);
    world.node(1).manners.false_shares = true;

    let handle = create(&mut world, "vault");
    world.pass(50);

    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Failed);
    let error = view.error.as_ref().unwrap();
    assert_eq!(error.reason, Reason::PeerMisbehaved);
    assert_eq!(error.get("node"), Some("node-b"));
    assert_eq!(world.node(0).evidence.len(), 1);
    assert!(!world.node(0).is_active(&"vault".parse().unwrap()));
    assert!(
        world
            .store
            .iter()
            .any(|item| matches!(item, StoreItem::Evidence(_)))
    );
}

fn is_second_round(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::AdvanceCeremony { round, .. } if *round == round::COMMIT_ECHO)
}

/// Node 1 is proven guilty, everybody hears of it, and the creation ends.
fn assert_blamed_for_the_echo(world: &mut World, handle: u64) {
    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Failed);
    let error = view.error.as_ref().unwrap();
    assert_eq!(error.reason, Reason::PeerMisbehaved);
    assert_eq!(error.get("culprit"), Some("node-b"));
    assert!(!world.node(0).evidence.is_empty());
    assert!(world.node(1).evidence.is_empty());
}

#[test]
fn whoever_spoils_a_run_and_falls_silent_is_blamed_without_waiting_for_it() {
    let mut world = World::new(3);
    world.node(1).manners.false_echo = true;
    world.silence_at(1, is_second_round);

    let handle = create(&mut world, "vault");
    world.run();

    assert_blamed_for_the_echo(&mut world, handle);
}

#[test]
fn whoever_spoils_a_run_and_forgets_it_first_is_blamed_by_the_answers_that_come_late() {
    let mut world = World::new(3);
    world.node(1).manners.false_echo = true;
    world.silence_at(0, is_second_round);
    world.silence_at(2, is_second_round);

    let handle = create(&mut world, "vault");
    world.run();
    assert!(
        world
            .notices
            .iter()
            .any(|notice| matches!(notice, Notice::CeremonyAgain { .. }))
    );
    world.speak(0);
    world.speak(2);
    world.pass(50);

    assert_blamed_for_the_echo(&mut world, handle);
}

#[test]
fn evidence_of_another_creation_does_not_end_this_one() {
    let mut world = World::new(3);
    world.node(1).manners.false_echo = true;
    let spoilt = create(&mut world, "spoilt");
    world.run();
    assert_blamed_for_the_echo(&mut world, spoilt);
    let old = world.node(0).evidence[0].clone();
    world.node(1).manners.false_echo = false;
    world.pass(Limits::default().penalty_ms);
    world.node(2).manners.aborts_at = Some(1);
    world.node(2).manners.aborts_with = Some(old);

    let handle = create(&mut world, "vault");
    world.pass(500);

    assert_eq!(world.view(handle).state, CommandState::Succeeded);
}

#[test]
fn a_lost_answer_in_the_proof_takes_other_tickets() {
    let mut world = World::new(3);
    world.silence(2);
    let handle = create(&mut world, "vault");
    world.speak(2);
    world.pass(50);
    assert_eq!(world.view(handle).state, CommandState::Succeeded);
    let signed = world.creation("other", Scheme::Bip340, 2);
    let other = world.submit(&signed);
    stop_before(&mut world, |request| {
        matches!(request, NodeRequest::ActivateKey { .. })
    });

    world.connect(0);
    world.connect(1);
    world.connect(2);
    world.pass(1_000);

    assert_eq!(world.view(other).state, CommandState::Succeeded);
    world.assert_no_ticket_is_used_twice();
}

#[test]
fn only_so_many_creations_run_at_a_time_and_the_rest_wait_their_turn() {
    let limits = Limits {
        max_ceremonies: 1,
        max_waiting_ceremonies: 1,
        ..Limits::default()
    };
    let mut world = World::with_limits(3, limits);
    world.silence(2);
    let first = create(&mut world, "first");
    let second = create(&mut world, "second");
    let third = create(&mut world, "third");
    assert_eq!(world.count(0, is_begin), 1);

    world.speak(2);
    world.pass(100);

    assert_eq!(world.view(first).state, CommandState::Succeeded);
    assert_eq!(world.view(second).state, CommandState::Succeeded);
    assert_eq!(world.refusal(third).reason, Reason::Overloaded);
}

#[test]
fn two_commands_do_not_create_one_name_at_a_time() {
    let mut world = World::new(3);
    world.silence(2);
    let first = create(&mut world, "vault");

    let second = create(&mut world, "vault");
    world.speak(2);
    world.pass(50);

    assert_eq!(world.view(second).state, CommandState::Failed);
    assert_eq!(
        world.view(second).error.as_ref().unwrap().reason,
        Reason::SessionLimit
    );
    assert_eq!(world.view(first).state, CommandState::Succeeded);
    let shared = Arc::new(world);
    assert_eq!(shared.answers.len(), 2);
}

/// Lets the world run until the coordinator asks for something, which nobody gets to see.
fn stop_before(world: &mut World, stop: fn(&NodeRequest) -> bool) {
    world.lose_from(stop);
    world.run();
    world.pass(50);
    world.lose_none();
}
