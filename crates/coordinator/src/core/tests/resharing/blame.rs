//! Dealers that lie, or cannot deal.

use quorate_model::{
    Epoch, KeyName, Reason,
    node_api::NodeRequest::{self, AdvanceCeremony},
    operation::CommandState,
};
use quorate_protocol::reshare::round;

use super::{
    super::super::{Limits, Notice, StoreItem},
    World,
};

/// How often another attempt was begun.
fn begun_again(world: &World) -> usize {
    let again = |notice: &&Notice| matches!(notice, Notice::CeremonyAgain { .. });
    world.notices.iter().filter(again).count()
}

/// Evidence against the first node is stored, and at every other node.
fn assert_first_is_blamed(world: &mut World) {
    let blamed = world.id(0);
    assert!(world.notices.iter().any(|notice| matches!(
        notice,
        Notice::Misbehaved { node, proven: true, .. } if *node == blamed
    )));
    let stored = |item: &StoreItem| matches!(item, StoreItem::Evidence(_));
    assert!(world.store.iter().any(stored));
    for index in 0..world.nodes.len() {
        let holds = !world.node(index).evidence.is_empty();
        assert_eq!(holds, index != 0, "node {index}");
    }
}

fn spoilt_in(round: u8) -> (World, KeyName) {
    let (mut world, key) = World::with_vault(6);
    world.node(0).manners.spoils_round = Some(round);
    (world, key)
}

#[test]
fn a_false_sub_share_is_blamed_and_others_deal_to_a_higher_epoch() {
    let (mut world, key) = spoilt_in(round::SHARE);

    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(3_000);

    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(3));
    assert_first_is_blamed(&mut world);
    let last = world.dealers().pop().unwrap();
    assert_eq!(last, world.nodes_at(&[1, 2]));
    // Two receivers had prepared the epoch of the first attempt.
    world.assert_nobody_keeps_old_shares(&key);
    world.assert_in_use(&key, 3, &[3, 4, 5]);
}

#[test]
fn a_false_package_is_blamed_and_others_deal() {
    for round in [round::COMMIT, round::REVEAL, round::COMMIT_ECHO] {
        let (mut world, key) = spoilt_in(round);

        let handle = world.reshare(&key, 2, &[3, 4, 5]);
        world.pass(3_000);

        assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2), "{round}");
        assert_first_is_blamed(&mut world);
        assert_eq!(begun_again(&world), 1, "all found the same: one attempt");
        world.assert_in_use(&key, 2, &[3, 4, 5]);
    }
}

#[test]
fn a_guilty_dealer_that_is_to_receive_ends_the_command() {
    let (mut world, key) = spoilt_in(round::REVEAL);

    let handle = world.reshare(&key, 2, &[0, 3, 4]);
    world.pass(3_000);

    let error = world.failure(handle, CommandState::Failed, Reason::PeerMisbehaved);
    assert_eq!(error.get("culprit"), Some("node-a"));
    assert_first_is_blamed(&mut world);
    // The node is left out of signing, too.
    world.assert_in_use(&key, 1, &[0, 1, 2]);
}

#[test]
fn evidence_that_comes_late_does_not_end_the_attempt_of_others() {
    let (mut world, key) = spoilt_in(round::REVEAL);
    world.silence_at(5, is_reveal);

    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    // Others have blamed the first node, and the next attempt is under way.
    world.pass(200);
    assert_eq!(world.attempted().len(), 2);
    world.speak(5);
    world.pass(3_000);

    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2));
    assert_first_is_blamed(&mut world);
}

fn is_reveal(request: &NodeRequest) -> bool {
    matches!(request, AdvanceCeremony { round, .. } if *round == round::REVEAL)
}

#[test]
fn a_run_that_ends_without_blame_is_tried_again_by_the_same_dealers() {
    let (mut world, key) = World::with_vault(6);
    world.node(3).manners.aborts_at = Some(round::REVEAL);

    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(1_000);

    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2));
    let dealers = world.nodes_at(&[0, 1]);
    assert_eq!(world.dealers(), [dealers.clone(), dealers]);
}

#[test]
fn evidence_of_another_command_excludes_nobody() {
    let (mut world, key) = spoilt_in(round::REVEAL);
    world.reshared_within(&key, 2, &[3, 4, 5], 3_000);
    let old = world.node(3).evidence[0].clone();
    world.pass(Limits::default().penalty_ms);
    world.node(3).manners.aborts_at = Some(round::COMMIT);
    world.node(3).manners.aborts_with = Some(old);

    let outcome = world.reshared_within(&key, 2, &[0, 1, 2], 3_000);

    assert_eq!(outcome.epoch, Epoch(3));
}

#[test]
fn a_dealer_without_its_share_is_replaced_and_not_blamed() {
    let (mut world, key) = World::with_vault(6);
    world.node(0).manners.lost_share = true;

    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(3_000);

    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(2));
    let dealers = [world.nodes_at(&[0, 1]), world.nodes_at(&[1, 2])];
    assert_eq!(world.dealers(), dealers);
    assert!(world.node(1).evidence.is_empty());
}

#[test]
fn a_node_that_lost_its_share_receives_another() {
    let (mut world, key) = World::with_vault(3);
    world.node(0).manners.lost_share = true;

    let outcome = world.reshared_within(&key, 2, &[0, 1, 2], 3_000);

    assert_eq!(outcome.epoch, Epoch(2));
    world.assert_in_use(&key, 2, &[0, 1, 2]);
}

#[test]
fn a_false_share_of_the_proof_is_blamed_and_the_old_epoch_stays() {
    let (mut world, key) = World::with_vault(6);
    world.node(4).manners.false_shares = true;

    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(3_000);

    let error = world.failure(handle, CommandState::Failed, Reason::PeerMisbehaved);
    assert_eq!(error.get("node"), Some("node-e"));
    assert_eq!(world.node(0).evidence.len(), 1);
    world.assert_in_use(&key, 1, &[0, 1, 2]);
}

#[test]
fn a_receiver_whose_echo_is_false_ends_the_command() {
    let (mut world, key) = World::with_vault(6);
    world.node(4).manners.spoils_round = Some(round::COMMIT_ECHO);

    let handle = world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(3_000);

    let error = world.failure(handle, CommandState::Failed, Reason::PeerMisbehaved);
    assert_eq!(error.get("culprit"), Some("node-e"), "it receives: {error}");
    world.assert_in_use(&key, 1, &[0, 1, 2]);
}
