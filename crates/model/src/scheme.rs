//! Signature schemes and the purposes of keys.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A signature scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Scheme {
    /// FROST(secp256k1, SHA-256) with BIP-340 signatures, 64 bytes.
    Bip340,
    /// FROST(secp256k1, SHA-256) of RFC 9591, 65-byte signatures.
    FrostSecp256k1,
    /// FROST(Ed25519, SHA-512) of RFC 9591, 64-byte RFC 8032 signatures.
    Ed25519,
    /// Threshold ECDSA over secp256k1 (SEC 1), 65-byte signatures: r, s, recovery id; s is not above
    /// half the order.
    EcdsaSecp256k1,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 4] = [
        Self::Bip340,
        Self::FrostSecp256k1,
        Self::Ed25519,
        Self::EcdsaSecp256k1,
    ];

    /// The schemes of FROST (RFC 9591): t holders sign in one round with tickets made ahead.
    pub const FROST: [Self; 3] = [Self::Bip340, Self::FrostSecp256k1, Self::Ed25519];

    /// The name as the command line writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bip340 => "bip340",
            Self::FrostSecp256k1 => "frost-secp256k1",
            Self::Ed25519 => "ed25519",
            Self::EcdsaSecp256k1 => "ecdsa-secp256k1",
        }
    }

    /// The FROST scheme in which the shares of such a key prove themselves (P20): its own, and for
    /// ECDSA, whose group it shares, FROST(secp256k1).
    #[must_use]
    pub const fn proven_by(self) -> Self {
        match self {
            Self::Bip340 => Self::Bip340,
            Self::FrostSecp256k1 | Self::EcdsaSecp256k1 => Self::FrostSecp256k1,
            Self::Ed25519 => Self::Ed25519,
        }
    }

    /// Whether it is one of [`Scheme::FROST`]. ECDSA signs in rounds.
    pub fn is_frost(self) -> bool {
        Self::FROST.contains(&self)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no scheme.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a scheme: use bip340, frost-secp256k1, ed25519 or ecdsa-secp256k1")]
pub struct UnknownScheme(pub String);

impl FromStr for Scheme {
    type Err = UnknownScheme;
    fn from_str(text: &str) -> Result<Self, UnknownScheme> {
        Self::ALL
            .into_iter()
            .find(|scheme| scheme.as_str() == text)
            .ok_or_else(|| UnknownScheme(text.chars().take(80).collect()))
    }
}

/// What a key may sign (P9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeyPurpose {
    /// Transactions that every node decodes.
    Transactions,
    /// Exact bytes.
    Messages,
    /// Bare 32-byte digests.
    Digests,
}

impl KeyPurpose {
    /// Every purpose.
    pub const ALL: [Self; 3] = [Self::Transactions, Self::Messages, Self::Digests];

    /// The name as the command line writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transactions => "transactions",
            Self::Messages => "messages",
            Self::Digests => "digests",
        }
    }
}

impl fmt::Display for KeyPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no purpose.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a purpose: use transactions, messages or digests")]
pub struct UnknownPurpose(pub String);

impl FromStr for KeyPurpose {
    type Err = UnknownPurpose;
    fn from_str(text: &str) -> Result<Self, UnknownPurpose> {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == text)
            .ok_or_else(|| UnknownPurpose(text.chars().take(80).collect()))
    }
}

/// The purposes of one key: at least one, each once, in order; fixed at creation (P9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<KeyPurpose>", into = "Vec<KeyPurpose>")]
pub struct Purposes(Vec<KeyPurpose>);

/// A list that is no set of purposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key has at least one purpose and each at most once")]
pub struct NoPurposes;

impl Purposes {
    /// Makes the set; refuses an empty list and repeats.
    pub fn new(mut purposes: Vec<KeyPurpose>) -> Result<Self, NoPurposes> {
        let given = purposes.len();
        purposes.sort_unstable();
        purposes.dedup();
        if purposes.is_empty() || purposes.len() != given {
            return Err(NoPurposes);
        }
        Ok(Self(purposes))
    }

    /// Whether the key has this purpose.
    pub fn contains(&self, purpose: KeyPurpose) -> bool {
        self.0.contains(&purpose)
    }

    /// The purposes in order.
    pub fn as_slice(&self) -> &[KeyPurpose] {
        &self.0
    }
}

impl TryFrom<Vec<KeyPurpose>> for Purposes {
    type Error = NoPurposes;
    fn try_from(purposes: Vec<KeyPurpose>) -> Result<Self, NoPurposes> {
        Self::new(purposes)
    }
}

impl From<Purposes> for Vec<KeyPurpose> {
    fn from(purposes: Purposes) -> Self {
        purposes.0
    }
}
