//! Signing: which nodes sign a command, and what happens when one of them does not (P24, P25).
//!
//! Each attempt is a subset of exactly t holders with a ticket of each per message. A signer that
//! stalls, is lost, refuses or cheats does not hold the command up: another subset signs, with
//! other tickets. At most n-t+1 attempts run at a time and a signer is pending in at most one of
//! them (ROAST), so that signers who answer late cannot multiply the work.

mod answers;
mod deadlines;
mod seeking;
mod select;
mod sending;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use quorate_model::{
    Digest, KeyName, KeyRecord, NodeId, PartyIndex, Reason, Refusal,
    command::{CommandBody, Sign, SignedCommand},
    identity::Signature,
    ids::{CommandId, UnixMillis},
    operation::CommandState,
    share::{SetOfSigners, ShareStatement},
};
use quorate_protocol::frost::SigningSet;

use super::{
    Admitted, Core, Moment, Part,
    ecdsa::Progress,
    keys::Certified,
    math::{self, Message},
};

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
pub(super) struct SignOp {
    pub(super) command: Arc<SignedCommand>,
    pub(super) digest: Digest,
    body: Arc<CommandBody>,
    expires: UnixMillis,
    started_ms: u64,
    /// Known once the key is.
    pub(super) material: Option<Material>,
    /// For a key that signs in rounds.
    pub(super) in_rounds: Progress,
    attempts: BTreeMap<u64, Attempt>,
    next_attempt: u64,
    waits: bool,
    /// The nodes that were asked for a key that is not known here, until they have answered.
    sought: Option<BTreeSet<NodeId>>,
    /// Nodes that refuse for good.
    pub(super) refusals: BTreeMap<NodeId, Refusal>,
    /// Nodes that could not, and may be asked again later.
    setbacks: BTreeMap<NodeId, Setback>,
    /// Nodes that cheated in this command.
    pub(super) cheats: BTreeSet<NodeId>,
}

