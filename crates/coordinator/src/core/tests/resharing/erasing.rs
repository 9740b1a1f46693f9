//! The end of old shares at nodes (P29).

use quorate_model::{KeyName, NodeId, Reason, Refusal, Scheme, node_api::NodeRequest};

use super::{super::super::StoreItem, World, is_activate, is_erase};

/// How many erasures each call to a node carried.
fn batches(world: &World, index: usize) -> Vec<usize> {
    let id = world.id(index);
    let erasures = |(node, request): &(NodeId, NodeRequest)| match request {
        NodeRequest::EraseEpochs { erasures } if *node == id => Some(erasures.len()),
        _ => None,
    };
    world.requests.iter().filter_map(erasures).collect()
}

fn keys_of(world: &World) -> Vec<StoreItem> {
    let is_key = |item: &&StoreItem| matches!(item, StoreItem::Key(_));
    world.store.iter().filter(is_key).cloned().collect()
}

#[test]
fn an_answer_that_is_lost_is_asked_for_again() {
    let (mut world, key) = World::with_vault(6);
    world.lose_answer(0, is_erase);

    let outcome = world.reshared_within(&key, 2, &[3, 4, 5], 500);

    assert_eq!(outcome.erased.len(), 3);
    assert_eq!(world.count(0, is_erase), 2);
    world.assert_nobody_keeps_old_shares(&key);
}

#[test]
fn a_node_that_was_away_erases_all_of_its_keys_with_one_call() {
    let mut world = World::new(4);
    let names = ["aa", "bb", "cc", "dd"];
    let holders = world.nodes_at(&[0, 1, 2]);
    let keys: Vec<KeyName> = names
        .iter()
        .map(|name| world.key_on(name, Scheme::Ed25519, 2, holders.clone()))
        .collect();
    world.disconnect(0);
    for key in &keys {
        let outcome = world.reshared_within(key, 2, &[1, 2, 3], 2_500);
        assert_eq!(outcome.missing, world.nodes_at(&[0]));
    }

    world.connect(0);
    world.pass(1_000);

    assert_eq!(batches(&world, 0), [4]);
    for key in &keys {
        world.assert_nobody_keeps_old_shares(key);
    }
}

#[test]
fn the_word_of_a_node_that_left_stands_for_no_holder() {
    let (mut world, key) = World::with_vault(4);
    world.disconnect(0);
    world.reshared_within(&key, 2, &[1, 2, 3], 2_500);
    let stored = keys_of(&world);
    world.restart_coordinator(stored);

    // It hears of the epoch before one of those who hold it has said so again.
    world.silence_at(3, is_activate);
    world.connect(0);
    world.pass(1_000);
    assert_eq!(world.count(0, is_erase), 0);
    world.speak(3);
    world.pass(1_000);

    world.assert_nobody_keeps_old_shares(&key);
    assert_eq!(world.count(0, is_erase), 1);
}

#[test]
fn a_node_that_was_away_for_several_epochs_hears_of_the_last() {
    let (mut world, key) = World::with_vault(5);
    world.disconnect(0);
    world.reshared_within(&key, 2, &[1, 2, 3], 2_500);
    world.reshared_within(&key, 2, &[2, 3, 4], 2_500);

    world.connect(0);
    world.pass(1_000);

    world.assert_nobody_keeps_old_shares(&key);
    world.assert_in_use(&key, 3, &[2, 3, 4]);
}

#[test]
fn one_that_refuses_keeps_nobody_else_from_it_and_is_asked_again() {
    let (mut world, key) = World::with_vault(6);
    let refusal = Refusal::new(Reason::Overloaded, "not yet");
    world.node(0).manners.refuses_erasures = Some(refusal);

    let outcome = world.reshared_within(&key, 2, &[3, 4, 5], 2_500);

    let erased: Vec<_> = outcome.erased.iter().map(|r| r.node.clone()).collect();
    assert_eq!(erased, world.nodes_at(&[1, 2]));
    assert_eq!(outcome.missing, world.nodes_at(&[0]));
    assert!(world.node(0).keeps_old(&key));
    world.node(0).manners.refuses_erasures = None;
    world.pass(10_000);
    world.assert_nobody_keeps_old_shares(&key);
}

#[test]
fn how_often_a_node_that_refuses_is_asked_falls() {
    let (mut world, key) = World::with_vault(6);
    let refusal = Refusal::new(Reason::Overloaded, "not yet");
    world.node(0).manners.refuses_erasures = Some(refusal);
    world.reshared_within(&key, 2, &[3, 4, 5], 2_500);
    world.pass(60_000);

    let before = world.count(0, is_erase);
    world.pass(60_000);

    assert!(world.count(0, is_erase) - before <= 2);
}

#[test]
fn what_a_coordinator_did_not_bring_to_its_end_the_next_one_does() {
    let (mut world, key) = World::with_vault(6);
    world.lose_from(is_erase);
    world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(100);
    assert!(world.node(0).keeps_old(&key));
    world.lose_none();

    let stored = keys_of(&world);
    world.restart_coordinator(stored);
    world.pass(1_000);

    world.assert_nobody_keeps_old_shares(&key);
    world.assert_in_use(&key, 2, &[3, 4, 5]);
}

#[test]
fn nothing_is_erased_while_a_holder_has_not_given_its_word() {
    let (mut world, key) = World::with_vault(6);
    world.lose_from(is_erase);
    world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(100);
    world.lose_none();
    world.disconnect(5);
    let stored = keys_of(&world);

    world.restart_coordinator(stored);
    world.pass(20_000);
    assert!((0..3).all(|index| world.node(index).keeps_old(&key)));
    world.connect(5);
    world.pass(1_000);

    world.assert_nobody_keeps_old_shares(&key);
}

#[test]
fn keys_whose_holders_do_not_give_their_word_do_not_keep_others_waiting() {
    let mut world = World::new(2);
    let both = world.nodes_at(&[0, 1]);
    let stuck: Vec<KeyName> = (0..33)
        .map(|number| {
            let name = format!("aa-{number}");
            world.key_on(&name, Scheme::Ed25519, 2, both.clone())
        })
        .collect();
    let key = world.key_on("zz", Scheme::Ed25519, 2, both);
    world.lose_from(is_erase);
    world.reshare(&key, 2, &[0, 1]);
    world.pass(100);
    world.lose_none();
    let stored = keys_of(&world);
    world.restart_coordinator(stored);
    world.node(0).manners.stuck.extend(stuck.iter().cloned());
    for name in &stuck {
        let known = world.core.keys.get(&world.pinned, name).unwrap();
        let nodes = world.nodes_at(&[0, 1]).into_iter().collect();
        world.core.gather_later(&known, nodes);
    }

    world.pass(40_000);

    world.assert_nobody_keeps_old_shares(&key);
}

#[test]
fn a_holder_whose_answer_is_lost_is_asked_for_its_word_again() {
    let (mut world, key) = World::with_vault(6);
    world.lose_from(is_erase);
    world.reshare(&key, 2, &[3, 4, 5]);
    world.pass(100);
    world.lose_none();
    world.lose_answer(4, is_activate);
    let stored = keys_of(&world);

    world.restart_coordinator(stored);
    world.pass(20_000);

    world.assert_nobody_keeps_old_shares(&key);
}
