//! What a coordinator asks of a node and what the node answers. The coordinator drives every
//! protocol; a node never starts anything.

use serde::{Deserialize, Serialize};

use crate::{
    address::{AddressKind, AddressStatement},
    bytes::{Digest, Nonce32},
    certificate::{KeyEvidence, PreparedStatement},
    command::SignedCommand,
    destruction::{Destruction, DestructionReceipt},
    identity::Signature,
    ids::{Epoch, KeyName, NodeId, PartyIndex, UnixMillis},
    key::{KeyRecord, KeyState},
    path::DerivationPath,
    quarantine::{HeadsAttestation, Quarantine, Readmission},
    refusal::{Reason, Refusal},
    roster::{PinnedRoster, RosterReceipt},
    scheme::Scheme,
    share::{SetOfSigners, ShareReceipt, ShareRequest, ShareStatement, TicketBatch},
    standing::{Standing, StateReceipt},
    tagged::{Tag, Tagged},
};

/// A ceremony as the coordinator names it to the nodes: 128 random bits per attempt.
pub type AttemptId = [u8; 16];

/// What a coordinator asks of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeRequest {
    /// Where the node stands.
    Status {
        /// Makes the answer fresh.
        nonce: Nonce32,
    },
    /// A page of the node's keys after a name.
    ListKeys {
        /// The last name of the page before.
        after: Option<KeyName>,
        /// How many at the most.
        limit: u32,
    },
    /// Signing tickets for later (P23).
    MakeTickets {
        /// For which scheme.
        scheme: Scheme,
        /// How many.
        count: u32,
    },
    /// Signature shares; each request stands alone (P24).
    SignShares {
        /// At most [`crate::share::MAX_SHARE_BATCH`].
        requests: Vec<ShareRequest>,
    },
    /// Runs the gate on a command and does nothing.
    Validate {
        /// The command.
        command: SignedCommand,
    },
    /// Starts a ceremony: answers with the node's hello.
    BeginCeremony {
        /// The coordinator's name for the attempt.
        attempt: AttemptId,
        /// The command that asks for it.
        command: SignedCommand,
        /// The epoch to make.
        epoch: Epoch,
        /// What is reshared, and by whom; none when a key is born.
        source: Option<ReshareFrom>,
    },
    /// Carries the envelopes of one round to the node: answers with those of the next.
    AdvanceCeremony {
        /// The attempt.
        attempt: AttemptId,
        /// The round that the envelopes belong to.
        round: u8,
        /// One envelope from every participant.
        envelopes: Vec<Vec<u8>>,
    },
    /// Hands over a commit certificate and asks for the node's part of the proof of possession.
    ProveKey {
        /// The encoded certificate.
        certificate: Vec<u8>,
        /// All holders with a ticket each.
        set: SetOfSigners,
    },
    /// Hands over the finished proof: the epoch becomes the one in use. At a node that held a share
    /// of an earlier epoch and holds none of this one, that share is not used any more.
    ActivateKey {
        /// The key.
        key: KeyName,
        /// The epoch that is proven.
        epoch: Epoch,
        /// The encoded certificate of the epoch.
        certificate: Vec<u8>,
        /// The encoded proof.
        proof: Vec<u8>,
    },
    /// Has the node erase its shares of all epochs below those that new holders have vouched for
    /// (P29). Each erasure stands alone.
    EraseEpochs {
        /// At most [`MAX_ERASURES`].
        erasures: Vec<EraseCertificate>,
    },
    /// Hands over evidence against a peer for the node's audit log (P16).
    RecordEvidence {
        /// The encoded evidence.
        evidence: Vec<u8>,
    },
    /// A page of durable journal records.
    ReadAudit {
        /// The first sequence.
        from: u64,
        /// How many at the most.
        limit: u32,
    },
    /// Asks the node to state its wall clock (P43).
    AttestTime {
        /// The challenge of the node whose clock is in doubt.
        challenge: Nonce32,
    },
    /// Hands over the statements of peers to a node whose clock is in doubt (P43).
    ConfirmTime {
        /// The statements.
        attestations: Vec<TimeAttestation>,
    },
    /// Starts a pairwise set-up for threshold ECDSA: answers with the node's hello.
    BeginPairing {
        /// The coordinator's name for the attempt.
        attempt: AttemptId,
        /// The encoded commit certificate of the key.
        certificate: Vec<u8>,
        /// The holders between whom everything is set up, ascending.
        holders: Vec<PartyIndex>,
    },
    /// Carries the envelopes of one round to the node: answers with those of the next.
    AdvancePairing {
        /// The attempt.
        attempt: AttemptId,
        /// The round that the envelopes belong to.
        round: u8,
        /// One envelope from every other participant; in rounds of broadcasts from this one too.
        envelopes: Vec<Vec<u8>>,
    },
    /// Starts an ECDSA signature: answers with the node's hello.
    BeginSigning {
        /// The coordinator's name for the attempt.
        attempt: AttemptId,
        /// What is to be signed, and by whom.
        request: SigningRequest,
    },
    /// Carries the envelopes of one round to the node: answers with those of the next.
    AdvanceSigning {
        /// The attempt.
        attempt: AttemptId,
        /// The round that the envelopes belong to.
        round: u8,
        /// As in [`NodeRequest::AdvancePairing`].
        envelopes: Vec<Vec<u8>>,
    },
    /// Asks the node to state an address of a key that it holds a share of.
    AttestAddress {
        /// The key.
        key: KeyName,
        /// The child of the key.
        path: DerivationPath,
        /// On which chain, and in which form.
        kind: AddressKind,
    },
    /// Brings a command about the state of a key (P33).
    SetKeyState {
        /// The command.
        command: SignedCommand,
    },
    /// Brings a command about the end of a key (P34).
    DestroyKey {
        /// The command.
        command: SignedCommand,
    },
    /// Asks the node what it knows of the keys, for one that was restored from a backup (P35). The
    /// node takes note of the restoration before it answers.
    AttestHeads {
        /// The signed status of the restored node.
        status: Box<NodeStatus>,
        /// The last key of the page before.
        after: Option<KeyName>,
    },
    /// Brings a command that makes the next roster (P3).
    ChangeRoster {
        /// The command.
        command: SignedCommand,
    },
    /// Asks for the commands that lead from a roster to what the node knows.
    ListRosters {
        /// The hash of the roster in force where the answer goes.
        since: Digest,
    },
    /// Brings a restored node what the others say. With the word of all of them it is in service
    /// again.
    Readmit {
        /// Pages of what others say, in their order; at most [`MAX_ATTESTATIONS`].
        attestations: Vec<HeadsAttestation>,
        /// The word of the admin quorum that some of the others need not say anything
        /// ([`ReadmitNode`](crate::quarantine::ReadmitNode)).
        command: Option<SignedCommand>,
    },
}

