//! What participants say in one round, carried to the others.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{NodeId, key::Participant};
use quorate_protocol::envelope::Envelope;

use super::{Core, Moment};

/// The envelopes of one round for each recipient.
pub(super) type Mail = BTreeMap<NodeId, Vec<Vec<u8>>>;

/// The largest envelope that is carried: one of the last round of a pairwise set-up.
const MAX_ENVELOPE_BYTES: usize = 160 << 10;

/// What one participant says.
pub(super) struct Said {
    /// The round that it belongs to.
    pub(super) round: u8,
    pub(super) envelopes: Vec<Vec<u8>>,
}

/// Why what was said cannot be carried on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsorted {
    /// The participants are not in the same round, or one of them has said nothing.
    Apart,
    /// This participant said what no participant says: an envelope that is none or is too large, in
    /// another's name, to itself or to a stranger, or a second one to the same recipient. Carried
    /// on, it would make the others refuse what they were sent.
    Spoilt(NodeId),
}

/// Sorts envelopes by recipient: of each participant at most one to everybody, and at most one to
/// each other participant.
pub(super) fn sort(
    participants: &[Participant],
    said: &BTreeMap<NodeId, Said>,
) -> Result<(u8, Mail), Unsorted> {
    let round = said.values().next().ok_or(Unsorted::Apart)?.round;
    if said.values().any(|one| one.round != round) {
        return Err(Unsorted::Apart);
    }
    let mut mail: Mail = participants
        .iter()
        .map(|p| (p.node.clone(), Vec::new()))
        .collect();
    for participant in participants {
        let said = said.get(&participant.node).ok_or(Unsorted::Apart)?;
        sort_one(participants, participant, said, &mut mail)
            .ok_or_else(|| Unsorted::Spoilt(participant.node.clone()))?;
    }
    Ok((round, mail))
}

impl Core {
    /// What is to be carried on, if anything; whoever spoilt it is left out for a while.
    pub(super) fn sorted(
        &mut self,
        moment: &Moment<'_>,
        sorted: Result<(u8, Mail), Unsorted>,
    ) -> Option<(u8, Mail)> {
        sorted
            .inspect_err(|why| {
                if let Unsorted::Spoilt(node) = why {
                    self.misbehaved(moment, node, "spoilt what others are sent", false);
                }
            })
            .ok()
    }
}

fn sort_one(
    participants: &[Participant],
    sender: &Participant,
    said: &Said,
    mail: &mut Mail,
) -> Option<()> {
    let mut recipients = BTreeSet::new();
    for bytes in &said.envelopes {
        if bytes.len() > MAX_ENVELOPE_BYTES {
            return None;
        }
        let header = Envelope::skim(bytes).ok()?.header;
        let is_first = recipients.insert(header.recipient);
        if !is_first || header.sender != sender.index || header.recipient == Some(sender.index) {
            return None;
        }
        match header.recipient {
            None => mail
                .values_mut()
                .for_each(|inbox| inbox.push(bytes.clone())),
            Some(index) => {
                let to = participants.iter().find(|p| p.index == index)?;
                mail.get_mut(&to.node)?.push(bytes.clone());
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use quorate_model::{Digest, PartyIndex};
    use quorate_protocol::envelope::{ProtocolId, Slot};

    use super::*;

    fn index(number: u16) -> PartyIndex {
        PartyIndex::new(number).unwrap()
    }

    fn holder(number: u16) -> Participant {
        Participant {
            index: index(number),
            node: format!("node-{number}").parse().unwrap(),
        }
    }

    fn envelope(sender: u16, recipient: Option<u16>) -> Vec<u8> {
        let slot = Slot {
            session: Digest::ZERO,
            protocol: ProtocolId::EcdsaSigning,
            round: 1,
            sender: index(sender),
            recipient: recipient.map(index),
            previous: Digest::ZERO,
        };
        let key = SigningKey::from_bytes(&[1; 32]);
        Envelope::sign(slot, b"body".to_vec(), &key)
            .to_bytes()
            .unwrap()
    }

    /// What becomes of the mail when node-1 says this and node-2 says what it should.
    fn sorted(first: Vec<Vec<u8>>) -> Result<(u8, Mail), Unsorted> {
        let said = [
            (holder(1).node, first),
            (holder(2).node, vec![envelope(2, Some(1))]),
        ];
        let said = said.map(|(node, envelopes)| {
            let said = Said {
                round: 1,
                envelopes,
            };
            (node, said)
        });
        sort(&[holder(1), holder(2)], &said.into())
    }

    #[test]
    fn envelopes_reach_their_recipients_and_broadcasts_everybody() {
        let (to_all, sealed) = (envelope(1, None), envelope(1, Some(2)));

        let (round, mail) = sorted(vec![to_all.clone(), sealed.clone()]).unwrap();

        assert_eq!(round, 1);
        assert_eq!(
            mail[&holder(1).node],
            [to_all.clone(), envelope(2, Some(1))]
        );
        assert_eq!(mail[&holder(2).node], [to_all, sealed]);
    }

    #[test]
    fn who_spoils_the_mail_of_others_is_named() {
        let spoilt = [
            vec![envelope(1, None), envelope(1, None)],
            vec![envelope(1, Some(2)), envelope(1, Some(2))],
            vec![envelope(2, None)],
            vec![envelope(1, Some(1))],
            vec![envelope(1, Some(3))],
            vec![vec![0; 10]],
            vec![vec![0; MAX_ENVELOPE_BYTES + 1]],
        ];
        for first in spoilt {
            assert_eq!(sorted(first), Err(Unsorted::Spoilt(holder(1).node)));
        }
    }

    #[test]
    fn nobody_is_named_when_somebody_is_in_another_round() {
        let said = |round| Said {
            round,
            envelopes: Vec::new(),
        };
        let apart = [(holder(1).node, said(1)), (holder(2).node, said(2))];
        assert_eq!(
            sort(&[holder(1), holder(2)], &apart.into()),
            Err(Unsorted::Apart)
        );
        let silent = [(holder(1).node, said(1))];
        assert_eq!(
            sort(&[holder(1), holder(2)], &silent.into()),
            Err(Unsorted::Apart)
        );
    }
}
