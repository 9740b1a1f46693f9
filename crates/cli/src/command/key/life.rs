//! What is planned for a key, as people say it and see it.

use clap::Args;
use quorate_client::{
    ListedKey,
    model::{
        UnixMillis,
        life::{KeyLife, MAX_PERIOD_S},
    },
};
use serde_json::{Value, json};

use crate::output::{self, Table};

/// What can be planned for a key at its creation.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Periods {
    /// How long the key is to be used before another one takes its place: 365d, 52w or 24h
    #[arg(long, value_name = "TIME", value_parser = planned)]
    pub(super) cryptoperiod: Option<u64>,
    /// How often its shares are to be dealt again: 90d, 12w or 24h
    #[arg(long, value_name = "TIME", value_parser = planned)]
    pub(super) refresh_every: Option<u64>,
}

impl Periods {
    pub(super) fn life(&self) -> KeyLife {
        KeyLife {
            replaces: None,
            cryptoperiod_s: self.cryptoperiod,
            refresh_s: self.refresh_every,
        }
    }
}

/// Reads a period in seconds: a number with `s`, `h`, `d` or `w`.
pub(super) fn period(text: &str) -> Result<u64, String> {
    let refused = || format!("\"{text}\" is no period: use 365d, 52w, 24h or 60s");
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(refused)?;
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit {
        "s" => 1,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    number.checked_mul(unit).ok_or_else(refused)
}

/// Reads a period that can be planned for a key.
fn planned(text: &str) -> Result<u64, String> {
    let seconds = period(text)?;
    if !(1..=MAX_PERIOD_S).contains(&seconds) {
        return Err(format!(
            "\"{text}\" is out of range: expected 1 s to 100 years"
        ));
    }
    Ok(seconds)
}

/// A day, for people; programs get milliseconds.
pub(super) fn day(at: UnixMillis) -> String {
    let time = output::time(at);
    time.split('T').next().unwrap_or_default().to_owned()
}

/// Adds what is planned for a key, and since when it is what it is.
pub(super) fn describe(table: &mut Table, key: &ListedKey) {
    table.pair("created", day(key.created()));
    if key.birth().is_some() {
        table.pair("refreshed", day(key.dealt()));
    }
    let life = key.life();
    if let Some(at) = life.next_refresh(key.dealt()) {
        table.pair("refresh by", day(at));
    }
    if let Some(at) = life.planned_end(key.created()) {
        table.pair("rotate by", day(at));
    }
    if let Some(before) = &life.replaces {
        table.pair("replaces", format!("{} ({})", before.key, before.key_id));
    }
}

/// The same for programs.
pub(super) fn describe_json(key: &ListedKey) -> Value {
    let life = key.life();
    json!({
        "created_ms": key.created().0,
        "dealt_ms": key.dealt().0,
        "refresh_due_ms": life.next_refresh(key.dealt()).map(|at| at.0),
        "planned_end_ms": life.planned_end(key.created()).map(|at| at.0),
        "replaces": life.replaces.as_ref().map(|before| json!({
            "name": before.key,
            "id": before.key_id,
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_with_their_units_and_nothing_else() {
        for (text, seconds) in [
            ("60s", 60),
            ("24h", 86_400),
            ("365d", 31_536_000),
            ("2w", 1_209_600),
        ] {
            assert_eq!(period(text), Ok(seconds), "{text}");
        }
        for text in ["", "365", "d", "1y", "-1d", "1.5d", "99999999999999999999d"] {
            let error = period(text).unwrap_err();
            assert!(error.contains("use 365d"), "{error}");
        }
        assert!(period(&format!("{}w", u64::MAX)).is_err());
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(day(UnixMillis(0)), "1970-01-01");
        assert_eq!(day(UnixMillis(1_800_000_000_123)), "2027-01-15");
        assert_eq!(day(UnixMillis(u64::MAX)), format!("{} ms", u64::MAX));
    }
}
