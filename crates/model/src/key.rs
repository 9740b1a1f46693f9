//! Keys: their records and states.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    bytes::Digest,
    ids::{Epoch, KeyId, KeyName, NodeId, PartyIndex},
    scheme::{Purposes, Scheme},
};

/// The state of a key (P33; NIST SP 800-57 part 1, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyState {
    /// Shares exist, but not every share has been proven; the key signs nothing.
    PreActive,
    /// The key signs.
    Active,
    /// The key signs nothing until it is resumed.
    Suspended,
    /// The key's time is over; it signs no more.
    Deactivated,
    /// Somebody else may have the key; it signs no more.
    Compromised,
    /// Its shares are gone for good.
    Destroyed,
    /// Its shares are gone for good, and somebody else may have had them.
    DestroyedCompromised,
}

impl KeyState {
    /// The state as programs read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreActive => "PRE_ACTIVE",
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
            Self::Deactivated => "DEACTIVATED",
            Self::Compromised => "COMPROMISED",
            Self::Destroyed => "DESTROYED",
            Self::DestroyedCompromised => "DESTROYED_COMPROMISED",
        }
    }

    /// Whether the shares are gone.
    pub const fn is_destroyed(self) -> bool {
        matches!(self, Self::Destroyed | Self::DestroyedCompromised)
    }

    /// Whether the key's time is over, so that it may be destroyed (P33).
    pub const fn is_retired(self) -> bool {
        matches!(self, Self::Deactivated | Self::Compromised)
    }

    /// The state after a destruction.
    #[must_use]
    pub const fn destroyed(self) -> Self {
        match self {
            Self::Compromised | Self::DestroyedCompromised => Self::DestroyedCompromised,
            Self::PreActive
            | Self::Active
            | Self::Suspended
            | Self::Deactivated
            | Self::Destroyed => Self::Destroyed,
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One holder of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Participant {
    /// The index of the share.
    pub index: PartyIndex,
    /// The node that holds it.
    pub node: NodeId,
}

/// What is known of a key in one epoch, from its commit certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The name of the key.
    pub name: KeyName,
    /// The scheme.
    pub scheme: Scheme,
    /// What the key may sign.
    pub purposes: Purposes,
    /// The epoch of this sharing.
    pub epoch: Epoch,
    /// How many nodes sign.
    pub threshold: u16,
    /// Who holds shares, by index.
    pub participants: Vec<Participant>,
    /// The untweaked group key: 33 bytes compressed for secp256k1, 32 for Ed25519.
    pub group_key: Vec<u8>,
    /// The public shares in index order, encoded like the group key.
    pub verifying_shares: Vec<Vec<u8>>,
    /// The BIP-32 chain code (P22).
    pub chain_code: [u8; 32],
    /// The digest of the command that created the key.
    pub command: Digest,
    /// The hash of the commit certificate.
    pub certificate: Digest,
}

impl KeyRecord {
    /// The id of the key.
    pub const fn id(&self) -> KeyId {
        KeyId::of(&self.command)
    }

    /// How many holders it takes so that every set of signers has one of them: n-t+1 (P41).
    pub fn blocking(&self) -> usize {
        self.participants
            .len()
            .saturating_sub(usize::from(self.threshold))
            .saturating_add(1)
    }

    /// The index of a node's share.
    pub fn index_of(&self, node: &NodeId) -> Option<PartyIndex> {
        self.participants
            .iter()
            .find(|p| p.node == *node)
            .map(|p| p.index)
    }

    /// The node that holds the share with this index.
    pub fn node_at(&self, index: PartyIndex) -> Option<&NodeId> {
        self.participants
            .iter()
            .find(|p| p.index == index)
            .map(|p| &p.node)
    }

    /// The public share with this index.
    pub fn verifying_share(&self, index: PartyIndex) -> Option<&[u8]> {
        let at = self.participants.iter().position(|p| p.index == index)?;
        self.verifying_shares.get(at).map(Vec::as_slice)
    }
}
