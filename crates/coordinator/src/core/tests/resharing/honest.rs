//! Runs in which everybody does what it should.

use quorate_model::{Epoch, KeyState, Scheme, operation::CommandState};

use super::{super::super::StoreItem, World, is_begin, is_erase};

#[test]
fn a_key_moves_to_another_committee_and_stays_the_same_key() {
    let (mut world, key) = World::with_vault(5);
    let before = world.core.key(&key).unwrap();

    let outcome = world.reshared(&key, 3, &[2, 3, 4]);

    assert_eq!(outcome.epoch, Epoch(2));
    let erased: Vec<_> = outcome.erased.iter().map(|receipt| &receipt.node).collect();
    assert_eq!(erased.len(), 3, "{erased:?}");
    assert!(outcome.missing.is_empty());
    let after = world.core.key(&key).unwrap();
    assert_eq!(after.record.id(), before.record.id());
    assert_eq!(after.record.group_key, before.record.group_key);
    assert_eq!(after.record.chain_code, before.record.chain_code);
    assert_eq!((after.record.threshold, after.state), (3, KeyState::Active));
    world.assert_nobody_keeps_old_shares(&key);
    world.assert_in_use(&key, 2, &[2, 3, 4]);
    world.assert_no_ticket_is_used_twice();
}

#[test]
fn every_receipt_of_an_erasure_is_told_with_the_signature_of_its_node() {
    let (mut world, key) = World::with_vault(5);

    let outcome = world.reshared(&key, 2, &[0, 3]);

    let record = world.core.key(&key).unwrap().record;
    for receipt in &outcome.erased {
        let card = world.pinned.roster().node(&receipt.node).unwrap();
        let key = card.identity_key.parse().unwrap();
        quorate_model::identity::verify_with(&key, &receipt.digest(), &receipt.signature).unwrap();
        assert_eq!(receipt.certificate, record.certificate);
    }
}

#[test]
fn a_refresh_gives_the_same_nodes_other_shares() {
    for scheme in [Scheme::Bip340, Scheme::Ed25519] {
        let mut world = World::new(3);
        let key = world.key("vault", scheme, 2);

        let outcome = world.reshared(&key, 2, &[0, 1, 2]);

        assert_eq!(outcome.epoch, Epoch(2));
        assert_eq!(outcome.erased.len(), 3);
        world.assert_nobody_keeps_old_shares(&key);
        world.assert_in_use(&key, 2, &[0, 1, 2]);
    }
}

#[test]
fn a_key_is_reshared_again_and_again() {
    let (mut world, key) = World::with_vault(5);

    world.reshared(&key, 2, &[2, 3, 4]);
    world.reshared(&key, 2, &[0, 1, 2, 3]);
    world.reshared(&key, 3, &[0, 1, 2, 3, 4]);

    world.assert_nobody_keeps_old_shares(&key);
    world.assert_in_use(&key, 4, &[0, 1, 2, 3, 4]);
}

#[test]
fn those_who_also_receive_deal_first() {
    let (mut world, key) = World::with_vault(5);

    world.reshared(&key, 2, &[1, 2, 4]);

    assert_eq!(world.dealers(), [world.nodes_at(&[1, 2])]);
    assert_eq!(world.count(0, is_begin), 1, "its birth only");
    assert_eq!(world.count(0, is_erase), 1);
}

#[test]
fn the_new_epoch_is_stored_and_served_after_a_restart_without_any_node() {
    let (mut world, key) = World::with_vault(4);
    world.reshared(&key, 2, &[1, 2, 3]);
    let stored: Vec<StoreItem> = world.store.clone();
    (0..4).for_each(|index| world.silence(index));

    world.restart_coordinator(stored);

    assert_eq!(world.epoch_of(&key), Epoch(2));
}

#[test]
fn progress_names_every_step_and_only_rises() {
    let (mut world, key) = World::with_vault(4);
    world.progress.clear();

    world.reshared(&key, 2, &[1, 2, 3]);

    let told = world.progress.iter();
    let mut steps: Vec<(u8, String)> = told
        .filter_map(|view| view.progress.clone())
        .map(|progress| (progress.percent, progress.step))
        .collect();
    assert!(steps.is_sorted_by_key(|(percent, _)| *percent), "{steps:?}");
    steps.dedup();
    let names: Vec<&str> = steps.iter().map(|(_, step)| step.as_str()).collect();
    assert!(
        names.starts_with(&["hello", "commit", "commit echo"]),
        "{names:?}"
    );
    assert!(
        names.ends_with(&["prove", "activate", "erase old shares"]),
        "{names:?}"
    );
    let last = world.progress.last().unwrap();
    assert_eq!(last.state, CommandState::Succeeded);
}

#[test]
fn the_same_command_handed_in_again_tells_the_same_outcome() {
    let (mut world, key) = World::with_vault(4);
    let command = world.reshare_command(&key, 2, &[1, 2, 3]);
    let first = world.hand_in(&command);
    world.pass(100);

    let second = world.hand_in(&command);

    assert_eq!(world.reshare_outcome(second), world.reshare_outcome(first));
    assert_eq!(world.epoch_of(&key), Epoch(2));
}
