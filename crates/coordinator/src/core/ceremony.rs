//! Births of keys, and new shares of keys: the coordinator's side of key generation and resharing
//! (P18 to P20, P27 to P31).
//!
//! ```text
//!  wait for all nodes ─► begin ─► rounds ─► certificate ─► (pair) ─► prove ─► activate ─► (erase)
//!        ▲                  │        │           ▲           │          │
//!        └── another attempt, fresh id, ◄────────┘     certificate that nodes hold already
//!            higher epoch where one is taken,
//!            other dealers where one is silent or guilty
//! ```
//!
//! In each stage every node is asked one thing, and the stage ends when all have answered. A lost
//! call is repeated: nodes answer a repeat exactly as before. The coordinator only carries; it can
//! read no share and forge no statement, and a certificate that nodes did not all sign is none.

mod aim;
mod asking;
mod pairing;
mod predecessor;
mod progress;
mod proving;
mod quarantined;
mod resharing;
mod resume;
mod rounds;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use quorate_model::{
    Digest, Epoch, KeyName, NodeId, Reason, Refusal,
    command::{CommandBody, CreateKey, SignedCommand},
    ids::{CommandId, UnixMillis},
    node_api::{AttemptId, NodeReply, NodeRequest},
    operation::{CommandOutcome, CommandState},
};
use quorate_proto::admission;

use super::{
    Action, Admitted, Core, Moment, Notice, StoreItem,
    keys::{self, Certified},
};

use aim::Aim;
use resharing::Ending;

/// Attempts at one key before its creation fails.
const MAX_TRIES: u32 = 12;

/// The delay before another attempt, times the number of attempts so far, in milliseconds.
const AGAIN_MS: u64 = 50;

/// The least delay after another coordinator was found to change the key, in milliseconds; up to
/// three times as long by chance.
const GIVE_WAY_MS: u64 = 1_250;

/// The delay before a lost call is repeated, in milliseconds.
const REPEAT_MS: u64 = 100;

/// All ceremonies that are under way or wait for their turn.
#[derive(Default)]
pub(super) struct Ceremonies {
    ops: BTreeMap<KeyName, Change>,
    queue: VecDeque<KeyName>,
    /// When the keys that are certified and not proven are looked at again, and how often each was
    /// taken up, with when it may be again.
    finish_ms: u64,
    finished: BTreeMap<KeyName, (u32, u64)>,
}

/// One creation or resharing.
struct Change {
    /// None while nobody waits for it: a creation that an earlier run left unfinished.
    id: Option<CommandId>,
    signed: Arc<SignedCommand>,
    aim: Aim,
    digest: Digest,
    expires: UnixMillis,
    started_ms: u64,
    /// Whether it has had its turn.
    running: bool,
    epoch: Epoch,
    tries: u32,
    /// Names the stage in calls, so that late answers to earlier stages are ignored.
    number: u64,
    stage: Stage,
    stage_ms: u64,
    asks: BTreeMap<NodeId, Ask>,
}

enum Stage {
    /// Until all nodes are there, and not before this time.
    Waiting {
        not_before_ms: u64,
    },
    /// The round whose envelopes were handed over; none for the beginning.
    Rounds {
        attempt: AttemptId,
        round: Option<u8>,
    },
    /// A node says that the name is taken: by whom?
    Looking,
    /// Between all holders of an ECDSA key.
    Pairing {
        key: Arc<Certified>,
        attempt: AttemptId,
    },
    /// Not before this time.
    Unpaired {
        key: Arc<Certified>,
        not_before_ms: u64,
    },
    /// Until there is a ticket of every node.
    Tickets {
        key: Arc<Certified>,
    },
    Proving(Box<proving::Proving>),
    Activating {
        key: Arc<Certified>,
    },
    /// Until old shares are erased.
    Ending(Box<Ending>),
}

/// What one node is asked in a stage.
struct Ask {
    request: NodeRequest,
    state: AskState,
}

enum AskState {
    Asked,
    /// Lost on the way; to be repeated at this time.
    Repeat {
        at_ms: u64,
    },
    Answered(Box<NodeReply>),
}

impl Ceremonies {
    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The command with its endorsements.
    pub(super) fn command(&self, id: CommandId) -> Option<(Arc<SignedCommand>, CommandBody)> {
        let op = self.ops.values().find(|op| op.id == Some(id))?;
        Some((Arc::clone(&op.signed), op.aim.body()))
    }

