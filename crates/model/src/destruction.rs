//! The end of a key: announced, confirmed, carried out by every node alone, and told in signed
//! receipts that anybody can check (P34, P11).
//!
//! Destruction takes two commands. An announcement starts each node's own delay; only a second
//! command, endorsed afresh and naming the announcement, carries it out, and only after that delay
//! at that node. Silence cancels: an announcement that nobody confirms in time is worth nothing.
//! With the word of every admin a key is destroyed at once.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::{
    bytes::Digest,
    certificate::KeyEvidence,
    command::{SignedCommand, check_key_id},
    identity::{Signature, sign_digest},
    ids::{Epoch, KeyId, KeyName, NodeId, UnixMillis},
    key::{KeyRecord, KeyState},
    refusal::{Reason, Refusal},
    roster::PinnedRoster,
    standing::check_reason,
    tagged::{Tag, Tagged},
    wire,
};

/// How long after the delay an announcement can be confirmed, in milliseconds: 7 days. Then it is
/// withdrawn by silence.
pub const CONFIRM_WINDOW_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// The most announcements of one key that a node keeps at a time.
pub const MAX_ANNOUNCEMENTS: usize = 8;

/// The most orders about the end of one key that are read.
pub const MAX_ORDERS: usize = 64;

/// The most receipts about the end of one key that are read: every node of a roster may give a few.
pub const MAX_RECEIPTS: usize = 1_024;

/// The most epochs that one receipt lists. A node that erases more lists the highest.
pub const MAX_ERASED_EPOCHS: usize = 256;

/// The most bytes of what is told of the end of one key.
pub const MAX_DESTRUCTION_BYTES: usize = 1 << 20;

/// What is to be done about the end of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DestroyStep {
    /// Says that the key is to be destroyed. Nothing happens to it yet.
    Announce,
    /// Withdraws an announcement.
    Cancel {
        /// The digest of the announcement.
        announcement: Digest,
    },
    /// Carries an announcement out.
    Confirm {
        /// The digest of the announcement.
        announcement: Digest,
    },
    /// Carries it out without an announcement, on the word of every admin.
    AtOnce,
}

impl DestroyStep {
    /// The step as programs and people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Announce => "announce",
            Self::Cancel { .. } => "cancel",
            Self::Confirm { .. } => "confirm",
            Self::AtOnce => "at-once",
        }
    }

    /// The announcement that it names.
    pub const fn announcement(self) -> Option<Digest> {
        match self {
            Self::Cancel { announcement } | Self::Confirm { announcement } => Some(announcement),
            Self::Announce | Self::AtOnce => None,
        }
    }

    /// Whether nothing is left of the key after it.
    pub const fn destroys(self) -> bool {
        matches!(self, Self::Confirm { .. } | Self::AtOnce)
    }

    /// Whether one admin is enough, and nobody's word against it counts: keeping a key loses
    /// nothing.
    pub const fn needs_one(self) -> bool {
        matches!(self, Self::Cancel { .. })
    }
}

/// A command about the end of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestroyKey {
    /// The name of the key. It is never used again.
    pub key: KeyName,
    /// The key; a name is an alias (I4).
    pub key_id: KeyId,
    /// What is to be done.
    pub step: DestroyStep,
    /// Why, for people; as in [`SetKeyState`](crate::standing::SetKeyState).
    pub reason: String,
}

impl DestroyKey {
    /// Checks what needs no state.
    ///
    /// # Errors
    ///
    /// [`Reason::RequestInvalid`] when the reason is empty, too long, or not printable on one line.
    pub fn check(&self) -> Result<(), Refusal> {
        check_reason("the destruction of a key", &self.reason)
    }

    /// Checks that a key is the one that the command names, and not another of its name (I4).
    ///
    /// # Errors
    ///
    /// [`Reason::KeyIdMismatch`] when it is another.
    pub fn check_key(&self, held: &KeyRecord) -> Result<(), Refusal> {
        check_key_id(&self.key, self.key_id, held)
    }
}

