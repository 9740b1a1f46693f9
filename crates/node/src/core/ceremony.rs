//! Key generation at one node (P17-P20): a table of sessions, each a protocol machine that is
//! carried from round to round by the coordinator.
//!
//! Nothing of a session is on disk before its last round; a node that dies before has nothing, and
//! a node that dies after has a sealed share that no certificate names. Neither is a half key.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use ed25519_dalek::VerifyingKey;
use quorate_model::{
    CoordinatorId, Digest, Epoch, KeyName, NodeId, PartyIndex, Reason, Refusal,
    audit::{Entry, Judgment, KeyPrepared},
    certificate::{PreparedStatement, participants_of, verifying_shares_hash},
    command::{CommandBody, CreateKey, SignedCommand},
    key::Participant,
    node_api::{AttemptId, CeremonyReply, NodeReply, Prepared},
    session::SessionBinding,
};
use quorate_protocol::{
    Abort,
    dkg::{self, Advance, DkgOutput, HelloState, Machine, Setup, protocol_name},
    envelope::Envelope,
};

use super::{
    Context, Fatal, NodeCore, Outcome, Pending, State, Subject,
    binding::check_binding,
    gate,
    gate::Admitted,
    ledger, lock,
    rounds::{Asked, IDLE_MS, Run, Turn, encode_all, told, unknown_session},
};
use zeroize::Zeroizing;

use crate::{disk::Disk, vault::NewRecord};

/// The most ceremonies at a time (P17).
const MAX_SESSIONS: usize = 64;

/// The most attempts at one name that a node prepares without a certificate.
const MAX_ATTEMPTS: usize = 64;

pub(super) type Sessions = BTreeMap<(CoordinatorId, AttemptId), Session>;

/// One ceremony at this node.
pub(super) struct Session {
    create: CreateKey,
    epoch: Epoch,
    request: Digest,
    touched_ms: u64,
    work: Arc<Mutex<Work>>,
    judgment: Judgment,
}

type Work = Run<Machine, CeremonyReply>;

