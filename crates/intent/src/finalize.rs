//! From a PSBT with signatures to the transaction (BIP-174, 371).

use bitcoin::{
    Psbt, PublicKey, Script, ScriptBuf, Witness, consensus, ecdsa, psbt,
    script::{Builder, PushBytesBuf},
};
use quorate_model::{PayloadKind, payload::MAX_PAYLOAD_BYTES};

use crate::{psbt::parse, receiver::nested_script_sig, undecodable::Undecodable};

/// A PSBT whose signatures have become script signatures and witnesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finalized {
    /// The PSBT, binary.
    pub psbt: Vec<u8>,
    /// The transaction, ready to be broadcast, when no input is left unsigned.
    pub transaction: Option<Vec<u8>>,
}

/// Turns every signature of a PSBT that spends the output of a single key into what the network
/// reads, whoever made it: taproot key path, P2WPKH, P2WPKH inside P2SH, P2PKH. Signatures are not
/// verified; the network does that. Other inputs stay as they are.
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
    let outpoints = psbt.unsigned_tx.input.iter();
    for (spent, input) in outpoints.zip(&mut psbt.inputs) {
        finalize_input(input, spent.previous_output.vout);
    }
    let is_final = |input: &psbt::Input| {
        input.final_script_witness.is_some() || input.final_script_sig.is_some()
    };
    let complete = !psbt.inputs.is_empty() && psbt.inputs.iter().all(is_final);
    Ok(Finalized {
        psbt: psbt.serialize(),
        transaction: complete.then(|| extracted(psbt)),
    })
}

/// What unlocks an input.
#[derive(Default)]
struct Unlocking {
    script_sig: Option<ScriptBuf>,
    witness: Option<Witness>,
}

/// Keeps of an input only what BIP-174 lets a finalizer keep.
fn finalize_input(input: &mut psbt::Input, vout: u32) {
    if input.final_script_witness.is_some() || input.final_script_sig.is_some() {
        return;
    }
    let Some(unlocking) = unlocking(input, vout) else {
        return;
    };
    *input = psbt::Input {
        non_witness_utxo: input.non_witness_utxo.take(),
        witness_utxo: input.witness_utxo.take(),
        final_script_sig: unlocking.script_sig,
        final_script_witness: unlocking.witness,
        proprietary: std::mem::take(&mut input.proprietary),
        unknown: std::mem::take(&mut input.unknown),
        ..psbt::Input::default()
    };
}

fn unlocking(input: &psbt::Input, vout: u32) -> Option<Unlocking> {
    let script = spent_script(input, vout)?;
    if script.is_p2tr() {
        let witness = Witness::p2tr_key_spend(input.tap_key_sig.as_ref()?);
        return Some(Unlocking {
            witness: Some(witness),
            ..Unlocking::default()
        });
    }
    if script.is_p2pkh() {
        let (key, signature) = signed(input, |key| {
            ScriptBuf::new_p2pkh(&key.pubkey_hash()) == *script
        })?;
        let signature = PushBytesBuf::try_from(signature.to_vec()).ok()?;
        let unlocked = Builder::new().push_slice(signature).push_key(key);
        return Some(Unlocking {
            script_sig: Some(unlocked.into_script()),
            ..Unlocking::default()
        });
    }
    // What is inside the script hash, or the script itself.
    let nested = script.is_p2sh();
    let (key, signature) = signed(input, |key| {
        p2wpkh(key).is_some_and(|program| {
            if nested {
                ScriptBuf::new_p2sh(&program.script_hash()) == *script
            } else {
                program == *script
            }
        })
    })?;
    Some(Unlocking {
        script_sig: nested
            .then(|| p2wpkh(key))
            .flatten()
            .map(|program| nested_script_sig(&program)),
        witness: Some(Witness::p2wpkh(signature, &key.inner)),
    })
}

/// The script that an input spends, as the PSBT has it.
fn spent_script(input: &psbt::Input, vout: u32) -> Option<&Script> {
    let from_previous = || {
        let outputs = &input.non_witness_utxo.as_ref()?.output;
        outputs.get(usize::try_from(vout).ok()?)
    };
    let spent = input.witness_utxo.as_ref().or_else(from_previous)?;
    Some(&spent.script_pubkey)
}

/// The signature under the key that a script names by its hash.
fn signed(
    input: &psbt::Input,
    is_named: impl Fn(&PublicKey) -> bool,
) -> Option<(&PublicKey, &ecdsa::Signature)> {
    input.partial_sigs.iter().find(|(key, _)| is_named(key))
}

/// None for an uncompressed key, which segwit does not allow.
fn p2wpkh(key: &PublicKey) -> Option<ScriptBuf> {
    Some(ScriptBuf::new_p2wpkh(&key.wpubkey_hash().ok()?))
}

/// The transaction as it goes to the network. The fee was judged when the PSBT was decoded.
fn extracted(psbt: Psbt) -> Vec<u8> {
    consensus::encode::serialize(&psbt.extract_tx_unchecked_fee_rate())
}
