//! Audit records: what a node writes into its journal before anything leaves it (P37), and how
//! anyone checks a chain of them offline (P38).
//!
//! A record is hashed over its exact encoded bytes and names the hash of the record before it.
//! Checkpoints are signed with the node's identity key; because each covers the hash of its
//! predecessor, one checkpoint vouches for everything before it. No secret is ever in a record
//! (P39): shares, nonces and sealed bytes have no place in any entry.

mod chain;

use serde::{Deserialize, Serialize};

pub use chain::{ChainError, ChainFault, ChainPosition, ChainSummary, ChainVerifier, verify_chain};

use crate::{
    backup::{BackupId, RestoreId},
    bytes::Digest,
    command::SignedCommand,
    identity::Signature,
    ids::{CommandId, Epoch, KeyId, KeyName, NodeId, UnixMillis},
    key::KeyState,
    node_api::EraseCertificate,
    quarantine::TakenHead,
    standing::StateMark,
    tagged::{Tag, Tagged},
    wire::{self, WireError},
};

/// The sequence of the first record of a journal. Zero stands for "nothing yet".
pub const FIRST_SEQUENCE: u64 = 1;

/// The most bytes that one encoded record may have.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// One record of a node's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The position in the journal, from [`FIRST_SEQUENCE`] without gaps.
    pub sequence: u64,
    /// The hash of the record before this one, [`Digest::ZERO`] for the first.
    pub previous: Digest,
    /// The node's time (P43). It never goes back along a chain.
    pub time: UnixMillis,
    /// The run of the node's process that wrote the record.
    pub boot: [u8; 16],
    /// What happened.
    pub entry: Entry,
}

impl Record {
    /// The exact bytes that are stored, hashed and exported: a version byte, then postcard.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        wire::encode(self)
    }

    /// Reads a record; unknown versions and trailing bytes are refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode(bytes)
    }
}

/// The hash of a record, over its exact encoded bytes (P1).
pub fn record_hash(bytes: &[u8]) -> Digest {
    Tagged::new(Tag::Audit).text("record").bytes(bytes).finish()
}

