//! Changes of the states of keys: bringing them to every holder, and telling who acts by them (P33,
//! P41).
//!
//! The coordinator decides nothing here. What it knows of a state it has from commands whose
//! endorsements it checked, and it forgets all of it with the process: the nodes hold the commands
//! and list them. Whenever a holder lists less than is known, it is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorate_model::{
    Digest, KeyRecord, NodeId, Reason, Refusal, UnixMillis,
    command::{CommandBody, Endorsement, EndorsementKind, SignedCommand},
    ids::{CommandId, KeyId},
    node_api::{KeyListing, NodeReply, NodeRequest},
    operation::{CommandOutcome, CommandState, Progress, StateOutcome},
    roster::Role,
    standing::{Effect, SetKeyState, Standing, StateMark, StateReceipt},
};
use quorate_proto::admission;

use super::{
    Action, Admitted, CallFailure, Core, Handle, Moment, Purpose, endorse, keys::Certified,
    signing::most_common,
};

/// The most changes under way.
const MAX_OPS: usize = 256;

/// The most changes of one admin that are under way, so that none can keep the others' out.
const MAX_OF_ONE: usize = 32;

/// The most commands that wait for the words of others, of all admins. Thousands of keys are reshared
/// by as many commands, which are approved together.
const MAX_WAITING: usize = 16_384;

/// The most bytes of all commands that wait for the words of others. One command of an admin waits
/// whatever those of the others take: they are to keep nobody out.
const MAX_WAITING_BYTES: usize = 32 << 20;

/// The most bytes of those of one admin: more than the largest command has with all endorsements.
const MAX_WAITING_BYTES_OF_ONE: usize = 8 << 20;

/// When a node that was not ready is asked again, in milliseconds.
const ASK_AGAIN_MS: u64 = 100;

/// How long a step that may end waits for nodes that are not ready, in milliseconds.
const PATIENCE_MS: u64 = 2_000;

/// The most keys whose standing is kept. Every one takes the word of an admin.
const MAX_STANDINGS: usize = 1 << 20;

/// One change under way.
struct StateOp {
    command: Admitted,
    set: SetKeyState,
    record: KeyRecord,
    receipts: BTreeMap<NodeId, StateReceipt>,
    refusals: BTreeMap<NodeId, Refusal>,
    awaited: BTreeSet<NodeId>,
    put_off: PutOff,
    deadline_ms: u64,
}

/// The nodes that are not ready for what they are asked, or whose answers were lost: each with when
/// that was first, and when it may be asked again.
#[derive(Default)]
pub(super) struct PutOff(BTreeMap<NodeId, (u64, u64)>);

impl PutOff {
    pub(super) fn put_off(&mut self, node: &NodeId, now_ms: u64) {
        let (_, again_ms) = self.0.entry(node.clone()).or_insert((now_ms, now_ms));
        *again_ms = now_ms.saturating_add(ASK_AGAIN_MS);
    }

    /// Whether a node may be asked.
    pub(super) fn is_due(&self, node: &NodeId, now_ms: u64) -> bool {
        self.0
            .get(node)
            .is_none_or(|(_, again_ms)| *again_ms <= now_ms)
    }

    /// Whether one of these nodes may still be ready in a moment: whoever has not been for long is told
    /// later.
    pub(super) fn is_waiting(&self, connected: &BTreeSet<NodeId>, now_ms: u64) -> bool {
        let mut all = self.0.iter();
        all.any(|(node, (since_ms, _))| {
            connected.contains(node) && now_ms.saturating_sub(*since_ms) < PATIENCE_MS
        })
    }

    pub(super) fn has_answered(&mut self, node: &NodeId) {
        self.0.remove(node);
    }

    fn retain(&mut self, holds: impl Fn(&NodeId) -> bool) {
        self.0.retain(|node, _| holds(node));
    }
}

impl StateOp {
    fn holders(&self) -> impl Iterator<Item = &NodeId> {
        self.record.participants.iter().map(|p| &p.node)
    }

    fn answered(&self, node: &NodeId) -> bool {
        self.receipts.contains_key(node) || self.refusals.contains_key(node)
    }

    /// The key has these holders from here on.
    fn hold_by(&mut self, record: &KeyRecord) {
        let holds = |node: &NodeId| record.index_of(node).is_some();
        self.receipts.retain(|node, _| holds(node));
        self.refusals.retain(|node, _| holds(node));
        self.awaited.retain(holds);
        self.put_off.retain(holds);
        self.record = record.clone();
    }
}

