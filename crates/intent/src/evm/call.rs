//! What a call of a contract says, as far as everybody agrees on it: ERC-20 `transfer`, `approve`
//! and `transferFrom` in their canonical encoding.
//!
//! Contracts of ERC-721 share two of these selectors and read an amount as the number of a token;
//! only a list of contracts, which policy has, can tell them apart.

use super::address::EvmAddress;
use crate::amount::Amount;

/// `transfer(address,uint256)`.
const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];

/// `approve(address,uint256)`.
const APPROVE: [u8; 4] = [0x09, 0x5e, 0xa7, 0xb3];

/// `transferFrom(address,address,uint256)`.
const TRANSFER_FROM: [u8; 4] = [0x23, 0xb8, 0x72, 0xdd];

/// A call that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Transfer {
        to: EvmAddress,
        amount: Amount,
    },
    Approve {
        spender: EvmAddress,
        amount: Amount,
    },
    TransferFrom {
        from: EvmAddress,
        to: EvmAddress,
        amount: Amount,
    },
}

impl Call {
    /// Reads the data of a call: exactly the words that the function takes.
    pub(super) fn read(input: &[u8]) -> Option<Self> {
        let (selector, arguments) = input.split_first_chunk()?;
        let (words, []) = arguments.as_chunks() else {
            return None;
        };
        match (*selector, words) {
            (TRANSFER, [to, amount]) => Some(Self::Transfer {
                to: EvmAddress::of_word(to)?,
                amount: Amount::from_be_bytes(*amount),
            }),
            (APPROVE, [spender, amount]) => Some(Self::Approve {
                spender: EvmAddress::of_word(spender)?,
                amount: Amount::from_be_bytes(*amount),
            }),
            (TRANSFER_FROM, [from, to, amount]) => Some(Self::TransferFrom {
                from: EvmAddress::of_word(from)?,
                to: EvmAddress::of_word(to)?,
                amount: Amount::from_be_bytes(*amount),
            }),
            _ => None,
        }
    }

    /// The function, as contracts write it.
    pub(super) const fn function(self) -> &'static str {
        match self {
            Self::Transfer { .. } => "transfer(address,uint256)",
            Self::Approve { .. } => "approve(address,uint256)",
            Self::TransferFrom { .. } => "transferFrom(address,address,uint256)",
        }
    }
}
