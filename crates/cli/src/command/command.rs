//! `quorate command`: commands that were submitted.

mod endorse;
mod show;
mod watch;

use clap::Subcommand;
use quorate_client::model::{
    NodeId,
    operation::{CommandOutcome, CommandView},
};
use serde_json::{Value, json};

pub(super) use endorse::digest;

use crate::{
    command::reshare::names,
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// Look at commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a command and what it came to
    Show(show::Show),
    /// Follow a command until it ends
    Watch(watch::Watch),
    /// Look at commands that wait for endorsements, and approve them
    Approve(endorse::Approve),
    /// Look at commands that wait for endorsements, and forbid them for good
    Reject(endorse::Reject),
}

impl Command {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Show(show) => show.run(context).await,
            Self::Watch(watch) => watch.run(context).await,
            Self::Approve(one) => one.run(context).await,
            Self::Reject(one) => one.run(context).await,
        }
    }
}

/// Prints a command as the coordinator tells it. Signatures in it are not verified here.
pub(crate) fn print_view(context: &Context, view: &CommandView) -> Result<(), CliError> {
    output::print(context.format(), &view_json(view), &view_table(view))
}

fn view_json(view: &CommandView) -> Value {
    let mut value = json!({
        "command_id": view.id.to_string(),
        "digest": view.digest,
        "kind": view.kind.as_str(),
        "key": view.key,
        "state": view.state.as_str(),
        "create_time_ms": view.created.0,
        "expire_time_ms": view.expires.0,
    });
    let Some(object) = value.as_object_mut() else {
        return value;
    };
    if let Some(progress) = &view.progress {
        object.insert("progress".to_owned(), json!(progress));
    }
    if let Some(refusal) = &view.error {
        let error = json!({ "reason": refusal.reason.as_str(), "message": refusal.message });
        object.insert("error".to_owned(), error);
    }
    if let Some(CommandOutcome::Signed(outcome)) = &view.outcome {
        let signatures: Vec<_> = outcome.signatures.iter().map(hex::encode).collect();
        object.insert("scheme".to_owned(), json!(outcome.scheme));
        object.insert("signature".to_owned(), json!(signatures.first()));
        object.insert("signatures".to_owned(), json!(signatures));
        object.insert("signers".to_owned(), json!(outcome.signers));
        object.insert("epoch".to_owned(), json!(outcome.epoch));
    } else if let Some(CommandOutcome::KeyCreated { epoch, .. }) = &view.outcome {
        object.insert("epoch".to_owned(), json!(epoch));
    } else if let Some(CommandOutcome::KeyStateSet(outcome)) = &view.outcome {
        let nodes: Vec<_> = outcome
            .receipts
            .iter()
            .map(|one| one.node.as_str())
            .collect();
        object.insert("acknowledged_by".to_owned(), json!(nodes));
        object.insert("missing".to_owned(), json!(outcome.missing));
        object.insert("binding".to_owned(), json!(outcome.binding));
    } else if let Some(CommandOutcome::KeyReshared(outcome)) = &view.outcome {
        let nodes: Vec<_> = outcome.erased.iter().map(|one| one.node.as_str()).collect();
        object.insert("epoch".to_owned(), json!(outcome.epoch));
        object.insert("erased_by".to_owned(), json!(nodes));
        object.insert("missing".to_owned(), json!(outcome.missing));
    } else if let Some(CommandOutcome::RosterChanged(outcome)) = &view.outcome {
        let receipts = outcome.receipts.iter();
        let nodes: Vec<_> = receipts.map(|one| one.node.as_str()).collect();
        let missing: Vec<_> = outcome.missing.iter().map(|(node, _)| node).collect();
        object.insert("version".to_owned(), json!(outcome.version));
        object.insert("roster".to_owned(), json!(outcome.roster));
        object.insert("acknowledged_by".to_owned(), json!(nodes));
        object.insert("missing".to_owned(), json!(missing));
    } else if let Some(CommandOutcome::KeyDestruction(outcome)) = &view.outcome {
        let receipts = outcome.receipts.iter();
        let nodes: Vec<_> = receipts.map(|one| one.node.as_str()).collect();
        let missing: Vec<_> = outcome.missing.iter().map(|(node, _)| node).collect();
        object.insert("acknowledged_by".to_owned(), json!(nodes));
        object.insert("missing".to_owned(), json!(missing));
    }
    if let Some(signed) = &view.awaiting {
        let words: Vec<_> = signed
            .endorsements
            .iter()
            .map(|word| json!({ "principal": word.principal, "kind": word.kind.as_str() }))
            .collect();
        object.insert("endorsements".to_owned(), json!(words));
    }
    value
}

