//! Signatures in rounds at one node (P7, P13, P14, P17).
//!
//! A session is judged like a request for a share when it begins. Before its last message, from
//! which the others make the signature, everything that may have changed is judged again, and that
//! message leaves only once the record that permits it is durable.

mod judge;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use quorate_model::{
    CoordinatorId, Digest, NodeId, PartyIndex, Reason, Refusal, UnixMillis,
    audit::{Entry, ItemRecord, Judgment, PairingsSuspended, SharePurpose, ShareReleased},
    identity::sign_digest,
    key::Participant,
    node_api::{AttemptId, NodeReply, SignedItem, SigningReply, SigningRequest},
    session::SessionBinding,
    share::{ShareItem, ShareReceipt, ShareStatement, share_batch_digest, whole_signature_hash},
};
use quorate_protocol::{
    Abort, Fault,
    ecdsa::{
        Advance, EcdsaSignature, renews_pairings,
        signing::{self, Machine, PROTOCOL, Setup},
    },
};

use super::{digest_of_item, share_of};
use crate::{
    core::{
        Context, Fatal, NodeCore, Outcome, Pending, Subject,
        loaded::LoadedKey,
        lock,
        rounds::{Asked, Run, Turn, encode_all, told, unknown_session},
        signing::child_of,
        standing::Use,
    },
    disk::Disk,
};

/// A session that nothing was heard of for so long is dropped, in milliseconds (P17).
const IDLE_MS: u64 = 10_000;

/// The longest that a session lives, however often it is asked for.
const AGE_MS: u64 = 60_000;

pub(in crate::core) type Signatures = BTreeMap<(CoordinatorId, AttemptId), Session>;

/// One signature at this node.
pub(in crate::core) struct Session {
    begun_ms: u64,
    touched_ms: u64,
    facts: Arc<Facts>,
    run: Arc<Mutex<Run<Machine, SigningReply>>>,
}

impl Session {
    fn lives(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.touched_ms) <= IDLE_MS
            && now_ms.saturating_sub(self.begun_ms) <= AGE_MS
    }
}

/// What stays the same from the beginning to the end.
struct Facts {
    id: AttemptId,
    asked: Asking,
    key: Arc<LoadedKey>,
    participants: Vec<Participant>,
    judgment: Judgment,
    purpose: Use,
    /// The roster that it was judged under.
    roster: Digest,
    expires: UnixMillis,
    /// How many messages the whole command has.
    items: usize,
    /// How statements name the message.
    message: Digest,
    /// The pairings that it uses: peers with the ids of the pairings.
    pairs: Vec<(PartyIndex, Digest)>,
    /// The record that permitted the last message, once it is durable.
    released: Mutex<Option<(u64, Digest)>>,
}

/// What a session was asked for: the same attempt must ask for the same.
#[derive(PartialEq, Eq)]
struct Asking {
    command: Digest,
    item: u32,
    signers: Vec<PartyIndex>,
}

impl Asking {
    fn of(request: &SigningRequest) -> Self {
        Self {
            command: request.command.digest(),
            item: request.item,
            signers: request.signers.clone(),
        }
    }
}

impl Facts {
    fn subject(&self) -> Subject {
        Subject {
            command: Some(self.judgment.command),
            command_id: Some(self.judgment.command_id),
            endorsements: Some(self.judgment.endorsements),
            key: Some(self.key.record.name.clone()),
            epoch: Some(self.key.record.epoch),
        }
    }

    fn node_at(&self, index: PartyIndex) -> Option<NodeId> {
        self.key.record.node_at(index).cloned()
    }
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Judges the command and answers with this node's hello.
    pub(in crate::core) fn begin_signing(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        attempt: AttemptId,
        request: &SigningRequest,
    ) -> Result<Outcome, Fatal> {
        if let Some(reply) = self.repeat_signing_hello(context, attempt, request) {
            return Ok(Outcome::Ready(reply.map(NodeReply::Signing)));
        }
        let mut subject = Subject {
            command: Some(request.command.digest()),
            key: Some(request.key.clone()),
            epoch: Some(request.epoch),
            ..Subject::default()
        };
        match self.judge_signing(context, attempt, request, &mut subject)? {
            Ok((facts, item)) => {
                let reply = self.open_signing(context, attempt, facts, &item)?;
                Ok(Outcome::Ready(reply.map(NodeReply::Signing)))
            }
            Err(refusal) => self.refused(context, subject, refusal),
        }
    }

