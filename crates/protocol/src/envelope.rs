//! Protocol messages between nodes (P13): signed by the sender, and sealed to the recipient where
//! they are secret. The relay between the nodes can read no secret and alter nothing.
//!
//! The signature covers the digest of the header, which holds the hash of the body. A message is
//! therefore named by its header alone, and a signed header without its body is still a statement:
//! echoes and evidence carry those.

mod seal;

pub use seal::{
    OpenError, Opener, SealError, Sealed, Sealer, SessionSecretKey, is_session_key, open, seal,
};

use ed25519_dalek::{SigningKey, VerifyingKey};
use quorate_model::{
    Digest, PartyIndex, Signature, Tag, Tagged,
    identity::{BadSignature, sign_digest, verify_with},
    wire::{self, WireError},
};
use serde::{Deserialize, Serialize};

/// The largest envelope that is read, in bytes.
pub const MAX_ENVELOPE_BYTES: usize = 64 * 1024;

/// A protocol with its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ProtocolId {
    /// Key generation, version 1.
    Dkg,
    /// The pairwise set-up for ECDSA, version 1.
    EcdsaPairing,
    /// ECDSA signing, version 1.
    EcdsaSigning,
    /// Resharing, version 1.
    Reshare,
}

impl ProtocolId {
    /// The protocol and version as they are hashed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dkg => "dkg/2",
            Self::EcdsaPairing => "ecdsa-pairing/1",
            Self::EcdsaSigning => "ecdsa-signing/1",
            Self::Reshare => "reshare/1",
        }
    }
}

/// The place of a message: everything that its header says before there is a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The session id; the provisional one for hellos.
    pub session: Digest,
    /// The protocol.
    pub protocol: ProtocolId,
    /// The round.
    pub round: u8,
    /// Who sends it.
    pub sender: PartyIndex,
    /// For whom it is; none for all.
    pub recipient: Option<PartyIndex>,
    /// The hash of the previous round's broadcasts as the sender saw them.
    pub previous: Digest,
}

impl Slot {
    fn hash_into(&self, tagged: Tagged) -> Tagged {
        tagged
            .digest(&self.session)
            .text(self.protocol.as_str())
            .number(u64::from(self.round))
            .number(u64::from(self.sender.number()))
            .number(
                self.recipient
                    .map_or(0, |recipient| u64::from(recipient.number())),
            )
            .digest(&self.previous)
    }

    /// The associated data of a sealed body. It leaves the body hash out, because that covers the
    /// sealed bytes themselves.
    fn associated_data(&self) -> Digest {
        self.hash_into(Tagged::new(Tag::Envelope).text("seal"))
            .finish()
    }
}

/// What a message says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The session id; the provisional one for hellos.
    pub session: Digest,
    /// The protocol.
    pub protocol: ProtocolId,
    /// The round.
    pub round: u8,
    /// Who sent it.
    pub sender: PartyIndex,
    /// For whom it is; none for all.
    pub recipient: Option<PartyIndex>,
    /// The hash of the previous round's broadcasts as the sender saw them.
    pub previous: Digest,
    /// The hash of the body.
    pub body_hash: Digest,
}

impl Header {
    fn of(slot: Slot, body: &[u8]) -> Self {
        let Slot {
            session,
            protocol,
            round,
            sender,
            recipient,
            previous,
        } = slot;
        let body_hash = body_hash(body);
        Self {
            session,
            protocol,
            round,
            sender,
            recipient,
            previous,
            body_hash,
        }
    }

    /// The place of the message.
    pub fn slot(&self) -> Slot {
        Slot {
            session: self.session,
            protocol: self.protocol,
            round: self.round,
            sender: self.sender,
            recipient: self.recipient,
            previous: self.previous,
        }
    }

    /// The digest that is signed, which names the message.
    pub fn digest(&self) -> Digest {
        self.slot()
            .hash_into(Tagged::new(Tag::Envelope).text("header"))
            .digest(&self.body_hash)
            .finish()
    }

    /// Whether two messages claim one place. An honest sender fills a place once, so two different
    /// messages in one place are equivocation; what they say about the past does not matter.
    pub fn same_place(&self, other: &Self) -> bool {
        self.session == other.session
            && self.protocol == other.protocol
            && self.round == other.round
            && self.sender == other.sender
            && self.recipient == other.recipient
    }
}

fn body_hash(body: &[u8]) -> Digest {
    Tagged::new(Tag::Envelope).text("body").bytes(body).finish()
}

/// A header with its signature: the statement without the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHeader {
    /// The header.
    pub header: Header,
    /// The sender's signature.
    pub signature: Signature,
}

impl SignedHeader {
    /// Checks the signature, strictly.
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), BadSignature> {
        verify_with(key, &self.header.digest(), &self.signature)
    }
}

/// A message on its way.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// What it says about itself.
    pub header: Header,
    /// What it says; sealed where it is secret.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// The sender's signature.
    pub signature: Signature,
}

impl std::fmt::Debug for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Envelope")
            .field("sender", &self.header.sender.number())
            .field("round", &self.header.round)
            .field("length", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Envelope {
    /// Signs a message.
    pub fn sign(slot: Slot, body: Vec<u8>, key: &SigningKey) -> Self {
        let header = Header::of(slot, &body);
        let signature = sign_digest(key, &header.digest());
        Self {
            header,
            body,
            signature,
        }
    }

    /// Checks that the body is the one of the header and that the signature holds, strictly.
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), BadSignature> {
        if body_hash(&self.body) != self.header.body_hash {
            return Err(BadSignature);
        }
        verify_with(key, &self.header.digest(), &self.signature)
    }

    /// The digest that is signed, which names the message.
    pub fn digest(&self) -> Digest {
        self.header.digest()
    }

    /// The statement without the body.
    pub fn signed_header(&self) -> SignedHeader {
        SignedHeader {
            header: self.header.clone(),
            signature: self.signature,
        }
    }

    /// The bytes as sent.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        wire::encode(self)
    }

    /// Reads a message; nothing in it is trusted before [`Envelope::verify`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        Self::from_bytes_within(bytes, MAX_ENVELOPE_BYTES)
    }

    /// Reads only who says what where, and leaves the body as it is: neither hashed nor verified.
    pub fn skim(bytes: &[u8]) -> Result<SignedHeader, WireError> {
        #[derive(Deserialize)]
        struct Skimmed<'a> {
            header: Header,
            #[serde(rename = "body", with = "serde_bytes", borrow)]
            _body: &'a [u8],
            signature: Signature,
        }
        let Skimmed {
            header, signature, ..
        } = wire::decode(bytes)?;
        Ok(SignedHeader { header, signature })
    }

    /// Reads a message of a protocol whose envelopes may be larger, or must be smaller.
    pub fn from_bytes_within(bytes: &[u8], limit: usize) -> Result<Self, WireError> {
        if bytes.len() > limit {
            return Err(WireError::Malformed);
        }
        wire::decode(bytes)
    }
}

#[cfg(test)]
mod tests;
