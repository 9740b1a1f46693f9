//! Signing: selection, batches, failover, blame, refusals.

use std::collections::BTreeSet;

use quorate_model::{
    NodeId, Reason, Refusal, Scheme, node_api::NodeRequest, operation::CommandState,
};
use quorate_proto::limits::share_request_bytes;
use quorate_protocol::evidence::Evidence;

use super::{
    super::{Event, Notice},
    world::World,
};

fn is_shares(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::SignShares { .. })
}

/// A world with an active key of n nodes.
fn world(nodes: usize, threshold: u16) -> World {
    let mut world = World::new(nodes);
    world.key("vault", Scheme::Bip340, threshold);
    // Tickets are fetched and latencies known.
    world.pass(300);
    world
}

/// Submits and lets things settle.
fn sign(world: &mut World, message: &str) -> u64 {
    let signed = world.signature("vault", &[message]);
    let handle = world.submit(&signed);
    world.run();
    handle
}

/// Which nodes the last command went to first.
fn first_signers(world: &World, since: usize) -> BTreeSet<NodeId> {
    world.requests[since..]
        .iter()
        .filter(|(_, request)| is_shares(request))
        .map(|(node, _)| node.clone())
        .collect()
}

#[test]
fn keys_of_every_scheme_sign_and_every_signature_verifies() {
    for scheme in Scheme::FROST {
        let mut world = World::new(3);
        world.key("vault", scheme, 2);
        let messages = ["", "a", "a longer message"];
        let signed = world.signature("vault", &messages);

        let handle = world.submit(&signed);
        world.run();
        world.pass(50);

        world.signed(handle, &messages);
    }
}

#[test]
fn with_tickets_at_hand_a_signature_takes_one_round_trip() {
    let mut world = world(3, 2);
    let before = world.requests.len();

    let handle = sign(&mut world, "a");

    world.signed(handle, &["a"]);
    let asked = world.requests[before..]
        .iter()
        .filter(|(_, r)| is_shares(r))
        .count();
    assert_eq!(asked, 2, "exactly t nodes are asked, once");
}

#[test]
fn a_command_of_many_payloads_takes_a_ticket_for_each() {
    let mut world = world(3, 2);
    let messages: Vec<String> = (0..256).map(|n| format!("message {n}")).collect();
    let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
    let signed = world.signature("vault", &messages);

    let handle = world.submit(&signed);
    world.run();
    world.pass(100);

    world.signed(handle, &messages);
}

#[test]
fn commands_of_one_moment_leave_in_one_call_and_few_calls_are_in_flight() {
    let mut world = world(3, 2);
    (0..3).for_each(|index| world.silence(index));
    let before = world.requests.len();
    for _ in 0..4 {
        let signed = world.signature("vault", &["a"]);
        world.submit(&signed);
    }
    world.run();
    for _ in 0..3 {
        let signed = world.signature("vault", &["b"]);
        world.submit(&signed);
        world.run();
    }

    let sizes: Vec<usize> = world.requests[before..]
        .iter()
        .filter_map(|(_, request)| match request {
            NodeRequest::SignShares { requests } => Some(requests.len()),
            _ => None,
        })
        .collect();
    assert_eq!(
        sizes,
        [4, 4, 1, 1],
        "a batch, then one more call per node, the rest waits"
    );
    (0..3).for_each(|index| world.speak(index));
    world.pass(50);
    assert_eq!(world.answers.len(), 1 + 7);
}

