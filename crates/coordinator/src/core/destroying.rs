//! The end of keys: carrying its steps to every node, and gathering what nodes say (P34, P41).
//!
//! Every node of the roster is asked, not only the holders of the present epoch: any of them may
//! have held an earlier one. What is known is forgotten with the process, because nodes hold the
//! commands and list them with their receipts; only the ends themselves are kept, because a node
//! that gave its word may be gone. As long as an order lives, whoever has not heard of
//! it or was not ready for it is told again; after that it takes a new order.

mod kept;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorate_model::{
    Digest, KeyName, KeyRecord, KeyState, NodeId, Reason, Refusal, UnixMillis,
    command::{CommandBody, SignedCommand},
    destruction::{
        DestroyKey, DestroyStep, Destruction, DestructionReceipt, MAX_DESTRUCTION_BYTES,
        MAX_ORDERS, MAX_RECEIPTS, Said, not_retired,
    },
    ids::{CommandId, KeyId},
    node_api::{KeyListing, NodeReply, NodeRequest},
    operation::{CommandOutcome, CommandState, DestructionOutcome, Progress},
    roster::PinnedRoster,
};

use super::{
    Action, Admitted, CallFailure, Core, Moment, Notice, Purpose,
    keys::Certified,
    signing::most_common,
    states::{PutOff, of_one, percent},
};

/// The most steps under way.
const MAX_OPS: usize = 64;

/// The most steps of one admin that are under way, so that none can keep the others' out.
const MAX_OF_ONE: usize = 16;

/// The most keys of whose end something is known. Each takes the word of an admin.
const MAX_KEYS: usize = 1 << 20;

/// The delay before a node is told again, in milliseconds; it doubles.
const RETRY_MS: u64 = 500;

/// How often it doubles at the most: to about a minute.
const MAX_DOUBLINGS: u32 = 7;

/// One step under way.
struct DestroyOp {
    command: Admitted,
    destroy: DestroyKey,
    record: KeyRecord,
    receipts: BTreeMap<NodeId, DestructionReceipt>,
    refusals: BTreeMap<NodeId, Refusal>,
    awaited: BTreeSet<NodeId>,
    put_off: PutOff,
    deadline_ms: u64,
}

impl DestroyOp {
    fn answered(&self, node: &NodeId) -> bool {
        self.receipts.contains_key(node) || self.refusals.contains_key(node)
    }
}

/// A command about the end of a key that was checked.
#[derive(Clone)]
struct Order {
    signed: SignedCommand,
    step: DestroyStep,
    expires: UnixMillis,
    /// The roster that it was made under.
    roster: Digest,
}

/// What is known of the end of one key.
struct Known {
    record: KeyRecord,
    orders: BTreeMap<Digest, Order>,
    receipts: BTreeMap<NodeId, Vec<DestructionReceipt>>,
    /// What nodes list of orders that only earlier rosters admit, while too few list them.
    claims: BTreeMap<NodeId, Claims>,
    /// The announcements of which some node has said that they are withdrawn there, also where it says
    /// so no more.
    withdrawn: BTreeSet<Digest>,
    /// The nodes whose ends the store keeps.
    kept: BTreeSet<NodeId>,
    /// The nodes whose words are the store's alone: what they list themselves takes their place.
    unlisted: BTreeSet<NodeId>,
}

/// Orders that only earlier rosters admit, and what the node that lists them says of the key's end.
struct Claims {
    orders: BTreeMap<Digest, Order>,
    receipts: Vec<DestructionReceipt>,
}

/// One node that is to be told of one order again.
struct Due {
    at_ms: u64,
    tries: u32,
}

/// The steps under way, and what is known of the ends of keys.
#[derive(Default)]
pub(super) struct Destroying {
    ops: BTreeMap<CommandId, DestroyOp>,
    known: BTreeMap<KeyId, Known>,
    /// Who is to hear of which order.
    due: BTreeMap<(NodeId, KeyId, Digest), Due>,
}

impl Order {
    /// Whether nodes that take it destroy their shares.
    const fn carries_out(&self) -> bool {
        matches!(self.step, DestroyStep::AtOnce | DestroyStep::Confirm { .. })
    }
}

