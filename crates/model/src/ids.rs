//! Identifiers. Names are lower-case, `[a-z][a-z0-9-]{0,61}[a-z0-9]`, checked when they are made.

use std::{fmt, num::NonZeroU16, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bytes::{Digest, public_bytes};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not a name: use 2 to 63 of a-z, 0-9 and -, start with a letter, do not end with -"
)]
pub struct NameError {
    /// The text as given, cut to 80 characters.
    pub text: String,
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (2..=63).contains(&bytes.len())
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last().is_some_and(|last| *last != b'-')
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                if is_name(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { text: text.chars().take(80).collect() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    )*};
}

names! {
    /// A node of the roster.
    NodeId;
    /// A coordinator of the roster.
    CoordinatorId;
    /// A principal of the roster: one key of one person or service.
    PrincipalId;
    /// What people call a key. Two commands can give one name to two keys: see [`KeyId`].
    KeyName;
}

/// The id of a cluster: the hash of its first roster (P3).
pub type ClusterId = Digest;

/// The idempotency key of a command (P8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandId(pub Uuid);

impl CommandId {
    /// The id of so many random bits: a UUID of version 4.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The number of a sharing of a key; the first certified sharing of a key creates it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The index of a participant, 1..=n, from the key record and never from the wire (P5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartyIndex(NonZeroU16);

impl PartyIndex {
    /// Takes an index; zero has no party.
    pub fn new(index: u16) -> Option<Self> {
        NonZeroU16::new(index).map(Self)
    }

    /// The index as a number.
    pub const fn number(self) -> u16 {
        self.0.get()
    }

    /// The indices 1..=count in order.
    pub fn first(count: u16) -> impl Iterator<Item = Self> {
        (1..=count).filter_map(Self::new)
    }
}

impl fmt::Display for PartyIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

public_bytes! {
    /// The random id of one signing ticket (P23), 16 bytes.
    TicketId, 16
}

public_bytes! {
    /// The id of a key: the digest of the command that creates it, 32 bytes. One id stands for one
    /// group key for ever (I4); a name is an alias of it.
    KeyId, 32
}

impl KeyId {
    /// The id of the key that a command creates.
    pub const fn of(creation: &Digest) -> Self {
        Self(*creation.as_bytes())
    }
}

/// Why a text is not the id of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a key is 32 bytes: expected 64 hex digits")]
pub struct KeyIdError;

impl FromStr for KeyId {
    type Err = KeyIdError;
    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let digest = Digest::from_hex(text).ok_or(KeyIdError)?;
        Ok(Self::of(&digest))
    }
}

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This time moved forward, saturating.
    #[must_use]
    pub const fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The milliseconds from `earlier` to this time, zero if it is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The distance between two times in milliseconds.
    pub const fn distance(self, other: Self) -> u64 {
        self.0.abs_diff(other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_pattern_are_refused_with_the_rule() {
        for text in [
            "",
            "a",
            "A1",
            "1a",
            "a-",
            "a_b",
            "über",
            &"a".repeat(64),
            "a/b",
            "a b",
        ] {
            let error = text.parse::<KeyName>().unwrap_err();
            assert!(error.to_string().contains("2 to 63"), "{text}");
        }
        for text in ["aa", "demo-taproot", "a0", &"a".repeat(63)] {
            assert_eq!(text.parse::<KeyName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn the_id_of_a_key_is_64_hex_digits() {
        let id = KeyId::of(&Digest::new([0xab; 32]));

        assert_eq!("ab".repeat(32).parse(), Ok(id));
        assert_eq!("AB".repeat(32).parse(), Ok(id));
        assert_eq!(id.to_string(), "ab".repeat(32));
        for text in ["", "ab", &"ab".repeat(33), &"xy".repeat(32)] {
            assert_eq!(text.parse::<KeyId>(), Err(KeyIdError), "{text}");
        }
    }

    #[test]
    fn there_is_no_party_zero() {
        assert!(PartyIndex::new(0).is_none());
        assert_eq!(
            PartyIndex::first(3)
                .map(PartyIndex::number)
                .collect::<Vec<_>>(),
            [1, 2, 3]
        );
    }
}
