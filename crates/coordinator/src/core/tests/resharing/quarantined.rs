//! Ceremonies that need a node which was restored and waits for the word of the others (P35).

use quorate_model::{
    Reason, Refusal, Scheme,
    backup::{BackupId, RestoreId},
    bytes::Nonce32,
    operation::CommandState,
    quarantine::Quarantine,
};

use super::{super::super::Handle, World, is_begin, is_prove};

impl World {
    /// A node comes back from a backup.
    fn restored(&mut self, index: usize) {
        self.node(index).manners.quarantine = Some(Quarantine {
            backup: BackupId([1; 16]),
            restore: RestoreId([2; 16]),
            nonce: Nonce32([3; 32]),
        });
    }

    /// A world of six in which the last one is down, so that nobody is readmitted, and these are in
    /// quarantine and say so.
    fn with_restored(indices: &[usize]) -> (Self, quorate_model::KeyName) {
        let (mut world, key) = Self::with_vault(6);
        world.disconnect(5);
        for index in indices {
            world.restored(*index);
        }
        world.pass(1_500);
        world.requests.clear();
        (world, key)
    }

    /// Why a ceremony ended that no node was asked to begin.
    fn quarantined(&self, handle: Handle) -> Refusal {
        let refusal = self.failure(handle, CommandState::Failed, Reason::NodeQuarantined);
        let mut requests = self.requests.iter();
        assert!(!requests.any(|(_, request)| is_begin(request)));
        refusal
    }
}

#[test]
fn validation_asks_those_who_deal_and_every_node_that_is_to_receive() {
    let (mut world, key) = World::with_vault(5);
    let command = world.reshare_command(&key, 2, &[0, 1, 3]);
    let validated = |world: &mut World| {
        let handle = world.validate(&command);
        world.run();
        world.view(handle).clone()
    };

    assert_eq!(validated(&mut world).state, CommandState::Succeeded);
    world.disconnect(3);
    let without = validated(&mut world);
    assert_eq!(without.state, CommandState::Failed);
    let refusal = without.error.as_ref().unwrap();
    assert_eq!(refusal.reason, Reason::QuorumUnavailable);
    assert_eq!(refusal.get("missing"), Some("node-d"));
    world.connect(3);
    world.pass(2_000);
    world.node(3).manners.refuses_validation = Some(Refusal::new(Reason::KeyExists, "another"));
    let refused = validated(&mut world);
    assert_eq!(refused.state, CommandState::Denied);
    assert_eq!(refused.error.as_ref().unwrap().reason, Reason::KeyExists);
}

#[test]
fn a_resharing_to_a_node_in_quarantine_is_refused_at_once_and_works_after_its_return() {
    let (mut world, key) = World::with_restored(&[3]);
    let command = world.reshare_command(&key, 2, &[0, 1, 3]);

    let early = world.hand_in(&command);

    let refusal = world.quarantined(early);
    assert_eq!(refusal.get("node"), Some("node-d"));
    assert!(refusal.message.contains("node-d"), "{refusal}");
    world.connect(5);
    world.pass(5_000);
    let handle = world.hand_in(&command);
    world.pass(100);
    world.reshare_outcome(handle);
    world.assert_in_use(&key, 2, &[0, 1, 3]);
}

#[test]
fn a_creation_on_a_node_in_quarantine_is_refused_at_once_and_works_after_its_return() {
    let (mut world, _) = World::with_restored(&[3]);
    let nodes = world.nodes_at(&[0, 3, 4]);
    let command = world.creation_on("another", Scheme::Bip340, 2, nodes);

    let early = world.hand_in(&command);

    assert_eq!(world.quarantined(early).get("node"), Some("node-d"));
    world.connect(5);
    world.pass(5_000);
    let handle = world.hand_in(&command);
    world.pass(100);
    assert_eq!(world.view(handle).state, CommandState::Succeeded);
}

#[test]
fn holders_in_quarantine_do_not_deal_while_others_can() {
    let (mut world, key) = World::with_restored(&[1]);

    let outcome = world.reshared_within(&key, 2, &[0, 2, 3], 3_000);

    assert_eq!(outcome.missing, [world.id(1)]);
    assert_eq!(world.dealers(), [world.nodes_at(&[0, 2])]);
}

#[test]
fn a_resharing_is_refused_where_too_few_holders_are_left_to_deal_beside_those_in_quarantine() {
    let (mut world, key) = World::with_restored(&[1, 2]);

    let handle = world.reshare(&key, 2, &[0, 3, 4]);

    assert_eq!(
        world.quarantined(handle).get("node"),
        Some("node-b, node-c")
    );
}

#[test]
fn a_resharing_waits_for_holders_that_are_away_and_for_none_in_quarantine() {
    let (mut world, key) = World::with_restored(&[1]);
    world.disconnect(2);
    let handle = world.reshare(&key, 2, &[0, 3, 4]);
    world.pass(100);
    assert!(!world.answers.contains_key(&handle));

    world.connect(2);
    world.pass(3_000);

    world.reshare_outcome(handle);
    assert_eq!(world.dealers(), [world.nodes_at(&[0, 2])]);
}

#[test]
fn a_node_that_is_in_quarantine_since_a_moment_ends_the_run_soon() {
    let (mut world, key) = World::with_restored(&[]);
    world.restored(3);

    let handle = world.reshare(&key, 2, &[0, 1, 3]);
    world.pass(1_000);

    let refusal = world.failure(handle, CommandState::Failed, Reason::NodeQuarantined);
    assert_eq!(refusal.get("node"), Some("node-d"));
}

#[test]
fn a_certified_creation_is_refused_at_once_while_one_that_must_prove_it_is_in_quarantine() {
    let (mut world, _) = World::with_restored(&[]);
    let nodes = world.nodes_at(&[0, 3, 4]);
    let command = world.creation_on("another", Scheme::Bip340, 2, nodes);
    world.lose_from(is_prove);
    world.hand_in(&command);
    world.lose_none();
    world.restored(3);
    let stored = world.store.clone();
    world.restart_coordinator(stored);
    world.pass(1_500);

    let early = world.hand_in(&command);
    world.pass(20);

    let refusal = world.failure(early, CommandState::Failed, Reason::NodeQuarantined);
    assert_eq!(refusal.get("node"), Some("node-d"));
    world.connect(5);
    world.pass(5_000);
    let handle = world.hand_in(&command);
    assert_eq!(world.view(handle).state, CommandState::Succeeded);
}
