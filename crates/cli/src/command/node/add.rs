//! `quorate node add`.

use std::path::PathBuf;

use clap::Args;
use quorate_client::model::{
    Reason,
    roster::{NodeCard, Role, Roster},
};

use crate::{
    args::Submission,
    command::roster::{self, Edit},
    context::Context,
    error::{CliError, refuse},
    input, output,
};

/// Add a node to the roster; takes the admin quorum.
#[derive(Debug, Args)]
#[command(
    after_help = "The card is what `quorate-node init` prints on the node's machine. Ask whoever made \
it to read its identity key to you before you add or approve it. The new node holds no share until a \
key is created on it or reshared to it.

Examples:
  quorate node add node-d.card.json
  quorate cluster export --out roster.json"
)]
pub(crate) struct Add {
    /// Card file of the node
    #[arg(value_name = "CARD")]
    card: PathBuf,
    #[command(flatten)]
    submission: Submission,
}

impl Add {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let bytes = input::read(&self.card)?;
        let card: NodeCard = serde_json::from_slice(&bytes).map_err(|_| {
            CliError::Usage(format!(
                "{} is no card of a node: expected what `quorate-node init` prints",
                self.card.display()
            ))
        })?;
        let client = context.connect(Role::Admin).await?;
        let edit = AddNode(card);
        let prepared = roster::prepare(context, &client, &self.submission, &edit).await?;
        if roster::carry_out(context, &client, &self.submission, &prepared).await? {
            output::progress(&format!(
                "on the machine of the new node: quorate-node pin --roster FILE --hash {}, with the \
                 FILE that `quorate cluster export --out FILE` writes",
                client.roster().cluster()
            ));
        }
        Ok(())
    }
}

/// Adds a node.
pub(super) struct AddNode(pub(super) NodeCard);

impl Edit for AddNode {
    fn apply(&self, next: &mut Roster) -> Result<(), CliError> {
        let Self(card) = self;
        match next.node(&card.id) {
            Some(same) if same == card => Err(refuse(
                Reason::RosterInvalid,
                format!("node \"{}\" is in the roster already", card.id),
            )),
            Some(_) => Err(refuse(
                Reason::RosterInvalid,
                format!(
                    "another node \"{}\" is in the roster already: make a node with `quorate-node \
                     init` under an id that was never used",
                    card.id
                ),
            )),
            None => {
                next.nodes.push(card.clone());
                Ok(())
            }
        }
    }
}
