//! How a backup is made.

use std::{
    io::{BufWriter, Write},
    sync::Arc,
};

use quorate_model::{
    audit::BackupMade,
    backup::{BackupHeader, BackupId},
    wire,
};
use rand_core::CryptoRngCore;

use super::{BackupError, EPOCHS, PLAIN_FILES, Recipients, archive::Writer};
use crate::{
    core::{Fatal, NodeCore, Reading},
    disk::{Disk, Held, OpenFile},
    keyring,
    vault::Vault,
};

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// What it says of itself.
    pub header: BackupHeader,
    /// How many shares are in it.
    pub shares: usize,
}

/// Makes a backup of a node and writes it, sealed. Records it first: what leaves the node is in its
/// journal.
pub fn write<D: Disk + 'static>(
    core: &Arc<NodeCore<D>>,
    reading: Reading,
    recipients: &Recipients,
    out: impl Write,
    rng: &mut dyn CryptoRngCore,
) -> Result<Made, BackupError> {
    if core.is_quarantined() {
        return Err(BackupError::Quarantined);
    }
    let mut id = [0; 16];
    rng.fill_bytes(&mut id);
    let encryptor = recipients.encryptor()?;
    let made = BackupMade {
        backup: BackupId(id),
        recipients: recipients.fingerprints(),
    };
    let pending = core
        .begin_backup(reading, made)?
        .ok_or(BackupError::Destroying)?;
    let committed = core
        .journal()
        .commit(pending.appended())
        .map_err(Fatal::Journal)?;
    let backup = pending.release(&committed)?;
    let disk = backup.disk();
    let snapshot = backup.snapshot();

    let sealed = encryptor
        .wrap_output(BufWriter::new(out))
        .map_err(BackupError::Write)?;
    let mut writer = Writer::begin(sealed, backup.header())?;
    for name in PLAIN_FILES {
        whole(&mut writer, name, &*disk.open(name)?)?;
    }
    let epochs = wire::encode(&backup.epochs()?).map_err(|_| BackupError::Encode)?;
    whole(&mut writer, EPOCHS, &Held(epochs))?;
    whole(&mut writer, keyring::PATH, &*snapshot.keyring)?;
    for share in &snapshot.shares {
        for name in Vault::<D>::files_of(share) {
            match disk.open(&name) {
                Ok(file) => whole(&mut writer, &name, &*file)?,
                // A share that the disk lost is not a reason to have no backup of the others.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    for (name, length) in backup.journal() {
        writer.file(name, &*disk.open(name)?, *length)?;
    }
    let sealed = writer.end(|files, last| backup.sign_end(files, last))?;
    sealed
        .finish()
        .and_then(|mut out| out.flush())
        .map_err(BackupError::Write)?;
    Ok(Made {
        header: backup.header().header.clone(),
        shares: snapshot.shares.len(),
    })
}

fn whole<W: Write>(
    writer: &mut Writer<W>,
    name: &str,
    file: &dyn OpenFile,
) -> Result<(), BackupError> {
    writer.file(name, file, file.length())
}
