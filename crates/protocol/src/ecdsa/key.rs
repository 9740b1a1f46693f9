//! A holder's share of an ECDSA key, checked against what is public before anything computes with
//! it: the engine checks nothing.

use quorate_model::{Epoch, KeyName, PartyIndex, Scheme};
use zeroize::Zeroizing;

use crate::{
    sharing::{SecretScalar, SharingError, SigningShare, check_public_sharing},
    suite::{Secp, Suite as _, decode_element, decode_scalar, encode_element, encode_scalar, zero},
};

/// Which share of which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharePlace {
    /// The key.
    pub key: KeyName,
    /// The epoch of the sharing.
    pub epoch: Epoch,
    /// The index of the share.
    pub me: PartyIndex,
    /// How many sign.
    pub threshold: u16,
}

/// Why bytes are no share of an ECDSA key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyShareError {
    /// Fewer than 2 signers, or more shares than this protocol serves.
    #[error("read a share of an ECDSA key of {count} shares with threshold {threshold}")]
    Shape {
        /// How many sign.
        threshold: u16,
        /// How many shares there are.
        count: usize,
    },
    /// The share is zero or not below the order.
    #[error("read a share of an ECDSA key")]
    BadShare,
    /// The group key is no point, or the verifying shares do not make it.
    #[error(transparent)]
    Sharing(#[from] SharingError),
    /// The share does not make its verifying share.
    #[error("compare a share of an ECDSA key with its verifying share")]
    Mismatch,
}

/// One holder's share of an ECDSA key. Zeroized when dropped.
pub struct KeyShare {
    place: SharePlace,
    count: u16,
    share: SecretScalar<Secp>,
    group_key: [u8; 33],
}

impl std::fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyShare")
            .field("key", &self.place.key)
            .field("me", &self.place.me)
            .field("share", &"<redacted>")
            .finish_non_exhaustive()
    }
}

/// A share and its key with a tweak added to both.
pub(super) struct Tweaked {
    pub(super) share: Zeroizing<[u8; 32]>,
    pub(super) public_key: [u8; 33],
}

impl KeyShare {
    /// Takes a share, the untweaked group key, and the verifying shares of the indices from 1.
    ///
    /// # Errors
    ///
    /// Refuses a share that is not the one behind its verifying share, and verifying shares that
    /// do not make the group key.
    pub fn new(
        place: SharePlace,
        share: &SigningShare,
        group_key: &[u8],
        verifying_shares: &[Vec<u8>],
    ) -> Result<Self, KeyShareError> {
        let threshold = place.threshold;
        let count = verifying_shares.len();
        let bad_shape = KeyShareError::Shape { threshold, count };
        if threshold < 2 || count > super::MAX_HOLDERS || usize::from(threshold) > count {
            return Err(bad_shape);
        }
        // The check is about the group alone, which this scheme shares with ECDSA.
        check_public_sharing(
            Scheme::FrostSecp256k1,
            threshold,
            group_key,
            verifying_shares,
        )?;
        let share = decode_scalar::<Secp>(share.expose())
            .map(SecretScalar::new)
            .ok_or(KeyShareError::BadShare)?;
        if *share.expose() == zero::<Secp>() {
            return Err(KeyShareError::BadShare);
        }
        let made = encode_element::<Secp>(&Secp::mul_base(share.expose()));
        let at = usize::from(place.me.number()).checked_sub(1);
        let expected = at.and_then(|at| verifying_shares.get(at));
        if expected.is_none() || made.as_ref() != expected {
            return Err(KeyShareError::Mismatch);
        }
        Ok(Self {
            place,
            count: u16::try_from(count).map_err(|_| bad_shape)?,
            share,
            group_key: group_key.try_into().map_err(|_| bad_shape)?,
        })
    }

    /// Which share it is.
    pub fn place(&self) -> &SharePlace {
        &self.place
    }

    /// How many shares there are.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The untweaked group key, compressed.
    pub fn group_key(&self) -> &[u8; 33] {
        &self.group_key
    }

    /// Adds a tweak. Each share plus the tweak is a share of the key plus the tweak, because
    /// Lagrange coefficients add up to one. None if the tweak is not below the order, or leads to
    /// a key or share that does not exist.
    pub(super) fn tweaked(&self, tweak: Option<&[u8; 32]>) -> Option<Tweaked> {
        let Some(tweak) = tweak else {
            return Some(Tweaked {
                share: self.share.to_bytes(),
                public_key: self.group_key,
            });
        };
        let tweak = decode_scalar::<Secp>(tweak)?;
        let share = SecretScalar::<Secp>::new(*self.share.expose() + tweak);
        if *share.expose() == zero::<Secp>() {
            return None;
        }
        let key = decode_element::<Secp>(&self.group_key)? + Secp::mul_base(&tweak);
        Some(Tweaked {
            share: Zeroizing::new(encode_scalar::<Secp>(share.expose())),
            public_key: encode_element::<Secp>(&key)?.try_into().ok()?,
        })
    }
}

#[cfg(test)]
impl KeyShare {
    /// A share that is one more than it should be, as a cheat may use.
    pub(super) fn wrong(mut self) -> Self {
        self.share = SecretScalar::new(*self.share.expose() + Secp::number(1));
        self
    }
}
