//! Nonce pairs: made ahead, used once (P23, P24).
//!
//! A pair is not `Clone`, has no encoding, and signing takes it by value:
//!
//! ```compile_fail,E0382
//! use quorate_protocol::frost::{NoncePair, SigningKeyShare, SigningSet, Tweak, sign_share};
//!
//! fn twice(key: &SigningKeyShare, nonces: NoncePair, set: &SigningSet, other: &SigningSet) {
//!     let _ = sign_share(key, nonces, set, b"message", Tweak::None);
//!     let _ = sign_share(key, nonces, other, b"message", Tweak::None);
//! }
//! ```
//!
//! Once is fine:
//!
//! ```
//! use quorate_protocol::frost::{NoncePair, SigningKeyShare, SigningSet, Tweak, sign_share};
//!
//! fn once(key: &SigningKeyShare, nonces: NoncePair, set: &SigningSet) {
//!     let _ = sign_share(key, nonces, set, b"message", Tweak::None);
//! }
//! ```

use curve25519_dalek::EdwardsPoint;
use k256::{
    AffinePoint, ProjectivePoint,
    elliptic_curve::{BatchNormalize, sec1::ToEncodedPoint as _},
};
use quorate_model::{Scheme, Tag};
use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use super::set::{NonceCommitments, Points};
use crate::{
    sharing::SecretScalar,
    suite::{Curve, Edwards, Secp, Suite, UnknownCurve, hash_to_scalar, zero},
};

/// Why no nonces are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NonceError {
    /// A scheme that this layer does not serve.
    #[error(transparent)]
    Scheme(#[from] UnknownCurve),
    /// A bug on our side.
    #[error("invariant broken: {0}")]
    Invariant(&'static str),
}

/// A secret of the node that hedges randomness: nonces stay secret as long as either the system's
/// randomness or this is. Zeroized when dropped.
pub struct Hedge(Zeroizing<[u8; 32]>);

impl Hedge {
    /// Takes 32 secret bytes that serve nothing else.
    pub fn new(secret: [u8; 32]) -> Self {
        Self(Zeroizing::new(secret))
    }
}

impl std::fmt::Debug for Hedge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hedge(<redacted>)")
    }
}

pub(super) enum Scalars {
    Secp {
        hiding: SecretScalar<Secp>,
        binding: SecretScalar<Secp>,
    },
    Edwards {
        hiding: SecretScalar<Edwards>,
        binding: SecretScalar<Edwards>,
    },
}

/// The nonces (d, e) of one signature share. Zeroized when dropped.
///
/// # Security
///
/// The secrets stay where they were put until they are dropped: a pair passes through lists that
/// are moved and freed, and only a pointer may be left in them.
pub struct NoncePair {
    pub(super) scalars: Box<Scalars>,
    pub(super) commitments: NonceCommitments,
}

impl std::fmt::Debug for NoncePair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NoncePair(<redacted>)")
    }
}

impl NoncePair {
    /// Makes one pair. Several are cheaper by [`generate_batch`].
    pub fn generate(
        scheme: Scheme,
        hedge: &Hedge,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Self, NonceCommitments), NonceError> {
        match Curve::of_frost(scheme)? {
            Curve::Secp => {
                let (scalars, points) = secp_nonces(scheme, hedge, rng);
                let [first, second] =
                    <ProjectivePoint as BatchNormalize<_>>::batch_normalize(&points);
                secp_pair(scalars, &first, &second)
            }
            Curve::Edwards => Ok(edwards_pair(scheme, hedge, rng)),
        }
    }

    /// The public half.
    pub fn commitments(&self) -> &NonceCommitments {
        &self.commitments
    }
}

/// Makes many pairs; for secp256k1 all points are normalized together.
pub fn generate_batch(
    scheme: Scheme,
    count: usize,
    hedge: &Hedge,
    rng: &mut dyn CryptoRngCore,
) -> Result<Vec<(NoncePair, NonceCommitments)>, NonceError> {
    match Curve::of_frost(scheme)? {
        Curve::Secp => secp_batch(scheme, count, hedge, rng),
        Curve::Edwards => Ok((0..count)
            .map(|_| edwards_pair(scheme, hedge, rng))
            .collect()),
    }
}

