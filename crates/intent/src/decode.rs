//! From a payload to its facts and the messages to sign.

use quorate_model::{
    DerivationPath, KeyPurpose, KeyRecord, Payload, PayloadKind, Purposes, Scheme,
    payload::{INTERNAL_PREFIX, MAX_PAYLOAD_BYTES, MAX_PAYLOADS, MAX_SIGNING_ITEMS},
};

use crate::{
    children::{MAX_DERIVED, child_key},
    evm,
    facts::{DigestFacts, Facts, MessageFacts},
    psbt::{self, Spend},
    solana,
    undecodable::{BatchUndecodable, Undecodable},
};

/// The length of a digest, in bytes.
pub(crate) const DIGEST_LENGTH: usize = 32;

/// What decoding needs to know about a key.
#[derive(Clone, Copy, Debug)]
pub struct KeyFacts<'a> {
    /// The scheme of the key.
    pub scheme: Scheme,
    /// What the key may sign.
    pub purposes: &'a Purposes,
    /// The untweaked group key: 33 compressed bytes on secp256k1, 32 bytes on Ed25519.
    pub group_key: &'a [u8],
    /// The chain code, from which children come (P22, P26).
    pub chain_code: &'a [u8; 32],
}

impl<'a> KeyFacts<'a> {
    /// What a key record says.
    pub fn of(record: &'a KeyRecord) -> Self {
        Self {
            scheme: record.scheme,
            purposes: &record.purposes,
            group_key: &record.group_key,
            chain_code: &record.chain_code,
        }
    }
}

/// How the key is to be tweaked before it signs an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemTweak {
    /// Not at all.
    None,
    /// By BIP-341, with no script tree.
    TaprootKeyPath,
}

/// One signature to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningItem {
    /// The exact bytes that the scheme signs; BIP-340 does not hash them beforehand.
    pub message: Vec<u8>,
    /// Which child of the key signs.
    pub path: DerivationPath,
    /// How that is tweaked.
    pub tweak: ItemTweak,
    /// The input that the signature is for, in a transaction.
    pub input: Option<u32>,
}

/// What a payload means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// For policy and for people.
    pub facts: Facts,
    /// What to sign, in order. Never empty.
    pub items: Vec<SigningItem>,
}

/// Decodes one payload for one key.
///
/// # Errors
///
/// Everything that keeps the payload from being signed by this key, whatever policy says.
pub fn decode(payload: &Payload, key: &KeyFacts<'_>) -> Result<Decoded, Undecodable> {
    let mut left = MAX_DERIVED;
    decode_within(payload, key, &mut left)
}

/// The same, with how much may still be derived for the command.
fn decode_within(
    payload: &Payload,
    key: &KeyFacts<'_>,
    left: &mut usize,
) -> Result<Decoded, Undecodable> {
    match payload.kind {
        PayloadKind::Message => message(payload, key),
        PayloadKind::Psbt => read_psbt(payload, key, left).map(Spend::into_decoded),
        PayloadKind::Digest => digest(payload, key),
        PayloadKind::EvmTransaction => evm_transaction(payload, key),
        PayloadKind::EvmMessage => evm_message(payload, key),
        PayloadKind::EvmTypedData => evm_typed_data(payload, key),
        PayloadKind::SolanaMessage => solana_message(payload, key),
    }
}

/// Tells what a payload says, without a key: nothing in it counts as ours, and what no key would
/// sign because it is blind or its fee is high is told as well, and marked.
///
/// # Errors
///
/// When the payload is not what it claims to be, or would be unsafe to sign for any key.
pub fn inspect(payload: &Payload) -> Result<Facts, Undecodable> {
    let bytes = bounded(payload)?;
    match payload.kind {
        PayloadKind::Message => {
            refuse_internal_proof(bytes)?;
            Ok(Facts::Message(MessageFacts::of(bytes)))
        }
        PayloadKind::Psbt => psbt::inspect(bytes).map(Facts::Psbt),
        PayloadKind::Digest => read_digest(bytes).map(Facts::Digest),
        PayloadKind::EvmTransaction => Ok(Facts::EvmTransaction(evm::transaction(bytes)?)),
        PayloadKind::EvmMessage => {
            refuse_internal_proof(bytes)?;
            Ok(Facts::EvmMessage(evm::message(bytes)))
        }
        PayloadKind::EvmTypedData => Ok(Facts::EvmTypedData(evm::typed_data::read(bytes)?)),
        PayloadKind::SolanaMessage => Ok(Facts::SolanaMessage(solana::read(bytes)?)),
    }
}

