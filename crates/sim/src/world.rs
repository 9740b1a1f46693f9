//! The simulated world: cores of n nodes and of their coordinators, their disks, a network and a
//! clock, all moved by one queue of happenings whose order a seed decides.

mod ending;
mod happenings;
mod moving;
pub(crate) mod plan;
mod resharing;
mod restoring;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod switching;

use std::collections::BTreeMap;

use quorate_coordinator::core::Now;
use quorate_model::{Epoch, KeyName, KeyRecord, UnixMillis};
use quorate_node::disk::Survival;
use rand_chacha::ChaCha8Rng;

use crate::{
    cheat::Cheat,
    desk::Desk,
    faults::{Faults, below},
    invariants::Invariants,
    machine::Machine,
    people::People,
    recording::Recording,
    two_faced::TwoFaced,
    workload::{Operation, Renewal},
};
use ending::Ended;
use happenings::Happening;
use moving::Move;
use restoring::Keeper;

/// How long a crashed process stays away, in microseconds.
const AWAY_US: u64 = 400_000;

/// How long the workload and the faults last, in microseconds.
const FAULTS_US: u64 = 10_000_000;

/// Within which time everything that is pending ends after the faults stopped, in microseconds.
const CALM_US: u64 = 300_000_000;

/// The wall clock at the start of every run.
pub(crate) const EPOCH_MS: u64 = 1_800_000_000_000;

/// A run.
pub struct World {
    /// The seed.
    pub seed: u64,
    rng: ChaCha8Rng,
    now_us: u64,
    order: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    faults: Faults,
    pub(crate) people: People,
    pub(crate) machines: Vec<Machine>,
    desks: Vec<Desk>,
    cheat: Option<Cheat>,
    two_faced: Option<TwoFaced>,
    operations: Vec<Operation>,
    /// The operation that waits until faults are over.
    last: usize,
    /// How far the end of a key has come, where there is one.
    ended: Option<Ended>,
    /// The backups of a node, where some are made.
    keeper: Option<Keeper>,
    /// The first epochs that admins were told to ask for.
    first_epochs: BTreeMap<KeyName, Epoch>,
    /// How far the admins are about the roster, where they change it.
    moves: Option<Move>,
    /// How often the key was resumed anew.
    resumed: u64,
    pub(crate) invariants: Invariants,
    pub(crate) recording: Option<Recording>,
    trace: Vec<String>,
}

/// What a run showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many keys were created.
    pub keys: usize,
    /// How many signatures were made.
    pub signatures: usize,
    /// How many times somebody was proven guilty.
    pub proven: usize,
    /// How many bans the nodes keep.
    pub bans: usize,
    /// How often pairings were suspended after a signature that did not hold.
    pub suspensions: usize,
    /// How many changes of states stand in the chains of nodes.
    pub states: usize,
    /// How many resharings succeeded.
    pub reshares: usize,
    /// How many of them dealt new shares to the same nodes with the same threshold.
    pub refreshes: usize,
    /// How many of them put one node in the place of another, and changed nothing else.
    pub replacements: usize,
    /// How many times the roster was changed.
    pub rosters: usize,
    /// How many restored nodes came back into service.
    pub restores: usize,
    /// How many keys were destroyed.
    pub destructions: usize,
    /// How many happenings there were.
    pub steps: u64,
    /// The hash of everything that happened, to compare replays.
    pub trace: quorate_model::Digest,
}

/// A rule was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {invariant} is broken after {steps} steps: {detail}")]
pub struct Violation {
    /// The seed that shows it.
    pub seed: u64,
    /// The invariant by its number.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
    /// After how many steps.
    pub steps: u64,
}

impl World {
    fn at(&mut self, when_us: u64, happening: Happening) {
        self.order += 1;
        self.queue
            .insert((when_us.max(self.now_us), self.order), happening);
    }

    fn after(&mut self, delay_us: u64, happening: Happening) {
        self.at(self.now_us + delay_us, happening);
    }

    /// Runs until the workload is over or nothing can happen any more, then lets faults stop and
    /// checks that everything that is pending ends (I8).
    pub fn run(mut self) -> Result<Report, Violation> {
        self.run_to_end()
    }

