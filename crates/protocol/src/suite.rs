//! The prime-order groups that the sharing layer works over: what it needs beyond
//! [`frost_core::Ciphersuite`].
//!
//! BIP-340 keys and RFC 9591 keys on secp256k1 share one group and one generation protocol; they
//! part only when they sign.

use std::sync::LazyLock;

use curve25519_dalek::EdwardsPoint;
use frost_core::{Ciphersuite, Element, Field, Group, Scalar};
use k256::elliptic_curve::{bigint::U512, ops::MulByGenerator as _, ops::Reduce};
use quorate_model::{PartyIndex, Scheme, Tag, Tagged};
use rand_core::CryptoRngCore;
use zeroize::{Zeroize as _, Zeroizing};

/// FROST(secp256k1, SHA-256): the group of BIP-340 and RFC 9591 keys on secp256k1.
pub type Secp = frost_secp256k1::Secp256K1Sha256;

/// FROST(Ed25519, SHA-512).
pub type Edwards = frost_ed25519::Ed25519Sha512;

/// The curve under a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    Secp,
    Edwards,
}

/// A scheme whose curve these protocols do not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("find the protocols of scheme {0}")]
pub struct UnknownCurve(pub Scheme);

impl Curve {
    pub(crate) fn of(scheme: Scheme) -> Result<Self, UnknownCurve> {
        match scheme {
            Scheme::Bip340 | Scheme::FrostSecp256k1 | Scheme::EcdsaSecp256k1 => Ok(Self::Secp),
            Scheme::Ed25519 => Ok(Self::Edwards),
            _ => Err(UnknownCurve(scheme)),
        }
    }

    /// The same, for what only FROST may do: no share of an ECDSA key answers as one of FROST by
    /// its scheme; what proves it says so, see [`Scheme::proven_by`].
    pub(crate) fn of_frost(scheme: Scheme) -> Result<Self, UnknownCurve> {
        if scheme.is_frost() {
            Self::of(scheme)
        } else {
            Err(UnknownCurve(scheme))
        }
    }
}

/// A ciphersuite with what secrets and speed ask for.
pub trait Suite: Ciphersuite {
    /// The length of an encoded element.
    const ELEMENT_BYTES: usize;

    /// The generator times a scalar, in constant time, from a table.
    fn mul_base(scalar: &Scalar<Self>) -> Element<Self>;

    /// A uniform scalar from 64 uniform bytes.
    fn reduce_wide(bytes: &[u8; 64]) -> Scalar<Self>;

    /// A small number as a scalar.
    fn number(number: u64) -> Scalar<Self>;

    /// The inverses of 1, 2, 3 and so on, for as many as a party index can differ from another.
    fn small_inverses() -> &'static [Scalar<Self>];

    /// Overwrites a scalar with zero.
    fn wipe(scalar: &mut Scalar<Self>);
}

impl Suite for Secp {
    const ELEMENT_BYTES: usize = 33;

    fn mul_base(scalar: &Scalar<Self>) -> Element<Self> {
        k256::ProjectivePoint::mul_by_generator(scalar)
    }

    fn reduce_wide(bytes: &[u8; 64]) -> Scalar<Self> {
        <k256::Scalar as Reduce<U512>>::reduce_bytes(bytes.into())
    }

    fn number(number: u64) -> Scalar<Self> {
        k256::Scalar::from(number)
    }

    fn small_inverses() -> &'static [Scalar<Self>] {
        static INVERSES: LazyLock<Vec<k256::Scalar>> = LazyLock::new(inverses::<Secp>);
        &INVERSES
    }

    fn wipe(scalar: &mut Scalar<Self>) {
        scalar.zeroize();
    }
}

impl Suite for Edwards {
    const ELEMENT_BYTES: usize = 32;

    fn mul_base(scalar: &Scalar<Self>) -> Element<Self> {
        EdwardsPoint::mul_base(scalar)
    }

    fn reduce_wide(bytes: &[u8; 64]) -> Scalar<Self> {
        curve25519_dalek::Scalar::from_bytes_mod_order_wide(bytes)
    }

    fn number(number: u64) -> Scalar<Self> {
        curve25519_dalek::Scalar::from(number)
    }

    fn small_inverses() -> &'static [Scalar<Self>] {
        static INVERSES: LazyLock<Vec<curve25519_dalek::Scalar>> =
            LazyLock::new(inverses::<Edwards>);
        &INVERSES
    }

    fn wipe(scalar: &mut Scalar<Self>) {
        scalar.zeroize();
    }
}

