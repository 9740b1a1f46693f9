//! What the core does without being asked: learns where nodes stand and which keys they hold,
//! fetches tickets ahead, and helps a node whose clock is in doubt (P43).

use std::collections::BTreeSet;

use quorate_model::{
    Epoch, KeyName, NodeId, Scheme,
    bytes::Nonce32,
    certificate::{CommitCertificate, KeyEvidence},
    node_api::{ClockState, KeyListing, NodeReply, NodeRequest, NodeStatus, TimeAttestation},
};

use super::{
    Action, CallFailure, Core, Moment, Notice, Purpose, StoreItem, keys::Learned, peers::Confirming,
};

/// Keys per page when nodes list theirs.
const KEYS_PER_PAGE: u32 = 100;

/// Where there are several coordinators, nodes are asked again for the keys that others created,
/// this often, in milliseconds.
const SYNC_EVERY_MS: u64 = 15_000;

/// The same where there are many keys.
const SYNC_MANY_EVERY_MS: u64 = 300_000;

/// So many keys are many.
const MANY_KEYS: usize = 1_000;

/// After a fetch that brought nothing, the next one waits for so long, in milliseconds.
const RETRY_TICKETS_MS: u64 = 250;

impl Core {
    pub(super) fn link_up(&mut self, moment: &mut Moment<'_>, node: &NodeId) {
        // A link that replaces another one: whatever the old one carried is lost.
        self.link_down(moment, node);
        let Some(peer) = self.peers.get_mut(node) else {
            return;
        };
        peer.connected = true;
        peer.synced = false;
        // What was lost with the old link says nothing about this one.
        self.tickets.drop_node(node);
        peer.rtt_us = None;
        self.ask_status(moment, node);
        self.sync(moment, node);
    }

