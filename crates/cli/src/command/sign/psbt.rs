//! `quorate sign psbt`.

use std::path::{Path, PathBuf};

use clap::Args;
use quorate_client::model::{DerivationPath, Payload};
use serde_json::json;

use super::{Common, Evacuation, sign_or_evacuate, signed_json, signed_table};
use crate::{
    args::KeyArg,
    context::Context,
    error::CliError,
    input::{self, PsbtForm},
    output,
};

/// Sign the inputs of a PSBT that belong to the key.
#[derive(Debug, Args)]
pub(crate) struct Psbt {
    #[command(flatten)]
    key: KeyArg,
    /// PSBT, binary or base64, - for standard input
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// File to write the signed PSBT to, in the same form; - for standard output
    #[arg(long = "out", value_name = "FILE")]
    out: PathBuf,
    /// Accept a fee above 10 % of the inputs or 0.1 BTC
    #[arg(long, conflicts_with = "evacuate")]
    allow_high_fee: bool,
    #[command(flatten)]
    evacuation: Evacuation,
    #[command(flatten)]
    common: Common,
}

impl Psbt {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        input::check_writable(&self.out)?;
        let (form, psbt) = PsbtForm::read(input::read(&self.input)?);
        let payload = Payload {
            allow_high_fee: self.allow_high_fee,
            ..Payload::psbt(psbt)
        };
        let reason = self.evacuation.reason();
        let signed = sign_or_evacuate(context, &self.key, payload, &self.common, reason);
        let Some(signed) = signed.await? else {
            return Ok(());
        };
        let psbts = signed.psbts();
        let psbt = psbts
            .first()
            .ok_or_else(|| CliError::Unverified("no PSBT came back".to_owned()))?;
        input::write_outcome(&self.out, &form.write(psbt), signed.command())?;
        if self.out == Path::new("-") {
            return Ok(());
        }
        let mut value = signed_json(&signed, &DerivationPath::ROOT)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("out".to_owned(), json!(self.out.display().to_string()));
        }
        let mut table = signed_table(&signed, &DerivationPath::ROOT)?;
        table.pair("written to", self.out.display());
        output::print(context.format(), &value, &table)
    }
}
