//! Sessions: from a message and t holders to a verified signature.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{
    Digest, NodeId, Reason, Refusal,
    ids::CommandId,
    key::Participant,
    node_api::{AttemptId, NodeReply, NodeRequest, SignedItem, SigningReply, SigningRequest},
    operation::{CommandOutcome, CommandState, SignOutcome},
    share::whole_signature_hash,
};

use super::{Session, SignedMessage};
use crate::core::{
    CallFailure, Core, Moment, Purpose,
    mail::{self, Said, Unsorted},
    math,
    signing::Material,
};

impl Core {
    /// Begins a session for every message of a command that has none, as far as there is room.
    /// False: not possible at the moment.
    pub(in crate::core) fn begin_sessions(
        &mut self,
        moment: &mut Moment<'_>,
        id: CommandId,
        material: &Material,
    ) -> bool {
        for item in 0..material.messages.len() {
            let Some(op) = self.signing.op(id) else {
                return true;
            };
            let progress = &op.in_rounds;
            if progress.signed.contains_key(&item) || progress.under_way.contains(&item) {
                continue;
            }
            if self.ecdsa.sessions.len() >= self.config.limits.ecdsa_in_flight {
                if !progress.queued {
                    self.ecdsa.queue.push_back(id);
                    if let Some(op) = self.signing.op_mut(id) {
                        op.in_rounds.queued = true;
                    }
                }
                return true;
            }
            let candidates = self.candidates(moment, op, material);
            let Some(participants) = self.choose(&material.key, candidates) else {
                // Whoever is away comes back; a ban stays, and so does a refusal.
                let Some((state, refusal)) = self.never_signs(op, &material.key) else {
                    return false;
                };
                self.end_signing(id, state, refusal);
                return true;
            };
            self.begin_session(moment, id, item, material, participants);
        }
        true
    }

    fn begin_session(
        &mut self,
        moment: &mut Moment<'_>,
        id: CommandId,
        item: usize,
        material: &Material,
        participants: Vec<Participant>,
    ) {
        let attempt: AttemptId = moment.bytes();
        let Some(op) = self.signing.op_mut(id) else {
            return;
        };
        op.in_rounds.under_way.insert(item);
        let request = NodeRequest::BeginSigning {
            attempt,
            request: SigningRequest {
                command: op.command.as_ref().clone(),
                key: material.key.record.name.clone(),
                epoch: material.key.record.epoch,
                item: u32::try_from(item).unwrap_or(u32::MAX),
                signers: participants.iter().map(|p| p.index).collect(),
            },
        };
        let requests = participants
            .iter()
            .map(|p| (p.node.clone(), request.clone()))
            .collect();
        let session = Session {
            op: id,
            item,
            attempt,
            participants,
            awaited: BTreeSet::new(),
            said: BTreeMap::new(),
            advanced: false,
        };
        let number = self.fresh_id();
        self.ecdsa.sessions.insert(number, session);
        self.ask_session(moment, number, requests);
    }

    fn ask_session(
        &mut self,
        moment: &Moment<'_>,
        number: u64,
        requests: BTreeMap<NodeId, NodeRequest>,
    ) {
        if let Some(session) = self.ecdsa.sessions.get_mut(&number) {
            session.awaited = requests.keys().cloned().collect();
            session.said.clear();
        }
        let timeout = self.config.limits.ecdsa_round_timeout_ms;
        for (node, request) in requests {
            let purpose = Purpose::Signing { session: number };
            self.call(moment, &node, request, timeout, purpose);
        }
    }

    pub(in crate::core) fn session_reply(
        &mut self,
        moment: &mut Moment<'_>,
        number: u64,
        node: &NodeId,
        result: Result<NodeReply, CallFailure>,
    ) {
        let Some(session) = self.ecdsa.sessions.get_mut(&number) else {
            return;
        };
        if self.signing.op(session.op).is_none() {
            // The command is over; so is everything for it.
            self.close_session(number);
            return;
        }
        match result {
            Ok(NodeReply::Signing(reply)) => {
                session.awaited.remove(node);
                session.said.insert(node.clone(), reply);
                if session.awaited.is_empty() {
                    self.session_round_done(moment, number);
                }
            }
            Ok(_) => {
                self.misbehaved(moment, node, "answered with something else", false);
                self.leave_out(moment, number, node, None);
            }
            Err(CallFailure::Refused(refusal)) => {
                self.session_refused(moment, number, node, refusal);
            }
            Err(failure @ (CallFailure::Lost | CallFailure::TimedOut)) => {
                let limits = self.config.limits.clone();
                if failure == CallFailure::TimedOut
                    && let Some(peer) = self.peers.get_mut(node)
                {
                    peer.stalled(moment.ms(), &limits);
                }
                if let Some(op) = self.signing.op_mut(session.op) {
                    op.set_back(node, moment.ms(), None);
                }
                self.close_session(number);
            }
        }
    }

