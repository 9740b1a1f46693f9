//! What the coordinator's store keeps of the ends of keys: every node's word that it has destroyed
//! its share, with the orders that it names. So an end is shown, and its certificate written, also
//! where a node that gave its word is gone.

use std::collections::BTreeSet;

use quorate_model::{Digest, KeyId, NodeId, destruction::Destruction};

use super::{Destroying, Known, checked};
use crate::core::{Core, StoreItem, StoredEnd};

impl Known {
    /// The ends, and the orders behind them.
    fn ends(&self) -> Destruction {
        let ends = self.receipts.values().flatten();
        let ends = ends.filter(|receipt| receipt.is_destroyed() && self.fits(receipt));
        let receipts: Vec<_> = ends.cloned().collect();
        let mut named: BTreeSet<Digest> = receipts.iter().map(|receipt| receipt.command).collect();
        let announced = named.iter();
        let announced = announced.filter_map(|digest| self.orders.get(digest)?.step.announcement());
        let announced: Vec<Digest> = announced.collect();
        named.extend(announced);
        let orders = named.iter().filter_map(|digest| self.orders.get(digest));
        Destruction {
            orders: orders.map(|order| order.signed.clone()).collect(),
            receipts,
        }
    }
}

impl Destroying {
    /// What is to be kept of the end of a key, if it is something else than before.
    fn news(&mut self, key: &KeyId) -> Option<StoredEnd> {
        let known = self.known.get_mut(key)?;
        let ends = known.ends();
        let by: BTreeSet<NodeId> = ends.receipts.iter().map(|end| end.node.clone()).collect();
        if by == known.kept {
            return None;
        }
        known.kept = by;
        Some(StoredEnd {
            key: known.record.name.clone(),
            key_id: *key,
            destruction: ends,
        })
    }
}

impl Core {
    /// Has the end of a key kept, as far as it is news.
    pub(super) fn keep_end(&mut self, key: &KeyId) {
        let news = self.destroying.news(key);
        self.writes.extend(news.map(StoreItem::End));
    }

    /// A node was restored from a backup: what it said before is not what it holds now.
    pub(in crate::core) fn forget_ends_at(&mut self, node: &NodeId) {
        for key in self.destroying.forget_node(node) {
            self.keep_end(&key);
        }
    }

    /// Takes what the store kept of the end of a key. What does not verify is as if it had never been
    /// kept.
    pub(in crate::core) fn restore_end(&mut self, stored: &StoredEnd) {
        let key = self.keys.get(&self.pinned, &stored.key);
        let Some(key) = key.filter(|key| key.record.id() == stored.key_id) else {
            return;
        };
        let orders: Vec<_> = stored
            .destruction
            .orders
            .iter()
            .filter_map(|signed| checked(&self.pinned, signed, &key.record).ok())
            .collect();
        let about = (&stored.key, stored.key_id);
        let receipts: Vec<_> = stored
            .destruction
            .destroyed()
            .filter(|receipt| receipt.verify(&self.pinned, &receipt.node, about).is_ok())
            .cloned()
            .collect();
        for (order, _) in orders {
            self.destroying.learn_order(&key.record, order);
        }
        if let Some(known) = self.destroying.entry(&key.record) {
            for receipt in receipts {
                known.hear(receipt);
            }
            known.kept = known.receipts.keys().cloned().collect();
            known.unlisted.clone_from(&known.kept);
        }
    }
}
