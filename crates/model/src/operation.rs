//! What callers of the public API see: the fate of commands, keys and nodes.

use serde::{Deserialize, Serialize};

use crate::{
    backup::RestoreId,
    bytes::Digest,
    certificate::KeyEvidence,
    command::SignedCommand,
    destruction::{Destruction, DestructionReceipt},
    ids::{CommandId, Epoch, KeyName, NodeId, UnixMillis},
    key::{KeyRecord, KeyState},
    life::Successor,
    node_api::EraseReceipt,
    refusal::Refusal,
    roster::{RosterReceipt, SignedRoster},
    scheme::Scheme,
    share::ShareReceipt,
    standing::{Standing, StateReceipt},
};

/// The state of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CommandState {
    /// More principals must endorse it.
    AwaitingEndorsement,
    /// It is being carried out.
    Running,
    /// It was carried out; terminal.
    Succeeded,
    /// Nodes refuse it: the rules or an admin forbid it; terminal.
    Denied,
    /// It was not carried out; the same command may be submitted again until it expires.
    Failed,
    /// Its time ran out; terminal.
    Expired,
    /// It was withdrawn; terminal.
    Cancelled,
}

impl CommandState {
    /// The state as programs read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingEndorsement => "AWAITING_ENDORSEMENT",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Denied => "DENIED",
            Self::Failed => "FAILED",
            Self::Expired => "EXPIRED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// What kind of command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CommandKind {
    /// Creates a key.
    CreateKey,
    /// Signs payloads.
    Sign,
    /// Changes the state of a key.
    SetKeyState,
    /// Deals a key's shares again.
    ReshareKey,
    /// Destroys a key.
    DestroyKey,
    /// Changes who belongs to the cluster.
    ChangeRoster,
    /// Takes a restored node back into service.
    ReadmitNode,
    /// Signs with a key whose time is over, to where its creation says.
    Evacuate,
}

impl CommandKind {
    /// The kind as programs read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateKey => "create-key",
            Self::Sign => "sign",
            Self::SetKeyState => "set-key-state",
            Self::ReshareKey => "reshare-key",
            Self::DestroyKey => "destroy-key",
            Self::ChangeRoster => "change-roster",
            Self::ReadmitNode => "readmit-node",
            Self::Evacuate => "evacuate",
        }
    }
}

/// Where a running command stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The step, in words: `hello`, `commit`, `echo`, ...
    pub step: String,
    /// Whose answer is awaited.
    pub awaited: Vec<NodeId>,
    /// 0 to 100.
    pub percent: u8,
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CommandOutcome {
    /// A key is active.
    KeyCreated {
        /// Its name.
        key: KeyName,
        /// Its epoch.
        epoch: Epoch,
    },
    /// Everything is signed.
    Signed(SignOutcome),
    /// Holders act by a change of state.
    KeyStateSet(StateOutcome),
    /// A key has new shares.
    KeyReshared(ReshareOutcome),
    /// Nodes act by a step towards the end of a key.
    KeyDestruction(DestructionOutcome),
    /// Nodes act by the next roster.
    RosterChanged(RosterOutcome),
}

/// Who acts by a roster, and who has not said so (P3, P41).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterOutcome {
    /// The version of the roster.
    pub version: u32,
    /// Its hash.
    pub roster: Digest,
    /// The receipts of the nodes that do.
    pub receipts: Vec<RosterReceipt>,
    /// Every other node of the roster, with its refusal if it gave one.
    pub missing: Vec<(NodeId, Option<Refusal>)>,
}

/// Who acts by a step towards the end of a key, and who has not said so (P34, P41).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestructionOutcome {
    /// The key.
    pub key: KeyName,
    /// The receipts of the nodes that do.
    pub receipts: Vec<DestructionReceipt>,
    /// Every other node of the roster, with its refusal if it gave one.
    pub missing: Vec<(NodeId, Option<Refusal>)>,
}

