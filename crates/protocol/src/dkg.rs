//! The birth of a key (P18 to P22): Pedersen's key generation with Feldman commitments, proofs of
//! knowledge, and a commitment round before anything is revealed.
//!
//! After Gennaro, Jarecki, Krawczyk and Rabin (J. Cryptology 20, 2007, section 3: the joint-Feldman
//! protocol) and Komlo and Goldberg (FROST, SAC 2020, figure 1), with these differences:
//! - every message is bound to a session that contains a fresh nonce of every party (P12);
//! - packages are committed to before the first is revealed, so that the last to speak cannot
//!   choose the key, and a commitment names its dealer, so that a copied one cannot be opened;
//! - each broadcast round is followed by an echo round, and nobody sends a share before everybody
//!   has signed that it saw the same (P15);
//! - the run ends at the first fault, with evidence where somebody can be named (P16, P21);
//! - the key is not tweaked, for BIP-340 neither.
//!
//! | round | message | to | holds |
//! |---|---|---|---|
//! | 0 | hello | all | nonce, a session key per sender, where the node stands |
//! | 1 | commit | all | H(session, dealer, package, r) |
//! | 2 | echo | all | the signed headers of round 1 |
//! | 3 | reveal | all | package: t Feldman commitments and a proof of knowledge; r |
//! | 4 | echo | all | the signed headers of round 3 |
//! | 5 | share | each | f(i), sealed to the recipient's key for this sender |
//! | 6 | complaint | all | only when a share fails: the evidence (P21) |
//!
//! Hellos cannot carry the session id, which is made from all of them. They carry a provisional id,
//! the hash of what the session is bound to ([`SessionBinding::provisional_id`]). Which hellos a
//! dealer saw is in the `previous` hash of its commitment.
//!
//! [`SessionBinding::provisional_id`]: quorate_model::SessionBinding::provisional_id

pub(crate) mod checks;
mod commits;
mod echoes;
mod hellos;
mod machine;
pub(crate) mod messages;
mod output;
mod party;
mod reveals;
mod setup;
mod shares;
pub(crate) mod terms;

pub use machine::{Advance, Machine, Rejected, start};
pub use messages::{Hello, HelloState};
pub use output::DkgOutput;
pub use setup::{Setup, SetupError};
pub use terms::protocol_name;

/// The rounds by number.
pub mod round {
    /// Hellos.
    pub const HELLO: u8 = 0;
    /// Commitments to packages.
    pub const COMMIT: u8 = 1;
    /// Echoes of the commitments.
    pub const COMMIT_ECHO: u8 = 2;
    /// Packages.
    pub const REVEAL: u8 = 3;
    /// Echoes of the packages.
    pub const REVEAL_ECHO: u8 = 4;
    /// Sealed shares, one for each recipient.
    pub const SHARE: u8 = 5;
    /// A complaint: the last word of a run that fails.
    pub const COMPLAINT: u8 = 6;
}

#[cfg(test)]
pub(crate) mod tests;
