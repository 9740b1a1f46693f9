//! Whether a payload moves what a key holds only to where its creation lets it go (P33).

use std::str::FromStr as _;

use bitcoin::{Address, address::NetworkUnchecked};
use quorate_model::{
    KeyPurpose, Payload, PayloadKind, Reason, Refusal, Scheme, address::Network,
    command::CreateKey, evacuation::Destination,
};

use crate::{
    amount::Amount,
    children::child_key,
    decode::{Decoded, KeyFacts},
    evm::{
        address::EvmAddress,
        facts::{EvmTransactionFacts, EvmTransactionType},
    },
    facts::{Facts, PsbtFacts, ScriptKind, ScriptPubkey},
    solana::{self, facts::SolanaFacts},
    taproot::of_library,
    transfer::{Asset, Transfer},
};

/// The chains of Bitcoin by the first 32 digits of the hash of their first block (BIP-122).
const BITCOIN: [(&str, Network); 5] = [
    ("000000000019d6689c085ae165831e93", Network::Bitcoin),
    ("000000000933ea01ad0ee984209779ba", Network::Testnet),
    ("00000000da84f2bafbbc53dee25a72ae", Network::Testnet),
    ("00000008819873e925422c1ff0f99f7c", Network::Signet),
    ("0f9188f13cb7b2c71f2a335e3a4fc328", Network::Regtest),
];

/// The clusters of Solana by the first 32 digits of the hash of their first block, as CAIP-2 has them:
/// the main network, the devnet and the testnet.
const SOLANA: [&str; 3] = [
    "5eykt4UsFv8P8NJdTREpY1vzqKqKvdp",
    "EtWTRABZaYq6iMfeYKouRu166VU2xqa1",
    "4uhcVJyU9pJkvQyS88uRDiswHScSGkY3",
];

/// Of what moves, one in so many may go to whoever makes the block.
const FEE_SHARE: u64 = 10;

/// The highest fees of all transactions of a command on EVM chains: a tenth of a coin of 18 decimals,
/// in wei. What a transaction says that it moves counts for little by itself, because the fee is paid
/// also where it fails.
const MOST_WEI: u64 = 100_000_000_000_000_000;

/// The same on Solana: a hundredth of a coin, in lamports.
const MOST_LAMPORTS: u64 = 10_000_000;

/// The chain of a Bitcoin network, as CAIP-2 names it; the testnet is the third.
pub fn bitcoin_chain(network: Network) -> &'static str {
    let known = BITCOIN.iter().find(|(_, of)| *of == network);
    known.map_or("", |(reference, _)| reference)
}

/// Why nothing can be moved to an account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// A chain that is not served.
    #[error(
        "\"{0}\" is on no chain that keys sign for: expected eip155:CHAIN-ID, bip122 with the start \
         of the hash of a chain's first block, or solana"
    )]
    UnknownChain(Destination),
    /// An address that the chain does not have, or another way to write it.
    #[error("\"{destination}\" names no address of its chain as its tools write it: {detail}")]
    BadAddress {
        /// The account.
        destination: Destination,
        /// What is wrong.
        detail: String,
    },
    /// A chain that keys of the scheme do not sign for.
    #[error("\"{destination}\" is on a chain that keys of scheme {scheme} do not sign for")]
    OtherScheme {
        /// The account.
        destination: Destination,
        /// The scheme.
        scheme: Scheme,
    },
    /// A key that signs no transactions moves nothing.
    #[error(
        "destinations are pinned for a key without the purpose transactions, which never moves \
         anything: leave them out, or add the purpose"
    )]
    NoTransactions,
}

/// An account that was understood.
#[derive(Debug, PartialEq, Eq)]
enum Account {
    /// On one chain: an account of the same number on another may be anybody's.
    Evm { chain: u64, address: EvmAddress },
    /// A script; a transaction names no network.
    Bitcoin(ScriptPubkey),
    /// An account; a message names no cluster.
    Solana(String),
}

