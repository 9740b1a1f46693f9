//! What the coordinator knows of keys, and how it knows it again.

use std::sync::Arc;

use quorate_model::{Epoch, KeyState, Scheme, certificate::KeyEvidence, operation::CommandState};

use super::{
    super::{Notice, StoreItem, keys::Certified},
    world::World,
};

fn keys_of(world: &World) -> Vec<StoreItem> {
    world
        .store
        .iter()
        .filter(|item| matches!(item, StoreItem::Key(_)))
        .cloned()
        .collect()
}

#[test]
fn a_coordinator_that_lost_everything_learns_its_keys_from_the_nodes() {
    let mut world = World::new(3);
    for name in ["one-key", "two-key", "vault"] {
        world.key(name, Scheme::Bip340, 2);
    }
    let mut before = world.core.keys(None, 10);
    // What it saw itself of their use is gone, and these nodes say nothing of it.
    for key in &mut before {
        assert!(key.activated.take().is_some());
    }
    world.store.clear();

    world.restart_coordinator(vec![]);
    world.pass(300);

    assert_eq!(world.core.keys(None, 10), before);
    assert_eq!(keys_of(&world).len(), 3, "what was learned is stored again");
    assert!(world.notices.contains(&Notice::KeyLearned {
        key: "vault".parse().unwrap()
    }));
    let signed = world.signature("vault", &["a"]);
    let handle = world.submit(&signed);
    world.run();
    world.pass(50);
    world.signed(handle, &["a"]);
}

#[test]
fn stored_keys_are_there_before_any_node_is() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    let stored = keys_of(&world);
    (0..3).for_each(|index| world.silence(index));

    world.restart_coordinator(stored);

    let key = world.core.key(&"vault".parse().unwrap()).unwrap();
    assert_eq!(key.state, KeyState::Active);
}

#[test]
fn a_stored_key_that_does_not_verify_is_not_believed() {
    let mut world = World::new(3);
    world.key("vault", Scheme::Bip340, 2);
    let mut stored = keys_of(&world);
    for item in &mut stored {
        let StoreItem::Key(key) = item else { continue };
        let last = key.certificate.len() - 1;
        key.certificate[last] ^= 1;
    }
    (0..3).for_each(|index| world.silence(index));

    world.restart_coordinator(stored);

    assert!(world.core.key(&"vault".parse().unwrap()).is_none());
}

#[test]
fn a_false_certificate_is_told_and_does_not_hide_the_true_one() {
    let mut world = World::new(3);
    let key = world.key("vault", Scheme::Bip340, 2);
    world.node(0).damage_certificate(&key);

    world.restart_coordinator(vec![]);
    world.pass(300);

    assert!(world.notices.contains(&Notice::FalseKey {
        node: world.id(0),
        key: key.clone()
    }));
    assert_eq!(world.core.key(&key).unwrap().state, KeyState::Active);
}

#[test]
fn keys_are_listed_in_pages() {
    let mut world = World::new(2);
    for name in ["aa", "bb", "cc"] {
        world.key(name, Scheme::Ed25519, 2);
    }

    let first = world.core.keys(None, 2);
    let second = world.core.keys(Some(&first[1].record.name), 2);

    let names: Vec<String> = first
        .iter()
        .chain(&second)
        .map(|key| key.record.name.to_string())
        .collect();
    assert_eq!(names, ["aa", "bb", "cc"]);
    assert_eq!(world.core.key_count(), 3);
}

#[test]
fn a_creation_whose_outcome_was_lost_is_found_done() {
    let mut world = World::new(3);
    let signed = world.creation("vault", Scheme::Bip340, 2);
    world.submit(&signed);
    world.run();
    world.pass(50);
    world.store.clear();
    world.restart_coordinator(vec![]);
    world.pass(300);

    let again = world.submit(&signed);
    world.run();
    world.pass(50);

    assert_eq!(world.view(again).state, CommandState::Succeeded);
}

#[test]
fn a_key_that_another_coordinator_created_is_found_when_it_is_used() {
    let mut world = World::new(3);
    let mut other = World::new(3);
    other.key("vault", Scheme::Bip340, 2);
    // The nodes hold a key that this coordinator has never seen listed.
    std::mem::swap(&mut world.nodes, &mut other.nodes);
    world.created = other.created;
    world.pass(50);
    assert!(world.core.keys(None, 10).is_empty());
    let signed = world.signature("vault", &["a"]);

    let handle = world.submit(&signed);
    world.run();
    world.pass(300);

    world.signed(handle, &["a"]);
}

#[test]
fn a_node_that_lists_one_key_under_the_name_of_another_changes_neither() {
    let mut world = World::new(3);
    let vault = world.key("vault", Scheme::Bip340, 2);
    let before = (world.core.key(&vault), keys_of(&world));
    let hot = "hot".parse().unwrap();
    world.node(0).alias(&hot, &vault);

    let signed = world.creation("hot", Scheme::Bip340, 2);
    let handle = world.submit(&signed);
    world.run();
    world.pass(60_000);

    assert_eq!((world.core.key(&vault), keys_of(&world)), before);
    assert!(world.core.key(&hot).is_none());
    assert_eq!(world.view(handle).state, CommandState::Failed);
}

#[test]
fn the_first_proven_key_of_a_name_is_the_one_that_is_served() {
    let mut world = World::new(3);
    let mut other = World::new(3);
    let name = world.key("vault", Scheme::Bip340, 2);
    other.key("another", Scheme::Bip340, 2);
    other.key("vault", Scheme::Bip340, 2);
    let (first, second) = (
        world.core.key(&name).unwrap(),
        other.core.key(&name).unwrap(),
    );
    assert_ne!(first.record.id(), second.record.id());
    let pinned = world.core.pinned.clone();
    let unproven = |evidence: &KeyEvidence| KeyEvidence {
        proof: None,
        ..evidence.clone()
    };

    for evidence in [unproven(&second.evidence), second.evidence.clone()] {
        let key = Certified::verify(&pinned, &evidence).unwrap();
        assert!(!world.core.keys.put(&pinned, Arc::new(key)));
    }
    let unproven = Certified::verify(&pinned, &unproven(&first.evidence)).unwrap();
    assert!(!world.core.keys.put(&pinned, Arc::new(unproven)));

    assert_eq!(world.core.key(&name), Some(first));
}

/// A node that was restored leaves numbers out, until there is an epoch above them.
#[test]
fn the_numbers_that_nodes_leave_out_are_shown() {
    let mut world = World::new(3);
    let key = world.key("vault", Scheme::Bip340, 2);
    let next = |world: &mut World| world.core.key(&key).unwrap().next_epoch;
    assert_eq!(next(&mut world), None);
    // A liar hides nothing of what the others say.
    world.node(2).manners.left_out = 1 << 30;
    world.disconnect(2);
    world.connect(2);
    world.pass(300);
    assert_eq!(next(&mut world), None);

    for left_out in [1_000, 0] {
        world.node(1).manners.left_out = left_out;
        world.disconnect(1);
        world.connect(1);
        world.pass(300);

        assert_eq!(next(&mut world), (left_out > 0).then_some(Epoch(1_002)));
    }
}
