//! What calls of well-known programs do. Whatever is not decoded exactly here is blind.
//!
//! A call counts as decoded only when its data has exactly the length of its form and its list of
//! accounts is exactly the one that the program reads, because a longer list is how programs are
//! given accounts that act on their own (transfer hooks of Token-2022).

use super::{
    address,
    refusal::SolanaRefusal,
    wire::{Instruction, Key, Message},
};
use crate::{
    amount::Amount,
    facts::shown,
    transfer::{Asset, Transfer},
};

const SYSTEM: &str = "11111111111111111111111111111111";
const TOKEN: &str = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA";
const TOKEN_2022: &str = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb";
const MEMO: &str = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr";
const MEMO_V1: &str = "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo";
const COMPUTE_BUDGET: &str = "ComputeBudget111111111111111111111111111111";
const RECENT_BLOCKHASHES: &str = "SysvarRecentB1ockHashes11111111111111111111";

/// What a call does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It moves something.
    Transfer(Transfer),
    /// It opens an account, with coins in it, that a program owns from then on.
    CreateAccount { funding: Transfer, owner: String },
    /// It makes the transaction one that waits on a nonce instead of a blockhash.
    AdvanceNonce { account: String },
    /// It leaves a text in the log.
    Memo(String),
    /// It sets a bound of the transaction.
    Budget(Budget),
    /// Nobody can say.
    Blind(String),
}

/// A setting of the compute budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Budget {
    HeapBytes(u32),
    UnitLimit(u32),
    /// In millionths of a lamport.
    UnitPrice(u64),
    DataBytes(u32),
}

/// A call with its name and effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) program: String,
    pub(crate) name: Option<&'static str>,
    pub(crate) accounts: Vec<String>,
    pub(crate) effect: Effect,
}

/// An account as an instruction names it.
struct Account<'m> {
    /// None when it comes from a table.
    key: Option<&'m Key>,
    signs: bool,
}

/// Decodes one instruction of a message that was checked.
pub(crate) fn call(message: &Message, instruction: &Instruction) -> Call {
    let program = message
        .keys
        .get(usize::from(instruction.program))
        .map(|key| address(key))
        .unwrap_or_default();
    let accounts: Vec<_> = instruction
        .accounts
        .iter()
        .map(|index| Account {
            key: message.keys.get(usize::from(*index)),
            signs: *index < message.header.required_signatures,
        })
        .collect();
    let shown_accounts = accounts
        .iter()
        .zip(&instruction.accounts)
        .map(|(account, index)| match account.key {
            Some(key) => address(key),
            None => format!("account {index}, from a lookup table"),
        })
        .collect();
    let (name, effect) = effect(&program, &accounts, &instruction.data);
    Call {
        program,
        name,
        accounts: shown_accounts,
        effect,
    }
}

fn effect(program: &str, accounts: &[Account<'_>], data: &[u8]) -> (Option<&'static str>, Effect) {
    let (name, decoded) = match program {
        SYSTEM => (system_name(data), system(accounts, data)),
        TOKEN | TOKEN_2022 => (token_name(data), token(accounts, data)),
        MEMO | MEMO_V1 => (Some("memo"), memo(data)),
        COMPUTE_BUDGET => (budget_name(data), budget(data).map(Effect::Budget)),
        _ => {
            let because = format!("it calls program {program}, which is not known here");
            return (None, Effect::Blind(because));
        }
    };
    let effect = decoded.unwrap_or_else(|| {
        let because = match name {
            Some(name) => format!("{name} of program {program} is not decoded in this form"),
            None => format!("program {program} is called in a way that is not known here"),
        };
        Effect::Blind(because)
    });
    (name, effect)
}

fn system_name(data: &[u8]) -> Option<&'static str> {
    const NAMES: [&str; 13] = [
        "create-account",
        "assign",
        "transfer",
        "create-account-with-seed",
        "advance-nonce-account",
        "withdraw-nonce-account",
        "initialize-nonce-account",
        "authorize-nonce-account",
        "allocate",
        "allocate-with-seed",
        "assign-with-seed",
        "transfer-with-seed",
        "upgrade-nonce-account",
    ];
    let (tag, _) = data.split_first_chunk()?;
    NAMES
        .get(usize::try_from(u32::from_le_bytes(*tag)).ok()?)
        .copied()
}

