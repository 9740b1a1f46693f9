//! What commands about the roster share: the next roster, its way to the nodes, and what people see
//! of it.

use quorate_client::{
    Client, ListedKey, Prepared, RosterDifference, RosterProgress,
    model::{
        NodeId,
        command::CommandBody,
        roster::{PinnedRoster, Placement, Roster},
    },
};
use serde_json::{Value, json};

use crate::{
    args::Submission,
    command::{self, command::print_view, reshare::names},
    context::Context,
    error::{CliError, chain},
    output::{self, Table},
};

/// The most keys that are named in one message.
const MOST_NAMED: usize = 10;

/// What makes the next roster out of one.
pub(crate) trait Edit {
    /// Changes the copy of a roster.
    ///
    /// # Errors
    ///
    /// When the roster cannot be changed in this way.
    fn apply(&self, next: &mut Roster) -> Result<(), CliError>;
}

/// The roster that follows the one in force.
pub(crate) fn next(pinned: &PinnedRoster, edit: &impl Edit) -> Result<Roster, CliError> {
    let mut next = pinned.roster().clone();
    next.version = next.version.saturating_add(1);
    next.parents = vec![pinned.hash()];
    edit.apply(&mut next)?;
    Ok(next)
}

/// The same request under the same id, made before. It is not made again, because another roster may
/// be in force since.
pub(crate) fn kept(
    context: &Context,
    client: &Client,
    submission: &Submission,
    edit: &impl Edit,
) -> Result<Option<Prepared>, CliError> {
    let Some(id) = submission.command_id else {
        return Ok(None);
    };
    let earlier = Prepared::read(&command::kept_at(context, id)?)?;
    Ok(earlier.filter(|earlier| {
        let CommandBody::ChangeRoster(change) = &earlier.command().body else {
            return false;
        };
        let before = client.roster().at(&earlier.command().roster);
        let again = before.and_then(|before| next(&before, edit).ok()?.to_bytes().ok());
        again.as_ref() == Some(&change.roster)
    }))
}

/// Makes the command that changes the roster in force, or finds the one that was made before.
pub(crate) async fn prepare(
    context: &Context,
    client: &Client,
    submission: &Submission,
    edit: &impl Edit,
) -> Result<Prepared, CliError> {
    if let Some(prepared) = kept(context, client, submission, edit)? {
        return Ok(prepared);
    }
    let next = next(&client.roster(), edit)?;
    prepare_next(context, client, submission, &next).await
}

/// Makes the command that puts the next roster in force.
pub(crate) async fn prepare_next(
    context: &Context,
    client: &Client,
    submission: &Submission,
    next: &Roster,
) -> Result<Prepared, CliError> {
    command::prepare(context, client, submission, |options| {
        client.prepare_roster_change(next, options)
    })
    .await
}

/// Hands a change of the roster over, and prints who acts by it. The answer is whether it is in force.
pub(crate) async fn carry_out(
    context: &Context,
    client: &Client,
    submission: &Submission,
    prepared: &Prepared,
) -> Result<bool, CliError> {
    if submission.validate_only {
        command::validate(context, client, prepared).await?;
        return Ok(false);
    }
    let view = command::submit(context, client, submission, prepared).await?;
    if submission.no_wait {
        print_view(context, &view)?;
        return Ok(false);
    }
    let view = client.follow(view, &mut |_| ()).await?;
    command::check_awaited(context, &view, "another admin")?;
    quorate_client::succeeded(&view)?;
    let progress = client.roster_changed(prepared, &view).await?;
    keep(context, client);
    let mut value = progress_json(&progress);
    let mut table = Table::default();
    if let Some(object) = value.as_object_mut() {
        object.insert("command_id".to_owned(), json!(view.id.to_string()));
        object.insert("digest".to_owned(), json!(prepared.digest()));
    }
    table.pair("command", view.id);
    table.append(progress_table(&progress));
    output::print(context.format(), &value, &table)?;
    Ok(true)
}

/// Writes the rosters that a client follows into the profile. A profile that cannot be written works
/// on with what it has.
pub(crate) fn keep(context: &Context, client: &Client) {
    let kept = context
        .profile()
        .and_then(|profile| Ok(profile.keep_roster(&client.roster())?));
    if let Err(error) = kept {
        output::progress(&format!(
            "warning: the profile keeps its earlier roster: {}",
            chain(&error)
        ));
    }
}

/// Who acts by a roster, for programs.
pub(crate) fn progress_json(progress: &RosterProgress) -> Value {
    let acting: Vec<_> = progress.acting.iter().map(|one| &one.node).collect();
    let removed: Vec<_> = progress.removed.iter().map(|one| &one.node).collect();
    let missing: Vec<_> = progress
        .missing
        .iter()
        .map(|(node, refusal)| {
            json!({
                "node": node,
                "reason": refusal.as_ref().map(|refusal| refusal.reason.as_str()),
                "message": refusal.as_ref().map(|refusal| &refusal.message),
            })
        })
        .collect();
    json!({
        "version": progress.version,
        "roster": progress.roster,
        "nodes": progress.nodes(),
        "acknowledged_by": acting,
        "missing": missing,
        "removed": removed,
    })
}

