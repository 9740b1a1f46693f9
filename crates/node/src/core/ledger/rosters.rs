//! The rosters that this node has followed (P3).

use quorate_model::{Digest, command::SignedCommand};
use serde::{Deserialize, Serialize};

use super::{put, row};
use crate::index::{Index, IndexError, RowChange, Table};

/// A roster that a command made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterRow {
    /// The sequence of its record.
    pub record: u64,
    /// The command.
    pub command: SignedCommand,
}

/// The row of a roster; none for those that were pinned with roster 1.
pub fn roster(index: &dyn Index, hash: &Digest) -> Result<Option<RosterRow>, IndexError> {
    row(index, Table::Rosters, hash.as_bytes())
}

/// The commands that made rosters, in the order in which they were followed.
pub fn rosters(index: &dyn Index) -> Result<Vec<SignedCommand>, IndexError> {
    let mut rows: Vec<RosterRow> = index
        .scan(Table::Rosters, None, usize::MAX)?
        .iter()
        .map(|(_, value)| quorate_model::wire::decode(value).map_err(|_| IndexError::MalformedRow))
        .collect::<Result<_, _>>()?;
    rows.sort_by_key(|row| row.record);
    Ok(rows.into_iter().map(|row| row.command).collect())
}

pub(super) fn followed(
    record: u64,
    hash: &Digest,
    command: &SignedCommand,
) -> Result<Vec<RowChange>, IndexError> {
    let row = RosterRow {
        record,
        command: command.clone(),
    };
    Ok(vec![put(Table::Rosters, hash.as_bytes().to_vec(), &row)?])
}