#[test]
fn commands_of_one_moment_leave_in_calls_that_fit() {
    let mut world = world(3, 2);
    (0..3).for_each(|index| world.silence(index));
    let before = world.requests.len();
    let large = "m".repeat(900_000);
    for message in [&large, &large, &large, "small"] {
        let signed = world.signature("vault", &[message]);
        world.submit(&signed);
    }
    world.run();

    let calls: Vec<Vec<usize>> = world.requests[before..]
        .iter()
        .filter_map(|(_, request)| match request {
            NodeRequest::SignShares { requests } => {
                Some(requests.iter().map(share_request_bytes).collect())
            }
            _ => None,
        })
        .collect();
    let sizes: Vec<usize> = calls.iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2, 2, 2]);
    for call in &calls {
        assert!(call.iter().sum::<usize>() <= 2 << 20);
    }
    (0..3).for_each(|index| world.speak(index));
    world.pass(50);
    assert_eq!(world.answers.len(), 1 + 4);
}

#[test]
fn a_signer_that_stalls_is_left_out_and_another_subset_signs() {
    let mut world = world(3, 2);
    let before = world.requests.len();
    world.silence(0);
    let handle = sign(&mut world, "a");
    assert!(first_signers(&world, before).contains(&world.id(0)));
    assert!(!world.answers.contains_key(&handle));

    world.pass(250);

    let outcome = world.signed(handle, &["a"]);
    assert_eq!(outcome.signers, [world.id(1), world.id(2)]);
    assert!(
        world
            .notices
            .contains(&Notice::Stalled { node: world.id(0) })
    );
    let next = sign(&mut world, "b");
    let outcome = world.signed(next, &["b"]);
    assert_eq!(
        outcome.signers,
        [world.id(1), world.id(2)],
        "it is not waited for again"
    );
}

#[test]
fn a_signer_that_stalled_and_answers_late_harms_nothing_and_signs_again() {
    let mut world = world(3, 2);
    world.silence(0);
    let handle = sign(&mut world, "a");
    world.pass(250);
    world.signed(handle, &["a"]);

    world.speak(0);
    world.pass(3_000);
    world.disconnect(1);
    let next = sign(&mut world, "b");
    world.pass(50);

    let outcome = world.signed(next, &["b"]);
    assert_eq!(outcome.signers, [world.id(0), world.id(2)]);
}

#[test]
fn a_signer_whose_link_breaks_is_replaced_at_once() {
    let mut world = world(3, 2);
    world.silence(0);
    let handle = sign(&mut world, "a");

    world.disconnect(0);

    let outcome = world.signed(handle, &["a"]);
    assert_eq!(outcome.signers, [world.id(1), world.id(2)]);
}

#[test]
fn a_false_share_is_proven_told_to_the_others_and_its_signer_is_left_out() {
    let mut world = world(3, 2);
    world.node(0).manners.false_shares = true;

    let handle = sign(&mut world, "a");
    world.pass(50);

    let outcome = world.signed(handle, &["a"]);
    assert_eq!(outcome.signers, [world.id(1), world.id(2)]);
    assert!(world.notices.contains(&Notice::Misbehaved {
        node: world.id(0),
        what: "made a share that does not hold",
        proven: true,
    }));
    assert!(world.node(0).evidence.is_empty());
    for index in [1, 2] {
        let evidence = world.node(index).evidence.clone();
        assert_eq!(evidence.len(), 1);
        let Evidence::BadSignatureShare(bad) = Evidence::from_bytes(&evidence[0]).unwrap() else {
            panic!("other evidence");
        };
        assert_eq!(bad.receipt.statement.node, world.id(0));
    }
    let stored = world
        .store
        .iter()
        .filter(|item| matches!(item, super::super::StoreItem::Evidence(_)))
        .count();
    assert_eq!(stored, 1);
    let before = world.requests.len();
    let next = sign(&mut world, "b");
    world.signed(next, &["b"]);
    assert!(!first_signers(&world, before).contains(&world.id(0)));
}

#[test]
fn a_batch_of_false_shares_makes_one_piece_of_evidence_and_every_command_is_signed() {
    let mut world = world(3, 2);
    world.node(0).manners.false_shares = true;
    let handles: Vec<u64> = (0..5)
        .map(|_| {
            let signed = world.signature("vault", &["a"]);
            world.submit(&signed)
        })
        .collect();

    world.run();
    world.pass(100);

    for handle in handles {
        world.signed(handle, &["a"]);
    }
    assert_eq!(world.node(1).evidence.len(), 1);
}

