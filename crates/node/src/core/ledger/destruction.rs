//! The rows of the ends of keys (P34).

use quorate_model::{
    Digest, Epoch, KeyId, KeyName, KeyState, UnixMillis,
    audit::{Entry, KeyDestroyed, Record},
    command::{REMEMBER_MARGIN_MS, SignedCommand},
    destruction::MAX_ANNOUNCEMENTS,
};
use serde::{Deserialize, Serialize};

use super::{Mark, bind_id, change_key, put, row};
use crate::index::{Index, IndexError, RowChange, Table};

/// An announcement that this node has heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Its digest.
    pub digest: Digest,
    /// The command.
    pub command: SignedCommand,
    /// When it was heard, by the node's time.
    pub since: UnixMillis,
    /// When the delay ends.
    pub from: UnixMillis,
    /// When it lapses.
    pub until: UnixMillis,
    /// The sequence of its record.
    pub record: u64,
    /// The hash of the record before that one.
    pub head: Digest,
}

/// The withdrawal of an announcement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// The digest of the announcement.
    pub announcement: Digest,
    /// The command that withdrew it.
    pub command: SignedCommand,
    /// The sequence of its record.
    pub record: u64,
    /// The hash of the record before that one.
    pub head: Digest,
}

/// The end of a key at this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The state that the key is in for ever.
    pub state: KeyState,
    /// The epochs whose shares were erased by it.
    pub epochs: Vec<Epoch>,
    /// How many backups this node made while it held shares of the key.
    pub backups: u32,
    /// The announcement, unless every admin ordered the end at once.
    pub announcement: Option<SignedCommand>,
    /// The order.
    pub command: SignedCommand,
    /// The sequence of its record.
    pub record: u64,
    /// The hash of the record before that one.
    pub head: Digest,
}

/// What a node knows of the end of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestructionRow {
    /// The key that it is about.
    pub key_id: KeyId,
    /// The announcements that have not lapsed, in the order in which they were heard.
    pub announced: Vec<Announced>,
    /// The withdrawals that were heard last, as many as announcements are kept.
    pub withdrawn: Vec<Withdrawn>,
    /// The end.
    pub tombstone: Option<Tombstone>,
}

/// What is known of the end of a key.
pub fn destruction(
    index: &dyn Index,
    name: &KeyName,
) -> Result<Option<DestructionRow>, IndexError> {
    row(index, Table::Destructions, name.as_str().as_bytes())
}

fn withdrawal_key(name: &KeyName, id: KeyId, announcement: &Digest) -> Vec<u8> {
    [
        name.as_str().as_bytes(),
        &[0],
        id.as_bytes(),
        announcement.as_bytes(),
    ]
    .concat()
}

/// The withdrawal of an announcement of the end of a key, if it was heard. It is remembered for
/// ever, whether the announcement was heard before it or not.
pub fn withdrawal(
    index: &dyn Index,
    (name, id): (&KeyName, KeyId),
    announcement: &Digest,
) -> Result<Option<Withdrawn>, IndexError> {
    let at = withdrawal_key(name, id, announcement);
    row(index, Table::Withdrawals, &at)
}

