//! The roster in force: following the next one, and telling every node (P3, P41).
//!
//! The coordinator decides nothing here either: a roster follows from the one before by the word of
//! its admins, and whoever knows more, a node or the coordinator, tells the other. What is known is
//! kept, and learned again from the nodes where it was lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorate_model::{
    Digest, NodeId, Reason, Refusal,
    certificate::{CommitCertificate, KeyEvidence},
    command::{CommandBody, SignedCommand},
    ids::CommandId,
    node_api::{MAX_LISTED_ROSTERS, NodeReply, NodeRequest},
    operation::{CommandOutcome, CommandState, Progress, RosterOutcome, RosterView},
    roster::{Followed, PinnedRoster, RosterReceipt, Successor},
};
use quorate_proto::roster;

use super::{
    Action, Admitted, CallFailure, Core, Moment, Purpose, StoreItem, signing::most_common,
    states::percent,
};

/// The most changes under way.
const MAX_OPS: usize = 16;

/// The most bytes of the commands in one answer to a caller; a single one may be larger.
const MAX_VIEW_BYTES: usize = 2 << 20;

/// One change under way.
struct RosterOp {
    command: Admitted,
    roster: Digest,
    receipts: BTreeMap<NodeId, RosterReceipt>,
    refusals: BTreeMap<NodeId, Refusal>,
    deadline_ms: u64,
}

/// The changes under way, and who acts by the roster in force.
#[derive(Default)]
pub(super) struct Rosters {
    ops: BTreeMap<CommandId, RosterOp>,
    receipts: BTreeMap<NodeId, RosterReceipt>,
}

impl Rosters {
    pub(super) fn is_idle(&self) -> bool {
        self.ops.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.ops.len() >= MAX_OPS
    }

    pub(super) fn command(&self, id: CommandId) -> Option<(Arc<SignedCommand>, CommandBody)> {
        let command = &self.ops.get(&id)?.command;
        Some((Arc::clone(&command.signed), command.command.body.clone()))
    }
}

/// Follows what the store holds, in the order in which it was followed before. What does not hold any
/// more is learned again from the nodes.
pub(super) fn restore(
    mut pinned: PinnedRoster,
    mut stored: Vec<(u32, SignedCommand)>,
) -> PinnedRoster {
    stored.sort_by_key(|(at, _)| *at);
    for (_, signed) in stored {
        if let Ok(Followed::InForce(next) | Followed::Aside(next)) =
            roster::follow(&pinned, &signed)
        {
            pinned = next;
        }
    }
    pinned
}

impl Core {
    /// The roster in force, with those before it.
    pub fn pinned(&self) -> &PinnedRoster {
        &self.pinned
    }

    pub(super) fn begin_roster_change(&mut self, moment: &mut Moment<'_>, command: &Admitted) {
        let id = command.command.id;
        let CommandBody::ChangeRoster(change) = &command.command.body else {
            return;
        };
        match roster::follow(&self.pinned, &command.signed) {
            Err(refusal) => return self.end(id, CommandState::Denied, None, Some(refusal)),
            Ok(Followed::Aside(_)) => {
                let refusal = Refusal::new(
                    Reason::RosterForked,
                    "another roster follows the same one and is in force: make the change again on \
                     top of it",
                );
                return self.end(id, CommandState::Denied, None, Some(refusal));
            }
            Ok(Followed::Known) => {}
            Ok(Followed::InForce(chain)) => {
                self.adopt(moment, chain, SignedCommand::clone(&command.signed));
            }
        }
        let roster = change.hash();
        // What nodes have said since they followed it is known already.
        let receipts = if roster == self.pinned.hash() {
            self.rosters.receipts.clone()
        } else {
            for node in self.peers.connected() {
                let command = SignedCommand::clone(&command.signed);
                self.tell_roster(moment, &node, command, roster);
            }
            BTreeMap::new()
        };
        let op = RosterOp {
            command: command.clone(),
            roster,
            receipts,
            refusals: BTreeMap::new(),
            deadline_ms: moment
                .ms()
                .saturating_add(self.config.limits.quorum_wait_ms),
        };
        self.rosters.ops.insert(id, op);
        self.meet_all(moment);
        self.conclude_roster(moment, id);
    }

