//! Keys that this coordinator does not know. Another one may have created them since their holders
//! listed what they hold, so the nodes are asked before a key is called unknown.

use quorate_model::{
    KeyName, NodeId,
    ids::CommandId,
    node_api::{NodeReply, NodeRequest},
};

use crate::core::{CallFailure, Core, Moment, Purpose, keys};

impl Core {
    /// Whether every connected node has been asked for the key of a command. The first time, they
    /// are.
    pub(super) fn has_sought(
        &mut self,
        moment: &Moment<'_>,
        id: CommandId,
        name: &KeyName,
    ) -> bool {
        match self.signing.ops.get(&id).map(|op| &op.sought) {
            Some(Some(awaited)) => return awaited.is_empty(),
            Some(None) => {}
            None => return true,
        }
        let nodes = self.peers.connected();
        let timeout = self.config.limits.call_timeout_ms;
        for node in &nodes {
            let request = NodeRequest::ListKeys {
                after: keys::before(name),
                limit: 1,
            };
            self.call(moment, node, request, timeout, Purpose::Seek { op: id });
        }
        if let Some(op) = self.signing.ops.get_mut(&id) {
            op.sought = Some(nodes.into_iter().collect());
        }
        false
    }

    /// Asks a node for the epoch that it has in use, which is not the one that is known here: it may
    /// have been made through another coordinator.
    pub(in crate::core) fn seek_epoch(
        &mut self,
        moment: &Moment<'_>,
        id: CommandId,
        node: &NodeId,
    ) {
        let Some(op) = self.signing.ops.get(&id) else {
            return;
        };
        let Some(name) = op.sign().map(|sign| sign.key.clone()) else {
            return;
        };
        // A switch of this coordinator tells of its end itself, and one answer serves all.
        let asked = self
            .calls
            .values()
            .any(|call| call.node == *node && matches!(call.purpose, Purpose::Seek { .. }));
        if asked || self.ceremonies.is_switching(&name) {
            return;
        }
        let request = NodeRequest::ListKeys {
            after: keys::before(&name),
            limit: 1,
        };
        let timeout = self.config.limits.call_timeout_ms;
        self.call(moment, node, request, timeout, Purpose::Seek { op: id });
    }

    pub(in crate::core) fn seek_reply(
        &mut self,
        moment: &mut Moment<'_>,
        id: CommandId,
        node: &NodeId,
        result: Result<NodeReply, CallFailure>,
    ) {
        if let Ok(NodeReply::Keys(listings)) = result {
            // A page of one: the key, or the one after where it would be.
            for listing in listings.iter().take(1) {
                self.learn(moment, node, listing);
            }
        }
        if let Some(op) = self.signing.ops.get_mut(&id)
            && let Some(awaited) = &mut op.sought
        {
            awaited.remove(node);
        }
        self.signing.wait(id);
    }
}
