//! From signatures back to what a client asked for.

use bitcoin::{
    Psbt, Witness, consensus, psbt,
    secp256k1::{Message, schnorr},
    taproot,
};
use quorate_model::{Payload, PayloadKind, Scheme, payload::MAX_PAYLOAD_BYTES};

use crate::{
    children::MAX_DERIVED,
    decode::{KeyFacts, decode, read_psbt},
    psbt::{OwnInput, Spend, parse},
    taproot::SECP,
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
    #[error("signature {item} does not verify under the tweaked key for input {input}")]
    Invalid {
        /// Which, from 0.
        item: usize,
        /// The input that it was for.
        input: usize,
    },
}

/// Puts signatures, in the order of the items, where the payload wants them.
///
/// Signatures for a PSBT are verified here, under the tweaked key. All others come back as they
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
    let expected = match scheme {
        Scheme::FrostSecp256k1 | Scheme::EcdsaSecp256k1 => 65,
        _ => 64,
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
        let invalid = Unfinishable::Invalid {
            item,
            input: own.index,
        };
        let Some(input) = spend.psbt.inputs.get_mut(own.index) else {
            return Err(invalid);
        };
        let Some(verified) = verified(own, signature) else {
            return Err(invalid);
        };
        input.tap_key_sig = Some(verified);
    }
    Ok(Finished::Psbt(spend.psbt.serialize()))
}

fn verified(own: &OwnInput, signature: &[u8]) -> Option<taproot::Signature> {
    let signature = schnorr::Signature::from_slice(signature).ok()?;
    let message = Message::from_digest(own.sighash);
    let key = own.owner.key.output.to_x_only_public_key();
    SECP.verify_schnorr(&signature, &message, &key).ok()?;
    Some(taproot::Signature {
        signature,
        sighash_type: own.sighash_type,
    })
}

/// A PSBT whose taproot key-path signatures have become witnesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finalized {
    /// The PSBT, binary.
    pub psbt: Vec<u8>,
    /// The transaction, ready to be broadcast, when no input is left unsigned.
    pub transaction: Option<Vec<u8>>,
}

/// Turns every taproot key-path signature of a PSBT into a final witness (BIP-371), whoever
/// made it. Signatures are not verified; the network does that.
///
/// # Errors
///
/// When the bytes are no PSBT.
pub fn finalize(bytes: &[u8]) -> Result<Finalized, Undecodable> {
    // Twice a payload, because signatures have come in since.
    if bytes.len() > MAX_PAYLOAD_BYTES.saturating_mul(2) {
        return Err(Undecodable::TooLarge {
            kind: PayloadKind::Psbt,
            found: bytes.len(),
        });
    }
    let mut psbt = parse(bytes)?;
    psbt.inputs.iter_mut().for_each(finalize_input);
    let is_final = |input: &psbt::Input| {
        input.final_script_witness.is_some() || input.final_script_sig.is_some()
    };
    let complete = !psbt.inputs.is_empty() && psbt.inputs.iter().all(is_final);
    Ok(Finalized {
        psbt: psbt.serialize(),
        transaction: complete.then(|| extracted(psbt)),
    })
}

/// Keeps of an input only what BIP-174 lets a finalizer keep.
fn finalize_input(input: &mut psbt::Input) {
    let Some(signature) = input.tap_key_sig else {
        return;
    };
    *input = psbt::Input {
        non_witness_utxo: input.non_witness_utxo.take(),
        witness_utxo: input.witness_utxo.take(),
        final_script_witness: Some(Witness::p2tr_key_spend(&signature)),
        proprietary: std::mem::take(&mut input.proprietary),
        unknown: std::mem::take(&mut input.unknown),
        ..psbt::Input::default()
    };
}

/// The transaction as it goes to the network. The fee was judged when the PSBT was decoded.
fn extracted(psbt: Psbt) -> Vec<u8> {
    consensus::encode::serialize(&psbt.extract_tx_unchecked_fee_rate())
}
