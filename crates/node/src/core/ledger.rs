//! The rows that a node's decisions rest on, folded from its journal.
//!
//! Every row is a function of the journal's records and of nothing else: [`changes`] says what one
//! record does. A node that lost its index folds the journal again and stands where it stood.

mod backups;
mod destruction;
mod rosters;
mod uses;

use std::collections::BTreeSet;

use quorate_model::{
    Digest, Epoch, KeyName, NodeId, Scheme, UnixMillis,
    audit::{Entry, Judgment, PairBanned, Record},
    backup::{BackupId, RestoreId},
    certificate::{CommitCertificate, PossessionProof},
    command::{MAX_LIFETIME_MS, REMEMBER_MARGIN_MS},
    ids::CommandId,
    node_api::EraseCertificate,
    quarantine::TakenHead,
    refusal::Reason,
    standing::Standing,
    wire,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use backups::backups_of;
pub use destruction::{
    Announced, DestructionRow, Tombstone, Withdrawn, destruction, tombstoned, withdrawal,
};
pub use rosters::{roster, rosters};
pub use uses::{UseRow, uses};

use crate::index::{Index, IndexError, RowChange, Table};

/// How many forgotten command ids one checkpoint clears at the most.
const PRUNE_PER_CHECKPOINT: usize = 10_000;

/// How many of them are read at a time.
const PRUNE_PAGE: usize = 256;

/// What is remembered of a command id until after its expiry (P8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRow {
    /// The digest that the id is bound to.
    pub digest: Digest,
    /// When it may be forgotten.
    pub forget: UnixMillis,
    /// An admin forbade it: terminal.
    pub rejected: bool,
    /// How often shares were released for it.
    pub releases: u32,
}

/// One prepared sharing: never taken back (P30).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedMark {
    /// Its epoch; a node prepares each epoch of a key at most once (P19).
    pub epoch: Epoch,
    /// The session that made it.
    pub session: Digest,
    /// The hash of the statement that the node signed.
    pub statement: Digest,
    /// The digest of the command that asked for it.
    pub command: Digest,
}

/// One epoch of a key whose certificate this node holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRow {
    /// The epoch.
    pub epoch: Epoch,
    /// The session that made it.
    pub session: Digest,
    /// The hash of its certificate.
    pub hash: Digest,
    /// The encoded certificate.
    #[serde(with = "serde_bytes")]
    pub certificate: Vec<u8>,
    /// The encoded proof of possession and the sequence of its record.
    pub proof: Option<(u64, Vec<u8>)>,
}

impl EpochRow {
    /// Where the epoch stands among all epochs of its key (P30).
    pub fn order(&self) -> (Epoch, Digest) {
        (self.epoch, self.session)
    }
}

/// What a node erased of a key (P29).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// The epoch below which nothing is kept.
    pub epoch: Epoch,
    /// The hash of its certificate.
    pub certificate: Digest,
    /// The sequence of the record.
    pub sequence: u64,
}

/// What a node knows of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Every sharing that this node prepared and has not erased, ascending by epoch.
    pub prepared: Vec<PreparedMark>,
    /// The highest epoch that this node prepared.
    pub prepared_to: Epoch,
    /// The encoded certificate of the key's birth, where the first of the epochs is a later one.
    pub birth: Option<Vec<u8>>,
    /// The certified epochs, ascending by their order.
    pub epochs: Vec<EpochRow>,
    /// What was erased last.
    pub erased: Option<Erased>,
}

/// Where a key stands by the word of admins. A node certifies one creation of a name, so the name
/// says which key it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingRow {
    /// The commands that decide.
    pub standing: Standing,
    /// The sequence of the last record about it.
    pub record: u64,
}

impl KeyRow {
    /// The epoch in use: the highest one that is proven (P30).
    pub fn active(&self) -> Option<&EpochRow> {
        self.epochs.iter().rfind(|row| row.proof.is_some())
    }