impl Known {
    fn new(record: &KeyRecord) -> Self {
        Self {
            record: record.clone(),
            orders: BTreeMap::new(),
            receipts: BTreeMap::new(),
            claims: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            kept: BTreeSet::new(),
            unlisted: BTreeSet::new(),
        }
    }

    /// Takes what a node lists by the word of persons who were removed since. An order counts once as
    /// many nodes list it as sign with the key: one of them is honest, and took it in time.
    fn claim(&mut self, node: &NodeId, claims: Claims) {
        if claims.orders.is_empty() {
            self.claims.remove(node);
            return;
        }
        self.claims.insert(node.clone(), claims);
        let listed = |digest: &Digest| {
            let claims = self.claims.values();
            claims
                .filter(|told| told.orders.contains_key(digest))
                .count()
        };
        let believed: BTreeMap<Digest, Order> = self
            .claims
            .values()
            .flat_map(|claims| &claims.orders)
            .filter(|(digest, _)| listed(digest) >= usize::from(self.record.threshold))
            .map(|(digest, order)| (*digest, order.clone()))
            .collect();
        if believed.is_empty() {
            return;
        }
        self.orders.extend(believed);
        let receipts: Vec<DestructionReceipt> = self
            .claims
            .values()
            .flat_map(|claims| claims.receipts.iter().cloned())
            .collect();
        for receipt in receipts {
            self.hear(receipt);
        }
        let orders = &self.orders;
        self.claims.retain(|_, claims| {
            claims
                .orders
                .retain(|digest, _| !orders.contains_key(digest));
            !claims.orders.is_empty()
        });
    }

    fn tombstone_of(&self, node: &NodeId) -> Option<&DestructionReceipt> {
        let said = self.receipts.get(node)?;
        said.iter().find(|receipt| receipt.is_destroyed())
    }

    /// Whether the order that a receipt names is known, with the announcement that it names, and can
    /// be answered so. What does not fit is not shown to clients, who would believe none of it.
    fn fits(&self, receipt: &DestructionReceipt) -> bool {
        let step = |digest: &Digest| self.orders.get(digest).map(|order| order.step);
        step(&receipt.command).is_some_and(|asked| {
            let announced = match asked {
                DestroyStep::Confirm { announcement } => {
                    step(&announcement) == Some(DestroyStep::Announce)
                }
                DestroyStep::Announce | DestroyStep::Cancel { .. } | DestroyStep::AtOnce => true,
            };
            announced && receipt.fits(asked)
        })
    }

    /// Takes the word of a node in the place of an earlier one about the same. Nothing follows a
    /// tombstone.
    fn hear(&mut self, receipt: DestructionReceipt) {
        if !self.fits(&receipt) {
            return;
        }
        let said = self.receipts.entry(receipt.node.clone()).or_default();
        if said.iter().any(DestructionReceipt::is_destroyed) {
            return;
        }
        if receipt.is_destroyed() {
            said.clear();
        }
        if let Said::Withdrawn { announcement } = &receipt.said {
            said.retain(|earlier| earlier.command != *announcement);
            if self.withdrawn.len() >= MAX_ORDERS {
                let orders = &self.orders;
                self.withdrawn.retain(|digest| orders.contains_key(digest));
            }
            self.withdrawn.insert(*announcement);
        }
        said.retain(|earlier| earlier.command != receipt.command);
        said.push(receipt);
    }

    /// Forgets orders that no node acts by any more, and that cannot be carried out any more.
    fn prune(&mut self, now: UnixMillis) {
        let receipts = self.receipts.values().flatten();
        let mut used: BTreeSet<Digest> = receipts.map(|receipt| receipt.command).collect();
        let named = used
            .iter()
            .filter_map(|digest| self.orders.get(digest)?.step.announcement());
        let named: Vec<Digest> = named.collect();
        used.extend(named);
        self.orders
            .retain(|digest, order| used.contains(digest) || order.expires > now);
        let orders = &self.orders;
        self.withdrawn
            .retain(|digest| used.contains(digest) || orders.contains_key(digest));
    }

