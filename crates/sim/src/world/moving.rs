//! Nodes that are added, drained and removed while keys are used and reshared.

use quorate_model::{
    KeyName, NodeId,
    node_api::NodeRequest,
    operation::KeyView,
    roster::{Followed, NodeCard, Roster},
};
use rand_chacha::ChaCha8Rng;
use rand_core::RngCore as _;

use super::{World, happenings::Happening};
use crate::{
    faults::{below, pick},
    machine::{Answer, Machine},
};

/// How often the admins look how far they are, in microseconds.
const LOOK_US: u64 = 600_000;

/// What is done about the roster in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moving {
    /// A node is added.
    adds: bool,
    /// This node is drained, emptied and removed.
    removes: Option<usize>,
    /// How often somebody brings a node a roster that too few admins carry.
    whispers: u64,
}

impl Moving {
    pub(super) fn draw(rng: &mut ChaCha8Rng, nodes: usize, keeps: Option<usize>) -> Self {
        let adds = nodes < 4 || !rng.next_u32().is_multiple_of(3);
        let node = pick(rng, nodes);
        let removes = !adds || !rng.next_u32().is_multiple_of(3);
        Self {
            adds,
            removes: (removes && keeps != Some(node)).then_some(node),
            whispers: below(rng, 4),
        }
    }

    /// How many nodes are to come.
    pub(super) fn newcomers(self) -> usize {
        usize::from(self.adds)
    }
}

/// How far the admins are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    moving: Moving,
    step: MoveStep,
    /// The operation that they wait for.
    waits_for: Option<usize>,
}

/// What the admins do next about the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MoveStep {
    Add,
    Drain,
    Empty,
    Remove,
    Done,
}

impl World {
    pub(super) fn plan_moving(&mut self, moving: Moving) {
        self.moves = Some(Move {
            moving,
            step: MoveStep::Add,
            waits_for: None,
        });
        let when = 300_000 + below(&mut self.rng, 4_000_000);
        self.at(when, Happening::Move);
        for _ in 0..moving.whispers {
            let when = 300_000 + below(&mut self.rng, 8_000_000);
            self.at(when, Happening::WhisperRoster);
        }
    }

    /// Whether the admins have done what they want, and every node acts by the roster in force.
    pub(super) fn is_moved(&self) -> bool {
        let done = |moves: &Move| moves.step == MoveStep::Done && moves.waits_for.is_none();
        let newest = self.people.pinned.hash();
        self.moves.as_ref().is_none_or(done)
            && self
                .members()
                .iter()
                .all(|at| self.invariants.roster_of(*at) == Some(newest))
    }

    /// Says how far the admins are, where they are not done.
    pub(super) fn unmoved(&self) -> String {
        match &self.moves {
            Some(moves) if !self.is_moved() => {
                let last = moves
                    .waits_for
                    .and_then(|at| self.operations[at].answers.last());
                format!("; {moves:?} is not over, the admins were last answered {last:?}")
            }
            _ => String::new(),
        }
    }

    /// How many changes of the roster were made.
    pub(super) fn rosters(&self) -> usize {
        self.people.pinned.len() - 1
    }

    /// Whether a node is in the newest roster.
    pub(super) fn is_member(&self, node: &NodeId) -> bool {
        self.people.pinned.roster().node(node).is_some()
    }

    /// The machines of the nodes in the newest roster that are there.
    pub(super) fn members(&self) -> Vec<usize> {
        let mut members = self.standing();
        members.retain(|at| self.is_member(self.machines[*at].id()));
        members
    }

    /// Whether a machine is of a node that came later.
    pub(super) fn is_new(&self, machine: usize) -> bool {
        let first = self.people.first.roster();
        first.node(self.machines[machine].id()).is_none()
    }

