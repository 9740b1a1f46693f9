//! `quorate key refresh`.

use clap::Args;
use quorate_client::{Committee, model::roster::Role};

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

/// Give the holders of keys new shares, and have them erase the old ones.
#[derive(Debug, Args)]
#[command(
    after_help = "Public key, addresses, nodes and threshold stay. Shares of different \
epochs do not go together, so whoever takes shares one by one has to start again. A refresh does \
not undo a theft: as many shares of one epoch as sign make the key for ever.

Examples:
  quorate key refresh hot
  quorate key refresh hot cold treasury
  quorate key refresh --filter 'user-*' --parallel 16
  quorate key refresh --all"
)]
pub(crate) struct Refresh {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    parallel: Parallel,
    #[command(flatten)]
    submission: Submission,
}

impl Refresh {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        self.selection.check()?;
        if let Some(key) = self.selection.one() {
            let client = context.connect(Role::Admin).await?;
            let key = client.look_up(&key).await?;
            let committee = Committee::of(key.record());
            return reshare::one(context, &client, &self.submission, &key, &committee).await;
        }
        self.submission.check_many()?;
        let client = context.connect(Role::Admin).await?;
        let batch = Batch {
            plan: Plan::Refresh,
            keys: self.selection.keys(&client).await?,
            are_named: self.selection.is_by_name(),
        };
        batch.run(context, &client, self.parallel).await
    }
}
