//! Signatures in rounds: threshold ECDSA (P7, P17, P25).
//!
//! ```text
//!   a message of a command ─► choose t holders ─► begin ─► rounds 0 to 3 ─► verified signature
//!            ▲                     │                  │
//!            └── other holders ◄───┴── lost, refused, ◄┘
//!                                      banned, pairings set up afresh
//! ```
//!
//! A session belongs to one message and is over as soon as one signer fails it: nothing of it can be
//! used again. So many sessions run at a time as are configured; the others wait. Two nodes of which
//! one has banned the other are never asked together again, and a subset whose pairings are being
//! set up is passed over meanwhile, so that no single node can hold a key up.

mod choose;
mod renewal;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_model::{
    NodeId,
    ids::CommandId,
    key::Participant,
    node_api::{AttemptId, SigningReply},
    share::ShareReceipt,
};

use renewal::Renewals;

/// Everything that is under way in rounds.
#[derive(Default)]
pub(super) struct Ecdsa {
    sessions: BTreeMap<u64, Session>,
    /// Commands that wait for a session to end.
    queue: VecDeque<CommandId>,
    /// Pairs of which one has refused to work with the other, in order.
    bans: BTreeSet<(NodeId, NodeId)>,
    /// In how many sessions that failed a node took part since it last took part in one that did
    /// not.
    failures: BTreeMap<NodeId, u32>,
    renewals: Renewals,
}

/// One message, signed by one subset.
struct Session {
    op: CommandId,
    item: usize,
    attempt: AttemptId,
    participants: Vec<Participant>,
    awaited: BTreeSet<NodeId>,
    said: BTreeMap<NodeId, SigningReply>,
    /// Whether anything that one said has been carried to another.
    advanced: bool,
}

/// What has been signed of a command, and what is under way.
#[derive(Default)]
pub(super) struct Progress {
    /// By message.
    signed: BTreeMap<usize, SignedMessage>,
    under_way: BTreeSet<usize>,
    queued: bool,
}

struct SignedMessage {
    signature: Vec<u8>,
    signers: Vec<Participant>,
    receipts: Vec<ShareReceipt>,
}

impl Ecdsa {
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.renewals.is_empty()
    }

    fn is_banned(&self, one: &NodeId, other: &NodeId) -> bool {
        self.bans.contains(&ordered(one, other))
    }
}

fn ordered(one: &NodeId, other: &NodeId) -> (NodeId, NodeId) {
    if one < other {
        (one.clone(), other.clone())
    } else {
        (other.clone(), one.clone())
    }
}
