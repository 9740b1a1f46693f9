//! `quorate key list`.

use clap::Args;
use quorate_client::ListedKey;
use serde_json::Value;

use super::{key_json, purposes_text};
use crate::{
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// List the keys. Each is verified; one whose certificate does not hold makes the list fail.
#[derive(Debug, Args)]
pub(crate) struct List {}

impl List {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect_to_read().await?;
        let keys = client.list_keys().await?;
        let value: Value = keys.iter().map(key_json).collect();
        let mut table = Table::with_header(&[
            "NAME",
            "SCHEME",
            "PURPOSE",
            "STATE",
            "T",
            "N",
            "PUBLIC KEY",
            "ID",
        ]);
        for key in &keys {
            table.row(row(key));
        }
        output::print(context.format(), &value, &table)
    }
}

fn row(key: &ListedKey) -> [String; 8] {
    let record = key.record();
    [
        record.name.to_string(),
        record.scheme.to_string(),
        purposes_text(&record.purposes),
        key.state().to_string(),
        record.threshold.to_string(),
        record.participants.len().to_string(),
        hex::encode(&record.group_key),
        record.id().to_string(),
    ]
}
