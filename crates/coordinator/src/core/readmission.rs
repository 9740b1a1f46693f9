//! Carries to a node that was restored what the others know (P35).
//!
//! The coordinator decides nothing here. It shows the others the signed status of the restored node,
//! and brings their signed pages to it, in order; it begins anew with each status for as long as the
//! node is in quarantine, and only where all others are connected whose word is needed: with fewer
//! nothing would come of it. The admin quorum may leave some of them out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorate_model::{
    CommandId, KeyName, NodeId, Reason, Refusal,
    backup::RestoreId,
    command::{CommandBody, SignedCommand},
    node_api::{NodeReply, NodeRequest},
    operation::{CommandState, Progress},
    quarantine::{HeadsAttestation, ReadmitNode},
};

use super::{
    Action, Admitted, CallFailure, Core, Moment, Notice, Purpose,
    peers::{HeadsRefused, Peer},
};

/// After how long a node that refused its word for good is asked again, in milliseconds.
const REFUSED_AGAIN_MS: u64 = 60_000;

/// The most readmissions that are under way by the word of admins.
const MAX_OPS: usize = 32;

/// How long the answer to a command is waited for, in milliseconds.
const AGAIN_MS: u64 = 1_000;

/// One readmission by the word of admins.
struct ReadmitOp {
    command: Admitted,
    readmit: ReadmitNode,
    /// Whose word the node has not heard, as it says.
    missing: Vec<NodeId>,
    /// When the command is brought again, in case it was lost.
    again_ms: u64,
    deadline_ms: u64,
}

/// The readmissions under way, by the node that is restored.
#[derive(Default)]
pub(super) struct Readmissions(BTreeMap<NodeId, ReadmitOp>);

impl Readmissions {
    pub(super) fn is_idle(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX_OPS
    }

    pub(super) fn command(&self, id: CommandId) -> Option<(Arc<SignedCommand>, CommandBody)> {
        let op = self.0.values().find(|op| op.command.command.id == id)?;
        let command = &op.command;
        Some((Arc::clone(&command.signed), command.command.body.clone()))
    }

    pub(super) fn remove(&mut self, id: CommandId) {
        self.0.retain(|_, op| op.command.command.id != id);
    }

    /// The nodes that need not say anything for a restored one.
    fn without(&self, restored: &NodeId) -> BTreeSet<NodeId> {
        let op = self.0.get(restored);
        op.map(|op| op.readmit.without.iter().cloned().collect())
            .unwrap_or_default()
    }

    fn id_for(&self, restored: &NodeId) -> Option<CommandId> {
        let op = self.0.get(restored)?;
        Some(op.command.command.id)
    }

    fn word_for(&self, restored: &NodeId) -> Option<SignedCommand> {
        let op = self.0.get(restored)?;
        Some(SignedCommand::clone(&op.command.signed))
    }
}

impl Core {
    /// Takes a restored node back without some of the others.
    pub(super) fn begin_readmission(
        &mut self,
        moment: &Moment<'_>,
        command: &Admitted,
        readmit: ReadmitNode,
    ) {
        let id = command.command.id;
        let node = readmit.node.clone();
        if self.readmissions.0.contains_key(&node) {
            let refusal = Refusal::new(
                Reason::SessionLimit,
                format!("another command is readmitting node {node}"),
            );
            return self.end(
                id,
                CommandState::Failed,
                None,
                Some(refusal.with("node", &node)),
            );
        }
        let op = ReadmitOp {
            command: command.clone(),
            missing: Vec::new(),
            again_ms: moment.ms().saturating_add(AGAIN_MS),
            readmit,
            deadline_ms: moment
                .ms()
                .saturating_add(self.config.limits.quorum_wait_ms),
        };
        self.readmissions.0.insert(node.clone(), op);
        self.bring(moment, &node, None, Vec::new(), None);
    }

