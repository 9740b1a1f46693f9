//! What a Solana message says, for policy and for people.

use serde::{Deserialize, Serialize};

use super::{
    address,
    programs::{self, Budget, Call, Effect},
    refusal::SolanaRefusal,
    wire::{Instruction, Message},
};
use crate::{amount::Amount, facts::PREVIEW_LENGTH, transfer::Transfer};

/// What the network takes for each signature, in lamports.
const LAMPORTS_PER_SIGNATURE: u64 = 5000;

/// The most compute units that a transaction can have, and what it has at most when it says
/// nothing.
const MAX_COMPUTE_UNITS: u32 = 1_400_000;

/// Prices of compute units are in millionths of a lamport.
const MICRO: u128 = 1_000_000;

/// What a Solana message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SolanaFacts {
    /// The cluster in the form of CAIP-2 (`solana:…`). Always none: a message names no cluster,
    /// and is valid wherever its blockhash or nonce is.
    pub chain: Option<String>,
    /// The form of the message.
    pub version: SolanaVersion,
    /// Its length in bytes.
    pub length: u64,
    /// Who pays the fee: the first signer.
    pub fee_payer: String,
    /// Who must sign, in order, the fee payer first.
    pub signers: Vec<String>,
    /// The blockhash after which the message soon is worthless, or the value of a nonce.
    pub recent_blockhash: String,
    /// The account whose nonce keeps the message valid until it is used.
    pub nonce_account: Option<String>,
    /// What is moved, in order. Complete unless the message is blind.
    pub transfers: Vec<Transfer>,
    /// The most that the fee payer pays for the transaction, in lamports: 5000 for each
    /// signature, and the price of compute units times their limit.
    pub max_fee: Amount,
    /// Every call, in order.
    pub instructions: Vec<SolanaInstruction>,
    /// The tables that hold accounts which the message does not show.
    pub lookup_tables: Vec<String>,
    /// Whether anything could not be decoded.
    pub blind: bool,
    /// What could not be decoded, and why.
    pub blind_because: Vec<String>,
}

/// The form of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SolanaVersion {
    /// The form without a version.
    Legacy,
    /// Version 0, with address lookup tables.
    V0,
}

/// One call of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SolanaInstruction {
    /// The program.
    pub program: String,
    /// The name of the call, where it is known.
    pub name: Option<String>,
    /// The accounts that the program is given, in order.
    pub accounts: Vec<String>,
    /// The start of its data in hex.
    pub data: String,
    /// The length of its data in bytes.
    pub data_length: u64,
    /// The program that owns the account that the call opens.
    pub new_owner: Option<String>,
    /// The text of a memo, escaped as in messages.
    pub memo: Option<String>,
}

/// The facts of a message that was checked.
pub(super) fn of(message: &Message, length: usize) -> Result<SolanaFacts, SolanaRefusal> {
    let calls: Vec<Call> = message
        .instructions
        .iter()
        .map(|instruction| programs::call(message, instruction))
        .collect();
    let signers: Vec<String> = message.signers().iter().map(|key| address(key)).collect();
    let instructions = calls.iter().zip(&message.instructions);
    let blind_because = blind_because(message, &calls);
    Ok(SolanaFacts {
        chain: None,
        version: match message.lookups {
            None => SolanaVersion::Legacy,
            Some(_) => SolanaVersion::V0,
        },
        length: length as u64,
        fee_payer: signers.first().cloned().unwrap_or_default(),
        signers,
        recent_blockhash: address(&message.blockhash),
        nonce_account: nonce_account(&calls),
        transfers: calls.iter().filter_map(transfer).collect(),
        max_fee: max_fee(message, &programs::budgets(&calls)?),
        instructions: instructions
            .map(|(call, raw)| instruction(call, raw))
            .collect(),
        lookup_tables: message
            .tables()
            .iter()
            .map(|lookup| address(&lookup.table))
            .collect(),
        blind: !blind_because.is_empty(),
        blind_because,
    })
}

fn blind_because(message: &Message, calls: &[Call]) -> Vec<String> {
    let tables = message.tables().iter().map(|lookup| {
        let table = address(&lookup.table);
        format!("accounts come from the lookup table {table}, and not from the message")
    });
    let calls = calls
        .iter()
        .enumerate()
        .filter_map(|(index, call)| match &call.effect {
            Effect::Blind(because) => Some(format!("instruction {index}: {because}")),
            Effect::Transfer(_)
            | Effect::CreateAccount { .. }
            | Effect::AdvanceNonce { .. }
            | Effect::Memo(_)
            | Effect::Budget(_) => None,
        });
    tables.chain(calls).collect()
}

/// A nonce counts only when the first instruction advances it.
fn nonce_account(calls: &[Call]) -> Option<String> {
    match &calls.first()?.effect {
        Effect::AdvanceNonce { account } => Some(account.clone()),
        Effect::Transfer(_)
        | Effect::CreateAccount { .. }
        | Effect::Memo(_)
        | Effect::Budget(_)
        | Effect::Blind(_) => None,
    }
}

fn transfer(call: &Call) -> Option<Transfer> {
    match &call.effect {
        Effect::Transfer(transfer)
        | Effect::CreateAccount {
            funding: transfer, ..
        } => Some(transfer.clone()),
        Effect::AdvanceNonce { .. } | Effect::Memo(_) | Effect::Budget(_) | Effect::Blind(_) => {
            None
        }
    }
}

fn max_fee(message: &Message, budgets: &[Budget]) -> Amount {
    let mut price: u64 = 0;
    let mut limit = MAX_COMPUTE_UNITS;
    for budget in budgets {
        match *budget {
            Budget::UnitPrice(set) => price = set,
            Budget::UnitLimit(set) => limit = set.min(MAX_COMPUTE_UNITS),
            Budget::HeapBytes(_) | Budget::DataBytes(_) => {}
        }
    }
    let signatures = u128::from(message.header.required_signatures);
    let base = signatures.saturating_mul(LAMPORTS_PER_SIGNATURE.into());
    let priority = u128::from(price).saturating_mul(limit.into());
    Amount::from(base.saturating_add(priority.div_ceil(MICRO)))
}

fn instruction(call: &Call, raw: &Instruction) -> SolanaInstruction {
    let start = raw.data.get(..PREVIEW_LENGTH).unwrap_or(&raw.data);
    let (new_owner, memo) = match &call.effect {
        Effect::CreateAccount { owner, .. } => (Some(owner.clone()), None),
        Effect::Memo(text) => (None, Some(text.clone())),
        Effect::Transfer(_)
        | Effect::AdvanceNonce { .. }
        | Effect::Budget(_)
        | Effect::Blind(_) => (None, None),
    };
    SolanaInstruction {
        program: call.program.clone(),
        name: call.name.map(str::to_owned),
        accounts: call.accounts.clone(),
        data: hex::encode(start),
        data_length: raw.data.len() as u64,
        new_owner,
        memo,
    }
}
