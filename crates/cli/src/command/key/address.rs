//! `quorate key address`.

use clap::{Args, ValueEnum};
use quorate_client::model::{DerivationPath, Refusal};
use quorate_intent::{KeyFacts, Network, address, solana_address};
use serde_json::json;

use crate::{
    args::KeyArg,
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// Show the address that a key receives at, after verifying its certificate.
#[derive(Debug, Args)]
pub(crate) struct Address {
    #[command(flatten)]
    key: KeyArg,
    /// Child of the key, as m/0/5
    #[arg(long, default_value = "m")]
    path: DerivationPath,
    /// The chain that the address is on
    #[arg(long, value_enum, default_value_t = Chain::Bitcoin)]
    chain: Chain,
    /// Of bitcoin: bitcoin, testnet, signet or regtest
    #[arg(long, default_value = "bitcoin")]
    network: Network,
}

/// Chains that keys have addresses on.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Chain {
    /// Taproot, for bip340 keys
    Bitcoin,
    /// For ed25519 keys; the same on all of its networks
    Solana,
}

impl Address {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect_to_read().await?;
        let key = client.key(&self.key.reference()).await?;
        let record = key.record();
        let facts = KeyFacts::of(record);
        let address = match self.chain {
            Chain::Bitcoin => address(&facts, &self.path, self.network, None),
            Chain::Solana => solana_address(&facts, &self.path),
        }
        .map_err(|error| Refusal::from(&error))?;
        let mut table = Table::default();
        table.row([&address]);
        output::print(context.format(), &json!({ "address": address }), &table)
    }
}