/// A command about a state that only an earlier roster admits, and the holders that list it.
struct Claim {
    set: SetKeyState,
    command: SignedCommand,
    by: BTreeSet<NodeId>,
}

/// The changes under way, the commands that wait for more persons, and what is known of states.
#[derive(Default)]
pub(super) struct States {
    ops: BTreeMap<CommandId, StateOp>,
    awaiting: BTreeMap<CommandId, Admitted>,
    known: BTreeMap<KeyId, Standing>,
    /// What too few holders list to be believed.
    claims: BTreeMap<KeyId, BTreeMap<Digest, Claim>>,
}

impl States {
    /// Where a key stands.
    pub(super) fn standing(&self, key: &KeyId) -> Standing {
        self.known.get(key).cloned().unwrap_or_default()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.ops.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is no room for another change by whoever proposes it.
    pub(super) fn is_full(&self, signed: &SignedCommand) -> bool {
        let ops = self.ops.values().map(|op| &op.command);
        self.ops.len() >= MAX_OPS || of_one(ops, signed) >= MAX_OF_ONE
    }

    /// Checks that a further command of whoever proposes it can wait. The endorsements that come to it
    /// later are few and small.
    fn check_waiting(&self, signed: &SignedCommand, most_of_one: usize) -> Result<(), Refusal> {
        let own = of_one(self.awaiting.values(), signed);
        let is_full = own > 0 && self.awaiting.len() >= MAX_WAITING;
        if is_full || own >= most_of_one {
            return Err(Refusal::new(
                Reason::Overloaded,
                "too many commands wait for endorsements: have some approved or rejected first",
            ));
        }
        let (mut all, mut of_admin) = (signed.stored_bytes(), signed.stored_bytes());
        for waiting in self.awaiting.values() {
            let bytes = waiting.signed.stored_bytes();
            all = all.saturating_add(bytes);
            if waiting.signed.proposing_admin() == signed.proposing_admin() {
                of_admin = of_admin.saturating_add(bytes);
            }
        }
        if own > 0 && (all > MAX_WAITING_BYTES || of_admin > MAX_WAITING_BYTES_OF_ONE) {
            return Err(Refusal::new(
                Reason::Overloaded,
                "the commands that wait for endorsements are too large together: have some approved \
                 or rejected first, or make smaller ones",
            ));
        }
        Ok(())
    }

    /// Whether these bytes wait for more persons.
    pub(super) fn awaits(&self, id: CommandId, digest: Digest) -> bool {
        self.awaiting
            .get(&id)
            .is_some_and(|command| command.digest == digest)
    }

    pub(super) fn is_awaiting(&self, id: CommandId) -> bool {
        self.awaiting.contains_key(&id)
    }

    pub(super) fn command(&self, id: CommandId) -> Option<(Arc<SignedCommand>, CommandBody)> {
        let command = &self.ops.get(&id)?.command;
        Some((Arc::clone(&command.signed), command.command.body.clone()))
    }

    pub(super) fn remove(&mut self, id: CommandId) {
        self.ops.remove(&id);
    }

    /// Takes what an honest holder that knows as much would take. True: it is news.
    fn learn(&mut self, key: KeyId, set: &SetKeyState, command: &SignedCommand) -> bool {
        if self.known.len() >= MAX_STANDINGS && !self.known.contains_key(&key) {
            return false;
        }
        let known = self.known.entry(key).or_default();
        let news = known.judge(set, &command.digest()) == Ok(Effect::Changes);
        if news {
            known.take(StateMark::new(set, command.clone()));
        }
        news
    }
}

impl States {
    /// Forgets what a holder listed of a key by the word of persons who were removed since.
    fn forget_claims(&mut self, key: KeyId, node: &NodeId) {
        let Some(claims) = self.claims.get_mut(&key) else {
            return;
        };
        claims.retain(|_, claim| {
            claim.by.remove(node);
            !claim.by.is_empty()
        });
        if claims.is_empty() {
            self.claims.remove(&key);
        }
    }

