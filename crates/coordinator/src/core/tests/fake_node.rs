//! A node that answers as a real one does, without journal and gate, and misbehaves on request.

mod ending;
mod epochs;
mod resharing;
mod rosters;

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use quorate_intent::{ItemTweak, KeyFacts, decode_all};
use quorate_model::{
    DerivationPath, Digest, Epoch, KeyName, KeyState, NodeId, Reason, Refusal, Scheme, Signature,
    TicketId,
    bytes::Nonce32,
    certificate::{
        CommitCertificate, KeyEvidence, PreparedStatement, participants_of, verifying_shares_hash,
    },
    command::{CommandBody, SignedCommand},
    destruction::Destruction,
    identity::sign_digest,
    ids::UnixMillis,
    node_api::{
        AttemptId, CeremonyReply, ClockState, KeyListing, NodeReply, NodeRequest, NodeStatus,
        Prepared, ReshareFrom, ShareBatch, TimeAttestation,
    },
    payload::pop_message,
    quarantine::{HeadsAttestation, KeyHead, Quarantine, Readmission},
    roster::PinnedRoster,
    session::SessionBinding,
    share::{
        SetOfSigners, ShareItem, ShareReceipt, ShareStatement, Ticket, TicketBatch,
        share_batch_digest, signed_message_hash,
    },
    standing::{Effect, Standing, StateMark, StateReceipt},
};
use quorate_protocol::{
    derivation::Child,
    dkg::{self, Advance, HelloState, Machine, Setup, protocol_name},
    envelope::Envelope,
    evidence::Evidence,
    frost::{Hedge, NoncePair, SigningKeyShare, SigningSet, Tweak, generate_batch, sign_share},
    sharing::SigningShare,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

/// How a node misbehaves.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(super) struct Manners {
    /// Refuses a word of the admins that it be readmitted.
    pub(super) refuses_readmissions: Option<Refusal>,
    /// How many numbers of epochs it leaves out, as one that was restored.
    pub(super) left_out: u32,
    /// Refuses every share request.
    pub(super) refuses_shares: Option<Refusal>,
    /// Refuses every request of a ceremony.
    pub(super) refuses_rounds: Option<Refusal>,
    /// Refuses every step towards the end of a key.
    pub(super) refuses_ends: Option<Refusal>,
    /// Refuses every roster.
    pub(super) refuses_rosters: Option<Refusal>,
    /// Refuses to validate.
    pub(super) refuses_validation: Option<Refusal>,
    /// Flips a bit of every share.
    pub(super) false_shares: bool,
    /// Signs batches with a key of its own.
    pub(super) false_signature: bool,
    /// Answers for another command.
    pub(super) false_statement: bool,
    /// Hands out the same ticket ids again.
    pub(super) repeats_tickets: bool,
    /// Lists its keys from the beginning, whatever it is asked.
    pub(super) repeats_keys: bool,
    /// Sends an echo of what was never said, and forgets the ceremony.
    pub(super) false_echo: bool,
    /// Ends a ceremony at this round without naming anybody.
    pub(super) aborts_at: Option<u8>,
    /// What it shows when it does.
    pub(super) aborts_with: Option<Vec<u8>>,
    /// Does not trust its clock until others confirm it.
    pub(super) clock: Option<Nonce32>,
    /// Says something else in this round of a resharing than its machine does.
    pub(super) spoils_round: Option<u8>,
    /// Cannot read the share that it is to deal.
    pub(super) lost_share: bool,
    /// Refuses to erase.
    pub(super) refuses_erasures: Option<Refusal>,
    /// Refuses its word for restored nodes.
    pub(super) refuses_heads: Option<Refusal>,
    /// Refuses to put a key in use.
    pub(super) refuses_activation: Option<Refusal>,
    /// Refuses to hear of epochs of these keys.
    pub(super) stuck: BTreeSet<KeyName>,
    /// Lists these keys so, whatever it holds.
    pub(super) lists: BTreeMap<KeyName, KeyEvidence>,
    /// When it says that it put these keys in use and used them last.
    pub(super) uses: BTreeMap<KeyName, (Option<UnixMillis>, Option<UnixMillis>)>,
    /// Lists these names, with the number that it would prepare next, beside what it holds.
    pub(super) claims: BTreeMap<KeyName, Epoch>,
    /// Was restored, and waits for the word of all others.
    pub(super) quarantine: Option<Quarantine>,
}

