//! `quorate key show`.

use clap::Args;
use quorate_client::{ClientError, model::KeyName};

use super::{destroy::count_rows, evident_json, life, purposes_text};
use crate::{
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// Show a key, after verifying its certificate, and its proof of possession if it is active.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Name of the key
    name: KeyName,
}

impl Show {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect_to_read().await?;
        let key = client.look_up(&self.name.clone().into()).await?;
        let record = key.record();
        let nodes: Vec<_> = record
            .participants
            .iter()
            .map(|p| p.node.as_str())
            .collect();
        let mut table = Table::default();
        table.pair("name", &record.name);
        table.pair("id", record.id());
        table.pair("scheme", record.scheme);
        table.pair("purpose", purposes_text(&record.purposes));
        table.pair("state", key.state());
        if let Some(mark) = key.standing().decisive() {
            table.pair(
                "since",
                format!("sequence {}: {}", mark.sequence, mark.reason),
            );
        }
        for announced in key.announcements() {
            let from = announced.from.values().max().copied();
            let from = from.map(output::time).unwrap_or_default();
            table.pair(
                "to be destroyed",
                format!(
                    "announced to {} nodes ({}), to be confirmed from {from}: {}",
                    announced.from.len(),
                    announced.reason,
                    announced.digest
                ),
            );
        }
        if let Some((_, count)) = key
            .destruction_certificate(&client.roster())
            .map_err(ClientError::from)?
        {
            count_rows(&mut table, &count);
        }
        table.pair("epoch", record.epoch);
        table.pair(
            "threshold",
            format!("{} of {}", record.threshold, nodes.len()),
        );
        table.pair("nodes", nodes.join(", "));
        table.pair("public key", hex::encode(&record.group_key));
        table.pair("certificate", format!("{} (verified)", record.certificate));
        life::describe(&mut table, &key);
        output::print(context.format(), &evident_json(&key), &table)
    }
}
