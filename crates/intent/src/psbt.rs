//! A PSBT whose inputs belong to a key: taproot spent by the key path (BIP-341, 371) for bip340;
//! P2WPKH, the same inside P2SH, and P2PKH for ecdsa-secp256k1 (BIP-143, 174).
//!
//! An input belongs to the key when its script is one of the key, or of the child that a key origin
//! of the input names, derived here anew. The script alone decides: derivations and internal keys
//! are not required for the key itself, and what contradicts the script is refused.
//!
//! The amounts of all inputs must be there. A BIP-341 signature over DEFAULT or ALL commits to the
//! amounts and scripts of all inputs, so a false amount anywhere makes a signature that is worth
//! nothing. A BIP-143 signature commits to the amount of its own input. One of before segwit
//! commits to none, which is why its input must come with the previous transaction.

use std::collections::BTreeMap;

use bitcoin::{OutPoint, Psbt, Transaction, TxOut, psbt};
use quorate_model::payload::MAX_SIGNING_ITEMS;

use crate::{
    decode::{Decoded, KeyFacts},
    facts::{Facts, PsbtFacts},
    undecodable::Undecodable,
};

mod facts;
pub(crate) mod form;
mod own;
mod owners;
mod totals;

#[cfg(test)]
pub(crate) use own::WholeSighash;
pub(crate) use own::{OwnInput, sighashes};
#[cfg(test)]
pub(crate) use owners::Owner;
use owners::Owners;
use totals::Totals;

/// What every binary PSBT starts with.
pub(crate) const MAGIC: &[u8] = b"psbt\xff";

/// The most inputs of one PSBT: no more than a command may have signed.
pub const MAX_INPUTS: usize = MAX_SIGNING_ITEMS;

/// The most outputs of one PSBT: more than fit into a transaction that the network relays.
pub const MAX_OUTPUTS: usize = 4096;

/// The most bytes of a transaction with an input of before segwit, without signatures: more than
/// the network relays. Hashing takes as long for each such input.
pub(crate) const MAX_LEGACY_BYTES: usize = 100_000;

/// A fee above one tenth of the inputs is high.
pub const HIGH_FEE_SHARE: u64 = 10;

/// A fee above 0.1 BTC is high.
pub const HIGH_FEE_SAT: u64 = 10_000_000;

/// How much of the parser's words is repeated.
const DETAIL_LENGTH: usize = 160;

/// A PSBT that the key can sign.
#[derive(Debug)]
pub(crate) struct Spend {
    pub(crate) psbt: Psbt,
    pub(crate) own: Vec<OwnInput>,
    facts: PsbtFacts,
}

impl Spend {
    pub(crate) fn into_decoded(self) -> Decoded {
        let items = self.own.iter().map(OwnInput::item).collect();
        Decoded {
            facts: Facts::Psbt(self.facts),
            items,
        }
    }
}

/// Reads a PSBT and checks everything that does not depend on policy. `left` is how much may
/// still be derived for the command.
pub(crate) fn read(
    bytes: &[u8],
    key: &KeyFacts<'_>,
    allow_high_fee: bool,
    left: &mut usize,
) -> Result<Spend, Undecodable> {
    let psbt = parse(bytes)?;
    check_shape(&psbt.unsigned_tx)?;
    let prevouts = prevouts(&psbt)?;
    let owners = Owners::of(&psbt, &prevouts, key, left)?;
    let types = own::own_inputs(&psbt, &owners)?;
    let totals = Totals::of(&psbt, &prevouts, &owners, allow_high_fee)?;
    let own = sighashes(&psbt.unsigned_tx, &prevouts, types);
    let facts = facts::facts(&psbt, &prevouts, &owners, &own, &totals);
    Ok(Spend { psbt, own, facts })
}

/// Reads a PSBT without a key: nothing in it is ours, and a high fee is only called so.
pub(crate) fn inspect(bytes: &[u8]) -> Result<PsbtFacts, Undecodable> {
    let psbt = parse(bytes)?;
    check_shape(&psbt.unsigned_tx)?;
    let prevouts = prevouts(&psbt)?;
    let owners = Owners::nobody(&psbt);
    let totals = Totals::of(&psbt, &prevouts, &owners, true)?;
    Ok(facts::facts(&psbt, &prevouts, &owners, &[], &totals))
}

/// Parses exactly one binary PSBT.
pub(crate) fn parse(bytes: &[u8]) -> Result<Psbt, Undecodable> {
    if !bytes.starts_with(MAGIC) {
        return Err(Undecodable::NotPsbt);
    }
    let mut rest = bytes;
    let psbt =
        Psbt::deserialize_from_reader(&mut rest).map_err(|error| Undecodable::Unreadable {
            detail: in_short(&error),
        })?;
    if !rest.is_empty() {
        return Err(Undecodable::TrailingBytes { count: rest.len() });
    }
    Ok(psbt)
}

/// The chain of an error in one bounded line.
fn in_short(error: &dyn std::error::Error) -> String {
    let mut line: String = error.to_string().chars().take(DETAIL_LENGTH).collect();
    let mut source = error.source();
    while let Some(error) = source {
        line.push_str(": ");
        line.extend(error.to_string().chars().take(DETAIL_LENGTH));
        source = error.source();
    }
    line.chars().take(DETAIL_LENGTH).collect()
}

fn check_shape(transaction: &Transaction) -> Result<(), Undecodable> {
    if transaction.input.len() > MAX_INPUTS {
        return Err(Undecodable::TooManyInputs {
            found: transaction.input.len(),
        });
    }
    if transaction.output.len() > MAX_OUTPUTS {
        return Err(Undecodable::TooManyOutputs {
            found: transaction.output.len(),
        });
    }
    if transaction.output.is_empty() {
        return Err(Undecodable::NoOutputs);
    }
    let mut seen = BTreeMap::new();
    for (second, input) in transaction.input.iter().enumerate() {
        if let Some(first) = seen.insert(input.previous_output, second) {
            return Err(Undecodable::DuplicateInput { first, second });
        }
    }
    Ok(())
}

/// The outputs that are spent, in the order of the inputs.
fn prevouts(psbt: &Psbt) -> Result<Vec<TxOut>, Undecodable> {
    let inputs = psbt.unsigned_tx.input.iter().zip(&psbt.inputs).enumerate();
    inputs
        .map(|(index, (spent, input))| prevout(index, spent.previous_output, input))
        .collect()
}

fn prevout(index: usize, outpoint: OutPoint, input: &psbt::Input) -> Result<TxOut, Undecodable> {
    let from_previous = match &input.non_witness_utxo {
        Some(previous) => Some(output_of(index, outpoint, previous)?),
        None => None,
    };
    match (&input.witness_utxo, from_previous) {
        (Some(claimed), Some(proven)) if claimed != proven => {
            Err(Undecodable::UtxoDisagreement { input: index })
        }
        (Some(output), _) | (None, Some(output)) => Ok(output.clone()),
        (None, None) => Err(Undecodable::NoAmount { input: index }),
    }
}

fn output_of(
    index: usize,
    outpoint: OutPoint,
    previous: &Transaction,
) -> Result<&TxOut, Undecodable> {
    if previous.compute_txid() != outpoint.txid {
        return Err(Undecodable::WrongPrevious { input: index });
    }
    let position = usize::try_from(outpoint.vout).ok();
    position
        .and_then(|vout| previous.output.get(vout))
        .ok_or(Undecodable::NoSuchOutput {
            input: index,
            vout: outpoint.vout,
            outputs: previous.output.len(),
        })
}