/// What a node knows of one epoch of a key.
struct Held {
    certificate: Option<Vec<u8>>,
    proof: Option<Vec<u8>>,
    /// The certificate of the key's birth, of a later epoch.
    birth: Option<Vec<u8>>,
    session: Digest,
    epoch: Epoch,
    prepared: u32,
    scheme: Scheme,
    threshold: u16,
    share: Option<SigningShare>,
    group_key: Vec<u8>,
    verifying_share: Vec<u8>,
}

pub(super) struct FakeNode {
    pub(super) id: NodeId,
    pub(super) key: SigningKey,
    pub(super) boot: [u8; 16],
    pub(super) manners: Manners,
    pub(super) evidence: Vec<Vec<u8>>,
    pub(super) confirmed_by: Vec<NodeId>,
    /// The pages that it was brought.
    pub(super) told: Vec<HeadsAttestation>,
    pinned: PinnedRoster,
    rng: ChaCha20Rng,
    tickets: BTreeMap<TicketId, NoncePair>,
    last_tickets: Option<TicketBatch>,
    sessions: BTreeMap<AttemptId, (Machine, SignedCommand, u32)>,
    reshares: BTreeMap<KeyName, resharing::Run>,
    keys: BTreeMap<KeyName, Held>,
    /// Sharings that are not in use: not yet, or not any more.
    spare: BTreeMap<KeyName, Vec<Held>>,
    sequence: u64,
    /// Where keys stand at this node.
    pub(super) standings: BTreeMap<KeyName, Standing>,
    /// The ends of keys at this node.
    ends: BTreeMap<KeyName, Destruction>,
}

impl FakeNode {
    pub(super) fn new(id: &NodeId, key: SigningKey, pinned: PinnedRoster, seed: u64) -> Self {
        Self {
            id: id.clone(),
            key,
            boot: [u8::try_from(seed).unwrap(); 16],
            manners: Manners::default(),
            evidence: Vec::new(),
            confirmed_by: Vec::new(),
            told: Vec::new(),
            pinned,
            rng: ChaCha20Rng::seed_from_u64(seed),
            tickets: BTreeMap::new(),
            last_tickets: None,
            sessions: BTreeMap::new(),
            reshares: BTreeMap::new(),
            keys: BTreeMap::new(),
            spare: BTreeMap::new(),
            sequence: 0,
            standings: BTreeMap::new(),
            ends: BTreeMap::new(),
        }
    }

    /// The process dies and starts again: tickets and ceremonies are gone, keys are not.
    pub(super) fn restart(&mut self) {
        self.boot[0] = self.boot[0].wrapping_add(100);
        self.tickets.clear();
        self.sessions.clear();
        self.reshares.clear();
    }

    /// Forgets that a key was activated, as if the proof had never come.
    pub(super) fn forget_proof(&mut self, key: &KeyName) {
        self.keys.get_mut(key).unwrap().proof = None;
    }

    pub(super) fn is_active(&self, key: &KeyName) -> bool {
        self.keys.get(key).is_some_and(|held| held.proof.is_some())
    }

    pub(super) fn certificate(&self, key: &KeyName) -> Option<Vec<u8>> {
        self.keys.get(key)?.certificate.clone()
    }