    pub(super) fn tick_readmissions(&mut self, moment: &Moment<'_>) {
        let nodes: Vec<NodeId> = self.readmissions.0.keys().cloned().collect();
        for node in nodes {
            let Some(op) = self.readmissions.0.get_mut(&node) else {
                continue;
            };
            let again = op.again_ms <= moment.ms();
            if again {
                op.again_ms = moment.ms().saturating_add(AGAIN_MS);
            }
            if op.deadline_ms > moment.ms() {
                let progress = Progress {
                    step: "readmit".to_owned(),
                    awaited: op.missing.clone(),
                    percent: 0,
                };
                if let Some(view) = self.commands.progress(op.command.command.id, progress) {
                    self.out.push(Action::Progress(Arc::new(view)));
                }
                if again && self.peers.is_connected(&node) {
                    self.bring(moment, &node, None, Vec::new(), None);
                }
                self.readmit(moment, &node);
                continue;
            }
            let refused = op.missing.iter().find_map(|witness| {
                let peer = self.peers.get(&node)?;
                let refused = peer.heads_refused.get(witness)?;
                (Some(refused.restore) == peer.restore()).then_some((witness, &refused.refusal))
            });
            if let Some((witness, refusal)) = refused {
                let refusal = Refusal::new(
                    refusal.reason,
                    format!("node {node} was not readmitted: node {witness} refuses: {refusal}"),
                )
                .with("node", &node)
                .with("missing", witness);
                self.end_readmission(&node, Err(refusal));
                continue;
            }
            let missing: Vec<&str> = op.missing.iter().map(NodeId::as_str).collect();
            let missing = if missing.is_empty() {
                node.to_string()
            } else {
                missing.join(", ")
            };
            let refusal = Refusal::new(
                Reason::QuorumUnavailable,
                format!(
                    "node {node} was not readmitted: no answer comes from {missing}; submit the same \
                     command again when they are connected, or leave them out with another one"
                ),
            )
            .with("missing", missing);
            self.end_readmission(&node, Err(refusal));
        }
    }

    fn end_readmission(&mut self, node: &NodeId, outcome: Result<(), Refusal>) {
        let Some(op) = self.readmissions.0.remove(node) else {
            return;
        };
        let id = op.command.command.id;
        match outcome {
            Ok(()) => self.end(id, CommandState::Succeeded, None, None),
            Err(refusal) => {
                let state = if refusal.reason.is_retryable() {
                    CommandState::Failed
                } else {
                    CommandState::Denied
                };
                self.end(id, state, None, Some(refusal));
            }
        }
    }

    /// Asks all others for their word for a node, if it is in quarantine.
    pub(super) fn readmit(&mut self, moment: &Moment<'_>, restored: &NodeId) {
        let waits = self
            .peers
            .get(restored)
            .is_some_and(|peer| peer.connected && peer.is_quarantined());
        if waits {
            self.forget_ends_at(restored);
        }
        let without = self.readmissions.without(restored);
        let needed: Vec<NodeId> = self
            .peers
            .members()
            .into_iter()
            .filter(|node| node != restored && !without.contains(node))
            .collect();
        if !waits || !needed.iter().all(|node| self.peers.is_connected(node)) {
            return;
        }
        for witness in needed {
            let Some(peer) = self.peers.get_mut(restored) else {
                return;
            };
            let restore = peer.restore();
            let refused = peer.heads_refused.get(&witness);
            if refused.is_some_and(|r| Some(r.restore) == restore && r.again_ms > moment.ms()) {
                continue;
            }
            if peer.readmitting.insert(witness.clone()) {
                self.ask_heads(moment, restored, &witness, None);
            }
        }
    }

    fn ask_heads(
        &mut self,
        moment: &Moment<'_>,
        restored: &NodeId,
        witness: &NodeId,
        after: Option<KeyName>,
    ) {
        let status = self
            .peers
            .get(restored)
            .and_then(|peer| peer.status.clone());
        let restore = self.peers.get(restored).and_then(Peer::restore);
        let status = status.filter(|status| status.quarantine.is_some());
        let (Some(status), Some(restore)) = (status, restore) else {
            return self.heads_end(restored, witness);
        };
        let purpose = Purpose::Heads {
            restored: restored.clone(),
            restore,
            after: after.clone(),
        };
        let request = NodeRequest::AttestHeads {
            status: Box::new(status),
            after,
        };
        let timeout = self.config.limits.call_timeout_ms;
        self.call(moment, witness, request, timeout, purpose);
    }

