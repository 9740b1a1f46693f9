//! Pairings that are set up afresh, automatically and not too often, when nodes say that theirs are
//! not to be used.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quorate_model::{
    KeyName, NodeId, Reason, Refusal,
    key::Participant,
    node_api::{AttemptId, NodeReply, NodeRequest, PairingReply},
};

use crate::core::{
    Action, CallFailure, Core, Moment, Notice, Purpose,
    keys::Certified,
    mail::{self, Said},
    math,
};

/// The most set-ups at a time.
const MAX_RENEWALS: usize = 4;

/// How long a key waits after a set-up before another one, in milliseconds.
const PAUSE_MS: u64 = 1_000;

/// All set-ups that are under way.
#[derive(Default)]
pub(super) struct Renewals {
    under_way: BTreeMap<u64, Renewal>,
    /// Keys whose last set-up is not long ago.
    pauses: BTreeMap<KeyName, u64>,
}

struct Renewal {
    key: Arc<Certified>,
    attempt: AttemptId,
    participants: Vec<Participant>,
    awaited: BTreeSet<NodeId>,
    said: BTreeMap<NodeId, Said>,
}

impl Renewals {
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether the pairing of two nodes is being set up.
    pub(super) fn covers(&self, key: &KeyName, one: &NodeId, other: &NodeId) -> bool {
        self.under_way.values().any(|renewal| {
            let takes_part = |node: &NodeId| renewal.participants.iter().any(|p| p.node == *node);
            renewal.key.record.name == *key && takes_part(one) && takes_part(other)
        })
    }
}

impl Core {
    /// Sets up the pairings between these holders afresh, unless that is being done or was done a
    /// moment ago.
    pub(super) fn renew_pairings(
        &mut self,
        moment: &mut Moment<'_>,
        key: &Arc<Certified>,
        participants: &[Participant],
    ) {
        let now_ms = moment.ms();
        let renewals = &mut self.ecdsa.renewals;
        renewals.pauses.retain(|_, until_ms| *until_ms > now_ms);
        let name = &key.record.name;
        let busy = renewals.pauses.contains_key(name)
            || renewals.under_way.len() >= MAX_RENEWALS
            || renewals
                .under_way
                .values()
                .any(|one| one.key.record.name == *name);
        if busy {
            return;
        }
        renewals
            .pauses
            .insert(name.clone(), now_ms.saturating_add(PAUSE_MS));
        let attempt = moment.bytes();
        let request = NodeRequest::BeginPairing {
            attempt,
            certificate: key.certificate.clone(),
            holders: participants.iter().map(|p| p.index).collect(),
        };
        let renewal = Renewal {
            key: Arc::clone(key),
            attempt,
            participants: participants.to_vec(),
            awaited: BTreeSet::new(),
            said: BTreeMap::new(),
        };
        self.out.push(Action::Notice(Notice::PairingsRenewed {
            key: name.clone(),
            nodes: participants.iter().map(|p| p.node.clone()).collect(),
        }));
        let id = self.fresh_id();
        self.ecdsa.renewals.under_way.insert(id, renewal);
        let requests = participants
            .iter()
            .map(|p| (p.node.clone(), request.clone()))
            .collect();
        self.ask_renewal(moment, id, requests);
    }

    fn ask_renewal(
        &mut self,
        moment: &Moment<'_>,
        id: u64,
        requests: BTreeMap<NodeId, NodeRequest>,
    ) {
        if let Some(renewal) = self.ecdsa.renewals.under_way.get_mut(&id) {
            renewal.awaited = requests.keys().cloned().collect();
            renewal.said.clear();
        }
        let timeout = self.config.limits.pairing_timeout_ms;
        for (node, request) in requests {
            self.call(moment, &node, request, timeout, Purpose::Renewal { id });
        }
    }

    pub(in crate::core) fn renewal_reply(
        &mut self,
        moment: &mut Moment<'_>,
        id: u64,
        node: &NodeId,
        result: Result<NodeReply, CallFailure>,
    ) {
        let Some(renewal) = self.ecdsa.renewals.under_way.get_mut(&id) else {
            return;
        };
        renewal.awaited.remove(node);
        match result {
            Ok(NodeReply::Pairing(PairingReply {
                aborted: Some(aborted),
                ..
            })) => {
                let command = renewal.key.record.command;
                self.ecdsa.renewals.under_way.remove(&id);
                let proven = aborted.evidence.as_ref().and_then(|bytes| {
                    let culprit = math::spoilt_by(&self.pinned, &command, bytes)?;
                    Some((culprit, bytes.clone()))
                });
                if let Some((culprit, evidence)) = proven {
                    self.misbehaved(moment, &culprit, "spoilt a set-up of pairings", true);
                    self.keep_evidence(moment, &culprit, &evidence);
                }
                return;
            }
            Ok(NodeReply::Pairing(PairingReply { paired: true, .. })) => {}
            Ok(NodeReply::Pairing(PairingReply {
                round, envelopes, ..
            })) => {
                renewal.said.insert(node.clone(), Said { round, envelopes });
            }
            Err(CallFailure::Refused(refusal)) => {
                let participants = renewal.participants.clone();
                self.ecdsa.renewals.under_way.remove(&id);
                self.note_ban(node, &participants, &refusal);
                return;
            }
            Ok(_) | Err(CallFailure::Lost | CallFailure::TimedOut) => {
                self.ecdsa.renewals.under_way.remove(&id);
                return;
            }
        }
        if !renewal.awaited.is_empty() {
            return;
        }
        let attempt = renewal.attempt;
        let sorted = mail::sort(&renewal.participants, &renewal.said);
        let Some((round, mail)) = self.sorted(moment, sorted) else {
            // All are paired, or they are not at the same place: both end it.
            self.ecdsa.renewals.under_way.remove(&id);
            return;
        };
        let requests = mail
            .into_iter()
            .map(|(node, envelopes)| {
                (
                    node,
                    NodeRequest::AdvancePairing {
                        attempt,
                        round,
                        envelopes,
                    },
                )
            })
            .collect();
        self.ask_renewal(moment, id, requests);
    }

    /// A node does not work with a peer: the two are not asked together again.
    pub(super) fn note_ban(
        &mut self,
        node: &NodeId,
        participants: &[Participant],
        refusal: &Refusal,
    ) {
        if refusal.reason != Reason::PairBanned {
            return;
        }
        // Whom a node names is its own word; it can only leave itself out.
        let peer = refusal.get("peer").and_then(|text| text.parse().ok());
        let peer = peer
            .filter(|peer: &NodeId| peer != node && participants.iter().any(|p| p.node == *peer));
        if let Some(peer) = peer
            && self.ecdsa.bans.insert(super::ordered(node, &peer))
        {
            let node = node.clone();
            self.out
                .push(Action::Notice(Notice::PairBanned { node, peer }));
        }
    }
}
