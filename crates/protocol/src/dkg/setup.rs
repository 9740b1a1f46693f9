//! What a run starts from.

use std::collections::BTreeMap;

use ed25519_dalek::{SigningKey, VerifyingKey};
use quorate_model::{PartyIndex, Scheme, SessionBinding};
use rand_core::CryptoRngCore;

use super::{Machine, protocol_name};
use crate::{
    ceremony::{
        HelloState,
        machine::{Deals, begin},
        party::{Party, are_identities},
        terms::is_well_shaped,
    },
    envelope::Envelope,
    sharing::Polynomial,
    suite::{Curve, UnknownCurve},
};

/// What a party knows before a run. All of it comes from the command, the roster and the node's own
/// records, none of it from the wire (P5).
#[derive(Clone, Debug)]
pub struct Setup {
    /// The index of this party.
    pub me: PartyIndex,
    /// The identity keys of all parties, this one included.
    pub roster_key_of: BTreeMap<PartyIndex, VerifyingKey>,
    /// How many shares make the key.
    pub threshold: u16,
    /// How many shares there are.
    pub count: u16,
    /// The scheme of the key.
    pub scheme: Scheme,
    /// What the session is bound to; its protocol is [`protocol_name`] of the scheme.
    pub binding: SessionBinding,
}

/// Why a run does not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A scheme that this protocol does not serve.
    #[error(transparent)]
    Scheme(#[from] UnknownCurve),
    /// The binding is of another protocol or version.
    #[error("start key generation for a binding of another protocol")]
    Protocol,
    /// Participants are not 2 to 32 with the indices from 1, or the threshold exceeds them.
    #[error("start key generation with a shape that cannot be")]
    Shape,
    /// Threshold and count are not those of the binding, or the binding names a source epoch.
    #[error("start key generation for a binding of another key")]
    Binding,
    /// This party is not among the participants, or its signing key is not the roster's.
    #[error("start key generation without taking part in it")]
    NotParticipant,
    /// Not exactly one usable identity key of its own for every participant.
    #[error("start key generation without the identity keys of all participants")]
    IdentityKeys,
    /// A bug on our side.
    #[error("invariant broken: {0}")]
    Invariant(&'static str),
}

impl Setup {
    fn check(&self, own_key: &VerifyingKey) -> Result<(), SetupError> {
        let protocol = protocol_name(self.scheme).ok_or(UnknownCurve(self.scheme))?;
        let binding = &self.binding;
        if binding.protocol != protocol {
            return Err(SetupError::Protocol);
        }
        if !is_well_shaped(binding) {
            return Err(SetupError::Shape);
        }
        if binding.threshold != self.threshold
            || binding.participants.len() != usize::from(self.count)
            || binding.source.is_some()
            || binding.payload_index != 0
        {
            return Err(SetupError::Binding);
        }
        if self.roster_key_of.get(&self.me) != Some(own_key) {
            return Err(SetupError::NotParticipant);
        }
        if !are_identities(&self.roster_key_of, binding) {
            return Err(SetupError::IdentityKeys);
        }
        Ok(())
    }
}

/// Begins a run: the machine, and this party's hello.
pub fn start(
    setup: Setup,
    state: HelloState,
    key: &SigningKey,
    rng: &mut dyn CryptoRngCore,
) -> Result<(Machine, Envelope), SetupError> {
    setup.check(&key.verifying_key())?;
    let threshold = setup.threshold;
    let deals = match Curve::of(setup.scheme)? {
        Curve::Secp => Deals::Secp(Some(Polynomial::random(threshold, rng))),
        Curve::Edwards => Deals::Edwards(Some(Polynomial::random(threshold, rng))),
    };
    let party = Party::new(setup.me, setup.roster_key_of, setup.binding, None);
    begin(party, deals, state, key, rng)
        .map_err(|_| SetupError::Invariant("a hello needs nothing but the binding"))
}
