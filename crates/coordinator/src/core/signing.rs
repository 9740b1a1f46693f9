//! Signing: which nodes sign a command, and what happens when one of them does not (P24, P25).
//!
//! Each attempt is a subset of exactly t holders with a ticket of each per message. A signer that
//! stalls, is lost, refuses or cheats does not hold the command up: another subset signs, with
//! other tickets. At most n-t+1 attempts run at a time and a signer is pending in at most one of
//! them (ROAST), so that signers who answer late cannot multiply the work.

mod answers;
mod select;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use quorate_model::{
    Digest, NodeId, PartyIndex, Reason, Refusal,
    command::{CommandBody, Sign, SignedCommand},
    ids::{CommandId, UnixMillis},
    node_api::NodeRequest,
    operation::CommandState,
    share::{SetOfSigners, ShareStatement},
    identity::Signature,
};
use quorate_protocol::frost::SigningSet;

use super::{
    Admitted, Core, Moment, Part, Purpose, admission,
    keys::Certified,
    math::{self, Message},
};

/// The most bytes of commands in one call for shares.
const MAX_CALL_BYTES: usize = 2 << 20;

/// The most messages in one call for shares, so that one call stays short.
const MAX_CALL_ITEMS: usize = 256;

/// How many commands in a row may find no signers before the others wait for the next occasion.
const GIVE_UP_AFTER: usize = 32;

/// All signing commands that are under way.
#[derive(Default)]
pub(super) struct Signing {
    ops: BTreeMap<CommandId, SignOp>,
    /// Those that need another attempt, in order.
    waiting: VecDeque<CommandId>,
    timers: BTreeSet<(u64, CommandId)>,
}

/// One signing command.
struct SignOp {
    command: Arc<SignedCommand>,
    digest: Digest,
    sign: Arc<CommandBody>,
    expires: UnixMillis,
    started_ms: u64,
    /// Known once the key is.
    material: Option<Material>,
    attempts: BTreeMap<u64, Attempt>,
    next_attempt: u64,
    waits: bool,
    /// Nodes that refuse for good.
    refusals: BTreeMap<NodeId, Refusal>,
    /// Nodes that could not, and may be asked again later.
    setbacks: BTreeMap<NodeId, Setback>,
    /// Nodes that cheated in this command.
    cheats: BTreeSet<NodeId>,
}

#[derive(Clone)]
struct Material {
    key: Arc<Certified>,
    messages: Arc<Vec<Message>>,
}

struct Setback {
    count: u32,
    until_ms: u64,
    refusal: Option<Refusal>,
}

/// One subset's attempt.
struct Attempt {
    sets: Vec<SetOfSigners>,
    digests: Vec<Digest>,
    parsed: Vec<SigningSet>,
    signers: BTreeMap<PartyIndex, Signer>,
    /// Whether it can still lead to a signature.
    alive: bool,
}

struct Signer {
    node: NodeId,
    phase: Phase,
}

enum Phase {
    /// Not asked yet, or asked and not answered.
    Pending,
    /// Will not answer.
    Gone,
    Answered(Box<Answer>),
}

/// A share as it came, with what proves who made it.
#[derive(Clone)]
struct Answer {
    statement: ShareStatement,
    batch: Arc<Vec<Digest>>,
    signature: Signature,
}

impl Attempt {
    fn is_pending(&self, signer: PartyIndex) -> bool {
        self.signers.get(&signer).is_some_and(|s| matches!(s.phase, Phase::Pending))
    }

    fn has_pending(&self) -> bool {
        self.signers.values().any(|signer| matches!(signer.phase, Phase::Pending))
    }
}

impl Signing {
    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub(super) fn remove(&mut self, id: CommandId) {
        self.ops.remove(&id);
    }

    /// The command with its endorsements.
    pub(super) fn command(&self, id: CommandId) -> Option<(Arc<SignedCommand>, CommandBody)> {
        self.ops.get(&id).map(|op| (Arc::clone(&op.command), CommandBody::clone(&op.sign)))
    }

    /// Replaces the endorsements for the attempts that follow.
    pub(super) fn set_command(&mut self, id: CommandId, command: Arc<SignedCommand>) {
        if let Some(op) = self.ops.get_mut(&id) {
            op.command = command;
        }
    }

    fn wait(&mut self, id: CommandId) {
        if let Some(op) = self.ops.get_mut(&id)
            && !op.waits
        {
            op.waits = true;
            self.waiting.push_back(id);
        }
    }
}

impl SignOp {
    fn sign(&self) -> Option<&Sign> {
        if let CommandBody::Sign(sign) = &*self.sign { Some(sign) } else { None }
    }

