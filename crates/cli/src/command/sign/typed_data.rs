//! `quorate sign typed-data`.

use std::path::PathBuf;

use clap::Args;
use quorate_client::model::{DerivationPath, Payload, PayloadKind};

use super::{Common, print_evm_message, sign};
use crate::{args::KeyArg, context::Context, error::CliError, input};

/// Sign typed data (EIP-712) with an ecdsa-secp256k1 key that has the purpose messages.
#[derive(Debug, Args)]
pub(crate) struct TypedData {
    #[command(flatten)]
    key: KeyArg,
    /// Typed data, the JSON document of `eth_signTypedData_v4`; - for standard input
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// Child of the key that signs, as m/0/5
    #[arg(long, default_value = "m")]
    path: DerivationPath,
    #[command(flatten)]
    common: Common,
}

impl TypedData {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let payload = Payload::new(PayloadKind::EvmTypedData, input::read(&self.input)?);
        let payload = payload.at(self.path.clone());
        match sign(context, &self.key, payload, &self.common).await? {
            Some(signed) => print_evm_message(context, &signed, &self.path),
            None => Ok(()),
        }
    }
}
