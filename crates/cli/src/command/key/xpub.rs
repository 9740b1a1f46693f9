//! `quorate key xpub`.

use clap::Args;
use quorate_client::model::{Refusal, Scheme};
use quorate_intent::{KeyFacts, Network, watch_only};
use serde_json::json;

use crate::{
    args::KeyArg,
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// Show what a watch-only wallet needs to derive a key's addresses, after verifying its certificate.
///
/// Keys on secp256k1 derive children by BIP-32. Ed25519 keys derive them by the public derivation
/// of BIP32-Ed25519 (Khovratovich and Law, 2017), which is not SLIP-10.
#[derive(Debug, Args)]
pub(crate) struct Xpub {
    #[command(flatten)]
    key: KeyArg,
    /// bitcoin, testnet, signet or regtest
    #[arg(long, default_value = "bitcoin")]
    network: Network,
}

impl Xpub {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect_to_read().await?;
        let key = client.key(&self.key.reference()).await?;
        let record = key.record();
        let mut table = Table::default();
        let value = if record.scheme == Scheme::Ed25519 {
            // The form that BIP32-Ed25519 libraries read: public key, then chain code.
            let xpub = hex::encode([&record.group_key[..], &record.chain_code[..]].concat());
            table.pair("xpub", &xpub);
            table.pair("derivation", "bip32-ed25519");
            json!({ "xpub": xpub, "derivation": "bip32-ed25519" })
        } else {
            let facts = KeyFacts::of(record);
            let shown = watch_only(&facts, self.network).map_err(|error| Refusal::from(&error))?;
            table.pair("xpub", &shown.xpub);
            table.pair("fingerprint", &shown.fingerprint);
            table.pair("derivation", "bip32");
            for descriptor in &shown.descriptors {
                table.pair("descriptor", descriptor);
            }
            json!({
                "xpub": shown.xpub,
                "derivation": "bip32",
                "fingerprint": shown.fingerprint,
                "descriptors": shown.descriptors,
            })
        };
        output::print(context.format(), &value, &table)
    }
}
