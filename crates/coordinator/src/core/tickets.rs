//! Tickets that were fetched ahead (P23): one pool per node and scheme.
//!
//! A ticket leaves its pool by value and never comes back, so it stands in one signing set only.
//! How many are kept follows from how many are used.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_model::{
    NodeId, Scheme, TicketId,
    share::{Commitments, MAX_TICKETS_PER_CALL, TicketBatch},
};
use quorate_protocol::frost::NonceCommitments;

use super::config::Limits;

/// Ids are remembered for so long after their tickets have gone, in milliseconds, so that a node
/// cannot hand out one id twice within the life of a ticket.
const REMEMBER_IDS_MS: u64 = 120_000;

/// A ticket whose commitments have been parsed.
pub(super) struct Held {
    pub(super) id: TicketId,
    pub(super) received: Commitments,
    pub(super) parsed: NonceCommitments,
    born_ms: u64,
}

/// Why a batch of tickets is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadTickets {
    /// An id that was handed out before.
    RepeatedId,
    /// A commitment that is no point.
    BadPoint,
}

/// The tickets of one node for one scheme.
#[derive(Default)]
pub(super) struct Pool {
    tickets: VecDeque<Held>,
    seen: BTreeSet<TicketId>,
    seen_order: VecDeque<(u64, TicketId)>,
    target: usize,
    used: usize,
    adjusted_ms: u64,
    wanted: usize,
    pub(super) fetching_since_ms: Option<u64>,
    pub(super) retry_at_ms: u64,
}

impl Pool {
    /// How many tickets can be used.
    pub(super) fn available(&self) -> usize {
        self.tickets.len()
    }

    /// Takes tickets out for good: all or none.
    pub(super) fn take(&mut self, count: usize) -> Option<Vec<Held>> {
        if self.tickets.len() < count {
            return None;
        }
        self.used = self.used.saturating_add(count);
        Some(self.tickets.drain(..count).collect())
    }

    /// Notes that so many were asked for and not there.
    pub(super) fn want(&mut self, count: usize, limits: &Limits) {
        self.wanted = self.wanted.max(count);
        let doubled = self.target.max(limits.idle_tickets).saturating_mul(2);
        if self.fetching_since_ms.is_none() {
            self.target = doubled.min(limits.busy_tickets);
        }
    }

    /// How many to fetch at this moment; none while a fetch is under way or there are enough.
    pub(super) fn missing(&self, limits: &Limits, now_ms: u64) -> Option<u32> {
        if self.fetching_since_ms.is_some() || self.retry_at_ms > now_ms {
            return None;
        }
        let target = self.target.max(limits.idle_tickets).max(self.wanted);
        let available = self.tickets.len();
        if available >= self.wanted.max(1) && available > target / 2 {
            return None;
        }
        let count = u32::try_from(target.saturating_sub(available)).unwrap_or(u32::MAX);
        (count > 0).then_some(count.min(MAX_TICKETS_PER_CALL))
    }

    /// Lets old tickets go, and the target follow what was used in the last second.
    pub(super) fn age(&mut self, limits: &Limits, now_ms: u64) {
        let too_old = |held: &Held| now_ms.saturating_sub(held.born_ms) >= limits.ticket_age_ms;
        while self.tickets.front().is_some_and(too_old) {
            self.tickets.pop_front();
        }
        while self
            .seen_order
            .front()
            .is_some_and(|(at, _)| now_ms.saturating_sub(*at) >= REMEMBER_IDS_MS)
        {
            if let Some((_, id)) = self.seen_order.pop_front() {
                self.seen.remove(&id);
            }
        }
        if now_ms.saturating_sub(self.adjusted_ms) >= 1_000 {
            if self.used < self.target / 2 {
                self.target = (self.target / 2).max(limits.idle_tickets);
            } else if self.used > self.target {
                self.target = self.used.min(limits.busy_tickets);
            }
            self.used = 0;
            self.adjusted_ms = now_ms;
        }
    }

    /// Forgets all tickets: they died with the process that made them.
    pub(super) fn clear(&mut self) {
        self.tickets.clear();
        self.fetching_since_ms = None;
        self.retry_at_ms = 0;
    }

    /// Keeps a batch whose signature holds.
    pub(super) fn keep(&mut self, batch: TicketBatch, born_ms: u64) -> Result<(), BadTickets> {
        let mut held = Vec::with_capacity(batch.tickets.len());
        for ticket in batch.tickets {
            if !self.seen.insert(ticket.id) {
                return Err(BadTickets::RepeatedId);
            }
            self.seen_order.push_back((born_ms, ticket.id));
            let parsed = NonceCommitments::from_received(batch.scheme, &ticket.commitments)
                .map_err(|_| BadTickets::BadPoint)?;
            held.push(Held {
                id: ticket.id,
                received: ticket.commitments,
                parsed,
                born_ms,
            });
        }
        self.tickets.extend(held);
        if self.tickets.len() >= self.wanted {
            self.wanted = 0;
        }
        Ok(())
    }
}

/// All pools.
#[derive(Default)]
pub(super) struct Tickets(BTreeMap<(NodeId, Scheme), Pool>);

impl Tickets {
    pub(super) fn pool(&mut self, node: &NodeId, scheme: Scheme) -> &mut Pool {
        self.0.entry((node.clone(), scheme)).or_default()
    }

    pub(super) fn has_pool(&self, node: &NodeId, scheme: Scheme) -> bool {
        self.0.contains_key(&(node.clone(), scheme))
    }

    pub(super) fn pools_mut(&mut self) -> impl Iterator<Item = (&(NodeId, Scheme), &mut Pool)> {
        self.0.iter_mut()
    }

    /// Drops the tickets of a node.
    pub(super) fn drop_node(&mut self, node: &NodeId) {
        for ((owner, _), pool) in &mut self.0 {
            if owner == node {
                pool.clear();
            }
        }
    }
}
