//! What a transaction of a chain with accounts moves.

use serde::{Deserialize, Serialize};

use crate::amount::Amount;

/// What is moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Asset {
    /// The coin of the chain.
    Native,
    /// A token, by its contract (EVM) or its mint (Solana).
    Token(String),
    /// The token that this Solana token account holds. The message does not name it.
    TokenOfAccount(String),
}

/// Something that goes from one account to another when the transaction succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// What is moved.
    pub asset: Asset,
    /// Where it comes from. None: from the sender, whom the bytes do not name.
    pub from: Option<String>,
    /// Where it goes.
    pub to: String,
    /// How much, in the smallest unit.
    pub amount: Amount,
    /// How many decimals the asset has: of a coin, or where the chain checks what the transaction
    /// says about a token.
    pub decimals: Option<u8>,
}
