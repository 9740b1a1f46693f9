//! A share of a key, ready to sign.

use frost_core::Scalar;
use quorate_model::{PartyIndex, Scheme};

use super::secp::{Flavor, Forms};
use crate::{
    derivation::{Child, Offset},
    sharing::{SecretScalar, SigningShare},
    suite::{
        Curve, Edwards, Secp, Suite, UnknownCurve, decode_element, decode_scalar, encode_element,
        zero,
    },
};

/// Why bytes are no share of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyShareError {
    /// A scheme that this layer does not serve.
    #[error(transparent)]
    Scheme(#[from] UnknownCurve),
    /// A threshold that no key has.
    #[error("read a key share with threshold 0")]
    Threshold,
    /// The share is zero or not below the order.
    #[error("read a key share")]
    BadShare,
    /// The group key is no point of the group, or the identity.
    #[error("read the group key of a key share")]
    BadGroupKey,
    /// The share does not make its verifying share.
    #[error("compare a key share with its verifying share")]
    Mismatch,
}

pub(super) enum Inner {
    Secp {
        share: SecretScalar<Secp>,
        forms: Forms,
    },
    Edwards {
        share: SecretScalar<Edwards>,
        group_key: [u8; 32],
    },
}

/// One party's share of a key, checked against what is public. Zeroized when dropped.
pub struct SigningKeyShare {
    scheme: Scheme,
    index: PartyIndex,
    threshold: u16,
    pub(super) inner: Inner,
}

impl std::fmt::Debug for SigningKeyShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKeyShare")
            .field("scheme", &self.scheme)
            .field("index", &self.index.number())
            .field("share", &"<redacted>")
            .finish_non_exhaustive()
    }
}

impl SigningKeyShare {
    /// Takes a share of an untweaked group key and checks that it makes its verifying share.
    pub fn new(
        scheme: Scheme,
        index: PartyIndex,
        threshold: u16,
        share: &SigningShare,
        group_key: &[u8],
        verifying_share: &[u8],
    ) -> Result<Self, KeyShareError> {
        let curve = Curve::of_frost(scheme)?;
        if threshold == 0 {
            return Err(KeyShareError::Threshold);
        }
        let inner = match curve {
            Curve::Secp => {
                let share = read::<Secp>(share, group_key, verifying_share)?;
                let flavor = Flavor::of(scheme);
                let forms = secp256k1::PublicKey::from_slice(group_key)
                    .ok()
                    .and_then(|key| Forms::new(flavor, &key))
                    .ok_or(KeyShareError::BadGroupKey)?;
                Inner::Secp { share, forms }
            }
            Curve::Edwards => {
                let share = read::<Edwards>(share, group_key, verifying_share)?;
                let group_key = group_key
                    .try_into()
                    .map_err(|_| KeyShareError::BadGroupKey)?;
                Inner::Edwards { share, group_key }
            }
        };
        Ok(Self {
            scheme,
            index,
            threshold,
            inner,
        })
    }

    /// The same party's share of a child of the key.
    ///
    /// None when the child is of another curve, or the share of it is zero.
    pub fn child(&self, child: &Child) -> Option<Self> {
        let inner = match (&self.inner, &child.offset) {
            (Inner::Secp { share, forms }, Offset::Secp(offset)) => {
                let key = secp256k1::PublicKey::from_slice(child.key()).ok()?;
                Inner::Secp {
                    share: shifted(share, offset)?,
                    forms: Forms::new(forms.flavor, &key)?,
                }
            }
            (Inner::Edwards { share, .. }, Offset::Edwards(offset)) => Inner::Edwards {
                share: shifted(share, offset)?,
                group_key: child.key().try_into().ok()?,
            },
            (Inner::Secp { .. }, Offset::Edwards(_)) | (Inner::Edwards { .. }, Offset::Secp(_)) => {
                return None;
            }
        };
        Some(Self {
            scheme: self.scheme,
            index: self.index,
            threshold: self.threshold,
            inner,
        })
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whose share it is.
    pub fn index(&self) -> PartyIndex {
        self.index
    }

    /// How many sign at least.
    pub fn threshold(&self) -> u16 {
        self.threshold
    }
}

/// A share plus a public offset; none if that is zero.
fn shifted<C: Suite>(share: &SecretScalar<C>, offset: &Scalar<C>) -> Option<SecretScalar<C>> {
    let sum = SecretScalar::<C>::new(*share.expose() + *offset);
    (*sum.expose() != zero::<C>()).then_some(sum)
}

fn read<C: Suite>(
    share: &SigningShare,
    group_key: &[u8],
    verifying_share: &[u8],
) -> Result<SecretScalar<C>, KeyShareError> {
    let share = decode_scalar::<C>(share.expose())
        .map(SecretScalar::<C>::new)
        .ok_or(KeyShareError::BadShare)?;
    if *share.expose() == zero::<C>() {
        return Err(KeyShareError::BadShare);
    }
    decode_element::<C>(group_key).ok_or(KeyShareError::BadGroupKey)?;
    let made = encode_element::<C>(&C::mul_base(share.expose()));
    if made.as_deref() != Some(verifying_share) {
        return Err(KeyShareError::Mismatch);
    }
    Ok(share)
}
