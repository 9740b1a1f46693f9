//! The engine that signs for real: `DKLs23` as `dkls23-core` computes it.
//!
//! The library's `Party` has public fields and shows itself; it lives only inside a phase here. It
//! checks neither the share nor the shape of everything that it reads, so both are done before it
//! is called. It draws its randomness from the operating system by itself and cannot be replayed.
//! Its key generation, refresh and `re_key` (a dealer) are not used.

mod pairs;
mod shapes;
mod signing;

use dkls23_core::protocols::{Abort, AbortKind, AbortReason, PartyIndex as Index};
use k256_next::Secp256k1;
use quorate_model::PartyIndex;
use rand_core::CryptoRngCore;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    engine::{
        CommittedPair, Engine, Failure, Messages, PairPlace, SecretBytes, SigningInput,
        SigningPhase,
    },
    state::encode_secret,
};
use crate::abort::Fault;

/// The scalar of the library's curve crate, which is a generation after that of frost: bytes pass
/// between the two.
type Scalar = k256_next::Scalar;
type Point = k256_next::AffinePoint;

/// `DKLs23` by `dkls23-core` 0.6.
#[derive(Clone, Copy, Debug)]
pub struct Dkls23;

impl Engine for Dkls23 {
    fn name(&self) -> &'static str {
        "dkls23-core/0.6"
    }

    fn pairing_message_limit(&self) -> usize {
        shapes::PAIR_LIMIT
    }

    fn signing_message_limit(&self, round: u8) -> usize {
        match round {
            1 => shapes::PHASE_1_LIMIT,
            2 => shapes::PHASE_2_LIMIT,
            3 => shapes::PHASE_3_LIMIT,
            _ => 0,
        }
    }

    fn begin_pair(
        &self,
        place: PairPlace,
        _: &mut dyn CryptoRngCore,
    ) -> Result<(Box<dyn CommittedPair>, Vec<u8>), Failure> {
        pairs::begin(place)
    }

    fn is_pair_end(&self, me: PartyIndex, peer: PartyIndex, secret: &SecretBytes) -> bool {
        pairs::read(me, peer, secret).is_some()
    }

    fn begin_signing(
        &self,
        input: &SigningInput<'_>,
        _: &mut dyn CryptoRngCore,
    ) -> Result<(Box<dyn SigningPhase>, Messages), Failure> {
        signing::begin(input)
    }
}

fn index_of(party: PartyIndex) -> Result<Index, Failure> {
    u8::try_from(party.number())
        .ok()
        .and_then(|number| Index::new(number).ok())
        .ok_or(Failure::Invariant("a holder's index is between 1 and 32"))
}

fn party_of(index: Index) -> Result<PartyIndex, Failure> {
    PartyIndex::new(index.as_u8().into()).ok_or(Failure::Invariant("an index is not zero"))
}

/// Encodes a message of the library.
fn encode<T: Serialize>(message: &T) -> Result<SecretBytes, Failure> {
    encode_secret(message, &[], 0)
        .map(SecretBytes::from)
        .ok_or(Failure::Invariant("a message of the library is encodable"))
}

/// Reads a message, whole, or not at all.
fn decode<T: DeserializeOwned>(bytes: &SecretBytes) -> Option<T> {
    let (message, rest) = postcard::take_from_bytes(bytes.expose()).ok()?;
    rest.is_empty().then_some(message)
}

/// What an abort of the library means. A ban is what the library says is one. The other faults of
/// a peer are found before anything of the pairing has been used, so they leak nothing.
fn failure_of(abort: &Abort) -> Failure {
    if let AbortKind::BanCounterparty(peer) = abort.kind {
        return party_of(peer).map_or_else(|failure| failure, Failure::Ban);
    }
    let blamed = |peer: Index, fault| {
        party_of(peer).map_or_else(|failure| failure, |peer| Failure::Blamed(peer, fault))
    };
    let reason = &abort.reason;
    if let AbortReason::CommitmentMismatch { counterparty } = reason {
        return blamed(*counterparty, Fault::FalseReveal);
    }
    // Both ends of the pairing are known to be the same by now, and so is all else that the library
    // binds its messages to.
    if let AbortReason::SessionBindingMismatch { counterparty } = reason {
        return blamed(*counterparty, Fault::Malformed);
    }
    if matches!(reason, AbortReason::PolynomialInconsistency) {
        return Failure::Unnamed(Fault::InvalidSignature);
    }
    Failure::Invariant("the library finds its input as it was checked before")
}

type Party = dkls23_core::protocols::Party<Secp256k1>;