    fn repeat_signing_hello(
        &self,
        context: &Context<'_>,
        attempt: AttemptId,
        request: &SigningRequest,
    ) -> Option<Result<SigningReply, Refusal>> {
        let sessions = lock(&self.ecdsa.signatures);
        let session = sessions.get(&(context.caller.clone(), attempt))?;
        let same = session.facts.asked == Asking::of(request);
        let run = Arc::clone(&session.run);
        drop(sessions);
        let hello = lock(&run).hello().filter(|_| same);
        Some(hello.unwrap_or_else(|| {
            Err(Refusal::new(
                Reason::RequestInvalid,
                "the attempt is another signature",
            ))
        }))
    }

    fn open_signing(
        &self,
        context: &mut Context<'_>,
        attempt: AttemptId,
        mut facts: Facts,
        item: &quorate_intent::SigningItem,
    ) -> Result<Result<SigningReply, Refusal>, Fatal> {
        let Some(pairings) = self.pairings_of(&facts.key)? else {
            return Ok(Err(self.unready(&facts.key.record.name)));
        };
        facts.pairs = pairings
            .pairs()
            .filter(|(peer, _)| facts.participants.iter().any(|p| p.index == *peer))
            .collect();
        Ok(self.start_signing(context, attempt, facts, item, &pairings))
    }

    fn start_signing(
        &self,
        context: &mut Context<'_>,
        attempt: AttemptId,
        facts: Facts,
        item: &quorate_intent::SigningItem,
        pairings: &quorate_protocol::ecdsa::PairingState,
    ) -> Result<SigningReply, Refusal> {
        let bug = || Refusal::new(Reason::Invariant, "a holder has no identity key");
        let record = &facts.key.record;
        let tweak = child_of(&facts.key, &item.path)?.and_then(|child| child.tweak());
        let setup = Setup {
            engine: self.ecdsa.engine,
            roster_key_of: self.identities_of(&facts.participants).ok_or_else(bug)?,
            share: share_of(&facts.key)?,
            pairings,
            binding: SessionBinding {
                protocol: PROTOCOL.to_owned(),
                cluster: self.pinned().cluster(),
                roster: self.pinned().hash(),
                key: record.name.clone(),
                source: None,
                target_epoch: record.epoch,
                threshold: record.threshold,
                participants: facts.participants.clone(),
                command: facts.judgment.command,
                payload_index: facts.asked.item,
            },
            digest: digest_of_item(&item.message)?,
            tweak,
            state: self.hello_state(),
        };
        let now_ms = context.reading.monotonic_ms;
        let mut sessions = lock(&self.ecdsa.signatures);
        sessions.retain(|_, session| session.lives(now_ms));
        // Each coordinator has its share, so that none can keep the others from signing.
        let coordinators = self.pinned().roster().coordinators.len().max(1);
        let share = self.ecdsa.max_signatures.div_ceil(coordinators);
        let theirs = sessions
            .keys()
            .filter(|(caller, _)| caller == context.caller);
        if theirs.count() >= share {
            return Err(Refusal::new(
                Reason::SessionLimit,
                format!(
                    "{share} ECDSA signatures are under way at node {} for coordinator {}: try \
                     again later",
                    self.me, context.caller
                ),
            ));
        }
        let (machine, hello) = signing::start(setup, &self.identity, context.rng)
            .map_err(|error| Refusal::new(Reason::SigningSetInvalid, error.to_string()))?;
        let reply = SigningReply {
            round: 0,
            envelopes: encode_all([&hello])?,
            signed: None,
        };
        let session = Session {
            begun_ms: now_ms,
            touched_ms: now_ms,
            facts: Arc::new(facts),
            run: Arc::new(Mutex::new(Run::new(machine, reply.clone()))),
        };
        sessions.insert((context.caller.clone(), attempt), session);
        Ok(reply)
    }