    /// Whether some node keeps the key because an announcement was withdrawn.
    fn is_withdrawn(&self, announcement: &Digest) -> bool {
        self.withdrawn.contains(announcement)
    }

    /// What is withdrawn at some nodes is carried out at none, if it was not before: the key would be
    /// lost at some and kept at others.
    fn check_stands(&self, step: DestroyStep) -> Result<(), Refusal> {
        let DestroyStep::Confirm { announcement } = step else {
            return Ok(());
        };
        let mut said = self.receipts.values().flatten();
        if !self.is_withdrawn(&announcement) || said.any(DestructionReceipt::is_destroyed) {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::DestructionNotAnnounced,
            format!(
                "this announcement of the destruction of key \"{}\" was withdrawn: announce it anew",
                self.record.name
            ),
        )
        .with("key", &self.record.name))
    }

    /// Whether a node that says this should hear of an order.
    fn wants(&self, node: &NodeId, digest: &Digest, order: &Order, now: UnixMillis) -> bool {
        if self.tombstone_of(node).is_some() {
            return false;
        }
        let said = self
            .receipts
            .get(node)
            .map(Vec::as_slice)
            .unwrap_or_default();
        if said.iter().any(|receipt| receipt.command == *digest) {
            return false;
        }
        match order.step {
            DestroyStep::Cancel { announcement } => {
                let heard = said.iter().any(|receipt| receipt.command == announcement);
                heard || order.expires > now
            }
            DestroyStep::Announce => order.expires > now && !self.is_withdrawn(digest),
            DestroyStep::Confirm { announcement } => {
                order.expires > now && !self.is_withdrawn(&announcement)
            }
            DestroyStep::AtOnce => order.expires > now,
        }
    }
}

impl Known {
    /// Whether a node must hear of the announcement before it is told to carry it out.
    fn waits(&self, node: &NodeId, order: &Order, now: UnixMillis) -> bool {
        let DestroyStep::Confirm { announcement } = order.step else {
            return false;
        };
        let announced = self.orders.get(&announcement);
        announced.is_some_and(|announced| self.wants(node, &announcement, announced, now))
    }
}

