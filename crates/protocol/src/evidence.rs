//! Proofs of misbehavior that anybody can check offline (P16): two contradicting statements or one
//! invalid statement, signed by whoever is blamed.
//!
//! Evidence carries the preimage of its session, so that nothing but the roster is needed to check
//! it: the preimage names the participants, the threshold and the scheme. A timeout is never
//! evidence. What an honest node signs is never evidence against it, whatever others put beside it:
//! that is what each check here is for.

mod complaint;
mod constant;
mod signature_share;

pub use complaint::Complaint;
pub use constant::ConstantProof;
pub use signature_share::{BadShare, SigningFacts};

use std::collections::BTreeMap;

use ed25519_dalek::VerifyingKey;
use quorate_model::{
    Digest, IdentityKey, NodeId, PartyIndex, SessionPreimage,
    wire::{self, WireError},
};
use serde::{Deserialize, Serialize};

use crate::{
    abort::Fault,
    ceremony::{
        checks::{check_commit, check_echo, check_hello, check_reveal, check_sealed, follows},
        round,
        terms::{Terms, is_hello, is_well_shaped, protocol_id, scheme_of},
    },
    envelope::{Envelope, Header, ProtocolId, SignedHeader},
    suite::{Curve, Edwards, Secp},
};

/// The largest evidence that is read, in bytes.
pub const MAX_EVIDENCE_BYTES: usize = 4 << 20;

/// A proof of misbehavior.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Evidence {
    /// Two different messages in one place of one session.
    Equivocation {
        /// The session.
        session: SessionPreimage,
        /// One of them.
        first: SignedHeader,
        /// The other.
        second: SignedHeader,
    },
    /// A message that is not what its round demands.
    Malformed {
        /// The session; without nonces for a hello.
        session: SessionPreimage,
        /// The message.
        envelope: Envelope,
    },
    /// An echo of what was never said.
    FalseEcho {
        /// The session.
        session: SessionPreimage,
        /// The echo.
        echo: Envelope,
    },
    /// A message that names another past than the echo before it.
    Contradiction {
        /// The session.
        session: SessionPreimage,
        /// The echo.
        echo: SignedHeader,
        /// The message after it.
        later: SignedHeader,
    },
    /// A package that does not open its commitment, has the wrong degree or an invalid point, or
    /// does not prove its constant term.
    FalseReveal {
        /// The session.
        session: SessionPreimage,
        /// The commitment.
        commit: Envelope,
        /// The package.
        reveal: Envelope,
    },
    /// A share that does not fit its dealer's commitments (P21).
    BadSubShare(Box<Complaint>),
    /// A signature share that does not hold.
    BadSignatureShare(Box<BadShare>),
    /// Two different messages in one place of one session of ECDSA. Whatever the session is, its id
    /// contains a nonce that the blamed node used once, so an honest node never signs both.
    TwoStatements {
        /// Who signed them.
        node: NodeId,
        /// One of them.
        first: SignedHeader,
        /// The other.
        second: SignedHeader,
    },
    /// A package whose constant term is not its dealer's part of the key that is reshared (P27).
    WrongConstant(Box<ConstantProof>),
}

/// What a verifier knows by itself.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The identity keys of the roster that the evidence's session or key is bound to.
    pub identity_of: &'a dyn Fn(&NodeId) -> Option<IdentityKey>,
    /// What the blamed signature share should have been a share of.
    pub signing: Option<SigningFacts<'a>>,
}

impl std::fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Facts")
            .field("signing", &self.signing)
            .finish_non_exhaustive()
    }
}

/// Who is blamed for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blamed {
    /// The node.
    pub node: NodeId,
    /// Its index.
    pub party: PartyIndex,
    /// What it did.
    pub fault: Fault,
}

/// Why evidence blames nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotProven {
    /// The session is of no protocol or shape that this verifier knows.
    #[error("read the session of the evidence")]
    Session,
    /// A participant or its identity key is not known.
    #[error("find the identity key of a participant")]
    UnknownParticipant,
    /// A statement is not signed by whoever is blamed, or stands in another place.
    #[error("verify a statement of the evidence")]
    Statement,
    /// The statements fit each other, and nobody did anything wrong.
    #[error("find a fault in the evidence")]
    NoFault,
    /// The verifier was not given what a signature share must be checked against.
    #[error("check a signature share without its key and message")]
    FactsMissing,
    /// The source beside the statement is not what its session reshares.
    #[error("match the source of the evidence with its session")]
    OtherSource,
    /// The signing facts are of another key or epoch than the statement.
    #[error("check a signature share against the facts of another")]
    OtherFacts,
}

