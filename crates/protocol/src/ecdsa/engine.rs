//! What threshold ECDSA needs from cryptography, as a trait of ours: a set-up between two holders
//! and a signature in three rounds of messages, bytes in and bytes out.
//!
//! An engine sees plaintexts only, after sender, place and session have been checked; it knows no
//! envelope, no relay and no network. Another engine can take the place of the one that is there
//! without moving a key, because shares are not its own.

use std::collections::BTreeMap;

use quorate_model::{Digest, PartyIndex};
use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use crate::abort::Fault;

/// Secret bytes on their way to a sealed place: a message before it is sealed, or one end of a
/// pairing. Zeroized when dropped.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for sealing.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretBytes(<redacted>)")
    }
}

/// One secret message for, or from, each of the others.
pub type Messages = BTreeMap<PartyIndex, SecretBytes>;

/// Why an engine stops. Whose fault it is decides what must follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A consistency check of a multiplication with this peer failed. Going on with the peer would
    /// give parts of the pairing away, so it is final for the pair.
    Ban(PartyIndex),
    /// This peer sent what an honest one never sends; nothing has leaked.
    Blamed(PartyIndex, Fault),
    /// Something is wrong, and nobody can be named.
    Unnamed(Fault),
    /// A bug on our side.
    Invariant(&'static str),
}

/// The place of one set-up between two holders.
#[derive(Clone, Copy, Debug)]
pub struct PairPlace {
    /// The session of the set-up.
    pub session: Digest,
    /// This holder.
    pub me: PartyIndex,
    /// The other one.
    pub peer: PartyIndex,
}

impl PairPlace {
    /// The same place as the other holder sees it.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            session: self.session,
            me: self.peer,
            peer: self.me,
        }
    }
}

/// One end of a finished set-up.
#[derive(Debug)]
pub struct PairEnd {
    /// What this end keeps.
    pub secret: SecretBytes,
    /// What both ends have in common, in public.
    pub id: Digest,
}

/// A set-up whose commitment is made.
pub trait CommittedPair: Send {
    /// Opens the commitment: what follows, and the secret message to the peer.
    fn open(
        self: Box<Self>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Box<dyn OpenedPair>, SecretBytes), Failure>;
}

/// A set-up that waits for the peer's message.
pub trait OpenedPair: Send {
    /// Ends the set-up with the peer's commitment and the message that opens it.
    fn finish(
        self: Box<Self>,
        commitment: &[u8],
        message: &SecretBytes,
    ) -> Result<PairEnd, Failure>;
}

/// What a signature is made from at one signer.
pub struct SigningInput<'a> {
    /// The session.
    pub session: Digest,
    /// This signer.
    pub me: PartyIndex,
    /// How many sign.
    pub threshold: u16,
    /// How many hold shares.
    pub count: u16,
    /// The share with the tweak added.
    pub share: &'a [u8; 32],
    /// The key with the tweak added, compressed.
    pub public_key: &'a [u8; 33],
    /// What is signed.
    pub digest: &'a [u8; 32],
    /// The own ends of the pairings with the other signers.
    pub pairs: BTreeMap<PartyIndex, &'a SecretBytes>,
}

impl std::fmt::Debug for SigningInput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningInput")
            .field("session", &self.session)
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

/// A signature as an engine makes it, not verified by anybody else yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawSignature {
    /// The x coordinate of the nonce point, modulo the order.
    pub r: [u8; 32],
    /// The other half.
    pub s: [u8; 32],
    /// The recovery id.
    pub recovery_id: u8,
}

/// What a signing phase leads to.
pub enum PhaseStep {
    /// Another round.
    Next(Box<dyn SigningPhase>, Messages),
    /// The signature.
    Done(RawSignature),
}

/// A signer between two rounds. Used by value, so no state signs twice.
pub trait SigningPhase: Send {
    /// Takes one message of each other signer.
    fn advance(
        self: Box<Self>,
        inbox: &Messages,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<PhaseStep, Failure>;
}

/// The cryptography of threshold ECDSA over secp256k1.
pub trait Engine: Send + Sync {
    /// Its name and version, which every session and every stored pairing is bound to.
    fn name(&self) -> &'static str;

    /// The longest secret message of a set-up, in bytes.
    fn pairing_message_limit(&self) -> usize;

    /// The longest secret message of a signing round from 1, in bytes.
    fn signing_message_limit(&self, round: u8) -> usize;

    /// Begins a set-up between two holders: what follows, and the public commitment.
    fn begin_pair(
        &self,
        place: PairPlace,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Box<dyn CommittedPair>, Vec<u8>), Failure>;

    /// Whether bytes are this holder's end of a pairing with this peer.
    fn is_pair_end(&self, me: PartyIndex, peer: PartyIndex, secret: &SecretBytes) -> bool;

    /// Begins a signature: what follows, and the messages of round 1. It ends in the third
    /// [`SigningPhase::advance`].
    fn begin_signing(
        &self,
        input: &SigningInput<'_>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Box<dyn SigningPhase>, Messages), Failure>;
}

/// Calls an engine so that a panic inside it ends one session and not the process.
///
/// A last resort: every message is checked for its shape before an engine computes with it, and no
/// panic is known to be reachable. The engine's state is consumed by the call, so nothing that a
/// panic left half done is ever used.
pub(super) fn contained<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call))
        .unwrap_or(Err(Failure::Invariant("the engine does not panic")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_an_engine_is_a_bug_and_names_nobody() {
        let outcome = contained::<()>(|| panic!("inside the engine"));

        assert_eq!(
            outcome,
            Err(Failure::Invariant("the engine does not panic"))
        );
    }

    #[test]
    fn secret_bytes_do_not_show() {
        let shown = format!("{:?}", SecretBytes::new(vec![7; 4]));

        assert_eq!(shown, "SecretBytes(<redacted>)");
    }
}
