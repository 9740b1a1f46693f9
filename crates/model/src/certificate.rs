//! Certificates: why a public key is trusted (P19, P20).

mod epoch_change;
mod file;

pub use epoch_change::EpochChange;
pub use file::{Certificate, CertificateFileError, MAX_CERTIFICATE_FILE};

use serde::{Deserialize, Serialize};

use crate::{
    bytes::Digest,
    command::{Command, CommandBody, CreateKey, SignedCommand},
    identity::{Signature, sign_digest},
    ids::{ClusterId, Epoch, KeyName, NodeId},
    key::{KeyRecord, Participant},
    refusal::{Reason, Refusal},
    roster::{PinnedRoster, Role},
    scheme::{Purposes, Scheme},
    session::SessionPreimage,
    share::{SetOfSigners, ShareReceipt},
    tagged::{Tag, Tagged, digest_of},
    wire::{self, WireError},
};

/// The largest certificate that is read, in bytes.
pub const MAX_CERTIFICATE_BYTES: usize = 1 << 20;

/// What every share holder signs when its share is durable and has been read back (P19).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedStatement {
    /// The session id.
    pub session: Digest,
    /// The roster.
    pub roster: Digest,
    /// The digest of the command.
    pub command: Digest,
    /// The key.
    pub key: KeyName,
    /// Its scheme.
    pub scheme: Scheme,
    /// Its purposes.
    pub purposes: Purposes,
    /// The epoch that was made.
    pub epoch: Epoch,
    /// The epoch that it came from and the hash of its certificate; none when a key is born.
    pub source: Option<(Epoch, Digest)>,
    /// How many shares make the key.
    pub threshold: u16,
    /// Who holds shares.
    pub participants: Vec<Participant>,
    /// The untweaked group key.
    pub group_key: Vec<u8>,
    /// The hash of all verifying shares in index order.
    pub verifying_shares: Digest,
    /// The chain code.
    pub chain_code: [u8; 32],
    /// The hash of everything said in the session.
    pub transcript: Digest,
}

/// The hash of verifying shares in index order.
pub fn verifying_shares_hash(shares: &[Vec<u8>]) -> Digest {
    Tagged::new(Tag::VerifyingShares)
        .list(shares, |tagged, share| tagged.bytes(share))
        .finish()
}

impl PreparedStatement {
    /// What a holder signs.
    pub fn digest(&self) -> Digest {
        let purposes: Vec<u8> = self.purposes.as_slice().iter().map(|p| *p as u8).collect();
        let (source_epoch, source_hash) = self
            .source
            .map_or((u64::MAX, Digest::ZERO), |(e, hash)| (u64::from(e.0), hash));
        Tagged::new(Tag::Prepared)
            .digest(&self.session)
            .digest(&self.roster)
            .digest(&self.command)
            .text(self.key.as_str())
            .text(self.scheme.as_str())
            .bytes(&purposes)
            .number(u64::from(self.epoch.0))
            .number(source_epoch)
            .digest(&source_hash)
            .number(u64::from(self.threshold))
            .list(&self.participants, |tagged, p| {
                tagged
                    .number(u64::from(p.index.number()))
                    .text(p.node.as_str())
            })
            .bytes(&self.group_key)
            .digest(&self.verifying_shares)
            .bytes(&self.chain_code)
            .digest(&self.transcript)
            .finish()
    }

    /// The hash that names the certificate of this statement. It leaves signatures out, so that
    /// one set of statements has one name.
    pub fn certificate_hash(&self) -> Digest {
        digest_of(Tag::Commit, self.digest().as_bytes())
    }

    /// Signs the statement as a holder.
    pub fn sign(&self, key: &ed25519_dalek::SigningKey) -> Signature {
        sign_digest(key, &self.digest())
    }
}

/// A node's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSignature {
    /// Who signed.
    pub node: NodeId,
    /// The signature.
    pub signature: Signature,
}

/// The proof that all holders of an epoch hold their shares of the key that was commanded (P20).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitCertificate {
    /// The command with its endorsements.
    pub command: SignedCommand,
    /// Everything that the session id is the hash of.
    pub session: SessionPreimage,
    /// What all holders signed.
    pub statement: PreparedStatement,
    /// The verifying shares in index order.
    pub verifying_shares: Vec<Vec<u8>>,
    /// The signatures of all holders, in index order.
    pub signatures: Vec<NodeSignature>,
}

