//! Accounts of EVM chains.

use std::{fmt, str::FromStr};

use bitcoin::secp256k1::PublicKey;
use serde::{Deserialize, Serialize};

use super::keccak256;

/// The length of an address.
pub(crate) const LENGTH: usize = 20;

/// An account of an EVM chain. Its text has the checksum of EIP-55.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EvmAddress([u8; LENGTH]);

/// A text that is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an address: 0x and 40 hex digits, in lower case or with the checksum of EIP-55")]
pub struct InvalidEvmAddress;

impl EvmAddress {
    /// Takes the bytes.
    pub const fn new(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// The last 20 bytes of the hash of the point, when the bytes are one in compressed form.
    pub(crate) fn of_public_key(compressed: &[u8]) -> Option<Self> {
        if compressed.len() != 33 {
            return None;
        }
        let point = PublicKey::from_slice(compressed).ok()?;
        let uncompressed = point.serialize_uncompressed();
        let (_, coordinates) = uncompressed.split_first()?;
        keccak256(coordinates).last_chunk().copied().map(Self)
    }

    /// The address of the first bytes of an ABI word: none unless the padding is zero.
    pub(crate) fn of_word(word: &[u8; 32]) -> Option<Self> {
        let (padding, address) = word.split_last_chunk()?;
        padding
            .iter()
            .all(|byte| *byte == 0)
            .then_some(Self(*address))
    }
}

impl fmt::Display for EvmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lower = hex::encode(self.0);
        let hash = hex::encode(keccak256(lower.as_bytes()));
        f.write_str("0x")?;
        for (digit, judge) in lower.chars().zip(hash.chars()) {
            let upper = judge.to_digit(16).is_some_and(|value| value >= 8);
            let shown = if upper {
                digit.to_ascii_uppercase()
            } else {
                digit
            };
            fmt::Write::write_char(f, shown)?;
        }
        Ok(())
    }
}

impl FromStr for EvmAddress {
    type Err = InvalidEvmAddress;
    fn from_str(text: &str) -> Result<Self, InvalidEvmAddress> {
        let digits = text.strip_prefix("0x").ok_or(InvalidEvmAddress)?;
        let mut bytes = [0; LENGTH];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| InvalidEvmAddress)?;
        let address = Self(bytes);
        // Mixed case is a checksum, and a wrong one a typing mistake.
        let is_mixed = digits.bytes().any(|byte| byte.is_ascii_uppercase());
        if is_mixed && address.to_string() != text {
            return Err(InvalidEvmAddress);
        }
        Ok(address)
    }
}

impl From<EvmAddress> for String {
    fn from(address: EvmAddress) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for EvmAddress {
    type Error = InvalidEvmAddress;
    fn try_from(text: String) -> Result<Self, InvalidEvmAddress> {
        text.parse()
    }
}