    /// Takes a session out and lets whoever waits go on. Nothing of it is used again.
    fn close_session(&mut self, number: u64) -> Option<Session> {
        let session = self.ecdsa.sessions.remove(&number)?;
        if let Some(op) = self.signing.op_mut(session.op) {
            op.in_rounds.under_way.remove(&session.item);
        }
        self.signing.wait(session.op);
        if let Some(next) = self.ecdsa.queue.pop_front() {
            if let Some(op) = self.signing.op_mut(next) {
                op.in_rounds.queued = false;
            }
            self.signing.wait(next);
        }
        Some(session)
    }

    fn session_round_done(&mut self, moment: &mut Moment<'_>, number: u64) {
        let Some(session) = self.ecdsa.sessions.get_mut(&number) else {
            return;
        };
        if session.said.values().all(|reply| reply.signed.is_some()) {
            return self.session_done(moment, number);
        }
        let said = std::mem::take(&mut session.said)
            .into_iter()
            .filter(|(_, reply)| reply.signed.is_none())
            .map(|(node, reply)| {
                let SigningReply {
                    round, envelopes, ..
                } = reply;
                (node, Said { round, envelopes })
            })
            .collect();
        let attempt = session.attempt;
        let (round, mail) = match mail::sort(&session.participants, &said) {
            Ok(sorted) => sorted,
            Err(Unsorted::Apart) => return self.fail_session(moment, number),
            Err(Unsorted::Spoilt(node)) => {
                return self.leave_out(moment, number, &node, Some("spoilt what others are sent"));
            }
        };
        session.advanced = true;
        let requests = mail
            .into_iter()
            .map(|(node, envelopes)| {
                (
                    node,
                    NodeRequest::AdvanceSigning {
                        attempt,
                        round,
                        envelopes,
                    },
                )
            })
            .collect();
        self.ask_session(moment, number, requests);
    }

    /// A session came to nothing, and nobody can be named.
    fn fail_session(&mut self, moment: &Moment<'_>, number: u64) {
        let Some(session) = self.close_session(number) else {
            return;
        };
        self.ecdsa.note_failure(&session.participants);
        if let Some(op) = self.signing.op_mut(session.op) {
            for participant in &session.participants {
                op.set_back(&participant.node, moment.ms(), None);
            }
        }
    }

    fn session_refused(
        &mut self,
        moment: &mut Moment<'_>,
        number: u64,
        node: &NodeId,
        refusal: Refusal,
    ) {
        let Some(session) = self.close_session(number) else {
            return;
        };
        let reason = refusal.reason;
        if reason == Reason::PairBanned {
            return self.note_ban(node, &session.participants, &refusal);
        }
        // What a node makes of envelopes that it does not expect is not its own doing.
        let failed = matches!(
            reason,
            Reason::PairingsUnready | Reason::PeerMisbehaved | Reason::ProtocolViolation
        ) || (session.advanced
            && matches!(reason, Reason::TooLarge | Reason::RequestInvalid));
        if failed {
            self.ecdsa.note_failure(&session.participants);
        }
        let material = self
            .signing
            .op(session.op)
            .and_then(|op| op.material.clone());
        if reason == Reason::PairingsUnready
            && let Some(Material { key, .. }) = material
        {
            self.renew_pairings(moment, &key, &session.participants);
        }
        let Some(op) = self.signing.op_mut(session.op) else {
            return;
        };
        let changed = reason == Reason::EpochChanged;
        if failed || reason.is_retryable() {
            op.set_back(node, moment.ms(), Some(refusal));
            if changed {
                self.seek_epoch(moment, session.op, node);
            }
        } else {
            op.refusals.insert(node.clone(), refusal);
        }
    }

