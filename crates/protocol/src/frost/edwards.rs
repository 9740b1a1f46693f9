//! FROST(Ed25519, SHA-512) of RFC 9591.

use curve25519_dalek::{
    EdwardsPoint, Scalar,
    traits::{Identity as _, IsIdentity as _, VartimeMultiscalarMul as _},
};
use frost_core::Ciphersuite as _;
use quorate_model::PartyIndex;
use zeroize::Zeroizing;

use super::{
    ShareBytes,
    set::{NonceCommitments, Points, SigningSet},
};
use crate::{
    sharing::SecretScalar,
    suite::{Edwards, lagrange},
};

/// What the signing set and the message determine: the same for all signers.
pub(super) struct Round {
    /// The indices of the signers, in order.
    signers: Vec<PartyIndex>,
    /// The binding factor of each signer, in order.
    factors: Vec<Scalar>,
    /// R.
    sum: EdwardsPoint,
    /// R, encoded.
    commitment: [u8; 32],
    challenge: Scalar,
}

impl Round {
    /// Computes binding factors, R and the challenge (RFC 9591 sections 4.4 to 4.6).
    ///
    /// None if R is the identity, or the set is on another curve.
    pub(super) fn new(key: &[u8; 32], set: &SigningSet, message: &[u8]) -> Option<Self> {
        let signers: Vec<_> = set.signers().collect();
        let factors = binding_factors(key, set, message);
        let mut hidings = EdwardsPoint::identity();
        let mut bindings = Vec::with_capacity(signers.len());
        for (_, commitments) in set.entries() {
            let (hiding, binding) = edwards_points(commitments)?;
            hidings += hiding;
            bindings.push(*binding);
        }
        let sum = hidings + EdwardsPoint::vartime_multiscalar_mul(&factors, &bindings);
        if sum.is_identity() {
            return None;
        }
        let commitment = sum.compress().to_bytes();
        let challenge = Edwards::H2(&[&commitment, key.as_slice(), message].concat());
        Some(Self {
            signers,
            factors,
            sum,
            commitment,
            challenge,
        })
    }

    /// Whether R is in the prime-order group, as it must be before anybody signs.
    pub(super) fn is_in_group(&self) -> bool {
        self.sum.is_torsion_free()
    }

    fn factor_of(&self, signer: PartyIndex) -> Option<&Scalar> {
        let mut pairs = self.signers.iter().zip(&self.factors);
        pairs
            .find(|(index, _)| **index == signer)
            .map(|(_, factor)| factor)
    }
}

/// `rho_i = H1(key, H4(message), H5(commitments), i)`.
fn binding_factors(key: &[u8; 32], set: &SigningSet, message: &[u8]) -> Vec<Scalar> {
    let mut encoded = Vec::with_capacity(96 * set.len());
    for (signer, commitments) in set.entries() {
        encoded.extend_from_slice(&encode_index(*signer));
        encoded.extend_from_slice(commitments.hiding());
        encoded.extend_from_slice(commitments.binding());
    }
    let mut input = Vec::with_capacity(32 + 64 + 64 + 32);
    input.extend_from_slice(key);
    input.extend_from_slice(&Edwards::H4(message));
    input.extend_from_slice(&Edwards::H5(&encoded));
    let prefix = input.len();
    set.signers()
        .map(|signer| {
            input.truncate(prefix);
            input.extend_from_slice(&encode_index(signer));
            Edwards::H1(&input)
        })
        .collect()
}

fn encode_index(index: PartyIndex) -> [u8; 32] {
    Scalar::from(u64::from(index.number())).to_bytes()
}

fn edwards_points(commitments: &NonceCommitments) -> Option<(&EdwardsPoint, &EdwardsPoint)> {
    match &commitments.0 {
        Points::Edwards {
            hiding, binding, ..
        } => Some((hiding, binding)),
        Points::Secp { .. } => None,
    }
}

/// `z_i = d_i + e_i·rho_i + lambda_i·s_i·c`.
pub(super) fn share(
    round: &Round,
    signer: PartyIndex,
    (hiding, binding): (&SecretScalar<Edwards>, &SecretScalar<Edwards>),
    share: &SecretScalar<Edwards>,
) -> Option<ShareBytes> {
    let lambda = lagrange::<Edwards>(&round.signers, signer)?;
    let factor = round.factor_of(signer)?;
    let nonce = Zeroizing::new(hiding.expose() + binding.expose() * factor);
    let z = *nonce + share.expose() * (lambda * round.challenge);
    Some(z.to_bytes())
}

/// Checks `z_i·G = D_i + rho_i·E_i + lambda_i·c·Y_i`.
pub(super) fn share_holds(
    round: &Round,
    (signer, commitments): (PartyIndex, &NonceCommitments),
    verifying_share: &EdwardsPoint,
    share: &ShareBytes,
) -> bool {
    let check = || {
        let z = read_share(share)?;
        let (hiding, binding) = edwards_points(commitments)?;
        let factor = round.factor_of(signer)?;
        let lambda = lagrange::<Edwards>(&round.signers, signer)?;
        let expected = hiding
            + EdwardsPoint::vartime_multiscalar_mul(
                [*factor, lambda * round.challenge],
                [*binding, *verifying_share],
            );
        Some(EdwardsPoint::mul_base(&z) == expected)
    };
    check().unwrap_or(false)
}

/// Reads a share; none if it is not below the order.
pub(super) fn read_share(share: &ShareBytes) -> Option<Scalar> {
    Option::from(Scalar::from_canonical_bytes(*share))
}

/// The signature (R, z).
pub(super) fn signature(round: &Round, shares: &[Scalar]) -> Vec<u8> {
    let z: Scalar = shares.iter().sum();
    [round.commitment, z.to_bytes()].concat()
}
