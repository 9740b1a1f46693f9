//! How a node that was restored from a backup is told what it has forgotten (P35).
//!
//! A restored node knows neither what it prepared since the backup, nor which epochs are in use.
//! It shows a fresh nonce in its signed status; every other node signs, over that nonce, what it
//! knows of the keys. Nobody but the restored node itself can have others take note of a
//! restoration: they look for its signature.

use serde::{Deserialize, Serialize};

use crate::{
    backup::{BackupId, RestoreId},
    bytes::{Digest, Nonce32},
    identity::Signature,
    ids::{Epoch, KeyName, NodeId},
    refusal::{Reason, Refusal},
    roster::Roster,
    standing::{Standing, check_reason},
    tagged::{Tag, Tagged},
    wire,
};

/// The most heads in one page.
pub const MAX_HEADS: usize = 200;

/// How far above the epoch in use a restored node's next number may lie: it leaves out those that
/// others say they know, up to about a million, and a command's worth more.
pub const MOST_LEFT_OUT: u32 = (1 << 20) + (1 << 12);

/// That a node was restored, and waits for the word of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// The backup that it was restored from.
    pub backup: BackupId,
    /// This restoration of it.
    pub restore: RestoreId,
    /// What the others sign over; it is drawn anew every minute and at every start.
    pub nonce: Nonce32,
}

/// A request to take a restored node back although some of the others cannot say what they know,
/// because they are lost, or in quarantine themselves (P35). Whoever speaks for it answers for what
/// those knew alone: stops of keys, epochs in use, and the end of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadmitNode {
    /// The node.
    pub node: NodeId,
    /// The restoration; the word for one is none for another.
    pub restore: RestoreId,
    /// The nodes without whose word it is to be, at least one, ascending.
    pub without: Vec<NodeId>,
    /// Why, for people: 1 to [`MAX_REASON_BYTES`](crate::standing::MAX_REASON_BYTES) bytes without
    /// control characters.
    pub reason: String,
}

impl ReadmitNode {
    /// Checks what needs no state: the nodes, and the reason.
    ///
    /// # Errors
    ///
    /// [`Reason::RequestInvalid`] when no node is named, one stands twice or out of order, the
    /// restored one is among them, or the reason is empty or cannot be shown; and
    /// [`Reason::NodeUnknown`] when one is no node of the roster.
    pub fn check(&self, roster: &Roster) -> Result<(), Refusal> {
        check_reason("a readmission", &self.reason)?;
        let invalid = |message: &str| Err(Refusal::new(Reason::RequestInvalid, message));
        if self.without.is_empty() {
            return invalid(
                "no node is named without whose word the restored one is to be readmitted: with the \
                 word of all others it takes no command",
            );
        }
        if !self.without.is_sorted_by(|one, next| one < next) || self.without.contains(&self.node) {
            return invalid(
                "the nodes without whose word another is to be readmitted stand twice, out of order, \
                 or the restored one is among them",
            );
        }
        let mut named = std::iter::once(&self.node).chain(&self.without);
        match named.find(|node| roster.node(node).is_none()) {
            Some(unknown) => Err(Refusal::new(
                Reason::NodeUnknown,
                format!("node {unknown} is not in the roster"),
            )
            .with("node", unknown)),
            None => Ok(()),
        }
    }
}

/// What a node knows of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHead {
    /// The key.
    pub key: KeyName,
    /// The epoch in use, zero if none is.
    pub epoch: Epoch,
    /// The hash of the certificate of that epoch.
    pub certificate: Option<Digest>,
    /// The lowest epoch of which the node knows nothing.
    pub next_epoch: Epoch,
    /// The commands of admins about its state.
    pub standing: Standing,
    /// Whether the key is destroyed.
    pub destroyed: bool,
}

/// One page of what a node knows, signed for one restored node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadsAttestation {
    /// Who says it.
    pub node: NodeId,
    /// To whom.
    pub about: NodeId,
    /// Why, and over which nonce.
    pub quarantine: Quarantine,
    /// The roster in force.
    pub roster: Digest,
    /// Whether the node that says it is in quarantine itself.
    pub is_quarantined: bool,
    /// The last key of the page before.
    pub after: Option<KeyName>,
    /// Whether there are no more pages.
    pub is_last: bool,
    /// The keys of this page, in the order of their names.
    pub heads: Vec<KeyHead>,
    /// Over [`HeadsAttestation::digest`].
    pub signature: Signature,
}

