//! The numbers of epochs that nodes leave out, and how far a node is believed that says so (P30).

use quorate_model::{Epoch, KeyName};

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
