//! The coordinator core: a synchronous function from events to actions.
//!
//! ```text
//!   callers ──Submit──►┌───────────────────────────────┐──Answer, Progress──► callers
//!                      │ Core                          │
//!   nodes ───Reply────►│  commands   who waits for what│──Call──────────────► nodes
//!            LinkUp    │  signing    attempts, blame   │
//!   store ───Stored───►│  ceremony   births of keys    │──Persist───────────► store
//!   clock ───Tick─────►│  upkeep     status, tickets   │──WakeAt────────────► clock
//!                      └───────────────────────────────┘
//! ```
//!
//! It knows no task, socket, clock or randomness of its own, and iterates over ordered maps only, so
//! that the same events lead to the same actions: the shell and the simulator drive the same code.
//! Nothing here protects a key. The worst that a wrong core can do is nothing (SECURITY.md, "Boundary: coordinator"): every
//! node judges every command itself, and callers verify what they are given.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

use quorate_model::{
    NodeId, Reason, Refusal,
    command::CommandBody,
    ids::CommandId,
    node_api::{NodeReply, NodeRequest},
    operation::{CommandOutcome, CommandState, CommandView},
    roster::PinnedRoster,
};
use rand_core::CryptoRngCore;

pub mod admission;
mod ceremony;
mod commands;
pub mod config;
mod destroying;
mod due;
mod ecdsa;
mod endorse;
mod erasing;
pub mod event;
mod keys;
mod left_out;
mod mail;
mod math;
mod membership;
mod peers;
mod queries;
mod readmission;
mod signing;
mod states;
mod tickets;
mod upkeep;
mod uses;
mod validation;

pub use admission::{Admitted, admit, admit_question};
pub use config::{CoreConfig, Limits};
pub use event::{
    Action, BatchId, CallFailure, CallId, Event, Handle, Notice, Now, StoreItem, StoredCommand,
    StoredEnd, StoredKey, StoredUse,
};

use ceremony::Ceremonies;
use commands::{Commands, Lookup, fresh_view, reused};
use destroying::Destroying;
use due::DueCounts;
use ecdsa::Ecdsa;
use erasing::Erasing;
use keys::KeyBook;
use left_out::LeftOut;
use membership::Rosters;
use peers::{Call, Part, Peers, Purpose, Queued};
use readmission::Readmissions;
use signing::Signing;
use states::States;
use tickets::Tickets;
use uses::Uses;
use validation::Validation;

/// While something is under way, time is looked at this often, in milliseconds.
const BUSY_TICK_MS: u64 = 10;

/// While nothing is under way, time is looked at this often, in milliseconds.
const IDLE_TICK_MS: u64 = 250;

/// One coordinator.
pub struct Core {
    config: CoreConfig,
    pinned: PinnedRoster,
    peers: Peers,
    calls: BTreeMap<CallId, Call>,
    next_id: u64,
    tickets: Tickets,
    keys: KeyBook,
    commands: Commands,
    signing: Signing,
    ecdsa: Ecdsa,
    ceremonies: Ceremonies,
    validations: BTreeMap<u64, Validation>,
    states: States,
    rosters: Rosters,
    due: DueCounts,
    erasing: Erasing,
    destroying: Destroying,
    left_out: LeftOut,
    uses: Uses,
    readmissions: Readmissions,
    evidence: BTreeSet<Vec<u8>>,
    out: Vec<Action>,
    writes: Vec<StoreItem>,
    ended: Vec<CommandId>,
    wake_ms: Option<u64>,
    upkeep_ms: u64,
    draining: bool,
}

/// What every handler is given.
struct Moment<'a> {
    now: Now,
    rng: &'a mut dyn CryptoRngCore,
}

