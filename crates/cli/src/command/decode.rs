//! `quorate decode`: what a payload says, as every node sees it, without a key and offline.

use std::path::PathBuf;

use clap::Args;
use quorate_client::{
    ClientError, EvmRequest,
    model::{Payload, PayloadKind, Refusal},
};
use quorate_intent::{Facts, inspect};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::CliError,
    input::{self, PsbtForm, TextForm},
    output::{self, Table},
};

/// Show what a payload says, as nodes see it, without a key and offline.
#[derive(Debug, Args)]
pub(crate) struct Decode {
    /// message, psbt, digest, evm-transaction, evm-message, evm-typed-data or solana-message
    kind: PayloadKind,
    /// The payload, - for standard input. Messages and typed data are taken as they are; a PSBT
    /// may be base64; all others 0x-hex or binary, a Solana message base64 too, and an EVM
    /// transaction the JSON parameter of `eth_signTransaction`
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
}

impl Decode {
    pub(crate) fn run(&self, context: &Context) -> Result<(), CliError> {
        let bytes = input::read(&self.input)?;
        let (payload, from) = payload(self.kind, bytes)?;
        let facts = inspect(&payload).map_err(|error| Refusal::from(&error))?;
        let mut value = json!({ "kind": self.kind.as_str(), "facts": inner(&facts)? });
        let mut table = Table::default();
        table.pair("kind", self.kind);
        if let Some(from) = from
            && let Some(object) = value.as_object_mut()
        {
            object.insert("claimed_from".to_owned(), json!(from));
            table.pair("from, claimed and not checked", from);
        }
        if let Some(facts) = value.get("facts") {
            rows(&mut table, "", facts);
        }
        output::print(context.format(), &value, &table)
    }
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
