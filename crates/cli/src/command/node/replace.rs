//! `quorate node replace`.

use clap::Args;
use quorate_client::{
    KeyReference,
    model::{NodeId, roster::Role},
};

use crate::{
    command::reshare::{
        self,
        batch::{Batch, Parallel, Plan},
    },
    context::Context,
    error::CliError,
    output,
};

/// Move every key of a node to another node of the roster.
#[derive(Debug, Args)]
#[command(
    after_help = "Each key is reshared with the new node in the place of the old one; \
threshold and order stay. The old node need not be up. Run the command again after an \
interruption: keys that are done have no share at the old node any more.

Examples:
  quorate node replace node-c node-d
  quorate node replace node-c node-d --parallel 16"
)]
pub(crate) struct Replace {
    /// The node whose shares are given up
    old: NodeId,
    /// The node that takes its place
    new: NodeId,
    #[command(flatten)]
    parallel: Parallel,
}

impl Replace {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let Self { old, new, parallel } = self;
        if old == new {
            let message = format!("node \"{old}\" cannot take its own place: name another node");
            return Err(CliError::Usage(message));
        }
        let client = context.connect(Role::Admin).await?;
        let pinned = client.roster();
        // Whoever was removed may have left keys behind.
        if pinned.card(old).is_none() {
            return Err(super::not_listed(old));
        }
        reshare::check_nodes(&pinned, [new])?;
        let listed = client.list_keys().await?;
        let keys: Vec<_> = listed
            .iter()
            .map(quorate_client::ListedKey::record)
            .filter(|record| record.index_of(old).is_some())
            .map(|record| KeyReference {
                name: record.name.clone(),
                id: Some(record.id()),
            })
            .collect();
        if keys.is_empty() {
            output::progress(&format!("no key has a share at node \"{old}\""));
        }
        let batch = Batch {
            plan: Plan::Replace {
                old: old.clone(),
                new: new.clone(),
            },
            keys,
            are_named: false,
        };
        batch.run(context, &client, *parallel).await
    }
}