    /// The epoch in use, or the certified birth of a key that is not proven yet. A later epoch
    /// without its proof is nothing to rely on.
    pub fn current(&self) -> Option<&EpochRow> {
        let born = || self.epochs.first().filter(|_| self.birth.is_none());
        self.active().or_else(born)
    }

    /// The certificate of the key's birth beside which that of an epoch is verified; none for the
    /// birth's own.
    pub fn birth_of(&self, row: &EpochRow) -> Option<&[u8]> {
        if let Some(birth) = &self.birth {
            return Some(birth);
        }
        let first = self.epochs.first().filter(|first| first.hash != row.hash)?;
        Some(&first.certificate)
    }

    /// The certificate of the key's birth, if this node has it.
    pub fn origin(&self) -> Option<&[u8]> {
        let first = || self.epochs.first().map(|first| &first.certificate);
        self.birth.as_ref().or_else(first).map(Vec::as_slice)
    }

    /// The certified epoch with this certificate.
    pub fn certified(&self, hash: &Digest) -> Option<&EpochRow> {
        self.epochs.iter().find(|row| row.hash == *hash)
    }

    /// The epoch in use, or the highest prepared one.
    pub fn epoch(&self) -> Epoch {
        self.current().map_or(self.prepared_to, |row| row.epoch)
    }

    /// The lowest epoch that this node can still prepare.
    pub fn next_epoch(&self) -> Epoch {
        let active = self.active().map_or(Epoch(0), |row| row.epoch);
        Epoch(self.prepared_to.max(active).0.saturating_add(1))
    }

    /// The epochs below this one of which the node keeps a share (P29).
    pub fn prepared_below(&self, order: (Epoch, Digest)) -> impl Iterator<Item = Epoch> {
        let below = move |mark: &&PreparedMark| (mark.epoch, mark.session) < order;
        self.prepared.iter().filter(below).map(|mark| mark.epoch)
    }

    /// Whether the node keeps shares of epochs below the one in use.
    pub fn keeps_old(&self) -> bool {
        self.active()
            .is_some_and(|row| self.prepared_below(row.order()).next().is_some())
    }
}

fn row<T: DeserializeOwned>(
    index: &dyn Index,
    table: Table,
    key: &[u8],
) -> Result<Option<T>, IndexError> {
    let Some(bytes) = index.get(table, key)? else {
        return Ok(None);
    };
    wire::decode(&bytes)
        .map(Some)
        .map_err(|_| IndexError::MalformedRow)
}

fn put<T: Serialize>(table: Table, key: Vec<u8>, value: &T) -> Result<RowChange, IndexError> {
    let value = wire::encode(value).map_err(|_| IndexError::MalformedRow)?;
    Ok(RowChange::Put { table, key, value })
}

/// What is known of a command id.
pub fn command(index: &dyn Index, id: CommandId) -> Result<Option<CommandRow>, IndexError> {
    row(index, Table::Commands, id.0.as_bytes())
}

/// What is known of a key.
pub fn key(index: &dyn Index, name: &KeyName) -> Result<Option<KeyRow>, IndexError> {
    row(index, Table::Keys, name.as_str().as_bytes())
}

/// The sequence of the record by which an admin forbade a command about a state, if one did.
pub fn rejected_state(index: &dyn Index, command: &Digest) -> Result<Option<u64>, IndexError> {
    row(index, Table::Standings, &rejected_key(command))
}

/// No name of a key begins so.
fn rejected_key(command: &Digest) -> Vec<u8> {
    [&[0], command.as_bytes().as_slice()].concat()
}

/// Where a key stands by the word of admins.
pub fn standing(index: &dyn Index, name: &KeyName) -> Result<StandingRow, IndexError> {
    let row = row(index, Table::Standings, name.as_str().as_bytes())?;
    Ok(row.unwrap_or_default())
}

/// Why nothing more is done with a peer in ECDSA, if so.
pub fn ban(index: &dyn Index, peer: &NodeId) -> Result<Option<PairBanned>, IndexError> {
    row(index, Table::Bans, peer.as_str().as_bytes())
}

