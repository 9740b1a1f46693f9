//! Machines that are lost, and brought back from backups: once, or twice at a time.

use std::collections::BTreeSet;

use quorate_model::{backup::BackupId, standing::StateChange};
use rand_chacha::ChaCha8Rng;
use rand_core::RngCore as _;

use super::{AWAY_US, FAULTS_US, World, happenings::Happening};
use crate::{
    faults::{below, pick},
    machine::{Image, Machine},
    workload::{Kind, Operation},
};

/// How long a keeper waits for keys that are being made, in microseconds.
const WAIT_US: u64 = 400_000;

/// How often the admins resume a key anew, in microseconds.
const RESUME_US: u64 = 6_000_000;

/// What is done about backups in a run. One node loses its disk, however often: the others keep
/// every key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restoring {
    node: usize,
    backups: u64,
    restores: u64,
    /// A backup is restored on a second machine as well.
    twin: bool,
    /// A backup may be restored a second time, which brings nobody back.
    again: bool,
}

impl Restoring {
    /// The node that loses its disk.
    pub(super) fn node(self) -> usize {
        self.node
    }

    /// One backup of a node, which is restored once.
    pub(super) fn of(node: usize) -> Self {
        Self {
            node,
            backups: 1,
            restores: 1,
            twin: false,
            again: false,
        }
    }

    pub(super) fn draw(rng: &mut ChaCha8Rng, nodes: usize) -> Self {
        Self {
            node: pick(rng, nodes),
            backups: 1 + below(rng, 3),
            restores: 1 + below(rng, 2),
            twin: rng.next_u32().is_multiple_of(4),
            again: rng.next_u32().is_multiple_of(8),
        }
    }
}

/// What the keeper has.
pub(super) struct Keeper {
    restoring: Restoring,
    images: Vec<Image>,
    used: BTreeSet<BackupId>,
    /// The backup that is restored on a second machine.
    doubled: Option<Image>,
    /// Where the second machine stands.
    twin: Option<usize>,
}

/// What happens about backups.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeeperStep {
    BackUp,
    Restore,
    /// The backup that was restored last is restored on a second machine.
    Double,
    /// The other machine of the two is heard by a coordinator.
    Swap {
        desk: usize,
    },
    /// The admins resume the key anew: a restored node takes no resumption from before its return.
    Resume,
}

impl World {
    pub(super) fn plan_restoring(&mut self, restoring: Restoring) {
        self.keeper = Some(Keeper {
            restoring,
            images: Vec::new(),
            used: BTreeSet::new(),
            doubled: None,
            twin: None,
        });
        for _ in 0..restoring.backups {
            let when = 600_000 + below(&mut self.rng, 5_000_000);
            self.at(when, Happening::Keep(KeeperStep::BackUp));
        }
        for _ in 0..restoring.restores {
            let when = 1_500_000 + below(&mut self.rng, 7_500_000);
            self.at(when, Happening::Keep(KeeperStep::Restore));
        }
    }

    pub(super) fn keep(&mut self, step: KeeperStep) {
        let Some(node) = self.keeper.as_ref().map(|keeper| keeper.restoring.node) else {
            return;
        };
        match step {
            KeeperStep::BackUp => {
                let mut creations = self.operations.iter().filter(|o| o.is_creation());
                let image = creations
                    .all(|creation| creation.done)
                    .then(|| self.back_up(node))
                    .flatten();
                match (image, &mut self.keeper) {
                    (Some(image), Some(keeper)) => keeper.images.push(image),
                    _ if self.now_us < FAULTS_US => {
                        self.after(WAIT_US, Happening::Keep(KeeperStep::BackUp));
                    }
                    _ => {}
                }
            }
            KeeperStep::Restore => self.restore(node),
            KeeperStep::Resume => self.resume(),
            KeeperStep::Double => self.double(),
            KeeperStep::Swap { desk } => self.swap(node, desk),
        }
    }

    fn back_up(&mut self, node: usize) -> Option<Image> {
        let reading = self.now();
        let id = BackupId(self.id().0.into_bytes());
        self.machines[node].back_up(id, reading, &self.invariants)
    }

    /// The disk is lost, and an older one takes its place.
    fn restore(&mut self, node: usize) {
        let Some(keeper) = &mut self.keeper else {
            return;
        };
        // One disk is lost at a time.
        if keeper.doubled.is_some() {
            return;
        }
        let restoring = keeper.restoring;
        let free = |image: &&Image| restoring.again || !keeper.used.contains(&image.id());
        let images: Vec<&Image> = keeper.images.iter().filter(free).collect();
        if images.is_empty() {
            if self.now_us < FAULTS_US {
                self.after(WAIT_US, Happening::Keep(KeeperStep::Restore));
            }
            return;
        }
        let image = images[pick(&mut self.rng, images.len())].clone();
        keeper.used.insert(image.id());
        if restoring.twin {
            keeper.doubled = Some(image.clone());
        }
        let ran = self.machines[node].restore(&image);
        if self.machines[node].knows_restore() {
            self.invariants
                .lost(&self.people.node_id(node), image.released());
        }
        if ran {
            self.left(node);
        }
        self.check_shares();
        if restoring.twin {
            let when = below(&mut self.rng, 3 * AWAY_US);
            self.after(when, Happening::Keep(KeeperStep::Double));
        }
    }

