//! `quorate key states`.

use std::path::PathBuf;

use clap::Args;
use quorate_client::model::{standing::StateMark, wire};
use serde_json::{Value, json};

use crate::{
    args::KeyArg,
    context::Context,
    error::CliError,
    input,
    output::{self, Table},
};

/// Show the commands that put a key in its state, after checking who endorsed them.
#[derive(Debug, Args)]
pub(crate) struct States {
    #[command(flatten)]
    key: KeyArg,
    /// Write them to this file, for `quorate-node import-states` at a node that no coordinator
    /// reaches
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl States {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        if let Some(out) = &self.out {
            input::check_writable(out)?;
        }
        let client = context.connect_to_read().await?;
        let key = client.look_up(&self.key.reference()).await?;
        let standing = key.standing();
        if let Some(out) = &self.out {
            if standing.decisive().is_none() {
                return Err(CliError::Usage(format!(
                    "there is nothing to write: nobody changed the state of key \"{}\"",
                    key.record().name
                )));
            }
            let bytes =
                wire::encode(standing).map_err(|error| CliError::Unverified(error.to_string()))?;
            input::write_and_tell(out, &bytes)?;
        }
        let value: Value = standing.marks().map(mark_json).collect();
        let mut table = Table::with_header(&["SEQUENCE", "CHANGE", "BY", "REASON", "DIGEST"]);
        for mark in standing.marks() {
            table.row([
                mark.sequence.to_string(),
                mark.change.to_string(),
                speakers(mark).join(", "),
                mark.reason.clone(),
                mark.command.digest().to_string(),
            ]);
        }
        output::print(context.format(), &value, &table)
    }
}

fn speakers(mark: &StateMark) -> Vec<String> {
    mark.command
        .endorsements
        .iter()
        .filter(|word| word.kind.is_for_it())
        .map(|word| word.principal.to_string())
        .collect()
}

fn mark_json(mark: &StateMark) -> Value {
    json!({
        "sequence": mark.sequence,
        "change": mark.change.as_str(),
        "by": speakers(mark),
        "reason": mark.reason,
        "digest": mark.command.digest(),
    })
}
