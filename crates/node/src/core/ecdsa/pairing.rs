//! Pairwise set-ups at one node: at the creation of a key, and again when pairings were suspended,
//! are lost, or differ at their two ends.
//!
//! No command asks for one: it changes nothing that anybody could use, makes no signature, and
//! needs the certificate of a sharing that this node has prepared. What it costs is bounded.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use quorate_model::{
    CoordinatorId, Digest, KeyName, NodeId, PartyIndex, Reason, Refusal,
    audit::Entry,
    key::Participant,
    node_api::{AttemptId, NodeReply, PairingReply},
    session::SessionBinding,
    tagged::{Tag, digest_of},
};
use quorate_protocol::ecdsa::{
    Advance, PairingState,
    pairing::{self, Machine, PROTOCOL, Setup},
};

use super::share_of;
use crate::{
    core::{
        Context, Fatal, NodeCore, Outcome, Pending, Subject,
        ledger::{self, KeyRow},
        loaded::{LoadedKey, epoch_changed},
        lock,
        rollback::Begun,
        rounds::{Asked, IDLE_MS, Run, Turn, encode_all, told, unknown_session},
    },
    disk::Disk,
};

/// The most set-ups at a time (P17).
const MAX_SESSIONS: usize = 16;

pub(in crate::core) type Pairings = BTreeMap<(CoordinatorId, AttemptId), Session>;

/// One set-up at this node.
pub(in crate::core) struct Session {
    request: Digest,
    touched_ms: u64,
    facts: Arc<Facts>,
    run: Arc<Mutex<Run<Machine, PairingReply>>>,
}

impl Session {
    pub(super) fn key(&self) -> &KeyName {
        &self.facts.key.record.name
    }
}

struct Facts {
    key: Arc<LoadedKey>,
    participants: Vec<Participant>,
    begun: Begun,
}

impl Facts {
    fn subject(&self) -> Subject {
        let record = &self.key.record;
        Subject {
            command: Some(record.command),
            key: Some(record.name.clone()),
            epoch: Some(record.epoch),
            ..Subject::default()
        }
    }

    fn node_at(&self, index: PartyIndex) -> Option<NodeId> {
        self.key.record.node_at(index).cloned()
    }
}

