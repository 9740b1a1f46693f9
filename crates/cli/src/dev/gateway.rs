//! The EVM JSON-RPC gateway of the throwaway cluster.

use std::{net::SocketAddr, str::FromStr};

use clap::Args;
use quorate_client::{
    Client,
    model::{DerivationPath, KeyName, KeyPurpose, Scheme, roster::Role},
    profile::Profile,
};
use serde_json::json;
use toml::{Table, Value};

use super::{
    DevError,
    demonstration::{self, Provided, Wanted},
    place::Shape,
};
use crate::output;

/// The key that the account belongs to when none is named.
const KEY: Wanted = Wanted {
    name: "demo-evm",
    scheme: Scheme::EcdsaSecp256k1,
    purposes: &[KeyPurpose::Transactions, KeyPurpose::Messages],
};

/// What is said about the gateway.
#[derive(Debug, Args)]
pub(crate) struct GatewayOptions {
    /// Also serve EVM JSON-RPC, as the client of the cluster, and tell its URL
    #[arg(long = "gateway")]
    is_wanted: bool,
    /// Account of the gateway, repeatable; its key may be made later [default: demo-evm, which is
    /// made at once]
    #[arg(
        long = "gateway-account",
        value_name = "KEY[:PATH]",
        requires = "is_wanted"
    )]
    accounts: Vec<Account>,
    /// Chain of the gateway
    #[arg(
        long = "gateway-chain-id",
        value_name = "ID",
        default_value_t = 31337,
        requires = "is_wanted"
    )]
    chain_id: u32,
    /// Node of the chain, for what the gateway does not know itself
    #[arg(long = "gateway-upstream", value_name = "URL", requires = "is_wanted")]
    upstream: Option<String>,
    /// Port of the gateway [default: any that is free]
    #[arg(
        long = "gateway-port",
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true,
        requires = "is_wanted"
    )]
    port: u16,
}

/// A child of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    key: KeyName,
    path: DerivationPath,
}

impl FromStr for Account {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, path) = text.split_once(':').unwrap_or((text, "m"));
        Ok(Self {
            key: key.parse().map_err(|error| format!("{error}"))?,
            path: path.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

impl GatewayOptions {
    /// Where the gateway is to listen, beside everything else; none if it is not wanted.
    pub(super) fn address(&self, any_port: SocketAddr) -> Option<SocketAddr> {
        self.is_wanted
            .then(|| SocketAddr::new(any_port.ip(), self.port))
    }

    /// The section of the coordinator's configuration.
    pub(super) fn section(&self, profile: &Profile, listen: SocketAddr) -> Result<Table, DevError> {
        let identity = profile.identity_path(Role::Client);
        let identity = identity.map_err(quorate_client::ClientError::from)?;
        let passphrase = profile.passphrase_path();
        let passphrase = passphrase.unwrap_or_else(|| profile.home().to_owned());
        let default = Account {
            key: KEY
                .name
                .parse()
                .map_err(|error| DevError::Usage(format!("{error}")))?,
            path: DerivationPath::ROOT,
        };
        let accounts: Vec<&Account> = match self.accounts.as_slice() {
            [] => vec![&default],
            accounts => accounts.iter().collect(),
        };
        let account = |account: &Account| {
            let entries = [
                ("key", account.key.to_string()),
                ("path", account.path.to_string()),
            ];
            Value::Table(strings(entries))
        };
        let mut section = strings([
            ("listen", listen.to_string()),
            ("identity", identity.display().to_string()),
            ("passphrase_file", passphrase.display().to_string()),
        ]);
        section.insert("chain_id".to_owned(), i64::from(self.chain_id).into());
        let accounts = accounts.into_iter().map(account).collect();
        section.insert("accounts".to_owned(), Value::Array(accounts));
        if let Some(upstream) = &self.upstream {
            section.insert("upstream".to_owned(), upstream.as_str().into());
        }
        Ok(section)
    }

    /// What people are told of the gateway at a URL. The key of the account is made if none was
    /// named.
    pub(super) async fn present(
        &self,
        url: String,
        admin: &Client,
        client: &Client,
        shape: Shape,
    ) -> Result<Presented, DevError> {
        let account = if self.accounts.is_empty() {
            let provided = demonstration::provide_key(admin, client, shape, KEY).await?;
            let address = provided.key.evm_address(&DerivationPath::ROOT)?;
            Some((provided, address.to_string()))
        } else {
            None
        };
        Ok(Presented { url, account })
    }
}

/// The gateway as people see it.
#[derive(Debug)]
pub(super) struct Presented {
    url: String,
    /// The key of the demonstration and its address; none where accounts were named.
    account: Option<(Provided, String)>,
}

impl Presented {
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The account, for programs.
    pub(super) fn account_json(&self) -> serde_json::Value {
        match &self.account {
            Some((_, address)) => json!({ "key": KEY.name, "address": address }),
            None => serde_json::Value::Null,
        }
    }

    /// What happened.
    pub(super) fn describe(&self, table: &mut output::Table) {
        if let Some((provided, _)) = &self.account {
            provided.describe(table);
        }
    }

    /// Values that people may want to look at.
    pub(super) fn details(&self, table: &mut output::Table) {
        table.pair("EVM JSON-RPC", &self.url);
        if let Some((_, address)) = &self.account {
            table.pair("EVM account", format!("{address} (key {})", KEY.name));
        }
    }

    /// How to use it.
    pub(super) fn usage(&self) -> String {
        let Self { url, account } = self;
        let sign = match account {
            Some((_, address)) => {
                format!("    cast rpc personal_sign 0x68656c6c6f {address} --rpc-url {url}\n")
            }
            None => String::new(),
        };
        format!(
            "\nClients of Ethereum nodes take the gateway for a node that unlocks its accounts, \
             as cast does:\n\n    \
             cast rpc eth_accounts --rpc-url {url}\n{sign}"
        )
    }
}

fn strings<const N: usize>(entries: [(&str, String); N]) -> Table {
    entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_key_with_or_without_a_path() {
        let read = |text: &str| {
            let account: Account = text.parse()?;
            Ok::<_, String>((account.key.to_string(), account.path.to_string()))
        };

        assert_eq!(read("hot").unwrap(), ("hot".to_owned(), "m".to_owned()));
        let child = ("hot".to_owned(), "m/0/5".to_owned());
        assert_eq!(read("hot:m/0/5").unwrap(), child);
        assert!(read("Hot").is_err());
        assert!(read("hot:m/0'").is_err());
        assert!(read("").is_err());
    }
}
