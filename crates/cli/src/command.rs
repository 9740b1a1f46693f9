//! One module per noun, one file per verb.

pub(crate) mod audit;
pub(crate) mod cluster;
#[expect(
    clippy::module_inception,
    reason = "`quorate command` is a noun of the command line"
)]
pub(crate) mod command;
pub(crate) mod completion;
pub(crate) mod decode;
pub(crate) mod drill;
pub(crate) mod identity;
pub(crate) mod key;
pub(crate) mod node;
pub(crate) mod reshare;
pub(crate) mod roster;
pub(crate) mod sign;
pub(crate) mod verify;
pub(crate) mod version;

use std::path::PathBuf;

use quorate_client::{Client, ClientError, CommandOptions, Prepared};
use quorate_model::{
    Reason, Refusal,
    command::Endorsement,
    ids::CommandId,
    operation::{CommandState, CommandView},
};
use serde_json::json;

use crate::{
    args::Submission,
    context::Context,
    error::{CliError, chain},
    output::{self, Table},
};

/// Makes the bytes of a command.
///
/// With `--command-id` the same bytes must be made again in every repeat, although they contain
/// times: they are kept in the profile before they are sent, and found again at the coordinator
/// when the profile is another one.
async fn prepare(
    context: &Context,
    client: &Client,
    submission: &Submission,
    make: impl Fn(&CommandOptions) -> Result<Prepared, ClientError>,
) -> Result<Prepared, CliError> {
    let Some(id) = submission.command_id else {
        let prepared = make(&CommandOptions::default())?;
        // Whoever repeats it under the id that is printed means these bytes.
        if waits(client, &prepared) && !submission.validate_only {
            prepared.write(&kept_at(context, prepared.id())?)?;
        }
        return Ok(prepared);
    };
    let kept = kept_at(context, id)?;
    if let Some(earlier) = Prepared::read(&kept)? {
        let options = CommandOptions {
            command_id: Some(id),
            times: Some(earlier.times()),
        };
        let again = make(&options)?;
        if again.digest() == earlier.digest() {
            return Ok(again);
        }
        // Not even asked: nodes that have not seen the first would carry the second out beside it.
        return Err(ClientError::Refused(reused(id)).into());
    }
    let times = client.command_times(id).await?;
    let prepared = make(&CommandOptions {
        command_id: Some(id),
        times,
    })?;
    if times.is_some() {
        prepared
            .check_times(&client.roster())
            .map_err(ClientError::from)?;
    }
    prepared.write(&kept)?;
    Ok(prepared)
}

/// Whether more persons than its proposer must speak for a command.
fn waits(client: &Client, prepared: &Prepared) -> bool {
    let body = &prepared.command().body;
    body.persons_needed(client.roster().roster()) > 1
}

