//! `quorate cluster show`.

use std::path::PathBuf;

use clap::Args;
use quorate_client::{
    model::roster::{PinnedRoster, Role, Roster},
    profile::{self, ROSTER_FILE},
};
use serde_json::json;

use super::Standing;
use crate::{
    command::roster::{placement_texts, progress_json, progress_table},
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// Show the roster in force, its hash, and who has signed the first.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The roster file [default: the one in the profile]
    roster: Option<PathBuf>,
    /// Fetch the newest roster, and show which nodes act by it, by their signed receipts
    #[arg(long, conflicts_with = "roster")]
    acknowledged: bool,
}

impl Show {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let path = match &self.roster {
            Some(path) => path.clone(),
            None => context.home()?.join(ROSTER_FILE),
        };
        let progress = if self.acknowledged {
            let client = context.connect_to_read().await?;
            let progress = client.roster_progress().await?;
            if progress.is_none() {
                output::progress(
                    "roster 1 is in force: every host has pinned it, and gives no receipt",
                );
            }
            progress
        } else {
            None
        };
        let file = profile::read_roster(&path)?;
        let standing = Standing::of(&file)?;
        // Nothing follows a roster that not every admin has signed.
        let chain = if standing.missing.is_empty() {
            Some(profile::pinned_roster(&path, &standing.hash)?)
        } else {
            None
        };
        let roster = chain
            .as_ref()
            .map_or(&standing.roster, PinnedRoster::roster);
        let in_force = chain.as_ref().map_or(standing.hash, PinnedRoster::hash);
        let length = chain.as_ref().map_or(1, |chain| chain.history().count());
        let mut value = standing.json(&path);
        if let Some(object) = value.as_object_mut() {
            object.insert("cluster_id".to_owned(), json!(standing.hash));
            object.insert("version".to_owned(), json!(roster.version));
            object.insert("in_force".to_owned(), json!(in_force));
            object.insert("rosters".to_owned(), json!(length));
            object.insert("content".to_owned(), json!(roster));
            if let Some(progress) = &progress {
                object.insert("acknowledged".to_owned(), progress_json(progress));
            }
        }
        let mut table = standing.table(&path);
        table.pair("cluster id", standing.hash);
        table.pair(
            "version",
            format!("{} ({length} in the chain)", roster.version),
        );
        table.pair("in force", in_force);
        let known = chain.as_ref().map_or(1, |chain| {
            chain.to_file().successors.len().saturating_add(1)
        });
        let aside = known.saturating_sub(length);
        if aside > 0 {
            table.pair(
                "aside",
                format!("{aside} rosters of another branch of a fork"),
            );
        }
        describe(roster, &mut table);
        if let Some(progress) = &progress {
            table.append(progress_table(progress));
        }
        output::print(context.format(), &value, &table)
    }
}

fn describe(roster: &Roster, table: &mut Table) {
    table.pair("cluster", &roster.cluster_name);
    for node in &roster.nodes {
        let drained = if roster.drained.contains(&node.id) {
            ", drained"
        } else {
            ""
        };
        let place = format!(
            "{} ({}, {}{drained})",
            node.id, node.region, node.organisation
        );
        table.row(["node".to_owned(), place, node.identity_key.to_string()]);
    }
    for coordinator in &roster.coordinators {
        let id = coordinator.id.to_string();
        table.row([
            "coordinator".to_owned(),
            id,
            coordinator.tls_key_hash.to_string(),
        ]);
    }
    for principal in &roster.principals {
        let roles: Vec<_> = principal.roles.iter().copied().map(Role::as_str).collect();
        let who = format!(
            "{} ({}, {})",
            principal.id,
            principal.person,
            roles.join("+")
        );
        table.row([
            "principal".to_owned(),
            who,
            principal.identity_key.to_string(),
        ]);
    }
    table.pair("admin quorum", roster.admin_quorum);
    table.pair("lifecycle quorum", roster.lifecycle_quorum);
    let delay = roster.lifecycle_delay_ms().div_euclid(1_000);
    table.pair("lifecycle delay", format!("{delay} s"));
    for rule in placement_texts(&roster.placement) {
        table.pair("placement", rule);
    }
}
