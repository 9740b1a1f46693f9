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
    ids::CommandId,
    operation::{CommandState, CommandView},
};
use serde_json::json;

use crate::{
    args::Submission,
    context::Context,
    error::CliError,
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
        return Ok(make(&CommandOptions::default())?);
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
    prepared.write(&kept)?;
    Ok(prepared)
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

/// Asks every node whether it would carry a command out.
async fn validate(context: &Context, client: &Client, prepared: &Prepared) -> Result<(), CliError> {
    client.validate(prepared).await?;
    let mut table = Table::default();
    table.pair("command", prepared.id());
    table.pair("valid", "every node would carry it out");
    let value = json!({ "command_id": prepared.id().to_string(), "valid": true });
    output::print(context.format(), &value, &table)
}