    /// Takes what a holder lists by the word of persons who were removed since. It counts once as many
    /// holders list it as sign with the key: one of them is honest, and took it in time. True: it is
    /// news.
    fn claim(
        &mut self,
        record: &KeyRecord,
        node: &NodeId,
        set: SetKeyState,
        command: &SignedCommand,
    ) -> bool {
        let (key, digest) = (record.id(), command.digest());
        let full = self.claims.len() >= MAX_STANDINGS && !self.claims.contains_key(&key);
        if full || record.index_of(node).is_none() {
            return false;
        }
        let claims = self.claims.entry(key).or_default();
        let claim = claims.entry(digest).or_insert_with(|| Claim {
            set,
            command: command.clone(),
            by: BTreeSet::new(),
        });
        claim.by.insert(node.clone());
        let holders = claim
            .by
            .iter()
            .filter(|node| record.index_of(node).is_some());
        if holders.count() < usize::from(record.threshold) {
            return false;
        }
        let Some(claim) = claims.remove(&digest) else {
            return false;
        };
        if claims.is_empty() {
            self.claims.remove(&key);
        }
        self.learn(key, &claim.set, &claim.command)
    }
}

impl Core {
    /// Keeps a command until enough persons speak for it, and answers with how it stands.
    pub(super) fn await_persons(
        &mut self,
        id: CommandId,
        handle: Handle,
        command: &Admitted,
        missing: Refusal,
        now: UnixMillis,
    ) {
        let waits = matches!(
            command.command.body,
            CommandBody::CreateKey(_)
                | CommandBody::SetKeyState(_)
                | CommandBody::ReshareKey(_)
                | CommandBody::DestroyKey(_)
                | CommandBody::ChangeRoster(_)
                | CommandBody::ReadmitNode(_)
                | CommandBody::Evacuate(_)
        );
        if !waits {
            return self.end(id, CommandState::Denied, None, Some(missing));
        }
        if command.command.expires <= now {
            return self.end(id, CommandState::Expired, None, Some(admission::expired()));
        }
        let most = self.config.limits.max_waiting_approvals;
        if let Err(refusal) = self.states.check_waiting(&command.signed, most) {
            return self.end(id, CommandState::Failed, None, Some(refusal));
        }
        self.commands.awaits(id, &command.signed);
        self.states.awaiting.insert(id, command.clone());
        self.tell_view(id, Some(handle));
    }

    /// Answers with a command as it stands, and tells whoever watches it.
    fn tell_view(&mut self, id: CommandId, handle: Option<Handle>) {
        let Some(view) = self.commands.get(id).map(Arc::new) else {
            return;
        };
        if let Some(handle) = handle {
            self.commands.leave(id, handle);
            self.answer(handle, Ok(Arc::clone(&view)));
        }
        self.out.push(Action::Progress(view));
    }

    /// Adds the words of principals to a command that waits for them. It begins once they suffice.
    pub(super) fn add_words(
        &mut self,
        moment: &mut Moment<'_>,
        handle: Handle,
        id: CommandId,
        words: Vec<Endorsement>,
    ) {
        let Some(waiting) = self.states.awaiting.get(&id) else {
            return;
        };
        let mut command = waiting.clone();
        let mut signed = SignedCommand::clone(&command.signed);
        for word in words {
            if signed.endorsements.contains(&word) {
                continue;
            }
            // Whoever spoke for a command may still forbid it.
            if word.kind == EndorsementKind::Reject && word.role == Role::Admin {
                signed
                    .endorsements
                    .retain(|earlier| earlier.principal != word.principal);
            }
            signed.endorsements.push(word);
        }
        if let Err(refusal) = admission::check_endorsements(&self.pinned, &signed) {
            return self.answer(handle, Err(refusal));
        }
        command.missing = admission::check_persons(&self.pinned, &signed, &command.command).err();
        command.signed = Arc::new(signed);
        if command.signed.is_forbidden(&command.command.body) {
            self.states.awaiting.remove(&id);
            self.commands.join(id, handle);
            self.tell_rejection(moment, &command.signed, &command.command.body);
            return self.end(id, CommandState::Denied, None, Some(endorse::rejected(id)));
        }
        if command.missing.is_some() {
            self.commands.awaits(id, &command.signed);
            self.states.awaiting.insert(id, command);
            return self.tell_view(id, Some(handle));
        }
        self.states.awaiting.remove(&id);
        self.commands.is_endorsed(id);
        self.commands.join(id, handle);
        self.carry_out(moment, command);
    }

