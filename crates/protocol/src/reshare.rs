//! Resharing (P27 to P32): as many holders as make the key deal their shares again to a new
//! committee, with its own threshold. The key stays the same and is in no place at any time.
//!
//! After Desmedt and Jajodia (Redistributing secret shares to new access structures, 1997) and
//! Wong, Wang and Wing (Verifiable secret redistribution for archive systems, 2002). A refresh is
//! the resharing to the same committee, which Herzberg, Jarecki, Krawczyk and Yung (CRYPTO 1995)
//! call proactive: shares of two epochs do not go together. Differences from these papers:
//! - the rounds are those of key generation ([`ceremony`](crate::ceremony)): a session with fresh
//!   nonces, commitments before packages, echoes before secrets, complaints that others can check;
//! - exactly t holders deal, and dealer i deals `λ_i·s_i`, its part of the key among exactly those
//!   dealers, so that new shares are plain sums;
//! - receivers compare each constant term with the certificate of the source epoch,
//!   `A_i0 = λ_i·Y_i`, to which the session is bound. It takes the place of the proof of knowledge
//!   at a key's birth and of the papers' check that the sum of the terms is the key, which follows
//!   and names nobody where it fails;
//! - the run ends at the first fault; the next starts from zero, without whoever was shown to lie.
//!
//! # Security
//!
//! A refresh does not undo a theft: t shares of one epoch make the key for ever (P32). Nothing here
//! erases a share; that is for whoever keeps them, under the rules of P29.

mod output;
mod setup;

pub use crate::ceremony::{
    Hello, HelloState, Rejected, Sharing, round,
    source::{ReshareSource, SourceError},
    terms::reshare_protocol as protocol_name,
};
pub use output::ReshareOutput;
pub use setup::{Setup, SetupError, start};

/// One party's run of resharing.
pub type Machine = crate::ceremony::Machine<ReshareOutput>;

/// What a round of resharing led to.
pub type Advance = crate::ceremony::Advance<ReshareOutput>;

#[cfg(test)]
pub(crate) mod tests;