/// Draws one nonce: H(scheme, 32 fresh random bytes, node secret), reduced from 64 bytes.
///
/// RFC 9591 section 4.1 hashes randomness with the signing share; here the node secret stands in
/// for it, because pairs are made before it is known which key they serve.
fn draw<C: Suite>(scheme: Scheme, hedge: &Hedge, rng: &mut dyn CryptoRngCore) -> SecretScalar<C> {
    loop {
        let mut random = Zeroizing::new([0; 32]);
        rng.fill_bytes(random.as_mut());
        let nonce = hash_to_scalar::<C>(Tag::Hedge, |tagged| {
            tagged
                .text(scheme.as_str())
                .bytes(random.as_ref())
                .bytes(hedge.0.as_ref())
        });
        if nonce != zero::<C>() {
            return SecretScalar::new(nonce);
        }
    }
}

fn secp_batch(
    scheme: Scheme,
    count: usize,
    hedge: &Hedge,
    rng: &mut dyn CryptoRngCore,
) -> Result<Vec<(NoncePair, NonceCommitments)>, NonceError> {
    // The curve library panics on an empty batch.
    if count == 0 {
        return Ok(Vec::new());
    }
    let nonces: Vec<_> = (0..count)
        .map(|_| secp_nonces(scheme, hedge, rng))
        .collect();
    let points: Vec<_> = nonces.iter().flat_map(|(_, points)| *points).collect();
    let affine: Vec<AffinePoint> =
        <ProjectivePoint as BatchNormalize<_>>::batch_normalize(points.as_slice());
    nonces
        .into_iter()
        .zip(affine.chunks_exact(2))
        .map(|((scalars, _), points)| match points {
            [first, second] => secp_pair(scalars, first, second),
            _ => Err(NonceError::Invariant("chunks of two have two items")),
        })
        .collect()
}

/// Draws a pair of nonces, with their points.
fn secp_nonces(
    scheme: Scheme,
    hedge: &Hedge,
    rng: &mut dyn CryptoRngCore,
) -> (Box<Scalars>, [ProjectivePoint; 2]) {
    let hiding = draw::<Secp>(scheme, hedge, rng);
    let binding = draw::<Secp>(scheme, hedge, rng);
    let points = [&hiding, &binding].map(|d| Secp::mul_base(d.expose()));
    (Box::new(Scalars::Secp { hiding, binding }), points)
}

fn secp_pair(
    scalars: Box<Scalars>,
    first: &AffinePoint,
    second: &AffinePoint,
) -> Result<(NoncePair, NonceCommitments), NonceError> {
    let point = |point: &AffinePoint| {
        let encoded = point.to_encoded_point(false);
        secp256k1::PublicKey::from_slice(encoded.as_bytes())
            .map_err(|_| NonceError::Invariant("a nonce that is not zero has a commitment"))
    };
    let (first, second) = (point(first)?, point(second)?);
    let points = Points::Secp {
        encoded: [first.serialize(), second.serialize()],
        hiding: first,
        binding: second,
    };
    Ok(pair(scalars, points))
}

fn edwards_pair(
    scheme: Scheme,
    hedge: &Hedge,
    rng: &mut dyn CryptoRngCore,
) -> (NoncePair, NonceCommitments) {
    let hiding = draw::<Edwards>(scheme, hedge, rng);
    let binding = draw::<Edwards>(scheme, hedge, rng);
    let [first, second] = [&hiding, &binding].map(|d| EdwardsPoint::mul_base(d.expose()));
    let encoded = [first, second].map(|point| point.compress().to_bytes());
    let points = Points::Edwards {
        encoded,
        hiding: first,
        binding: second,
    };
    pair(Box::new(Scalars::Edwards { hiding, binding }), points)
}

fn pair(scalars: Box<Scalars>, points: Points) -> (NoncePair, NonceCommitments) {
    let commitments = NonceCommitments(points);
    (
        NoncePair {
            scalars,
            commitments: commitments.clone(),
        },
        commitments,
    )
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn a_pair_that_is_moved_leaves_its_secrets_where_they_are() {
        for scheme in [Scheme::Bip340, Scheme::Ed25519] {
            let mut rng = ChaCha20Rng::seed_from_u64(3);
            let made = generate_batch(scheme, 5, &Hedge::new([1; 32]), &mut rng).unwrap();
            let place = |pair: &NoncePair| std::ptr::from_ref::<Scalars>(&pair.scalars);
            let places: Vec<_> = made.iter().map(|(pair, _)| place(pair)).collect();

            let moved: Vec<_> = made.into_iter().map(|(pair, _)| Some(pair)).collect();
            let again: Vec<_> = moved.into_iter().flatten().collect();

            assert_eq!(again.iter().map(place).collect::<Vec<_>>(), places);
        }
    }
}
