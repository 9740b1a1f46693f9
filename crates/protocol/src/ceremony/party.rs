//! What a party holds through all rounds: who takes part, and what they have said so far.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::VerifyingKey;
use quorate_model::{Digest, PartyIndex, SessionBinding, SessionPreimage, Tag, Tagged};

use super::{
    messages::{Hello, HelloState, encode},
    round,
    source::ReshareSource,
    terms::{Terms, agreed, parties, protocol_id, view},
};
use crate::{
    abort::{Abort, Fault},
    envelope::{Envelope, SignedHeader, Slot},
    evidence::Evidence,
    rounds::Inbox,
};

/// Whether keys are one usable identity key of its own for every participant.
pub(crate) fn are_identities(
    keys: &BTreeMap<PartyIndex, VerifyingKey>,
    binding: &SessionBinding,
) -> bool {
    let distinct: BTreeSet<_> = keys.values().map(VerifyingKey::to_bytes).collect();
    keys.keys().copied().eq(parties(binding))
        && distinct.len() == keys.len()
        && !keys.values().any(VerifyingKey::is_weak)
}

/// A message that is ready to be signed.
pub(super) struct Draft {
    pub(super) slot: Slot,
    pub(super) body: Vec<u8>,
}

/// One party's view of the session.
pub(crate) struct Party {
    pub(super) me: PartyIndex,
    pub(super) keys: BTreeMap<PartyIndex, VerifyingKey>,
    pub(super) binding: SessionBinding,
    /// What is reshared; none at a key's birth.
    pub(super) source: Option<ReshareSource>,
    /// Known once everybody has said hello.
    pub(super) terms: Option<Terms>,
    /// Where the nodes stand, by their hellos.
    pub(super) states: BTreeMap<PartyIndex, HelloState>,
    /// The broadcasts of the rounds that are over, by round, in order of their senders.
    said: BTreeMap<u8, Vec<Envelope>>,
    /// Breaks P15 on purpose; see [`Machine::without_comparing_echoes`].
    ///
    /// [`Machine::without_comparing_echoes`]: super::Machine::without_comparing_echoes
    #[cfg(debug_assertions)]
    pub(super) leaves_echoes_out: bool,
}

impl Party {
    pub(crate) fn new(
        me: PartyIndex,
        keys: BTreeMap<PartyIndex, VerifyingKey>,
        binding: SessionBinding,
        source: Option<ReshareSource>,
    ) -> Self {
        let (states, said) = (BTreeMap::new(), BTreeMap::new());
        Self {
            me,
            keys,
            binding,
            source,
            terms: None,
            states,
            said,
            #[cfg(debug_assertions)]
            leaves_echoes_out: false,
        }
    }

    pub(super) fn terms(&self) -> Result<&Terms, Abort> {
        self.terms
            .as_ref()
            .ok_or(Abort::Invariant("a round after the hellos has a session"))
    }

    /// The id that messages of a round carry.
    pub(super) fn session_in(&self, round: u8) -> Result<Digest, Abort> {
        if round == round::HELLO {
            return Ok(self.binding.provisional_id());
        }
        Ok(self.terms()?.session)
    }

    /// Opens the session with everybody's nonce.
    pub(super) fn open_session(&mut self, hellos: &[Hello]) -> Result<(), Abort> {
        let nonces = hellos.iter().map(|hello| hello.nonce).collect();
        let preimage = SessionPreimage {
            binding: self.binding.clone(),
            nonces,
        };
        self.terms =
            Some(Terms::new(preimage).ok_or(Abort::Invariant("a checked setup has terms"))?);
        Ok(())
    }

    /// Keeps a round that is over.
    pub(super) fn keep(&mut self, round: u8, inbox: Inbox<Envelope>) {
        self.said.insert(round, inbox.into_messages());
    }

    /// The broadcasts of a round that is over.
    pub(super) fn said(&self, round: u8) -> Result<&[Envelope], Abort> {
        self.said
            .get(&round)
            .map(Vec::as_slice)
            .ok_or(Abort::Invariant("a round that is over was kept"))
    }

