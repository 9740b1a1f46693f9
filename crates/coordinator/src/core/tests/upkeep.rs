//! Status, tickets ahead, and clocks in doubt.

use quorate_model::{
    Reason, Refusal, Scheme,
    backup::{BackupId, RestoreId},
    bytes::Nonce32,
    command::{CommandBody, EndorsementKind},
    node_api::NodeRequest,
    operation::CommandState,
    quarantine::{Quarantine, ReadmitNode},
};

use super::{super::Notice, membership::remove, world::World};

fn is_status(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::Status { .. })
}

fn is_tickets(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::MakeTickets { .. })
}

#[test]
fn nodes_are_asked_where_they_stand_about_once_a_second_under_fresh_nonces() {
    let mut world = World::new(2);

    world.pass(10_000);

    let asked = world.count(0, is_status);
    assert!((9..=12).contains(&asked), "{asked}");
    let nonces: std::collections::BTreeSet<Nonce32> = world
        .requests
        .iter()
        .filter_map(|(_, request)| match request {
            NodeRequest::Status { nonce } => Some(*nonce),
            _ => None,
        })
        .collect();
    assert_eq!(
        nonces.len(),
        world.count(0, is_status) + world.count(1, is_status)
    );
}

#[test]
fn the_view_of_a_node_says_what_is_known() {
    let mut world = World::new(2);
    world.disconnect(1);

    let nodes = world.core.nodes();

    assert!(nodes[0].connected && nodes[0].clock_confirmed);
    assert_eq!((nodes[0].version.as_str(), nodes[0].pid), ("test", 7));
    assert!(!nodes[1].connected);
    assert_eq!((nodes[1].version.as_str(), nodes[1].pid), ("test", 0));
}

#[test]
fn a_status_that_is_signed_by_somebody_else_leaves_the_node_out() {
    let mut world = World::new(3);
    world.node(0).key = super::world::signing_key(77);

    world.pass(1_500);

    assert!(world.notices.contains(&Notice::Misbehaved {
        node: world.id(0),
        what: "signed another status",
        proven: false,
    }));
}

#[test]
fn few_tickets_are_kept_while_idle_and_more_while_busy() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    world.pass(5_000);
    let counts = |world: &World| -> Vec<u32> {
        world
            .requests
            .iter()
            .filter_map(|(_, request)| match request {
                NodeRequest::MakeTickets { count, .. } => Some(*count),
                _ => None,
            })
            .collect()
    };
    assert!(counts(&world).iter().all(|count| *count <= 8));
    let before = counts(&world).len();

    for number in 0..10 {
        for other in 0..30 {
            let signed = world.signature("vault", &[&format!("{number} {other}")]);
            world.submit(&signed);
        }
        world.run();
        world.pass(30);
    }

    let busy = counts(&world)[before..].iter().copied().max().unwrap();
    assert!((16..=512).contains(&busy), "{busy}");
    world.assert_no_ticket_is_used_twice();
    assert_eq!(world.answers.len(), 301);
}

#[test]
fn an_idle_cluster_asks_for_tickets_seldom() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    world.pass(1_000);
    let before = world.count(0, is_tickets);

    world.pass(40_000);

    assert_eq!(world.count(0, is_tickets), before);
}

#[test]
fn a_node_that_doubts_its_clock_is_given_the_word_of_its_peers() {
    let mut world = World::new(3);
    world.node(1).manners.clock = Some(Nonce32([9; 32]));

    world.pass(2_500);

    assert!(
        world
            .notices
            .contains(&Notice::ClockSuspect { node: world.id(1) })
    );
    let expected = [world.id(0), world.id(2)];
    assert_eq!(world.node(1).confirmed_by, expected);
    assert!(world.core.nodes()[1].clock_confirmed);
}

/// Of a node that was restored.
fn quarantine() -> Quarantine {
    Quarantine {
        backup: BackupId([1; 16]),
        restore: RestoreId([2; 16]),
        nonce: Nonce32([3; 32]),
    }
}

#[test]
fn a_node_that_was_removed_and_still_runs_holds_no_readmission_up() {
    let mut world = World::new(4);
    let removed = world.id(3);
    world.change_roster(remove(removed.clone()));
    assert!(world.core.nodes().iter().all(|node| node.id != removed));
    world.node(1).manners.quarantine = Some(quarantine());

    world.pass(5_000);

    assert!(world.node(1).manners.quarantine.is_none());
    let told = &world.node(1).told;
    assert!(!told.is_empty());
    assert!(told.iter().all(|page| page.node != removed));
}

