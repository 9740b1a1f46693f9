//! `quorate node init`: runs `quorate-node init`, which lies beside this executable, so that what
//! a node keeps is written by the program that reads it.

use std::{path::PathBuf, process::Command};

use clap::Args;
use quorate_client::model::NodeId;

use crate::{
    context::Context,
    dev::{DevError, node_beside_us},
    error::CliError,
};

/// Make a node's identity on its own machine and print its public card.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Directory of the node
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Id of the node in the roster
    #[arg(long)]
    id: NodeId,
    /// Where the node runs; placement rules count by it
    #[arg(long)]
    region: String,
    /// Who runs the node; placement rules count by it
    #[arg(long)]
    organisation: String,
    /// File with the key that seals the node's secrets, instead of --passphrase-file
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl Init {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let program = node_beside_us()?;
        let mut command = Command::new(&program);
        command.arg("init").arg("--dir").arg(&self.dir);
        command.args(["--id", self.id.as_str()]);
        command.args([
            "--region",
            &self.region,
            "--organisation",
            &self.organisation,
        ]);
        context.pass_unseal(self.key_file.as_deref(), &mut command);
        let status = command.status().map_err(|source| DevError::Spawn {
            program: program.display().to_string(),
            source,
        })?;
        if status.success() {
            return Ok(());
        }
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Err(CliError::Delegated(code.unwrap_or(1)))
    }
}
