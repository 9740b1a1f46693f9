//! What is special about resharing: who deals, when the new epoch is the one in use, and the end of
//! the old one (P27 to P31).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorate_model::{
    Digest, KeyName, NodeId, Reason, Refusal,
    command::ReshareKey,
    key::Participant,
    node_api::{ActivationReceipt, EraseCertificate, EraseReceipt, NodeReply},
    operation::{CommandOutcome, CommandState, ReshareOutcome},
};

use super::{Aim, AskState, Stage, aim::Resharing};
use crate::core::{Admitted, CallFailure, Core, Moment, keys::Certified};

/// The end of a resharing: the new epoch is in use, and old shares are erased.
pub(super) struct Ending {
    key: Arc<Certified>,
    until_ms: u64,
    /// The nodes that have shares of the epoch before.
    awaited: BTreeSet<NodeId>,
    erased: Vec<EraseReceipt>,
}

/// How a command ends.
struct End {
    state: CommandState,
    outcome: Option<CommandOutcome>,
    refusal: Option<Refusal>,
}

impl End {
    fn refused(state: CommandState, refusal: Refusal) -> Box<Self> {
        Box::new(Self {
            state,
            outcome: None,
            refusal: Some(refusal),
        })
    }
}

/// How a command ends where another epoch is in use than the one that it reshares.
fn overtaken(key: &Certified, reshare: &ReshareKey, command: Digest) -> Option<Box<End>> {
    let (name, epoch) = (&key.record.name, key.record.epoch);
    if key.made_by() == Some(command) {
        // What became of old shares was told once.
        let outcome = CommandOutcome::KeyReshared(ReshareOutcome {
            key: name.clone(),
            epoch,
            erased: Vec::new(),
            missing: Vec::new(),
        });
        return Some(Box::new(End {
            state: CommandState::Succeeded,
            outcome: Some(outcome),
            refusal: None,
        }));
    }
    if epoch == reshare.source_epoch {
        return None;
    }
    let refusal = Refusal::new(
        Reason::EpochChanged,
        format!(
            "key \"{name}\" is in epoch {epoch}, the command reshares epoch {}: another change \
             came first, make the command again",
            reshare.source_epoch
        ),
    )
    .with("key", name)
    .with("epoch", epoch);
    Some(End::refused(CommandState::Denied, refusal))
}

impl Ending {
    pub(super) fn awaited(&self) -> impl Iterator<Item = &NodeId> {
        self.awaited.iter()
    }

    fn outcome(&self) -> CommandOutcome {
        CommandOutcome::KeyReshared(ReshareOutcome {
            key: self.key.record.name.clone(),
            epoch: self.key.record.epoch,
            erased: self.erased.clone(),
            missing: self.awaited.iter().cloned().collect(),
        })
    }
}

impl Core {
    pub(in crate::core) fn begin_resharing(
        &mut self,
        moment: &mut Moment<'_>,
        admitted: &Admitted,
        reshare: ReshareKey,
    ) {
        let id = admitted.command.id;
        let name = reshare.key.clone();
        let source = match self.source_of(admitted, &reshare) {
            Ok(source) => source,
            Err(end) => return self.end(id, end.state, end.outcome, end.refusal),
        };
        if self.ceremonies.is_under_way(&name) {
            let refusal = Refusal::new(
                Reason::SessionLimit,
                format!("another command is changing key \"{name}\""),
            )
            .with("key", &name);
            return self.end(id, CommandState::Failed, None, Some(refusal));
        }
        let aim = Aim::Reshare(Box::new(Resharing {
            reshare,
            source,
            dealers: Vec::new(),
            avoided: BTreeSet::new(),
        }));
        let signed = Arc::clone(&admitted.signed);
        let expires = admitted.command.expires;
        self.add_change(moment, Some(id), signed, aim, expires, None);
    }