/// Decodes all payloads of a command; one that cannot be signed refuses them all (P17).
///
/// # Errors
///
/// The first payload that [`decode`] refuses, or a bound over all of them.
pub fn decode_all(
    payloads: &[Payload],
    key: &KeyFacts<'_>,
) -> Result<Vec<Decoded>, BatchUndecodable> {
    if payloads.is_empty() {
        return Err(BatchUndecodable::Empty);
    }
    if payloads.len() > MAX_PAYLOADS {
        return Err(BatchUndecodable::TooManyPayloads {
            found: payloads.len(),
        });
    }
    let mut decoded = Vec::with_capacity(payloads.len());
    let mut items: usize = 0;
    let mut left = MAX_DERIVED;
    for (index, payload) in payloads.iter().enumerate() {
        let one = decode_within(payload, key, &mut left)
            .map_err(|error| BatchUndecodable::Payload { index, error })?;
        items = items.saturating_add(one.items.len());
        if items > MAX_SIGNING_ITEMS {
            return Err(BatchUndecodable::TooManyItems { index });
        }
        decoded.push(one);
    }
    Ok(decoded)
}

/// Checks that a key can and may sign this kind of payload at all (P9).
pub(crate) fn admit(kind: PayloadKind, key: &KeyFacts<'_>) -> Result<(), Undecodable> {
    let fits = match kind {
        PayloadKind::Message => {
            matches!(
                key.scheme,
                Scheme::Bip340 | Scheme::FrostSecp256k1 | Scheme::Ed25519
            )
        }
        PayloadKind::Psbt => matches!(key.scheme, Scheme::Bip340 | Scheme::EcdsaSecp256k1),
        PayloadKind::Digest => matches!(
            key.scheme,
            Scheme::Bip340 | Scheme::FrostSecp256k1 | Scheme::EcdsaSecp256k1
        ),
        PayloadKind::EvmTransaction | PayloadKind::EvmMessage | PayloadKind::EvmTypedData => {
            key.scheme == Scheme::EcdsaSecp256k1
        }
        PayloadKind::SolanaMessage => key.scheme == Scheme::Ed25519,
    };
    if !fits {
        return Err(Undecodable::SchemeUnfit {
            kind,
            scheme: key.scheme,
        });
    }
    if !key.purposes.contains(kind.purpose()) {
        return Err(Undecodable::WrongPurpose {
            kind,
            purposes: key.purposes.clone(),
        });
    }
    Ok(())
}

/// Checks what holds for a payload of any kind, before its bytes are looked at.
fn admit_payload<'p>(payload: &'p Payload, key: &KeyFacts<'_>) -> Result<&'p [u8], Undecodable> {
    admit(payload.kind, key)?;
    bounded(payload)
}

fn bounded(payload: &Payload) -> Result<&[u8], Undecodable> {
    if payload.bytes.len() > MAX_PAYLOAD_BYTES {
        return Err(Undecodable::TooLarge {
            kind: payload.kind,
            found: payload.bytes.len(),
        });
    }
    Ok(&payload.bytes)
}

/// Reads a payload that is a PSBT.
pub(crate) fn read_psbt(
    payload: &Payload,
    key: &KeyFacts<'_>,
    left: &mut usize,
) -> Result<Spend, Undecodable> {
    let bytes = admit_payload(payload, key)?;
    if !payload.path.is_root() {
        return Err(Undecodable::PathBesidePsbt);
    }
    psbt::read(bytes, key, payload.allow_high_fee, left)
}

