//! Command ids are forgotten when their time is over (P8).

use quorate_model::{
    CommandId, Digest, Epoch, Signature, UnixMillis,
    audit::{Checkpoint, Entry, Judgment, Record, SharePurpose, ShareReleased},
    command::REMEMBER_MARGIN_MS,
};
use uuid::Uuid;

use super::harness::memory_index;
use crate::{
    core::ledger::{changes, command},
    index::{Index, MemoryIndex, Table},
};

fn id(number: usize) -> CommandId {
    CommandId(Uuid::from_u128(number as u128))
}

fn released(number: usize, expires: UnixMillis) -> Entry {
    Entry::ShareReleased(ShareReleased {
        judgment: Judgment {
            command: Digest::ZERO,
            command_id: id(number),
            endorsements: Digest::ZERO,
            policy: Digest::ZERO,
            rule: "role:client".to_owned(),
        },
        expires,
        key: "treasury".parse().unwrap(),
        epoch: Epoch(1),
        purpose: SharePurpose::Sign,
        items: Vec::new(),
    })
}

fn checkpoint() -> Entry {
    Entry::Checkpoint(Checkpoint {
        index_sequence: 0,
        index_digest: Digest::ZERO,
        signature: Signature([0; 64]),
    })
}

fn fold(index: &MemoryIndex, time: UnixMillis, entry: Entry) {
    let sequence = index.position().sequence + 1;
    let record = Record {
        sequence,
        previous: Digest::ZERO,
        time,
        boot: [0; 16],
        entry,
    };
    let changes = changes(index, &record).unwrap();
    index.apply(sequence, changes).unwrap();
}

/// As many commands that expire at each time, and what is left of them after a checkpoint.
fn left(counts: &[(usize, u64)], now: u64) -> usize {
    let index = memory_index();
    let mut number = 0;
    for (count, expires) in counts {
        for _ in 0..*count {
            fold(
                &index,
                UnixMillis(0),
                released(number, UnixMillis(*expires)),
            );
            number += 1;
        }
    }
    fold(&index, UnixMillis(REMEMBER_MARGIN_MS + now), checkpoint());
    let rows = index.scan(Table::Commands, None, usize::MAX).unwrap().len();
    let expiries = index.scan(Table::Expiry, None, usize::MAX).unwrap().len();
    assert_eq!(rows, expiries);
    let kept = (0..number).filter(|at| command(&index, id(*at)).unwrap().is_some());
    assert_eq!(kept.count(), rows);
    rows
}

#[test]
fn a_checkpoint_forgets_every_command_whose_time_is_over_and_no_other() {
    assert_eq!(left(&[(3, 10)], 10), 3);
    assert_eq!(left(&[(1, 9), (3, 10)], 10), 3);
    assert_eq!(left(&[(700, 9), (3, 10)], 10), 3);
    assert_eq!(left(&[(257, 9)], 10), 0);
    assert_eq!(left(&[], 10), 0);
}

#[test]
fn one_checkpoint_forgets_no_more_than_ten_thousand() {
    assert_eq!(left(&[(10_003, 9)], 10), 3);
}
