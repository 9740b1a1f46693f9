//! What is checked before anything that came from a coordinator is believed.

mod outcome;

pub(crate) use outcome::outcome;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use ed25519_dalek::VerifyingKey;
use quorate_evm::EvmSignatureError;
use quorate_intent::ItemTweak;
use quorate_model::{
    DerivationPath, Digest, Epoch, KeyId, KeyName, KeyRecord, NodeId, Refusal, Signature,
    address::FalseStatement,
    certificate::{CommitCertificate, PossessionProof},
    identity::verify_with,
    ids::CommandId,
    roster::PinnedRoster,
    share::{MAX_SHARE_BATCH, ShareReceipt, share_batch_digest},
};
use quorate_protocol::{
    derivation::{Child, DerivationError},
    frost::{PublicKeys, Tweak},
    sharing::check_public_sharing,
    verify::{BadKey, Verifier},
};

/// Something that came back is not what it claims to be, or not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerificationError {
    /// The certificate or the proof does not hold.
    #[error("the evidence for a key does not hold: {0}")]
    Evidence(#[from] Refusal),
    /// The public shares are none, or do not make the group key.
    #[error("the evidence for key \"{0}\" does not hold: its public shares do not fit")]
    Sharing(KeyName),
    /// An active key without a proof.
    #[error("key \"{0}\" is said to be active without a proof of possession")]
    NoProof(KeyName),
    /// A later epoch without a proof: only the key itself says that its holders have it (decision
    /// 0019).
    #[error(
        "epoch {epoch} of key \"{key}\" comes without its proof of possession, and so from nobody \
         who can be shown to have the key"
    )]
    UnprovenEpoch {
        /// The key.
        key: KeyName,
        /// The epoch.
        epoch: Epoch,
    },
    /// The same id with another public key or another meaning.
    #[error("key \"{0}\" is not what it was: resharing changes neither public key nor purposes")]
    KeyChanged(KeyName),
    /// An outcome of an epoch above the one that is shown.
    #[error(
        "the outcome is of epoch {made} of key \"{key}\", and the coordinator shows epoch {shown}"
    )]
    OtherEpoch {
        /// The key.
        key: KeyName,
        /// The epoch of the outcome.
        made: Epoch,
        /// The epoch that the coordinator shows.
        shown: Epoch,
    },
    /// Evidence for another key, or made for another command.
    #[error("what came back for key \"{0}\" is the evidence of another")]
    OtherKey(KeyName),
    /// Rosters that do not follow from those that are known.
    #[error("the rosters that the coordinator shows do not hold: {0}")]
    Rosters(Refusal),
    /// Times of an earlier command that no client gives one.
    #[error(
        "the times that are told of command {0} are not those of a command that lives for ten \
         minutes: use a new id"
    )]
    CommandTimes(CommandId),
    /// Another key of the name than the one that the caller means.
    #[error(
        "key \"{key}\" is shown with id {shown}, expected {expected}: another key has its name, or \
         the expected id is wrong"
    )]
    OtherKeyId {
        /// The name.
        key: KeyName,
        /// The id of the key that is shown.
        shown: KeyId,
        /// The id that the caller knows.
        expected: KeyId,
    },
    /// A key that is meant by its name, and that too few nodes of the roster hold.
    #[error(
        "{served} of the {threshold} holders that sign with key \"{key}\" are nodes of the roster: \
         persons and nodes that were removed can make such a key; where you know that it is yours, \
         give its id, {id}"
    )]
    NotServed {
        /// The name.
        key: KeyName,
        /// The id of the key that is shown.
        id: KeyId,
        /// How many of its holders are in the roster.
        served: usize,
        /// How many sign with it.
        threshold: u16,
    },
    /// A key that is said to take the place of another, and does not say so itself.
    #[error(
        "the coordinator names key \"{named}\" as the one that takes the place of key \"{key}\", and \
         its certificate does not say so"
    )]
    OtherSuccessor {
        /// The key that is said to be replaced.
        key: KeyName,
        /// The key that is said to take its place.
        named: KeyName,
    },
    /// An outcome of something else.
    #[error("the outcome is not the one of the command: {0}")]
    OtherOutcome(&'static str),
    /// A signature that does not verify.
    #[error("signature {0} does not verify under the certified key")]
    BadSignature(usize),
    /// A path at which there is no child.
    #[error("{0}")]
    NoChild(String),
    /// A signer's receipt that does not hold.
    #[error("the receipt of node \"{0}\" does not hold")]
    BadReceipt(NodeId),
    /// A verified signature that EVM chains do not take from the account of the key.
    #[error(transparent)]
    Evm(#[from] EvmSignatureError),
    /// A statement of an address that does not hold.
    #[error("what is said to be a statement of node \"{node}\" is refused: {why}")]
    FalseAddress {
        /// Who is said to state it.
        node: NodeId,
        /// What is wrong with it.
        why: FalseStatement,
    },
    /// Two statements of one node, where different ones are to attest.
    #[error("node \"{0}\" is named twice for one address")]
    StatedTwice(NodeId),
    /// Verified signatures that the payload does not take.
    #[error("the signatures do not fit the payload: {0}")]
    Unfinished(String),
}

/// Checks a commit certificate in full under the pinned roster (P20), that of a later epoch beside
/// the certificate of the key's birth.
pub(crate) fn certificate(
    bytes: &[u8],
    birth: Option<&[u8]>,
    roster: &PinnedRoster,
) -> Result<(CommitCertificate, KeyRecord), VerificationError> {
    let (certificate, record) = quorate_proto::certificate::verify(bytes, birth, roster)?;
    check_public_sharing(
        record.scheme,
        record.threshold,
        &record.group_key,
        &record.verifying_shares,
    )
    .map_err(|_| VerificationError::Sharing(record.name.clone()))?;
    Ok((certificate, record))
}

/// Checks that every holder has proven its share (P20).
pub(crate) fn possession(
    bytes: &[u8],
    record: &KeyRecord,
    roster: &PinnedRoster,
) -> Result<PossessionProof, VerificationError> {
    let proof = PossessionProof::from_bytes(bytes)?;
    let keys = PublicKeys::of_record(record)
        .map_err(|_| VerificationError::Sharing(record.name.clone()))?;
    quorate_protocol::possession::verify(roster, record, &keys, &proof)?;
    Ok(proof)
}

/// The verifiers of one key, made once.
#[derive(Debug)]
pub(crate) struct Verifiers {
    untweaked: Verifier,
    taproot: Option<Verifier>,
}

impl Verifiers {
    pub(crate) fn new(record: &KeyRecord) -> Result<Self, VerificationError> {
        let malformed = |_: BadKey| VerificationError::Sharing(record.name.clone());
        let verifier = |tweak| Verifier::new(record.scheme, &record.group_key, tweak);
        let taproot = match verifier(Tweak::TaprootKeyPath) {
            Ok(verifier) => Some(verifier),
            Err(BadKey::TweakUnsupported) => None,
            Err(error) => return Err(malformed(error)),
        };
        Ok(Self {
            untweaked: verifier(Tweak::None).map_err(malformed)?,
            taproot,
        })
    }

    /// Checks a signature over a message under the key with its tweak.
    pub(crate) fn signature(
        &self,
        record: &KeyRecord,
        path: &DerivationPath,
        tweak: ItemTweak,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), ()> {
        if !path.is_root() {
            let child = child(record, path).map_err(|_| ())?;
            return Verifier::new(record.scheme, child.key(), tweak_of(tweak))
                .map_err(|_| ())?
                .verify(message, signature)
                .map_err(|_| ());
        }
        let verifier = match tweak_of(tweak) {
            Tweak::None => Some(&self.untweaked),
            Tweak::TaprootKeyPath => self.taproot.as_ref(),
        };
        verifier
            .ok_or(())?
            .verify(message, signature)
            .map_err(|_| ())
    }
}

/// The child of a key at a path.
pub(crate) fn child(record: &KeyRecord, path: &DerivationPath) -> Result<Child, DerivationError> {
    Child::derive(record.scheme, &record.group_key, &record.chain_code, path)
}

/// The protocol's word for a tweak.
pub(crate) fn tweak_of(tweak: ItemTweak) -> Tweak {
    match tweak {
        ItemTweak::None => Tweak::None,
        ItemTweak::TaprootKeyPath => Tweak::TaprootKeyPath,
    }
}

/// How many verified batches are remembered.
const REMEMBERED_BATCHES: usize = 256;

/// Checks receipts. One signature of a node covers a whole batch of statements, and the statements
/// of a batch arrive one by one, so that batches that were verified are remembered for a while.
pub(crate) struct ReceiptChecker {
    keys: BTreeMap<NodeId, VerifyingKey>,
    verified: Mutex<VecDeque<(NodeId, Digest, Signature)>>,
}

impl std::fmt::Debug for ReceiptChecker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiptChecker").finish_non_exhaustive()
    }
}

