//! The form of an identity file: a JSON text with the public card and the cost of opening it in
//! clear, and the secret keys sealed with XChaCha20-Poly1305 under an Argon2id key.
//!
//! The associated data is the header (format, card, sealing parameters) as it stands in
//! [`quorate_model::wire`] form, so nobody can change the card of a sealed identity unnoticed.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use quorate_model::{roster::Principal, wire};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::passphrase::Passphrase;

/// The form of the file that this version writes and reads.
const FORMAT: u32 = 1;

/// The most memory that opening a file may take, in KiB: a foreign file must not stop a machine.
const MAX_MEMORY_KIB: u32 = 1 << 20;

/// The most passes over it.
const MAX_PASSES: u32 = 16;

/// The largest identity file, in bytes.
pub(super) const MAX_FILE_BYTES: u64 = 64 * 1024;

/// What an attacker pays for each guess of the passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealingCost {
    /// For passphrases that people choose: 64 MiB and three passes.
    Person,
    /// For generated passphrases of 256 bits, where guessing is hopeless at any cost.
    Generated,
}

impl SealingCost {
    const fn memory_and_passes(self) -> (u32, u32) {
        match self {
            Self::Person => (64 * 1024, 3),
            Self::Generated => (1024, 1),
        }
    }
}

/// How the secret part is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealing {
    /// `argon2id`.
    kdf: String,
    memory_kib: u32,
    passes: u32,
    /// 32 bytes in hex.
    salt: String,
    /// `xchacha20-poly1305`.
    cipher: String,
    /// 24 bytes in hex.
    nonce: String,
}

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SealedFile {
    format: u32,
    pub(super) card: Principal,
    sealing: Sealing,
    /// Ciphertext and tag in hex.
    sealed: String,
}

/// Why the secret part does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Not an identity file.
    #[error("the file is no identity file: {0}")]
    Unreadable(String),
    /// Written by a version that this one does not know.
    #[error("the identity file has format {0}, this version reads format {FORMAT}")]
    UnknownFormat(u32),
    /// A key derivation or cipher that this version does not know, or parameters out of bounds.
    #[error("the identity file is sealed in an unknown or unreasonable way")]
    UnknownSealing,
    /// The passphrase is another one, or the file was changed.
    #[error("the passphrase is wrong or the identity file was changed")]
    WrongPassphrase,
    /// The sealing itself goes wrong, for want of memory.
    #[error("the identity cannot be sealed or opened on this machine: {0}")]
    Machine(String),
}

impl SealedFile {
    /// Seals secret bytes beside a public card.
    pub(super) fn seal(
        card: Principal,
        secret: &[u8],
        passphrase: &Passphrase,
        cost: SealingCost,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Self, SealError> {
        let mut salt = [0_u8; 32];
        let mut nonce = [0_u8; 24];
        rng.fill_bytes(&mut salt);
        rng.fill_bytes(&mut nonce);
        let (memory_kib, passes) = cost.memory_and_passes();
        let sealing = Sealing {
            kdf: "argon2id".to_owned(),
            memory_kib,
            passes,
            salt: hex::encode(salt),
            cipher: "xchacha20-poly1305".to_owned(),
            nonce: hex::encode(nonce),
        };
        let mut file = Self {
            format: FORMAT,
            card,
            sealing,
            sealed: String::new(),
        };
        let key = file.derive_key(passphrase)?;
        let aad = file.associated_data()?;
        let sealed = XChaCha20Poly1305::new((&*key).into())
            .encrypt(
                XNonce::from_slice(&nonce),
                Payload {
                    msg: secret,
                    aad: &aad,
                },
            )
            .map_err(|error| SealError::Machine(error.to_string()))?;
        file.sealed = hex::encode(sealed);
        Ok(file)
    }

    /// Reads a file; its card is not trusted before [`SealedFile::open`].
    pub(super) fn parse(text: &str) -> Result<Self, SealError> {
        let file: Self =
            serde_json::from_str(text).map_err(|error| SealError::Unreadable(error.to_string()))?;
        if file.format != FORMAT {
            return Err(SealError::UnknownFormat(file.format));
        }
        Ok(file)
    }

    /// The text of the file.
    pub(super) fn to_text(&self) -> Result<String, SealError> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|error| SealError::Unreadable(error.to_string()))?;
        text.push('\n');
        Ok(text)
    }

    /// Opens the secret part.
    pub(super) fn open(&self, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let nonce: [u8; 24] = fixed(&self.sealing.nonce)?;
        let sealed =
            hex::decode(&self.sealed).map_err(|error| SealError::Unreadable(error.to_string()))?;
        let key = self.derive_key(passphrase)?;
        let aad = self.associated_data()?;
        XChaCha20Poly1305::new((&*key).into())
            .decrypt(
                XNonce::from_slice(&nonce),
                Payload {
                    msg: &sealed,
                    aad: &aad,
                },
            )
            .map(Zeroizing::new)
            .map_err(|_| SealError::WrongPassphrase)
    }

    fn derive_key(&self, passphrase: &Passphrase) -> Result<Zeroizing<[u8; 32]>, SealError> {
        let sealing = &self.sealing;
        let bounded = (8..=MAX_MEMORY_KIB).contains(&sealing.memory_kib)
            && (1..=MAX_PASSES).contains(&sealing.passes);
        if sealing.kdf != "argon2id" || sealing.cipher != "xchacha20-poly1305" || !bounded {
            return Err(SealError::UnknownSealing);
        }
        let salt: [u8; 32] = fixed(&sealing.salt)?;
        let params = Params::new(sealing.memory_kib, sealing.passes, 1, Some(32))
            .map_err(|_| SealError::UnknownSealing)?;
        let mut key = Zeroizing::new([0_u8; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose(), &salt, key.as_mut())
            .map_err(|error| SealError::Machine(error.to_string()))?;
        Ok(key)
    }

    fn associated_data(&self) -> Result<Vec<u8>, SealError> {
        let sealing = &self.sealing;
        wire::encode(&(
            "quorate/v1/identity-file",
            self.format,
            &self.card,
            (
                &sealing.kdf,
                sealing.memory_kib,
                sealing.passes,
                &sealing.salt,
            ),
            (&sealing.cipher, &sealing.nonce),
        ))
        .map_err(|error| SealError::Unreadable(error.to_string()))
    }
}

fn fixed<const N: usize>(text: &str) -> Result<[u8; N], SealError> {
    hex::decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(SealError::UnknownSealing)
}
