//! How many backups hold shares of a key (P34): whoever destroys it is to know.

use quorate_model::KeyName;

use super::{put, row};
use crate::index::{Index, IndexError, RowChange, Table};

const ALL: &[u8] = b"backups";

/// How many backups there were when a key had its first share here.
fn before(key: &KeyName) -> Vec<u8> {
    [b"backups before/", key.as_str().as_bytes()].concat()
}

fn all(index: &dyn Index) -> Result<u32, IndexError> {
    Ok(row(index, Table::Meta, ALL)?.unwrap_or_default())
}

/// How many backups this node has made since it had its first share of a key.
pub fn backups_of(index: &dyn Index, key: &KeyName) -> Result<u32, IndexError> {
    let earlier: Option<u32> = row(index, Table::Meta, &before(key))?;
    Ok(all(index)?.saturating_sub(earlier.unwrap_or_default()))
}

/// One more backup is made.
pub(super) fn made(index: &dyn Index) -> Result<Vec<RowChange>, IndexError> {
    let count = all(index)?.saturating_add(1);
    Ok(vec![put(Table::Meta, ALL.to_vec(), &count)?])
}

/// A key has a share: earlier backups hold none of it.
pub(super) fn first_share(index: &dyn Index, key: &KeyName) -> Result<Vec<RowChange>, IndexError> {
    let known = row::<u32>(index, Table::Meta, &before(key))?.is_some();
    let count = all(index)?;
    // No row stands for none, so that it need not be written for every key.
    let held = super::key(index, key)?.is_some_and(|row| row.prepared_to.0 > 0);
    if known || held || count == 0 {
        return Ok(Vec::new());
    }
    Ok(vec![put(Table::Meta, before(key), &count)?])
}
