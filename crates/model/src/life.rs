//! How long a key is meant to be used, and which key it takes the place of.
//!
//! What is planned stands in the command that creates the key, so every holder has certified it. It
//! stops nothing: a key that is overdue signs on, and says that it is overdue.

use crate::{
    evacuation::{Destination, MAX_DESTINATIONS},
    ids::{KeyId, KeyName, UnixMillis},
    key::KeyState,
};

/// The longest period that can be planned, 100 years, in seconds.
pub const MAX_PERIOD_S: u64 = 100 * 365 * 24 * 60 * 60;

/// The last use of a key is told to the hour: what is noted of it changes no more often than this, in
/// milliseconds, so that signing pays for it once an hour.
pub const USE_STEP_MS: u64 = 60 * 60 * 1_000;

/// The key that another one takes the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Its name.
    pub key: KeyName,
    /// Its id; one name can stand for two.
    pub key_id: KeyId,
}

/// The key that takes the place of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successor {
    /// Its name.
    pub key: KeyName,
    /// Its id.
    pub key_id: KeyId,
}

/// What is planned for a key at its creation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyLife {
    /// The key that it takes the place of.
    pub replaces: Option<Predecessor>,
    /// How long it is to be used, in seconds from the time of its command.
    pub cryptoperiod_s: Option<u64>,
    /// After how long its shares are to be dealt again, in seconds.
    pub refresh_s: Option<u64>,
    /// Where it may move what it holds once it is deactivated or reported as compromised, in
    /// ascending order; nowhere where none is named.
    pub evacuation: Vec<Destination>,
}

/// A plan that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LifeError {
    /// A key in its own place.
    #[error("key \"{0}\" would replace itself: give the new key a name of its own")]
    ReplacesItself(KeyName),
    /// The key would be over before it is made.
    #[error(
        "the cryptoperiod is {0} s, expected 1 s to 100 years: leave it out for a key without \
             a planned end"
    )]
    Cryptoperiod(u64),
    /// The shares would be due at once, or never.
    #[error(
        "the time between refreshes is {0} s, expected 1 s to 100 years: leave it out for a key \
             whose refreshes are not planned"
    )]
    Refresh(u64),
    /// The first refresh would come after the end.
    #[error(
        "the first refresh would come {refresh} s after the creation, and the cryptoperiod ends \
             after {cryptoperiod} s: refresh more often or leave the refresh out"
    )]
    RefreshAfterEnd {
        /// The time between refreshes.
        refresh: u64,
        /// The cryptoperiod.
        cryptoperiod: u64,
    },
    /// More than anybody looks through.
    #[error("{0} destinations are named, expected at most {MAX_DESTINATIONS}")]
    TooManyDestinations(usize),
    /// Two commands would mean the same.
    #[error("the destinations stand twice or out of order, expected them in ascending order")]
    DestinationsUnordered,
}

impl KeyLife {
    /// Checks that the plan makes sense for a key of this name.
    ///
    /// # Errors
    ///
    /// What does not, and what to do.
    pub fn check(&self, key: &KeyName) -> Result<(), LifeError> {
        if self
            .replaces
            .as_ref()
            .is_some_and(|before| before.key == *key)
        {
            return Err(LifeError::ReplacesItself(key.clone()));
        }
        if self.evacuation.len() > MAX_DESTINATIONS {
            return Err(LifeError::TooManyDestinations(self.evacuation.len()));
        }
        if !self.evacuation.is_sorted_by(|one, next| one < next) {
            return Err(LifeError::DestinationsUnordered);
        }
        let wrong = |period: &u64| !(1..=MAX_PERIOD_S).contains(period);
        if let Some(period) = self.cryptoperiod_s.filter(wrong) {
            return Err(LifeError::Cryptoperiod(period));
        }
        if let Some(period) = self.refresh_s.filter(wrong) {
            return Err(LifeError::Refresh(period));
        }
        match (self.refresh_s, self.cryptoperiod_s) {
            (Some(refresh), Some(cryptoperiod)) if refresh >= cryptoperiod => {
                Err(LifeError::RefreshAfterEnd {
                    refresh,
                    cryptoperiod,
                })
            }
            _ => Ok(()),
        }
    }

    /// When the use of a key that was created at a time is planned to end.
    pub fn planned_end(&self, created: UnixMillis) -> Option<UnixMillis> {
        self.cryptoperiod_s
            .map(|period| created.plus(period.saturating_mul(1000)))
    }

    /// When shares that were dealt at a time are to be dealt again.
    pub fn next_refresh(&self, dealt: UnixMillis) -> Option<UnixMillis> {
        self.refresh_s
            .map(|period| dealt.plus(period.saturating_mul(1000)))
    }