impl Destroying {
    pub(super) fn is_idle(&self) -> bool {
        self.ops.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is no room for another step by whoever proposes it.
    pub(super) fn is_full(&self, signed: &SignedCommand) -> bool {
        let ops = self.ops.values().map(|op| &op.command);
        self.ops.len() >= MAX_OPS || of_one(ops, signed) >= MAX_OF_ONE
    }

    pub(super) fn command(&self, id: CommandId) -> Option<(Arc<SignedCommand>, CommandBody)> {
        let command = &self.ops.get(&id)?.command;
        Some((Arc::clone(&command.signed), command.command.body.clone()))
    }

    /// Whether a step under way may still be carried out.
    fn check_stands(&self, id: CommandId) -> Result<(), Refusal> {
        let Some(op) = self.ops.get(&id) else {
            return Ok(());
        };
        let known = self.known.get(&op.destroy.key_id);
        known.map_or(Ok(()), |known| known.check_stands(op.destroy.step))
    }

    pub(super) fn remove(&mut self, id: CommandId) {
        if let Some(op) = self.ops.remove(&id) {
            self.forget_order(&op.destroy.key_id, &op.command.digest);
        }
    }

    fn forget_order(&mut self, key: &KeyId, digest: &Digest) {
        self.due
            .retain(|(_, of, order), _| of != key || order != digest);
        if let Some(known) = self.known.get_mut(key) {
            known.orders.remove(digest);
            for said in known.receipts.values_mut() {
                said.retain(|receipt| receipt.command != *digest);
            }
        }
    }

    /// Forgets what a node said; the keys of whose ends it said something.
    fn forget_node(&mut self, node: &NodeId) -> Vec<KeyId> {
        let mut changed = Vec::new();
        for (key, known) in &mut self.known {
            known.claims.remove(node);
            if known.receipts.remove(node).is_some() {
                changed.push(*key);
            }
        }
        changed
    }

    /// Whether a node has said that it has destroyed a key.
    pub(super) fn is_gone_at(&self, key: &KeyId, node: &NodeId) -> bool {
        let known = self.known.get(key);
        known.is_some_and(|known| known.tombstone_of(node).is_some())
    }

    /// What is known of the end of a key.
    pub(super) fn of(&self, key: &KeyId) -> Destruction {
        let Some(known) = self.known.get(key) else {
            return Destruction::default();
        };
        let mut receipts: Vec<_> = known.receipts.values().flatten().collect();
        // The ends come first, and the shortest, should there be more than anybody reads.
        receipts.sort_by_key(|receipt| (!receipt.is_destroyed(), receipt.stored_bytes()));
        let orders: Vec<_> = known.orders.values().map(|order| &order.signed).collect();
        let mut bytes = orders
            .iter()
            .map(|order| order.stored_bytes())
            .fold(0, usize::saturating_add);
        let receipts = receipts.into_iter().filter(|receipt| known.fits(receipt));
        let receipts = receipts.take(MAX_RECEIPTS).take_while(|receipt| {
            bytes = bytes.saturating_add(receipt.stored_bytes());
            bytes <= MAX_DESTRUCTION_BYTES
        });
        Destruction {
            receipts: receipts.cloned().collect(),
            orders: orders.into_iter().cloned().collect(),
        }
    }

    /// The state of a key: it is destroyed once every node of the roster says so, because any of them
    /// may hold a share of an epoch that nobody shows (decision 0020), and every holder of the epoch
    /// that is shown, also one that was removed. Nodes that were added since the end was ordered hold
    /// none.
    pub(super) fn state(
        &self,
        pinned: &PinnedRoster,
        key: &KeyId,
        otherwise: KeyState,
    ) -> KeyState {
        let Some(known) = self.known.get(key) else {
            return otherwise;
        };
        let ordered: Vec<PinnedRoster> = known
            .orders
            .values()
            .filter(|order| order.carries_out())
            .filter_map(|order| pinned.at(&order.roster))
            .collect();
        let nodes = pinned.roster().nodes.iter().filter(|card| {
            let mut ordered = ordered.iter();
            ordered.any(|then| then.card(&card.id).is_some())
        });
        let asked: Vec<&NodeId> = nodes.map(|card| &card.id).collect();
        let holders = known.record.participants.iter().map(|holder| &holder.node);
        let mut required = asked.iter().copied().chain(holders);
        if !asked.is_empty() && required.all(|node| known.tombstone_of(node).is_some()) {
            otherwise.destroyed()
        } else {
            otherwise
        }
    }

    /// What is known of a key, if it is known or there is room.
    fn entry(&mut self, record: &KeyRecord) -> Option<&mut Known> {
        let id = record.id();
        if self.known.len() >= MAX_KEYS && !self.known.contains_key(&id) {
            return None;
        }
        let known = self.known.entry(id).or_insert_with(|| Known::new(record));
        known.record = record.clone();
        Some(known)
    }

    /// Takes an order that was checked, if there is room. Any admin makes any number of withdrawals:
    /// those that no node acts by give way to others, and never take the room of orders.
    fn learn_order(&mut self, record: &KeyRecord, order: Order) {
        let digest = order.signed.digest();
        let Some(known) = self.entry(record) else {
            return;
        };
        if known.orders.contains_key(&digest) {
            return;
        }
        let withdraws = order.step.needs_one();
        let alike = |held: &&Order| held.step.needs_one() == withdraws;
        if known.orders.values().filter(alike).count() >= MAX_ORDERS / 2 {
            let used = |digest: &Digest| {
                let mut said = known.receipts.values().flatten();
                said.any(|receipt| receipt.command == *digest)
            };
            let unused = known
                .orders
                .iter()
                .find(|(digest, held)| alike(held) && withdraws && !used(digest))
                .map(|(digest, _)| *digest);
            let Some(unused) = unused else {
                return;
            };
            known.orders.remove(&unused);
        }
        known.orders.insert(digest, order);
    }
}

impl Core {
    pub(super) fn begin_destruction(
        &mut self,
        moment: &mut Moment<'_>,
        command: &Admitted,
        destroy: DestroyKey,
    ) {
        let id = command.command.id;
        let Some(key) = self.keys.get(&self.pinned, &destroy.key) else {
            let refusal = Refusal::new(
                Reason::KeyUnknown,
                format!("there is no key \"{}\"", destroy.key),
            )
            .with("key", &destroy.key);
            // Nodes may still list it.
            let state = if self.is_ready() {
                CommandState::Denied
            } else {
                CommandState::Failed
            };
            return self.end(id, state, None, Some(refusal));
        };
        let judged = destroy
            .check_key(&key.record)
            .and_then(|()| self.check_retired(&key, destroy.step))
            .and_then(|()| {
                let known = self.destroying.known.get(&key.record.id());
                known.map_or(Ok(()), |known| known.check_stands(destroy.step))
            });
        if let Err(refusal) = judged {
            return self.end(id, CommandState::Denied, None, Some(refusal));
        }
        let order = Order {
            signed: SignedCommand::clone(&command.signed),
            step: destroy.step,
            expires: command.command.expires,
            roster: command.command.roster,
        };
        self.destroying.learn_order(&key.record, order);
        let op = DestroyOp {
            command: command.clone(),
            record: key.record.clone(),
            destroy,
            receipts: BTreeMap::new(),
            refusals: BTreeMap::new(),
            awaited: BTreeSet::new(),
            put_off: PutOff::default(),
            deadline_ms: moment
                .ms()
                .saturating_add(self.config.limits.quorum_wait_ms),
        };
        self.destroying.ops.insert(id, op);
        self.ask_everybody(moment, id);
    }