/// The most pages in one request of [`NodeRequest::Readmit`].
pub const MAX_ATTESTATIONS: usize = 4;

/// The most commands in one answer to [`NodeRequest::ListRosters`].
pub const MAX_LISTED_ROSTERS: usize = 16;

/// The most erasures in one request: they cost one rewrite of the keyring together.
pub const MAX_ERASURES: usize = 256;

/// What a resharing starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReshareFrom {
    /// The epoch that is reshared, with its proof of possession.
    pub evidence: KeyEvidence,
    /// Who deals: exactly as many of its holders as make the key.
    pub dealers: Vec<NodeId>,
}

/// A request for a signature that is made in rounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningRequest {
    /// The command with its endorsements.
    pub command: SignedCommand,
    /// The key to sign with.
    pub key: KeyName,
    /// The epoch whose shares are used.
    pub epoch: Epoch,
    /// Which of the command's messages, from 0, in the order in which the payloads' messages stand.
    pub item: u32,
    /// Exactly t holders, ascending.
    pub signers: Vec<PartyIndex>,
}

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "the large replies are the rare ones, and each is moved once"
)]
pub enum NodeReply {
    /// To [`NodeRequest::Status`].
    Status(NodeStatus),
    /// To [`NodeRequest::ListKeys`].
    Keys(Vec<KeyListing>),
    /// To [`NodeRequest::MakeTickets`].
    Tickets(TicketBatch),
    /// To [`NodeRequest::SignShares`].
    Shares(ShareBatch),
    /// To [`NodeRequest::Validate`], [`NodeRequest::RecordEvidence`] and
    /// [`NodeRequest::ConfirmTime`].
    Done,
    /// To [`NodeRequest::BeginCeremony`] and [`NodeRequest::AdvanceCeremony`].
    Ceremony(CeremonyReply),
    /// To [`NodeRequest::ProveKey`].
    Proved(ShareReceipt),
    /// To [`NodeRequest::ActivateKey`].
    Activated(ActivationReceipt),
    /// To [`NodeRequest::ReadAudit`].
    Audit(AuditPage),
    /// To [`NodeRequest::AttestTime`].
    Time(TimeAttestation),
    /// To [`NodeRequest::BeginPairing`] and [`NodeRequest::AdvancePairing`].
    Pairing(PairingReply),
    /// To [`NodeRequest::BeginSigning`] and [`NodeRequest::AdvanceSigning`].
    Signing(SigningReply),
    /// To [`NodeRequest::AttestAddress`].
    Address(AddressStatement),
    /// To [`NodeRequest::SetKeyState`].
    StateSet(StateReceipt),
    /// To [`NodeRequest::EraseEpochs`]: one outcome for each, in order.
    Erased(Vec<Result<EraseReceipt, Refusal>>),
    /// To [`NodeRequest::DestroyKey`].
    Destruction(DestructionReceipt),
    /// To [`NodeRequest::AttestHeads`].
    Heads(HeadsAttestation),
    /// To [`NodeRequest::Readmit`].
    Readmission(Readmission),
    /// To [`NodeRequest::ChangeRoster`].
    RosterChanged(RosterReceipt),
    /// To [`NodeRequest::ListRosters`]: at most [`MAX_LISTED_ROSTERS`], each after those it follows.
    Rosters(Vec<SignedCommand>),
}