    pub(super) fn begin_state_change(
        &mut self,
        moment: &mut Moment<'_>,
        command: &Admitted,
        set: SetKeyState,
    ) {
        let id = command.command.id;
        let Some(key) = self.keys.get(&self.pinned, &set.key) else {
            let refusal = Refusal::new(
                Reason::KeyUnknown,
                format!("there is no key \"{}\"", set.key),
            )
            .with("key", &set.key);
            // Nodes may still list it.
            let state = if self.is_ready() {
                CommandState::Denied
            } else {
                CommandState::Failed
            };
            return self.end(id, state, None, Some(refusal));
        };
        if let Err(refusal) = set.check_key(&key.record) {
            return self.end(id, CommandState::Denied, None, Some(refusal));
        }
        let op = StateOp {
            command: command.clone(),
            record: key.record.clone(),
            set,
            receipts: BTreeMap::new(),
            refusals: BTreeMap::new(),
            awaited: BTreeSet::new(),
            put_off: PutOff::default(),
            deadline_ms: moment
                .ms()
                .saturating_add(self.config.limits.quorum_wait_ms),
        };
        self.states.ops.insert(id, op);
        self.ask_holders(moment, id);
    }

    /// Asks every connected holder that has not answered, and ends the change when nobody is left
    /// to ask.
    fn ask_holders(&mut self, moment: &Moment<'_>, id: CommandId) {
        let timeout = self.config.limits.call_timeout_ms;
        let connected = self.peers.connected();
        let Some(op) = self.states.ops.get_mut(&id) else {
            return;
        };
        let ask: Vec<NodeId> = op
            .holders()
            .filter(|node| connected.contains(node))
            .filter(|node| !op.answered(node) && !op.awaited.contains(node))
            .filter(|node| op.put_off.is_due(node, moment.ms()))
            .cloned()
            .collect();
        op.awaited.extend(ask.iter().cloned());
        let command = SignedCommand::clone(&op.command.signed);
        for node in ask {
            let request = NodeRequest::SetKeyState {
                command: command.clone(),
            };
            self.call(moment, &node, request, timeout, Purpose::State { op: id });
        }
        self.conclude_state(moment, id);
    }

    pub(super) fn state_reply(
        &mut self,
        moment: &Moment<'_>,
        id: CommandId,
        node: &NodeId,
        result: Result<NodeReply, CallFailure>,
    ) {
        let Some(op) = self.states.ops.get_mut(&id) else {
            return;
        };
        op.awaited.remove(node);
        if op.record.index_of(node).is_none() {
            return;
        }
        match result {
            Ok(NodeReply::StateSet(receipt)) => {
                op.put_off.has_answered(node);
                match receipt.verify(&self.pinned, node, &op.set, &op.command.digest) {
                    Ok(()) => {
                        op.receipts.insert(node.clone(), receipt);
                        let (set, command) = (op.set.clone(), Arc::clone(&op.command.signed));
                        self.states.learn(set.key_id, &set, &command);
                    }
                    Err(refusal) => {
                        op.refusals.insert(node.clone(), refusal);
                    }
                }
            }
            Ok(_) => {
                let refusal = Refusal::new(
                    Reason::ProtocolViolation,
                    format!("node {node} answered with something else"),
                );
                op.put_off.has_answered(node);
                op.refusals.insert(node.clone(), refusal);
            }
            Err(CallFailure::Refused(refusal)) if !refusal.reason.is_retryable() => {
                op.put_off.has_answered(node);
                op.refusals.insert(node.clone(), refusal);
            }
            Err(CallFailure::Refused(_) | CallFailure::Lost | CallFailure::TimedOut) => {
                op.put_off.put_off(node, moment.ms());
            }
        }
    }

    pub(super) fn tick_states(&mut self, moment: &mut Moment<'_>) {
        let ids: Vec<CommandId> = self.states.ops.keys().copied().collect();
        for id in ids {
            self.ask_holders(moment, id);
        }
        let now = moment.now.wall;
        let late: Vec<CommandId> = self
            .states
            .awaiting
            .iter()
            .filter(|(_, command)| command.command.expires <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.states.awaiting.remove(&id);
            self.end(id, CommandState::Expired, None, Some(admission::expired()));
        }
    }

