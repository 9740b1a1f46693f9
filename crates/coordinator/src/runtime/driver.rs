//! The thread that runs the core.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use quorate_model::{NodeId, ids::UnixMillis, node_api::NodeRequest, operation::CommandView};
use rand_core::OsRng;

use super::{Input, Shared, lock};
use crate::{
    core::{Action, CallFailure, CallId, Core, Event, Notice, Now},
    link::{CallError, LinkEvent, NodeLink},
    store::StoreWriter,
};

/// The most inputs that are taken in one go.
const MAX_INPUTS: usize = 1_024;

/// How many keys are looked at with each housekeeping, to count those that are due: it takes the
/// thread a few milliseconds.
const KEYS_COUNTED: usize = 100;

/// How often old commands are forgotten and gauges are set.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

pub(super) struct Driver {
    core: Core,
    shared: Arc<Shared>,
    writer: StoreWriter,
    inputs: Sender<Input>,
    links: BTreeMap<NodeId, NodeLink>,
    start: Instant,
    wake: Option<Instant>,
    housekeeping: Instant,
}

impl Driver {
    pub(super) fn new(
        core: Core,
        shared: Arc<Shared>,
        writer: StoreWriter,
        inputs: Sender<Input>,
    ) -> Self {
        let start = Instant::now();
        Self {
            core,
            shared,
            writer,
            inputs,
            links: BTreeMap::new(),
            start,
            wake: Some(start),
            housekeeping: start,
        }
    }

    /// Runs until told to stop. Whoever waits for an answer then has none.
    pub(super) fn run(mut self, waiting: &Receiver<Input>, runtime: &tokio::runtime::Handle) {
        while self.step(waiting, runtime) {}
        lock(&self.shared.answers).clear();
    }

