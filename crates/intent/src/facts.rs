//! What a payload says, for policy and for people.
//!
//! Facts are plain data: amounts in the smallest unit, bytes as lower-case hex. Those of Bitcoin
//! hold no network, because a transaction does not name one; addresses are rendered on demand.

use bitcoin::{Address, Script};
use quorate_model::{DerivationPath, Digest, address::Network};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    evm::{
        facts::{EvmMessageFacts, EvmTransactionFacts},
        typed_data::TypedDataFacts,
    },
    solana::facts::SolanaFacts,
    taproot::of_library,
};

/// How much of a message is shown: this many bytes in hex, this many characters of text.
pub const PREVIEW_LENGTH: usize = 256;

/// What a payload says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Facts {
    /// Of a message.
    Message(MessageFacts),
    /// Of a Bitcoin transaction.
    Psbt(PsbtFacts),
    /// Of a bare digest: nobody can say what it means.
    Digest(DigestFacts),
    /// Of an EVM transaction.
    EvmTransaction(EvmTransactionFacts),
    /// Of a personal message (EIP-191).
    EvmMessage(EvmMessageFacts),
    /// Of typed data (EIP-712).
    EvmTypedData(TypedDataFacts),
    /// Of a Solana message.
    SolanaMessage(SolanaFacts),
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageFacts {
    /// Its length in bytes.
    pub length: u64,
    /// Its plain SHA-256, to compare by eye.
    pub sha256: Digest,
    /// Its start as text, when all of it is UTF-8. Everything that does not print, that prints
    /// nothing or that turns the direction of writing is escaped, so that it shows what it is.
    pub text: Option<String>,
    /// Its start in hex.
    pub hex: String,
    /// Whether the message is longer than what the hex shows.
    pub truncated: bool,
}

impl MessageFacts {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).ok();
        let text = text.map(|text| shown(text, PREVIEW_LENGTH));
        let start = bytes.get(..PREVIEW_LENGTH).unwrap_or(bytes);
        Self {
            length: bytes.len() as u64,
            sha256: Digest::new(Sha256::digest(bytes).into()),
            text,
            hex: hex::encode(start),
            truncated: bytes.len() > PREVIEW_LENGTH,
        }
    }
}

/// The start of a text, with everything escaped that does not print, that prints nothing or that
/// turns the direction of writing, so that it shows what it is.
pub(crate) fn shown(text: &str, most: usize) -> String {
    text.chars()
        .take(most)
        .flat_map(char::escape_debug)
        .collect()
}

/// What a bare digest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestFacts {
    /// The digest.
    pub digest: Digest,
}

/// What a Bitcoin transaction says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PsbtFacts {
    /// The hash of the unsigned transaction: the final one when every input is
    /// native segwit.
    pub unsigned_txid: String,
    /// The transaction's version.
    pub version: i32,
    /// The block height or time before which the transaction is not valid, raw.
    pub lock_time: u32,
    /// Whether the transaction announces that it may be replaced (BIP-125).
    pub replaceable: bool,
    /// What is spent.
    pub inputs: Vec<InputFacts>,
    /// What is paid.
    pub outputs: Vec<OutputFacts>,
    /// The sum of all inputs.
    pub input_total_sat: u64,
    /// The sum of the inputs that belong to the key.
    pub own_input_total_sat: u64,
    /// The sum of all outputs.
    pub output_total_sat: u64,
    /// The sum of the outputs that come back to the key.
    pub change_total_sat: u64,
    /// What the miner gets.
    pub fee_sat: u64,
    /// The fee per 1000 virtual bytes, at most: signatures of others that are not there yet
    /// count as nothing, so the transaction may still grow.
    pub fee_rate_sat_per_kvb: u64,
    /// Whether the fee is out of all proportion and was accepted by the client.
    pub high_fee: bool,
}

impl PsbtFacts {
    /// What the key has less after the transaction; below zero when others pay into it.
    pub fn outflow_sat(&self) -> i128 {
        i128::from(self.own_input_total_sat).saturating_sub(i128::from(self.change_total_sat))
    }
}

/// One input of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFacts {
    /// The transaction whose output is spent.
    pub txid: String,
    /// Which of its outputs.
    pub vout: u32,
    /// How much it holds.
    pub amount_sat: u64,
    /// Whether the transaction that made it stands beside it and says so. A taproot signature is worth
    /// nothing where any amount is false; others vouch for the amount of their own input at most.
    pub amount_proven: bool,
    /// The script that it was paid to.
    pub script: ScriptPubkey,
    /// The form of that script.
    pub kind: ScriptKind,
    /// The sequence number, raw.
    pub sequence: u32,
    /// Whether it belongs to the key and is signed.
    pub is_ours: bool,
    /// Which child of the key it belongs to, if it does.
    pub path: Option<DerivationPath>,
}

/// One output of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFacts {
    /// How much is paid.
    pub amount_sat: u64,
    /// The script that it is paid to.
    pub script: ScriptPubkey,
    /// The form of that script.
    pub kind: ScriptKind,
    /// Whether it comes back: the script is one of the key, or of the child that its key origin
    /// names, derived anew; nothing else counts (P26).
    pub is_change: bool,
    /// Which child of the key it comes back to, if it does.
    pub path: Option<DerivationPath>,
}

/// The script of an output, as hex in every encoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ScriptPubkey(Vec<u8>);

/// A text that is no script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the script is no hex")]
pub struct InvalidScript;

impl ScriptPubkey {
    /// Takes the bytes as they are.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The address on a network, where the script has one.
    pub fn address(&self, network: Network) -> Option<String> {
        let script = Script::from_bytes(&self.0);
        Some(
            Address::from_script(script, of_library(network))
                .ok()?
                .to_string(),
        )
    }

    /// The form of the script.
    pub fn kind(&self) -> ScriptKind {
        let script = Script::from_bytes(&self.0);
        let forms = [
            (script.is_p2pkh(), ScriptKind::P2pkh),
            (script.is_p2sh(), ScriptKind::P2sh),
            (script.is_p2wpkh(), ScriptKind::P2wpkh),
            (script.is_p2wsh(), ScriptKind::P2wsh),
            (script.is_p2tr(), ScriptKind::P2tr),
            (script.is_op_return(), ScriptKind::OpReturn),
        ];
        forms
            .into_iter()
            .find(|(is, _)| *is)
            .map_or(ScriptKind::Other, |(_, kind)| kind)
    }
}

impl From<ScriptPubkey> for String {
    fn from(script: ScriptPubkey) -> Self {
        hex::encode(script.0)
    }
}

impl TryFrom<String> for ScriptPubkey {
    type Error = InvalidScript;
    fn try_from(text: String) -> Result<Self, InvalidScript> {
        hex::decode(text).map(Self).map_err(|_| InvalidScript)
    }
}

/// The form of an output script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ScriptKind {
    /// Pay to public key hash.
    P2pkh,
    /// Pay to script hash.
    P2sh,
    /// Pay to witness public key hash.
    P2wpkh,
    /// Pay to witness script hash.
    P2wsh,
    /// Pay to taproot.
    P2tr,
    /// Data; what is paid to it is burned.
    OpReturn,
    /// Anything else.
    Other,
}