    /// What is due for a key by a time, with the time at which each became or becomes due.
    pub fn due(&self, dates: &KeyDates, by: UnixMillis) -> Vec<(Duty, UnixMillis)> {
        if !matches!(dates.state, KeyState::Active | KeyState::Suspended) {
            return Vec::new();
        }
        // Shares of a key that is to go need no refresh, and it has its successor.
        let duties = match dates.replaced {
            Some(since) => [Some((Duty::Retirement, since)), None],
            None => [
                self.next_refresh(dates.dealt).map(|at| (Duty::Refresh, at)),
                self.planned_end(dates.created)
                    .map(|at| (Duty::Rotation, at)),
            ],
        };
        let reached = |(_, at): &(Duty, UnixMillis)| *at <= by;
        duties.into_iter().flatten().filter(reached).collect()
    }
}

/// What has become of a key so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDates {
    /// The time of the command that created it.
    pub created: UnixMillis,
    /// The time of the command that made the shares in use.
    pub dealt: UnixMillis,
    /// Since when there is an active key that takes its place.
    pub replaced: Option<UnixMillis>,
    /// Its state.
    pub state: KeyState,
}

/// What a person is to do about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Duty {
    /// Deal its shares again.
    Refresh,
    /// Make a key that takes its place.
    Rotation,
    /// Move what it holds to the key that took its place, and deactivate it.
    Retirement,
}

impl Duty {
    /// The name as lists and metrics show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Rotation => "rotation",
            Self::Retirement => "retirement",
        }
    }
}

impl std::fmt::Display for Duty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(cryptoperiod_s: Option<u64>, refresh_s: Option<u64>) -> KeyLife {
        KeyLife {
            replaces: None,
            cryptoperiod_s,
            refresh_s,
            evacuation: Vec::new(),
        }
    }

    fn name(text: &str) -> KeyName {
        text.parse().unwrap()
    }

    #[test]
    fn plans_that_make_no_sense_are_refused_with_what_to_do() {
        let check = |life: KeyLife, expected: &str| {
            let error = life.check(&name("treasury")).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let itself = KeyLife {
            replaces: Some(Predecessor {
                key: name("treasury"),
                key_id: KeyId([1; 32]),
            }),
            ..KeyLife::default()
        };

        check(itself, "give the new key a name of its own");
        check(life(Some(0), None), "cryptoperiod is 0 s, expected 1 s");
        check(life(Some(MAX_PERIOD_S + 1), None), "without a planned end");
        check(
            life(None, Some(0)),
            "between refreshes is 0 s, expected 1 s",
        );
        check(life(None, Some(MAX_PERIOD_S + 1)), "are not planned");
        check(life(Some(10), Some(10)), "refresh more often");
        let account = |number: u8| format!("eip155:{number}:0xab").parse().unwrap();
        let to = |evacuation: Vec<Destination>| KeyLife {
            evacuation,
            ..KeyLife::default()
        };
        check(to(vec![account(2), account(1)]), "in ascending order");
        check(to(vec![account(1), account(1)]), "in ascending order");
        check(to((100..133).map(account).collect()), "expected at most 32");
    }

    #[test]
    fn plans_that_make_sense_are_taken() {
        for life in [
            KeyLife::default(),
            life(Some(1), None),
            life(None, Some(MAX_PERIOD_S)),
            life(Some(11), Some(10)),
        ] {
            assert_eq!(life.check(&name("treasury")), Ok(()));
        }
    }

    fn due(life: &KeyLife, replaced: Option<u64>, state: KeyState, by: u64) -> Vec<(Duty, u64)> {
        let dates = KeyDates {
            created: UnixMillis(1_000),
            dealt: UnixMillis(5_000),
            replaced: replaced.map(UnixMillis),
            state,
        };
        let due = life.due(&dates, UnixMillis(by));
        due.into_iter().map(|(duty, at)| (duty, at.0)).collect()
    }

    #[test]
    fn a_refresh_is_due_after_the_last_one_and_a_rotation_after_the_creation() {
        let life = life(Some(10), Some(3));

        assert_eq!(due(&life, None, KeyState::Active, 7_999), []);
        assert_eq!(
            due(&life, None, KeyState::Active, 8_000),
            [(Duty::Refresh, 8_000)]
        );
        assert_eq!(
            due(&life, None, KeyState::Suspended, 11_000),
            [(Duty::Refresh, 8_000), (Duty::Rotation, 11_000)]
        );
    }

    #[test]
    fn a_key_that_was_replaced_is_due_for_nothing_but_retirement() {
        let life = life(Some(10), Some(3));

        assert_eq!(
            due(&life, Some(6_000), KeyState::Active, 20_000),
            [(Duty::Retirement, 6_000)]
        );
    }

    #[test]
    fn a_key_whose_time_is_over_is_due_for_nothing() {
        let life = life(Some(10), Some(3));

        for state in [
            KeyState::PreActive,
            KeyState::Deactivated,
            KeyState::Compromised,
        ] {
            assert_eq!(due(&life, Some(6_000), state, 20_000), [], "{state}");
        }
    }
}