    /// Starts the same backup on a second machine.
    fn double(&mut self) {
        let Some(keeper) = &mut self.keeper else {
            return;
        };
        let node = keeper.restoring.node;
        let Some(image) = keeper.doubled.clone().filter(|_| keeper.twin.is_none()) else {
            return;
        };
        let at = self.machines.len();
        keeper.twin = Some(at);
        let twin = Machine::twin(&self.machines[node], at, self.seed, &image);
        self.machines.push(twin);
        self.at(self.now_us, Happening::StartNode { node: at });
        for desk in 0..self.desks.len() {
            for _ in 0..3 {
                let when = below(&mut self.rng, 4_000_000);
                let step = KeeperStep::Swap { desk };
                self.after(when, Happening::Keep(step));
            }
        }
    }

    /// The coordinator's link goes to the other of the two machines.
    fn swap(&mut self, node: usize, desk: usize) {
        let Some(twin) = self.keeper.as_ref().and_then(|keeper| keeper.twin) else {
            return;
        };
        let other = if self.desks[desk].hears(twin) {
            node
        } else {
            twin
        };
        self.link(desk, self.desks[desk].life(), other);
    }

    /// Of two machines with one past the one that was helped stays, and the other is stopped for
    /// good.
    pub(super) fn stop_copies(&mut self) {
        let Some(keeper) = &self.keeper else {
            return;
        };
        let node = keeper.restoring.node;
        let Some(twin) = keeper.twin else {
            return;
        };
        let stopped = if self.machines[twin].was_readmitted() {
            node
        } else {
            twin
        };
        self.machines[stopped].scrap();
        self.left(stopped);
    }

    /// The node that may stay in quarantine for ever: its backup was restored twice.
    pub(super) fn stuck(&self) -> Option<usize> {
        let keeper = self.keeper.as_ref()?;
        let at = self.standing_for(keeper.restoring.node)?;
        let twice = keeper.twin.is_some() || keeper.restoring.again;
        (twice && self.machines[at].is_quarantined()).then_some(keeper.restoring.node)
    }

    /// The admins resume the key for as long as anything waits, each time with the next number.
    fn resume(&mut self) {
        if self.is_quiet() {
            return;
        }
        self.after(RESUME_US, Happening::Keep(KeeperStep::Resume));
        let of_state = |operation: &&Operation| operation.kind == Kind::State;
        let mut waiting = self.operations.iter().filter(|operation| !operation.done);
        if self.stuck().is_some() || waiting.any(|operation| of_state(&operation)) {
            return;
        }
        let name = self.people.key_name();
        let mut changes = self.operations.iter().filter(of_state);
        let Some(key) = changes.find(|change| change.key == name) else {
            return;
        };
        let key = (name, key.key_id);
        // Two are planned before the faults stop.
        self.resumed += 1;
        let sequence = self.resumed + 2;
        let (id, created) = (self.id(), self.now().wall);
        let resume = StateChange::Resume;
        let operation = self.people.quorum();
        let operation = operation.set_state(id, created, key, sequence, resume);
        self.ask(operation);
    }

    /// The admins look whether the key is to be resumed when the faults are over.
    pub(super) fn plan_resumptions(&mut self) {
        if self.loses_disks() {
            self.after(RESUME_US, Happening::Keep(KeeperStep::Resume));
        }
    }

    /// The machine that stands for a node: the second one where the first is gone, and none where it
    /// did not come yet.
    fn standing_for(&self, node: usize) -> Option<usize> {
        let id = self.people.node_id(node);
        let mut machines = self.machines.iter();
        machines.position(|machine| *machine.id() == id && !machine.is_scrapped())
    }

    /// The machines that are there, each for another node.
    pub(super) fn standing(&self) -> Vec<usize> {
        let nodes = 0..self.people.nodes.len();
        nodes.filter_map(|node| self.standing_for(node)).collect()
    }

    /// Whether an operation waits for a node that never comes back.
    pub(super) fn is_stuck(&self, operation: &Operation) -> bool {
        operation.kind == Kind::Reshare && self.stuck().is_some()
    }

    /// Whether a machine is one that never comes back into service.
    pub(super) fn is_out(&self, machine: usize) -> bool {
        self.stuck()
            .is_some_and(|node| self.standing_for(node) == Some(machine))
    }

    /// Whether a machine is in service, or never will be.
    pub(super) fn is_back(&self, machine: usize) -> bool {
        self.machines[machine].was_readmitted() || self.is_out(machine)
    }

    /// Whether a machine may have lost its disk.
    pub(super) fn loses_disk(&self, machine: usize) -> bool {
        let keeper = self.keeper.as_ref();
        keeper
            .is_some_and(|keeper| machine == keeper.restoring.node || keeper.twin == Some(machine))
    }

    /// Whether runs of this kind lose disks.
    pub(super) fn loses_disks(&self) -> bool {
        self.keeper.is_some()
    }
}