fn message(payload: &Payload, key: &KeyFacts<'_>) -> Result<Decoded, Undecodable> {
    let bytes = admit_payload(payload, key)?;
    refuse_internal_proof(bytes)?;
    // What BIP-340 signs over 32 bytes cannot be told from the signature over a transaction's
    // digest, whoever made those bytes (P9).
    let bare_digest = key.scheme == Scheme::Bip340 && bytes.len() == DIGEST_LENGTH;
    if bare_digest && !key.purposes.contains(KeyPurpose::Digests) {
        return Err(Undecodable::BareDigest);
    }
    // The signature of a Solana transaction is over its exact bytes, too (P9).
    if key.scheme == Scheme::Ed25519 {
        let signer = child_key(key, &payload.path)?;
        if solana::could_be_transaction(bytes, &signer) {
            return Err(Undecodable::MessageIsTransaction);
        }
    }
    Ok(untweaked(
        Facts::Message(MessageFacts::of(bytes)),
        payload,
        bytes,
    ))
}

fn digest(payload: &Payload, key: &KeyFacts<'_>) -> Result<Decoded, Undecodable> {
    let bytes = admit_payload(payload, key)?;
    Ok(untweaked(
        Facts::Digest(read_digest(bytes)?),
        payload,
        bytes,
    ))
}

fn read_digest(bytes: &[u8]) -> Result<DigestFacts, Undecodable> {
    let digest = quorate_model::Digest::from_slice(bytes)
        .ok_or(Undecodable::DigestLength { found: bytes.len() })?;
    refuse_internal_proof(bytes)?;
    Ok(DigestFacts { digest })
}

fn solana_message(payload: &Payload, key: &KeyFacts<'_>) -> Result<Decoded, Undecodable> {
    let bytes = admit_payload(payload, key)?;
    refuse_internal_proof(bytes)?;
    let signer = child_key(key, &payload.path)?;
    let facts = solana::read_for(bytes, &signer)?;
    Ok(untweaked(Facts::SolanaMessage(facts), payload, bytes))
}

fn evm_transaction(payload: &Payload, key: &KeyFacts<'_>) -> Result<Decoded, Undecodable> {
    let bytes = admit_payload(payload, key)?;
    let sender = evm::evm_address(&child_key(key, &payload.path)?)?;
    let facts = evm::transaction_for(bytes, sender)?;
    let digest = facts.digest;
    Ok(untweaked(
        Facts::EvmTransaction(facts),
        payload,
        digest.as_bytes(),
    ))
}

fn evm_message(payload: &Payload, key: &KeyFacts<'_>) -> Result<Decoded, Undecodable> {
    let bytes = admit_payload(payload, key)?;
    refuse_internal_proof(bytes)?;
    let facts = evm::message(bytes);
    let digest = facts.digest;
    Ok(untweaked(
        Facts::EvmMessage(facts),
        payload,
        digest.as_bytes(),
    ))
}

fn evm_typed_data(payload: &Payload, key: &KeyFacts<'_>) -> Result<Decoded, Undecodable> {
    let bytes = admit_payload(payload, key)?;
    let facts = evm::typed_data::read(bytes)?;
    let digest = facts.digest;
    Ok(untweaked(
        Facts::EvmTypedData(facts),
        payload,
        digest.as_bytes(),
    ))
}

/// Keeps clients from having the key sign what only the cluster itself may say (P9, P20).
fn refuse_internal_proof(bytes: &[u8]) -> Result<(), Undecodable> {
    if bytes.starts_with(INTERNAL_PREFIX) {
        return Err(Undecodable::InternalProof);
    }
    Ok(())
}

fn untweaked(facts: Facts, payload: &Payload, message: &[u8]) -> Decoded {
    let item = SigningItem {
        message: message.to_vec(),
        path: payload.path.clone(),
        tweak: ItemTweak::None,
        input: None,
    };
    Decoded {
        facts,
        items: vec![item],
    }
}
