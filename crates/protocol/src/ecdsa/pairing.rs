//! The pairwise set-up between holders of a key: what signing needs beside the share, which it
//! leaves as it is. Once per key and epoch, and again for the pairings of a session that failed.
//!
//! Everything between two holders is between these two alone; the session is shared so that one
//! walk of the coordinator sets up every pair, and so that all sign the same commitments before any
//! is opened.

use std::collections::BTreeMap;

use ed25519_dalek::{SigningKey, VerifyingKey};
use quorate_model::{Digest, PartyIndex, SessionBinding, Tag, Tagged};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};

use super::{
    SetupError,
    engine::{CommittedPair, Engine, Failure, Messages, OpenedPair, PairEnd, PairPlace, contained},
    key::KeyShare,
    outcome::{Advance, Stop},
    session::{Awaited, BROADCAST_LIMIT, OVERHEAD, Session, Uncollected, read},
    state::PairingState,
    terms::Terms,
};
use crate::{
    abort::{Abort, Fault},
    ceremony::{
        HelloState, Proven,
        terms::{agreed, view},
    },
    envelope::{Envelope, ProtocolId, SignedHeader},
    rounds::Inbox,
};

/// The protocol as a session is bound to it.
pub const PROTOCOL: &str = ProtocolId::EcdsaPairing.as_str();

/// The rounds by number.
pub mod round {
    /// Hellos.
    pub const HELLO: u8 = 0;
    /// Commitments to the seeds, one for every other party.
    pub const COMMIT: u8 = 1;
    /// Echoes of the commitments.
    pub const ECHO: u8 = 2;
    /// Openings and base transfers, sealed to each.
    pub const OPEN: u8 = 3;
}

/// The longest commitment of an engine.
const COMMITMENT_LIMIT: usize = 64;

/// What a party knows before a set-up, none of it from the wire (P5).
pub struct Setup<'a> {
    /// What computes.
    pub engine: &'static dyn Engine,
    /// The identity keys of all who take part, this party included.
    pub roster_key_of: BTreeMap<PartyIndex, VerifyingKey>,
    /// The share, checked against its verifying share. The set-up computes nothing with it; it
    /// says for which key and holder the pairings are.
    pub share: &'a KeyShare,
    /// What the session is bound to. Its protocol is [`PROTOCOL`], its target epoch the epoch of
    /// the share, its participants two or more holders of the key.
    pub binding: SessionBinding,
    /// Where the node stands (P35).
    pub state: HelloState,
}

impl std::fmt::Debug for Setup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup")
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

/// The commitments of one party, for every other party in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Commits {
    pub(super) commitments: Vec<(PartyIndex, Vec<u8>)>,
}

/// What a party saw in the round before: one signed header of every party, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Echo {
    pub(super) seen: Vec<SignedHeader>,
}

type Committed = BTreeMap<PartyIndex, Box<dyn CommittedPair>>;

/// The rounds of a party, each named for what it awaits.
enum State {
    Hellos,
    Commits(Committed),
    Echoes(Committed, Commitments),
    Openings(BTreeMap<PartyIndex, Box<dyn OpenedPair>>, Commitments),
}

/// The commitments round, once it is over.
struct Commitments {
    headers: Vec<SignedHeader>,
    view: Digest,
    /// What every other party committed to for this one.
    for_me: BTreeMap<PartyIndex, Vec<u8>>,
}

/// What one round led to.
enum Step {
    Next(State, Vec<Envelope>),
    Done(BTreeMap<PartyIndex, PairEnd>),
}

/// What the whole run needs.
struct Facts {
    engine: &'static dyn Engine,
    empty: PairingState,
}

/// One party's run of the set-up. Secrets live in the state of the round that needs them.
pub struct Machine {
    session: Session,
    facts: Facts,
    state: State,
    /// The broadcast that this party made for the round that it awaits.
    sent: Option<Digest>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("me", &self.session.me)
            .field("round", &self.round())
            .finish_non_exhaustive()
    }
}

/// Begins a set-up: the machine, and this party's hello.
pub fn start(
    setup: Setup<'_>,
    key: &SigningKey,
    rng: &mut dyn CryptoRngCore,
) -> Result<(Machine, Envelope), SetupError> {
    let Setup {
        engine,
        roster_key_of,
        share,
        binding,
        state,
    } = setup;
    let place = share.place();
    if binding.key != place.key
        || binding.target_epoch != place.epoch
        || binding.threshold != place.threshold
        || binding.source.is_some()
    {
        return Err(SetupError::Binding);
    }
    let bound = Tagged::new(Tag::Session)
        .text("ecdsa-pairing")
        .text(engine.name())
        .bytes(share.group_key())
        .number(u64::from(share.count()))
        .finish();
    let terms = Terms {
        protocol: ProtocolId::EcdsaPairing,
        binding,
        bound,
    };
    terms.check(
        place.me,
        share.count(),
        &roster_key_of,
        &key.verifying_key(),
    )?;
    let (session, hello) = Session::begin(terms, place.me, roster_key_of, Vec::new(), state, rng);
    let envelope = session
        .broadcast(round::HELLO, Digest::ZERO, &hello, key)
        .map_err(|_| SetupError::Invariant("a hello needs nothing but the binding"))?;
    let machine = Machine {
        session,
        facts: Facts {
            engine,
            empty: PairingState::empty(engine, share),
        },
        state: State::Hellos,
        sent: Some(envelope.digest()),
    };
    Ok((machine, envelope))
}

