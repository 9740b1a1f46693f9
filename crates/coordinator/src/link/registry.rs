//! One link per node.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quorate_model::NodeId;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, mpsc, oneshot};

use super::{LinkEvent, NodeLink, call::Client};

/// How many connections of one node may wait to be judged. One node that dials without end thus
/// leaves room for the others.
const MAX_WAITING: usize = 2;

/// Ends when the link that holds it is to be closed.
pub(super) type Replaced = oneshot::Receiver<()>;

/// What became of a connection that wants to be a link.
pub(super) enum Admission {
    /// It is the node's link.
    Admitted { generation: u64, replaced: Replaced },
    /// It does not say which process it leads to.
    Silent,
    /// Another process answers for the same node.
    Duplicate,
    /// Other connections of the same node wait already.
    Crowded,
}

struct Held {
    link: NodeLink,
    boot: [u8; 16],
    /// Dropped together with the entry, which ends [`Replaced`].
    _place: oneshot::Sender<()>,
}

/// The place of one node.
struct Slot {
    held: AsyncMutex<Option<Held>>,
    waiting: Semaphore,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            held: AsyncMutex::default(),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }
}

/// The links that are up. Grows with the nodes of the roster and no further, because only they
/// get here.
pub(super) struct Registry {
    slots: Mutex<BTreeMap<NodeId, Arc<Slot>>>,
    generations: AtomicU64,
    probe_timeout: Duration,
    events: mpsc::Sender<LinkEvent>,
}

impl Registry {
    pub(super) fn new(probe_timeout: Duration, events: mpsc::Sender<LinkEvent>) -> Self {
        Self {
            slots: Mutex::default(),
            generations: AtomicU64::new(0),
            probe_timeout,
            events,
        }
    }

    /// Makes a connection the link of its node, unless another process answers for the node. To be
    /// run to its end: a future that is dropped halfway may leave a link that nobody knows of.
    pub(super) async fn admit(&self, node: NodeId, client: Client) -> Admission {
        let slot = self.slot(&node);
        let Ok(_waiting) = slot.waiting.try_acquire() else {
            return Admission::Crowded;
        };
        let generation = self
            .generations
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        let link = NodeLink {
            node: node.clone(),
            generation,
            client,
        };
        let Some(status) = link.probe(self.probe_timeout).await else {
            return Admission::Silent;
        };
        // Held over the probe of the link before: connections of one node are judged one by one,
        // and its events are told in order.
        let mut held = slot.held.lock().await;
        if let Some(before) = held.as_ref() {
            if before.boot != status.boot && before.link.probe(self.probe_timeout).await.is_some() {
                self.tell(LinkEvent::Duplicate { node }).await;
                return Admission::Duplicate;
            }
            self.tell(LinkEvent::Down(node.clone(), before.link.generation))
                .await;
        }
        let (place, replaced) = oneshot::channel();
        *held = Some(Held {
            link: link.clone(),
            boot: status.boot,
            _place: place,
        });
        self.tell(LinkEvent::Up(node, link)).await;
        Admission::Admitted {
            generation,
            replaced,
        }
    }

    /// The connection of a link is over. Says so, unless another link took its place already.
    pub(super) async fn remove(&self, node: &NodeId, generation: u64) {
        let slot = self.slot(node);
        let mut held = slot.held.lock().await;
        if held
            .as_ref()
            .is_some_and(|held| held.link.generation == generation)
        {
            *held = None;
            self.tell(LinkEvent::Down(node.clone(), generation)).await;
        }
    }

    fn slot(&self, node: &NodeId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(node.clone()).or_default())
    }

    /// When nobody listens any more, the process is on its way down.
    async fn tell(&self, event: LinkEvent) {
        let _ = self.events.send(event).await;
    }
}
