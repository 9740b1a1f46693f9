//! `quorate sign solana`.

use std::path::{Path, PathBuf};

use clap::Args;
use quorate_client::{
    ClientError,
    model::{DerivationPath, Payload, Refusal},
};
use quorate_intent::{Undecodable, solana};
use serde_json::json;

use super::{Common, Evacuation, sign_or_evacuate, signed_json, signed_table};
use crate::{
    args::KeyArg,
    context::Context,
    error::CliError,
    input::{self, TextForm},
    output,
};

/// Sign a Solana message with an ed25519 key that has the purpose transactions and is one of the
/// message's signers.
#[derive(Debug, Args)]
pub(crate) struct Solana {
    #[command(flatten)]
    key: KeyArg,
    /// Message (legacy or version 0), binary, base64 or 0x-hex; - for standard input
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// File to write the transaction with the signature to, in the same form; - for standard
    /// output. Other signers have zeros in their places
    #[arg(long = "out", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Child of the key that signs, as m/0/5
    #[arg(long, default_value = "m")]
    path: DerivationPath,
    #[command(flatten)]
    evacuation: Evacuation,
    #[command(flatten)]
    common: Common,
}

impl Solana {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        if let Some(out) = &self.out {
            input::check_writable(out)?;
        }
        let (form, message) = TextForm::read(input::read(&self.input)?);
        let payload = Payload::solana_message(message.clone()).at(self.path.clone());
        let reason = self.evacuation.reason();
        let signed = sign_or_evacuate(context, &self.key, payload, &self.common, reason);
        let Some(signed) = signed.await? else {
            return Ok(());
        };
        let signature = signed.outcome().signatures.first();
        let signature =
            signature.ok_or_else(|| CliError::Unverified("no signature came back".to_owned()))?;
        let key = signed.key().child_key(&self.path);
        let key = key.map_err(ClientError::from)?;
        let transaction = solana::transaction(&message, &key, signature)
            .map_err(|refusal| Refusal::from(&Undecodable::from(refusal)))?;
        if let Some(out) = &self.out {
            input::write_outcome(out, &form.write(&transaction.bytes), signed.command())?;
            if out == Path::new("-") {
                return Ok(());
            }
        }
        let base64 = TextForm::Base64 { line_end: false }.write(&transaction.bytes);
        let base64 = String::from_utf8_lossy(&base64).into_owned();
        let mut value = signed_json(&signed, &self.path)?;
        let mut table = signed_table(&signed, &self.path)?;
        if let Some(object) = value.as_object_mut() {
            object.insert(
                "signature_base58".to_owned(),
                json!(solana::address(signature)),
            );
            object.insert("transaction".to_owned(), json!(base64));
            object.insert("complete".to_owned(), json!(transaction.complete));
        }
        table.pair("signature (base58)", solana::address(signature));
        table.pair("transaction", base64);
        if !transaction.complete {
            table.pair("complete", "no: other signers have zeros in their places");
        }
        if let Some(out) = &self.out {
            table.pair("written to", out.display());
        }
        output::print(context.format(), &value, &table)
    }
}