    /// A node could not: it is asked again after a delay that doubles.
    fn set_back(&mut self, node: &NodeId, now_ms: u64, refusal: Option<Refusal>) {
        let setback = self
            .setbacks
            .entry(node.clone())
            .or_insert(Setback { count: 0, until_ms: 0, refusal: None });
        // The first time it may have been a ticket that died with a restart: try at once.
        let delay = if setback.count == 0 { 0 } else { 25u64 << setback.count.min(6) };
        setback.count = setback.count.saturating_add(1);
        setback.until_ms = now_ms.saturating_add(delay);
        if refusal.is_some() {
            setback.refusal = refusal;
        }
    }
}

impl Core {
    pub(super) fn begin_signing(&mut self, moment: &Moment<'_>, admitted: Admitted) {
        let id = admitted.command.id;
        let started_ms = moment.ms();
        let op = SignOp {
            command: admitted.signed,
            digest: admitted.digest,
            sign: Arc::new(admitted.command.body.clone()),
            expires: admitted.command.expires,
            started_ms,
            material: None,
            attempts: BTreeMap::new(),
            next_attempt: 0,
            waits: false,
            refusals: BTreeMap::new(),
            setbacks: BTreeMap::new(),
            cheats: BTreeSet::new(),
        };
        self.signing.ops.insert(id, op);
        let limits = &self.config.limits;
        let first = limits.quorum_wait_ms.min(admitted.command.expires.since(moment.now.wall));
        self.signing.timers.insert((started_ms.saturating_add(first), id));
        self.signing.wait(id);
    }

    /// Gives every command that needs another attempt a try.
    pub(super) fn retry_waiting(&mut self, moment: &Moment<'_>) {
        let mut failures = 0;
        for _ in 0..self.signing.waiting.len() {
            if failures >= GIVE_UP_AFTER {
                return;
            }
            let Some(id) = self.signing.waiting.pop_front() else {
                return;
            };
            if let Some(op) = self.signing.ops.get_mut(&id) {
                op.waits = false;
            }
            if !self.advance(moment, id) {
                self.signing.wait(id);
                failures = failures.saturating_add(1);
            }
        }
    }

    /// Begins another attempt where one is needed. False: not possible at the moment.
    fn advance(&mut self, moment: &Moment<'_>, id: CommandId) -> bool {
        let Some(op) = self.signing.ops.get(&id) else {
            return true;
        };
        if op.material.is_none() {
            match self.resolve(id) {
                Resolved::Material => {}
                Resolved::Later => return false,
                Resolved::Refused(state, refusal) => {
                    self.end_signing(id, state, refusal);
                    return true;
                }
            }
        }
        if self.judge(id) {
            return true;
        }
        self.begin_attempt(moment, id)
    }

    /// Finds the key and what is to be signed with it.
    fn resolve(&mut self, id: CommandId) -> Resolved {
        let Some(sign) = self.signing.ops.get(&id).and_then(SignOp::sign).cloned() else {
            return Resolved::Later;
        };
        let name = &sign.key;
        let key = self.keys.get(&self.pinned, name);
        let everybody_listed = self.is_ready()
            && self.peers.iter().filter(|peer| peer.connected).all(|peer| peer.synced);
        match key {
            Some(key) if key.proof.is_some() => match math::messages(&sign.payloads, &key.record) {
                Ok(messages) => {
                    if let Some(op) = self.signing.ops.get_mut(&id) {
                        op.material = Some(Material { key, messages: Arc::new(messages) });
                    }
                    Resolved::Material
                }
                Err(refusal) => Resolved::Refused(CommandState::Denied, refusal),
            },
            _ if !everybody_listed => Resolved::Later,
            Some(_) => Resolved::Refused(
                CommandState::Failed,
                Refusal::new(
                    Reason::KeyNotActive,
                    format!("key \"{name}\" is not active: its creation is not finished"),
                )
                .with("key", name),
            ),
            None => Resolved::Refused(
                CommandState::Denied,
                Refusal::new(Reason::KeyUnknown, format!("there is no key \"{name}\""))
                    .with("key", name),
            ),
        }
    }

