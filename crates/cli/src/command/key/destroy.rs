//! `quorate key destroy`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use quorate_client::{
    Certificate, Client, ClientError, DestroyAction, DestructionProgress, ExitClass, ListedKey,
    Prepared,
    model::{
        Digest, NodeId, Refusal,
        command::CommandBody,
        destruction::{DestructionCount, DestructionReceipt, ErasureMethod, Said},
        operation::{CommandState, CommandView},
        roster::Role,
    },
};
use serde_json::{Value, json};

use crate::{
    args::{KeyArg, Submission},
    command::{self, command::print_view},
    context::Context,
    error::CliError,
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
so the destruction is partial: repeat the command to ask again."
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
        let client = context.connect(Role::Admin).await?;
        let key = client.look_up(&self.key.reference()).await?;
        let prepared = match self.kept(context, &key, action)? {
            Some(prepared) => prepared,
            None => {
                command::prepare(context, &client, &self.submission, |options| {
                    client.prepare_destruction(&key, action, &self.reason, options)
                })
                .await?
            }
        };
        if self.submission.validate_only {
            return command::validate(context, &client, &prepared).await;
        }
        let view = client.submit(&prepared).await?;
        if self.submission.no_wait {
            return print_view(context, &view);
        }
        let view = client.follow(view, &mut |_| ()).await?;
        if view.state == CommandState::AwaitingEndorsement {
            print_view(context, &view)?;
            let who = if self.force {
                "every other admin"
            } else {
                "another admin"
            };
            output::progress(&format!(
                "{who} must approve it: quorate command approve {}",
                view.id
            ));
            return Err(ClientError::Waiting(view.id).into());
        }
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
        if let Some(out) = &self.out
            && let Some((certificate, _)) = &done.certificate
        {
            let file = Certificate::Destruction(certificate.clone());
            let bytes = file
                .to_file()
                .map_err(|error| CliError::Unverified(error.to_string()))?;
            input::write(out, &bytes)?;
        }
        let mut table = Table::default();
        table.pair("key", view.about());
        table.pair("step", step_text(prepared));
        table.pair("digest", prepared.digest());
        let nodes: Vec<&str> = done.receipts.iter().map(|one| one.node.as_str()).collect();
        table.pair("nodes that act by it", nodes.join(", "));
        missing_rows(&mut table, &done);
        for receipt in &done.receipts {
            if let Said::Announced { from, .. } = receipt.said {
                let text = format!("from {}", output::time(from));
                table.pair(&format!("{} takes it", receipt.node), text);
            }
        }
        let mut value = json!({
            "command_id": view.id.to_string(),
            "key": view.key,
            "step": step_text(prepared),
            "digest": prepared.digest(),
            "receipts": done.receipts.iter().map(receipt_json).collect::<Vec<_>>(),
            "missing": missing_json(&done),
        });
        let count = done.certificate.as_ref().map(|(_, count)| count);
        if let Some(count) = count {
            count_rows(&mut table, count);
            method_rows(&mut table, &done.receipts);
            if let Some(object) = value.as_object_mut() {
                object.insert("destruction".to_owned(), count_json(count));
            }
        }
        output::print(context.format(), &value, &table)?;
        match count {
            Some(count) if !count.is_complete() => Err(CliError::Incomplete {
                message: verdict(count),
                code: ExitClass::QuorumUnavailable.code(),
            }),
            _ => Ok(()),
        }
    }
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
            object.insert("backups".to_owned(), json!(backups));
        }
        Said::Withdrawn { .. } => {}
    }
    value
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
        "destroyed_by": count.destroyed,
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
