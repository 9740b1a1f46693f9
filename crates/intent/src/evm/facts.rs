//! What payloads of EVM chains say, for policy and for people.

use quorate_model::Digest;
use serde::{Deserialize, Serialize};

use super::{
    address::EvmAddress,
    call::Call,
    keccak256,
    transaction::{EvmFees, EvmTransaction},
};
use crate::{
    amount::Amount,
    facts::{MessageFacts, PREVIEW_LENGTH},
    transfer::{Asset, Transfer},
};

/// The gas of one blob (EIP-4844).
const GAS_PER_BLOB: u64 = 131_072;

/// What a personal message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvmMessageFacts {
    /// The digest that is signed: over the prefix of EIP-191, the length and the message.
    pub digest: Digest,
    /// The message itself.
    pub message: MessageFacts,
}

/// The type of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EvmTransactionType {
    /// Legacy, with EIP-155.
    Legacy,
    /// EIP-2930, type 1.
    Eip2930,
    /// EIP-1559, type 2.
    Eip1559,
    /// EIP-4844, type 3.
    Eip4844,
    /// EIP-7702, type 4, which no key signs.
    Eip7702,
}

/// What an EVM transaction says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvmTransactionFacts {
    /// The chain in the form of CAIP-2: `eip155:` and its id.
    pub chain: String,
    /// The type.
    pub transaction_type: EvmTransactionType,
    /// The digest that is signed.
    pub digest: Digest,
    /// The account of the key. None without a key: an unsigned transaction names no sender.
    pub sender: Option<EvmAddress>,
    /// How many transactions the sender has sent before.
    pub nonce: u64,
    /// The account that is called; none creates a contract.
    pub to: Option<EvmAddress>,
    /// How much of the coin goes to it, in wei.
    pub value: Amount,
    /// The call of a contract, when there are data.
    pub call: Option<EvmCall>,
    /// What is moved, the coin first. Complete unless the transaction is blind.
    pub transfers: Vec<Transfer>,
    /// What others are allowed to move later.
    pub approvals: Vec<EvmApproval>,
    /// The most gas that is used.
    pub gas_limit: u64,
    /// The most for a unit of gas, in wei.
    pub max_fee_per_gas: Amount,
    /// The most of that for whoever makes the block, where the type tells it apart.
    pub max_priority_fee_per_gas: Option<Amount>,
    /// The most for a unit of blob gas.
    pub max_fee_per_blob_gas: Option<Amount>,
    /// The most that the sender pays for the transaction, in wei, blobs included. Some chains
    /// (rollups) take a fee beyond it.
    pub max_fee: Amount,
    /// The accounts that are announced.
    pub access_list: Vec<EvmAddress>,
    /// The hashes of the blobs.
    pub blob_hashes: Vec<String>,
    /// The accounts that are to run the code of others, which no key signs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorizations: Vec<EvmAuthorizationFacts>,
    /// Whether anything could not be decoded.
    pub blind: bool,
    /// What could not be decoded, and why.
    pub blind_because: Vec<String>,
}

/// The word of an account that it is to run the code of another (EIP-7702). Whose word it is
/// follows from its signature alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvmAuthorizationFacts {
    /// The chain on which it counts, in the form of CAIP-2. None stands for all chains.
    pub chain: Option<String>,
    /// The account whose code is run; zero ends that.
    pub address: EvmAddress,
    /// How many transactions and authorizations the account has sent before.
    pub nonce: u64,
}

/// A call of a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvmCall {
    /// The first four bytes of the data in hex; none when there are fewer, or when a contract is
    /// created.
    pub selector: Option<String>,
    /// The function, when the call is decoded.
    pub function: Option<String>,
    /// The start of the data in hex.
    pub data: String,
    /// The length of the data in bytes.
    pub data_length: u64,
}

/// A permission to move tokens of the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvmApproval {
    /// What may be moved.
    pub asset: Asset,
    /// By whom.
    pub spender: EvmAddress,
    /// How much at most.
    pub amount: Amount,
    /// Whether that is the largest amount there is, which many tokens never count down.
    pub unlimited: bool,
}

/// The facts of a transaction that was checked.
pub(super) fn of(transaction: &EvmTransaction, bytes: &[u8]) -> EvmTransactionFacts {
    let known = match transaction.to {
        Some(contract) => Call::read(&transaction.input).map(|call| (contract, call)),
        None => None,
    };
    let (max_fee_per_gas, max_priority_fee_per_gas) = prices(&transaction.fees);
    let mut transfers: Vec<Transfer> = coin(transaction).into_iter().collect();
    let mut approvals = Vec::new();
    if let Some((contract, call)) = known {
        match movement(contract, call) {
            Movement::Transfer(transfer) => transfers.push(transfer),
            Movement::Approval(approval) => approvals.push(approval),
        }
    }
    let blind_because = blind_because(transaction, known.is_some());
    EvmTransactionFacts {
        chain: format!("eip155:{}", transaction.chain_id),
        transaction_type: type_of(&transaction.fees),
        digest: Digest::new(keccak256(bytes)),
        sender: None,
        nonce: transaction.nonce,
        to: transaction.to,
        value: transaction.value,
        call: (!transaction.input.is_empty())
            .then(|| call_facts(transaction, known.map(|(_, call)| call))),
        transfers,
        approvals,
        gas_limit: transaction.gas_limit,
        max_fee_per_gas: max_fee_per_gas.into(),
        max_priority_fee_per_gas: max_priority_fee_per_gas.map(Amount::from),
        max_fee_per_blob_gas: blob_price(&transaction.fees).map(Amount::from),
        max_fee: max_fee(transaction, max_fee_per_gas),
        access_list: transaction
            .access_list
            .iter()
            .map(|access| access.address)
            .collect(),
        blob_hashes: blobs(&transaction.fees).iter().map(hex::encode).collect(),
        authorizations: authorizations(&transaction.fees),
        blind: !blind_because.is_empty(),
        blind_because,
    }
}

