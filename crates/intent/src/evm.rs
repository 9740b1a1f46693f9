//! Payloads of EVM chains: unsigned transactions, personal messages (EIP-191) and typed data
//! (EIP-712).
//!
//! Each is read into facts, and the digest to sign is made from what was read, never taken from
//! anybody. What is read is encoded again and compared with the bytes that came, so that there is
//! one transaction for one string of bytes. The libraries that wallets use are judges in the
//! tests and have no part in it.

pub(crate) mod address;
mod call;
pub(crate) mod facts;
pub(crate) mod refusal;
mod rlp;
pub(crate) mod transaction;
pub(crate) mod typed_data;

use quorate_model::Digest;
use sha3::{Digest as _, Keccak256};

use self::{
    address::EvmAddress,
    facts::{EvmMessageFacts, EvmTransactionFacts},
    refusal::EvmRefusal,
    transaction::EvmTransaction,
};
use crate::{facts::MessageFacts, undecodable::Undecodable};

/// The hash of EVM chains.
pub(crate) fn keccak256(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// Reads an unsigned transaction and says what it does.
pub(crate) fn transaction(bytes: &[u8]) -> Result<EvmTransactionFacts, EvmRefusal> {
    let transaction = EvmTransaction::read(bytes)?;
    Ok(facts::of(&transaction, bytes))
}

/// Reads an unsigned transaction for a key that is to sign it.
pub(crate) fn transaction_for(
    bytes: &[u8],
    sender: EvmAddress,
) -> Result<EvmTransactionFacts, EvmRefusal> {
    let mut facts = facts::of(&EvmTransaction::decode(bytes)?, bytes);
    if let Some(because) = facts.blind_because.first() {
        return Err(EvmRefusal::Blind {
            because: because.clone(),
        });
    }
    facts.sender = Some(sender);
    Ok(facts)
}

/// What a personal message says, and the digest that is signed for it (EIP-191, version `E`).
pub(crate) fn message(bytes: &[u8]) -> EvmMessageFacts {
    let prefix = format!("\x19Ethereum Signed Message:\n{}", bytes.len());
    let signed = [prefix.as_bytes(), bytes].concat();
    EvmMessageFacts {
        digest: Digest::new(keccak256(&signed)),
        message: MessageFacts::of(bytes),
    }
}

/// The account of a key on every EVM chain.
///
/// # Errors
///
/// [`Undecodable::MalformedKey`] when the bytes are no compressed point of secp256k1.
pub fn evm_address(public_key: &[u8]) -> Result<EvmAddress, Undecodable> {
    EvmAddress::of_public_key(public_key).ok_or(Undecodable::MalformedKey {
        found: public_key.len(),
    })
}