    /// Whether a key is being made or reshared.
    pub(super) fn is_under_way(&self, key: &KeyName) -> bool {
        self.ops.contains_key(key)
    }

    /// Whether the holders of a key are being told of an epoch.
    pub(super) fn is_switching(&self, key: &KeyName) -> bool {
        let op = self.ops.get(key);
        op.is_some_and(|op| matches!(op.stage, Stage::Activating { .. }))
    }

    /// Whether all that is left of a command is the end of old shares.
    pub(super) fn is_ending(&self, id: CommandId) -> bool {
        let op = self.ops.values().find(|op| op.id == Some(id));
        op.is_some_and(|op| matches!(op.stage, Stage::Ending(_)))
    }
}

impl Change {
    fn unanswered(&self) -> Vec<NodeId> {
        self.asks
            .iter()
            .filter(|(_, ask)| !matches!(ask.state, AskState::Answered(_)))
            .map(|(node, _)| node.clone())
            .collect()
    }

    /// Whether it goes on after its command has expired: what is proven takes effect at nodes at any
    /// time, so it is brought to its end.
    fn outlives_command(&self) -> bool {
        matches!(self.aim, Aim::Reshare(_))
            && matches!(self.stage, Stage::Activating { .. } | Stage::Ending(_))
    }
}

impl Core {
    pub(super) fn begin_creation(
        &mut self,
        moment: &mut Moment<'_>,
        admitted: &Admitted,
        create: CreateKey,
    ) {
        let id = admitted.command.id;
        let name = create.key.clone();
        let mut resume = None;
        if let Some(known) = self.keys.get(&self.pinned, &name) {
            let (command, epoch) = keys::origin(&known);
            if command != admitted.digest {
                let refusal = if known.proof.is_some() {
                    taken(&name)
                } else {
                    unfinished(&name)
                };
                return self.end(id, CommandState::Denied, None, Some(refusal));
            }
            if known.proof.is_some() {
                let outcome = CommandOutcome::KeyCreated { key: name, epoch };
                return self.end(id, CommandState::Succeeded, Some(outcome), None);
            }
            resume = Some(known);
        }
        if let Some(other) = self.ceremonies.ops.get_mut(&name) {
            if other.digest == admitted.digest && other.id.is_none() {
                other.id = Some(id);
                return;
            }
            let refusal = Refusal::new(
                Reason::SessionLimit,
                format!("another command is changing key \"{name}\""),
            )
            .with("key", &name);
            return self.end(id, CommandState::Failed, None, Some(refusal));
        }
        if let Err((state, refusal)) = self.check_predecessor(&create) {
            return self.end(id, state, None, Some(refusal));
        }
        let signed = Arc::clone(&admitted.signed);
        let expires = admitted.command.expires;
        let aim = Aim::Create(create);
        self.add_change(moment, Some(id), signed, aim, expires, resume);
    }

    fn add_change(
        &mut self,
        moment: &mut Moment<'_>,
        id: Option<CommandId>,
        signed: Arc<SignedCommand>,
        aim: Aim,
        expires: UnixMillis,
        resume: Option<Arc<Certified>>,
    ) {
        let name = aim.key().clone();
        let stage = match resume {
            Some(key) => Stage::Tickets { key },
            None => Stage::Waiting { not_before_ms: 0 },
        };
        let creation = Change {
            id,
            digest: signed.digest(),
            signed,
            epoch: aim.first_epoch(),
            aim,
            expires,
            started_ms: moment.ms(),
            running: false,
            tries: 0,
            number: self.fresh_id(),
            stage,
            stage_ms: moment.ms(),
            asks: BTreeMap::new(),
        };
        self.ceremonies.ops.insert(name.clone(), creation);
        self.ceremonies.queue.push_back(name);
        self.take_turns(moment);
    }

    /// Lets as many creations run as may at a time.
    fn take_turns(&mut self, moment: &mut Moment<'_>) {
        loop {
            let running = self.ceremonies.ops.values().filter(|op| op.running).count();
            if running >= self.config.limits.max_ceremonies {
                return;
            }
            let Some(name) = self.ceremonies.queue.pop_front() else {
                return;
            };
            if let Some(op) = self.ceremonies.ops.get_mut(&name) {
                op.running = true;
                op.started_ms = moment.ms();
                op.stage_ms = moment.ms();
                self.tick_creation(moment, &name);
            }
        }
    }

