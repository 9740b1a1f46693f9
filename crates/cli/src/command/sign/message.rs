//! `quorate sign message`.

use std::path::PathBuf;

use clap::Args;
use quorate_client::model::{DerivationPath, Payload};

use super::{Common, sign, signed_json, signed_table};
use crate::{args::KeyArg, context::Context, error::CliError, input, output};

/// Sign exact bytes.
#[derive(Debug, Args)]
pub(crate) struct Message {
    #[command(flatten)]
    key: KeyArg,
    #[command(flatten)]
    content: Content,
    /// Child of the key that signs, as m/0/5
    #[arg(long, default_value = "m")]
    path: DerivationPath,
    #[command(flatten)]
    common: Common,
}

/// Where the bytes come from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Content {
    /// File with the message, - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The message itself, as UTF-8 without a line end
    #[arg(long)]
    text: Option<String>,
}

impl Content {
    pub(super) fn read(&self) -> Result<Vec<u8>, CliError> {
        match (&self.file, &self.text) {
            (Some(file), _) => input::read(file),
            (None, text) => Ok(text.clone().unwrap_or_default().into_bytes()),
        }
    }
}

impl Message {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let payload = Payload::message(self.content.read()?).at(self.path.clone());
        match sign(context, &self.key, payload, &self.common).await? {
            Some(signed) => output::print(
                context.format(),
                &signed_json(&signed, &self.path)?,
                &signed_table(&signed, &self.path)?,
            ),
            None => Ok(()),
        }
    }
}
