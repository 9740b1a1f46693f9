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
        source::{ReshareSource, SourceError},
        terms::{deals, is_well_shaped},
    },
    envelope::Envelope,
    sharing::{Polynomial, SecretScalar, SigningShare, decode_share},
    suite::{Curve, Suite, UnknownCurve},
};

/// What a party knows before a run. All of it comes from the command, the roster, the certificate
/// of the source epoch and the node's own records, none of it from the wire (P5).
#[derive(Clone, Debug)]
pub struct Setup {
    /// The index of this party in the session.
    pub me: PartyIndex,
    /// The identity keys of all parties, this one included.
    pub roster_key_of: BTreeMap<PartyIndex, VerifyingKey>,
    /// What is reshared. Its certificate has been verified.
    pub source: ReshareSource,
    /// How many of the new shares make the key.
    pub threshold: u16,
    /// How many new shares there are.
    pub count: u16,
    /// The scheme of the key.
    pub scheme: Scheme,
    /// What the session is bound to; its protocol is [`protocol_name`] of the scheme, its parties
    /// and dealers are those of [`reshare_places`].
    ///
    /// [`reshare_places`]: quorate_model::session::reshare_places
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
    #[error("start resharing for a binding of another protocol")]
    Protocol,
    /// Receivers are not 2 to 32 with the indices from 1, the threshold exceeds them, or dealers do
    /// not stand where they must.
    #[error("start resharing with a shape that cannot be")]
    Shape,
    /// Threshold and count are not those of the binding.
    #[error("start resharing for a binding of another committee")]
    Binding,
    /// This party is not among the participants, or its signing key is not the roster's.
    #[error("start resharing without taking part in it")]
    NotParticipant,
    /// Not exactly one usable identity key of its own for every participant.
    #[error("start resharing without the identity keys of all participants")]
    IdentityKeys,
    /// The source is not what the session reshares, or the dealers do not make its key.
    #[error("start resharing from another source")]
    Source(#[from] SourceError),
    /// This party deals and has no share, or has one and does not deal.
    #[error("start resharing with a share exactly where this party deals")]
    Role,
    /// The share is not the one of the certificate: the vault holds another epoch, or is damaged.
    #[error("match the own share with its verifying share")]
    ShareMismatch,
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
        let receivers = binding.source.as_ref().map(|source| source.receivers);
        if receivers.is_none() || !is_well_shaped(binding) {
            return Err(SetupError::Shape);
        }
        if binding.threshold != self.threshold
            || receivers != Some(self.count)
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
        Ok(self.source.check(binding)?)
    }

    /// What this party deals: a polynomial of the new degree whose constant term is its part of the
    /// key, `λ_i·s_i`.
    fn deal<C: Suite>(
        &self,
        share: Option<&SigningShare>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Option<Polynomial<C>>, SetupError> {
        if share.is_some() != deals(&self.binding, self.me) {
            return Err(SetupError::Role);
        }
        let Some(share) = share else {
            return Ok(None);
        };
        let (holder, lambda) = ReshareSource::part_of::<C>(&self.binding, self.me).ok_or(
            SetupError::Invariant("every dealer of a checked source has a part"),
        )?;
        let share = decode_share::<C>(share.expose()).ok_or(SetupError::ShareMismatch)?;
        // A share that is not the certified one would make this dealer the liar of its session.
        if self.source.verifying_share::<C>(holder) != Some(C::mul_base(share.expose())) {
            return Err(SetupError::ShareMismatch);
        }
        let part = SecretScalar::new(lambda * *share.expose());
        Ok(Some(Polynomial::with_constant(part, self.threshold, rng)))
    }
}

/// Begins a run: the machine, and this party's hello. A dealer brings its share of the source
/// epoch, which stays with its holder: signing goes on with the old epoch meanwhile (P31).
pub fn start(
    setup: Setup,
    share: Option<&SigningShare>,
    state: HelloState,
    key: &SigningKey,
    rng: &mut dyn CryptoRngCore,
) -> Result<(Machine, Envelope), SetupError> {
    setup.check(&key.verifying_key())?;
    let deals = match Curve::of(setup.scheme)? {
        Curve::Secp => Deals::Secp(setup.deal(share, rng)?),
        Curve::Edwards => Deals::Edwards(setup.deal(share, rng)?),
    };
    let Setup {
        me,
        roster_key_of,
        source,
        binding,
        ..
    } = setup;
    let party = Party::new(me, roster_key_of, binding, Some(source));
    begin(party, deals, state, key, rng)
        .map_err(|_| SetupError::Invariant("a hello needs nothing but the binding"))
}