    /// Ends the command if too few nodes are left that could sign it. True: it is over.
    fn judge(&mut self, id: CommandId) -> bool {
        let Some((op, material)) = self
            .signing
            .ops
            .get(&id)
            .and_then(|op| Some((op, op.material.as_ref()?)))
        else {
            return false;
        };
        let record = &material.key.record;
        let holders = record.participants.len();
        let needed = usize::from(record.threshold);
        let lost = record
            .participants
            .iter()
            .filter(|p| op.refusals.contains_key(&p.node) || op.cheats.contains(&p.node))
            .count();
        if holders.saturating_sub(lost) >= needed {
            return false;
        }
        let spare = holders.saturating_sub(needed);
        let (state, refusal) = if op.refusals.len() > spare {
            (CommandState::Denied, most_common(op.refusals.values()))
        } else {
            (CommandState::Failed, Some(misbehaved(op.cheats.iter())))
        };
        let Some(refusal) = refusal else {
            return false;
        };
        self.end_signing(id, state, refusal);
        true
    }

    fn end_signing(&mut self, id: CommandId, state: CommandState, refusal: Refusal) {
        self.signing.remove(id);
        self.end(id, state, None, Some(refusal));
    }

    /// Sends what waits for a node, in as few calls as possible.
    pub(super) fn pump(&mut self, moment: &Moment<'_>, node: &NodeId) {
        let limits = self.config.limits.clone();
        loop {
            let Some(peer) = self.peers.get_mut(node) else {
                return;
            };
            if !peer.connected || peer.share_calls >= limits.calls_in_flight {
                return;
            }
            let (mut requests, mut parts) = (Vec::new(), Vec::new());
            let (mut bytes, mut items) = (0usize, 0usize);
            while let Some(next) = peer.queue.front() {
                // Most of what is queued is still wanted; what is not was overtaken by another
                // attempt.
                if !self.signing.still_wanted(&next.part) {
                    peer.queue.pop_front();
                    continue;
                }
                bytes = bytes.saturating_add(next.request.command.bytes.len());
                items = items.saturating_add(next.request.items.len());
                let full = requests.len() >= limits.max_batch
                    || bytes > MAX_CALL_BYTES
                    || items > MAX_CALL_ITEMS;
                if full && !requests.is_empty() {
                    break;
                }
                if let Some(queued) = peer.queue.pop_front() {
                    parts.push(queued.part);
                    requests.push(queued.request);
                }
            }
            if requests.is_empty() {
                return;
            }
            peer.share_calls = peer.share_calls.saturating_add(1);
            self.call(
                moment,
                node,
                NodeRequest::SignShares { requests },
                limits.call_timeout_ms,
                Purpose::Shares(parts),
            );
        }
    }

    /// Looks for calls for shares that take too long, and lets the commands in them, and those that
    /// wait behind them, be signed by others.
    pub(super) fn find_stalled(&mut self, moment: &Moment<'_>) {
        let limits = &self.config.limits;
        let mut stalled = Vec::new();
        for (id, call) in &mut self.calls {
            let Purpose::Shares(parts) = &call.purpose else { continue };
            if call.overdue {
                continue;
            }
            let Some(peer) = self.peers.get_mut(&call.node) else { continue };
            let age_ms = moment.now.mono_us.saturating_sub(call.sent_us) / 1_000;
            if age_ms < peer.stall_ms(limits) {
                continue;
            }
            call.overdue = true;
            peer.overdue_calls = peer.overdue_calls.saturating_add(1);
            peer.stalled(moment.ms(), limits);
            stalled.push((*id, call.node.clone(), parts.clone()));
        }
        for (_, node, parts) in stalled {
            self.out.push(super::Action::Notice(super::Notice::Stalled { node: node.clone() }));
            let behind = self.unqueue(&node);
            for part in parts.iter().chain(&behind) {
                self.signing.wait(part.op);
            }
        }
    }

    /// Takes back what waits for a node and has not been sent.
    fn unqueue(&mut self, node: &NodeId) -> Vec<Part> {
        let Some(peer) = self.peers.get_mut(node) else {
            return Vec::new();
        };
        let parts: Vec<Part> = peer.queue.drain(..).map(|queued| queued.part).collect();
        for part in &parts {
            self.signing.give_up(part);
        }
        parts
    }

    /// A node's link broke: nothing that waits for it will be sent.
    pub(super) fn lose_queue(&mut self, node: &NodeId) {
        for part in self.unqueue(node) {
            self.signing.wait(part.op);
        }
    }

    /// Ends commands whose time is over.
    pub(super) fn end_overdue(&mut self, moment: &Moment<'_>) {
        let now_ms = moment.ms();
        while let Some((at, id)) = self.signing.timers.first().copied() {
            if at > now_ms {
                return;
            }
            self.signing.timers.remove(&(at, id));
            let Some(op) = self.signing.ops.get(&id) else { continue };
            let (expires, started_ms) = (op.expires, op.started_ms);
            let age_ms = now_ms.saturating_sub(started_ms);
            if expires <= moment.now.wall {
                self.end_signing(id, CommandState::Expired, admission::expired());
            } else if let Some(refusal) = self.starved(id, age_ms) {
                self.end_signing(id, CommandState::Failed, refusal);
            } else {
                let next = now_ms.saturating_add(expires.since(moment.now.wall).clamp(1, 500));
                self.signing.timers.insert((next, id));
            }
        }
    }