#[test]
fn a_signer_that_was_left_out_is_used_again_when_its_penalty_is_over() {
    let mut world = world(3, 2);
    world.node(0).manners.false_shares = true;
    sign(&mut world, "a");
    world.pass(50);
    world.node(0).manners.false_shares = false;
    world.disconnect(1);

    let too_early = sign(&mut world, "b");
    world.pass(9_000);
    world.pass(600_000);
    let later = sign(&mut world, "c");
    world.pass(100);

    assert_eq!(world.view(too_early).state, CommandState::Failed);
    assert_eq!(
        world.signed(later, &["c"]).signers,
        [world.id(0), world.id(2)]
    );
}

#[test]
fn statements_of_something_else_and_false_signatures_are_not_used() {
    for cheat in [true, false] {
        let mut world = world(3, 2);
        world.node(0).manners.false_statement = cheat;
        world.node(0).manners.false_signature = !cheat;

        let handle = sign(&mut world, "a");
        world.pass(50);

        assert_eq!(
            world.signed(handle, &["a"]).signers,
            [world.id(1), world.id(2)]
        );
        let blamed = world.notices.iter().any(|notice| {
            matches!(notice, Notice::Misbehaved { node, proven: false, .. } if *node == world.id(0))
        });
        assert!(blamed);
        assert!(
            world.node(1).evidence.is_empty(),
            "nothing is proven to others"
        );
    }
}

#[test]
fn too_many_cheats_fail_the_command_and_name_them() {
    let mut world = world(3, 2);
    world.node(0).manners.false_shares = true;
    world.node(1).manners.false_shares = true;

    let handle = sign(&mut world, "a");
    world.pass(100);

    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Failed);
    let error = view.error.as_ref().unwrap();
    assert_eq!(error.reason, Reason::PeerMisbehaved);
    assert_eq!(error.get("nodes"), Some("node-a, node-b"));
}

#[test]
fn one_refusal_is_gone_around_and_too_many_deny_the_command() {
    let mut world = world(3, 2);
    let refusal = Refusal::new(Reason::FeeTooHigh, "no");
    world.node(0).manners.refuses_shares = Some(refusal.clone());
    let around = sign(&mut world, "a");
    world.pass(50);
    world.node(1).manners.refuses_shares = Some(refusal.clone());
    let denied = sign(&mut world, "b");
    world.pass(50);

    assert_eq!(
        world.signed(around, &["a"]).signers,
        [world.id(1), world.id(2)]
    );
    assert_eq!(world.view(denied).state, CommandState::Denied);
    assert_eq!(world.view(denied).error, Some(refusal));
}

#[test]
fn a_denied_command_is_judged_afresh_when_it_comes_again() {
    let mut world = world(3, 2);
    let refusal = Refusal::new(Reason::FeeTooHigh, "no");
    for index in 0..3 {
        world.node(index).manners.refuses_shares = Some(refusal.clone());
    }
    let signed = world.signature("vault", &["a"]);
    let first = world.submit(&signed);
    world.run();
    world.pass(50);
    for index in 0..3 {
        world.node(index).manners.refuses_shares = None;
    }

    let second = world.submit(&signed);
    world.run();

    assert_eq!(world.view(first).state, CommandState::Denied);
    world.signed(second, &["a"]);
}

#[test]
fn refusals_that_may_pass_fail_the_command_and_do_not_deny_it() {
    let mut world = world(3, 2);
    let refusal = Refusal::new(Reason::ClockSuspect, "my clock");
    world.node(0).manners.refuses_shares = Some(refusal.clone());
    world.node(1).manners.refuses_shares = Some(refusal.clone());

    let handle = sign(&mut world, "a");
    world.pass(8_200);

    assert_eq!(world.view(handle).state, CommandState::Failed);
    assert_eq!(world.view(handle).error, Some(refusal));
    assert!(
        world.count(0, is_shares) < 60,
        "a node that cannot is not asked without end"
    );
}

