//! The public side of a key, parsed once.

use curve25519_dalek::EdwardsPoint;
use quorate_model::{DerivationPath, KeyRecord, PartyIndex, Scheme};

use super::{
    Tweak,
    secp::{Flavor, Forms},
};
use crate::{
    derivation::{Child, DerivationError, Offset},
    suite::{Curve, Edwards, UnknownCurve, decode_element},
    verify::{BadKey, Verifier},
};

/// Why public keys are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeysError {
    /// A scheme that this layer does not serve.
    #[error(transparent)]
    Scheme(#[from] UnknownCurve),
    /// More shares are needed than there are, or none.
    #[error("read the public keys of {count} shares with threshold {threshold}")]
    Shape {
        /// How many sign.
        threshold: u16,
        /// How many shares there are.
        count: usize,
    },
    /// A key is no point of the group, or the identity.
    #[error("read a public key")]
    BadPoint,
    /// There is no such child.
    #[error(transparent)]
    Derivation(#[from] DerivationError),
    /// The library that verifies does not take the group key.
    #[error(transparent)]
    Verifier(#[from] BadKey),
}

pub(super) enum Points {
    Secp {
        forms: Forms,
        verifying_shares: Vec<secp256k1::PublicKey>,
    },
    Edwards {
        group_key: [u8; 32],
        verifying_shares: Vec<EdwardsPoint>,
    },
}

/// The public side of a key: group key and verifying shares with all that signing derives from
/// them. Parsed once per key.
pub struct PublicKeys {
    scheme: Scheme,
    threshold: u16,
    pub(super) points: Points,
    group_key: Vec<u8>,
    untweaked: Verifier,
    taproot: Option<Verifier>,
}

impl std::fmt::Debug for PublicKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicKeys")
            .field("scheme", &self.scheme)
            .field("threshold", &self.threshold)
            .finish_non_exhaustive()
    }
}

impl PublicKeys {
    /// Reads an untweaked group key and the verifying shares of the indices from 1 in order.
    ///
    /// Whether they belong together is for [`check_public_sharing`] and the certificate to say.
    ///
    /// [`check_public_sharing`]: crate::sharing::check_public_sharing
    pub fn new(
        scheme: Scheme,
        threshold: u16,
        group_key: &[u8],
        verifying_shares: &[Vec<u8>],
    ) -> Result<Self, PublicKeysError> {
        let count = verifying_shares.len();
        let curve = Curve::of_frost(scheme)?;
        if threshold == 0 || usize::from(threshold) > count {
            return Err(PublicKeysError::Shape { threshold, count });
        }
        let points = match curve {
            Curve::Secp => secp_points(scheme, group_key, verifying_shares),
            Curve::Edwards => edwards_points(group_key, verifying_shares),
        }
        .ok_or(PublicKeysError::BadPoint)?;
        Self::of_points(scheme, threshold, group_key, points)
    }

    fn of_points(
        scheme: Scheme,
        threshold: u16,
        group_key: &[u8],
        points: Points,
    ) -> Result<Self, PublicKeysError> {
        let untweaked = Verifier::new(scheme, group_key, Tweak::None)?;
        let taproot = if scheme == Scheme::Bip340 {
            Some(Verifier::new(scheme, group_key, Tweak::TaprootKeyPath)?)
        } else {
            None
        };
        Ok(Self {
            scheme,
            threshold,
            points,
            group_key: group_key.to_vec(),
            untweaked,
            taproot,
        })
    }

