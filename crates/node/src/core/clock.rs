//! The node's time (P43): persisted time plus monotonic time elapsed.
//!
//! The wall clock is believed only while it stays within 30 s of that. A step, or a gap over a
//! restart, makes the clock suspect until enough peers sign that they read the same, or a person
//! confirms it at the node's own console. One step of a time server must not be able to expire
//! commands or empty limit windows.

use std::collections::BTreeSet;

use quorate_model::{
    NodeId, UnixMillis, bytes::Nonce32, node_api::ClockState, node_api::TimeAttestation,
    roster::Roster,
};

/// How far the wall clock may be off, in milliseconds.
pub const TOLERANCE_MS: u64 = 30_000;

/// One look at the machine's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: UnixMillis,
    /// Milliseconds of monotonic time since some fixed moment of this run.
    pub monotonic_ms: u64,
}

/// The node's time.
#[derive(Debug)]
pub struct NodeClock {
    base: UnixMillis,
    base_monotonic_ms: u64,
    state: ClockState,
}

/// The clock is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect;

impl NodeClock {
    /// Starts from the time of the last durable record. `challenge` is used if the gap makes the
    /// clock suspect.
    pub fn start(persisted: UnixMillis, reading: Reading, challenge: Nonce32) -> Self {
        let mut clock = Self {
            base: persisted,
            base_monotonic_ms: reading.monotonic_ms,
            state: ClockState::Confirmed,
        };
        if reading.wall.distance(persisted) > TOLERANCE_MS {
            clock.state = ClockState::Suspect { challenge };
        } else if reading.wall > persisted {
            clock.base = reading.wall;
        }
        clock
    }

    /// Persisted time plus monotonic time elapsed; never goes back.
    pub fn elapsed(&self, reading: Reading) -> UnixMillis {
        self.base
            .plus(reading.monotonic_ms.saturating_sub(self.base_monotonic_ms))
    }

    /// The time, if it is trusted. A wall clock that has moved away makes it suspect, under a
    /// challenge that `challenge` draws.
    pub fn now(
        &mut self,
        reading: Reading,
        challenge: impl FnOnce() -> Nonce32,
    ) -> Result<UnixMillis, Suspect> {
        let time = self.elapsed(reading);
        if self.state == ClockState::Confirmed && reading.wall.distance(time) > TOLERANCE_MS {
            self.state = ClockState::Suspect {
                challenge: challenge(),
            };
        }
        match self.state {
            ClockState::Confirmed => Ok(time),
            ClockState::Suspect { .. } => Err(Suspect),
        }
    }

    /// Whether the time is trusted.
    pub fn state(&self) -> ClockState {
        self.state
    }

    /// Takes the word of a person at the node's own console for the wall clock.
    pub fn confirm_at_console(&mut self, reading: Reading) {
        self.adopt(reading);
    }

    /// Takes the word of peers: at least `peers_needed(roster)` other nodes of the roster that
    /// signed this clock's challenge and read within 30 s of this wall clock.
    pub fn confirm_by_peers(
        &mut self,
        me: &NodeId,
        roster: &Roster,
        attestations: &[TimeAttestation],
        reading: Reading,
    ) -> Result<(), Suspect> {
        let ClockState::Suspect { challenge } = self.state else {
            return Ok(());
        };
        let agreeing: BTreeSet<&NodeId> = attestations
            .iter()
            .filter(|a| a.node != *me && a.challenge == challenge)
            .filter(|a| a.time.distance(reading.wall) <= TOLERANCE_MS)
            .filter(|a| {
                roster
                    .node(&a.node)
                    .is_some_and(|card| card.identity_key.verify(&a.digest(), &a.signature).is_ok())
            })
            .map(|a| &a.node)
            .collect();
        if agreeing.len() < peers_needed(roster) {
            return Err(Suspect);
        }
        self.adopt(reading);
        Ok(())
    }

    /// Time that was persisted stays behind: a clock that was confirmed to be earlier than the
    /// last record goes on from the record, so that time never runs backwards in a journal.
    fn adopt(&mut self, reading: Reading) {
        self.base = self.elapsed(reading).max(reading.wall);
        self.base_monotonic_ms = reading.monotonic_ms;
        self.state = ClockState::Confirmed;
    }
}

