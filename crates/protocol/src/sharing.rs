//! Secret sharing over a prime-order group: one layer for key generation and for every change of
//! holders.
//!
//! Shamir's polynomials with Feldman's commitments (Feldman, FOCS 1987). A dealer shares a constant
//! term that is random at a key's birth and given when a share is dealt again; receivers see no
//! difference. Letters: `t` threshold, `a_k` coefficients, `A_k = a_k·G` their commitments,
//! `s_i = f(i)` shares, `Y_i = s_i·G` verifying shares.

mod proof;

pub use proof::ProofOfKnowledge;

use frost_core::{Element, Group, Scalar};
use quorate_model::{PartyIndex, Scheme};
use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use crate::suite::{
    Curve, Edwards, Secp, Suite, UnknownCurve, decode_element, decode_scalar, encode_element,
    encode_scalar, lagrange_at, random_scalar, scalar_of, small_multiple, zero,
};

/// A secret scalar. Zeroized when dropped.
pub struct SecretScalar<C: Suite>(Scalar<C>);

impl<C: Suite> SecretScalar<C> {
    pub(crate) fn new(scalar: Scalar<C>) -> Self {
        Self(scalar)
    }

    pub(crate) fn expose(&self) -> &Scalar<C> {
        &self.0
    }

    /// The encoding, for sealing.
    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(encode_scalar::<C>(&self.0))
    }

    /// Adds another secret.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0 = self.0 + other.0;
    }
}

impl<C: Suite> Drop for SecretScalar<C> {
    fn drop(&mut self) {
        C::wipe(&mut self.0);
    }
}

impl<C: Suite> std::fmt::Debug for SecretScalar<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretScalar(<redacted>)")
    }
}

/// A share of a key as it is sealed and stored: the encoding of `s_i`. Zeroized when dropped.
pub struct SigningShare(Zeroizing<[u8; 32]>);

impl SigningShare {
    /// Takes the encoding of a share.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The encoding, for sealing and signing.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for SigningShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningShare(<redacted>)")
    }
}

/// A secret polynomial f with t coefficients; f(0) is what is shared.
pub struct Polynomial<C: Suite>(Vec<SecretScalar<C>>);

impl<C: Suite> std::fmt::Debug for Polynomial<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Polynomial(<redacted>)")
    }
}

impl<C: Suite> Polynomial<C> {
    /// A random polynomial: the dealer of a new secret.
    pub fn random(threshold: u16, rng: &mut dyn CryptoRngCore) -> Self {
        let constant = SecretScalar::new(random_nonzero::<C>(rng));
        Self::with_constant(constant, threshold, rng)
    }

    /// A random polynomial with a given constant term: the dealer of a share that exists.
    pub fn with_constant(
        constant: SecretScalar<C>,
        threshold: u16,
        rng: &mut dyn CryptoRngCore,
    ) -> Self {
        let mut coefficients = Vec::with_capacity(usize::from(threshold.max(1)));
        coefficients.push(constant);
        // A zero coefficient would have no encoding, and a zero leading one a lower degree.
        coefficients.extend((1..threshold).map(|_| SecretScalar::new(random_nonzero::<C>(rng))));
        Self(coefficients)
    }

    /// The share f(i).
    pub fn evaluate(&self, index: PartyIndex) -> SecretScalar<C> {
        let x = scalar_of::<C>(index);
        let value = self
            .0
            .iter()
            .rev()
            .fold(zero::<C>(), |sum, a| sum * x + *a.expose());
        SecretScalar::new(value)
    }

    /// The commitments `A_k = a_k·G`.
    pub fn commit(&self) -> Commitment<C> {
        Commitment(self.0.iter().map(|a| C::mul_base(a.expose())).collect())
    }

    pub(crate) fn constant(&self) -> Option<&SecretScalar<C>> {
        self.0.first()
    }
}

fn random_nonzero<C: Suite>(rng: &mut dyn CryptoRngCore) -> Scalar<C> {
    loop {
        let scalar = random_scalar::<C>(rng);
        if scalar != zero::<C>() {
            return scalar;
        }
    }
}

/// Why encoded commitments are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitmentError {
    /// Not exactly as many as the threshold: a polynomial of another degree.
    #[error("read commitments of a polynomial of the wrong degree")]
    WrongDegree,
    /// Not a point, not in the group, or the identity.
    #[error("read a commitment that is no point of the group")]
    BadPoint,
}

/// Feldman's commitments to a polynomial: exactly t points, none of them the identity.
#[derive(Clone)]
pub struct Commitment<C: Suite>(Vec<Element<C>>);