    /// Nodes that never held a key take orders about it on the word of the quorum alone: they are not
    /// asked while it is in use.
    fn check_retired(&self, key: &Certified, step: DestroyStep) -> Result<(), Refusal> {
        let record = &key.record;
        let stands = self
            .states
            .standing(&record.id())
            .state(key.proof.is_some());
        if step.needs_one() || stands.is_retired() {
            return Ok(());
        }
        Err(not_retired(&record.name, stands))
    }

    /// Asks every connected node that has not answered, and ends the step when nobody is left to
    /// ask.
    ///
    /// A withdrawal that is heard of meanwhile ends it too, once nobody is being asked any more.
    fn ask_everybody(&mut self, moment: &Moment<'_>, id: CommandId) {
        let connected = self.peers.connected();
        if let Err(refusal) = self.destroying.check_stands(id) {
            let awaits = |op: &DestroyOp| !op.awaited.is_empty();
            if !self.destroying.ops.get(&id).is_some_and(awaits) {
                self.destroying.remove(id);
                self.end(id, CommandState::Denied, None, Some(refusal));
            }
            return;
        }
        let Some(op) = self.destroying.ops.get_mut(&id) else {
            return;
        };
        let ask: Vec<NodeId> = connected
            .into_iter()
            .filter(|node| !op.answered(node) && !op.awaited.contains(node))
            .filter(|node| op.put_off.is_due(node, moment.ms()))
            .collect();
        op.awaited.extend(ask.iter().cloned());
        let (key, digest) = (op.destroy.key_id, op.command.digest);
        let command = SignedCommand::clone(&op.command.signed);
        for node in ask {
            self.tell_order(moment, &node, (key, digest), command.clone(), Some(id));
        }
        self.conclude_destruction(moment, id);
    }

    fn tell_order(
        &mut self,
        moment: &Moment<'_>,
        node: &NodeId,
        (key, order): (KeyId, Digest),
        command: SignedCommand,
        op: Option<CommandId>,
    ) {
        // A node rewrites its keyring for it, which takes as long as a round of a ceremony.
        let timeout = self.config.limits.round_timeout_ms;
        let request = NodeRequest::DestroyKey { command };
        let purpose = Purpose::Destroy { op, key, order };
        self.call(moment, node, request, timeout, purpose);
    }

