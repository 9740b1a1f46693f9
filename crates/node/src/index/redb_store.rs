//! The store of rows on a real disk: redb, kept at arm's length.
//!
//! Its memory is bounded by a cache of pages, however many rows it holds. Its rows are compared with
//! the journal at every start, every call is guarded against a panic, and whatever goes wrong while
//! it is opened ends with its directory deleted and made anew.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use redb::{Database, ReadableDatabase, TableDefinition};

use super::{IndexError, IndexKey, LayeredIndex, Row, RowChange, RowStore, StoreImage, Table};

/// An index over [`RedbRows`].
pub type RedbIndex = LayeredIndex<RedbRows>;

/// The one file in the store's directory.
const FILE: &str = "rows.redb";

/// All rows of all tables: the table's number and the row's key, and the row's value.
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

/// The key of the store's own row: the sequence of the last write.
const SEQUENCE: &[u8] = &[0];

/// The most memory that pages of the store take, in bytes.
const CACHE: usize = 16 * 1024 * 1024;

/// Rows in redb.
pub struct RedbRows {
    db: Database,
}

impl RedbIndex {
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
        Self::open(RedbRows::open(path)?, secret)
    }
}

fn remove(path: &Path) -> Result<(), IndexError> {
    let result = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    result.map_err(|source| cannot_replace(path, source))
}

fn cannot_replace(path: &Path, source: io::Error) -> IndexError {
    IndexError::Replace {
        path: path.display().to_string(),
        source,
    }
}

impl RedbRows {
    /// Opens the file in a directory, and checks the checksum of every page: of a file that was
    /// altered since it was written no row is read.
    fn open(path: &Path) -> Result<Self, IndexError> {
        fs::create_dir_all(path).map_err(|source| cannot_replace(path, source))?;
        let rows = guard(|| {
            let db = Database::builder()
                .set_cache_size(CACHE)
                .set_check_integrity_on_open(true)
                .create(path.join(FILE))?;
            Ok(Self { db })
        })?;
        // Readers find the table from here on.
        rows.change(|_| Ok(()))?;
        Ok(rows)
    }

    /// Changes rows, all or nothing.
    fn change(
        &self,
        changes: impl FnOnce(&mut redb::Table<'_, &[u8], &[u8]>) -> Result<(), redb::Error>,
    ) -> Result<(), IndexError> {
        guard(|| {
            let transaction = self.db.begin_write()?;
            changes(&mut transaction.open_table(ROWS)?)?;
            Ok(transaction.commit()?)
        })
    }

    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        guard(|| {
            let table = self.db.begin_read()?.open_table(ROWS)?;
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        })
    }
}

/// Runs a call of redb; a panic of it is an error like any other.
fn guard<T>(call: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, IndexError> {
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

impl RowStore for RedbRows {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.row(&row_key(table, key))
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
        let end = [table.number().saturating_add(1)];
        guard(|| {
            let rows = self.db.begin_read()?.open_table(ROWS)?;
            rows.range(start.as_slice()..end.as_slice())?
                .take(limit)
                .map(|row| {
                    let (key, value) = row?;
                    let key = key.value().get(1..).unwrap_or_default().to_vec();
                    Ok((key, value.value().to_vec()))
                })
                .collect()
        })
    }

    fn write(&self, sequence: u64, changes: &[RowChange]) -> Result<(), IndexError> {
        self.change(|rows| {
            for change in changes {
                match change {
                    RowChange::Put { table, key, value } => {
                        rows.insert(row_key(*table, key).as_slice(), value.as_slice())?;
                    }
                    RowChange::Delete { table, key } => {
                        rows.remove(row_key(*table, key).as_slice())?;
                    }
                }
            }
            rows.insert(SEQUENCE, sequence.to_be_bytes().as_slice())?;
            Ok(())
        })
    }

    fn sequence(&self) -> Result<u64, IndexError> {
        let Some(bytes) = self.row(SEQUENCE)? else {
            return Ok(0);
        };
        let bytes = <[u8; 8]>::try_from(&*bytes).map_err(|_| IndexError::MalformedRow)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn clear(&self) -> Result<(), IndexError> {
        guard(|| {
            let transaction = self.db.begin_write()?;
            transaction.delete_table(ROWS)?;
            transaction.open_table(ROWS)?;
            Ok(transaction.commit()?)
        })
    }
}
