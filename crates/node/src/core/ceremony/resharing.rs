//! What is judged before shares are dealt again (P27, P30).
//!
//! What is reshared comes with the request, because a node that is to receive may never have heard
//! of the key. It is believed as anybody believes it: by its certificates and its proof of
//! possession. A node that holds the key believes only what it has in use itself.

use quorate_model::{
    CommandId, Digest, Epoch, KeyId, KeyRecord, KeyState, Reason, Refusal,
    certificate::{CommitCertificate, PossessionProof},
    command::{CommandBody, ReshareKey},
    node_api::ReshareFrom,
    session::{SessionBinding, SessionSource, reshare_places},
};
use quorate_protocol::{
    frost::PublicKeys,
    reshare::{ReshareSource, Setup, protocol_name},
};

use super::{aim::Resharing, bug};
use crate::{
    core::{
        Fatal, NodeCore, State,
        gate::Admitted,
        ledger::{self, KeyRow},
        loaded::{epoch_changed, not_active},
        lock,
        standing::check_standing,
    },
    disk::Disk,
};

/// The most attempts of one command that a node prepares.
const MAX_OF_A_COMMAND: usize = 16;

/// The id of the key that a row is of, by the certificate of its birth.
pub(super) fn id_of(row: &KeyRow) -> Result<Option<KeyId>, Fatal> {
    let Some(birth) = row.origin() else {
        return Ok(None);
    };
    let birth = CommitCertificate::from_bytes(birth)
        .map_err(|_| Fatal::Invariant("a certificate was verified before it was recorded"))?;
    Ok(Some(KeyId::of(&birth.command.digest())))
}

fn invalid(message: String) -> Refusal {
    Refusal::new(Reason::RequestInvalid, message)
}