const fn type_of(fees: &EvmFees) -> EvmTransactionType {
    match fees {
        EvmFees::Legacy { .. } => EvmTransactionType::Legacy,
        EvmFees::AccessList { .. } => EvmTransactionType::Eip2930,
        EvmFees::Dynamic { .. } => EvmTransactionType::Eip1559,
        EvmFees::Blob { .. } => EvmTransactionType::Eip4844,
        EvmFees::SetCode { .. } => EvmTransactionType::Eip7702,
    }
}

/// The most for a unit of gas, and the part of it that is a tip.
const fn prices(fees: &EvmFees) -> (u128, Option<u128>) {
    match *fees {
        EvmFees::Legacy { gas_price } | EvmFees::AccessList { gas_price } => (gas_price, None),
        EvmFees::Dynamic {
            max_priority_fee,
            max_fee,
        }
        | EvmFees::Blob {
            max_priority_fee,
            max_fee,
            ..
        }
        | EvmFees::SetCode {
            max_priority_fee,
            max_fee,
            ..
        } => (max_fee, Some(max_priority_fee)),
    }
}

const fn blob_price(fees: &EvmFees) -> Option<u128> {
    match *fees {
        EvmFees::Blob { max_blob_fee, .. } => Some(max_blob_fee),
        EvmFees::Legacy { .. }
        | EvmFees::AccessList { .. }
        | EvmFees::Dynamic { .. }
        | EvmFees::SetCode { .. } => None,
    }
}

fn blobs(fees: &EvmFees) -> &[[u8; 32]] {
    match fees {
        EvmFees::Blob { hashes, .. } => hashes,
        EvmFees::Legacy { .. }
        | EvmFees::AccessList { .. }
        | EvmFees::Dynamic { .. }
        | EvmFees::SetCode { .. } => &[],
    }
}

fn authorizations(fees: &EvmFees) -> Vec<EvmAuthorizationFacts> {
    let EvmFees::SetCode { authorizations, .. } = fees else {
        return Vec::new();
    };
    authorizations
        .iter()
        .map(|authorization| EvmAuthorizationFacts {
            chain: (authorization.chain_id != Amount::ZERO)
                .then(|| format!("eip155:{}", authorization.chain_id)),
            address: authorization.address,
            nonce: authorization.nonce,
        })
        .collect()
}

/// Numbers of 64 and of 128 bits multiply within 256, and so does their sum.
fn max_fee(transaction: &EvmTransaction, max_fee_per_gas: u128) -> Amount {
    let times = |count: u64, price: u128| {
        let product = Amount::from(count).checked_mul(price.into());
        product.unwrap_or(Amount::MAX)
    };
    let blob_count = blobs(&transaction.fees).len() as u64;
    let blob_fee = times(
        blob_count.saturating_mul(GAS_PER_BLOB),
        blob_price(&transaction.fees).unwrap_or_default(),
    );
    let fee = times(transaction.gas_limit, max_fee_per_gas);
    fee.checked_add(blob_fee).unwrap_or(Amount::MAX)
}

/// The coin that goes to the account that is called. A call that sends none moves none.
fn coin(transaction: &EvmTransaction) -> Option<Transfer> {
    let to = transaction.to?;
    if transaction.value == Amount::ZERO && !transaction.input.is_empty() {
        return None;
    }
    Some(Transfer {
        asset: Asset::Native,
        from: None,
        to: to.to_string(),
        amount: transaction.value,
        decimals: None,
    })
}

enum Movement {
    Transfer(Transfer),
    Approval(EvmApproval),
}

fn movement(contract: EvmAddress, call: Call) -> Movement {
    let asset = Asset::Token(contract.to_string());
    let transfer = |from: Option<EvmAddress>, to: EvmAddress, amount| {
        Movement::Transfer(Transfer {
            asset: asset.clone(),
            from: from.map(String::from),
            to: to.to_string(),
            amount,
            decimals: None,
        })
    };
    match call {
        Call::Transfer { to, amount } => transfer(None, to, amount),
        Call::TransferFrom { from, to, amount } => transfer(Some(from), to, amount),
        Call::Approve { spender, amount } => Movement::Approval(EvmApproval {
            asset,
            spender,
            amount,
            unlimited: amount == Amount::MAX,
        }),
    }
}

fn call_facts(transaction: &EvmTransaction, known: Option<Call>) -> EvmCall {
    let input = &transaction.input;
    let selector = input
        .first_chunk::<4>()
        .filter(|_| transaction.to.is_some());
    let start = input.get(..PREVIEW_LENGTH).unwrap_or(input);
    EvmCall {
        selector: selector.map(hex::encode),
        function: known.map(|call| call.function().to_owned()),
        data: hex::encode(start),
        data_length: input.len() as u64,
    }
}

fn blind_because(transaction: &EvmTransaction, known: bool) -> Vec<String> {
    // Accounts run other code from then on, so what is called may do anything.
    if matches!(transaction.fees, EvmFees::SetCode { .. }) {
        return vec!["it puts code in the place of accounts (EIP-7702)".to_owned()];
    }
    let because = match (transaction.to, transaction.input.first_chunk::<4>()) {
        (None, _) => "it creates a contract, whose code is not decoded".to_owned(),
        (Some(_), _) if known || transaction.input.is_empty() => return Vec::new(),
        (Some(to), Some(selector)) => format!(
            "it calls {to} with selector {}, which is not known here in this form",
            hex::encode(selector)
        ),
        (Some(to), None) => format!("it calls {to} with data that have no selector"),
    };
    vec![because]
}
