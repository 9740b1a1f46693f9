//! The shell around the core: one thread runs it, everything else sends it messages.
//!
//! ```text
//!  services ─┐                        ┌─► tasks that call nodes ──┐
//!  links ────┼─► inputs ─► core thread┼─► store thread ───────────┼─► inputs
//!  clock ────┘                        └─► answers, watchers       │
//! ```
//!
//! The thread takes whatever waits in one go, so that requests of one moment share calls and writes
//! of one moment share a sync.

mod driver;
mod watchers;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use quorate_model::{
    NodeId, Reason, Refusal, command::Endorsement, ids::CommandId, operation::CommandView,
    roster::PinnedRoster,
};
use tokio::sync::{oneshot, watch};

use crate::{
    core::{Admitted, Core, CoreConfig, Event, Handle, StoredCommand},
    link::{LinkEvent, NodeLink},
    store::{CoordinatorStore, StoreError, StoreWriter},
    telemetry::Health,
};

pub use watchers::Watching;
pub(crate) use watchers::is_last;

use driver::Driver;
use watchers::Watchers;

/// Something for the core thread.
enum Input {
    Event(Box<Event>),
    Link(LinkEvent),
    Query(Box<dyn FnOnce(&mut Core) + Send>),
    Stop,
}

type Answer = Result<Arc<CommandView>, Refusal>;

/// What the thread and the services share.
struct Shared {
    answers: Mutex<BTreeMap<Handle, oneshot::Sender<Answer>>>,
    watchers: Watchers,
    links: Mutex<BTreeMap<NodeId, NodeLink>>,
    pinned: RwLock<Arc<PinnedRoster>>,
    health: Health,
}

impl Shared {
    fn go_by(&self, pinned: Arc<PinnedRoster>) {
        *self.pinned.write().unwrap_or_else(PoisonError::into_inner) = pinned;
    }
}

/// Tells which roster is in force, whenever it is asked.
pub type Rosters = Arc<dyn Fn() -> Arc<PinnedRoster> + Send + Sync>;

/// Locks a mutex whose holders do not leave it half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The core as the rest of the process uses it; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inputs: Sender<Input>,
    shared: Arc<Shared>,
    store: Arc<dyn CoordinatorStore>,
    next_handle: Arc<AtomicU64>,
}

