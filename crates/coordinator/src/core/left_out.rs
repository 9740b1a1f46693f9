//! The numbers of epochs that nodes leave out: what each says that it would prepare next, where that
//! is not simply the number after the epoch that it lists.
//!
//! A command to reshare names the number from which its attempts begin, and gives them a thousand. A
//! node that prepared a number before, or was restored and may have, refuses it and says which it
//! would take. Among those of the command the run goes on with that one; if it lies above them, the
//! command is denied with the number to make another one from. So no run hangs on what stands here.
//! It spares people that second command, and it is worth no more than that: what is believed of a
//! liar is lost to the key, whose numbers are 32 bits.

use std::collections::BTreeMap;

use quorate_model::{
    Epoch, KeyName, KeyRecord, NodeId, node_api::KeyListing, quarantine::MOST_LEFT_OUT,
    roster::Roster,
};

/// The most names of one node that are kept for which no key is known.
const MAX_UNKNOWN: usize = 1_024;

/// How far above what an honest holder says the word of a single node is believed: a node that was
/// restored leaves out a thousand above what the others know, and so again if it is restored again.
const MOST_OF_ONE: u32 = 1 << 12;

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

    /// The lowest number that all nodes would prepare for the epoch after this one, as far as they
    /// are believed.
    ///
    /// What as many holders say as sign is believed, because one of them is honest: at most t-1 of
    /// them are not. A single node may lie, whether it holds a share or not, and is believed only so
    /// far above that as honest ones get by being restored. This includes nodes that hold nothing:
    /// one that was restored leaves out numbers of every key that the others know, and may be on the
    /// next committee. What a liar uses up in this way is of the order of what a member of a committee
    /// can use up in any case, by refusing all the numbers of a command. An honest node that leaves
    /// out more, because a liar told it to when it was restored, says so when it is asked.
    pub(super) fn next_after(&self, record: &KeyRecord, roster: &Roster) -> Option<Epoch> {
        let simply = record.epoch.0.saturating_add(1);
        let most = record.epoch.0.saturating_add(MOST_LEFT_OUT);
        let next = |node: &NodeId| {
            let said = self.said(node, &record.name).map_or(simply, |said| said.0);
            if said <= most {
                said.max(simply)
            } else {
                simply
            }
        };
        let holders = record.participants.iter().map(|holder| &holder.node);
        let listed = holders.filter(|node| roster.node(node).is_some());
        let mut words: Vec<u32> = listed.map(next).collect();
        words.sort_unstable();
        let vouched = words
            .iter()
            .rev()
            .nth(usize::from(record.threshold).saturating_sub(1));
        let most = vouched
            .map_or(simply, |next| *next)
            .saturating_add(MOST_OF_ONE);
        let all = roster.nodes.iter().map(|card| next(&card.id));
        let highest = all.filter(|next| *next <= most).max()?;
        (highest > simply).then_some(Epoch(highest))
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
