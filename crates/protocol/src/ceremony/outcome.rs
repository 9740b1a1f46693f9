//! What a run ends with, before a protocol gives it its own name.

use frost_core::{Element, Group as _};
use quorate_model::{PartyIndex, Scheme, SessionPreimage};

use super::{party::Party, terms::receivers};
use crate::{
    abort::Abort,
    sharing::{Commitment, SecretScalar, SigningShare, check_public_sharing},
    suite::{Suite, encode_element},
};

/// A new sharing of a key. It is public, and the same for everybody who took part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// The scheme.
    pub scheme: Scheme,
    /// How many shares make the key.
    pub threshold: u16,
    /// The untweaked group key: 33 bytes compressed for secp256k1, of either parity; 32 for
    /// Ed25519.
    pub group_key: Vec<u8>,
    /// The verifying shares in index order, encoded alike.
    pub verifying_shares: Vec<Vec<u8>>,
    /// The BIP-32 chain code (P22).
    pub chain_code: [u8; 32],
    /// Everything that the session id is the hash of.
    pub session: SessionPreimage,
    /// The hash of everything that was said to everybody.
    pub transcript: quorate_model::Digest,
}

/// A sharing with this party's share of it.
#[derive(Debug)]
pub struct Outcome {
    /// None for a dealer that receives nothing.
    pub(crate) share: Option<SigningShare>,
    pub(crate) sharing: Sharing,
}

impl Outcome {
    /// The sharing that follows from the dealers' commitments. `sum` is what this party received,
    /// if it receives.
    pub(super) fn of<C: Suite>(
        party: &Party,
        commitments: &[Commitment<C>],
        sum: Option<&SecretScalar<C>>,
    ) -> Result<Self, Abort> {
        let combined = commitments
            .iter()
            .cloned()
            .reduce(|sum, next| sum.plus(&next))
            .ok_or(Abort::Invariant("a session has dealers"))?;
        if let Some(sum) = sum {
            check_own(&combined, party.me, sum)?;
        }
        Ok(Self {
            share: sum.map(|sum| SigningShare::from_bytes(*sum.to_bytes())),
            sharing: sharing(party, &combined)?,
        })
    }
}

fn check_own<C: Suite>(
    combined: &Commitment<C>,
    me: PartyIndex,
    sum: &SecretScalar<C>,
) -> Result<(), Abort> {
    if !combined.fits(me, sum) {
        return Err(Abort::Invariant(
            "the sum of shares fits the sum of commitments",
        ));
    }
    let own: Element<C> = C::mul_base(sum.expose());
    if own == C::Group::identity() || own != combined.evaluate(me) {
        return Err(Abort::Invariant("a share makes its verifying share"));
    }
    Ok(())
}

fn sharing<C: Suite>(party: &Party, combined: &Commitment<C>) -> Result<Sharing, Abort> {
    let terms = party.terms()?;
    let group_key = encode_element::<C>(&combined.constant())
        .ok_or(Abort::Invariant("the group key is not the identity"))?;
    let verifying_shares = receivers(terms.binding())
        .map(|index| encode_element::<C>(&combined.evaluate(index)))
        .collect::<Option<Vec<_>>>()
        .ok_or(Abort::Invariant("no verifying share is the identity"))?;
    check_public_sharing(
        terms.scheme,
        terms.threshold(),
        &group_key,
        &verifying_shares,
    )
    .map_err(|_| Abort::Invariant("verifying shares interpolate to the group key"))?;
    let source = party.source.as_ref().map(|source| &source.statement);
    if source.is_some_and(|source| source.group_key != group_key) {
        return Err(Abort::Invariant("a key that is reshared stays the same"));
    }
    Ok(Sharing {
        scheme: terms.scheme,
        threshold: terms.threshold(),
        group_key,
        verifying_shares,
        chain_code: party.chain_code()?,
        session: party.preimage(),
        transcript: party.transcript()?,
    })
}