    pub(super) fn tick_ceremonies(&mut self, moment: &mut Moment<'_>) {
        let names: Vec<KeyName> = self.ceremonies.ops.keys().cloned().collect();
        for name in names {
            self.tick_creation(moment, &name);
        }
    }

    /// Tickets came in: creations that wait for some go on.
    pub(super) fn tickets_came(&mut self, moment: &mut Moment<'_>) {
        let waiting: Vec<KeyName> = self
            .ceremonies
            .ops
            .iter()
            .filter(|(_, op)| matches!(op.stage, Stage::Tickets { .. }))
            .map(|(name, _)| name.clone())
            .collect();
        for name in waiting {
            self.tick_creation(moment, &name);
        }
    }

    fn tick_creation(&mut self, moment: &mut Moment<'_>, name: &KeyName) {
        let now_ms = moment.ms();
        let Some(op) = self.ceremonies.ops.get(name) else {
            return;
        };
        let expired = op.expires <= moment.now.wall && op.id.is_some();
        if expired && !op.outlives_command() {
            return self.fail_creation(moment, name, CommandState::Expired, admission::expired());
        }
        if !op.running {
            return;
        }
        if self.replaces_silent_dealers(moment, name) {
            return;
        }
        if let Some(refusal) = self.overdue(moment, name) {
            return self.fail_creation(moment, name, CommandState::Failed, refusal);
        }
        let Some(op) = self.ceremonies.ops.get(name) else {
            return;
        };
        match &op.stage {
            Stage::Waiting { not_before_ms } => {
                let due = *not_before_ms <= now_ms;
                if let Some(refusal) = self.unlisted(name) {
                    self.fail_creation(moment, name, CommandState::Denied, refusal);
                } else if let Some(refusal) = self.quarantined(name) {
                    self.fail_creation(moment, name, CommandState::Failed, refusal);
                } else if due && self.missing_of(name).is_empty() {
                    self.begin_rounds(moment, name);
                } else {
                    self.tell_progress(name);
                }
            }
            Stage::Tickets { key } => {
                let key = Arc::clone(key);
                let creates = matches!(op.aim, Aim::Create(_));
                match self.quarantined(name).filter(|_| creates) {
                    // It is finished without being asked once the node is back.
                    Some(refusal) => {
                        self.fail_creation(moment, name, CommandState::Failed, refusal);
                    }
                    None => self.begin_proving(moment, name, &key),
                }
            }
            Stage::Unpaired { key, not_before_ms } => {
                let key = Arc::clone(key);
                let all = key
                    .record
                    .participants
                    .iter()
                    .all(|p| self.peers.is_connected(&p.node));
                if all && *not_before_ms <= now_ms {
                    self.begin_pairing(moment, name, &key);
                } else {
                    self.tell_progress(name);
                }
            }
            Stage::Rounds { .. }
            | Stage::Looking
            | Stage::Pairing { .. }
            | Stage::Proving(_)
            | Stage::Activating { .. } => self.repeat_asks(moment, name),
            Stage::Ending(_) => self.end_resharing_if_over(moment, name),
        }
    }

    /// Why a creation cannot wait any longer.
    fn overdue(&self, moment: &Moment<'_>, name: &KeyName) -> Option<Refusal> {
        let op = self.ceremonies.ops.get(name)?;
        if let Stage::Ending(_) = &op.stage {
            return None;
        }
        let limits = &self.config.limits;
        let waited_ms = moment.ms().saturating_sub(op.stage_ms);
        let patience_ms = if let Stage::Pairing { .. } = &op.stage {
            limits.pairing_timeout_ms
        } else {
            limits.quorum_wait_ms
        };
        if waited_ms >= patience_ms {
            let mut missing = self.missing_of(name);
            missing.extend(op.unanswered());
            if !missing.is_empty() {
                let names: Vec<&str> = missing.iter().map(NodeId::as_str).collect();
                let missing = names.join(", ");
                let what = op.aim.needs();
                return Some(
                    Refusal::new(
                        Reason::QuorumUnavailable,
                        format!("{what}: no answer comes from {missing}"),
                    )
                    .with("missing", missing),
                );
            }
        }
        let age_ms = moment.ms().saturating_sub(op.started_ms);
        (age_ms >= limits.ceremony_deadline_ms).then(|| {
            Refusal::new(
                Reason::TimedOut,
                format!("the command was not carried out within {age_ms} ms"),
            )
        })
    }

