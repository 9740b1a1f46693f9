//! Sealing at rest: nothing secret is written to a disk but through here.
//!
//! ```text
//! passphrase ─ Argon2id ─┐
//! key file ──────────────┴─► KEK ─► table key ─► data key per (key, epoch) ─► vault record
//!                             └────► identity file
//! ```
//!
//! Every sealed thing is XChaCha20-Poly1305 with a random nonce and with associated data that says
//! what it is: node, kind, key, epoch and format. A sealed thing in the place of another does not
//! open.

mod identity;
mod kek;
mod key_file;

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use quorate_model::{Epoch, KeyName, NodeId};
use rand_core::CryptoRngCore;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use identity::{HedgeSecret, IdentityFileError, NodeIdentity, TlsKey};
pub use kek::{
    ArgonCost, Kek, KekError, KekSource, LocalKek, Passphrase, create_kek, node_of, open_kek,
};
pub use key_file::{KeyFile, KeyFileError};

const KEY: usize = 32;
const NONCE: usize = 24;
const TAG: usize = 16;

/// How many bytes sealing adds.
pub(crate) const SEAL_OVERHEAD: usize = NONCE + TAG;

/// The version of the sealed forms; it is part of the associated data.
const FORMAT: u8 = 1;

/// What a sealed thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealedKind {
    /// The value that tells whether a KEK is the right one.
    KekCheck,
    /// The key that wraps the data keys of a keyring.
    TableKey,
    /// The key of one vault record.
    DataKey,
    /// A vault record.
    VaultRecord,
    /// The node's identity.
    Identity,
    /// The pairings of a share.
    Pairings,
}

impl SealedKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::KekCheck => "kek-check",
            Self::TableKey => "table-key",
            Self::DataKey => "data-key",
            Self::VaultRecord => "vault-record",
            Self::Identity => "identity",
            Self::Pairings => "pairings",
        }
    }
}

/// What a sealed thing is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Associated<'a> {
    /// What it is.
    pub kind: SealedKind,
    /// The node that sealed it.
    pub node: &'a NodeId,
    /// The key and epoch that it belongs to, if it does.
    pub share: Option<(&'a KeyName, Epoch)>,
    /// What lies beside it in clear.
    pub public: &'a [u8],
}

impl Associated<'_> {
    /// Fields in a fixed order, each after its length, so that no two differ only in where one
    /// field ends (P2).
    fn to_bytes(self) -> Vec<u8> {
        let epoch = self.share.map_or(0, |(_, epoch)| epoch.0).to_be_bytes();
        let mut bytes = Vec::new();
        for field in [
            b"quorate/v1/sealed".as_slice(),
            &[FORMAT],
            self.kind.as_str().as_bytes(),
            self.node.as_str().as_bytes(),
            self.share.map_or("", |(key, _)| key.as_str()).as_bytes(),
            &epoch,
            self.public,
        ] {
            bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }
}

/// A sealed thing that does not open: another key, other associated data, or changed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed bytes do not open")]
pub struct BadSeal;

/// A 256-bit key that seals.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SealKey([u8; KEY]);

impl SealKey {
    /// A fresh key.
    pub fn generate(rng: &mut dyn CryptoRngCore) -> Self {
        let mut key = Self([0; KEY]);
        rng.fill_bytes(&mut key.0);
        key
    }

    /// Reads a key from exactly 32 bytes.
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes = <&[u8; KEY]>::try_from(bytes).ok()?;
        let mut key = Self([0; KEY]);
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    pub(crate) fn expose(&self) -> &[u8; KEY] {
        &self.0
    }

    /// Seals bytes: a random nonce, then ciphertext with its tag.
    pub fn seal(
        &self,
        plain: &[u8],
        associated: Associated<'_>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Vec<u8>, BadSeal> {
        let mut sealed = vec![0; NONCE];
        rng.fill_bytes(&mut sealed);
        let cipher = XChaCha20Poly1305::new((&self.0).into());
        let aad = associated.to_bytes();
        let payload = Payload {
            msg: plain,
            aad: &aad,
        };
        let ciphertext = cipher
            .encrypt(XNonce::from_slice(&sealed), payload)
            .map_err(|_| BadSeal)?;
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }

    /// Opens what [`Self::seal`] made with the same associated data.
    pub fn open(
        &self,
        sealed: &[u8],
        associated: Associated<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, BadSeal> {
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE).ok_or(BadSeal)?;
        let cipher = XChaCha20Poly1305::new((&self.0).into());
        let aad = associated.to_bytes();
        let payload = Payload {
            msg: ciphertext,
            aad: &aad,
        };
        cipher
            .decrypt(XNonce::from_slice(nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| BadSeal)
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(redacted)")
    }
}

#[cfg(test)]
mod tests;
