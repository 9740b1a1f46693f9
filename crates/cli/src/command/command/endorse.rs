//! `quorate command approve` and `quorate command reject`.

mod shown;

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    path::PathBuf,
};

use clap::Args;
use quorate_client::{
    AwaitingCommand, Client, ClientError,
    model::{
        CommandId, Digest, PrincipalId,
        command::{CommandBody, EndorsementKind},
        operation::{CommandOutcome, CommandState, CommandView},
        roster::Role,
    },
};
use serde::Deserialize;
use serde_json::Value;

use self::shown::Shown;
use super::{print_view, view_json};
use crate::{
    args::command_id,
    command::key::destroy::next_steps,
    context::Context,
    error::{CliError, advice, chain},
    input,
    output::{self, Table},
};

/// Look at commands that wait for endorsements, and approve them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate command approve 2f1c7e0a-5b0e-4c39-9c59-0c1f4b7a9d11
  quorate command approve ID1 ID2 ID3
  quorate node replace node-c node-d -o json > proposed.json
  quorate command approve --from proposed.json
  quorate command approve ID1 ID2 --yes --digest HEX1,HEX2")]
pub(crate) struct Approve {
    #[command(flatten)]
    endorse: Endorse,
    /// Approve the removal of nodes although keys have shares there
    #[arg(long)]
    force: bool,
}

impl Approve {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let (kind, force) = (EndorsementKind::Approve, self.force);
        self.endorse.run(context, Shown { kind, force }).await
    }
}

/// Look at commands that wait for endorsements, and forbid them for good.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate command reject 2f1c7e0a-5b0e-4c39-9c59-0c1f4b7a9d11
  quorate command reject ID1 ID2 ID3
  quorate command reject --from proposed.json
  quorate command reject ID1 ID2 --yes --digest HEX1,HEX2

The word of one admin is enough, and nobody takes it back: what is still wanted is proposed anew.")]
pub(crate) struct Reject {
    #[command(flatten)]
    endorse: Endorse,
}

impl Reject {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let (kind, force) = (EndorsementKind::Reject, false);
        self.endorse.run(context, Shown { kind, force }).await
    }
}

/// Which commands are meant.
#[derive(Debug, Args)]
struct Endorse {
    /// Ids of the commands
    #[arg(value_parser = command_id, required_unless_present = "from", value_name = "ID")]
    ids: Vec<CommandId>,
    /// Take ids and digests from what `-o json` of `key refresh`, `key reshare` or `node replace` says
    /// is waiting, - for standard input. What has ended by then is passed over
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ids", "digest"])]
    from: Option<PathBuf>,
    /// Do not ask: the digests say what is meant, one for each command
    #[arg(long)]
    yes: bool,
    /// Insist on the commands with these digests, as whoever proposed them tells it
    #[arg(long, value_name = "HEX", value_delimiter = ',', value_parser = digest)]
    digest: Vec<Digest>,
}

/// What a batch proposed, as far as it is looked at.
#[derive(Deserialize)]
struct Proposed {
    waiting: Vec<ProposedCommand>,
}

#[derive(Deserialize)]
struct ProposedCommand {
    command_id: String,
    digest: Digest,
}

/// The commands that are meant, and their digests where they are insisted on.
struct Meant {
    ids: Vec<CommandId>,
    digests: Vec<Digest>,
}

