//! `quorate key destroy`.

mod standing;

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use quorate_client::{
    Client, ClientError, CommandTimes, DestroyAction, DestructionProgress, ExitClass, ListedKey,
    Prepared, TakenStep,
    model::{
        CommandId, Digest, KeyName, NodeId, PrincipalId, Refusal, UnixMillis,
        certificate::Certificate,
        command::CommandBody,
        destruction::{DestroyStep, DestructionCount, DestructionReceipt, ErasureMethod, Said},
        operation::{CommandState, CommandView},
        roster::{PinnedRoster, Role},
    },
};
use serde_json::{Value, json};

use crate::{
    args::{KeyArg, Submission},
    command::{self, command::print_view},
    context::Context,
    error::{CliError, chain},
    input,
    output::{self, Table},
};

/// Destroy a key for good: announce it, wait for each node's delay, then confirm it.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("step").args(["cancel", "confirm", "force"]),
    after_help = "Examples:
  quorate key destroy old --reason 'emptied in March'
  quorate key destroy old --cancel --reason 'not yet'
  quorate key destroy old --confirm --reason 'emptied in March' --out old-destruction.cert

Only a key that is deactivated or reported as compromised is destroyed, and its name is never used
again. Announcing and confirming take the lifecycle quorum, cancelling takes one admin, and --force
takes every admin. A node that is away destroys its shares when it hears of it; until all have said
so the destruction is partial: repeat the command to see how far it has come."
)]
pub(crate) struct Destroy {
    #[command(flatten)]
    key: KeyArg,
    /// Why, in one line: it stands in the audit log of every node
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Withdraw the announcement; one admin is enough
    #[arg(long)]
    cancel: bool,
    /// Carry the announcement out, at each node after its delay
    #[arg(long)]
    confirm: bool,
    /// Destroy the key at once, without announcement and delay; takes every admin
    #[arg(long)]
    force: bool,
    /// The announcement that is meant, where there are several
    #[arg(long, value_name = "HEX", value_parser = command::command::digest)]
    announcement: Option<Digest>,
    /// Write the certificate of destruction, as far as it has come, to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    submission: Submission,
}

