//! The identity of an interactive session (P12).

use serde::{Deserialize, Serialize};

use crate::{
    bytes::{Digest, Nonce32},
    ids::{ClusterId, Epoch, KeyName},
    key::Participant,
    tagged::{Tag, Tagged},
};

/// What a session is bound to before its participants have spoken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionBinding {
    /// The protocol with its version, for example `dkg/1`.
    pub protocol: String,
    /// The cluster.
    pub cluster: ClusterId,
    /// The roster that names the participants.
    pub roster: Digest,
    /// The key.
    pub key: KeyName,
    /// The epoch that is reshared; none when a key is born.
    pub source_epoch: Option<Epoch>,
    /// The epoch that is made.
    pub target_epoch: Epoch,
    /// How many shares make the key.
    pub threshold: u16,
    /// Everybody who takes part, ascending by index.
    pub participants: Vec<Participant>,
    /// The digest of the command that asks for it.
    pub command: Digest,
    /// Which payload of the command; 0 for ceremonies.
    pub payload_index: u32,
}

/// Everything that a session id is the hash of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPreimage {
    /// What the session is for.
    pub binding: SessionBinding,
    /// One fresh nonce of every participant, in their order.
    pub nonces: Vec<Nonce32>,
}

impl SessionBinding {
    fn hash_into(&self, tagged: Tagged) -> Tagged {
        let source = self
            .source_epoch
            .map_or(u64::MAX, |epoch| u64::from(epoch.0));
        tagged
            .text(&self.protocol)
            .digest(&self.cluster)
            .digest(&self.roster)
            .text(self.key.as_str())
            .number(source)
            .number(u64::from(self.target_epoch.0))
            .number(u64::from(self.threshold))
            .list(&self.participants, |tagged, participant| {
                tagged
                    .number(u64::from(participant.index.number()))
                    .text(participant.node.as_str())
            })
            .digest(&self.command)
            .number(u64::from(self.payload_index))
    }

    /// The id that hellos carry, because the session's own needs everybody's nonce.
    pub fn provisional_id(&self) -> Digest {
        self.hash_into(Tagged::new(Tag::Session).text("hello"))
            .finish()
    }
}

impl SessionPreimage {
    /// The session id.
    pub fn id(&self) -> Digest {
        self.binding
            .hash_into(Tagged::new(Tag::Session).text("session"))
            .list(&self.nonces, |tagged, nonce| tagged.bytes(&nonce.0))
            .finish()
    }
}
