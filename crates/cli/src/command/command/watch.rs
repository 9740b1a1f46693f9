//! `quorate command watch`.

use clap::Args;
use quorate_client::model::{
    CommandId,
    operation::{CommandView, Progress},
};

use super::print_view;
use crate::{args::command_id, context::Context, error::CliError, output};

/// Follow a command until it ends, and exit as it ended.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Id of the command
    #[arg(value_parser = command_id)]
    id: CommandId,
}

impl Watch {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect_to_read().await?;
        let view = client.command(self.id).await?;
        let mut last: Option<Progress> = None;
        let mut report = |view: &CommandView| {
            if let Some(progress) = &view.progress
                && last.as_ref() != Some(progress)
            {
                output::progress(&format!("{:>3}%  {}", progress.percent, progress.step));
                last = Some(progress.clone());
            }
        };
        let view = client.follow(view, &mut report).await?;
        print_view(context, &view)?;
        Ok(view_result(&view)?)
    }
}

fn view_result(view: &CommandView) -> Result<(), quorate_client::ClientError> {
    quorate_client::succeeded(view)
}
