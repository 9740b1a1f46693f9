//! `quorate key address`.

use clap::{Args, ValueEnum};
use quorate_client::{
    CertifiedKey,
    model::{DerivationPath, KeyName, NodeId, Reason, Refusal, Scheme},
};
use quorate_intent::{AddressKind, AddressType, Network, address_of_kind, address_type};
use serde_json::{Map, Value};

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
    /// Have as many holders as sign state the address, each under its signature
    #[arg(long)]
    attested: bool,
    /// Also of a key whose time is over, to find what it still holds: no holder states it any more
    #[arg(long, conflicts_with = "attested")]
    retired: bool,
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

/// Says which chain an ed25519 key has addresses on, where another is asked for.
fn check_chain(name: &KeyName, scheme: Scheme, chain: Chain) -> Result<(), Refusal> {
    if scheme != Scheme::Ed25519 || matches!(chain, Chain::Solana) {
        return Ok(());
    }
    let message = format!(
        "key \"{name}\" has scheme {scheme} and no address on {}: use --chain solana",
        chain.as_str()
    );
    Err(Refusal::new(Reason::SchemeMismatch, message).with("key", name))
}

impl Address {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        if self.form.is_some() && !matches!(self.chain, Chain::Bitcoin) {
            let says = "--type is for addresses of bitcoin: leave it out".to_owned();
            return Err(CliError::Usage(says));
        }
        let client = context.connect_to_read().await?;
        let key = client.key(&self.key.reference()).await?;
        if let Err(refusal) = key.check_receives() {
            if !self.retired {
                output::progress(
                    "to find what the key still holds, add --retired; give the address to nobody",
                );
                return Err(refusal.into());
            }
            output::progress(&format!("warning: pay nothing to it: {}", refusal.message));
        }
        let kind = self.kind(&key)?;
        let mut value = Map::new();
        let mut add = |field: &str, shown: Value| value.insert(field.to_owned(), shown);
        add("chain", self.chain.as_str().into());
        add("path", self.path.to_string().into());
        if let AddressKind::Bitcoin { network, form } = kind {
            add("network", network.as_str().into());
            add("type", form.as_str().into());
        }
        let mut table = Table::default();
        if self.attested {
            let attested = client.address(&key, &self.path, kind).await?;
            let nodes: Vec<_> = attested.nodes().map(NodeId::as_str).collect();
            table.pair("address", attested.address());
            table.pair("attested by", nodes.join(", "));
            add("address", attested.address().into());
            add("attested_by", nodes.into());
        } else {
            let address = address_of_kind(&key.facts(), &self.path, kind)
                .map_err(|error| Refusal::from(&error))?;
            table.row([&address]);
            add("address", address.into());
        }
        output::print(context.format(), &Value::Object(value), &table)
    }

    fn kind(&self, key: &CertifiedKey) -> Result<AddressKind, Refusal> {
        let record = key.record();
        check_chain(&record.name, record.scheme, self.chain)?;
        Ok(match self.chain {
            Chain::Bitcoin => AddressKind::Bitcoin {
                network: self.network,
                form: address_type(&key.facts(), self.form)
                    .map_err(|error| Refusal::from(&error))?,
            },
            Chain::Ethereum => AddressKind::Ethereum,
            Chain::Solana => AddressKind::Solana,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_solana_is_told_to_ask_for_its_chain() {
        let check = |scheme, chain| check_chain(&"hot".parse().unwrap(), scheme, chain);

        for chain in [Chain::Bitcoin, Chain::Ethereum] {
            let refused = check(Scheme::Ed25519, chain).unwrap_err();
            assert!(refused.message.ends_with("use --chain solana"));
            assert_eq!(refused.reason, Reason::SchemeMismatch);
        }
        assert_eq!(check(Scheme::Ed25519, Chain::Solana), Ok(()));
        assert_eq!(check(Scheme::Bip340, Chain::Bitcoin), Ok(()));
    }
}