    /// Ends a change that every connected holder has answered, or whose time is over.
    fn conclude_state(&mut self, moment: &Moment<'_>, id: CommandId) {
        let connected = self.peers.connected().into_iter().collect();
        let Some(op) = self.states.ops.get(&id) else {
            return;
        };
        let late = op.deadline_ms <= moment.ms();
        let binds = op.receipts.len() >= op.record.blocking();
        let hopeless = op.refusals.len()
            > op.record
                .participants
                .len()
                .saturating_sub(op.record.blocking());
        let waits = !op.awaited.is_empty() || op.put_off.is_waiting(&connected, moment.ms());
        if !late && (waits || !(binds || hopeless)) {
            let progress = Progress {
                step: "acknowledge".to_owned(),
                awaited: op
                    .holders()
                    .filter(|node| !op.answered(node))
                    .cloned()
                    .collect(),
                percent: percent(op.receipts.len(), op.record.participants.len()),
            };
            if let Some(view) = self.commands.progress(id, progress) {
                self.out.push(Action::Progress(Arc::new(view)));
            }
            return;
        }
        let Some(op) = self.states.ops.remove(&id) else {
            return;
        };
        let missing: Vec<NodeId> = op
            .holders()
            .filter(|node| !op.receipts.contains_key(*node))
            .cloned()
            .collect();
        for node in &missing {
            // Whoever is slow lists its keys again, and is told then.
            if let Some(peer) = self.peers.get_mut(node) {
                peer.synced = false;
            }
        }
        if binds {
            let outcome = StateOutcome {
                key: op.set.key.clone(),
                binding: u16::try_from(op.record.blocking()).unwrap_or(u16::MAX),
                receipts: op.receipts.into_values().collect(),
                missing,
            };
            let outcome = Some(CommandOutcome::KeyStateSet(outcome));
            return self.end(id, CommandState::Succeeded, outcome, None);
        }
        let (state, refusal) = match most_common(op.refusals.values()) {
            Some(refusal) if hopeless => (CommandState::Denied, refusal),
            _ => (CommandState::Failed, unbound(&op, &missing)),
        };
        self.end(id, state, None, Some(refusal));
    }

    /// Another epoch of a key is in use: whoever is new among its holders hears where the key stands,
    /// and changes that are under way are acknowledged by those who hold it from here on.
    pub(super) fn states_move_up(
        &mut self,
        moment: &Moment<'_>,
        before: Option<&Certified>,
        key: &Certified,
    ) {
        let record = &key.record;
        let Some(before) = before.filter(|before| before.record.id() == record.id()) else {
            return;
        };
        self.tell_new_holders(moment, &before.record, record);
        let mut ids = Vec::new();
        for (id, op) in &mut self.states.ops {
            if op.record.id() == record.id() {
                op.hold_by(record);
                ids.push(*id);
            }
        }
        for id in ids {
            self.ask_holders(moment, id);
        }
    }

    /// Brings the commands about the state of a key to those who hold it in another epoch only.
    pub(super) fn tell_new_holders(
        &mut self,
        moment: &Moment<'_>,
        before: &KeyRecord,
        record: &KeyRecord,
    ) {
        let standing = self.states.standing(&record.id());
        for holder in &record.participants {
            let is_new = before.index_of(&holder.node).is_none();
            if is_new && self.peers.is_connected(&holder.node) {
                self.tell_standing(moment, &holder.node, &Standing::default(), &standing);
            }
        }
    }

    /// Takes what a holder lists about the state of a key, and tells it what it does not know. What
    /// is new here is told to the other holders too.
    pub(super) fn learn_standing(
        &mut self,
        moment: &Moment<'_>,
        node: &NodeId,
        listing: &KeyListing,
    ) {
        let Some(key) = self.keys.get(&self.pinned, &listing.key) else {
            return;
        };
        let id = key.record.id();
        let known = self.states.standing(&id);
        let mut news = false;
        self.states.forget_claims(id, node);
        for mark in listing.standing.marks() {
            let digest = mark.command.digest();
            if known.holds(&digest) {
                continue;
            }
            let Some((set, in_force)) = self.checked(&mark.command, &key.record) else {
                if self.may_be_ahead(node) || self.is_ahead(&mark.command) {
                    self.is_misunderstood(node);
                    continue;
                }
                self.out.push(Action::Notice(super::Notice::Misbehaved {
                    node: node.clone(),
                    what: "listed a state that no admin commanded",
                    proven: false,
                }));
                continue;
            };
            news |= if in_force {
                self.states.learn(id, &set, &mark.command)
            } else {
                self.states.claim(&key.record, node, set, &mark.command)
            };
        }
        let standing = self.states.standing(&id);
        if !listing.state.is_destroyed() {
            self.tell_standing(moment, node, &listing.standing, &standing);
        }
        if news {
            for holder in &key.record.participants {
                let gone = self.is_destroyed_at(&holder.node, &listing.key, id);
                if holder.node != *node && !gone && self.peers.is_connected(&holder.node) {
                    self.tell_standing(moment, &holder.node, &known, &standing);
                }
            }
        }
    }