/// How many peers must agree: a majority of the roster's nodes, or all others where there are
/// fewer. Among that many, one at least is honest wherever a majority of the nodes is.
pub fn peers_needed(roster: &Roster) -> usize {
    let nodes = roster.nodes.len();
    (nodes / 2).saturating_add(1).min(nodes.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use quorate_model::{Digest, IdentityKey, Signature, identity::sign_digest, roster::NodeCard};

    use super::*;

    const CHALLENGE: Nonce32 = Nonce32([5; 32]);
    const START: UnixMillis = UnixMillis(1_000_000);

    fn reading(wall: u64, monotonic_ms: u64) -> Reading {
        Reading {
            wall: UnixMillis(wall),
            monotonic_ms,
        }
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn roster() -> Roster {
        let node = |id: &str, seed| NodeCard {
            id: id.parse().unwrap(),
            identity_key: IdentityKey::of(&key(seed)),
            tls_key_hash: Digest::new([seed; 32]),
            region: String::new(),
            organisation: String::new(),
        };
        Roster {
            format: 1,
            version: 1,
            cluster_name: String::new(),
            parents: vec![],
            nodes: vec![node("node-a", 1), node("node-b", 2), node("node-c", 3)],
            coordinators: vec![],
            principals: vec![],
            admin_quorum: 1,
            lifecycle_quorum: 1,
            policy_hash: Digest::ZERO,
            lifecycle_delay_seconds: None,
            drained: [].into(),
            placement: quorate_model::roster::Placement::default(),
        }
    }

    fn attest(node: &str, seed: u8, time: u64) -> TimeAttestation {
        let mut attestation = TimeAttestation {
            node: node.parse().unwrap(),
            challenge: CHALLENGE,
            time: UnixMillis(time),
            signature: Signature([0; 64]),
        };
        attestation.signature = sign_digest(&key(seed), &attestation.digest());
        attestation
    }

    #[test]
    fn a_short_restart_needs_nobody() {
        let mut clock = NodeClock::start(START, reading(1_020_000, 0), CHALLENGE);

        let now = clock.now(reading(1_021_000, 1_000), || CHALLENGE);

        assert_eq!(now, Ok(UnixMillis(1_021_000)));
    }

    #[test]
    fn a_gap_over_a_restart_makes_the_clock_suspect_in_both_directions() {
        for wall in [1_030_001, 969_999] {
            let clock = NodeClock::start(START, reading(wall, 0), CHALLENGE);

            assert_eq!(
                clock.state(),
                ClockState::Suspect {
                    challenge: CHALLENGE
                },
                "{wall}"
            );
        }
    }

    #[test]
    fn a_step_of_the_wall_clock_makes_it_suspect_and_time_does_not_jump() {
        let mut clock = NodeClock::start(START, reading(1_000_000, 0), CHALLENGE);

        let stepped = clock.now(reading(5_000_000, 1_000), || CHALLENGE);

        assert_eq!(stepped, Err(Suspect));
        assert_eq!(
            clock.elapsed(reading(5_000_000, 1_000)),
            UnixMillis(1_001_000)
        );
        assert_eq!(
            clock.now(reading(1_002_000, 2_000), || CHALLENGE),
            Err(Suspect)
        );
    }

    #[test]
    fn enough_agreeing_peers_confirm_and_too_few_do_not() {
        let check = |attestations: &[TimeAttestation], expected| {
            let mut clock = NodeClock::start(START, reading(9_000_000, 0), CHALLENGE);
            let me = "node-a".parse().unwrap();
            let now = reading(9_000_100, 100);
            let confirmed = clock.confirm_by_peers(&me, &roster(), attestations, now);
            assert_eq!(confirmed, expected);
        };
        let (b, c) = (
            attest("node-b", 2, 9_000_000),
            attest("node-c", 3, 9_010_000),
        );
        check(&[b.clone(), c.clone()], Ok(()));
        check(std::slice::from_ref(&b), Err(Suspect));
        check(&[b.clone(), b.clone()], Err(Suspect));
        check(&[b.clone(), attest("node-a", 1, 9_000_000)], Err(Suspect));
        check(&[b.clone(), attest("node-c", 3, 9_100_000)], Err(Suspect));
        check(&[b.clone(), attest("node-c", 2, 9_000_000)], Err(Suspect));
        let replayed = TimeAttestation {
            challenge: Nonce32([6; 32]),
            ..c
        };
        check(&[b, replayed], Err(Suspect));
    }

    #[test]
    fn a_confirmed_earlier_wall_clock_does_not_take_time_back() {
        let mut clock = NodeClock::start(START, reading(100_000, 0), CHALLENGE);

        clock.confirm_at_console(reading(100_000, 0));

        assert!(clock.elapsed(reading(100_000, 0)) >= START);
    }
}
