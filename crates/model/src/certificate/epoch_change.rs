//! Certificates of a key that was reshared (P20, P27, P28).

use std::collections::BTreeSet;

use super::{CommitCertificate, participants_of, violation};
use crate::{
    bytes::Digest,
    command::{MAX_HOLDERS, ReshareKey},
    ids::ClusterId,
    key::{KeyRecord, Participant},
    refusal::Refusal,
    roster::{PinnedRoster, Role},
    session::{SessionBinding, SessionSource, reshare_places},
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

impl CommitCertificate {
    /// Checks a certificate of a resharing as far as it can be checked beside the certificate of
    /// the key's birth (P20): endorsements under the pinned roster, by as many persons as the
    /// lifecycle quorum; key, source, committee and threshold exactly as commanded; scheme, purposes,
    /// group key and chain code exactly those of the birth; one signature of every new holder.
    /// `birth` is the record of the first epoch, from a certificate that was verified.
    ///
    /// The new holders alone vouch for the epoch that they took their shares from. So the record
    /// counts only with its proof of possession, for which the key itself signs (decision 0019).
    ///
    /// The record that follows has the id of the key: it names the command that created it.
    ///
    /// # Errors
    ///
    /// [`Reason::ProtocolViolation`](crate::Reason::ProtocolViolation) when it does not hold.
    pub fn verify_epoch_change(
        &self,
        pinned: &PinnedRoster,
        command: EpochChange<'_>,
        birth: &KeyRecord,
    ) -> Result<KeyRecord, Refusal> {
        let EpochChange {
            cluster,
            roster,
            reshare,
        } = command;
        let pinned = &self.roster_of(pinned)?;
        self.check_endorsed(pinned, cluster, roster, Role::Admin)?;
        let needed = usize::from(pinned.roster().lifecycle_quorum);
        let persons = self.command.persons_for(Role::Admin, pinned.roster());
        if persons.len() < needed {
            return Err(violation("its command lacks the lifecycle quorum"));
        }
        reshare
            .check_shape()
            .map_err(|error| violation(&error.to_string()))?;
        if reshare.key != birth.name
            || reshare.key_id != birth.id()
            || reshare.source_epoch < birth.epoch
        {
            return Err(violation("its command is for another key or epoch"));
        }
        self.check_successor(pinned, reshare, birth)?;
        self.check_reshare_session(pinned, reshare)?;
        self.check_verifying_shares()?;
        self.check_signatures(pinned)?;
        Ok(self.record(birth.command))
    }

    /// What was prepared is the same key, as the command wants it.
    fn check_successor(
        &self,
        pinned: &PinnedRoster,
        reshare: &ReshareKey,
        birth: &KeyRecord,
    ) -> Result<(), Refusal> {
        let statement = &self.statement;
        let source = statement.source.map(|(epoch, _)| epoch);
        let as_commanded = statement.key == reshare.key
            && statement.threshold == reshare.threshold
            && statement.participants == participants_of(&reshare.nodes)
            && statement.command == self.command.digest()
            && source == Some(reshare.source_epoch)
            && reshare.can_make(statement.epoch)
            && statement.roster == pinned.hash();
        if !as_commanded {
            return Err(violation("what was prepared is not what was commanded"));
        }
        let unchanged = statement.scheme == birth.scheme
            && statement.purposes == birth.purposes
            && statement.group_key == birth.group_key
            && statement.chain_code == birth.chain_code;
        if !unchanged {
            return Err(violation("what was prepared is another key"));
        }
        Ok(())
    }

    /// The session is the one in which holders of the source dealt to the new committee.
    fn check_reshare_session(
        &self,
        pinned: &PinnedRoster,
        reshare: &ReshareKey,
    ) -> Result<(), Refusal> {
        let Self {
            session, statement, ..
        } = self;
        let binding = &session.binding;
        let claimed = binding.source.as_ref();
        let source = claimed.map(|source| (source.epoch, source.certificate));
        let placed = claimed.is_some_and(|source| stand_in_place(binding, source, reshare));
        let bound = binding.cluster == pinned.cluster()
            && binding.roster == pinned.hash()
            && binding.key == reshare.key
            && source == statement.source
            && binding.target_epoch == statement.epoch
            && binding.threshold == reshare.threshold
            && placed
            && binding.command == self.command.digest()
            && binding.payload_index == 0
            && session.nonces.len() == binding.participants.len();
        if !bound || session.id() != statement.session {
            return Err(violation("its session is another one"));
        }
        Ok(())
    }
}

/// Whether receivers and dealers stand where [`reshare_places`] puts them.
fn stand_in_place(binding: &SessionBinding, source: &SessionSource, reshare: &ReshareKey) -> bool {
    let dealing = source.dealers.iter().filter_map(|dealer| {
        let mut participants = binding.participants.iter();
        let stands = participants.find(|participant| participant.index == dealer.index)?;
        Some(Participant {
            index: dealer.source_index,
            node: stands.node.clone(),
        })
    });
    let dealing: Vec<_> = dealing.collect();
    let shares: BTreeSet<_> = dealing.iter().map(|dealer| dealer.index).collect();
    let (participants, dealers) = reshare_places(&reshare.nodes, &dealing);
    shares.len() == source.dealers.len()
        && (1..=MAX_HOLDERS).contains(&dealers.len())
        && usize::from(source.receivers) == reshare.nodes.len()
        && binding.participants == participants
        && source.dealers == dealers
}

#[cfg(test)]
mod tests;
