//! The store of rows on a real disk: sled, kept at arm's length.
//!
//! sled 0.34 may lose acknowledged rows, and panics over damaged files. So its rows are compared
//! with the journal at every start, every call is guarded against a panic, and whatever goes wrong
//! while it is opened ends with its directory deleted and made anew.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use super::{IndexError, IndexKey, LayeredIndex, Row, RowChange, RowStore, StoreImage, Table};

/// An index over [`SledRows`].
pub type SledIndex = LayeredIndex<SledRows>;

/// The key of the store's own row: the sequence of the last write.
const SEQUENCE: &[u8] = &[0];

/// The size of the store's cache as the store counts it, in bytes. What it holds takes several times
/// as much memory.
const CACHE: u64 = 8 * 1024 * 1024;

/// Rows in sled.
pub struct SledRows {
    db: sled::Db,
}

impl SledIndex {
    /// Opens the index in a directory. If that fails in any way, the directory is deleted and an
    /// empty index is made; the last part of the answer is then why.
    pub fn open_directory(
        path: &Path,
        secret: &dyn Fn() -> IndexKey,
    ) -> Result<(Self, StoreImage, Option<IndexError>), IndexError> {
        match Self::try_directory(path, secret()) {
            Ok((index, image)) => Ok((index, image, None)),
            Err(reason) => {
                remove(path)?;
                let (index, image) = Self::try_directory(path, secret())?;
                Ok((index, image, Some(reason)))
            }
        }
    }

    fn try_directory(path: &Path, secret: IndexKey) -> Result<(Self, StoreImage), IndexError> {
        Self::open(SledRows::open(path)?, secret)
    }
}

fn remove(path: &Path) -> Result<(), IndexError> {
    let result = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    result.map_err(|source| IndexError::Replace {
        path: path.display().to_string(),
        source,
    })
}

impl SledRows {
    fn open(path: &Path) -> Result<Self, IndexError> {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE)
            .flush_every_ms(None)
            .mode(sled::Mode::HighThroughput);
        guard(|| config.open()).map(|db| Self { db })
    }
}

/// Runs a call of sled; a panic of it is an error like any other.
fn guard<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| IndexError::Store(Box::new(error))),
        Err(_) => Err(IndexError::Damaged),
    }
}

fn row_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len().saturating_add(1));
    bytes.push(table.number());
    bytes.extend_from_slice(key);
    bytes
}

impl RowStore for SledRows {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let value = guard(|| self.db.get(row_key(table, key)))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, IndexError> {
        let mut start = row_key(table, after.unwrap_or_default());
        if after.is_some() {
            // The least key that is greater.
            start.push(0);
        }
        let end = vec![table.number().saturating_add(1)];
        guard(|| {
            self.db
                .range(start..end)
                .take(limit)
                .map(|row| {
                    let (key, value) = row?;
                    Ok((key.get(1..).unwrap_or_default().to_vec(), value.to_vec()))
                })
                .collect()
        })
    }

    fn write(&self, sequence: u64, changes: &[RowChange]) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        for change in changes {
            match change {
                RowChange::Put { table, key, value } => {
                    batch.insert(row_key(*table, key), value.as_slice());
                }
                RowChange::Delete { table, key } => batch.remove(row_key(*table, key)),
            }
        }
        batch.insert(SEQUENCE, &sequence.to_be_bytes());
        guard(|| {
            self.db.apply_batch(batch)?;
            self.db.flush().map(drop)
        })
    }

    fn sequence(&self) -> Result<u64, IndexError> {
        let Some(bytes) = guard(|| self.db.get(SEQUENCE))? else {
            return Ok(0);
        };
        let bytes = <[u8; 8]>::try_from(&*bytes).map_err(|_| IndexError::MalformedRow)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn clear(&self) -> Result<(), IndexError> {
        guard(|| self.db.clear())?;
        guard(|| self.db.flush().map(drop))
    }
}