/// What a node decided or saw.
///
/// The encoding numbers the variants in this order and writes fields by position. Therefore
/// variants are only ever added at the end, and a variant's fields never change: a changed shape
/// is a new variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Entry {
    /// A process began to serve.
    Boot {
        /// The software version.
        version: String,
        /// The node.
        node: NodeId,
    },
    /// A roster was pinned.
    RosterPinned {
        /// The exact bytes of the signed roster.
        #[serde(with = "serde_bytes")]
        roster: Vec<u8>,
    },
    /// A request was not carried out.
    Refused(Refused),
    /// A share of a new epoch is durable; the statement that says so may leave the node (P19).
    KeyPrepared(KeyPrepared),
    /// All holders have prepared (P20).
    KeyCertified {
        /// The key.
        key: KeyName,
        /// The epoch.
        epoch: Epoch,
        /// The encoded commit certificate.
        #[serde(with = "serde_bytes")]
        certificate: Vec<u8>,
    },
    /// Signature shares may leave the node (P24).
    ShareReleased(ShareReleased),
    /// Every share of an epoch has been proven.
    KeyActivated {
        /// The key.
        key: KeyName,
        /// The epoch.
        epoch: Epoch,
        /// The encoded proof of possession.
        #[serde(with = "serde_bytes")]
        proof: Vec<u8>,
    },
    /// A peer broke a protocol, with evidence that others can check (P16).
    PeerBlamed {
        /// The peer.
        node: NodeId,
        /// The encoded evidence.
        #[serde(with = "serde_bytes")]
        evidence: Vec<u8>,
    },
    /// The node trusts its clock again (P43).
    ClockConfirmed {
        /// The node's time from here on.
        time: UnixMillis,
        /// Whose statements confirmed it; empty when it was released at the node's console.
        witnesses: Vec<NodeId>,
    },
    /// The node does not trust its clock (P43).
    ClockSuspect {
        /// The node's own time.
        expected: UnixMillis,
        /// What the wall clock said.
        observed: UnixMillis,
    },
    /// The chain up to here, signed, with the digest of the index at a sequence (P37).
    Checkpoint(Checkpoint),
    /// A peer failed a consistency check of threshold ECDSA: nothing more is done with it, over all
    /// keys and epochs.
    PairBanned(PairBanned),
    /// A signature did not hold although every check had passed: an incident. The pairings with
    /// these peers are not used again before they are set up afresh.
    PairingsSuspended(PairingsSuspended),
    /// Pairings are durable; whatever suspended them is over.
    PairingsSetUp {
        /// The key.
        key: KeyName,
        /// The epoch.
        epoch: Epoch,
        /// The peers with the id that each pairing has at both ends.
        pairs: Vec<(NodeId, Digest)>,
    },
    /// The admins changed where a key stands (P33).
    KeyStateChanged(KeyStateChanged),
    /// An admin forbade a command about the state of a key before this node acted by it: it never
    /// will, because such commands do not expire.
    KeyStateRejected {
        /// The command.
        judgment: Judgment,
        /// The key.
        key: KeyName,
    },
    /// The node holds or held a share of a later epoch of a key, and knows it by this.
    KeyIntroduced {
        /// The key.
        key: KeyName,
        /// The encoded commit certificate of its birth.
        #[serde(with = "serde_bytes")]
        birth: Vec<u8>,
    },
    /// The node erases its shares of the epochs below one (P29).
    EpochsErased {
        /// The word of the holders of that epoch.
        certificate: EraseCertificate,
    },
    /// The admins announced the end of a key: this node's delay begins (P34).
    DestructionAnnounced {
        /// The announcement.
        judgment: Judgment,
        /// When it expires: its id is remembered until then and a margin (P8).
        expires: UnixMillis,
        /// The key.
        key: KeyName,
        /// Its id.
        key_id: KeyId,
        /// When this node's delay ends.
        from: UnixMillis,
        /// When the announcement lapses.
        until: UnixMillis,
        /// The command, which anybody can check who has the roster.
        command: SignedCommand,
    },
    /// An admin withdrew an announcement: this node never acts by it.
    DestructionWithdrawn {
        /// The withdrawal.
        judgment: Judgment,
        /// The key.
        key: KeyName,
        /// Its id.
        key_id: KeyId,
        /// The digest of the announcement.
        announcement: Digest,
        /// The command.
        command: SignedCommand,
    },
    /// The tombstone of a key: this node erases every share of it, and never holds one again.
    KeyDestroyed(KeyDestroyed),
    /// A backup may leave the node, with everything up to this record in it (P36).
    BackupMade(BackupMade),
    /// The node was restored from a backup: it is in quarantine from here on (P35).
    Restored {
        /// The backup.
        backup: BackupId,
        /// This restoration of it.
        restore: RestoreId,
    },
    /// Another node was restored. It is the only restoration of that backup that this node helps.
    PeerRestored {
        /// The node.
        node: NodeId,
        /// The backup.
        backup: BackupId,
        /// The restoration.
        restore: RestoreId,
    },
    /// What the others say of keys, which a restored node goes by.
    HeadsTaken {
        /// The keys.
        heads: Vec<TakenHead>,
    },
    /// The quarantine is over.
    Readmitted {
        /// The restoration.
        restore: RestoreId,
        /// Whose word was taken.
        witnesses: Vec<NodeId>,
    },
    /// A command made a roster, and this node follows it: it is in force from here on, or stands
    /// beside the one in force where both follow the same one (P3).
    RosterFollowed {
        /// On whose word.
        judgment: Judgment,
        /// The version of the roster.
        version: u32,
        /// Its hash.
        roster: Digest,
        /// Whether it is in force from here on.
        in_force: bool,
        /// The command.
        command: SignedCommand,
    },
    /// The admin quorum takes this node back without the word of some of the others. The record of the
    /// readmission comes next.
    ReadmissionOrdered {
        /// On whose word.
        judgment: Judgment,
        /// The command.
        command: SignedCommand,
    },
    /// A peer stands before where it has stood, or runs twice: an incident (P35).
    PeerRolledBack(PeerRolledBack),
}

