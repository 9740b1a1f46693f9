//! The asynchronous shell around the core: clocks, randomness, waiting for the disk.
//!
//! The shell decides nothing. It reads the clocks, hands a request to the core, waits until the
//! journal is durable, and answers. When the core or the disk reports what must stop the process,
//! it stops the process.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use quorate_model::{
    CoordinatorId, Reason, Refusal, UnixMillis,
    audit::PeerRolledBack,
    node_api::{NodeReply, NodeRequest},
};
use rand_core::OsRng;
use tokio::sync::watch;

use crate::{
    core::{Context, Fatal, NodeCore, Outcome, Reading},
    disk::Disk,
    journal::JournalError,
    service::HandleRequests,
};

/// How often the core is asked whether a checkpoint is due.
const TICK: Duration = Duration::from_millis(250);

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct MachineClock {
    start: Instant,
}

impl MachineClock {
    /// Starts counting monotonic time.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// One look at both clocks.
    pub fn read(&self) -> Reading {
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |elapsed| {
                u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
            });
        let monotonic_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Reading {
            wall: UnixMillis(wall),
            monotonic_ms,
        }
    }
}

/// Why the process must stop, told to whoever waits for it.
pub type FatalSignal = watch::Receiver<Option<Arc<Fatal>>>;

/// The running node behind the links.
pub struct Shell<D: Disk> {
    core: Arc<NodeCore<D>>,
    clock: MachineClock,
    draining: AtomicBool,
    fatal: watch::Sender<Option<Arc<Fatal>>>,
    /// What the operator has been told of keys, and of which. Only keys of this
    /// node get here, so it is bounded by them.
    told: Mutex<HashSet<(Reason, String)>>,
}

impl<D: Disk + 'static> Shell<D> {
    /// Puts the shell around a core; the receiver learns when the process must stop.
    pub fn new(core: Arc<NodeCore<D>>, clock: MachineClock) -> (Arc<Self>, FatalSignal) {
        let (fatal, signal) = watch::channel(None);
        (
            Arc::new(Self {
                core,
                clock,
                draining: AtomicBool::new(false),
                fatal,
                told: Mutex::default(),
            }),
            signal,
        )
    }

    /// The core.
    pub fn core(&self) -> &Arc<NodeCore<D>> {
        &self.core
    }

    /// Refuses everything from here on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Asks the core for checkpoints until the process ends.
    pub async fn keep_checkpoints(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            if let Err(fatal) = self.core.tick(self.clock.read()) {
                self.stop(fatal);
                return;
            }
        }
    }

    /// Takes the last checkpoint and waits until it is durable.
    pub async fn close(&self) -> Result<(), Fatal> {
        let appended = self.core.checkpoint_now(self.clock.read())?;
        self.core.journal().on_durable(&appended).await?;
        Ok(())
    }

    /// One look at the clocks.
    pub(crate) fn reading(&self) -> Reading {
        self.clock.read()
    }

    /// Stops the process unless the journal only would not take so much at once; says what is
    /// wrong.
    pub(crate) fn stop_unless_refused(&self, fatal: Fatal) -> String {
        if let Fatal::Journal(JournalError::TooLarge(_) | JournalError::Backlog) = fatal {
            return "the node cannot record so much at once: try again later".to_owned();
        }
        self.stop(fatal);
        "the node stops: its storage failed; see its log".to_owned()
    }

    fn stop(&self, fatal: Fatal) {
        self.drain();
        self.fatal.send_replace(Some(Arc::new(fatal)));
    }

    /// Tells the operator of a share that does not open, and of old shares that stay: once for each
    /// key, however often a coordinator asks.
    fn tell(&self, reply: &Result<NodeReply, Refusal>) {
        // That a node is behind passes; a certificate that does not hold is wrong for ever.
        if let Ok(NodeReply::Erased(outcomes)) = reply {
            for refusal in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
                if let Some(key) = self.is_news(refusal, Reason::ProtocolViolation) {
                    tracing::warn!(key, reason = %refusal, "an erasure is refused");
                }
            }
        }
        let refusals: Vec<&Refusal> = match reply {
            Ok(NodeReply::Shares(batch)) => batch
                .outcomes
                .iter()
                .filter_map(|outcome| outcome.as_ref().err())
                .collect(),
            Ok(_) => return,
            Err(refusal) => vec![refusal],
        };
        for refusal in refusals {
            if let Some(key) = self.is_news(refusal, Reason::ShareUnavailable) {
                tracing::error!(key, reason = %refusal, "a share does not open");
            }
        }
    }

    /// The key that a refusal for this reason names, if the operator has not been told of it.
    fn is_news<'a>(&self, refusal: &'a Refusal, reason: Reason) -> Option<&'a str> {
        let key = refusal.get("key").filter(|_| refusal.reason == reason)?;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert((reason, key.to_owned())).then_some(key)
    }

    /// Tells the operator of peers that went back in time, as often as it is recorded.
    fn tell_rollbacks(&self) {
        for PeerRolledBack {
            node,
            before,
            shown,
            ..
        } in self.core.take_rollbacks()
        {
            tracing::warn!(
                peer = %node,
                before = before.sequence,
                before_head = before.head.short(),
                shown = shown.sequence,
                shown_head = shown.head.short(),
                "a peer went back in time or runs twice"
            );
            metrics::counter!("quorate_node_peer_rollbacks_total", "peer" => node.to_string())
                .increment(1);
        }
    }

    fn judge(&self, caller: &CoordinatorId, request: NodeRequest) -> Result<Outcome, Fatal> {
        let mut rng = OsRng;
        let mut context = Context {
            caller,
            reading: self.clock.read(),
            rng: &mut rng,
        };
        self.core.handle(&mut context, request)
    }

    async fn answer(
        &self,
        caller: CoordinatorId,
        request: NodeRequest,
    ) -> Result<Result<NodeReply, Refusal>, Fatal> {
        let kind = kind(&request);
        let erases = matches!(request, NodeRequest::EraseEpochs { .. });
        let start = Instant::now();
        let outcome = if is_quick(&request) {
            self.judge(&caller, request)?
        } else {
            tokio::task::block_in_place(|| self.judge(&caller, request))?
        };
        let reply = match outcome {
            Outcome::Ready(reply) => reply,
            Outcome::Pending(pending) => {
                let committed = self.core.journal().on_durable(pending.appended()).await?;
                let release = || pending.release(&committed, &mut OsRng);
                if erases {
                    tokio::task::block_in_place(release)?
                } else {
                    release()?
                }
            }
        };
        self.tell(&reply);
        self.tell_rollbacks();
        let outcome = reply
            .as_ref()
            .err()
            .map_or("ok", |refusal| refusal.reason.as_str());
        metrics::counter!("quorate_node_requests_total", "kind" => kind, "outcome" => outcome)
            .increment(1);
        metrics::histogram!("quorate_node_request_seconds", "kind" => kind)
            .record(start.elapsed().as_secs_f64());
        Ok(reply)
    }
}

