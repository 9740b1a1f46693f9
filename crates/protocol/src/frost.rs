//! FROST signing (RFC 9591) by shares of an untweaked key (P23 to P26), bytes at the boundary.
//!
//! Shares are bit for bit those of `frost-core`; tests compare them. The road is faster: nonce
//! commitments come from generator tables and are normalized together, points that are public are
//! handled by libsecp256k1, nothing is computed twice, and a signature is checked once, by a library
//! that had no part in making it; single shares are checked only when that fails.
//!
//! Letters are those of the RFC: `d_i` and `e_i` the hiding and binding nonces, `D_i` and `E_i`
//! their commitments, `rho_i` binding factors, `R` group commitment, `c` challenge, `lambda_i`
//! interpolating values, `z_i` signature shares.

mod aggregate;
mod edwards;
mod key;
mod nonces;
mod public;
mod secp;
mod set;
mod sign;

pub use aggregate::{AggregateError, aggregate, verify_share};
pub use key::{KeyShareError, SigningKeyShare};
pub use nonces::{Hedge, NonceError, NoncePair, generate_batch};
pub use public::{PublicKeys, PublicKeysError};
pub use set::{NonceCommitments, SetError, SigningSet};
pub use sign::{SignError, sign_share};

use serde::{Deserialize, Serialize};

/// A signature share as it travels: `z_i`, big-endian for secp256k1, little-endian for Ed25519.
pub type ShareBytes = [u8; 32];

/// What is added to the key before it signs (P26).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Tweak {
    /// Nothing: the untweaked group key signs.
    #[default]
    None,
    /// BIP-341 for a key path without scripts; BIP-340 keys only.
    TaprootKeyPath,
}

#[cfg(test)]
mod tests;
