//! A signature share that does not hold (P25), with the node's signed statement around it.
//!
//! The statement binds what the share signs by its hash ([`signed_message_hash`]): the message that
//! comes along with the evidence is the one that the node itself stated, and so is the path. An honest share holds for
//! the message of its own statement, so no choice of message makes it look false.

use quorate_model::{
    DerivationPath, Epoch, KeyName, Participant,
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
    /// What the share signs, by the statement's own hash.
    pub message: Vec<u8>,
    /// Which child of the key signs.
    pub path: DerivationPath,
    /// How that is tweaked.
    pub tweak: Tweak,
}

/// What a verifier knows of the key by itself, from the key's certificate.
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
    /// The chain code, from which children come.
    pub chain_code: &'a [u8; 32],
}

impl std::fmt::Debug for SigningFacts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningFacts")
            .field("key", &self.key)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl BadShare {
    pub(super) fn verify(&self, facts: &Facts<'_>) -> Result<Blamed, NotProven> {
        let signing = facts.signing.ok_or(NotProven::FactsMissing)?;
        let statement = &self.receipt.statement;
        if statement.key != *signing.key || statement.epoch != signing.epoch {
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
        let Self {
            message,
            path,
            tweak,
            ..
        } = self;
        if item.message != signed_message_hash(message, path, *tweak == Tweak::TaprootKeyPath)
            || item.signing_set != self.set.digest()
        {
            return Err(NotProven::Statement);
        }
        let set = SigningSet::from_received(signing.keys.scheme(), &self.set)
            .map_err(|_| NotProven::Statement)?;
        let party = participant.index;
        let child;
        let keys = if path.is_root() {
            signing.keys
        } else {
            child = signing
                .keys
                .child(signing.chain_code, path)
                .map_err(|_| NotProven::Statement)?;
            &child
        };
        match verify_share(keys, &set, message, *tweak, party, &item.share) {
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
