//! `quorate audit`: what nodes have decided, and whether it holds together.

mod export;
mod verify;

use clap::Subcommand;

use crate::{context::Context, error::CliError};

/// Export the audit logs of nodes and verify them offline.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Write the journal of a node to a file
    Export(export::Export),
    /// Verify exported files together, without any machine of the cluster
    Verify(verify::Verify),
}

impl Audit {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Export(export) => export.run(context).await,
            Self::Verify(verify) => verify.run(context),
        }
    }
}
