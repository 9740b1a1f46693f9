//! The numbers of epochs that nodes leave out: what each says that it would prepare next, where that
//! is not simply the number after the epoch that it lists.

use std::collections::BTreeMap;

use quorate_model::{
    Epoch, KeyName, KeyRecord, NodeId, node_api::KeyListing, quarantine::MOST_LEFT_OUT,
    roster::Roster,
};

/// The most names of one node that are kept for which no key is known.
const MAX_UNKNOWN: usize = 1_024;

/// What one node says.
#[derive(Default)]
struct Said {
    /// Under names of keys that are known.
    known: BTreeMap<KeyName, Epoch>,
    /// Under names that may be those of keys which others list a moment later.
    unknown: BTreeMap<KeyName, Epoch>,
}

/// What nodes of the roster say of the numbers that they would prepare next.
#[derive(Default)]
pub(super) struct LeftOut(BTreeMap<NodeId, Said>);

impl LeftOut {
    /// Takes what a node lists, with or without a certificate.
    pub(super) fn learn(&mut self, node: &NodeId, listing: &KeyListing, is_known: bool) {
        let simply = Epoch(listing.epoch.0.saturating_add(1));
        if listing.next_epoch > simply {
            let said = self.0.entry(node.clone()).or_default();
            said.unknown.remove(&listing.key);
            // Whoever makes names up keeps nothing but its own out.
            let names = if is_known {
                &mut said.known
            } else if said.unknown.len() < MAX_UNKNOWN {
                &mut said.unknown
            } else {
                return;
            };
            names.insert(listing.key.clone(), listing.next_epoch);
        } else if let Some(said) = self.0.get_mut(node) {
            said.known.remove(&listing.key);
            said.unknown.remove(&listing.key);
            if said.known.is_empty() && said.unknown.is_empty() {
                self.0.remove(node);
            }
        }
    }

    /// Forgets the nodes that a roster does not list.
    pub(super) fn follow(&mut self, roster: &Roster) {
        self.0.retain(|node, _| roster.node(node).is_some());
    }

    /// The lowest number that all nodes would prepare for the epoch after this one, also those that
    /// may hold it next. What is too far above it for any honest node hides nothing of what the others
    /// say.
    pub(super) fn next_after(&self, record: &KeyRecord) -> Option<Epoch> {
        let present = record.epoch.0;
        let all = self.0.keys();
        all.filter_map(|node| self.said(node, &record.name))
            .filter(|next| next.0 > present.saturating_add(1))
            .filter(|next| next.0 <= present.saturating_add(MOST_LEFT_OUT))
            .max()
    }

    fn said(&self, node: &NodeId, key: &KeyName) -> Option<Epoch> {
        let said = self.0.get(node)?;
        said.known
            .get(key)
            .or_else(|| said.unknown.get(key))
            .copied()
    }

    /// How many words are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let words = self.0.values();
        words
            .map(|said| said.known.len().saturating_add(said.unknown.len()))
            .sum()
    }
}
