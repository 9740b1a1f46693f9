//! `quorate cluster export`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    context::Context,
    error::CliError,
    input,
    output::{self, Table},
};

/// Write all rosters of the cluster to a file, for a new host or a new profile.
#[derive(Debug, Args)]
#[command(
    after_help = "The newest rosters are fetched first. Whoever gets the file confirms the hash of \
roster 1 by another way, and follows the others from there.

Example:
  quorate cluster export --out roster.json"
)]
pub(crate) struct Export {
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Export {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        input::check_writable(&self.out)?;
        let client = context.connect_to_read().await?;
        let pinned = client.roster();
        let mut text =
            serde_json::to_vec_pretty(&pinned.to_file()).map_err(|error| CliError::File {
                action: "encode",
                path: self.out.display().to_string(),
                source: error.into(),
            })?;
        text.push(b'\n');
        input::write(&self.out, &text)?;
        if self.out.as_os_str() == "-" {
            return Ok(());
        }
        let (hash, version) = (pinned.cluster(), pinned.roster().version);
        let file = self.out.display();
        let mut table = Table::default();
        table.pair("rosters", &file);
        table.pair("version", version);
        table.pair("hash", pinned.hash());
        table.pair("cluster id", hash);
        table.pair(
            "node",
            format!("quorate-node pin --dir DIR --roster {file} --hash {hash}"),
        );
        let value = json!({
            "rosters": file.to_string(),
            "version": version,
            "hash": pinned.hash(),
            "cluster_id": hash,
        });
        output::print(context.format(), &value, &table)
    }
}
