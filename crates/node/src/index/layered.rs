//! An index over any store of rows: recent changes in memory, settled ones in the store.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use quorate_model::Digest;

use super::{Index, IndexError, IndexKey, IndexPosition, Row, RowChange, Table, digest::RowSet};
use crate::journal::Durable;

/// Where the settled rows of an index are kept.
pub trait RowStore: Send + Sync {
    /// The value of a row.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;

    /// Rows of a table in order of their keys, after a key.
    fn scan(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, IndexError>;

    /// Applies changes and remembers the sequence, all or nothing.
    fn write(&self, sequence: u64, changes: &[RowChange]) -> Result<(), IndexError>;

    /// The sequence of the last write, zero if there was none.
    fn sequence(&self) -> Result<u64, IndexError>;

    /// Drops everything.
    fn clear(&self) -> Result<(), IndexError>;
}

/// What the store held when the index was opened. No row of it may be believed before
/// [`Reconciler`](super::Reconciler) has compared it with the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreImage {
    /// The sequence that it says it is at.
    pub sequence: u64,
    /// The digest over the rows that it holds.
    pub digest: Digest,
}

type RowId = (Table, Vec<u8>);
type Layer = BTreeMap<RowId, Option<Vec<u8>>>;

/// An index over a store.
pub struct LayeredIndex<S> {
    store: S,
    secret: IndexKey,
    layers: RwLock<Layers>,
    /// Held while the store is written, so that two writes do not cross.
    writing: Mutex<()>,
}

struct Layers {
    recent: Layer,
    frozen: Option<(u64, Layer)>,
    sequence: u64,
    rows: RowSet,
}

impl<S: RowStore> LayeredIndex<S> {
    /// Opens an index over a store and hashes every row of it.
    pub fn open(store: S, secret: IndexKey) -> Result<(Self, StoreImage), IndexError> {
        let mut rows = RowSet::default();
        for table in Table::ALL {
            let mut after: Option<Vec<u8>> = None;
            loop {
                let page = store.scan(table, after.as_deref(), PAGE)?;
                for (key, value) in &page {
                    rows.insert(&secret, table, key, value);
                }
                match page.into_iter().last() {
                    Some((key, _)) => after = Some(key),
                    None => break,
                }
            }
        }
        let sequence = store.sequence()?;
        let image = StoreImage {
            sequence,
            digest: rows.digest(&secret),
        };
        let layers = Layers {
            recent: Layer::new(),
            frozen: None,
            sequence,
            rows,
        };
        let index = Self {
            store,
            secret,
            layers: RwLock::new(layers),
            writing: Mutex::new(()),
        };
        Ok((index, image))
    }

    fn read(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Layers> {
        self.layers.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn value(&self, layers: &Layers, id: &RowId) -> Result<Option<Vec<u8>>, IndexError> {
        match layers.in_memory(id) {
            Some(value) => Ok(value.clone()),
            None => self.store.get(id.0, &id.1),
        }
    }
}

/// How many rows are read from a store at a time.
const PAGE: usize = 256;

impl Layers {
    /// The value that the layers in memory give a row, if they say anything of it.
    fn in_memory(&self, id: &RowId) -> Option<&Option<Vec<u8>>> {
        self.recent
            .get(id)
            .or_else(|| self.frozen.as_ref().and_then(|(_, layer)| layer.get(id)))
    }

    fn position(&self, secret: &IndexKey) -> IndexPosition {
        IndexPosition {
            sequence: self.sequence,
            digest: self.rows.digest(secret),
        }
    }

    /// What the layers in memory say of the rows of a table after a key.
    fn overlay(&self, table: Table, after: Option<&[u8]>) -> BTreeMap<&[u8], Option<&[u8]>> {
        let start = match after {
            Some(key) => Bound::Excluded((table, key.to_vec())),
            None => Bound::Included((table, Vec::new())),
        };
        let mut overlay = BTreeMap::new();
        let frozen = self.frozen.as_ref().map(|(_, layer)| layer);
        for layer in frozen.into_iter().chain([&self.recent]) {
            let range = layer
                .range((start.clone(), Bound::Unbounded))
                .take_while(|((row_table, _), _)| *row_table == table);
            for ((_, key), value) in range {
                overlay.insert(key.as_slice(), value.as_deref());
            }
        }
        overlay
    }
}

impl<S: RowStore> Index for LayeredIndex<S> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.value(&self.read(), &(table, key.to_vec()))
    }

