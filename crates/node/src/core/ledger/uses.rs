//! When keys were put in use, and when they were last used.

use quorate_model::{
    KeyName, UnixMillis,
    audit::{SharePurpose, ShareReleased},
    command::REMEMBER_MARGIN_MS,
    life::USE_STEP_MS,
};
use serde::{Deserialize, Serialize};

use super::{Mark, bind_id, put, row};
use crate::index::{Index, IndexError, RowChange, Table};

/// When a key was put in use and last used, by the times of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseRow {
    /// When every share of its birth had been proven here.
    pub activated: Option<UnixMillis>,
    /// When shares for a signature left. What left within the hour after it changes nothing.
    pub used: Option<UnixMillis>,
}

/// When a key was put in use and last used.
pub fn uses(index: &dyn Index, name: &KeyName) -> Result<UseRow, IndexError> {
    let row = row(index, Table::Uses, name.as_str().as_bytes())?;
    Ok(row.unwrap_or_default())
}

/// What the first record that puts a key in use changes. Later epochs change nothing.
pub(super) fn activated(
    index: &dyn Index,
    time: UnixMillis,
    name: &KeyName,
) -> Result<Option<RowChange>, IndexError> {
    let before = uses(index, name)?;
    if before.activated.is_some() {
        return Ok(None);
    }
    let activated = Some(time);
    change(
        name,
        UseRow {
            activated,
            ..before
        },
    )
    .map(Some)
}

/// What a record of shares that may leave changes: what is known of its command, and seldom the last
/// use of its key, because there is such a record for every signature. A proof of possession is no
/// use.
pub(super) fn released(
    index: &dyn Index,
    time: UnixMillis,
    released: &ShareReleased,
) -> Result<Vec<RowChange>, IndexError> {
    let is_use = released.purpose == SharePurpose::Sign;
    let forget = released.expires.plus(REMEMBER_MARGIN_MS);
    let (id, digest) = (released.judgment.command_id, released.judgment.command);
    let mark = Mark::Released(u32::from(is_use));
    let mut changes = bind_id(index, id, digest, forget, mark)?;
    if is_use {
        changes.extend(used(index, time, &released.key)?);
    }
    Ok(changes)
}

fn used(
    index: &dyn Index,
    time: UnixMillis,
    name: &KeyName,
) -> Result<Option<RowChange>, IndexError> {
    let before = uses(index, name)?;
    let is_told = |used: UnixMillis| time < used.plus(USE_STEP_MS);
    if before.used.is_some_and(is_told) {
        return Ok(None);
    }
    let used = Some(time);
    change(name, UseRow { used, ..before }).map(Some)
}

fn change(name: &KeyName, row: UseRow) -> Result<RowChange, IndexError> {
    put(Table::Uses, name.as_str().as_bytes().to_vec(), &row)
}
