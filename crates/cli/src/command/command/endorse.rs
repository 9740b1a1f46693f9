//! `quorate command approve` and `quorate command reject`.

mod ended;
mod shown;

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, IsTerminal as _},
    path::PathBuf,
};

use clap::Args;
use quorate_client::{
    AwaitingCommand, Client, ClientError, CommandTimes, KeyReference, VerificationError,
    model::{
        CommandId, Digest, UnixMillis,
        command::{CommandBody, EndorsementKind},
        operation::{CommandOutcome, CommandState, CommandView},
        roster::Role,
    },
};
use serde::Deserialize;
use serde_json::Value;

use self::{ended::Missed, shown::Shown};
use super::{print_view, view_json};
use crate::{
    args::command_id,
    command::{
        followed,
        key::destroy::{check_complete, next_steps},
    },
    context::Context,
    error::CliError,
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
  quorate command approve ID1 ID2 --yes --digest HEX1,HEX2

Of a file, commands that run, have succeeded or have your word already are passed over. Those that
were denied, failed, expired or were withdrawn are not approved: each is named, and the exit code is
1, although the others are approved. Propose again what is still wanted.")]
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

The word of one admin is enough, and nobody takes it back: what is still wanted is proposed anew.

Of a file, commands that can no longer take effect are passed over: those that were denied or
withdrawn, and those that have expired by the clock here as well. Those that run, have succeeded or
have failed are not rejected: each is named, and the exit code is 1, although the others are
rejected.")]
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
    /// is waiting, - for standard input
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
    expire_time_ms: Option<u64>,
}

/// The commands that are meant, and their digests where they are insisted on.
struct Meant {
    ids: Vec<CommandId>,
    digests: Vec<Digest>,
    /// When they expire, as whoever proposed them tells it.
    expiries: BTreeMap<CommandId, UnixMillis>,
}

/// What a look at a command came to.
enum Look {
    /// A word about it is wanted.
    Speak(Box<AwaitingCommand>),
    /// It has this admin's word, and waits for those of others.
    WaitsForOthers,
    /// It waits for nobody.
    PassedOver,
}

/// What is said where no command takes a word.
fn nothing_to_say(waiting: usize) -> String {
    match waiting {
        0 => "nothing waits any more".to_owned(),
        1 => "nothing waits for you: 1 command waits for others".to_owned(),
        count => format!("nothing waits for you: {count} commands wait for others"),
    }
}

