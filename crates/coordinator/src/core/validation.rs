//! Asking the nodes whether they would carry a command out, without having it done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorate_model::{
    NodeId, Refusal,
    command::CommandBody,
    node_api::{NodeReply, NodeRequest},
    operation::{CommandState, CommandView},
};

use super::{
    Admitted, CallFailure, Core, Handle, Moment, Purpose, commands::fresh_view,
    signing::most_common,
};

/// One command that nodes are asked about.
pub(super) struct Validation {
    handle: Handle,
    view: CommandView,
    /// How many must agree, and of which nodes.
    groups: Vec<(usize, BTreeSet<NodeId>)>,
    answers: BTreeMap<NodeId, Result<(), Refusal>>,
    awaited: BTreeSet<NodeId>,
    deadline_ms: u64,
}

fn all_of(nodes: &[NodeId]) -> (usize, BTreeSet<NodeId>) {
    (nodes.len(), nodes.iter().cloned().collect())
}

impl Core {
    pub(super) fn submit_validation(
        &mut self,
        moment: &Moment<'_>,
        handle: Handle,
        command: &Admitted,
    ) {
        if let Err(refusal) = self.admit_now(moment, command) {
            return self.answer(handle, Err(refusal));
        }
        let body = &command.command.body;
        if let CommandBody::CreateKey(create) = body
            && let Err((state, refusal)) = self.check_predecessor(create)
        {
            let mut view = fresh_view(&command.command, command.digest);
            view.state = state;
            view.error = Some(refusal);
            return self.answer(handle, Ok(Arc::new(view)));
        }
        let mut everybody: BTreeSet<NodeId> = self.peers.members().into_iter().collect();
        if let CommandBody::ReadmitNode(readmit) = body {
            // In quarantine it answers no such question, and neither does whoever is to be done
            // without.
            everybody.remove(&readmit.node);
            everybody.retain(|node| !readmit.without.contains(node));
        }
        let holders = body
            .key()
            .and_then(|name| self.keys.get(&self.pinned, name))
            .map(|key| {
                let holders = key.record.participants.iter().map(|p| p.node.clone());
                // A change of state binds once so many act by it.
                let needed = if matches!(body, CommandBody::SetKeyState(_)) {
                    key.record.blocking()
                } else {
                    usize::from(key.record.threshold)
                };
                (needed, holders.collect())
            });
        let groups = match (body, holders) {
            (CommandBody::CreateKey(create), _) => vec![all_of(&create.nodes)],
            // As many as sign deal, and everybody receives.
            (CommandBody::ReshareKey(reshare), Some(holders)) => {
                vec![holders, all_of(&reshare.nodes)]
            }
            (_, Some(holders)) => vec![holders],
            (_, None) => vec![((everybody.len() / 2).saturating_add(1), everybody)],
        };
        let timeout_ms = self.config.limits.call_timeout_ms;
        let number = self.fresh_id();
        let mut awaited = BTreeSet::new();
        for node in self.peers.connected() {
            if groups.iter().any(|(_, nodes)| nodes.contains(&node)) {
                let request = NodeRequest::Validate {
                    command: command.signed.as_ref().clone(),
                };
                let purpose = Purpose::Validate { validation: number };
                self.call(moment, &node, request, timeout_ms, purpose);
                awaited.insert(node);
            }
        }
        let validation = Validation {
            handle,
            view: fresh_view(&command.command, command.digest),
            groups,
            answers: BTreeMap::new(),
            awaited,
            deadline_ms: moment.ms().saturating_add(timeout_ms),
        };
        self.validations.insert(number, validation);
        self.conclude(moment, number, false);
    }

    pub(super) fn validate_reply(
        &mut self,
        moment: &Moment<'_>,
        number: u64,
        node: &NodeId,
        result: Result<NodeReply, CallFailure>,
    ) {
        let Some(validation) = self.validations.get_mut(&number) else {
            return;
        };
        validation.awaited.remove(node);
        let answer = match result {
            Ok(_) => Some(Ok(())),
            Err(CallFailure::Refused(refusal)) => Some(Err(refusal)),
            Err(CallFailure::Lost | CallFailure::TimedOut) => None,
        };
        if let Some(answer) = answer {
            validation.answers.insert(node.clone(), answer);
        }
        self.conclude(moment, number, false);
    }

    pub(super) fn tick_validations(&mut self, moment: &Moment<'_>) {
        let late: Vec<u64> = self
            .validations
            .iter()
            .filter(|(_, validation)| validation.deadline_ms <= moment.ms())
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            self.conclude(moment, number, true);
        }
    }

    /// Answers once everybody who was asked has spoken, or the time is over. Any refusal is told;
    /// silence counts only where too few have agreed.
    fn conclude(&mut self, moment: &Moment<'_>, number: u64, late: bool) {
        let done = self
            .validations
            .get(&number)
            .is_some_and(|validation| late || validation.awaited.is_empty());
        if !done {
            return;
        }
        let Some(validation) = self.validations.remove(&number) else {
            return;
        };
        let Validation {
            handle,
            mut view,
            groups,
            answers,
            ..
        } = validation;
        let refusals = answers.values().filter_map(|answer| answer.as_ref().err());
        if let Some(refusal) = most_common(refusals) {
            view.state = CommandState::Denied;
            view.error = Some(refusal);
        } else if let Some((needed, nodes)) = groups.iter().find(|(needed, nodes)| {
            let agreed = nodes.iter().filter(|node| answers.contains_key(*node));
            agreed.count() < *needed
        }) {
            view.state = CommandState::Failed;
            view.error = Some(self.no_quorum(*needed, moment.ms(), |node| nodes.contains(node)));
        } else {
            view.state = CommandState::Succeeded;
        }
        self.answer(handle, Ok(Arc::new(view)));
    }
}
