//! A coordinator that dies at every step of resharings of an ECDSA key, by real nodes and
//! coordinators.
//!
//! One world is stepped through one resharing after the other, each to the other of two committees.
//! In the k-th of them the coordinator dies before its k-th write reaches its store, until it has
//! fewer; and then, from the first on, before its k-th request reaches a node. Whatever it had asked
//! for and was not done by then is lost with it.

use std::collections::BTreeMap;

use quorate_model::{Scheme, node_api::NodeRequest};
use quorate_node::disk::Survival;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use super::{World, happenings::Happening, plan::Shape, switching::calm_shape};
use crate::Faults;

const SEED: u64 = 12;

/// More deeds than a resharing takes.
const MANY: usize = 500;

/// Whether a coordinator writes to its store or asks a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Write,
    Request,
}

/// What a coordinator does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Write,
    Round,
    BeginPairing,
    AdvancePairing,
    Prove,
    Activate,
    Erase,
    Other,
}

impl Deed {
    /// What belongs to every resharing of an ECDSA key.
    const ALL: [Self; 7] = [
        Self::Write,
        Self::Round,
        Self::BeginPairing,
        Self::AdvancePairing,
        Self::Prove,
        Self::Activate,
        Self::Erase,
    ];

    fn kind(self) -> Kind {
        match self {
            Self::Write => Kind::Write,
            Self::Round
            | Self::BeginPairing
            | Self::AdvancePairing
            | Self::Prove
            | Self::Activate
            | Self::Erase
            | Self::Other => Kind::Request,
        }
    }

    fn of(happening: &Happening) -> Option<Self> {
        let request = match happening {
            Happening::Stored { .. } => return Some(Self::Write),
            Happening::ToNode { request, .. } => request,
            _ => return None,
        };
        Some(match **request {
            NodeRequest::BeginCeremony { .. } | NodeRequest::AdvanceCeremony { .. } => Self::Round,
            NodeRequest::BeginPairing { .. } => Self::BeginPairing,
            NodeRequest::AdvancePairing { .. } => Self::AdvancePairing,
            NodeRequest::ProveKey { .. } => Self::Prove,
            NodeRequest::ActivateKey { .. } => Self::Activate,
            NodeRequest::EraseEpochs { .. } => Self::Erase,
            _ => Self::Other,
        })
    }
}

/// What becomes of the store of a coordinator that dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Kept,
    Lost,
}

/// A key of the first three of four nodes, and one coordinator.
fn calm() -> World {
    let shape = Shape {
        nodes: 4,
        spares: 1,
        coordinators: 1,
        ..calm_shape(Scheme::EcdsaSecp256k1)
    };
    let mut world = World::build(SEED, ChaCha8Rng::seed_from_u64(SEED), Faults::NONE, &shape);
    world.step_until(|world| world.operations[0].done);
    world
}

/// How a coordinator is stopped.
#[derive(Clone, Copy, Debug)]
struct Pass {
    store: Store,
    /// A node forgets the set-up of pairings that it takes part in, once in each resharing, so that
    /// the coordinator has to begin another one.
    forgets: bool,
}

impl World {
    /// The admins move the key to the other committee, and the coordinator dies before one of its
    /// deeds: the answer is that deed, none where there were fewer.
    fn move_key(&mut self, dies_before: (Kind, usize), pass: Pass) -> Option<Deed> {
        let key = self.people.key_name();
        let record = self.desks[0].shows(&key).expect("the key is known").record;
        let epoch = record.epoch;
        let first = usize::from(record.index_of(&self.people.node_id(0)).is_some());
        let operation = self.reshare_to(0, first..first + 3);
        let died = self.die_before(operation, dies_before, pass);

        self.step_until(|world| world.operations[operation].done);
        let moved = &self.operations[operation];
        assert!(moved.is_reshared(), "{died:?}: {:?}", moved.answers);
        assert!(self.epoch_at(0) > epoch);
        let signs = self.sign_at(0, Scheme::EcdsaSecp256k1);
        self.step_until(|world| world.operations[signs].done);
        assert!(self.operations[signs].is_signed(), "{died:?}");
        died
    }

    fn die_before(
        &mut self,
        operation: usize,
        (kind, mut deeds): (Kind, usize),
        pass: Pass,
    ) -> Option<Deed> {
        let mut steps = 0;
        let mut forgets = pass.forgets;
        while !self.operations[operation].done {
            let (_, next) = self.queue.first_key_value().expect("something happens");
            if let Some(deed) = Deed::of(next) {
                deeds -= usize::from(deed.kind() == kind);
                if deeds == 0 {
                    self.stop(pass.store);
                    return Some(deed);
                }
                if let Happening::ToNode { node, .. } = *next
                    && deed == Deed::AdvancePairing
                    && std::mem::take(&mut forgets)
                    && self.machines[node].crash_to(Survival::Everything)
                {
                    self.left(node);
                }
            }
            self.step(&mut steps).expect("no rule is broken");
        }
        None
    }

    /// The coordinator dies, and what it was about to do with it; the client submits the same
    /// command again.
    fn stop(&mut self, store: Store) {
        self.queue.retain(|_, waits| Deed::of(waits).is_none());
        if store == Store::Lost {
            self.desks[0].lose_store();
        }
        self.happen(Happening::CrashDesk { desk: 0 });
    }
}

/// What the coordinator was stopped before, and how often; it stopped before everything that it does.
fn check_every_step(pass: Pass) -> BTreeMap<Deed, usize> {
    let mut world = calm();
    let mut met: BTreeMap<Deed, usize> = BTreeMap::new();

    for kind in [Kind::Write, Kind::Request] {
        let last = (1..MANY).find(|number| {
            let died = world.move_key((kind, *number), pass);
            if let Some(deed) = died {
                *met.entry(deed).or_default() += 1;
            }
            died.is_none()
        });
        assert!(last.is_some(), "there is always one more: {met:?}");
    }

    world.check_end(0).expect("no rule is broken");
    for deed in Deed::ALL {
        assert!(met.contains_key(&deed), "never before {deed:?}: {met:?}");
    }
    met
}

#[test]
fn a_coordinator_with_its_store_ends_a_resharing_whatever_it_stopped_before() {
    check_every_step(Pass {
        store: Store::Kept,
        forgets: false,
    });
}

#[test]
fn a_coordinator_without_its_store_ends_a_resharing_whatever_it_stopped_before() {
    check_every_step(Pass {
        store: Store::Lost,
        forgets: false,
    });
}

#[test]
fn a_coordinator_that_sets_pairings_up_again_ends_a_resharing_whatever_it_stopped_before() {
    let met = check_every_step(Pass {
        store: Store::Kept,
        forgets: true,
    });

    // One for each holder is of the set-up that a node forgets.
    assert!(met[&Deed::BeginPairing] > 3, "{met:?}");
}