/// The peers whose pairings are not to be used before they are set up afresh.
pub fn suspended(
    index: &dyn Index,
    name: &KeyName,
    epoch: Epoch,
) -> Result<BTreeSet<NodeId>, IndexError> {
    let row = row(index, Table::Suspended, &share_key(name, epoch))?;
    Ok(row.unwrap_or_default())
}

fn change_suspended(
    index: &dyn Index,
    name: &KeyName,
    epoch: Epoch,
    change: impl FnOnce(&mut BTreeSet<NodeId>),
) -> Result<Vec<RowChange>, IndexError> {
    let before = suspended(index, name, epoch)?;
    let mut after = before.clone();
    change(&mut after);
    let key = share_key(name, epoch);
    Ok(if after == before {
        Vec::new()
    } else if after.is_empty() {
        vec![RowChange::Delete {
            table: Table::Suspended,
            key,
        }]
    } else {
        vec![put(Table::Suspended, key, &after)?]
    })
}

/// A restoration, of this node or another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRow {
    /// The backup.
    pub backup: BackupId,
    /// The restoration.
    pub restore: RestoreId,
    /// The sequence of its record.
    pub record: u64,
}

/// No id of a node begins so.
const OWN_RESTORE: &[u8] = &[0];

/// The key of the row that says since when this node is back.
const OWN_RETURN: &[u8] = &[1];

/// When this node was readmitted last, if it was ever restored.
pub fn returned(index: &dyn Index) -> Result<Option<UnixMillis>, IndexError> {
    row(index, Table::Restores, OWN_RETURN)
}

fn restore_key(node: &NodeId, backup: BackupId) -> Vec<u8> {
    [node.as_str().as_bytes(), &[0], backup.as_bytes()].concat()
}

/// The restoration after which this node waits to be readmitted.
pub fn quarantine(index: &dyn Index) -> Result<Option<RestoreRow>, IndexError> {
    row(index, Table::Restores, OWN_RESTORE)
}

/// The restoration of a backup of another node that this node has helped.
pub fn peer_restored(
    index: &dyn Index,
    node: &NodeId,
    backup: BackupId,
) -> Result<Option<RestoreRow>, IndexError> {
    row(index, Table::Restores, &restore_key(node, backup))
}

/// How often another node was restored, up to a number.
pub fn restores_of(index: &dyn Index, node: &NodeId, most: usize) -> Result<usize, IndexError> {
    let start = [node.as_str().as_bytes(), &[0]].concat();
    let rows = index.scan(Table::Restores, Some(&start), most)?;
    Ok(rows
        .iter()
        .take_while(|(key, _)| key.starts_with(&start))
        .count())
}

/// What others say of a key that a restored node may have forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupersededRow {
    /// No lower epoch is used.
    pub epoch: Epoch,
    /// None is.
    pub destroyed: bool,
    /// When they said so.
    pub since: UnixMillis,
}

/// What others say of a key, until its epoch in use is proven here.
pub fn superseded(index: &dyn Index, name: &KeyName) -> Result<Option<SupersededRow>, IndexError> {
    row(index, Table::Superseded, name.as_str().as_bytes())
}

