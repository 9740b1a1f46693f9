//! `quorate key show`.

use clap::Args;
use quorate_client::model::KeyName;

use super::{key_json, purposes_text};
use crate::{
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// Show a key, after verifying its certificate.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Name of the key
    name: KeyName,
}

impl Show {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect_to_read().await?;
        let key = client.key(&self.name).await?;
        let record = key.record();
        let nodes: Vec<_> = record
            .participants
            .iter()
            .map(|p| p.node.as_str())
            .collect();
        let mut table = Table::default();
        table.pair("name", &record.name);
        table.pair("scheme", record.scheme);
        table.pair("purpose", purposes_text(&record.purposes));
        table.pair("state", "ACTIVE");
        table.pair("epoch", record.epoch);
        table.pair(
            "threshold",
            format!("{} of {}", record.threshold, nodes.len()),
        );
        table.pair("nodes", nodes.join(", "));
        table.pair("public key", hex::encode(&record.group_key));
        table.pair("certificate", format!("{} (verified)", record.certificate));
        output::print(context.format(), &key_json(&key), &table)
    }
}
