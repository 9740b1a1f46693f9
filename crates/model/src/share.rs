//! Tickets, signing requests and signature shares as nodes sign them (P23, P24).

use serde::{Deserialize, Serialize};

use crate::{
    bytes::Digest,
    command::SignedCommand,
    identity::{BadSignature, IdentityKey, Signature},
    ids::{CoordinatorId, Epoch, KeyName, NodeId, PartyIndex, TicketId},
    path::DerivationPath,
    scheme::Scheme,
    tagged::{Tag, Tagged},
};

/// The most tickets that are made at a time.
pub const MAX_TICKETS_PER_CALL: u32 = 1024;

/// The most tickets that a node keeps for one coordinator and scheme.
pub const MAX_TICKETS_POOLED: usize = 4096;

/// How long a node keeps a ticket, in milliseconds of service (P23).
pub const TICKET_LIFE_MS: u64 = 60_000;

/// The most share requests in one call.
pub const MAX_SHARE_BATCH: usize = 256;

/// A pair of nonce commitments as received: encoded points that nobody has checked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commitments {
    /// D, the hiding nonce's commitment: 33 bytes compressed for secp256k1, 32 for Ed25519.
    pub hiding: Vec<u8>,
    /// E, the binding nonce's commitment, encoded alike.
    pub binding: Vec<u8>,
}

impl std::fmt::Debug for Commitments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Commitments")
    }
}

/// The public half of a nonce pair that a node keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// 128 random bits.
    pub id: TicketId,
    /// The commitments to the nonces.
    pub commitments: Commitments,
}

/// Tickets of one node for one coordinator, signed as a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketBatch {
    /// The node that keeps the nonces.
    pub node: NodeId,
    /// The coordinator that may use them.
    pub coordinator: CoordinatorId,
    /// The scheme that they serve.
    pub scheme: Scheme,
    /// The run of the node's process that they die with.
    pub boot: [u8; 16],
    /// The tickets.
    pub tickets: Vec<Ticket>,
    /// The node's signature over all of it.
    pub signature: Signature,
}

impl TicketBatch {
    /// What the node signs.
    pub fn digest(&self) -> Digest {
        Tagged::new(Tag::Ticket)
            .text(self.node.as_str())
            .text(self.coordinator.as_str())
            .text(self.scheme.as_str())
            .bytes(&self.boot)
            .list(&self.tickets, |tagged, ticket| {
                tagged
                    .bytes(ticket.id.as_bytes())
                    .bytes(&ticket.commitments.hiding)
                    .bytes(&ticket.commitments.binding)
            })
            .finish()
    }

    /// Checks the node's signature.
    pub fn verify(&self, identity: &IdentityKey) -> Result<(), BadSignature> {
        identity.verify(&self.digest(), &self.signature)
    }
}

/// One signer's part of a signing set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetEntry {
    /// Whose ticket it is.
    pub signer: PartyIndex,
    /// The ticket.
    pub ticket: TicketId,
    /// Its commitments.
    pub commitments: Commitments,
}

/// Who signs one message with which commitments, in order of index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetOfSigners {
    /// The entries, strictly ascending by index.
    pub entries: Vec<SetEntry>,
}

impl SetOfSigners {
    /// The hash of the set, as share statements and audit records carry it.
    pub fn digest(&self) -> Digest {
        Tagged::new(Tag::SigningSet)
            .list(&self.entries, |tagged, entry| {
                tagged
                    .number(u64::from(entry.signer.number()))
                    .bytes(entry.ticket.as_bytes())
                    .bytes(&entry.commitments.hiding)
                    .bytes(&entry.commitments.binding)
            })
            .finish()
    }

    /// Whether indices are strictly ascending: sorted, and each at most once.
    pub fn is_ordered(&self) -> bool {
        self.entries.is_sorted_by(|a, b| a.signer < b.signer)
    }

