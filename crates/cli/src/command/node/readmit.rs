//! `quorate node readmit`.

use clap::Args;
use quorate_client::model::{NodeId, roster::Role};
use serde_json::json;

use super::not_listed;
use crate::{
    args::Submission,
    command::{self, command::print_view},
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// Take a restored node back without the word of nodes that are lost; takes the admin quorum.
#[derive(Debug, Args)]
#[command(
    after_help = "A node that was restored from a backup is in quarantine until all other nodes have \
told it what it missed. Where some of them are lost, or in quarantine themselves, the admins may \
answer for what those knew alone: suspensions, deactivations and destructions of keys, and epochs in \
use. Whoever is not left out is heard all the same.

Examples:
  quorate node list
  quorate node readmit node-a --without node-c --reason \"node-c burned with the site\""
)]
pub(crate) struct Readmit {
    /// Id of the restored node
    name: NodeId,
    /// Nodes without whose word it comes back, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NODES", required = true)]
    without: Vec<NodeId>,
    /// Why, in one line: it stands in the audit log of the node
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    submission: Submission,
}

impl Readmit {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect(Role::Admin).await?;
        let nodes = client.list_nodes().await?;
        let node = nodes.iter().find(|node| node.id == self.name);
        let node = node.ok_or_else(|| not_listed(&self.name))?;
        let prepared = command::prepare(context, &client, &self.submission, |options| {
            let without = self.without.iter().cloned().collect();
            client.prepare_readmission(node, without, &self.reason, options)
        })
        .await?;
        if self.submission.validate_only {
            return command::validate(context, &client, &prepared).await;
        }
        let view = command::submit(context, &client, &self.submission, &prepared).await?;
        if self.submission.no_wait {
            return print_view(context, &view);
        }
        let view = client.follow(view, &mut |_| ()).await?;
        command::check_awaited(context, &view, "another admin")?;
        quorate_client::succeeded(&view)?;
        let value = json!({
            "command_id": view.id.to_string(),
            "node": self.name,
            "without": self.without,
            "digest": prepared.digest(),
        });
        let mut table = Table::default();
        table.pair("command", view.id);
        table.pair(
            "node",
            format!("{} is in service again, as the coordinator says", self.name),
        );
        output::print(context.format(), &value, &table)
    }
}
