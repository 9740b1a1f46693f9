//! The node core: a synchronous function from request to answer.
//!
//! ```text
//!            request, clock reading, randomness
//!                          │
//!                    ┌─────▼──────┐   gate: signatures, roster, time, key, payload (P7)
//!                    │  NodeCore  │   ceremony: key generation (P18-P22)
//!                    │            │   signing: tickets, shares (P23, P24)
//!                    └─────┬──────┘   activation: certificate, proof of possession (P20)
//!            Outcome::Ready│Outcome::Pending ── journal durable ──► answer
//! ```
//!
//! The core knows no socket, no task and no clock of its own. An answer that rests on a record can
//! be had only from [`Pending::release`], which takes the proof that the record is durable: persist
//! first, then send, as a type. A node never starts anything and never waits for another node.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, atomic::AtomicU64},
};

use ed25519_dalek::SigningKey;
use quorate_model::{
    CoordinatorId, Digest, NodeId, PrincipalId, Reason, Refusal, UnixMillis,
    audit::{Entry, Refused},
    bytes::Nonce32,
    node_api::{NodeReply, NodeRequest},
    refusal::Code,
    roster::PinnedRoster,
};
use quorate_protocol::{
    ecdsa::engine::Engine,
    frost::{Hedge, NoncePair},
};
use rand_core::CryptoRngCore;

use crate::{
    disk::Disk,
    index::{Index, IndexError},
    journal::{Appended, Committed, Journal, JournalError},
    vault::{Vault, VaultError},
};

mod activation;
pub mod backup;
mod binding;
mod budget;
mod ceremony;
pub mod clock;
mod destroying;
mod ecdsa;
mod erasing;
mod evidence;
mod gate;
pub mod ledger;
mod loaded;
pub(crate) mod membership;
mod quarantine;
mod rollback;
mod rounds;
mod signing;
mod standing;
mod status;
pub mod tickets;

#[cfg(test)]
mod tests;

pub use clock::Reading;
pub use signing::{MakeShares, TrueShares};

use budget::Budget;
use clock::NodeClock;
use ecdsa::Ecdsa;
use loaded::LoadedKeys;
use quarantine::Quarantined;
use rollback::Seen;
use tickets::TicketPools;

/// The environment failed in a way that must stop the process (P37): nothing that the node says
/// afterwards could be relied on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// The journal cannot be written or read.
    #[error("use the journal")]
    Journal(#[from] JournalError),
    /// The index cannot be written or read.
    #[error("use the index")]
    Index(#[from] IndexError),
    /// A share cannot be stored.
    #[error("use the vault")]
    Vault(#[from] VaultError),
    /// A bug that leaves no safe way on.
    #[error("invariant broken: {0}")]
    Invariant(&'static str),
}

/// What a request comes to.
#[must_use]
#[expect(
    clippy::large_enum_variant,
    reason = "an outcome is moved once, to whoever answers"
)]
pub enum Outcome {
    /// An answer that rests on nothing that must still become durable.
    Ready(Result<NodeReply, Refusal>),
    /// An answer that may leave only after its records are durable.
    Pending(Pending),
}

type Released = Result<Result<NodeReply, Refusal>, Fatal>;

type Release = Box<dyn FnOnce(&Committed, &mut dyn CryptoRngCore) -> Released + Send>;

/// An answer behind its records.
#[must_use]
pub struct Pending {
    appended: Appended,
    release: Release,
}

impl Pending {
    /// The records that must be durable first.
    pub fn appended(&self) -> &Appended {
        &self.appended
    }

    /// An answer that is made of nothing but what is durable.
    fn answer(
        appended: Appended,
        answer: impl FnOnce(&Committed) -> Result<NodeReply, Refusal> + Send + 'static,
    ) -> Outcome {
        Self::act(appended, move |committed, _| Ok(answer(committed)))
    }

    /// An answer before which something is done that rests on the records.
    fn act(
        appended: Appended,
        act: impl FnOnce(&Committed, &mut dyn CryptoRngCore) -> Released + Send + 'static,
    ) -> Outcome {
        Outcome::Pending(Self {
            appended,
            release: Box::new(act),
        })
    }

    /// The answer, for the proof that the records are durable.
    ///
    /// # Errors
    ///
    /// Only when the process must stop.
    pub fn release(self, committed: &Committed, rng: &mut dyn CryptoRngCore) -> Released {
        (self.release)(committed, rng)
    }
}

/// Everything that a request is judged with.
pub struct Context<'a> {
    /// The coordinator that asks.
    pub caller: &'a CoordinatorId,
    /// The clocks.
    pub reading: Reading,
    /// Fresh randomness.
    pub rng: &'a mut dyn CryptoRngCore,
}

