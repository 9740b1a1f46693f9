//! A session of one party: who takes part, the keys of the session, and the checks through which
//! every envelope passes before an engine sees what is in it (P12 to P14).

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::{SigningKey, VerifyingKey};
use quorate_model::{
    Digest, Nonce32, PartyIndex,
    wire::{self, WireError},
};
use rand_core::CryptoRngCore;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    abort::{Abort, Fault},
    ceremony::{HelloState, Rejected, terms::view},
    ecdsa::{
        engine::{Messages, SecretBytes},
        terms::{Hello, SealedBody, Terms},
    },
    envelope::{Envelope, Opener, Sealer, SessionSecretKey, SignedHeader, Slot, is_session_key},
    evidence::Evidence,
    rounds::{Collector, Inbox, Receipt},
};

/// The round of the hellos, in both protocols.
pub(super) const HELLO: u8 = 0;

/// What an envelope has beside a secret message: header, signature, encapsulated key, lengths.
pub(super) const OVERHEAD: usize = 512;

/// The longest body of a broadcast: what 32 parties need, rounded up.
pub(super) const BROADCAST_LIMIT: usize = 16 * 1024;

/// What is awaited in a round.
#[derive(Clone, Copy)]
pub(super) struct Awaited {
    pub(super) round: u8,
    /// Sealed to this party, or for all.
    pub(super) sealed: bool,
    /// What this party broadcast in the round itself.
    pub(super) sent: Option<Digest>,
    /// The largest envelope.
    pub(super) limit: usize,
}

/// One party's view of a session.
pub(super) struct Session {
    pub(super) terms: Terms,
    pub(super) me: PartyIndex,
    pub(super) keys: BTreeMap<PartyIndex, VerifyingKey>,
    /// Known once everybody has said hello.
    id: Option<Digest>,
    /// The hash of the hellos.
    pub(super) hellos: Digest,
    pub(super) states: BTreeMap<PartyIndex, HelloState>,
    /// The own keys, one for every sender, until its first secret message.
    own: BTreeMap<PartyIndex, SessionSecretKey>,
    openers: BTreeMap<PartyIndex, Opener>,
    /// The others' keys for this party, until its first secret message.
    theirs: BTreeMap<PartyIndex, [u8; 32]>,
    sealers: BTreeMap<PartyIndex, Sealer>,
}

impl Session {
    /// Opens a session: its state, and the hello of this party.
    pub(super) fn begin(
        terms: Terms,
        me: PartyIndex,
        keys: BTreeMap<PartyIndex, VerifyingKey>,
        pairs: Vec<(PartyIndex, Digest)>,
        state: HelloState,
        rng: &mut dyn CryptoRngCore,
    ) -> (Self, Hello) {
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let own: BTreeMap<_, _> = keys
            .keys()
            .filter(|sender| **sender != me)
            .map(|sender| (*sender, SessionSecretKey::generate(&mut *rng)))
            .collect();
        let session_keys = own
            .iter()
            .map(|(sender, key)| (*sender, key.public()))
            .collect();
        let hello = Hello {
            nonce: Nonce32(nonce),
            session_keys,
            pairs,
            state,
        };
        let session = Self {
            terms,
            me,
            keys,
            id: None,
            hellos: Digest::ZERO,
            states: BTreeMap::new(),
            own,
            openers: BTreeMap::new(),
            theirs: BTreeMap::new(),
            sealers: BTreeMap::new(),
        };
        (session, hello)
    }

    /// The session id, once everybody has said hello.
    pub(super) fn id(&self) -> Option<Digest> {
        self.id
    }

    /// The id that messages of a round carry.
    pub(super) fn id_in(&self, round: u8) -> Result<Digest, Abort> {
        if round == HELLO {
            return Ok(self.terms.provisional());
        }
        self.id
            .ok_or(Abort::Invariant("a round after the hellos has a session"))
    }