impl Session {
    pub(super) fn key(&self) -> &KeyName {
        &self.create.key
    }
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
    ) -> Result<Outcome, Fatal> {
        let mut subject = Subject {
            command: Some(command.digest()),
            epoch: Some(epoch),
            ..Subject::default()
        };
        let request = command.digest();
        if let Some(reply) = self.repeat_hello(context, attempt, request, epoch) {
            return Ok(Outcome::Ready(reply));
        }
        let mut state = lock(&self.state);
        let now = match self.trusted_time(&mut state, context)? {
            Ok(now) => now,
            Err(refusal) => return Ok(Outcome::Ready(Err(refusal))),
        };
        drop(state);
        let admitted = match gate::admit(&self.pinned, command, now) {
            Ok(admitted) => admitted,
            Err(refusal) => return self.refused(context, subject, refusal),
        };
        subject.command_id = Some(admitted.command().id);
        subject.endorsements = Some(admitted.endorsements());
        let state = lock(&self.state);
        let create = match self.judge_creation(&state, &admitted, epoch)? {
            Ok(create) => create,
            Err(refusal) => {
                drop(state);
                return self.refused(context, subject, refusal);
            }
        };
        drop(state);
        Ok(Outcome::Ready(self.open_session(
            context, attempt, &admitted, create, epoch, request,
        )))
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

    fn judge_creation(
        &self,
        state: &State,
        admitted: &Admitted,
        epoch: Epoch,
    ) -> Result<Result<CreateKey, Refusal>, Fatal> {
        let CommandBody::CreateKey(create) = &admitted.command().body else {
            return Ok(Err(Refusal::new(
                Reason::RequestInvalid,
                "the command makes no key",
            )));
        };
        if let Err(refusal) = Self::judge_command(state, admitted)? {
            return Ok(Err(refusal));
        }
        if !create.nodes.contains(&self.me) {
            return Ok(Err(Refusal::new(
                Reason::RequestInvalid,
                format!("node {} is not among the nodes of the command", self.me),
            )));
        }
        let row = ledger::key(&*state.index, &create.key)?;
        let create_attempts = row.as_ref().map_or(0, |row| row.prepared.len());
        let mut next = row.map_or(Epoch(1), |row| row.next_epoch());
        // A name whose attempts are never certified does not grow without end.
        if create_attempts >= MAX_ATTEMPTS {
            return Ok(Err(Refusal::new(
                Reason::SessionLimit,
                format!(
                    "{MAX_ATTEMPTS} attempts to create key \"{}\" were prepared and never \
                     certified: use another name",
                    create.key
                ),
            )));
        }
        // A crash between the vault and the journal leaves a share that nobody knows of. It is
        // never taken for another one: its epoch is passed over.
        if self.vault.contains(&create.key, epoch)? {
            next = next.max(Epoch(epoch.0.saturating_add(1)));
        }
        while self.vault.contains(&create.key, next)? {
            next = Epoch(next.0.saturating_add(1));
        }
        if epoch < next {
            return Ok(Err(Refusal::new(
                Reason::EpochTaken,
                format!(
                    "epoch {epoch} of key \"{}\" was prepared before",
                    create.key
                ),
            )
            .with("next_epoch", next)));
        }
        // A node that is far behind must be able to follow, but numbers must not run out.
        if epoch.0 > next.0.saturating_add(1_000) {
            return Ok(Err(Refusal::new(
                Reason::RequestInvalid,
                format!("epoch {epoch} is too far ahead of {next}"),
            )));
        }
        Ok(Ok(create.clone()))
    }

    fn open_session(
        &self,
        context: &mut Context<'_>,
        attempt: AttemptId,
        admitted: &Admitted,
        create: CreateKey,
        epoch: Epoch,
        request: Digest,
    ) -> Result<NodeReply, Refusal> {
        let now_ms = context.reading.monotonic_ms;
        let setup = self.setup(admitted, &create, epoch)?;
        let hello_state = self.hello_state();
        let mut sessions = lock(&self.sessions);
        sessions.retain(|_, session| now_ms.saturating_sub(session.touched_ms) <= IDLE_MS);
        // One ceremony per key. A coordinator that starts again has given the old one up; another
        // coordinator waits until it ends or is idle.
        if sessions
            .iter()
            .any(|((other, _), s)| s.create.key == create.key && other != context.caller)
        {
            return Err(Refusal::new(
                Reason::SessionLimit,
                format!("another coordinator is creating key \"{}\"", create.key),
            ));
        }
        sessions.retain(|_, session| session.create.key != create.key);
        if sessions.len() >= MAX_SESSIONS {
            return Err(Refusal::new(
                Reason::SessionLimit,
                format!("{MAX_SESSIONS} ceremonies are under way: try again later"),
            ));
        }
        let (machine, hello) = dkg::start(setup, hello_state, &self.identity, context.rng)
            .map_err(|error| Refusal::new(Reason::SchemeMismatch, error.to_string()))?;
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
            round: 0,
            envelopes: encode_all([&hello])?,
            prepared: None,
            aborted: None,
        };
        let work = Run::new(machine, reply.clone());
        sessions.insert(
            (context.caller.clone(), attempt),
            Session {
                create,
                epoch,
                request,
                touched_ms: now_ms,
                work: Arc::new(Mutex::new(work)),
                judgment: self.judgment(admitted, "role:admin"),
            },
        );
        Ok(NodeReply::Ceremony(reply))
    }

    fn setup(
        &self,
        admitted: &Admitted,
        create: &CreateKey,
        epoch: Epoch,
    ) -> Result<Setup, Refusal> {
        let participants = participants_of(&create.nodes);
        let bug = || Refusal::new(Reason::Invariant, "a participant has no index or key");
        let me = participants
            .iter()
            .find(|p| p.node == self.me)
            .ok_or_else(bug)?
            .index;
        let identities = self.identities_of(&participants).ok_or_else(bug)?;
        let protocol = protocol_name(create.scheme).ok_or_else(bug)?;
        Ok(Setup {
            me,
            roster_key_of: identities,
            threshold: create.threshold,
            count: u16::try_from(participants.len()).map_err(|_| bug())?,
            scheme: create.scheme,
            binding: SessionBinding {
                protocol: protocol.to_owned(),
                cluster: self.pinned.cluster(),
                roster: self.pinned.hash(),
                key: create.key.clone(),
                source: None,
                target_epoch: epoch,
                threshold: create.threshold,
                participants,
                command: admitted.digest(),
                payload_index: 0,
            },
        })
    }

    /// The identity keys of all participants; none if one is not in the roster.
    pub(super) fn identities_of(
        &self,
        participants: &[Participant],
    ) -> Option<BTreeMap<PartyIndex, VerifyingKey>> {
        let roster = self.pinned.roster();
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
        let Some(session) = sessions.get_mut(&(context.caller.clone(), attempt)) else {
            return Ok(Outcome::Ready(Err(unknown_session())));
        };
        session.touched_ms = now_ms;
        let work = Arc::clone(&session.work);
        let facts = Facts {
            create: session.create.clone(),
            epoch: session.epoch,
            command: session.request,
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
        match machine.advance(envelopes, &self.identity, context.rng) {
            Advance::Running { machine, outgoing } => {
                let reply = encode_all(&outgoing).map(|envelopes| CeremonyReply {
                    round: machine.round(),
                    envelopes,
                    prepared: None,
                    aborted: None,
                });
                working.answer(turn, Some(machine), reply.clone());
                Ok(Outcome::Ready(reply.map(NodeReply::Ceremony)))
            }
            Advance::Refused { machine, rejected } => {
                working.wait_on(machine);
                Ok(Outcome::Ready(Err(Refusal::new(
                    Reason::ProtocolViolation,
                    rejected.to_string(),
                ))))
            }
            Advance::Aborted { abort, outgoing } => {
                let reply = aborted(round, &facts, &abort, &outgoing);
                working.answer(turn, None, reply.clone());
                let refusal = Refusal::new(Reason::PeerMisbehaved, abort.to_string());
                drop(working);
                let subject = facts.subject();
                let _appended =
                    self.refuse(&mut lock(&self.state), context.reading, subject, &refusal)?;
                Ok(Outcome::Ready(reply.map(NodeReply::Ceremony)))
            }
            Advance::Finished { output, .. } => {
                drop(working);
                self.prepare(context, &work, facts, (round, turn), output)
            }
        }
    }

    /// Makes the share durable, reads it back, records it, and only then signs PREPARED (P19).
    fn prepare(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        work: &Arc<Mutex<Work>>,
        facts: Facts,
        (round, turn): (u8, Turn),
        output: DkgOutput,
    ) -> Result<Outcome, Fatal> {
        let statement = PreparedStatement {
            session: output.session.id(),
            roster: self.pinned.hash(),
            command: facts.command,
            key: facts.create.key.clone(),
            scheme: facts.create.scheme,
            purposes: facts.create.purposes.clone(),
            epoch: facts.epoch,
            source: None,
            threshold: facts.create.threshold,
            participants: output.session.binding.participants.clone(),
            group_key: output.group_key,
            verifying_shares: verifying_shares_hash(&output.verifying_shares),
            chain_code: output.chain_code,
            transcript: output.transcript,
        };
        let mut state = lock(&self.state);
        // The last moment at which another attempt may have prepared this epoch.
        let row = ledger::key(&*state.index, &facts.create.key)?;
        let taken = row
            .is_some_and(|row| row.certified.is_some() || row.next_epoch() > facts.epoch)
            || self.vault.contains(&facts.create.key, facts.epoch)?;
        let Judgment {
            command_id,
            command,
            ..
        } = facts.judgment;
        let refusal = match check_binding(&state, command_id, command)? {
            Err(refusal) => Some(refusal),
            Ok(()) if taken => Some(Refusal::new(
                Reason::EpochTaken,
                format!(
                    "epoch {} of key \"{}\" was prepared before",
                    facts.epoch, facts.create.key
                ),
            )),
            Ok(()) => None,
        };
        if let Some(refusal) = refusal {
            drop(state);
            return self.refused(context, facts.subject(), refusal);
        }
        let public = quorate_model::wire::encode(&statement)
            .map_err(|_| Fatal::Invariant("a statement can be encoded"))?;
        let secret = Zeroizing::new(output.share.expose().to_vec());
        let record = NewRecord {
            key: &facts.create.key,
            epoch: facts.epoch,
            public: &public,
            secret: &secret,
        };
        let _stored = self.vault.store(&record, context.rng)?;
        let time = state.clock.elapsed(context.reading);
        let entry = Entry::KeyPrepared(KeyPrepared {
            judgment: facts.judgment,
            key: facts.create.key,
            epoch: facts.epoch,
            session: statement.session,
            statement: statement.digest(),
        });
        let appended = self.record(&mut state, time, vec![entry])?;
        drop(state);

        let reply = CeremonyReply {
            round: round.saturating_add(1),
            envelopes: Vec::new(),
            prepared: Some(Prepared {
                signature: statement.sign(&self.identity),
                session: output.session,
                statement,
                verifying_shares: output.verifying_shares,
            }),
            aborted: None,
        };
        let work = Arc::clone(work);
        Ok(Outcome::Pending(Pending {
            appended,
            release: Box::new(move |_| {
                lock(&work).answer(turn, None, Ok(reply.clone()));
                Ok(NodeReply::Ceremony(reply))
            }),
        }))
    }
}

/// What is known of a session while its machine works.
struct Facts {
    create: CreateKey,
    epoch: Epoch,
    command: Digest,
    judgment: Judgment,
}

impl Facts {
    fn subject(&self) -> Subject {
        Subject {
            command: Some(self.command),
            command_id: Some(self.judgment.command_id),
            endorsements: Some(self.judgment.endorsements),
            key: Some(self.create.key.clone()),
            epoch: Some(self.epoch),
        }
    }

    fn node(&self, index: PartyIndex) -> Option<NodeId> {
        let at = usize::from(index.number()).checked_sub(1)?;
        self.create.nodes.get(at).cloned()
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
        aborted: Some(told(abort, |index| facts.node(index))?),
    })
}
