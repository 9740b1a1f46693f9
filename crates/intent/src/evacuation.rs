//! Whether a payload moves what a key holds only to where its creation lets it go (P33).

use std::str::FromStr as _;

use bitcoin::{Address, address::NetworkUnchecked};
use quorate_model::{
    KeyPurpose, Payload, PayloadKind, Reason, Refusal, Scheme, address::Network,
    command::CreateKey, evacuation::Destination,
};

use crate::{
    decode::Decoded,
    evm::{
        address::EvmAddress,
        facts::{EvmTransactionFacts, EvmTransactionType},
    },
    facts::{Facts, PsbtFacts, ScriptPubkey},
    solana::{self, facts::SolanaFacts},
    taproot::of_library,
    transfer::Transfer,
};

/// The chains of Bitcoin by the first 32 digits of the hash of their first block (BIP-122).
const BITCOIN: [(&str, Network); 5] = [
    ("000000000019d6689c085ae165831e93", Network::Bitcoin),
    ("000000000933ea01ad0ee984209779ba", Network::Testnet),
    ("00000000da84f2bafbbc53dee25a72ae", Network::Testnet),
    ("00000008819873e925422c1ff0f99f7c", Network::Signet),
    ("0f9188f13cb7b2c71f2a335e3a4fc328", Network::Regtest),
];

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
                Ok(Self::Bitcoin(ScriptPubkey::new(
                    address.script_pubkey().into_bytes(),
                )))
            }
            ("solana", _, text) => {
                let key = bitcoin::base58::decode(text).unwrap_or_default();
                if key.len() != 32 {
                    return Err(bad("expected 32 bytes in base58".to_owned()));
                }
                is_written(solana::address(&key), text)?;
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
/// destinations of its creation and do nothing else. What goes to whoever makes the blocks is bounded
/// for Bitcoin alone, where an evacuation accepts no high fee; elsewhere it is for the admins to read.
///
/// # Errors
///
/// The first thing that goes astray.
pub fn check_evacuation(
    payloads: &[Payload],
    decoded: &[Decoded],
    pinned: &[Destination],
) -> Result<(), Astray> {
    if pinned.is_empty() {
        return Err(Astray::NothingPinned);
    }
    let accounts: Vec<Account> = pinned
        .iter()
        .filter_map(|destination| Account::read(destination).ok())
        .collect();
    for (index, (payload, decoded)) in payloads.iter().zip(decoded).enumerate() {
        let judged = match &decoded.facts {
            Facts::Psbt(facts) => bitcoin(facts, payload, &accounts),
            Facts::EvmTransaction(facts) => evm(facts, &accounts),
            Facts::SolanaMessage(facts) => solana_message(facts, &accounts),
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

/// Every output is pinned. Not even change comes back: the key is to hold nothing.
fn bitcoin(facts: &PsbtFacts, payload: &Payload, accounts: &[Account]) -> Result<(), Fault> {
    if payload.allow_high_fee {
        return Err(Fault::DoesMore("accepts a high fee"));
    }
    for output in &facts.outputs {
        let is_pinned = |account: &Account| matches!(account, Account::Bitcoin(script) if *script == output.script);
        if !accounts.iter().any(is_pinned) {
            let script = String::from(output.script.clone());
            let address = output.script.address(Network::Bitcoin);
            return Err(Fault::Elsewhere(match address {
                Some(address) => format!("script {script} ({address} on the main network)"),
                None => format!("script {script}"),
            }));
        }
    }
    Ok(())
}

fn evm(facts: &EvmTransactionFacts, accounts: &[Account]) -> Result<(), Fault> {
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
    check_transfers(
        &facts.transfers,
        |from| Some(from) == own.as_deref(),
        |to| {
            accounts.iter().any(|account| {
                matches!(
                    account,
                    Account::Evm { chain, address }
                        if facts.chain == format!("eip155:{chain}") && *to == address.to_string()
                )
            })
        },
    )
    .map_err(|fault| match fault {
        Fault::Elsewhere(to) => Fault::Elsewhere(format!("{}:{to}", facts.chain)),
        Fault::DoesMore(what) => Fault::DoesMore(what),
    })
}

fn solana_message(facts: &SolanaFacts, accounts: &[Account]) -> Result<(), Fault> {
    if facts.blind {
        return Err(Fault::DoesMore("calls what nobody can read"));
    }
    let mut instructions = facts.instructions.iter();
    if instructions.any(|instruction| instruction.new_owner.is_some()) {
        return Err(Fault::DoesMore("opens an account that a program owns"));
    }
    // Whose account a token account is stands on the chain alone; that the key may move what is in it
    // is for the program to judge.
    check_transfers(
        &facts.transfers,
        |_| true,
        |to| {
            let is_pinned =
                |account: &Account| matches!(account, Account::Solana(pinned) if *pinned == *to);
            accounts.iter().any(is_pinned)
        },
    )
}

fn check_transfers(
    transfers: &[Transfer],
    is_own: impl Fn(&str) -> bool,
    is_pinned: impl Fn(&str) -> bool,
) -> Result<(), Fault> {
    if transfers.is_empty() {
        return Err(Fault::DoesMore("moves nothing"));
    }
    for transfer in transfers {
        if !is_pinned(&transfer.to) {
            return Err(Fault::Elsewhere(transfer.to.clone()));
        }
        if transfer.from.as_deref().is_some_and(|from| !is_own(from)) {
            return Err(Fault::DoesMore("moves what another account holds"));
        }
    }
    Ok(())
}