/// All keys that are destroyed at this node.
pub fn tombstoned(index: &dyn Index) -> Result<Vec<(KeyName, Tombstone)>, IndexError> {
    let mut ended = Vec::new();
    for (name, value) in index.scan(Table::Destructions, None, usize::MAX)? {
        let row: DestructionRow =
            quorate_model::wire::decode(&value).map_err(|_| IndexError::MalformedRow)?;
        if let Some(tombstone) = row.tombstone {
            let name = String::from_utf8(name).map_err(|_| IndexError::MalformedRow)?;
            let name = name.parse().map_err(|_| IndexError::MalformedRow)?;
            ended.push((name, tombstone));
        }
    }
    Ok(ended)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only entries about the ends of keys come here"
)]
pub(super) fn changes(index: &dyn Index, record: &Record) -> Result<Vec<RowChange>, IndexError> {
    let head = record.previous;
    match &record.entry {
        Entry::DestructionAnnounced {
            judgment,
            expires,
            key,
            key_id,
            from,
            until,
            command,
        } => {
            let forget = expires.plus(REMEMBER_MARGIN_MS);
            let mark = Mark::Released(0);
            let mut changes = bind_id(index, judgment.command_id, judgment.command, forget, mark)?;
            changes.extend(change(index, key, *key_id, |row| {
                row.announced.retain(|held| held.until >= record.time);
                row.announced.push(Announced {
                    digest: judgment.command,
                    command: command.clone(),
                    since: record.time,
                    from: *from,
                    until: *until,
                    record: record.sequence,
                    head,
                });
            })?);
            Ok(changes)
        }
        Entry::DestructionWithdrawn {
            key,
            key_id,
            announcement,
            command,
            ..
        } => {
            let withdrawn = Withdrawn {
                announcement: *announcement,
                command: command.clone(),
                record: record.sequence,
                head,
            };
            let at = withdrawal_key(key, *key_id, announcement);
            let mut changes = vec![put(Table::Withdrawals, at, &withdrawn)?];
            // One admin's word about another key of the name touches nothing of this one.
            if destruction(index, key)?.is_none_or(|row| row.key_id == *key_id) {
                changes.extend(change(index, key, *key_id, |row| {
                    row.announced.retain(|held| held.digest != *announcement);
                    let beyond = row.withdrawn.len().saturating_sub(MAX_ANNOUNCEMENTS - 1);
                    row.withdrawn.drain(..beyond);
                    row.withdrawn.push(withdrawn);
                })?);
            }
            Ok(changes)
        }
        Entry::KeyDestroyed(destroyed) => destroy(index, record, destroyed),
        _ => Ok(Vec::new()),
    }
}

fn destroy(
    index: &dyn Index,
    record: &Record,
    destroyed: &KeyDestroyed,
) -> Result<Vec<RowChange>, IndexError> {
    let KeyDestroyed {
        judgment,
        expires,
        key,
        key_id,
        ..
    } = destroyed;
    let forget = expires.plus(REMEMBER_MARGIN_MS);
    let mark = Mark::Released(0);
    let mut changes = bind_id(index, judgment.command_id, judgment.command, forget, mark)?;
    let mut row = empty(*key_id);
    row.tombstone = Some(Tombstone {
        state: destroyed.state,
        epochs: destroyed.epochs.clone(),
        backups: destroyed.backups,
        announcement: destroyed.announcement.clone(),
        command: destroyed.command.clone(),
        record: record.sequence,
        head: record.previous,
    });
    changes.push(put(
        Table::Destructions,
        key.as_str().as_bytes().to_vec(),
        &row,
    )?);
    // Its certificates stay, so that the key can be shown for what it was.
    changes.push(change_key(index, key, |row| row.prepared.clear())?);
    Ok(changes)
}

const fn empty(key_id: KeyId) -> DestructionRow {
    DestructionRow {
        key_id,
        announced: Vec::new(),
        withdrawn: Vec::new(),
        tombstone: None,
    }
}

/// A key that this node never held has a row from here on too, so that the node lists it.
fn change(
    index: &dyn Index,
    key: &KeyName,
    key_id: KeyId,
    change: impl FnOnce(&mut DestructionRow),
) -> Result<Vec<RowChange>, IndexError> {
    let mut row = destruction(index, key)?.unwrap_or_else(|| empty(key_id));
    // Another key of the name, which never came to be here.
    if row.key_id != key_id && row.tombstone.is_none() {
        row = empty(key_id);
    }
    change(&mut row);
    Ok(vec![
        put(Table::Destructions, key.as_str().as_bytes().to_vec(), &row)?,
        change_key(index, key, |_| ())?,
    ])
}