    /// The epoch that a command is to reshare, or how the command ends.
    fn source_of(
        &mut self,
        admitted: &Admitted,
        reshare: &ReshareKey,
    ) -> Result<Arc<Certified>, Box<End>> {
        let name = &reshare.key;
        let refused = |state, refusal: Refusal| End::refused(state, refusal.with("key", name));
        let Some(key) = self.keys.get(&self.pinned, name) else {
            // Nodes may still list it.
            let state = if self.is_ready() {
                CommandState::Denied
            } else {
                CommandState::Failed
            };
            let unknown = Refusal::new(Reason::KeyUnknown, format!("there is no key \"{name}\""));
            return Err(refused(state, unknown));
        };
        if let Err(refusal) = reshare.check_key(&key.record) {
            return Err(End::refused(CommandState::Denied, refusal));
        }
        if key.proof.is_none() {
            let refusal = Refusal::new(
                Reason::KeyNotActive,
                format!("key \"{name}\" is not active: its creation is not finished"),
            );
            return Err(refused(CommandState::Failed, refusal));
        }
        match overtaken(&key, reshare, admitted.digest) {
            Some(end) => Err(end),
            None => Ok(key),
        }
    }

    /// A node has another epoch in use than the one that is reshared, or another key of the name.
    pub(super) fn looked_for_epoch(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        node: &NodeId,
        result: Result<NodeReply, CallFailure>,
    ) {
        if let Ok(NodeReply::Keys(listings)) = result {
            for listing in listings.iter().filter(|listing| listing.key == *name) {
                self.learn(moment, node, listing);
            }
        }
        let known = self.keys.get(&self.pinned, name);
        let Some(op) = self.ceremonies.ops.get(name) else {
            return;
        };
        let Aim::Reshare(resharing) = &op.aim else {
            return;
        };
        let id = op.id;
        let end = known
            .as_ref()
            .and_then(|key| overtaken(key, &resharing.reshare, op.digest));
        if let Some(end) = end {
            // Whoever made the epoch, nodes keep shares below it until somebody sees to that.
            if let Some(key) = known.filter(|key| key.birth.is_some()) {
                let keepers = resharing.keepers(&key.record);
                self.gather_later(&key, keepers);
            }
            self.ceremonies.ops.remove(name);
            if let Some(id) = id {
                self.end(id, end.state, end.outcome, end.refusal);
            }
            return self.take_turns(moment);
        }
        let why = Refusal::new(
            Reason::EpochChanged,
            format!("node {node} has another epoch of key \"{name}\" in use"),
        );
        self.again(moment, name, why);
    }

    /// The nodes without which a ceremony cannot begin.
    pub(super) fn missing_of(&self, name: &KeyName) -> BTreeSet<NodeId> {
        let Some(op) = self.ceremonies.ops.get(name) else {
            return BTreeSet::new();
        };
        let mut missing: BTreeSet<NodeId> = op
            .aim
            .holders()
            .iter()
            .filter(|node| !self.peers.is_connected(node))
            .cloned()
            .collect();
        if let Aim::Reshare(resharing) = &op.aim
            && self.candidates_of(resharing).len() < resharing.needed()
        {
            let holders = resharing.source.record.participants.iter();
            missing.extend(
                holders
                    .map(|holder| &holder.node)
                    .filter(|node| !self.peers.is_connected(node))
                    .cloned(),
            );
            // Whoever was silent is all there is to wait for.
            missing.extend(resharing.avoided.iter().cloned());
        }
        missing
    }

    /// Why no node would take part in a ceremony under the roster in force: it may have changed since
    /// the command was admitted, and waiting for whom it does not list is no use.
    ///
    /// The roster here is never behind the one that the command names: a command of a roster that is
    /// not known here is not admitted ([`Reason::RosterBehind`], P7), and rosters are only followed
    /// forward. One that is not known here yet may list a node again. So this is not final: the same
    /// command is judged afresh when it is submitted again (P8).
    pub(super) fn unlisted(&self, name: &KeyName) -> Option<Refusal> {
        let aim = &self.ceremonies.ops.get(name)?.aim;
        let roster = self.pinned.roster();
        if let Err(refusal) = roster.check_committee(aim.holders(), aim.threshold()) {
            return Some(refusal);
        }
        let Aim::Reshare(resharing) = aim else {
            return None;
        };
        let (needed, holders) = (resharing.needed(), resharing.holders());
        let is_listed = |node: &NodeId| roster.node(node).is_some();
        let (listed, gone): (Vec<NodeId>, Vec<NodeId>) = holders.into_iter().partition(is_listed);
        (listed.len() < needed).then(|| {
            let (left, gone) = (listed.len(), join(&gone));
            Refusal::new(
                Reason::NodeUnknown,
                format!(
                    "{needed} holders of key \"{name}\" must deal, and the roster lists {left} of \
                     them, without {gone}: add a removed one again first"
                ),
            )
            .with("key", name)
            .with("missing", gone)
        })
    }

