//! The thread that writes for everyone: while one fsync runs, the next batch gathers.

use std::{
    io,
    sync::{Arc, PoisonError},
    thread::{self, JoinHandle},
};

use super::{Journal, Shared, lock};
use crate::disk::Disk;

/// The running writer. When it is dropped, what waits is written and the journal is closed.
pub struct Writer {
    stop: Box<dyn Fn() + Send + Sync>,
    thread: Option<JoinHandle<()>>,
}

impl<D: Disk + 'static> Journal<D> {
    /// Starts the thread that makes records durable as they come.
    pub fn start_writer(&self) -> io::Result<Writer> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || shared.run())?;
        let shared = Arc::clone(&self.shared);
        let stop = Box::new(move || {
            lock(&shared.queue).stopped = true;
            shared.work.notify_all();
        });
        Ok(Writer {
            stop,
            thread: Some(thread),
        })
    }
}

impl<D: Disk> Shared<D> {
    fn run(&self) {
        let _closing = Closing(self);
        loop {
            let ended = {
                let waiting = |queue: &mut super::Queue| {
                    queue.waiting.is_empty() && !queue.stopped && queue.failed.is_none()
                };
                let queue = self
                    .work
                    .wait_while(lock(&self.queue), waiting)
                    .unwrap_or_else(PoisonError::into_inner);
                queue.failed.is_some() || (queue.stopped && queue.waiting.is_empty())
            };
            if ended || self.flush(&mut lock(&self.files)).is_err() {
                break;
            }
        }
    }
}

/// Tells all waiters that nothing more becomes durable, however the thread ends.
struct Closing<'a, D: Disk>(&'a Shared<D>);

impl<D: Disk> Drop for Closing<'_, D> {
    fn drop(&mut self) {
        lock(&self.0.queue).stopped = true;
        self.0
            .progress
            .send_modify(|progress| progress.stopped = true);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        (self.stop)();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook, and the waiters see that
            // nothing more becomes durable.
            let _ = thread.join();
        }
    }
}