impl Destroy {
    fn action(&self) -> Result<DestroyAction, CliError> {
        let action = match (self.cancel, self.confirm, self.force) {
            (true, ..) => DestroyAction::Cancel(self.announcement),
            (_, true, _) => DestroyAction::Confirm(self.announcement),
            (.., force) if self.announcement.is_some() => {
                let step = if force { "--force" } else { "an announcement" };
                return Err(CliError::Usage(format!(
                    "--announcement is for --cancel and --confirm, not for {step}"
                )));
            }
            (.., true) => DestroyAction::AtOnce,
            _ => DestroyAction::Announce,
        };
        if self.out.is_some() && !(self.confirm || self.force) {
            return Err(CliError::Usage(
                "--out is for --confirm and --force: nothing is destroyed before".to_owned(),
            ));
        }
        Ok(action)
    }

    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let action = self.action()?;
        if let Some(out) = &self.out {
            input::check_writable(out)?;
        }
        let client = context.connect(Role::Admin).await?;
        let key = client.look_up(&self.key.reference()).await?;
        let kept = self.kept(context, &key, action)?;
        if kept.is_none() && !self.submission.validate_only {
            let now = CommandTimes::from_now().created;
            let taken = key.taken(action, &client.roster(), now);
            if let Some(taken) = taken.map_err(ClientError::from)? {
                return self.tell_again(context, (&key, &client.roster()), &taken);
            }
        }
        let now = CommandTimes::from_now().created;
        if kept.is_none()
            && matches!(action, DestroyAction::Confirm(_) | DestroyAction::AtOnce)
            && key.is_ordered_under_another_roster(&client.roster(), now)
        {
            output::progress(
                "the order that nodes have carried out was made under an earlier roster, so those \
                 that were away may refuse it: it is given afresh, and takes its approvals again",
            );
        }
        let prepared = match kept {
            Some(prepared) => prepared,
            None => {
                command::prepare(context, &client, &self.submission, |options| {
                    client.prepare_destruction(&key, action, &self.reason, options)
                })
                .await?
            }
        };
        warn_of_announcements(&key, action, &client.roster(), prepared.digest());
        if let Some(warning) = unheard(&key, action) {
            output::progress(&warning);
        }
        if self.submission.validate_only {
            return command::validate(context, &client, &prepared).await;
        }
        let view = command::submit(context, &client, &self.submission, &prepared).await?;
        if self.submission.no_wait {
            return print_view(context, &view);
        }
        let view = client.follow(view, &mut |_| ()).await?;
        if view.state == CommandState::AwaitingEndorsement
            && let Some(out) = &self.out
        {
            output::progress(&format!(
                "{} is not written: there is no certificate before the approvals; repeat this \
                 command then",
                out.display()
            ));
        }
        let who = if self.force {
            "every other admin"
        } else {
            "another admin"
        };
        command::check_awaited(context, &view, who)?;
        quorate_client::succeeded(&view)?;
        self.report(context, &client, &key, (&prepared, &view))
            .await
    }

    /// The same request under the same id, made before.
    fn kept(
        &self,
        context: &Context,
        key: &ListedKey,
        action: DestroyAction,
    ) -> Result<Option<Prepared>, CliError> {
        let Some(id) = self.submission.command_id else {
            return Ok(None);
        };
        let earlier = Prepared::read(&command::kept_at(context, id)?)?;
        let step = match action {
            DestroyAction::Announce => "announce",
            DestroyAction::Cancel(_) => "cancel",
            DestroyAction::Confirm(_) => "confirm",
            DestroyAction::AtOnce => "at-once",
        };
        Ok(earlier.filter(|earlier| {
            matches!(
                &earlier.command().body,
                CommandBody::DestroyKey(destroy) if destroy.key_id == key.record().id()
                    && destroy.step.as_str() == step
                    && (self.announcement.is_none()
                        || destroy.step.announcement() == self.announcement)
                    && destroy.reason == self.reason
            )
        }))
    }

    async fn report(
        &self,
        context: &Context,
        client: &Client,
        key: &ListedKey,
        (prepared, view): (&Prepared, &CommandView),
    ) -> Result<(), CliError> {
        let done = client.destruction(key, prepared, view).await?;
        let step = Step {
            id: view.id,
            digest: prepared.digest(),
            text: step_text(prepared),
        };
        self.print(context, key, &step, &done)?;
        if let CommandBody::DestroyKey(destroy) = &prepared.command().body
            && let DestroyStep::Cancel { announcement } = destroy.step
        {
            let roster = client.roster();
            match client.look_up(&self.key.reference()).await {
                Ok(key) => standing::tell(&key, announcement, &done.receipts, &roster),
                // It was withdrawn all the same.
                Err(error) => {
                    output::progress(&format!(
                        "warning: what else is announced is not known: {}",
                        chain(&error)
                    ));
                    let withdrawal = key.withdrawal(announcement, &done.receipts, &roster);
                    if let Some(half) = standing::half_text(&key.record().name, &withdrawal) {
                        output::progress(&half);
                    }
                }
            }
        }
        if let Some(next) = next_steps(&key.record().name, &done.receipts) {
            output::progress(&next);
        }
        end(&done)
    }

    /// Prints what nodes said of a step that was taken before, and ends like the first time.
    fn tell_again(
        &self,
        context: &Context,
        (key, roster): (&ListedKey, &PinnedRoster),
        taken: &TakenStep,
    ) -> Result<(), CliError> {
        let step = Step {
            id: taken.id,
            digest: taken.digest,
            text: taken.step.as_str(),
        };
        self.print(context, key, &step, &taken.progress)?;
        if let DestroyStep::Cancel { announcement } = taken.step {
            standing::tell(key, announcement, &taken.progress.receipts, roster);
        }
        let ended = end(&taken.progress);
        if ended.is_err() {
            output::progress(&told_text(taken.told_until, taken.is_outdated));
        }
        ended
    }

    fn print(
        &self,
        context: &Context,
        key: &ListedKey,
        step: &Step,
        done: &DestructionProgress,
    ) -> Result<(), CliError> {
        if let Some(out) = &self.out
            && let Some((certificate, _)) = &done.certificate
        {
            let file = Certificate::Destruction(certificate.clone());
            let bytes = file
                .to_file()
                .map_err(|error| CliError::Unverified(error.to_string()))?;
            input::write_and_tell(out, &bytes)?;
        }
        let name = &key.record().name;
        let mut table = Table::default();
        table.pair("key", name);
        table.pair("step", step.text);
        table.pair("digest", step.digest);
        let nodes: Vec<&str> = done.receipts.iter().map(|one| one.node.as_str()).collect();
        table.pair("nodes that act by it", nodes.join(", "));
        missing_rows(&mut table, done);
        for receipt in &done.receipts {
            if let Said::Announced { from, until, .. } = receipt.said {
                let text = format!("from {} until {}", time_from(from), output::time(until));
                table.pair(&format!("{} takes it", receipt.node), text);
            }
        }
        let mut value = json!({
            "command_id": step.id.to_string(),
            "key": name,
            "step": step.text,
            "digest": step.digest,
            "receipts": receipts_json(&done.receipts),
            "missing": missing_json(done),
        });
        if let Some((_, count)) = &done.certificate {
            count_rows(&mut table, count);
            method_rows(&mut table, &done.receipts);
            if let Some(object) = value.as_object_mut() {
                object.insert("destruction".to_owned(), count_json(count));
            }
        }
        output::print(context.format(), &value, &table)
    }
}

