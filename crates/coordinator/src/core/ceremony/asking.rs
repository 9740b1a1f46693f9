//! One question to every node of a creation, repeated until each has answered it.

use std::{collections::BTreeMap, sync::Arc};

use quorate_model::{
    KeyName, NodeId,
    node_api::{CeremonyReply, NodeReply, NodeRequest, PairingReply},
};

use super::{Ask, AskState, REPEAT_MS, Stage};
use crate::core::{CallFailure, Core, Moment, Purpose};

impl Core {
    /// Asks every node of a creation one thing; a new stage begins.
    pub(super) fn ask_all(
        &mut self,
        moment: &Moment<'_>,
        name: &KeyName,
        stage: Stage,
        requests: BTreeMap<NodeId, NodeRequest>,
    ) {
        let number = self.fresh_id();
        let Some(op) = self.ceremonies.ops.get_mut(name) else {
            return;
        };
        op.number = number;
        op.stage = stage;
        op.stage_ms = moment.ms();
        op.asks = requests
            .iter()
            .map(|(node, request)| {
                (
                    node.clone(),
                    Ask {
                        request: request.clone(),
                        state: AskState::Asked,
                    },
                )
            })
            .collect();
        for (node, request) in requests {
            self.ask(moment, name, number, &node, request);
        }
        self.tell_progress(name);
    }

    pub(super) fn ask(
        &mut self,
        moment: &Moment<'_>,
        name: &KeyName,
        number: u64,
        node: &NodeId,
        request: NodeRequest,
    ) {
        if !self.peers.is_connected(node) {
            return self.set_ask(name, node, AskState::Repeat { at_ms: moment.ms() });
        }
        let limits = &self.config.limits;
        let timeout = if let NodeRequest::AdvancePairing { .. } = &request {
            limits.pairing_timeout_ms
        } else {
            limits.round_timeout_ms
        };
        let purpose = Purpose::Ceremony {
            key: name.clone(),
            stage: number,
        };
        self.call(moment, node, request, timeout, purpose);
    }

    pub(super) fn set_ask(&mut self, name: &KeyName, node: &NodeId, state: AskState) {
        if let Some(ask) = self
            .ceremonies
            .ops
            .get_mut(name)
            .and_then(|op| op.asks.get_mut(node))
        {
            ask.state = state;
        }
    }

    pub(super) fn repeat_asks(&mut self, moment: &Moment<'_>, name: &KeyName) {
        let Some(op) = self.ceremonies.ops.get_mut(name) else {
            return;
        };
        let number = op.number;
        let mut again = Vec::new();
        for (node, ask) in &mut op.asks {
            let due = matches!(ask.state, AskState::Repeat { at_ms } if at_ms <= moment.ms());
            if due && self.peers.is_connected(node) {
                ask.state = AskState::Asked;
                again.push((node.clone(), ask.request.clone()));
            }
        }
        for (node, request) in again {
            self.ask(moment, name, number, &node, request);
        }
    }

    pub(in crate::core) fn ceremony_reply(
        &mut self,
        moment: &mut Moment<'_>,
        name: &KeyName,
        number: u64,
        node: &NodeId,
        result: Result<NodeReply, CallFailure>,
    ) {
        let current = self
            .ceremonies
            .ops
            .get(name)
            .is_some_and(|op| op.number == number);
        // Whoever spoils a run may fall silent or forget it, so that the stage never ends or another
        // begins: what honest nodes found is heard at once, and late (P16).
        if let Ok(
            NodeReply::Ceremony(CeremonyReply {
                aborted: Some(aborted),
                ..
            })
            | NodeReply::Pairing(PairingReply {
                aborted: Some(aborted),
                ..
            }),
        ) = &result
        {
            return self.aborted(moment, name, node, aborted, current);
        }
        if !current {
            return;
        }
        match result {
            Ok(reply) => {
                self.set_ask(name, node, AskState::Answered(Box::new(reply)));
                let Some(op) = self.ceremonies.ops.get_mut(name) else {
                    return;
                };
                if !op.unanswered().is_empty() {
                    self.switch_early(moment, name);
                    return self.tell_progress(name);
                }
                let replies = std::mem::take(&mut op.asks)
                    .into_iter()
                    .filter_map(|(node, ask)| match ask.state {
                        AskState::Answered(reply) => Some((node, *reply)),
                        AskState::Asked | AskState::Repeat { .. } => None,
                    })
                    .collect();
                self.stage_done(moment, name, replies);
            }
            Err(CallFailure::Refused(refusal)) => {
                self.stage_refused(moment, name, node, refusal);
            }
            Err(CallFailure::Lost | CallFailure::TimedOut) => self.ask_lost(moment, name, node),
        }
    }

    pub(super) fn ask_lost(&mut self, moment: &mut Moment<'_>, name: &KeyName, node: &NodeId) {
        let Some(op) = self.ceremonies.ops.get(name) else {
            return;
        };
        // A ticket that was sent may be spent; only a new set can be answered.
        if let Stage::Proving(proving) = &op.stage {
            let key = Arc::clone(&proving.key);
            return self.prove_again(name, key);
        }
        let at_ms = moment.ms().saturating_add(REPEAT_MS);
        self.set_ask(name, node, AskState::Repeat { at_ms });
        self.tell_progress(name);
    }
}
