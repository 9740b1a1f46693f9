//! `quorate sign evm-tx`.

use std::path::PathBuf;

use clap::Args;
use quorate_client::{
    ClientError, EvmRequest,
    model::{DerivationPath, Refusal},
};
use serde_json::json;

use super::{Common, Evacuation, sign_checked, signed_json, signed_table};
use crate::{
    args::KeyArg,
    context::Context,
    error::CliError,
    input,
    output::{self, Table},
};

/// Sign an EVM transaction with an ecdsa-secp256k1 key that has the purpose transactions.
///
/// Nothing is looked up: nonce, gas, fees and chain id must be given. The type follows from the
/// fields for fees. `from` is optional, and must be the account of the key when it is there.
#[derive(Debug, Args)]
pub(crate) struct EvmTx {
    #[command(flatten)]
    key: KeyArg,
    /// Transaction, the JSON parameter of `eth_signTransaction`; - for standard input
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// Child of the key that signs, as m/0/5
    #[arg(long, default_value = "m")]
    path: DerivationPath,
    #[command(flatten)]
    evacuation: Evacuation,
    #[command(flatten)]
    common: Common,
}

/// The account of the transaction may be that of a child, where no child was named.
fn with_path(mut refusal: Refusal, path: &DerivationPath) -> Refusal {
    if path.is_root() {
        let hint = ", and the account of a child with --path, as m/0/5";
        refusal.message.push_str(hint);
    }
    refusal
}

impl EvmTx {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let json = input::read(&self.input)?;
        let request = EvmRequest::from_json(&json).map_err(ClientError::from)?;
        let payload = request.payload().at(self.path.clone());
        let reason = self.evacuation.reason();
        let signed = sign_checked(context, &self.key, payload, &self.common, reason, |key| {
            let account = key.evm_address(&self.path)?;
            Ok(request
                .check_from(account)
                .map_err(|error| with_path(Refusal::from(&error), &self.path))?)
        });
        let Some(signed) = signed.await? else {
            return Ok(());
        };
        let transaction = signed
            .evm_transactions()
            .first()
            .ok_or_else(|| CliError::Unverified("no transaction came back".to_owned()))?;
        let hex = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
        let (raw, hash) = (hex(transaction.raw()), hex(transaction.hash().as_bytes()));
        let mut value = signed_json(&signed, &self.path)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("raw".to_owned(), json!(raw));
            object.insert("hash".to_owned(), json!(hash));
            object.insert("from".to_owned(), json!(transaction.from()));
        }
        let mut table = Table::default();
        table.pair("signed transaction", raw);
        table.pair("hash", hash);
        table.pair("from", transaction.from());
        table.append(signed_table(&signed, &self.path)?);
        output::print(context.format(), &value, &table)
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::model::Reason;

    use super::*;

    #[test]
    fn another_account_than_that_of_the_key_itself_may_be_the_one_of_a_child() {
        let told = |path: &str| {
            let refusal = Refusal::new(Reason::PayloadRefused, "check the name of the key");
            with_path(refusal, &path.parse().unwrap()).message
        };

        assert!(told("m").contains("check the name of the key, and the account of a child"));
        assert!(!told("m/0/5").contains("--path"));
    }
}