    /// What one party broadcast in a round that is over.
    pub(super) fn said_by(&self, round: u8, sender: PartyIndex) -> Result<&Envelope, Abort> {
        self.said(round)?
            .iter()
            .find(|envelope| envelope.header.sender == sender)
            .ok_or(Abort::Invariant(
                "who is heard later spoke in the round before",
            ))
    }

    /// The names of the broadcasts of a round that is over.
    pub(super) fn digests(&self, round: u8) -> Result<Vec<Digest>, Abort> {
        Ok(self.said(round)?.iter().map(Envelope::digest).collect())
    }

    /// The hash of the broadcasts of a round that is over.
    pub(super) fn view(&self, round: u8) -> Result<Digest, Abort> {
        Ok(view(&self.session_in(round)?, round, &self.digests(round)?))
    }

    /// What a message of this round says about the round before.
    fn previous(&self, round: u8) -> Result<Digest, Abort> {
        match round {
            round::HELLO => Ok(Digest::ZERO),
            round::COMMIT => self.view(round::HELLO),
            round::COMMIT_ECHO => self.view(round::COMMIT),
            round::REVEAL => Ok(agreed(&self.view(round::COMMIT)?)),
            round::REVEAL_ECHO => self.view(round::REVEAL),
            _ => Ok(agreed(&self.view(round::REVEAL)?)),
        }
    }

    /// The place of a message of this party.
    pub(super) fn slot(&self, round: u8, recipient: Option<PartyIndex>) -> Result<Slot, Abort> {
        Ok(Slot {
            session: self.session_in(round)?,
            protocol: protocol_id(&self.binding),
            round,
            sender: self.me,
            recipient,
            previous: self.previous(round)?,
        })
    }

    /// A message to everybody.
    pub(super) fn broadcast<T: serde::Serialize>(
        &self,
        round: u8,
        body: &T,
    ) -> Result<Draft, Abort> {
        let body = encode(body).map_err(|_| Abort::Invariant("a body is encodable"))?;
        Ok(Draft {
            slot: self.slot(round, None)?,
            body,
        })
    }

    /// The signed headers of a round that is over.
    pub(super) fn headers(&self, round: u8) -> Result<Vec<SignedHeader>, Abort> {
        Ok(self
            .said(round)?
            .iter()
            .map(Envelope::signed_header)
            .collect())
    }

    /// Everything that the id is the hash of; without nonces before everybody has said hello.
    pub(super) fn preimage(&self) -> SessionPreimage {
        self.terms.as_ref().map_or_else(
            || SessionPreimage {
                binding: self.binding.clone(),
                nonces: Vec::new(),
            },
            |terms| terms.preimage.clone(),
        )
    }

    /// Blames the sender of a message that is not what its round demands.
    pub(super) fn malformed(&self, envelope: &Envelope) -> Abort {
        let evidence = Evidence::Malformed {
            session: self.preimage(),
            envelope: envelope.clone(),
        };
        Abort::proven(envelope.header.sender, Fault::Malformed, evidence)
    }

    /// The hash of everything that was said to everybody.
    pub(super) fn transcript(&self) -> Result<Digest, Abort> {
        Ok(Tagged::new(Tag::Transcript)
            .digest(&self.terms()?.session)
            .digest(&self.view(round::HELLO)?)
            .digest(&self.view(round::COMMIT)?)
            .digest(&self.view(round::REVEAL)?)
            .finish())
    }

    /// The chain code of the key: H over session, commitments and packages in index order (P22). It
    /// is made once; a key that is reshared keeps it.
    pub(super) fn chain_code(&self) -> Result<[u8; 32], Abort> {
        if let Some(source) = &self.source {
            return Ok(source.statement.chain_code);
        }
        let digest = Tagged::new(Tag::ChainCode)
            .digest(&self.terms()?.session)
            .list(&self.digests(round::COMMIT)?, Tagged::digest)
            .list(&self.digests(round::REVEAL)?, Tagged::digest)
            .finish();
        Ok(*digest.as_bytes())
    }
}
