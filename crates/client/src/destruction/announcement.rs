//! The announcements of a key's destruction: which are in force, and which one a step is about.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{
    CommandId, Digest, NodeId, PrincipalId, Reason, Refusal, UnixMillis,
    destruction::{DestroyStep, DestructionReceipt, Said},
    roster::PinnedRoster,
};

use super::Order;
use crate::key::ListedKey;

/// An announcement that nodes have heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The id of the command.
    pub id: CommandId,
    /// The digest of the command.
    pub digest: Digest,
    /// Who has endorsed it.
    pub by: Vec<PrincipalId>,
    /// Why.
    pub reason: String,
    /// When the command was made.
    pub created: UnixMillis,
    /// From when each node that has heard it takes a confirmation.
    pub from: BTreeMap<NodeId, UnixMillis>,
    /// When it lapses at the first of them.
    pub until: UnixMillis,
    /// When it has lapsed at all of them.
    pub lapsed: UnixMillis,
}

impl Announcement {
    /// From when a confirmation can be made: a node takes it, and the delay of the roster has passed
    /// since the announcement was made. Nodes that heard of it later take it later.
    pub fn opens(&self, roster: &PinnedRoster) -> UnixMillis {
        let delay_ms = roster.roster().lifecycle_delay_ms();
        let first = self.from.values().min().copied();
        first
            .unwrap_or(self.created)
            .max(self.created.plus(delay_ms))
    }

    /// From when every node that has heard it takes a confirmation.
    pub fn opens_everywhere(&self, roster: &PinnedRoster) -> UnixMillis {
        let opens = self.opens(roster);
        let last = self.from.values().max().copied();
        last.map_or(opens, |last| last.max(opens))
    }

    /// Whether it has lapsed at every node that has heard it.
    pub fn has_lapsed(&self, now: UnixMillis) -> bool {
        self.lapsed < now
    }
}

/// How far the withdrawal of an announcement has come. Every node of the roster must hear it: one that
/// has not destroys its shares by a confirmation, if it has heard the announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// The digest of the announcement.
    pub announcement: Digest,
    /// The nodes that never act by it.
    pub withdrawn: Vec<NodeId>,
    /// The nodes that have not, and have destroyed their shares already, by it or by another order.
    pub destroyed: Vec<NodeId>,
    /// The nodes that have said neither.
    pub missing: Vec<NodeId>,
}

impl Withdrawal {
    /// Counts the nodes of a roster by their verified words.
    fn count<'a>(
        announcement: Digest,
        said: impl Iterator<Item = &'a DestructionReceipt>,
        roster: &PinnedRoster,
    ) -> Self {
        let (mut withdrawn, mut destroyed) = (BTreeSet::new(), BTreeSet::new());
        for receipt in said {
            match receipt.said {
                Said::Withdrawn { announcement: of } if of == announcement => {
                    withdrawn.insert(&receipt.node);
                }
                Said::Destroyed { .. } => {
                    destroyed.insert(&receipt.node);
                }
                Said::Withdrawn { .. } | Said::Announced { .. } => {}
            }
        }
        let mut count = Self {
            announcement,
            withdrawn: Vec::new(),
            destroyed: Vec::new(),
            missing: Vec::new(),
        };
        for card in &roster.roster().nodes {
            let nodes = if withdrawn.contains(&card.id) {
                &mut count.withdrawn
            } else if destroyed.contains(&card.id) {
                &mut count.destroyed
            } else {
                &mut count.missing
            };
            nodes.push(card.id.clone());
        }
        count
    }

    /// How many nodes must hear it.
    pub fn nodes(&self) -> usize {
        let spoken = self.withdrawn.len().saturating_add(self.destroyed.len());
        spoken.saturating_add(self.missing.len())
    }

    /// Whether no node acts by the announcement any more.
    pub fn is_complete(&self) -> bool {
        self.withdrawn.len() == self.nodes()
    }
}

impl ListedKey {
    /// How far the withdrawal of an announcement has come, as this key shows it and the verified
    /// receipts in `said`, which may be newer.
    pub fn withdrawal(
        &self,
        announcement: Digest,
        said: &[DestructionReceipt],
        roster: &PinnedRoster,
    ) -> Withdrawal {
        let all = self.destruction().receipts.iter().chain(said);
        Withdrawal::count(announcement, all, roster)
    }

