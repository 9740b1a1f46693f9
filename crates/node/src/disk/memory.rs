//! A simulated disk that knows what is durable, and loses the rest when it crashes.
//!
//! The model is the pessimistic reading of POSIX. Content is durable after a file was synced,
//! names are durable after their directory was. At a crash each file keeps its synced content and,
//! by the choice of [`Survival`], none, all, or a torn part of what came after; each directory
//! keeps its synced names and a prefix of the changes that came after.

mod state;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::state::State;
use super::{Disk, DiskError, check_directory, check_path, check_rename, parent};

/// What a crash leaves of what was not made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing: the machine lost power before anything was written back.
    Nothing,
    /// Everything: the process was killed, the machine went on.
    Everything,
    /// A part that the seed decides: appends torn at a byte or followed by zeros, renames done or
    /// not, per file and directory.
    Torn(u64),
}

/// What happens at an operation that changes the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails and changes nothing; later ones work.
    Error,
    /// A write or an append puts half of its bytes down and fails; other operations do nothing.
    Half,
    /// The machine stops before the operation: this and every later call fails until
    /// [`MemoryDisk::crash`].
    Stop,
}

/// A disk in memory. Clones share the same disk; [`MemoryDisk::fork`] copies it.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy that goes its own way.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            state: Arc::new(Mutex::new(self.state().clone())),
        }
    }

    /// Stops the machine, drops what does not survive, and starts it again without faults.
    pub fn crash(&self, survival: Survival) {
        self.state().crash(survival);
    }

    /// How many operations have changed the disk, or tried to.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets a fault happen at the operation with this number, counted like
    /// [`MemoryDisk::operations`] from zero.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.state().fault = Some((operation, fault));
    }

    /// Flips bits of one byte of a file, as a failing medium does.
    pub fn flip(&self, path: &str, offset: usize, mask: u8) -> Result<(), DiskError> {
        self.state()
            .flip(path, offset, mask)
            .map_err(|source| DiskError::io("flip a bit of", path, source))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation that changes the disk and lets a planned fault happen. The answer is
    /// the number of bytes that a write may put down before it fails.
    fn change(
        &self,
        operation: &'static str,
        path: &str,
        bytes: usize,
        act: impl FnOnce(&mut State, usize) -> io::Result<()>,
    ) -> Result<(), DiskError> {
        let mut state = self.state();
        let fail = |source| DiskError::io(operation, path, source);
        match state.begin() {
            None => act(&mut state, bytes).map_err(fail),
            Some(Fault::Half) if bytes > 0 => {
                act(&mut state, bytes.div_euclid(2)).map_err(fail)?;
                Err(fail(io::Error::other("simulated short write")))
            }
            Some(Fault::Error | Fault::Half) => Err(fail(io::Error::other("simulated error"))),
            Some(Fault::Stop) => Err(fail(io::Error::other("simulated stop of the machine"))),
        }
    }

    fn look<T>(
        &self,
        operation: &'static str,
        path: &str,
        act: impl FnOnce(&State) -> io::Result<T>,
    ) -> Result<T, DiskError> {
        let state = self.state();
        let result = if state.stopped {
            Err(io::Error::other("simulated stop of the machine"))
        } else {
            act(&state)
        };
        result.map_err(|source| DiskError::io(operation, path, source))
    }
}

impl Disk for MemoryDisk {
    fn read(&self, path: &str, offset: u64, limit: usize) -> Result<Vec<u8>, DiskError> {
        check_path(path)?;
        self.look("read", path, |state| {
            let data = &state.file(path)?.data;
            let start = usize::try_from(offset)
                .unwrap_or(usize::MAX)
                .min(data.len());
            let end = start.saturating_add(limit).min(data.len());
            Ok(data.get(start..end).unwrap_or_default().to_vec())
        })
    }

    fn length(&self, path: &str) -> Result<u64, DiskError> {
        check_path(path)?;
        self.look("measure", path, |state| {
            Ok(state.file(path)?.data.len() as u64)
        })
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        check_path(path)?;
        self.change("write", path, bytes.len(), |state, count| {
            state.write(path, bytes.get(..count).unwrap_or_default())
        })
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        check_path(path)?;
        self.change("append to", path, bytes.len(), |state, count| {
            state
                .file_mut(path)?
                .data
                .extend_from_slice(bytes.get(..count).unwrap_or_default());
            Ok(())
        })
    }

    fn truncate(&self, path: &str, length: u64) -> Result<(), DiskError> {
        check_path(path)?;
        self.change("truncate", path, 0, |state, _| {
            state
                .file_mut(path)?
                .truncate(usize::try_from(length).unwrap_or(usize::MAX));
            Ok(())
        })
    }

    fn sync_file(&self, path: &str) -> Result<(), DiskError> {
        check_path(path)?;
        self.change("fsync", path, 0, |state, _| {
            state.file_mut(path)?.sync();
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        check_rename(from, to)?;
        self.change("rename", from, 0, |state, _| state.rename(from, to))
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        check_directory(path)?;
        self.change("fsync directory", path, 0, |state, _| {
            state.sync_directory(path)
        })
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        check_path(path)?;
        self.change("create directory", path, 0, |state, _| {
            state.directory(parent(path))?;
            state.create_directory(path)
        })
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        check_directory(path)?;
        self.look("list", path, |state| {
            state.directory(path)?;
            Ok(state.names_in(path))
        })
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        check_path(path)?;
        self.change("remove", path, 0, |state, _| state.remove(path))
    }

    fn exists(&self, path: &str) -> Result<bool, DiskError> {
        check_directory(path)?;
        self.look("look for", path, |state| Ok(state.exists(path)))
    }
}