impl Evidence {
    /// The bytes as stored and sent.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        wire::encode(self)
    }

    /// Reads evidence; it says nothing before [`Evidence::verify`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MAX_EVIDENCE_BYTES {
            return Err(WireError::Malformed);
        }
        wire::decode(bytes)
    }

    /// Whether this is a complaint, whose session secret must reach everybody (P21).
    pub fn is_complaint(&self) -> bool {
        matches!(self, Self::BadSubShare(_))
    }

    /// The session that it is about, which names the roster to check it under.
    pub fn session(&self) -> Option<&SessionPreimage> {
        match self {
            Self::Equivocation { session, .. }
            | Self::Malformed { session, .. }
            | Self::FalseEcho { session, .. }
            | Self::Contradiction { session, .. }
            | Self::FalseReveal { session, .. } => Some(session),
            Self::BadSubShare(complaint) => Some(&complaint.session),
            Self::WrongConstant(proof) => Some(&proof.session),
            Self::BadSignatureShare(_) | Self::TwoStatements { .. } => None,
        }
    }

    /// Checks the evidence.
    pub fn verify(&self, facts: &Facts<'_>) -> Result<Blamed, NotProven> {
        match self {
            Self::Equivocation {
                session,
                first,
                second,
            } => Session::read(session, facts)?.equivocation(first, second),
            Self::Malformed { session, envelope } => malformed(session, envelope, facts),
            Self::FalseEcho { session, echo } => Session::read(session, facts)?.false_echo(echo),
            Self::Contradiction {
                session,
                echo,
                later,
            } => Session::read(session, facts)?.contradiction(echo, later),
            Self::FalseReveal {
                session,
                commit,
                reveal,
            } => Session::read(session, facts)?.false_reveal(commit, reveal),
            Self::BadSubShare(complaint) => {
                Session::read(&complaint.session, facts)?.complaint(complaint)
            }
            Self::WrongConstant(proof) => {
                Session::read(&proof.session, facts)?.wrong_constant(proof)
            }
            Self::BadSignatureShare(share) => share.verify(facts),
            Self::TwoStatements {
                node,
                first,
                second,
            } => two_statements(node, first, second, facts),
        }
    }
}

/// Hellos are left out: they carry a provisional id, and a node may honestly say two (P14).
fn two_statements(
    node: &NodeId,
    first: &SignedHeader,
    second: &SignedHeader,
    facts: &Facts<'_>,
) -> Result<Blamed, NotProven> {
    let key = (facts.identity_of)(node)
        .and_then(|key| key.parse().ok())
        .ok_or(NotProven::UnknownParticipant)?;
    let header = &first.header;
    if !matches!(
        header.protocol,
        ProtocolId::EcdsaPairing | ProtocolId::EcdsaSigning
    ) || header.round == round::HELLO
        || !header.same_place(&second.header)
        || first.verify(&key).is_err()
        || second.verify(&key).is_err()
    {
        return Err(NotProven::Statement);
    }
    if header.digest() == second.header.digest() {
        return Err(NotProven::NoFault);
    }
    Ok(Blamed {
        node: node.clone(),
        party: header.sender,
        fault: Fault::Equivocation,
    })
}

/// A session with the identity keys of its participants.
struct Session {
    terms: Terms,
    keys: BTreeMap<PartyIndex, VerifyingKey>,
}

fn identity_keys(
    session: &SessionPreimage,
    facts: &Facts<'_>,
) -> Result<BTreeMap<PartyIndex, VerifyingKey>, NotProven> {
    session
        .binding
        .participants
        .iter()
        .map(|participant| {
            let key = (facts.identity_of)(&participant.node)?.parse().ok()?;
            Some((participant.index, key))
        })
        .collect::<Option<_>>()
        .ok_or(NotProven::UnknownParticipant)
}

fn blamed(session: &SessionPreimage, party: PartyIndex, fault: Fault) -> Result<Blamed, NotProven> {
    let participant = session
        .binding
        .participants
        .iter()
        .find(|participant| participant.index == party)
        .ok_or(NotProven::UnknownParticipant)?;
    Ok(Blamed {
        node: participant.node.clone(),
        party,
        fault,
    })
}

/// A malformed message, which for a hello comes before there is a session.
fn malformed(
    session: &SessionPreimage,
    envelope: &Envelope,
    facts: &Facts<'_>,
) -> Result<Blamed, NotProven> {
    let sender = envelope.header.sender;
    let header = &envelope.header;
    let fault = if header.round == round::HELLO {
        if scheme_of(&session.binding).is_none() || !is_well_shaped(&session.binding) {
            return Err(NotProven::Session);
        }
        signed(&identity_keys(session, facts)?, envelope)?;
        if !is_hello(&session.binding, header) {
            return Err(NotProven::Statement);
        }
        check_hello(&session.binding, envelope).err()
    } else {
        let read = Session::read(session, facts)?;
        signed(&read.keys, envelope)?;
        let recipient = header.recipient.filter(|_| header.round == round::SHARE);
        if !read.terms.place(header, header.round, recipient) {
            return Err(NotProven::Statement);
        }
        match header.round {
            round::COMMIT => check_commit(envelope).err(),
            round::SHARE => check_sealed(envelope).err(),
            _ => None,
        }
    };
    blamed(session, sender, fault.ok_or(NotProven::NoFault)?)
}