fn violation(message: &str) -> Refusal {
    Refusal::new(
        Reason::ProtocolViolation,
        format!("certificate does not hold: {message}"),
    )
}

impl CommitCertificate {
    /// The bytes as stored and sent.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        wire::encode(self)
    }

    /// Reads a certificate; nothing in it is trusted before [`CommitCertificate::verify_birth`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_CERTIFICATE_BYTES {
            return Err(violation("it is too large"));
        }
        wire::decode(bytes).map_err(|error| violation(&error.to_string()))
    }

    /// The hash that names a certificate; see [`PreparedStatement::certificate_hash`].
    pub fn hash(&self) -> Digest {
        self.statement.certificate_hash()
    }

    /// Checks a certificate of a key's birth in full (P20): endorsements under the pinned roster;
    /// key, committee, threshold, purposes and scheme exactly as commanded; one signature of every
    /// holder. `command` is what the certificate's command bytes decode to.
    pub fn verify_birth(
        &self,
        pinned: &PinnedRoster,
        command: &Command,
    ) -> Result<KeyRecord, Refusal> {
        let CommandBody::CreateKey(create) = &command.body else {
            return Err(violation("its command does not create a key"));
        };
        let pinned = &self.roster_of(pinned)?;
        self.check_endorsed(pinned, command.cluster, command.roster, command.body.role())?;
        create
            .check_shape()
            .map_err(|error| violation(&error.to_string()))?;
        self.check_as_commanded(pinned, create)?;
        self.check_verifying_shares()?;
        self.check_signatures(pinned)?;
        Ok(self.record(self.statement.command))
    }

    /// The chain as it was when all holders signed: who they were, and whose word counted. Holders
    /// of an unknown roster vouch for nothing.
    fn roster_of(&self, pinned: &PinnedRoster) -> Result<PinnedRoster, Refusal> {
        pinned.at(&self.statement.roster).ok_or_else(|| {
            violation(
                "it was made under a roster that does not lead to the one in force: fetch the \
                 rosters of the cluster",
            )
        })
    }

    /// Checks that the command is for this cluster and a roster that was in force by then, and that
    /// its endorsements hold.
    fn check_endorsed(
        &self,
        pinned: &PinnedRoster,
        cluster: ClusterId,
        roster: Digest,
        role: Role,
    ) -> Result<(), Refusal> {
        if cluster != pinned.cluster() || !pinned.follows(&roster) {
            return Err(violation("its command is for another cluster or roster"));
        }
        self.command
            .verify_endorsements(&pinned.cluster(), pinned.roster())
            .map_err(|error| violation(&error.to_string()))?;
        if !self.command.proposed_in(role) || self.command.rejected() {
            return Err(violation("its command is not endorsed"));
        }
        Ok(())
    }

    fn check_as_commanded(&self, pinned: &PinnedRoster, create: &CreateKey) -> Result<(), Refusal> {
        let CommitCertificate {
            session, statement, ..
        } = self;
        let binding = &session.binding;
        let command = self.command.digest();
        let participants = participants_of(&create.nodes);
        let as_commanded = statement.key == create.key
            && statement.scheme == create.scheme
            && statement.purposes == create.purposes
            && statement.threshold == create.threshold
            && statement.participants == participants
            && statement.command == command
            && statement.source.is_none()
            && statement.roster == pinned.hash();
        if !as_commanded {
            return Err(violation("what was prepared is not what was commanded"));
        }
        let bound = binding.cluster == pinned.cluster()
            && binding.roster == pinned.hash()
            && binding.key == create.key
            && binding.source.is_none()
            && binding.target_epoch == statement.epoch
            && binding.threshold == create.threshold
            && binding.participants == participants
            && binding.command == command
            && session.nonces.len() == participants.len();
        if !bound || session.id() != statement.session {
            return Err(violation("its session is another one"));
        }
        Ok(())
    }

    fn check_verifying_shares(&self) -> Result<(), Refusal> {
        let statement = &self.statement;
        if self.verifying_shares.len() != statement.participants.len()
            || verifying_shares_hash(&self.verifying_shares) != statement.verifying_shares
        {
            return Err(violation(
                "its verifying shares are not those that were prepared",
            ));
        }
        Ok(())
    }

    fn check_signatures(&self, pinned: &PinnedRoster) -> Result<(), Refusal> {
        if self.signatures.len() != self.statement.participants.len() {
            return Err(violation("it is not signed by every holder"));
        }
        let digest = self.statement.digest();
        for (participant, signed) in self.statement.participants.iter().zip(&self.signatures) {
            let card = pinned
                .roster()
                .node(&participant.node)
                .filter(|_| signed.node == participant.node)
                .ok_or_else(|| violation("it is not signed by every holder"))?;
            card.identity_key
                .verify(&digest, &signed.signature)
                .map_err(|_| violation(&format!("the signature of node {} fails", signed.node)))?;
        }
        Ok(())
    }

    /// What is known of the key by this certificate; `creation` is the digest of the command that
    /// created it.
    fn record(&self, creation: Digest) -> KeyRecord {
        let statement = &self.statement;
        KeyRecord {
            name: statement.key.clone(),
            scheme: statement.scheme,
            purposes: statement.purposes.clone(),
            epoch: statement.epoch,
            threshold: statement.threshold,
            participants: statement.participants.clone(),
            group_key: statement.group_key.clone(),
            verifying_shares: self.verifying_shares.clone(),
            chain_code: statement.chain_code,
            command: creation,
            certificate: self.hash(),
        }
    }
}

