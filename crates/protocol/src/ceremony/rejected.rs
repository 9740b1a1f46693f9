//! Why bytes are not a round.

use quorate_model::{PartyIndex, wire::WireError};

/// Why a set of envelopes is not a round. Nothing has changed, and nobody is blamed: whatever does
/// not come signed from the right party in the right place is the relay's doing (P14).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// More envelopes than a round can have.
    #[error("read a round of {0} envelopes")]
    TooMany(usize),
    /// Bytes that are no envelope.
    #[error("read envelope {position} of the round")]
    Unreadable {
        /// Where it stands.
        position: usize,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
    /// From nobody who takes part, or who speaks in this round.
    #[error("find party {0} among the participants")]
    Stranger(PartyIndex),
    /// A signature that does not hold.
    #[error("verify the signature of party {0}")]
    BadSignature(PartyIndex),
    /// For somebody else.
    #[error("read an envelope of party {0} for another recipient")]
    NotForMe(PartyIndex),
    /// Of another session or protocol.
    #[error("read an envelope of party {0} of another session")]
    OtherSession(PartyIndex),
    /// Of another round.
    #[error("read an envelope of party {sender} of round {round}")]
    OtherRound {
        /// Who signed it.
        sender: PartyIndex,
        /// Its round.
        round: u8,
    },
    /// Some have not spoken.
    #[error("complete the round without {} of the parties", missing.len())]
    Incomplete {
        /// Who has not.
        missing: Vec<PartyIndex>,
    },
}