    /// Everybody else.
    pub(super) fn peers(&self) -> impl Iterator<Item = PartyIndex> + '_ {
        let me = self.me;
        self.keys.keys().copied().filter(move |party| *party != me)
    }

    fn slot(
        &self,
        round: u8,
        recipient: Option<PartyIndex>,
        previous: Digest,
    ) -> Result<Slot, Abort> {
        Ok(Slot {
            session: self.id_in(round)?,
            protocol: self.terms.protocol,
            round,
            sender: self.me,
            recipient,
            previous,
        })
    }

    /// A message to everybody.
    pub(super) fn broadcast<T: Serialize>(
        &self,
        round: u8,
        previous: Digest,
        body: &T,
        key: &SigningKey,
    ) -> Result<Envelope, Abort> {
        let body = wire::encode(body).map_err(|_| Abort::Invariant("a body is encodable"))?;
        Ok(Envelope::sign(self.slot(round, None, previous)?, body, key))
    }

    /// Secret messages, each sealed to the key that its recipient made for this party (P13).
    pub(super) fn seal(
        &mut self,
        round: u8,
        previous: Digest,
        messages: &Messages,
        key: &SigningKey,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Vec<Envelope>, Abort> {
        let mut envelopes = Vec::with_capacity(messages.len());
        if !messages.keys().copied().eq(self.peers()) {
            return Err(Abort::Invariant("an engine speaks to every peer"));
        }
        for (recipient, message) in messages {
            let slot = self.slot(round, Some(*recipient), previous)?;
            let body = self
                .seal_body(*recipient, &slot, message, &mut *rng)
                .ok_or(Abort::Invariant("a checked session key can be sealed to"))?;
            let body = wire::encode(&body).map_err(|_| Abort::Invariant("a body is encodable"))?;
            envelopes.push(Envelope::sign(slot, body, key));
        }
        Ok(envelopes)
    }

    fn seal_body(
        &mut self,
        recipient: PartyIndex,
        slot: &Slot,
        message: &SecretBytes,
        rng: &mut dyn CryptoRngCore,
    ) -> Option<SealedBody> {
        let mut encapsulated = None;
        if let Some(to) = self.theirs.remove(&recipient) {
            let (sealer, key) = Sealer::new(&to, rng).ok()?;
            self.sealers.insert(recipient, sealer);
            encapsulated = Some(key);
        }
        let sealer = self.sealers.get_mut(&recipient)?;
        let ciphertext = sealer.seal(slot, message.expose()).ok()?;
        Some(SealedBody {
            encapsulated,
            ciphertext,
        })
    }

    /// Opens the secret messages of a round. Whatever fails here was signed by its sender in this
    /// place, so it is the sender's doing; but nobody else can see it.
    pub(super) fn open(
        &mut self,
        inbox: &Inbox<Envelope>,
        previous: Digest,
        limit: usize,
    ) -> Result<Messages, Abort> {
        let mut messages = Messages::new();
        for (sender, envelope) in inbox.iter() {
            // The sender saw other broadcasts, which is for the echoes to settle.
            if envelope.header.previous != previous {
                return Err(Abort::blameless(Fault::SplitView));
            }
            let message = read(&envelope.body, limit + OVERHEAD)
                .and_then(|body| self.open_body(sender, &envelope.header.slot(), &body))
                .filter(|message| message.expose().len() <= limit)
                .ok_or_else(|| Abort::unprovable(sender, Fault::Malformed))?;
            messages.insert(sender, message);
        }
        Ok(messages)
    }

    fn open_body(
        &mut self,
        sender: PartyIndex,
        slot: &Slot,
        body: &SealedBody,
    ) -> Option<SecretBytes> {
        match (self.own.remove(&sender), body.encapsulated) {
            (Some(own), Some(encapsulated)) => {
                let opener = Opener::new(&own, &encapsulated).ok()?;
                self.openers.insert(sender, opener);
            }
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => return None,
        }
        let opened = self.openers.get_mut(&sender)?.open(slot, &body.ciphertext);
        opened.ok().map(SecretBytes::from)
    }

    /// Takes everybody's hello and opens the session. Returns the ids of the pairings that each
    /// party says to have with this one.
    pub(super) fn open_session(
        &mut self,
        inbox: &Inbox<Envelope>,
        pairs: bool,
    ) -> Result<BTreeMap<PartyIndex, Digest>, Abort> {
        let mut nonces = Vec::new();
        let mut digests = Vec::new();
        let mut ids = BTreeMap::new();
        for (sender, envelope) in inbox.iter() {
            let hello = self
                .check_hello(sender, envelope, pairs)
                .ok_or_else(|| Abort::unprovable(sender, Fault::Malformed))?;
            let mine = |(from, _): &&(PartyIndex, _)| *from == self.me;
            if let Some((_, key)) = hello.session_keys.iter().find(mine) {
                self.theirs.insert(sender, *key);
            }
            if let Some((_, id)) = hello.pairs.iter().find(|(from, _)| *from == self.me) {
                ids.insert(sender, *id);
            }
            self.states.insert(sender, hello.state);
            nonces.push(hello.nonce);
            digests.push(envelope.digest());
        }
        self.hellos = view(&self.terms.provisional(), HELLO, &digests);
        self.id = Some(self.terms.id(nonces));
        Ok(ids)
    }

    /// Reads a hello: no past, and for every other party in order a usable key, and a pairing where
    /// the protocol has one.
    fn check_hello(&self, sender: PartyIndex, hello: &Envelope, pairs: bool) -> Option<Hello> {
        let body: Hello = read(&hello.body, BROADCAST_LIMIT)?;
        let others = || {
            self.keys
                .keys()
                .copied()
                .filter(move |other| *other != sender)
        };
        let keys = &body.session_keys;
        let paired = if pairs {
            body.pairs.iter().map(|(with, _)| *with).eq(others())
        } else {
            body.pairs.is_empty()
        };
        (hello.header.previous == Digest::ZERO
            && keys.iter().map(|(from, _)| *from).eq(others())
            && keys.iter().all(|(_, key)| is_session_key(key))
            && paired)
            .then_some(body)
    }

    /// Gathers the round in the order of checks of P14. Whatever fails one is dropped; if the round
    /// is not complete without it, the first failure is the reason.
    pub(super) fn collect(
        &self,
        awaited: Awaited,
        inbound: &[Vec<u8>],
    ) -> Result<Inbox<Envelope>, Uncollected> {
        let mut expected: BTreeSet<_> = self.keys.keys().copied().collect();
        if inbound.len() > 2 * expected.len() {
            return Err(Rejected::TooMany(inbound.len()).into());
        }
        if awaited.sealed {
            expected.remove(&self.me);
        }
        let mut collector = Collector::new(expected);
        let mut first_rejected = None;
        for (position, bytes) in inbound.iter().enumerate() {
            let envelope = match self.accept(awaited, position, bytes) {
                Ok(envelope) => envelope,
                Err(Uncollected::Rejected(rejected)) => {
                    first_rejected.get_or_insert(rejected);
                    continue;
                }
                Err(abort @ Uncollected::Abort(_)) => return Err(abort),
            };
            let sender = envelope.header.sender;
            let said = envelope.signed_header();
            match collector.insert(sender, ByDigest(envelope)) {
                Receipt::Kept | Receipt::Repeated => {}
                Receipt::Equivocated => {
                    let first = collector
                        .received(sender)
                        .map(|kept| kept.0.signed_header());
                    return Err(self.equivocated(awaited.round, first, said));
                }
                Receipt::Stranger => {
                    first_rejected.get_or_insert(Rejected::Stranger(sender));
                }
            }
        }
        match collector.complete() {
            Ok(inbox) => Ok(inbox.map(|kept| kept.0)),
            Err(collector) => Err(first_rejected
                .unwrap_or_else(|| Rejected::Incomplete {
                    missing: collector.awaiting().collect(),
                })
                .into()),
        }
    }

    fn accept(
        &self,
        awaited: Awaited,
        position: usize,
        bytes: &[u8],
    ) -> Result<Envelope, Uncollected> {
        let envelope = Envelope::from_bytes_within(bytes, awaited.limit)
            .map_err(|source| Rejected::Unreadable { position, source })?;
        let header = &envelope.header;
        let sender = header.sender;
        let key = self.keys.get(&sender).ok_or(Rejected::Stranger(sender))?;
        envelope
            .verify(key)
            .map_err(|_| Rejected::BadSignature(sender))?;
        if header.recipient != awaited.sealed.then_some(self.me) {
            return Err(Rejected::NotForMe(sender).into());
        }
        let session = self.id_in(awaited.round).map_err(Uncollected::Abort)?;
        if header.session != session || header.protocol != self.terms.protocol {
            return Err(Rejected::OtherSession(sender).into());
        }
        if header.round != awaited.round {
            return Err(Rejected::OtherRound {
                sender,
                round: header.round,
            }
            .into());
        }
        if sender == self.me && awaited.sent != Some(envelope.digest()) {
            return Err(self.not_mine(awaited.round));
        }
        Ok(envelope)
    }

    /// An envelope with this party's signature that this party did not send.
    fn not_mine(&self, round: u8) -> Uncollected {
        if round == HELLO {
            // It may have said another hello in an earlier attempt.
            return Rejected::OtherSession(self.me).into();
        }
        Uncollected::Abort(Abort::blameless(Fault::Impersonated))
    }

    fn equivocated(
        &self,
        round: u8,
        first: Option<SignedHeader>,
        second: SignedHeader,
    ) -> Uncollected {
        let sender = second.header.sender;
        let Some(first) = first else {
            return Uncollected::Abort(Abort::Invariant("a first message was kept"));
        };
        if round == HELLO {
            // Hellos are never equivocation (P14); which of them counts is not ours to choose.
            return Rejected::OtherSession(sender).into();
        }
        Uncollected::Abort(self.two_statements(sender, first, second))
    }

    /// Blames a party for two different statements in one place.
    pub(super) fn two_statements(
        &self,
        sender: PartyIndex,
        first: SignedHeader,
        second: SignedHeader,
    ) -> Abort {
        let participants = &self.terms.binding.participants;
        let Some(participant) = participants.iter().find(|p| p.index == sender) else {
            return Abort::Invariant("a sender takes part");
        };
        let evidence = Evidence::TwoStatements {
            node: participant.node.clone(),
            first,
            second,
        };
        Abort::proven(sender, Fault::Equivocation, evidence)
    }
}