#[test]
fn a_node_that_lost_its_tickets_is_asked_again_with_others() {
    let mut world = world(2, 2);
    world.node(0).restart();

    let handle = sign(&mut world, "a");
    world.pass(100);

    world.signed(handle, &["a"]);
}

#[test]
fn tickets_are_dropped_when_the_node_starts_again() {
    let mut world = world(3, 2);
    world.disconnect(0);
    world.node(0).restart();
    world.connect(0);
    world.pass(300);
    world.disconnect(2);

    let handle = sign(&mut world, "a");
    world.pass(50);

    assert_eq!(
        world.signed(handle, &["a"]).signers,
        [world.id(0), world.id(1)]
    );
    let refused = world.core.running();
    assert!(refused.is_empty());
}

#[test]
fn old_tickets_are_not_used() {
    let mut world = world(3, 2);
    world.pass(46_000);
    let before = world.requests.len();

    let handle = sign(&mut world, "a");
    world.pass(50);

    world.signed(handle, &["a"]);
    let fetched_before = world.requests[..before]
        .iter()
        .filter(|(_, r)| matches!(r, NodeRequest::MakeTickets { .. }))
        .count();
    assert!(
        fetched_before >= 6,
        "the pools were filled again when the first tickets were old"
    );
}

#[test]
fn a_node_that_repeats_ticket_ids_is_left_out() {
    let mut world = world(3, 2);
    world.node(0).manners.repeats_tickets = true;

    for number in 0..20 {
        let handle = sign(&mut world, &format!("message {number}"));
        world.pass(20);
        world.signed(handle, &[&format!("message {number}")]);
    }

    let blamed = world.notices.contains(&Notice::Misbehaved {
        node: world.id(0),
        what: "made tickets that are none",
        proven: false,
    });
    assert!(blamed);
}

#[test]
fn with_too_few_nodes_the_command_fails_in_time_and_names_who_is_missing() {
    let mut world = world(3, 2);
    world.disconnect(0);
    world.disconnect(2);

    let handle = sign(&mut world, "a");
    world.pass(7_900);
    assert!(!world.answers.contains_key(&handle));
    world.pass(200);

    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Failed);
    let error = view.error.as_ref().unwrap();
    assert_eq!(error.reason, Reason::QuorumUnavailable);
    assert_eq!(error.get("missing"), Some("node-a, node-c"));
}

#[test]
fn nodes_that_hang_are_missing_too() {
    let mut world = world(3, 2);
    world.silence(0);
    world.silence(2);

    let handle = sign(&mut world, "a");
    world.pass(9_500);

    let error = world.view(handle).error.as_ref().unwrap();
    assert_eq!(error.reason, Reason::QuorumUnavailable);
    assert_eq!(error.get("missing"), Some("node-a, node-c"));
}

#[test]
fn a_failed_command_can_be_submitted_again() {
    let mut world = world(3, 2);
    world.disconnect(0);
    world.disconnect(2);
    let signed = world.signature("vault", &["a"]);
    let first = world.submit(&signed);
    world.run();
    world.pass(8_200);
    world.connect(0);

    let second = world.submit(&signed);
    world.run();
    world.pass(50);

    assert_eq!(world.view(first).state, CommandState::Failed);
    world.signed(second, &["a"]);
}

#[test]
fn a_command_that_waits_goes_on_when_a_node_comes_back() {
    let mut world = world(3, 2);
    world.disconnect(0);
    world.disconnect(2);
    let handle = sign(&mut world, "a");
    world.pass(2_000);

    world.connect(2);
    world.pass(50);

    assert_eq!(
        world.signed(handle, &["a"]).signers,
        [world.id(1), world.id(2)]
    );
}

