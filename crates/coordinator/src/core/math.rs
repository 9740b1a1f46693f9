//! The few things that the core asks of cryptography: adding shares up, naming who spoilt them,
//! checking a proof of possession, and writing down evidence.

use quorate_intent::{ItemTweak, KeyFacts, decode_all};
use quorate_model::{
    DerivationPath, Digest, KeyRecord, NodeId, PartyIndex, Reason, Refusal, SessionPreimage,
    certificate::PossessionProof,
    node_api::SignedItem,
    payload::{Payload, pop_message},
    roster::PinnedRoster,
    share::{SetOfSigners, ShareReceipt, signed_message_hash},
};
use quorate_protocol::{
    evidence::{BadShare, Evidence, Facts},
    frost::{AggregateError, PublicKeys, SigningSet, Tweak, aggregate, verify_share},
    possession, verify,
};

/// One message to sign.
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    path: DerivationPath,
    /// The public side of the child that signs; none where the key itself does.
    child: Option<PublicKeys>,
    pub(super) tweak: Tweak,
    /// How share statements name it.
    pub(super) hash: Digest,
}

impl Message {
    fn new(bytes: Vec<u8>, path: DerivationPath, child: Option<PublicKeys>, tweak: Tweak) -> Self {
        let hash = signed_message_hash(&bytes, &path, tweak == Tweak::TaprootKeyPath);
        Self {
            bytes,
            path,
            child,
            tweak,
            hash,
        }
    }

    /// The keys that the shares of this message are shares of.
    fn keys<'a>(&'a self, parent: &'a PublicKeys) -> &'a PublicKeys {
        self.child.as_ref().unwrap_or(parent)
    }

    /// The message of a proof of possession (P20).
    pub(super) fn possession(certificate: &Digest) -> Self {
        let message = pop_message(certificate);
        Self::new(message, DerivationPath::ROOT, None, Tweak::None)
    }
}

/// The messages that the payloads of a command come to.
pub(super) fn messages(
    payloads: &[Payload],
    record: &KeyRecord,
    keys: &PublicKeys,
) -> Result<Vec<Message>, Refusal> {
    let facts = KeyFacts::of(record);
    let decoded = decode_all(payloads, &facts).map_err(|error| Refusal::from(&error))?;
    decoded
        .into_iter()
        .flat_map(|one| one.items)
        .map(|item| {
            let tweak = match item.tweak {
                ItemTweak::None => Tweak::None,
                ItemTweak::TaprootKeyPath => Tweak::TaprootKeyPath,
            };
            let child = if item.path.is_root() {
                None
            } else {
                let child = keys.child(&record.chain_code, &item.path);
                Some(
                    child
                        .map_err(|error| Refusal::new(Reason::PayloadRefused, error.to_string()))?,
                )
            };
            Ok(Message::new(item.message, item.path, child, tweak))
        })
        .collect()
}

/// Why shares make no signature.
pub(super) enum Spoilt {
    /// These shares do not hold.
    By(Vec<PartyIndex>),
    /// Nobody can be named: the set itself cannot be signed under.
    Unusable,
}

/// Adds the shares of one message up; the signature has been verified by a second library.
pub(super) fn add_up(
    keys: &PublicKeys,
    set: &SigningSet,
    message: &Message,
    shares: &[(PartyIndex, [u8; 32])],
) -> Result<Vec<u8>, Spoilt> {
    let keys = message.keys(keys);
    aggregate(keys, set, &message.bytes, message.tweak, shares).map_err(|error| {
        if let AggregateError::Cheaters { culprits } = error {
            Spoilt::By(culprits.into_iter().collect())
        } else {
            Spoilt::Unusable
        }
    })
}

/// Whether one share holds by itself.
pub(super) fn share_holds(
    keys: &PublicKeys,
    set: &SigningSet,
    message: &Message,
    signer: PartyIndex,
    share: &[u8; 32],
) -> bool {
    let keys = message.keys(keys);
    verify_share(keys, set, &message.bytes, message.tweak, signer, share).is_ok()
}

/// Whether a signature that nodes made in rounds holds, by two libraries.
pub(super) fn whole_holds(
    record: &KeyRecord,
    messages: &[Message],
    item: usize,
    signed: &SignedItem,
) -> bool {
    messages.get(item).is_some_and(|message| {
        let key = message
            .child
            .as_ref()
            .map_or(record.group_key.as_slice(), PublicKeys::group_key);
        let (bytes, signature) = (&message.bytes, &signed.signature);
        verify::signature(record.scheme, key, bytes, Tweak::None, signature).is_ok()
    })
}

/// Whether a proof of possession holds: who took part, every single share, and the signature.
pub(super) fn proof_holds(
    pinned: &PinnedRoster,
    record: &KeyRecord,
    keys: &PublicKeys,
    proof: &[u8],
) -> bool {
    PossessionProof::from_bytes(proof)
        .and_then(|proof| possession::verify(pinned, record, keys, &proof))
        .is_ok()
}

/// The evidence that a signed share does not hold.
pub(super) fn bad_share(
    receipt: ShareReceipt,
    item: usize,
    set: SetOfSigners,
    message: &Message,
) -> Option<Vec<u8>> {
    let share = BadShare {
        receipt,
        item: u32::try_from(item).ok()?,
        set,
        message: message.bytes.clone(),
        path: message.path.clone(),
        tweak: message.tweak,
    };
    Evidence::BadSignatureShare(Box::new(share)).to_bytes().ok()
}

/// Whom evidence proves guilty of having spoilt the ceremony of a command.
pub(super) fn spoilt_by(
    pinned: &PinnedRoster,
    command: &Digest,
    evidence: &[u8],
) -> Option<NodeId> {
    let read = Evidence::from_bytes(evidence).ok()?;
    let is_of_command = |session: &SessionPreimage| session.binding.command == *command;
    if !read.session().is_some_and(is_of_command) {
        return None;
    }
    proven(pinned, evidence)
}

/// Whom evidence of a ceremony proves guilty.
pub(super) fn proven(pinned: &PinnedRoster, evidence: &[u8]) -> Option<NodeId> {
    let evidence = Evidence::from_bytes(evidence).ok()?;
    let roster = pinned.roster();
    let identity_of = |id: &NodeId| roster.node(id).map(|card| card.identity_key);
    let facts = Facts {
        identity_of: &identity_of,
        signing: None,
    };
    evidence.verify(&facts).ok().map(|blamed| blamed.node)
}

/// Whom evidence that is held accuses. A bad share was found bad before its evidence was kept.
pub(super) fn accused(pinned: &PinnedRoster, evidence: &[u8]) -> Option<NodeId> {
    if let Evidence::BadSignatureShare(bad) = Evidence::from_bytes(evidence).ok()? {
        return Some(bad.receipt.statement.node.clone());
    }
    proven(pinned, evidence)
}
