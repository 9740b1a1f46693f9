//! A signature share that does not hold (P25), with the node's signed statement around it.
//!
//! The statement names the command, the position of the share in it, and the hash of the message.
//! The verifier derives the message from the command by itself, so that evidence carries nothing
//! that its verifier would have to believe; the hash keeps a verifier that decodes otherwise than
//! the signer did from blaming an honest share for it.

use quorate_model::{
    Digest, Epoch, KeyName, Participant,
    share::{SetOfSigners, ShareReceipt, signed_message_hash},
};
use serde::{Deserialize, Serialize};

use super::{Blamed, Facts, NotProven};
use crate::{
    abort::Fault,
    frost::{AggregateError, PublicKeys, SigningSet, Tweak, verify_share},
};

/// A signed share with the set that it was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadShare {
    /// The node's statement and its signature.
    pub receipt: ShareReceipt,
    /// Which share of the statement is bad.
    pub item: u32,
    /// The signing set of that share.
    pub set: SetOfSigners,
}

/// What a verifier derives by itself from the certificate of a key and a command.
#[derive(Clone, Copy)]
pub struct SigningFacts<'a> {
    /// The key.
    pub key: &'a KeyName,
    /// The epoch.
    pub epoch: Epoch,
    /// Who holds shares.
    pub participants: &'a [Participant],
    /// The public side of the key in that epoch.
    pub keys: &'a PublicKeys,
    /// The digest of the command; of the certificate for a proof of possession.
    pub command: Digest,
    /// The messages that the command asks to have signed, in order, with their tweaks.
    pub messages: &'a [(Vec<u8>, Tweak)],
}

impl std::fmt::Debug for SigningFacts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningFacts")
            .field("key", &self.key)
            .field("epoch", &self.epoch)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

impl BadShare {
    pub(super) fn verify(&self, facts: &Facts<'_>) -> Result<Blamed, NotProven> {
        let signing = facts.signing.ok_or(NotProven::FactsMissing)?;
        let statement = &self.receipt.statement;
        if statement.key != *signing.key
            || statement.epoch != signing.epoch
            || statement.command != signing.command
            || statement.items.len() != signing.messages.len()
        {
            return Err(NotProven::OtherFacts);
        }
        let participant = signing
            .participants
            .iter()
            .find(|participant| participant.node == statement.node)
            .ok_or(NotProven::UnknownParticipant)?;
        let identity = (facts.identity_of)(&statement.node).ok_or(NotProven::UnknownParticipant)?;
        self.receipt
            .verify(&identity)
            .map_err(|_| NotProven::Statement)?;

        let position = usize::try_from(self.item).map_err(|_| NotProven::Statement)?;
        let item = statement.items.get(position).ok_or(NotProven::Statement)?;
        let (message, tweak) = signing.messages.get(position).ok_or(NotProven::Statement)?;
        // A statement about another message is judged by other facts, never by these.
        if item.message != signed_message_hash(message, *tweak == Tweak::TaprootKeyPath) {
            return Err(NotProven::OtherFacts);
        }
        if item.signing_set != self.set.digest() {
            return Err(NotProven::Statement);
        }
        let set = SigningSet::from_received(signing.keys.scheme(), &self.set)
            .map_err(|_| NotProven::Statement)?;
        let party = participant.index;
        match verify_share(signing.keys, &set, message, *tweak, party, &item.share) {
            Ok(()) => Err(NotProven::NoFault),
            Err(AggregateError::Cheaters { .. }) => Ok(Blamed {
                node: statement.node.clone(),
                party,
                fault: Fault::BadSignatureShare,
            }),
            Err(_) => Err(NotProven::Statement),
        }
    }
}