/// What records about restorations change.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "called for four kinds of entries"
)]
fn restoration_changes(index: &dyn Index, record: &Record) -> Result<Vec<RowChange>, IndexError> {
    let row = |backup: &BackupId, restore: &RestoreId| RestoreRow {
        backup: *backup,
        restore: *restore,
        record: record.sequence,
    };
    match &record.entry {
        Entry::Restored { backup, restore } => {
            let row = row(backup, restore);
            let mut changes = suspend_pairings(index)?;
            changes.push(put(Table::Restores, OWN_RESTORE.to_vec(), &row)?);
            Ok(changes)
        }
        Entry::Readmitted { .. } => Ok(vec![
            RowChange::Delete {
                table: Table::Restores,
                key: OWN_RESTORE.to_vec(),
            },
            put(Table::Restores, OWN_RETURN.to_vec(), &record.time)?,
        ]),
        // The first stays: no other is helped.
        Entry::PeerRestored {
            node,
            backup,
            restore,
        } if peer_restored(index, node, *backup)?.is_none() => {
            let key = restore_key(node, *backup);
            Ok(vec![put(Table::Restores, key, &row(backup, restore))?])
        }
        Entry::HeadsTaken { heads } => take_heads(index, heads, record.time),
        // The record of the readmission comes with it, and ends the quarantine.
        Entry::ReadmissionOrdered { judgment, .. } => {
            let forget = record
                .time
                .plus(MAX_LIFETIME_MS.saturating_add(REMEMBER_MARGIN_MS));
            let (id, digest) = (judgment.command_id, judgment.command);
            bind_id(index, id, digest, forget, Mark::Released(0))
        }
        _ => Ok(Vec::new()),
    }
}

/// Whatever became of pairings since the backup is forgotten, a check that failed above all: none is used
/// before it was set up afresh.
fn suspend_pairings(index: &dyn Index) -> Result<Vec<RowChange>, IndexError> {
    let mut changes = Vec::new();
    for (key, row) in keys_after(index, None, usize::MAX)? {
        let Some(current) = row.current() else {
            continue;
        };
        let certificate = CommitCertificate::from_bytes(&current.certificate)
            .map_err(|_| IndexError::MalformedRow)?;
        let statement = certificate.statement;
        if statement.scheme == Scheme::EcdsaSecp256k1 {
            changes.extend(change_suspended(index, &key, current.epoch, |peers| {
                peers.extend(statement.participants.into_iter().map(|p| p.node));
            })?);
        }
    }
    Ok(changes)
}

fn take_heads(
    index: &dyn Index,
    heads: &[TakenHead],
    since: UnixMillis,
) -> Result<Vec<RowChange>, IndexError> {
    let mut changes = Vec::new();
    for head in heads {
        let row = key(index, &head.key)?.unwrap_or_default();
        let active = row.active().map_or(Epoch(0), |active| active.epoch);
        changes.push(change_key(index, &head.key, |row| {
            let known = Epoch(head.next_epoch.0.saturating_sub(1));
            row.prepared_to = row.prepared_to.max(known);
        })?);
        if head.epoch > active || head.destroyed {
            let superseded = SupersededRow {
                epoch: head.epoch,
                destroyed: head.destroyed,
                since,
            };
            let key = head.key.as_str().as_bytes().to_vec();
            changes.push(put(Table::Superseded, key, &superseded)?);
        }
    }
    Ok(changes)
}

/// A page of keys after a name, in order.
pub fn keys_after(
    index: &dyn Index,
    after: Option<&KeyName>,
    limit: usize,
) -> Result<Vec<(KeyName, KeyRow)>, IndexError> {
    index
        .scan(
            Table::Keys,
            after.map(|name| name.as_str().as_bytes()),
            limit,
        )?
        .into_iter()
        .map(|(name, value)| {
            let name = String::from_utf8(name)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or(IndexError::MalformedRow)?;
            Ok((
                name,
                wire::decode(&value).map_err(|_| IndexError::MalformedRow)?,
            ))
        })
        .collect()
}

