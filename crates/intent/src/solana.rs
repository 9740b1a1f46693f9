//! Solana messages, legacy and version 0: what every signature of a transaction is over.
//!
//! The exact bytes are signed. They are read here into [`SolanaFacts`], every index is checked as
//! the network checks it, and the bytes are made again from what was read: a byte that means
//! nothing is a byte that nobody has seen. A message names no cluster, so that a signature for a
//! test network is one for the main network whenever the blockhash and the accounts exist there.

pub(crate) mod facts;
mod programs;
pub(crate) mod refusal;
mod wire;

use self::{facts::SolanaFacts, refusal::SolanaRefusal, wire::Message};

/// The most bytes of a transaction with all its signatures: what the network carries in a packet.
pub const MAX_TRANSACTION_BYTES: usize = 1232;

/// The length of an account's key.
const KEY_LENGTH: usize = 32;

/// The length of a signature.
const SIGNATURE_LENGTH: usize = 64;

/// Reads a message and says what it does, whoever signs it.
pub(crate) fn read(bytes: &[u8]) -> Result<SolanaFacts, SolanaRefusal> {
    facts::of(&parse(bytes)?, bytes.len())
}

/// Reads a message for a key that is to sign it.
pub(crate) fn read_for(bytes: &[u8], group_key: &[u8]) -> Result<SolanaFacts, SolanaRefusal> {
    let message = parse(bytes)?;
    let facts = facts::of(&message, bytes.len())?;
    if !message.signers().iter().any(|signer| signer == group_key) {
        return Err(SolanaRefusal::NotSigner {
            key: address(group_key),
        });
    }
    match facts.blind_because.first() {
        Some(because) => Err(SolanaRefusal::Blind {
            because: because.clone(),
        }),
        None => Ok(facts),
    }
}

fn parse(bytes: &[u8]) -> Result<Message, SolanaRefusal> {
    // Nothing of what cannot be sent is worth reading.
    if bytes.len() > MAX_TRANSACTION_BYTES {
        return Err(SolanaRefusal::TooLarge { found: bytes.len() });
    }
    let message = Message::parse(bytes)?;
    message.check()?;
    if message.encode() != bytes {
        return Err(SolanaRefusal::NotCanonical);
    }
    let signatures = usize::from(message.header.required_signatures);
    let found = bytes
        .len()
        .saturating_add(signatures.saturating_mul(SIGNATURE_LENGTH))
        .saturating_add(1);
    if found > MAX_TRANSACTION_BYTES {
        return Err(SolanaRefusal::TooLarge { found });
    }
    Ok(message)
}

/// Whether a signature of the key over these bytes could be the signature of a transaction, for
/// any validator of today or of a later version of the format (P9). Never says no wrongly.
///
/// A legacy message begins with its header and the list of accounts, signers first. Every later
/// version begins with a byte above 127, and names its signers somewhere; 255 is kept by Solana
/// for messages that are no transactions.
pub(crate) fn could_be_transaction(bytes: &[u8], group_key: &[u8]) -> bool {
    match bytes.first() {
        None | Some(0xff) => false,
        Some(0x80..) => bytes.windows(KEY_LENGTH).any(|window| window == group_key),
        Some(signers) => bytes
            .get(3..)
            .and_then(wire::skip_length)
            .unwrap_or_default()
            .chunks_exact(KEY_LENGTH)
            .take(usize::from(*signers))
            .any(|signer| signer == group_key),
    }
}

/// The address of an Ed25519 key of 32 bytes.
pub fn address(key: &[u8]) -> String {
    bitcoin::base58::encode(key)
}

/// The transaction of a message that is signed: the signature of this key in its place, and
/// zeros in the place of every other signer, who is still to sign.
///
/// Complete says whether no other signer is left. The signature is not verified here.
///
/// # Errors
///
/// [`SolanaRefusal`] when the bytes are no message, or the key is none of its signers.
pub fn transaction(
    message: &[u8],
    key: &[u8],
    signature: &[u8],
) -> Result<SolanaTransaction, SolanaRefusal> {
    let parsed = parse(message)?;
    let signers = parsed.signers();
    let place = signers
        .iter()
        .position(|signer| signer == key)
        .filter(|_| signature.len() == SIGNATURE_LENGTH)
        .ok_or_else(|| SolanaRefusal::NotSigner { key: address(key) })?;
    let mut bytes = vec![parsed.header.required_signatures];
    for other in 0..signers.len() {
        if other == place {
            bytes.extend(signature);
        } else {
            bytes.extend([0; SIGNATURE_LENGTH]);
        }
    }
    bytes.extend(message);
    Ok(SolanaTransaction {
        bytes,
        complete: signers.len() == 1,
    })
}

/// A transaction with the signature of one key in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SolanaTransaction {
    /// The bytes as they are sent.
    pub bytes: Vec<u8>,
    /// Whether no other signature is missing.
    pub complete: bool,
}
