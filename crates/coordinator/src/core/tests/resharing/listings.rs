//! What nodes list about epochs, true and false (P30).

use quorate_model::{
    Epoch, KeyName, Signature,
    certificate::{CommitCertificate, KeyEvidence, PossessionProof},
    operation::KeyView,
};

use super::{
    super::super::{Notice, StoreItem},
    World, is_activate,
};

/// A coordinator that knows the first epoch of a key only and hears of no node, what nodes have in
/// use, and what it knows.
struct Late {
    world: World,
    key: KeyName,
    first: KeyView,
    second: KeyEvidence,
    /// How often a key was stored.
    stored: usize,
}

fn stored_keys(world: &World) -> usize {
    let is_key = |item: &&StoreItem| matches!(item, StoreItem::Key(_));
    world.store.iter().filter(is_key).count()
}

fn late() -> Late {
    let (mut world, key) = World::with_vault(4);
    let first = world.core.key(&key).unwrap();
    let stored: Vec<StoreItem> = world.store.clone();
    world.reshared(&key, 2, &[1, 2, 3]);
    let second = world.core.key(&key).unwrap().evidence;
    world.store.clone_from(&stored);
    (0..4).for_each(|index| world.silence(index));
    world.restart_coordinator(stored);
    assert_eq!(world.epoch_of(&key), Epoch(1));
    world.notices.clear();
    Late {
        stored: stored_keys(&world),
        world,
        key,
        first,
        second,
    }
}

impl Late {
    /// A node comes and lists this under the name of the key.
    fn lists(&mut self, evidence: KeyEvidence) {
        let key = self.key.clone();
        self.world.node(1).manners.lists.insert(key, evidence);
        self.world.connect(1);
        self.world.pass(100);
    }

    /// Nothing that the coordinator knows has changed.
    fn assert_unmoved(&mut self) {
        let known = self.world.core.key(&self.key);
        assert_eq!(known, Some(self.first.clone()));
        assert_eq!(stored_keys(&self.world), self.stored);
    }

    fn is_told_of_a_false_key(&self) -> bool {
        let mut notices = self.world.notices.iter();
        notices.any(|notice| matches!(notice, Notice::FalseKey { .. }))
    }
}

#[test]
fn a_genuine_later_epoch_moves_the_coordinator_up_and_its_listing_is_stored() {
    let mut late = late();

    let second = late.second.clone();
    late.lists(second.clone());

    assert_eq!(late.world.core.key(&late.key).unwrap().evidence, second);
    let stored = late.world.store.clone();
    late.world.silence(1);
    late.world.restart_coordinator(stored);
    assert_eq!(late.world.epoch_of(&late.key), Epoch(2));
}

#[test]
fn a_certificate_that_does_not_hold_changes_nothing() {
    let mut late = late();
    let mut forged = CommitCertificate::from_bytes(&late.second.certificate).unwrap();
    forged.signatures[0].signature = Signature([1; 64]);

    late.lists(KeyEvidence {
        certificate: forged.to_bytes().unwrap(),
        ..late.second.clone()
    });

    late.assert_unmoved();
    assert!(late.is_told_of_a_false_key());
}

#[test]
fn a_proof_that_does_not_hold_changes_nothing() {
    let mut late = late();
    let mut forged = PossessionProof::from_bytes(late.second.proof.as_ref().unwrap()).unwrap();
    forged.signature[0] ^= 1;

    late.lists(KeyEvidence {
        proof: Some(forged.to_bytes().unwrap()),
        ..late.second.clone()
    });

    late.assert_unmoved();
    assert!(late.is_told_of_a_false_key());
}

#[test]
fn the_proof_of_another_epoch_changes_nothing() {
    let mut late = late();

    late.lists(KeyEvidence {
        proof: late.first.evidence.proof.clone(),
        ..late.second.clone()
    });

    late.assert_unmoved();
    assert!(late.is_told_of_a_false_key());
}

#[test]
fn a_certificate_without_its_proof_or_without_its_birth_changes_nothing() {
    let partial: [fn(&mut KeyEvidence); 2] = [|e| e.proof = None, |e| e.birth = None];
    for leave_out in partial {
        let mut late = late();
        let mut evidence = late.second.clone();
        leave_out(&mut evidence);

        late.lists(evidence);

        late.assert_unmoved();
    }
}

#[test]
fn a_later_epoch_of_another_name_changes_nothing() {
    let mut late = late();
    let mut elsewhere = World::new(4);
    let holders = elsewhere.nodes_at(&[0, 1, 2]);
    let other = elsewhere.key_on("other", quorate_model::Scheme::Bip340, 2, holders);
    elsewhere.reshared(&other, 2, &[1, 2, 3]);

    late.lists(elsewhere.core.key(&other).unwrap().evidence);

    late.assert_unmoved();
    assert!(late.is_told_of_a_false_key());
}

#[test]
fn a_later_epoch_of_another_key_of_the_name_changes_nothing() {
    let mut late = late();
    let mut elsewhere = World::new(4);
    elsewhere.key("other", quorate_model::Scheme::Bip340, 2);
    let holders = elsewhere.nodes_at(&[0, 1, 2]);
    let same = elsewhere.key_on("vault", quorate_model::Scheme::Bip340, 2, holders);
    elsewhere.reshared(&same, 2, &[1, 2, 3]);
    let evidence = elsewhere.core.key(&same).unwrap().evidence;
    assert_ne!(late.world.created[&late.key], elsewhere.created[&same]);

    late.lists(evidence.clone());
    late.assert_unmoved();

    // Nor does its certificate beside the birth of the first.
    late.lists(KeyEvidence {
        birth: late.second.birth.clone(),
        ..evidence
    });
    late.assert_unmoved();
}

#[test]
fn nobody_goes_back_and_whoever_lists_less_is_told() {
    let (mut world, key) = World::with_vault(4);
    let first = world.core.key(&key).unwrap().evidence;
    world.reshared(&key, 2, &[1, 2, 3]);
    let known = world.core.key(&key);
    world.disconnect(1);
    world.node(1).manners.lists.insert(key.clone(), first);
    let before = world.count(1, is_activate);

    world.connect(1);
    world.pass(100);

    assert_eq!(world.core.key(&key), known);
    assert!(world.count(1, is_activate) > before);
    let stored = world.store.iter().rev().find_map(|item| match item {
        StoreItem::Key(key) => Some(key.clone()),
        _ => None,
    });
    assert_eq!(
        stored.unwrap().certificate,
        known.unwrap().evidence.certificate
    );
}
