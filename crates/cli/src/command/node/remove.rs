//! `quorate node remove`.

use clap::Args;
use quorate_client::model::{
    NodeId, Reason,
    roster::{Role, Roster},
};

use super::not_listed;
use crate::{
    args::Submission,
    command::roster::{self, Edit, Holding, counted, named},
    context::Context,
    error::{CliError, refuse},
    output,
};

/// Take a node out of the roster; takes the admin quorum.
#[derive(Debug, Args)]
#[command(
    after_help = "A node that still holds shares is not removed: move them first with `quorate node \
replace`. With --force it is removed all the same, and its shares count for nothing any more.

A removed node takes part in nothing. It still has what it had: as many removed nodes as sign have the \
key, unless it was reshared without them and they erased their shares.

Examples:
  quorate node replace node-c node-d
  quorate node remove node-c"
)]
pub(crate) struct Remove {
    /// Id of the node
    name: NodeId,
    /// Remove it although keys have shares there; what becomes of each is printed first
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    submission: Submission,
}

impl Remove {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect(Role::Admin).await?;
        let edit = RemoveNode(self.name.clone());
        let kept = roster::kept(context, &client, &self.submission, &edit)?;
        let prepared = if let Some(prepared) = kept {
            prepared
        } else {
            let next = roster::next(&client.roster(), &edit)?;
            let keys = client.list_keys().await?;
            for line in self.check(&Holding::at(&keys, &self.name, &next))? {
                output::progress(&line);
            }
            roster::prepare_next(context, &client, &self.submission, &next).await?
        };
        roster::carry_out(context, &client, &self.submission, &prepared).await?;
        Ok(())
    }

    /// What is said of the keys that have shares at the node, if it may be removed all the same.
    fn check(&self, holdings: &[Holding]) -> Result<Vec<String>, CliError> {
        let node = &self.name;
        if holdings.is_empty() {
            return Ok(Vec::new());
        }
        if !self.force {
            return Err(refuse(
                Reason::NodeHoldsShares,
                format!(
                    "{} ({}): move what is there with `quorate node replace {node} OTHER`",
                    counted(holdings, node),
                    named(holdings)
                ),
            ));
        }
        let lost = holdings.iter().filter(|holding| holding.is_lost()).count();
        let mut lines = vec![format!(
            "warning: {}: shares there count for nothing once it is removed",
            counted(holdings, node)
        )];
        let (gone, others): (Vec<_>, Vec<_>) =
            holdings.iter().partition(|holding| holding.is_lost());
        for holding in gone.into_iter().chain(others) {
            lines.push(format!("  {}", holding.consequence()));
        }
        if lost > 0 {
            lines.push(format!(
                "warning: keys that are lost with it: {lost}; reject the command if that is not meant"
            ));
        }
        Ok(lines)
    }
}

/// Removes a node.
pub(super) struct RemoveNode(pub(super) NodeId);

impl Edit for RemoveNode {
    fn apply(&self, next: &mut Roster) -> Result<(), CliError> {
        let Self(node) = self;
        if next.node(node).is_none() {
            return Err(not_listed(node));
        }
        next.nodes.retain(|card| card.id != *node);
        next.drained.remove(node);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(key: &str, left: usize) -> Holding {
        Holding {
            key: key.to_owned(),
            threshold: 2,
            holders: 3,
            left,
        }
    }

    fn remove(force: bool) -> Remove {
        Remove {
            name: "node-c".parse().unwrap(),
            force,
            submission: Submission::default(),
        }
    }

    #[test]
    fn a_node_with_shares_is_not_removed_and_the_keys_are_named() {
        let many: Vec<_> = (0..12).map(|at| holding(&format!("key-{at}"), 2)).collect();

        let refused = remove(false).check(&many).unwrap_err();

        let text = refused.to_string();
        assert!(
            text.contains("12 keys have shares at node \"node-c\""),
            "{text}"
        );
        assert!(text.contains("key-9, and 2 more"), "{text}");
        assert!(text.contains("quorate node replace node-c OTHER"), "{text}");
        let CliError::Client(error) = refused else {
            panic!("{text}");
        };
        assert_eq!(error.reason(), Some(Reason::NodeHoldsShares));
        assert!(remove(false).check(&[]).unwrap().is_empty());
    }

    #[test]
    fn force_says_which_keys_are_lost_before_anything_is_done() {
        let lines = remove(true)
            .check(&[holding("hot", 2), holding("cold", 1)])
            .unwrap();

        let text = lines.join("\n");
        assert!(
            text.contains("key cold: 1 of 3 holders are left, 2 sign: it can never sign"),
            "{text}"
        );
        assert!(text.contains("key hot: 2 of 3 holders are left"), "{text}");
        assert!(text.contains("keys that are lost with it: 1"), "{text}");
        assert!(text.find("cold").unwrap() < text.find("hot").unwrap());
    }
}