/// The system program: a tag of four bytes, then fixed fields.
fn system(accounts: &[Account<'_>], data: &[u8]) -> Option<Effect> {
    let (tag, rest) = data.split_first_chunk()?;
    match u32::from_le_bytes(*tag) {
        0 => {
            let [from, new] = accounts else { return None };
            let (lamports, rest) = rest.split_first_chunk()?;
            let (_space, owner) = rest.split_first_chunk::<8>()?;
            let owner = Key::try_from(owner).ok()?;
            Some(Effect::CreateAccount {
                funding: native(from, new, *lamports)?,
                owner: address(&owner),
            })
        }
        2 => {
            let [from, to] = accounts else { return None };
            let lamports = rest.try_into().ok()?;
            Some(Effect::Transfer(native(from, to, lamports)?))
        }
        4 => {
            let [nonce, sysvar, _authority] = accounts else {
                return None;
            };
            let known = rest.is_empty() && sysvar.address()? == RECENT_BLOCKHASHES;
            known.then_some(())?;
            Some(Effect::AdvanceNonce {
                account: nonce.address()?,
            })
        }
        _ => None,
    }
}

fn native(from: &Account<'_>, to: &Account<'_>, lamports: [u8; 8]) -> Option<Transfer> {
    Some(Transfer {
        asset: Asset::Native,
        from: Some(from.address()?),
        to: to.address()?,
        amount: u64::from_le_bytes(lamports).into(),
        decimals: Some(9),
    })
}

fn token_name(data: &[u8]) -> Option<&'static str> {
    let name = match data.first()? {
        3 => "transfer",
        4 => "approve",
        5 => "revoke",
        6 => "set-authority",
        7 => "mint-to",
        8 => "burn",
        9 => "close-account",
        12 => "transfer-checked",
        13 => "approve-checked",
        14 => "mint-to-checked",
        15 => "burn-checked",
        17 => "sync-native",
        _ => return None,
    };
    Some(name)
}

/// The token programs: a tag of one byte, then fixed fields.
fn token(accounts: &[Account<'_>], data: &[u8]) -> Option<Effect> {
    let (tag, rest) = data.split_first()?;
    let (amount, rest) = rest.split_first_chunk()?;
    let amount: Amount = u64::from_le_bytes(*amount).into();
    let (asset, source, destination, decimals, signers) = match (tag, rest, accounts) {
        (3, [], [source, destination, _authority, signers @ ..]) => {
            let asset = Asset::TokenOfAccount(source.address()?);
            (asset, source, destination, None, signers)
        }
        (12, [decimals], [source, mint, destination, _authority, signers @ ..]) => {
            let asset = Asset::Token(mint.address()?);
            (asset, source, destination, Some(*decimals), signers)
        }
        _ => return None,
    };
    // Beyond the authority stand the signers of a multi-signature authority, and nothing else.
    let only_signers = signers.iter().all(|signer| signer.signs);
    only_signers.then_some(())?;
    Some(Effect::Transfer(Transfer {
        asset,
        from: Some(source.address()?),
        to: destination.address()?,
        amount,
        decimals,
    }))
}

fn memo(data: &[u8]) -> Option<Effect> {
    let text = std::str::from_utf8(data).ok()?;
    Some(Effect::Memo(shown(text, usize::MAX)))
}

fn budget_name(data: &[u8]) -> Option<&'static str> {
    let name = match data.first()? {
        1 => "request-heap-frame",
        2 => "set-compute-unit-limit",
        3 => "set-compute-unit-price",
        4 => "set-loaded-accounts-data-size-limit",
        _ => return None,
    };
    Some(name)
}

fn budget(data: &[u8]) -> Option<Budget> {
    let (tag, rest) = data.split_first()?;
    let small = || rest.try_into().ok().map(u32::from_le_bytes);
    match tag {
        1 => small().map(Budget::HeapBytes),
        2 => small().map(Budget::UnitLimit),
        3 => {
            let price = rest.try_into().ok().map(u64::from_le_bytes)?;
            Some(Budget::UnitPrice(price))
        }
        4 => small().map(Budget::DataBytes),
        _ => None,
    }
}

impl Account<'_> {
    /// Its address; none when it comes from a table.
    fn address(&self) -> Option<String> {
        self.key.map(|key| address(key))
    }
}

impl Budget {
    /// What is set.
    pub(crate) const fn setting(self) -> &'static str {
        match self {
            Self::HeapBytes(_) => "the heap",
            Self::UnitLimit(_) => "the limit of compute units",
            Self::UnitPrice(_) => "the price of a compute unit",
            Self::DataBytes(_) => "the size of loaded accounts",
        }
    }
}

/// The settings of the calls, each made once.
pub(crate) fn budgets(calls: &[Call]) -> Result<Vec<Budget>, SolanaRefusal> {
    let mut found: Vec<(usize, Budget)> = Vec::new();
    for (second, call) in calls.iter().enumerate() {
        let Effect::Budget(budget) = call.effect else {
            continue;
        };
        let setting = budget.setting();
        if let Some((first, _)) = found
            .iter()
            .find(|(_, earlier)| earlier.setting() == setting)
        {
            return Err(SolanaRefusal::BudgetTwice {
                first: *first,
                second,
                setting,
            });
        }
        found.push((second, budget));
    }
    Ok(found.into_iter().map(|(_, budget)| budget).collect())
}
