//! Amounts of any asset, in its smallest unit: unsigned integers of 256 bits.

use std::{fmt, str::FromStr};

use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

/// The most decimal digits of 256 bits.
const MAX_DIGITS: usize = 78;

/// An amount in the smallest unit of its asset: wei, lamports, token units. A decimal text in
/// every encoding, because numbers of JSON readers have 53 bits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct Amount(U256);

/// A text that is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the amount is not a whole decimal number of at most 256 bits")]
pub struct InvalidAmount;

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(U256::ZERO);

    /// The largest amount.
    pub const MAX: Self = Self(U256::MAX);

    /// The amount in 32 big-endian bytes.
    pub fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }

    /// The amount of 32 big-endian bytes.
    pub fn from_be_bytes(bytes: [u8; 32]) -> Self {
        Self(U256::from_be_bytes(bytes))
    }

    /// The amount of up to 32 big-endian bytes.
    pub fn from_be_slice(bytes: &[u8]) -> Option<Self> {
        U256::try_from_be_slice(bytes).map(Self)
    }

    /// The sum, unless it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, unless it is below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The product, unless it does not fit.
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        self.0.checked_mul(other.0).map(Self)
    }

    /// How many bits the amount has.
    pub fn bit_length(self) -> usize {
        self.0.bit_len()
    }
}

impl From<u64> for Amount {
    fn from(value: u64) -> Self {
        Self(U256::from(value))
    }
}

impl From<u128> for Amount {
    fn from(value: u128) -> Self {
        Self(U256::from(value))
    }
}

impl TryFrom<Amount> for u128 {
    type Error = InvalidAmount;
    fn try_from(amount: Amount) -> Result<Self, InvalidAmount> {
        Self::try_from(amount.0).map_err(|_| InvalidAmount)
    }
}

impl TryFrom<Amount> for u64 {
    type Error = InvalidAmount;
    fn try_from(amount: Amount) -> Result<Self, InvalidAmount> {
        Self::try_from(amount.0).map_err(|_| InvalidAmount)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Amount {
    type Err = InvalidAmount;
    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let canonical = text == "0" || !text.starts_with('0');
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !canonical || !digits || text.len() > MAX_DIGITS {
            return Err(InvalidAmount);
        }
        U256::from_str_radix(text, 10)
            .map(Self)
            .map_err(|_| InvalidAmount)
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

impl TryFrom<String> for Amount {
    type Error = InvalidAmount;
    fn try_from(text: String) -> Result<Self, InvalidAmount> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_a_decimal_text_and_nothing_else() {
        let largest = Amount::MAX.to_string();

        assert_eq!(largest.len(), MAX_DIGITS);
        for text in ["0", "1", "1000000000000000000", &largest] {
            let amount: Amount = text.parse().unwrap();
            assert_eq!(amount.to_string(), text);
            assert_eq!(
                serde_json::to_string(&amount).unwrap(),
                format!("\"{text}\"")
            );
        }
        let above = format!("{}6", &largest[..MAX_DIGITS - 1]);
        for text in [
            "", "01", "00", "+1", "-1", "1_000", "0x1", "1e3", " 1", "1.0", &above,
        ] {
            assert_eq!(text.parse::<Amount>(), Err(InvalidAmount), "{text}");
        }
    }

    #[test]
    fn sums_and_products_that_do_not_fit_are_none() {
        let one = Amount::from(1_u64);

        assert_eq!(Amount::MAX.checked_add(one), None);
        assert_eq!(Amount::MAX.checked_mul(Amount::from(2_u64)), None);
        assert_eq!(Amount::MAX.checked_mul(one), Some(Amount::MAX));
    }
}