    /// Lists the certificate of a key under another name, without its proof.
    pub(super) fn alias(&mut self, name: &KeyName, key: &KeyName) {
        let held = self.keys.get(key).unwrap();
        let alias = Held {
            certificate: held.certificate.clone(),
            proof: None,
            birth: held.birth.clone(),
            session: held.session,
            epoch: held.epoch,
            prepared: held.prepared,
            scheme: held.scheme,
            threshold: held.threshold,
            share: None,
            group_key: held.group_key.clone(),
            verifying_share: held.verifying_share.clone(),
        };
        self.keys.insert(name.clone(), alias);
    }

    /// Lists a certificate that does not hold.
    pub(super) fn damage_certificate(&mut self, key: &KeyName) {
        let held = self.keys.get_mut(key).unwrap();
        let mut certificate =
            CommitCertificate::from_bytes(held.certificate.as_ref().unwrap()).unwrap();
        certificate.signatures[0].signature = Signature([1; 64]);
        held.certificate = Some(certificate.to_bytes().unwrap());
    }

    pub(super) fn handle(&mut self, request: &NodeRequest) -> Result<NodeReply, Refusal> {
        if self.manners.quarantine.is_some() && !is_harmless(request) {
            return Err(Refusal::new(Reason::NodeQuarantined, "in quarantine"));
        }
        self.judge_end(request)?;
        match request.clone() {
            NodeRequest::Status { nonce } => Ok(self.status(nonce)),
            NodeRequest::ListKeys { after, limit } => Ok(self.list(after.as_ref(), limit)),
            NodeRequest::MakeTickets { scheme, count } => Ok(self.make_tickets(scheme, count)),
            NodeRequest::SignShares { requests } => {
                let mut outcomes = Vec::new();
                for request in requests {
                    outcomes.push(self.sign(&request));
                }
                let mut batch = ShareBatch {
                    outcomes,
                    signature: Signature([0; 64]),
                };
                let other = SigningKey::from_bytes(&[99; 32]);
                let key = if self.manners.false_signature {
                    &other
                } else {
                    &self.key
                };
                batch.signature = sign_digest(key, &share_batch_digest(&batch.batch()));
                Ok(NodeReply::Shares(batch))
            }
            NodeRequest::Validate { .. } => match &self.manners.refuses_validation {
                Some(refusal) => Err(refusal.clone()),
                None => Ok(NodeReply::Done),
            },
            NodeRequest::BeginCeremony {
                attempt,
                command,
                epoch,
                source,
            } => self.begin(attempt, &command, epoch, source.as_ref()),
            NodeRequest::AdvanceCeremony {
                attempt,
                round,
                envelopes,
            } => match self.reshared_in(attempt) {
                Some(key) => self.advance_resharing(&key, round, &envelopes),
                None => self.advance(attempt, round, &envelopes),
            },
            NodeRequest::ProveKey { certificate, set } => self.prove(&certificate, &set),
            NodeRequest::ActivateKey {
                key,
                certificate,
                proof,
                ..
            } => match &self.manners.refuses_activation {
                Some(refusal) => Err(refusal.clone()),
                None => self.activate(&key, &certificate, proof),
            },
            NodeRequest::EraseEpochs { erasures } => Ok(self.erase(&erasures)),
            NodeRequest::RecordEvidence { evidence } => {
                self.evidence.push(evidence);
                Ok(NodeReply::Done)
            }
            NodeRequest::AttestTime { challenge } => {
                let mut attestation = TimeAttestation {
                    node: self.id.clone(),
                    challenge,
                    time: UnixMillis(1),
                    signature: Signature([0; 64]),
                };
                attestation.signature = sign_digest(&self.key, &attestation.digest());
                Ok(NodeReply::Time(attestation))
            }
            NodeRequest::ConfirmTime { attestations } => {
                self.manners.clock = None;
                self.confirmed_by = attestations.into_iter().map(|a| a.node).collect();
                Ok(NodeReply::Done)
            }
            NodeRequest::SetKeyState { command } => self.set_state(&command),
            NodeRequest::DestroyKey { command } => self.take_step(&command),
            NodeRequest::ChangeRoster { command } => self.follow(&command),
            NodeRequest::ListRosters { since } => {
                let commands = self.pinned.since(&since).into_iter().cloned().collect();
                Ok(NodeReply::Rosters(commands))
            }
            NodeRequest::AttestHeads { status, after } => match &self.manners.refuses_heads {
                Some(refusal) => Err(refusal.clone()),
                None => Ok(self.attest_heads(&status, after)),
            },
            NodeRequest::Readmit {
                attestations,
                command,
            } => match &self.manners.refuses_readmissions {
                Some(refusal) if command.is_some() => Err(refusal.clone()),
                _ => Ok(self.hear_heads(attestations, command)),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Two pages: one with a key, and an empty one.
    fn attest_heads(&self, status: &NodeStatus, after: Option<KeyName>) -> NodeReply {
        let head = KeyHead {
            key: "vault".parse().unwrap(),
            epoch: Epoch(1),
            certificate: None,
            next_epoch: Epoch(2),
            standing: Standing::default(),
            destroyed: false,
        };
        let is_last = after.is_some();
        NodeReply::Heads(HeadsAttestation {
            node: self.id.clone(),
            about: status.node.clone(),
            quarantine: status.quarantine.unwrap(),
            roster: self.pinned.hash(),
            is_quarantined: false,
            after,
            is_last,
            heads: if is_last { Vec::new() } else { vec![head] },
            signature: Signature([0; 64]),
        })
    }

    fn standing(&self, name: &KeyName) -> Standing {
        self.standings.get(name).cloned().unwrap_or_default()
    }

    fn set_state(&mut self, signed: &SignedCommand) -> Result<NodeReply, Refusal> {
        let command = quorate_proto::admission::admit(&self.pinned, signed)?;
        let CommandBody::SetKeyState(set) = command.body else {
            panic!("not a change of state")
        };
        if signed.rejected() {
            return Err(Refusal::new(Reason::CommandRejected, "rejected"));
        }
        if self.birth_of(&set.key).is_none() {
            return Err(Refusal::new(Reason::KeyUnknown, "no such key"));
        }
        let standing = self.standings.entry(set.key.clone()).or_default();
        if standing.judge(&set, &signed.digest())? == Effect::Changes {
            standing.take(StateMark::new(&set, signed.clone()));
        }
        let receipt = StateReceipt {
            node: self.id.clone(),
            key: set.key,
            key_id: set.key_id,
            command: signed.digest(),
            state: standing.state(true),
            sequence: standing.sequence(),
            record: 1,
            signature: Signature([0; 64]),
        };
        let other = SigningKey::from_bytes(&[99; 32]);
        let key = if self.manners.false_signature {
            &other
        } else {
            &self.key
        };
        Ok(NodeReply::StateSet(receipt.sign(key)))
    }

    fn status(&self, nonce: Nonce32) -> NodeReply {
        let clock = match self.manners.clock {
            Some(challenge) => ClockState::Suspect { challenge },
            None => ClockState::Confirmed,
        };
        let mut status = NodeStatus {
            node: self.id.clone(),
            nonce,
            boot: self.boot,
            version: "test".to_owned(),
            pid: 7,
            roster: self.pinned.hash(),
            journal_sequence: self.sequence,
            journal_head: Digest::ZERO,
            time: UnixMillis(1),
            clock,
            quarantine: self.manners.quarantine,
            signature: Signature([0; 64]),
        };
        status.signature = sign_digest(&self.key, &status.digest());
        NodeReply::Status(status)
    }

    fn hear_heads(
        &mut self,
        attestations: Vec<HeadsAttestation>,
        command: Option<SignedCommand>,
    ) -> NodeReply {
        self.told.extend(attestations);
        let body =
            command.map(|signed| quorate_proto::command::decode(&signed.bytes).unwrap().body);
        let without = match body {
            Some(CommandBody::ReadmitNode(readmit)) => readmit.without,
            _ => Vec::new(),
        };
        let missing: Vec<NodeId> = self
            .pinned
            .roster()
            .nodes
            .iter()
            .map(|card| card.id.clone())
            .filter(|id| *id != self.id && !without.contains(id))
            .filter(|id| {
                !self
                    .told
                    .iter()
                    .any(|page| page.is_last && page.node == *id)
            })
            .collect();
        if missing.is_empty() {
            self.manners.quarantine = None;
        }
        NodeReply::Readmission(Readmission { missing })
    }

    fn list(&self, after: Option<&KeyName>, limit: u32) -> NodeReply {
        let held = self.keys.keys().chain(self.spare.keys());
        let names: BTreeSet<&KeyName> = held.chain(self.manners.claims.keys()).collect();
        let listings = names
            .into_iter()
            .filter(|name| self.manners.repeats_keys || after.is_none_or(|after| *name > after))
            .take(limit as usize)
            .map(|name| self.listing(name))
            .collect();
        NodeReply::Keys(listings)
    }

    /// The lowest number that the node would prepare.
    fn next_epoch(&self, name: &KeyName) -> Epoch {
        Epoch(self.prepared_to(name).0 + 1 + self.manners.left_out)
    }

    fn listing(&self, name: &KeyName) -> KeyListing {
        let held = self.keys.get(name);
        let (activated, used) = self.manners.uses.get(name).copied().unwrap_or_default();
        let mut listing = KeyListing {
            key: name.clone(),
            state: if self.has_destroyed(name) {
                KeyState::Destroyed
            } else {
                self.standing(name).state(self.is_active(name))
            },
            epoch: held.map_or(self.prepared_to(name), |held| held.epoch),
            certificate: held.and_then(|held| held.certificate.clone()),
            proof: held.and_then(|held| held.proof.clone()),
            birth: held.and_then(|held| held.birth.clone()),
            next_epoch: self.next_epoch(name),
            keeps_old: self.keeps_old(name),
            standing: self.standing(name),
            destruction: self.end_of(name),
            activated,
            used,
        };
        if let Some(next) = self.manners.claims.get(name) {
            listing.next_epoch = *next;
        }
        if let Some(evidence) = self.manners.lists.get(name) {
            let parsed = CommitCertificate::from_bytes(&evidence.certificate).unwrap();
            listing.epoch = parsed.statement.epoch;
            listing.certificate = Some(evidence.certificate.clone());
            listing.proof.clone_from(&evidence.proof);
            listing.birth.clone_from(&evidence.birth);
        }
        listing
    }

    fn make_tickets(&mut self, scheme: Scheme, count: u32) -> NodeReply {
        if self.manners.repeats_tickets
            && let Some(last) = &self.last_tickets
        {
            return NodeReply::Tickets(last.clone());
        }
        let hedge = Hedge::new([3; 32]);
        let pairs = generate_batch(scheme, count as usize, &hedge, &mut self.rng).unwrap();
        let mut tickets = Vec::new();
        for (pair, commitments) in pairs {
            let mut id = [0; 16];
            self.rng.fill_bytes(&mut id);
            let commitments = commitments.to_received();
            tickets.push(Ticket {
                id: TicketId(id),
                commitments,
            });
            self.tickets.insert(TicketId(id), pair);
        }
        let mut batch = TicketBatch {
            node: self.id.clone(),
            coordinator: "coordinator-1".parse().unwrap(),
            scheme,
            boot: self.boot,
            tickets,
            signature: Signature([0; 64]),
        };
        batch.signature = sign_digest(&self.key, &batch.digest());
        self.last_tickets = Some(batch.clone());
        NodeReply::Tickets(batch)
    }

    fn sign(
        &mut self,
        request: &quorate_model::share::ShareRequest,
    ) -> Result<ShareStatement, Refusal> {
        if let Some(refusal) = &self.manners.refuses_shares {
            return Err(refusal.clone());
        }
        if request.command.rejected() {
            return Err(Refusal::new(Reason::CommandRejected, "rejected"));
        }
        let command = quorate_proto::command::decode(&request.command.bytes)?;
        let Some(sign) = command.body.signs() else {
            panic!("not a sign command")
        };
        self.standing(&sign.key).check_signs(&sign.key)?;
        let held = self.keys.get(&request.key);
        let held = held.filter(|held| held.epoch == request.epoch && held.share.is_some());
        let Some(held) = held else {
            return Err(Refusal::new(
                Reason::EpochChanged,
                "another epoch is in use",
            ));
        };
        let record = held.record(&self.pinned)?;
        let facts = KeyFacts::of(&record);
        let messages: Vec<(Vec<u8>, DerivationPath, Tweak)> = decode_all(&sign.payloads, &facts)
            .unwrap()
            .into_iter()
            .flat_map(|one| one.items)
            .map(|item| match item.tweak {
                ItemTweak::None => (item.message, item.path, Tweak::None),
                ItemTweak::TaprootKeyPath => (item.message, item.path, Tweak::TaprootKeyPath),
            })
            .collect();
        let items = self.shares((&request.key, request.epoch), &messages, &request.items)?;
        let command = if self.manners.false_statement {
            Digest::ZERO
        } else {
            request.command.digest()
        };
        Ok(self.statement(command, (&request.key, request.epoch), items))
    }

    fn statement(
        &mut self,
        command: Digest,
        (key, epoch): (&KeyName, Epoch),
        items: Vec<ShareItem>,
    ) -> ShareStatement {
        self.sequence += 1;
        ShareStatement {
            node: self.id.clone(),
            sequence: self.sequence,
            record: Digest::new([7; 32]),
            command,
            key: key.clone(),
            epoch,
            items,
        }
    }

    fn shares(
        &mut self,
        (key, epoch): (&KeyName, Epoch),
        messages: &[(Vec<u8>, DerivationPath, Tweak)],
        sets: &[SetOfSigners],
    ) -> Result<Vec<ShareItem>, Refusal> {
        assert_eq!(messages.len(), sets.len());
        let held = self
            .keys
            .get(key)
            .into_iter()
            .chain(self.spare.get(key).into_iter().flatten())
            .find(|held| held.epoch == epoch)
            .unwrap();
        let record = held.record(&self.pinned)?;
        let me = record.index_of(&self.id).unwrap();
        let share = SigningKeyShare::new(
            held.scheme,
            me,
            held.threshold,
            held.share.as_ref().unwrap(),
            &held.group_key,
            &held.verifying_share,
        )
        .unwrap();
        let mut items = Vec::new();
        for ((message, path, tweak), set) in messages.iter().zip(sets) {
            let ticket = set.entry(me).unwrap().ticket;
            let Some(nonces) = self.tickets.remove(&ticket) else {
                return Err(Refusal::new(Reason::TicketUnknown, "no such ticket"));
            };
            let parsed = SigningSet::from_received(record.scheme, set).unwrap();
            let code = &record.chain_code;
            let child = Child::derive(record.scheme, &record.group_key, code, path).unwrap();
            let share = share.child(&child).unwrap();
            let mut made = sign_share(&share, nonces, &parsed, message, *tweak).unwrap();
            if self.manners.false_shares {
                // Not the same change at every node: two of them could cancel out.
                made[usize::from(me.number())] ^= 1;
            }
            items.push(ShareItem {
                signing_set: set.digest(),
                message: signed_message_hash(message, path, *tweak == Tweak::TaprootKeyPath),
                share: made,
            });
        }
        Ok(items)
    }

    fn begin(
        &mut self,
        attempt: AttemptId,
        command: &SignedCommand,
        epoch: Epoch,
        source: Option<&ReshareFrom>,
    ) -> Result<NodeReply, Refusal> {
        if let Some(refusal) = &self.manners.refuses_rounds {
            return Err(refusal.clone());
        }
        let decoded = quorate_proto::command::decode(&command.bytes)?;
        if command.rejected() {
            return Err(Refusal::new(Reason::CommandRejected, "rejected"));
        }
        if let CommandBody::ReshareKey(reshare) = decoded.body {
            return self.begin_resharing(attempt, command, (reshare, epoch), source);
        }
        let CommandBody::CreateKey(create) = decoded.body else {
            panic!("not a creation")
        };
        if let Some(held) = self.keys.get(&create.key) {
            if held.certificate.is_some() {
                return Err(Refusal::new(Reason::KeyExists, "the key exists"));
            }
            if epoch.0 <= held.prepared {
                return Err(Refusal::new(Reason::EpochTaken, "the epoch is taken")
                    .with("next_epoch", held.prepared + 1));
            }
        }
        let participants = participants_of(&create.nodes);
        let setup = Setup {
            me: participants
                .iter()
                .find(|p| p.node == self.id)
                .unwrap()
                .index,
            roster_key_of: participants
                .iter()
                .map(|p| {
                    let card = self.pinned.roster().node(&p.node).unwrap();
                    (p.index, card.identity_key.parse().unwrap())
                })
                .collect(),
            threshold: create.threshold,
            count: u16::try_from(participants.len()).unwrap(),
            scheme: create.scheme,
            binding: SessionBinding {
                protocol: protocol_name(create.scheme).unwrap().to_owned(),
                cluster: self.pinned.cluster(),
                roster: self.pinned.hash(),
                key: create.key.clone(),
                source: None,
                target_epoch: epoch,
                threshold: create.threshold,
                participants,
                command: command.digest(),
                payload_index: 0,
            },
        };
        let state = HelloState {
            journal_sequence: 0,
            journal_head: Digest::ZERO,
            boot_id: self.boot,
            policy: Digest::ZERO,
        };
        let (machine, hello) = dkg::start(setup, state, &self.key, &mut self.rng).unwrap();
        self.sessions.clear();
        self.sessions
            .insert(attempt, (machine, command.clone(), epoch.0));
        Ok(NodeReply::Ceremony(reply(0, &[hello])))
    }

    fn advance(
        &mut self,
        attempt: AttemptId,
        round: u8,
        envelopes: &[Vec<u8>],
    ) -> Result<NodeReply, Refusal> {
        if let Some(refusal) = &self.manners.refuses_rounds {
            return Err(refusal.clone());
        }
        let Some((machine, command, epoch)) = self.sessions.remove(&attempt) else {
            return Err(Refusal::new(Reason::SessionUnknown, "no such session"));
        };
        assert_eq!(machine.round(), round);
        if self.manners.aborts_at == Some(round) {
            self.manners.aborts_at = None;
            let mut ended = reply(round, &[]);
            ended.aborted = Some(quorate_model::node_api::Aborted {
                message: "split view".to_owned(),
                culprits: vec![],
                evidence: self.manners.aborts_with.clone(),
            });
            return Ok(NodeReply::Ceremony(ended));
        }
        match machine.advance(envelopes, &self.key, &mut self.rng) {
            Advance::Running {
                machine,
                mut outgoing,
            } => {
                if self.manners.false_echo && machine.round() == dkg::round::COMMIT_ECHO {
                    let echo = &outgoing[0];
                    let slot = echo.header.slot();
                    outgoing = vec![Envelope::sign(slot, b"nothing".to_vec(), &self.key)];
                    return Ok(NodeReply::Ceremony(reply(machine.round(), &outgoing)));
                }
                let next = reply(machine.round(), &outgoing);
                self.sessions.insert(attempt, (machine, command, epoch));
                Ok(NodeReply::Ceremony(next))
            }
            Advance::Finished { output, .. } => {
                let decoded = quorate_proto::command::decode(&command.bytes)?;
                let CommandBody::CreateKey(create) = decoded.body else {
                    panic!()
                };
                let me = participants_of(&create.nodes)
                    .iter()
                    .position(|p| p.node == self.id)
                    .unwrap();
                let statement = PreparedStatement {
                    session: output.session.id(),
                    roster: self.pinned.hash(),
                    command: command.digest(),
                    key: create.key.clone(),
                    scheme: create.scheme,
                    purposes: create.purposes.clone(),
                    epoch: Epoch(epoch),
                    source: None,
                    threshold: create.threshold,
                    participants: output.session.binding.participants.clone(),
                    group_key: output.group_key.clone(),
                    verifying_shares: verifying_shares_hash(&output.verifying_shares),
                    chain_code: output.chain_code,
                    transcript: output.transcript,
                };
                self.keys.insert(
                    create.key,
                    Held {
                        certificate: None,
                        proof: None,
                        birth: None,
                        session: statement.session,
                        epoch: Epoch(epoch),
                        prepared: epoch,
                        scheme: create.scheme,
                        threshold: create.threshold,
                        share: Some(output.share),
                        group_key: output.group_key,
                        verifying_share: output.verifying_shares[me].clone(),
                    },
                );
                let mut last = reply(round + 1, &[]);
                last.prepared = Some(Prepared {
                    signature: statement.sign(&self.key),
                    session: output.session,
                    statement,
                    verifying_shares: output.verifying_shares,
                });
                Ok(NodeReply::Ceremony(last))
            }
            Advance::Aborted { abort, .. } => {
                let mut ended = reply(round + 1, &[]);
                let evidence = abort.evidence().map(Evidence::to_bytes);
                ended.aborted = Some(quorate_model::node_api::Aborted {
                    message: abort.to_string(),
                    culprits: vec![],
                    evidence: evidence.transpose().unwrap(),
                });
                Ok(NodeReply::Ceremony(ended))
            }
            Advance::Refused { rejected, .. } => panic!("refused: {rejected}"),
        }
    }

    fn prove(&mut self, certificate: &[u8], set: &SetOfSigners) -> Result<NodeReply, Refusal> {
        let parsed = CommitCertificate::from_bytes(certificate)?;
        let (name, epoch) = (&parsed.statement.key, parsed.statement.epoch);
        if parsed.statement.source.is_some() {
            self.certify_spare(&parsed, certificate)?;
        } else {
            quorate_proto::certificate::verify(certificate, None, &self.pinned)?;
            let held = self.keys.get_mut(name).unwrap();
            held.certificate = Some(certificate.to_vec());
        }
        let message = (
            pop_message(&parsed.hash()),
            DerivationPath::ROOT,
            Tweak::None,
        );
        let items = self.shares((name, epoch), &[message], std::slice::from_ref(set))?;
        let statement = self.statement(parsed.hash(), (name, epoch), items);
        let batch = vec![statement.digest()];
        let signature = sign_digest(&self.key, &share_batch_digest(&batch));
        Ok(NodeReply::Proved(ShareReceipt {
            statement,
            batch,
            signature,
        }))
    }
}

/// Whether a node in quarantine answers this.
fn is_harmless(request: &NodeRequest) -> bool {
    matches!(
        request,
        NodeRequest::Status { .. }
            | NodeRequest::ListKeys { .. }
            | NodeRequest::AttestTime { .. }
            | NodeRequest::ConfirmTime { .. }
            | NodeRequest::AttestHeads { .. }
            | NodeRequest::Readmit { .. }
            | NodeRequest::ChangeRoster { .. }
            | NodeRequest::ListRosters { .. }
    )
}

fn reply(round: u8, envelopes: &[Envelope]) -> CeremonyReply {
    CeremonyReply {
        round,
        envelopes: envelopes.iter().map(|e| e.to_bytes().unwrap()).collect(),
        prepared: None,
        aborted: None,
    }
}