/// The refusal of the end of a key that is still in use (P33).
pub fn not_retired(key: &KeyName, state: KeyState) -> Refusal {
    Refusal::new(
        Reason::KeyNotRetired,
        format!(
            "key \"{key}\" is {state}: only a key that is deactivated or reported as compromised is \
             destroyed, deactivate it first"
        ),
    )
    .with("key", key)
    .with("state", state)
}

/// How well a node erased its shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErasureMethod {
    /// The data keys are gone from the files of the node. Whether the medium keeps a block that was
    /// overwritten is not for a program to know.
    BestEffort,
    /// The keys were destroyed in a device that does not give them out.
    Strong,
}

impl ErasureMethod {
    /// The method as programs read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BestEffort => "best-effort",
            Self::Strong => "strong",
        }
    }

    /// What the method is worth, for people.
    pub const fn statement(self) -> &'static str {
        match self {
            Self::BestEffort => {
                "the data keys of the shares were removed from the node's files, which were written \
                 anew under another table key; drives that spread writes (SSDs), file systems that \
                 keep old blocks, snapshots and copies of the disk may still hold the old ones, \
                 which the node's passphrase or key file opens; only shares that are sealed by a \
                 hardware module, and these were not, are gone from all copies at once"
            }
            Self::Strong => {
                "the key that sealed the shares was destroyed inside a hardware module, so copies of \
                 the disk are worth nothing"
            }
        }
    }
}

/// What a node says about the end of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// It has heard the announcement.
    Announced {
        /// When, by its own time.
        since: UnixMillis,
        /// When its delay ends: from then on it takes a confirmation.
        from: UnixMillis,
        /// When the announcement lapses.
        until: UnixMillis,
    },
    /// It will never act by this announcement.
    Withdrawn {
        /// The digest of the announcement.
        announcement: Digest,
    },
    /// It has no share of the key and never will have one.
    Destroyed {
        /// [`KeyState::Destroyed`] or [`KeyState::DestroyedCompromised`].
        state: KeyState,
        /// The epochs whose shares it erased by this order; none where it held none. At most
        /// [`MAX_ERASED_EPOCHS`].
        epochs: Vec<Epoch>,
        /// How.
        method: ErasureMethod,
        /// How many backups this node made since it first held a share of the key: each of them may
        /// still hold one, sealed.
        backups: u32,
    },
}

/// A node's signed word about the end of a key (P34, P41).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestructionReceipt {
    /// The node.
    pub node: NodeId,
    /// The name of the key.
    pub key: KeyName,
    /// The key.
    pub key_id: KeyId,
    /// The digest of the command that the node acts by.
    pub command: Digest,
    /// What it says.
    pub said: Said,
    /// The journal sequence of its record.
    pub record: u64,
    /// The hash of the record before that one: where the node's log stood.
    pub head: Digest,
    /// Over all of it.
    pub signature: Signature,
}

impl DestructionReceipt {
    /// What the node signs.
    pub fn digest(&self) -> Digest {
        let tagged = Tagged::new(Tag::Receipt)
            .text("key-destruction")
            .text(self.node.as_str())
            .text(self.key.as_str())
            .bytes(self.key_id.as_bytes())
            .digest(&self.command)
            .number(self.record)
            .digest(&self.head);
        match &self.said {
            Said::Announced { since, from, until } => tagged
                .text("announced")
                .number(since.0)
                .number(from.0)
                .number(until.0)
                .finish(),
            Said::Withdrawn { announcement } => {
                tagged.text("withdrawn").digest(announcement).finish()
            }
            Said::Destroyed {
                state,
                epochs,
                method,
                backups,
            } => tagged
                .text("destroyed")
                .text(state.as_str())
                .list(epochs, |tagged, epoch| tagged.number(u64::from(epoch.0)))
                .text(method.as_str())
                .number(u64::from(*backups))
                .finish(),
        }
    }

    /// Signs the receipt.
    #[must_use]
    pub fn sign(mut self, key: &SigningKey) -> Self {
        self.signature = sign_digest(key, &self.digest());
        self
    }

