//! `quorate node`: nodes of the cluster.

mod init;
mod list;
mod replace;

use clap::Subcommand;

use crate::{context::Context, error::CliError};

/// Make and list nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Make a node's identity on its own machine and print its public card
    Init(init::Init),
    /// List the nodes of the roster and how they are
    List(list::List),
    /// Move every key of a node to another node
    Replace(replace::Replace),
}

impl Node {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Init(init) => init.run(context),
            Self::List(list) => list.run(context).await,
            Self::Replace(replace) => replace.run(context).await,
        }
    }
}