impl Account {
    fn read(destination: &Destination) -> Result<Self, Unreachable> {
        let bad = |detail: String| Unreachable::BadAddress {
            destination: destination.clone(),
            detail,
        };
        let unknown = || Unreachable::UnknownChain(destination.clone());
        let is_written = |canonical: String, address: &str| {
            if canonical == address {
                Ok(())
            } else {
                Err(bad(format!("write it {canonical}")))
            }
        };
        match destination.parts() {
            ("eip155", reference, address) => {
                let chain = reference.parse::<u64>().map_err(|_| unknown())?;
                if chain == 0 || chain.to_string() != reference {
                    return Err(unknown());
                }
                let account = EvmAddress::from_str(address);
                let account = account.map_err(|error| bad(error.to_string()))?;
                is_written(account.to_string(), address)?;
                // The lowest numbers are nobody's, and contracts of the chain itself.
                if account.as_bytes().iter().take(18).all(|byte| *byte == 0) {
                    return Err(bad("nobody has an account with so low a number".to_owned()));
                }
                Ok(Self::Evm {
                    chain,
                    address: account,
                })
            }
            ("bip122", reference, text) => {
                let known = BITCOIN.iter().find(|(known, _)| *known == reference);
                let (_, network) = known.ok_or_else(unknown)?;
                let address = text.parse::<Address<NetworkUnchecked>>();
                let address = address.map_err(|_| bad("it cannot be read".to_owned()))?;
                let address = address.require_network(of_library(*network));
                let address =
                    address.map_err(|_| bad(format!("it is none of the network {network}")))?;
                is_written(address.to_string(), text)?;
                let script = ScriptPubkey::new(address.script_pubkey().into_bytes());
                // Anybody may spend what is paid to a version of segwit that means nothing yet.
                if script.kind() == ScriptKind::Other {
                    return Err(bad("it is of a form that nobody owns yet".to_owned()));
                }
                Ok(Self::Bitcoin(script))
            }
            ("solana", reference, text) => {
                if !SOLANA.contains(&reference) {
                    return Err(unknown());
                }
                let key = bitcoin::base58::decode(text).unwrap_or_default();
                if key.len() != 32 {
                    return Err(bad("expected 32 bytes in base58".to_owned()));
                }
                is_written(solana::address(&key), text)?;
                if key.iter().all(|byte| *byte == 0) {
                    return Err(bad("it is that of the system program".to_owned()));
                }
                Ok(Self::Solana(text.to_owned()))
            }
            _ => Err(unknown()),
        }
    }

    const fn is_served_by(&self, scheme: Scheme) -> bool {
        match self {
            Self::Evm { .. } => matches!(scheme, Scheme::EcdsaSecp256k1),
            Self::Bitcoin(_) => matches!(scheme, Scheme::EcdsaSecp256k1 | Scheme::Bip340),
            Self::Solana(_) => matches!(scheme, Scheme::Ed25519),
        }
    }
}

/// Checks that a key that is to be created can move something to each of its destinations: a typing
/// mistake that comes out only when the key has to be emptied would be worth everything it holds.
///
/// # Errors
///
/// The first destination to which it cannot.
pub fn check_destinations(create: &CreateKey) -> Result<(), Unreachable> {
    let destinations = &create.life.evacuation;
    if !destinations.is_empty() && !create.purposes.contains(KeyPurpose::Transactions) {
        return Err(Unreachable::NoTransactions);
    }
    for destination in destinations {
        if !Account::read(destination)?.is_served_by(create.scheme) {
            return Err(Unreachable::OtherScheme {
                destination: destination.clone(),
                scheme: create.scheme,
            });
        }
    }
    Ok(())
}

impl From<&Unreachable> for Refusal {
    fn from(error: &Unreachable) -> Self {
        Self::new(Reason::RequestInvalid, error.to_string())
    }
}

/// The destination that an output pays to, for people, who do not read scripts.
pub fn pinned_output<'d>(
    script: &ScriptPubkey,
    pinned: &'d [Destination],
) -> Option<&'d Destination> {
    let pays = |destination: &&Destination| {
        let account = Account::read(destination);
        matches!(account, Ok(Account::Bitcoin(own)) if own == *script)
    };
    pinned.iter().find(pays)
}

/// Why a payload is not signed to evacuate a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Astray {
    /// The key has nowhere to go.
    #[error(
        "no destination was pinned when the key was created, so it is never evacuated: destinations \
         are named at creation alone, with --evacuate-to"
    )]
    NothingPinned,
    /// Something goes elsewhere.
    #[error(
        "payload {index} moves something to {to}, which is none of the destinations that were pinned \
         when the key was created: {}", listed(.pinned)
    )]
    NotPinned {
        /// Which payload, from 0.
        index: usize,
        /// Where it would go.
        to: String,
        /// Where it may go.
        pinned: Vec<Destination>,
    },
    /// A payload that nobody can tell that of.
    #[error(
        "payload {index} is of kind {kind}, which does not say what it moves: only transactions \
         evacuate a key"
    )]
    NoTransaction {
        /// Which payload, from 0.
        index: usize,
        /// What it is.
        kind: PayloadKind,
    },
    /// A transaction that does more than move what the key holds, or less.
    #[error(
        "payload {index} {what}: an evacuation moves what the key holds, and does nothing else"
    )]
    DoesMore {
        /// Which payload, from 0.
        index: usize,
        /// What it does.
        what: &'static str,
    },
}

