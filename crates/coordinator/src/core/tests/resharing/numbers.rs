//! The numbers of epochs that nodes leave out, and how far a node is believed that says so (P30).

use quorate_model::{
    Epoch, KeyName, Reason,
    command::{CommandBody, EndorsementKind},
    operation::CommandState,
};

use super::{super::membership::remove, World};

impl World {
    /// A node connects again and lists these names beside its own.
    fn claims(&mut self, index: usize, claims: impl IntoIterator<Item = (KeyName, Epoch)>) {
        self.node(index).manners.claims = claims.into_iter().collect();
        self.disconnect(index);
        self.connect(index);
        self.pass(100);
    }
}

fn names(start: &str, count: usize) -> impl Iterator<Item = (KeyName, Epoch)> {
    (0..count).map(move |at| (format!("{start}-{at}").parse().unwrap(), Epoch(77)))
}

#[test]
fn a_node_that_makes_up_names_fills_no_memory() {
    let (mut world, key) = World::with_vault(4);
    let vault = (key.clone(), Epoch(1_002));

    for start in ["made", "more", "else"] {
        world.claims(3, names(start, 700).chain([vault.clone()]));
    }

    // Names of keys that are known keep their place.
    assert_eq!(world.core.left_out.len(), 1_024 + 1);
    assert_eq!(world.core.key(&key).unwrap().next_epoch, Some(Epoch(1_002)));
}

#[test]
fn what_a_node_said_is_forgotten_when_it_is_removed() {
    let (mut world, key) = World::with_vault(4);
    let vault = (key.clone(), Epoch(1_002));
    world.claims(3, names("made", 10).chain([vault]));
    assert_eq!(world.core.left_out.len(), 11);

    let node = world.id(3);
    world.change_roster(remove(node));

    assert_eq!(world.core.left_out.len(), 0);
    assert_eq!(world.core.key(&key).unwrap().next_epoch, None);
}

/// Of five nodes the first three hold the key, and two of them sign.
#[test]
fn a_number_that_is_far_off_is_believed_of_as_many_holders_as_sign() {
    let far = 900_000;
    let check = |claims: &[(usize, u32)], expected: Option<u32>| {
        let (mut world, key) = World::with_vault(5);
        for (index, next) in claims {
            world.claims(*index, [(key.clone(), Epoch(*next))]);
        }

        let next = world.core.key(&key).unwrap().next_epoch;
        assert_eq!(next, expected.map(Epoch), "{claims:?}");
    };

    check(&[(0, 1_002)], Some(1_002));
    check(&[(4, 1_002)], Some(1_002));
    check(&[(0, far)], None);
    check(&[(3, far), (4, far)], None);
    check(&[(0, far), (4, far)], None);
    check(&[(0, far), (2, far)], Some(far));
    check(&[(0, far), (1, far - 100_000)], Some(far - 100_000));
    check(&[(0, far), (1, far), (4, far + 1_000)], Some(far + 1_000));
    check(&[(0, far), (1, far), (4, far + 100_000)], Some(far));
    check(&[(0, 1 << 30), (1, 1 << 30)], None);
}

#[test]
fn a_member_that_left_numbers_out_unheard_is_asked_for_the_next_one_in_the_same_run() {
    let (mut world, key) = World::with_vault(4);
    world.node(3).manners.left_out = 500;

    let outcome = world.reshared_within(&key, 2, &[0, 1, 3], 500);

    assert_eq!(outcome.epoch, Epoch(501));
    world.assert_in_use(&key, 501, &[0, 1, 3]);
}

#[test]
fn a_member_that_leaves_out_more_than_is_believed_ends_the_run_with_the_number_for_the_next() {
    let (mut world, key) = World::with_vault(4);
    world.node(3).manners.left_out = 900_000;
    world.disconnect(3);
    world.connect(3);
    world.pass(100);
    assert_eq!(world.core.key(&key).unwrap().next_epoch, None);

    let handle = world.reshare(&key, 2, &[0, 1, 3]);
    world.pass(500);

    let refusal = world.failure(handle, CommandState::Denied, Reason::EpochTaken);
    let next = refusal.get("next_epoch").unwrap().parse().unwrap();
    let proposal = world.proposal(&key, 2, &[0, 1, 3]);
    let command = quorate_proto::command::decode(&proposal.bytes).unwrap();
    let CommandBody::ReshareKey(mut reshare) = command.body else {
        panic!("no resharing")
    };
    reshare.first_epoch = Epoch(next);
    let mut signed = world.command(CommandBody::ReshareKey(reshare)).1;
    let said = world.word_of_bob(&signed, EndorsementKind::Approve);
    signed.endorsements.push(said);
    let handle = world.hand_in(&signed);
    world.pass(500);
    assert_eq!(world.reshare_outcome(handle).epoch, Epoch(next));
}
