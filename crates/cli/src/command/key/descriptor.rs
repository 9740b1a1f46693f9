//! `quorate key descriptor`.

use clap::Args;
use quorate_client::model::Refusal;
use quorate_intent::{AddressType, KeyFacts, Network, descriptors};
use serde_json::json;

use crate::{
    args::KeyArg,
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// Show the descriptor that a watch-only wallet imports, after verifying the key's certificate.
///
/// It has two branches, for receiving and for change, as Bitcoin Core and BDK read it; -o json has
/// each branch by itself as well.
#[derive(Debug, Args)]
pub(crate) struct Descriptor {
    #[command(flatten)]
    key: KeyArg,
    /// p2wpkh, p2sh-p2wpkh or p2pkh for ecdsa-secp256k1 keys, p2tr for bip340 keys [default: the
    /// first that the key can spend]
    #[arg(long = "type", value_name = "TYPE")]
    form: Option<AddressType>,
    /// bitcoin, testnet, signet or regtest
    #[arg(long, default_value = "bitcoin")]
    network: Network,
}

impl Descriptor {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect_to_read().await?;
        let key = client.key(&self.key.reference()).await?;
        let facts = KeyFacts::of(key.record());
        let shown =
            descriptors(&facts, self.network, self.form).map_err(|error| Refusal::from(&error))?;
        let mut table = Table::default();
        table.row([&shown.both]);
        let value = json!({
            "descriptor": shown.both,
            "receiving": shown.receiving,
            "change": shown.change,
            "type": shown.form.as_str(),
            "network": self.network.as_str(),
        });
        output::print(context.format(), &value, &table)
    }
}
