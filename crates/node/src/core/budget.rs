//! A bound on how fast refusals are recorded: a coordinator that is hostile but authenticated must
//! not be able to fill a node's disk.

/// How many refusals may be recorded at once.
const BURST: u64 = 1_000;

/// How many more may be recorded per second.
const PER_SECOND: u64 = 20;

/// A bucket of tokens that refills with time.
#[derive(Debug)]
pub(crate) struct Budget {
    /// In thousandths of a token.
    milli_tokens: u64,
    at_ms: u64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self {
            milli_tokens: BURST.saturating_mul(1_000),
            at_ms: 0,
        }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now_ms: u64) -> bool {
        let gained = now_ms.saturating_sub(self.at_ms).saturating_mul(PER_SECOND);
        self.milli_tokens = self
            .milli_tokens
            .saturating_add(gained)
            .min(BURST.saturating_mul(1_000));
        self.at_ms = now_ms;
        match self.milli_tokens.checked_sub(1_000) {
            Some(rest) => {
                self.milli_tokens = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_recorded_and_then_a_trickle() {
        let mut budget = Budget::new();

        let burst = (0..2_000).filter(|_| budget.take(0)).count();
        let second = (0..2_000).filter(|_| budget.take(1_000)).count();

        assert_eq!(burst as u64, BURST);
        assert_eq!(second as u64, PER_SECOND);
    }
}
