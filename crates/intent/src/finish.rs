//! From signatures back to what a client asked for.

use bitcoin::{
    psbt,
    secp256k1::{Message, ecdsa, schnorr},
    taproot,
};
use quorate_model::{Payload, PayloadKind, Scheme, address::AddressType};

use crate::{
    children::MAX_DERIVED,
    decode::{KeyFacts, decode, read_psbt},
    psbt::{OwnInput, Spend},
    receiver::{EcdsaKey, Receiver},
    taproot::{SECP, TaprootKey},
    undecodable::Undecodable,
};

/// What a client gets for one payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// The signature, in the form that the scheme has: of a message, a digest, an EVM payload, or
    /// a Solana message. The payload stays as it is; [`crate::solana::transaction`] puts a
    /// signature and a Solana message together.
    Signature(Vec<u8>),
    /// The PSBT with a signature in each input that belongs to the key; binary, not finalized.
    Psbt(Vec<u8>),
}

/// Why signatures do not finish a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfinishable {
    /// The payload could not have been signed.
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
    /// Another number of signatures than there are items.
    #[error("the payload has {expected} items to sign, found {found} signatures")]
    Count {
        /// How many items there are.
        expected: usize,
        /// How many signatures were given.
        found: usize,
    },
    /// A signature of another length than the scheme's.
    #[error("signature {item} has {found} bytes, expected {expected}")]
    Length {
        /// Which, from 0.
        item: usize,
        /// The length that the scheme has.
        expected: usize,
        /// The length found.
        found: usize,
    },
    /// A signature that does not verify.
    #[error("signature {item} does not verify under the key of input {input}")]
    Invalid {
        /// Which, from 0.
        item: usize,
        /// The input that it was for.
        input: usize,
    },
}

/// Puts signatures, in the order of the items, where the payload wants them.
///
/// Signatures for a PSBT are verified here, under the key of their input. All others come back as they
/// are and are not verified: the caller does that with the library of its choice.
///
/// # Errors
///
/// When the payload does not decode, or the signatures are not the ones that it asks for.
pub fn finish(
    payload: &Payload,
    key: &KeyFacts<'_>,
    signatures: &[Vec<u8>],
) -> Result<Finished, Unfinishable> {
    match payload.kind {
        PayloadKind::Message
        | PayloadKind::Digest
        | PayloadKind::EvmTransaction
        | PayloadKind::EvmMessage
        | PayloadKind::EvmTypedData
        | PayloadKind::SolanaMessage => {
            let decoded = decode(payload, key)?;
            check_lengths(decoded.items.len(), key.scheme, signatures)?;
            Ok(Finished::Signature(signatures.concat()))
        }
        PayloadKind::Psbt => {
            let mut left = MAX_DERIVED;
            let spend = read_psbt(payload, key, &mut left)?;
            check_lengths(spend.own.len(), key.scheme, signatures)?;
            fill_in(spend, signatures)
        }
    }
}

fn check_lengths(
    expected: usize,
    scheme: Scheme,
    signatures: &[Vec<u8>],
) -> Result<(), Unfinishable> {
    if signatures.len() != expected {
        return Err(Unfinishable::Count {
            expected,
            found: signatures.len(),
        });
    }
    let expected = if matches!(scheme, Scheme::FrostSecp256k1 | Scheme::EcdsaSecp256k1) {
        65
    } else {
        64
    };
    match signatures
        .iter()
        .enumerate()
        .find(|(_, signature)| signature.len() != expected)
    {
        Some((item, signature)) => Err(Unfinishable::Length {
            item,
            expected,
            found: signature.len(),
        }),
        None => Ok(()),
    }
}

fn fill_in(mut spend: Spend, signatures: &[Vec<u8>]) -> Result<Finished, Unfinishable> {
    for (item, (own, signature)) in spend.own.iter().zip(signatures).enumerate() {
        let input = spend.psbt.inputs.get_mut(own.index);
        let filled = input.and_then(|input| fill_input(input, own, signature));
        filled.ok_or(Unfinishable::Invalid {
            item,
            input: own.index,
        })?;
    }
    Ok(Finished::Psbt(spend.psbt.serialize()))
}

/// Puts a signature into an input; none when it does not verify.
fn fill_input(input: &mut psbt::Input, own: &OwnInput, signature: &[u8]) -> Option<()> {
    match &own.owner.key {
        Receiver::Taproot(key) => input.tap_key_sig = Some(verified_taproot(own, key, signature)?),
        Receiver::Ecdsa(key) => {
            let signature = verified_ecdsa(own, key, signature)?;
            input.partial_sigs.insert(key.public_key.into(), signature);
            // The script hash does not tell others what to reveal.
            if own.owner.form == AddressType::P2shP2wpkh {
                input.redeem_script = Some(key.p2wpkh.clone());
            }
        }
    }
    Some(())
}

fn verified_taproot(
    own: &OwnInput,
    key: &TaprootKey,
    signature: &[u8],
) -> Option<taproot::Signature> {
    let signature = schnorr::Signature::from_slice(signature).ok()?;
    let message = Message::from_digest(own.sighash);
    let key = key.output.to_x_only_public_key();
    SECP.verify_schnorr(&signature, &message, &key).ok()?;
    Some(taproot::Signature {
        signature,
        sighash_type: own.sighash_type.of_taproot(),
    })
}

/// The recovery id is of no use in a transaction that holds the key.
fn verified_ecdsa(
    own: &OwnInput,
    key: &EcdsaKey,
    signature: &[u8],
) -> Option<bitcoin::ecdsa::Signature> {
    let (_, compact) = signature.split_last()?;
    let signature = ecdsa::Signature::from_compact(compact).ok()?;
    let message = Message::from_digest(own.sighash);
    // Refuses a high s as well, which the network does not relay.
    SECP.verify_ecdsa(&message, &signature, &key.public_key.0)
        .ok()?;
    Some(bitcoin::ecdsa::Signature::sighash_all(signature))
}
