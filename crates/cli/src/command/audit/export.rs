//! `quorate audit export`.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use quorate_client::{
    Client,
    audit::{self, JournalWriter},
    model::{NodeId, Reason, Refusal, audit::FIRST_SEQUENCE},
    profile::{self, Destination, directory_of},
};
use serde_json::json;

use crate::{
    context::Context,
    error::CliError,
    input,
    output::{self, Table},
};

/// How many records are asked for at a time.
const PAGE: u32 = 256;

/// Write the journal of a node to a file.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The node
    #[arg(long)]
    node: NodeId,
    /// File to write, - for standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    /// Also write the evidence against nodes, each piece to a file of its own in this directory
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
}

/// An earlier export may be the only record of what a node said. A device or a pipe holds none.
fn check_free(out: &Path, force: bool) -> Result<(), CliError> {
    if force || out == Path::new("-") || !out.is_file() {
        return Ok(());
    }
    Err(CliError::Usage(format!(
        "{} exists: name another file, or replace it with --force",
        out.display()
    )))
}

impl Export {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        check_free(&self.out, self.force)?;
        input::check_writable(&self.out)?;
        let client = context.connect_to_read().await?;
        if client.roster().card(&self.node).is_none() {
            let message = format!("node \"{}\" is not in the roster", self.node);
            return Err(Refusal::new(Reason::NodeUnknown, message).into());
        }
        if let Some(directory) = &self.evidence {
            let count = self.write_evidence(&client, directory).await?;
            output::progress(&format!("wrote {count} pieces of evidence"));
        }
        if self.out == Path::new("-") {
            let out = BufWriter::new(io::stdout());
            self.write(&client, out).await?;
            return Ok(());
        }
        let failed = |source| CliError::File {
            action: "write",
            path: self.out.display().to_string(),
            source,
        };
        let records = match Destination::of(&self.out).map_err(failed)? {
            Destination::File(target) => {
                let directory = directory_of(&target);
                let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
                let out = BufWriter::new(file.as_file_mut());
                let records = self.write(&client, out).await?;
                file.as_file().sync_all().map_err(failed)?;
                file.persist(&target).map_err(|error| failed(error.error))?;
                records
            }
            Destination::InPlace(target) => {
                let file = fs::OpenOptions::new().write(true).open(target);
                let out = BufWriter::new(file.map_err(failed)?);
                self.write(&client, out).await?
            }
        };
        let mut table = Table::default();
        table.pair("node", &self.node);
        table.pair("records", records);
        table.pair("written to", self.out.display());
        let out = self.out.display().to_string();
        let value = json!({ "node": self.node, "records": records, "out": out });
        output::print(context.format(), &value, &table)
    }

    /// Streams the journal page by page.
    async fn write<W: Write>(&self, client: &Client, out: W) -> Result<u64, CliError> {
        let mut writer = JournalWriter::new(out, client.roster().hash(), self.node.clone())?;
        let mut next = FIRST_SEQUENCE;
        loop {
            let page = client.read_audit(&self.node, next, PAGE).await?;
            for record in &page.records {
                writer.push(record)?;
                next = next.saturating_add(1);
            }
            if page.records.is_empty() || next > page.durable {
                let (_, records) = writer.finish()?;
                return Ok(records);
            }
        }
    }

    /// Writes the evidence that the coordinator holds, each piece to a file of its own.
    async fn write_evidence(&self, client: &Client, directory: &Path) -> Result<usize, CliError> {
        profile::make_private_directory(directory)?;
        let all = client.list_evidence().await?;
        for (at, (node, evidence)) in all.iter().enumerate() {
            let key = match audit::key_of_evidence(evidence) {
                Some(key) => Some(client.look_up(&key.into()).await?.evidence().clone()),
                None => None,
            };
            let roster = client.roster().hash();
            let mut bytes = Vec::new();
            audit::write_evidence(&mut bytes, roster, evidence, key.as_ref())?;
            let name = format!("{:03}-against-{node}.evidence", at.saturating_add(1));
            input::write(&directory.join(name), &bytes)?;
        }
        Ok(all.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_export_is_replaced_only_by_force() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("node-a.audit");
        assert!(check_free(&out, false).is_ok());
        fs::write(&out, b"earlier").unwrap();

        let refused = check_free(&out, false).unwrap_err();

        assert!(refused.to_string().ends_with("with --force"), "{refused}");
        assert!(check_free(&out, true).is_ok());
        assert!(check_free(Path::new("-"), false).is_ok());
    }
}
