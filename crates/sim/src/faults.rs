//! What can go wrong in a run, drawn from its seed.

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore as _;

/// How often and how badly things go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The least delay of a message, in microseconds.
    pub delay_min_us: u64,
    /// The greatest delay, in microseconds.
    pub delay_max_us: u64,
    /// Of 1000 messages, how many are lost.
    pub lost: u32,
    /// Of 1000 requests, how many arrive twice.
    pub doubled: u32,
    /// Of 1000 messages, how many take ten times as long.
    pub stalled: u32,
    /// How many times a node crashes in a run.
    pub node_crashes: u32,
    /// How many times a coordinator crashes in a run.
    pub coordinator_crashes: u32,
    /// Of 1000 answers of a node, how many it crashes before, after the record was appended.
    pub crash_before_answer: u32,
}

impl Faults {
    /// A calm network and machines that stay up.
    pub const NONE: Self = Self {
        delay_min_us: 100,
        delay_max_us: 200,
        lost: 0,
        doubled: 0,
        stalled: 0,
        node_crashes: 0,
        coordinator_crashes: 0,
        crash_before_answer: 0,
    };

    /// Draws the weather of a run.
    pub fn draw(rng: &mut ChaCha8Rng) -> Self {
        let delay_min_us = 50 + below(rng, 2_000);
        Self {
            delay_min_us,
            delay_max_us: delay_min_us + 1 + below(rng, 40_000),
            lost: chance(rng, 30),
            doubled: chance(rng, 100),
            stalled: chance(rng, 50),
            node_crashes: chance(rng, 5),
            coordinator_crashes: chance(rng, 3),
            crash_before_answer: chance(rng, 10),
        }
    }
}

/// A number below a bound.
pub(crate) fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    rng.next_u64() % bound.max(1)
}

/// An index of a list of this length.
pub(crate) fn pick(rng: &mut ChaCha8Rng, count: usize) -> usize {
    usize::try_from(below(rng, count as u64)).unwrap_or(0)
}

/// Zero half of the time, and below a bound otherwise.
fn chance(rng: &mut ChaCha8Rng, bound: u32) -> u32 {
    if rng.next_u32().is_multiple_of(2) {
        0
    } else {
        rng.next_u32() % bound.max(1)
    }
}

/// Whether something that happens `per_mille` times in 1000 happens.
pub(crate) fn happens(rng: &mut ChaCha8Rng, per_mille: u32) -> bool {
    rng.next_u32() % 1_000 < per_mille
}