/// What a core is made of.
pub struct Parts<D: Disk> {
    /// The node's id.
    pub me: NodeId,
    /// The key that signs what the node says.
    pub identity: SigningKey,
    /// The secret that hedges nonces.
    pub hedge: Hedge,
    /// This run of the process.
    pub boot: [u8; 16],
    /// The roster in force.
    pub pinned: PinnedRoster,
    /// The open journal.
    pub journal: Journal<D>,
    /// The open vault.
    pub vault: Vault<D>,
    /// The index, at the journal's head.
    pub index: Arc<dyn Index>,
    /// The clock.
    pub clock: NodeClock,
    /// The software version and process id that the status shows.
    pub about: About,
    /// Makes signature shares.
    pub shares: Box<dyn MakeShares>,
    /// Computes threshold ECDSA.
    pub engine: &'static dyn Engine,
    /// The most ECDSA signatures under way at a time (P17).
    pub max_signatures: usize,
}

/// What a node says about its process.
#[derive(Clone, Debug)]
pub struct About {
    /// The software version.
    pub version: String,
    /// The process id.
    pub pid: u32,
}

/// State that is judged and changed in one piece.
struct State {
    index: Arc<dyn Index>,
    clock: NodeClock,
    refusals: Budget,
    repeated_proofs: Budget,
    pairings: Budget,
    statements: Budget,
    rejections: Budget,
    /// Of each admin.
    suspensions: BTreeMap<PrincipalId, Budget>,
    /// Of each admin.
    withdrawals: BTreeMap<PrincipalId, Budget>,
    /// Breaks P33 on purpose; see [`NodeCore::ignore_states`].
    #[cfg(debug_assertions)]
    ignores_states: bool,
    checkpointed: Checkpointed,
    /// Evidence that was recorded in this run, by whom it blames.
    blamed: BTreeMap<NodeId, BTreeSet<Digest>>,
    /// Present while the node waits to be readmitted after it was restored.
    quarantine: Option<Quarantined>,
}

/// When and where the last checkpoint was taken.
struct Checkpointed {
    sequence: u64,
    monotonic_ms: u64,
}

/// One node.
pub struct NodeCore<D: Disk> {
    me: NodeId,
    identity: SigningKey,
    hedge: Hedge,
    boot: [u8; 16],
    /// Commands that were made before this time may have been forgotten; see
    /// [`NodeCore::remember_from`].
    remembers_from_ms: AtomicU64,
    /// The roster in force, with those before it.
    pinned: RwLock<Arc<PinnedRoster>>,
    journal: Journal<D>,
    vault: Vault<D>,
    about: About,
    shares: Box<dyn MakeShares>,
    state: Mutex<State>,
    tickets: Mutex<TicketPools<NoncePair>>,
    sessions: Mutex<ceremony::Sessions>,
    seen: Mutex<Seen>,
    ecdsa: Ecdsa,
    loaded: LoadedKeys,
    /// Breaks P15 on purpose; see [`NodeCore::leave_echoes_out`].
    #[cfg(debug_assertions)]
    leaves_echoes_out: std::sync::atomic::AtomicBool,
    /// Breaks I4 on purpose; see [`NodeCore::ignore_key_ids`].
    #[cfg(debug_assertions)]
    ignores_key_ids: std::sync::atomic::AtomicBool,
    /// Breaks P30 on purpose; see [`NodeCore::stay_behind`].
    #[cfg(debug_assertions)]
    stays_behind: std::sync::atomic::AtomicBool,
    /// Breaks P29 on purpose; see [`NodeCore::erase_early`].
    #[cfg(debug_assertions)]
    erases_early: std::sync::atomic::AtomicBool,
}

/// A checkpoint is taken this long after the last one when records came since, in milliseconds.
const CHECKPOINT_AFTER_MS: u64 = 1_000;

/// A checkpoint is taken this long after the last one even if nothing happened, so that a restart
/// can tell how long it was away (P43), in milliseconds.
const HEARTBEAT_MS: u64 = 10_000;

