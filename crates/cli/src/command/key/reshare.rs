//! `quorate key reshare`.

use std::num::NonZeroU16;

use clap::Args;
use quorate_client::{
    Committee,
    model::{Epoch, NodeId, roster::Role},
};

use crate::{
    args::Submission,
    command::reshare::{
        self,
        batch::{Batch, Parallel, Plan},
        selection::Selection,
    },
    context::Context,
    error::CliError,
};

/// Move keys to other nodes, or have another number of them sign.
#[derive(Debug, Args)]
#[command(
    after_help = "Public key and addresses stay, and signing goes on meanwhile. As many of \
the present holders as sign must be up, and every node that is to hold a share. New shares do not \
undo a theft: as many shares of one epoch as sign make the key for ever, also those of nodes that \
left it.

Examples:
  quorate key reshare treasury --threshold 3 --nodes node-a,node-b,node-c,node-d,node-e
  quorate key reshare hot --threshold 2 --nodes node-a,node-b,node-d
  quorate key reshare --filter 'user-*' --threshold 2 --nodes node-a,node-b,node-d"
)]
pub(crate) struct Reshare {
    #[command(flatten)]
    selection: Selection,
    /// How many nodes sign afterwards
    #[arg(long, value_name = "COUNT")]
    threshold: NonZeroU16,
    /// Nodes that hold shares afterwards, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NODES", required = true)]
    nodes: Vec<NodeId>,
    /// Accept a shape that a few lost or bad nodes stop for ever
    #[arg(long)]
    accept_fragile: bool,
    /// Lowest number of the new epoch, where an error says that those before it are used up
    #[arg(long, value_name = "NUMBER")]
    first_epoch: Option<u32>,
    #[command(flatten)]
    parallel: Parallel,
    #[command(flatten)]
    submission: Submission,
}

impl Reshare {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let committee = Committee {
            threshold: self.threshold.get(),
            nodes: self.nodes.clone(),
            accept_fragile: self.accept_fragile,
            first_epoch: self.first_epoch.map(Epoch),
        };
        self.selection.check()?;
        self.selection
            .check_each(|name| committee.check_shape(name))?;
        let client = context.connect(Role::Admin).await?;
        reshare::check_nodes(&client.roster(), &self.nodes)?;
        if let Some(key) = self.selection.one() {
            let key = client.look_up(&key).await?;
            return reshare::one(context, &client, &self.submission, &key, &committee).await;
        }
        self.submission.check_many()?;
        if self.first_epoch.is_some() {
            let says = "--first-epoch is for one key: name only one".to_owned();
            return Err(CliError::Usage(says));
        }
        let keys = self.selection.keys(&client).await?;
        for key in &keys {
            committee.check_shape(&key.name)?;
        }
        let batch = Batch {
            plan: Plan::Move(committee),
            keys,
            are_named: self.selection.is_by_name(),
        };
        batch.run(context, &client, self.parallel).await
    }
}
