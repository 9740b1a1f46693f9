//! Who signs one message with which nonce commitments.

use curve25519_dalek::{EdwardsPoint, edwards::CompressedEdwardsY};
use quorate_model::{
    PartyIndex, Scheme,
    share::{Commitments, SetOfSigners},
};

use crate::suite::{Curve, UnknownCurve};

/// The most signers of one message.
const MAX_SIGNERS: usize = 32;

/// Why nonce commitments or a signing set are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// A scheme that this layer does not serve.
    #[error(transparent)]
    Scheme(#[from] UnknownCurve),
    /// Not a point of the group in its canonical encoding, or the identity.
    #[error("read a nonce commitment")]
    BadPoint,
    /// Nobody signs, or more than can.
    #[error("read a signing set of {0}")]
    Size(usize),
    /// Not strictly ascending by index: unordered, or somebody stands twice.
    #[error("read a signing set that is not in order")]
    Unordered,
    /// Commitments on different curves.
    #[error("read a signing set of several schemes")]
    MixedCurves,
}

#[derive(Clone)]
pub(super) enum Points {
    Secp {
        encoded: [[u8; 33]; 2],
        hiding: secp256k1::PublicKey,
        binding: secp256k1::PublicKey,
    },
    Edwards {
        encoded: [[u8; 32]; 2],
        hiding: EdwardsPoint,
        binding: EdwardsPoint,
    },
}

/// The commitments (D, E) to one nonce pair: points, neither of them the identity. Parsed once.
///
/// On Ed25519, those that are read by themselves are in the prime-order group. Those that are read
/// with a whole set may have a part of small order, and [`sign_share`] checks the sum of all in
/// their place: one multiplication for a set, where each point would need one of its own. Nothing
/// that a signer computes depends on such a part but through hashes of the encoded points, and a
/// sum that has one makes no signature.
///
/// [`sign_share`]: super::sign_share
#[derive(Clone)]
pub struct NonceCommitments(pub(super) Points);

impl PartialEq for NonceCommitments {
    fn eq(&self, other: &Self) -> bool {
        self.hiding() == other.hiding() && self.binding() == other.binding()
    }
}

impl Eq for NonceCommitments {}

impl std::fmt::Debug for NonceCommitments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NonceCommitments")
    }
}

impl NonceCommitments {
    /// Reads and checks encoded commitments.
    pub fn from_bytes(scheme: Scheme, hiding: &[u8], binding: &[u8]) -> Result<Self, SetError> {
        let read = Self::read(scheme, hiding, binding)?;
        match &read.0 {
            Points::Edwards {
                hiding, binding, ..
            } if !hiding.is_torsion_free() || !binding.is_torsion_free() => Err(SetError::BadPoint),
            Points::Edwards { .. } | Points::Secp { .. } => Ok(read),
        }
    }

    fn read(scheme: Scheme, hiding: &[u8], binding: &[u8]) -> Result<Self, SetError> {
        Ok(Self(match Curve::of_frost(scheme)? {
            Curve::Secp => {
                let (first, hiding) = secp_point(hiding)?;
                let (second, binding) = secp_point(binding)?;
                Points::Secp {
                    encoded: [first, second],
                    hiding,
                    binding,
                }
            }
            Curve::Edwards => {
                let (first, hiding) = edwards_point(hiding)?;
                let (second, binding) = edwards_point(binding)?;
                Points::Edwards {
                    encoded: [first, second],
                    hiding,
                    binding,
                }
            }
        }))
    }

    /// Reads and checks commitments as they were received.
    pub fn from_received(scheme: Scheme, received: &Commitments) -> Result<Self, SetError> {
        Self::from_bytes(scheme, &received.hiding, &received.binding)
    }

    /// The form in which commitments travel.
    pub fn to_received(&self) -> Commitments {
        Commitments {
            hiding: self.hiding().to_vec(),
            binding: self.binding().to_vec(),
        }
    }

    /// D, encoded.
    pub fn hiding(&self) -> &[u8] {
        match &self.0 {
            Points::Secp {
                encoded: [hiding, _],
                ..
            } => hiding,
            Points::Edwards {
                encoded: [hiding, _],
                ..
            } => hiding,
        }
    }

    /// E, encoded.
    pub fn binding(&self) -> &[u8] {
        match &self.0 {
            Points::Secp {
                encoded: [_, binding],
                ..
            } => binding,
            Points::Edwards {
                encoded: [_, binding],
                ..
            } => binding,
        }
    }