/// The rows that a record changes, given the rows before it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "entries that decide nothing about commands and keys change no row"
)]
pub fn changes(index: &dyn Index, record: &Record) -> Result<Vec<RowChange>, IndexError> {
    match &record.entry {
        Entry::ShareReleased(released) => uses::released(index, record.time, released),
        Entry::KeyPrepared(prepared) => {
            // The command was in force at this time, so its expiry lies at most a lifetime ahead.
            let forget = record
                .time
                .plus(MAX_LIFETIME_MS.saturating_add(REMEMBER_MARGIN_MS));
            let Judgment {
                command_id,
                command,
                ..
            } = prepared.judgment;
            let mut changes = bind_id(index, command_id, command, forget, Mark::Released(0))?;
            changes.push(change_key(index, &prepared.key, |row| {
                row.prepared.push(PreparedMark {
                    epoch: prepared.epoch,
                    session: prepared.session,
                    statement: prepared.statement,
                    command,
                });
                row.prepared_to = row.prepared_to.max(prepared.epoch);
            })?);
            changes.extend(backups::first_share(index, &prepared.key)?);
            Ok(changes)
        }
        Entry::KeyCertified {
            key,
            epoch,
            certificate,
        } => certify(index, key, *epoch, certificate),
        Entry::KeyActivated { key, proof, .. } => activate(index, record, key, proof),
        Entry::KeyIntroduced { key, birth } => {
            let change = change_key(index, key, |row| {
                row.birth.get_or_insert_with(|| birth.clone());
            })?;
            Ok(vec![change])
        }
        Entry::EpochsErased { certificate } => erase_epochs(index, record.sequence, certificate),
        // The process that writes this has finished what was to be erased.
        Entry::Boot { .. } => forget_erasing(index),
        Entry::Refused(refused) if refused.reason == Reason::CommandRejected.as_str() => {
            let (Some(digest), Some(id)) = (refused.command, refused.command_id) else {
                return Ok(Vec::new());
            };
            let forget = record
                .time
                .plus(MAX_LIFETIME_MS.saturating_add(REMEMBER_MARGIN_MS));
            bind_id(index, id, digest, forget, Mark::Rejected)
        }
        Entry::Checkpoint(_) => forget_before(index, record.time),
        // The first stays: a later one says nothing new.
        Entry::PairBanned(banned) if ban(index, &banned.peer)?.is_none() => {
            let key = banned.peer.as_str().as_bytes().to_vec();
            Ok(vec![put(Table::Bans, key, banned)?])
        }
        Entry::PairingsSuspended(incident) => {
            change_suspended(index, &incident.key, incident.epoch, |peers| {
                peers.extend(incident.peers.iter().cloned());
            })
        }
        Entry::KeyStateChanged(changed) => {
            let mut row = standing(index, &changed.key)?;
            row.standing.take(changed.mark.clone());
            row.record = record.sequence;
            let key = changed.key.as_str().as_bytes().to_vec();
            Ok(vec![put(Table::Standings, key, &row)?])
        }
        Entry::KeyStateRejected { judgment, .. } => {
            let key = rejected_key(&judgment.command);
            Ok(vec![put(Table::Standings, key, &record.sequence)?])
        }
        Entry::DestructionAnnounced { .. }
        | Entry::DestructionWithdrawn { .. }
        | Entry::KeyDestroyed(_) => destruction::changes(index, record),
        Entry::RosterFollowed {
            roster, command, ..
        } => rosters::followed(record.sequence, roster, command),
        Entry::BackupMade(_) => backups::made(index),
        Entry::Restored { .. }
        | Entry::PeerRestored { .. }
        | Entry::HeadsTaken { .. }
        | Entry::Readmitted { .. }
        | Entry::ReadmissionOrdered { .. } => restoration_changes(index, record),
        Entry::PairingsSetUp { key, epoch, pairs } => {
            change_suspended(index, key, *epoch, |peers| {
                for (peer, _) in pairs {
                    peers.remove(peer);
                }
            })
        }
        _ => Ok(Vec::new()),
    }
}

fn certify(
    index: &dyn Index,
    key: &KeyName,
    epoch: Epoch,
    certificate: &[u8],
) -> Result<Vec<RowChange>, IndexError> {
    let parsed =
        CommitCertificate::from_bytes(certificate).map_err(|_| IndexError::MalformedRow)?;
    let certified = EpochRow {
        epoch,
        session: parsed.statement.session,
        hash: parsed.hash(),
        certificate: certificate.to_vec(),
        proof: None,
    };
    let change = change_key(index, key, |row| {
        if row.certified(&certified.hash).is_none() {
            row.epochs.push(certified);
            row.epochs.sort_by_key(EpochRow::order);
        }
    })?;
    Ok(vec![change])
}