    /// The public side of a child of the key (P26).
    pub fn child(
        &self,
        chain_code: &[u8; 32],
        path: &DerivationPath,
    ) -> Result<Self, PublicKeysError> {
        let child = Child::derive(self.scheme, &self.group_key, chain_code, path)?;
        let points = match (&self.points, &child.offset) {
            (
                Points::Secp {
                    forms,
                    verifying_shares,
                },
                Offset::Secp(offset),
            ) => shifted_secp(forms.flavor, verifying_shares, child.key(), offset),
            (
                Points::Edwards {
                    verifying_shares, ..
                },
                Offset::Edwards(offset),
            ) => {
                let offset = EdwardsPoint::mul_base(offset);
                let shifted = verifying_shares.iter().map(|share| share + offset);
                child
                    .key()
                    .try_into()
                    .ok()
                    .map(|group_key| Points::Edwards {
                        group_key,
                        verifying_shares: shifted.collect(),
                    })
            }
            (Points::Secp { .. }, Offset::Edwards(_))
            | (Points::Edwards { .. }, Offset::Secp(_)) => None,
        };
        let points = points.ok_or(PublicKeysError::BadPoint)?;
        Self::of_points(self.scheme, self.threshold, child.key(), points)
    }

    /// The untweaked key, encoded as in key records.
    pub fn group_key(&self) -> &[u8] {
        &self.group_key
    }

    /// Reads the public keys of a certified key: those that its shares are proven under, which for
    /// an ECDSA key are of FROST(secp256k1).
    pub fn of_record(record: &KeyRecord) -> Result<Self, PublicKeysError> {
        let KeyRecord {
            scheme,
            threshold,
            group_key,
            verifying_shares,
            ..
        } = record;
        Self::new(scheme.proven_by(), *threshold, group_key, verifying_shares)
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// How many sign at least.
    pub fn threshold(&self) -> u16 {
        self.threshold
    }

    /// How many shares there are.
    pub fn count(&self) -> usize {
        match &self.points {
            Points::Secp {
                verifying_shares, ..
            } => verifying_shares.len(),
            Points::Edwards {
                verifying_shares, ..
            } => verifying_shares.len(),
        }
    }

    /// The verifier of finished signatures; none if keys of this scheme have no such tweak.
    pub fn verifier(&self, tweak: Tweak) -> Option<&Verifier> {
        match tweak {
            Tweak::None => Some(&self.untweaked),
            Tweak::TaprootKeyPath => self.taproot.as_ref(),
        }
    }
}

/// The item of an index in a list that starts with index 1.
pub(super) fn at<T>(items: &[T], index: PartyIndex) -> Option<&T> {
    items.get(usize::from(index.number()).checked_sub(1)?)
}

fn secp_points(scheme: Scheme, group_key: &[u8], shares: &[Vec<u8>]) -> Option<Points> {
    let read = |bytes: &[u8]| {
        secp256k1::PublicKey::from_byte_array_compressed(bytes.try_into().ok()?).ok()
    };
    let forms = Forms::new(Flavor::of(scheme), &read(group_key)?)?;
    let verifying_shares = shares
        .iter()
        .map(|share| read(share))
        .collect::<Option<_>>()?;
    Some(Points::Secp {
        forms,
        verifying_shares,
    })
}

fn shifted_secp(
    flavor: Flavor,
    shares: &[secp256k1::PublicKey],
    key: &[u8],
    offset: &k256::Scalar,
) -> Option<Points> {
    let key = secp256k1::PublicKey::from_slice(key).ok()?;
    let offset = secp256k1::Scalar::from_be_bytes(offset.to_bytes().into()).ok()?;
    let shifted = shares.iter().map(|share| share.add_exp_tweak(&offset).ok());
    Some(Points::Secp {
        forms: Forms::new(flavor, &key)?,
        verifying_shares: shifted.collect::<Option<_>>()?,
    })
}

fn edwards_points(group_key: &[u8], shares: &[Vec<u8>]) -> Option<Points> {
    decode_element::<Edwards>(group_key)?;
    let verifying_shares = shares
        .iter()
        .map(|share| decode_element::<Edwards>(share))
        .collect::<Option<_>>()?;
    Some(Points::Edwards {
        group_key: group_key.try_into().ok()?,
        verifying_shares,
    })
}
