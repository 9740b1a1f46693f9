//! The bodies of the rounds, and how they are read: within a size limit, whole, or not at all.

use std::collections::BTreeMap;

use quorate_model::{
    Digest, Nonce32, PartyIndex, Tag, Tagged,
    wire::{self, WireError},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::round;
use crate::{
    envelope::{Sealed, SignedHeader},
    sharing::ProofOfKnowledge,
};

/// The first message of a party.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What makes the session fresh for this party (P12).
    pub nonce: Nonce32,
    /// For every other dealer, the key to which it seals what it sends here (P13); none of a party
    /// that receives nothing.
    pub session_keys: Vec<(PartyIndex, [u8; 32])>,
    /// Where the node stands.
    pub state: HelloState,
}

/// Where a node stands when it says hello (P35).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloState {
    /// The last durable sequence of its journal.
    pub journal_sequence: u64,
    /// The hash of that record.
    pub journal_head: Digest,
    /// The run of its process.
    pub boot_id: [u8; 16],
    /// The policy in force.
    pub policy: Digest,
}

/// Where the parties stand, once each has signed a message of the session about a view that holds
/// its hello: it was alive after this party drew its nonce, and stands by that hello (P35).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The session, whose id holds this party's nonce.
    pub session: Digest,
    /// What everybody said in its hello.
    pub states: BTreeMap<PartyIndex, HelloState>,
}

/// A commitment to a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commit {
    pub(crate) commitment: Digest,
}

/// What a party saw in the round before: one signed header of everybody who spoke, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Echo {
    pub(crate) seen: Vec<SignedHeader>,
}

/// A dealer's public part of the sharing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Package {
    pub(crate) commitments: Vec<Vec<u8>>,
    /// At a key's birth; none when a share is dealt again.
    pub(crate) proof: Option<ProofOfKnowledge>,
}

/// A package with what opens the commitment to it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reveal {
    pub(crate) package: Package,
    pub(crate) opening: [u8; 32],
}

impl Reveal {
    /// H(session, dealer, package, r).
    pub(crate) fn commitment(&self, session: &Digest, dealer: PartyIndex) -> Digest {
        let Self {
            package: Package { commitments, proof },
            opening,
        } = self;
        Tagged::new(Tag::Commitment)
            .digest(session)
            .number(u64::from(dealer.number()))
            .list(commitments, |tagged, point| tagged.bytes(point))
            .list(proof.as_slice(), |tagged, proof| {
                tagged.bytes(&proof.commitment).bytes(&proof.response)
            })
            .bytes(opening)
            .finish()
    }
}

/// A share for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) sealed: Sealed,
}

/// The longest body of a round, in bytes: what 32 dealers with threshold 32 need, rounded up.
fn body_limit(round: u8) -> usize {
    match round {
        round::HELLO | round::REVEAL => 2 * 1024,
        round::COMMIT => 64,
        round::COMMIT_ECHO | round::REVEAL_ECHO => 8 * 1024,
        round::SHARE => 128,
        _ => 0,
    }
}

pub(crate) fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, WireError> {
    wire::encode(body)
}

/// Reads the body of a round.
pub(crate) fn decode<T: DeserializeOwned>(round: u8, body: &[u8]) -> Option<T> {
    if body.len() > body_limit(round) {
        return None;
    }
    wire::decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_over_the_limit_of_its_round_is_not_read() {
        let sealed = |length| Share {
            sealed: Sealed {
                encapsulated: [0; 32],
                ciphertext: vec![0; length],
            },
        };
        let fits = encode(&sealed(48)).unwrap();
        let exceeds = encode(&sealed(128)).unwrap();

        assert!(decode::<Share>(round::SHARE, &fits).is_some());
        assert!(decode::<Share>(round::SHARE, &exceeds).is_none());
        assert!(decode::<Share>(round::REVEAL, &exceeds).is_some());
        assert!(decode::<Share>(round::COMPLAINT, &fits).is_none());
    }
}
