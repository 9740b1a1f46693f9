//! `quorate sign evm-message`.

use clap::Args;
use quorate_client::model::{DerivationPath, Payload, PayloadKind};

use super::{Common, message::Content, print_evm_message, sign};
use crate::{args::KeyArg, context::Context, error::CliError};

/// Sign a personal message (EIP-191) with an ecdsa-secp256k1 key that has the purpose messages.
///
/// This is what `personal_sign` and `eth_sign` sign: the bytes behind a prefix, never a bare
/// digest.
#[derive(Debug, Args)]
pub(crate) struct EvmMessage {
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

impl EvmMessage {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let payload = Payload::new(PayloadKind::EvmMessage, self.content.read()?);
        let payload = payload.at(self.path.clone());
        match sign(context, &self.key, payload, &self.common).await? {
            Some(signed) => print_evm_message(context, &signed, &self.path),
            None => Ok(()),
        }
    }
}
