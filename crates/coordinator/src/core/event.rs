//! What goes into the core and what comes out of it.

use std::sync::Arc;

use quorate_model::{
    CommandId, KeyId, NodeId, Refusal, UnixMillis,
    command::{Endorsement, SignedCommand},
    destruction::Destruction,
    node_api::{NodeReply, NodeRequest},
    operation::CommandView,
    roster::PinnedRoster,
};
use serde::{Deserialize, Serialize};

use super::admission::Admitted;

/// One look at the clocks of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Microseconds of monotonic time since some fixed moment of this run.
    pub mono_us: u64,
    /// The wall clock.
    pub wall: UnixMillis,
}

impl Now {
    /// Milliseconds of monotonic time.
    pub fn ms(self) -> u64 {
        self.mono_us / 1_000
    }
}

/// Names a caller who waits for an answer; chosen by the shell.
pub type Handle = u64;

/// Names one call to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Names one batch of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// What the store keeps.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are commands")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreItem {
    /// What a command came to.
    Command(StoredCommand),
    /// A certified key.
    Key(StoredKey),
    /// Evidence against a node.
    Evidence(Vec<u8>),
    /// A command that made a roster, and its place among those that were followed.
    Roster(u32, SignedCommand),
    /// When a key was put in use and last used.
    Use(StoredUse),
    /// What nodes said of the end of a key.
    End(StoredEnd),
}

/// What a command came to, for as long as its id is remembered (P8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCommand {
    /// The command with its outcome.
    pub view: CommandView,
    /// When the id may be forgotten.
    pub forget: UnixMillis,
}

/// A key with all that proves it. Nothing in it is believed before it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKey {
    /// The name.
    pub name: quorate_model::KeyName,
    /// The encoded commit certificate.
    pub certificate: Vec<u8>,
    /// The encoded proof of possession, once there is one.
    pub proof: Option<Vec<u8>>,
    /// The encoded certificate of the key's birth, of a later epoch.
    pub birth: Option<Vec<u8>>,
}

/// The words of nodes that they have destroyed their shares of a key, with the orders that they name.
/// Nothing in it is believed before it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEnd {
    /// The name of the key.
    pub key: quorate_model::KeyName,
    /// The key.
    pub key_id: KeyId,
    /// The orders and the words.
    pub destruction: Destruction,
}

/// When a key was put in use and last used, as far as anybody bore it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredUse {
    /// The key.
    pub key_id: KeyId,
    /// When it was put in use.
    pub activated: Option<UnixMillis>,
    /// When it was last used, to the hour.
    pub used: Option<UnixMillis>,
}

/// What happens to the core.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are replies")]
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody asks for a command to be carried out.
    Submit {
        /// Where the answer goes.
        handle: Handle,
        /// The command.
        command: Admitted,
        /// Only asks whether the nodes would carry it out.
        validate_only: bool,
        /// What the store holds under the command's id. The core itself knows only what is under
        /// way or recent.
        remembered: Option<Box<StoredCommand>>,
    },
    /// Somebody adds their word to a command that is known.
    Endorse {
        /// Where the answer goes.
        handle: Handle,
        /// The command.
        id: CommandId,
        /// What is said.
        endorsement: Endorsement,
        /// What the store holds under the id.
        remembered: Option<Box<StoredCommand>>,
    },
    /// A node can be called.
    LinkUp {
        /// The node.
        node: NodeId,
    },
    /// A node cannot be called any more; whatever it was asked is lost.
    LinkDown {
        /// The node.
        node: NodeId,
    },
    /// A call came to an end.
    Reply {
        /// The call.
        call: CallId,
        /// The answer, or why there is none.
        result: Result<NodeReply, CallFailure>,
    },
    /// A batch of writes is durable.
    Stored {
        /// The batch.
        batch: BatchId,
    },
    /// Time has passed.
    Tick,
}

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The node refuses.
    Refused(Refusal),
    /// The link broke; nobody knows whether the node acted.
    Lost,
    /// The time ran out; nobody knows whether the node acted.
    TimedOut,
}

/// What the core wants done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Ask a node.
    Call {
        /// Names the call in its [`Event::Reply`].
        call: CallId,
        /// Whom.
        node: NodeId,
        /// What.
        request: NodeRequest,
        /// How long to wait.
        timeout_ms: u64,
    },
    /// Make these writes durable, then report [`Event::Stored`]. Batches become durable in order.
    Persist {
        /// Names the batch.
        batch: BatchId,
        /// The writes.
        writes: Vec<StoreItem>,
    },
    /// Answer a caller. What the answer says is durable.
    Answer {
        /// Who asked.
        handle: Handle,
        /// The answer.
        result: Result<Arc<CommandView>, Refusal>,
    },
    /// Tell those who watch.
    Progress(Arc<CommandView>),
    /// Tell the operator.
    Notice(Notice),
    /// Go by this roster from here on.
    Roster(Arc<PinnedRoster>),
    /// Send a [`Event::Tick`] at this monotonic time, in milliseconds, at the latest.
    WakeAt(u64),
}

/// What an operator should know; the shell logs it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A node did something that an honest node does not do.
    Misbehaved {
        /// The node.
        node: NodeId,
        /// What it did.
        what: &'static str,
        /// Whether evidence proves it to others.
        proven: bool,
    },
    /// A node took longer than usual and is passed over.
    Stalled {
        /// The node.
        node: NodeId,
    },
    /// A node does not trust its clock.
    ClockSuspect {
        /// The node.
        node: NodeId,
    },
    /// A node listed a key whose certificate or proof does not hold.
    FalseKey {
        /// The node.
        node: NodeId,
        /// The key.
        key: quorate_model::KeyName,
    },
    /// A key was learned from a node.
    KeyLearned {
        /// The key.
        key: quorate_model::KeyName,
    },
    /// A node has banned another after a failed consistency check: the two sign nothing together.
    PairBanned {
        /// Who refuses.
        node: NodeId,
        /// Whom.
        peer: NodeId,
    },
    /// The pairings between nodes are set up afresh.
    PairingsRenewed {
        /// The key.
        key: quorate_model::KeyName,
        /// The nodes.
        nodes: Vec<NodeId>,
    },
    /// A node refuses its word for one that was restored.
    HeadsRefused {
        /// The restored node.
        node: NodeId,
        /// Who refuses.
        witness: NodeId,
        /// Why.
        why: String,
    },
    /// A ceremony begins again.
    CeremonyAgain {
        /// The key.
        key: quorate_model::KeyName,
        /// Why.
        why: String,
    },
}
