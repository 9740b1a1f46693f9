//! `quorate drill`: rehearsals of what one hopes never to need.

mod restore;

use clap::Subcommand;

use crate::{context::Context, error::CliError};

/// Rehearse a restore without touching a node.
#[derive(Debug, Subcommand)]
pub(crate) enum Drill {
    /// Try a backup of a node out, and show which of its shares would be usable
    Restore(restore::Restore),
}

impl Drill {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Restore(restore) => restore.run(context).await,
        }
    }
}