/// Whether a node trusts its clock (P43).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClockState {
    /// It does.
    Confirmed,
    /// It does not, and asks peers under this challenge.
    Suspect {
        /// What peers sign.
        challenge: Nonce32,
    },
}

/// Where a node stands, signed under the asker's nonce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// The asker's nonce.
    pub nonce: Nonce32,
    /// This run of the process.
    pub boot: [u8; 16],
    /// The software version.
    pub version: String,
    /// The process id.
    pub pid: u32,
    /// The roster in force.
    pub roster: Digest,
    /// The last durable journal sequence.
    pub journal_sequence: u64,
    /// The hash of that record.
    pub journal_head: Digest,
    /// The node's time.
    pub time: UnixMillis,
    /// Whether it is trusted.
    pub clock: ClockState,
    /// Present while the node waits to be readmitted after it was restored (P35).
    pub quarantine: Option<Quarantine>,
    /// Over all of it.
    pub signature: Signature,
}

impl NodeStatus {
    /// What the node signs.
    pub fn digest(&self) -> Digest {
        let challenge = match self.clock {
            ClockState::Confirmed => [0; 32],
            ClockState::Suspect { challenge } => challenge.0,
        };
        Tagged::new(Tag::Status)
            .text(self.node.as_str())
            .bytes(&self.nonce.0)
            .bytes(&self.boot)
            .text(&self.version)
            .number(u64::from(self.pid))
            .digest(&self.roster)
            .number(self.journal_sequence)
            .digest(&self.journal_head)
            .number(self.time.0)
            .bytes(&challenge)
            .list(self.quarantine.as_slice(), |tagged, quarantine| {
                tagged
                    .bytes(quarantine.backup.as_bytes())
                    .bytes(quarantine.restore.as_bytes())
                    .bytes(&quarantine.nonce.0)
            })
            .finish()
    }
}