/// Hands a command over. A repeat is a look at what became of it, and no approval: what another admin
/// proposed is shown to whoever approves it.
async fn submit(
    context: &Context,
    client: &Client,
    submission: &Submission,
    prepared: &Prepared,
) -> Result<CommandView, CliError> {
    if let Some(id) = submission.command_id.filter(|_| waits(client, prepared)) {
        match client.command(id).await {
            Ok(view) => check_repeat(&view, prepared)?,
            Err(error) if error.reason() == Some(Reason::CommandUnknown) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if submission.no_wait {
        prepared.write(&kept_at(context, prepared.id())?)?;
    }
    context.sends(prepared);
    Ok(client.submit(prepared).await?)
}

/// Keeps a command whose outcome the caller has lost sight of, and says how to find it again.
pub(crate) fn lost_sight_of(context: &Context, prepared: &Prepared) {
    let id = prepared.id();
    let kept = kept_at(context, id).and_then(|path| Ok(prepared.write(&path)?));
    if let Err(error) = kept {
        output::progress(&format!(
            "warning: command {id} cannot be kept for a repeat: {}",
            chain(&error)
        ));
    }
    output::progress(&found_again(id));
}

/// How a command is found again whose outcome is not known.
fn found_again(id: CommandId) -> String {
    format!(
        "{}, or run the same again with --command-id {id}; --timeout says how long to wait",
        followed(id)
    )
}

/// How a command is followed that was left on its way.
fn followed(id: CommandId) -> String {
    format!("command {id} may be under way: follow it with quorate command watch {id}")
}

/// Refuses to approve what was not shown, and says that approvals of an attempt are gone with it.
fn check_repeat(view: &CommandView, prepared: &Prepared) -> Result<(), CliError> {
    let id = view.id;
    if let Some(awaiting) = view.awaiting.as_ref() {
        let own = &prepared.signed().endorsements;
        let has_spoken = |word: &Endorsement| {
            let mut words = awaiting.endorsements.iter();
            words.any(|known| known.principal == word.principal)
        };
        if own.iter().any(has_spoken) {
            return Ok(());
        }
        return Err(CliError::Usage(format!(
            "command {id} was proposed by another admin and waits for approvals: look at it with \
             quorate command approve {id}"
        )));
    }
    if matches!(view.state, CommandState::Failed | CommandState::Denied) {
        let why = view.error.as_ref();
        let why = why.map_or("no reason is known", |refusal| refusal.message.as_str());
        output::progress(&format!(
            "the last attempt came to nothing ({why}): where it is tried again, it takes the \
             approvals of the others once more"
        ));
    }
    Ok(())
}

/// Where the bytes of a command under this id are kept.
fn kept_at(context: &Context, id: CommandId) -> Result<PathBuf, CliError> {
    let commands = context.home()?.join("commands");
    Ok(commands.join(format!("{id}.command")))
}

/// What is asked for is not what the id was used for before.
fn reused(id: CommandId) -> Refusal {
    Refusal::new(
        Reason::RequestIdReused,
        format!(
            "command id {id} was used for another request, or the key has another id now: use a \
             new id"
        ),
    )
    .with("command_id", id)
}

/// The line that whoever proposes a command hands on to those who are to approve it.
fn to_approve(who: &str, view: &CommandView) -> String {
    format!(
        "{who} must approve it: quorate command approve {} --digest {}",
        view.id, view.digest
    )
}

/// Tells of a command that waits for more persons what they are to do; it ends there for now.
fn check_awaited(context: &Context, view: &CommandView, who: &str) -> Result<(), CliError> {
    if view.state != CommandState::AwaitingEndorsement {
        return Ok(());
    }
    command::print_view(context, view)?;
    output::progress(&to_approve(who, view));
    Err(ClientError::Waiting(view.id).into())
}

/// Asks the nodes whether they would carry a command out, approved by as many as it takes.
async fn validate(context: &Context, client: &Client, prepared: &Prepared) -> Result<(), CliError> {
    client.validate(prepared).await?;
    let mut table = Table::default();
    table.pair("command", prepared.id());
    table.pair(
        "valid",
        "as many nodes as it takes would carry it out, and none refuses it",
    );
    let roster = client.roster();
    let persons = prepared.command().body.persons_needed(roster.roster());
    let approvals = persons.saturating_sub(1);
    if approvals > 0 {
        table.pair("approvals", format!("it takes {approvals} more"));
    }
    let value = json!({
        "command_id": prepared.id().to_string(),
        "valid": true,
        "approvals_needed": approvals,
    });
    output::print(context.format(), &value, &table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_loses_sight_of_a_command_is_told_its_id_and_how_to_find_it_again() {
        let id = CommandId(uuid::Uuid::from_u128(7));

        let told = found_again(id);

        assert!(
            told.contains(&format!("quorate command watch {id}")),
            "{told}"
        );
        assert!(told.contains(&format!("--command-id {id}")), "{told}");
        assert!(told.contains("--timeout"), "{told}");
    }
}