fn activate(
    index: &dyn Index,
    record: &Record,
    key: &KeyName,
    proof: &[u8],
) -> Result<Vec<RowChange>, IndexError> {
    let proven = PossessionProof::from_bytes(proof)
        .map_err(|_| IndexError::MalformedRow)?
        .certificate;
    let change = change_key(index, key, |row| {
        if let Some(row) = row.epochs.iter_mut().find(|row| row.hash == proven) {
            row.proof = Some((record.sequence, proof.to_vec()));
        }
    })?;
    let mut changes = vec![change];
    let row = self::key(index, key)?.unwrap_or_default();
    let is_birth = |epoch: &EpochRow| row.birth_of(epoch).is_none();
    if row.certified(&proven).is_some_and(is_birth) {
        changes.extend(uses::activated(index, record.time, key)?);
    }
    // What is proven counts for more than what was said: an epoch as high as that, or one that was
    // commanded since.
    let counts = |said: &SupersededRow| {
        row.certified(&proven).is_some_and(|epoch| {
            epoch.epoch >= said.epoch || commanded(epoch).is_some_and(|made| made >= said.since)
        })
    };
    if superseded(index, key)?.is_some_and(|said| !said.destroyed && counts(&said)) {
        changes.push(RowChange::Delete {
            table: Table::Superseded,
            key: key.as_str().as_bytes().to_vec(),
        });
    }
    Ok(changes)
}

/// When the command of an epoch was made.
fn commanded(epoch: &EpochRow) -> Option<UnixMillis> {
    let certificate = CommitCertificate::from_bytes(&epoch.certificate).ok()?;
    let command = quorate_proto::command::decode(&certificate.command.bytes).ok()?;
    Some(command.created)
}

/// The rows of a key without the epochs below one. What of them is on the disk is noted, so that a
/// process that dies before it is erased is followed by one that erases it.
fn erase_epochs(
    index: &dyn Index,
    sequence: u64,
    erase: &EraseCertificate,
) -> Result<Vec<RowChange>, IndexError> {
    let mut row = key(index, &erase.key)?.unwrap_or_default();
    let vouched = erase.receipts.first().map(|receipt| receipt.certificate);
    let Some(stays) = vouched.and_then(|hash| row.certified(&hash)) else {
        return Ok(Vec::new());
    };
    let (order, certificate) = (stays.order(), stays.hash);
    let mut changes = Vec::new();
    for epoch in row.prepared_below(order) {
        changes.push(RowChange::Put {
            table: Table::Erasing,
            key: share_key(&erase.key, epoch),
            value: Vec::new(),
        });
    }
    if row.birth.is_none() {
        row.birth = row.epochs.first().map(|first| first.certificate.clone());
    }
    row.prepared
        .retain(|mark| (mark.epoch, mark.session) >= order);
    row.epochs.retain(|row| row.order() >= order);
    row.erased = Some(Erased {
        epoch: erase.epoch,
        certificate,
        sequence,
    });
    changes.push(put(
        Table::Keys,
        erase.key.as_str().as_bytes().to_vec(),
        &row,
    )?);
    Ok(changes)
}

fn share_key(name: &KeyName, epoch: Epoch) -> Vec<u8> {
    [name.as_str().as_bytes(), b"/", &epoch.0.to_be_bytes()].concat()
}

/// The shares whose erasure is recorded, and which a process that died may have left on the disk.
pub fn erasing(index: &dyn Index) -> Result<BTreeSet<(KeyName, Epoch)>, IndexError> {
    let rows = index.scan(Table::Erasing, None, usize::MAX)?;
    let share = |key: &[u8]| {
        let (name, epoch) = key.split_last_chunk::<4>()?;
        let name = std::str::from_utf8(name.strip_suffix(b"/")?).ok()?;
        Some((name.parse().ok()?, Epoch(u32::from_be_bytes(*epoch))))
    };
    rows.iter()
        .map(|(key, _)| share(key).ok_or(IndexError::MalformedRow))
        .collect()
}

