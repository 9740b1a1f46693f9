//! What is planned for a key, as people say it and see it.

use std::collections::BTreeSet;

use clap::Args;
use quorate_client::{
    ListedKey,
    model::{
        KeyName, UnixMillis,
        address::Network,
        evacuation::Destination,
        life::{KeyLife, MAX_PERIOD_S},
    },
};
use quorate_intent::{EvmAddress, bitcoin_chain};
use serde_json::{Value, json};

use crate::output::{self, Table};

/// The main network of Solana, as CAIP-2 names it.
const SOLANA: &str = "5eykt4UsFv8P8NJdTREpY1vzqKqKvdp";

/// What can be planned for a key at its creation.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Periods {
    /// How long the key is to be used before another one takes its place: 365d, 52w or 24h
    #[arg(long, value_name = "TIME", value_parser = planned)]
    pub(super) cryptoperiod: Option<u64>,
    /// How often its shares are to be dealt again: 90d, 12w or 24h
    #[arg(long, value_name = "TIME", value_parser = planned)]
    pub(super) refresh_every: Option<u64>,
    /// Where it may move what it holds once it is deactivated or compromised, separated by commas:
    /// bitcoin:ADDRESS, ethereum:ADDRESS, solana:ADDRESS, or any account in the form of CAIP-10, as
    /// eip155:137:0x… Nothing widens it later
    #[arg(long, value_delimiter = ',', value_name = "ACCOUNTS", value_parser = account)]
    pub(super) evacuate_to: Vec<Destination>,
}

impl Periods {
    pub(super) fn life(&self) -> KeyLife {
        KeyLife {
            replaces: None,
            cryptoperiod_s: self.cryptoperiod,
            refresh_s: self.refresh_every,
            evacuation: self.destinations(),
        }
    }

    /// The destinations in the order that commands have them in.
    fn destinations(&self) -> Vec<Destination> {
        let each: BTreeSet<Destination> = self.evacuate_to.iter().cloned().collect();
        each.into_iter().collect()
    }
}