/// A step as it is told.
struct Step {
    id: CommandId,
    digest: Digest,
    text: &'static str,
}

/// What becomes of nodes that have not taken a step which is not commanded again.
fn told_text(until: Option<UnixMillis>, is_outdated: bool) -> String {
    match until {
        Some(until) => format!(
            "the coordinator tells the missing nodes when they are back, until {}",
            output::time(until)
        ),
        None if is_outdated => "the command was made under an earlier roster, and nodes that were \
                                away may refuse it: repeat this command once they are back, which \
                                confirms it afresh"
            .to_owned(),
        None => "the command has expired: announce and confirm again once the missing nodes are \
                 back"
            .to_owned(),
    }
}

/// How the command ends: a destruction that is partial is no success yet.
fn end(done: &DestructionProgress) -> Result<(), CliError> {
    let count = done.certificate.as_ref().map(|(_, count)| count);
    count.map_or(Ok(()), check_complete)
}

/// Refuses to take a destruction for done that is partial, and says who is missing.
pub(in crate::command) fn check_complete(count: &DestructionCount) -> Result<(), CliError> {
    if count.is_complete() {
        return Ok(());
    }
    Err(CliError::Incomplete {
        message: verdict(count),
        code: ExitClass::QuorumUnavailable.code(),
    })
}

/// Says that an announcement is not the only one, which makes the next step harder to name.
fn warn_of_announcements(
    key: &ListedKey,
    action: DestroyAction,
    roster: &PinnedRoster,
    own: Digest,
) {
    if action != DestroyAction::Announce {
        return;
    }
    let now = CommandTimes::from_now().created;
    for known in key.announcements_at(now) {
        if known.digest != own {
            output::progress(&format!(
                "warning: the destruction of key \"{}\" is announced already ({}, {}), to be \
                 confirmed from {}: with two, --confirm and --cancel need --announcement",
                key.record().name,
                known.reason,
                known.digest,
                time_from(known.opens(roster))
            ));
        }
    }
}

/// What is said of a withdrawal of what no node shows. It is made all the same: the announcement may
/// be known to a node that is away, and keeping a key must always be possible.
fn unheard(key: &ListedKey, action: DestroyAction) -> Option<String> {
    let DestroyAction::Cancel(Some(named)) = action else {
        return None;
    };
    (!key.shows_announcement(&named)).then(|| {
        format!(
            "warning: no node shows announcement {named} of the destruction of key \"{}\": this \
             withdraws nothing but what a node that is away may have heard",
            key.record().name
        )
    })
}

/// What can be done about an announcement, and when; none for other steps.
pub(in crate::command) fn next_steps(
    name: &KeyName,
    receipts: &[DestructionReceipt],
) -> Option<String> {
    let mut windows = Vec::new();
    for receipt in receipts {
        if let Said::Announced { from, until, .. } = receipt.said {
            windows.push((receipt.command, from, until));
        }
    }
    let digest = windows.first()?.0;
    let from = windows.iter().map(|window| window.1).max()?;
    let until = windows.iter().map(|window| window.2).min()?;
    Some(format!(
        "next: from {} until {}, when it lapses, quorate key destroy {name} --confirm \
         --announcement {digest} --reason TEXT --out {name}-destruction.cert; to withdraw it: \
         quorate key destroy {name} --cancel --announcement {digest} --reason TEXT",
        time_from(from),
        output::time(until)
    ))
}

/// A moment from which something is possible, never told as an earlier second.
pub(in crate::command) fn time_from(from: UnixMillis) -> String {
    output::time(from.plus(999))
}

