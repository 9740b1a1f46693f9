//! `quorate cluster show`.

use std::path::PathBuf;

use clap::Args;
use quorate_client::{
    model::roster::{Role, Roster},
    profile::{self, ROSTER_FILE},
};
use serde_json::json;

use super::Standing;
use crate::{
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// Show a roster, its hash, and who has signed it.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The roster file [default: the one in the profile]
    roster: Option<PathBuf>,
}

impl Show {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let path = match &self.roster {
            Some(path) => path.clone(),
            None => context.home()?.join(ROSTER_FILE),
        };
        let standing = Standing::of(&profile::read_roster(&path)?)?;
        let mut value = standing.json(&path);
        if let Some(object) = value.as_object_mut() {
            object.insert("content".to_owned(), json!(standing.roster));
        }
        let mut table = standing.table(&path);
        describe(&standing.roster, &mut table);
        output::print(context.format(), &value, &table)
    }
}

fn describe(roster: &Roster, table: &mut Table) {
    table.pair("cluster", &roster.cluster_name);
    for node in &roster.nodes {
        let place = format!("{} ({}, {})", node.id, node.region, node.organisation);
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
}
