//! One signature by exactly t holders: hello, three rounds, and a last phase in which each signer
//! puts the signature together by itself.
//!
//! A machine is used by value from round to round and can neither be cloned nor encoded, so no
//! state signs twice: whatever a signer drew for one digest is gone when the round is over.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::{SigningKey, VerifyingKey};
use quorate_model::{Digest, PartyIndex, SessionBinding, Tag, Tagged};
use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use super::{
    SetupError,
    engine::{Engine, Failure, Messages, PhaseStep, RawSignature, SecretBytes, SigningInput},
    engine::{SigningPhase, contained},
    key::{KeyShare, Tweaked},
    outcome::{Advance, Stop},
    session::{Awaited, BROADCAST_LIMIT, OVERHEAD, Session, Uncollected},
    state::PairingState,
    terms::Terms,
};
use crate::{
    abort::{Abort, Fault},
    ceremony::HelloState,
    envelope::{Envelope, ProtocolId},
    rounds::Inbox,
    verify,
};

/// The protocol as a session is bound to it.
pub const PROTOCOL: &str = ProtocolId::EcdsaSigning.as_str();

/// The rounds by number.
pub mod round {
    /// Hellos.
    pub const HELLO: u8 = 0;
    /// Commitments to nonce points, and the start of the multiplications.
    pub const COMMIT: u8 = 1;
    /// Openings, answers of the multiplications, and what is checked.
    pub const MULTIPLY: u8 = 2;
    /// Each signer's part of the signature.
    pub const COMBINE: u8 = 3;
}

/// What a signer knows before a signature, none of it from the wire (P5).
pub struct Setup<'a> {
    /// What computes.
    pub engine: &'static dyn Engine,
    /// The identity keys of the signers, this party included.
    pub roster_key_of: BTreeMap<PartyIndex, VerifyingKey>,
    /// The share, checked against its verifying share.
    pub share: &'a KeyShare,
    /// The pairings of the share.
    pub pairings: &'a PairingState,
    /// What the session is bound to. Its protocol is [`PROTOCOL`], its target epoch the epoch of
    /// the share, its participants exactly t holders; command and payload index say for what the
    /// signature is.
    pub binding: SessionBinding,
    /// What is signed: the 32 bytes that a hash function has made.
    pub digest: [u8; 32],
    /// What is added to the key before it signs, big-endian; the same at every signer (P26).
    pub tweak: Option<[u8; 32]>,
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

/// A signature that two libraries have verified. `s` is not above half the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcdsaSignature {
    /// The first half, big-endian.
    pub r: [u8; 32],
    /// The second half, big-endian.
    pub s: [u8; 32],
    /// From which of the points with this `r` the key is recovered: bit 0 says whether y is odd,
    /// bit 1 whether x is above the order.
    pub recovery_id: u8,
    /// The key under which it holds, with the tweak, compressed.
    pub public_key: [u8; 33],
}

impl EcdsaSignature {
    /// Both halves in their order, 64 bytes.
    pub fn compact(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let halves = self.r.iter().chain(&self.s);
        for (to, from) in bytes.iter_mut().zip(halves) {
            *to = *from;
        }
        bytes
    }
}

/// What the run needs beside its state.
struct Facts {
    engine: &'static dyn Engine,
    digest: [u8; 32],
    public_key: [u8; 33],
}

/// What the first phase needs once the session has its id.
struct Material {
    threshold: u16,
    count: u16,
    share: Zeroizing<[u8; 32]>,
    pairs: BTreeMap<PartyIndex, (Digest, SecretBytes)>,
}

/// The rounds of a signer, each named for what it awaits.
enum State {
    Hellos(Material),
    /// The messages of a round from 1 on.
    Messages(u8, Box<dyn SigningPhase>),
}

enum Step {
    Next(State, Vec<Envelope>),
    Done(EcdsaSignature),
}

