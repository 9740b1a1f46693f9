//! `quorate command approve` and `quorate command reject`.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    path::PathBuf,
};

use clap::Args;
use quorate_client::{
    AwaitingCommand, Client, ClientError, KeyReference, RosterDifference,
    model::{
        CommandId, Digest, KeyState, Reason, Refusal,
        command::{CommandBody, CreateKey, EndorsementKind, ReshareKey, SignedCommand},
        destruction::{DestroyKey, DestroyStep},
        evacuation::{Destination, Evacuate},
        operation::{CommandOutcome, CommandState, CommandView},
        roster::Role,
        standing::{SetKeyState, StateChange},
    },
};
use quorate_intent::{Facts, KeyFacts, check_evacuation, decode_all, pinned_output};
use serde::Deserialize;
use serde_json::Value;

use super::{print_view, view_json};
use crate::{
    args::command_id,
    command::{
        decode,
        key::{
            destroy::{next_steps, time_from},
            life::{way_out, without_checksum},
            purposes_text,
        },
        reshare::{NO_CURE, changes, fragility, names},
        roster::{Holding, difference_table},
    },
    context::Context,
    error::{CliError, chain, refuse},
    input,
    output::{self, Table},
};

/// Look at commands that wait for endorsements, and speak for them or forbid them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate command approve 2f1c7e0a-5b0e-4c39-9c59-0c1f4b7a9d11
  quorate command approve ID1 ID2 ID3
  quorate node replace node-c node-d -o json > proposed.json
  quorate command approve --from proposed.json
  quorate command approve ID1 ID2 --yes --digest HEX1,HEX2")]
