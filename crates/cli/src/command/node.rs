//! `quorate node`: nodes of the cluster.

mod add;
mod drain;
mod init;
mod list;
mod readmit;
mod remove;
mod replace;

use clap::Subcommand;
use quorate_client::model::{NodeId, Reason};

use crate::{
    context::Context,
    error::{CliError, refuse},
};

/// Make, list, add and remove nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Make a node's identity on its own machine and print its public card
    Init(init::Init),
    /// List the nodes of the roster and how they are
    List(list::List),
    /// Move every key of a node to another node
    Replace(replace::Replace),
    /// Add a node to the roster; takes the admin quorum
    Add(add::Add),
    /// Give a node no further shares, so that it can be emptied; takes the admin quorum
    Drain(drain::Drain),
    /// Take a node out of the roster; takes the admin quorum
    Remove(remove::Remove),
    /// Take a restored node back without the word of nodes that are lost; takes the admin quorum
    Readmit(readmit::Readmit),
}

impl Node {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Init(init) => init.run(context),
            Self::List(list) => list.run(context).await,
            Self::Replace(replace) => replace.run(context).await,
            Self::Add(add) => add.run(context).await,
            Self::Drain(drain) => drain.run(context).await,
            Self::Remove(remove) => remove.run(context).await,
            Self::Readmit(readmit) => readmit.run(context).await,
        }
    }
}

/// A node that the roster does not list.
fn not_listed(node: &NodeId) -> CliError {
    let message = format!("node \"{node}\" is not in the roster");
    refuse(Reason::NodeUnknown, message)
}

#[cfg(test)]
mod tests;
