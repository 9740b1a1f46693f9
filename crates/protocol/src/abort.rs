//! Why a run of a protocol ends without an output: blame as data.

use std::collections::BTreeSet;

use quorate_model::PartyIndex;
use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;

/// What a peer did, or what makes it impossible to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Fault {
    /// Signed two different messages for one place in one session.
    Equivocation,
    /// Signed a message that is not what its round demands.
    Malformed,
    /// Signed an echo of messages that were never signed by their senders.
    FalseEcho,
    /// Named another past in a message than in the echo before it.
    Contradiction,
    /// Revealed something else than it had committed to.
    FalseReveal,
    /// Revealed a polynomial of the wrong degree.
    WrongDegree,
    /// Revealed something that is no point of the group, or the identity.
    BadPoint,
    /// Does not prove that it knows its constant term.
    BadProof,
    /// Sent a share that does not fit its commitments, or cannot be opened.
    BadSubShare,
    /// Made a signature share that does not hold.
    BadSignatureShare,
    /// The parties do not see the same messages; nobody can be named.
    SplitView,
    /// Two parties committed to the same constant term; neither can be named alone.
    EqualCommitments,
    /// Someone else signs with this party's identity key.
    Impersonated,
    /// Failed a consistency check of a two-party multiplication. Final for the pair.
    FailedCheck,
    /// Every check passed, and what came out is no signature; nobody can be named.
    InvalidSignature,
    /// The two ends of a pairing come from different set-ups; neither can be named.
    PairingMismatch,
    /// Dealt something else than its part of the key that is reshared.
    WrongConstant,
}

impl Fault {
    /// The fault in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equivocation => "signed two different messages for one round",
            Self::Malformed => "signed a malformed message",
            Self::FalseEcho => "signed a false echo",
            Self::Contradiction => "contradicted its own echo",
            Self::FalseReveal => "revealed what it had not committed to",
            Self::WrongDegree => "revealed a polynomial of the wrong degree",
            Self::BadPoint => "revealed an invalid point",
            Self::BadProof => "does not prove knowledge of its secret",
            Self::BadSubShare => "sent a share that does not fit its commitments",
            Self::BadSignatureShare => "made a signature share that does not hold",
            Self::SplitView => "the parties do not see the same messages",
            Self::EqualCommitments => "two parties committed to the same secret",
            Self::Impersonated => "the identity key of this node signs elsewhere too",
            Self::FailedCheck => "failed a consistency check of a multiplication",
            Self::InvalidSignature => "every check passed, and the signature does not hold",
            Self::PairingMismatch => "the two ends of a pairing differ",
            Self::WrongConstant => "dealt another secret than its share of the key",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a run ended without an output.
#[derive(Debug, thiserror::Error)]
pub enum Abort {
    /// Peers misbehaved, or saw different things.
    #[error("{fault}")]
    Misbehavior {
        /// Who is to blame; empty where nobody can be named (P16).
        culprits: BTreeSet<PartyIndex>,
        /// What happened.
        fault: Fault,
        /// What convinces others. Present whenever somebody is named, but in sessions of ECDSA, where
        /// only equivocation can be shown: nearly all that is said there is sealed, and blame for it
        /// stays with the node that opened it.
        evidence: Option<Box<Evidence>>,
    },
    /// A bug on our side.
    #[error("invariant broken: {0}")]
    Invariant(&'static str),
}

impl Abort {
    pub(crate) fn proven(culprit: PartyIndex, fault: Fault, evidence: Evidence) -> Self {
        Self::Misbehavior {
            culprits: BTreeSet::from([culprit]),
            fault,
            evidence: Some(Box::new(evidence)),
        }
    }

    /// A fault that this node saw and can show to nobody (see `evidence`).
    pub(crate) fn unprovable(culprit: PartyIndex, fault: Fault) -> Self {
        Self::Misbehavior {
            culprits: BTreeSet::from([culprit]),
            fault,
            evidence: None,
        }
    }

    pub(crate) fn blameless(fault: Fault) -> Self {
        Self::Misbehavior {
            culprits: BTreeSet::new(),
            fault,
            evidence: None,
        }
    }

    /// Who is to blame.
    pub fn culprits(&self) -> BTreeSet<PartyIndex> {
        match self {
            Self::Misbehavior { culprits, .. } => culprits.clone(),
            Self::Invariant(_) => BTreeSet::new(),
        }
    }

    /// What convinces others.
    pub fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::Misbehavior { evidence, .. } => evidence.as_deref(),
            Self::Invariant(_) => None,
        }
    }

    /// What happened, if a peer did it.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Misbehavior { fault, .. } => Some(*fault),
            Self::Invariant(_) => None,
        }
    }
}