    /// The holders that could deal.
    fn candidates_of(&self, resharing: &Resharing) -> Vec<Participant> {
        let holders = resharing.source.record.participants.iter();
        holders
            .filter(|holder| self.peers.is_connected(&holder.node))
            .filter(|holder| !resharing.avoided.contains(&holder.node))
            .filter(|holder| !self.is_in_quarantine(&holder.node))
            .cloned()
            .collect()
    }

    /// Chooses who deals: those first that receive as well, because nobody else must answer then,
    /// and among equals the nearest.
    pub(super) fn choose_dealers(&mut self, moment: &Moment<'_>, name: &KeyName) {
        let Some(op) = self.ceremonies.ops.get(name) else {
            return;
        };
        let Aim::Reshare(resharing) = &op.aim else {
            return;
        };
        let mut candidates = self.candidates_of(resharing);
        candidates.sort_by_key(|holder| {
            let peer = self.peers.get(&holder.node);
            let usable = peer.is_some_and(|peer| peer.usable(moment.ms()));
            let rtt = peer.and_then(|peer| peer.rtt_us).unwrap_or(u64::MAX);
            (!usable, !resharing.receives(&holder.node), rtt)
        });
        candidates.truncate(resharing.needed());
        candidates.sort_by_key(|holder| holder.index);
        if let Some(op) = self.ceremonies.ops.get_mut(name)
            && let Aim::Reshare(resharing) = &mut op.aim
        {
            resharing.dealers = candidates;
        }
    }

    /// Whether a ceremony can do without a node: it was to deal and to receive nothing, and others
    /// can take its place.
    pub(super) fn goes_on_without(&mut self, name: &KeyName, node: &NodeId) -> bool {
        let receives = self
            .ceremonies
            .ops
            .get(name)
            .is_none_or(|op| match &op.aim {
                Aim::Create(_) => true,
                Aim::Reshare(resharing) => resharing.receives(node),
            });
        !receives && self.avoid_dealer(name, node)
    }

    /// Lets others deal than this node, if there are enough.
    pub(super) fn avoid_dealer(&mut self, name: &KeyName, node: &NodeId) -> bool {
        let Some(op) = self.ceremonies.ops.get(name) else {
            return false;
        };
        let Aim::Reshare(resharing) = &op.aim else {
            return false;
        };
        let others = self
            .candidates_of(resharing)
            .iter()
            .filter(|holder| holder.node != *node)
            .count();
        let dealt = resharing.dealers.iter().any(|dealer| dealer.node == *node);
        if !dealt || others < resharing.needed() {
            return false;
        }
        if let Some(op) = self.ceremonies.ops.get_mut(name)
            && let Aim::Reshare(resharing) = &mut op.aim
        {
            resharing.avoided.insert(node.clone());
        }
        true
    }

    /// Whether others deal in the place of this node already.
    pub(super) fn is_avoided(&self, name: &KeyName, node: &NodeId) -> bool {
        let op = self.ceremonies.ops.get(name);
        op.is_some_and(|op| match &op.aim {
            Aim::Create(_) => false,
            Aim::Reshare(resharing) => resharing.avoided.contains(node),
        })
    }

    /// Has others deal in the place of those that do not answer. True: another attempt begins.
    pub(super) fn replaces_silent_dealers(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
    ) -> bool {
        let Some(op) = self.ceremonies.ops.get(name) else {
            return false;
        };
        let (Aim::Reshare(resharing), Stage::Rounds { .. }) = (&op.aim, &op.stage) else {
            return false;
        };
        let waited_ms = moment.ms().saturating_sub(op.stage_ms);
        let silent = op.unanswered();
        let deals_only = silent.iter().all(|node| !resharing.receives(node));
        if silent.is_empty() || !deals_only || waited_ms < self.config.limits.round_timeout_ms {
            return false;
        }
        let why = Refusal::new(
            Reason::QuorumUnavailable,
            format!("no answer comes from {}", join(&silent)),
        );
        if !silent.iter().all(|node| self.goes_on_without(name, node)) {
            return false;
        }
        self.again(moment, name, why);
        true
    }