/// A node's statement of its wall clock under another node's challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeAttestation {
    /// Who states it.
    pub node: NodeId,
    /// The challenge of the node in doubt.
    pub challenge: Nonce32,
    /// The wall clock of the node that states it.
    pub time: UnixMillis,
    /// Over all of it.
    pub signature: Signature,
}

impl TimeAttestation {
    /// What the node signs.
    pub fn digest(&self) -> Digest {
        Tagged::new(Tag::Time)
            .text(self.node.as_str())
            .bytes(&self.challenge.0)
            .number(self.time.0)
            .finish()
    }
}

/// One key as a node lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyListing {
    /// The name.
    pub key: KeyName,
    /// The state at this node.
    pub state: KeyState,
    /// The highest epoch with a certificate, or the highest prepared one.
    pub epoch: Epoch,
    /// The encoded commit certificate, when the node holds one.
    pub certificate: Option<Vec<u8>>,
    /// The encoded proof of possession, when the key is proven.
    pub proof: Option<Vec<u8>>,
    /// The encoded certificate of the key's birth, when that of the epoch is another one.
    pub birth: Option<Vec<u8>>,
    /// The lowest epoch that the node can still make.
    pub next_epoch: Epoch,
    /// Whether the node still keeps shares of epochs below its own.
    pub keeps_old: bool,
    /// The commands about its state that this node acts by.
    pub standing: Standing,
    /// The commands about its end that this node acts by, with its receipts.
    pub destruction: Destruction,
    /// When the node put the key in use after its creation; none where it holds a later epoch only.
    pub activated: Option<UnixMillis>,
    /// When it last let shares for a signature leave, to the hour: never later than it did.
    pub used: Option<UnixMillis>,
}

/// Shares for a batch of requests: an outcome each, and one signature over all statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareBatch {
    /// One outcome per request, in order.
    pub outcomes: Vec<Result<ShareStatement, Refusal>>,
    /// Over the hashes of all statements, in order.
    pub signature: Signature,
}

impl ShareBatch {
    /// The hashes of the statements, in order: what the signature covers.
    pub fn batch(&self) -> Vec<Digest> {
        self.outcomes
            .iter()
            .flatten()
            .map(ShareStatement::digest)
            .collect()
    }
}

/// What a ceremony says next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CeremonyReply {
    /// The round that these envelopes belong to.
    pub round: u8,
    /// What is to be carried to the others: one broadcast, or one sealed envelope each.
    pub envelopes: Vec<Vec<u8>>,
    /// Present when the share is durable: the node's PREPARED (P19).
    pub prepared: Option<Prepared>,
    /// Present when the run ends without a key.
    pub aborted: Option<Aborted>,
}

/// What a pairwise set-up says next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingReply {
    /// The round that these envelopes belong to.
    pub round: u8,
    /// What is to be carried to the others.
    pub envelopes: Vec<Vec<u8>>,
    /// Whether the pairings are durable: the run is over.
    pub paired: bool,
    /// Present when the run ends without them.
    pub aborted: Option<Aborted>,
}

/// What a signature in rounds says next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningReply {
    /// The round that these envelopes belong to.
    pub round: u8,
    /// What is to be carried to the others.
    pub envelopes: Vec<Vec<u8>>,
    /// Present when the run is over.
    pub signed: Option<SignedItem>,
}

/// A signature, and what the node states of its part in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedItem {
    /// r, s and the recovery id, 65 bytes.
    pub signature: Vec<u8>,
    /// The node's receipt: its only item names the session as the signing set, and the signature by
    /// [`whole_signature_hash`](crate::share::whole_signature_hash).
    pub receipt: ShareReceipt,
}

/// A node's PREPARED.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The session's preimage, encoded with [`crate::wire`].
    pub session: crate::session::SessionPreimage,
    /// What was prepared.
    pub statement: PreparedStatement,
    /// The verifying shares in index order.
    pub verifying_shares: Vec<Vec<u8>>,
    /// Over the statement.
    pub signature: Signature,
}

