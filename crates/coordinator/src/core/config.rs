//! The bounds and delays of the core.

use quorate_model::CoordinatorId;
use serde::{Deserialize, Serialize};

/// Everything that can be tuned in the core. Every queue and every wait has a bound here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Signing commands that are carried out or wait at a time; more are refused.
    pub max_pending: usize,
    /// Key creations and resharings that are carried out at a time.
    pub max_ceremonies: usize,
    /// Key creations and resharings that wait for their turn; more are refused.
    pub max_waiting_ceremonies: usize,
    /// Commands of one admin that wait for the words of others.
    pub max_waiting_approvals: usize,
    /// Outcomes kept in memory after they are durable.
    pub max_recent: usize,
    /// Share requests per call.
    pub max_batch: usize,
    /// Calls for shares in flight per node.
    pub calls_in_flight: usize,
    /// How long a command waits for enough nodes, in milliseconds.
    pub quorum_wait_ms: u64,
    /// How long a signing command may take in all, in milliseconds.
    pub sign_deadline_ms: u64,
    /// How long a key creation or a resharing may take in all, once it has its turn, in milliseconds.
    pub ceremony_deadline_ms: u64,
    /// How long the end of a resharing waits until old shares are erased, in milliseconds. Those of
    /// nodes that are away are erased later.
    pub erase_wait_ms: u64,
    /// The least delay after which a signer counts as stalled, in milliseconds.
    pub stall_min_ms: u64,
    /// The greatest such delay, in milliseconds.
    pub stall_max_ms: u64,
    /// How many times its usual delay a signer may take before it counts as stalled.
    pub stall_factor: u64,
    /// How long a node that misbehaved is left out, in milliseconds.
    pub penalty_ms: u64,
    /// Tickets kept per node and scheme while there is little to do.
    pub idle_tickets: usize,
    /// Tickets kept per node and scheme while there is much to do.
    pub busy_tickets: usize,
    /// The age at which a ticket is no longer used, in milliseconds.
    pub ticket_age_ms: u64,
    /// How often nodes are asked where they stand, in milliseconds.
    pub status_every_ms: u64,
    /// How long a short call may take, in milliseconds.
    pub call_timeout_ms: u64,
    /// How long one round of a ceremony may take at a node, in milliseconds.
    pub round_timeout_ms: u64,
    /// How long one round of a pairwise set-up may take at a node, in milliseconds.
    pub pairing_timeout_ms: u64,
    /// ECDSA signatures that are made at a time; the others wait.
    pub ecdsa_in_flight: usize,
    /// How long one round of an ECDSA signature may take at a node, in milliseconds.
    pub ecdsa_round_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pending: 4_096,
            max_ceremonies: 8,
            max_waiting_ceremonies: 256,
            max_waiting_approvals: 8_192,
            max_recent: 8_192,
            max_batch: 64,
            calls_in_flight: 2,
            quorum_wait_ms: 8_000,
            sign_deadline_ms: 30_000,
            ceremony_deadline_ms: 60_000,
            erase_wait_ms: 2_000,
            stall_min_ms: 100,
            stall_max_ms: 3_000,
            stall_factor: 4,
            penalty_ms: 600_000,
            idle_tickets: 8,
            busy_tickets: 512,
            ticket_age_ms: 45_000,
            status_every_ms: 1_000,
            call_timeout_ms: 5_000,
            round_timeout_ms: 5_000,
            pairing_timeout_ms: 30_000,
            ecdsa_in_flight: 32,
            ecdsa_round_timeout_ms: 3_000,
        }
    }
}

/// What the core is told about itself.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// The coordinator's id, which tickets are made out to.
    pub id: CoordinatorId,
    /// Bounds and delays.
    pub limits: Limits,
}