impl Endorse {
    async fn run(&self, context: &Context, shown: Shown) -> Result<(), CliError> {
        let kind = shown.kind;
        let meant = self.meant()?;
        if self.yes && meant.digests.is_empty() {
            return Err(CliError::Usage(
                "--yes without --digest or --from: say which commands are meant".to_owned(),
            ));
        }
        let client = context.connect(Role::Admin).await?;
        let mut all = Vec::new();
        let mut failed = 0_usize;
        for id in &meant.ids {
            match self.look(&client, &shown, &meant, *id).await {
                Ok(Some(awaiting)) => all.push(awaiting),
                Ok(None) => {}
                // What others wait for does not depend on it.
                Err(CliError::Client(error)) if self.from.is_some() && !is_of_all(&error) => {
                    failed = failed.saturating_add(1);
                    output::progress(&format!("error: command {id}: {}", chain(&error)));
                }
                Err(error) => return Err(error),
            }
        }
        if all.is_empty() && failed == 0 {
            output::progress("nothing waits any more");
            return print_views(context, &[]);
        }
        if !all.is_empty() && !self.yes && !asked(kind, all.len())? {
            return Err(CliError::Usage("nothing was signed".to_owned()));
        }
        if self.from.is_none()
            && let [awaiting] = all.as_slice()
        {
            let view = client.endorse(awaiting, kind).await?;
            print_view(context, &view)?;
            if let (Some(CommandOutcome::KeyDestruction(outcome)), Some(key)) =
                (&view.outcome, &view.key)
                && let Some(next) = next_steps(key, &outcome.receipts)
            {
                output::progress(&next);
            }
            return Ok(check_end(kind, &view)?);
        }
        let count = all.len().saturating_add(failed);
        let mut views = Vec::new();
        for awaiting in &all {
            match client.endorse(awaiting, kind).await {
                Ok(view) => {
                    if let Err(error) = check_end(kind, &view) {
                        failed = failed.saturating_add(1);
                        output::progress(&format!("error: command {}: {}", view.id, chain(&error)));
                        if let Some(advice) = error.reason().and_then(advice) {
                            output::progress(advice);
                        }
                    }
                    views.push(view);
                }
                Err(error) => {
                    let id = awaiting.command().id;
                    if self.from.is_some() && ended_meanwhile(&client, id).await {
                        continue;
                    }
                    failed = failed.saturating_add(1);
                    output::progress(&format!("error: command {id}: {}", chain(&error)));
                }
            }
        }
        print_views(context, &views)?;
        if failed > 0 {
            return Err(CliError::Incomplete {
                message: format!("{failed} of {count} commands came to nothing"),
                code: quorate_client::ExitClass::Other.code(),
            });
        }
        Ok(())
    }

    /// Shows a command that is to be spoken about. None where one of a file waits for nobody any more.
    async fn look(
        &self,
        client: &Client,
        shown: &Shown,
        meant: &Meant,
        id: CommandId,
    ) -> Result<Option<AwaitingCommand>, CliError> {
        if self.from.is_some() {
            let view = client.command(id).await?;
            meant.check(id, view.digest)?;
            let me = &client.identity().card().id;
            if let Some(why) = passed_over(&view, me, shown.kind) {
                output::progress(&why);
                return Ok(None);
            }
        }
        let awaiting = client.awaiting(id).await?;
        // What is shown is what is signed: it was decoded from the exact bytes.
        shown.show(client, &awaiting).await?;
        meant.check(id, awaiting.digest())?;
        let is_resharing = matches!(awaiting.command().body, CommandBody::ReshareKey(_));
        if self.from.is_some() && !is_resharing {
            return Err(CliError::Usage(format!(
                "command {id} is no resharing: approve it by itself"
            )));
        }
        Ok(Some(awaiting))
    }

    fn meant(&self) -> Result<Meant, CliError> {
        let Some(file) = &self.from else {
            return Ok(Meant {
                ids: self.ids.clone(),
                digests: self.digest.clone(),
            });
        };
        let wrong = |what: String| {
            CliError::Usage(format!(
                "{} is not what `-o json` of a batch prints: {what}",
                file.display()
            ))
        };
        let proposed: Proposed = serde_json::from_slice(&input::read(file)?)
            .map_err(|error| wrong(error.to_string()))?;
        if proposed.waiting.is_empty() {
            return Err(CliError::Usage(format!(
                "nothing in {} waits for approval",
                file.display()
            )));
        }
        let ids = proposed
            .waiting
            .iter()
            .map(|one| command_id(&one.command_id));
        Ok(Meant {
            ids: ids.collect::<Result<_, _>>().map_err(wrong)?,
            digests: proposed.waiting.iter().map(|one| one.digest).collect(),
        })
    }
}

impl Meant {
    /// Refuses a command that was not meant.
    fn check(&self, id: CommandId, digest: Digest) -> Result<(), CliError> {
        if self.digests.is_empty() || self.digests.contains(&digest) {
            return Ok(());
        }
        Err(CliError::Unverified(format!(
            "command {id} has digest {digest}, which is not the one that is expected"
        )))
    }
}

/// Why a command of a file needs no word of this principal any more; none where it waits for it.
fn passed_over(view: &CommandView, me: &PrincipalId, kind: EndorsementKind) -> Option<String> {
    let id = view.id;
    if view.state != CommandState::AwaitingEndorsement {
        let state = view.state.as_str();
        return Some(format!(
            "command {id} is {state} and waits for nobody: passed over"
        ));
    }
    let mut words = view.awaiting.iter().flat_map(|signed| &signed.endorsements);
    let has_approved = words.any(|word| word.principal == *me && word.kind.is_for_it());
    (has_approved && kind == EndorsementKind::Approve)
        .then(|| format!("command {id} has your word and waits for others: passed over"))
}

