//! The rounds in which a secret is shared, for the birth of a key and for every change of its
//! holders (P12 to P16, P18, P21, P27).
//!
//! A run has *dealers* and *receivers*. When a key is born, everybody is both, and each dealer
//! shares a secret that it draws. When a key is reshared, as many holders as make the key deal what
//! they hold, and the new committee receives; the two overlap in any way. A dealer that receives
//! nothing is done when its shares are out; a receiver that deals nothing says hello and echoes,
//! and commits to nothing. The protocols [`dkg`](crate::dkg) and [`reshare`](crate::reshare) are
//! doors to these rounds: what must be known before, and what comes out.
//!
//! | round | message | from | to | holds |
//! |---|---|---|---|---|
//! | 0 | hello | all | all | nonce, of a receiver a session key per dealer, where the node stands |
//! | 1 | commit | dealers | all | H(session, dealer, package, r) |
//! | 2 | echo | all | all | the signed headers of round 1 |
//! | 3 | reveal | dealers | all | package: t Feldman commitments, at a birth a proof of knowledge; r |
//! | 4 | echo | all | all | the signed headers of round 3 |
//! | 5 | share | dealers | each receiver | f(i), sealed to the recipient's key for this sender |
//! | 6 | complaint | a receiver | all | only when a share fails: the evidence (P21) |
//!
//! Hellos cannot carry the session id, which is made from all of them. They carry a provisional id,
//! the hash of what the session is bound to ([`SessionBinding::provisional_id`]). Which hellos a
//! dealer saw is in the `previous` hash of its commitment.
//!
//! [`SessionBinding::provisional_id`]: quorate_model::SessionBinding::provisional_id

pub(crate) mod checks;
mod commits;
mod echoes;
#[cfg(test)]
pub(crate) mod harness;
mod hellos;
pub(crate) mod machine;
pub(crate) mod messages;
mod outcome;
pub(crate) mod party;
mod rejected;
mod reveals;
mod shares;
pub(crate) mod source;
pub(crate) mod terms;

pub use machine::{Advance, Machine, Output};
pub use messages::{Hello, HelloState, Proven};
pub use outcome::{Outcome, Sharing};
pub use rejected::Rejected;

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