/// Why a ceremony ended at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// In words.
    pub message: String,
    /// Who is to blame, if it can be proven.
    pub culprits: Vec<NodeId>,
    /// The encoded evidence.
    pub evidence: Option<Vec<u8>>,
}

/// A node's acknowledgement that an epoch of a key is the one in use (P41). A holder says with it
/// that its share is durable, that it holds the certificate and has verified the proof of every
/// share: those of all holders together let old epochs be erased (P29).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationReceipt {
    /// The node.
    pub node: NodeId,
    /// The key.
    pub key: KeyName,
    /// The epoch.
    pub epoch: Epoch,
    /// The hash of the certificate.
    pub certificate: Digest,
    /// The journal sequence of the activation.
    pub sequence: u64,
    /// Over all of it.
    pub signature: Signature,
}

impl ActivationReceipt {
    /// What the node signs.
    pub fn digest(&self) -> Digest {
        Tagged::new(Tag::Receipt)
            .text("activation")
            .text(self.node.as_str())
            .text(self.key.as_str())
            .number(u64::from(self.epoch.0))
            .digest(&self.certificate)
            .number(self.sequence)
            .finish()
    }
}

/// The word of every holder of an epoch that all lower ones may be erased (P29).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseCertificate {
    /// The key.
    pub key: KeyName,
    /// The epoch that stays.
    pub epoch: Epoch,
    /// One receipt of every holder, in index order.
    pub receipts: Vec<ActivationReceipt>,
}

impl EraseCertificate {
    /// Checks that every holder of an epoch, and nobody else, has vouched for it. `record` comes
    /// from a certificate and proof that were verified.
    ///
    /// # Errors
    ///
    /// [`Reason::ProtocolViolation`] when a receipt is missing, of something else, or forged.
    pub fn verify(&self, pinned: &PinnedRoster, record: &KeyRecord) -> Result<(), Refusal> {
        let fails = |what: String| {
            Refusal::new(
                Reason::ProtocolViolation,
                format!("erase certificate does not hold: {what}"),
            )
            .with("key", &record.name)
        };
        if self.key != record.name || self.epoch != record.epoch {
            return Err(fails("it is of another epoch".to_owned()));
        }
        if self.receipts.len() != record.participants.len() {
            return Err(fails("it is not signed by every holder".to_owned()));
        }
        for (holder, receipt) in record.participants.iter().zip(&self.receipts) {
            let says = receipt.node == holder.node
                && receipt.key == record.name
                && receipt.epoch == record.epoch
                && receipt.certificate == record.certificate;
            let card = pinned.card(&holder.node).filter(|_| says);
            let holds = card.is_some_and(|card| {
                let digest = receipt.digest();
                card.identity_key
                    .verify(&digest, &receipt.signature)
                    .is_ok()
            });
            if !holds {
                return Err(fails(format!("node {} does not vouch", holder.node)));
            }
        }
        Ok(())
    }
}

/// A node's statement that it keeps no share of the epochs below one (P29).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseReceipt {
    /// The node.
    pub node: NodeId,
    /// The key.
    pub key: KeyName,
    /// The epoch below which nothing is kept.
    pub epoch: Epoch,
    /// The hash of its certificate.
    pub certificate: Digest,
    /// The journal sequence of the erasure.
    pub sequence: u64,
    /// Over all of it.
    pub signature: Signature,
}

impl EraseReceipt {
    /// What the node signs.
    pub fn digest(&self) -> Digest {
        Tagged::new(Tag::Erase)
            .text(self.node.as_str())
            .text(self.key.as_str())
            .number(u64::from(self.epoch.0))
            .digest(&self.certificate)
            .number(self.sequence)
            .finish()
    }
}

/// A page of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPage {
    /// Encoded records in order.
    pub records: Vec<Vec<u8>>,
    /// The last durable sequence at the time of the answer.
    pub durable: u64,
}
