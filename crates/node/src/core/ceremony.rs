//! Ceremonies at one node (P17-P20, P27): a table of sessions, each a protocol machine that is
//! carried from round to round by the coordinator. They make a key, or new shares of one.
//!
//! Nothing of a session is on disk before its last round; a node that dies before has nothing, and
//! a node that dies after has a sealed share that no certificate names. Neither is a half key.

mod aim;
mod creation;
mod machine;
mod prepare;
mod resharing;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use ed25519_dalek::VerifyingKey;
use quorate_model::{
    CoordinatorId, Digest, Epoch, KeyName, PartyIndex, Reason, Refusal,
    audit::Judgment,
    command::{CommandBody, SignedCommand},
    key::Participant,
    node_api::{AttemptId, CeremonyReply, NodeReply, ReshareFrom},
    tagged::{Tag, digest_of},
};
use quorate_protocol::{
    Abort,
    ceremony::{HelloState, round},
    dkg,
    envelope::Envelope,
    reshare,
};

use super::{
    Context, Fatal, NodeCore, Outcome, Subject,
    gate::Admitted,
    lock,
    rollback::Begun,
    rounds::{Asked, IDLE_MS, Run, encode_all, told, unknown_session},
};
use crate::disk::Disk;

use aim::{Aim, Resharing};
use machine::{Machine, Step};

/// The most ceremonies at a time (P17).
const MAX_SESSIONS: usize = 64;

/// A ceremony in which nothing has come after the hello for so long gives way to one of another
/// coordinator, in milliseconds.
const GIVE_WAY_MS: u64 = 1_000;

/// The most attempts at one name that a node prepares without a certificate.
const MAX_ATTEMPTS: usize = 64;

pub(super) type Sessions = BTreeMap<(CoordinatorId, AttemptId), Session>;

/// One ceremony at this node.
pub(super) struct Session {
    aim: Arc<Aim>,
    epoch: Epoch,
    /// The roster that it began under.
    roster: Digest,
    /// The digest of the command.
    command: Digest,
    /// The digest of everything that was asked.
    request: Digest,
    begun: Begun,
    touched_ms: u64,
    /// Whether anything came after the hello.
    advanced: bool,
    work: Arc<Mutex<Work>>,
    judgment: Judgment,
}

type Work = Run<Machine, CeremonyReply>;

impl Session {
    pub(super) fn key(&self) -> &KeyName {
        self.aim.key()
    }
}

/// What a ceremony is asked for: the same attempt must ask for the same.
fn request_digest(command: &SignedCommand, source: Option<&ReshareFrom>) -> Digest {
    let mut bytes = command.digest().as_bytes().to_vec();
    if let Some(source) = source {
        bytes.extend_from_slice(digest_of(Tag::Commit, &source.evidence.certificate).as_bytes());
        for dealer in &source.dealers {
            bytes.extend_from_slice(dealer.as_str().as_bytes());
            bytes.push(0);
        }
    }
    digest_of(Tag::Session, &bytes)
}

fn bug() -> Refusal {
    Refusal::new(Reason::Invariant, "a participant has no index or key")
}

