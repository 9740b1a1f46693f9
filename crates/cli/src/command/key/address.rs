//! `quorate key address`.

use clap::Args;
use quorate_client::model::{DerivationPath, KeyName, Refusal};
use quorate_intent::{KeyFacts, Network, address};
use serde_json::json;

use crate::{
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// Show the address that a key receives bitcoin at, after verifying its certificate.
#[derive(Debug, Args)]
pub(crate) struct Address {
    /// Name of the key
    name: KeyName,
    /// Child of the key, as m/0/5
    #[arg(long, default_value = "m")]
    path: DerivationPath,
    /// bitcoin, testnet, signet or regtest
    #[arg(long, default_value = "bitcoin")]
    network: Network,
}

impl Address {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect_to_read().await?;
        let key = client.key(&self.name).await?;
        let record = key.record();
        let facts = KeyFacts::of(record);
        let address =
            address(&facts, &self.path, self.network).map_err(|error| Refusal::from(&error))?;
        let mut table = Table::default();
        table.row([&address]);
        output::print(context.format(), &json!({ "address": address }), &table)
    }
}