    /// The admins go on: one thing after the other, until all is done.
    pub(super) fn move_on(&mut self) {
        let Some(mut moves) = self.moves else {
            return;
        };
        // Nobody drains a node on which keys are being made.
        let mut creations = self.operations.iter().filter(|o| o.is_creation());
        let creates = moves.step != MoveStep::Add && !creations.all(|creation| creation.done);
        let waits = creates
            || moves.waits_for.is_some_and(|at| {
                let operation = &self.operations[at];
                !operation.done && !self.is_stuck(operation)
            });
        if !waits {
            moves.waits_for = None;
            let leaving = moves.moving.removes.map(|node| self.people.node_id(node));
            match (moves.step, leaving) {
                (MoveStep::Add, _) if moves.moving.adds => {
                    let made = self.change_roster(|roster, newcomer| {
                        roster.nodes.extend(newcomer);
                    });
                    moves.waits_for = Some(made);
                    self.join();
                    moves.step = MoveStep::Drain;
                }
                (MoveStep::Add, _) => moves.step = MoveStep::Drain,
                (MoveStep::Drain, Some(node)) => {
                    let made = self.change_roster(|roster, _| {
                        roster.drained.insert(node);
                    });
                    moves.waits_for = Some(made);
                    moves.step = MoveStep::Empty;
                }
                (MoveStep::Empty, Some(node)) => match self.empty(&node) {
                    Emptied::Asked(operation) => moves.waits_for = Some(operation),
                    Emptied::NotYet => {}
                    Emptied::Done => moves.step = MoveStep::Remove,
                },
                (MoveStep::Remove, Some(node)) => {
                    let made = self.change_roster(|roster, _| {
                        roster.nodes.retain(|card| card.id != node);
                        roster.drained.remove(&node);
                    });
                    moves.waits_for = Some(made);
                    moves.step = MoveStep::Done;
                }
                (MoveStep::Drain | MoveStep::Empty | MoveStep::Remove, None)
                | (MoveStep::Done, _) => moves.step = MoveStep::Done,
            }
        }
        self.moves = Some(moves);
        if !self.is_moved() {
            self.after(LOOK_US, Happening::Move);
        }
    }

    /// The admins make the next roster and submit it.
    fn change_roster(&mut self, change: impl FnOnce(&mut Roster, Vec<NodeCard>)) -> usize {
        let (id, created) = (self.id(), self.now().wall);
        let newcomers = self.people.newcomers.clone();
        let make = |roster: &mut Roster| change(roster, newcomers);
        let operation = self.people.quorum().change_roster(id, created, make);
        let followed = quorate_proto::roster::follow(&self.people.pinned, &operation.signed);
        match followed {
            Ok(Followed::InForce(chain)) => self.people.pinned = chain,
            Ok(Followed::Aside(_) | Followed::Known) | Err(_) => {
                unreachable!("the rosters of a run follow each other: {followed:?}")
            }
        }
        self.ask(operation)
    }

    /// A machine for the node that was added.
    fn join(&mut self) {
        let node = self.people.first.roster().nodes.len();
        let place = self.machines.len();
        let created = self.now().wall;
        let machine = Machine::new(&self.people, (node, place), self.seed, None, created);
        self.machines.push(machine);
        let when = below(&mut self.rng, 1_000_000);
        self.after(when, Happening::StartNode { node: place });
    }

    /// Has keys reshared that a node still holds; not one whose time is over.
    fn empty(&mut self, node: &NodeId) -> Emptied {
        let names = [self.people.key_name(), self.people.old_name()];
        let has_old = self.operations.iter().any(|o| o.key == names[1]);
        let count = if has_old { 2 } else { 1 };
        for name in names.into_iter().take(count) {
            match self.empty_of(node, &name) {
                Emptied::Done => {}
                other => return other,
            }
        }
        Emptied::Done
    }

    fn empty_of(&mut self, node: &NodeId, name: &KeyName) -> Emptied {
        let shown = self.desks.iter_mut().find_map(|desk| desk.shows(name));
        match shown.filter(|key| key.evidence.proof.is_some()) {
            None => Emptied::NotYet,
            Some(key) if is_free(&key, node) => Emptied::Done,
            Some(key) => Emptied::Asked(self.reshare_shown(&key.record)),
        }
    }

    /// Brings a node a roster that one admin makes alone: without some node, or without a rule.
    pub(super) fn whisper_roster(&mut self) {
        let (id, created) = (self.id(), self.now().wall);
        let nodes = self.people.pinned.roster().nodes.len();
        let gone = pick(&mut self.rng, nodes);
        let alone = self.rng.next_u32().is_multiple_of(2);
        let admins = if alone { 1 } else { 2 };
        let operation = self
            .people
            .admins(admins)
            .change_roster(id, created, |roster| {
                if alone {
                    roster.nodes.remove(gone);
                    roster.drained.clear();
                } else {
                    roster.lifecycle_quorum = 1;
                }
            });
        let command = operation.signed;
        let node = pick(&mut self.rng, self.machines.len());
        if let Answer::Died = self.ask_node(0, node, NodeRequest::ChangeRoster { command }) {
            self.left(node);
            self.check_shares();
        }
    }
}

/// What became of the emptying of a node.
enum Emptied {
    Asked(usize),
    NotYet,
    Done,
}

/// Whether a node has nothing of a key that is still of use.
fn is_free(key: &KeyView, node: &NodeId) -> bool {
    key.record.index_of(node).is_none() || key.state.is_retired() || key.state.is_destroyed()
}