    /// Nothing that is under way for a command counts any more.
    pub(in crate::core) fn close_sessions_of(&mut self, id: CommandId) {
        let sessions = self.ecdsa.sessions.iter();
        let numbers: Vec<u64> = sessions
            .filter(|(_, session)| session.op == id)
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            self.close_session(number);
        }
    }

    /// A node takes no further part in the command.
    fn leave_out(
        &mut self,
        moment: &Moment<'_>,
        number: u64,
        node: &NodeId,
        what: Option<&'static str>,
    ) {
        if let Some(what) = what {
            self.misbehaved(moment, node, what, false);
        }
        if let Some(session) = self.close_session(number)
            && let Some(op) = self.signing.op_mut(session.op)
        {
            op.cheats.insert(node.clone());
        }
    }

    /// Everybody has the signature: it is verified here too, and so is what each states of it.
    fn session_done(&mut self, moment: &mut Moment<'_>, number: u64) {
        let Some(session) = self.ecdsa.sessions.get_mut(&number) else {
            return;
        };
        let (id, item) = (session.op, session.item);
        let mut said = std::mem::take(&mut session.said);
        let participants = session.participants.clone();
        let Some((material, command)) = self
            .signing
            .op(id)
            .and_then(|op| Some((op.material.clone()?, op.digest)))
        else {
            return;
        };
        let mut all: Vec<SignedItem> = Vec::with_capacity(participants.len());
        for participant in &participants {
            let node = &participant.node;
            let one = said.remove(node).and_then(|reply| reply.signed);
            let Some(one) = one.filter(|one| self.fits(one, node, command, &material, item)) else {
                return self.leave_out(moment, number, node, Some("signed something else"));
            };
            // All of one session are the same: it has one nonce, and s is normalized.
            if all
                .first()
                .is_some_and(|first| is_of_one_session(first, &one))
            {
                all.push(one);
                continue;
            }
            if !math::whole_holds(&material.key.record, &material.messages, item, &one) {
                return self.leave_out(moment, number, node, Some("signed something else"));
            }
            if !all.is_empty() {
                // Both hold: one of them is of an earlier session, and who kept it cannot be told.
                return self.fail_session(moment, number);
            }
            all.push(one);
        }
        self.close_session(number);
        self.ecdsa.note_success(&participants);
        let Some(op) = self.signing.op_mut(id) else {
            return;
        };
        let signature = all.first().map(|one| one.signature.clone());
        let signed = SignedMessage {
            signature: signature.unwrap_or_default(),
            signers: participants,
            receipts: all.into_iter().map(|one| one.receipt).collect(),
        };
        op.in_rounds.signed.insert(item, signed);
        if op.in_rounds.signed.len() < material.messages.len() {
            return;
        }
        let outcome = outcome(&material, std::mem::take(&mut op.in_rounds.signed));
        self.note_use(&material.key.record, moment.now.wall);
        self.signing.remove(id);
        let outcome = Some(CommandOutcome::Signed(outcome));
        self.end(id, CommandState::Succeeded, outcome, None);
    }

    /// Whether a node states exactly what was asked, and of this signature.
    fn fits(
        &self,
        one: &SignedItem,
        node: &NodeId,
        command: Digest,
        material: &Material,
        item: usize,
    ) -> bool {
        let statement = &one.receipt.statement;
        let record = &material.key.record;
        let fits = statement.node == *node
            && statement.command == command
            && statement.key == record.name
            && statement.epoch == record.epoch
            && statement.items.len() == 1;
        let message = material.messages.get(item);
        fits && statement.items.iter().all(|stated| {
            message.is_some_and(|message| message.hash == stated.message)
                && stated.share == *whole_signature_hash(&one.signature).as_bytes()
        }) && self
            .pinned
            .roster()
            .node(node)
            .is_some_and(|card| one.receipt.verify(&card.identity_key).is_ok())
    }
}

fn is_of_one_session(first: &SignedItem, other: &SignedItem) -> bool {
    let set = |one: &SignedItem| {
        let items = one.receipt.statement.items.first();
        items.map(|item| item.signing_set)
    };
    first.signature == other.signature && set(first) == set(other)
}

/// What a command came to: everybody who took part, and the receipts message by message.
fn outcome(material: &Material, signed: BTreeMap<usize, SignedMessage>) -> SignOutcome {
    let record = &material.key.record;
    let mut signers = BTreeMap::new();
    let mut signatures = Vec::with_capacity(signed.len());
    let mut receipts = Vec::new();
    for one in signed.into_values() {
        signers.extend(one.signers.into_iter().map(|p| (p.index, p.node)));
        signatures.push(one.signature);
        receipts.extend(one.receipts);
    }
    SignOutcome {
        key: record.name.clone(),
        epoch: record.epoch,
        scheme: record.scheme,
        signers: signers.into_values().collect(),
        signatures,
        receipts,
    }
}