    /// About how many bytes the receipt takes where it is kept.
    pub fn stored_bytes(&self) -> usize {
        // Two names, an id, two digests, a signature and numbers.
        const REST_BYTES: usize = 384;
        const EPOCH_BYTES: usize = 5;
        let epochs = match &self.said {
            Said::Destroyed { epochs, .. } => epochs.len(),
            Said::Announced { .. } | Said::Withdrawn { .. } => 0,
        };
        epochs
            .saturating_mul(EPOCH_BYTES)
            .saturating_add(REST_BYTES)
    }

    /// Whether the node says that it has destroyed its shares.
    pub const fn is_destroyed(&self) -> bool {
        matches!(self.said, Said::Destroyed { .. })
    }

    /// Whether a node can say this of the order that the receipt names.
    pub fn fits(&self, order: DestroyStep) -> bool {
        match (&self.said, order) {
            (Said::Announced { .. }, step) => step == DestroyStep::Announce,
            (
                Said::Withdrawn { announcement },
                DestroyStep::Cancel {
                    announcement: named,
                },
            ) => *announcement == named,
            (Said::Destroyed { .. }, step) => step.destroys(),
            (Said::Withdrawn { .. }, _) => false,
        }
    }

    /// Whether the receipt is one for a step: for the announcement itself, for any order that
    /// withdrew the same announcement, and for any that destroyed the key.
    pub fn answers(&self, destroy: &DestroyKey, command: &Digest) -> bool {
        let says = match &self.said {
            Said::Announced { .. } => {
                destroy.step == DestroyStep::Announce && self.command == *command
            }
            Said::Withdrawn { .. } => self.fits(destroy.step),
            // It may have been destroyed by an earlier order.
            Said::Destroyed { .. } => !destroy.step.needs_one(),
        };
        says && self.key == destroy.key && self.key_id == destroy.key_id
    }

    /// Checks that the receipt is this node's own word about a key.
    ///
    /// # Errors
    ///
    /// [`Reason::ProtocolViolation`] when it is not.
    pub fn verify(
        &self,
        pinned: &PinnedRoster,
        node: &NodeId,
        (key, key_id): (&KeyName, KeyId),
    ) -> Result<(), Refusal> {
        let card = pinned.card(node);
        let signed = card.is_some_and(|card| {
            card.identity_key
                .verify(&self.digest(), &self.signature)
                .is_ok()
        });
        let sound = match &self.said {
            Said::Destroyed { state, epochs, .. } => {
                state.is_destroyed() && epochs.len() <= MAX_ERASED_EPOCHS
            }
            Said::Announced { since, from, until } => since <= from && from <= until,
            Said::Withdrawn { .. } => true,
        };
        if signed && sound && self.node == *node && self.key == *key && self.key_id == key_id {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::ProtocolViolation,
            format!("the receipt of node {node} is not one about the end of key \"{key}\""),
        )
        .with("node", node))
    }
}

/// What is known of the end of a key: by one node, or by whoever asked many. Nothing in it is
/// trusted before it is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destruction {
    /// The commands: announcements, withdrawals, and those that were carried out.
    pub orders: Vec<SignedCommand>,
    /// What nodes say about them.
    pub receipts: Vec<DestructionReceipt>,
}

impl Destruction {
    /// Whether nothing is known.
    pub const fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.receipts.is_empty()
    }

    /// The command with this digest.
    pub fn order(&self, digest: &Digest) -> Option<&SignedCommand> {
        self.orders.iter().find(|order| order.digest() == *digest)
    }

    /// The nodes that say that they have destroyed their shares.
    pub fn destroyed(&self) -> impl Iterator<Item = &DestructionReceipt> {
        self.receipts
            .iter()
            .filter(|receipt| receipt.is_destroyed())
    }
}

/// The proof of the end of a key: who the key was, who ordered its end, and what every node says
/// (P34). It verifies by itself, for whoever has the roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestructionCertificate {
    /// The certificates of the key's birth and of its last epoch, with the proof of possession.
    pub evidence: KeyEvidence,
    /// The orders that nodes carried out, with the announcements that these name.
    pub orders: Vec<SignedCommand>,
    /// The receipts of the nodes that destroyed their shares; at most one of each.
    pub receipts: Vec<DestructionReceipt>,
}