/// The participants of a new key: the commanded nodes, indexed from 1 in their order (P5).
pub fn participants_of(nodes: &[NodeId]) -> Vec<Participant> {
    let count = u16::try_from(nodes.len()).unwrap_or(u16::MAX);
    crate::ids::PartyIndex::first(count)
        .zip(nodes)
        .map(|(index, node)| Participant {
            index,
            node: node.clone(),
        })
        .collect()
}

/// The proof that every share signs: one signature under the group key to which every holder
/// contributed, with the signed share responses as the proof of who took part (P20).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PossessionProof {
    /// The hash of the commit certificate that is proven.
    pub certificate: Digest,
    /// All holders with their tickets.
    pub set: SetOfSigners,
    /// The receipts of all holders, in index order.
    pub receipts: Vec<ShareReceipt>,
    /// The signature over the proof-of-possession message.
    pub signature: Vec<u8>,
}

impl PossessionProof {
    /// The bytes as stored and sent.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        wire::encode(self)
    }

    /// Reads a proof; nothing in it is trusted yet.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_CERTIFICATE_BYTES {
            return Err(violation("its proof is too large"));
        }
        wire::decode(bytes).map_err(|error| violation(&error.to_string()))
    }

    /// Checks who took part: every holder, each with a signed receipt for exactly one share of
    /// this set. The share values and the signature are mathematics, checked where it lives.
    pub fn verify_receipts(
        &self,
        pinned: &PinnedRoster,
        record: &KeyRecord,
    ) -> Result<Vec<[u8; 32]>, Refusal> {
        let everybody = record.participants.iter().map(|p| p.index);
        if self.certificate != record.certificate
            || !self.set.is_ordered()
            || !self.set.signers().eq(everybody)
            || self.receipts.len() != record.participants.len()
        {
            return Err(violation("its proof is not one of all holders"));
        }
        let set = self.set.digest();
        let mut shares = Vec::with_capacity(self.receipts.len());
        for (participant, receipt) in record.participants.iter().zip(&self.receipts) {
            let statement = &receipt.statement;
            let fits = statement.node == participant.node
                && statement.key == record.name
                && statement.epoch == record.epoch
                && statement.command == record.certificate
                && statement.items.len() == 1;
            let item = statement
                .items
                .first()
                .filter(|item| fits && item.signing_set == set)
                .ok_or_else(|| violation("a receipt of its proof is for something else"))?;
            let card = pinned
                .card(&participant.node)
                .ok_or_else(|| violation("a holder is not in the roster"))?;
            receipt
                .verify(&card.identity_key)
                .map_err(|_| violation(&format!("the receipt of {} fails", participant.node)))?;
            shares.push(item.share);
        }
        Ok(shares)
    }
}

/// All that a client needs to trust a public key and the sharing of it that is in use (P20).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEvidence {
    /// The encoded [`CommitCertificate`] of the epoch.
    pub certificate: Vec<u8>,
    /// The encoded [`PossessionProof`] of the epoch; none while its shares are not proven.
    pub proof: Option<Vec<u8>>,
    /// The encoded certificate of the key's birth, where the epoch is a later one.
    pub birth: Option<Vec<u8>>,
}