impl Machine {
    /// The round whose envelopes are awaited.
    pub fn round(&self) -> u8 {
        match &self.state {
            State::Hellos => round::HELLO,
            State::Commits(_) => round::COMMIT,
            State::Echoes(..) => round::ECHO,
            State::Openings(..) => round::OPEN,
        }
    }

    /// The session id, once everybody has said hello.
    pub fn session(&self) -> Option<Digest> {
        self.session.id()
    }

    /// Where the nodes stand by their hellos, once everybody has said hello (P35).
    pub fn states(&self) -> &BTreeMap<PartyIndex, HelloState> {
        &self.session.states
    }

    /// The same, once it is proven.
    pub fn proven(&self) -> Option<Proven> {
        let session = self.session()?;
        (self.round() > round::COMMIT).then(|| Proven {
            session,
            states: self.session.states.clone(),
        })
    }

    fn awaited(&self) -> Awaited {
        let sealed = self.round() == round::OPEN;
        let limit = if sealed {
            self.facts.engine.pairing_message_limit()
        } else {
            BROADCAST_LIMIT
        };
        Awaited {
            round: self.round(),
            sealed,
            sent: self.sent,
            limit: limit + 2 * OVERHEAD,
        }
    }

    /// Takes the envelopes of the awaited round: the broadcast of every party, this one included,
    /// or in the last round those that the others made for this party.
    pub fn advance(
        self,
        inbound: &[Vec<u8>],
        key: &SigningKey,
        rng: &mut dyn CryptoRngCore,
    ) -> Advance<Self, PairingState> {
        let inbox = match self.session.collect(self.awaited(), inbound) {
            Ok(inbox) => inbox,
            Err(Uncollected::Rejected(rejected)) => {
                return Advance::Refused {
                    machine: self,
                    rejected,
                };
            }
            Err(Uncollected::Abort(abort)) => return Advance::Aborted { abort },
        };
        let Self {
            mut session,
            facts,
            state,
            ..
        } = self;
        match state.finish(&mut session, facts.engine, &inbox, key, rng) {
            Ok(Step::Next(state, outgoing)) => {
                let sent = outgoing
                    .iter()
                    .find(|envelope| envelope.header.recipient.is_none())
                    .map(Envelope::digest);
                Advance::Running {
                    machine: Self {
                        session,
                        facts,
                        state,
                        sent,
                    },
                    outgoing,
                }
            }
            Ok(Step::Done(ends)) => Advance::Finished {
                output: facts.empty.filled(ends),
            },
            Err(ended) => ended.into(),
        }
    }
}

