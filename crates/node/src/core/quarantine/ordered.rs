//! The word of the admin quorum that a quarantine is over without some of the others (P35).

use std::collections::BTreeSet;

use quorate_model::{
    CommandId, Digest, NodeId, Reason, Refusal,
    audit::Entry,
    command::{CommandBody, SignedCommand},
};

use super::super::{Context, Fatal, NodeCore, Subject, binding::check_id, ledger, lock};
use crate::disk::Disk;

/// That the admin quorum takes a node back without the word of some of the others.
pub(super) struct Ordered {
    pub(super) id: CommandId,
    pub(super) digest: Digest,
    pub(super) without: BTreeSet<NodeId>,
    pub(super) entry: Entry,
}

impl<D: Disk + 'static> NodeCore<D> {
    /// The word of the admin quorum that this restoration is over without some of the others; none
    /// where it has been carried out.
    pub(super) fn check_readmission(
        &self,
        context: &mut Context<'_>,
        signed: &SignedCommand,
    ) -> Result<Result<Option<Ordered>, (Subject, Refusal)>, Fatal> {
        let mut subject = Subject {
            command: Some(signed.digest()),
            ..Subject::default()
        };
        // The clock of a restored node stands where its backup was made, until others confirm it.
        let now = match self.trusted_time(&mut lock(&self.state), context)? {
            Ok(now) => now,
            Err(refusal) => return Ok(Err((subject, refusal))),
        };
        let admitted = match self.admit(signed, now) {
            Ok(admitted) => admitted,
            Err(refusal) => return Ok(Err((subject, refusal))),
        };
        subject.command_id = Some(admitted.command().id);
        subject.endorsements = Some(admitted.endorsements());
        let state = lock(&self.state);
        if let Err(refusal) = check_id(&state, &admitted)? {
            return Ok(Err((subject, refusal)));
        }
        let CommandBody::ReadmitNode(readmit) = &admitted.command().body else {
            let message = "the command does not readmit a node";
            return Ok(Err((
                subject,
                Refusal::new(Reason::RequestInvalid, message),
            )));
        };
        let quarantine = state.quarantine.as_ref();
        let restore = quarantine.map(|quarantine| quarantine.restore);
        let is_done = ledger::command(&*state.index, admitted.command().id)?.is_some();
        if restore.is_none() && is_done && readmit.node == self.me {
            return Ok(Ok(None));
        }
        if readmit.node != self.me || restore != Some(readmit.restore) {
            let message = format!(
                "the command is for restoration {} of node {}, and this is {} of node {}: take the id \
                 from the list of nodes, and make it again",
                readmit.restore,
                readmit.node,
                restore.map_or_else(|| "none".to_owned(), |restore| restore.to_string()),
                self.me
            );
            return Ok(Err((
                subject,
                Refusal::new(Reason::RequestInvalid, message),
            )));
        }
        Ok(Ok(Some(Ordered {
            id: admitted.command().id,
            digest: admitted.digest(),
            without: readmit.without.iter().cloned().collect(),
            entry: Entry::ReadmissionOrdered {
                judgment: self.judgment(&admitted, "role:admin"),
                command: signed.clone(),
            },
        })))
    }
}