#[test]
fn a_command_that_expires_while_it_waits_is_expired() {
    let mut world = world(3, 2);
    world.disconnect(0);
    world.disconnect(2);
    let sign = world.sign("vault", vec![quorate_model::Payload::message(*b"a")]);
    let (command, _) = world.command(quorate_model::command::CommandBody::Sign(sign));
    let short = quorate_model::command::Command {
        expires: command.created.plus(500),
        ..command
    };
    let signed = world.endorsed(&short);
    let handle = world.submit(&signed);
    world.run();

    world.pass(600);

    assert_eq!(world.view(handle).state, CommandState::Expired);
    assert_eq!(
        world.view(handle).error.as_ref().unwrap().reason,
        Reason::CommandExpired
    );
}

#[test]
fn a_signer_is_pending_in_one_attempt_and_attempts_are_bounded() {
    let mut world = world(5, 3);
    (0..5).for_each(|index| world.silence(index));
    let handle = sign(&mut world, "a");
    world.pass(1_500);

    let pending: Vec<NodeId> = world
        .held_calls
        .iter()
        .filter(|(_, _, request, _)| is_shares(request))
        .map(|(_, node, ..)| node.clone())
        .collect();
    let distinct: BTreeSet<NodeId> = pending.iter().cloned().collect();
    assert_eq!(pending.len(), distinct.len(), "nobody is pending twice");
    (0..5).for_each(|index| world.speak(index));
    world.pass(300);
    world.signed(handle, &["a"]);
}

#[test]
fn an_unknown_key_or_a_payload_that_it_cannot_sign_denies_the_command() {
    let mut world = world(3, 2);
    let nobody = world.signature("nobody", &["a"]);
    let digest = world.sign("vault", vec![quorate_model::Payload::digest([7; 32])]);
    let digest = world
        .command(quorate_model::command::CommandBody::Sign(digest))
        .1;

    let nobody = world.submit(&nobody);
    let digest = world.submit(&digest);
    world.run();

    let check = |handle, expected| {
        assert_eq!(world.view(handle).state, CommandState::Denied);
        assert_eq!(world.view(handle).error.as_ref().unwrap().reason, expected);
    };
    check(nobody, Reason::KeyUnknown);
    check(digest, Reason::PurposeMismatch);
}

#[test]
fn a_command_for_another_key_of_the_name_is_denied_and_asks_no_node() {
    let mut world = world(3, 2);
    let other = quorate_model::command::Sign {
        key_id: quorate_model::KeyId([7; 32]),
        ..world.sign("vault", vec![quorate_model::Payload::message(*b"a")])
    };
    let (_, other) = world.command(quorate_model::command::CommandBody::Sign(other));
    world.requests.clear();

    let handle = world.submit(&other);
    world.run();

    let view = world.view(handle);
    assert_eq!(view.state, CommandState::Denied);
    assert_eq!(view.error.as_ref().unwrap().reason, Reason::KeyIdMismatch);
    let is_shares = |request: &NodeRequest| matches!(request, NodeRequest::SignShares { .. });
    assert!(!world.requests.iter().any(|(_, request)| is_shares(request)));
}

#[test]
fn a_key_is_not_called_unknown_before_enough_nodes_have_listed_theirs() {
    let mut world = world(3, 2);
    (0..3).for_each(|index| world.silence(index));
    world.restart_coordinator(vec![]);
    let handle = sign(&mut world, "a");
    world.pass(100);
    assert!(!world.answers.contains_key(&handle));

    (0..3).for_each(|index| world.connect(index));
    world.pass(300);

    world.signed(handle, &["a"]);
}

#[test]
fn the_same_events_lead_to_the_same_actions() {
    let run = || {
        let mut world = world(4, 2);
        world.silence(1);
        for number in 0..6 {
            sign(&mut world, &format!("message {number}"));
            world.pass(70);
        }
        world.push(Event::LinkDown { node: world.id(2) });
        world.run();
        world.pass(500);
        world.requests
    };

    assert_eq!(run(), run());
}
