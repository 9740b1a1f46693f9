//! `quorate command show`.

use clap::Args;
use quorate_client::model::CommandId;

use super::print_view;
use crate::{args::command_id, context::Context, error::CliError};

/// Show a command and what it came to.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Id of the command
    #[arg(value_parser = command_id)]
    id: CommandId,
}

impl Show {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect_to_read().await?;
        print_view(context, &client.command(self.id).await?)
    }
}