/// The end of a key at one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDestroyed {
    /// The order.
    pub judgment: Judgment,
    /// When it expires: its id is remembered until then and a margin (P8).
    pub expires: UnixMillis,
    /// The key.
    pub key: KeyName,
    /// Its id.
    pub key_id: KeyId,
    /// The state that the key is in at this node from here on.
    pub state: KeyState,
    /// The epochs whose shares are erased; none where the node held none.
    pub epochs: Vec<Epoch>,
    /// How many backups this node made while it held shares of the key.
    pub backups: u32,
    /// The announcement, unless every admin ordered the end at once.
    pub announcement: Option<SignedCommand>,
    /// The order, which anybody can check who has the roster.
    pub command: SignedCommand,
}

impl Entry {
    /// Whether nothing may go on without this record, however much waits for the disk: what it
    /// keeps from happening again would be tried again. There is at most one for each session.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::PairBanned(_) | Self::PairingsSuspended(_))
    }

    /// The kind as programs and people read it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Boot { .. } => "boot",
            Self::RosterPinned { .. } => "roster-pinned",
            Self::Refused(_) => "refused",
            Self::KeyPrepared(_) => "key-prepared",
            Self::KeyCertified { .. } => "key-certified",
            Self::ShareReleased(_) => "share-released",
            Self::KeyActivated { .. } => "key-activated",
            Self::PeerBlamed { .. } => "peer-blamed",
            Self::ClockConfirmed { .. } => "clock-confirmed",
            Self::ClockSuspect { .. } => "clock-suspect",
            Self::Checkpoint(_) => "checkpoint",
            Self::PairBanned(_) => "pair-banned",
            Self::PairingsSuspended(_) => "pairings-suspended",
            Self::PairingsSetUp { .. } => "pairings-set-up",
            Self::KeyStateChanged(_) => "key-state-changed",
            Self::KeyStateRejected { .. } => "key-state-rejected",
            Self::KeyIntroduced { .. } => "key-introduced",
            Self::EpochsErased { .. } => "epochs-erased",
            Self::DestructionAnnounced { .. } => "destruction-announced",
            Self::DestructionWithdrawn { .. } => "destruction-withdrawn",
            Self::KeyDestroyed(_) => "key-destroyed",
            Self::BackupMade(_) => "backup-made",
            Self::Restored { .. } => "restored",
            Self::PeerRestored { .. } => "peer-restored",
            Self::HeadsTaken { .. } => "heads-taken",
            Self::Readmitted { .. } => "readmitted",
            Self::ReadmissionOrdered { .. } => "readmission-ordered",
            Self::RosterFollowed { .. } => "roster-followed",
            Self::PeerRolledBack(_) => "peer-rolled-back",
        }
    }
}

/// On whose word a command was judged, and by which rule (P37).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgment {
    /// The digest of the command.
    pub command: Digest,
    /// The id of the command.
    pub command_id: CommandId,
    /// The hash of the endorsements that came with it.
    pub endorsements: Digest,
    /// The hash of the policy in force.
    pub policy: Digest,
    /// The rule that decided.
    pub rule: String,
}

/// A request that was not carried out. What could not be decoded is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The digest of the command.
    pub command: Option<Digest>,
    /// The id of the command.
    pub command_id: Option<CommandId>,
    /// The hash of the endorsements that came with it.
    pub endorsements: Option<Digest>,
    /// The hash of the policy in force.
    pub policy: Digest,
    /// The key that was asked for.
    pub key: Option<KeyName>,
    /// The epoch that was asked for.
    pub epoch: Option<Epoch>,
    /// The stable text of the reason.
    pub reason: String,
    /// The sentence for people.
    pub detail: String,
}

/// A durable share of a new epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPrepared {
    /// The command that asked for the key.
    pub judgment: Judgment,
    /// The key.
    pub key: KeyName,
    /// The epoch.
    pub epoch: Epoch,
    /// The id of the session that made it.
    pub session: Digest,
    /// The hash of the PREPARED statement.
    pub statement: Digest,
}