/// Who has erased the shares that a key had before (P29).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReshareOutcome {
    /// The key.
    pub key: KeyName,
    /// The epoch of the new shares.
    pub epoch: Epoch,
    /// The receipts of the nodes that have erased their shares of lower epochs.
    pub erased: Vec<EraseReceipt>,
    /// The nodes with such shares that have not said so. They erase them when they are back.
    pub missing: Vec<NodeId>,
}

/// Who acts by a change of state, and who has not said so (P41).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateOutcome {
    /// The key.
    pub key: KeyName,
    /// How many holders must act by it so that any signing set has one of them: n-t+1.
    pub binding: u16,
    /// The receipts of the holders that do.
    pub receipts: Vec<StateReceipt>,
    /// The holders that have not said so. They hear of it when they are back.
    pub missing: Vec<NodeId>,
}

/// The rosters of the cluster as callers see them. Nothing in it is trusted before it is followed
/// from the roster that the caller pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterView {
    /// Roster 1, and the commands that made those after it, or as many as were asked for and fit.
    pub file: SignedRoster,
    /// The receipts of the nodes that act by the newest roster.
    pub receipts: Vec<RosterReceipt>,
}

/// Signatures with the proof of who took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignOutcome {
    /// The key.
    pub key: KeyName,
    /// The epoch whose shares were used.
    pub epoch: Epoch,
    /// The scheme.
    pub scheme: Scheme,
    /// The nodes whose shares were used, by index.
    pub signers: Vec<NodeId>,
    /// One signature per message, in the order in which the payloads' messages stand.
    pub signatures: Vec<Vec<u8>>,
    /// The receipts of the signers, in the same order.
    pub receipts: Vec<ShareReceipt>,
}

/// A command as callers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandView {
    /// The id.
    pub id: CommandId,
    /// The digest of its bytes.
    pub digest: Digest,
    /// What it is.
    pub kind: CommandKind,
    /// The key that it is about; none for one about the cluster.
    pub key: Option<KeyName>,
    /// Its state.
    pub state: CommandState,
    /// When it was made.
    pub created: UnixMillis,
    /// When it expires.
    pub expires: UnixMillis,
    /// Where it stands while it runs.
    pub progress: Option<Progress>,
    /// What it came to.
    pub outcome: Option<CommandOutcome>,
    /// Why it did not succeed.
    pub error: Option<Refusal>,
    /// The exact bytes with the words so far, while more principals must endorse it: whoever
    /// approves it signs these bytes.
    pub awaiting: Option<SignedCommand>,
}

impl CommandView {
    /// What the command is about, for people: the name of a key, or the cluster.
    pub fn about(&self) -> &str {
        self.key.as_ref().map_or("the cluster", KeyName::as_str)
    }
}

/// A key as callers see it. Nothing in it is trusted before its evidence is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// The record.
    pub record: KeyRecord,
    /// The state.
    pub state: KeyState,
    /// Certificate and proof.
    pub evidence: KeyEvidence,
    /// The commands about its state.
    pub standing: Standing,
    /// What is known of its end.
    pub destruction: Destruction,
    /// The lowest number that every node would prepare for a next epoch, as nodes say; none where it
    /// is the one after the present epoch.
    pub next_epoch: Option<Epoch>,
    /// When the key was put in use, as the coordinator knows it.
    pub activated: Option<UnixMillis>,
    /// When it was last used, to the hour, as the coordinator knows it.
    pub used: Option<UnixMillis>,
    /// The key that takes its place, as the coordinator knows it.
    pub replaced_by: Option<Successor>,
}

/// A node as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The id.
    pub id: NodeId,
    /// Its region.
    pub region: String,
    /// Whether its link is up.
    pub connected: bool,
    /// Its software version; empty while it was never seen.
    pub version: String,
    /// The smoothed round trip in microseconds; 0 while unknown.
    pub latency_us: u64,
    /// Its last known journal sequence.
    pub journal_sequence: u64,
    /// Its process id; 0 when it is not connected.
    pub pid: u32,
    /// Whether it trusts its clock.
    pub clock_confirmed: bool,
    /// The restoration from a backup after which it waits to be readmitted.
    pub quarantine: Option<RestoreId>,
}
