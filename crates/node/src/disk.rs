//! The file operations that journal, vault and keyring are written over.
//!
//! The trait holds exactly the calls at which storage can fail or a machine can stop, so that a
//! simulated disk can do both at each of them. Paths are relative, with `/` between their parts.
//! Nothing is durable before [`Disk::sync_file`]; no name is durable before
//! [`Disk::sync_directory`] of the directory that holds it.

mod memory;
mod real;

use std::{io, sync::Arc};

pub use memory::{Fault, MemoryDisk, Survival};
pub use real::RealDisk;

/// A directory of files, real or simulated.
pub trait Disk: Send + Sync {
    /// The bytes of a file from an offset, at most `limit` of them; fewer at its end.
    fn read(&self, path: &str, offset: u64, limit: usize) -> Result<Vec<u8>, DiskError>;

    /// How many bytes a file has.
    fn length(&self, path: &str) -> Result<u64, DiskError>;

    /// Writes a whole file, in place of what it held.
    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError>;

    /// Adds bytes at the end of a file that exists.
    fn append(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError>;

    /// Cuts a file to a length.
    fn truncate(&self, path: &str, length: u64) -> Result<(), DiskError>;

    /// Makes the content of a file durable.
    fn sync_file(&self, path: &str) -> Result<(), DiskError>;

    /// Gives a file another name in the same directory, in place of any file of that name.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Makes the names in a directory durable; the empty path is the root.
    fn sync_directory(&self, path: &str) -> Result<(), DiskError>;

    /// Makes a directory in one that exists; nothing happens if it exists already.
    fn create_directory(&self, path: &str) -> Result<(), DiskError>;

    /// The names in a directory, sorted.
    fn list(&self, path: &str) -> Result<Vec<String>, DiskError>;

    /// Removes a file.
    fn remove(&self, path: &str) -> Result<(), DiskError>;

    /// Whether a file or a directory of this name exists.
    fn exists(&self, path: &str) -> Result<bool, DiskError>;

    /// A file as it is at this moment, whatever is appended to it or takes its name afterwards.
    fn open(&self, path: &str) -> Result<Box<dyn OpenFile>, DiskError> {
        let length = self.length(path)?;
        let bytes = self.read(path, 0, usize::try_from(length).unwrap_or(usize::MAX))?;
        Ok(Box::new(Held(bytes)))
    }
}

/// A file that was opened.
pub trait OpenFile: Send {
    /// How many bytes it had when it was opened.
    fn length(&self) -> u64;

    /// Its bytes from an offset, at most `limit` of them; fewer at its end.
    fn read(&self, offset: u64, limit: usize) -> Result<Vec<u8>, DiskError>;
}

/// A file in memory.
pub(crate) struct Held(pub(crate) Vec<u8>);

impl OpenFile for Held {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, limit: usize) -> Result<Vec<u8>, DiskError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.0.get(start..).unwrap_or_default();
        Ok(rest.get(..limit).unwrap_or(rest).to_vec())
    }
}

impl<D: Disk + ?Sized> Disk for Arc<D> {
    fn read(&self, path: &str, offset: u64, limit: usize) -> Result<Vec<u8>, DiskError> {
        (**self).read(path, offset, limit)
    }

    fn length(&self, path: &str) -> Result<u64, DiskError> {
        (**self).length(path)
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        (**self).write(path, bytes)
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        (**self).append(path, bytes)
    }

    fn truncate(&self, path: &str, length: u64) -> Result<(), DiskError> {
        (**self).truncate(path, length)
    }

    fn sync_file(&self, path: &str) -> Result<(), DiskError> {
        (**self).sync_file(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        (**self).rename(from, to)
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        (**self).sync_directory(path)
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        (**self).create_directory(path)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        (**self).list(path)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        (**self).remove(path)
    }

    fn exists(&self, path: &str) -> Result<bool, DiskError> {
        (**self).exists(path)
    }

    fn open(&self, path: &str) -> Result<Box<dyn OpenFile>, DiskError> {
        (**self).open(path)
    }
}

/// A file operation that did not happen. Cheap to clone, so that every waiter can be told.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The operating system, or the simulated disk, refused.
    #[error("{operation} {path}")]
    Io {
        /// The operation.
        operation: &'static str,
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// Another process has the directory.
    #[error(
        "directory {path} is in use by another process; stop that one, or give this one its own"
    )]
    InUse {
        /// The directory.
        path: String,
    },
    /// A path that leaves the directory, or a rename across directories.
    #[error("path {path} is not one that the node writes")]
    Path {
        /// The path.
        path: String,
    },
}

impl DiskError {
    pub(crate) fn io(operation: &'static str, path: &str, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    /// Whether the file or directory does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::InUse { .. } | Self::Path { .. } => false,
        }
    }
}

/// The directory that holds a path; the empty text is the root.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Refuses paths that are absolute, climb, or have empty parts.
fn check_path(path: &str) -> Result<(), DiskError> {
    if path
        .split('/')
        .any(|part| matches!(part, "" | "." | "..") || part.contains(['\\', '\0']))
    {
        return Err(DiskError::Path {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Refuses what [`check_path`] refuses, and allows the root.
fn check_directory(path: &str) -> Result<(), DiskError> {
    if path.is_empty() {
        Ok(())
    } else {
        check_path(path)
    }
}

/// Refuses a rename that leaves its directory.
fn check_rename(from: &str, to: &str) -> Result<(), DiskError> {
    check_path(from)?;
    check_path(to)?;
    if parent(from) == parent(to) {
        Ok(())
    } else {
        Err(DiskError::Path {
            path: to.to_owned(),
        })
    }
}

/// Reads a whole file of a bounded size.
pub(crate) fn read_whole(
    disk: &dyn Disk,
    path: &str,
    limit: usize,
) -> Result<Option<Vec<u8>>, DiskError> {
    match disk.read(path, 0, limit.saturating_add(1)) {
        Ok(bytes) if bytes.len() > limit => Err(DiskError::io(
            "read",
            path,
            io::Error::other("file is larger than it can be"),
        )),
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts a whole file in place such that a crash leaves either the old one or the new one:
/// temporary file, fsync, rename, fsync of the directory.
pub(crate) fn replace(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = temporary_of(path);
    disk.write(&temporary, bytes)?;
    disk.sync_file(&temporary)?;
    disk.rename(&temporary, path)?;
    disk.sync_directory(parent(path))
}

/// The name under which a file is written before it is put in place.
pub(crate) fn temporary_of(path: &str) -> String {
    format!("{path}.tmp")
}

/// Makes a directory, with a durable name.
pub(crate) fn ensure_directory(disk: &dyn Disk, path: &str) -> Result<(), DiskError> {
    disk.create_directory(path)?;
    disk.sync_directory(parent(path))
}

#[cfg(test)]
mod tests;
