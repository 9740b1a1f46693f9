//! When keys were put in use and when they were last used.
//!
//! Each holder lists both by its own clock, and any may lie. What callers are told is what t holders
//! bear out, because every signature takes t of them, and at most t-1 lie:
//!
//! - in use since: the t-th lowest time. One of those that are not higher is an honest holder's, so
//!   that liars do not move it to before an honest one had the key in use.
//! - last used: the t-th highest time. One of those that are not lower is an honest holder's, so that
//!   liars do not move it past what an honest one saw. By claiming less they can hold it back to what
//!   t others say.
//!
//! What this coordinator saw itself, the end of a creation and a signature that it made, counts at
//! once. Holders of a later epoch do not know what was before them, so what was borne out once is
//! kept, in the store too: the earliest time of the one, the latest of the other.

use std::collections::BTreeMap;

use quorate_model::{
    KeyId, KeyRecord, NodeId, UnixMillis, life::USE_STEP_MS, node_api::KeyListing,
};

use super::{Core, StoreItem, event::StoredUse};

/// The times of one node, or what was made of those of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyUse {
    pub(super) activated: Option<UnixMillis>,
    pub(super) used: Option<UnixMillis>,
}

impl KeyUse {
    fn and(self, other: Self) -> Self {
        let earliest = [self.activated, other.activated].into_iter().flatten();
        Self {
            activated: earliest.min(),
            used: self.used.max(other.used),
        }
    }
}

/// What nodes say, and what was borne out.
#[derive(Default)]
pub(super) struct Uses {
    claims: BTreeMap<KeyId, BTreeMap<NodeId, KeyUse>>,
    known: BTreeMap<KeyId, KeyUse>,
}

impl Uses {
    /// Takes what the store holds.
    pub(super) fn restore(&mut self, stored: StoredUse) {
        let StoredUse {
            key_id,
            activated,
            used,
        } = stored;
        self.known.insert(key_id, KeyUse { activated, used });
    }

    /// What is known of a key.
    pub(super) fn of(&self, id: &KeyId) -> KeyUse {
        self.known.get(id).copied().unwrap_or_default()
    }

    /// Takes what a node lists of a key. The answer is what is to be stored, if it is news.
    fn learn(
        &mut self,
        record: &KeyRecord,
        node: &NodeId,
        listing: &KeyListing,
    ) -> Option<StoredUse> {
        // Also from who holds it no more, nothing counts.
        record.index_of(node)?;
        let claim = KeyUse {
            activated: listing.activated,
            used: listing.used,
        };
        let claims = self.claims.entry(record.id()).or_default();
        if claims.insert(node.clone(), claim) == Some(claim) {
            return None;
        }
        let borne_out = borne_out(record, claims);
        self.take(record.id(), borne_out)
    }

    fn take(&mut self, key_id: KeyId, news: KeyUse) -> Option<StoredUse> {
        let before = self.of(&key_id);
        let after = before.and(news);
        if after == before {
            return None;
        }
        self.known.insert(key_id, after);
        Some(StoredUse {
            key_id,
            activated: after.activated,
            used: after.used,
        })
    }
}

/// What t holders bear out.
fn borne_out(record: &KeyRecord, claims: &BTreeMap<NodeId, KeyUse>) -> KeyUse {
    let holders = || {
        let holders = record.participants.iter();
        holders.filter_map(|holder| claims.get(&holder.node))
    };
    let mut activated: Vec<UnixMillis> = holders().filter_map(|claim| claim.activated).collect();
    let mut used: Vec<UnixMillis> = holders().filter_map(|claim| claim.used).collect();
    activated.sort_unstable();
    used.sort_unstable_by(|one, other| other.cmp(one));
    let place = usize::from(record.threshold).saturating_sub(1);
    KeyUse {
        activated: activated.get(place).copied(),
        used: used.get(place).copied(),
    }
}

impl Core {
    /// Takes what a node lists about the use of a key.
    pub(super) fn learn_use(&mut self, node: &NodeId, listing: &KeyListing) {
        let Some(key) = self.keys.get(&self.pinned, &listing.key) else {
            return;
        };
        let news = self.uses.learn(&key.record, node, listing);
        self.writes.extend(news.map(StoreItem::Use));
    }

    /// All holders have just put a key in use.
    pub(super) fn note_activation(&mut self, record: &KeyRecord, now: UnixMillis) {
        let seen = KeyUse {
            activated: Some(now),
            used: None,
        };
        let news = self.uses.take(record.id(), seen);
        self.writes.extend(news.map(StoreItem::Use));
    }

    /// A signature was just made with a key.
    pub(super) fn note_use(&mut self, record: &KeyRecord, now: UnixMillis) {
        let is_told = |used: UnixMillis| now < used.plus(USE_STEP_MS);
        if self.uses.of(&record.id()).used.is_some_and(is_told) {
            return;
        }
        let seen = KeyUse {
            activated: None,
            used: Some(now),
        };
        let news = self.uses.take(record.id(), seen);
        self.writes.extend(news.map(StoreItem::Use));
    }
}