impl ReceiptChecker {
    /// Takes the word of every node of the chain: what it signed before it was removed still holds.
    pub(crate) fn new(roster: &PinnedRoster) -> Self {
        let nodes = roster.history().flat_map(|(roster, _)| &roster.nodes);
        let keys = nodes
            .filter_map(|node| Some((node.id.clone(), node.identity_key.parse().ok()?)))
            .collect();
        Self {
            keys,
            verified: Mutex::default(),
        }
    }

    /// Whether the node signed a batch that holds the statement.
    pub(crate) fn holds(&self, receipt: &ShareReceipt) -> bool {
        let statement = &receipt.statement;
        let Some(key) = self.keys.get(&statement.node) else {
            return false;
        };
        if receipt.batch.len() > MAX_SHARE_BATCH || !receipt.batch.contains(&statement.digest()) {
            return false;
        }
        let digest = share_batch_digest(&receipt.batch);
        let entry = (statement.node.clone(), digest, receipt.signature);
        let is_known = {
            let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
            verified.contains(&entry)
        };
        if is_known {
            return true;
        }
        let holds = verify_with(key, &digest, &receipt.signature).is_ok();
        if holds {
            let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
            if verified.len() >= REMEMBERED_BATCHES {
                verified.pop_front();
            }
            verified.push_back(entry);
        }
        holds
    }
}

#[cfg(test)]
mod tests;
