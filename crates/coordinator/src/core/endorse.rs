//! Further words of principals on a command that is under way (P6).

use std::sync::Arc;

use quorate_model::{
    Epoch, Reason, Refusal,
    command::{CommandBody, Endorsement, EndorsementKind, SignedCommand},
    ids::CommandId,
    node_api::NodeRequest,
    operation::CommandState,
    share::ShareRequest,
};
use quorate_proto::admission;

use super::{Core, Handle, Moment, StoredCommand, commands::Slot, peers::Purpose};

pub(super) fn rejected(id: CommandId) -> Refusal {
    Refusal::new(
        Reason::CommandRejected,
        format!("command {id} was rejected by an admin"),
    )
    .with("command_id", id)
}

impl Core {
    pub(super) fn endorse(
        &mut self,
        moment: &mut Moment<'_>,
        handle: Handle,
        id: CommandId,
        endorsement: Endorsement,
        remembered: Option<&StoredCommand>,
    ) {
        if self.states.is_awaiting(id) {
            return self.add_words(moment, handle, id, vec![endorsement]);
        }
        let running = self.commands.is_running(id);
        if !running {
            let known = self
                .commands
                .get(id)
                .or_else(|| remembered.map(|s| s.view.clone()));
            return match known {
                Some(_) if self.commands.is_storing(id) => self.commands.join(id, handle),
                Some(view) => self.answer(handle, Ok(Arc::new(view))),
                None => self.answer(handle, Err(unknown(id))),
            };
        }
        let Some((signed, body)) = self.command_of(id) else {
            return self.answer(handle, Err(unknown(id)));
        };
        if body.is_unstoppable() && endorsement.kind == EndorsementKind::Reject {
            let refusal = Refusal::new(
                Reason::RequestInvalid,
                "one admin does not forbid a suspension or the withdrawal of a destruction: resume \
                 the key, or announce anew",
            );
            return self.answer(handle, Err(refusal));
        }
        let mut more = SignedCommand::clone(&signed);
        let repeated = more.endorsements.contains(&endorsement);
        if !repeated {
            // Whoever spoke for a command may still forbid it.
            if endorsement.kind == EndorsementKind::Reject {
                more.endorsements
                    .retain(|earlier| earlier.principal != endorsement.principal);
            }
            more.endorsements.push(endorsement);
        }
        if let Err(refusal) = admission::check_endorsements(&self.pinned, &more) {
            return self.answer(handle, Err(refusal));
        }
        if more.is_forbidden(&body) && self.ceremonies.is_ending(id) {
            let refusal = Refusal::new(
                Reason::RequestInvalid,
                "the new shares are in use already: reshare the key again to take it to others",
            );
            return self.answer(handle, Err(refusal));
        }
        if more.is_forbidden(&body) && matches!(body, CommandBody::ChangeRoster(_)) {
            let refusal = Refusal::new(
                Reason::RequestInvalid,
                "the roster is in force already: make another change to undo it",
            );
            return self.answer(handle, Err(refusal));
        }
        if more.is_forbidden(&body) {
            self.commands.join(id, handle);
            self.tell_rejection(moment, &more, &body);
            self.signing.remove(id);
            self.states.remove(id);
            self.destroying.remove(id);
            self.readmissions.remove(id);
            self.abandon_creation(moment, id);
            return self.end(id, CommandState::Denied, None, Some(rejected(id)));
        }
        self.signing.set_command(id, Arc::new(more));
        if let Some(view) = self.commands.get(id) {
            self.answer(handle, Ok(Arc::new(view)));
        }
    }

    fn command_of(&self, id: CommandId) -> Option<(Arc<SignedCommand>, CommandBody)> {
        self.signing
            .command(id)
            .or_else(|| self.ceremonies.command(id))
            .or_else(|| self.states.command(id))
            .or_else(|| self.destroying.command(id))
            .or_else(|| self.rosters.command(id))
            .or_else(|| self.readmissions.command(id))
    }

    /// Brings a rejection to every node, so that each binds the id and refuses it for good (P8).
    /// A node that does not hear of it refuses nothing; the rejection reaches it with the command.
    pub(super) fn tell_rejection(
        &mut self,
        moment: &Moment<'_>,
        signed: &SignedCommand,
        body: &CommandBody,
    ) {
        let timeout = self.config.limits.call_timeout_ms;
        if let CommandBody::ReadmitNode(readmit) = body {
            let request = NodeRequest::Readmit {
                attestations: Vec::new(),
                command: Some(signed.clone()),
            };
            if self.peers.is_connected(&readmit.node) {
                self.call(moment, &readmit.node, request, timeout, Purpose::Courtesy);
            }
            return;
        }
        // Nodes follow a roster by the word of its quorum, and keep no list of those that were
        // proposed.
        let Some(name) = body.key() else {
            return;
        };
        let epoch = self
            .keys
            .get(&self.pinned, name)
            .map_or(Epoch(1), |key| key.record.epoch);
        for node in self.peers.connected() {
            let command = signed.clone();
            let request = match body {
                // Nodes judge the command before they miss what is to be reshared.
                CommandBody::CreateKey(_) | CommandBody::ReshareKey(_) => {
                    NodeRequest::BeginCeremony {
                        attempt: [0; 16],
                        command,
                        epoch,
                        source: None,
                    }
                }
                CommandBody::SetKeyState(_) => NodeRequest::SetKeyState { command },
                CommandBody::DestroyKey(_) => NodeRequest::DestroyKey { command },
                CommandBody::Sign(_) | _ => NodeRequest::SignShares {
                    requests: vec![ShareRequest {
                        command,
                        key: name.clone(),
                        epoch,
                        items: Vec::new(),
                    }],
                },
            };
            self.call(moment, &node, request, timeout, Purpose::Courtesy);
        }
    }
}

fn unknown(id: CommandId) -> Refusal {
    Refusal::new(
        Reason::CommandUnknown,
        format!("no command has the id {id}"),
    )
    .with("command_id", id)
}

impl super::commands::Commands {
    /// A caller is answered and waits no more.
    pub(super) fn leave(&mut self, id: CommandId, handle: Handle) {
        if let Some(Slot::Running { waiters, .. }) = self.slot(id) {
            waiters.retain(|waiter| *waiter != handle);
        }
    }

    /// Lets a caller wait for a command.
    pub(super) fn join(&mut self, id: CommandId, handle: Handle) {
        if let Some(Slot::Running { waiters, .. } | Slot::Storing { waiters, .. }) = self.slot(id) {
            waiters.push(handle);
        }
    }
}
