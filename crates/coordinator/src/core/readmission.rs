//! Carries to a node that was restored what the others know (P35).
//!
//! The coordinator decides nothing here. It shows the others the signed status of the restored node,
//! and brings their signed pages to it, in order; it begins anew with each status for as long as the
//! node is in quarantine, and only where all others are connected: with fewer nothing would come of
//! it.

use quorate_model::{
    KeyName, NodeId,
    node_api::{NodeReply, NodeRequest},
};

use super::{CallFailure, Core, Moment, Purpose};

impl Core {
    /// Asks all others for their word for a node, if it is in quarantine.
    pub(super) fn readmit(&mut self, moment: &Moment<'_>, restored: &NodeId) {
        let waits = self
            .peers
            .get(restored)
            .is_some_and(|peer| peer.connected && peer.is_quarantined());
        if waits {
            self.destroying.forget_node(restored);
        }
        if !waits || !self.peers.iter().all(|peer| peer.connected) {
            return;
        }
        for witness in self.peers.ids() {
            let Some(peer) = self.peers.get_mut(restored) else {
                return;
            };
            if witness != *restored && peer.readmitting.insert(witness.clone()) {
                self.ask_heads(moment, restored, &witness, None);
            }
        }
    }

    fn ask_heads(
        &mut self,
        moment: &Moment<'_>,
        restored: &NodeId,
        witness: &NodeId,
        after: Option<KeyName>,
    ) {
        let status = self
            .peers
            .get(restored)
            .and_then(|peer| peer.status.clone());
        let Some(status) = status.filter(|status| status.quarantine.is_some()) else {
            return self.heads_end(restored, witness);
        };
        let request = NodeRequest::AttestHeads {
            status: Box::new(status),
            after,
        };
        let timeout = self.config.limits.call_timeout_ms;
        let restored = restored.clone();
        self.call(
            moment,
            witness,
            request,
            timeout,
            Purpose::Heads { restored },
        );
    }

    /// Brings one page to the restored node.
    pub(super) fn heads_reply(
        &mut self,
        moment: &Moment<'_>,
        restored: &NodeId,
        witness: &NodeId,
        result: Result<NodeReply, CallFailure>,
    ) {
        let Ok(NodeReply::Heads(page)) = result else {
            return self.heads_end(restored, witness);
        };
        let last = page.heads.last().map(|head| head.key.clone());
        let purpose = Purpose::Readmit {
            witness: witness.clone(),
            next: last.filter(|_| !page.is_last),
        };
        let attestations = vec![page];
        let request = NodeRequest::Readmit { attestations };
        let timeout = self.config.limits.call_timeout_ms;
        self.call(moment, restored, request, timeout, purpose);
    }

    /// Goes on with the next page, or is done with one witness.
    pub(super) fn readmit_reply(
        &mut self,
        moment: &Moment<'_>,
        restored: &NodeId,
        witness: &NodeId,
        next: Option<KeyName>,
        result: Result<NodeReply, CallFailure>,
    ) {
        match (result, next) {
            (Ok(NodeReply::Readmission(_)), Some(after)) => {
                self.ask_heads(moment, restored, witness, Some(after));
            }
            (Ok(NodeReply::Readmission(readmission)), None) => {
                self.heads_end(restored, witness);
                if readmission.missing.is_empty() {
                    self.readmitted(restored);
                }
            }
            _ => self.heads_end(restored, witness),
        }
    }

    /// What the node refused in quarantine is brought to it again when it lists its keys.
    fn readmitted(&mut self, restored: &NodeId) {
        if let Some(peer) = self.peers.get_mut(restored) {
            peer.synced = false;
        }
        self.ask_status_soon(restored);
    }

    fn heads_end(&mut self, restored: &NodeId, witness: &NodeId) {
        if let Some(peer) = self.peers.get_mut(restored) {
            peer.readmitting.remove(witness);
        }
    }
}