    /// Carries one round of envelopes into the machine and answers with the next.
    pub(in crate::core) fn advance_signing(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        attempt: AttemptId,
        round: u8,
        envelopes: &[Vec<u8>],
    ) -> Result<Outcome, Fatal> {
        let mut sessions = lock(&self.ecdsa.signatures);
        let now_ms = context.reading.monotonic_ms;
        sessions.retain(|_, session| session.lives(now_ms));
        let Some(session) = sessions.get_mut(&(context.caller.clone(), attempt)) else {
            return Ok(Outcome::Ready(Err(unknown_session())));
        };
        session.touched_ms = now_ms;
        let (run, facts) = (Arc::clone(&session.run), Arc::clone(&session.facts));
        drop(sessions);

        let mut running = lock(&run);
        let (machine, turn) = match running.ask(round, envelopes, Machine::round) {
            Ok(Asked::Turn(machine, turn)) => (machine, turn),
            Ok(Asked::Before(reply)) => {
                return Ok(Outcome::Ready(reply.map(NodeReply::Signing)));
            }
            Err(refusal) => return Ok(Outcome::Ready(Err(refusal))),
        };
        let releases = machine.releases_next();
        if let Err(refusal) = self.judge_again(context, &facts, releases)? {
            drop(running);
            self.forget(context, &facts);
            return self.refused(context, facts.subject(), refusal);
        }
        let session = machine.session();
        match machine.advance(envelopes, &self.identity, context.rng) {
            Advance::Running { machine, outgoing } => {
                let reply = encode_all(&outgoing).map(|envelopes| SigningReply {
                    round: machine.round(),
                    envelopes,
                    signed: None,
                });
                let reply = match reply {
                    Ok(reply) => reply,
                    Err(refusal) => return Ok(Outcome::Ready(Err(refusal))),
                };
                if releases {
                    drop(running);
                    let id = session.ok_or(Fatal::Invariant("a session in rounds has its id"))?;
                    return self.permit_last(context, &run, &facts, (id, turn), machine, reply);
                }
                // A ban that came while this was computed ends it as well.
                if let Err(refusal) = self.check_bans(&lock(&self.state), &facts.participants)? {
                    drop(running);
                    self.forget(context, &facts);
                    return Ok(Outcome::Ready(Err(refusal)));
                }
                running.answer(turn, Some(machine), Ok(reply.clone()));
                Ok(Outcome::Ready(Ok(NodeReply::Signing(reply))))
            }
            Advance::Refused { machine, rejected } => {
                running.wait_on(machine);
                Ok(Outcome::Ready(Err(Refusal::new(
                    Reason::ProtocolViolation,
                    rejected.to_string(),
                ))))
            }
            Advance::Finished { output } => {
                drop(running);
                self.forget(context, &facts);
                let id = session.ok_or(Fatal::Invariant("a session in rounds has its id"))?;
                let signed = self.signed_item(&facts, id, &output);
                Ok(Outcome::Ready(signed.map(|signed| {
                    NodeReply::Signing(SigningReply {
                        round: round.saturating_add(1),
                        envelopes: Vec::new(),
                        signed: Some(signed),
                    })
                })))
            }
            Advance::Banned { ban, .. } => {
                drop(running);
                self.forget(context, &facts);
                self.ban(context, &facts.key, ban)
            }
            Advance::Aborted { abort } => {
                drop(running);
                self.forget(context, &facts);
                self.failed(context, &facts, session, &abort)
            }
        }
    }

    /// A session is over: it takes no room any more.
    fn forget(&self, context: &Context<'_>, facts: &Facts) {
        lock(&self.ecdsa.signatures).remove(&(context.caller.clone(), facts.id));
    }