    fn scan(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, IndexError> {
        let layers = self.read();
        let mut overlay = layers.overlay(table, after).into_iter().peekable();
        let mut rows: Vec<Row> = Vec::new();
        let mut stored_after = after.map(<[u8]>::to_vec);
        let mut stored = Vec::new().into_iter();
        let mut next_stored: Option<Row> = None;
        let mut exhausted = false;
        while rows.len() < limit {
            if next_stored.is_none() && !exhausted {
                next_stored = stored.next();
                if next_stored.is_none() {
                    let wanted = limit.saturating_sub(rows.len()).clamp(1, PAGE);
                    let page = self.store.scan(table, stored_after.as_deref(), wanted)?;
                    exhausted = page.is_empty();
                    stored_after = page.last().map(|(key, _)| key.clone()).or(stored_after);
                    stored = page.into_iter();
                    continue;
                }
            }
            let from_memory = match (overlay.peek(), &next_stored) {
                (None, None) => break,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some((key, _)), Some((stored_key, _))) => {
                    if *key == stored_key.as_slice() {
                        next_stored = None;
                        true
                    } else {
                        *key < stored_key.as_slice()
                    }
                }
            };
            if from_memory {
                if let Some((key, Some(value))) = overlay.next() {
                    rows.push((key.to_vec(), value.to_vec()));
                }
            } else {
                rows.extend(next_stored.take());
            }
        }
        Ok(rows)
    }

    fn apply(&self, sequence: u64, changes: Vec<RowChange>) -> Result<(), IndexError> {
        let mut layers = self.change();
        let expected = layers.sequence.saturating_add(1);
        if sequence != expected {
            return Err(IndexError::OutOfOrder {
                expected,
                found: sequence,
            });
        }
        // Everything that can fail comes first, on copies. A row that changes twice counts as it
        // stood after the first change.
        let mut rows = layers.rows;
        let mut new = Layer::new();
        for change in changes {
            let (id, value) = match change {
                RowChange::Put { table, key, value } => ((table, key), Some(value)),
                RowChange::Delete { table, key } => ((table, key), None),
            };
            let old = match new.get(&id) {
                Some(value) => value.clone(),
                None => self.value(&layers, &id)?,
            };
            if let Some(old) = old {
                rows.remove(&self.secret, id.0, &id.1, &old);
            }
            if let Some(value) = &value {
                rows.insert(&self.secret, id.0, &id.1, value);
            }
            new.insert(id, value);
        }
        layers.rows = rows;
        layers.sequence = sequence;
        layers.recent.extend(new);
        Ok(())
    }

    fn position(&self) -> IndexPosition {
        self.read().position(&self.secret)
    }

    fn freeze(&self) -> IndexPosition {
        let mut layers = self.change();
        if layers.frozen.is_none() {
            let recent = std::mem::take(&mut layers.recent);
            layers.frozen = Some((layers.sequence, recent));
        }
        layers.position(&self.secret)
    }

    fn settle(&self, durable: &Durable) -> Result<bool, IndexError> {
        let _writing = self.writing();
        let changes: Vec<RowChange>;
        let sequence;
        {
            let layers = self.read();
            let Some((frozen_at, layer)) = &layers.frozen else {
                return Ok(false);
            };
            if durable.sequence() <= *frozen_at {
                return Ok(false);
            }
            sequence = *frozen_at;
            changes = layer
                .iter()
                .map(|((table, key), value)| {
                    let (table, key) = (*table, key.clone());
                    match value.clone() {
                        Some(value) => RowChange::Put { table, key, value },
                        None => RowChange::Delete { table, key },
                    }
                })
                .collect();
        }
        // Readers go on meanwhile: they see the same values in the frozen layer.
        self.store.write(sequence, &changes)?;
        self.change().frozen = None;
        Ok(true)
    }

    fn clear(&self) -> Result<(), IndexError> {
        let _writing = self.writing();
        self.store.clear()?;
        let mut layers = self.change();
        *layers = Layers {
            recent: Layer::new(),
            frozen: None,
            sequence: 0,
            rows: RowSet::default(),
        };
        Ok(())
    }
}
