//! A PSBT whose inputs belong to a taproot key, spent by the key path (BIP-174, 341, 371).
//!
//! An input belongs to the key when its script is the taproot script of the key, or of the child
//! that a key origin of the input names, derived here anew. The script alone decides: derivations
//! and internal keys are not required for the key itself, and what contradicts the key path
//! without a script tree is refused. A BIP-341 signature over
//! DEFAULT or ALL commits to the amounts and scripts of all inputs, so a false amount anywhere
//! makes a signature that is worth nothing; that is why all of them must be there.

use std::collections::BTreeMap;

use bitcoin::{
    Amount, OutPoint, Psbt, TapSighashType, Transaction, TxOut, Witness,
    hashes::Hash as _,
    psbt,
    sighash::{Prevouts, SighashCache},
};
use quorate_model::payload::MAX_SIGNING_ITEMS;

use crate::{
    decode::{Decoded, ItemTweak, KeyFacts, SigningItem},
    facts::{Facts, InputFacts, OutputFacts, PsbtFacts, ScriptPubkey},
    taproot::TaprootKey,
    undecodable::Undecodable,
};

pub(crate) mod form;
mod owners;

pub(crate) use owners::Owner;
use owners::Owners;

/// What every binary PSBT starts with.
pub(crate) const MAGIC: &[u8] = b"psbt\xff";

/// The most inputs of one PSBT: no more than a command may have signed.
pub const MAX_INPUTS: usize = MAX_SIGNING_ITEMS;

/// The most outputs of one PSBT: more than fit into a transaction that the network relays.
pub const MAX_OUTPUTS: usize = 4096;

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

/// An input of the key with what is to be signed for it.
#[derive(Debug)]
pub(crate) struct OwnInput {
    pub(crate) index: usize,
    pub(crate) owner: Owner,
    pub(crate) sighash_type: TapSighashType,
    pub(crate) sighash: [u8; 32],
}