/// Reads a body within its limit, whole, or not at all.
pub(super) fn read<T: DeserializeOwned>(body: &[u8], limit: usize) -> Option<T> {
    let fits = body.len() <= limit;
    let read: Result<T, WireError> = if fits {
        wire::decode(body)
    } else {
        Err(WireError::Malformed)
    };
    read.ok()
}

/// An envelope that is equal to another if it says the same: one message can be signed twice.
struct ByDigest(Envelope);

impl PartialEq for ByDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest() == other.0.digest()
    }
}

pub(super) enum Uncollected {
    Rejected(Rejected),
    Abort(Abort),
}

impl From<Rejected> for Uncollected {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

/// What a test does to a message in the sender's name, with the sender's identity key. Both get
/// another key agreement, because bodies are sealed in a sequence.
#[cfg(test)]
pub(super) fn retouch(
    sender: &mut Session,
    recipient: &mut Session,
    envelope: &Envelope,
    sender_key: &SigningKey,
    change: impl FnOnce(&mut Vec<u8>),
    rng: &mut dyn CryptoRngCore,
) -> Envelope {
    let slot = envelope.header.slot();
    let mut body: SealedBody = wire::decode(&envelope.body).unwrap();
    let opener = match body.encapsulated {
        Some(key) => &mut Opener::new(&recipient.own[&slot.sender], &key).unwrap(),
        None => recipient.openers.get_mut(&slot.sender).unwrap(),
    };
    let mut message = opener.open(&slot, &body.ciphertext).unwrap().to_vec();
    change(&mut message);

    let fresh = SessionSecretKey::generate(rng);
    let to = recipient.own.get(&slot.sender).unwrap_or(&fresh);
    let (mut sealer, key) = Sealer::new(&to.public(), rng).unwrap();
    if body.encapsulated.is_some() {
        body.encapsulated = Some(key);
    } else {
        let opener = Opener::new(&fresh, &key).unwrap();
        recipient.openers.insert(slot.sender, opener);
    }
    body.ciphertext = sealer.seal(&slot, &message).unwrap();
    sender.sealers.insert(recipient.me, sealer);
    Envelope::sign(slot, wire::encode(&body).unwrap(), sender_key)
}