/// The name is taken.
pub(super) fn exists(key: &KeyName) -> Refusal {
    Refusal::new(
        Reason::KeyExists,
        format!("a key \"{key}\" exists already: choose another name"),
    )
    .with("key", key)
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Judges the command and answers with this node's hello.
    pub(super) fn begin_ceremony(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        attempt: AttemptId,
        command: &SignedCommand,
        epoch: Epoch,
        source: Option<ReshareFrom>,
    ) -> Result<Outcome, Fatal> {
        let mut subject = Subject {
            command: Some(command.digest()),
            epoch: Some(epoch),
            ..Subject::default()
        };
        let request = request_digest(command, source.as_ref());
        if let Some(reply) = self.repeat_hello(context, attempt, request, epoch) {
            return Ok(Outcome::Ready(reply));
        }
        let now = match self.trusted_time(&mut lock(&self.state), context)? {
            Ok(now) => now,
            Err(refusal) => return Ok(Outcome::Ready(Err(refusal))),
        };
        let admitted = match self.admit(command, now) {
            Ok(admitted) => admitted,
            Err(refusal) => return self.refused(context, subject, refusal),
        };
        subject.command_id = Some(admitted.command().id);
        subject.endorsements = Some(admitted.endorsements());
        subject.key = admitted.command().body.key().cloned();
        let aim = if let CommandBody::ReshareKey(_) = &admitted.command().body {
            self.admit_resharing(&admitted, epoch, source)?
                .map(|resharing| Aim::Reshare(Box::new(resharing)))
        } else {
            self.judge_creation(&lock(&self.state), &admitted, epoch)?
                .map(Aim::Create)
        };
        let aim = match aim {
            Ok(aim) => Arc::new(aim),
            Err(refusal) => return self.refused(context, subject, refusal),
        };
        let roster = self.pinned().hash();
        let begun = lock(&self.seen).begun();
        let (machine, hello) = match self.start(context, &admitted, &aim, epoch)? {
            Ok(started) => started,
            Err(refusal) => return self.refused(context, subject, refusal),
        };
        if let Err(refusal) = self.check_roster(roster) {
            return Ok(Outcome::Ready(Err(refusal)));
        }
        let asked = (attempt, request);
        Ok(Outcome::Ready(self.open_session(
            context,
            asked,
            &admitted,
            (aim, epoch, roster),
            (machine, hello, begun),
        )))
    }

    /// What goes on is of one roster. Another one may have removed who asks for it, or who takes part:
    /// what it overtakes begins again.
    pub(super) fn check_roster(&self, of_session: Digest) -> Result<(), Refusal> {
        let pinned = self.pinned();
        if pinned.hash() == of_session {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::RosterBehind,
            format!(
                "this began under roster {}, and roster {} is in force by now: begin again",
                of_session.short(),
                pinned.hash().short()
            ),
        ))
    }

    /// The hello of an attempt that is open already, for a coordinator that lost the answer.
    fn repeat_hello(
        &self,
        context: &Context<'_>,
        attempt: AttemptId,
        request: Digest,
        epoch: Epoch,
    ) -> Option<Result<NodeReply, Refusal>> {
        let sessions = lock(&self.sessions);
        let session = sessions.get(&(context.caller.clone(), attempt))?;
        let same = session.request == request && session.epoch == epoch;
        let work = Arc::clone(&session.work);
        drop(sessions);
        let hello = lock(&work).hello().filter(|_| same);
        Some(hello.map_or_else(
            || {
                Err(Refusal::new(
                    Reason::RequestInvalid,
                    "the attempt is another ceremony",
                ))
            },
            |reply| reply.map(NodeReply::Ceremony),
        ))
    }

    /// The identity keys of all participants; none if one is not in the roster.
    pub(super) fn identities_of(
        &self,
        participants: &[Participant],
    ) -> Option<BTreeMap<PartyIndex, VerifyingKey>> {
        let pinned = self.pinned();
        let roster = pinned.roster();
        participants
            .iter()
            .map(|participant| {
                let card = roster.node(&participant.node)?;
                Some((participant.index, card.identity_key.parse().ok()?))
            })
            .collect()
    }

    /// Where this node stands, as its hellos say (P35).
    pub(super) fn hello_state(&self) -> HelloState {
        let head = self.journal.durable().position();
        HelloState {
            journal_sequence: head.sequence,
            journal_head: head.hash,
            boot_id: self.boot,
            policy: self.policy(),
        }
    }

    /// Starts the machine of a ceremony; a dealer brings its share.
    fn start(
        &self,
        context: &mut Context<'_>,
        admitted: &Admitted,
        aim: &Aim,
        epoch: Epoch,
    ) -> Result<Result<(Machine, Envelope), Refusal>, Fatal> {
        let state = self.hello_state();
        let mismatch = |error: String| Refusal::new(Reason::SchemeMismatch, error);
        let started = match aim {
            Aim::Create(create) => self
                .creation_setup(admitted, create, epoch)
                .and_then(|setup| {
                    dkg::start(setup, state, &self.identity, context.rng)
                        .map(|(machine, hello)| (Machine::Birth(machine), hello))
                        .map_err(|error| mismatch(error.to_string()))
                }),
            Aim::Reshare(resharing) => {
                let setup = match self.resharing_setup(admitted, resharing, epoch) {
                    Ok(setup) => setup,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                let deals = resharing.dealers.iter().any(|d| d.index == setup.me);
                let share = if deals {
                    match self.secret_of(&resharing.source)? {
                        Ok(share) => Some(share),
                        Err(refusal) => return Ok(Err(refusal)),
                    }
                } else {
                    None
                };
                reshare::start(setup, share.as_ref(), state, &self.identity, context.rng)
                    .map(|(machine, hello)| (Machine::Reshare(machine), hello))
                    .map_err(|error| self.not_started(resharing, &error))
            }
        };
        Ok(started)
    }

    fn not_started(&self, resharing: &Resharing, error: &reshare::SetupError) -> Refusal {
        let key = &resharing.command.key;
        if let reshare::SetupError::ShareMismatch = error {
            let message = format!(
                "node {} cannot deal its share of key \"{key}\": it is not the one of the \
                 certificate",
                self.me
            );
            return Refusal::new(Reason::ShareUnavailable, message)
                .with("node", &self.me)
                .with("key", key);
        }
        Refusal::new(Reason::RequestInvalid, error.to_string())
    }

    fn open_session(
        &self,
        context: &Context<'_>,
        (attempt, request): (AttemptId, Digest),
        admitted: &Admitted,
        (aim, epoch, roster): (Arc<Aim>, Epoch, Digest),
        (machine, hello, begun): (Machine, Envelope, Begun),
    ) -> Result<NodeReply, Refusal> {
        let now_ms = context.reading.monotonic_ms;
        let mut sessions = lock(&self.sessions);
        sessions.retain(|_, session| now_ms.saturating_sub(session.touched_ms) <= IDLE_MS);
        // One ceremony per key. A coordinator that starts again has given the old one up; another
        // coordinator waits until it ends or is idle. Two that have each begun at some of the nodes
        // both give way, and one of them comes back first.
        let in_the_way = |session: &Session| {
            let since_ms = now_ms.saturating_sub(session.touched_ms);
            session.key() == aim.key() && (session.advanced || since_ms < GIVE_WAY_MS)
        };
        if sessions
            .iter()
            .any(|((other, _), session)| *other != *context.caller && in_the_way(session))
        {
            return Err(Refusal::new(
                Reason::SessionLimit,
                format!("another coordinator changes key \"{}\"", aim.key()),
            ));
        }
        sessions.retain(|_, session| session.key() != aim.key());
        if sessions.len() >= MAX_SESSIONS {
            return Err(Refusal::new(
                Reason::SessionLimit,
                format!("{MAX_SESSIONS} ceremonies are under way: try again later"),
            ));
        }
        #[cfg(debug_assertions)]
        let machine = if self
            .leaves_echoes_out
            .load(std::sync::atomic::Ordering::Relaxed)
        {
            machine.without_comparing_echoes()
        } else {
            machine
        };
        let reply = CeremonyReply {
            round: round::HELLO,
            envelopes: encode_all([&hello])?,
            prepared: None,
            aborted: None,
        };
        let rule = match &*aim {
            Aim::Create(_) => "role:admin",
            Aim::Reshare(_) => "quorum:lifecycle",
        };
        sessions.insert(
            (context.caller.clone(), attempt),
            Session {
                aim,
                epoch,
                roster,
                command: admitted.digest(),
                request,
                begun,
                touched_ms: now_ms,
                advanced: false,
                work: Arc::new(Mutex::new(Run::new(machine, reply.clone()))),
                judgment: self.judgment(admitted, rule),
            },
        );
        Ok(NodeReply::Ceremony(reply))
    }

    /// Carries one round of envelopes into the machine and answers with the next.
    pub(super) fn advance_ceremony(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        attempt: AttemptId,
        round: u8,
        envelopes: &[Vec<u8>],
    ) -> Result<Outcome, Fatal> {
        let mut sessions = lock(&self.sessions);
        let now_ms = context.reading.monotonic_ms;
        sessions.retain(|_, session| now_ms.saturating_sub(session.touched_ms) <= IDLE_MS);
        let Some(session) = sessions.get(&(context.caller.clone(), attempt)) else {
            return Ok(Outcome::Ready(Err(unknown_session())));
        };
        let work = Arc::clone(&session.work);
        let facts = Facts {
            aim: Arc::clone(&session.aim),
            epoch: session.epoch,
            roster: session.roster,
            command: session.command,
            begun: session.begun,
            judgment: session.judgment.clone(),
        };
        drop(sessions);

        let mut working = lock(&work);
        let (machine, turn) = match working.ask(round, envelopes, Machine::round) {
            Ok(Asked::Turn(machine, turn)) => (machine, turn),
            Ok(Asked::Before(reply)) => {
                return Ok(Outcome::Ready(reply.map(NodeReply::Ceremony)));
            }
            Err(refusal) => return Ok(Outcome::Ready(Err(refusal))),
        };
        // What was heard since the beginning ends a resharing before anything else is dealt.
        if let Aim::Reshare(resharing) = &*facts.aim {
            let command = (facts.judgment.command_id, facts.command);
            if let Err(refusal) = self.check_still(resharing, command)? {
                working.answer(turn, None, Err(refusal.clone()));
                drop(working);
                return self.refused(context, facts.subject(), refusal);
            }
        }
        match machine.advance(envelopes, &self.identity, context.rng) {
            Step::Running(machine, outgoing) => {
                let proven = machine.proven();
                let reply = says(machine.round(), &outgoing);
                working.answer(turn, Some(machine), reply.clone());
                drop(working);
                if let Some(proven) = &proven {
                    let node_at = |index| facts.aim.node_at(index);
                    self.note_rollbacks(context, proven, node_at, facts.begun)?;
                }
                self.goes_on(context, attempt);
                Ok(Outcome::Ready(reply.map(NodeReply::Ceremony)))
            }
            Step::Refused(machine, rejected) => {
                working.wait_on(machine);
                Ok(Outcome::Ready(Err(Refusal::new(
                    Reason::ProtocolViolation,
                    rejected.to_string(),
                ))))
            }
            Step::Aborted(abort, outgoing) => {
                let reply = aborted(round, &facts, &abort, &outgoing);
                working.answer(turn, None, reply.clone());
                let refusal = Refusal::new(Reason::PeerMisbehaved, abort.to_string());
                drop(working);
                let subject = facts.subject();
                let _appended =
                    self.refuse(&mut lock(&self.state), context.reading, subject, &refusal)?;
                Ok(Outcome::Ready(reply.map(NodeReply::Ceremony)))
            }
            Step::Finished(mut made, outgoing) => {
                let Some(share) = made.share.take() else {
                    // A dealer that receives nothing has nothing to keep.
                    let reply = says(round.saturating_add(1), &outgoing);
                    working.answer(turn, None, reply.clone());
                    return Ok(Outcome::Ready(reply.map(NodeReply::Ceremony)));
                };
                drop(working);
                self.prepare(context, &work, facts, (round, turn), (&share, *made))
            }
        }
    }
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Only what brings a session forward keeps it.
    fn goes_on(&self, context: &Context<'_>, attempt: AttemptId) {
        let mut sessions = lock(&self.sessions);
        if let Some(session) = sessions.get_mut(&(context.caller.clone(), attempt)) {
            session.touched_ms = context.reading.monotonic_ms;
            session.advanced = true;
        }
    }
}

/// What a node says in a round.
fn says(round: u8, outgoing: &[Envelope]) -> Result<CeremonyReply, Refusal> {
    Ok(CeremonyReply {
        round,
        envelopes: encode_all(outgoing)?,
        prepared: None,
        aborted: None,
    })
}

/// What is known of a session while its machine works.
struct Facts {
    aim: Arc<Aim>,
    epoch: Epoch,
    roster: Digest,
    command: Digest,
    begun: Begun,
    judgment: Judgment,
}

impl Facts {
    fn subject(&self) -> Subject {
        Subject {
            command: Some(self.command),
            command_id: Some(self.judgment.command_id),
            endorsements: Some(self.judgment.endorsements),
            key: Some(self.aim.key().clone()),
            epoch: Some(self.epoch),
        }
    }
}

fn aborted(
    round: u8,
    facts: &Facts,
    abort: &Abort,
    outgoing: &[Envelope],
) -> Result<CeremonyReply, Refusal> {
    Ok(CeremonyReply {
        round: round.saturating_add(1),
        envelopes: encode_all(outgoing)?,
        prepared: None,
        aborted: Some(told(abort, |index| facts.aim.node_at(index))?),
    })
}