/// The same of one key.
pub fn erasing_of(index: &dyn Index, name: &KeyName) -> Result<BTreeSet<Epoch>, IndexError> {
    let start = [name.as_str().as_bytes(), b"/"].concat();
    let rows = index.scan(Table::Erasing, Some(&start), 2_048)?;
    let epochs = rows.iter().map_while(|(key, _)| {
        let epoch = key.strip_prefix(start.as_slice())?;
        Some(Epoch(u32::from_be_bytes(epoch.try_into().ok()?)))
    });
    Ok(epochs.collect())
}

fn forget_erasing(index: &dyn Index) -> Result<Vec<RowChange>, IndexError> {
    let rows = index.scan(Table::Erasing, None, usize::MAX)?;
    let table = Table::Erasing;
    Ok(rows
        .into_iter()
        .map(|(key, _)| RowChange::Delete { table, key })
        .collect())
}

fn change_key(
    index: &dyn Index,
    name: &KeyName,
    change: impl FnOnce(&mut KeyRow),
) -> Result<RowChange, IndexError> {
    let mut row = key(index, name)?.unwrap_or_default();
    change(&mut row);
    put(Table::Keys, name.as_str().as_bytes().to_vec(), &row)
}

/// What a record says about a command id.
#[derive(Clone, Copy)]
enum Mark {
    Released(u32),
    Rejected,
}

/// Binds an id once. A row keeps its first digest: what is recorded for other bytes under the same
/// id changes nothing.
fn bind_id(
    index: &dyn Index,
    id: CommandId,
    digest: Digest,
    forget: UnixMillis,
    mark: Mark,
) -> Result<Vec<RowChange>, IndexError> {
    let known = command(index, id)?;
    let is_new = known.is_none();
    let mut row = known.clone().unwrap_or(CommandRow {
        digest,
        forget,
        rejected: false,
        releases: 0,
    });
    if row.digest == digest {
        match mark {
            Mark::Released(count) => row.releases = row.releases.saturating_add(count),
            Mark::Rejected => row.rejected = true,
        }
    }
    if known.as_ref() == Some(&row) {
        return Ok(Vec::new());
    }
    let mut changes = vec![put(Table::Commands, id.0.as_bytes().to_vec(), &row)?];
    if is_new {
        let key = expiry_key(row.forget, id);
        changes.push(RowChange::Put {
            table: Table::Expiry,
            key,
            value: Vec::new(),
        });
    }
    Ok(changes)
}

fn expiry_key(forget: UnixMillis, id: CommandId) -> Vec<u8> {
    let mut key = forget.0.to_be_bytes().to_vec();
    key.extend_from_slice(id.0.as_bytes());
    key
}

fn forget_before(index: &dyn Index, time: UnixMillis) -> Result<Vec<RowChange>, IndexError> {
    let mut changes = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    let mut left = PRUNE_PER_CHECKPOINT;
    while left > 0 {
        // Most checkpoints find nothing to forget: they look at one row.
        let page = if after.is_some() { PRUNE_PAGE } else { 1 };
        let rows = index.scan(Table::Expiry, after.as_deref(), page.min(left))?;
        let Some((last, _)) = rows.last() else {
            break;
        };
        after = Some(last.clone());
        left = left.saturating_sub(rows.len());
        for (key, _) in rows {
            let (forget, id) = key.split_at_checked(8).ok_or(IndexError::MalformedRow)?;
            let forget = <[u8; 8]>::try_from(forget).map_err(|_| IndexError::MalformedRow)?;
            if u64::from_be_bytes(forget) >= time.0 {
                return Ok(changes);
            }
            changes.push(RowChange::Delete {
                table: Table::Commands,
                key: id.to_vec(),
            });
            changes.push(RowChange::Delete {
                table: Table::Expiry,
                key,
            });
        }
    }
    Ok(changes)
}