    pub(super) fn destroy_reply(
        &mut self,
        moment: &Moment<'_>,
        (op, key, order): (Option<CommandId>, KeyId, Digest),
        node: &NodeId,
        result: Result<NodeReply, CallFailure>,
    ) {
        let answer = match result {
            Ok(NodeReply::Destruction(receipt)) => Ok(receipt),
            Ok(_) => Err(CallFailure::Refused(Refusal::new(
                Reason::ProtocolViolation,
                format!("node {node} answered with something else"),
            ))),
            Err(failure) => Err(failure),
        };
        let name = self
            .destroying
            .known
            .get(&key)
            .map(|known| known.record.name.clone());
        let answer = match (answer, name) {
            (Ok(receipt), Some(name)) => receipt
                .verify(&self.pinned, node, (&name, key))
                .map(|()| receipt)
                .map_err(CallFailure::Refused),
            (answer, _) => answer,
        };
        if let Ok(receipt) = &answer {
            if let Some(known) = self.destroying.known.get_mut(&key) {
                known.hear(receipt.clone());
            }
            self.keep_end(&key);
            self.destroying.due.remove(&(node.clone(), key, order));
        } else {
            self.tell_again(moment, node, (key, order), &answer);
        }
        let Some(op) = op.and_then(|id| self.destroying.ops.get_mut(&id)) else {
            return;
        };
        op.awaited.remove(node);
        match answer {
            Ok(receipt) if receipt.answers(&op.destroy, &op.command.digest) => {
                op.receipts.insert(node.clone(), receipt);
            }
            Ok(_) => {
                let refusal = Refusal::new(
                    Reason::ProtocolViolation,
                    format!("the receipt of node {node} is about something else"),
                );
                op.refusals.insert(node.clone(), refusal);
            }
            Err(CallFailure::Refused(refusal))
                if !refusal.reason.is_retryable()
                    || refusal.reason == Reason::DestructionTooEarly =>
            {
                op.refusals.insert(node.clone(), refusal);
            }
            Err(CallFailure::Refused(_) | CallFailure::Lost | CallFailure::TimedOut) => {
                return op.put_off.put_off(node, moment.ms());
            }
        }
        op.put_off.has_answered(node);
    }

    /// Puts a node that is not ready off until later. One that says no for good is not asked again.
    fn tell_again(
        &mut self,
        moment: &Moment<'_>,
        node: &NodeId,
        (key, order): (KeyId, Digest),
        answer: &Result<DestructionReceipt, CallFailure>,
    ) {
        let id = (node.clone(), key, order);
        let mut least_ms = RETRY_MS;
        if let Err(CallFailure::Refused(refusal)) = answer {
            if !refusal.reason.is_retryable() {
                self.destroying.due.remove(&id);
                return;
            }
            let left_s: Option<u64> = refusal.get("left_s").and_then(|text| text.parse().ok());
            least_ms = left_s.map_or(RETRY_MS, |left| left.saturating_mul(1_000));
        }
        let due = self
            .destroying
            .due
            .entry(id)
            .or_insert(Due { at_ms: 0, tries: 0 });
        let delay = (RETRY_MS << due.tries.min(MAX_DOUBLINGS)).max(least_ms);
        due.tries = due.tries.saturating_add(1);
        due.at_ms = moment.ms().saturating_add(delay);
    }

