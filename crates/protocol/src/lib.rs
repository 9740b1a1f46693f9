//! The cryptographic protocols of Quorate as consuming rounds.
//!
//! Pure: no clock, no ambient randomness, no input or output. Whatever a function needs from the
//! world is an argument; the library under [`ecdsa`] alone draws its randomness from the operating
//! system by itself. Rules are cited by their numbers in `docs/protocol/rules.md`, for example (P14).
//!
//! - [`envelope`]: protocol messages between nodes, signed, and sealed where they are secret.
//! - [`rounds`]: what every round of every protocol is made of.
//! - [`sharing`]: polynomials, their commitments, and the public sharing that follows from them.
//! - [`ceremony`]: the rounds in which a secret is shared.
//! - [`dkg`]: the birth of a key.
//! - [`reshare`]: every change of its holders.
//! - [`ecdsa`]: threshold ECDSA, behind a trait.
//! - [`frost`]: nonces, signature shares and their aggregation.
//! - [`verify`]: second opinions on signatures, by code that had no part in making them.
//! - [`possession`]: the proof that every holder has its share.
//! - [`evidence`]: proofs of misbehavior that anybody can check.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "field and group arithmetic cannot overflow; the few counters here are below 2^16"
)]

pub mod abort;
pub mod ceremony;
pub mod derivation;
pub mod dkg;
pub mod ecdsa;
pub mod envelope;
pub mod evidence;
pub mod frost;
pub mod possession;
pub mod reshare;
pub mod rounds;
pub mod sharing;
pub mod suite;
pub mod verify;

pub use abort::{Abort, Fault};