    /// The announcements that some nodes have withdrawn while others show them in force, with how far
    /// that has come. [`Self::announcements`] does not list them.
    pub fn half_withdrawn(&self, roster: &PinnedRoster, now: UnixMillis) -> Vec<Withdrawal> {
        let withdrawn: BTreeSet<Digest> = self.withdrawn().collect();
        let all = withdrawn.into_iter();
        let mut all: Vec<Withdrawal> = all.map(|one| self.withdrawal(one, &[], roster)).collect();
        all.retain(|one| {
            let mut receipts = self.destruction().receipts.iter();
            receipts.any(|receipt| {
                receipt.command == one.announcement
                    && one.missing.contains(&receipt.node)
                    && matches!(receipt.said, Said::Announced { until, .. } if now <= until)
            })
        });
        all
    }

    /// The announcements that nodes have heard and nobody has withdrawn, the newest last. Nodes keep
    /// those that lapsed for a while: see [`Announcement::has_lapsed`].
    pub fn announcements(&self) -> Vec<Announcement> {
        let destruction = self.destruction();
        let withdrawn: BTreeSet<Digest> = self.withdrawn().collect();
        let mut found: BTreeMap<Digest, Announcement> = BTreeMap::new();
        for receipt in &destruction.receipts {
            let Said::Announced { from, until, .. } = receipt.said else {
                continue;
            };
            if withdrawn.contains(&receipt.command) {
                continue;
            }
            if !found.contains_key(&receipt.command)
                && let Some(heard) = self.announced(&receipt.command)
            {
                found.insert(receipt.command, heard);
            }
            if let Some(one) = found.get_mut(&receipt.command) {
                one.from.insert(receipt.node.clone(), from);
                one.until = one.until.min(until);
                one.lapsed = one.lapsed.max(until);
            }
        }
        let mut found: Vec<_> = found.into_values().collect();
        found.sort_by_key(|one| (one.from.values().max().copied(), one.digest));
        found
    }

    /// The announcements in force at a time: those that have not lapsed everywhere.
    pub fn announcements_at(&self, now: UnixMillis) -> Vec<Announcement> {
        let mut live = self.announcements();
        live.retain(|one| !one.has_lapsed(now));
        live
    }

    /// Whether nodes show an announcement, also one that was withdrawn, lapsed or carried out. One
    /// that nobody shows may still be known to a node that no coordinator reaches.
    pub fn shows_announcement(&self, digest: &Digest) -> bool {
        self.withdrawn().any(|known| known == *digest)
            || self.destruction().order(digest).is_some_and(|signed| {
                Order::read(signed).is_some_and(|order| order.destroy.step == DestroyStep::Announce)
            })
    }

    /// The announcement that an order makes, before any node has heard it.
    fn announced(&self, digest: &Digest) -> Option<Announcement> {
        let signed = self.destruction().order(digest)?;
        let order = Order::read(signed)?;
        let endorsed = signed.endorsements.iter();
        let endorsed = endorsed.filter(|word| word.kind.is_for_it());
        Some(Announcement {
            id: order.id,
            digest: *digest,
            by: endorsed.map(|word| word.principal.clone()).collect(),
            reason: order.destroy.reason,
            created: order.created,
            from: BTreeMap::new(),
            until: UnixMillis(u64::MAX),
            lapsed: UnixMillis(0),
        })
    }

    /// The announcements that nodes will never act by.
    fn withdrawn(&self) -> impl Iterator<Item = Digest> {
        let receipts = self.destruction().receipts.iter();
        receipts.filter_map(|receipt| match receipt.said {
            Said::Withdrawn { announcement } => Some(announcement),
            Said::Announced { .. } | Said::Destroyed { .. } => None,
        })
    }

    /// The announcement that was withdrawn last; none where nothing was.
    pub(super) fn withdrawn_last(&self) -> Option<Digest> {
        let made = |digest: &Digest| {
            let order = self.destruction().order(digest).and_then(Order::read);
            order.map(|order| order.created)
        };
        self.withdrawn()
            .max_by_key(|digest| (made(digest), *digest))
    }