impl<D: Disk + 'static> NodeCore<D> {
    /// Judges a command to reshare by what the node holds of the key, which may be nothing.
    pub(in crate::core) fn judge_resharing(
        state: &State,
        reshare: &ReshareKey,
    ) -> Result<Result<Option<KeyRow>, Refusal>, Fatal> {
        let Some(row) = ledger::key(&*state.index, &reshare.key)? else {
            return Ok(Ok(None));
        };
        Ok(match row.active() {
            Some(active) if active.epoch != reshare.source_epoch => {
                Err(epoch_changed(&reshare.key, active.epoch))
            }
            _ => Ok(Some(row)),
        })
    }

    /// Judges everything about a resharing that does not need the session.
    pub(super) fn admit_resharing(
        &self,
        admitted: &Admitted,
        epoch: Epoch,
        from: Option<ReshareFrom>,
    ) -> Result<Result<Resharing, Refusal>, Fatal> {
        let CommandBody::ReshareKey(reshare) = &admitted.command().body else {
            return Ok(Err(invalid("the command reshares no key".to_owned())));
        };
        let row = match Self::judge_command(&lock(&self.state), admitted)? {
            Ok(row) => row.unwrap_or_default(),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(from) = from else {
            return Ok(Err(invalid(
                "the request does not say what is to be reshared".to_owned(),
            )));
        };
        let held = id_of(&row)?;
        let resharing = match self.source_of(reshare, &row, &from) {
            Ok(resharing) => resharing,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if held.is_some_and(|held| held != reshare.key_id) {
            return Ok(Err(super::exists(&reshare.key)));
        }
        if let Err(refusal) = self.check_standing_of(&resharing)? {
            return Ok(Err(refusal));
        }
        let judged = self.check_epoch(&resharing, &row, (epoch, admitted.digest()))?;
        Ok(judged.map(|()| resharing))
    }

    /// Verifies what is to be reshared, and places everybody.
    fn source_of(
        &self,
        reshare: &ReshareKey,
        row: &KeyRow,
        from: &ReshareFrom,
    ) -> Result<Resharing, Refusal> {
        let evidence = &from.evidence;
        let birth = evidence.birth.as_deref();
        let (parsed, record) =
            quorate_proto::certificate::verify(&evidence.certificate, birth, &self.pinned())?;
        if record.name != reshare.key || record.epoch != reshare.source_epoch {
            return Err(invalid(format!(
                "the request shows epoch {} of key \"{}\", the command reshares another one",
                record.epoch, record.name
            )));
        }
        reshare.check_key(&record)?;
        match row.active() {
            // This node proved it, or saw it proven.
            Some(active) if active.hash == record.certificate => {}
            Some(active) => return Err(epoch_changed(&reshare.key, active.epoch)),
            None => {
                let proof = evidence.proof.as_deref().ok_or_else(|| {
                    not_active(&reshare.key, "the request shows no proof of possession")
                })?;
                let proof = PossessionProof::from_bytes(proof)?;
                let public = PublicKeys::of_record(&record).map_err(|_| bug())?;
                quorate_protocol::possession::verify(&self.pinned(), &record, &public, &proof)?;
            }
        }
        let dealing: Vec<_> = record
            .participants
            .iter()
            .filter(|holder| from.dealers.contains(&holder.node))
            .cloned()
            .collect();
        let needed = usize::from(record.threshold);
        if dealing.len() != needed || from.dealers.len() != needed {
            return Err(invalid(format!(
                "{} nodes are to deal, expected exactly {needed} holders of the key",
                from.dealers.len()
            )));
        }
        let (participants, dealers) = reshare_places(&reshare.nodes, &dealing);
        if !participants.iter().any(|p| p.node == self.me) {
            return Err(invalid(format!(
                "node {} neither deals nor receives",
                self.me
            )));
        }
        Ok(Resharing {
            command: reshare.clone(),
            order: (record.epoch, parsed.statement.session),
            statement: ReshareSource::of(&parsed),
            birth: evidence
                .birth
                .clone()
                .unwrap_or_else(|| evidence.certificate.clone()),
            source: record,
            participants,
            dealers,
        })
    }

    /// A key that does not stand as active is refreshed for the same nodes and the same threshold
    /// only: others may not have heard of where it stands, and would sign (P33).
    pub(super) fn check_standing_of(
        &self,
        resharing: &Resharing,
    ) -> Result<Result<(), Refusal>, Fatal> {
        self.check_goes(&resharing.command, &resharing.source)
    }

    /// The same of a command, by the record of the epoch that is to be dealt again.
    pub(in crate::core) fn check_goes(
        &self,
        command: &ReshareKey,
        source: &KeyRecord,
    ) -> Result<Result<(), Refusal>, Fatal> {
        let state = lock(&self.state);
        let stands = ledger::standing(&*state.index, &command.key)?.standing;
        if stands.state(true) == KeyState::Active {
            return Ok(Ok(()));
        }
        let holders = source.participants.iter().map(|holder| &holder.node);
        let stays = command.threshold == source.threshold && command.nodes.iter().eq(holders);
        if stays {
            return Ok(Ok(()));
        }
        check_standing(&state, &command.key)
    }

    /// Checks that this node can prepare the epoch, if it is to receive.
    fn check_epoch(
        &self,
        resharing: &Resharing,
        row: &KeyRow,
        (epoch, digest): (Epoch, Digest),
    ) -> Result<Result<(), Refusal>, Fatal> {
        let command = &resharing.command;
        if !command.can_make(epoch) {
            return Ok(Err(invalid(format!(
                "epoch {epoch} is none of those that the command gives, which begin at {}",
                command.first_epoch
            ))));
        }
        if !command.nodes.contains(&self.me) {
            return Ok(Ok(()));
        }
        // No command uses up the numbers that others need.
        let attempts = row.prepared.iter().filter(|mark| mark.command == digest);
        if attempts.count() >= MAX_OF_A_COMMAND {
            return Ok(Err(Refusal::new(
                Reason::SessionLimit,
                format!(
                    "{MAX_OF_A_COMMAND} attempts to reshare key \"{}\" were prepared under this \
                     command and never certified: make another command",
                    command.key
                ),
            )));
        }
        Ok(self.free_epoch(&command.key, row, epoch)?.map(|_| ()))
    }

    /// Whether a resharing still starts from the epoch in use, and the key may still be reshared.
    pub(super) fn check_still(
        &self,
        resharing: &Resharing,
        command: (CommandId, Digest),
    ) -> Result<Result<(), Refusal>, Fatal> {
        if let Err(refusal) = self.check_standing_of(resharing)? {
            return Ok(Err(refusal));
        }
        let state = lock(&self.state);
        let (id, digest) = command;
        if let Err(refusal) = crate::core::binding::check_binding(&state, id, digest)? {
            return Ok(Err(refusal));
        }
        let row = ledger::key(&*state.index, &resharing.command.key)?;
        let active = row.as_ref().and_then(KeyRow::active);
        Ok(match active {
            Some(active) if active.order() != resharing.order => {
                Err(epoch_changed(&resharing.command.key, active.epoch))
            }
            _ => Ok(()),
        })
    }

    pub(super) fn resharing_setup(
        &self,
        admitted: &Admitted,
        resharing: &Resharing,
        epoch: Epoch,
    ) -> Result<Setup, Refusal> {
        let Resharing {
            command,
            source,
            participants,
            ..
        } = resharing;
        let me = participants
            .iter()
            .find(|p| p.node == self.me)
            .ok_or_else(bug)?
            .index;
        let count = u16::try_from(command.nodes.len()).map_err(|_| bug())?;
        let protocol = protocol_name(source.scheme).ok_or_else(bug)?;
        Ok(Setup {
            me,
            roster_key_of: self.identities_of(participants).ok_or_else(|| {
                Refusal::new(
                    Reason::NodeUnknown,
                    "a node that is to deal is not in the roster",
                )
            })?,
            source: resharing.statement.clone(),
            threshold: command.threshold,
            count,
            scheme: source.scheme,
            binding: SessionBinding {
                protocol: protocol.to_owned(),
                cluster: self.pinned().cluster(),
                roster: self.pinned().hash(),
                key: command.key.clone(),
                source: Some(SessionSource {
                    epoch: source.epoch,
                    certificate: source.certificate,
                    dealers: resharing.dealers.clone(),
                    receivers: count,
                }),
                target_epoch: epoch,
                threshold: command.threshold,
                participants: participants.clone(),
                command: admitted.digest(),
                payload_index: 0,
            },
        })
    }
}
