//! How long to wait before dialing again.

use std::time::Duration;

/// Waits that double up to a cap, each shortened by chance to between half and all of it, so that
/// nodes that lost a coordinator together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait at its longest.
    pub first: Duration,
    /// The longest wait.
    pub cap: Duration,
}

impl Backoff {
    /// The wait after this many attempts in a row that came to nothing, with 32 random bits.
    pub fn delay(&self, failures: u32, random: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.min(31));
        let longest = self.first.saturating_mul(doubled).min(self.cap);
        let chance = f64::from(random) / f64::from(u32::MAX);
        longest.mul_f64(0.5 + 0.5 * chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_millis(100),
        cap: Duration::from_secs(5),
    };

    #[test]
    fn waits_double_up_to_the_cap() {
        let longest: Vec<u128> = (0..8)
            .map(|failures| BACKOFF.delay(failures, u32::MAX).as_millis())
            .collect();

        assert_eq!(longest, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(BACKOFF.delay(u32::MAX, u32::MAX), BACKOFF.cap);
    }

    #[test]
    fn chance_shortens_a_wait_by_half_at_the_most() {
        assert_eq!(BACKOFF.delay(1, 0), Duration::from_millis(100));
        let middle = BACKOFF.delay(1, u32::MAX / 2);
        assert!(middle > Duration::from_millis(149) && middle < Duration::from_millis(151));
    }
}