    /// Records that the last message may leave, in one piece with judging it once more.
    fn permit_last(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        run: &Arc<Mutex<Run<Machine, SigningReply>>>,
        facts: &Arc<Facts>,
        (session, turn): (Digest, Turn),
        machine: Machine,
        reply: SigningReply,
    ) -> Result<Outcome, Fatal> {
        let mut state = lock(&self.state);
        let judged = match self.trusted_time(&mut state, context)? {
            Ok(now) => self.check_release(&state, facts, now)?,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = judged {
            drop(state);
            self.forget(context, facts);
            return self.refused(context, facts.subject(), refusal);
        }
        let record = &facts.key.record;
        let entry = Entry::ShareReleased(ShareReleased {
            judgment: facts.judgment.clone(),
            expires: facts.expires,
            key: record.name.clone(),
            epoch: record.epoch,
            purpose: SharePurpose::Sign,
            items: vec![ItemRecord {
                message: facts.message,
                signing_set: session,
            }],
        });
        let time = state.clock.elapsed(context.reading);
        let appended = self.record(&mut state, time, vec![entry])?;
        drop(state);
        let (run, facts) = (Arc::clone(run), Arc::clone(facts));
        Ok(Pending::answer(appended, move |committed| {
            let bug = || Refusal::new(Reason::Invariant, "a last message has no record");
            let at = committed.positions().first().copied().ok_or_else(bug)?;
            *lock(&facts.released) = Some(at);
            lock(&run).answer(turn, Some(machine), Ok(reply.clone()));
            Ok(NodeReply::Signing(reply))
        }))
    }

    /// The finished signature with this node's receipt.
    fn signed_item(
        &self,
        facts: &Facts,
        session: Digest,
        output: &EcdsaSignature,
    ) -> Result<SignedItem, Refusal> {
        let bug = || Refusal::new(Reason::Invariant, "a signature has no record");
        let (sequence, record) = lock(&facts.released).ok_or_else(bug)?;
        let mut signature = output.compact().to_vec();
        signature.push(output.recovery_id);
        let statement = ShareStatement {
            node: self.me.clone(),
            sequence,
            record,
            command: facts.judgment.command,
            key: facts.key.record.name.clone(),
            epoch: facts.key.record.epoch,
            items: vec![ShareItem {
                signing_set: session,
                message: facts.message,
                share: *whole_signature_hash(&signature).as_bytes(),
            }],
        };
        let batch = vec![statement.digest()];
        let receipt = ShareReceipt {
            signature: sign_digest(&self.identity, &share_batch_digest(&batch)),
            statement,
            batch,
        };
        Ok(SignedItem { signature, receipt })
    }

    /// A session ended without a signature. A signature that does not hold is an incident: it is
    /// recorded, and the pairings of the session are suspended, before anything is answered.
    fn failed(
        self: &Arc<Self>,
        context: &Context<'_>,
        facts: &Facts,
        session: Option<Digest>,
        abort: &Abort,
    ) -> Result<Outcome, Fatal> {
        let record = &facts.key.record;
        if !renews_pairings(abort) {
            let aborted = match told(abort, |index| facts.node_at(index)) {
                Ok(aborted) => aborted,
                Err(refusal) => return Ok(Outcome::Ready(Err(refusal))),
            };
            let mut refusal = Refusal::new(Reason::PeerMisbehaved, abort.to_string());
            for culprit in &aborted.culprits {
                refusal = refusal.with("culprit", culprit);
            }
            return self.refused(context, facts.subject(), refusal);
        }
        let refusal = self.unready(&record.name);
        if abort.fault() != Some(Fault::InvalidSignature) {
            return self.refused(context, facts.subject(), refusal);
        }
        let entry = Entry::PairingsSuspended(PairingsSuspended {
            key: record.name.clone(),
            epoch: record.epoch,
            command: facts.judgment.command,
            session: session.unwrap_or(Digest::ZERO),
            peers: self
                .others(&facts.participants)
                .map(|p| p.node.clone())
                .collect(),
        });
        let mut state = lock(&self.state);
        let time = state.clock.elapsed(context.reading);
        let appended = self.record(&mut state, time, vec![entry])?;
        Ok(Pending::answer(appended, move |_| Err(refusal)))
    }
}