    /// Goes by a longer chain from here on.
    fn adopt(&mut self, moment: &Moment<'_>, chain: PinnedRoster, signed: SignedCommand) {
        let in_force = chain.hash() != self.pinned.hash();
        self.pinned = chain;
        let at = u32::try_from(self.pinned.len()).unwrap_or(u32::MAX);
        self.writes.push(StoreItem::Roster(at, signed));
        if !in_force {
            return;
        }
        self.rosters.receipts.clear();
        self.peers.follow(&self.pinned);
        self.left_out.follow(self.pinned.roster());
        self.out.push(Action::Roster(Arc::new(self.pinned.clone())));
        // Whoever was removed hears of it too, as long as its link lasts.
        if let Some(command) = self.pinned.command().cloned() {
            for node in self.peers.leaving() {
                self.tickets.drop_node(&node);
                self.tell_roster(moment, &node, command.clone(), self.pinned.hash());
            }
        }
    }

    fn meet_all(&mut self, moment: &Moment<'_>) {
        for node in self.peers.connected() {
            self.meet_roster(moment, &node);
        }
    }

    /// Brings a node and this coordinator to the same roster, one step at a time, and has the node
    /// say that it acts by it.
    pub(super) fn meet_roster(&mut self, moment: &Moment<'_>, node: &NodeId) {
        let own = self.pinned.hash();
        let Some(peer) = self.peers.get(node).filter(|peer| !peer.roster.is_telling) else {
            return;
        };
        let Some(theirs) = peer.roster.hash else {
            return;
        };
        let next = if theirs == own {
            let silent = !self.rosters.receipts.contains_key(node);
            self.pinned.command().filter(|_| silent)
        } else if self.pinned.knows(&theirs) {
            let aside = |command: &&SignedCommand| {
                made_by(command).is_none_or(|hash| peer.roster.forked.contains(&hash))
            };
            let mut since = self.pinned.since(&theirs).into_iter();
            since.find(|command| !aside(command))
        } else {
            let request = NodeRequest::ListRosters { since: own };
            let timeout = self.config.limits.call_timeout_ms;
            self.call(moment, node, request, timeout, Purpose::Rosters);
            return self.is_telling(node, true);
        };
        if let Some(command) = next.cloned()
            && let Some(hash) = made_by(&command)
        {
            self.tell_roster(moment, node, command, hash);
            self.is_telling(node, true);
        }
    }