impl HeadsAttestation {
    /// What the node signs.
    pub fn digest(&self) -> Digest {
        let flag = u64::from;
        let after = self.after.as_ref().map_or("", KeyName::as_str);
        Tagged::new(Tag::Heads)
            .text(self.node.as_str())
            .text(self.about.as_str())
            .bytes(self.quarantine.backup.as_bytes())
            .bytes(self.quarantine.restore.as_bytes())
            .bytes(&self.quarantine.nonce.0)
            .digest(&self.roster)
            .number(flag(self.is_quarantined))
            .text(after)
            .number(flag(self.is_last))
            .list(&self.heads, |tagged, head| {
                // With every endorsement: who carries the page must not leave one out.
                let standing = wire::encode(&head.standing).unwrap_or_default();
                tagged
                    .text(head.key.as_str())
                    .number(u64::from(head.epoch.0))
                    .digest(&head.certificate.unwrap_or_default())
                    .number(u64::from(head.next_epoch.0))
                    .bytes(&standing)
                    .number(flag(head.destroyed))
            })
            .finish()
    }
}

/// How far the readmission of a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readmission {
    /// The nodes whose word is not complete; the node is in service again when there are none.
    pub missing: Vec<NodeId>,
}

/// A head as a restored node takes it from the word of others, as its journal records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenHead {
    /// The key.
    pub key: KeyName,
    /// The highest epoch that somebody says is in use. Nothing lower signs here.
    pub epoch: Epoch,
    /// The lowest epoch that this node may prepare.
    pub next_epoch: Epoch,
    /// Whether somebody says that it is destroyed.
    pub destroyed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_an_attestation_counts() {
        let head = KeyHead {
            key: "one".parse().unwrap(),
            epoch: Epoch(1),
            certificate: None,
            next_epoch: Epoch(2),
            standing: Standing::default(),
            destroyed: false,
        };
        let attestation = HeadsAttestation {
            node: "node-a".parse().unwrap(),
            about: "node-b".parse().unwrap(),
            quarantine: Quarantine {
                backup: BackupId([1; 16]),
                restore: RestoreId([2; 16]),
                nonce: Nonce32([3; 32]),
            },
            roster: Digest::ZERO,
            is_quarantined: false,
            after: None,
            is_last: false,
            heads: vec![head],
            signature: Signature([0; 64]),
        };
        let mut digests = std::collections::BTreeSet::from([attestation.digest()]);

        for change in [
            |a: &mut HeadsAttestation| a.node = "node-c".parse().unwrap(),
            |a: &mut HeadsAttestation| a.about = "node-c".parse().unwrap(),
            |a: &mut HeadsAttestation| a.quarantine.backup = BackupId([9; 16]),
            |a: &mut HeadsAttestation| a.quarantine.restore = RestoreId([9; 16]),
            |a: &mut HeadsAttestation| a.quarantine.nonce = Nonce32([9; 32]),
            |a: &mut HeadsAttestation| a.roster = Digest::new([9; 32]),
            |a: &mut HeadsAttestation| a.is_quarantined = true,
            |a: &mut HeadsAttestation| a.after = Some("nine".parse().unwrap()),
            |a: &mut HeadsAttestation| a.is_last = true,
            |a: &mut HeadsAttestation| a.heads.clear(),
            |a: &mut HeadsAttestation| a.heads[0].key = "nine".parse().unwrap(),
            |a: &mut HeadsAttestation| a.heads[0].epoch = Epoch(9),
            |a: &mut HeadsAttestation| a.heads[0].certificate = Some(Digest::new([9; 32])),
            |a: &mut HeadsAttestation| a.heads[0].next_epoch = Epoch(9),
            |a: &mut HeadsAttestation| a.heads[0].destroyed = true,
        ] {
            let mut other = attestation.clone();
            change(&mut other);
            assert!(digests.insert(other.digest()));
        }
    }
}
