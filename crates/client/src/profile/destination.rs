//! Where a file goes that a caller names: a regular file is replaced in one step, through links to it;
//! a device or a pipe is written to and stays what it is.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::ProfileError;

/// The most links that lead to one another, as the system has it.
const MAX_LINKS: usize = 40;

/// What is written to when a path is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A regular file, or none yet. No link leads on from here.
    File(PathBuf),
    /// A device or a pipe, which is opened and never replaced.
    InPlace(PathBuf),
}

impl Destination {
    /// Follows the links from a path.
    ///
    /// # Errors
    ///
    /// When a directory or a socket is there, when the path names no file, and when the links do not
    /// end.
    pub fn of(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(old) if old.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(old) if is_socket(&old) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it is a socket",
                ));
            }
            Ok(old) if !old.is_file() => return Ok(Self::InPlace(path.to_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut at = path.to_owned();
        for _ in 0..MAX_LINKS {
            if at.file_name().is_none() {
                return Err(io::ErrorKind::InvalidFilename.into());
            }
            match fs::read_link(&at) {
                Ok(next) => at = directory_of(&at).join(next),
                Err(_) => return Ok(Self::File(at)),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it leads through too many links",
        ))
    }
}

#[cfg(unix)]
fn is_socket(file: &fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&file.file_type())
}

#[cfg(not(unix))]
const fn is_socket(_: &fs::Metadata) -> bool {
    false
}

/// The directory in which a file lies.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Replaces a file by another one in one step, durably. What is no regular file is written to.
///
/// # Errors
///
/// [`ProfileError::Unwritable`]. The file is then as it was, and nothing is left beside it.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), ProfileError> {
    let write = |mut file: &fs::File| io::Write::write_all(&mut file, bytes);
    let written = match Destination::of(path) {
        Ok(Destination::File(target)) => replace_file(&target, write),
        Ok(Destination::InPlace(target)) => fs::OpenOptions::new()
            .write(true)
            .open(target)
            .and_then(|file| write(&file)),
        Err(error) => Err(error),
    };
    written.map_err(|source| ProfileError::Unwritable {
        path: path.display().to_string(),
        source,
    })
}

fn replace_file(target: &Path, write: impl FnOnce(&fs::File) -> io::Result<()>) -> io::Result<()> {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    // Two processes may replace the same file.
    name.push(format!(".{}.new", std::process::id()));
    let beside = target.with_file_name(name);
    let file = fs::File::create(&beside)?;
    let replaced = (|| {
        if let Ok(old) = fs::metadata(target) {
            file.set_permissions(old.permissions())?;
        }
        write(&file)?;
        file.sync_all()?;
        fs::rename(&beside, target)
    })();
    if replaced.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    replaced?;
    fs::File::open(directory_of(target)).and_then(|dir| dir.sync_all())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::{
        fs::{FileTypeExt as _, symlink},
        net::UnixListener,
    };

    use super::*;

    #[test]
    fn a_link_stays_a_link_and_the_file_that_it_leads_to_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("deep")).unwrap();
        let target = dir.path().join("deep/file");
        let [link, outer, dangling] =
            ["link", "outer", "dangling"].map(|name| dir.path().join(name));
        symlink("deep/file", &link).unwrap();
        symlink(&link, &outer).unwrap();
        symlink("deep/absent", &dangling).unwrap();
        fs::write(&target, "old").unwrap();

        replace(&outer, b"new").unwrap();
        replace(&dangling, b"made").unwrap();

        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::read(dir.path().join("deep/absent")).unwrap(), b"made");
        for link in [&link, &outer, &dangling] {
            assert!(link.is_symlink(), "{}", link.display());
        }
        assert_eq!(fs::read_dir(dir.path().join("deep")).unwrap().count(), 2);
    }

    #[test]
    fn a_pipe_is_written_to_and_stays_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let link = dir.path().join("link");
        symlink("pipe", &link).unwrap();
        let from = pipe.clone();
        let reader = std::thread::spawn(move || fs::read(from).unwrap());

        replace(&link, b"through").unwrap();

        assert_eq!(reader.join().unwrap(), b"through");
        let kind = fs::symlink_metadata(&pipe).unwrap().file_type();
        assert!(kind.is_fifo());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_device_is_no_file_to_be_replaced() {
        let of = |path: &str| Destination::of(Path::new(path)).unwrap();

        assert_eq!(of("/dev/null"), Destination::InPlace("/dev/null".into()));
    }

    #[test]
    fn sockets_directories_and_links_in_a_circle_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let [socket, circle] = ["socket", "circle"].map(|name| dir.path().join(name));
        let _listener = UnixListener::bind(&socket).unwrap();
        symlink("circle", &circle).unwrap();

        for path in [dir.path(), &socket, &circle] {
            assert!(replace(path, b"new").is_err(), "{}", path.display());
        }

        assert!(
            fs::symlink_metadata(&socket)
                .unwrap()
                .file_type()
                .is_socket()
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "old").unwrap();

        let full = replace_file(&file, |_| Err(io::ErrorKind::StorageFull.into())).unwrap_err();

        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&file).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