/// The thread that runs the core.
pub struct EngineThread {
    inputs: Sender<Input>,
    thread: Option<JoinHandle<()>>,
    /// Becomes true when the store fails: nothing can be answered any more.
    pub failed: watch::Receiver<bool>,
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be read.
    #[error("read the store")]
    Store(#[from] StoreError),
    /// The system gives no thread.
    #[error("start a thread")]
    Thread(#[from] std::io::Error),
}

/// Starts the core with what the store holds.
///
/// # Errors
///
/// When the store cannot be read or the system gives no thread.
pub fn start(
    config: CoreConfig,
    pinned: PinnedRoster,
    store: Arc<dyn CoordinatorStore>,
    health: Health,
) -> Result<(Engine, EngineThread), StartError> {
    let restored = store.load()?;
    let (inputs, waiting) = channel();
    let (fail, failed) = watch::channel(false);
    let reports = inputs.clone();
    let writer = StoreWriter::start(Arc::clone(&store), move |result| match result {
        // Nobody listens any more when the process is going down anyway.
        Ok(batch) => drop(reports.send(Input::Event(Box::new(Event::Stored { batch })))),
        Err(error) => {
            tracing::error!(reason = %chain(&error), "the store failed");
            fail.send_replace(true);
        }
    })?;
    let core = Core::new(config, pinned, restored);
    let shared = Arc::new(Shared {
        answers: Mutex::new(BTreeMap::new()),
        watchers: Watchers::default(),
        links: Mutex::new(BTreeMap::new()),
        pinned: RwLock::new(Arc::new(core.pinned().clone())),
        health,
    });
    let driver = Driver::new(core, Arc::clone(&shared), writer, inputs.clone());
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new()
        .name("core".to_owned())
        .spawn(move || driver.run(&waiting, &runtime))?;
    let engine = Engine {
        inputs: inputs.clone(),
        shared,
        store,
        next_handle: Arc::new(AtomicU64::new(1)),
    };
    Ok((
        engine,
        EngineThread {
            inputs,
            thread: Some(thread),
            failed,
        },
    ))
}

impl EngineThread {
    /// Ends the thread once everything handed over is durable.
    pub fn stop(mut self) {
        let _sent = self.inputs.send(Input::Stop);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// An answer that is waited for. Dropping it forgets the caller, not the command.
pub struct Waiting {
    handle: Handle,
    answer: oneshot::Receiver<Answer>,
    shared: Arc<Shared>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.shared.answers).remove(&self.handle);
    }
}

impl Waiting {
    /// The answer, if it comes in time.
    pub async fn within(&mut self, limit: Option<Duration>) -> Option<Answer> {
        let answer = async {
            (&mut self.answer)
                .await
                .unwrap_or_else(|_| Err(going_down()))
        };
        match limit {
            Some(limit) => tokio::time::timeout(limit, answer).await.ok(),
            None => Some(answer.await),
        }
    }

    /// The answer, if it is there.
    pub fn at_once(&mut self) -> Option<Answer> {
        self.answer.try_recv().ok()
    }
}

fn going_down() -> Refusal {
    Refusal::new(
        Reason::ShuttingDown,
        "the coordinator is going down: repeat the call later",
    )
}

impl Engine {
    /// Hands a command in.
    ///
    /// # Errors
    ///
    /// When the store cannot be read: whether the command had an outcome is not known then.
    pub fn submit(&self, command: Admitted, validate_only: bool) -> Result<Waiting, Refusal> {
        let remembered = self.remembered(command.command().id)?;
        let waiting = self.wait();
        let handle = waiting.handle;
        let event = Event::Submit {
            handle,
            command,
            validate_only,
            remembered,
        };
        self.send(Input::Event(Box::new(event)));
        Ok(waiting)
    }

    /// Hands a word on a command in.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn endorse(&self, id: CommandId, endorsement: Endorsement) -> Result<Waiting, Refusal> {
        let remembered = self.remembered(id)?;
        let waiting = self.wait();
        let handle = waiting.handle;
        let event = Event::Endorse {
            handle,
            id,
            endorsement,
            remembered,
        };
        self.send(Input::Event(Box::new(event)));
        Ok(waiting)
    }

    fn wait(&self) -> Waiting {
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock(&self.shared.answers).insert(handle, sender);
        Waiting {
            handle,
            answer,
            shared: Arc::clone(&self.shared),
        }
    }

    fn send(&self, input: Input) {
        // A core that has ended drops the answers, and that is what callers see.
        if self.inputs.send(input).is_err() {
            lock(&self.shared.answers).clear();
        }
    }

    fn remembered(&self, id: CommandId) -> Result<Option<Box<StoredCommand>>, Refusal> {
        match self.store.command(id) {
            Ok(found) => Ok(found.map(Box::new)),
            Err(error) => {
                tracing::error!(reason = %chain(&error), "read a command from the store");
                Err(Refusal::new(
                    Reason::Invariant,
                    "the store of the coordinator is damaged",
                ))
            }
        }
    }

    /// Asks the core something.
    ///
    /// # Errors
    ///
    /// When the coordinator is going down.
    pub async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (sender, answer) = oneshot::channel();
        self.send(Input::Query(Box::new(move |core| {
            // Whoever asked may have gone.
            let _sent = sender.send(ask(core));
        })));
        answer.await.map_err(|_| going_down())
    }

    /// A command, wherever it is known.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub async fn command(&self, id: CommandId) -> Result<CommandView, Refusal> {
        if let Some(view) = self.query(move |core| core.command(id)).await? {
            return Ok(view);
        }
        self.remembered(id)?
            .map(|stored| stored.view)
            .ok_or_else(|| {
                Refusal::new(
                    Reason::CommandUnknown,
                    format!("no command has the id {id}"),
                )
                .with("command_id", id)
            })
    }

    /// Follows a command.
    ///
    /// # Errors
    ///
    /// When too many are followed already.
    pub fn watch(&self, id: CommandId) -> Result<Watching, Refusal> {
        Watchers::watch(&self.shared, id)
    }

    /// The roster in force.
    pub fn pinned(&self) -> Arc<PinnedRoster> {
        let pinned = self.shared.pinned.read();
        Arc::clone(&pinned.unwrap_or_else(PoisonError::into_inner))
    }

    /// The roster in force, whenever it is asked for.
    pub fn rosters(&self) -> Rosters {
        let engine = self.clone();
        Arc::new(move || engine.pinned())
    }

    /// The link to a node.
    pub fn link(&self, node: &NodeId) -> Option<NodeLink> {
        lock(&self.shared.links).get(node).cloned()
    }

    /// Takes what happens to links.
    pub fn tell_link(&self, event: LinkEvent) {
        self.send(Input::Link(event));
    }

    /// The store, for reading.
    pub fn store(&self) -> &dyn CoordinatorStore {
        &*self.store
    }

    /// Takes no further command up, and waits until nothing is under way or the time is over.
    pub async fn drain(&self, limit: Duration) {
        let drained = async {
            while self
                .query(|core| {
                    core.drain();
                    core.is_idle()
                })
                .await
                == Ok(false)
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // What is left then is carried out when it is submitted again.
        let _in_time = tokio::time::timeout(limit, drained).await;
    }
}

/// An error with its causes, once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