/// Reads an account in the form of CAIP-10, or behind the common name of a chain.
fn account(text: &str) -> Result<Destination, String> {
    let named = text
        .split_once(':')
        .filter(|(_, address)| !address.contains(':'));
    let full = match named {
        Some(("ethereum", address)) => format!("eip155:1:{address}"),
        Some(("solana", address)) => format!("solana:{SOLANA}:{address}"),
        Some((name, address)) => match name.parse::<Network>() {
            Ok(network) => format!("bip122:{}:{address}", bitcoin_chain(network)),
            Err(_) => text.to_owned(),
        },
        None => text.to_owned(),
    };
    let read = |full: &str| {
        full.parse::<Destination>()
            .map_err(|error| error.to_string())
    };
    let account = read(&full)?;
    // An account of EVM chains in lower case gets its checksum, which nodes insist on.
    match account.parts() {
        ("eip155", reference, address) => match address.parse::<EvmAddress>() {
            Ok(address) => read(&format!("eip155:{reference}:{address}")),
            Err(error) => Err(format!("\"{text}\": {error}")),
        },
        _ => Ok(account),
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

/// Adds what is planned for a key, and since when it is what it is. What nothing proves says whose
/// word it is.
pub(super) fn describe(table: &mut Table, key: &ListedKey, next: Option<&ListedKey>) {
    table.pair("created", day(key.created()));
    if let Some(at) = key.activated() {
        table.pair("activated", format!("{} (said by nodes)", day(at)));
    }
    if let Some(at) = key.last_used() {
        let at = output::time(at);
        table.pair("last used", format!("{at}, to the hour (said by nodes)"));
    }
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
    links(table, life);
    if let Some(next) = next {
        let (record, state) = (next.record(), next.state());
        let known = format!("{} ({}), {state}", record.name, record.id());
        table.pair("replaced by", known);
    }
}

fn links(table: &mut Table, life: &KeyLife) {
    if let Some(before) = &life.replaces {
        table.pair("replaces", format!("{} ({})", before.key, before.key_id));
    }
    for destination in &life.evacuation {
        table.pair("evacuated to", destination);
    }
}

/// What the command of a creation planned, for people.
pub(in crate::command) fn planned_rows(table: &mut Table, life: &KeyLife, created: UnixMillis) {
    table.pair("created", day(created));
    if let Some(seconds) = life.refresh_s {
        table.pair("refreshed every", format!("{seconds} s"));
    }
    if let Some(at) = life.planned_end(created) {
        table.pair("rotate by", day(at));
    }
    links(table, life);
}

/// The same for programs.
pub(in crate::command) fn planned_json(life: &KeyLife, created: UnixMillis) -> Value {
    json!({
        "created_ms": created.0,
        "refresh_s": life.refresh_s,
        "planned_end_ms": life.planned_end(created).map(|at| at.0),
        "replaces": predecessor_json(life),
        "evacuation_destinations": destinations_json(life),
    })
}

fn predecessor_json(life: &KeyLife) -> Value {
    let before = life.replaces.as_ref();
    before.map_or(
        Value::Null,
        |before| json!({ "name": before.key, "id": before.key_id }),
    )
}

fn destinations_json(life: &KeyLife) -> Vec<&str> {
    life.evacuation.iter().map(Destination::as_str).collect()
}

/// The destinations in which a slip of the pen is another account, which nobody may own.
pub(in crate::command) fn without_checksum(life: &KeyLife) -> impl Iterator<Item = String> + '_ {
    let of_solana = life.evacuation.iter();
    let of_solana = of_solana.filter(|to| to.parts().0 == "solana");
    of_solana.map(|to| {
        format!(
            "addresses of Solana have no checksum, and nobody changes this one later: compare every \
             character of {to} with what its owner says"
        )
    })
}

/// What becomes of what a key holds once its time is over.
pub(in crate::command) fn way_out(life: &KeyLife, name: &KeyName) -> String {
    if life.evacuation.is_empty() {
        return format!(
            "key \"{name}\" names no destinations: from then on nobody moves what it still holds, \
             and nothing undoes it"
        );
    }
    let to = destinations_json(life).join(", ");
    format!(
        "from then on what key \"{name}\" still holds goes to its pinned destinations alone, with \
         quorate sign ... --evacuate: {to}"
    )
}

/// The same for programs.
pub(super) fn describe_json(key: &ListedKey, next: Option<&ListedKey>) -> Value {
    let life = key.life();
    json!({
        "created_ms": key.created().0,
        "activated_ms": key.activated().map(|at| at.0),
        "last_used_ms": key.last_used().map(|at| at.0),
        "dealt_ms": key.dealt().0,
        "refresh_due_ms": life.next_refresh(key.dealt()).map(|at| at.0),
        "planned_end_ms": life.planned_end(key.created()).map(|at| at.0),
        "replaces": predecessor_json(life),
        "evacuation_destinations": destinations_json(life),
        "replaced_by": next.map(|next| json!({
            "name": next.record().name,
            "id": next.record().id(),
            "state": next.state().as_str(),
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
    fn accounts_are_read_by_the_names_of_chains_and_by_caip_10() {
        let lower = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed";
        let checked = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        let bitcoin = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq";
        let bip122 = format!("bip122:000000000019d6689c085ae165831e93:{bitcoin}");
        for (text, expected) in [
            (format!("ethereum:{lower}"), format!("eip155:1:{checked}")),
            (
                format!("eip155:137:{lower}"),
                format!("eip155:137:{checked}"),
            ),
            (format!("bitcoin:{bitcoin}"), bip122.clone()),
            (bip122.clone(), bip122),
        ] {
            assert_eq!(account(&text).unwrap().as_str(), expected, "{text}");
        }
        for text in ["", lower, "litecoin:abc", "ethereum:0x12"] {
            assert!(account(text).is_err(), "{text}");
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(day(UnixMillis(0)), "1970-01-01");
        assert_eq!(day(UnixMillis(1_800_000_000_123)), "2027-01-15");
        assert_eq!(day(UnixMillis(u64::MAX)), format!("{} ms", u64::MAX));
    }
}
