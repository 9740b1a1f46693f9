//! Taking a node that was restored from a backup back into service without some of the others (P35).

use std::collections::BTreeSet;

use quorate_model::{
    NodeId, Reason, Refusal, command::CommandBody, operation::NodeView, quarantine::ReadmitNode,
};

use crate::{
    client::Client,
    command::{CommandOptions, Prepared},
    error::ClientError,
};

impl Client {
    /// Makes a command by which a node in quarantine comes back although some of the other nodes
    /// cannot say what they know, and endorses it. It takes the admin quorum, which answers for what
    /// those nodes knew alone.
    ///
    /// # Errors
    ///
    /// [`Reason::RequestInvalid`] when the node is not in quarantine as the coordinator shows it, no
    /// other node is named, or the reason is none; [`Reason::NodeUnknown`] when one is not in the
    /// roster.
    pub fn prepare_readmission(
        &self,
        node: &NodeView,
        without: BTreeSet<NodeId>,
        reason: &str,
        options: &CommandOptions,
    ) -> Result<Prepared, ClientError> {
        let Some(restore) = node.quarantine else {
            let message = format!("node \"{}\" is not in quarantine", node.id);
            return Err(Refusal::new(Reason::RequestInvalid, message)
                .with("node", &node.id)
                .into());
        };
        let readmit = ReadmitNode {
            node: node.id.clone(),
            restore,
            without: without.into_iter().collect(),
            reason: reason.to_owned(),
        };
        readmit.check(self.roster().roster())?;
        Ok(self.prepare(CommandBody::ReadmitNode(readmit), options))
    }
}
