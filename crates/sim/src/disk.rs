//! A simulated disk that may lie.

use quorate_node::disk::{Disk, DiskError, MemoryDisk};

/// A simulated disk that may lie.
#[derive(Clone)]
pub(crate) struct SimulatedDisk {
    pub(crate) disk: MemoryDisk,
    /// Says that the journal is durable, and does nothing for it.
    pub(crate) lies: bool,
    /// Says that the files of shares are removed, and keeps them.
    pub(crate) keeps: bool,
}

/// The content of every file below a directory.
#[cfg(test)]
pub(crate) fn files(disk: &MemoryDisk, directory: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for name in disk.list(directory).unwrap_or_default() {
        let path = if directory.is_empty() {
            name
        } else {
            format!("{directory}/{name}")
        };
        match disk.read(&path, 0, usize::MAX) {
            Ok(content) => found.push(content),
            Err(_) => found.extend(files(disk, &path)),
        }
    }
    found
}

impl Disk for SimulatedDisk {
    fn read(&self, path: &str, offset: u64, limit: usize) -> Result<Vec<u8>, DiskError> {
        self.disk.read(path, offset, limit)
    }

    fn length(&self, path: &str) -> Result<u64, DiskError> {
        self.disk.length(path)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.disk.write(path, bytes)
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.disk.append(path, bytes)
    }

    fn truncate(&self, path: &str, length: u64) -> Result<(), DiskError> {
        self.disk.truncate(path, length)
    }

    fn sync_file(&self, path: &str) -> Result<(), DiskError> {
        if self.lies && path.starts_with("journal") {
            Ok(())
        } else {
            self.disk.sync_file(path)
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(from, to)
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        self.disk.sync_directory(path)
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        self.disk.create_directory(path)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        self.disk.list(path)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        if self.keeps && path.starts_with("vault") {
            Ok(())
        } else {
            self.disk.remove(path)
        }
    }

    fn exists(&self, path: &str) -> Result<bool, DiskError> {
        self.disk.exists(path)
    }
}
