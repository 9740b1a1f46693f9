//! The end of old shares at nodes (P29), now or when they are back.
//!
//! A node is told of the epoch in use before it is asked to erase the ones below it. Erasures wait
//! in one queue for each node and leave together, because a node rewrites its keyring for each call.
//! What a coordinator that died did not bring to its end is found in what nodes list: the word of
//! all holders is gathered again, which they repeat to whoever asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorate_model::{
    KeyName, NodeId, Reason,
    node_api::{
        ActivationReceipt, EraseCertificate, EraseReceipt, KeyListing, MAX_ERASURES, NodeReply,
        NodeRequest,
    },
};

use super::{CallFailure, Core, Moment, Purpose, keys::Certified};

/// The delay before an erasure is asked for again, in milliseconds; it doubles.
const RETRY_MS: u64 = 200;

/// How often it doubles at the most.
const MAX_DOUBLINGS: u32 = 8;

/// The most keys whose holders are asked for their word at a time.
const MAX_GATHERED: usize = 32;

/// How often it is looked whether there is room for more, in milliseconds.
const GATHER_EVERY_MS: u64 = 250;

/// How long the word of holders is waited for before they are asked again, in milliseconds.
const GATHER_MS: u64 = 15_000;

/// What is to be erased, and what is missing for it.
#[derive(Default)]
pub(super) struct Erasing {
    queues: BTreeMap<NodeId, BTreeMap<KeyName, Due>>,
    /// Nodes that have been asked and have not answered.
    asked: BTreeSet<NodeId>,
    /// Keys of which nodes keep old shares, without the word of their holders here.
    unvouched: BTreeMap<KeyName, BTreeSet<NodeId>>,
    gathering: BTreeMap<KeyName, Gathering>,
    /// The last key whose holders were asked: those after it have their turn next, so that none
    /// whose holders refuse keep others waiting.
    gathered_last: Option<KeyName>,
    gather_at_ms: u64,
}

/// One erasure at one node.
struct Due {
    certificate: Arc<EraseCertificate>,
    at_ms: u64,
    tries: u32,
}

/// The word of all holders of an epoch.
struct Gathering {
    key: Arc<Certified>,
    receipts: BTreeMap<NodeId, ActivationReceipt>,
    until_ms: u64,
}

impl Core {
    /// Whether something is to be done soon.
    pub(super) fn is_erasing(&self, moment: &Moment<'_>) -> bool {
        let soon_ms = moment.ms().saturating_add(RETRY_MS);
        let mut queues = self.erasing.queues.iter();
        !self.erasing.gathering.is_empty()
            || queues.any(|(node, queue)| {
                self.peers.is_connected(node) && queue.values().any(|due| due.at_ms <= soon_ms)
            })
    }

    /// Has nodes erase what they keep below an epoch.
    pub(super) fn erase(
        &mut self,
        moment: &Moment<'_>,
        key: &Arc<Certified>,
        certificate: EraseCertificate,
        nodes: &BTreeSet<NodeId>,
    ) {
        let certificate = Arc::new(certificate);
        for node in nodes {
            let holds = key.record.index_of(node).is_some();
            let due = Due {
                certificate: Arc::clone(&certificate),
                at_ms: moment.ms(),
                tries: 0,
            };
            self.erasing
                .queues
                .entry(node.clone())
                .or_default()
                .insert(key.record.name.clone(), due);
            if !holds && self.peers.is_connected(node) {
                self.postpone(moment, node, &key.record.name);
                self.move_up(moment, node, key);
            }
        }
        self.flush_erasures(moment);
    }

    /// Has the word of all holders gathered, so that those that have not heard of the epoch hear of
    /// it, and nodes erase what they have below it.
    pub(super) fn gather_later(&mut self, key: &Certified, nodes: BTreeSet<NodeId>) {
        let name = key.record.name.clone();
        self.erasing
            .unvouched
            .entry(name)
            .or_default()
            .extend(nodes);
    }

    /// Tells a node of the epoch in use.
    pub(super) fn move_up(&mut self, moment: &Moment<'_>, node: &NodeId, key: &Arc<Certified>) {
        let Some(proof) = &key.proof else {
            return;
        };
        let request = NodeRequest::ActivateKey {
            key: key.record.name.clone(),
            epoch: key.record.epoch,
            certificate: key.certificate.clone(),
            proof: proof.clone(),
        };
        let timeout = self.config.limits.call_timeout_ms;
        let purpose = Purpose::MoveUp {
            key: key.record.name.clone(),
        };
        self.call(moment, node, request, timeout, purpose);
    }

