mod chain;
mod crashes;
mod damage;

use std::collections::BTreeSet;

use proptest::prelude::*;
use quorate_model::{NodeId, audit::verify_chain};

use super::*;
use crate::disk::{Fault, MemoryDisk, RealDisk, Survival};

const FIRST: &str = "journal/00000000000000000001.segment";

fn survivals() -> impl Iterator<Item = Survival> {
    [Survival::Nothing, Survival::Everything]
        .into_iter()
        .chain((0..10).map(Survival::Torn))
}

fn new_disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    Journal::create(&disk).unwrap();
    disk
}

fn open(disk: &MemoryDisk) -> (Journal<MemoryDisk>, OpenReport) {
    Journal::open(disk.clone(), &config(1), |_, _| {}).unwrap()
}

fn broken(disk: &MemoryDisk) -> Broken {
    match Journal::open(disk.clone(), &config(1), |_, _| {}) {
        Err(JournalError::Broken(broken)) => *broken,
        Err(error) => panic!("{error:?}"),
        Ok((_, report)) => panic!("opened: {report:?}"),
    }
}

fn commit<D: Disk>(journal: &Journal<D>, count: usize) -> Committed {
    let appended = journal.append(UnixMillis(5), entries(count)).unwrap();
    journal.commit(&appended).unwrap()
}

fn commit_appended(journal: &Journal<MemoryDisk>) -> Appended {
    let appended = journal.append(UnixMillis(5), entries(1)).unwrap();
    journal.commit(&appended).unwrap();
    appended
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn config(boot: u8) -> JournalConfig {
    JournalConfig {
        identity: identity(),
        boot: [boot; 16],
        limits: JournalLimits::default(),
    }
}

fn limits(segment_bytes: u64, waiting_bytes: usize) -> JournalConfig {
    JournalConfig {
        limits: JournalLimits {
            segment_bytes,
            waiting_bytes,
        },
        ..config(1)
    }
}

fn signer() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn identity() -> IdentityKey {
    IdentityKey::of(&signer())
}

fn entries(count: usize) -> Vec<Entry> {
    vec![boot(); count]
}

fn boot() -> Entry {
    let node: NodeId = "node-a".parse().unwrap();
    Entry::Boot {
        version: "0.1.0".to_owned(),
        node,
    }
}
