//! The data directory of a coordinator: its TLS identity, its public card and its store.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use quorate_model::{
    CoordinatorId,
    roster::{CoordinatorCard, Roster},
};
use quorate_pinning::{PinningError, TlsIdentity};

/// The file with the TLS identity: certificate and private key, readable by its owner only.
pub const IDENTITY_FILE: &str = "identity.tls";

/// The file with the public card.
pub const CARD_FILE: &str = "card.json";

/// The directory of the store.
pub const STORE_DIR: &str = "store";

/// Why a data directory cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A file or directory cannot be used.
    #[error("{action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it did not work.
        #[source]
        source: io::Error,
    },
    /// There is an identity already; it is never overwritten.
    #[error("{} holds a coordinator already", .0.display())]
    Exists(PathBuf),
    /// Others than the owner can read the identity.
    #[error("{} can be read by others than its owner: use mode 0600", .0.display())]
    Exposed(PathBuf),
    /// The identity cannot be made or read.
    #[error("use the TLS identity")]
    Identity(#[from] PinningError),
    /// The card cannot be written.
    #[error("write the card")]
    Card(#[from] serde_json::Error),
    /// The roster does not know the key.
    #[error(
        "the roster lists no coordinator with the TLS key {0}: this is another roster or another coordinator"
    )]
    Stranger(quorate_model::Digest),
    /// The roster knows the key under another id.
    #[error(
        "the TLS key is that of coordinator \"{found}\", the configuration says \"{expected}\""
    )]
    OtherId {
        /// In the roster.
        found: CoordinatorId,
        /// In the configuration.
        expected: CoordinatorId,
    },
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HostError {
    let path = path.to_owned();
    move |source| HostError::File {
        action,
        path,
        source,
    }
}

/// Makes the identity of a coordinator in a directory of its own.
///
/// # Errors
///
/// When there is one already, or the files cannot be written.
pub fn init(dir: &Path, id: &CoordinatorId) -> Result<CoordinatorCard, HostError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(file("create", dir))?;
    let path = dir.join(IDENTITY_FILE);
    if path.exists() {
        return Err(HostError::Exists(dir.to_owned()));
    }
    let identity = TlsIdentity::generate(id.as_str())?;
    write_new(&path, &identity.to_bytes()?, 0o600)?;
    let card = CoordinatorCard {
        id: id.clone(),
        tls_key_hash: identity.key_hash(),
    };
    write_new(
        &dir.join(CARD_FILE),
        &serde_json::to_vec_pretty(&card)?,
        0o644,
    )?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(file("sync", dir))?;
    Ok(card)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), HostError> {
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(file("create", path))?;
    target
        .write_all(bytes)
        .and_then(|()| target.sync_all())
        .map_err(file("write", path))
}

/// Reads the TLS identity.
///
/// # Errors
///
/// When others could have read it as well, or it is none.
pub fn read_identity(path: &Path) -> Result<TlsIdentity, HostError> {
    let opened = File::open(path).map_err(file("open", path))?;
    let mode = opened
        .metadata()
        .map_err(file("inspect", path))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(HostError::Exposed(path.to_owned()));
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    io::Read::read_to_end(&mut io::Read::take(opened, 1 << 16), &mut bytes)
        .map_err(file("read", path))?;
    Ok(TlsIdentity::from_bytes(&bytes)?)
}

/// Who the roster says that this coordinator is.
///
/// # Errors
///
/// When the roster does not know the TLS key, or knows it under another id than configured.
pub fn own_id(
    roster: &Roster,
    identity: &TlsIdentity,
    configured: Option<&CoordinatorId>,
) -> Result<CoordinatorId, HostError> {
    let hash = identity.key_hash();
    let card = roster
        .coordinators
        .iter()
        .find(|card| card.tls_key_hash == hash)
        .ok_or(HostError::Stranger(hash))?;
    match configured.filter(|id| **id != card.id) {
        Some(expected) => Err(HostError::OtherId {
            found: card.id.clone(),
            expected: expected.clone(),
        }),
        None => Ok(card.id.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("coordinator");
        let id = "coordinator-1".parse().unwrap();

        let card = init(&place, &id).unwrap();

        let path = place.join(IDENTITY_FILE);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(read_identity(&path).unwrap().key_hash(), card.tls_key_hash);
        assert!(matches!(init(&place, &id), Err(HostError::Exists(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_identity(&path), Err(HostError::Exposed(_))));
    }
}