#[test]
fn a_restored_node_is_brought_the_word_of_all_others_in_order_once_all_are_there() {
    let mut world = World::new(3);
    world.node(1).manners.quarantine = Some(quarantine());
    world.disconnect(2);
    world.pass(2_500);
    assert!(world.core.nodes()[1].quarantine.is_some());
    assert!(world.node(1).told.is_empty());

    world.connect(2);
    world.pass(5_000);

    for other in [0, 2] {
        let id = world.id(other);
        let told = &world.node(1).told;
        let pages: Vec<_> = told.iter().filter(|page| page.node == id).collect();
        let order: Vec<_> = pages.iter().map(|page| page.is_last).collect();
        assert_eq!(order, [false, true]);
    }
    assert!(world.core.nodes()[1].quarantine.is_none());
}

/// A node in quarantine, another one that is lost, and the word of the admins to go on without that.
fn readmission(world: &mut World) -> u64 {
    world.node(1).manners.quarantine = Some(quarantine());
    world.disconnect(2);
    world.pass(2_500);
    let body = CommandBody::ReadmitNode(ReadmitNode {
        node: world.id(1),
        restore: quarantine().restore,
        without: vec![world.id(2)],
        reason: "a drill".to_owned(),
    });
    let (command, signed) = world.command(body);
    let waits = world.submit(&signed);
    world.run();
    assert_eq!(world.view(waits).state, CommandState::AwaitingEndorsement);
    let approval = world.word_of_bob(&signed, EndorsementKind::Approve);
    world.endorse(command.id, approval)
}

#[test]
fn the_admin_quorum_takes_a_restored_node_back_without_one_that_is_lost() {
    let mut world = World::new(3);
    let done = readmission(&mut world);
    world.pass(500);

    assert_eq!(world.view(done).state, CommandState::Succeeded);
    world.pass(2_500);
    assert!(world.core.nodes()[1].quarantine.is_none());
    let first = world.id(0);
    assert!(world.node(1).told.iter().all(|page| page.node == first));
    assert!(world.core.is_idle());
}

#[test]
fn who_refuses_its_word_for_a_second_restoration_is_named_and_seldom_asked() {
    let mut world = World::new(3);
    let twice = Refusal::new(Reason::BackupRestoredTwice, "the backup was restored twice");
    world.node(0).manners.refuses_heads = Some(twice);
    let done = readmission(&mut world);
    world.pass(20_000);

    let view = world.view(done);
    assert_eq!(view.state, CommandState::Denied);
    let error = view.error.as_ref().unwrap();
    assert_eq!(error.reason, Reason::BackupRestoredTwice);
    assert_eq!(error.get("missing"), Some("node-a"));
    assert!(error.message.contains("restored twice"), "{error}");
    let is_heads = |request: &NodeRequest| matches!(request, NodeRequest::AttestHeads { .. });
    assert_eq!(world.count(0, is_heads), 1);
    let is_told = |notice: &Notice| matches!(notice, Notice::HeadsRefused { .. });
    assert!(world.notices.iter().any(is_told));
    world.connect(2);
    world.pass(60_000);
    assert_eq!(world.count(0, is_heads), 2);
}

#[test]
fn a_readmission_that_others_must_speak_for_ends_when_they_do_not_come() {
    let mut world = World::new(3);
    world.disconnect(0);
    let done = readmission(&mut world);
    world.pass(1_500);
    assert!(!world.answers.contains_key(&done));

    for _ in 0..20 {
        world.pass(1_000);
    }

    let view = world.view(done);
    assert_eq!(view.state, CommandState::Failed);
    let error = view.error.as_ref().unwrap();
    assert_eq!(error.reason, Reason::QuorumUnavailable);
    assert_eq!(error.get("missing"), Some("node-a"));
    assert!(world.core.nodes()[1].quarantine.is_some());
}

#[test]
fn a_readmission_that_the_node_refuses_is_denied_and_one_that_it_puts_off_is_brought_again() {
    for (reason, state) in [
        (Reason::CommandRejected, CommandState::Denied),
        (Reason::ClockSuspect, CommandState::Succeeded),
    ] {
        let mut world = World::new(3);
        world.node(1).manners.refuses_readmissions = Some(Refusal::new(reason, "no"));
        let done = readmission(&mut world);
        world.pass(100);
        world.node(1).manners.refuses_readmissions = None;

        world.pass(2_500);

        assert_eq!(world.view(done).state, state);
    }
}

#[test]
fn a_node_that_lists_the_same_keys_again_and_again_is_not_asked_again_and_again() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    world.node(1).manners.repeats_keys = true;

    world.connect(1);
    world.run();

    let what = "listed keys out of order";
    assert!(world.notices.contains(&Notice::Misbehaved {
        node: world.id(1),
        what,
        proven: false,
    }));
}