    /// Brings one page to the restored node.
    pub(super) fn heads_reply(
        &mut self,
        moment: &Moment<'_>,
        (restored, restore, after): (&NodeId, RestoreId, Option<&KeyName>),
        witness: &NodeId,
        result: Result<NodeReply, CallFailure>,
    ) {
        let page = match result {
            Ok(NodeReply::Heads(page)) => page,
            Err(CallFailure::Refused(refusal)) if refusal.reason == Reason::BackupRestoredTwice => {
                self.heads_end(restored, witness);
                return self.heads_refused(moment, (restored, restore), witness, refusal);
            }
            Ok(_) | Err(_) => return self.heads_end(restored, witness),
        };
        let last = page.heads.last().map(|head| head.key.clone());
        // Every page makes progress, or nobody would come to an end.
        if !page.is_last && last.as_ref() <= after {
            self.heads_end(restored, witness);
            return self.misbehaved(moment, witness, "tells the same keys again", false);
        }
        let next = last.filter(|_| !page.is_last);
        self.bring(moment, restored, Some(witness), vec![page], next);
    }

    /// A node refuses its word for good: it is asked again after a long while only, because it records
    /// each refusal.
    fn heads_refused(
        &mut self,
        moment: &Moment<'_>,
        (restored, restore): (&NodeId, RestoreId),
        witness: &NodeId,
        refusal: Refusal,
    ) {
        let Some(peer) = self.peers.get_mut(restored) else {
            return;
        };
        let notice = Notice::HeadsRefused {
            node: restored.clone(),
            witness: witness.clone(),
            why: refusal.to_string(),
        };
        let refused = HeadsRefused {
            restore,
            refusal,
            again_ms: moment.ms().saturating_add(REFUSED_AGAIN_MS),
        };
        peer.heads_refused.insert(witness.clone(), refused);
        self.out.push(Action::Notice(notice));
    }

    fn bring(
        &mut self,
        moment: &Moment<'_>,
        restored: &NodeId,
        witness: Option<&NodeId>,
        attestations: Vec<HeadsAttestation>,
        next: Option<KeyName>,
    ) {
        let request = NodeRequest::Readmit {
            attestations,
            command: self.readmissions.word_for(restored),
        };
        let purpose = Purpose::Readmit {
            witness: witness.cloned(),
            op: self.readmissions.id_for(restored),
            next,
        };
        let timeout = self.config.limits.call_timeout_ms;
        self.call(moment, restored, request, timeout, purpose);
    }

    /// Goes on with the next page, or is done with one witness.
    pub(super) fn readmit_reply(
        &mut self,
        moment: &Moment<'_>,
        restored: &NodeId,
        (witness, op): (Option<&NodeId>, Option<CommandId>),
        next: Option<KeyName>,
        result: Result<NodeReply, CallFailure>,
    ) {
        let of_this = op.is_some() && op == self.readmissions.id_for(restored);
        if let (Ok(NodeReply::Readmission(_)), Some(witness), Some(after)) =
            (&result, witness, next)
        {
            return self.ask_heads(moment, restored, witness, Some(after));
        }
        if let Some(witness) = witness {
            self.heads_end(restored, witness);
        }
        match result {
            Ok(NodeReply::Readmission(readmission)) if readmission.missing.is_empty() => {
                self.readmitted(restored);
            }
            Ok(NodeReply::Readmission(readmission)) => {
                if let Some(op) = self.readmissions.0.get_mut(restored) {
                    op.missing = readmission.missing;
                }
            }
            // Of a page it is the witness's fault.
            Err(CallFailure::Refused(refusal))
                if of_this && witness.is_none() && !refusal.reason.is_retryable() =>
            {
                self.end_readmission(restored, Err(refusal));
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// What the node refused in quarantine is brought to it again when it lists its keys.
    fn readmitted(&mut self, restored: &NodeId) {
        if let Some(peer) = self.peers.get_mut(restored) {
            peer.synced = false;
        }
        self.ask_status_soon(restored);
        self.end_readmission(restored, Ok(()));
    }

    fn heads_end(&mut self, restored: &NodeId, witness: &NodeId) {
        if let Some(peer) = self.peers.get_mut(restored) {
            peer.readmitting.remove(witness);
        }
    }
}
