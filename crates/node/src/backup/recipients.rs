//! To whom a backup is sealed, and who opens it: keys of [age](https://age-encryption.org).

use std::{fs, io::Read as _, path::Path};

use age::x25519::{Identity, Recipient};
use quorate_model::{Digest, backup::recipient_fingerprint};
use zeroize::Zeroizing;

use super::{BackupError, RestoreError};

/// The most recipients of one backup.
const MAX_RECIPIENTS: usize = 16;

/// The most bytes of an identity file that are read.
const MAX_IDENTITY_BYTES: u64 = 64 * 1024;

/// Those to whom a backup is sealed.
pub struct Recipients {
    keys: Vec<Recipient>,
}

/// What is shown of a text that is no recipient: never a secret key that was given by mistake.
fn shown(text: &str) -> String {
    if text.to_ascii_uppercase().contains("AGE-SECRET-KEY") {
        return "a secret key, which is not shown: give the public key to which it belongs"
            .to_owned();
    }
    text.chars().take(100).collect()
}

impl Recipients {
    /// Reads public keys.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, BackupError> {
        let mut keys: Vec<Recipient> = Vec::new();
        for text in texts {
            let text = text.as_ref();
            let key: Recipient = text
                .parse()
                .map_err(|_| BackupError::NoRecipient(shown(text)))?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        if keys.is_empty() || keys.len() > MAX_RECIPIENTS || keys.len() != texts.len() {
            return Err(BackupError::RecipientCount(texts.len()));
        }
        Ok(Self { keys })
    }

    /// The keys as texts.
    pub fn texts(&self) -> Vec<String> {
        self.keys.iter().map(ToString::to_string).collect()
    }

    /// The hashes by which the journal names them.
    pub fn fingerprints(&self) -> Vec<Digest> {
        let texts = self.texts();
        texts
            .iter()
            .map(|text| recipient_fingerprint(text))
            .collect()
    }

    pub(super) fn encryptor(&self) -> Result<age::Encryptor, BackupError> {
        let keys = self.keys.iter().map(|key| key as &dyn age::Recipient);
        age::Encryptor::with_recipients(keys).map_err(BackupError::Seal)
    }
}

/// Reads the secret keys in a file of `age-keygen`.
pub fn read_identities(path: &Path) -> Result<Vec<Identity>, RestoreError> {
    let mut text = Zeroizing::new(String::new());
    fs::File::open(path)
        .and_then(|file| file.take(MAX_IDENTITY_BYTES).read_to_string(&mut text))
        .map_err(|source| RestoreError::Identity {
            path: path.to_owned(),
            source,
        })?;
    let identities: Vec<Identity> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| RestoreError::NoIdentity(path.to_owned()))?;
    if identities.is_empty() {
        return Err(RestoreError::NoIdentity(path.to_owned()));
    }
    Ok(identities)
}
