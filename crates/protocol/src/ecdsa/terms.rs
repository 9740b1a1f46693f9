//! What a session is about, and what its parties say first.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::VerifyingKey;
use quorate_model::{Digest, Nonce32, PartyIndex, SessionBinding, SessionPreimage, Tag, Tagged};
use serde::{Deserialize, Serialize};

use super::{MAX_HOLDERS, SetupError};
use crate::{ceremony::HelloState, envelope::ProtocolId};

/// The first message of a party.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    /// What makes the session fresh for this party (P12).
    pub(super) nonce: Nonce32,
    /// For every other party, the key to which that party seals what it sends here (P13).
    pub(super) session_keys: Vec<(PartyIndex, [u8; 32])>,
    /// For every other party, the id of the pairing with it; none in a set-up.
    pub(super) pairs: Vec<(PartyIndex, Digest)>,
    /// Where the node stands (P35).
    pub(super) state: HelloState,
}

/// A secret message. The first of a sender brings the encapsulated key, and only the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SealedBody {
    pub(super) encapsulated: Option<[u8; 32]>,
    #[serde(with = "serde_bytes")]
    pub(super) ciphertext: Vec<u8>,
}

/// What a session is about, as its id is the hash of it: the binding of P12, and whatever the
/// protocol is bound to beyond it.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) protocol: ProtocolId,
    pub(super) binding: SessionBinding,
    pub(super) bound: Digest,
}

impl Terms {
    /// The id that hellos carry, because the session's own needs everybody's nonce.
    pub(super) fn provisional(&self) -> Digest {
        Tagged::new(Tag::Session)
            .text("ecdsa-hello")
            .digest(&self.binding.provisional_id())
            .digest(&self.bound)
            .finish()
    }

    /// The session id (P12).
    pub(super) fn id(&self, nonces: Vec<Nonce32>) -> Digest {
        let preimage = SessionPreimage {
            binding: self.binding.clone(),
            nonces,
        };
        Tagged::new(Tag::Session)
            .text("ecdsa")
            .digest(&preimage.id())
            .digest(&self.bound)
            .finish()
    }

    /// Checks what both protocols demand of a binding and of the identity keys.
    pub(super) fn check(
        &self,
        me: PartyIndex,
        count: u16,
        keys: &BTreeMap<PartyIndex, VerifyingKey>,
        own_key: &VerifyingKey,
    ) -> Result<(), SetupError> {
        let binding = &self.binding;
        if binding.protocol != self.protocol.as_str() {
            return Err(SetupError::Protocol);
        }
        let indices: Vec<_> = binding.participants.iter().map(|p| p.index).collect();
        let ascending = indices
            .iter()
            .zip(indices.iter().skip(1))
            .all(|(a, b)| a < b);
        if !ascending
            || !(2..=MAX_HOLDERS).contains(&indices.len())
            || indices.iter().any(|index| index.number() > count)
        {
            return Err(SetupError::Participants);
        }
        if keys.get(&me) != Some(own_key) {
            return Err(SetupError::NotParticipant);
        }
        let distinct: BTreeSet<_> = keys.values().map(VerifyingKey::to_bytes).collect();
        if !keys.keys().eq(&indices)
            || distinct.len() != keys.len()
            || keys.values().any(VerifyingKey::is_weak)
        {
            return Err(SetupError::IdentityKeys);
        }
        Ok(())
    }
}
