//! Requests on their way to nodes: batches, and what happens when a call takes too long.

use quorate_model::{NodeId, node_api::NodeRequest};
use quorate_proto::limits::share_request_bytes;

use crate::core::{Action, Core, Moment, Notice, Part, Purpose};

/// The most bytes of a call for the shares of several commands; a larger one goes alone.
const MAX_CALL_BYTES: usize = 2 << 20;

/// The most messages in one call for shares, so that one call stays short.
const MAX_CALL_ITEMS: usize = 256;

impl Core {
    /// Sends what waits for a node, in as few calls as possible.
    pub(in crate::core) fn pump(&mut self, moment: &Moment<'_>, node: &NodeId) {
        let limits = self.config.limits.clone();
        loop {
            let Some(peer) = self.peers.get_mut(node) else {
                return;
            };
            if !peer.connected || peer.share_calls >= limits.calls_in_flight {
                return;
            }
            let (mut requests, mut parts) = (Vec::new(), Vec::new());
            let (mut bytes, mut items) = (0usize, 0usize);
            while let Some(next) = peer.queue.front() {
                // Most of what is queued is still wanted; what is not was overtaken by another
                // attempt.
                if !self.signing.still_wanted(&next.part) {
                    peer.queue.pop_front();
                    continue;
                }
                bytes = bytes.saturating_add(share_request_bytes(&next.request));
                items = items.saturating_add(next.request.items.len());
                let full = requests.len() >= limits.max_batch
                    || bytes > MAX_CALL_BYTES
                    || items > MAX_CALL_ITEMS;
                if full && !requests.is_empty() {
                    break;
                }
                if let Some(queued) = peer.queue.pop_front() {
                    parts.push(queued.part);
                    requests.push(queued.request);
                }
            }
            if requests.is_empty() {
                return;
            }
            peer.share_calls = peer.share_calls.saturating_add(1);
            self.call(
                moment,
                node,
                NodeRequest::SignShares { requests },
                limits.call_timeout_ms,
                Purpose::Shares(parts),
            );
        }
    }

    /// Looks for calls for shares that take too long, and lets the commands in them, and those that
    /// wait behind them, be signed by others.
    pub(in crate::core) fn find_stalled(&mut self, moment: &Moment<'_>) {
        let limits = &self.config.limits;
        let mut stalled = Vec::new();
        for (id, call) in &mut self.calls {
            let Purpose::Shares(parts) = &call.purpose else {
                continue;
            };
            if call.overdue {
                continue;
            }
            let Some(peer) = self.peers.get_mut(&call.node) else {
                continue;
            };
            let age_ms = moment.now.mono_us.saturating_sub(call.sent_us) / 1_000;
            if age_ms < peer.stall_ms(limits) {
                continue;
            }
            call.overdue = true;
            peer.overdue_calls = peer.overdue_calls.saturating_add(1);
            peer.stalled(moment.ms(), limits);
            stalled.push((*id, call.node.clone(), parts.clone()));
        }
        for (_, node, parts) in stalled {
            self.out
                .push(Action::Notice(Notice::Stalled { node: node.clone() }));
            let behind = self.unqueue(&node);
            for part in parts.iter().chain(&behind) {
                self.signing.wait(part.op);
            }
        }
    }

    /// Takes back what waits for a node and has not been sent.
    pub(super) fn unqueue(&mut self, node: &NodeId) -> Vec<Part> {
        let Some(peer) = self.peers.get_mut(node) else {
            return Vec::new();
        };
        let parts: Vec<Part> = peer.queue.drain(..).map(|queued| queued.part).collect();
        for part in &parts {
            self.signing.give_up(part);
        }
        parts
    }

    /// A node's link broke: nothing that waits for it will be sent.
    pub(in crate::core) fn lose_queue(&mut self, node: &NodeId) {
        for part in self.unqueue(node) {
            self.signing.wait(part.op);
        }
    }
}
