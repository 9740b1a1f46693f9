//! A store that forgets everything with its process; for tests and the simulator.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use quorate_model::{
    KeyId, KeyName,
    command::SignedCommand,
    ids::{CommandId, UnixMillis},
};

use super::{CoordinatorStore, Place, StoreError};
use crate::core::{StoreItem, StoredCommand, StoredEnd, StoredKey, StoredUse};

#[derive(Default)]
struct Rows {
    keys: BTreeMap<KeyName, StoredKey>,
    commands: BTreeMap<CommandId, StoredCommand>,
    evidence: Vec<Vec<u8>>,
    rosters: BTreeMap<u32, SignedCommand>,
    uses: BTreeMap<KeyId, StoredUse>,
    ends: BTreeMap<KeyId, StoredEnd>,
}

/// A store in memory.
#[derive(Default)]
pub struct MemoryStore(Mutex<Rows>);

impl MemoryStore {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CoordinatorStore for MemoryStore {
    fn load(&self) -> Result<Vec<StoreItem>, StoreError> {
        let rows = self.rows();
        let keys = rows.keys.values().cloned().map(StoreItem::Key);
        Ok(keys
            .chain(rows.evidence.iter().cloned().map(StoreItem::Evidence))
            .chain(
                rows.rosters
                    .iter()
                    .map(|(at, command)| StoreItem::Roster(*at, command.clone())),
            )
            .chain(rows.uses.values().copied().map(StoreItem::Use))
            .chain(rows.ends.values().cloned().map(StoreItem::End))
            .collect())
    }

    fn apply(&self, writes: &[StoreItem]) -> Result<(), StoreError> {
        let mut rows = self.rows();
        for write in writes.iter().cloned() {
            match write {
                StoreItem::Key(key) => {
                    rows.keys.insert(key.name.clone(), key);
                }
                StoreItem::Command(command) => {
                    rows.commands.insert(command.view.id, command);
                }
                StoreItem::Evidence(evidence) => {
                    if !rows.evidence.contains(&evidence) {
                        rows.evidence.push(evidence);
                    }
                }
                StoreItem::Roster(at, command) => {
                    rows.rosters.insert(at, command);
                }
                StoreItem::Use(used) => {
                    rows.uses.insert(used.key_id, used);
                }
                StoreItem::End(end) => {
                    rows.ends.insert(end.key_id, end);
                }
            }
        }
        Ok(())
    }

    fn command(&self, id: CommandId) -> Result<Option<StoredCommand>, StoreError> {
        Ok(self.rows().commands.get(&id).cloned())
    }

    fn commands(
        &self,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<StoredCommand>, StoreError> {
        let rows = self.rows();
        let mut found: Vec<&StoredCommand> = rows
            .commands
            .values()
            .filter(|command| after.is_none_or(|after| Place::of(&command.view) < after))
            .collect();
        found.sort_by_key(|command| std::cmp::Reverse(Place::of(&command.view)));
        Ok(found.into_iter().take(limit).cloned().collect())
    }

    fn prune(&self, now: UnixMillis, at_most: usize) -> Result<usize, StoreError> {
        let mut rows = self.rows();
        let mut over: Vec<(UnixMillis, CommandId)> = rows
            .commands
            .iter()
            .filter(|(_, command)| command.forget < now)
            .map(|(id, command)| (command.forget, *id))
            .collect();
        over.sort_unstable();
        over.truncate(at_most);
        for (_, id) in &over {
            rows.commands.remove(id);
        }
        Ok(over.len())
    }
}
