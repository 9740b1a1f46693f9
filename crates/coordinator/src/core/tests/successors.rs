//! Keys in the place of others: which one is told, and which cannot be made.

use quorate_model::{
    KeyId, KeyName, KeyPurpose, Purposes, Reason, Scheme,
    command::{CommandBody, CreateKey, EndorsementKind, SignedCommand},
    life::{KeyLife, Predecessor, Successor},
    node_api::NodeRequest,
    operation::CommandState,
    standing::StateChange,
};

use super::world::World;

impl World {
    /// A command that makes a key in the place of another, with one change.
    fn replacing(
        &mut self,
        name: &str,
        (key, key_id): (&str, KeyId),
        change: impl FnOnce(&mut CreateKey),
    ) -> SignedCommand {
        let mut create = CreateKey {
            key: name.parse().unwrap(),
            scheme: Scheme::Bip340,
            threshold: 2,
            nodes: self.ids(),
            purposes: Purposes::new(vec![KeyPurpose::Messages]).unwrap(),
            accept_fragile: true,
            life: KeyLife {
                replaces: Some(Predecessor {
                    key: key.parse().unwrap(),
                    key_id,
                }),
                ..KeyLife::default()
            },
        };
        change(&mut create);
        self.command(CommandBody::CreateKey(create)).1
    }

    fn replaced(&mut self, name: &str, before: &KeyName) -> KeyName {
        let id = self.created[before];
        let signed = self.replacing(name, (before.as_str(), id), |_| ());
        let handle = self.submit(&signed);
        self.run();
        self.pass(50);
        assert_eq!(self.view(handle).state, CommandState::Succeeded);
        name.parse().unwrap()
    }

    fn successor(&mut self, name: &KeyName) -> Option<Successor> {
        self.core.key(name).unwrap().replaced_by
    }

    fn is_replaced_by(&mut self, name: &KeyName, next: &KeyName) -> bool {
        let expected = Successor {
            key: next.clone(),
            key_id: self.created[next],
        };
        self.successor(name) == Some(expected)
    }
}

#[test]
fn a_key_names_the_first_active_one_that_takes_its_place() {
    let mut world = World::new(3);
    let old = world.key("hot", Scheme::Bip340, 2);
    world.key("other", Scheme::Bip340, 2);
    assert_eq!(world.successor(&old), None);

    let first = world.replaced("hot-3", &old);
    world.pass(50);
    let second = world.replaced("hot-2", &old);

    assert!(world.is_replaced_by(&old, &first));
    assert_eq!(world.successor(&first), None);
    let listed = world.core.keys(None, 10);
    assert_eq!(listed[0].replaced_by, world.successor(&old));
    let mut retired = world.state_change(&first, 1, StateChange::Deactivate);
    let second_person = world.word_of_bob(&retired, EndorsementKind::Approve);
    retired.endorsements.push(second_person);
    world.submit(&retired);
    world.run();
    world.pass(50);
    assert!(world.is_replaced_by(&old, &second));
}

#[test]
fn a_successor_is_known_from_the_store_and_from_nodes() {
    let mut world = World::new(3);
    let old = world.key("hot", Scheme::Bip340, 2);
    let next = world.replaced("hot-2", &old);

    world.restart_coordinator(vec![]);
    world.pass(300);
    assert!(world.is_replaced_by(&old, &next));

    (0..3).for_each(|index| world.silence(index));
    let stored = world.store.clone();
    world.restart_coordinator(stored);
    assert!(world.is_replaced_by(&old, &next));
}

#[test]
fn a_key_that_could_not_take_the_place_is_refused_alike_whether_it_is_asked_for_or_asked_about() {
    let mut world = World::new(3);
    let old = world.key("hot", Scheme::Bip340, 2);
    let id = world.created[&old];
    let unproven = world.creation("young", Scheme::Bip340, 2);
    world.submit(&unproven);
    world.silence_at(0, |request| matches!(request, NodeRequest::ProveKey { .. }));
    world.run();
    world.pass(100);
    let young = world.created[&"young".parse::<KeyName>().unwrap()];
    let begun = |world: &World| {
        let begins = |request: &NodeRequest| matches!(request, NodeRequest::BeginCeremony { .. });
        world.count(1, begins)
    };
    let before = begun(&world);
    let mut check = |before: (&str, KeyId), change: fn(&mut CreateKey), expected: Reason| {
        let signed = world.replacing("next", before, change);
        let asked_about = world.validate(&signed);
        let asked_for = world.submit(&signed);
        world.run();
        for handle in [asked_about, asked_for] {
            let view = world.view(handle);
            assert_ne!(view.state, CommandState::Succeeded);
            assert_eq!(view.error.as_ref().unwrap().reason, expected);
        }
    };

    check(("cold", id), |_| (), Reason::KeyUnknown);
    check(("hot", KeyId([9; 32])), |_| (), Reason::KeyIdMismatch);
    check(("young", young), |_| (), Reason::KeyNotActive);
    check(
        ("hot", id),
        |create| create.scheme = Scheme::Ed25519,
        Reason::SchemeMismatch,
    );
    check(
        ("hot", id),
        |create| create.purposes = Purposes::new(KeyPurpose::ALL.to_vec()).unwrap(),
        Reason::PurposeMismatch,
    );
    assert_eq!(begun(&world), before);
    let asked = |request: &NodeRequest| matches!(request, NodeRequest::Validate { .. });
    assert_eq!(world.count(1, asked), 0);
}