    /// A node has answered what it was told of the epoch in use.
    pub(super) fn moved_up(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        node: &NodeId,
        result: Result<NodeReply, CallFailure>,
    ) {
        let Ok(NodeReply::Activated(receipt)) = result else {
            return;
        };
        if let Some(due) = self
            .erasing
            .queues
            .get_mut(node)
            .and_then(|queue| queue.get_mut(name))
        {
            due.at_ms = moment.ms();
        }
        // Of a node that holds nothing of the epoch the word stands for none of its holders.
        let gathered = self.erasing.gathering.get(name).is_some_and(|gathering| {
            gathering.key.record.index_of(node).is_some()
                && self.acknowledges(&receipt, &gathering.key, node)
        });
        if gathered && let Some(gathering) = self.erasing.gathering.get_mut(name) {
            gathering.receipts.insert(node.clone(), receipt);
            self.conclude_gathering(moment, name);
        }
        self.flush_erasures(moment);
    }

    /// Takes what a node lists about shares that it should not have any more, and about an epoch
    /// that is not in use any more.
    pub(super) fn look_after(&mut self, moment: &Moment<'_>, node: &NodeId, listing: &KeyListing) {
        let Some(key) = self.keys.get(&self.pinned, &listing.key) else {
            return;
        };
        if key.birth.is_none() || key.proof.is_none() || listing.state.is_destroyed() {
            return;
        }
        let holds = key.record.index_of(node).is_some();
        let unaware = listing.proof.is_none() && holds;
        let behind = unaware || (listing.proof.is_some() && listing.epoch < key.record.epoch);
        if behind {
            self.move_up(moment, node, &key);
        }
        let queued = self
            .erasing
            .queues
            .get(node)
            .is_some_and(|queue| queue.contains_key(&listing.key));
        let changing = self.ceremonies.is_under_way(&listing.key);
        if (behind || listing.keeps_old) && !queued && !changing {
            self.erasing
                .unvouched
                .entry(listing.key.clone())
                .or_default()
                .insert(node.clone());
        }
    }

    pub(super) fn tick_erasing(&mut self, moment: &Moment<'_>) {
        let now_ms = moment.ms();
        self.erasing
            .gathering
            .retain(|_, gathering| now_ms < gathering.until_ms);
        self.gather(moment);
        self.flush_erasures(moment);
    }

    /// Asks the holders of an epoch for their word, for as many keys as may be at a time.
    fn gather(&mut self, moment: &Moment<'_>) {
        if moment.ms() < self.erasing.gather_at_ms {
            return;
        }
        self.erasing.gather_at_ms = moment.ms().saturating_add(GATHER_EVERY_MS);
        let last = self.erasing.gathered_last.as_ref();
        let names = self.erasing.unvouched.keys().cloned();
        let (earlier, next): (Vec<_>, Vec<_>) =
            names.partition(|name| last.is_some_and(|last| name <= last));
        for name in next.into_iter().chain(earlier) {
            if self.erasing.gathering.len() >= MAX_GATHERED {
                return;
            }
            let Some(key) = self.keys.get(&self.pinned, &name) else {
                self.erasing.unvouched.remove(&name);
                continue;
            };
            let holders = key.record.participants.iter().map(|holder| &holder.node);
            // A holder that has destroyed the key never gives its word, and the order that it
            // followed takes old shares as well (P34).
            let id = key.record.id();
            if holders
                .clone()
                .any(|node| self.destroying.is_gone_at(&id, node))
            {
                self.erasing.unvouched.remove(&name);
                self.erasing.gathering.remove(&name);
                continue;
            }
            // A holder that is away gives its word when it is back (P29).
            let all = holders.clone().all(|node| self.peers.is_connected(node));
            if !all || self.erasing.gathering.contains_key(&name) {
                continue;
            }
            let gathering = Gathering {
                key: Arc::clone(&key),
                receipts: BTreeMap::new(),
                until_ms: moment.ms().saturating_add(GATHER_MS),
            };
            self.erasing.gathered_last = Some(name.clone());
            self.erasing.gathering.insert(name, gathering);
            for node in holders {
                self.move_up(moment, node, &key);
            }
        }
    }

    fn conclude_gathering(&mut self, moment: &Moment<'_>, name: &KeyName) {
        let complete = self.erasing.gathering.get(name).is_some_and(|gathering| {
            gathering.receipts.len() == gathering.key.record.participants.len()
        });
        if !complete {
            return;
        }
        let Some(mut gathering) = self.erasing.gathering.remove(name) else {
            return;
        };
        let nodes = self.erasing.unvouched.remove(name).unwrap_or_default();
        let record = &gathering.key.record;
        let receipts = record
            .participants
            .iter()
            .filter_map(|holder| gathering.receipts.remove(&holder.node))
            .collect();
        let certificate = EraseCertificate {
            key: name.clone(),
            epoch: record.epoch,
            receipts,
        };
        let key = Arc::clone(&gathering.key);
        self.erase(moment, &key, certificate, &nodes);
    }

