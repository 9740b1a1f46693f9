//! Children of a group key (P26): one key for millions of addresses, without a ceremony for each.
//!
//! A child is the group key plus a public offset times the generator; a share of the child is the
//! share plus the offset, because interpolation adds up to one. Nobody needs a secret to find a
//! child's public key, and whoever holds the group key and chain code finds all of them.
//!
//! On secp256k1 this is `CKDpub` of BIP-32. On Ed25519 it is the public ("soft") derivation of
//! Khovratovich and Law, *BIP32-Ed25519: Hierarchical Deterministic Keys over a Non-linear Keyspace*
//! (EuroS&P Workshops 2017), section V.D, as Cardano wallets use it. It is **not** SLIP-10, which on
//! Ed25519 knows hardened derivation only and therefore no derivation of a shared key.
//!
//! # Security
//!
//! Whoever knows a child's private key and the chain code knows the group's private key. Quorate has
//! neither in one place, and exports no private key.

use curve25519_dalek::{Scalar as EdwardsScalar, edwards::EdwardsPoint};
use frost_core::Group as _;
use hmac::{Hmac, Mac as _};
use k256::{Scalar as SecpScalar, elliptic_curve::PrimeField as _};
use quorate_model::{DerivationPath, Scheme};
use secp256k1::{PublicKey, Scalar as TweakScalar};
use sha2::Sha512;

use crate::suite::{Curve, Edwards, UnknownCurve, decode_element, encode_element};

/// Why there is no such child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DerivationError {
    /// A scheme that this layer does not serve.
    #[error(transparent)]
    Scheme(#[from] UnknownCurve),
    /// The group key is no point of the group.
    #[error("read the group key to derive from")]
    BadGroupKey,
    /// BIP-32 leaves this index out; it happens once in 2^127 indices.
    #[error("derive a child with index {0}, which has none: use the next index")]
    NoChild(u32),
}

/// What is added to the key and to every share of it; public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offset {
    Secp(SecpScalar),
    Edwards(EdwardsScalar),
}

/// A child of a group key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    key: Vec<u8>,
    chain_code: [u8; 32],
    pub(crate) offset: Offset,
}

impl Child {
    /// Derives along a path from a group key and its chain code.
    pub fn derive(
        scheme: Scheme,
        group_key: &[u8],
        chain_code: &[u8; 32],
        path: &DerivationPath,
    ) -> Result<Self, DerivationError> {
        match Curve::of(scheme)? {
            Curve::Secp => secp(group_key, *chain_code, path),
            Curve::Edwards => edwards(group_key, *chain_code, path),
        }
    }

    /// What is added to a secp256k1 key and to every share of it, big-endian; public. None for a key
    /// on another curve.
    pub fn tweak(&self) -> Option<[u8; 32]> {
        match &self.offset {
            Offset::Secp(offset) => Some(offset.to_bytes().into()),
            Offset::Edwards(_) => None,
        }
    }

    /// The public key, encoded like the group key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The chain code.
    pub fn chain_code(&self) -> &[u8; 32] {
        &self.chain_code
    }
}

/// `HMAC-SHA512(chain code, data)` in its two halves.
fn hmac(chain_code: &[u8; 32], data: &[&[u8]]) -> ([u8; 32], [u8; 32]) {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha512>::new_from_slice(chain_code).expect("any key is a key of HMAC");
    for part in data {
        mac.update(part);
    }
    let digest: [u8; 64] = mac.finalize().into_bytes().into();
    let (mut left, mut right) = ([0; 32], [0; 32]);
    let (first, second) = digest.split_at(32);
    left.copy_from_slice(first);
    right.copy_from_slice(second);
    (left, right)
}

/// BIP-32, `CKDpub`: `K_i = K_par + parse256(I_L)·G` with `I = HMAC(c_par, serP(K_par) || ser32(i))`.
fn secp(
    group_key: &[u8],
    mut chain_code: [u8; 32],
    path: &DerivationPath,
) -> Result<Child, DerivationError> {
    let encoded = group_key
        .try_into()
        .map_err(|_| DerivationError::BadGroupKey)?;
    let mut key =
        PublicKey::from_byte_array_compressed(encoded).map_err(|_| DerivationError::BadGroupKey)?;
    let mut offset = SecpScalar::ZERO;
    for step in path.steps() {
        let no_child = DerivationError::NoChild(*step);
        let (left, right) = hmac(&chain_code, &[&key.serialize(), &step.to_be_bytes()]);
        let tweak = TweakScalar::from_be_bytes(left).map_err(|_| no_child)?;
        key = key.add_exp_tweak(&tweak).map_err(|_| no_child)?;
        offset += Option::<SecpScalar>::from(SecpScalar::from_repr(left.into())).ok_or(no_child)?;
        chain_code = right;
    }
    Ok(Child {
        key: key.serialize().to_vec(),
        chain_code,
        offset: Offset::Secp(offset),
    })
}

/// `A_i = A_par + 8·Z_L·B`, with `Z_L` the first 28 bytes of `HMAC(c_par, 0x02 || A_par || i)`, and
/// the chain code from the right half of `HMAC(c_par, 0x03 || A_par || i)`; i little-endian.
fn edwards(
    group_key: &[u8],
    mut chain_code: [u8; 32],
    path: &DerivationPath,
) -> Result<Child, DerivationError> {
    let mut key = decode_element::<Edwards>(group_key).ok_or(DerivationError::BadGroupKey)?;
    let mut encoded = group_key.to_vec();
    let mut offset = EdwardsScalar::ZERO;
    for step in path.steps() {
        let index = step.to_le_bytes();
        let (left, _) = hmac(&chain_code, &[&[2], &encoded, &index]);
        let (_, right) = hmac(&chain_code, &[&[3], &encoded, &index]);
        let mut low = [0; 32];
        for (to, from) in low.iter_mut().zip(left.iter().take(28)) {
            *to = *from;
        }
        let step_offset = EdwardsScalar::from(8_u64) * EdwardsScalar::from_bytes_mod_order(low);
        key += EdwardsPoint::mul_base(&step_offset);
        if key == <Edwards as frost_core::Ciphersuite>::Group::identity() {
            return Err(DerivationError::NoChild(*step));
        }
        encoded = encode_element::<Edwards>(&key).ok_or(DerivationError::NoChild(*step))?;
        offset += step_offset;
        chain_code = right;
    }
    Ok(Child {
        key: encoded,
        chain_code,
        offset: Offset::Edwards(offset),
    })
}

#[cfg(test)]
mod tests;
