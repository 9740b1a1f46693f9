//! One coordinator: a process that comes and goes, its store, and its links to nodes.

use std::collections::BTreeMap;

use quorate_coordinator::core::{
    Action, Admitted, CallId, Core, CoreConfig, Event, Limits, Now, StoreItem,
};
use quorate_model::{
    CommandId, CoordinatorId, Digest, KeyId, KeyName, NodeId, operation::KeyView,
    roster::PinnedRoster,
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

/// How long a node that misbehaved is left out, in milliseconds: shorter than the run.
const PENALTY_MS: u64 = 5_000;

struct Process {
    core: Core,
    rng: ChaCha8Rng,
}

/// One coordinator.
pub(crate) struct Desk {
    id: CoordinatorId,
    process: Option<Process>,
    life: u32,
    stored: BTreeMap<StoreKey, StoreItem>,
    handles: BTreeMap<u64, usize>,
    next_handle: u64,
    calls: BTreeMap<CallId, Option<usize>>,
    /// The machine that stands behind each link.
    linked: BTreeMap<NodeId, usize>,
}

/// Where an item stands in the store: a later one under the same key takes its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum StoreKey {
    Command(CommandId),
    Key(String),
    Evidence(Vec<u8>),
    Roster(Digest),
    Use(KeyId),
    End(KeyId),
}

fn store_key(item: &StoreItem) -> StoreKey {
    match item {
        StoreItem::Command(command) => StoreKey::Command(command.view.id),
        StoreItem::Key(key) => StoreKey::Key(key.name.to_string()),
        StoreItem::Evidence(bytes) => StoreKey::Evidence(bytes.clone()),
        StoreItem::Roster(_, command) => StoreKey::Roster(command.digest()),
        StoreItem::Use(used) => StoreKey::Use(used.key_id),
        StoreItem::End(end) => StoreKey::End(end.key_id),
    }
}

impl Desk {
    /// An empty store and no process.
    pub(crate) fn new(id: CoordinatorId) -> Self {
        Self {
            id,
            process: None,
            life: 0,
            stored: BTreeMap::new(),
            handles: BTreeMap::new(),
            next_handle: 0,
            calls: BTreeMap::new(),
            linked: BTreeMap::new(),
        }
    }

    pub(crate) fn id(&self) -> &CoordinatorId {
        &self.id
    }

    pub(crate) fn life(&self) -> u32 {
        self.life
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Whether this run of the process is under way.
    pub(crate) fn lives(&self, life: u32) -> bool {
        self.is_up() && self.life == life
    }

    /// Starts the process over what its store holds.
    pub(crate) fn start(&mut self, pinned: &PinnedRoster, seed: u64) {
        self.life += 1;
        let config = CoreConfig {
            id: self.id.clone(),
            limits: Limits {
                penalty_ms: PENALTY_MS,
                ..Limits::default()
            },
        };
        let restored = self.stored.values().cloned().collect();
        self.process = Some(Process {
            core: Core::new(config, pinned.clone(), restored),
            rng: ChaCha8Rng::seed_from_u64(seed),
        });
    }

    /// Kills the process; answers with the operations that it owed an answer, none if it was down.
    pub(crate) fn crash(&mut self) -> Option<Vec<usize>> {
        self.process.take()?;
        self.calls.clear();
        self.linked.clear();
        Some(std::mem::take(&mut self.handles).into_values().collect())
    }

    /// Tells the process something; answers with what it wants done.
    pub(crate) fn tell(&mut self, now: Now, event: Event) -> Vec<Action> {
        match &mut self.process {
            Some(process) => process.core.handle(now, event, &mut process.rng),
            None => Vec::new(),
        }
    }

    /// The roster that the process goes by.
    pub(crate) fn pinned(&self) -> Option<&PinnedRoster> {
        Some(self.process.as_ref()?.core.pinned())
    }

    /// The key that a client is shown under a name.
    pub(crate) fn shows(&mut self, name: &KeyName) -> Option<KeyView> {
        self.process.as_mut()?.core.key(name)
    }

    /// Makes writes durable.
    pub(crate) fn store(&mut self, writes: Vec<StoreItem>) {
        for item in writes {
            self.stored.insert(store_key(&item), item);
        }
    }

    /// The store is lost.
    #[cfg(test)]
    pub(crate) fn lose_store(&mut self) {
        self.stored.clear();
    }

    /// The submission of an operation.
    pub(crate) fn submission(&mut self, operation: usize, command: Admitted) -> Event {
        let remembered = match self.stored.get(&StoreKey::Command(command.command().id)) {
            Some(StoreItem::Command(stored)) => Some(Box::new(stored.clone())),
            Some(
                StoreItem::Key(_)
                | StoreItem::Evidence(_)
                | StoreItem::Roster(..)
                | StoreItem::Use(_)
                | StoreItem::End(_),
            )
            | None => None,
        };
        let handle = self.next_handle;
        self.next_handle += 1;
        self.handles.insert(handle, operation);
        Event::Submit {
            handle,
            command,
            validate_only: false,
            remembered,
        }
    }

    /// The operation that an answer is for.
    pub(crate) fn answered(&mut self, handle: u64) -> Option<usize> {
        self.handles.remove(&handle)
    }

    /// Notes that a node was asked.
    pub(crate) fn called(&mut self, call: CallId, node: Option<usize>) {
        self.calls.insert(call, node);
    }

    /// Whether a call was still open; it no longer is.
    pub(crate) fn replied(&mut self, call: CallId) -> bool {
        self.calls.remove(&call).is_some()
    }

    /// A link came up.
    pub(crate) fn link(&mut self, node: NodeId, machine: usize) {
        self.linked.insert(node, machine);
    }

    /// The machine behind the link of a node.
    pub(crate) fn linked(&self, node: &NodeId) -> Option<usize> {
        self.linked.get(node).copied()
    }

    /// Whether a machine is heard.
    pub(crate) fn hears(&self, machine: usize) -> bool {
        self.linked.values().any(|at| *at == machine)
    }

    /// A link broke: everything that the node was asked is lost. None if there was none.
    pub(crate) fn unlink(&mut self, node: usize, id: NodeId) -> Option<Event> {
        self.calls.retain(|_, to| *to != Some(node));
        if self.linked.get(&id) != Some(&node) {
            return None;
        }
        self.linked.remove(&id);
        self.is_up().then_some(Event::LinkDown { node: id })
    }
}
