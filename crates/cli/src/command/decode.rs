//! `quorate decode`: what a payload says, as every node sees it, offline.

use std::path::PathBuf;

use clap::Args;
use quorate_client::{
    ClientError, EvmRequest,
    model::{DerivationPath, KeyPurpose, Payload, PayloadKind, Purposes, Refusal, Scheme},
};
use quorate_intent::{Facts, SigningItem, WatchedKey, decode, inspect};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::CliError,
    input::{self, PsbtForm, TextForm},
    output::{self, Table},
};

/// Show what a payload says, as nodes see it, offline.
///
/// Without a key, nothing in a PSBT is the key's own and an EVM transaction has no sender, and what
/// no key would sign is shown as well. With --xpub it is decoded for that key, exactly as nodes do
/// for one with all purposes, and refused where they refuse it.
#[derive(Debug, Args)]
pub(crate) struct Decode {
    /// message, psbt, digest, evm-transaction, evm-message, evm-typed-data or solana-message
    kind: PayloadKind,
    /// The payload, - for standard input. Messages and typed data are taken as they are; a PSBT
    /// may be base64; all others 0x-hex or binary, a Solana message base64 too, and an EVM
    /// transaction the JSON parameter of `eth_signTransaction`
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// The extended key that is to sign, as `quorate key xpub` shows it
    #[arg(long)]
    xpub: Option<String>,
    /// The scheme of that key, where the kind of the payload leaves it open
    #[arg(long, requires = "xpub")]
    scheme: Option<Scheme>,
    /// The child of that key that is to sign; a PSBT names children itself
    #[arg(long, requires = "xpub", default_value = "m")]
    path: DerivationPath,
    /// Show a PSBT with a high fee, as `sign psbt --allow-high-fee` signs it
    #[arg(long, requires = "xpub")]
    allow_high_fee: bool,
}

impl Decode {
    pub(crate) fn run(&self, context: &Context) -> Result<(), CliError> {
        let bytes = input::read(&self.input)?;
        let (payload, from) = payload(self.kind, bytes)?;
        let (facts, items) = self.facts(payload)?;
        let sender = sender(&facts);
        if let (Some(from), Some(sender)) = (&from, &sender)
            && !from.eq_ignore_ascii_case(sender)
        {
            return Err(CliError::Unverified(format!(
                "the transaction is said to be from {from}, and the account of the key is {sender}"
            )));
        }
        let mut value = json!({ "kind": self.kind.as_str(), "facts": inner(&facts)? });
        let mut table = Table::default();
        table.pair("kind", self.kind);
        if let Some(from) = from
            && let Some(object) = value.as_object_mut()
        {
            object.insert("claimed_from".to_owned(), json!(from));
            if sender.is_none() {
                table.pair("from, claimed and not checked", from);
            }
        }
        if let Some(facts) = value.get("facts") {
            rows(&mut table, "", facts);
        }
        if let Some(items) = items {
            let signed = Value::Array(items.iter().map(to_sign).collect());
            rows(&mut table, "signed", &signed);
            if let Some(object) = value.as_object_mut() {
                object.insert("signed".to_owned(), signed);
            }
        }
        output::print(context.format(), &value, &table)
    }

    /// The facts, and with a key what it is to sign.
    fn facts(&self, payload: Payload) -> Result<(Facts, Option<Vec<SigningItem>>), CliError> {
        let Some(xpub) = &self.xpub else {
            let facts = inspect(&payload).map_err(|error| Refusal::from(&error))?;
            return Ok((facts, None));
        };
        let usage = |error: &dyn std::error::Error| CliError::Usage(error.to_string());
        let scheme = self.scheme_of_key()?;
        let purposes = Purposes::new(KeyPurpose::ALL.to_vec()).map_err(|error| usage(&error))?;
        let key = WatchedKey::read(xpub, scheme, purposes).map_err(|error| usage(&error))?;
        let payload = Payload {
            path: self.path.clone(),
            allow_high_fee: self.allow_high_fee,
            ..payload
        };
        let decoded = decode(&payload, &key.facts()).map_err(|error| Refusal::from(&error))?;
        Ok((decoded.facts, Some(decoded.items)))
    }

    fn scheme_of_key(&self) -> Result<Scheme, CliError> {
        let told = match self.kind {
            PayloadKind::EvmTransaction | PayloadKind::EvmMessage | PayloadKind::EvmTypedData => {
                Scheme::EcdsaSecp256k1
            }
            PayloadKind::SolanaMessage => Scheme::Ed25519,
            PayloadKind::Message | PayloadKind::Psbt | PayloadKind::Digest => {
                return self.scheme.ok_or_else(|| {
                    CliError::Usage(format!(
                        "keys of several schemes sign a {}: say with --scheme of which this one is",
                        self.kind
                    ))
                });
            }
        };
        Ok(self.scheme.unwrap_or(told))
    }
}

/// Whose transaction it is, where that is known.
fn sender(facts: &Facts) -> Option<String> {
    if let Facts::EvmTransaction(facts) = facts {
        facts.sender.map(|sender| sender.to_string())
    } else {
        None
    }
}

/// One signature that a key is to make.
fn to_sign(item: &SigningItem) -> Value {
    let mut value = json!({ "message": hex::encode(&item.message), "path": item.path.to_string() });
    if let (Some(input), Some(object)) = (item.input, value.as_object_mut()) {
        object.insert("input".to_owned(), input.into());
    }
    value
}

/// The payload in a file, and who is said to send it.
fn payload(kind: PayloadKind, bytes: Vec<u8>) -> Result<(Payload, Option<String>), CliError> {
    let bytes = match kind {
        PayloadKind::Message | PayloadKind::EvmMessage | PayloadKind::EvmTypedData => bytes,
        PayloadKind::Psbt => PsbtForm::read(bytes).1,
        PayloadKind::SolanaMessage => TextForm::read(bytes).1,
        PayloadKind::Digest => hex_or_binary(bytes),
        PayloadKind::EvmTransaction => {
            if bytes.trim_ascii_start().first() == Some(&b'{') {
                let request = EvmRequest::from_json(&bytes).map_err(ClientError::from)?;
                return Ok((request.payload(), request.from.map(String::from)));
            }
            hex_or_binary(bytes)
        }
    };
    Ok((Payload::new(kind, bytes), None))
}

/// Takes hex behind 0x, and everything else as it is.
fn hex_or_binary(bytes: Vec<u8>) -> Vec<u8> {
    let digits = bytes.trim_ascii().strip_prefix(b"0x");
    digits
        .and_then(|digits| hex::decode(digits).ok())
        .unwrap_or(bytes)
}

/// The facts without the name of their kind.
pub(in crate::command) fn inner(facts: &Facts) -> Result<Value, CliError> {
    let value = serde_json::to_value(facts).map_err(|error| CliError::Output(error.into()))?;
    Ok(match value {
        Value::Object(object) => object.into_iter().next().map(|(_, inner)| inner),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    }
    .unwrap_or(Value::Null))
}

/// One line for each value, named by its place.
pub(in crate::command) fn rows(table: &mut Table, at: &str, value: &Value) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let at = if at.is_empty() {
                    name.replace('_', " ")
                } else {
                    format!("{at}.{}", name.replace('_', " "))
                };
                rows(table, &at, value);
            }
        }
        Value::Array(items) if items.is_empty() => table.pair(at, "none"),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                rows(table, &format!("{at}[{index}]"), item);
            }
        }
        Value::Null => table.pair(at, "-"),
        Value::String(text) => table.pair(at, text),
        Value::Bool(_) | Value::Number(_) => table.pair(at, value),
    }
}
