//! The simulated world: cores of n nodes and of one coordinator, their disks, a network and a
//! clock, all moved by one queue of happenings whose order a seed decides.

use std::collections::BTreeMap;

use quorate_coordinator::core::{
    Action, BatchId, CallFailure, CallId, Core, CoreConfig, Event, Limits, Now, StoreItem, admit,
};
use quorate_model::{
    CommandId, Reason, Refusal, UnixMillis,
    node_api::{NodeReply, NodeRequest},
    operation::{CommandState, CommandView},
};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use crate::{
    faults::{Faults, below, happens},
    invariants::Invariants,
    machine::{Answer, Machine, Mutation},
    people::People,
    workload::{Operation, Speaker},
};

/// How long a crashed process stays away, in microseconds.
const AWAY_US: u64 = 400_000;

/// How long the client waits before it submits the same command again, in microseconds.
const RESUBMIT_US: u64 = 3_000_000;

/// The wall clock at the start of every run.
pub(crate) const EPOCH_MS: u64 = 1_800_000_000_000;

/// What happens next.
#[derive(Clone, Debug)]
enum Happening {
    /// A request reaches a node.
    ToNode {
        life: u32,
        node: usize,
        call: CallId,
        request: Box<NodeRequest>,
    },
    /// An answer reaches the coordinator.
    ToCoordinator {
        life: u32,
        call: CallId,
        result: Box<Result<NodeReply, CallFailure>>,
    },
    /// The store has written.
    Stored {
        life: u32,
        batch: BatchId,
        writes: Vec<StoreItem>,
    },
    /// The coordinator asked to be woken.
    Wake { life: u32 },
    /// A node's link comes up.
    LinkUp { life: u32, node: usize, boot: u32 },
    /// A node crashes.
    CrashNode { node: usize },
    /// A node starts.
    StartNode { node: usize },
    /// A node takes a checkpoint if one is due.
    TickNode { node: usize, boot: u32 },
    /// The coordinator crashes.
    CrashCoordinator,
    /// The coordinator starts.
    StartCoordinator,
    /// A client submits an operation, again if need be.
    Submit { operation: usize },
}

/// A run.
pub struct World {
    /// The seed.
    pub seed: u64,
    rng: ChaCha8Rng,
    now_us: u64,
    order: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    faults: Faults,
    people: People,
    machines: Vec<Machine>,
    coordinator: Option<Coordinator>,
    coordinator_life: u32,
    stored: BTreeMap<StoreKey, StoreItem>,
    operations: Vec<Operation>,
    handles: BTreeMap<u64, usize>,
    next_handle: u64,
    calls: BTreeMap<(u32, CallId), usize>,
    healing: bool,
    invariants: Invariants,
    trace: Vec<String>,
}

struct Coordinator {
    core: Core,
    rng: ChaCha8Rng,
}

/// Where an item stands in the store: a later one under the same key takes its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum StoreKey {
    Command(CommandId),
    Key(String),
    Evidence(Vec<u8>),
}

fn store_key(item: &StoreItem) -> StoreKey {
    match item {
        StoreItem::Command(command) => StoreKey::Command(command.view.id),
        StoreItem::Key(key) => StoreKey::Key(key.name.to_string()),
        StoreItem::Evidence(bytes) => StoreKey::Evidence(bytes.clone()),
    }
}