    /// Takes what waits. False: there is nothing more to do.
    fn step(&mut self, waiting: &Receiver<Input>, runtime: &tokio::runtime::Handle) -> bool {
        let pause = self.wake.map_or(HOUSEKEEPING, |wake| {
            wake.saturating_duration_since(Instant::now())
        });
        let first = match waiting.recv_timeout(pause) {
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        let mut events = Vec::new();
        let mut queries = Vec::new();
        let mut taken: usize = 0;
        let mut next = first;
        while let Some(input) = next {
            match input {
                Input::Event(event) => events.push(*event),
                Input::Link(event) => events.extend(self.link(event)),
                Input::Query(query) => {
                    // What came before the question counts for the answer.
                    queries.push(query);
                    break;
                }
                Input::Stop => return false,
            }
            taken = taken.saturating_add(1);
            next = if taken < MAX_INPUTS {
                waiting.try_recv().ok()
            } else {
                None
            };
        }
        if self.wake.is_some_and(|wake| wake <= Instant::now()) {
            self.wake = None;
            events.push(Event::Tick);
        }
        if !events.is_empty() {
            let now = self.now();
            for action in self.core.handle_all(now, events, &mut OsRng) {
                self.act(action, runtime);
            }
        }
        for query in queries {
            query(&mut self.core);
        }
        self.keep_house();
        true
    }

    fn now(&self) -> Now {
        let mono = self.start.elapsed().as_micros();
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            mono_us: u64::try_from(mono).unwrap_or(u64::MAX),
            wall: UnixMillis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    fn link(&mut self, event: LinkEvent) -> Option<Event> {
        match event {
            LinkEvent::Up(node, link) => {
                tracing::info!(node = %node, "node connected");
                lock(&self.shared.links).insert(node.clone(), link.clone());
                self.links.insert(node.clone(), link);
                Some(Event::LinkUp { node })
            }
            LinkEvent::Down(node, generation) => {
                let current = self
                    .links
                    .get(&node)
                    .is_some_and(|l| l.generation() == generation);
                if !current {
                    return None;
                }
                tracing::warn!(node = %node, "node disconnected");
                lock(&self.shared.links).remove(&node);
                self.links.remove(&node);
                Some(Event::LinkDown { node })
            }
            LinkEvent::Duplicate { node } => {
                metrics::counter!("quorate_duplicate_nodes_total").increment(1);
                tracing::error!(
                    node = %node,
                    "two machines use the identity of this node: stop one of them"
                );
                None
            }
        }
    }

    fn act(&mut self, action: Action, runtime: &tokio::runtime::Handle) {
        match action {
            Action::Call {
                call,
                node,
                request,
                timeout_ms,
            } => {
                self.call(
                    call,
                    &node,
                    request,
                    Duration::from_millis(timeout_ms),
                    runtime,
                );
            }
            Action::Persist { batch, writes } => {
                // A store that has failed ends the process; see `EngineThread::failed`.
                let _handed_over = self.writer.apply(batch, writes);
            }
            Action::Answer { handle, result } => {
                if let Some(sender) = lock(&self.shared.answers).remove(&handle) {
                    // Whoever asked may have gone.
                    let _sent = sender.send(result);
                }
            }
            Action::Progress(view) => {
                if super::watchers::is_last(view.state) {
                    conclude(&view);
                }
                self.shared.watchers.tell(&view);
            }
            Action::Notice(notice) => tell(notice),
            Action::Roster(pinned) => {
                let (version, hash) = (pinned.roster().version, pinned.hash());
                tracing::info!(version, hash = %hash, "another roster is in force");
                self.shared.go_by(pinned);
            }
            Action::WakeAt(ms) => {
                self.wake = self.start.checked_add(Duration::from_millis(ms));
            }
        }
    }

    fn call(
        &self,
        call: CallId,
        node: &NodeId,
        request: NodeRequest,
        timeout: Duration,
        runtime: &tokio::runtime::Handle,
    ) {
        let inputs = self.inputs.clone();
        let Some(link) = self.links.get(node).cloned() else {
            let result = Err(CallFailure::Lost);
            let _sent = inputs.send(Input::Event(Box::new(Event::Reply { call, result })));
            return;
        };
        runtime.spawn(async move {
            let result = link
                .call(request, timeout)
                .await
                .map_err(|error| match error {
                    CallError::Refused(refusal) => CallFailure::Refused(refusal),
                    CallError::Lost => CallFailure::Lost,
                    CallError::TimedOut => CallFailure::TimedOut,
                });
            // The core may have ended.
            let _sent = inputs.send(Input::Event(Box::new(Event::Reply { call, result })));
        });
    }

    fn keep_house(&mut self) {
        if self.housekeeping.elapsed() < HOUSEKEEPING {
            return;
        }
        self.housekeeping = Instant::now();
        let now = self.now();
        let _handed_over = self.writer.prune(now.wall);
        let connected = self.links.len();
        self.shared.health.set(self.core.is_ready());
        metrics::gauge!("quorate_connected_nodes").set(count(connected));
        metrics::gauge!("quorate_keys").set(count(self.core.key_count()));
        for (duty, count) in self.core.count_due(now.wall, KEYS_COUNTED) {
            let duty = duty.as_str();
            metrics::gauge!("quorate_keys_due", "duty" => duty).set(many(count.now));
            metrics::gauge!("quorate_keys_due_soon", "duty" => duty).set(many(count.soon));
        }
        metrics::gauge!("quorate_running_commands").set(count(self.core.running_count()));
    }
}

fn count(number: usize) -> f64 {
    many(u64::try_from(number).unwrap_or(u64::MAX))
}

fn many(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// One line and one count per outcome.
fn conclude(view: &CommandView) {
    let reason = view
        .error
        .as_ref()
        .map_or("", |error| error.reason.as_str());
    metrics::counter!(
        "quorate_commands_total",
        "kind" => view.kind.as_str(),
        "state" => view.state.as_str(),
        "reason" => reason,
    )
    .increment(1);
    tracing::info!(
        request_id = %view.id,
        operation = view.kind.as_str(),
        key = view.key.as_ref().map(tracing::field::display),
        state = view.state.as_str(),
        reason,
        "command is over"
    );
}

fn tell(notice: Notice) {
    match notice {
        Notice::Misbehaved { node, what, proven } => {
            metrics::counter!("quorate_misbehavior_total").increment(1);
            tracing::error!(node = %node, proven, reason = what, "node misbehaves and is left out");
        }
        Notice::Stalled { node } => {
            metrics::counter!("quorate_stalls_total").increment(1);
            tracing::debug!(node = %node, "node stalls and is passed over");
        }
        Notice::ClockSuspect { node } => {
            tracing::warn!(node = %node, "node does not trust its clock");
        }
        Notice::FalseKey { node, key } => {
            tracing::error!(node = %node, key = %key, "node lists a key that does not verify");
        }
        Notice::KeyLearned { key } => tracing::info!(key = %key, "key learned from a node"),
        Notice::PairBanned { node, peer } => {
            metrics::counter!("quorate_pair_bans_total").increment(1);
            tracing::error!(%node, %peer, "a node signs nothing together with a peer that failed a check");
        }
        Notice::PairingsRenewed { key, nodes } => {
            let nodes = nodes.iter().map(NodeId::as_str).collect::<Vec<_>>();
            metrics::counter!("quorate_pairing_renewals_total").increment(1);
            tracing::warn!(%key, ?nodes, "pairings are set up afresh");
        }
        Notice::HeadsRefused { node, witness, why } => {
            tracing::warn!(%node, %witness, reason = why, "a restored node is not readmitted");
        }
        Notice::CeremonyAgain { key, why } => {
            tracing::warn!(key = %key, reason = why, "ceremony begins again");
        }
    }
}