pub(crate) struct Endorse {
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
    /// Approve the removal of nodes although keys have shares there
    #[arg(long)]
    force: bool,
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
    pub(super) async fn run(
        &self,
        context: &Context,
        kind: EndorsementKind,
    ) -> Result<(), CliError> {
        let meant = self.meant()?;
        if self.yes && meant.digests.is_empty() {
            return Err(CliError::Usage(
                "--yes without --digest or --from: say which commands are meant".to_owned(),
            ));
        }
        let client = context.connect(Role::Admin).await?;
        let mut all = Vec::new();
        for id in &meant.ids {
            let awaiting = client.awaiting(*id).await?;
            // What is shown is what is signed: it was decoded from the exact bytes.
            let shown = Shown {
                kind,
                force: self.force,
            };
            shown.show(&client, &awaiting).await?;
            meant.check(&awaiting)?;
            let is_resharing = matches!(awaiting.command().body, CommandBody::ReshareKey(_));
            if self.from.is_some() && !is_resharing {
                return Err(CliError::Usage(format!(
                    "command {id} is no resharing: approve it by itself"
                )));
            }
            all.push(awaiting);
        }
        if !self.yes && !asked(kind, all.len())? {
            return Err(CliError::Usage("nothing was signed".to_owned()));
        }
        if let [awaiting] = all.as_slice() {
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
        let mut views = Vec::new();
        let mut failed = 0_usize;
        for awaiting in &all {
            match client.endorse(awaiting, kind).await {
                Ok(view) => {
                    if let Err(error) = check_end(kind, &view) {
                        failed = failed.saturating_add(1);
                        output::progress(&format!("error: command {}: {}", view.id, chain(&error)));
                    }
                    views.push(view);
                }
                Err(error) => {
                    failed = failed.saturating_add(1);
                    let id = awaiting.command().id;
                    output::progress(&format!("error: command {id}: {}", chain(&error)));
                }
            }
        }
        print_views(context, &views)?;
        if failed > 0 {
            return Err(CliError::Incomplete {
                message: format!("{failed} of {} commands came to nothing", all.len()),
                code: quorate_client::ExitClass::Other.code(),
            });
        }
        Ok(())
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
    fn check(&self, awaiting: &AwaitingCommand) -> Result<(), CliError> {
        let digest = awaiting.digest();
        if self.digests.is_empty() || self.digests.contains(&digest) {
            return Ok(());
        }
        Err(CliError::Unverified(format!(
            "command {} has digest {digest}, which is not the one that is expected",
            awaiting.command().id
        )))
    }
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

/// How commands are shown.
struct Shown {
    kind: EndorsementKind,
    /// Whether nodes may go that hold shares.
    force: bool,
}

impl Shown {
    async fn show(&self, client: &Client, awaiting: &AwaitingCommand) -> Result<(), CliError> {
        let lost = show(client, awaiting, self.kind).await?;
        if lost.is_empty() || self.force || self.kind == EndorsementKind::Reject {
            return Ok(());
        }
        Err(refuse(
            Reason::NodeHoldsShares,
            format!(
                "keys have shares at nodes that the roster removes: {}; have them moved with \
                 `quorate node replace`, or approve with --force what is told above",
                lost.join(", ")
            ),
        ))
    }
}

/// Shows a command, and answers with the keys that lose shares by it.
async fn show(
    client: &Client,
    awaiting: &AwaitingCommand,
    kind: EndorsementKind,
) -> Result<Vec<String>, CliError> {
    let mut lost = Vec::new();
    let command = awaiting.command();
    let mut table = Table::default();
    table.pair("command", command.id);
    table.pair("digest", awaiting.digest());
    if let CommandBody::CreateKey(create) = &command.body {
        show_creation(create, &mut table);
    } else if let CommandBody::SetKeyState(set) = &command.body {
        show_state(client, set, kind, &mut table).await?;
    } else if let CommandBody::ReshareKey(reshare) = &command.body {
        show_reshare(client, reshare, &mut table).await?;
    } else if let CommandBody::DestroyKey(destroy) = &command.body {
        show_destroy(client, destroy, &mut table).await?;
    } else if let CommandBody::ChangeRoster(_) = &command.body {
        lost = show_roster(client, awaiting.signed(), &mut table).await?;
    } else if let CommandBody::Evacuate(evacuate) = &command.body {
        show_evacuation(client, evacuate, kind, &mut table).await?;
    } else if let CommandBody::ReadmitNode(readmit) = &command.body {
        table.pair("change", format!("readmit node {}", readmit.node));
        table.pair("restoration", readmit.restore);
        table.pair("without", names(&readmit.without));
        table.pair("reason", &readmit.reason);
        table.pair(
            "warning",
            "what those nodes alone know is not heard: stops and ends of keys, and epochs in use",
        );
    }
    let words: Vec<String> = awaiting
        .signed()
        .endorsements
        .iter()
        .map(|word| format!("{} ({})", word.principal, word.kind.as_str()))
        .collect();
    table.pair("endorsed by", words.join(", "));
    let expires = if command.body.expires() {
        output::time(command.expires)
    } else {
        "never".to_owned()
    };
    table.pair("expires", expires);
    eprintln!("{table}");
    Ok(lost)
}

/// What becomes of the state of a key, and of what it holds. A key that is not shown can be stopped
/// from signing all the same, and no more.
async fn show_state(
    client: &Client,
    set: &SetKeyState,
    kind: EndorsementKind,
    table: &mut Table,
) -> Result<(), CliError> {
    table.pair("change", format!("{} key {}", set.change, set.key));
    table.pair("key id", set.key_id);
    table.pair("sequence", set.sequence);
    table.pair("reason", &set.reason);
    let reference = KeyReference {
        name: set.key.clone(),
        id: Some(set.key_id),
    };
    match client.look_up(&reference).await {
        Ok(key) => {
            table.pair("state", key.state());
            if set.change.retires() {
                table.pair("warning", way_out(key.life(), &set.key));
            }
        }
        Err(error) if stops_at_once(set.change) => {
            table.pair(
                "warning",
                format!("the key is not shown: {}", chain(&error)),
            );
        }
        Err(error) => return unseen(kind, error, table),
    }
    Ok(())
}

/// Whether a change keeps a thief from signing, which waits for nothing.
const fn stops_at_once(change: StateChange) -> bool {
    matches!(change, StateChange::Suspend | StateChange::Compromise)
}

/// The key that is to be made. It waits for approval where it names destinations.
fn show_creation(create: &CreateKey, table: &mut Table) {
    table.pair("change", format!("create key {}", create.key));
    table.pair("scheme", create.scheme);
    let (threshold, nodes) = (create.threshold, &create.nodes);
    table.pair(
        "holders",
        format!("{threshold} of {} ({})", nodes.len(), names(nodes)),
    );
    table.pair("purpose", purposes_text(&create.purposes));
    if create.accept_fragile {
        table.pair(
            "accepted",
            "a shape that a few lost or bad nodes stop for ever",
        );
    }
    for (what, period) in [
        ("used for", create.life.cryptoperiod_s),
        ("refreshed every", create.life.refresh_s),
    ] {
        if let Some(seconds) = period {
            table.pair(what, format!("{seconds} s"));
        }
    }
    if let Some(before) = &create.life.replaces {
        table.pair("replaces", format!("{} ({})", before.key, before.key_id));
    }
    for destination in &create.life.evacuation {
        table.pair("evacuated to", destination);
    }
    for account in without_checksum(&create.life) {
        table.pair("warning", account);
    }
    table.pair(
        "warning",
        "whoever owns these accounts may be sent all that the key holds once it is retired, and \
         nobody changes them later",
    );
}

/// What the payloads say, as nodes see it, and whether it goes where the key's creation says.
async fn show_evacuation(
    client: &Client,
    evacuate: &Evacuate,
    kind: EndorsementKind,
    table: &mut Table,
) -> Result<(), CliError> {
    let sign = &evacuate.sign;
    table.pair("change", format!("evacuate key {}", sign.key));
    table.pair("key id", sign.key_id);
    table.pair("reason", &evacuate.reason);
    let key = KeyReference {
        name: sign.key.clone(),
        id: Some(sign.key_id),
    };
    let key = match client.look_up(&key).await {
        Ok(key) => key,
        Err(error) => return unseen(kind, error, table),
    };
    table.pair("state", key.state());
    let facts = KeyFacts::of(key.record());
    let decoded = match decode_all(&sign.payloads, &facts) {
        Ok(decoded) => decoded,
        Err(error) => return unseen(kind, Refusal::from(&error).into(), table),
    };
    let pinned = &key.life().evacuation;
    for (payload, decoded) in sign.payloads.iter().zip(&decoded) {
        table.pair("payload", payload.kind);
        if !payload.path.is_root() {
            table.pair("path", &payload.path);
        }
        decode::rows(table, "", &decode::inner(&decoded.facts)?);
        let Facts::Psbt(psbt) = &decoded.facts else {
            continue;
        };
        for (index, output) in psbt.outputs.iter().enumerate() {
            let to = pinned_output(&output.script, pinned);
            let to = to.map_or("none of the pinned destinations", Destination::as_str);
            table.pair(&format!("output {index} pays to"), to);
        }
    }
    for destination in pinned {
        table.pair("pinned", destination);
    }
    let judged = check_evacuation(&sign.payloads, &decoded, &facts, pinned)
        .map_err(|astray| astray.to_string())
        .and_then(|()| {
            let stands = key.standing().check_evacuates(&sign.key);
            stands.map_err(|refusal| refusal.message)
        });
    if let Err(problem) = judged {
        table.pair("warning", format!("nodes will refuse it: {problem}"));
    }
    Ok(())
}

/// Whoever rejects a command need not see what it does; whoever approves it must.
fn unseen(kind: EndorsementKind, error: ClientError, table: &mut Table) -> Result<(), CliError> {
    if kind != EndorsementKind::Reject {
        return Err(error.into());
    }
    let why = format!("what it is about is not shown: {}", chain(&error));
    table.pair("warning", why);
    Ok(())
}

/// Who holds the key, and who is to hold it.
async fn show_reshare(
    client: &Client,
    reshare: &ReshareKey,
    table: &mut Table,
) -> Result<(), ClientError> {
    let key = client
        .look_up(&KeyReference {
            name: reshare.key.clone(),
            id: Some(reshare.key_id),
        })
        .await?;
    let record = key.record();
    let before: Vec<_> = record.participants.iter().map(|p| p.node.clone()).collect();
    let (added, removed) = changes(record, &reshare.nodes);
    let is_refresh = before == reshare.nodes && record.threshold == reshare.threshold;
    let change = if is_refresh { "refresh" } else { "reshare" };
    table.pair("change", format!("{change} key {}", reshare.key));
    table.pair("key id", reshare.key_id);
    table.pair("from epoch", reshare.source_epoch);
    let shape =
        |threshold, nodes: &[_]| format!("{threshold} of {} ({})", nodes.len(), names(nodes));
    table.pair("holders before", shape(record.threshold, &before));
    table.pair("holders after", shape(reshare.threshold, &reshare.nodes));
    for (name, nodes) in [("added", added), ("removed", removed)] {
        if !nodes.is_empty() {
            table.pair(name, nodes.join(", "));
        }
    }
    if record.epoch != reshare.source_epoch {
        let epoch = record.epoch;
        table.pair(
            "warning",
            format!("the key is in epoch {epoch} by now: this will be refused"),
        );
    }
    if let Some(fragile) = fragility(reshare) {
        table.pair("warning", format!("accepted: {fragile}"));
    }
    if key.state() == KeyState::Compromised {
        table.pair("warning", NO_CURE);
    }
    Ok(())
}

/// What is to become of the key, and what is known of it.
async fn show_destroy(
    client: &Client,
    destroy: &DestroyKey,
    table: &mut Table,
) -> Result<(), ClientError> {
    let key = client
        .look_up(&KeyReference {
            name: destroy.key.clone(),
            id: Some(destroy.key_id),
        })
        .await?;
    let step = match destroy.step {
        DestroyStep::Announce => "announce the destruction of",
        DestroyStep::Cancel { .. } => "withdraw the destruction of",
        DestroyStep::Confirm { .. } => "destroy for good",
        DestroyStep::AtOnce => "destroy for good, at once,",
    };
    table.pair("change", format!("{step} key {}", destroy.key));
    table.pair("key id", destroy.key_id);
    table.pair("state", key.state());
    if let Some(announcement) = destroy.step.announcement() {
        table.pair("announcement", announcement);
        let known = key.announcements();
        match known.iter().find(|one| one.digest == announcement) {
            Some(known) => {
                let roster = client.roster();
                let count = known.from.len();
                let nodes = roster.roster().nodes.len();
                let opens = time_from(known.opens_everywhere(&roster));
                let told = format!("{count} of {nodes} nodes ({})", known.reason);
                table.pair("announced to", told);
                table.pair("confirmed from", opens);
            }
            None => table.pair("warning", "no node shows this announcement"),
        }
    }
    table.pair("reason", &destroy.reason);
    if destroy.step.destroys() {
        table.pair(
            "warning",
            "nobody can undo it: whatever the key still holds is lost",
        );
    }
    Ok(())
}

/// What the roster changes of the one in force, and what becomes of keys with it. The answer is which
/// keys have shares at nodes that go.
async fn show_roster(
    client: &Client,
    signed: &SignedCommand,
    table: &mut Table,
) -> Result<Vec<String>, ClientError> {
    let pinned = client.roster();
    let next = quorate_client::roster_of(signed)?;
    table.append(difference_table(pinned.roster(), &next));
    if next.parents != [pinned.hash()] {
        table.pair(
            "warning",
            format!(
                "it does not follow roster {} alone, which is in force: nodes that act by that one \
                 may refuse it",
                pinned.roster().version
            ),
        );
    }
    let removed = RosterDifference::between(pinned.roster(), &next).removed;
    if removed.is_empty() {
        return Ok(Vec::new());
    }
    let keys = client.list_keys().await?;
    let mut lost = Vec::new();
    for node in &removed {
        for holding in Holding::at(&keys, node, &next) {
            table.pair("warning", holding.consequence());
            lost.push(format!("{} at {node}", holding.key));
        }
    }
    Ok(lost)
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
    use quorate_client::model::KeyName;

    use super::*;

    #[test]
    fn what_is_not_seen_is_rejected_and_never_approved() {
        let hidden = || {
            let key: KeyName = "hot".parse().unwrap();
            let message = format!("there is no key \"{key}\"");
            ClientError::from(Refusal::new(Reason::KeyUnknown, message))
        };
        let mut table = Table::default();

        assert!(unseen(EndorsementKind::Approve, hidden(), &mut table).is_err());
        assert!(unseen(EndorsementKind::Propose, hidden(), &mut table).is_err());
        assert!(unseen(EndorsementKind::Reject, hidden(), &mut table).is_ok());
        assert!(table.to_string().contains("is not shown"), "{table}");
    }
}