impl<C: Suite> std::fmt::Debug for Commitment<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Commitment({})", self.0.len())
    }
}

impl<C: Suite> Commitment<C> {
    /// Reads the commitments to a polynomial with `threshold` coefficients.
    pub fn decode(points: &[Vec<u8>], threshold: u16) -> Result<Self, CommitmentError> {
        if points.len() != usize::from(threshold) || points.is_empty() {
            return Err(CommitmentError::WrongDegree);
        }
        points
            .iter()
            .map(|point| decode_element::<C>(point).ok_or(CommitmentError::BadPoint))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The encoded points; none if one is the identity.
    pub fn encode(&self) -> Option<Vec<Vec<u8>>> {
        self.0.iter().map(encode_element::<C>).collect()
    }

    /// The commitment to the constant term.
    pub fn constant(&self) -> Element<C> {
        self.0.first().copied().unwrap_or_else(C::Group::identity)
    }

    /// The verifying share f(i)·G, from the commitments alone.
    pub fn evaluate(&self, index: PartyIndex) -> Element<C> {
        self.0
            .iter()
            .rev()
            .fold(C::Group::identity(), |sum, point| {
                small_multiple::<C>(sum, index.number()) + *point
            })
    }

    /// Whether a share is f(i).
    pub fn fits(&self, index: PartyIndex, share: &SecretScalar<C>) -> bool {
        C::mul_base(share.expose()) == self.evaluate(index)
    }

    /// The commitments to the sum of two polynomials of one degree.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| *a + *b).collect())
    }
}

/// Why a public sharing is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SharingError {
    /// A scheme that this layer does not serve.
    #[error(transparent)]
    Scheme(#[from] UnknownCurve),
    /// More shares are needed than there are, or none.
    #[error("read a sharing of {count} shares with threshold {threshold}")]
    Shape {
        /// How many shares make the key.
        threshold: u16,
        /// How many there are.
        count: usize,
    },
    /// A verifying share or the group key is no point of the group.
    #[error("read a sharing with an invalid point")]
    BadPoint,
    /// The verifying shares do not make the group key.
    #[error("interpolate verifying shares to the group key")]
    Inconsistent,
}

/// Checks that verifying shares with the indices 1..=n lie on one polynomial of degree t-1 whose
/// constant term is the group key, so that any t holders sign for it.
pub fn check_public_sharing(
    scheme: Scheme,
    threshold: u16,
    group_key: &[u8],
    verifying_shares: &[Vec<u8>],
) -> Result<(), SharingError> {
    match Curve::of(scheme)? {
        Curve::Secp => check_sharing::<Secp>(threshold, group_key, verifying_shares),
        Curve::Edwards => check_sharing::<Edwards>(threshold, group_key, verifying_shares),
    }
}

fn check_sharing<C: Suite>(
    threshold: u16,
    group_key: &[u8],
    verifying_shares: &[Vec<u8>],
) -> Result<(), SharingError> {
    let count = verifying_shares.len();
    let needed = usize::from(threshold);
    let shape = SharingError::Shape { threshold, count };
    let holders = u16::try_from(count).map_err(|_| shape)?;
    if needed == 0 || needed > count {
        return Err(shape);
    }
    let group_key = decode_element::<C>(group_key).ok_or(SharingError::BadPoint)?;
    let shares: Vec<_> = verifying_shares
        .iter()
        .map(|share| decode_element::<C>(share).ok_or(SharingError::BadPoint))
        .collect::<Result<_, _>>()?;
    let first: Vec<_> = PartyIndex::first(threshold).collect();
    let interpolate = |at: u16| -> Result<_, SharingError> {
        let mut sum = C::Group::identity();
        for (index, share) in first.iter().zip(&shares) {
            let lambda = lagrange_at::<C>(&first, *index, at).ok_or(SharingError::Inconsistent)?;
            sum = sum + *share * lambda;
        }
        Ok(sum)
    };
    if interpolate(0)? != group_key {
        return Err(SharingError::Inconsistent);
    }
    for (at, share) in (1..=holders).zip(&shares).skip(needed) {
        if interpolate(at)? != *share {
            return Err(SharingError::Inconsistent);
        }
    }
    Ok(())
}

/// Reads a sub-share in its canonical encoding.
pub(crate) fn decode_share<C: Suite>(bytes: &[u8]) -> Option<SecretScalar<C>> {
    decode_scalar::<C>(bytes).map(SecretScalar::new)
}

#[cfg(test)]
mod tests;