/// What a run showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many keys were created.
    pub keys: usize,
    /// How many signatures were made.
    pub signatures: usize,
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
    /// Sets a run up from its seed, with its weather drawn from the seed as well.
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let faults = Faults::draw(&mut rng);
        let count = 2 + usize::try_from(below(&mut rng, 4)).unwrap_or(0);
        let most = u64::try_from(count.saturating_sub(1)).unwrap_or(1);
        let threshold = 2 + u16::try_from(below(&mut rng, most)).unwrap_or(0);
        let signatures = 4 + below(&mut rng, 12);
        Self::build(seed, rng, faults, count, threshold, signatures, None)
    }

    /// A run with a mutated node, to show that the invariants find it.
    pub fn mutated(seed: u64, mutation: Mutation) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let faults = Faults {
            node_crashes: 4,
            ..Faults::draw(&mut rng)
        };
        Self::build(seed, rng, faults, 3, 2, 24, Some(mutation))
    }

    fn build(
        seed: u64,
        mut rng: ChaCha8Rng,
        faults: Faults,
        count: usize,
        threshold: u16,
        signatures: u64,
        mutation: Option<Mutation>,
    ) -> Self {
        let people = People::draw(&mut rng, count);
        let mutated = mutation.map(|_| people.node_id(0));
        let machines = (0..count)
            .map(|at| Machine::new(&people, at, seed, mutation.filter(|_| at == 0)))
            .collect();
        let mut world = Self {
            seed,
            rng,
            now_us: 0,
            order: 0,
            queue: BTreeMap::new(),
            faults,
            people,
            machines,
            coordinator: None,
            coordinator_life: 0,
            stored: BTreeMap::new(),
            operations: Vec::new(),
            handles: BTreeMap::new(),
            next_handle: 0,
            calls: BTreeMap::new(),
            healing: false,
            invariants: Invariants::new(mutated),
            trace: Vec::new(),
        };
        world.plan(threshold, signatures);
        world
    }

    /// Puts the whole run's workload and crashes into the queue.
    fn plan(&mut self, threshold: u16, signatures: u64) {
        self.at(0, Happening::StartCoordinator);
        for node in 0..self.machines.len() {
            self.at(0, Happening::StartNode { node });
        }
        let schemes = quorate_model::Scheme::ALL;
        let scheme = schemes[self.pick(schemes.len())];
        let name: quorate_model::KeyName = self.people.key_name();
        let id = self.id();
        let nodes = self.people.node_ids();
        let created = UnixMillis(EPOCH_MS);
        let create = Speaker {
            pinned: &self.people.pinned,
            principal: self.people.admin_id(),
            role: quorate_model::roster::Role::Admin,
            key: &self.people.admin,
        }
        .create(id, created, name.clone(), scheme, threshold, nodes);
        self.operations.push(create);
        self.at(20_000, Happening::Submit { operation: 0 });
        for number in 0..signatures {
            let id = self.id();
            let message = format!("message {number}").into_bytes();
            let sign = Speaker {
                pinned: &self.people.pinned,
                principal: self.people.client_id(),
                role: quorate_model::roster::Role::Client,
                key: &self.people.client,
            }
            .sign(id, created, name.clone(), message);
            self.operations.push(sign);
            let when = 300_000 + below(&mut self.rng, 8_000_000);
            let operation = self.operations.len() - 1;
            self.at(when, Happening::Submit { operation });
        }
        for _ in 0..self.faults.node_crashes {
            let node = self.pick(self.machines.len());
            let when = 30_000 + below(&mut self.rng, 8_000_000);
            self.at(when, Happening::CrashNode { node });
        }
        for _ in 0..self.faults.coordinator_crashes {
            let when = 30_000 + below(&mut self.rng, 8_000_000);
            self.at(when, Happening::CrashCoordinator);
        }
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(below(&mut self.rng, count as u64)).unwrap_or(0)
    }

    fn id(&mut self) -> CommandId {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        CommandId(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

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
        let mut steps = 0;
        while self.now_us < 10_000_000 && self.step(&mut steps)? {}
        self.heal();
        let limit = self.now_us + 300_000_000;
        while !self.is_quiet() {
            if self.now_us > limit || !self.step(&mut steps)? {
                let open: Vec<_> = self.operations.iter().filter(|o| !o.done).collect();
                let last = open.first().and_then(|operation| operation.answers.last());
                let detail = format!(
                    "{} commands never end after all faults stopped; the last answer is {last:?}",
                    open.len()
                );
                return Err(self.violation("I8", detail, steps));
            }
        }
        self.check_end(steps)?;
        let mut hash = quorate_model::Tagged::new(quorate_model::Tag::Audit);
        for line in &self.trace {
            hash = hash.text(line);
        }
        Ok(Report {
            keys: self
                .operations
                .iter()
                .filter(|o| o.done && o.is_creation())
                .count(),
            signatures: self
                .operations
                .iter()
                .filter(|o| o.done && !o.is_creation())
                .count(),
            steps,
            trace: hash.finish(),
        })
    }

    fn is_quiet(&self) -> bool {
        self.operations.iter().all(|operation| operation.done)
    }

    /// Stops all faults: lost machines come back, and the network is calm.
    fn heal(&mut self) {
        self.healing = true;
        self.faults = Faults::NONE;
        let planned: Vec<_> = self
            .queue
            .iter()
            .filter(|(_, h)| matches!(h, Happening::CrashNode { .. } | Happening::CrashCoordinator))
            .map(|(at, _)| *at)
            .collect();
        for at in planned {
            self.queue.remove(&at);
        }
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
        self.note(&happening);
        self.happen(happening);
        match self.invariants.broken() {
            Some((invariant, detail)) => Err(self.violation(invariant, detail, *steps)),
            None => Ok(true),
        }
    }

    fn note(&mut self, happening: &Happening) {
        let line = match happening {
            Happening::ToNode {
                life,
                node,
                call,
                request,
            } => {
                format!(
                    "{} request {life}/{} to {node}: {request:?}",
                    self.now_us, call.0
                )
            }
            Happening::ToCoordinator { life, call, result } => {
                format!("{} answer {life}/{}: {result:?}", self.now_us, call.0)
            }
            other => format!("{} {other:?}", self.now_us),
        };
        self.trace.push(line);
    }

    fn now(&self) -> Now {
        Now {
            mono_us: self.now_us,
            wall: UnixMillis(EPOCH_MS + self.now_us / 1_000),
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::ToNode {
                life,
                node,
                call,
                request,
            } => {
                self.reach_node(life, node, call, *request);
            }
            Happening::ToCoordinator { life, call, result } => {
                if life == self.coordinator_life && self.calls.remove(&(life, call)).is_some() {
                    self.tell(Event::Reply {
                        call,
                        result: *result,
                    });
                }
            }
            Happening::Stored {
                life,
                batch,
                writes,
            } => {
                if life == self.coordinator_life && self.coordinator.is_some() {
                    for item in writes {
                        self.stored.insert(store_key(&item), item);
                    }
                    self.tell(Event::Stored { batch });
                }
            }
            Happening::Wake { life } => {
                if life == self.coordinator_life {
                    self.tell(Event::Tick);
                }
            }
            Happening::LinkUp { life, node, boot } => {
                let up = life == self.coordinator_life && self.machines[node].is_up(boot);
                if up {
                    self.machines[node].linked = true;
                    let id = self.people.node_id(node);
                    self.tell(Event::LinkUp { node: id });
                }
            }
            Happening::CrashNode { node } => self.crash_node(node),
            Happening::StartNode { node } => self.start_node(node),
            Happening::TickNode { node, boot } => self.tick_node(node, boot),
            Happening::CrashCoordinator => self.crash_coordinator(),
            Happening::StartCoordinator => self.start_coordinator(),
            Happening::Submit { operation } => self.submit(operation),
        }
    }

    fn tick_node(&mut self, node: usize, boot: u32) {
        let reading = self.now();
        if self.machines[node].tick(boot, reading) {
            self.after(250_000, Happening::TickNode { node, boot });
        }
    }

    fn crash_node(&mut self, node: usize) {
        if !self.machines[node].crash(&mut self.rng) {
            return;
        }
        self.drop_link(node);
        let away = AWAY_US + below(&mut self.rng, AWAY_US);
        self.after(away, Happening::StartNode { node });
    }

    /// The coordinator sees the connection break: everything it asked the node is lost.
    fn drop_link(&mut self, node: usize) {
        let linked = std::mem::take(&mut self.machines[node].linked);
        if linked && self.coordinator.is_some() {
            let life = self.coordinator_life;
            self.calls.retain(|(of, _), to| *of != life || *to != node);
            let id = self.people.node_id(node);
            self.tell(Event::LinkDown { node: id });
        }
    }

    fn start_node(&mut self, node: usize) {
        let reading = self.now();
        let boot = self.machines[node].start(reading, &mut self.invariants);
        let life = self.coordinator_life;
        self.after(30_000, Happening::LinkUp { life, node, boot });
        self.after(250_000, Happening::TickNode { node, boot });
    }

    fn crash_coordinator(&mut self) {
        if self.coordinator.take().is_none() {
            return;
        }
        self.handles.clear();
        self.calls.clear();
        for machine in &mut self.machines {
            machine.linked = false;
        }
        self.after(AWAY_US, Happening::StartCoordinator);
    }

    fn start_coordinator(&mut self) {
        self.coordinator_life += 1;
        let config = CoreConfig {
            id: self.people.coordinator_id(),
            limits: Limits::default(),
        };
        let restored = self.stored.values().cloned().collect();
        let core = Core::new(config, self.people.pinned.clone(), restored);
        let rng = ChaCha8Rng::seed_from_u64(self.rng.next_u64());
        self.coordinator = Some(Coordinator { core, rng });
        let life = self.coordinator_life;
        for node in 0..self.machines.len() {
            if let Some(boot) = self.machines[node].boot() {
                self.after(10_000, Happening::LinkUp { life, node, boot });
            }
        }
        self.after(1_000, Happening::Wake { life });
        for operation in 0..self.operations.len() {
            let open = &self.operations[operation];
            if open.submitted > 0 && !open.done {
                let delay = 500_000 + below(&mut self.rng, RESUBMIT_US);
                self.after(delay, Happening::Submit { operation });
            }
        }
    }

    fn submit(&mut self, operation: usize) {
        if self.operations[operation].done {
            return;
        }
        if self.coordinator.is_none() {
            self.after(RESUBMIT_US, Happening::Submit { operation });
            return;
        }
        self.operations[operation].submitted += 1;
        let signed = self.operations[operation].signed.clone();
        let id = self.operations[operation].id;
        let remembered = match self.stored.get(&StoreKey::Command(id)) {
            Some(StoreItem::Command(command)) => Some(Box::new(command.clone())),
            _ => None,
        };
        match admit(&self.people.pinned, signed) {
            Ok(command) => {
                let handle = self.next_handle;
                self.next_handle += 1;
                self.handles.insert(handle, operation);
                let event = Event::Submit {
                    handle,
                    command,
                    validate_only: false,
                    remembered,
                };
                self.tell(event);
            }
            Err(refusal) => self.answered(operation, Err(refusal)),
        }
    }

    /// Tells the coordinator something and carries out what it wants.
    fn tell(&mut self, event: Event) {
        let now = self.now();
        let Some(coordinator) = &mut self.coordinator else {
            return;
        };
        let actions = coordinator.core.handle(now, event, &mut coordinator.rng);
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        let life = self.coordinator_life;
        match action {
            Action::Call {
                call,
                node,
                request,
                timeout_ms,
            } => {
                let Some(node) = self.people.node_at(&node) else {
                    return;
                };
                self.invariants.asked(&request);
                self.calls.insert((life, call), node);
                let timed_out = Box::new(Err(CallFailure::TimedOut));
                let result = Happening::ToCoordinator {
                    life,
                    call,
                    result: timed_out,
                };
                self.after(timeout_ms * 1_000, result);
                self.send(life, node, call, &request);
            }
            Action::Persist { batch, writes } => {
                let delay = 100 + below(&mut self.rng, 5_000);
                self.after(
                    delay,
                    Happening::Stored {
                        life,
                        batch,
                        writes,
                    },
                );
            }
            Action::Answer { handle, result } => {
                if let Some(operation) = self.handles.remove(&handle) {
                    self.answered(operation, result.map(|view| CommandView::clone(&view)));
                }
            }
            Action::WakeAt(ms) => self.at(ms * 1_000, Happening::Wake { life }),
            Action::Notice(notice) => self.invariants.noticed(&notice),
            Action::Progress(_) => {}
        }
    }

    fn send(&mut self, life: u32, node: usize, call: CallId, request: &NodeRequest) {
        let copies = 1 + u32::from(happens(&mut self.rng, self.faults.doubled));
        for _ in 0..copies {
            if happens(&mut self.rng, self.faults.lost) {
                continue;
            }
            let delay = self.delay();
            let request = Box::new(request.clone());
            self.after(
                delay,
                Happening::ToNode {
                    life,
                    node,
                    call,
                    request,
                },
            );
        }
    }

    fn delay(&mut self) -> u64 {
        let span = self
            .faults
            .delay_max_us
            .saturating_sub(self.faults.delay_min_us);
        let delay = self.faults.delay_min_us + below(&mut self.rng, span);
        if happens(&mut self.rng, self.faults.stalled) {
            delay * 10
        } else {
            delay
        }
    }

    fn reach_node(&mut self, life: u32, node: usize, call: CallId, request: NodeRequest) {
        let reading = self.now();
        let dies = happens(&mut self.rng, self.faults.crash_before_answer);
        let caller = self.people.coordinator_id();
        let answer =
            self.machines[node].answer(&caller, request, reading, dies, &mut self.invariants);
        match answer {
            Answer::Down => {}
            Answer::Died => {
                self.drop_link(node);
                let away = AWAY_US + below(&mut self.rng, AWAY_US);
                self.after(away, Happening::StartNode { node });
            }
            Answer::Said(reply) => {
                if happens(&mut self.rng, self.faults.lost) {
                    return;
                }
                let result = Box::new(reply.map_err(CallFailure::Refused));
                let delay = self.delay();
                self.after(delay, Happening::ToCoordinator { life, call, result });
            }
        }
    }

    /// A client hears something final, or tries again with the same command.
    fn answered(&mut self, operation: usize, result: Result<CommandView, Refusal>) {
        let again = match &result {
            Ok(view) => view.state != CommandState::Succeeded,
            Err(refusal) => refusal.reason != Reason::RequestIdReused,
        };
        self.invariants
            .answered(&self.people.pinned, &self.operations[operation], &result);
        self.operations[operation].answers.push(result);
        if again {
            let delay = RESUBMIT_US + below(&mut self.rng, RESUBMIT_US);
            self.after(delay, Happening::Submit { operation });
        } else {
            self.operations[operation].done = true;
        }
    }

    /// What must hold when everything is quiet: chains verify and cover every share that left, and
    /// every key has enough durable shares (I1, I7).
    fn check_end(&mut self, steps: u64) -> Result<(), Violation> {
        let reading = self.now();
        for at in 0..self.machines.len() {
            self.machines[at].check_chain(&self.people, reading, &mut self.invariants);
        }
        match self.invariants.broken() {
            Some((invariant, detail)) => Err(self.violation(invariant, detail, steps)),
            None => Ok(()),
        }
    }
}