    fn curve(&self) -> Curve {
        match &self.0 {
            Points::Secp { .. } => Curve::Secp,
            Points::Edwards { .. } => Curve::Edwards,
        }
    }
}

fn secp_point(bytes: &[u8]) -> Result<([u8; 33], secp256k1::PublicKey), SetError> {
    let encoded: [u8; 33] = bytes.try_into().map_err(|_| SetError::BadPoint)?;
    let point = secp256k1::PublicKey::from_byte_array_compressed(encoded)
        .map_err(|_| SetError::BadPoint)?;
    Ok((encoded, point))
}

/// Reads a point that is not of small order; it may have a part that is.
fn edwards_point(bytes: &[u8]) -> Result<([u8; 32], EdwardsPoint), SetError> {
    let encoded: [u8; 32] = bytes.try_into().map_err(|_| SetError::BadPoint)?;
    let point = CompressedEdwardsY(encoded)
        .decompress()
        .ok_or(SetError::BadPoint)?;
    if point.is_small_order() || !is_reduced(&encoded) {
        return Err(SetError::BadPoint);
    }
    Ok((encoded, point))
}

/// Whether the y coordinate is below the prime 2^255 - 19. Together with a point that is not of
/// small order that makes the encoding the only one of its point.
fn is_reduced(encoded: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = encoded;
    *first < 0xed || *last & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

/// Who signs one message: at least one signer, strictly ascending by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningSet {
    entries: Vec<(PartyIndex, NonceCommitments)>,
}

impl SigningSet {
    /// Checks the order and that all commitments are on one curve.
    pub fn new(entries: Vec<(PartyIndex, NonceCommitments)>) -> Result<Self, SetError> {
        if entries.is_empty() || entries.len() > MAX_SIGNERS {
            return Err(SetError::Size(entries.len()));
        }
        if !entries.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(SetError::Unordered);
        }
        let mut curves = entries.iter().map(|(_, commitments)| commitments.curve());
        let first = curves.next();
        if curves.any(|curve| Some(curve) != first) {
            return Err(SetError::MixedCurves);
        }
        Ok(Self { entries })
    }

    /// Reads and checks a set as it was received.
    pub fn from_received(scheme: Scheme, set: &SetOfSigners) -> Result<Self, SetError> {
        if set.entries.len() > MAX_SIGNERS {
            return Err(SetError::Size(set.entries.len()));
        }
        let entries = set
            .entries
            .iter()
            .map(|entry| {
                let Commitments { hiding, binding } = &entry.commitments;
                Ok((
                    entry.signer,
                    NonceCommitments::read(scheme, hiding, binding)?,
                ))
            })
            .collect::<Result<_, SetError>>()?;
        Self::new(entries)
    }

    /// The signers with their commitments, in order.
    pub fn entries(&self) -> &[(PartyIndex, NonceCommitments)] {
        &self.entries
    }

    /// The indices in order.
    pub fn signers(&self) -> impl Iterator<Item = PartyIndex> + '_ {
        self.entries.iter().map(|(signer, _)| *signer)
    }

    /// How many sign.
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The commitments of a signer.
    pub fn commitments(&self, signer: PartyIndex) -> Option<&NonceCommitments> {
        self.entries
            .iter()
            .find(|(index, _)| *index == signer)
            .map(|(_, found)| found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_encoding_of_an_edwards_point_is_read() {
        let mut read = 0;
        // All encodings whose y coordinate is not below the prime, with both signs.
        for first in 0xed..=0xff {
            for last in [0x7f, 0xff] {
                let mut encoded = [0xff; 32];
                encoded[0] = first;
                encoded[31] = last;
                assert!(!is_reduced(&encoded));
                assert_eq!(edwards_point(&encoded).map(|_| ()), Err(SetError::BadPoint));
                encoded[31] = last - 1;
                assert!(is_reduced(&encoded));
                read += u32::from(edwards_point(&encoded).is_ok());
            }
        }
        assert!(read > 0);
    }

    #[test]
    fn the_largest_coordinate_below_the_prime_is_reduced() {
        let mut encoded = [0xff; 32];
        encoded[0] = 0xec;
        encoded[31] = 0x7f;

        assert!(is_reduced(&encoded));
    }
}