    pub(super) fn tick_destroying(&mut self, moment: &Moment<'_>) {
        let ids: Vec<CommandId> = self.destroying.ops.keys().copied().collect();
        for id in ids {
            self.ask_everybody(moment, id);
        }
        let now_ms = moment.ms();
        let connected = self.peers.connected();
        let ready: Vec<(NodeId, KeyId, Digest)> = self
            .destroying
            .due
            .iter()
            .filter(|((node, _, _), due)| due.at_ms <= now_ms && connected.contains(node))
            .map(|(id, _)| id.clone())
            .collect();
        for (node, key, digest) in ready {
            let now = moment.now.wall;
            let order = self.destroying.known.get(&key).and_then(|known| {
                let order = known.orders.get(&digest)?;
                let wants = known.wants(&node, &digest, order, now);
                wants.then(|| (order.signed.clone(), known.waits(&node, order, now)))
            });
            let id = (node.clone(), key, digest);
            let Some((command, waits)) = order else {
                self.destroying.due.remove(&id);
                continue;
            };
            if waits {
                if let Some(due) = self.destroying.due.get_mut(&id) {
                    due.at_ms = now_ms.saturating_add(RETRY_MS);
                }
                continue;
            }
            // Not again before this call has had its time.
            let wait_ms = self.config.limits.round_timeout_ms.saturating_mul(2);
            if let Some(due) = self.destroying.due.get_mut(&id) {
                due.at_ms = now_ms.saturating_add(wait_ms);
            }
            self.tell_order(moment, &node, (key, digest), command, None);
        }
    }

    /// Ends a step that every connected node has answered, or whose time is over.
    fn conclude_destruction(&mut self, moment: &Moment<'_>, id: CommandId) {
        let connected = self.peers.connected().into_iter().collect();
        let Some(op) = self.destroying.ops.get(&id) else {
            return;
        };
        let late = op.deadline_ms <= moment.ms();
        let asked = !op.receipts.is_empty() || !op.refusals.is_empty();
        let nodes: Vec<NodeId> = self.peers.members();
        let waits = !op.awaited.is_empty() || op.put_off.is_waiting(&connected, moment.ms());
        let over = late || (asked && !waits);
        if !over {
            let progress = Progress {
                step: op.destroy.step.as_str().to_owned(),
                awaited: nodes
                    .iter()
                    .filter(|node| !op.answered(node))
                    .cloned()
                    .collect(),
                percent: percent(op.receipts.len(), nodes.len()),
            };
            if let Some(view) = self.commands.progress(id, progress) {
                self.out.push(Action::Progress(Arc::new(view)));
            }
            return;
        }
        let Some(op) = self.destroying.ops.remove(&id) else {
            return;
        };
        let (key, digest) = (op.destroy.key_id, op.command.digest);
        if !op.receipts.is_empty() {
            self.tell_those_that_have_not(moment, key, digest, &nodes);
            let missing = nodes
                .into_iter()
                .filter(|node| !op.receipts.contains_key(node))
                .map(|node| {
                    let refusal = op.refusals.get(&node).cloned();
                    (node, refusal)
                })
                .collect();
            let outcome = DestructionOutcome {
                key: op.destroy.key.clone(),
                receipts: op.receipts.into_values().collect(),
                missing,
            };
            let outcome = Some(CommandOutcome::KeyDestruction(outcome));
            return self.end(id, CommandState::Succeeded, outcome, None);
        }
        // Nothing came of it, so nobody hears of it again.
        self.destroying.forget_order(&key, &digest);
        let holders = op.record.participants.iter().map(|holder| &holder.node);
        let refusals: Vec<&Refusal> = holders.filter_map(|node| op.refusals.get(node)).collect();
        let (state, refusal) = match most_common(refusals.into_iter()) {
            Some(refusal) if refusal.reason.is_retryable() => (CommandState::Failed, refusal),
            Some(refusal) => (CommandState::Denied, refusal),
            None => (CommandState::Failed, nobody(&op)),
        };
        self.end(id, state, None, Some(refusal));
    }

    /// Has the others told later, for as long as the order lives.
    fn tell_those_that_have_not(
        &mut self,
        moment: &Moment<'_>,
        key: KeyId,
        digest: Digest,
        nodes: &[NodeId],
    ) {
        let Some(known) = self.destroying.known.get(&key) else {
            return;
        };
        let Some(order) = known.orders.get(&digest) else {
            return;
        };
        let now = moment.now.wall;
        for node in nodes {
            if known.wants(node, &digest, order, now) {
                let due = Due {
                    at_ms: moment.ms().saturating_add(RETRY_MS),
                    tries: 0,
                };
                self.destroying
                    .due
                    .entry((node.clone(), key, digest))
                    .or_insert(due);
            }
        }
    }

