//! Certificates of a key that was reshared (P20, P27, P28).

use super::{CommitCertificate, participants_of, violation};
use crate::{
    bytes::Digest,
    command::ReshareKey,
    ids::ClusterId,
    key::{KeyRecord, Participant},
    refusal::Refusal,
    roster::{PinnedRoster, Role},
    session::{SessionSource, reshare_places},
};

/// What the command of a certificate decodes to, where it reshares a key.
#[derive(Clone, Copy, Debug)]
pub struct EpochChange<'a> {
    /// The cluster that the command is for.
    pub cluster: ClusterId,
    /// The roster that the command was made under.
    pub roster: Digest,
    /// What is asked for.
    pub reshare: &'a ReshareKey,
}

/// How far an epoch may be ahead of its source: attempts take rising numbers, and no committee alone
/// may use them up.
const MAX_EPOCH_STEP: u32 = 1_000;

impl CommitCertificate {
    /// Checks a certificate of a resharing in full (P20): endorsements under the pinned roster;
    /// key, source, committee and threshold exactly as commanded; scheme, purposes, group key and
    /// chain code exactly those of the source; one signature of every new holder. `source` is the
    /// record of the epoch that was reshared, from a certificate that was verified.
    ///
    /// The record that follows has the id of the key: it names the command that created it.
    pub fn verify_epoch_change(
        &self,
        pinned: &PinnedRoster,
        command: EpochChange<'_>,
        source: &KeyRecord,
    ) -> Result<KeyRecord, Refusal> {
        let EpochChange {
            cluster,
            roster,
            reshare,
        } = command;
        self.check_endorsed(pinned, cluster, roster, Role::Admin)?;
        let needed = usize::from(pinned.roster().lifecycle_quorum);
        let persons = self.command.persons_for(Role::Admin, pinned.roster());
        if persons.len() < needed {
            return Err(violation("its command lacks the lifecycle quorum"));
        }
        reshare
            .check_shape()
            .map_err(|error| violation(&error.to_string()))?;
        if reshare.key != source.name
            || reshare.key_id != source.id()
            || reshare.source_epoch != source.epoch
        {
            return Err(violation("its command is for another key or epoch"));
        }
        self.check_successor(pinned, reshare, source)?;
        self.check_reshare_session(pinned, reshare, source)?;
        self.check_verifying_shares()?;
        self.check_signatures(pinned)?;
        Ok(self.record(source.command))
    }

    /// What was prepared is the same key, as the command wants it.
    fn check_successor(
        &self,
        pinned: &PinnedRoster,
        reshare: &ReshareKey,
        source: &KeyRecord,
    ) -> Result<(), Refusal> {
        let statement = &self.statement;
        let as_commanded = statement.key == reshare.key
            && statement.threshold == reshare.threshold
            && statement.participants == participants_of(&reshare.nodes)
            && statement.command == self.command.digest()
            && statement.source == Some((source.epoch, source.certificate))
            && statement.epoch > source.epoch
            && statement.epoch.0 <= source.epoch.0.saturating_add(MAX_EPOCH_STEP)
            && statement.roster == pinned.hash();
        if !as_commanded {
            return Err(violation("what was prepared is not what was commanded"));
        }
        let unchanged = statement.scheme == source.scheme
            && statement.purposes == source.purposes
            && statement.group_key == source.group_key
            && statement.chain_code == source.chain_code;
        if !unchanged {
            return Err(violation("what was prepared is another key"));
        }
        Ok(())
    }

    /// The session is the one in which exactly t holders of the source dealt to the new committee.
    fn check_reshare_session(
        &self,
        pinned: &PinnedRoster,
        reshare: &ReshareKey,
        source: &KeyRecord,
    ) -> Result<(), Refusal> {
        let Self {
            session, statement, ..
        } = self;
        let binding = &session.binding;
        let expected = binding
            .source
            .as_ref()
            .and_then(|claimed| places(claimed, reshare, source));
        let (participants, bound_source) = expected
            .ok_or_else(|| violation("its dealers are not as many holders as make the key"))?;
        let bound = binding.cluster == pinned.cluster()
            && binding.roster == pinned.hash()
            && binding.key == reshare.key
            && binding.source == Some(bound_source)
            && binding.target_epoch == statement.epoch
            && binding.threshold == reshare.threshold
            && binding.participants == participants
            && binding.command == self.command.digest()
            && binding.payload_index == 0
            && session.nonces.len() == participants.len();
        if !bound || session.id() != statement.session {
            return Err(violation("its session is another one"));
        }
        Ok(())
    }
}

/// Where everybody stands if those deal that a session claims; none if they are not exactly as many
/// holders as make the key.
fn places(
    claimed: &SessionSource,
    reshare: &ReshareKey,
    source: &KeyRecord,
) -> Option<(Vec<Participant>, SessionSource)> {
    let dealing: Vec<_> = source
        .participants
        .iter()
        .filter(|holder| {
            let mut dealers = claimed.dealers.iter();
            dealers.any(|dealer| dealer.source_index == holder.index)
        })
        .cloned()
        .collect();
    let needed = usize::from(source.threshold);
    if dealing.len() != needed || claimed.dealers.len() != needed {
        return None;
    }
    let (participants, dealers) = reshare_places(&reshare.nodes, &dealing);
    let bound = SessionSource {
        epoch: source.epoch,
        certificate: source.certificate,
        dealers,
        receivers: u16::try_from(reshare.nodes.len()).ok()?,
    };
    Some((participants, bound))
}

#[cfg(test)]
mod tests;