    /// The announcement that is withdrawn: the one that is named, the only one that is in force, or
    /// the last one again where it was withdrawn already.
    pub(super) fn to_withdraw(
        &self,
        named: Option<Digest>,
        now: UnixMillis,
    ) -> Result<Digest, Refusal> {
        // A node may have heard of it that no coordinator shows.
        if let Some(digest) = named {
            return Ok(digest);
        }
        let only = self.only_announcement(now)?.map(|one| one.digest);
        only.or_else(|| self.withdrawn_last())
            .ok_or_else(|| self.not_announced("is not announced, so there is nothing to withdraw"))
    }

    /// The announcement that is confirmed: the one that is named, or the only one that is in force.
    /// One that no node would act by yet is refused with the time from which one does.
    pub(super) fn to_confirm(
        &self,
        named: Option<Digest>,
        roster: &PinnedRoster,
        now: UnixMillis,
    ) -> Result<Digest, Refusal> {
        let known = match named {
            Some(digest) => match self.named(digest, now)? {
                Some(known) => known,
                None => return Ok(digest),
            },
            None => self.only_announcement(now)?.ok_or_else(|| {
                self.not_announced("is not announced, or the announcement has lapsed: announce it")
            })?,
        };
        let opens = known.opens(roster);
        if now < opens {
            let left = opens.since(now).div_ceil(1_000);
            let name = &self.record().name;
            let message = format!(
                "the destruction of key \"{name}\" was announced too short a time ago: confirm it \
                 in {left} s or later"
            );
            return Err(Refusal::new(Reason::DestructionTooEarly, message)
                .with("key", name)
                .with("from_ms", opens.0)
                .with("left_s", left));
        }
        Ok(known.digest)
    }

    /// The announcement that is named, if it is in force. None for one by which nodes have destroyed
    /// their shares: they show only their ends, and whoever was away may have heard it too.
    fn named(&self, digest: Digest, now: UnixMillis) -> Result<Option<Announcement>, Refusal> {
        let mut live = self.announcements_at(now);
        if let Some(at) = live.iter().position(|one| one.digest == digest) {
            return Ok(Some(live.swap_remove(at)));
        }
        let heard = self.announcements().iter().any(|one| one.digest == digest);
        let why = if self.withdrawn().any(|known| known == digest) {
            "it was withdrawn"
        } else if heard {
            "it has lapsed"
        } else if self.shows_announcement(&digest) {
            return Ok(None);
        } else {
            "no node shows it"
        };
        let stands = match live.as_slice() {
            [] => "none is in force: announce it".to_owned(),
            live => format!("in force: {}", choices(live)),
        };
        let name = &self.record().name;
        let message = format!(
            "announcement {digest} of the destruction of key \"{name}\" cannot be confirmed: {why}; \
             {stands}"
        );
        Err(Refusal::new(Reason::DestructionNotAnnounced, message).with("key", name))
    }

    /// The announcement in force, if there is one.
    fn only_announcement(&self, now: UnixMillis) -> Result<Option<Announcement>, Refusal> {
        let mut live = self.announcements_at(now);
        if live.len() <= 1 {
            return Ok(live.pop());
        }
        let name = &self.record().name;
        let message = format!(
            "the destruction of key \"{name}\" is announced {} times: say which one is meant with \
             --announcement and its digest: {}",
            live.len(),
            choices(&live)
        );
        Err(Refusal::new(Reason::RequestInvalid, message)
            .with("key", name)
            .with("count", live.len()))
    }

    fn not_announced(&self, what: &str) -> Refusal {
        let name = &self.record().name;
        let message = format!("the destruction of key \"{name}\" {what}");
        Refusal::new(Reason::DestructionNotAnnounced, message).with("key", name)
    }
}

/// Announcements by their digests and reasons.
fn choices(announcements: &[Announcement]) -> String {
    let told = announcements.iter();
    let told: Vec<_> = told
        .map(|one| format!("{} ({})", one.digest, one.reason))
        .collect();
    told.join(", ")
}