    /// Takes what a node lists about the end of a key, and has it told what it does not know.
    pub(super) fn learn_destruction(
        &mut self,
        moment: &Moment<'_>,
        node: &NodeId,
        listing: &KeyListing,
    ) {
        let Some(key) = self.keys.get(&self.pinned, &listing.key) else {
            return;
        };
        let id = key.record.id();
        if listing.destruction.is_empty() && !self.destroying.known.contains_key(&id) {
            return;
        }
        let mut honest = true;
        let mut claimed = BTreeMap::new();
        for signed in &listing.destruction.orders {
            let known = self.destroying.known.get(&id);
            if known.is_some_and(|known| known.orders.contains_key(&signed.digest())) {
                continue;
            }
            match checked(&self.pinned, signed, &key.record) {
                Ok((order, true)) => self.destroying.learn_order(&key.record, order),
                Ok((order, false)) if claimed.len() < MAX_ORDERS => {
                    claimed.insert(signed.digest(), order);
                }
                Ok((_, false)) => {}
                // The node has heard of another key of the name, which is no fault of its own.
                Err(refusal) if refusal.reason == Reason::KeyIdMismatch => {}
                Err(_) if self.may_be_ahead(node) || self.is_ahead(signed) => {
                    self.is_misunderstood(node);
                }
                Err(_) => honest = false,
            }
        }
        let about = (&listing.key, id);
        let (said, false_ones): (Vec<_>, Vec<_>) = listing
            .destruction
            .receipts
            .iter()
            .filter(|receipt| receipt.key_id == id)
            .partition(|receipt| receipt.verify(&self.pinned, node, about).is_ok());
        if !honest || !false_ones.is_empty() {
            self.out.push(Action::Notice(Notice::Misbehaved {
                node: node.clone(),
                what: "listed the end of a key that no admin ordered",
                proven: false,
            }));
        }
        if let Some(known) = self.destroying.entry(&key.record) {
            // It may have been restored while this coordinator was down.
            let is_unlisted = known.unlisted.remove(node);
            if is_unlisted || known.tombstone_of(node).is_none() {
                // What has lapsed at the node is listed no more.
                known.receipts.remove(node);
            }
            let claims = Claims {
                orders: claimed,
                receipts: said.iter().map(|receipt| (*receipt).clone()).collect(),
            };
            known.claim(node, claims);
            for receipt in said {
                known.hear(receipt.clone());
            }
            known.prune(moment.now.wall);
        }
        self.keep_end(&id);
        self.tell_what_is_known(moment, id);
    }

    /// Has every node told the orders about a key that it does not act by and may still take.
    fn tell_what_is_known(&mut self, moment: &Moment<'_>, key: KeyId) {
        let Some(known) = self.destroying.known.get(&key) else {
            return;
        };
        let digests: Vec<Digest> = known.orders.keys().copied().collect();
        let nodes = self.peers.ids();
        for digest in digests {
            self.tell_those_that_have_not(moment, key, digest, &nodes);
        }
    }

    /// Whether a node says that it has destroyed this key.
    pub(super) fn is_destroyed_at(&self, node: &NodeId, name: &KeyName, id: KeyId) -> bool {
        self.destroying
            .known
            .get(&id)
            .is_some_and(|known| known.record.name == *name && known.tombstone_of(node).is_some())
    }
}

/// The order about this key, if its endorsements suffice, and whether they do so under the roster in
/// force.
fn checked(
    pinned: &PinnedRoster,
    signed: &SignedCommand,
    record: &KeyRecord,
) -> Result<(Order, bool), Refusal> {
    let checked = quorate_proto::destruction::check_order(pinned, signed, record)?;
    let order = Order {
        signed: signed.clone(),
        step: checked.destroy.step,
        expires: checked.expires,
        roster: checked.roster,
    };
    Ok((order, checked.in_force))
}

fn nobody(op: &DestroyOp) -> Refusal {
    Refusal::new(
        Reason::QuorumUnavailable,
        format!(
            "none of the {} holders of key \"{}\" has answered: submit the same command again when \
             they are connected",
            op.record.participants.len(),
            op.destroy.key
        ),
    )
}
