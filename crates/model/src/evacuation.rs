//! Where a key may move what it holds once its time is over (P33).
//!
//! Destinations are pinned in the command that creates the key, so every holder has certified them
//! and nobody widens them afterwards: whoever has every admin in hand at the moment of a theft still
//! sends what moves nowhere else. What is left to take is the fee, which is bounded.

use std::{fmt, str::FromStr};

use crate::{
    command::Sign,
    refusal::{Reason, Refusal},
    standing::check_reason,
};

/// The most destinations of one key.
pub const MAX_DESTINATIONS: usize = 32;

/// The longest address, in bytes (CAIP-10).
const MAX_ADDRESS_BYTES: usize = 128;

/// An account on a chain in the form of CAIP-10: `namespace:reference:address`, as in
/// `eip155:1:0x…`. Whether there can be such an account is for whoever knows the chain to say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination(String);

/// A text that is no account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no account in the form of CAIP-10: expected namespace:reference:address, as in \
     eip155:1:0x… or bip122:000000000019d6689c085ae165831e93:bc1q…"
)]
pub struct InvalidDestination(pub String);

impl Destination {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts: namespace and reference, which together name the chain (CAIP-2), and the address.
    pub fn parts(&self) -> (&str, &str, &str) {
        let mut parts = self.0.splitn(3, ':');
        let mut next = || parts.next().unwrap_or_default();
        (next(), next(), next())
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Destination {
    type Err = InvalidDestination;
    fn from_str(text: &str) -> Result<Self, InvalidDestination> {
        let invalid = || {
            InvalidDestination(
                text.chars()
                    .take(200)
                    .flat_map(char::escape_debug)
                    .collect(),
            )
        };
        let parts: Vec<&str> = text.split(':').collect();
        let [namespace, reference, address] = parts.as_slice() else {
            return Err(invalid());
        };
        let holds = |part: &str, lengths: std::ops::RangeInclusive<usize>, more: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
            lengths.contains(&part.len()) && part.chars().all(fits)
        };
        let is_lower = !namespace.contains(|c: char| c.is_ascii_uppercase());
        let is_account = is_lower
            && holds(namespace, 3..=8, "-")
            && holds(reference, 1..=32, "-_")
            && holds(address, 1..=MAX_ADDRESS_BYTES, "-.%");
        if is_account {
            Ok(Self(text.to_owned()))
        } else {
            Err(invalid())
        }
    }
}

/// A request for signatures that move what a key holds to where its creation says. Only of a key
/// that is deactivated or reported as compromised, and only on the word of the admin quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evacuate {
    /// What is to be signed with which key.
    pub sign: Sign,
    /// Why, for people: 1 to [`MAX_REASON_BYTES`](crate::standing::MAX_REASON_BYTES) bytes without
    /// control characters.
    pub reason: String,
}

impl Evacuate {
    /// Checks what needs no state.
    ///
    /// # Errors
    ///
    /// [`Reason::RequestInvalid`] when the reason is empty, too long, or not printable on one line.
    pub fn check(&self) -> Result<(), Refusal> {
        check_reason("an evacuation", &self.reason)
    }
}

/// Why a payload of a key that may not be evacuated is refused: it signs as usual, or not at all.
pub(crate) fn not_retired(key: &crate::ids::KeyName, state: crate::key::KeyState) -> Refusal {
    Refusal::new(
        Reason::KeyNotRetired,
        format!(
            "key \"{key}\" is {state}: only a key that is deactivated or reported as compromised is \
             evacuated; one in use moves what it holds as usual, and a suspended one when it is resumed"
        ),
    )
    .with("key", key)
    .with("state", state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_in_the_form_of_caip_10_and_no_other() {
        for text in [
            "eip155:1:0xab16a96D359eC26a11e2C2b3d8f8B8942d5Bfcdb",
            "bip122:000000000019d6689c085ae165831e93:128Lkh3S7CkDTBZ8W7BbpsN3YYizJMp8p6",
            "solana:5eykt4UsFv8P8NJdTREpY1vzqKqKvdp:7S3P4HxJpyyigGzodYwHtCxZyUQe9JiBMHyRWXArAaKv",
        ] {
            let account: Destination = text.parse().unwrap();
            let (namespace, reference, address) = account.parts();
            assert_eq!(format!("{namespace}:{reference}:{address}"), text);
        }
        let long = format!("eip155:1:{}", "a".repeat(129));
        for text in [
            "",
            "eip155:1",
            "eip155:1:",
            ":1:0xab",
            "eip155::0xab",
            "EIP155:1:0xab",
            "eip155:1:0x ab",
            "eip155:1:0xab:more",
            "eip155:1:0xab\n",
            "ab:1:0xab",
            &long,
        ] {
            let error = text.parse::<Destination>().unwrap_err();
            assert!(error.to_string().contains("CAIP-10"), "{error}");
        }
    }
}