    fn stage_done(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        replies: BTreeMap<NodeId, NodeReply>,
    ) {
        let Some(op) = self.ceremonies.ops.get_mut(name) else {
            return;
        };
        // What goes on with no stage of its own begins again after a while, and never at once.
        let not_before_ms = moment.now.ms().saturating_add(AGAIN_MS);
        let stage = std::mem::replace(&mut op.stage, Stage::Waiting { not_before_ms });
        match stage {
            Stage::Rounds { attempt, .. } => self.round_done(moment, name, attempt, replies),
            Stage::Pairing { key, attempt } => {
                self.pairing_round_done(moment, name, &key, attempt, replies);
            }
            Stage::Proving(proving) => self.proved(moment, name, &proving, replies),
            Stage::Activating { key } => self.activated(moment, name, &key, replies),
            stage @ (Stage::Waiting { .. }
            | Stage::Ending(_)
            | Stage::Looking
            | Stage::Unpaired { .. }
            | Stage::Tickets { .. }) => {
                op.stage = stage;
            }
        }
    }

    fn stage_refused(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        node: &NodeId,
        refusal: Refusal,
    ) {
        if refusal.reason == Reason::NodeQuarantined {
            // Once its status says so, another attempt does without it, or is refused at once.
            self.ask_status_soon(node);
        }
        let Some(op) = self.ceremonies.ops.get_mut(name) else {
            return;
        };
        if let Stage::Proving(proving) = &op.stage
            && refusal.reason == Reason::PairingsUnready
        {
            let key = Arc::clone(&proving.key);
            return self.pair_again(moment, name, &key, refusal);
        }
        if let Stage::Pairing { key, .. } = &op.stage
            && (refusal.reason.is_retryable() || is_of_the_relay(refusal.reason))
        {
            let key = Arc::clone(key);
            return self.pair_again(moment, name, &key, refusal);
        }
        if let Stage::Proving(proving) = &op.stage
            && refusal.reason.is_retryable()
            && refusal.reason != Reason::EpochChanged
        {
            let key = Arc::clone(&proving.key);
            let scheme = key.record.scheme.proven_by();
            self.tickets.pool(node, scheme).clear();
            return self.prove_again(name, key);
        }
        if let Stage::Activating { .. } = &op.stage
            && refusal.reason.is_retryable()
            && refusal.reason != Reason::EpochChanged
        {
            let at_ms = moment.ms().saturating_add(REPEAT_MS);
            return self.set_ask(name, node, AskState::Repeat { at_ms });
        }
        let reason = refusal.reason;
        // Who lists a certificate and refuses it is not looked at without a pause, nor for ever.
        if let Stage::Activating { .. } = &op.stage
            && reason == Reason::KeyExists
        {
            return self.again(moment, name, refusal);
        }
        let again = matches!(op.aim, Aim::Reshare(_)) && reason == Reason::EpochChanged;
        if again || reason == Reason::KeyExists {
            return self.look(moment, name, node);
        }
        if reason == Reason::ShareUnavailable && self.avoid_dealer(name, node) {
            return self.again(moment, name, refusal);
        }
        let Some(op) = self.ceremonies.ops.get_mut(name) else {
            return;
        };
        if reason == Reason::EpochTaken {
            let next = refusal.get("next_epoch").and_then(|text| text.parse().ok());
            let after = op.epoch.0.saturating_add(1);
            op.epoch = Epoch(next.unwrap_or(after).max(after));
            if !op.aim.can_make(op.epoch) {
                let refusal = used_up(name, op.epoch);
                return self.fail_creation(moment, name, CommandState::Denied, refusal);
            }
        }
        if is_of_the_relay(reason) || reason.is_retryable() {
            self.again(moment, name, refusal);
        } else {
            self.fail_creation(moment, name, CommandState::Denied, refusal);
        }
    }

    /// Another run of whatever is under way, after a while.
    fn run_again(&mut self, moment: &mut Moment<'_>, name: &KeyName, why: Refusal) {
        let stage = self.ceremonies.ops.get(name).map(|op| &op.stage);
        if let Some(Stage::Pairing { key, .. }) = stage {
            let key = Arc::clone(key);
            return self.pair_again(moment, name, &key, why);
        }
        self.again(moment, name, why);
    }

