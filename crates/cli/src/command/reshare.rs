//! What `key refresh`, `key reshare` and `node replace` share: one key, followed to its end.

pub(crate) mod batch;
pub(crate) mod glob;
pub(crate) mod selection;

use quorate_client::{
    Client, ClientError, Committee, ListedKey, Prepared, Reshared,
    model::{
        KeyRecord, KeyState, NodeId, Reason,
        command::{CommandBody, ReshareKey},
        operation::CommandView,
        roster::PinnedRoster,
    },
};
use serde_json::{Value, json};

use crate::{
    args::Submission,
    command::{self, command::print_view, key::create},
    context::Context,
    error::{CliError, refuse},
    output::{self, Table},
};

/// What new shares cannot do (P32).
pub(crate) const NO_CURE: &str = "a refresh does not undo a theft: as many shares of one epoch as \
                                  sign make the key for ever; move the funds to a new key";

/// Refuses nodes that the roster does not list.
pub(crate) fn check_nodes<'a>(
    roster: &PinnedRoster,
    nodes: impl IntoIterator<Item = &'a NodeId>,
) -> Result<(), CliError> {
    let mut nodes = nodes.into_iter();
    match nodes.find(|node| roster.roster().node(node).is_none()) {
        Some(stranger) => Err(refuse(
            Reason::NodeUnknown,
            format!("node \"{stranger}\" is not in the roster"),
        )),
        None => Ok(()),
    }
}

/// Why a shape is fragile; none if it is not.
pub(crate) fn fragility(reshare: &ReshareKey) -> Option<String> {
    let strict = ReshareKey {
        accept_fragile: false,
        ..reshare.clone()
    };
    strict.check_shape().err().map(|error| error.to_string())
}

/// The nodes that come to a key, and those that leave it.
pub(crate) fn changes<'a>(
    before: &'a KeyRecord,
    after: &'a [NodeId],
) -> (Vec<&'a str>, Vec<&'a str>) {
    let added = after.iter().filter(|node| before.index_of(node).is_none());
    let removed = before.participants.iter().map(|holder| &holder.node);
    let removed = removed.filter(|node| !after.contains(node));
    (
        added.map(NodeId::as_str).collect(),
        removed.map(NodeId::as_str).collect(),
    )
}

/// Reshares one key and prints what it came to.
pub(crate) async fn one(
    context: &Context,
    client: &Client,
    submission: &Submission,
    key: &ListedKey,
    committee: &Committee,
) -> Result<(), CliError> {
    if key.state() == KeyState::Compromised {
        output::progress(&format!("warning: {NO_CURE}"));
    }
    let prepared = match kept(context, submission, key, committee)? {
        Some(prepared) => prepared,
        None => {
            command::prepare(context, client, submission, |options| {
                client.prepare_reshare(key, committee.clone(), options)
            })
            .await?
        }
    };
    if let CommandBody::ReshareKey(reshare) = &prepared.command().body
        && let Some(fragile) = fragility(reshare)
    {
        output::progress(&format!("warning: accepted: {fragile}"));
    }
    if submission.validate_only {
        return command::validate(context, client, &prepared).await;
    }
    let view = command::submit(context, client, submission, &prepared).await;
    let view = view.map_err(told)?;
    if submission.no_wait {
        return print_view(context, &view);
    }
    let mut last = None;
    let view = client
        .follow(view, &mut |view| create::report(view, &mut last))
        .await?;
    command::check_awaited(context, &view, "another admin")?;
    quorate_client::succeeded(&view).map_err(explained)?;
    let reshared = client.reshared(key, &prepared, &view).await;
    let reshared = reshared.map_err(explained)?;
    output::print(
        context.format(),
        &reshared_json(&view, &reshared),
        &reshared_table(&view, &reshared),
    )
}

/// The same request under the same id, made before. It is not made again, because the epoch that
/// it starts from is over.
fn kept(
    context: &Context,
    submission: &Submission,
    key: &ListedKey,
    committee: &Committee,
) -> Result<Option<Prepared>, CliError> {
    let Some(id) = submission.command_id else {
        return Ok(None);
    };
    let earlier = Prepared::read(&command::kept_at(context, id)?)?;
    Ok(earlier.filter(|earlier| asks_for(earlier, key, committee)))
}

/// Whether a command takes a key to a committee, from whatever epoch.
fn asks_for(prepared: &Prepared, key: &ListedKey, committee: &Committee) -> bool {
    matches!(
        &prepared.command().body,
        CommandBody::ReshareKey(reshare) if reshare.key_id == key.record().id()
            && reshare.threshold == committee.threshold
            && reshare.nodes == committee.nodes
            && reshare.accept_fragile == committee.accept_fragile
            && committee.first_epoch.is_none_or(|first| reshare.first_epoch == first)
    )
}

/// Says what to do about an error where that is not plain.
pub(crate) fn explained(error: ClientError) -> CliError {
    told(error.into())
}

fn told(error: CliError) -> CliError {
    if let CliError::Client(client) = &error
        && client.reason() == Some(Reason::EpochChanged)
    {
        output::progress(
            "another change of the key went first: look at it with `quorate key show`, and run \
             the command again",
        );
    }
    error
}

/// What a resharing came to, for programs.
pub(crate) fn reshared_json(view: &CommandView, reshared: &Reshared) -> Value {
    let (record, before) = (reshared.key().record(), reshared.before());
    let nodes: Vec<_> = record.participants.iter().map(|p| p.node.clone()).collect();
    let (added, removed) = changes(before, &nodes);
    let erased: Vec<_> = reshared.erased().map(NodeId::as_str).collect();
    json!({
        "command_id": view.id.to_string(),
        "digest": view.digest,
        "key": record.name,
        "key_id": record.id(),
        "epoch": record.epoch,
        "threshold": record.threshold,
        "nodes": nodes,
        "added": added,
        "removed": removed,
        "erased_by": erased,
        "missing": reshared.missing(),
        "public_key": hex::encode(&record.group_key),
        "certificate_hash": record.certificate,
    })
}

fn reshared_table(view: &CommandView, reshared: &Reshared) -> Table {
    let (record, before) = (reshared.key().record(), reshared.before());
    let nodes: Vec<_> = record.participants.iter().map(|p| p.node.clone()).collect();
    let (added, removed) = changes(before, &nodes);
    let mut table = Table::default();
    table.pair("key", &record.name);
    table.pair("id", record.id());
    let epoch = if before.epoch < record.epoch {
        format!("{}, before {}", record.epoch, before.epoch)
    } else {
        record.epoch.to_string()
    };
    table.pair("epoch", epoch);
    table.pair(
        "threshold",
        format!("{} of {}", record.threshold, nodes.len()),
    );
    table.pair("nodes", names(&nodes));
    for (name, nodes) in [("added", added), ("removed", removed)] {
        if !nodes.is_empty() {
            table.pair(name, nodes.join(", "));
        }
    }
    let erased: Vec<_> = reshared.erased().cloned().collect();
    if !erased.is_empty() {
        table.pair("old shares erased by", names(&erased));
    }
    if !reshared.missing().is_empty() {
        let missing = names(reshared.missing());
        let when = "each erases them when it is back";
        table.pair("not erased yet by", format!("{missing} ({when})"));
    }
    table.pair(
        "public key",
        format!("{} (unchanged)", hex::encode(&record.group_key)),
    );
    table.pair("certificate", record.certificate);
    table.pair("command", view.id);
    table
}

/// Names of nodes, for people.
pub(crate) fn names(nodes: &[NodeId]) -> String {
    let names: Vec<_> = nodes.iter().map(NodeId::as_str).collect();
    names.join(", ")
}