impl From<&Astray> for Refusal {
    fn from(error: &Astray) -> Self {
        let reason = match error {
            Astray::NothingPinned | Astray::NotPinned { .. } => Reason::DestinationNotPinned,
            Astray::NoTransaction { .. } | Astray::DoesMore { .. } => Reason::PayloadRefused,
        };
        Self::new(reason, error.to_string())
    }
}

fn listed(pinned: &[Destination]) -> String {
    let texts: Vec<&str> = pinned.iter().map(Destination::as_str).collect();
    texts.join(", ")
}

/// Checks that payloads, decoded for the key that is to be evacuated, move what it holds to the
/// destinations of its creation and do nothing else. What goes to whoever makes the block is bounded
/// too: one part in ten of the coins where coins alone move, and a fixed amount for each command.
///
/// # Errors
///
/// The first thing that goes astray.
pub fn check_evacuation(
    payloads: &[Payload],
    decoded: &[Decoded],
    key: &KeyFacts<'_>,
    pinned: &[Destination],
) -> Result<(), Astray> {
    if pinned.is_empty() {
        return Err(Astray::NothingPinned);
    }
    let accounts: Vec<Account> = pinned
        .iter()
        .filter_map(|destination| Account::read(destination).ok())
        .collect();
    let (mut wei, mut lamports) = (Fees::within(MOST_WEI), Fees::within(MOST_LAMPORTS));
    for (index, (payload, decoded)) in payloads.iter().zip(decoded).enumerate() {
        let judged = match &decoded.facts {
            Facts::Psbt(facts) => bitcoin(facts, payload, &accounts),
            Facts::EvmTransaction(facts) => evm(facts, &accounts, &mut wei),
            Facts::SolanaMessage(facts) => match child_key(key, &payload.path) {
                Ok(own) => solana_message(facts, &solana::address(&own), &accounts, &mut lamports),
                Err(_) => Err(Fault::DoesMore("is for a child that the key does not have")),
            },
            Facts::Message(_)
            | Facts::Digest(_)
            | Facts::EvmMessage(_)
            | Facts::EvmTypedData(_) => {
                return Err(Astray::NoTransaction {
                    index,
                    kind: payload.kind,
                });
            }
        };
        judged.map_err(|fault| match fault {
            Fault::Elsewhere(to) => Astray::NotPinned {
                index,
                to,
                pinned: pinned.to_vec(),
            },
            Fault::DoesMore(what) => Astray::DoesMore { index, what },
        })?;
    }
    Ok(())
}

