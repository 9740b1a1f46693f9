//! A core, its nodes, its store and its clock in one place; everything happens when a test says so.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use ed25519_dalek::SigningKey;
use quorate_model::{
    Digest, IdentityKey, KeyId, KeyName, KeyPurpose, NodeId, Payload, Purposes, Refusal, Scheme,
    TicketId,
    command::{Command, CommandBody, CreateKey, Endorsement, EndorsementKind, Sign, SignedCommand},
    destruction::{DestroyKey, DestroyStep},
    ids::{CommandId, UnixMillis},
    node_api::NodeRequest,
    operation::{CommandOutcome, CommandState, CommandView, SignOutcome},
    roster::{CoordinatorCard, NodeCard, PinnedRoster, Principal, Role, Roster, SignedRoster},
    standing::{SetKeyState, StateChange},
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::{
    super::{
        Action, Admitted, CallFailure, CallId, Core, CoreConfig, Event, Handle, Limits, Notice,
        Now, StoreItem, StoredCommand, admit,
    },
    fake_node::FakeNode,
};

pub(super) const WALL: u64 = 1_700_000_000_000;

pub(super) fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn node_id(index: usize) -> NodeId {
    format!("node-{}", char::from(b'a' + u8::try_from(index).unwrap()))
        .parse()
        .unwrap()
}

/// The admins, and the seeds of their keys.
const ADMINS: [(&str, u8); 2] = [("ada", 101), ("bob", 103)];

fn pinned(nodes: usize, admins: &[(&str, u8)]) -> PinnedRoster {
    let cards = (0..nodes).map(|index| {
        let seed = u8::try_from(index + 1).unwrap();
        NodeCard {
            id: node_id(index),
            identity_key: IdentityKey::of(&signing_key(seed)),
            tls_key_hash: Digest::new([seed; 32]),
            region: "region".to_owned(),
            organisation: "org".to_owned(),
        }
    });
    let principal = |id: &str, seed: u8, role| Principal {
        id: id.parse().unwrap(),
        person: id.to_owned(),
        roles: vec![role],
        identity_key: IdentityKey::of(&signing_key(seed)),
        tls_key_hash: Digest::new([seed; 32]),
    };
    let roster = Roster {
        format: 1,
        version: 1,
        cluster_name: "test".to_owned(),
        parents: vec![],
        nodes: cards.collect(),
        coordinators: vec![CoordinatorCard {
            id: "coordinator-1".parse().unwrap(),
            tls_key_hash: Digest::new([200; 32]),
        }],
        principals: admins
            .iter()
            .map(|(id, seed)| principal(id, *seed, Role::Admin))
            .chain([principal("wallet", 102, Role::Client)])
            .collect(),
        admin_quorum: u16::try_from(admins.len() / 2 + 1).unwrap(),
        lifecycle_quorum: 2,
        policy_hash: Digest::ZERO,
        lifecycle_delay_seconds: None,
        drained: [].into(),
        placement: quorate_model::roster::Placement::default(),
    };
    let mut signed = SignedRoster::unsigned(&roster).unwrap();
    for (id, seed) in admins {
        signed.sign(&id.parse().unwrap(), &signing_key(*seed));
    }
    signed.verify_first().unwrap()
}

/// A kind of request.
pub(super) type Kind = fn(&NodeRequest) -> bool;

pub(super) struct World {
    pub(super) core: Core,
    pub(super) pinned: PinnedRoster,
    pub(super) nodes: BTreeMap<NodeId, FakeNode>,
    pub(super) now_us: u64,
    /// Nodes whose calls are kept unanswered.
    pub(super) silent: BTreeSet<NodeId>,
    /// Nodes that fall silent when they are asked a thing.
    falls_silent: Vec<(NodeId, Kind)>,
    /// Nodes whose next answer to a thing is lost on the way.
    loses_answers: Vec<(NodeId, Kind)>,
    pub(super) held_calls: Vec<(CallId, NodeId, NodeRequest, u64)>,
    /// Whether writes become durable at once.
    pub(super) stores: bool,
    pub(super) unstored: Vec<Event>,
    pub(super) store: Vec<StoreItem>,
    pub(super) answers: BTreeMap<Handle, Result<Arc<CommandView>, Refusal>>,
    pub(super) progress: Vec<CommandView>,
    pub(super) notices: Vec<Notice>,
    pub(super) requests: Vec<(NodeId, NodeRequest)>,
    /// From the first request of this kind on, no request reaches a node.
    loses: Option<Kind>,
    losing: bool,
    /// How many batches of writes there are until the coordinator dies, and whether the last of them
    /// is stored.
    dies_after: Option<(usize, bool)>,
    /// Before how many requests it dies.
    dies_before: Option<usize>,
    /// Nothing that the coordinator does has any effect.
    pub(super) is_dead: bool,
    events: VecDeque<Event>,
    rng: ChaCha20Rng,
    next_handle: Handle,
    next_command: u128,
    /// The key whose creation was commanded last under a name.
    pub(super) created: BTreeMap<KeyName, KeyId>,
}

impl World {
    pub(super) fn new(nodes: usize) -> Self {
        Self::with_limits(nodes, Limits::default())
    }

    pub(super) fn with_limits(count: usize, limits: Limits) -> Self {
        Self::with(limits, pinned(count, &ADMINS))
    }

    /// With an admin besides, so that one can be removed.
    pub(super) fn with_three_admins(count: usize) -> Self {
        let [ada, bob] = ADMINS;
        Self::with_admins(count, &[ada, bob, ("cyd", 104)])
    }

    /// With these admins, and the seeds of their keys.
    pub(super) fn with_admins(count: usize, admins: &[(&str, u8)]) -> Self {
        Self::with(Limits::default(), pinned(count, admins))
    }

    fn with(limits: Limits, pinned: PinnedRoster) -> Self {
        let nodes = (0..pinned.roster().nodes.len())
            .map(|index| {
                let seed = u8::try_from(index + 1).unwrap();
                let id = node_id(index);
                let node = FakeNode::new(&id, signing_key(seed), pinned.clone(), u64::from(seed));
                (id, node)
            })
            .collect();
        let config = CoreConfig {
            id: "coordinator-1".parse().unwrap(),
            limits,
        };
        let mut world = Self {
            core: Core::new(config, pinned.clone(), vec![]),
            pinned,
            nodes,
            now_us: 1_000_000,
            silent: BTreeSet::new(),
            falls_silent: Vec::new(),
            loses_answers: Vec::new(),
            held_calls: Vec::new(),
            stores: true,
            unstored: Vec::new(),
            store: Vec::new(),
            answers: BTreeMap::new(),
            progress: Vec::new(),
            notices: Vec::new(),
            requests: Vec::new(),
            loses: None,
            losing: false,
            dies_after: None,
            dies_before: None,
            is_dead: false,
            events: VecDeque::new(),
            rng: ChaCha20Rng::seed_from_u64(5),
            next_handle: 0,
            next_command: 0,
            created: BTreeMap::new(),
        };
        for id in world.ids() {
            world.push(Event::LinkUp { node: id });
        }
        world.run();
        world
    }

    /// The coordinator starts again with what its store holds, or with nothing.
    pub(super) fn restart_coordinator(&mut self, restored: Vec<StoreItem>) {
        let config = CoreConfig {
            id: "coordinator-1".parse().unwrap(),
            limits: Limits::default(),
        };
        self.core = Core::new(config, self.pinned.clone(), restored);
        self.held_calls.clear();
        self.events.clear();
        self.dies_after = None;
        self.dies_before = None;
        self.is_dead = false;
        for id in self.ids() {
            if !self.silent.contains(&id) {
                self.push(Event::LinkUp { node: id });
            }
        }
        self.run();
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().cloned().collect()
    }

    pub(super) fn id(&self, index: usize) -> NodeId {
        self.nodes.keys().nth(index).unwrap().clone()
    }

    pub(super) fn node(&mut self, index: usize) -> &mut FakeNode {
        self.nodes.get_mut(&node_id(index)).unwrap()
    }

    pub(super) fn push(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Takes events until nothing more follows from them.
    pub(super) fn run(&mut self) {
        while !self.events.is_empty() {
            let now = Now {
                mono_us: self.now_us,
                wall: UnixMillis(WALL + self.now_us / 1_000),
            };
            let events: Vec<Event> = self.events.drain(..).collect();
            let actions = self.core.handle_all(now, events, &mut self.rng);
            for action in actions {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        if self.is_dead {
            return;
        }
        match action {
            Action::Call {
                call,
                node,
                request,
                timeout_ms,
            } => {
                self.losing |= self.loses.is_some_and(|loses| loses(&request));
                self.is_dead = self.dies_before == Some(0);
                if self.losing || self.is_dead {
                    return;
                }
                self.dies_before = self.dies_before.map(|left| left - 1);
                self.requests.push((node.clone(), request.clone()));
                let falls = |(id, kind): &(NodeId, Kind)| *id == node && kind(&request);
                if self.falls_silent.iter().any(falls) {
                    self.silent.insert(node.clone());
                }
                if self.silent.contains(&node) {
                    let deadline = self.now_us + timeout_ms * 1_000;
                    self.held_calls.push((call, node, request, deadline));
                } else {
                    self.answer_call(call, &node, &request);
                }
            }
            Action::Persist { batch, writes } => {
                let (left, keeps) = self.dies_after.take().unwrap_or((usize::MAX, true));
                self.is_dead = left == 1;
                self.dies_after = Some((left.saturating_sub(1), keeps));
                if keeps || !self.is_dead {
                    self.store.extend(writes);
                }
                if self.is_dead {
                    return;
                }
                if self.stores {
                    self.push(Event::Stored { batch });
                } else {
                    self.unstored.push(Event::Stored { batch });
                }
            }
            Action::Answer { handle, result } => {
                assert!(
                    self.answers.insert(handle, result).is_none(),
                    "answered twice"
                );
            }
            Action::Progress(view) => self.progress.push(CommandView::clone(&view)),
            Action::Notice(notice) => self.notices.push(notice),
            Action::WakeAt(_) | Action::Roster(_) => {}
        }
    }

    fn answer_call(&mut self, call: CallId, node: &NodeId, request: &NodeRequest) {
        let reply = self.nodes.get_mut(node).unwrap().handle(request);
        let loses = |(id, kind): &(NodeId, Kind)| id == node && kind(request);
        let result = match self.loses_answers.iter().position(loses) {
            Some(at) => {
                self.loses_answers.remove(at);
                Err(CallFailure::Lost)
            }
            None => reply.map_err(CallFailure::Refused),
        };
        self.push(Event::Reply { call, result });
    }

    /// Lets time pass in steps of 10 ms; calls that nobody answers time out.
    pub(super) fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(10) {
            self.now_us += 10_000;
            let now_us = self.now_us;
            let (late, held) = std::mem::take(&mut self.held_calls)
                .into_iter()
                .partition(|c| c.3 <= now_us);
            self.held_calls = held;
            let late: Vec<(CallId, NodeId, NodeRequest, u64)> = late;
            for (call, ..) in late {
                self.push(Event::Reply {
                    call,
                    result: Err(CallFailure::TimedOut),
                });
            }
            self.push(Event::Tick);
            self.run();
        }
    }

    /// A node answers again, also to what it was asked before.
    pub(super) fn speak(&mut self, index: usize) {
        let id = node_id(index);
        self.silent.remove(&id);
        self.falls_silent.retain(|(node, _)| *node != id);
        let (mine, rest) = std::mem::take(&mut self.held_calls)
            .into_iter()
            .partition(|c| c.1 == id);
        self.held_calls = rest;
        let mine: Vec<(CallId, NodeId, NodeRequest, u64)> = mine;
        for (call, node, request, _) in mine {
            self.answer_call(call, &node, &request);
        }
        self.run();
    }

    /// Loses every request from the first of a kind on.
    pub(super) fn lose_from(&mut self, loses: Kind) {
        self.loses = Some(loses);
    }

    /// Loses the next answer of a node to such a thing.
    pub(super) fn lose_answer(&mut self, index: usize, kind: Kind) {
        self.loses_answers.push((node_id(index), kind));
    }

    /// The coordinator dies with a batch of writes, counted from the next one, which is stored or not.
    pub(super) fn die_after(&mut self, batches: usize, keeps: bool) {
        self.dies_after = Some((batches, keeps));
    }

    /// The coordinator dies after so many requests, before the next one leaves.
    pub(super) fn die_before(&mut self, requests: usize) {
        self.dies_before = Some(requests);
    }

    /// Loses nothing any more.
    pub(super) fn lose_none(&mut self) {
        self.loses = None;
        self.losing = false;
    }

    pub(super) fn silence(&mut self, index: usize) {
        self.silent.insert(node_id(index));
    }

    /// A node falls silent when it is asked such a thing, until it speaks again.
    pub(super) fn silence_at(&mut self, index: usize, kind: Kind) {
        self.falls_silent.push((node_id(index), kind));
    }

    pub(super) fn disconnect(&mut self, index: usize) {
        let id = node_id(index);
        self.silent.insert(id.clone());
        self.push(Event::LinkDown { node: id });
        self.run();
    }

    pub(super) fn connect(&mut self, index: usize) {
        let id = node_id(index);
        self.silent.remove(&id);
        self.held_calls.retain(|call| call.1 != id);
        self.push(Event::LinkUp { node: id });
        self.run();
    }

    pub(super) fn command(&mut self, body: CommandBody) -> (Command, SignedCommand) {
        self.next_command += 1;
        let created = UnixMillis(WALL + self.now_us / 1_000);
        let command = Command {
            cluster: self.pinned.cluster(),
            roster: self.pinned.hash(),
            id: CommandId(uuid::Uuid::from_u128(self.next_command)),
            created,
            expires: created.plus(600_000),
            body,
        };
        let signed = self.endorsed(&command);
        if let CommandBody::CreateKey(create) = &command.body {
            let id = KeyId::of(&signed.digest());
            self.created.insert(create.key.clone(), id);
        }
        (command, signed)
    }

    /// Makes no command with an id that another world has used.
    pub(super) fn next_ids_after(&mut self, other: &Self) {
        self.next_command = self.next_command.max(other.next_command) + 1_000;
    }

    pub(super) fn endorsed(&self, command: &Command) -> SignedCommand {
        let (principal, seed) = match command.body.role() {
            Role::Admin => ("ada", 101),
            _ => ("wallet", 102),
        };
        SignedCommand::propose(
            quorate_proto::command::encode(command),
            &self.pinned.cluster(),
            &principal.parse().unwrap(),
            command.body.role(),
            &signing_key(seed),
        )
    }

    pub(super) fn rejection(&self, signed: &SignedCommand) -> Endorsement {
        let mut rejected = signed.clone();
        rejected.endorse(
            &self.pinned.cluster(),
            EndorsementKind::Reject,
            &"ada".parse().unwrap(),
            Role::Admin,
            &signing_key(101),
        );
        rejected.endorsements.pop().unwrap()
    }

    /// A change of the state of the key that was created last under its name, proposed by ada.
    pub(super) fn state_change(
        &mut self,
        key: &KeyName,
        sequence: u64,
        change: StateChange,
    ) -> SignedCommand {
        let set = SetKeyState {
            key: key.clone(),
            key_id: self.created[key],
            sequence,
            change,
            reason: "a drill".to_owned(),
        };
        self.command(CommandBody::SetKeyState(set)).1
    }

    /// A step towards the end of a key, proposed by the first admin.
    pub(super) fn end_step(&mut self, key: &KeyName, step: DestroyStep) -> SignedCommand {
        let destroy = DestroyKey {
            key: key.clone(),
            key_id: self.created[key],
            step,
            reason: "a drill".to_owned(),
        };
        self.command(CommandBody::DestroyKey(destroy)).1
    }

    /// The word of bob on a command.
    pub(super) fn word_of_bob(&self, signed: &SignedCommand, kind: EndorsementKind) -> Endorsement {
        let mut more = signed.clone();
        let bob = "bob".parse().unwrap();
        let cluster = self.pinned.cluster();
        more.endorse(&cluster, kind, &bob, Role::Admin, &signing_key(103));
        more.endorsements.pop().unwrap()
    }

    pub(super) fn creation(&mut self, name: &str, scheme: Scheme, threshold: u16) -> SignedCommand {
        let nodes = self.ids();
        self.creation_on(name, scheme, threshold, nodes)
    }

    pub(super) fn creation_on(
        &mut self,
        name: &str,
        scheme: Scheme,
        threshold: u16,
        nodes: Vec<NodeId>,
    ) -> SignedCommand {
        let create = CreateKey {
            key: name.parse().unwrap(),
            scheme,
            threshold,
            nodes,
            purposes: Purposes::new(vec![KeyPurpose::Messages]).unwrap(),
            accept_fragile: true,
            life: quorate_model::life::KeyLife::default(),
        };
        self.command(CommandBody::CreateKey(create)).1
    }

    pub(super) fn signature(&mut self, key: &str, messages: &[&str]) -> SignedCommand {
        let payloads = messages.iter().map(|m| Payload::message(m.as_bytes()));
        let sign = self.sign(key, payloads.collect());
        self.command(CommandBody::Sign(sign)).1
    }

    /// A request for signatures by the key that was created last under its name.
    pub(super) fn sign(&self, key: &str, payloads: Vec<Payload>) -> Sign {
        let key: KeyName = key.parse().unwrap();
        let none = KeyId([0; 32]);
        Sign {
            key_id: self.created.get(&key).copied().unwrap_or(none),
            key,
            payloads,
        }
    }

    pub(super) fn admitted(&self, signed: &SignedCommand) -> Admitted {
        admit(&self.pinned, signed.clone()).unwrap()
    }

    fn handle(&mut self) -> Handle {
        self.next_handle += 1;
        self.next_handle
    }

    /// Hands a command in, with what the store remembers of it.
    pub(super) fn submit(&mut self, signed: &SignedCommand) -> Handle {
        let handle = self.handle();
        let command = self.admitted(signed);
        let id = command.command().id;
        let remembered = self.remembered(id).map(Box::new);
        self.push(Event::Submit {
            handle,
            command,
            validate_only: false,
            remembered,
        });
        handle
    }

    pub(super) fn validate(&mut self, signed: &SignedCommand) -> Handle {
        let handle = self.handle();
        let command = self.admitted(signed);
        self.push(Event::Submit {
            handle,
            command,
            validate_only: true,
            remembered: None,
        });
        handle
    }

    pub(super) fn endorse(&mut self, id: CommandId, endorsement: Endorsement) -> Handle {
        let handle = self.handle();
        let remembered = self.remembered(id).map(Box::new);
        self.push(Event::Endorse {
            handle,
            id,
            endorsement,
            remembered,
        });
        handle
    }

    fn remembered(&self, id: CommandId) -> Option<StoredCommand> {
        self.store.iter().rev().find_map(|item| match item {
            StoreItem::Command(stored) if stored.view.id == id => Some(stored.clone()),
            _ => None,
        })
    }

    pub(super) fn view(&self, handle: Handle) -> &CommandView {
        self.answers
            .get(&handle)
            .expect("no answer")
            .as_ref()
            .expect("refused")
    }

    pub(super) fn refusal(&self, handle: Handle) -> &Refusal {
        self.answers
            .get(&handle)
            .expect("no answer")
            .as_ref()
            .expect_err("not refused")
    }

    /// Creates a key and expects that it works.
    pub(super) fn key(&mut self, name: &str, scheme: Scheme, threshold: u16) -> KeyName {
        let nodes = self.ids();
        self.key_on(name, scheme, threshold, nodes)
    }

    /// The same, of some of the nodes.
    pub(super) fn key_on(
        &mut self,
        name: &str,
        scheme: Scheme,
        threshold: u16,
        nodes: Vec<NodeId>,
    ) -> KeyName {
        let signed = self.creation_on(name, scheme, threshold, nodes);
        let handle = self.submit(&signed);
        self.run();
        self.pass(50);
        assert_eq!(
            self.view(handle).state,
            CommandState::Succeeded,
            "{:?}",
            self.view(handle)
        );
        name.parse().unwrap()
    }

    /// The signatures that a command came to, each verified under the key.
    pub(super) fn signed(&mut self, handle: Handle, messages: &[&str]) -> SignOutcome {
        let view = self.view(handle).clone();
        assert_eq!(view.state, CommandState::Succeeded, "{:?}", view.error);
        let Some(CommandOutcome::Signed(outcome)) = view.outcome else {
            panic!("no signatures");
        };
        let record = self.core.key(&outcome.key).unwrap().record;
        assert_eq!(outcome.signatures.len(), messages.len());
        for (message, signature) in messages.iter().zip(&outcome.signatures) {
            quorate_protocol::verify::signature(
                record.scheme,
                &record.group_key,
                message.as_bytes(),
                quorate_protocol::frost::Tweak::None,
                signature,
            )
            .unwrap();
        }
        assert_eq!(outcome.signers.len(), usize::from(record.threshold));
        for (signer, receipt) in outcome.signers.iter().zip(&outcome.receipts) {
            let card = self.pinned.roster().node(signer).unwrap();
            assert_eq!(&receipt.statement.node, signer);
            receipt.verify(&card.identity_key).unwrap();
        }
        self.assert_no_ticket_is_used_twice();
        outcome
    }

    /// Over everything that was ever asked: a ticket stands in one signing set only.
    pub(super) fn assert_no_ticket_is_used_twice(&self) {
        let mut sets: BTreeMap<TicketId, Digest> = BTreeMap::new();
        let mut asked: BTreeSet<(NodeId, TicketId)> = BTreeSet::new();
        for (node, request) in &self.requests {
            let items = match request {
                NodeRequest::SignShares { requests } => {
                    requests.iter().flat_map(|r| r.items.clone()).collect()
                }
                NodeRequest::ProveKey { set, .. } => vec![set.clone()],
                _ => continue,
            };
            for set in items {
                for entry in &set.entries {
                    let digest = *sets.entry(entry.ticket).or_insert(set.digest());
                    assert_eq!(digest, set.digest(), "a ticket stands in two sets");
                    let once = asked.insert((node.clone(), entry.ticket));
                    assert!(once, "a node is asked twice for one ticket");
                }
            }
        }
    }

    /// How many requests of a kind went to a node.
    pub(super) fn count(&self, index: usize, kind: Kind) -> usize {
        let id = node_id(index);
        self.requests
            .iter()
            .filter(|(node, request)| *node == id && kind(request))
            .count()
    }
}