fn view_table(view: &CommandView) -> Table {
    let mut table = Table::default();
    table.pair("command", view.id);
    table.pair("kind", view.kind.as_str());
    table.pair("key", view.about());
    table.pair("state", view.state.as_str());
    if let Some(progress) = &view.progress {
        table.pair(
            "progress",
            format!("{} % {}", progress.percent, progress.step),
        );
    }
    if let Some(refusal) = &view.error {
        table.pair("error", format!("{} ({})", refusal.message, refusal.reason));
    }
    if let Some(CommandOutcome::Signed(outcome)) = &view.outcome {
        for signature in &outcome.signatures {
            table.pair("signature", hex::encode(signature));
        }
        let signers: Vec<_> = outcome.signers.iter().map(NodeId::as_str).collect();
        table.pair("signers", signers.join(", "));
    }
    if let Some(CommandOutcome::KeyStateSet(outcome)) = &view.outcome {
        let nodes: Vec<_> = outcome
            .receipts
            .iter()
            .map(|one| one.node.as_str())
            .collect();
        table.pair("acknowledged by", nodes.join(", "));
        let missing: Vec<_> = outcome.missing.iter().map(NodeId::as_str).collect();
        if !missing.is_empty() {
            table.pair("missing", missing.join(", "));
        }
    }
    if let Some(CommandOutcome::KeyReshared(outcome)) = &view.outcome {
        table.pair("epoch", outcome.epoch);
        let nodes: Vec<_> = outcome.erased.iter().map(|one| one.node.as_str()).collect();
        if !nodes.is_empty() {
            table.pair("old shares erased by", nodes.join(", "));
        }
        if !outcome.missing.is_empty() {
            table.pair("not erased yet by", names(&outcome.missing));
        }
    }
    if let Some(CommandOutcome::RosterChanged(outcome)) = &view.outcome {
        table.pair("roster", format!("version {}", outcome.version));
        table.pair("hash", outcome.roster);
        let receipts = outcome.receipts.iter();
        let nodes: Vec<_> = receipts.map(|one| one.node.as_str()).collect();
        table.pair("acknowledged by", nodes.join(", "));
        let missing = outcome.missing.iter().map(|(node, _)| node.clone());
        let missing: Vec<NodeId> = missing.collect();
        if !missing.is_empty() {
            table.pair("missing", names(&missing));
        }
    }
    if let Some(CommandOutcome::KeyDestruction(outcome)) = &view.outcome {
        let receipts = outcome.receipts.iter();
        let nodes: Vec<_> = receipts.map(|one| one.node.as_str()).collect();
        table.pair("acknowledged by", nodes.join(", "));
        let missing: Vec<NodeId> = outcome
            .missing
            .iter()
            .map(|(node, _)| node.clone())
            .collect();
        if !missing.is_empty() {
            table.pair("missing", names(&missing));
        }
    }
    if let Some(signed) = &view.awaiting {
        let words: Vec<_> = signed
            .endorsements
            .iter()
            .map(|word| format!("{} ({})", word.principal, word.kind.as_str()))
            .collect();
        table.pair("endorsed by", words.join(", "));
    }
    table
}