enum Fault {
    Elsewhere(String),
    DoesMore(&'static str),
}

/// Every output is pinned. Not even change comes back: the key is to hold nothing. And every amount is
/// true: a signature for an input of before taproot says nothing of the other inputs, and a fee that is
/// shown with a false amount of one of them is not the fee.
fn bitcoin(facts: &PsbtFacts, payload: &Payload, accounts: &[Account]) -> Result<(), Fault> {
    if payload.allow_high_fee {
        return Err(Fault::DoesMore("accepts a high fee"));
    }
    let mut own = facts.inputs.iter().filter(|input| input.is_ours);
    let commits_to_all = own.all(|input| input.kind == ScriptKind::P2tr);
    let is_proven = facts.inputs.len() == 1 || facts.inputs.iter().all(|input| input.amount_proven);
    if !commits_to_all && !is_proven {
        return Err(Fault::DoesMore(
            "has several inputs, and amounts that nothing proves (give the previous transaction of \
             every input, non_witness_utxo)",
        ));
    }
    for output in &facts.outputs {
        let is_pinned = |account: &Account| {
            let Account::Bitcoin(script) = account else {
                return false;
            };
            *script == output.script
        };
        if !accounts.iter().any(is_pinned) {
            let script = String::from(output.script.clone());
            return Err(Fault::Elsewhere(if output.is_change {
                format!("script {script} of the key itself, and not even change comes back to it")
            } else {
                format!("script {script}")
            }));
        }
    }
    Ok(())
}

fn evm(facts: &EvmTransactionFacts, accounts: &[Account], fees: &mut Fees) -> Result<(), Fault> {
    if facts.blind {
        return Err(Fault::DoesMore("calls what nobody can read"));
    }
    if !facts.approvals.is_empty() {
        return Err(Fault::DoesMore("allows somebody to move tokens later"));
    }
    if facts.transaction_type == EvmTransactionType::Eip4844 {
        return Err(Fault::DoesMore("carries blobs"));
    }
    let own = facts.sender.map(|sender| sender.to_string());
    let is_pinned = |to: &str| {
        accounts.iter().any(|account| {
            let Account::Evm { chain, address } = account else {
                return false;
            };
            facts.chain == format!("eip155:{chain}") && *to == address.to_string()
        })
    };
    for transfer in &facts.transfers {
        if !is_pinned(&transfer.to) {
            return Err(Fault::Elsewhere(format!("{}:{}", facts.chain, transfer.to)));
        }
        // Coins and plain transfers of tokens come from the sender.
        if transfer.from.is_some() && transfer.from != own {
            return Err(Fault::DoesMore("moves what another account holds"));
        }
    }
    fees.take(&facts.transfers, facts.max_fee)
}

fn solana_message(
    facts: &SolanaFacts,
    own: &str,
    accounts: &[Account],
    fees: &mut Fees,
) -> Result<(), Fault> {
    if facts.blind {
        return Err(Fault::DoesMore("calls what nobody can read"));
    }
    for instruction in &facts.instructions {
        if instruction.new_owner.is_some() {
            return Err(Fault::DoesMore("opens an account that a program owns"));
        }
        // It says to whom a shared account of an exchange credits what comes in.
        if instruction.memo.is_some() {
            return Err(Fault::DoesMore("carries a memo"));
        }
        // Whoever moves something is among the accounts; whose a token account is stands on the chain
        // alone, and the program judges it.
        let moves = instruction
            .name
            .as_deref()
            .is_some_and(|name| name.starts_with("transfer"));
        if moves && !instruction.accounts.iter().any(|account| account == own) {
            return Err(Fault::DoesMore("moves what another account holds"));
        }
    }
    for transfer in &facts.transfers {
        let is_pinned = |account: &Account| {
            let Account::Solana(pinned) = account else {
                return false;
            };
            *pinned == transfer.to
        };
        if !accounts.iter().any(is_pinned) {
            return Err(Fault::Elsewhere(transfer.to.clone()));
        }
        if transfer.asset == Asset::Native && transfer.from.as_deref() != Some(own) {
            return Err(Fault::DoesMore("moves what another account holds"));
        }
    }
    let max_fee = if facts.fee_payer == own {
        facts.max_fee
    } else {
        Amount::ZERO
    };
    fees.take(&facts.transfers, max_fee)
}

/// What the transactions of a command on one family of chains may pay together.
struct Fees {
    sum: Amount,
    most: Amount,
}

impl Fees {
    fn within(most: u64) -> Self {
        Self {
            sum: Amount::ZERO,
            most: most.into(),
        }
    }

    /// Something moves with every transfer, most of it arrives, and what all may pay stays small.
    fn take(&mut self, transfers: &[Transfer], max_fee: Amount) -> Result<(), Fault> {
        let moves_nothing = |transfer: &Transfer| transfer.amount == Amount::ZERO;
        if transfers.is_empty() || transfers.iter().any(moves_nothing) {
            return Err(Fault::DoesMore("moves nothing"));
        }
        let mut coins = Amount::ZERO;
        let mut has_tokens = false;
        for transfer in transfers {
            if transfer.asset == Asset::Native {
                coins = coins.checked_add(transfer.amount).unwrap_or(Amount::MAX);
            } else {
                has_tokens = true;
            }
        }
        let tenfold = max_fee.checked_mul(Amount::from(FEE_SHARE));
        if !has_tokens && tenfold.is_none_or(|much| much > coins) {
            return Err(Fault::DoesMore(
                "may pay whoever makes the block more than a tenth of the coins that it moves",
            ));
        }
        self.sum = self.sum.checked_add(max_fee).unwrap_or(Amount::MAX);
        if self.sum > self.most {
            return Err(Fault::DoesMore(
                "may bring what the command pays to whoever makes the blocks above 0.1 coin (0.01 on \
                 Solana; split the command, or lower its fees)",
            ));
        }
        Ok(())
    }
}
