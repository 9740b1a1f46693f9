//! Reading the fields of generated messages: each problem names its field.

use prost_types::{Duration, Timestamp};
use quorate_model::{
    DerivationPath, Digest, PartyIndex, Reason, Refusal, Signature, UnixMillis, wire,
};
use serde::{Serialize, de::DeserializeOwned};

/// A field that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) field: &'static str,
    pub(crate) problem: String,
    pub(crate) reason: Reason,
}

impl Malformed {
    pub(crate) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self {
            field,
            problem: problem.into(),
            reason: Reason::RequestInvalid,
        }
    }

    fn too_large(field: &'static str, found: usize, limit: usize, what: &str) -> Self {
        Self {
            field,
            problem: format!("{found} {what}, expected at most {limit}"),
            reason: Reason::TooLarge,
        }
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        let Malformed {
            field,
            problem,
            reason,
        } = malformed;
        Self::new(reason, format!("{field}: {problem}"))
            .with("field", field)
            .with("problem", problem)
    }
}

/// A message that must be present.
pub(crate) fn present<T>(field: &'static str, value: Option<T>) -> Result<T, Malformed> {
    value.ok_or_else(|| Malformed::new(field, "missing"))
}

/// An array of exactly N bytes.
pub(crate) fn array<const N: usize>(
    field: &'static str,
    bytes: &[u8],
) -> Result<[u8; N], Malformed> {
    bytes
        .try_into()
        .map_err(|_| Malformed::new(field, format!("{} bytes, expected {N}", bytes.len())))
}

/// A digest.
pub(crate) fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, Malformed> {
    array(field, bytes).map(Digest::new)
}

/// An Ed25519 signature.
pub(crate) fn signature(field: &'static str, bytes: &[u8]) -> Result<Signature, Malformed> {
    array(field, bytes).map(Signature)
}