impl Moment<'_> {
    fn ms(&self) -> u64 {
        self.now.ms()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

impl Core {
    /// A core with what the store holds. Stored commands may be left out; see [`Event::Submit`].
    pub fn new(config: CoreConfig, pinned: PinnedRoster, restored: Vec<StoreItem>) -> Self {
        let mut keys = KeyBook::default();
        let mut evidence = BTreeSet::new();
        let mut rosters = Vec::new();
        let mut uses = Uses::default();
        let mut ends = Vec::new();
        for item in restored {
            match item {
                StoreItem::Key(key) => keys.restore(key),
                StoreItem::Evidence(bytes) => {
                    evidence.insert(bytes);
                }
                StoreItem::Roster(at, command) => rosters.push((at, command)),
                StoreItem::Use(stored) => uses.restore(stored),
                StoreItem::End(stored) => ends.push(stored),
                StoreItem::Command(_) => {}
            }
        }
        let pinned = membership::restore(pinned, rosters);
        let mut core = Self {
            peers: Peers::new(&pinned),
            config,
            pinned,
            calls: BTreeMap::new(),
            next_id: 0,
            tickets: Tickets::default(),
            keys,
            commands: Commands::default(),
            signing: Signing::default(),
            ecdsa: Ecdsa::default(),
            ceremonies: Ceremonies::default(),
            validations: BTreeMap::new(),
            states: States::default(),
            rosters: Rosters::default(),
            due: DueCounts::default(),
            erasing: Erasing::default(),
            destroying: Destroying::default(),
            left_out: LeftOut::default(),
            uses,
            readmissions: Readmissions::default(),
            evidence,
            out: Vec::new(),
            writes: Vec::new(),
            ended: Vec::new(),
            wake_ms: None,
            upkeep_ms: 0,
            draining: false,
        };
        for end in &ends {
            core.restore_end(end);
        }
        core
    }

    /// Takes one event.
    pub fn handle(&mut self, now: Now, event: Event, rng: &mut dyn CryptoRngCore) -> Vec<Action> {
        self.handle_all(now, [event], rng)
    }

    /// Takes events that came at about the same time. Requests to one node that follow from them
    /// leave in one call.
    pub fn handle_all(
        &mut self,
        now: Now,
        events: impl IntoIterator<Item = Event>,
        rng: &mut dyn CryptoRngCore,
    ) -> Vec<Action> {
        let mut moment = Moment { now, rng };
        for event in events {
            self.dispatch(&mut moment, event);
        }
        self.settle(&mut moment);
        std::mem::take(&mut self.out)
    }

    fn dispatch(&mut self, moment: &mut Moment<'_>, event: Event) {
        match event {
            Event::Submit {
                handle,
                command,
                validate_only: true,
                ..
            } => {
                self.submit_validation(moment, handle, &command);
            }
            Event::Submit {
                handle,
                command,
                remembered,
                ..
            } => {
                self.submit(moment, handle, command, remembered.as_deref());
            }
            Event::Endorse {
                handle,
                id,
                endorsement,
                remembered,
            } => {
                self.endorse(moment, handle, id, endorsement, remembered.as_deref());
            }
            Event::LinkUp { node } => self.link_up(moment, &node),
            Event::LinkDown { node } => self.link_down(moment, &node),
            Event::Reply { call, result } => self.reply(moment, call, result),
            Event::Stored { batch } => self.stored(batch),
            Event::Tick => self.tick(moment),
        }
    }

    /// What follows from all events of one moment: batches leave, writes are handed over.
    fn settle(&mut self, moment: &mut Moment<'_>) {
        self.retry_waiting(moment);
        self.fetch_tickets(moment);
        for node in self.peers.ids() {
            self.pump(moment, &node);
        }
        if !self.writes.is_empty() {
            let batch = BatchId(self.fresh_id());
            self.commands
                .stored_by(batch, std::mem::take(&mut self.ended));
            self.out.push(Action::Persist {
                batch,
                writes: std::mem::take(&mut self.writes),
            });
        }
        let busy = !self.signing.is_empty()
            || !self.ecdsa.is_empty()
            || !self.ceremonies.is_empty()
            || !self.validations.is_empty()
            || !self.states.is_idle()
            || !self.rosters.is_idle()
            || !self.readmissions.is_idle()
            || !self.destroying.is_idle()
            || self.is_erasing(moment)
            || self
                .calls
                .values()
                .any(|call| matches!(call.purpose, Purpose::Shares(_)));
        let wait = if busy { BUSY_TICK_MS } else { IDLE_TICK_MS };
        let wake = moment.ms().saturating_add(wait);
        if self
            .wake_ms
            .is_none_or(|planned| wake < planned || planned <= moment.ms())
        {
            self.wake_ms = Some(wake);
            self.out.push(Action::WakeAt(wake));
        }
    }

    fn tick(&mut self, moment: &mut Moment<'_>) {
        self.wake_ms = None;
        self.find_stalled(moment);
        self.end_overdue(moment);
        self.tick_ceremonies(moment);
        self.tick_validations(moment);
        self.tick_states(moment);
        self.tick_rosters(moment);
        self.tick_readmissions(moment);
        self.tick_erasing(moment);
        self.tick_destroying(moment);
        if moment.ms() >= self.upkeep_ms {
            self.upkeep_ms = moment.ms().saturating_add(IDLE_TICK_MS);
            self.upkeep(moment);
        }
    }

    fn submit(
        &mut self,
        moment: &mut Moment<'_>,
        handle: Handle,
        command: Admitted,
        remembered: Option<&StoredCommand>,
    ) {
        let id = command.command.id;
        if self.states.awaits(id, command.digest) {
            return self.add_words(moment, handle, id, command.signed.endorsements.clone());
        }
        match self
            .commands
            .look_up(id, command.digest, remembered, handle)
        {
            Lookup::Joined => return,
            Lookup::Over(view) => return self.answer(handle, Ok(view)),
            Lookup::Reused => return self.answer(handle, Err(reused(id))),
            Lookup::Fresh => {}
        }
        if let Err(refusal) = self.admit_now(moment, &command) {
            return self.answer(handle, Err(refusal));
        }
        self.commands
            .begin(fresh_view(&command.command, command.digest), Some(handle));
        if command.signed.is_forbidden(&command.command.body) {
            self.tell_rejection(moment, &command.signed, &command.command.body);
            return self.end(id, CommandState::Denied, None, Some(endorse::rejected(id)));
        }
        if let Some(missing) = &command.missing {
            let now = moment.now.wall;
            return self.await_persons(id, handle, &command, missing.clone(), now);
        }
        self.carry_out(moment, command);
    }

    /// Begins what a command asks for.
    fn carry_out(&mut self, moment: &mut Moment<'_>, command: Admitted) {
        match &command.command.body {
            CommandBody::CreateKey(create) => {
                let create = create.clone();
                self.begin_creation(moment, &command, create);
            }
            CommandBody::SetKeyState(set) => {
                let set = set.clone();
                self.begin_state_change(moment, &command, set);
            }
            CommandBody::ReshareKey(reshare) => {
                let reshare = reshare.clone();
                self.begin_resharing(moment, &command, reshare);
            }
            CommandBody::DestroyKey(destroy) => {
                let destroy = destroy.clone();
                self.begin_destruction(moment, &command, destroy);
            }
            CommandBody::ChangeRoster(_) => self.begin_roster_change(moment, &command),
            CommandBody::ReadmitNode(readmit) => {
                let readmit = readmit.clone();
                self.begin_readmission(moment, &command, readmit);
            }
            CommandBody::Sign(_) | _ => self.begin_signing(moment, command),
        }
    }

    /// What is checked of a command that is to begin at this moment.
    fn admit_now(&self, moment: &Moment<'_>, command: &Admitted) -> Result<(), Refusal> {
        quorate_proto::admission::check_time(&command.command, moment.now.wall)?;
        quorate_proto::admission::check_made(&command.command, moment.now.wall)?;
        if self.draining {
            return Err(Refusal::new(
                Reason::ShuttingDown,
                "the coordinator is going down: submit the same command to another one",
            ));
        }
        let limits = &self.config.limits;
        let full = match &command.command.body {
            CommandBody::CreateKey(_) | CommandBody::ReshareKey(_) => {
                self.ceremonies.len()
                    >= limits
                        .max_ceremonies
                        .saturating_add(limits.max_waiting_ceremonies)
            }
            CommandBody::SetKeyState(_) => self.states.is_full(&command.signed),
            CommandBody::DestroyKey(_) => self.destroying.is_full(&command.signed),
            CommandBody::ChangeRoster(_) => self.rosters.is_full(),
            CommandBody::ReadmitNode(_) => self.readmissions.is_full(),
            CommandBody::Sign(_) | _ => self.signing.len() >= limits.max_pending,
        };
        if full {
            return Err(Refusal::new(
                Reason::Overloaded,
                "too many commands are under way: submit the same command again later",
            ));
        }
        Ok(())
    }

    /// Ends a command; who waits for it is answered once its outcome is durable.
    fn end(
        &mut self,
        id: CommandId,
        state: CommandState,
        outcome: Option<CommandOutcome>,
        error: Option<Refusal>,
    ) {
        if let Some(stored) = self.commands.end(id, state, outcome, error) {
            self.ended.push(id);
            self.writes.push(StoreItem::Command(stored));
        }
    }

    fn answer(&mut self, handle: Handle, result: Result<Arc<CommandView>, Refusal>) {
        self.out.push(Action::Answer { handle, result });
    }

    fn stored(&mut self, batch: BatchId) {
        let keep = self.config.limits.max_recent;
        for (view, waiters) in self.commands.stored(batch, keep) {
            for handle in waiters {
                self.out.push(Action::Answer {
                    handle,
                    result: Ok(Arc::clone(&view)),
                });
            }
            self.out.push(Action::Progress(view));
        }
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id = self.next_id.saturating_add(1);
        self.next_id
    }

    fn call(
        &mut self,
        moment: &Moment<'_>,
        node: &NodeId,
        request: NodeRequest,
        timeout_ms: u64,
        purpose: Purpose,
    ) -> CallId {
        let call = CallId(self.fresh_id());
        let sent_us = moment.now.mono_us;
        self.calls.insert(
            call,
            Call {
                node: node.clone(),
                sent_us,
                overdue: false,
                purpose,
            },
        );
        self.out.push(Action::Call {
            call,
            node: node.clone(),
            request,
            timeout_ms,
        });
        call
    }

    fn reply(
        &mut self,
        moment: &mut Moment<'_>,
        id: CallId,
        result: Result<NodeReply, CallFailure>,
    ) {
        // A call that was given up when its link broke has no one waiting for it.
        let Some(call) = self.calls.remove(&id) else {
            return;
        };
        let Call {
            node,
            sent_us,
            overdue,
            purpose,
        } = call;
        let elapsed_us = moment.now.mono_us.saturating_sub(sent_us);
        match purpose {
            Purpose::Status { nonce } => {
                self.status_reply(moment, &node, nonce, elapsed_us, result);
            }
            Purpose::Sync { after } => self.sync_reply(moment, &node, after.as_ref(), result),
            Purpose::Tickets { scheme } => self.tickets_reply(moment, &node, scheme, result),
            Purpose::Shares(parts) => {
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.share_calls = peer.share_calls.saturating_sub(1);
                    if overdue {
                        peer.overdue_calls = peer.overdue_calls.saturating_sub(1);
                    }
                    if result.is_ok() {
                        peer.answered_shares(elapsed_us, !overdue);
                    }
                }
                self.shares_reply(moment, &node, &parts, result);
            }
            Purpose::Ceremony { key, stage } => {
                self.ceremony_reply(moment, &key, stage, &node, result);
            }
            Purpose::Signing { session } => self.session_reply(moment, session, &node, result),
            Purpose::Renewal { id } => self.renewal_reply(moment, id, &node, result),
            Purpose::Lookup { key, stage } => {
                self.lookup_reply(moment, (&key, &node), stage, result);
            }
            Purpose::Validate { validation } => {
                self.validate_reply(moment, validation, &node, result);
            }
            Purpose::Attest { suspect, challenge } => {
                self.attest_reply(moment, &suspect, challenge, &node, result);
            }
            Purpose::Roster { roster } => self.roster_reply(moment, &node, roster, result),
            Purpose::Rosters => self.rosters_reply(moment, &node, result),
            Purpose::State { op } => self.state_reply(moment, op, &node, result),
            Purpose::Destroy { op, key, order } => {
                self.destroy_reply(moment, (op, key, order), &node, result);
            }
            Purpose::Confirm => self.ask_status_soon(&node),
            Purpose::Heads {
                restored,
                restore,
                after,
            } => {
                let asked = (&restored, restore, after.as_ref());
                self.heads_reply(moment, asked, &node, result);
            }
            Purpose::Readmit { witness, op, next } => {
                self.readmit_reply(moment, &node, (witness.as_ref(), op), next, result);
            }
            Purpose::Seek { op } => self.seek_reply(moment, op, &node, result),
            Purpose::MoveUp { key } => self.moved_up(moment, &key, &node, result),
            Purpose::Erase { keys } => self.erase_reply(moment, &node, &keys, result),
            Purpose::Courtesy => {}
        }
    }

    /// A node did what an honest node does not do: it is left out for a while.
    fn misbehaved(&mut self, moment: &Moment<'_>, node: &NodeId, what: &'static str, proven: bool) {
        let until = moment.ms().saturating_add(self.config.limits.penalty_ms);
        if let Some(peer) = self.peers.get_mut(node) {
            peer.left_out_until_ms = until;
            if proven {
                peer.proven_until_ms = until;
            }
        }
        self.tickets.drop_node(node);
        self.out.push(Action::Notice(Notice::Misbehaved {
            node: node.clone(),
            what,
            proven,
        }));
    }

    /// Keeps evidence, and hands it to every node but the blamed one for their audit logs (P16).
    fn keep_evidence(&mut self, moment: &Moment<'_>, blamed: &NodeId, evidence: &[u8]) {
        if !self.evidence.insert(evidence.to_vec()) {
            return;
        }
        self.writes.push(StoreItem::Evidence(evidence.to_vec()));
        let timeout = self.config.limits.call_timeout_ms;
        for node in self.peers.connected() {
            if node != *blamed {
                let request = NodeRequest::RecordEvidence {
                    evidence: evidence.to_vec(),
                };
                self.call(moment, &node, request, timeout, Purpose::Courtesy);
            }
        }
    }
}

#[cfg(test)]
mod tests;