/// The announcements of a key's destruction that are in force, for people.
pub(super) fn announcement_rows(table: &mut Table, key: &ListedKey, roster: &PinnedRoster) {
    let nodes = roster.roster().nodes.len();
    for announced in key.announcements() {
        let by: Vec<&str> = announced.by.iter().map(PrincipalId::as_str).collect();
        table.pair(
            "to be destroyed",
            format!(
                "announced to {} of {nodes} nodes by {} ({}), to be confirmed from {} until {}: {}",
                announced.from.len(),
                by.join(", "),
                announced.reason,
                time_from(announced.opens_everywhere(roster)),
                output::time(announced.until),
                announced.digest
            ),
        );
    }
}

/// The same for programs.
pub(super) fn announcements_json(key: &ListedKey, roster: &PinnedRoster) -> Value {
    let nodes = roster.roster().nodes.len();
    let described = key.announcements().into_iter().map(|announced| {
        json!({
            "command_id": announced.id.to_string(),
            "digest": announced.digest,
            "announced_by": announced.by,
            "reason": announced.reason,
            "heard_by": announced.from.keys().collect::<Vec<_>>(),
            "nodes": nodes,
            "confirm_from_ms": announced.opens_everywhere(roster).0,
            "lapse_ms": announced.until.0,
        })
    });
    described.collect()
}

fn step_text(prepared: &Prepared) -> &'static str {
    if let CommandBody::DestroyKey(destroy) = &prepared.command().body {
        destroy.step.as_str()
    } else {
        ""
    }
}

fn missing_rows(table: &mut Table, done: &DestructionProgress) {
    let named = |(node, refusal): &(NodeId, Option<Refusal>)| {
        let why = refusal
            .as_ref()
            .map_or("no answer", |refusal| refusal.message.as_str());
        (node.to_string(), why.to_owned())
    };
    for (node, why) in done.missing_holders.iter().map(named) {
        table.pair("missing holder", format!("{node}: {why}"));
    }
    for (node, why) in done.missing_others.iter().map(named) {
        table.pair("missing node", format!("{node}: {why}"));
    }
}

fn missing_json(done: &DestructionProgress) -> Value {
    let named = |holds: bool| {
        move |(node, refusal): &(NodeId, Option<Refusal>)| {
            json!({
                "node": node,
                "holds": holds,
                "reason": refusal.as_ref().map(|refusal| refusal.reason.as_str()),
                "message": refusal.as_ref().map(|refusal| &refusal.message),
            })
        }
    };
    let holders = done.missing_holders.iter().map(named(true));
    holders
        .chain(done.missing_others.iter().map(named(false)))
        .collect()
}

fn receipt_json(receipt: &DestructionReceipt) -> Value {
    let mut value = json!({ "node": receipt.node, "record": receipt.record });
    let Some(object) = value.as_object_mut() else {
        return value;
    };
    match &receipt.said {
        Said::Announced { since, from, until } => {
            object.insert("since_ms".to_owned(), json!(since.0));
            object.insert("from_ms".to_owned(), json!(from.0));
            object.insert("until_ms".to_owned(), json!(until.0));
        }
        Said::Destroyed {
            state,
            epochs,
            method,
            backups,
        } => {
            object.insert("state".to_owned(), json!(state.as_str()));
            object.insert("epochs".to_owned(), json!(epochs));
            object.insert("method".to_owned(), json!(method.as_str()));
            object.insert("worth".to_owned(), json!(method.statement()));
            object.insert("backups".to_owned(), json!(backups));
        }
        Said::Withdrawn { .. } => {}
    }
    value
}

/// What nodes say, for programs.
pub(in crate::command) fn receipts_json(receipts: &[DestructionReceipt]) -> Value {
    receipts.iter().map(receipt_json).collect()
}

/// How far the end of a key has come, for people.
pub(in crate::command) fn verdict(count: &DestructionCount) -> String {
    let holders = count.holders;
    let done = holders.saturating_sub(count.missing_holders.len());
    if count.is_complete() {
        return format!("destroyed: all {} nodes say so", count.nodes);
    }
    let partial = format!(
        "partial: {done} of {holders} holders say that their shares are gone, if they are honest"
    );
    let mut parts = vec![partial];
    if !count.missing_holders.is_empty() {
        let nodes = joined(&count.missing_holders);
        parts.push(format!("{nodes} has shares and has not said so"));
    }
    if !count.missing_others.is_empty() {
        let nodes = joined(&count.missing_others);
        parts.push(format!(
            "{nodes} may have held an earlier epoch and has not said that nothing is left"
        ));
    }
    parts.join("; ")
}

