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
//! The [rounds](crate::ceremony) are those of every change of holders; here everybody deals and
//! receives.

mod output;
mod setup;

pub use crate::ceremony::{
    Hello, HelloState, Rejected, round, terms::birth_protocol as protocol_name,
};
pub use output::DkgOutput;
pub use setup::{Setup, SetupError, start};

/// One party's run of key generation.
pub type Machine = crate::ceremony::Machine<DkgOutput>;

/// What a round of key generation led to.
pub type Advance = crate::ceremony::Advance<DkgOutput>;

#[cfg(test)]
pub(crate) mod tests;
