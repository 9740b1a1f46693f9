//! How long a node reads what it has of one ECDSA key: its share and its pairings, from their
//! sealed files until they can sign.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use quorate_model::{KeyRecord, NodeId};
use quorate_node::{
    disk::RealDisk,
    sealing::{KekSource, KeyFile, open_kek},
    vault::Vault,
};
use quorate_protocol::{
    ecdsa::{DKLS23, KeyShare, PairingState, SharePlace},
    sharing::SigningShare,
};

use crate::load::Measured;

/// Reads the record of a key again and again, from a copy of the directory of its first holder.
pub(crate) fn read_records(nodes: &Path, record: &KeyRecord, time: Duration) -> Result<Measured> {
    let holder = record.participants.first().context("a key has holders")?;
    let copy = tempfile::tempdir()?;
    copy_directory(&nodes.join(holder.node.as_str()), copy.path())?;
    let key_file = KeyFile::read(&nodes.join(format!("{}.key", holder.node)))?;
    let vault = open(copy.path(), &holder.node, key_file)?;

    let start = Instant::now();
    let mut latencies = Vec::new();
    while start.elapsed() < time {
        let begun = Instant::now();
        let stored = vault.load(&record.name, record.epoch)?;
        let share = SigningShare::from_bytes(stored.secret.as_slice().try_into()?);
        let place = SharePlace {
            key: record.name.clone(),
            epoch: record.epoch,
            me: holder.index,
            threshold: record.threshold,
        };
        KeyShare::new(place, &share, &record.group_key, &record.verifying_shares)?;
        let bytes = vault.load_pairings(&record.name, record.epoch)?;
        PairingState::from_bytes(DKLS23, &bytes)?;
        latencies.push(begun.elapsed());
    }
    let units = latencies.len();
    Ok(Measured::new(latencies, units, start.elapsed()))
}

fn open(dir: &Path, node: &NodeId, key_file: KeyFile) -> Result<Vault<Arc<RealDisk>>> {
    let disk = Arc::new(RealDisk::open(dir)?);
    let kek = open_kek(&disk, node, &KekSource::key_file(key_file))?;
    let (vault, _) = Vault::open(disk, node.clone(), Arc::new(kek))?;
    Ok(vault)
}

fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy_directory(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            // Anything else is the socket of the running node.
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