/// Whether a command ended between the look at it and the word about it; says so.
async fn ended_meanwhile(client: &Client, id: CommandId) -> bool {
    match client.command(id).await {
        Ok(view) if view.state != CommandState::AwaitingEndorsement => {
            let state = view.state.as_str();
            output::progress(&format!(
                "command {id} is {state} meanwhile and waits for nobody: passed over"
            ));
            true
        }
        Ok(_) | Err(_) => false,
    }
}

/// Whether an error is about every command of a file, and not about one of them.
const fn is_of_all(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Unreachable(_)
            | ClientError::TimedOut(_)
            | ClientError::Unverified(_)
            | ClientError::NotInRoster(_)
    )
}

/// What was approved and came to nothing is no success. A command that goes on, or waits for more
/// persons, is one; and what is rejected is meant to end.
fn check_end(kind: EndorsementKind, view: &CommandView) -> Result<(), ClientError> {
    let has_ended = matches!(
        view.state,
        CommandState::Denied
            | CommandState::Failed
            | CommandState::Expired
            | CommandState::Cancelled
    );
    if kind == EndorsementKind::Approve && has_ended {
        return quorate_client::succeeded(view);
    }
    Ok(())
}

fn print_views(context: &Context, views: &[CommandView]) -> Result<(), CliError> {
    let value: Value = views.iter().map(view_json).collect();
    let mut table = Table::with_header(&["COMMAND", "KIND", "KEY", "STATE"]);
    for view in views {
        table.row([
            view.id.to_string(),
            view.kind.as_str().to_owned(),
            view.about().to_owned(),
            view.state.as_str().to_owned(),
        ]);
    }
    output::print(context.format(), &value, &table)
}

pub(in crate::command) fn digest(text: &str) -> Result<Digest, String> {
    Digest::from_hex(text).ok_or_else(|| "a digest is 64 hex digits".to_owned())
}

/// Asks whoever sits at the terminal.
fn asked(kind: EndorsementKind, count: usize) -> Result<bool, CliError> {
    let mut input = io::stdin().lock();
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage(format!(
            "there is no terminal to ask at: add --yes and --digest to {} it",
            kind.as_str()
        )));
    }
    let what = match count {
        1 => "it".to_owned(),
        count => format!("all {count}"),
    };
    output::progress(&format!("{} {what}? [y/N]", kind.as_str()));
    let mut line = String::new();
    input
        .read_line(&mut line)
        .map_err(|source| CliError::File {
            action: "read the answer",
            path: "at the terminal".to_owned(),
            source,
        })?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use quorate_client::model::{
        Reason, Refusal, Signature, UnixMillis,
        command::{Endorsement, SignedCommand},
        operation::CommandKind,
    };

    use super::*;

    #[test]
    fn what_has_ended_is_passed_over_in_a_file_and_what_waits_is_not() {
        let [me, other]: [PrincipalId; 2] = ["ann", "bob"].map(|name| name.parse().unwrap());
        let view = |state, by: &PrincipalId| CommandView {
            id: CommandId(uuid::Uuid::nil()),
            digest: Digest::ZERO,
            kind: CommandKind::ReshareKey,
            key: None,
            state,
            created: UnixMillis(0),
            expires: UnixMillis(1),
            progress: None,
            outcome: None,
            error: None,
            awaiting: Some(SignedCommand {
                bytes: Vec::new(),
                endorsements: vec![Endorsement {
                    principal: by.clone(),
                    kind: EndorsementKind::Propose,
                    role: Role::Admin,
                    signature: Signature([0; 64]),
                }],
            }),
        };
        let why = |state, by, kind| passed_over(&view(state, by), &me, kind);
        let approve = EndorsementKind::Approve;

        for state in [
            CommandState::Running,
            CommandState::Succeeded,
            CommandState::Failed,
            CommandState::Denied,
            CommandState::Expired,
        ] {
            let told = why(state, &other, approve).unwrap();
            assert!(told.contains(state.as_str()), "{told}");
        }
        let waits = CommandState::AwaitingEndorsement;
        assert_eq!(why(waits, &other, approve), None);
        assert!(why(waits, &me, approve).unwrap().contains("your word"));
        assert_eq!(why(waits, &me, EndorsementKind::Reject), None);
    }

    #[test]
    fn what_concerns_one_command_of_a_file_does_not_stop_the_others() {
        let unknown = Refusal::new(Reason::CommandUnknown, "there is no such command");

        assert!(!is_of_all(&unknown.into()));
        assert!(is_of_all(&ClientError::Unreachable("refused".to_owned())));
    }
}