    fn is_telling(&mut self, node: &NodeId, telling: bool) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.roster.is_telling = telling;
        }
    }

    fn tell_roster(
        &mut self,
        moment: &Moment<'_>,
        node: &NodeId,
        command: SignedCommand,
        roster: Digest,
    ) {
        let request = NodeRequest::ChangeRoster { command };
        let timeout = self.config.limits.call_timeout_ms;
        self.call(moment, node, request, timeout, Purpose::Roster { roster });
    }

    pub(super) fn roster_reply(
        &mut self,
        moment: &mut Moment<'_>,
        node: &NodeId,
        roster: Digest,
        result: Result<NodeReply, CallFailure>,
    ) {
        self.is_telling(node, false);
        match result {
            Ok(NodeReply::RosterChanged(receipt)) => {
                let card = self.pinned.card(node);
                if card.is_none_or(|card| receipt.verify(card, &roster).is_err()) {
                    return self.misbehaved(moment, node, "signed another receipt", false);
                }
                self.take_receipt(moment, node, roster, receipt);
            }
            Ok(_) => self.misbehaved(moment, node, "answered with something else", false),
            Err(CallFailure::Refused(refusal)) if !refusal.reason.is_retryable() => {
                let ops = self.rosters.ops.values_mut();
                for op in ops.filter(|op| op.roster == roster) {
                    op.refusals.insert(node.clone(), refusal.clone());
                }
                // It knows the roster, and goes on with what follows from both.
                if refusal.reason == Reason::RosterForked
                    && let Some(peer) = self.peers.get_mut(node)
                    && peer.roster.forked.insert(roster)
                {
                    self.meet_roster(moment, node);
                }
            }
            // Told again with its next status.
            Err(CallFailure::Refused(_) | CallFailure::Lost | CallFailure::TimedOut) => {}
        }
        self.conclude_rosters(moment);
    }

    fn take_receipt(
        &mut self,
        moment: &Moment<'_>,
        node: &NodeId,
        roster: Digest,
        receipt: RosterReceipt,
    ) {
        let before = self.peers.get(node).and_then(|peer| peer.roster.hash);
        if let Some(peer) = self.peers.get_mut(node) {
            peer.roster.hash = Some(receipt.in_force);
        }
        let in_force = receipt.in_force;
        for op in self.rosters.ops.values_mut() {
            if op.roster == roster {
                op.receipts.insert(node.clone(), receipt.clone());
            }
        }
        if roster == self.pinned.hash() {
            self.rosters.receipts.insert(node.clone(), receipt);
        }
        // A node that says that it has moved up is told the next one at once, but only for as long as
        // it comes closer.
        let left = |theirs: &Digest| self.pinned.since(theirs).len();
        if before.is_none_or(|before| left(&in_force) < left(&before)) {
            self.meet_roster(moment, node);
        }
    }

    /// Takes the rosters that a node knows and this coordinator does not.
    pub(super) fn rosters_reply(
        &mut self,
        moment: &mut Moment<'_>,
        node: &NodeId,
        result: Result<NodeReply, CallFailure>,
    ) {
        self.is_telling(node, false);
        let Ok(NodeReply::Rosters(commands)) = result else {
            return;
        };
        let is_full = commands.len() >= MAX_LISTED_ROSTERS;
        let mut news = false;
        for signed in commands {
            match roster::follow(&self.pinned, &signed) {
                Ok(Followed::InForce(chain) | Followed::Aside(chain)) => {
                    self.adopt(moment, chain, signed);
                    news = true;
                }
                Ok(Followed::Known) => {}
                Err(_) => {
                    let what = "listed a roster that does not follow from those before it";
                    return self.misbehaved(moment, node, what, false);
                }
            }
        }
        if news {
            // What was certified under them was not understood before.
            self.peers.forget_synced();
            if is_full {
                self.meet_roster(moment, node);
            }
            self.meet_all(moment);
        }
    }

    /// Whether a node may go by rosters that are not known here: what it lists is not judged then.
    pub(super) fn may_be_ahead(&self, node: &NodeId) -> bool {
        let roster = self.peers.get(node).and_then(|peer| peer.roster.hash);
        roster.is_none_or(|roster| !self.pinned.knows(&roster))
    }

    /// Whether a command was made under a roster that is not known here. A node may have followed it
    /// since it last said where it stands: what it lists is not judged then either.
    pub(super) fn is_ahead(&self, signed: &SignedCommand) -> bool {
        let command = quorate_proto::command::decode(&signed.bytes);
        command.is_ok_and(|command| {
            command.cluster == self.pinned.cluster() && !self.pinned.knows(&command.roster)
        })
    }

    /// The same of the commands behind a key, and of the sessions in which its shares were made: those
    /// may have begun under a later roster than the one that the command names.
    pub(super) fn is_key_ahead(&self, evidence: &KeyEvidence) -> bool {
        let certificates = std::iter::once(&evidence.certificate).chain(&evidence.birth);
        certificates
            .filter_map(|bytes| CommitCertificate::from_bytes(bytes).ok())
            .any(|certificate| {
                let binding = &certificate.session.binding;
                let begun_ahead =
                    binding.cluster == self.pinned.cluster() && !self.pinned.knows(&binding.roster);
                begun_ahead || self.is_ahead(&certificate.command)
            })
    }

    /// What a node listed is listed again once its rosters are known.
    pub(super) fn is_misunderstood(&mut self, node: &NodeId) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.roster.is_misunderstood = true;
        }
    }

    pub(super) fn tick_rosters(&mut self, moment: &Moment<'_>) {
        if !self.rosters.ops.is_empty() {
            self.meet_all(moment);
            self.conclude_rosters(moment);
        }
    }

    fn conclude_rosters(&mut self, moment: &Moment<'_>) {
        let ids: Vec<CommandId> = self.rosters.ops.keys().copied().collect();
        for id in ids {
            self.conclude_roster(moment, id);
        }
    }

    /// Ends a change that every connected node has answered, or whose time is over.
    fn conclude_roster(&mut self, moment: &Moment<'_>, id: CommandId) {
        let connected = self.peers.connected();
        let Some(op) = self.rosters.ops.get(&id) else {
            return;
        };
        let answered =
            |node: &NodeId| op.receipts.contains_key(node) || op.refusals.contains_key(node);
        let nodes: Vec<NodeId> = self.peers.members();
        let awaited: Vec<NodeId> = connected
            .into_iter()
            .filter(|node| !answered(node))
            .collect();
        if op.deadline_ms > moment.ms() && !awaited.is_empty() {
            let progress = Progress {
                step: "acknowledge".to_owned(),
                percent: percent(op.receipts.len(), nodes.len()),
                awaited,
            };
            if let Some(view) = self.commands.progress(id, progress) {
                self.out.push(Action::Progress(Arc::new(view)));
            }
            return;
        }
        let Some(op) = self.rosters.ops.remove(&id) else {
            return;
        };
        let in_roster: BTreeSet<&NodeId> = nodes.iter().collect();
        if op.receipts.is_empty() {
            let refusal = most_common(op.refusals.values()).unwrap_or_else(|| {
                Refusal::new(
                    Reason::QuorumUnavailable,
                    "no node is connected that acts by the roster: they follow it when they connect",
                )
            });
            return self.end(id, CommandState::Failed, None, Some(refusal));
        }
        let missing = nodes
            .iter()
            .filter(|node| !op.receipts.contains_key(*node))
            .map(|node| (node.clone(), op.refusals.get(node).cloned()))
            .collect();
        let version = self
            .pinned
            .at(&op.roster)
            .map_or(0, |then| then.roster().version);
        let outcome = RosterOutcome {
            version,
            roster: op.roster,
            missing,
            receipts: op
                .receipts
                .iter()
                .filter(|(node, _)| in_roster.contains(node))
                .map(|(_, receipt)| receipt.clone())
                .collect(),
        };
        let outcome = Some(CommandOutcome::RosterChanged(outcome));
        self.end(id, CommandState::Succeeded, outcome, None);
    }

    /// The rosters as callers see them: those that are not known where `since` is in force.
    pub fn roster_view(&self, since: Option<&Digest>) -> RosterView {
        let all = self.pinned.to_file();
        let mut bytes = 0usize;
        let commands = match since {
            Some(since) => self.pinned.since(since).into_iter().cloned().collect(),
            None => all.successors.into_iter().map(|Successor(s)| s).collect(),
        };
        let commands: Vec<SignedCommand> = commands;
        let successors = commands
            .into_iter()
            .enumerate()
            .take_while(|(at, command)| {
                bytes = bytes.saturating_add(command.stored_bytes());
                *at == 0 || bytes <= MAX_VIEW_BYTES
            })
            .map(|(_, command)| Successor(command))
            .collect();
        RosterView {
            file: quorate_model::roster::SignedRoster {
                roster: all.roster,
                signatures: all.signatures,
                successors,
            },
            receipts: self.rosters.receipts.values().cloned().collect(),
        }
    }
}

/// The hash of the roster that a command makes.
fn made_by(signed: &SignedCommand) -> Option<Digest> {
    match quorate_proto::command::decode(&signed.bytes).ok()?.body {
        CommandBody::ChangeRoster(change) => Some(change.hash()),
        CommandBody::CreateKey(_)
        | CommandBody::Sign(_)
        | CommandBody::SetKeyState(_)
        | CommandBody::ReshareKey(_)
        | CommandBody::DestroyKey(_)
        | _ => None,
    }
}