    /// Why a command that has waited so long has no signature yet, if waiting on is no use.
    fn starved(&self, id: CommandId, age_ms: u64) -> Option<Refusal> {
        let limits = &self.config.limits;
        if age_ms < limits.quorum_wait_ms {
            return None;
        }
        let op = self.signing.ops.get(&id)?;
        let Some(material) = &op.material else {
            let majority = (self.pinned.roster().nodes.len() / 2).saturating_add(1);
            return Some(self.no_quorum(majority, |_| true));
        };
        let record = &material.key.record;
        let reachable = record
            .participants
            .iter()
            .filter(|p| {
                self.peers
                    .get(&p.node)
                    .is_some_and(|peer| peer.connected && peer.overdue_calls == 0)
            })
            .count();
        if reachable < usize::from(record.threshold) {
            let is_holder = |node: &NodeId| record.index_of(node).is_some();
            return Some(self.no_quorum(usize::from(record.threshold), is_holder));
        }
        let refusing: Vec<&Refusal> =
            op.setbacks.values().filter_map(|setback| setback.refusal.as_ref()).collect();
        let spare = record.participants.len().saturating_sub(usize::from(record.threshold));
        if refusing.len().saturating_add(op.refusals.len()) > spare {
            return most_common(refusing.into_iter().chain(op.refusals.values()));
        }
        (age_ms >= limits.sign_deadline_ms).then(|| {
            Refusal::new(
                Reason::TimedOut,
                format!("no {} nodes signed within {age_ms} ms", record.threshold),
            )
        })
    }

    /// Too few nodes answer; names those that do not.
    pub(super) fn no_quorum(&self, needed: usize, counts: impl Fn(&NodeId) -> bool) -> Refusal {
        let missing: Vec<&str> = self
            .peers
            .iter()
            .filter(|peer| counts(&peer.id) && !(peer.connected && peer.overdue_calls == 0))
            .map(|peer| peer.id.as_str())
            .collect();
        let missing = missing.join(", ");
        Refusal::new(
            Reason::QuorumUnavailable,
            format!("{needed} nodes must answer, but too few do: not reachable are {missing}"),
        )
        .with("needed", needed)
        .with("missing", missing)
    }
}

enum Resolved {
    Material,
    Later,
    Refused(CommandState, Refusal),
}

impl Signing {
    /// Whether a queued request belongs to an attempt that can still lead to a signature. Otherwise
    /// its signer is free.
    fn still_wanted(&mut self, part: &Part) -> bool {
        let alive = self
            .ops
            .get(&part.op)
            .and_then(|op| op.attempts.get(&part.attempt))
            .is_some_and(|attempt| attempt.alive);
        if !alive {
            self.give_up(part);
        }
        alive
    }

    /// A part will not be answered: its attempt is dead.
    fn give_up(&mut self, part: &Part) {
        let Some(op) = self.ops.get_mut(&part.op) else {
            return;
        };
        let Some(attempt) = op.attempts.get_mut(&part.attempt) else {
            return;
        };
        attempt.alive = false;
        if let Some(signer) = attempt.signers.get_mut(&part.signer) {
            signer.phase = Phase::Gone;
        }
        if !attempt.has_pending() {
            op.attempts.remove(&part.attempt);
        }
    }
}

/// The refusal that most nodes give; among equals the one of the first node.
pub(super) fn most_common<'a>(refusals: impl Iterator<Item = &'a Refusal>) -> Option<Refusal> {
    let all: Vec<&Refusal> = refusals.collect();
    let count = |reason: Reason| all.iter().filter(|r| r.reason == reason).count();
    let most = all.iter().map(|refusal| count(refusal.reason)).max()?;
    all.iter().find(|refusal| count(refusal.reason) == most).map(|found| Refusal::clone(found))
}

fn misbehaved<'a>(cheats: impl Iterator<Item = &'a NodeId>) -> Refusal {
    let nodes = cheats.map(NodeId::as_str).collect::<Vec<_>>().join(", ");
    Refusal::new(
        Reason::PeerMisbehaved,
        format!("too few nodes are left that do not cheat: left out are {nodes}"),
    )
    .with("nodes", nodes)
}