    /// Asks a node for its keys, from the beginning.
    fn sync(&mut self, moment: &Moment<'_>, node: &NodeId) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.syncing = true;
        }
        let request = NodeRequest::ListKeys {
            after: None,
            limit: KEYS_PER_PAGE,
        };
        let timeout = self.config.limits.call_timeout_ms;
        let purpose = Purpose::Sync { after: None };
        self.call(moment, node, request, timeout, purpose);
    }

    pub(super) fn link_down(&mut self, moment: &mut Moment<'_>, node: &NodeId) {
        let Some(peer) = self.peers.get_mut(node) else {
            return;
        };
        peer.connected = false;
        peer.roster.is_telling = false;
        peer.syncing = false;
        peer.status_call = None;
        peer.confirming = None;
        self.tickets.drop_node(node);
        self.lose_queue(node);
        let lost: Vec<_> = self
            .calls
            .iter()
            .filter(|(_, call)| call.node == *node)
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.reply(moment, id, Err(CallFailure::Lost));
        }
        if self
            .peers
            .get(node)
            .is_some_and(|peer| peer.roster.is_leaving)
        {
            self.peers.remove(node);
        }
    }

    /// The regular round: status of nodes, age of tickets.
    pub(super) fn upkeep(&mut self, moment: &mut Moment<'_>) {
        let now_ms = moment.ms();
        for node in self.peers.connected() {
            let due = self
                .peers
                .get(&node)
                .is_some_and(|peer| peer.status_call.is_none() && peer.next_status_ms <= now_ms);
            if due {
                self.ask_status(moment, &node);
                if self.is_sync_due(&node, now_ms) {
                    self.sync(moment, &node);
                }
            }
        }
        self.finish_next_creation(moment);
        let limits = self.config.limits.clone();
        for (_, pool) in self.tickets.pools_mut() {
            pool.age(&limits, now_ms);
        }
    }

    /// Whether a node is to list its keys: it has not on this link, or others may have made some.
    fn is_sync_due(&self, node: &NodeId, now_ms: u64) -> bool {
        let every = if self.keys.len() < MANY_KEYS {
            SYNC_EVERY_MS
        } else {
            SYNC_MANY_EVERY_MS
        };
        let shared = self.pinned.roster().coordinators.len() > 1;
        self.peers.get(node).is_some_and(|peer| {
            let old = shared && now_ms.saturating_sub(peer.synced_ms) >= every;
            !peer.syncing && (!peer.synced || old)
        })
    }

    pub(super) fn ask_status_soon(&mut self, node: &NodeId) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.next_status_ms = 0;
        }
    }

    fn ask_status(&mut self, moment: &mut Moment<'_>, node: &NodeId) {
        let nonce = Nonce32(moment.bytes());
        let limits = &self.config.limits;
        let (every, timeout) = (limits.status_every_ms, limits.call_timeout_ms);
        let request = NodeRequest::Status { nonce };
        let call = self.call(moment, node, request, timeout, Purpose::Status { nonce });
        if let Some(peer) = self.peers.get_mut(node) {
            peer.status_call = Some(call);
            peer.next_status_ms = moment.ms().saturating_add(every);
        }
    }

    pub(super) fn status_reply(
        &mut self,
        moment: &mut Moment<'_>,
        node: &NodeId,
        nonce: Nonce32,
        elapsed_us: u64,
        result: Result<NodeReply, CallFailure>,
    ) {
        let Some(peer) = self.peers.get_mut(node) else {
            return;
        };
        peer.status_call = None;
        let Ok(NodeReply::Status(status)) = result else {
            return;
        };
        let holds = status.node == *node
            && status.nonce == nonce
            && peer.verify(&status.digest(), &status.signature).is_ok();
        if !holds {
            return self.misbehaved(moment, node, "signed another status", false);
        }
        peer.answered_status(elapsed_us);
        let rebooted = peer
            .status
            .as_ref()
            .is_some_and(|before| before.boot != status.boot);
        let clock = status.clock;
        let was_suspect = peer.status.as_ref().is_some_and(is_suspect);
        peer.roster.hash = Some(status.roster);
        peer.status = Some(status);
        if rebooted {
            self.tickets.drop_node(node);
        }
        match clock {
            ClockState::Suspect { challenge } => {
                if !was_suspect {
                    self.out
                        .push(Action::Notice(Notice::ClockSuspect { node: node.clone() }));
                }
                self.gather_time(moment, node, challenge);
            }
            ClockState::Confirmed => self.forget_confirming(node),
        }
        self.meet_roster(moment, node);
        self.readmit(moment, node);
    }

    fn forget_confirming(&mut self, node: &NodeId) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.confirming = None;
        }
    }

    /// Asks all others to state their time to a node that doubts its own (P43). It is asked again
    /// with each status, for as long as it doubts.
    fn gather_time(&mut self, moment: &Moment<'_>, suspect: &NodeId, challenge: Nonce32) {
        let gathering = self
            .peers
            .get(suspect)
            .and_then(|peer| peer.confirming.as_ref())
            .is_some_and(|confirming| {
                confirming.challenge == challenge && !confirming.awaited.is_empty()
            });
        if gathering {
            return;
        }
        let mut awaited = BTreeSet::new();
        let timeout = self.config.limits.call_timeout_ms;
        for node in self.peers.connected() {
            if node != *suspect {
                let purpose = Purpose::Attest {
                    suspect: suspect.clone(),
                    challenge,
                };
                self.call(
                    moment,
                    &node,
                    NodeRequest::AttestTime { challenge },
                    timeout,
                    purpose,
                );
                awaited.insert(node);
            }
        }
        if let Some(peer) = self.peers.get_mut(suspect) {
            peer.confirming = Some(Confirming {
                challenge,
                awaited,
                attestations: Vec::new(),
            });
        }
    }

    pub(super) fn attest_reply(
        &mut self,
        moment: &Moment<'_>,
        suspect: &NodeId,
        challenge: Nonce32,
        witness: &NodeId,
        result: Result<NodeReply, CallFailure>,
    ) {
        let attestation = match result {
            Ok(NodeReply::Time(attestation)) if self.attests(&attestation, witness, challenge) => {
                Some(attestation)
            }
            _ => None,
        };
        let Some(peer) = self.peers.get_mut(suspect) else {
            return;
        };
        let Some(confirming) = &mut peer.confirming else {
            return;
        };
        if confirming.challenge != challenge {
            return;
        }
        confirming.awaited.remove(witness);
        confirming.attestations.extend(attestation);
        if confirming.awaited.is_empty() && !confirming.attestations.is_empty() {
            let attestations = std::mem::take(&mut confirming.attestations);
            let timeout = self.config.limits.call_timeout_ms;
            let request = NodeRequest::ConfirmTime { attestations };
            self.call(moment, suspect, request, timeout, Purpose::Confirm);
        }
    }

    fn attests(&self, attestation: &TimeAttestation, node: &NodeId, challenge: Nonce32) -> bool {
        attestation.node == *node
            && attestation.challenge == challenge
            && self.peers.get(node).is_some_and(|peer| {
                peer.verify(&attestation.digest(), &attestation.signature)
                    .is_ok()
            })
    }

    /// Takes a page of what a node holds, and asks for the next.
    pub(super) fn sync_reply(
        &mut self,
        moment: &mut Moment<'_>,
        node: &NodeId,
        after: Option<&KeyName>,
        result: Result<NodeReply, CallFailure>,
    ) {
        let timeout = self.config.limits.call_timeout_ms;
        let Ok(NodeReply::Keys(listings)) = result else {
            // A node that does not list its keys is asked again with the next status.
            if let Some(peer) = self.peers.get_mut(node) {
                peer.syncing = false;
            }
            return;
        };
        // Names ascend from page to page, so that every page makes progress.
        let names = after
            .into_iter()
            .chain(listings.iter().map(|listing| &listing.key));
        if !names.is_sorted_by(|one, next| one < next) {
            if let Some(peer) = self.peers.get_mut(node) {
                peer.syncing = false;
            }
            return self.misbehaved(moment, node, "listed keys out of order", false);
        }
        let last = listings.last().map(|listing| listing.key.clone());
        let may_be_ahead = self.may_be_ahead(node);
        for listing in listings {
            self.learn(moment, node, &listing);
        }
        if let Some(after) = last {
            let request = NodeRequest::ListKeys {
                after: Some(after.clone()),
                limit: KEYS_PER_PAGE,
            };
            let purpose = Purpose::Sync { after: Some(after) };
            self.call(moment, node, request, timeout, purpose);
        } else if let Some(peer) = self.peers.get_mut(node) {
            // What was not understood is listed again once its rosters are known: when they come, or
            // now, if they came in the meantime.
            let misunderstood = std::mem::take(&mut peer.roster.is_misunderstood);
            peer.synced = !misunderstood || may_be_ahead;
            peer.synced_ms = moment.ms();
            peer.syncing = false;
            self.finish_creations(moment, node);
        }
    }

    /// Takes what a node says about one key.
    pub(super) fn learn(&mut self, moment: &mut Moment<'_>, node: &NodeId, listing: &KeyListing) {
        let Some(certificate) = &listing.certificate else {
            self.learn_left_out(node, listing);
            // It is about to hold the key: it hears where the key stands as well.
            if listing.epoch > Epoch(0) {
                self.learn_standing(moment, node, listing);
            }
            self.learn_destruction(moment, node, listing);
            return self.look_after(moment, node, listing);
        };
        let proof = listing.proof.as_deref();
        let key = listing.key.clone();
        let evidence = KeyEvidence {
            certificate: certificate.clone(),
            proof: listing.proof.clone(),
            birth: listing.birth.clone(),
        };
        let before = self.keys.unlike(&self.pinned, &key, &evidence);
        match self.keys.learn(&self.pinned, &key, &evidence) {
            Learned::Known => {}
            Learned::News => {
                if let Some(known) = self.keys.get(&self.pinned, &key) {
                    self.writes.push(StoreItem::Key(known.stored()));
                    self.states_move_up(moment, before.as_deref(), &known);
                    // Its holders may have listed it before anybody knew of a later epoch.
                    let later = before.filter(|_| known.birth.is_some());
                    if let Some(before) = later {
                        let holders = before.record.participants.iter();
                        let holders = holders.map(|holder| holder.node.clone()).collect();
                        self.gather_later(&known, holders);
                    }
                }
                self.epoch_changed(&key);
                self.out
                    .push(Action::Notice(Notice::KeyLearned { key: key.clone() }));
            }
            // It is understood once the rosters are known, and then every node lists its keys again.
            Learned::False if self.may_be_ahead(node) || self.is_key_ahead(&evidence) => {
                return self.is_misunderstood(node);
            }
            Learned::False => {
                self.out.push(Action::Notice(Notice::FalseKey {
                    node: node.clone(),
                    key,
                }));
                return;
            }
        }
        self.learn_left_out(node, listing);
        self.learn_use(node, listing);
        self.learn_standing(moment, node, listing);
        self.learn_destruction(moment, node, listing);
        self.warm(node, certificate, proof.is_some());
        self.finish_creation(moment, node, &key, proof.is_some());
        self.look_after(moment, node, listing);
    }

    /// Takes what a node of the roster says of the next number of a key.
    fn learn_left_out(&mut self, node: &NodeId, listing: &KeyListing) {
        if self.pinned.roster().node(node).is_some() {
            let is_known = self.keys.knows(&listing.key);
            self.left_out.learn(node, listing, is_known);
        }
    }

    /// Keeps a few tickets of a node ready for the schemes of its active keys.
    fn warm(&mut self, node: &NodeId, certificate: &[u8], active: bool) {
        let known = Scheme::FROST
            .iter()
            .all(|scheme| self.tickets.has_pool(node, *scheme));
        if !active || known {
            return;
        }
        if let Ok(certificate) = CommitCertificate::from_bytes(certificate) {
            self.tickets
                .pool(node, certificate.statement.scheme.proven_by());
        }
    }

    /// Fetches tickets where there are too few: for every scheme of which a node holds keys that
    /// are in use.
    pub(super) fn fetch_tickets(&mut self, moment: &Moment<'_>) {
        let now_ms = moment.ms();
        let limits = self.config.limits.clone();
        let mut fetches = Vec::new();
        for ((node, scheme), pool) in self.tickets.pools_mut() {
            let usable = self.peers.get(node).is_some_and(|peer| peer.usable(now_ms));
            if usable && let Some(count) = pool.missing(&limits, now_ms) {
                pool.fetching_since_ms = Some(now_ms);
                fetches.push((node.clone(), *scheme, count));
            }
        }
        for (node, scheme, count) in fetches {
            let request = NodeRequest::MakeTickets { scheme, count };
            let purpose = Purpose::Tickets { scheme };
            self.call(moment, &node, request, limits.call_timeout_ms, purpose);
        }
    }

    pub(super) fn tickets_reply(
        &mut self,
        moment: &mut Moment<'_>,
        node: &NodeId,
        scheme: Scheme,
        result: Result<NodeReply, CallFailure>,
    ) {
        let now_ms = moment.ms();
        let pool = self.tickets.pool(node, scheme);
        pool.fetching_since_ms = None;
        let Ok(NodeReply::Tickets(batch)) = result else {
            pool.retry_at_ms = now_ms.saturating_add(RETRY_TICKETS_MS);
            return;
        };
        let Some(peer) = self.peers.get(node) else {
            return;
        };
        let holds = batch.node == *node
            && batch.coordinator == self.config.id
            && batch.scheme == scheme
            && peer.verify(&batch.digest(), &batch.signature).is_ok();
        if !holds {
            return self.misbehaved(moment, node, "signed other tickets", false);
        }
        // Tickets of another run of the process are dead already.
        if peer
            .status
            .as_ref()
            .is_some_and(|status| status.boot != batch.boot)
        {
            self.ask_status_soon(node);
        }
        if self.tickets.pool(node, scheme).keep(batch, now_ms).is_err() {
            self.misbehaved(moment, node, "made tickets that are none", false);
        }
        self.tickets_came(moment);
    }
}

fn is_suspect(status: &NodeStatus) -> bool {
    matches!(status.clock, ClockState::Suspect { .. })
}