/// The scalar field of a suite.
pub(crate) type FieldOf<C> = <<C as Ciphersuite>::Group as Group>::Field;

pub(crate) fn zero<C: Suite>() -> Scalar<C> {
    FieldOf::<C>::zero()
}

pub(crate) fn one<C: Suite>() -> Scalar<C> {
    FieldOf::<C>::one()
}

pub(crate) fn scalar_of<C: Suite>(index: PartyIndex) -> Scalar<C> {
    C::number(u64::from(index.number()))
}

/// A uniform scalar.
pub(crate) fn random_scalar<C: Suite>(rng: &mut dyn CryptoRngCore) -> Scalar<C> {
    let mut wide = Zeroizing::new([0; 64]);
    rng.fill_bytes(wide.as_mut());
    C::reduce_wide(&wide)
}

/// A uniform scalar from a tagged structure: two digests with a counter, reduced from 64 bytes, so
/// that no scalar is more likely than another by more than 2^-250.
pub(crate) fn hash_to_scalar<C: Suite>(tag: Tag, fields: impl Fn(Tagged) -> Tagged) -> Scalar<C> {
    let mut wide = Zeroizing::new([0; 64]);
    for (half, number) in wide.chunks_exact_mut(32).zip(0..) {
        let digest = fields(Tagged::new(tag).number(number)).finish();
        half.copy_from_slice(digest.as_bytes());
    }
    C::reduce_wide(&wide)
}

pub(crate) fn encode_scalar<C: Suite>(scalar: &Scalar<C>) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut encoded = FieldOf::<C>::serialize(scalar);
    for (to, from) in bytes.iter_mut().zip(encoded.as_ref()) {
        *to = *from;
    }
    encoded.as_mut().zeroize();
    bytes
}

/// Reads a scalar in its one canonical encoding.
pub(crate) fn decode_scalar<C: Suite>(bytes: &[u8]) -> Option<Scalar<C>> {
    let encoded = bytes.try_into().ok()?;
    FieldOf::<C>::deserialize(&encoded).ok()
}

/// The encoding of an element; the identity has none.
pub(crate) fn encode_element<C: Suite>(element: &Element<C>) -> Option<Vec<u8>> {
    Some(C::Group::serialize(element).ok()?.as_ref().to_vec())
}

/// Reads an element of the prime-order group, not the identity, in its one canonical encoding.
///
/// The encoding is compared with the bytes because the curve library also takes others: for
/// secp256k1, a 33-byte form that leaves the parity out.
pub(crate) fn decode_element<C: Suite>(bytes: &[u8]) -> Option<Element<C>> {
    let encoded = bytes.try_into().ok()?;
    let element = C::Group::deserialize(&encoded).ok()?;
    let canonical = C::Group::serialize(&element).ok()?;
    (canonical.as_ref() == bytes).then_some(element)
}

/// A public element times a small public number, by doubling and adding.
pub(crate) fn small_multiple<C: Suite>(element: Element<C>, number: u16) -> Element<C> {
    let mut sum = C::Group::identity();
    for bit in (0..u16::BITS - number.leading_zeros()).rev() {
        sum = sum + sum;
        if (number >> bit) & 1 == 1 {
            sum = sum + element;
        }
    }
    sum
}

/// Indices above this are inverted one by one.
const INVERSES: u64 = 32;

fn inverses<C: Suite>() -> Vec<Scalar<C>> {
    (1..=INVERSES)
        .filter_map(|number| FieldOf::<C>::invert(&C::number(number)).ok())
        .collect()
}

/// The inverse of a small number that is not zero.
fn small_inverse<C: Suite>(number: u16) -> Option<Scalar<C>> {
    let known = C::small_inverses().get(usize::from(number.checked_sub(1)?));
    known
        .copied()
        .or_else(|| FieldOf::<C>::invert(&C::number(u64::from(number))).ok())
}

/// The Lagrange coefficient at zero of `index` among `all`; none if `index` is not among them or
/// one stands twice.
pub(crate) fn lagrange<C: Suite>(all: &[PartyIndex], index: PartyIndex) -> Option<Scalar<C>> {
    lagrange_at::<C>(all, index, 0)
}

