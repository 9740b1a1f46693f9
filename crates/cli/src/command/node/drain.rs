//! `quorate node drain`.

use clap::Args;
use quorate_client::{
    ClientError, ListedKey,
    model::{
        NodeId, Reason,
        roster::{Role, Roster},
    },
};

use super::not_listed;
use crate::{
    args::Submission,
    command::roster::{self, Edit, Holding, counted, named},
    context::Context,
    error::{CliError, chain, refuse},
    output,
};

/// Give a node no further shares, so that it can be emptied; takes the admin quorum.
#[derive(Debug, Args)]
#[command(
    after_help = "What the node holds it goes on to sign with: move its keys with `quorate node \
replace`, which is also what empties it.

Examples:
  quorate node drain node-c
  quorate node drain node-c --cancel"
)]
pub(crate) struct Drain {
    /// Id of the node
    name: NodeId,
    /// Let the node receive shares again
    #[arg(long)]
    cancel: bool,
    #[command(flatten)]
    submission: Submission,
}

impl Drain {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect(Role::Admin).await?;
        let edit = DrainNode {
            node: self.name.clone(),
            cancel: self.cancel,
        };
        let prepared = roster::prepare(context, &client, &self.submission, &edit).await?;
        let done = roster::carry_out(context, &client, &self.submission, &prepared).await;
        if !self.cancel && is_under_way(&done) {
            let keys = client.list_keys().await;
            let roster = client.roster();
            output::progress(&left_at(&self.name, keys.as_deref(), roster.roster()));
        }
        done?;
        Ok(())
    }
}

/// Whether a node is drained, or will be once others approve it: only who proposes it is told what is
/// left there.
const fn is_under_way(done: &Result<bool, CliError>) -> bool {
    matches!(
        done,
        Ok(true) | Err(CliError::Client(ClientError::Waiting(_)))
    )
}

/// What a drained node still holds, as far as that is known: the node is drained all the same.
fn left_at(node: &NodeId, keys: Result<&[ListedKey], &ClientError>, roster: &Roster) -> String {
    match keys {
        Ok(keys) => left_text(node, &Holding::at(keys, node, roster)),
        Err(error) => format!(
            "warning: what node \"{node}\" still holds is not known: {}",
            chain(error)
        ),
    }
}

/// What a drained node still holds, and how to move it.
fn left_text(node: &NodeId, holdings: &[Holding]) -> String {
    if holdings.is_empty() {
        return format!("no key has a share at node \"{node}\": quorate node remove {node}");
    }
    format!(
        "{} ({}): quorate node replace {node} OTHER",
        counted(holdings, node),
        named(holdings)
    )
}

/// Drains a node, or ends it.
pub(super) struct DrainNode {
    pub(super) node: NodeId,
    pub(super) cancel: bool,
}

impl Edit for DrainNode {
    fn apply(&self, next: &mut Roster) -> Result<(), CliError> {
        let Self { node, cancel } = self;
        if next.node(node).is_none() {
            return Err(not_listed(node));
        }
        let changed = if *cancel {
            next.drained.remove(node)
        } else {
            next.drained.insert(node.clone())
        };
        if changed {
            return Ok(());
        }
        let is = if *cancel {
            "not drained"
        } else {
            "drained already"
        };
        let message = format!("node \"{node}\" is {is}");
        Err(refuse(Reason::RosterInvalid, message))
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::model::CommandId;

    use super::*;

    #[test]
    fn what_is_left_is_told_also_to_whoever_waits_for_an_approval() {
        let waiting = ClientError::Waiting(CommandId(uuid::Uuid::nil()));
        let refused = refuse(Reason::RosterInvalid, "it is drained already");

        assert!(is_under_way(&Err(waiting.into())));
        assert!(is_under_way(&Ok(true)));
        assert!(!is_under_way(&Ok(false)));
        assert!(!is_under_way(&Err(refused)));
    }

    #[test]
    fn keys_that_cannot_be_listed_are_a_warning_and_no_error() {
        let pinned = roster::tests::pinned();
        let node = "node-c".parse().unwrap();
        let broken = ClientError::Unreachable("it went away".to_owned());

        let unknown = left_at(&node, Err(&broken), pinned.roster());
        let known = left_at(&node, Ok(&[]), pinned.roster());

        assert!(
            unknown.starts_with("warning: what node \"node-c\""),
            "{unknown}"
        );
        assert!(unknown.contains("it went away"), "{unknown}");
        assert_eq!(known, left_text(&node, &[]));
    }

    #[test]
    fn what_is_left_at_a_drained_node_is_told_with_the_way_to_move_it() {
        let node: NodeId = "node-c".parse().unwrap();
        let holding = Holding {
            key: "hot".to_owned(),
            threshold: 2,
            holders: 3,
            left: 2,
        };

        assert_eq!(
            left_text(&node, &[holding]),
            "1 key has a share at node \"node-c\" (hot): quorate node replace node-c OTHER"
        );
        assert!(left_text(&node, &[]).contains("quorate node remove node-c"));
    }
}
