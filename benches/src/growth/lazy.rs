//! A disk for filling a directory fast: files of the vault are not made durable one by one.

use std::sync::Arc;

use quorate_node::disk::{Disk, DiskError, RealDisk};

/// A real disk that leaves the syncs of vault files to [`sync_all`].
#[derive(Clone)]
pub(super) struct LazyDisk(pub(super) Arc<RealDisk>);

/// Makes durable whatever was written, so that no start pays for the filling.
pub(super) fn sync_all() {
    rustix::fs::sync();
}

fn is_vault(path: &str) -> bool {
    path.starts_with("vault")
}

impl Disk for LazyDisk {
    fn read(&self, path: &str, offset: u64, limit: usize) -> Result<Vec<u8>, DiskError> {
        self.0.read(path, offset, limit)
    }

    fn length(&self, path: &str) -> Result<u64, DiskError> {
        self.0.length(path)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.0.write(path, bytes)
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.0.append(path, bytes)
    }

    fn truncate(&self, path: &str, length: u64) -> Result<(), DiskError> {
        self.0.truncate(path, length)
    }

    fn sync_file(&self, path: &str) -> Result<(), DiskError> {
        if is_vault(path) {
            return Ok(());
        }
        self.0.sync_file(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.0.rename(from, to)
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        if is_vault(path) {
            return Ok(());
        }
        self.0.sync_directory(path)
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        self.0.create_directory(path)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        self.0.list(path)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.0.remove(path)
    }

    fn exists(&self, path: &str) -> Result<bool, DiskError> {
        self.0.exists(path)
    }
}
