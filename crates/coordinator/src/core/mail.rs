//! What participants say in one round, carried to the others.

use std::collections::BTreeMap;

use quorate_model::{NodeId, key::Participant};
use quorate_protocol::envelope::Envelope;

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

/// Sorts envelopes by recipient. None: the participants are not in the same round, one of them has
/// said nothing, or an envelope is none.
pub(super) fn sort(
    participants: &[Participant],
    said: &BTreeMap<NodeId, Said>,
) -> Option<(u8, Mail)> {
    let round = said.values().next()?.round;
    if said.values().any(|one| one.round != round) {
        return None;
    }
    let mut mail: Mail = participants
        .iter()
        .map(|p| (p.node.clone(), Vec::new()))
        .collect();
    for participant in participants {
        for bytes in &said.get(&participant.node)?.envelopes {
            let envelope = Envelope::from_bytes_within(bytes, MAX_ENVELOPE_BYTES).ok()?;
            match envelope.header.recipient {
                None => mail
                    .values_mut()
                    .for_each(|inbox| inbox.push(bytes.clone())),
                Some(index) => {
                    let to = participants.iter().find(|p| p.index == index)?;
                    mail.get_mut(&to.node)?.push(bytes.clone());
                }
            }
        }
    }
    Some((round, mail))
}
