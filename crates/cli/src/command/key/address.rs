//! `quorate key address`.

use clap::{Args, ValueEnum};
use quorate_client::model::{DerivationPath, Refusal};
use quorate_intent::{AddressType, KeyFacts, Network, address, ethereum_address, solana_address};
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
    /// Of bitcoin: p2wpkh, p2sh-p2wpkh or p2pkh for ecdsa-secp256k1 keys, p2tr for bip340 keys
    /// [default: the first that the key can spend]
    #[arg(long = "type", value_name = "TYPE")]
    form: Option<AddressType>,
}

/// Chains that keys have addresses on.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Chain {
    /// For bip340 and ecdsa-secp256k1 keys
    Bitcoin,
    /// For ecdsa-secp256k1 keys; the same on every EVM chain
    Ethereum,
    /// For ed25519 keys; the same on all of its networks
    Solana,
}

impl Chain {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Bitcoin => "bitcoin",
            Self::Ethereum => "ethereum",
            Self::Solana => "solana",
        }
    }
}

impl Address {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        if self.form.is_some() && !matches!(self.chain, Chain::Bitcoin) {
            let says = "--type is for addresses of bitcoin: leave it out".to_owned();
            return Err(CliError::Usage(says));
        }
        let client = context.connect_to_read().await?;
        let key = client.key(&self.key.reference()).await?;
        let record = key.record();
        let facts = KeyFacts::of(record);
        let address = match self.chain {
            Chain::Bitcoin => address(&facts, &self.path, self.network, self.form),
            Chain::Ethereum => {
                ethereum_address(&facts, &self.path).map(|account| account.to_string())
            }
            Chain::Solana => solana_address(&facts, &self.path),
        }
        .map_err(|error| Refusal::from(&error))?;
        let mut table = Table::default();
        table.row([&address]);
        let value = if matches!(self.chain, Chain::Bitcoin) {
            let usual = AddressType::of_scheme(record.scheme).first().copied();
            json!({
                "address": address,
                "chain": self.chain.as_str(),
                "path": self.path,
                "network": self.network.as_str(),
                "type": self.form.or(usual).map(AddressType::as_str),
            })
        } else {
            json!({
                "address": address,
                "chain": self.chain.as_str(),
                "path": self.path,
            })
        };
        output::print(context.format(), &value, &table)
    }
}
