//! The facts of a PSBT.

use bitcoin::{Psbt, ScriptBuf, TxOut, Witness, script::Builder};

use quorate_model::address::AddressType;

use super::{
    own::{OwnInput, WholeSighash},
    owners::Owners,
    totals::Totals,
};
use crate::{
    facts::{InputFacts, OutputFacts, PsbtFacts, ScriptPubkey},
    receiver::{Receiver, nested_script_sig},
};

pub(super) fn facts(
    psbt: &Psbt,
    prevouts: &[TxOut],
    owners: &Owners,
    own: &[OwnInput],
    totals: &Totals,
) -> PsbtFacts {
    let transaction = &psbt.unsigned_tx;
    let inputs = transaction
        .input
        .iter()
        .zip(prevouts)
        .zip(&owners.inputs)
        .zip(&psbt.inputs)
        .map(|(((input, prevout), owner), claims)| {
            let script = ScriptPubkey::new(prevout.script_pubkey.to_bytes());
            InputFacts {
                txid: input.previous_output.txid.to_string(),
                vout: input.previous_output.vout,
                amount_sat: prevout.value.to_sat(),
                amount_proven: claims.non_witness_utxo.is_some(),
                kind: script.kind(),
                script,
                sequence: input.sequence.to_consensus_u32(),
                is_ours: owner.is_some(),
                path: owner.as_ref().map(|owner| owner.path.clone()),
            }
        });
    let outputs = transaction.output.iter().zip(&owners.outputs);
    let outputs = outputs.map(|(output, owner)| {
        let script = ScriptPubkey::new(output.script_pubkey.to_bytes());
        OutputFacts {
            amount_sat: output.value.to_sat(),
            kind: script.kind(),
            script,
            is_change: owner.is_some(),
            path: owner.as_ref().map(|owner| owner.path.clone()),
        }
    });
    PsbtFacts {
        unsigned_txid: transaction.compute_txid().to_string(),
        version: transaction.version.0,
        lock_time: transaction.lock_time.to_consensus_u32(),
        replaceable: transaction.is_explicitly_rbf(),
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        input_total_sat: totals.inputs,
        own_input_total_sat: totals.own,
        output_total_sat: totals.outputs,
        change_total_sat: totals.change,
        fee_sat: totals.fee,
        fee_rate_sat_per_kvb: fee_rate(psbt, own, totals.fee),
        high_fee: totals.high_fee,
    }
}

/// The fee per 1000 virtual bytes of the transaction with the signatures that are known to come.
fn fee_rate(psbt: &Psbt, own: &[OwnInput], fee_sat: u64) -> u64 {
    let mut signed = psbt.unsigned_tx.clone();
    for (spent, input) in signed.input.iter_mut().zip(&psbt.inputs) {
        spent.script_sig = input.final_script_sig.clone().unwrap_or_default();
        spent.witness = input.final_script_witness.clone().unwrap_or_default();
    }
    for own in own {
        if let Some(spent) = signed.input.get_mut(own.index) {
            (spent.script_sig, spent.witness) = placeholder(own);
        }
    }
    let size = u64::try_from(signed.vsize()).unwrap_or(u64::MAX);
    fee_sat.saturating_mul(1000).checked_div(size).unwrap_or(0)
}

/// As long as what will spend an input: most ECDSA signatures have 71 or 72 bytes.
fn placeholder(own: &OwnInput) -> (ScriptBuf, Witness) {
    const ECDSA_SIGNATURE: [u8; 71] = [0; 71];
    let key = match &own.owner.key {
        Receiver::Taproot(_) => {
            let length = match own.sighash_type {
                WholeSighash::Default => 64,
                WholeSighash::All => 65,
            };
            return (ScriptBuf::new(), Witness::from_slice(&[vec![0; length]]));
        }
        Receiver::Ecdsa(key) => key,
    };
    let public_key = key.public_key.to_bytes();
    let witness = || Witness::from_slice(&[&ECDSA_SIGNATURE[..], &public_key]);
    match own.owner.form {
        AddressType::P2tr | AddressType::P2wpkh => (ScriptBuf::new(), witness()),
        AddressType::P2shP2wpkh => (nested_script_sig(&key.p2wpkh), witness()),
        AddressType::P2pkh => {
            let script = Builder::new().push_slice(ECDSA_SIGNATURE);
            (script.push_slice(public_key).into_script(), Witness::new())
        }
    }
}