    /// The command about this key, if its endorsements suffice, and whether they do so under the
    /// roster in force: whoever commanded it may have been removed since.
    fn checked(&self, signed: &SignedCommand, record: &KeyRecord) -> Option<(SetKeyState, bool)> {
        let (command, in_force) = admission::admit_noting_when(&self.pinned, signed).ok()?;
        let CommandBody::SetKeyState(set) = command.body else {
            return None;
        };
        let forbidden = signed.is_forbidden(&CommandBody::SetKeyState(set.clone()));
        let fits = !forbidden && set.check_key(record).is_ok() && set.key == record.name;
        fits.then_some((set, in_force))
    }

    /// Brings a holder the commands that it does not know and would take.
    fn tell_standing(
        &mut self,
        moment: &Moment<'_>,
        node: &NodeId,
        theirs: &Standing,
        standing: &Standing,
    ) {
        let timeout = self.config.limits.call_timeout_ms;
        let mut theirs = theirs.clone();
        for mark in standing.marks() {
            let Some(set) = commanded(&mark.command) else {
                continue;
            };
            if theirs.judge(&set, &mark.command.digest()) != Ok(Effect::Changes) {
                continue;
            }
            theirs.take(mark.clone());
            // Nodes in service obey nobody who was removed.
            if admission::admit(&self.pinned, &mark.command).is_err() {
                continue;
            }
            let command = mark.command.clone();
            let request = NodeRequest::SetKeyState { command };
            self.call(moment, node, request, timeout, Purpose::Courtesy);
        }
    }
}

/// How many of these commands are proposed by the same admin as this one.
pub(super) fn of_one<'a>(
    commands: impl Iterator<Item = &'a Admitted>,
    signed: &SignedCommand,
) -> usize {
    let admin = signed.proposing_admin();
    commands
        .filter(|command| command.signed.proposing_admin() == admin)
        .count()
}

/// What a command that was checked asks for.
fn commanded(signed: &SignedCommand) -> Option<SetKeyState> {
    let CommandBody::SetKeyState(set) = quorate_proto::command::decode(&signed.bytes).ok()?.body
    else {
        return None;
    };
    Some(set)
}

pub(super) fn percent(done: usize, all: usize) -> u8 {
    let percent = done.saturating_mul(100).checked_div(all).unwrap_or(0);
    u8::try_from(percent).unwrap_or(100)
}

/// Why a change does not bind, who has not said that it acts by it, and what is to be done.
fn unbound(op: &StateOp, missing: &[NodeId]) -> Refusal {
    let nodes: Vec<&str> = missing.iter().map(NodeId::as_str).collect();
    let refused = op
        .refusals
        .iter()
        .map(|(node, refusal)| format!("{node} refuses: {refusal}"));
    let silent = missing
        .iter()
        .filter(|node| !op.refusals.contains_key(*node));
    let why: Vec<String> = refused
        .chain(silent.map(|node| format!("{node} has not answered")))
        .collect();
    // What no holder has heard stands nowhere, and is as if it had never been said.
    let next = if op.receipts.is_empty() {
        "the key stands as before: repeat the command when holders are connected, or import it at \
         their consoles"
    } else {
        "this coordinator tells the others when they connect, for as long as it runs; otherwise \
         repeat the command, or import the states at their consoles"
    };
    Refusal::new(
        Reason::QuorumUnavailable,
        format!(
            "{} of {} holders act by the change, {} must before it binds ({}); {next}",
            op.receipts.len(),
            op.record.participants.len(),
            op.record.blocking(),
            why.join("; "),
        ),
    )
    .with("needed", op.record.blocking())
    .with("missing", nodes.join(", "))
}