    pub(crate) fn run_to_end(&mut self) -> Result<Report, Violation> {
        let mut steps = 0;
        while self.now_us < FAULTS_US && self.step(&mut steps)? {}
        self.heal();
        let limit = self.now_us + CALM_US;
        while !self.is_quiet() {
            if self.now_us > limit || !self.step(&mut steps)? {
                let open: Vec<_> = self.operations.iter().filter(|o| !o.done).collect();
                let open: Vec<String> = open.iter().map(|operation| operation.stands()).collect();
                let detail = format!(
                    "{} commands never end after all faults stopped: {}{}{}",
                    open.len(),
                    open.join(", "),
                    self.unended(),
                    self.unmoved()
                );
                return Err(self.violation("I8", detail, steps));
            }
        }
        self.check_end(steps)?;
        let mut hash = quorate_model::Tagged::new(quorate_model::Tag::Audit);
        for line in &self.trace {
            hash = hash.text(line);
        }
        let done = |is_of_kind: fn(&Operation) -> bool| {
            let of_kind = |o: &&Operation| o.done && is_of_kind(o);
            self.operations.iter().filter(of_kind).count()
        };
        Ok(Report {
            keys: done(|operation| operation.is_creation() && operation.key.as_str() == "treasury"),
            signatures: done(Operation::is_signed),
            states: self.invariants.states(),
            reshares: done(Operation::is_reshared),
            refreshes: self.renewed(Renewal::Refresh),
            replacements: self.renewed(Renewal::Replacement),
            rosters: self.rosters(),
            restores: self.invariants.restores(),
            destructions: self.invariants.ends(),
            proven: self.invariants.proven(),
            bans: self.invariants.bans(),
            suspensions: self.invariants.suspensions(),
            steps,
            trace: hash.finish(),
        })
    }

    fn is_quiet(&self) -> bool {
        let mut operations = self.operations.iter();
        operations.all(|operation| operation.done || self.is_stuck(operation))
            && self.is_ended()
            && self.is_moved()
            && self.members().iter().all(|at| self.is_back(*at))
    }

    /// Stops all faults: every machine loses its power once more, all at once; then they come back,
    /// the network is calm, nobody cheats any more, and one more signature is asked for.
    fn heal(&mut self) {
        self.faults = Faults::NONE;
        if let Some(cheat) = &mut self.cheat {
            cheat.stop();
        }
        if let Some(coordinator) = &mut self.two_faced {
            coordinator.stop();
        }
        self.queue.retain(|_, happening| !happening.is_fault());
        self.stop_copies();
        for node in 0..self.machines.len() {
            if self.machines[node].crash_to(Survival::Nothing) {
                self.left(node);
            }
        }
        self.check_shares();
        let operation = self.last;
        self.after(1_000_000, Happening::Submit { operation });
        self.pursue_ending();
        self.plan_resumptions();
    }

    fn violation(&self, invariant: &'static str, detail: String, steps: u64) -> Violation {
        Violation {
            seed: self.seed,
            invariant,
            detail,
            steps,
        }
    }

    /// Lets the next thing happen; false when nothing is left.
    fn step(&mut self, steps: &mut u64) -> Result<bool, Violation> {
        let Some(((when, _), happening)) = self.queue.pop_first() else {
            return Ok(false);
        };
        *steps += 1;
        self.now_us = when;
        self.trace.push(happening.line(self.now_us));
        self.happen(happening);
        match self.invariants.broken() {
            Some((invariant, detail)) => Err(self.violation(invariant, detail, *steps)),
            None => Ok(true),
        }
    }

    fn now(&self) -> Now {
        Now {
            mono_us: self.now_us,
            wall: UnixMillis(EPOCH_MS + self.now_us / 1_000),
        }
    }

    /// Every key that is alive has t shares on honest disks that a loss of power leaves (I1).
    fn check_shares(&mut self) {
        for epochs in self.invariants.live_keys() {
            let held = |record: &KeyRecord| {
                let machines = self.standing().into_iter();
                machines
                    .map(|at| &self.machines[at])
                    .filter(|machine| self.invariants.is_honest(machine.id()))
                    .filter(|machine| machine.holds(record))
                    .count()
            };
            let enough = |record: &KeyRecord| held(record) >= usize::from(record.threshold);
            if !epochs.iter().any(enough) {
                let shares: Vec<String> = epochs
                    .iter()
                    .map(|r| format!("{} of {} in epoch {}", held(r), r.threshold, r.epoch))
                    .collect();
                let detail = format!("too few shares are durable: {}", shares.join(", "));
                self.invariants.breaks("I1", detail);
            }
        }
    }

    /// What must hold when everything is quiet: chains verify and cover every share that left, and
    /// every key has enough durable shares (I1, I7).
    fn check_end(&mut self, steps: u64) -> Result<(), Violation> {
        self.check_shares();
        let reading = self.now();
        for at in 0..self.machines.len() {
            self.machines[at].check_chain(&self.people, reading, &mut self.invariants);
        }
        match self.invariants.broken() {
            Some((invariant, detail)) => Err(self.violation(invariant, detail, steps)),
            None => Ok(()),
        }
    }

    /// A process is gone: its links break, and it comes back after a while.
    fn left(&mut self, node: usize) {
        for desk in 0..self.desks.len() {
            let id = self.machines[node].id().clone();
            if let Some(event) = self.desks[desk].unlink(node, id) {
                self.tell(desk, event);
            }
        }
        let away = AWAY_US + below(&mut self.rng, AWAY_US);
        self.after(away, Happening::StartNode { node });
    }
}