impl DestructionCertificate {
    /// The encoding that is stored and handed around.
    ///
    /// # Errors
    ///
    /// [`Reason::TooLarge`] when it cannot be encoded.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Refusal> {
        wire::encode(self)
            .map_err(|error| Refusal::new(Reason::TooLarge, format!("a certificate: {error}")))
    }

    /// Reads a certificate, without verifying it.
    ///
    /// # Errors
    ///
    /// [`Reason::ProtocolViolation`] when the bytes are no certificate.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        wire::decode(bytes).map_err(|error| {
            Refusal::new(
                Reason::ProtocolViolation,
                format!("the bytes are no certificate of destruction: {error}"),
            )
        })
    }

    /// Checks the receipts against the orders that were verified, and counts. `orders` holds the
    /// digest of every order that carries a destruction of this key out; `ordered` are the rosters that
    /// these were made under.
    ///
    /// # Errors
    ///
    /// [`Reason::ProtocolViolation`] when a receipt is forged, repeated, about something else, or
    /// names an order that is not there.
    pub fn count(
        &self,
        pinned: &PinnedRoster,
        record: &KeyRecord,
        orders: &BTreeSet<Digest>,
        ordered: &[PinnedRoster],
    ) -> Result<DestructionCount, Refusal> {
        // Nodes that were added since the order, and never were there before, hold nothing of the key.
        let required: BTreeSet<&NodeId> = pinned
            .roster()
            .nodes
            .iter()
            .map(|card| &card.id)
            .filter(|node| ordered.iter().any(|then| then.card(node).is_some()))
            .collect();
        let fails = |what: String| {
            Refusal::new(
                Reason::ProtocolViolation,
                format!("certificate of destruction does not hold: {what}"),
            )
        };
        let mut told = BTreeMap::new();
        for receipt in &self.receipts {
            receipt.verify(pinned, &receipt.node, (&record.name, record.id()))?;
            if !receipt.is_destroyed() {
                return Err(fails(format!("node {} only announces", receipt.node)));
            }
            if !orders.contains(&receipt.command) {
                return Err(fails(format!(
                    "the order that node {} carried out is not in it, or names no announcement \
                     that was made long enough before it",
                    receipt.node
                )));
            }
            if told.insert(receipt.node.clone(), receipt).is_some() {
                return Err(fails(format!("node {} stands twice", receipt.node)));
            }
        }
        let holders: BTreeSet<&NodeId> = record.participants.iter().map(|p| &p.node).collect();
        let missing = |holds: bool| {
            required
                .iter()
                .filter(|node| !told.contains_key(**node) && holders.contains(*node) == holds)
                .map(|node| (*node).clone())
                .collect()
        };
        let mut missing_holders: Vec<NodeId> = missing(true);
        // A holder that was removed cannot be asked any more, and has not answered.
        missing_holders.extend(
            holders
                .iter()
                .filter(|node| !required.contains(**node) && !told.contains_key(**node))
                .map(|node| (*node).clone()),
        );
        let missing_others = missing(false);
        Ok(DestructionCount {
            holders: holders.len(),
            nodes: required.len(),
            destroyed: told.into_keys().collect(),
            missing_holders,
            missing_others,
        })
    }
}

/// How far the destruction of a key has come, by receipts that were verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestructionCount {
    /// How many nodes hold shares of the last epoch.
    pub holders: usize,
    /// How many nodes must say so: those of the roster that were in it when the end was ordered.
    pub nodes: usize,
    /// Who has destroyed what it had.
    pub destroyed: Vec<NodeId>,
    /// The holders of the last epoch that have not said so.
    pub missing_holders: Vec<NodeId>,
    /// The other nodes that have not said so: each may have held an earlier epoch.
    pub missing_others: Vec<NodeId>,
}

impl DestructionCount {
    /// Whether every node that can ever have held a share of the key has destroyed what it had. Where
    /// no node of the order's time is left in the roster, nobody in service says so, and it is never
    /// complete.
    pub const fn is_complete(&self) -> bool {
        self.nodes > 0 && self.missing_holders.is_empty() && self.missing_others.is_empty()
    }
}

#[cfg(test)]
mod tests;
