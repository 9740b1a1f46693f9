//! The thread that writes: it takes whatever waits and makes it durable in one go (group commit),
//! so that answers wait for the disk and the core does not.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use quorate_model::ids::UnixMillis;

use super::{CoordinatorStore, StoreError};
use crate::core::{BatchId, StoreItem};

/// The most writes that become durable in one go.
const MAX_WRITES: usize = 1_024;

/// How many commands are forgotten at a time.
const PRUNE_AT_ONCE: usize = 1_000;

/// What is to be done.
enum Job {
    Apply(BatchId, Vec<StoreItem>),
    Prune(UnixMillis),
}

/// The writing thread has ended, because the store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("hand writes to the store: it has failed")]
pub struct Full;

/// Hands writes to the thread.
pub struct StoreWriter {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl StoreWriter {
    /// Starts the thread. It reports each batch that has become durable, in order; after a failure
    /// it reports that once and ends.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        store: Arc<dyn CoordinatorStore>,
        report: impl Fn(Result<BatchId, StoreError>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = channel();
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || write(&*store, &waiting, &report))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Makes a batch durable.
    ///
    /// # Errors
    ///
    /// When the store has failed before.
    pub fn apply(&self, batch: BatchId, writes: Vec<StoreItem>) -> Result<(), Full> {
        self.send(Job::Apply(batch, writes))
    }

    /// Forgets what may be forgotten.
    ///
    /// # Errors
    ///
    /// When the store has failed before.
    pub fn prune(&self, now: UnixMillis) -> Result<(), Full> {
        self.send(Job::Prune(now))
    }

    fn send(&self, job: Job) -> Result<(), Full> {
        self.jobs.as_ref().ok_or(Full)?.send(job).map_err(|_| Full)
    }
}

impl Drop for StoreWriter {
    /// Waits until everything that was handed over is durable.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write(
    store: &dyn CoordinatorStore,
    waiting: &Receiver<Job>,
    report: &dyn Fn(Result<BatchId, StoreError>),
) {
    while let Ok(first) = waiting.recv() {
        let (mut batches, mut writes, mut prune) = (Vec::new(), Vec::new(), None);
        let mut take = |job: Job, writes: &mut Vec<StoreItem>| match job {
            Job::Apply(batch, items) => {
                batches.push(batch);
                writes.extend(items);
            }
            Job::Prune(now) => prune = Some(now),
        };
        take(first, &mut writes);
        while writes.len() < MAX_WRITES {
            let Ok(next) = waiting.try_recv() else { break };
            take(next, &mut writes);
        }
        if let Err(error) = if writes.is_empty() {
            Ok(())
        } else {
            store.apply(&writes)
        } {
            return report(Err(error));
        }
        for batch in batches {
            report(Ok(batch));
        }
        if let Some(now) = prune
            && let Err(error) = store.prune(now, PRUNE_AT_ONCE)
        {
            return report(Err(error));
        }
    }
}