fn joined(nodes: &[NodeId]) -> String {
    let names: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
    names.join(", ")
}

pub(in crate::command) fn count_rows(table: &mut Table, count: &DestructionCount) {
    table.pair("destruction", verdict(count));
}

pub(in crate::command) fn count_json(count: &DestructionCount) -> Value {
    json!({
        "complete": count.is_complete(),
        "receipts": format!("{} of {}", count.destroyed.len(), count.nodes),
        "destroyed_by": count.destroyed,
        "nodes": count.nodes,
        "holders": count.holders,
        "missing_holders": count.missing_holders,
        "missing_others": count.missing_others,
    })
}

/// What the erasures are worth, and what they do not reach.
pub(in crate::command) fn method_rows(table: &mut Table, receipts: &[DestructionReceipt]) {
    let mut best_effort = false;
    for receipt in receipts {
        let Said::Destroyed {
            method, backups, ..
        } = &receipt.said
        else {
            continue;
        };
        best_effort |= *method == ErasureMethod::BestEffort;
        if *backups > 0 {
            let text = format!(
                "{backups} of {} still hold its share, sealed: destroy them",
                receipt.node
            );
            table.pair("backups", text);
        }
    }
    if best_effort {
        let method = ErasureMethod::BestEffort;
        table.pair(
            "method",
            format!("{}: {}", method.as_str(), method.statement()),
        );
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::model::{Epoch, KeyId, KeyState, Signature};

    use super::*;

    fn receipt(said: Said) -> DestructionReceipt {
        DestructionReceipt {
            node: "node-a".parse().unwrap(),
            key: "old".parse().unwrap(),
            key_id: KeyId([1; 32]),
            command: Digest::ZERO,
            said,
            record: 5,
            head: Digest::ZERO,
            signature: Signature([0; 64]),
        }
    }

    #[test]
    fn an_announcement_is_followed_by_the_commands_that_confirm_and_withdraw_it() {
        let at = |from: u64, until: u64| {
            receipt(Said::Announced {
                since: UnixMillis(0),
                from: UnixMillis(from),
                until: UnixMillis(until),
            })
        };
        let name = "old".parse().unwrap();

        let next = next_steps(&name, &[at(1_500, 9_000), at(1_000, 8_000)]).unwrap();

        let digest = Digest::ZERO;
        for part in [
            "from 1970-01-01T00:00:02Z until 1970-01-01T00:00:08Z".to_owned(),
            format!("quorate key destroy old --confirm --announcement {digest}"),
            format!("quorate key destroy old --cancel --announcement {digest}"),
        ] {
            assert!(next.contains(&part), "{next}");
        }
        assert_eq!(next_steps(&name, &[]), None);
    }

    #[test]
    fn a_partial_destruction_is_no_success_and_says_who_is_missing() {
        let mut count = DestructionCount {
            destroyed: Vec::new(),
            nodes: 3,
            holders: 3,
            missing_holders: vec!["node-c".parse().unwrap()],
            missing_others: Vec::new(),
        };

        let partial = check_complete(&count).unwrap_err();
        count.missing_holders.clear();

        assert_eq!(partial.exit_code(), 5);
        let told = partial.to_string();
        assert!(told.starts_with("partial: 2 of 3"), "{told}");
        assert!(told.contains("node-c has shares"), "{told}");
        assert!(check_complete(&count).is_ok());
    }

    #[test]
    fn nobody_is_said_to_be_told_of_an_order_that_is_over_or_of_another_roster() {
        let told = told_text(Some(UnixMillis(1_000)), false);
        assert!(told.contains("until 1970-01-01T00:00:01Z"), "{told}");
        for (is_outdated, says) in [(true, "earlier roster"), (false, "has expired")] {
            let told = told_text(None, is_outdated);

            assert!(told.contains(says), "{told}");
            assert!(!told.contains("coordinator tells"), "{told}");
        }
    }

    #[test]
    fn a_receipt_of_an_end_tells_programs_how_well_and_what_is_left() {
        let gone = receipt(Said::Destroyed {
            state: KeyState::Destroyed,
            epochs: vec![Epoch(1)],
            method: ErasureMethod::BestEffort,
            backups: 3,
        });

        let value = receipts_json(&[gone]);

        assert_eq!(value[0]["backups"], 3);
        assert_eq!(value[0]["method"], "best-effort");
    }
}