#[derive(Clone)]
pub(super) struct Material {
    pub(super) key: Arc<Certified>,
    pub(super) messages: Arc<Vec<Message>>,
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
        self.signers
            .get(&signer)
            .is_some_and(|s| matches!(s.phase, Phase::Pending))
    }

    fn has_pending(&self) -> bool {
        self.signers
            .values()
            .any(|signer| matches!(signer.phase, Phase::Pending))
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
        self.ops
            .get(&id)
            .map(|op| (Arc::clone(&op.command), CommandBody::clone(&op.body)))
    }

    /// Replaces the endorsements for the attempts that follow.
    pub(super) fn set_command(&mut self, id: CommandId, command: Arc<SignedCommand>) {
        if let Some(op) = self.ops.get_mut(&id) {
            op.command = command;
        }
    }

    pub(super) fn op(&self, id: CommandId) -> Option<&SignOp> {
        self.ops.get(&id)
    }

    pub(super) fn op_mut(&mut self, id: CommandId) -> Option<&mut SignOp> {
        self.ops.get_mut(&id)
    }

    pub(super) fn wait(&mut self, id: CommandId) {
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
        self.body.signs()
    }

    /// A node could not: it is asked again after a delay that doubles.
    pub(super) fn set_back(&mut self, node: &NodeId, now_ms: u64, refusal: Option<Refusal>) {
        let setback = self.setbacks.entry(node.clone()).or_insert(Setback {
            count: 0,
            until_ms: 0,
            refusal: None,
        });
        // The first time it may have been a ticket that died with a restart: try at once.
        let delay = if setback.count == 0 {
            0
        } else {
            25u64 << setback.count.min(6)
        };
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
            body: Arc::new(admitted.command.body.clone()),
            expires: admitted.command.expires,
            started_ms,
            material: None,
            in_rounds: Progress::default(),
            attempts: BTreeMap::new(),
            next_attempt: 0,
            waits: false,
            sought: None,
            refusals: BTreeMap::new(),
            setbacks: BTreeMap::new(),
            cheats: BTreeSet::new(),
        };
        self.signing.ops.insert(id, op);
        let limits = &self.config.limits;
        let first = limits
            .quorum_wait_ms
            .min(admitted.command.expires.since(moment.now.wall));
        self.signing
            .timers
            .insert((started_ms.saturating_add(first), id));
        self.signing.wait(id);
    }

    /// Gives every command that needs another attempt a try.
    pub(super) fn retry_waiting(&mut self, moment: &mut Moment<'_>) {
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
    fn advance(&mut self, moment: &mut Moment<'_>, id: CommandId) -> bool {
        self.follow_epoch(id);
        let Some(op) = self.signing.ops.get(&id) else {
            return true;
        };
        if op.material.is_none() {
            match self.resolve(moment, id) {
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
        let material = self.signing.op(id).and_then(|op| op.material.clone());
        match material {
            Some(material) if !material.key.record.scheme.is_frost() => {
                self.begin_sessions(moment, id, &material)
            }
            _ => self.begin_attempt(moment, id),
        }
    }

    /// Where another epoch of the key is in use by now, everything begins anew: shares of different
    /// epochs never meet (P31).
    fn follow_epoch(&mut self, id: CommandId) {
        let Some(material) = self.signing.op(id).and_then(|op| op.material.clone()) else {
            return;
        };
        let record = &material.key.record;
        let current = self.keys.get(&self.pinned, &record.name);
        if current.is_none_or(|key| key.record.certificate == record.certificate) {
            return;
        }
        self.close_sessions_of(id);
        if let Some(op) = self.signing.ops.get_mut(&id) {
            op.material = None;
            op.in_rounds = Progress::default();
            op.attempts.clear();
            op.setbacks.clear();
        }
    }

    /// The commands that wait for a key go on at once with its new epoch.
    pub(super) fn epoch_changed(&mut self, name: &KeyName) {
        let ids: Vec<CommandId> = self
            .signing
            .ops
            .iter()
            .filter(|(_, op)| op.sign().is_some_and(|sign| sign.key == *name))
            .filter(|(_, op)| !op.setbacks.is_empty())
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some(op) = self.signing.ops.get_mut(&id) {
                op.setbacks.clear();
            }
            self.signing.wait(id);
        }
    }

    /// Finds the key and what is to be signed with it.
    fn resolve(&mut self, moment: &Moment<'_>, id: CommandId) -> Resolved {
        let Some(sign) = self.signing.ops.get(&id).and_then(SignOp::sign).cloned() else {
            return Resolved::Later;
        };
        let name = &sign.key;
        let key = self.keys.get(&self.pinned, name);
        let everybody_listed = self.is_ready()
            && self
                .peers
                .iter()
                .filter(|peer| peer.connected)
                .all(|peer| peer.synced);
        match key {
            Some(key) if key.proof.is_some() && self.check_listed(&key.record).is_ok() => {
                let messages = sign
                    .check_key(&key.record)
                    .and_then(|()| math::messages(&sign.payloads, &key.record, &key.public));
                match messages {
                    Ok(messages) => {
                        if let Some(op) = self.signing.ops.get_mut(&id) {
                            op.material = Some(Material {
                                key,
                                messages: Arc::new(messages),
                            });
                        }
                        Resolved::Material
                    }
                    Err(refusal) => Resolved::Refused(CommandState::Denied, refusal),
                }
            }
            _ if !everybody_listed || !self.has_sought(moment, id, name) => Resolved::Later,
            Some(key)
                if key.proof.is_some()
                    && let Err(refusal) = self.check_listed(&key.record) =>
            {
                Resolved::Refused(CommandState::Failed, refusal)
            }
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

    /// Refuses a key of whose holders fewer are in the roster than sign: no waiting brings them back.
    fn check_listed(&self, record: &KeyRecord) -> Result<(), Refusal> {
        let roster = self.pinned.roster();
        let holders = record.participants.iter().map(|holder| &holder.node);
        let (listed, gone): (Vec<_>, Vec<_>) =
            holders.partition(|node| roster.node(node).is_some());
        let needed = usize::from(record.threshold);
        if listed.len() >= needed {
            return Ok(());
        }
        let (name, left) = (&record.name, listed.len());
        let gone: Vec<&str> = gone.into_iter().map(NodeId::as_str).collect();
        let gone = gone.join(", ");
        Err(Refusal::new(
            Reason::NodeUnknown,
            format!(
                "{needed} holders of key \"{name}\" must sign, and the roster lists {left} of them, \
                 without {gone}: add a removed one again first"
            ),
        )
        .with("key", name)
        .with("missing", gone))
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

    pub(super) fn end_signing(&mut self, id: CommandId, state: CommandState, refusal: Refusal) {
        self.signing.remove(id);
        self.end(id, state, None, Some(refusal));
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
    all.iter()
        .find(|refusal| count(refusal.reason) == most)
        .map(|found| Refusal::clone(found))
}

pub(super) fn misbehaved<'a>(cheats: impl Iterator<Item = &'a NodeId>) -> Refusal {
    let nodes = cheats.map(NodeId::as_str).collect::<Vec<_>>().join(", ");
    Refusal::new(
        Reason::PeerMisbehaved,
        format!("too few nodes are left that do not cheat: left out are {nodes}"),
    )
    .with("nodes", nodes)
}
