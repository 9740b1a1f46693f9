//! `quorate verify`.

use std::path::PathBuf;

use clap::Args;
use quorate_client::{ClientError, model::DerivationPath};
use serde_json::json;

use crate::{
    args::KeyArg,
    context::Context,
    error::CliError,
    input,
    output::{self, Table},
};

/// Check a signature over a message under a key's certified public key.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    key: KeyArg,
    /// File with the message, - for standard input
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Child of the key that signed, as m/0/5
    #[arg(long, default_value = "m")]
    path: DerivationPath,
    /// The signature in hex
    #[arg(long, value_name = "HEX", value_parser = hex_bytes)]
    signature: HexBytes,
}

/// Bytes given in hex.
#[derive(Clone, Debug)]
struct HexBytes(Vec<u8>);

fn hex_bytes(text: &str) -> Result<HexBytes, String> {
    hex::decode(text)
        .map(HexBytes)
        .map_err(|error| error.to_string())
}

impl Verify {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let message = input::read(&self.file)?;
        let client = context.connect_to_read().await?;
        let key = client.key(&self.key.reference()).await?;
        let public_key = hex::encode(key.child_key(&self.path).map_err(ClientError::from)?);
        let verified = key.verify_message(&self.path, &message, &self.signature.0);
        if verified.is_err() {
            return Err(CliError::Unverified(format!(
                "the signature is not one of key \"{}\" at {} over this message",
                self.key.name, self.path
            )));
        }
        let mut table = Table::default();
        table.pair("signature", "valid");
        table.pair("key", &self.key.name);
        table.pair("key id", key.record().id());
        table.pair("public key", &public_key);
        let value = json!({
            "valid": true,
            "key": self.key.name,
            "key_id": key.record().id(),
            "public_key": public_key,
        });
        output::print(context.format(), &value, &table)
    }
}
