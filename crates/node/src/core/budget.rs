//! A bound on how fast a coordinator can have things recorded that bring nobody forward: one that
//! is hostile but authenticated must not be able to fill a node's disk.

/// How fast records of one kind may come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// So many at once.
    burst: u64,
    /// So many more per second.
    per_second: u64,
}

/// Refusals, and evidence that is handed over.
pub(crate) const REFUSALS: Rate = Rate {
    burst: 1_000,
    per_second: 20,
};

/// Proofs of possession that are asked for again before the key is active: an honest coordinator
/// asks once, and a few times more when a node was lost on the way.
pub(crate) const REPEATED_PROOFS: Rate = Rate {
    burst: 64,
    per_second: 1,
};

/// Pairwise set-ups, each of which costs a core about a quarter of a second for every peer.
pub(crate) const PAIRINGS: Rate = Rate {
    burst: 64,
    per_second: 2,
};

/// Statements of addresses: each costs a signature, and a verified certificate the first time.
pub(crate) const STATEMENTS: Rate = Rate {
    burst: 256,
    per_second: 128,
};

/// Incidents of one peer that went back in time: a hostile one can make any number.
pub(crate) const ROLLBACKS: Rate = Rate {
    burst: 64,
    per_second: 1,
};

/// Suspensions of keys that are suspended: one admin alone can make any number.
pub(crate) const SUSPENSIONS: Rate = Rate {
    burst: 64,
    per_second: 1,
};

/// Withdrawals of announcements: one admin alone can make any number.
pub(crate) const WITHDRAWALS: Rate = Rate {
    burst: 64,
    per_second: 1,
};

/// A bucket of tokens that refills with time.
#[derive(Debug)]
pub(crate) struct Budget {
    rate: Rate,
    /// In thousandths of a token.
    milli_tokens: u64,
    at_ms: u64,
}

impl Budget {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            milli_tokens: rate.burst.saturating_mul(1_000),
            at_ms: 0,
        }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now_ms: u64) -> bool {
        let gained = now_ms
            .saturating_sub(self.at_ms)
            .saturating_mul(self.rate.per_second);
        self.milli_tokens = self
            .milli_tokens
            .saturating_add(gained)
            .min(self.rate.burst.saturating_mul(1_000));
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
        for rate in [REFUSALS, REPEATED_PROOFS, PAIRINGS, STATEMENTS] {
            let mut budget = Budget::new(rate);

            let burst = (0..2_000).filter(|_| budget.take(0)).count();
            let second = (0..2_000).filter(|_| budget.take(1_000)).count();

            assert_eq!(burst as u64, rate.burst);
            assert_eq!(second as u64, rate.per_second);
        }
    }
}
