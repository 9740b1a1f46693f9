//! What the erasure of one share costs.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use anyhow::{Context as _, Result};
use quorate_model::Epoch;
use quorate_node::{disk::RealDisk, keyring::Keyring};
use rand_core::OsRng;
use serde::Serialize;

use super::directory::Directory;

/// The median erasure.
#[derive(Serialize)]
pub(super) struct Erased {
    pub(super) milliseconds: f64,
}

/// Adds a data key to those of the node and erases it, so often.
pub(super) fn measure(directory: &Directory, times: usize) -> Result<Erased> {
    let disk = Arc::new(RealDisk::open(directory.path())?);
    let kek = Arc::new(directory.kek(&disk)?);
    let (keyring, _) = Keyring::open(disk, directory.node().clone(), kek)?;
    let share = ("erased".parse()?, Epoch(1));
    let mut measured = Vec::with_capacity(times);
    for _ in 0..times {
        keyring.add(std::slice::from_ref(&share), &mut OsRng)?;
        let begun = Instant::now();
        keyring.erase(&BTreeSet::from([share.clone()]), &mut OsRng)?;
        measured.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    measured.sort_by(f64::total_cmp);
    let median = measured.get(times / 2).context("something was erased")?;
    Ok(Erased {
        milliseconds: *median,
    })
}