/// The Lagrange coefficient of `index` among `all` at the point `at`: the product of
/// `(x - at) / (x - index)` over all others. All of it is public.
pub(crate) fn lagrange_at<C: Suite>(
    all: &[PartyIndex],
    index: PartyIndex,
    at: u16,
) -> Option<Scalar<C>> {
    let own = index.number();
    let mut coefficient = one::<C>();
    let mut negative = false;
    let mut found = false;
    for x in all.iter().map(|other| other.number()) {
        if x == own {
            if found {
                return None;
            }
            found = true;
            continue;
        }
        negative ^= (x < at) != (x < own);
        coefficient = coefficient
            * C::number(u64::from(x.abs_diff(at)))
            * small_inverse::<C>(x.abs_diff(own))?;
    }
    let signed = if negative {
        zero::<C>() - coefficient
    } else {
        coefficient
    };
    found.then_some(signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex32(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    #[test]
    fn a_point_has_one_encoding() {
        let generator = encode_element::<Secp>(&Secp::mul_base(&Secp::number(1))).unwrap();
        let mut without_parity = generator.clone();
        without_parity[0] = 5;

        assert!(decode_element::<Secp>(&generator).is_some());
        assert!(decode_element::<Secp>(&without_parity).is_none());
        assert!(decode_element::<Secp>(&generator[1..]).is_none());
        assert!(decode_element::<Secp>(&[0; 33]).is_none());
    }

    #[test]
    fn edwards_points_outside_the_prime_order_group_are_refused() {
        let identity = hex32("0100000000000000000000000000000000000000000000000000000000000000");
        let order_two = hex32("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
        let base = EdwardsPoint::mul_base(&curve25519_dalek::Scalar::from(9u64));
        let torsion = curve25519_dalek::constants::EIGHT_TORSION[1];
        let mixed = (base + torsion).compress().to_bytes();

        assert!(decode_element::<Edwards>(&identity).is_none());
        assert!(decode_element::<Edwards>(&order_two).is_none());
        assert!(decode_element::<Edwards>(&mixed).is_none());
        assert!(decode_element::<Edwards>(&base.compress().to_bytes()).is_some());
    }

    #[test]
    fn scalars_at_or_above_the_order_are_refused() {
        let secp = hex32("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
        let edwards = hex32("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");

        assert!(decode_scalar::<Secp>(&secp).is_none());
        assert!(decode_scalar::<Edwards>(&edwards).is_none());
        assert!(decode_scalar::<Secp>(&secp[1..]).is_none());
    }

    #[test]
    fn small_multiples_are_multiples() {
        let point = Secp::mul_base(&Secp::number(7));
        for number in [0u16, 1, 2, 3, 5, 32, 255, u16::MAX] {
            assert_eq!(
                small_multiple::<Secp>(point, number),
                point * Secp::number(number.into())
            );
        }
    }

    #[test]
    fn lagrange_coefficients_sum_to_one_and_need_the_index_once() {
        let all: Vec<_> = PartyIndex::first(5).collect();
        let sum = all
            .iter()
            .map(|index| lagrange::<Edwards>(&all, *index).unwrap())
            .fold(zero::<Edwards>(), |sum, next| sum + next);

        assert_eq!(sum, one::<Edwards>());
        assert!(lagrange::<Edwards>(&all, PartyIndex::new(6).unwrap()).is_none());
        assert!(lagrange::<Edwards>(&[all[0], all[0]], all[0]).is_none());
        assert!(lagrange::<Edwards>(&[all[0], all[1], all[1]], all[1]).is_none());
    }

    /// A polynomial through given values is met at every other point.
    #[test]
    fn lagrange_coefficients_interpolate_at_any_point_for_near_and_far_indices() {
        for indices in [[1, 2, 3], [2, 5, 9], [1, 33, 34], [7, 1000, u16::MAX]] {
            let all = indices.map(|index| PartyIndex::new(index).unwrap());
            let value = |x: u16| {
                let x = Secp::number(x.into());
                Secp::number(5) + Secp::number(7) * x + Secp::number(11) * x * x
            };
            for at in [0, 1, 4, 33, 500, u16::MAX] {
                let sum = all.iter().fold(zero::<Secp>(), |sum, index| {
                    let lambda = lagrange_at::<Secp>(&all, *index, at).unwrap();
                    sum + lambda * value(index.number())
                });
                assert_eq!(sum, value(at), "{indices:?} at {at}");
            }
        }
    }
}
