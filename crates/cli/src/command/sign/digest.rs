//! `quorate sign digest`.

use clap::Args;
use quorate_client::model::{Digest as Digest32, KeyName, Payload};

use super::{Common, sign, signed_json, signed_table};
use crate::{context::Context, error::CliError, output};

/// Sign a digest of 32 bytes. Nobody can say what it means: the key needs the purpose digests.
#[derive(Debug, Args)]
pub(crate) struct Digest {
    /// Name of the key
    name: KeyName,
    /// The digest, 64 hex digits
    #[arg(long, value_parser = digest)]
    hex: Digest32,
    #[command(flatten)]
    common: Common,
}

impl Digest {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let payload = Payload::digest(self.hex.as_bytes().to_vec());
        match sign(context, &self.name, payload, &self.common).await? {
            Some(signed) => output::print(
                context.format(),
                &signed_json(&signed),
                &signed_table(&signed),
            ),
            None => Ok(()),
        }
    }
}

fn digest(text: &str) -> Result<Digest32, String> {
    Digest32::from_hex(text)
        .ok_or_else(|| "a digest is 32 bytes: expected 64 hex digits".to_owned())
}
