//! `quorate sign digest`.

use clap::Args;
use quorate_client::model::{DerivationPath, Digest as Digest32, Payload};

use super::{Common, sign, signed_json, signed_table};
use crate::{args::KeyArg, context::Context, error::CliError, output};

/// Sign a digest of 32 bytes. Nobody can say what it means: the key needs the purpose digests.
#[derive(Debug, Args)]
pub(crate) struct Digest {
    #[command(flatten)]
    key: KeyArg,
    /// The digest, 64 hex digits
    #[arg(long, value_parser = digest)]
    hex: Digest32,
    /// Child of the key that signs, as m/0/5
    #[arg(long, default_value = "m")]
    path: DerivationPath,
    #[command(flatten)]
    common: Common,
}

impl Digest {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let payload = Payload::digest(self.hex.as_bytes().to_vec()).at(self.path.clone());
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

fn digest(text: &str) -> Result<Digest32, String> {
    Digest32::from_hex(text)
        .ok_or_else(|| "a digest is 32 bytes: expected 64 hex digits".to_owned())
}
