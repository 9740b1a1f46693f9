//! Threshold ECDSA over secp256k1: `DKLs23`, three rounds a signature, over shares of our own key
//! generation.
//!
//! After Doerner, Kondi, Lee and shelat, *Threshold ECDSA in Three Rounds* (IEEE S&P 2024, ePrint
//! 2023/765): Protocol 3.6 for signing, Functionality 3.4 for shares of zero by committed seeds,
//! Functionality 3.5 for the two-party multiplication, which follows `DKLs19` (ePrint 2019/523,
//! Protocol 1) over the oblivious transfer extension of KOS (ePrint 2015/546, figure 10) and the
//! base transfers of Zhou et al. (ePrint 2022/1525, section 3). The cryptography is `dkls23-core`,
//! which has had no outside audit; what its use demands stands in `docs/protocol/ecdsa.md`.
//! Differences from the paper:
//! - the key and its shares are those of [`dkg`](crate::dkg): Protocol 3.1's own key generation is
//!   not used, and the set-up leaves the share as it is;
//! - every message belongs to a session that contains a fresh nonce of every party and everything
//!   that is signed (P12), and is sealed where it is secret (P13);
//! - the commitments of the set-up are echoed before any of them is opened (P15);
//! - the last message of a signer is sealed to each other signer, where the paper sends it to all;
//! - the message is bound from the first round, and nothing is made ahead: no presignatures;
//! - a tweak is added to every share, so one sharing signs for all derived keys (P26);
//! - the last phase is ours, and a signature is verified by two libraries that had no part in it,
//!   with low S.
//!
//! Set-up, once per key and epoch ([`pairing`]):
//!
//! | round | message | to | holds |
//! |---|---|---|---|
//! | 0 | hello | all | nonce, a session key per sender, where the node stands |
//! | 1 | commit | all | a commitment to the seed for every other party |
//! | 2 | echo | all | the signed headers of round 1 |
//! | 3 | open | each | seed and opening, and the base transfers in both directions, sealed |
//!
//! Signing, by exactly t holders ([`signing`]):
//!
//! | round | message | to | holds |
//! |---|---|---|---|
//! | 0 | hello | all | as above, and the id of the pairing with each other signer |
//! | 1 | phase 1 | each | commitment to the nonce point, start of the multiplication, sealed |
//! | 2 | phase 2 | each | opening, the multiplication's answer, check values, sealed |
//! | 3 | phase 3 | each | this signer's part of numerator and denominator, sealed |
//!
//! What a relay can do to an envelope is found before an engine sees anything: it is dropped, and
//! leads neither to a [`Ban`] nor to blame. A [`Ban`] comes only from what a peer has signed and
//! sealed for this place of this session.

mod dkls;
pub mod engine;
mod key;
mod outcome;
pub mod pairing;
mod session;
pub mod signing;
#[cfg(any(test, feature = "stand-in"))]
pub mod stand_in;
mod state;
mod terms;

pub use dkls::Dkls23;
pub use key::{KeyShare, KeyShareError, SharePlace};
pub use outcome::{Advance, Ban, renews_pairings};
pub use signing::EcdsaSignature;
pub use state::{MAX_STATE_BYTES, OtherKey, PairingState, StateError};

/// The engine that signs for real.
pub static DKLS23: &dyn engine::Engine = &Dkls23;

/// The engine that signs for the simulator. Insecure.
#[cfg(any(test, feature = "stand-in"))]
pub static STAND_IN: &dyn engine::Engine = &stand_in::StandIn;

/// The most holders of a key.
pub const MAX_HOLDERS: usize = 32;

/// Why a session does not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The binding is of another protocol or version.
    #[error("start an ECDSA session for a binding of another protocol")]
    Protocol,
    /// Participants that are not ascending holders of the key, or not as many as must take part.
    #[error("start an ECDSA session with other participants than it must have")]
    Participants,
    /// Key, epoch or threshold are not those of the share, or the binding names a source epoch.
    #[error("start an ECDSA session for a binding of another key")]
    Binding,
    /// This party is not among the participants, or its signing key is not the roster's.
    #[error("start an ECDSA session without taking part in it")]
    NotParticipant,
    /// Not exactly one usable identity key of its own for every participant.
    #[error("start an ECDSA session without the identity keys of all participants")]
    IdentityKeys,
    /// The pairings are of another share, or one is missing.
    #[error("start an ECDSA session without the pairings that it needs")]
    Pairings,
    /// A tweak that is not below the order, or that leads to no key.
    #[error("start an ECDSA session with a tweak that leads to no key")]
    Tweak,
    /// A bug on our side.
    #[error("invariant broken: {0}")]
    Invariant(&'static str),
}

#[cfg(test)]
mod tests;