    /// Sends what is due to every node that has no such call under way.
    fn flush_erasures(&mut self, moment: &Moment<'_>) {
        let now_ms = moment.ms();
        let mut calls = Vec::new();
        for (node, queue) in &self.erasing.queues {
            if !self.peers.is_connected(node) || self.erasing.asked.contains(node) {
                continue;
            }
            let due: Vec<_> = queue
                .iter()
                .filter(|(_, due)| due.at_ms <= now_ms)
                .take(MAX_ERASURES)
                .map(|(name, due)| (name.clone(), due.certificate.as_ref().clone()))
                .collect();
            if !due.is_empty() {
                calls.push((node.clone(), due));
            }
        }
        let timeout = self.config.limits.round_timeout_ms;
        for (node, due) in calls {
            let (keys, erasures) = due.into_iter().unzip();
            self.erasing.asked.insert(node.clone());
            let request = NodeRequest::EraseEpochs { erasures };
            self.call(moment, &node, request, timeout, Purpose::Erase { keys });
        }
    }

    pub(super) fn erase_reply(
        &mut self,
        moment: &mut Moment<'_>,
        node: &NodeId,
        keys: &[KeyName],
        result: Result<NodeReply, CallFailure>,
    ) {
        self.erasing.asked.remove(node);
        let outcomes = match result {
            Ok(NodeReply::Erased(outcomes)) if outcomes.len() == keys.len() => outcomes,
            Ok(_) | Err(_) => {
                for name in keys {
                    self.postpone(moment, node, name);
                }
                return;
            }
        };
        for (name, outcome) in keys.iter().zip(outcomes) {
            match outcome {
                Ok(receipt) if self.is_receipt(node, name, &receipt) => {
                    self.forget_erasure(node, name);
                    self.erased(moment, name, receipt);
                }
                // It may be of an erasure that another one has followed.
                Ok(_) => self.postpone(moment, node, name),
                Err(refusal) if refusal.reason == Reason::KeyUnknown => {
                    self.forget_erasure(node, name);
                }
                // Of a key that is destroyed there is nothing left to erase.
                Err(refusal) if refusal.reason == Reason::KeyDestroyed => {
                    self.forget_erasure(node, name);
                    self.has_nothing_left(moment, name, node);
                }
                Err(refusal) => {
                    self.postpone(moment, node, name);
                    if refusal.reason == Reason::EpochChanged {
                        self.catch_up(moment, node, name);
                    }
                }
            }
        }
        self.flush_erasures(moment);
    }

    /// A node is not where the erasure would have it: behind, and it is told; or further, and then
    /// the erasure is for nothing.
    fn catch_up(&mut self, moment: &Moment<'_>, node: &NodeId, name: &KeyName) {
        let Some(key) = self.keys.get(&self.pinned, name) else {
            return;
        };
        let outdated = self
            .erasing
            .queues
            .get(node)
            .and_then(|queue| queue.get(name))
            .is_some_and(|due| due.certificate.epoch < key.record.epoch);
        if outdated {
            // It keeps what the later epoch has made old as well.
            self.forget_erasure(node, name);
            self.gather_later(&key, BTreeSet::from([node.clone()]));
        } else {
            self.move_up(moment, node, &key);
        }
    }

    fn is_receipt(&self, node: &NodeId, name: &KeyName, receipt: &EraseReceipt) -> bool {
        let due = self
            .erasing
            .queues
            .get(node)
            .and_then(|queue| queue.get(name));
        let vouched = due.and_then(|due| due.certificate.receipts.first());
        receipt.node == *node
            && receipt.key == *name
            && vouched.is_some_and(|vouched| {
                vouched.epoch == receipt.epoch && vouched.certificate == receipt.certificate
            })
            && self
                .peers
                .get(node)
                .is_some_and(|peer| peer.verify(&receipt.digest(), &receipt.signature).is_ok())
    }

    fn forget_erasure(&mut self, node: &NodeId, name: &KeyName) {
        if let Some(queue) = self.erasing.queues.get_mut(node) {
            queue.remove(name);
            if queue.is_empty() {
                self.erasing.queues.remove(node);
            }
        }
    }

    fn postpone(&mut self, moment: &Moment<'_>, node: &NodeId, name: &KeyName) {
        if let Some(due) = self
            .erasing
            .queues
            .get_mut(node)
            .and_then(|queue| queue.get_mut(name))
        {
            let delay = RETRY_MS << due.tries.min(MAX_DOUBLINGS);
            due.tries = due.tries.saturating_add(1);
            due.at_ms = moment.ms().saturating_add(delay);
        }
    }
}
