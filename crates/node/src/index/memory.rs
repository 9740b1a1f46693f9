//! A store of rows in memory, for simulation and tests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{IndexError, LayeredIndex, Row, RowChange, RowStore, Table};

/// An index over [`MemoryRows`].
pub type MemoryIndex = LayeredIndex<MemoryRows>;

/// Rows in memory. Clones share them, so that they can outlive a simulated crash.
#[derive(Clone, Default)]
pub struct MemoryRows {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    sequence: u64,
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl MemoryRows {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes a row behind the back of the index, as damage or an intruder would.
    pub fn tamper(&self, change: RowChange) {
        self.state().change(change);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn change(&mut self, change: RowChange) {
        match change {
            RowChange::Put { table, key, value } => self.rows.insert((table, key), value),
            RowChange::Delete { table, key } => self.rows.remove(&(table, key)),
        };
    }
}

impl RowStore for MemoryRows {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.state().rows.get(&(table, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        table: Table,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, IndexError> {
        let state = self.state();
        let rows = state
            .rows
            .range((table, after.unwrap_or_default().to_vec())..)
            .take_while(|((row_table, _), _)| *row_table == table)
            .filter(|((_, key), _)| Some(key.as_slice()) != after)
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()));
        Ok(rows.collect())
    }

    fn write(&self, sequence: u64, changes: &[RowChange]) -> Result<(), IndexError> {
        let mut state = self.state();
        for change in changes {
            state.change(change.clone());
        }
        state.sequence = sequence;
        Ok(())
    }

    fn sequence(&self) -> Result<u64, IndexError> {
        Ok(self.state().sequence)
    }

    fn clear(&self) -> Result<(), IndexError> {
        *self.state() = State::default();
        Ok(())
    }
}
