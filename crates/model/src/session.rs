//! The identity of an interactive session (P12).

use serde::{Deserialize, Serialize};

use crate::{
    bytes::{Digest, Nonce32},
    ids::{ClusterId, Epoch, KeyName, NodeId, PartyIndex},
    key::Participant,
    tagged::{Tag, Tagged},
};

/// What a session that reshares a key starts from (P12, P27).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSource {
    /// The epoch that is reshared.
    pub epoch: Epoch,
    /// The hash of its commit certificate, and with it of everything that is known of it.
    pub certificate: Digest,
    /// Who deals, ascending by index.
    pub dealers: Vec<Dealer>,
    /// How many of the participants receive: those with the indices from 1, which are the indices
    /// of their shares.
    pub receivers: u16,
}

/// One who deals its share again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dealer {
    /// Its index in the session.
    pub index: PartyIndex,
    /// The index of its share in the source epoch.
    pub source_index: PartyIndex,
}

/// The places in a session that reshares a key (P5): the receivers in the order of the new
/// committee from 1, so that indices are those of their shares, and after them the dealers that
/// receive nothing, in the order of the source epoch. `dealers` are participants of that epoch.
pub fn reshare_places(
    receivers: &[NodeId],
    dealers: &[Participant],
) -> (Vec<Participant>, Vec<Dealer>) {
    let mut ordered: Vec<_> = dealers.iter().collect();
    ordered.sort_by_key(|dealer| dealer.index);
    let nodes = receivers.iter().chain(
        ordered
            .iter()
            .map(|dealer| &dealer.node)
            .filter(|node| !receivers.contains(node)),
    );
    let participants: Vec<_> = (1..)
        .map_while(PartyIndex::new)
        .zip(nodes)
        .map(|(index, node)| Participant {
            index,
            node: node.clone(),
        })
        .collect();
    let deals = |participant: &Participant| {
        let dealer = ordered.iter().find(|d| d.node == participant.node)?;
        Some(Dealer {
            index: participant.index,
            source_index: dealer.index,
        })
    };
    let dealers = participants.iter().filter_map(deals).collect();
    (participants, dealers)
}

/// What a session is bound to before its participants have spoken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionBinding {
    /// The protocol with its version, for example `dkg/2`.
    pub protocol: String,
    /// The cluster.
    pub cluster: ClusterId,
    /// The roster that names the participants.
    pub roster: Digest,
    /// The key.
    pub key: KeyName,
    /// What is reshared, and by whom to whom; none when a key is born.
    pub source: Option<SessionSource>,
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

impl SessionSource {
    fn hash_into(&self, tagged: Tagged) -> Tagged {
        let Self {
            epoch,
            certificate,
            dealers,
            receivers,
        } = self;
        tagged
            .number(u64::from(epoch.0))
            .digest(certificate)
            .list(dealers, |tagged, dealer| {
                tagged
                    .number(u64::from(dealer.index.number()))
                    .number(u64::from(dealer.source_index.number()))
            })
            .number(u64::from(*receivers))
    }
}

impl SessionBinding {
    fn hash_into(&self, tagged: Tagged) -> Tagged {
        let tagged = tagged
            .text(&self.protocol)
            .digest(&self.cluster)
            .digest(&self.roster)
            .text(self.key.as_str());
        // No epoch has the number that stands for none, so the number says what follows it (P2).
        let tagged = match &self.source {
            Some(source) => source.hash_into(tagged),
            None => tagged.number(u64::MAX),
        };
        tagged
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn index(number: u16) -> PartyIndex {
        PartyIndex::new(number).unwrap()
    }

    fn node(number: u16) -> NodeId {
        format!("node-{number}").parse().unwrap()
    }

    fn holder(number: u16, at: u16) -> Participant {
        Participant {
            index: index(at),
            node: node(number),
        }
    }

    fn binding(source: Option<SessionSource>) -> SessionBinding {
        SessionBinding {
            protocol: "reshare/1/bip340".to_owned(),
            cluster: Digest::new([1; 32]),
            roster: Digest::new([2; 32]),
            key: "treasury".parse().unwrap(),
            source,
            target_epoch: Epoch(2),
            threshold: 2,
            participants: vec![holder(1, 1), holder(2, 2)],
            command: Digest::new([3; 32]),
            payload_index: 0,
        }
    }

    fn source() -> SessionSource {
        let deal = |at| Dealer {
            index: index(at),
            source_index: index(at),
        };
        SessionSource {
            epoch: Epoch(1),
            certificate: Digest::new([4; 32]),
            dealers: vec![deal(1), deal(2)],
            receivers: 2,
        }
    }

    #[test]
    fn a_session_is_bound_to_every_field_of_its_source() {
        let changes: [fn(&mut SessionSource); 7] = [
            |_| (),
            |source| source.epoch = Epoch(0),
            |source| source.certificate = Digest::ZERO,
            |source| source.receivers = 1,
            |source| source.dealers.truncate(1),
            |source| source.dealers[0].index = index(2),
            |source| source.dealers[0].source_index = index(2),
        ];
        let mut ids: BTreeSet<_> = changes
            .into_iter()
            .map(|change| {
                let mut source = source();
                change(&mut source);
                binding(Some(source)).provisional_id()
            })
            .collect();
        ids.insert(binding(None).provisional_id());

        assert_eq!(ids.len(), 8);
    }

    #[test]
    fn receivers_stand_first_and_dealers_that_receive_nothing_after_them() {
        let old = [holder(4, 1), holder(2, 3), holder(7, 2)];

        let (participants, dealers) = reshare_places(&[node(3), node(2)], &old);

        assert_eq!(
            participants,
            [holder(3, 1), holder(2, 2), holder(4, 3), holder(7, 4)]
        );
        let places: Vec<_> = dealers
            .iter()
            .map(|d| (d.index.number(), d.source_index.number()))
            .collect();
        assert_eq!(places, [(2, 3), (3, 1), (4, 2)]);
    }
}