/// One signer's run for one signature. It is used up by each round:
///
/// ```compile_fail,E0382
/// # use quorate_protocol::ecdsa::signing::Machine;
/// fn sign_twice(machine: Machine, key: &ed25519_dalek::SigningKey, rng: &mut rand_core::OsRng) {
///     let one = machine.advance(&[], key, rng);
///     let other = machine.advance(&[], key, rng);
/// }
/// ```
pub struct Machine {
    session: Session,
    facts: Facts,
    state: State,
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

/// Begins a signature: the machine, and this signer's hello.
pub fn start(
    setup: Setup<'_>,
    key: &SigningKey,
    rng: &mut dyn CryptoRngCore,
) -> Result<(Machine, Envelope), SetupError> {
    let Setup {
        engine,
        roster_key_of,
        share,
        pairings,
        binding,
        digest,
        tweak,
        state,
    } = setup;
    check_binding(&binding, share)?;
    let Tweaked {
        share: tweaked,
        public_key,
    } = share.tweaked(tweak.as_ref()).ok_or(SetupError::Tweak)?;
    let place = share.place();
    let terms = Terms {
        protocol: ProtocolId::EcdsaSigning,
        binding,
        bound: bound(engine, share, &digest, tweak.as_ref(), &public_key),
    };
    terms.check(
        place.me,
        share.count(),
        &roster_key_of,
        &key.verifying_key(),
    )?;
    let pairs = pairs_with(engine, share, pairings, roster_key_of.keys())?;
    let ids = pairs.iter().map(|(peer, (id, _))| (*peer, *id)).collect();
    let (session, hello) = Session::begin(terms, place.me, roster_key_of, ids, state, rng);
    let envelope = session
        .broadcast(round::HELLO, Digest::ZERO, &hello, key)
        .map_err(|_| SetupError::Invariant("a hello needs nothing but the binding"))?;
    let material = Material {
        threshold: place.threshold,
        count: share.count(),
        share: tweaked,
        pairs,
    };
    let machine = Machine {
        session,
        facts: Facts {
            engine,
            digest,
            public_key,
        },
        state: State::Hellos(material),
        sent: Some(envelope.digest()),
    };
    Ok((machine, envelope))
}

fn check_binding(binding: &SessionBinding, share: &KeyShare) -> Result<(), SetupError> {
    let place = share.place();
    if binding.key != place.key
        || binding.target_epoch != place.epoch
        || binding.threshold != place.threshold
        || binding.source.is_some()
    {
        return Err(SetupError::Binding);
    }
    if binding.participants.len() != usize::from(place.threshold) {
        return Err(SetupError::Participants);
    }
    Ok(())
}

/// What a signing session is bound to beyond P12: what signs, and what is signed.
fn bound(
    engine: &dyn Engine,
    share: &KeyShare,
    digest: &[u8; 32],
    tweak: Option<&[u8; 32]>,
    public_key: &[u8; 33],
) -> Digest {
    Tagged::new(Tag::Session)
        .text("ecdsa-signing")
        .text(engine.name())
        .bytes(share.group_key())
        .number(u64::from(share.count()))
        .bytes(tweak.map_or(&[], |tweak| tweak.as_slice()))
        .bytes(public_key)
        .bytes(digest)
        .finish()
}

fn pairs_with<'a>(
    engine: &dyn Engine,
    share: &KeyShare,
    pairings: &PairingState,
    signers: impl Iterator<Item = &'a PartyIndex>,
) -> Result<BTreeMap<PartyIndex, (Digest, SecretBytes)>, SetupError> {
    if !pairings.is_of(engine, share) {
        return Err(SetupError::Pairings);
    }
    signers
        .filter(|signer| **signer != share.place().me)
        .map(|peer| {
            let (id, end) = pairings.pair(*peer)?;
            let end = SecretBytes::new(end.expose().to_vec());
            Some((*peer, (id, end)))
        })
        .collect::<Option<_>>()
        .ok_or(SetupError::Pairings)
}

impl Machine {
    /// The round whose envelopes are awaited.
    pub fn round(&self) -> u8 {
        match &self.state {
            State::Hellos(_) => round::HELLO,
            State::Messages(round, _) => *round,
        }
    }

    /// The session id, once everybody has said hello.
    pub fn session(&self) -> Option<Digest> {
        self.session.id()
    }

    /// Whether what comes out of the next [`advance`](Self::advance) makes a signature together
    /// with what the others send. Before it, state, epoch and bans are judged again, and the audit
    /// record is durable (P7).
    pub fn releases_next(&self) -> bool {
        self.round() == round::MULTIPLY
    }

    /// Everybody else who signs: whose pairings are to be renewed when the run ends so that
    /// [`renews_pairings`](super::renews_pairings) says so.
    pub fn peers(&self) -> BTreeSet<PartyIndex> {
        self.session.peers().collect()
    }

    /// Where the nodes stand by their hellos, once everybody has said hello (P35).
    pub fn states(&self) -> &BTreeMap<PartyIndex, HelloState> {
        &self.session.states
    }

    fn awaited(&self) -> Awaited {
        let round = self.round();
        let limit = match &self.state {
            State::Hellos(_) => BROADCAST_LIMIT,
            State::Messages(..) => self.facts.engine.signing_message_limit(round),
        };
        Awaited {
            round,
            sealed: round != round::HELLO,
            sent: self.sent,
            limit: limit + 2 * OVERHEAD,
        }
    }

