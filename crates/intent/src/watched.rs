//! A key as wallets are given it: by its extended public key, without the cluster.

use std::str::FromStr as _;

use bitcoin::bip32::Xpub;
use quorate_model::{Purposes, Scheme};

use crate::decode::KeyFacts;

/// A public key with its chain code, which is all that decoding needs of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedKey {
    scheme: Scheme,
    purposes: Purposes,
    group_key: Vec<u8>,
    chain_code: [u8; 32],
}

/// A text that is no extended key of a key of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidXpub {
    /// Not what `key xpub` shows for Ed25519.
    #[error(
        "the extended key of an ed25519 key is 128 digits of hex, the public key and the chain \
         code, as `quorate key xpub` shows it"
    )]
    Ed25519,
    /// Not the form of BIP-32.
    #[error(
        "this is no extended public key of BIP-32: expected xpub... or tpub..., as `quorate key \
         xpub` shows it"
    )]
    Bip32,
    /// One of a child.
    #[error(
        "this is the extended key of a child, at depth {0}: expected that of the key itself, as \
         `quorate key xpub` shows it"
    )]
    Child(u8),
}

impl WatchedKey {
    /// Reads what [`watch_only`](crate::watch_only) writes, or for Ed25519 public key and chain
    /// code in hex. The text names neither scheme nor purposes.
    ///
    /// # Errors
    ///
    /// Says what was expected.
    pub fn read(xpub: &str, scheme: Scheme, purposes: Purposes) -> Result<Self, InvalidXpub> {
        let (group_key, chain_code) = if scheme == Scheme::Ed25519 {
            let bytes = hex::decode(xpub).map_err(|_| InvalidXpub::Ed25519)?;
            let (key, chain_code) = bytes.split_at_checked(32).ok_or(InvalidXpub::Ed25519)?;
            let chain_code = chain_code.try_into().map_err(|_| InvalidXpub::Ed25519)?;
            (key.to_vec(), chain_code)
        } else {
            let xpub = Xpub::from_str(xpub).map_err(|_| InvalidXpub::Bip32)?;
            if xpub.depth != 0 {
                return Err(InvalidXpub::Child(xpub.depth));
            }
            let key = xpub.public_key.serialize().to_vec();
            (key, xpub.chain_code.to_bytes())
        };
        Ok(Self {
            scheme,
            purposes,
            group_key,
            chain_code,
        })
    }

    /// What decoding needs to know about it.
    pub fn facts(&self) -> KeyFacts<'_> {
        KeyFacts {
            scheme: self.scheme,
            purposes: &self.purposes,
            group_key: &self.group_key,
            chain_code: &self.chain_code,
        }
    }
}
