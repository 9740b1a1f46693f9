//! A directory of the machine's file system, locked against a second process.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::fs::{FlockOperation, flock};

use super::{Disk, DiskError, OpenFile, check_directory, check_path, check_rename};

const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
const LOCK: &str = "lock";

/// How many files are kept open for appending. Two are appended to: journal and keyring.
const KEPT_OPEN: usize = 4;

/// A real directory. Files are readable by their owner only.
pub struct RealDisk {
    root: PathBuf,
    open: Mutex<Vec<(String, Arc<File>)>>,
    _lock: File,
}

impl RealDisk {
    /// Opens a directory, makes it if it does not exist, and locks it for as long as the value
    /// lives. The lock ends with the process, however it ends.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let root = root.into();
        let shown = root.display().to_string();
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(&root)
            .map_err(|source| DiskError::io("create directory", &shown, source))?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(root.join(LOCK))
            .map_err(|source| DiskError::io("open lock of", &shown, source))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(DiskError::InUse { path: shown }),
            Err(errno) => return Err(DiskError::io("lock", &shown, errno.into())),
        }
        Ok(Self {
            root,
            open: Mutex::new(Vec::new()),
            _lock: lock,
        })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The handle of a file that is appended to, kept open between calls.
    fn handle(&self, path: &str) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = open.iter().find(|(name, _)| name == path) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(OpenOptions::new().append(true).open(self.at(path))?);
        if open.len() >= KEPT_OPEN {
            open.remove(0);
        }
        open.push((path.to_owned(), Arc::clone(&file)));
        Ok(file)
    }

    /// Forgets the handle of a name that stands for another file from here on.
    fn forget(&self, path: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(name, _)| name != path);
    }
}

impl Disk for RealDisk {
    fn read(&self, path: &str, offset: u64, limit: usize) -> Result<Vec<u8>, DiskError> {
        check_path(path)?;
        read_at(&self.at(path), offset, limit).map_err(|source| DiskError::io("read", path, source))
    }

    fn length(&self, path: &str) -> Result<u64, DiskError> {
        check_path(path)?;
        fs::metadata(self.at(path))
            .map(|metadata| metadata.len())
            .map_err(|source| DiskError::io("measure", path, source))
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        check_path(path)?;
        self.forget(path);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(self.at(path))
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|source| DiskError::io("write", path, source))
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        check_path(path)?;
        self.handle(path)
            .and_then(|file| (&*file).write_all(bytes))
            .map_err(|source| DiskError::io("append to", path, source))
    }

    fn truncate(&self, path: &str, length: u64) -> Result<(), DiskError> {
        check_path(path)?;
        OpenOptions::new()
            .write(true)
            .open(self.at(path))
            .and_then(|file| file.set_len(length))
            .map_err(|source| DiskError::io("truncate", path, source))
    }

    fn sync_file(&self, path: &str) -> Result<(), DiskError> {
        check_path(path)?;
        // Content and length; what is left out are times, which nothing rests on.
        self.handle(path)
            .and_then(|file| file.sync_data())
            .map_err(|source| DiskError::io("fsync", path, source))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        check_rename(from, to)?;
        self.forget(from);
        self.forget(to);
        fs::rename(self.at(from), self.at(to))
            .map_err(|source| DiskError::io("rename", from, source))
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        check_directory(path)?;
        File::open(self.at(path))
            .and_then(|directory| directory.sync_all())
            .map_err(|source| DiskError::io("fsync directory", path, source))
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        check_path(path)?;
        match DirBuilder::new().mode(DIRECTORY_MODE).create(self.at(path)) {
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists && self.at(path).is_dir() =>
            {
                Ok(())
            }
            other => other.map_err(|source| DiskError::io("create directory", path, source)),
        }
    }

    fn list(&self, path: &str) -> Result<Vec<String>, DiskError> {
        check_directory(path)?;
        list_names(&self.at(path)).map_err(|source| DiskError::io("list", path, source))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        check_path(path)?;
        self.forget(path);
        fs::remove_file(self.at(path)).map_err(|source| DiskError::io("remove", path, source))
    }

    fn exists(&self, path: &str) -> Result<bool, DiskError> {
        check_directory(path)?;
        self.at(path)
            .try_exists()
            .map_err(|source| DiskError::io("look for", path, source))
    }

    fn open(&self, path: &str) -> Result<Box<dyn OpenFile>, DiskError> {
        check_path(path)?;
        let failed = |source| DiskError::io("open", path, source);
        let file = File::open(self.at(path)).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(Box::new(Opened {
            path: path.to_owned(),
            file,
            length,
        }))
    }
}

/// A file that stays what it was when its name goes to another.
struct Opened {
    path: String,
    file: File,
    length: u64,
}

impl OpenFile for Opened {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, offset: u64, limit: usize) -> Result<Vec<u8>, DiskError> {
        let left = self.length.saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(limit)];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|source| DiskError::io("read", &self.path, source))?;
        Ok(bytes)
    }
}

fn read_at(path: &Path, offset: u64, limit: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let left = file.metadata()?.len().saturating_sub(offset);
    let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(limit)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn list_names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = fs::read_dir(path)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
