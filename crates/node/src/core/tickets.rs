//! Tickets: nonce pairs made ahead, secrets in memory only (P23).
//!
//! A ticket leaves its pool by value and cannot be put back, so no nonce answers twice (I3).
//! Everything here dies with the process, and so do the tickets.

use std::collections::{BTreeMap, VecDeque};

use quorate_model::{
    CoordinatorId, Scheme, TicketId,
    share::{MAX_TICKETS_POOLED, TICKET_LIFE_MS},
};

/// The nonce pairs of all coordinators and schemes. `N` is the secret pair.
pub struct TicketPools<N> {
    pools: BTreeMap<(CoordinatorId, Scheme), Pool<N>>,
}

struct Pool<N> {
    tickets: BTreeMap<TicketId, N>,
    /// When each was made, oldest first; tickets that were taken stay until they would expire.
    order: VecDeque<(u64, TicketId)>,
}

impl<N> Default for TicketPools<N> {
    fn default() -> Self {
        Self {
            pools: BTreeMap::new(),
        }
    }
}

impl<N> TicketPools<N> {
    /// Keeps a pair for one coordinator and scheme; the oldest give way when the pool is full.
    pub fn keep(
        &mut self,
        coordinator: &CoordinatorId,
        scheme: Scheme,
        id: TicketId,
        nonces: N,
        now_ms: u64,
    ) {
        let pool = self
            .pools
            .entry((coordinator.clone(), scheme))
            .or_insert_with(|| Pool {
                tickets: BTreeMap::new(),
                order: VecDeque::new(),
            });
        pool.expire(now_ms);
        while pool.order.len() >= MAX_TICKETS_POOLED {
            pool.drop_oldest();
        }
        pool.tickets.insert(id, nonces);
        pool.order.push_back((now_ms, id));
    }

    /// Takes a pair out for good. Only the coordinator that it was made for finds it.
    pub fn take(
        &mut self,
        coordinator: &CoordinatorId,
        scheme: Scheme,
        id: &TicketId,
        now_ms: u64,
    ) -> Option<N> {
        let pool = self.pools.get_mut(&(coordinator.clone(), scheme))?;
        pool.expire(now_ms);
        pool.tickets.remove(id)
    }

    /// How many pairs are kept.
    pub fn len(&self) -> usize {
        self.pools.values().map(|pool| pool.tickets.len()).sum()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<N> Pool<N> {
    fn expire(&mut self, now_ms: u64) {
        while self
            .order
            .front()
            .is_some_and(|(born, _)| now_ms.saturating_sub(*born) > TICKET_LIFE_MS)
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.tickets.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEME: Scheme = Scheme::Bip340;

    fn id(number: u32) -> TicketId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        TicketId(bytes)
    }

    fn coordinator(name: &str) -> CoordinatorId {
        name.parse().unwrap()
    }

    #[test]
    fn a_ticket_is_taken_once_and_only_by_its_coordinator_for_its_scheme() {
        let mut pools = TicketPools::default();
        let (one, two) = (coordinator("one"), coordinator("two"));
        pools.keep(&one, SCHEME, id(1), "nonce", 0);

        assert_eq!(pools.take(&two, SCHEME, &id(1), 0), None);
        assert_eq!(pools.take(&one, Scheme::Ed25519, &id(1), 0), None);
        assert_eq!(pools.take(&one, SCHEME, &id(1), 0), Some("nonce"));
        assert_eq!(pools.take(&one, SCHEME, &id(1), 0), None);
    }

    #[test]
    fn a_ticket_dies_after_its_life() {
        let mut pools = TicketPools::default();
        let one = coordinator("one");
        pools.keep(&one, SCHEME, id(1), (), 0);
        pools.keep(&one, SCHEME, id(2), (), 1);

        assert_eq!(pools.take(&one, SCHEME, &id(1), TICKET_LIFE_MS + 1), None);
        assert_eq!(
            pools.take(&one, SCHEME, &id(2), TICKET_LIFE_MS + 1),
            Some(())
        );
    }

    #[test]
    fn a_full_pool_lets_the_oldest_go() {
        let mut pools = TicketPools::default();
        let one = coordinator("one");
        let many = u32::try_from(MAX_TICKETS_POOLED).unwrap();
        for number in 0..=many {
            pools.keep(&one, SCHEME, id(number), (), 0);
        }

        assert_eq!(pools.len(), MAX_TICKETS_POOLED);
        assert_eq!(pools.take(&one, SCHEME, &id(0), 0), None);
        assert_eq!(pools.take(&one, SCHEME, &id(many), 0), Some(()));
    }
}
