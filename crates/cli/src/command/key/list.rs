//! `quorate key list`.

use std::time::SystemTime;

use clap::Args;
use quorate_client::{ListedKey, model::UnixMillis};
use serde_json::{Value, json};

use super::{key_json, life, purposes_text};
use crate::{
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// List the keys. Each is verified; one whose certificate does not hold makes the list fail.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only keys that are due for refresh, rotation or retirement
    #[arg(long)]
    due: bool,
    /// With --due, also those that become due within this time: 30d, 4w or 24h
    #[arg(long, value_name = "TIME", value_parser = life::period, requires = "due")]
    within: Option<u64>,
}

impl List {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect_to_read().await?;
        let keys = client.list_keys().await?;
        if self.due {
            let within_ms = self.within.unwrap_or_default().saturating_mul(1000);
            return print_due(context, &keys, now().plus(within_ms));
        }
        let roster = client.roster();
        let json = |key: &ListedKey| key_json(key, key.replaced_by(&keys, &roster));
        let value: Value = keys.iter().map(json).collect();
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

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixMillis(since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }))
}

/// One line for everything that is due.
fn print_due(context: &Context, keys: &[ListedKey], by: UnixMillis) -> Result<(), CliError> {
    let mut values = Vec::new();
    let mut table = Table::with_header(&["NAME", "DUE FOR", "AT", "STATE", "REPLACED BY"]);
    for key in keys {
        let successor = key.successor(keys).map(|next| &next.record().name);
        for (duty, at) in key.due(keys, by) {
            values.push(json!({
                "name": key.record().name,
                "id": key.record().id(),
                "due_for": duty.as_str(),
                "due_ms": at.0,
                "state": key.state().as_str(),
                "replaced_by": successor,
            }));
            table.row([
                key.record().name.to_string(),
                duty.to_string(),
                life::day(at),
                key.state().to_string(),
                successor.map(ToString::to_string).unwrap_or_default(),
            ]);
        }
    }
    output::print(context.format(), &Value::Array(values), &table)
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
