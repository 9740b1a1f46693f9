//! `quorate key show`.

use clap::Args;
use quorate_client::{ClientError, model::KeyName};

use super::{
    destroy::{announcement_rows, announcements_json, count_json, count_rows},
    evident_json, life, purposes_text,
};
use crate::{
    context::Context,
    error::{CliError, chain},
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
        // What is wrong with another key does not hide this one.
        let (next, unknown) = match client.successor(&key).await {
            Ok(next) => (next, None),
            Err(error) => (None, Some(chain(&error))),
        };
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
        if let Some(why) = &unknown {
            table.pair("replaced by", format!("not known: {why}"));
        }
        let roster = client.roster();
        announcement_rows(&mut table, &key, &roster);
        let ended = key
            .destruction_certificate(&roster)
            .map_err(ClientError::from)?;
        let mut value = evident_json(&key, next.as_ref());
        if let Some(object) = value.as_object_mut() {
            object.insert(
                "announcements".to_owned(),
                announcements_json(&key, &roster),
            );
            let count = ended.as_ref().map(|(_, count)| count_json(count));
            object.insert("destruction".to_owned(), count.into());
        }
        if let Some((_, count)) = &ended {
            count_rows(&mut table, count);
        }
        table.pair("epoch", record.epoch);
        table.pair(
            "threshold",
            format!("{} of {}", record.threshold, nodes.len()),
        );
        table.pair("nodes", nodes.join(", "));
        table.pair("public key", hex::encode(&record.group_key));
        table.pair("certificate", format!("{} (verified)", record.certificate));
        life::describe(&mut table, &key, next.as_ref());
        output::print(context.format(), &value, &table)
    }
}