fn signed(keys: &BTreeMap<PartyIndex, VerifyingKey>, envelope: &Envelope) -> Result<(), NotProven> {
    let key = keys
        .get(&envelope.header.sender)
        .ok_or(NotProven::UnknownParticipant)?;
    envelope.verify(key).map_err(|_| NotProven::Statement)
}

impl Session {
    fn read(session: &SessionPreimage, facts: &Facts<'_>) -> Result<Self, NotProven> {
        let terms = Terms::new(session.clone()).ok_or(NotProven::Session)?;
        let keys = identity_keys(session, facts)?;
        Ok(Self { terms, keys })
    }

    fn blame(&self, party: PartyIndex, fault: Fault) -> Result<Blamed, NotProven> {
        blamed(&self.terms.preimage, party, fault)
    }

    /// Checks that a header is signed by its sender, who takes part.
    fn signed_header(&self, statement: &SignedHeader) -> Result<(), NotProven> {
        let key = self
            .keys
            .get(&statement.header.sender)
            .ok_or(NotProven::UnknownParticipant)?;
        statement.verify(key).map_err(|_| NotProven::Statement)
    }

    /// Checks that a broadcast stands in a round of this session and is signed by its sender.
    fn broadcast(&self, envelope: &Envelope, round: u8) -> Result<(), NotProven> {
        signed(&self.keys, envelope)?;
        self.stands(&envelope.header, round)
    }

    fn stands(&self, header: &Header, round: u8) -> Result<(), NotProven> {
        if self.terms.place(header, round, None) {
            Ok(())
        } else {
            Err(NotProven::Statement)
        }
    }

    /// A hello carries the provisional id and so never stands in the session: two hellos are no
    /// equivocation (P14).
    fn equivocation(
        &self,
        first: &SignedHeader,
        second: &SignedHeader,
    ) -> Result<Blamed, NotProven> {
        self.signed_header(first)?;
        self.signed_header(second)?;
        let header = &first.header;
        if header.session != self.terms.session
            || header.protocol != protocol_id(self.terms.binding())
            || !header.same_place(&second.header)
        {
            return Err(NotProven::Statement);
        }
        if header.digest() == second.header.digest() {
            return Err(NotProven::NoFault);
        }
        self.blame(header.sender, Fault::Equivocation)
    }

    fn false_echo(&self, echo: &Envelope) -> Result<Blamed, NotProven> {
        let round = echo.header.round;
        if !matches!(round, round::COMMIT_ECHO | round::REVEAL_ECHO) {
            return Err(NotProven::Statement);
        }
        self.broadcast(echo, round)?;
        match check_echo(&self.terms, &self.keys, echo) {
            Ok(_) => Err(NotProven::NoFault),
            Err(fault) => self.blame(echo.header.sender, fault),
        }
    }

    fn contradiction(
        &self,
        echo: &SignedHeader,
        later: &SignedHeader,
    ) -> Result<Blamed, NotProven> {
        self.signed_header(echo)?;
        self.signed_header(later)?;
        let recipient = match (echo.header.round, later.header.round) {
            (round::COMMIT_ECHO, round::REVEAL) => None,
            (round::REVEAL_ECHO, round::SHARE) => later.header.recipient,
            _ => return Err(NotProven::Statement),
        };
        self.stands(&echo.header, echo.header.round)?;
        if echo.header.sender != later.header.sender
            || !self
                .terms
                .place(&later.header, later.header.round, recipient)
        {
            return Err(NotProven::Statement);
        }
        if follows(&echo.header, &later.header) {
            return Err(NotProven::NoFault);
        }
        self.blame(later.header.sender, Fault::Contradiction)
    }

    fn false_reveal(&self, commit: &Envelope, reveal: &Envelope) -> Result<Blamed, NotProven> {
        self.broadcast(commit, round::COMMIT)?;
        self.broadcast(reveal, round::REVEAL)?;
        if commit.header.sender != reveal.header.sender {
            return Err(NotProven::Statement);
        }
        let commitment: Digest = check_commit(commit).map_err(|_| NotProven::Statement)?;
        let fault = match self.terms.curve {
            Curve::Secp => check_reveal::<Secp>(&self.terms, &commitment, reveal).err(),
            Curve::Edwards => check_reveal::<Edwards>(&self.terms, &commitment, reveal).err(),
        };
        self.blame(reveal.header.sender, fault.ok_or(NotProven::NoFault)?)
    }
}

#[cfg(test)]
mod tests;