impl State {
    fn finish(
        self,
        session: &mut Session,
        engine: &dyn Engine,
        inbox: &Inbox<Envelope>,
        key: &SigningKey,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Step, Stop> {
        match self {
            Self::Hellos => hellos(session, engine, inbox, key, rng),
            Self::Commits(committed) => commits(session, committed, inbox, key),
            Self::Echoes(committed, commitments) => {
                compare(session, &commitments, inbox)?;
                open(session, committed, commitments, key, rng)
            }
            Self::Openings(opened, commitments) => {
                finish(session, engine, opened, &commitments, inbox)
            }
        }
    }
}

fn stop(session: &Session, round: u8, failure: Failure) -> Stop {
    Stop::of(failure, session.id().unwrap_or(Digest::ZERO), round)
}

/// Round 0 is over: commit to a seed for every other party.
fn hellos(
    session: &mut Session,
    engine: &dyn Engine,
    inbox: &Inbox<Envelope>,
    key: &SigningKey,
    rng: &mut dyn CryptoRngCore,
) -> Result<Step, Stop> {
    session.open_session(inbox, false)?;
    let id = session.id_in(round::COMMIT)?;
    let mut committed = Committed::new();
    let mut commitments = Vec::new();
    for peer in session.peers() {
        let place = PairPlace {
            session: id,
            me: session.me,
            peer,
        };
        let (pair, commitment) = contained(|| engine.begin_pair(place, &mut *rng))
            .map_err(|failure| stop(session, round::HELLO, failure))?;
        committed.insert(peer, pair);
        commitments.push((peer, commitment));
    }
    let body = Commits { commitments };
    let envelope = session.broadcast(round::COMMIT, session.hellos, &body, key)?;
    Ok(Step::Next(State::Commits(committed), vec![envelope]))
}

/// Round 1 is over: say what was seen.
fn commits(
    session: &Session,
    committed: Committed,
    inbox: &Inbox<Envelope>,
    key: &SigningKey,
) -> Result<Step, Stop> {
    let mut for_me = BTreeMap::new();
    let mut headers = Vec::new();
    let mut digests = Vec::new();
    for (sender, envelope) in inbox.iter() {
        // Which hellos were relayed is the relay's doing (P14), so nobody can be named.
        if envelope.header.previous != session.hellos {
            return Err(Abort::blameless(Fault::SplitView).into());
        }
        let body: Commits = read(&envelope.body, BROADCAST_LIMIT)
            .filter(|body: &Commits| {
                let others = session.keys.keys().filter(|other| **other != sender);
                body.commitments.iter().map(|(with, _)| with).eq(others)
                    && body
                        .commitments
                        .iter()
                        .all(|(_, commitment)| commitment.len() <= COMMITMENT_LIMIT)
            })
            .ok_or_else(|| Abort::unprovable(sender, Fault::Malformed))?;
        let mine = body
            .commitments
            .into_iter()
            .find(|(with, _)| *with == session.me);
        if let Some((_, commitment)) = mine {
            for_me.insert(sender, commitment);
        }
        headers.push(envelope.signed_header());
        digests.push(envelope.digest());
    }
    let commitments = Commitments {
        view: view(&session.id_in(round::COMMIT)?, round::COMMIT, &digests),
        headers,
        for_me,
    };
    let body = Echo {
        seen: commitments.headers.clone(),
    };
    let envelope = session.broadcast(round::ECHO, commitments.view, &body, key)?;
    Ok(Step::Next(
        State::Echoes(committed, commitments),
        vec![envelope],
    ))
}

/// Compares what everybody saw with what this party saw (P15). Where two views differ, the two
/// headers of one sender are the proof; an echo that holds anything else is its sender's fault.
fn compare(session: &Session, ours: &Commitments, echoes: &Inbox<Envelope>) -> Result<(), Stop> {
    for (sender, envelope) in echoes.iter() {
        let false_echo = || Abort::unprovable(sender, Fault::FalseEcho);
        let echo: Echo = read(&envelope.body, BROADCAST_LIMIT).ok_or_else(false_echo)?;
        let headers = |seen: &[SignedHeader]| -> Vec<Digest> {
            seen.iter().map(|seen| seen.header.digest()).collect()
        };
        let theirs = headers(&echo.seen);
        if theirs == headers(&ours.headers) && envelope.header.previous == ours.view {
            continue;
        }
        let whole = echo.seen.len() == ours.headers.len()
            && echo.seen.iter().zip(&ours.headers).all(|(their, own)| {
                let key = session.keys.get(&own.header.sender);
                their.header.same_place(&own.header)
                    && key.is_some_and(|key| their.verify(key).is_ok())
            });
        let seen = view(&session.id_in(round::COMMIT)?, round::COMMIT, &theirs);
        if !whole || envelope.header.previous != seen {
            return Err(false_echo().into());
        }
        let differing = ours
            .headers
            .iter()
            .zip(echo.seen)
            .find(|(own, their)| own.header != their.header);
        let Some((own, their)) = differing else {
            return Err(Abort::Invariant("views that differ have a statement that differs").into());
        };
        let culprit = own.header.sender;
        if culprit == session.me {
            return Err(Abort::blameless(Fault::Impersonated).into());
        }
        return Err(session.two_statements(culprit, own.clone(), their).into());
    }
    Ok(())
}

/// Round 2 is over: open the commitments, and begin the transfers in both directions.
fn open(
    session: &mut Session,
    committed: Committed,
    commitments: Commitments,
    key: &SigningKey,
    rng: &mut dyn CryptoRngCore,
) -> Result<Step, Stop> {
    let mut opened = BTreeMap::new();
    let mut messages = Messages::new();
    for (peer, pair) in committed {
        let (pair, message) = contained(|| pair.open(&mut *rng))
            .map_err(|failure| stop(session, round::ECHO, failure))?;
        opened.insert(peer, pair);
        messages.insert(peer, message);
    }
    let outgoing = session.seal(round::OPEN, agreed(&commitments.view), &messages, key, rng)?;
    Ok(Step::Next(State::Openings(opened, commitments), outgoing))
}

/// Round 3 is over: every pairing exists.
fn finish(
    session: &mut Session,
    engine: &dyn Engine,
    opened: BTreeMap<PartyIndex, Box<dyn OpenedPair>>,
    commitments: &Commitments,
    inbox: &Inbox<Envelope>,
) -> Result<Step, Stop> {
    let limit = engine.pairing_message_limit();
    let messages = session.open(inbox, agreed(&commitments.view), limit)?;
    let mut ends = BTreeMap::new();
    for (peer, pair) in opened {
        let (Some(commitment), Some(message)) =
            (commitments.for_me.get(&peer), messages.get(&peer))
        else {
            return Err(Abort::Invariant("every peer committed and opened").into());
        };
        let end = contained(|| pair.finish(commitment, message))
            .map_err(|failure| stop(session, round::OPEN, failure))?;
        ends.insert(peer, end);
    }
    Ok(Step::Done(ends))
}

#[cfg(test)]
impl Machine {
    pub(super) fn session_view(&mut self) -> &mut Session {
        &mut self.session
    }
}