    /// As soon as as many holders as sign have the new epoch in use, so has this coordinator:
    /// signing goes on with them.
    pub(super) fn switch_early(&mut self, moment: &Moment<'_>, name: &KeyName) {
        let Some(op) = self.ceremonies.ops.get(name) else {
            return;
        };
        let (Aim::Reshare(resharing), Stage::Activating { key }) = (&op.aim, &op.stage) else {
            return;
        };
        let answered = op
            .asks
            .values()
            .filter(|ask| matches!(ask.state, AskState::Answered(_)))
            .count();
        if answered >= usize::from(resharing.reshare.threshold) {
            let key = Arc::clone(key);
            self.remember_key(moment, &key);
        }
    }

    /// All new holders have the new epoch in use: old shares go (P29).
    pub(super) fn begin_ending(
        &mut self,
        moment: &Moment<'_>,
        name: &KeyName,
        key: &Arc<Certified>,
        mut receipts: BTreeMap<NodeId, ActivationReceipt>,
    ) {
        let receipts = key
            .record
            .participants
            .iter()
            .filter_map(|holder| receipts.remove(&holder.node))
            .collect();
        let certificate = EraseCertificate {
            key: name.clone(),
            epoch: key.record.epoch,
            receipts,
        };
        let number = self.fresh_id();
        let until_ms = moment.ms().saturating_add(self.config.limits.erase_wait_ms);
        let Some(op) = self.ceremonies.ops.get_mut(name) else {
            return;
        };
        let Aim::Reshare(resharing) = &op.aim else {
            return;
        };
        let awaited = resharing.holders();
        let nodes = resharing.keepers(&key.record);
        op.number = number;
        op.asks.clear();
        op.stage_ms = moment.ms();
        op.stage = Stage::Ending(Box::new(Ending {
            key: Arc::clone(key),
            until_ms,
            awaited,
            erased: Vec::new(),
        }));
        self.erase(moment, key, certificate, &nodes);
        self.tell_progress(name);
    }

    /// A node has erased what it had before.
    pub(in crate::core) fn erased(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        receipt: EraseReceipt,
    ) {
        if let Some(op) = self.ceremonies.ops.get_mut(name)
            && let Stage::Ending(ending) = &mut op.stage
            && ending.key.record.certificate == receipt.certificate
            && ending.awaited.remove(&receipt.node)
        {
            ending.erased.push(receipt);
            self.end_resharing_if_over(moment, name);
        }
    }

    /// A node has destroyed the key: it has no shares of it whose end would be waited for.
    pub(in crate::core) fn has_nothing_left(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        node: &NodeId,
    ) {
        if let Some(op) = self.ceremonies.ops.get_mut(name)
            && let Stage::Ending(ending) = &mut op.stage
            && ending.awaited.remove(node)
        {
            self.end_resharing_if_over(moment, name);
        }
    }

    pub(super) fn end_resharing_if_over(&mut self, moment: &mut Moment<'_>, name: &KeyName) {
        let Some(op) = self.ceremonies.ops.get(name) else {
            return;
        };
        let Stage::Ending(ending) = &op.stage else {
            return;
        };
        let connected = ending.awaited().any(|node| self.peers.is_connected(node));
        if connected && moment.ms() < ending.until_ms {
            return self.tell_progress(name);
        }
        let outcome = ending.outcome();
        let Some(op) = self.ceremonies.ops.remove(name) else {
            return;
        };
        if let Some(id) = op.id {
            self.end(id, CommandState::Succeeded, Some(outcome), None);
        }
        self.take_turns(moment);
    }
}

pub(super) fn join(nodes: &[NodeId]) -> String {
    let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
    names.join(", ")
}