/// Who acts by a roster, for people.
pub(crate) fn progress_table(progress: &RosterProgress) -> Table {
    let mut table = Table::default();
    table.pair("roster", format!("version {}", progress.version));
    table.pair("hash", progress.roster);
    let acting: Vec<_> = progress.acting.iter().map(|one| one.node.clone()).collect();
    let who = if acting.is_empty() {
        String::new()
    } else {
        format!(" ({})", names(&acting))
    };
    table.pair(
        "in force",
        format!(
            "{} of {} nodes act by roster {}{who}",
            acting.len(),
            progress.nodes(),
            progress.version
        ),
    );
    for (node, refusal) in &progress.missing {
        let why = refusal.as_ref().map_or_else(
            || "no answer".to_owned(),
            |refusal| format!("{} ({})", refusal.message, refusal.reason),
        );
        table.pair("missing", format!("{node}: {why}"));
    }
    if !progress.missing.is_empty() {
        table.pair("", "they follow when they connect");
    }
    let removed: Vec<_> = progress
        .removed
        .iter()
        .map(|one| one.node.clone())
        .collect();
    if !removed.is_empty() {
        table.pair("removed and told", names(&removed));
    }
    table.pair(
        "binds",
        "a key of t of n once n-t+1 honest holders act by it: any t signers include one of them",
    );
    table
}

/// What a roster changes of another, for people.
pub(crate) fn difference_table(before: &Roster, after: &Roster) -> Table {
    let difference = RosterDifference::between(before, after);
    let mut table = Table::default();
    table.pair(
        "change",
        format!("roster {} after roster {}", after.version, before.version),
    );
    for (what, cards) in [
        ("add node", &difference.added),
        ("move node", &difference.moved),
    ] {
        for card in cards {
            let place = format!("{} ({}, {})", card.id, card.region, card.organisation);
            table.row([what.to_owned(), place, card.identity_key.to_string()]);
        }
    }
    for (what, nodes) in [
        ("remove node", &difference.removed),
        ("drain node", &difference.drained),
        ("end draining of", &difference.undrained),
    ] {
        for node in nodes {
            table.pair(what, node);
        }
    }
    for (what, before, after) in &difference.rules {
        table.pair(what, format!("{before} -> {after}"));
    }
    table
}

/// What a roster changes of another, for programs.
pub(crate) fn difference_json(before: &Roster, after: &Roster) -> Value {
    let difference = RosterDifference::between(before, after);
    let rules: Vec<_> = difference
        .rules
        .iter()
        .map(|(what, before, after)| json!({ "rule": what, "before": before, "after": after }))
        .collect();
    json!({
        "version": after.version,
        "added": difference.added,
        "moved": difference.moved,
        "removed": difference.removed,
        "drained": difference.drained,
        "undrained": difference.undrained,
        "rules": rules,
    })
}

/// The placement rules, each in words.
pub(crate) fn placement_texts(rules: &Placement) -> Vec<String> {
    let mut texts = Vec::new();
    if rules.spread_regions {
        texts.push("fewer holders in one region than sign".to_owned());
    }
    if rules.spread_organisations {
        texts.push("fewer holders of one organisation than sign".to_owned());
    }
    for (what, least) in [
        ("threshold", rules.least_threshold),
        ("nodes", rules.least_nodes),
        ("regions", rules.least_regions),
    ] {
        if least > 0 {
            texts.push(format!("{what} {least} or more"));
        }
    }
    texts
}

/// A key with a share at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) key: String,
    /// How many nodes sign.
    pub(crate) threshold: usize,
    /// How many hold a share.
    pub(crate) holders: usize,
    /// How many of these a roster lists.
    pub(crate) left: usize,
}

impl Holding {
    /// The keys that are not destroyed and have a share at a node, and how many of their holders a
    /// roster without it lists.
    pub(crate) fn at(keys: &[ListedKey], node: &NodeId, roster: &Roster) -> Vec<Self> {
        let held = keys
            .iter()
            .filter(|key| key.record().index_of(node).is_some() && !key.state().is_destroyed());
        held.map(|key| {
            let record = key.record();
            let holders = record.participants.iter().map(|holder| &holder.node);
            let left = holders.filter(|holder| *holder != node && roster.node(holder).is_some());
            Self {
                key: record.name.to_string(),
                threshold: usize::from(record.threshold),
                holders: record.participants.len(),
                left: left.count(),
            }
        })
        .collect()
    }

    /// Whether the key is lost with the node.
    pub(crate) const fn is_lost(&self) -> bool {
        self.left < self.threshold
    }

    /// What becomes of the key without the node.
    pub(crate) fn consequence(&self) -> String {
        let Self {
            key,
            threshold,
            holders,
            left,
        } = self;
        let then = if self.is_lost() {
            "it can never sign or be reshared again, and what it holds is lost"
        } else if left == threshold {
            "it signs with all of them, and is lost with one more"
        } else {
            "it signs on"
        };
        format!("key {key}: {left} of {holders} holders are left, {threshold} sign: {then}")
    }
}

/// How many keys have shares at a node, for people.
pub(crate) fn counted(holdings: &[Holding], node: &NodeId) -> String {
    match holdings.len() {
        1 => format!("1 key has a share at node \"{node}\""),
        count => format!("{count} keys have shares at node \"{node}\""),
    }
}

/// The names of keys, as many as fit into a message, and how many there are.
pub(crate) fn named(holdings: &[Holding]) -> String {
    let names: Vec<&str> = holdings
        .iter()
        .take(MOST_NAMED)
        .map(|holding| holding.key.as_str())
        .collect();
    let more = holdings.len().saturating_sub(names.len());
    if more == 0 {
        names.join(", ")
    } else {
        format!("{}, and {more} more", names.join(", "))
    }
}

#[cfg(test)]
pub(super) mod tests;