    /// Takes the envelopes of the awaited round: in round 0 the hello of every signer, this one
    /// included; after it those that the others made for this signer.
    pub fn advance(
        self,
        inbound: &[Vec<u8>],
        key: &SigningKey,
        rng: &mut dyn CryptoRngCore,
    ) -> Advance<Self, EcdsaSignature> {
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
        let step = match state {
            State::Hellos(material) => begin(&mut session, &facts, &material, &inbox, key, rng),
            State::Messages(round, phase) => {
                go_on(&mut session, &facts, round, phase, &inbox, key, rng)
            }
        };
        match step {
            Ok(Step::Next(state, outgoing)) => Advance::Running {
                machine: Self {
                    session,
                    facts,
                    state,
                    sent: None,
                },
                outgoing,
            },
            Ok(Step::Done(output)) => Advance::Finished { output },
            Err(ended) => ended.into(),
        }
    }
}

/// Round 0 is over: the session has its id, and both ends of every pairing are known to belong
/// together, so nothing that fails later is the fault of an old state.
fn begin(
    session: &mut Session,
    facts: &Facts,
    material: &Material,
    inbox: &Inbox<Envelope>,
    key: &SigningKey,
    rng: &mut dyn CryptoRngCore,
) -> Result<Step, Stop> {
    let theirs = session.open_session(inbox, true)?;
    for (peer, (id, _)) in &material.pairs {
        if theirs.get(peer) != Some(id) {
            return Err(Abort::blameless(Fault::PairingMismatch).into());
        }
    }
    let id = session.id_in(round::COMMIT)?;
    let input = SigningInput {
        session: id,
        me: session.me,
        threshold: material.threshold,
        count: material.count,
        share: &material.share,
        public_key: &facts.public_key,
        digest: &facts.digest,
        pairs: material
            .pairs
            .iter()
            .map(|(peer, (_, end))| (*peer, end))
            .collect(),
    };
    let (phase, messages) = contained(|| facts.engine.begin_signing(&input, &mut *rng))
        .map_err(|failure| Stop::of(failure, id, round::HELLO))?;
    send(session, round::COMMIT, phase, &messages, key, rng)
}

fn go_on(
    session: &mut Session,
    facts: &Facts,
    round: u8,
    phase: Box<dyn SigningPhase>,
    inbox: &Inbox<Envelope>,
    key: &SigningKey,
    rng: &mut dyn CryptoRngCore,
) -> Result<Step, Stop> {
    let limit = facts.engine.signing_message_limit(round);
    let messages = session.open(inbox, session.hellos, limit)?;
    let id = session.id_in(round)?;
    let step = contained(|| phase.advance(&messages, &mut *rng))
        .map_err(|failure| Stop::of(failure, id, round))?;
    match step {
        PhaseStep::Next(next, answers) if round < round::COMBINE => {
            send(session, round + 1, next, &answers, key, rng)
        }
        PhaseStep::Done(raw) if round == round::COMBINE => accept(facts, raw)
            .map(Step::Done)
            .map_err(|failure| Stop::of(failure, id, round)),
        PhaseStep::Next(..) | PhaseStep::Done(_) => {
            Err(Abort::Invariant("an engine signs in three rounds").into())
        }
    }
}

fn send(
    session: &mut Session,
    round: u8,
    phase: Box<dyn SigningPhase>,
    messages: &Messages,
    key: &SigningKey,
    rng: &mut dyn CryptoRngCore,
) -> Result<Step, Stop> {
    let outgoing = session.seal(round, session.hellos, messages, key, rng)?;
    Ok(Step::Next(State::Messages(round, phase), outgoing))
}

/// Nothing leaves that two libraries without a part in it do not take for a signature.
fn accept(facts: &Facts, raw: RawSignature) -> Result<EcdsaSignature, Failure> {
    let RawSignature { r, s, recovery_id } = raw;
    let signature = EcdsaSignature {
        r,
        s,
        recovery_id,
        public_key: facts.public_key,
    };
    verify::ecdsa(
        &facts.public_key,
        &facts.digest,
        &signature.compact(),
        recovery_id,
    )
    .map_err(|_| Failure::Unnamed(Fault::InvalidSignature))?;
    Ok(signature)
}

#[cfg(test)]
impl Machine {
    pub(super) fn session_view(&mut self) -> &mut Session {
        &mut self.session
    }
}