/// Locks a mutex whose holders do not leave it half-changed: a panic in one request must not take
/// the node down with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Puts a core together.
    pub fn new(parts: Parts<D>) -> Arc<Self> {
        let sequence = parts.journal.head().sequence;
        Arc::new(Self {
            me: parts.me,
            identity: parts.identity,
            hedge: parts.hedge,
            boot: parts.boot,
            remembers_from_ms: AtomicU64::new(0),
            pinned: RwLock::new(Arc::new(parts.pinned)),
            journal: parts.journal,
            vault: parts.vault,
            about: parts.about,
            shares: parts.shares,
            state: Mutex::new(State {
                index: parts.index,
                clock: parts.clock,
                refusals: Budget::new(budget::REFUSALS),
                repeated_proofs: Budget::new(budget::REPEATED_PROOFS),
                pairings: Budget::new(budget::PAIRINGS),
                statements: Budget::new(budget::STATEMENTS),
                rejections: Budget::new(budget::REFUSALS),
                suspensions: BTreeMap::new(),
                withdrawals: BTreeMap::new(),
                #[cfg(debug_assertions)]
                ignores_states: false,
                checkpointed: Checkpointed {
                    sequence,
                    monotonic_ms: 0,
                },
                blamed: BTreeMap::new(),
                quarantine: None,
            }),
            tickets: Mutex::new(TicketPools::default()),
            sessions: Mutex::new(BTreeMap::new()),
            seen: Mutex::new(Seen::default()),
            ecdsa: Ecdsa::new(parts.engine, parts.max_signatures),
            loaded: LoadedKeys::default(),
            #[cfg(debug_assertions)]
            leaves_echoes_out: std::sync::atomic::AtomicBool::new(false),
            #[cfg(debug_assertions)]
            ignores_key_ids: std::sync::atomic::AtomicBool::new(false),
            #[cfg(debug_assertions)]
            stays_behind: std::sync::atomic::AtomicBool::new(false),
            #[cfg(debug_assertions)]
            erases_early: std::sync::atomic::AtomicBool::new(false),
        })
    }

    /// Has this node take part in ceremonies without comparing echoes (P15), so that the simulator
    /// can show that it finds it. No release build holds it.
    #[cfg(debug_assertions)]
    pub fn leave_echoes_out(&self) {
        self.leaves_echoes_out
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Has this node sign with any key of the name that a command gives (I4), so that the simulator
    /// can show that it finds it. No release build holds it.
    #[cfg(debug_assertions)]
    pub fn ignore_key_ids(&self) {
        self.ignores_key_ids
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Has this node go on signing with a share that it has in memory after it has heard of a later
    /// epoch (P30), so that the simulator can show that it finds it. No release build holds it.
    #[cfg(debug_assertions)]
    pub fn stay_behind(&self) {
        self.stays_behind
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Has this node erase the shares of earlier epochs as soon as it has prepared one, without an
    /// erase certificate (P29), so that the simulator can show that it finds it. No release build
    /// holds it.
    #[cfg(debug_assertions)]
    pub fn erase_early(&self) {
        self.erases_early
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Has this node sign whatever state a key is in (P33), so that the simulator can show that it
    /// finds it. No release build holds it.
    #[cfg(debug_assertions)]
    pub fn ignore_states(&self) {
        lock(&self.state).ignores_states = true;
    }

    /// The roster in force.
    pub fn pinned(&self) -> Arc<PinnedRoster> {
        Arc::clone(&self.pinned.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The journal, to wait for durability.
    pub fn journal(&self) -> &Journal<D> {
        &self.journal
    }

    /// Records that a process began to serve, and what it found.
    pub fn begin(&self, reading: Reading, entries: Vec<Entry>) -> Result<Appended, Fatal> {
        let mut state = lock(&self.state);
        let time = state.clock.elapsed(reading);
        let appended = self.record(&mut state, time, entries)?;
        state.quarantine = Quarantined::of(&state)?;
        self.remember_from(&state)?;
        Ok(appended)
    }

    /// Answers one request.
    ///
    /// # Errors
    ///
    /// Only when the process must stop.
    pub fn handle(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        request: NodeRequest,
    ) -> Result<Outcome, Fatal> {
        self.dispatch(context, request)
            .or_else(|fatal| self.unrecorded(fatal))
    }

    /// A refusal where the journal only would not take so much: nothing was appended, so nothing
    /// has changed, and the node goes on.
    fn unrecorded(&self, fatal: Fatal) -> Result<Outcome, Fatal> {
        if let Fatal::Journal(JournalError::TooLarge(_) | JournalError::Backlog) = fatal {
            let message = format!(
                "node {} cannot record so much at once: try again later",
                self.me
            );
            return Ok(Outcome::Ready(Err(Refusal::new(
                Reason::Overloaded,
                message,
            ))));
        }
        Err(fatal)
    }

    fn dispatch(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        request: NodeRequest,
    ) -> Result<Outcome, Fatal> {
        let ready = |reply| Ok(Outcome::Ready(reply));
        if let Err(refusal) = self
            .check_quarantine(&request)
            .and_then(|()| self.check_member(&request))
        {
            return ready(Err(refusal));
        }
        match request {
            NodeRequest::Status { nonce } => ready(Ok(self.status(context, nonce))),
            NodeRequest::ListKeys { after, limit } => self.list_keys(after.as_ref(), limit),
            NodeRequest::MakeTickets { scheme, count } => {
                ready(self.make_tickets(context, scheme, count))
            }
            NodeRequest::SignShares { requests } => self.sign_shares(context, requests),
            NodeRequest::Validate { command } => self.validate(context, &command),
            NodeRequest::BeginCeremony {
                attempt,
                command,
                epoch,
                source,
            } => self.begin_ceremony(context, attempt, &command, epoch, source),
            NodeRequest::AdvanceCeremony {
                attempt,
                round,
                envelopes,
            } => self.advance_ceremony(context, attempt, round, &envelopes),
            NodeRequest::ProveKey { certificate, set } => {
                self.prove_key(context, &certificate, &set)
            }
            NodeRequest::ActivateKey {
                key,
                epoch,
                certificate,
                proof,
            } => self.activate_key(context, (&key, epoch), &certificate, &proof),
            NodeRequest::EraseEpochs { erasures } => self.erase_epochs(context, erasures),

            NodeRequest::RecordEvidence { evidence } => self.record_evidence(context, evidence),
            NodeRequest::ReadAudit { from, limit } => self.read_audit(from, limit),
            NodeRequest::AttestTime { challenge } => {
                ready(Ok(self.attest_time(context, challenge)))
            }
            NodeRequest::ConfirmTime { attestations } => self.confirm_time(context, &attestations),
            NodeRequest::BeginPairing {
                attempt,
                certificate,
                holders,
            } => self.begin_pairing(context, attempt, &certificate, &holders),
            NodeRequest::AdvancePairing {
                attempt,
                round,
                envelopes,
            } => self.advance_pairing(context, attempt, round, &envelopes),
            NodeRequest::AttestAddress { key, path, kind } => {
                self.attest_address(context, &key, path, kind)
            }
            NodeRequest::SetKeyState { command } => self.set_key_state(context, command),
            NodeRequest::ChangeRoster { command } => self.change_roster(context, &command),
            NodeRequest::ListRosters { since } => ready(Ok(self.list_rosters(&since))),
            NodeRequest::DestroyKey { command } => self.destroy_key(context, command),
            NodeRequest::BeginSigning { attempt, request } => {
                self.begin_signing(context, attempt, &request)
            }
            NodeRequest::AdvanceSigning {
                attempt,
                round,
                envelopes,
            } => self.advance_signing(context, attempt, round, &envelopes),
            NodeRequest::AttestHeads { status, after } => {
                self.attest_heads(context, &status, after)
            }
            NodeRequest::Readmit {
                attestations,
                command,
            } => self.readmit(context, &attestations, command.as_ref()),
            _ => ready(Err(Refusal::new(
                Reason::RequestInvalid,
                "this node does not know the request: upgrade it",
            ))),
        }
    }

    /// Takes a checkpoint when one is due. The shell calls this a few times a second.
    pub fn tick(&self, reading: Reading) -> Result<(), Fatal> {
        // Rows reach the index's store outside the lock: requests go on meanwhile.
        let index = Arc::clone(&lock(&self.state).index);
        index.settle(&self.journal.durable())?;
        let mut state = lock(&self.state);
        let since = reading
            .monotonic_ms
            .saturating_sub(state.checkpointed.monotonic_ms);
        let news = self.journal.head().sequence > state.checkpointed.sequence;
        if since
            < if news {
                CHECKPOINT_AFTER_MS
            } else {
                HEARTBEAT_MS
            }
        {
            return Ok(());
        }
        match self.checkpoint(&mut state, reading) {
            // The disk is behind. A later tick finds room.
            Err(Fatal::Journal(JournalError::Backlog)) => Ok(()),
            checkpointed => checkpointed.map(drop),
        }
    }

    /// Takes a checkpoint at once; the last act of a node that drains.
    pub fn checkpoint_now(&self, reading: Reading) -> Result<Appended, Fatal> {
        self.checkpoint(&mut lock(&self.state), reading)
    }

    fn checkpoint(&self, state: &mut State, reading: Reading) -> Result<Appended, Fatal> {
        let time = state.clock.elapsed(reading);
        let at = state.index.freeze();
        let appended =
            self.journal
                .append_checkpoint(time, &self.identity, at.sequence, at.digest)?;
        Self::fold(state, &appended)?;
        state.checkpointed = Checkpointed {
            sequence: appended.last(),
            monotonic_ms: reading.monotonic_ms,
        };
        Ok(appended)
    }

    /// The node's time, or a refusal while it is not trusted. A clock that has just become suspect
    /// is recorded.
    fn trusted_time(
        &self,
        state: &mut State,
        context: &mut Context<'_>,
    ) -> Result<Result<UnixMillis, Refusal>, Fatal> {
        let before = state.clock.state();
        let mut challenge = [0; 32];
        context.rng.fill_bytes(&mut challenge);
        let now = state.clock.now(context.reading, || Nonce32(challenge));
        if state.clock.state() != before {
            let expected = state.clock.elapsed(context.reading);
            let observed = context.reading.wall;
            let _appended = self.record(
                state,
                expected,
                vec![Entry::ClockSuspect { expected, observed }],
            )?;
        }
        Ok(now.map_err(|_| {
            Refusal::new(
                Reason::ClockSuspect,
                format!(
                    "node {} does not trust its clock: peers or a person at its console must \
                     confirm it",
                    self.me
                ),
            )
            .with("node", &self.me)
        }))
    }

    /// Appends records and folds them into the index, in one piece.
    fn record(
        &self,
        state: &mut State,
        time: UnixMillis,
        entries: Vec<Entry>,
    ) -> Result<Appended, Fatal> {
        let appended = self.journal.append(time, entries)?;
        Self::fold(state, &appended)?;
        Ok(appended)
    }

    fn fold(state: &mut State, appended: &Appended) -> Result<(), Fatal> {
        for record in appended.records() {
            let changes = ledger::changes(&*state.index, record)?;
            state.index.apply(record.sequence, changes)?;
        }
        Ok(())
    }

    /// What is answered for a rejection by an admin that is not recorded here and now: an earlier
    /// record holds it, and the rejection is told only once that one is durable (P8).
    fn recorded_rejection(&self, refusal: Refusal) -> Refusal {
        if self.journal.durable().sequence() < self.journal.head().sequence {
            return Refusal::new(
                Reason::Overloaded,
                "the rejection is being written: ask again",
            );
        }
        refusal
    }

    /// Records a refusal, unless refusals come so fast that they could fill the disk.
    fn refuse(
        &self,
        state: &mut State,
        reading: Reading,
        subject: Subject,
        refusal: &Refusal,
    ) -> Result<Option<Appended>, Fatal> {
        // An admin's rejection is final only once it is recorded, so it is always recorded, once
        // (P8).
        let must = match subject.command_id {
            Some(id) if refusal.reason == Reason::CommandRejected => {
                !ledger::command(&*state.index, id)?.is_some_and(|row| row.rejected)
            }
            _ => false,
        };
        if refusal.reason.code() == Code::Internal
            || !(must || state.refusals.take(reading.monotonic_ms))
        {
            return Ok(None);
        }
        let time = state.clock.elapsed(reading);
        let entry = self.refused_entry(subject, refusal);
        self.record(state, time, vec![entry]).map(Some)
    }

    fn refused_entry(&self, subject: Subject, refusal: &Refusal) -> Entry {
        Entry::Refused(Refused {
            command: subject.command,
            command_id: subject.command_id,
            endorsements: subject.endorsements,
            policy: self.pinned().roster().policy_hash,
            key: subject.key,
            epoch: subject.epoch,
            reason: refusal.reason.as_str().to_owned(),
            detail: refusal.message.clone(),
        })
    }
}

/// What a refused request was about, as far as it is known.
#[derive(Default)]
struct Subject {
    command: Option<Digest>,
    command_id: Option<quorate_model::CommandId>,
    endorsements: Option<Digest>,
    key: Option<quorate_model::KeyName>,
    epoch: Option<quorate_model::Epoch>,
}