/// The rule of a share that was released for a client, and not to evacuate a key.
pub const RULE_OF_CLIENTS: &str = "role:client";

/// Permission for signature shares to leave the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareReleased {
    /// The command; for a proof of possession the one that created the key.
    pub judgment: Judgment,
    /// When the command expires: its id is remembered until then and a margin (P8).
    pub expires: UnixMillis,
    /// The key.
    pub key: KeyName,
    /// The epoch of the share.
    pub epoch: Epoch,
    /// What the shares are for.
    pub purpose: SharePurpose,
    /// One item per message.
    pub items: Vec<ItemRecord>,
}

/// What a signature share is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SharePurpose {
    /// A payload that a client asked for.
    Sign,
    /// The proof of possession of a new epoch (P20).
    ProofOfPossession,
}

/// The end of everything between this node and a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairBanned {
    /// The peer.
    pub peer: NodeId,
    /// The key that was to sign.
    pub key: KeyName,
    /// Its epoch.
    pub epoch: Epoch,
    /// The session.
    pub session: Digest,
    /// The round whose message failed.
    pub round: u8,
}

/// A peer whose journal does not go on from where it was: its disk was put back, or it runs twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRolledBack {
    /// The peer.
    pub node: NodeId,
    /// The session in which it was found.
    pub session: Digest,
    /// Where the peer had proven to stand.
    pub before: JournalPoint,
    /// Where it proves to stand in this session.
    pub shown: JournalPoint,
}

/// The end of a journal, as its node says in a hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalPoint {
    /// The last durable record.
    pub sequence: u64,
    /// The hash of that record.
    pub head: Digest,
    /// The run of the process.
    pub boot: [u8; 16],
}

/// A signature that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingsSuspended {
    /// The key that was to sign.
    pub key: KeyName,
    /// Its epoch.
    pub epoch: Epoch,
    /// The command that asked for it.
    pub command: Digest,
    /// The session.
    pub session: Digest,
    /// Everybody else who took part.
    pub peers: Vec<NodeId>,
}

/// A change of where a key stands, which this node acts by from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStateChanged {
    /// The command.
    pub judgment: Judgment,
    /// The key.
    pub key: KeyName,
    /// Its id.
    pub key_id: KeyId,
    /// The change with the command, which anybody can check who has the roster.
    pub mark: StateMark,
    /// The state that the key is in at this node from here on.
    pub state: KeyState,
}

/// A backup, whose last journal record is the one that holds this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupMade {
    /// The id of the backup.
    pub backup: BackupId,
    /// The keys that it is sealed to; see [`recipient_fingerprint`].
    ///
    /// [`recipient_fingerprint`]: crate::backup::recipient_fingerprint
    pub recipients: Vec<Digest>,
}

/// One message that a share was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRecord {
    /// The hash of the message, under [`Tag::Audit`]; see [`message_hash`].
    pub message: Digest,
    /// The hash of the signing set (P24).
    pub signing_set: Digest,
}

/// The hash by which records name a message to sign.
pub fn message_hash(message: &[u8]) -> Digest {
    Tagged::new(Tag::Audit)
        .text("message")
        .bytes(message)
        .finish()
}

/// A signed point of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The sequence up to which the index had applied records.
    pub index_sequence: u64,
    /// The digest of the index at that sequence; only the node itself can recompute it.
    pub index_digest: Digest,
    /// The node's signature over [`checkpoint_digest`].
    pub signature: Signature,
}

/// What a node signs in a checkpoint: the place in the chain, and the index.
pub fn checkpoint_digest(
    sequence: u64,
    previous: &Digest,
    time: UnixMillis,
    boot: &[u8; 16],
    index_sequence: u64,
    index_digest: &Digest,
) -> Digest {
    Tagged::new(Tag::Audit)
        .text("checkpoint")
        .number(sequence)
        .digest(previous)
        .number(time.0)
        .bytes(boot)
        .number(index_sequence)
        .digest(index_digest)
        .finish()
}

#[cfg(test)]
mod tests;