/// Whether a request touches no disk while it is judged.
fn is_quick(request: &NodeRequest) -> bool {
    matches!(
        request,
        NodeRequest::Status { .. }
            | NodeRequest::MakeTickets { .. }
            | NodeRequest::SignShares { .. }
            | NodeRequest::AdvanceSigning { .. }
    )
}

fn kind(request: &NodeRequest) -> &'static str {
    match request {
        NodeRequest::Status { .. } => "status",
        NodeRequest::ListKeys { .. } => "list-keys",
        NodeRequest::MakeTickets { .. } => "make-tickets",
        NodeRequest::SignShares { .. } => "sign-shares",
        NodeRequest::Validate { .. } => "validate",
        NodeRequest::BeginCeremony { .. } => "begin-ceremony",
        NodeRequest::AdvanceCeremony { .. } => "advance-ceremony",
        NodeRequest::ProveKey { .. } => "prove-key",
        NodeRequest::ActivateKey { .. } => "activate-key",
        NodeRequest::RecordEvidence { .. } => "record-evidence",
        NodeRequest::ReadAudit { .. } => "read-audit",
        NodeRequest::AttestTime { .. } => "attest-time",
        NodeRequest::ConfirmTime { .. } => "confirm-time",
        NodeRequest::BeginPairing { .. } => "begin-pairing",
        NodeRequest::AdvancePairing { .. } => "advance-pairing",
        NodeRequest::BeginSigning { .. } => "begin-signing",
        NodeRequest::AdvanceSigning { .. } => "advance-signing",
        NodeRequest::AttestAddress { .. } => "attest-address",
        NodeRequest::SetKeyState { .. } => "set-key-state",
        NodeRequest::DestroyKey { .. } => "destroy-key",
        NodeRequest::ChangeRoster { .. } => "change-roster",
        NodeRequest::ListRosters { .. } => "list-rosters",
        NodeRequest::EraseEpochs { .. } => "erase-epochs",
        NodeRequest::AttestHeads { .. } => "attest-heads",
        NodeRequest::Readmit { .. } => "readmit",
        _ => "unknown",
    }
}

impl<D: Disk + 'static> HandleRequests for Shell<D> {
    async fn handle(
        &self,
        caller: CoordinatorId,
        request: NodeRequest,
    ) -> Result<NodeReply, Refusal> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Refusal::new(Reason::ShuttingDown, "the node is going down"));
        }
        match self.answer(caller, request).await {
            Ok(reply) => reply,
            Err(fatal) => {
                self.stop(fatal);
                Err(Refusal::new(
                    Reason::ShuttingDown,
                    "the node stops: its storage failed",
                ))
            }
        }
    }
}