    /// The indices in order.
    pub fn signers(&self) -> impl Iterator<Item = PartyIndex> + '_ {
        self.entries.iter().map(|entry| entry.signer)
    }

    /// The entry of a signer.
    pub fn entry(&self, signer: PartyIndex) -> Option<&SetEntry> {
        self.entries.iter().find(|entry| entry.signer == signer)
    }
}

/// A request for the shares of one command: one signing set per message to sign (P24).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRequest {
    /// The command with its endorsements.
    pub command: SignedCommand,
    /// The key to sign with.
    pub key: KeyName,
    /// The epoch whose shares are used.
    pub epoch: Epoch,
    /// One set per message, in the order in which the payloads' messages stand.
    pub items: Vec<SetOfSigners>,
}

/// The hash by which statements and audit records name what a share signs: the message, which
/// child of the key signs it, and whether that is tweaked by BIP-341. A share can be checked
/// against this alone, so a false share convicts its signer and a true one cannot be made to look
/// false.
pub fn signed_message_hash(
    message: &[u8],
    path: &DerivationPath,
    taproot_key_path: bool,
) -> Digest {
    Tagged::new(Tag::Share)
        .text("message")
        .list(path.steps(), |tagged, step| tagged.number(u64::from(*step)))
        .number(u64::from(taproot_key_path))
        .bytes(message)
        .finish()
}

/// What stands in the place of a share where signatures are made in rounds, and no share of one
/// means anything to others: the hash of the whole signature.
pub fn whole_signature_hash(signature: &[u8]) -> Digest {
    Tagged::new(Tag::Share)
        .text("signature")
        .bytes(signature)
        .finish()
}

/// One signature share with the set it was made for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareItem {
    /// The hash of the signing set; for ECDSA the id of the session.
    pub signing_set: Digest,
    /// The hash of what the share signs; see [`signed_message_hash`].
    pub message: Digest,
    /// z, 32 bytes: big-endian for secp256k1, little-endian for Ed25519. For ECDSA see
    /// [`whole_signature_hash`].
    pub share: [u8; 32],
}

impl std::fmt::Debug for ShareItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShareItem")
            .field("signing_set", &self.signing_set)
            .finish_non_exhaustive()
    }
}

/// What a node states when signature shares leave it (P24).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareStatement {
    /// The node.
    pub node: NodeId,
    /// The sequence of the journal record that permits the shares.
    pub sequence: u64,
    /// The hash of that record.
    pub record: Digest,
    /// The digest of the command; of the certificate for a proof of possession.
    pub command: Digest,
    /// The key.
    pub key: KeyName,
    /// The epoch.
    pub epoch: Epoch,
    /// The shares in the order of the request.
    pub items: Vec<ShareItem>,
}

impl ShareStatement {
    /// The hash of the statement.
    pub fn digest(&self) -> Digest {
        Tagged::new(Tag::Share)
            .text(self.node.as_str())
            .number(self.sequence)
            .digest(&self.record)
            .digest(&self.command)
            .text(self.key.as_str())
            .number(u64::from(self.epoch.0))
            .list(&self.items, |tagged, item| {
                tagged
                    .digest(&item.signing_set)
                    .digest(&item.message)
                    .bytes(&item.share)
            })
            .finish()
    }
}

/// A statement with the node's signature over the batch that it left in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareReceipt {
    /// The statement.
    pub statement: ShareStatement,
    /// The hashes of all statements of the batch.
    pub batch: Vec<Digest>,
    /// Over the batch.
    pub signature: Signature,
}

/// What a node signs when a batch of statements leaves it.
pub fn share_batch_digest(batch: &[Digest]) -> Digest {
    Tagged::new(Tag::Share)
        .text("batch")
        .list(batch, Tagged::digest)
        .finish()
}

impl ShareReceipt {
    /// Checks that the node signed a batch that holds the statement.
    pub fn verify(&self, identity: &IdentityKey) -> Result<(), BadSignature> {
        if self.batch.len() > MAX_SHARE_BATCH || !self.batch.contains(&self.statement.digest()) {
            return Err(BadSignature);
        }
        identity.verify(&share_batch_digest(&self.batch), &self.signature)
    }
}
