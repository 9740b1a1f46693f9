//! `quorate command show`.

use clap::Args;
use quorate_client::{
    Client,
    model::{
        CommandId,
        operation::{CommandKind, CommandOutcome, CommandView},
        roster::Roster,
    },
    roster_of,
};

use super::{view_json, view_table};
use crate::{
    args::command_id,
    command::roster::{difference_json, difference_table},
    context::Context,
    error::CliError,
    output,
};

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
        let view = client.command(self.id).await?;
        let mut value = view_json(&view);
        let mut table = view_table(&view);
        if let Some((before, after)) = rosters(&client, &view)? {
            table.append(difference_table(&before, &after));
            if let Some(object) = value.as_object_mut() {
                object.insert("change".to_owned(), difference_json(&before, &after));
            }
        }
        output::print(context.format(), &value, &table)
    }
}

/// The roster that a command makes, and the one that it follows.
fn rosters(client: &Client, view: &CommandView) -> Result<Option<(Roster, Roster)>, CliError> {
    let pinned = client.roster();
    let after = match (&view.awaiting, &view.outcome) {
        (Some(signed), _) if view.kind == CommandKind::ChangeRoster => roster_of(signed)?,
        (_, Some(CommandOutcome::RosterChanged(outcome))) => match pinned.at(&outcome.roster) {
            Some(then) => then.roster().clone(),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let parent = after.parents.first().and_then(|hash| pinned.at(hash));
    let before = parent.map_or_else(|| pinned.roster().clone(), |then| then.roster().clone());
    Ok(Some((before, after)))
}