/// What a set-up is asked for: the same attempt must ask for the same.
fn request_digest(certificate: &[u8], holders: &[PartyIndex]) -> Digest {
    let mut bytes = certificate.to_vec();
    for holder in holders {
        bytes.extend_from_slice(&holder.number().to_be_bytes());
    }
    digest_of(Tag::Session, &bytes)
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Judges the certificate and answers with this node's hello.
    pub(in crate::core) fn begin_pairing(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        attempt: AttemptId,
        certificate: &[u8],
        holders: &[PartyIndex],
    ) -> Result<Outcome, Fatal> {
        let request = request_digest(certificate, holders);
        if let Some(reply) = self.repeat_pairing_hello(context, attempt, request) {
            return Ok(Outcome::Ready(reply.map(NodeReply::Pairing)));
        }
        let (parsed, record, row) = match self.own_certificate(certificate)? {
            Ok(own) => own,
            Err(refusal) => return self.refused(context, Subject::default(), refusal),
        };
        let checked = self.check_own(&parsed, &record, row.as_ref());
        let active = row
            .as_ref()
            .and_then(KeyRow::active)
            .is_some_and(|active| active.hash == record.certificate);
        let subject = Subject {
            command: Some(record.command),
            key: Some(record.name.clone()),
            epoch: Some(record.epoch),
            ..Subject::default()
        };
        if let Err(refusal) = checked {
            return self.refused(context, subject, refusal);
        }
        let key = match self.load_share(record, active)? {
            Ok(key) => key,
            Err(refusal) => return self.refused(context, subject, refusal),
        };
        let participants = match share_of(&key).and_then(|_| self.chosen(&key, holders)) {
            Ok(participants) => participants,
            Err(refusal) => return self.refused(context, subject, refusal),
        };
        let mut state = lock(&self.state);
        if let Err(refusal) = self.check_bans(&state, &participants)? {
            drop(state);
            return self.refused(context, subject, refusal);
        }
        if !state.pairings.take(context.reading.monotonic_ms) {
            return Ok(Outcome::Ready(Err(Refusal::new(
                Reason::Overloaded,
                format!(
                    "node {} sets up too many pairings: try again later",
                    self.me
                ),
            ))));
        }
        drop(state);
        let begun = lock(&self.seen).begun();
        let facts = Facts {
            key,
            participants,
            begun,
        };
        let reply = self.open_pairing(context, attempt, request, facts);
        Ok(Outcome::Ready(reply.map(NodeReply::Pairing)))
    }

    fn repeat_pairing_hello(
        &self,
        context: &Context<'_>,
        attempt: AttemptId,
        request: Digest,
    ) -> Option<Result<PairingReply, Refusal>> {
        let sessions = lock(&self.ecdsa.pairings);
        let session = sessions.get(&(context.caller.clone(), attempt))?;
        let same = session.request == request;
        let run = Arc::clone(&session.run);
        drop(sessions);
        let hello = lock(&run).hello().filter(|_| same);
        Some(hello.unwrap_or_else(|| {
            Err(Refusal::new(
                Reason::RequestInvalid,
                "the attempt is another set-up",
            ))
        }))
    }

    fn open_pairing(
        &self,
        context: &mut Context<'_>,
        attempt: AttemptId,
        request: Digest,
        facts: Facts,
    ) -> Result<PairingReply, Refusal> {
        let bug = || Refusal::new(Reason::Invariant, "a holder has no identity key");
        let record = &facts.key.record;
        let setup = Setup {
            engine: self.ecdsa.engine,
            roster_key_of: self.identities_of(&facts.participants).ok_or_else(bug)?,
            share: share_of(&facts.key)?,
            binding: SessionBinding {
                protocol: PROTOCOL.to_owned(),
                cluster: self.pinned().cluster(),
                roster: self.pinned().hash(),
                key: record.name.clone(),
                source: None,
                target_epoch: record.epoch,
                threshold: record.threshold,
                participants: facts.participants.clone(),
                command: record.command,
                payload_index: 0,
            },
            state: self.hello_state(),
        };
        let now_ms = context.reading.monotonic_ms;
        let mut sessions = lock(&self.ecdsa.pairings);
        sessions.retain(|(caller, _), session| {
            // Whoever begins another set-up of the key has given the one before up.
            let replaced = caller == context.caller && *session.key() == record.name;
            !replaced && now_ms.saturating_sub(session.touched_ms) <= IDLE_MS
        });
        if sessions.len() >= MAX_SESSIONS {
            return Err(Refusal::new(
                Reason::SessionLimit,
                format!("{MAX_SESSIONS} pairwise set-ups are under way: try again later"),
            ));
        }
        let (machine, hello) = pairing::start(setup, &self.identity, context.rng)
            .map_err(|error| Refusal::new(Reason::SigningSetInvalid, error.to_string()))?;
        let reply = PairingReply {
            round: 0,
            envelopes: encode_all([&hello])?,
            paired: false,
            aborted: None,
        };
        let session = Session {
            request,
            touched_ms: now_ms,
            facts: Arc::new(facts),
            run: Arc::new(Mutex::new(Run::new(machine, reply.clone()))),
        };
        sessions.insert((context.caller.clone(), attempt), session);
        Ok(reply)
    }

    /// Carries one round of envelopes into the machine and answers with the next.
    pub(in crate::core) fn advance_pairing(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        attempt: AttemptId,
        round: u8,
        envelopes: &[Vec<u8>],
    ) -> Result<Outcome, Fatal> {
        let mut sessions = lock(&self.ecdsa.pairings);
        let now_ms = context.reading.monotonic_ms;
        sessions.retain(|_, session| now_ms.saturating_sub(session.touched_ms) <= IDLE_MS);
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
                return Ok(Outcome::Ready(reply.map(NodeReply::Pairing)));
            }
            Err(refusal) => return Ok(Outcome::Ready(Err(refusal))),
        };
        if let Err(refusal) = self.check_bans(&lock(&self.state), &facts.participants)? {
            return Ok(Outcome::Ready(Err(refusal)));
        }
        match machine.advance(envelopes, &self.identity, context.rng) {
            Advance::Running { machine, outgoing } => {
                let proven = machine.proven();
                let reply = encode_all(&outgoing).map(|envelopes| PairingReply {
                    round: machine.round(),
                    envelopes,
                    paired: false,
                    aborted: None,
                });
                running.answer(turn, Some(machine), reply.clone());
                drop(running);
                if let Some(proven) = &proven {
                    let node_at = |index| facts.node_at(index);
                    self.note_rollbacks(context, proven, node_at, facts.begun)?;
                }
                Ok(Outcome::Ready(reply.map(NodeReply::Pairing)))
            }
            Advance::Refused { machine, rejected } => {
                running.wait_on(machine);
                Ok(Outcome::Ready(Err(Refusal::new(
                    Reason::ProtocolViolation,
                    rejected.to_string(),
                ))))
            }
            Advance::Aborted { abort } => {
                let reply =
                    told(&abort, |index| facts.node_at(index)).map(|aborted| PairingReply {
                        round: round.saturating_add(1),
                        envelopes: Vec::new(),
                        paired: false,
                        aborted: Some(aborted),
                    });
                running.answer(turn, None, reply.clone());
                drop(running);
                let refusal = Refusal::new(Reason::PeerMisbehaved, abort.to_string());
                let state = &mut lock(&self.state);
                let _appended = self.refuse(state, context.reading, facts.subject(), &refusal)?;
                Ok(Outcome::Ready(reply.map(NodeReply::Pairing)))
            }
            Advance::Banned { ban, .. } => {
                drop(running);
                self.ban(context, &facts.key, ban)
            }
            Advance::Finished { output } => {
                drop(running);
                self.keep_pairings(context, &run, &facts, (round, turn), output)
            }
        }
    }

    /// Makes pairings durable, reads them back, records them, and only then says so (P28).
    fn keep_pairings(
        self: &Arc<Self>,
        context: &mut Context<'_>,
        run: &Arc<Mutex<Run<Machine, PairingReply>>>,
        facts: &Facts,
        (round, turn): (u8, Turn),
        made: PairingState,
    ) -> Result<Outcome, Fatal> {
        let record = &facts.key.record;
        let mut state = lock(&self.state);
        if let Err(refusal) = self.check_bans(&state, &facts.participants)? {
            drop(state);
            return self.refused(context, facts.subject(), refusal);
        }
        // A share that is being erased gets no pairings any more.
        let row = ledger::key(&*state.index, &record.name)?.unwrap_or_default();
        if !row.prepared.iter().any(|mark| mark.epoch == record.epoch) {
            drop(state);
            let refusal = epoch_changed(&record.name, row.epoch());
            return self.refused(context, facts.subject(), refusal);
        }
        let pairs = made
            .pairs()
            .filter_map(|(peer, id)| Some((facts.node_at(peer)?, id)))
            .collect();
        let all = match self.stored_pairings(&facts.key)? {
            Some(mut stored) => match stored.renew(made) {
                Ok(()) => stored,
                Err(_) => return Err(Fatal::Invariant("pairings are stored under their key")),
            },
            None => made,
        };
        let bytes = all
            .to_bytes()
            .map_err(|_| Fatal::Invariant("pairings can be encoded"))?;
        self.vault
            .store_pairings(&record.name, record.epoch, &bytes, context.rng)?;
        // Before the record lifts a suspension, so that nobody finds the old ones.
        let share = (record.name.clone(), record.epoch);
        self.ecdsa.forget_pairings(&BTreeSet::from([share]));
        let time = state.clock.elapsed(context.reading);
        let entry = Entry::PairingsSetUp {
            key: record.name.clone(),
            epoch: record.epoch,
            pairs,
        };
        let appended = self.record(&mut state, time, vec![entry])?;
        drop(state);

        let reply = PairingReply {
            round: round.saturating_add(1),
            envelopes: Vec::new(),
            paired: true,
            aborted: None,
        };
        let run = Arc::clone(run);
        Ok(Pending::answer(appended, move |_| {
            lock(&run).answer(turn, None, Ok(reply.clone()));
            Ok(NodeReply::Pairing(reply))
        }))
    }
}