/// A name, without a collection in front.
pub(crate) fn name<T>(field: &'static str, text: String) -> Result<T, Malformed>
where
    T: TryFrom<String>,
    T::Error: std::fmt::Display,
{
    T::try_from(text).map_err(|error| Malformed::new(field, error.to_string()))
}

/// A value of a closed enum: zero and unknown numbers are refused.
pub(crate) fn known<W, M>(field: &'static str, number: i32) -> Result<M, Malformed>
where
    W: TryFrom<i32>,
    M: TryFrom<W>,
{
    W::try_from(number)
        .ok()
        .and_then(|value| M::try_from(value).ok())
        .ok_or_else(|| Malformed::new(field, format!("{number} is no known value")))
}

/// A number that fits a smaller type.
pub(crate) fn small<T: TryFrom<u32>>(field: &'static str, number: u32) -> Result<T, Malformed> {
    T::try_from(number).map_err(|_| Malformed::new(field, format!("{number} is too large")))
}

/// The index of a participant.
pub(crate) fn index(field: &'static str, number: u32) -> Result<PartyIndex, Malformed> {
    small(field, number)
        .ok()
        .and_then(PartyIndex::new)
        .ok_or_else(|| Malformed::new(field, format!("{number} is no index")))
}

/// The path of a child.
pub(crate) fn path(field: &'static str, steps: Vec<u32>) -> Result<DerivationPath, Malformed> {
    DerivationPath::new(steps).map_err(|error| Malformed::new(field, error.to_string()))
}

/// Bytes up to a limit.
pub(crate) fn bounded(
    field: &'static str,
    bytes: Vec<u8>,
    limit: usize,
) -> Result<Vec<u8>, Malformed> {
    if bytes.len() > limit {
        return Err(Malformed::too_large(field, bytes.len(), limit, "bytes"));
    }
    Ok(bytes)
}

/// A list up to a limit, each item converted.
pub(crate) fn list<W, M>(
    field: &'static str,
    items: Vec<W>,
    limit: usize,
    each: impl FnMut(W) -> Result<M, Malformed>,
) -> Result<Vec<M>, Malformed> {
    if items.len() > limit {
        return Err(Malformed::too_large(field, items.len(), limit, "items"));
    }
    items.into_iter().map(each).collect()
}

/// A structure in the storage encoding.
pub(crate) fn stored<T: DeserializeOwned>(
    field: &'static str,
    bytes: &[u8],
) -> Result<T, Malformed> {
    wire::decode(bytes).map_err(|error| Malformed::new(field, error.to_string()))
}

/// The storage encoding of a structure of ours.
pub(crate) fn store<T: Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    wire::encode(value).map_err(|error| Refusal::new(Reason::Invariant, error.to_string()))
}

/// A time in whole milliseconds.
pub(crate) fn time(field: &'static str, time: Option<Timestamp>) -> Result<UnixMillis, Malformed> {
    let Timestamp { seconds, nanos } = present(field, time)?;
    let wrong = || Malformed::new(field, "not a time after 1970 in whole milliseconds");
    let seconds = u64::try_from(seconds).map_err(|_| wrong())?;
    let nanos = u64::try_from(nanos).map_err(|_| wrong())?;
    if nanos >= 1_000_000_000 || !nanos.is_multiple_of(1_000_000) {
        return Err(wrong());
    }
    seconds
        .checked_mul(1000)
        .and_then(|millis| millis.checked_add(nanos / 1_000_000))
        .map(UnixMillis)
        .ok_or_else(wrong)
}

/// A time in whole milliseconds, if there is one.
pub(crate) fn optional_time(
    field: &'static str,
    wire: Option<Timestamp>,
) -> Result<Option<UnixMillis>, Malformed> {
    wire.map(|wire| time(field, Some(wire))).transpose()
}

/// The wire form of a time.
#[expect(
    clippy::cast_possible_wrap,
    reason = "u64::MAX / 1000 fits i64, and a remainder of 1000 in nanoseconds fits i32"
)]
pub(crate) const fn timestamp(time: UnixMillis) -> Timestamp {
    Timestamp {
        seconds: (time.0 / 1000) as i64,
        nanos: ((time.0 % 1000) as i32).saturating_mul(1_000_000),
    }
}

/// A duration in whole microseconds.
pub(crate) fn micros(field: &'static str, duration: Option<Duration>) -> Result<u64, Malformed> {
    let Duration { seconds, nanos } = duration.unwrap_or_default();
    let wrong = || Malformed::new(field, "not a duration in whole microseconds");
    let seconds = u64::try_from(seconds).map_err(|_| wrong())?;
    let nanos = u64::try_from(nanos).map_err(|_| wrong())?;
    if nanos >= 1_000_000_000 || !nanos.is_multiple_of(1000) {
        return Err(wrong());
    }
    seconds
        .checked_mul(1_000_000)
        .and_then(|micros| micros.checked_add(nanos / 1000))
        .ok_or_else(wrong)
}

/// The wire form of a duration in microseconds.
#[expect(
    clippy::cast_possible_wrap,
    reason = "u64::MAX / 1e6 fits i64, and a remainder of 1e6 in nanoseconds fits i32"
)]
pub(crate) const fn duration_of_micros(micros: u64) -> Duration {
    Duration {
        seconds: (micros / 1_000_000) as i64,
        nanos: ((micros % 1_000_000) as i32).saturating_mul(1000),
    }
}

/// A duration in whole seconds, if there is one.
pub(crate) fn seconds(
    field: &'static str,
    duration: Option<Duration>,
) -> Result<Option<u64>, Malformed> {
    let Some(Duration { seconds, nanos }) = duration else {
        return Ok(None);
    };
    u64::try_from(seconds)
        .ok()
        .filter(|_| nanos == 0)
        .map(Some)
        .ok_or_else(|| Malformed::new(field, "not a duration in whole seconds"))
}

/// The wire form of a duration in seconds.
pub(crate) fn duration_of_seconds(seconds: u64) -> Duration {
    Duration {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: 0,
    }
}