impl Spend {
    pub(crate) fn into_decoded(self) -> Decoded {
        let items = self
            .own
            .iter()
            .map(|own| SigningItem {
                message: own.sighash.to_vec(),
                path: own.owner.path.clone(),
                tweak: ItemTweak::TaprootKeyPath,
                input: u32::try_from(own.index).ok(),
            })
            .collect();
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
    let types = own_inputs(&psbt, &owners)?;
    let totals = Totals::of(&psbt, &prevouts, &owners, allow_high_fee)?;
    let own = sighashes(&psbt.unsigned_tx, &prevouts, types);
    let facts = facts(&psbt, &prevouts, &owners, &own, &totals);
    Ok(Spend { psbt, own, facts })
}

/// Reads a PSBT without a key: nothing in it is ours, and a high fee is only called so.
pub(crate) fn inspect(bytes: &[u8]) -> Result<PsbtFacts, Undecodable> {
    let psbt = parse(bytes)?;
    check_shape(&psbt.unsigned_tx)?;
    let prevouts = prevouts(&psbt)?;
    let owners = Owners::nobody(&psbt);
    let totals = Totals::of(&psbt, &prevouts, &owners, true)?;
    Ok(facts(&psbt, &prevouts, &owners, &[], &totals))
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

/// The inputs that belong to the key, each with its owner and sighash type.
fn own_inputs(
    psbt: &Psbt,
    owners: &Owners,
) -> Result<Vec<(usize, Owner, TapSighashType)>, Undecodable> {
    let mut own = Vec::new();
    for (index, (input, owner)) in psbt.inputs.iter().zip(&owners.inputs).enumerate() {
        if let Some(owner) = owner {
            check_unsigned(index, input)?;
            check_key_path(index, input, &owner.key)?;
            own.push((index, owner.clone(), sighash_type(index, input)?));
        }
    }
    Ok(own)
}

fn check_unsigned(index: usize, input: &psbt::Input) -> Result<(), Undecodable> {
    let fields = [
        (input.tap_key_sig.is_some(), "tap_key_sig"),
        (input.final_script_witness.is_some(), "final_script_witness"),
        (input.final_script_sig.is_some(), "final_script_sig"),
    ];
    match fields.into_iter().find(|(set, _)| *set) {
        Some((_, field)) => Err(Undecodable::AlreadySigned {
            input: index,
            field,
        }),
        None => Ok(()),
    }
}

/// The script is that of the key without a script tree; whatever says otherwise is a trap or a
/// mistake, and both are worth an error.
fn check_key_path(index: usize, input: &psbt::Input, key: &TaprootKey) -> Result<(), Undecodable> {
    let leaves = input
        .tap_key_origins
        .values()
        .any(|(leaves, _)| !leaves.is_empty());
    let fields = [
        (input.tap_merkle_root.is_some(), "tap_merkle_root"),
        (!input.tap_scripts.is_empty(), "tap_leaf_script"),
        (!input.tap_script_sigs.is_empty(), "tap_script_sig"),
        (leaves, "tap_bip32_derivation with leaves"),
    ];
    if let Some((_, field)) = fields.into_iter().find(|(set, _)| *set) {
        return Err(Undecodable::ScriptPath {
            input: index,
            field,
        });
    }
    if input
        .tap_internal_key
        .is_some_and(|claimed| claimed != key.internal)
    {
        let expected = key.internal.to_string();
        return Err(Undecodable::InternalKeyMismatch {
            input: index,
            expected,
        });
    }
    Ok(())
}

fn sighash_type(index: usize, input: &psbt::Input) -> Result<TapSighashType, Undecodable> {
    let Some(asked) = input.sighash_type else {
        return Ok(TapSighashType::Default);
    };
    [TapSighashType::Default, TapSighashType::All]
        .into_iter()
        .find(|allowed| psbt::PsbtSighashType::from(*allowed) == asked)
        .ok_or(Undecodable::SighashType {
            input: index,
            found: asked.to_u32(),
        })
}

/// Sums in satoshis; none exceeds what can exist.
#[derive(Debug)]
struct Totals {
    inputs: u64,
    own: u64,
    outputs: u64,
    change: u64,
    fee: u64,
    high_fee: bool,
}

impl Totals {
    fn of(
        psbt: &Psbt,
        prevouts: &[TxOut],
        owners: &Owners,
        allow_high_fee: bool,
    ) -> Result<Self, Undecodable> {
        let (inputs, own) = sums(prevouts, &owners.inputs, "inputs")?;
        let (outputs, change) = sums(&psbt.unsigned_tx.output, &owners.outputs, "outputs")?;
        let fee = inputs
            .checked_sub(outputs)
            .ok_or(Undecodable::OutputsExceedInputs {
                inputs_sat: inputs,
                outputs_sat: outputs,
            })?;
        // Multiplied, because a division would round one tenth down; ten times all money fits.
        let high_fee = fee.saturating_mul(HIGH_FEE_SHARE) > inputs || fee > HIGH_FEE_SAT;
        if high_fee && !allow_high_fee {
            return Err(Undecodable::HighFee {
                fee_sat: fee,
                inputs_sat: inputs,
            });
        }
        Ok(Self {
            inputs,
            own,
            outputs,
            change,
            fee,
            high_fee,
        })
    }
}

/// The sum of all outputs, and of those with an owner, which is never more.
fn sums(
    outputs: &[TxOut],
    owners: &[Option<Owner>],
    side: &'static str,
) -> Result<(u64, u64), Undecodable> {
    let mut all: u64 = 0;
    let mut own: u64 = 0;
    for (output, owner) in outputs.iter().zip(owners) {
        let amount = output.value.to_sat();
        all = all
            .checked_add(amount)
            .filter(|sum| *sum <= Amount::MAX_MONEY.to_sat())
            .ok_or(Undecodable::AmountOutOfRange { side })?;
        if owner.is_some() {
            own = own.saturating_add(amount);
        }
    }
    Ok((all, own))
}

/// The BIP-341 digests of the key path, without annex.
pub(crate) fn sighashes(
    transaction: &Transaction,
    prevouts: &[TxOut],
    types: Vec<(usize, Owner, TapSighashType)>,
) -> Vec<OwnInput> {
    let mut cache = SighashCache::new(transaction);
    let prevouts = Prevouts::All(prevouts);
    types
        .into_iter()
        .map(|(index, owner, sighash_type)| {
            #[expect(
                clippy::expect_used,
                reason = "there is a previous output for each input, and the index is one of them"
            )]
            let sighash = cache
                .taproot_key_spend_signature_hash(index, &prevouts, sighash_type)
                .expect("the input exists and all previous outputs are given");
            OwnInput {
                index,
                owner,
                sighash_type,
                sighash: sighash.to_byte_array(),
            }
        })
        .collect()
}

fn facts(
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
        .map(|((input, prevout), owner)| InputFacts {
            txid: input.previous_output.txid.to_string(),
            vout: input.previous_output.vout,
            amount_sat: prevout.value.to_sat(),
            script: ScriptPubkey::new(prevout.script_pubkey.to_bytes()),
            sequence: input.sequence.to_consensus_u32(),
            is_ours: owner.is_some(),
            path: owner.as_ref().map(|owner| owner.path.clone()),
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
            let length = if own.sighash_type == TapSighashType::Default {
                64
            } else {
                65
            };
            spent.witness = Witness::from_slice(&[vec![0; length]]);
        }
    }
    let size = u64::try_from(signed.vsize()).unwrap_or(u64::MAX);
    fee_sat.saturating_mul(1000).checked_div(size).unwrap_or(0)
}