/// Says of a command that takes no word because it runs how it is followed.
async fn tell_running(client: &Client, id: CommandId) {
    let view = client.command(id).await;
    if view.is_ok_and(|view| view.state == CommandState::Running) {
        output::progress(&format!("it has its approvals; {}", followed(id)));
    }
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
        let mut waiting: usize = 0;
        let mut missed = Missed::of(kind);
        for id in &meant.ids {
            match self.look(&client, &shown, &meant, *id).await {
                Ok(Look::Speak(awaiting)) => all.push(*awaiting),
                Ok(Look::WaitsForOthers) => waiting = waiting.saturating_add(1),
                Ok(Look::PassedOver) => {}
                // What others wait for does not depend on it.
                Err(CliError::Client(error)) if self.from.is_some() && !is_of_all(&error) => {
                    missed.tell(*id, &error);
                }
                Err(error) => return Err(error),
            }
        }
        if all.is_empty() && missed.is_empty() {
            output::progress(&nothing_to_say(waiting));
            return print_views(context, &[]);
        }
        if !all.is_empty() && !self.yes && !asked(kind, all.len())? {
            return Err(CliError::Usage("nothing was signed".to_owned()));
        }
        if self.from.is_none()
            && let [awaiting] = all.as_slice()
        {
            return speak(context, &client, awaiting, kind).await;
        }
        let mut views = Vec::new();
        for awaiting in &all {
            let id = awaiting.command().id;
            let expires = ended::expiry(awaiting.command());
            let ended = match client.endorse(awaiting, kind).await {
                Ok(view) => {
                    let ended = ended::check(kind, &view, expires, now());
                    views.push(view);
                    ended
                }
                Err(error) if self.from.is_some() => {
                    pass_over(&client, kind, (id, expires), &meant, error).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                missed.tell(id, &error);
            }
        }
        print_views(context, &views)?;
        missed.verdict(meant.ids.len())
    }

    /// Shows a command that is to be spoken about, unless one of a file needs no word any more.
    async fn look(
        &self,
        client: &Client,
        shown: &Shown,
        meant: &Meant,
        id: CommandId,
    ) -> Result<Look, CliError> {
        let awaiting = match client.awaiting(id).await {
            Err(error) if self.from.is_some() && !is_of_all(&error) => {
                let expires = meant.expiries.get(&id).copied();
                pass_over(client, shown.kind, (id, expires), meant, error).await?;
                return Ok(Look::PassedOver);
            }
            Err(error) => {
                tell_running(client, id).await;
                return Err(error.into());
            }
            Ok(awaiting) => awaiting,
        };
        if self.from.is_some()
            && shown.kind == EndorsementKind::Approve
            && awaiting.is_endorsed_by(&client.identity().card().id)
        {
            meant.check(id, awaiting.digest())?;
            output::progress(&format!(
                "command {id} has your word and waits for others: passed over"
            ));
            return Ok(Look::WaitsForOthers);
        }
        // What is shown is what is signed: it was decoded from the exact bytes.
        shown.show(client, &awaiting).await?;
        meant.check(id, awaiting.digest())?;
        let is_resharing = matches!(awaiting.command().body, CommandBody::ReshareKey(_));
        if self.from.is_some() && !is_resharing {
            return Err(CliError::Usage(format!(
                "command {id} is no resharing: approve it by itself"
            )));
        }
        Ok(Look::Speak(Box::new(awaiting)))
    }

    fn meant(&self) -> Result<Meant, CliError> {
        let Some(file) = &self.from else {
            return Ok(Meant {
                ids: self.ids.clone(),
                digests: self.digest.clone(),
                expiries: BTreeMap::new(),
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
        let mut meant = Meant {
            ids: Vec::new(),
            digests: Vec::new(),
            expiries: BTreeMap::new(),
        };
        for one in &proposed.waiting {
            let id = command_id(&one.command_id).map_err(wrong)?;
            meant.ids.push(id);
            meant.digests.push(one.digest);
            let expires = one.expire_time_ms.map(|at| (id, UnixMillis(at)));
            meant.expiries.extend(expires);
        }
        Ok(meant)
    }
}

impl Meant {
    /// Refuses a command that was not meant.
    fn check(&self, id: CommandId, digest: Digest) -> Result<(), CliError> {
        if self.is_meant(digest) {
            return Ok(());
        }
        Err(CliError::Unverified(format!(
            "command {id} has digest {digest}, which is not the one that is expected"
        )))
    }

    fn is_meant(&self, digest: Digest) -> bool {
        self.digests.is_empty() || self.digests.contains(&digest)
    }
}

/// Says the word about the only command that is meant.
async fn speak(
    context: &Context,
    client: &Client,
    awaiting: &AwaitingCommand,
    kind: EndorsementKind,
) -> Result<(), CliError> {
    let id = awaiting.command().id;
    if kind == EndorsementKind::Approve && awaiting.is_endorsed_by(&client.identity().card().id) {
        output::progress("it has your word already: another admin must approve it");
    }
    let view = match client.endorse(awaiting, kind).await {
        Err(error @ ClientError::TimedOut(_)) => {
            output::progress(&format!(
                "the word may be recorded already; {}",
                followed(id)
            ));
            return Err(error.into());
        }
        view => view?,
    };
    print_view(context, &view)?;
    if let (Some(CommandOutcome::KeyDestruction(outcome)), Some(key)) = (&view.outcome, &view.key)
        && let Some(next) = next_steps(key, &outcome.receipts)
    {
        output::progress(&next);
    }
    let expires = ended::expiry(awaiting.command());
    ended::check(kind, &view, expires, now())?;
    check_destroyed(client, awaiting, &view).await
}

/// Looks how far the end of a key has come that this word carried out: the nodes that are away have
/// not said that their shares are gone.
async fn check_destroyed(
    client: &Client,
    awaiting: &AwaitingCommand,
    view: &CommandView,
) -> Result<(), CliError> {
    let CommandBody::DestroyKey(destroy) = &awaiting.command().body else {
        return Ok(());
    };
    if view.state != CommandState::Succeeded || !destroy.step.destroys() {
        return Ok(());
    }
    let reference = KeyReference {
        name: destroy.key.clone(),
        id: Some(destroy.key_id),
    };
    let key = client.look_up(&reference).await?;
    let certificate = key.destruction_certificate(&client.roster());
    match certificate.map_err(ClientError::from)? {
        Some((_, count)) => check_complete(&count),
        None => Ok(()),
    }
}

/// Passes a command of a file over that waits for nobody any more, where nothing is left to say about
/// it; `error` tells why no word could be said.
async fn pass_over(
    client: &Client,
    kind: EndorsementKind,
    (id, expires): (CommandId, Option<UnixMillis>),
    meant: &Meant,
    error: ClientError,
) -> Result<(), ClientError> {
    let Ok(view) = client.command(id).await else {
        return Err(error);
    };
    if view.state == CommandState::AwaitingEndorsement {
        return Err(error);
    }
    if !meant.is_meant(view.digest) {
        return Err(VerificationError::OtherOutcome("it is another command's").into());
    }
    ended::check(kind, &view, expires, now())?;
    let state = view.state.as_str();
    output::progress(&format!(
        "command {id} is {state} and waits for nobody: passed over"
    ));
    Ok(())
}

fn now() -> UnixMillis {
    CommandTimes::from_now().created
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
    use quorate_client::model::{Reason, Refusal};

    use super::*;

    #[test]
    fn what_waits_for_others_is_not_said_to_wait_no_more() {
        assert_eq!(nothing_to_say(0), "nothing waits any more");
        for waiting in [1, 3] {
            let told = nothing_to_say(waiting);
            assert!(told.contains(&format!("{waiting} command")), "{told}");
            assert!(told.ends_with("for others"), "{told}");
        }
    }

    #[test]
    fn what_concerns_one_command_of_a_file_does_not_stop_the_others() {
        let unknown = Refusal::new(Reason::CommandUnknown, "there is no such command");

        assert!(!is_of_all(&unknown.into()));
        assert!(is_of_all(&ClientError::Unreachable("refused".to_owned())));
    }

    #[test]
    fn a_file_says_which_commands_are_meant_and_when_they_expire_where_it_knows() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [first, second] = [1, 2].map(|number| CommandId(uuid::Uuid::from_u128(number)));
        let waiting = serde_json::json!([
            { "key": "a", "command_id": first.to_string(), "digest": Digest::ZERO,
              "expire_time_ms": 7 },
            { "key": "b", "command_id": second.to_string(), "digest": Digest::ZERO },
        ]);
        let proposed = serde_json::json!({ "waiting": waiting, "done": [] });
        std::fs::write(file.path(), proposed.to_string()).unwrap();
        let endorse = Endorse {
            ids: Vec::new(),
            from: Some(file.path().to_owned()),
            yes: true,
            digest: Vec::new(),
        };

        let meant = endorse.meant().unwrap();

        assert_eq!(meant.ids, [first, second]);
        assert_eq!(meant.expiries, BTreeMap::from([(first, UnixMillis(7))]));
        assert!(meant.is_meant(Digest::ZERO) && !meant.is_meant(Digest::new([1; 32])));
    }
}
