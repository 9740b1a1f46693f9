//! What is judged before a key is made.

use quorate_model::{
    Epoch, Reason, Refusal,
    certificate::participants_of,
    command::{CommandBody, CreateKey},
    session::SessionBinding,
};
use quorate_protocol::dkg::{Setup, protocol_name};

use super::{MAX_ATTEMPTS, bug};
use crate::{
    core::{
        Fatal, NodeCore, State,
        gate::Admitted,
        ledger::{self, KeyRow},
    },
    disk::Disk,
};

impl<D: Disk + 'static> NodeCore<D> {
    pub(super) fn judge_creation(
        &self,
        state: &State,
        admitted: &Admitted,
        epoch: Epoch,
    ) -> Result<Result<CreateKey, Refusal>, Fatal> {
        let CommandBody::CreateKey(create) = &admitted.command().body else {
            return Ok(Err(Refusal::new(
                Reason::RequestInvalid,
                "the command makes no key",
            )));
        };
        if let Err(refusal) = Self::judge_command(state, admitted)? {
            return Ok(Err(refusal));
        }
        if !create.nodes.contains(&self.me) {
            return Ok(Err(Refusal::new(
                Reason::RequestInvalid,
                format!("node {} is not among the nodes of the command", self.me),
            )));
        }
        let row = ledger::key(&*state.index, &create.key)?.unwrap_or_default();
        // A name whose attempts are never certified does not grow without end.
        if row.prepared.len() >= MAX_ATTEMPTS {
            return Ok(Err(Refusal::new(
                Reason::SessionLimit,
                format!(
                    "{MAX_ATTEMPTS} attempts to create key \"{}\" were prepared and never \
                     certified: use another name",
                    create.key
                ),
            )));
        }
        let next = match self.free_epoch(&create.key, &row, epoch)? {
            Ok(next) => next,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let before = Self::birth_of_replaced(state, create)?;
        if let Err(refusal) = self.check_replaced(create, before.as_deref()) {
            return Ok(Err(refusal));
        }
        // A node that is far behind must be able to follow, but numbers must not run out.
        if epoch.0 > next.0.saturating_add(1_000) {
            return Ok(Err(Refusal::new(
                Reason::RequestInvalid,
                format!("epoch {epoch} is too far ahead of {next}"),
            )));
        }
        Ok(Ok(create.clone()))
    }

    /// The certificate of the birth of the key that the new one takes the place of, if this node
    /// knows one of that name.
    pub(in crate::core) fn birth_of_replaced(
        state: &State,
        create: &CreateKey,
    ) -> Result<Option<Vec<u8>>, Fatal> {
        let Some(before) = &create.life.replaces else {
            return Ok(None);
        };
        let row = ledger::key(&*state.index, &before.key)?;
        Ok(row.and_then(|row| row.origin().map(<[u8]>::to_vec)))
    }

    /// Checks the key that the new one takes the place of, if this node knows its birth. Of others
    /// its holders judge.
    pub(in crate::core) fn check_replaced(
        &self,
        create: &CreateKey,
        birth: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        let Some(birth) = birth else {
            return Ok(());
        };
        let held = quorate_proto::certificate::verify(birth, None, &self.pinned());
        held.and_then(|(_, record)| create.check_replaced(&record))
    }

    /// The lowest epoch that this node can still prepare, if the one that is asked for is not below
    /// it.
    pub(super) fn free_epoch(
        &self,
        key: &quorate_model::KeyName,
        row: &KeyRow,
        epoch: Epoch,
    ) -> Result<Result<Epoch, Refusal>, Fatal> {
        let mut next = row.next_epoch();
        // A crash between the vault and the journal leaves a share that nobody knows of. It is
        // never taken for another one: its epoch is passed over.
        if self.vault.contains(key, epoch)? {
            next = next.max(Epoch(epoch.0.saturating_add(1)));
        }
        while self.vault.contains(key, next)? {
            next = Epoch(next.0.saturating_add(1));
        }
        Ok(if epoch < next {
            Err(Refusal::new(
                Reason::EpochTaken,
                format!("epoch {epoch} of key \"{key}\" was prepared before"),
            )
            .with("next_epoch", next))
        } else {
            Ok(next)
        })
    }

    pub(super) fn creation_setup(
        &self,
        admitted: &Admitted,
        create: &CreateKey,
        epoch: Epoch,
    ) -> Result<Setup, Refusal> {
        let participants = participants_of(&create.nodes);
        let me = participants
            .iter()
            .find(|p| p.node == self.me)
            .ok_or_else(bug)?
            .index;
        let protocol = protocol_name(create.scheme).ok_or_else(bug)?;
        Ok(Setup {
            me,
            roster_key_of: self.identities_of(&participants).ok_or_else(bug)?,
            threshold: create.threshold,
            count: u16::try_from(participants.len()).map_err(|_| bug())?,
            scheme: create.scheme,
            binding: SessionBinding {
                protocol: protocol.to_owned(),
                cluster: self.pinned().cluster(),
                roster: self.pinned().hash(),
                key: create.key.clone(),
                source: None,
                target_epoch: epoch,
                threshold: create.threshold,
                participants,
                command: admitted.digest(),
                payload_index: 0,
            },
        })
    }
}