    /// Another attempt, after a while.
    fn again(&mut self, moment: &mut Moment<'_>, name: &KeyName, why: Refusal) {
        let number = self.fresh_id();
        let [chance] = moment.bytes::<1>();
        let Some(op) = self.ceremonies.ops.get_mut(name) else {
            return;
        };
        op.tries = op.tries.saturating_add(1);
        op.number = number;
        if op.tries >= MAX_TRIES {
            // Who has answered the last attempt may have the key in use.
            return self.fail_creation(moment, name, CommandState::Failed, why);
        }
        op.asks.clear();
        let mut wait = AGAIN_MS.saturating_mul(u64::from(op.tries));
        // Another coordinator is at it. Whoever comes back first finds the nodes free.
        if why.reason == Reason::SessionLimit {
            wait = GIVE_WAY_MS.saturating_add(u64::from(chance).saturating_mul(10));
        }
        op.stage = Stage::Waiting {
            not_before_ms: moment.now.ms().saturating_add(wait),
        };
        op.stage_ms = moment.now.ms();
        let why = why.message;
        self.out.push(Action::Notice(Notice::CeremonyAgain {
            key: name.clone(),
            why,
        }));
        self.tell_progress(name);
    }

    fn fail_creation(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        state: CommandState,
        refusal: Refusal,
    ) {
        let Some(op) = self.ceremonies.ops.remove(name) else {
            return;
        };
        self.keep_what_is_in_use(moment, &op);
        if let Some(id) = op.id {
            self.end(id, state, None, Some(refusal));
        }
        self.take_turns(moment);
    }

    /// Where one node has activated the key, it has a proof that the others take later.
    fn keep_what_is_in_use(&mut self, moment: &Moment<'_>, op: &Change) {
        let Stage::Activating { key } = &op.stage else {
            return;
        };
        let answered = |ask: &Ask| matches!(ask.state, AskState::Answered(_));
        if !op.asks.values().any(answered) {
            return;
        }
        self.remember_key(moment, key);
        if let Aim::Reshare(resharing) = &op.aim {
            self.gather_later(key, resharing.keepers(&key.record));
        }
    }

    /// Gives up what an admin has rejected; the next one has its turn.
    pub(super) fn abandon_creation(&mut self, moment: &mut Moment<'_>, id: CommandId) {
        let mut ops = self.ceremonies.ops.iter();
        let name = ops.find(|(_, op)| op.id == Some(id));
        let Some(name) = name.map(|(name, _)| name.clone()) else {
            return;
        };
        if let Some(op) = self.ceremonies.ops.remove(&name) {
            self.keep_what_is_in_use(moment, &op);
        }
        self.take_turns(moment);
    }

    fn remember_key(&mut self, moment: &Moment<'_>, key: &Arc<Certified>) {
        let before = self.keys.get(&self.pinned, &key.record.name);
        if !self.keys.put(&self.pinned, Arc::clone(key)) {
            return;
        }
        self.writes.push(StoreItem::Key(key.stored()));
        if key.birth.is_some() {
            self.epoch_changed(&key.record.name);
            self.states_move_up(moment, before.as_deref(), key);
        }
        if key.proof.is_some() {
            for participant in &key.record.participants {
                self.tickets
                    .pool(&participant.node, key.record.scheme.proven_by());
            }
        }
    }
}

/// No number is left for another attempt.
fn used_up(name: &KeyName, next: Epoch) -> Refusal {
    Refusal::new(
        Reason::EpochTaken,
        format!(
            "attempts have used up the epochs of key \"{name}\" that the command gives: make \
             another with --first-epoch {next}"
        ),
    )
    .with("key", name)
    .with("next_epoch", next)
}

/// What a node makes of envelopes that it does not expect is the relay's doing.
fn is_of_the_relay(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ProtocolViolation | Reason::RequestInvalid | Reason::TooLarge
    )
}

/// A creation of another command is certified, and its shares are not proven yet.
fn unfinished(name: &KeyName) -> Refusal {
    Refusal::new(
        Reason::KeyExists,
        format!(
            "another creation of key \"{name}\" is certified and not finished: repeat that command \
             when all of its nodes are connected, or choose another name"
        ),
    )
    .with("key", name)
}

/// The name stands for another key.
fn taken(name: &KeyName) -> Refusal {
    Refusal::new(
        Reason::KeyExists,
        format!("a key \"{name}\" exists already: choose another name"),
    )
    .with("key", name)
}
