//! Cores of a whole cluster on simulated disks, driven by hand like an honest coordinator would.

mod roster;

use std::{collections::BTreeMap, sync::Arc};

use ed25519_dalek::SigningKey;
use quorate_model::{
    CommandId, CoordinatorId, Epoch, IdentityKey, KeyId, KeyPurpose, NodeId, PartyIndex, Payload,
    Purposes, Refusal, Scheme, UnixMillis,
    audit::Entry,
    bytes::Nonce32,
    certificate::{CommitCertificate, PossessionProof},
    command::{Command, CommandBody, CreateKey, Sign, SignedCommand},
    node_api::{CeremonyReply, NodeReply, NodeRequest, Prepared},
    payload::pop_message,
    roster::{NodeCard, PinnedRoster, Role, SignedRoster},
    share::{SetEntry, SetOfSigners, ShareReceipt, ShareRequest, ShareStatement, Ticket},
};
use quorate_protocol::{
    ecdsa::{STAND_IN, engine::Engine},
    envelope::Envelope,
    frost::{Hedge, PublicKeys, SigningSet, Tweak, aggregate},
};
use rand_chacha::ChaCha20Rng;
use rand_core::{OsRng, SeedableRng as _};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    core::{
        About, Context, NodeCore, Outcome, Parts, Reading, TrueShares, clock::NodeClock, ledger,
        lock,
    },
    disk::{Disk as _, MemoryDisk},
    index::{Index as _, IndexKey, MemoryIndex, MemoryRows},
    journal::{Journal, JournalConfig, JournalLimits},
    sealing::{HedgeSecret, KekSource, NodeIdentity, Passphrase, TlsKey, create_kek, open_kek},
    vault::Vault,
};

pub(crate) const START: UnixMillis = UnixMillis(1_800_000_000_000);

pub(crate) struct Cluster {
    pub(crate) pinned: PinnedRoster,
    pub(crate) signed_roster: SignedRoster,
    pub(crate) cores: Vec<Arc<NodeCore<MemoryDisk>>>,
    /// What each node keeps.
    pub(crate) disks: Vec<MemoryDisk>,
    pub(crate) keys: Vec<SigningKey>,
    pub(crate) admin: SigningKey,
    pub(crate) second_admin: SigningKey,
    /// Another key of the first admin.
    pub(crate) phone: SigningKey,
    pub(crate) client: SigningKey,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) monotonic_ms: u64,
    pub(crate) next_id: u128,
    /// How often nodes were started.
    pub(crate) boots: u8,
    /// The key whose creation was commanded last under a name.
    pub(crate) created: BTreeMap<String, KeyId>,
}

pub(crate) fn coordinator() -> CoordinatorId {
    "coordinator-1".parse().unwrap()
}

pub(crate) fn other_coordinator() -> CoordinatorId {
    "coordinator-2".parse().unwrap()
}

pub(crate) fn node_id(at: usize) -> NodeId {
    format!("node-{at}").parse().unwrap()
}

pub(crate) fn index(number: usize) -> PartyIndex {
    PartyIndex::new(u16::try_from(number).unwrap()).unwrap()
}

impl Cluster {
    pub(crate) fn new(count: usize) -> Self {
        Self::with_journals(count, JournalLimits::default())
    }

    pub(crate) fn with_journals(count: usize, limits: JournalLimits) -> Self {
        Self::with_engines(count, limits, |_| STAND_IN)
    }

    /// A cluster whose nodes compute ECDSA each in its own way.
    pub(crate) fn with_engines(
        count: usize,
        limits: JournalLimits,
        engine_of: impl Fn(usize) -> &'static dyn Engine,
    ) -> Self {
        let key = |seed: usize| SigningKey::from_bytes(&[u8::try_from(seed).unwrap(); 32]);
        let keys: Vec<_> = (0..count).map(|at| key(at + 1)).collect();
        let (admin, client) = (key(100), key(101));
        let (second_admin, phone) = (key(102), key(103));
        let (signed_roster, pinned) = roster::of(&keys, &admin, &second_admin, &phone, &client);
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let mut disks = Vec::new();
        let cores = keys
            .iter()
            .enumerate()
            .map(|(at, key)| {
                let disk = disk(at, key, &signed_roster, &mut rng);
                disks.push(disk.clone());
                let kek = open_kek(&disk, &node_id(at), &unseals(PASSPHRASE)).unwrap();
                Vault::create(&disk, &node_id(at), &kek, &mut rng).unwrap();
                Journal::create(&disk).unwrap();
                let boot = u8::try_from(at).unwrap();
                core((at, boot), key, (disk, &pinned), limits, engine_of(at))
            })
            .collect();
        Self {
            pinned,
            signed_roster,
            cores,
            disks,
            keys,
            admin,
            second_admin,
            phone,
            client,
            rng,
            monotonic_ms: 0,
            next_id: 1,
            boots: u8::try_from(count).unwrap(),
            created: BTreeMap::new(),
        }
    }

    pub(crate) fn disks_as_they_are(&self) -> Vec<MemoryDisk> {
        self.disks.iter().map(MemoryDisk::fork).collect()
    }

    /// Has a node start again, with what is on a disk.
    pub(crate) fn start_on(&mut self, at: usize, disk: MemoryDisk) {
        self.disks[at] = disk.clone();
        let limits = JournalLimits::default();
        self.boots = self.boots.wrapping_add(1);
        let (key, disk) = (&self.keys[at], (disk, &self.pinned));
        let core = core((at, self.boots), key, disk, limits, STAND_IN);
        core.finish_erasures(&mut OsRng).unwrap();
        let entry = Entry::Boot {
            version: "test".to_owned(),
            node: node_id(at),
        };
        let appended = core.begin(self.reading(), vec![entry]).unwrap();
        core.journal().commit(&appended).unwrap();
        self.cores[at] = core;
    }

    pub(crate) fn reading(&self) -> Reading {
        Reading {
            wall: START.plus(self.monotonic_ms),
            monotonic_ms: self.monotonic_ms,
        }
    }

    /// Asks a node, and leaves its records in memory.
    pub(crate) fn judge(&mut self, at: usize, request: NodeRequest) -> Outcome {
        let core = Arc::clone(&self.cores[at]);
        let mut context = Context {
            caller: &coordinator(),
            reading: self.reading(),
            rng: &mut self.rng,
        };
        core.handle(&mut context, request).unwrap()
    }

    /// Uses up what may be recorded of refusals.
    pub(crate) fn exhaust_refusals(&self, at: usize) {
        let now_ms = self.monotonic_ms;
        let mut state = lock(&self.cores[at].state);
        while state.refusals.take(now_ms) {}
    }

    /// Asks a node and makes its records durable, as the shell does.
    pub(crate) fn ask(&mut self, at: usize, request: NodeRequest) -> Result<NodeReply, Refusal> {
        self.ask_as(&coordinator(), at, request)
    }

    pub(crate) fn ask_as(
        &mut self,
        caller: &CoordinatorId,
        at: usize,
        request: NodeRequest,
    ) -> Result<NodeReply, Refusal> {
        let core = Arc::clone(&self.cores[at]);
        let reading = self.reading();
        let mut context = Context {
            caller,
            reading,
            rng: &mut self.rng,
        };
        match core.handle(&mut context, request).unwrap() {
            Outcome::Ready(reply) => reply,
            Outcome::Pending(pending) => {
                let committed = core.journal().commit(pending.appended()).unwrap();
                pending.release(&committed, &mut OsRng).unwrap()
            }
        }
    }

    pub(crate) fn command_id(&mut self) -> CommandId {
        self.next_id += 1;
        CommandId(Uuid::from_u128(self.next_id))
    }

    pub(crate) fn signed(&self, id: CommandId, role: Role, body: CommandBody) -> SignedCommand {
        let command = Command {
            cluster: self.pinned.cluster(),
            roster: self.pinned.hash(),
            id,
            created: START,
            expires: START.plus(3_600_000),
            body,
        };
        self.propose(&command, role)
    }

    pub(crate) fn propose(&self, command: &Command, role: Role) -> SignedCommand {
        let (principal, key) = match role {
            Role::Admin => ("the-admin", &self.admin),
            _ => ("the-client", &self.client),
        };
        let bytes = quorate_proto::command::encode(command);
        let principal = principal.parse().unwrap();
        SignedCommand::propose(bytes, &self.pinned.cluster(), &principal, role, key)
    }

    pub(crate) fn create_command(
        &mut self,
        name: &str,
        scheme: Scheme,
        threshold: u16,
        purposes: &[KeyPurpose],
    ) -> SignedCommand {
        self.creation(CreateKey {
            key: name.parse().unwrap(),
            scheme,
            threshold,
            nodes: (0..self.cores.len()).map(node_id).collect(),
            purposes: Purposes::new(purposes.to_vec()).unwrap(),
            accept_fragile: true,
            life: quorate_model::life::KeyLife::default(),
        })
    }

    /// The command for a key.
    pub(crate) fn creation(&mut self, create: CreateKey) -> SignedCommand {
        let id = self.command_id();
        let name = create.key.to_string();
        let command = self.signed(id, Role::Admin, CommandBody::CreateKey(create));
        self.created.insert(name, KeyId::of(&command.digest()));
        command
    }

    /// A request for signatures by a key that was created last under its name.
    pub(crate) fn sign_command(&mut self, name: &str, payloads: Vec<Payload>) -> SignedCommand {
        let id = self.command_id();
        let sign = CommandBody::Sign(self.sign_body(name, payloads));
        self.signed(id, Role::Client, sign)
    }

    pub(crate) fn sign_body(&self, name: &str, payloads: Vec<Payload>) -> Sign {
        let none = KeyId([0; 32]);
        Sign {
            key: name.parse().unwrap(),
            key_id: self.created.get(name).copied().unwrap_or(none),
            payloads,
        }
    }

    /// Runs the ceremony up to PREPARED of every node.
    pub(crate) fn prepare(
        &mut self,
        command: &SignedCommand,
        epoch: Epoch,
        attempt: u8,
    ) -> Result<Vec<Prepared>, Refusal> {
        let count = self.cores.len();
        let attempt = [attempt; 16];
        let mut replies: Vec<CeremonyReply> = Vec::new();
        for at in 0..count {
            let request = NodeRequest::BeginCeremony {
                attempt,
                command: command.clone(),
                epoch,
                source: None,
            };
            replies.push(ceremony(self.ask(at, request)?));
        }
        loop {
            if replies.iter().all(|reply| reply.prepared.is_some()) {
                return Ok(replies
                    .into_iter()
                    .filter_map(|reply| reply.prepared)
                    .collect());
            }
            let round = replies[0].round;
            let mut next = Vec::new();
            for at in 0..count {
                let envelopes = inbox(&replies, index(at + 1));
                let request = NodeRequest::AdvanceCeremony {
                    attempt,
                    round,
                    envelopes,
                };
                next.push(ceremony(self.ask(at, request)?));
            }
            replies = next;
        }
    }

    pub(crate) fn certificate(
        &self,
        command: &SignedCommand,
        prepared: &[Prepared],
    ) -> CommitCertificate {
        let first = &prepared[0];
        CommitCertificate {
            command: command.clone(),
            session: first.session.clone(),
            statement: first.statement.clone(),
            verifying_shares: first.verifying_shares.clone(),
            signatures: prepared
                .iter()
                .enumerate()
                .map(|(at, one)| quorate_model::certificate::NodeSignature {
                    node: node_id(at),
                    signature: one.signature,
                })
                .collect(),
        }
    }

    pub(crate) fn ticket(&mut self, at: usize, scheme: Scheme) -> Ticket {
        match self
            .ask(at, NodeRequest::MakeTickets { scheme, count: 1 })
            .unwrap()
        {
            NodeReply::Tickets(batch) => {
                batch.verify(&IdentityKey::of(&self.keys[at])).unwrap();
                batch.tickets[0].clone()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn set(&mut self, signers: &[usize], scheme: Scheme) -> SetOfSigners {
        let entries = signers
            .iter()
            .map(|at| {
                let ticket = self.ticket(*at, scheme);
                SetEntry {
                    signer: index(at + 1),
                    ticket: ticket.id,
                    commitments: ticket.commitments,
                }
            })
            .collect();
        SetOfSigners { entries }
    }

    /// Creates a key and makes it active.
    pub(crate) fn create(
        &mut self,
        name: &str,
        scheme: Scheme,
        threshold: u16,
    ) -> CommitCertificate {
        let command = self.create_command(name, scheme, threshold, &[KeyPurpose::Messages]);
        self.carry_out(&command)
    }

    /// Creates the key of a command and makes it active.
    pub(crate) fn carry_out(&mut self, command: &SignedCommand) -> CommitCertificate {
        let prepared = self.prepare(command, Epoch(1), 1).unwrap();
        let certificate = self.certificate(command, &prepared);
        let proof = self.prove(&certificate).unwrap();
        for at in 0..self.cores.len() {
            self.activate(at, &certificate, &proof).unwrap();
        }
        certificate
    }

    pub(crate) fn prove(
        &mut self,
        certificate: &CommitCertificate,
    ) -> Result<PossessionProof, Refusal> {
        let everybody: Vec<usize> = (0..self.cores.len()).collect();
        let scheme = certificate.statement.scheme.proven_by();
        let set = self.set(&everybody, scheme);
        let bytes = certificate.to_bytes().unwrap();
        let mut receipts = Vec::new();
        for at in everybody {
            let request = NodeRequest::ProveKey {
                certificate: bytes.clone(),
                set: set.clone(),
            };
            match self.ask(at, request)? {
                NodeReply::Proved(receipt) => receipts.push(receipt),
                other => panic!("{other:?}"),
            }
        }
        let keys = self.public_keys(certificate);
        let shares: Vec<_> = receipts
            .iter()
            .enumerate()
            .map(|(at, receipt)| (index(at + 1), receipt.statement.items[0].share))
            .collect();
        let checked = SigningSet::from_received(scheme, &set).unwrap();
        let message = pop_message(&certificate.hash());
        let signature = aggregate(&keys, &checked, &message, Tweak::None, &shares).unwrap();
        Ok(PossessionProof {
            certificate: certificate.hash(),
            set,
            receipts,
            signature,
        })
    }

    pub(crate) fn activate(
        &mut self,
        at: usize,
        certificate: &CommitCertificate,
        proof: &PossessionProof,
    ) -> Result<NodeReply, Refusal> {
        let request = NodeRequest::ActivateKey {
            key: certificate.statement.key.clone(),
            epoch: certificate.statement.epoch,
            proof: proof.to_bytes().unwrap(),
            certificate: Vec::new(),
        };
        self.ask(at, request)
    }

    pub(crate) fn public_keys(&self, certificate: &CommitCertificate) -> PublicKeys {
        let statement = &certificate.statement;
        PublicKeys::new(
            statement.scheme.proven_by(),
            statement.threshold,
            &statement.group_key,
            &certificate.verifying_shares,
        )
        .unwrap()
    }

    pub(crate) fn share_request(
        &self,
        command: &SignedCommand,
        certificate: &CommitCertificate,
        sets: &[SetOfSigners],
    ) -> ShareRequest {
        ShareRequest {
            command: command.clone(),
            key: certificate.statement.key.clone(),
            epoch: certificate.statement.epoch,
            items: sets.to_vec(),
        }
    }

    /// Asks one node for its shares of one command.
    pub(crate) fn shares(
        &mut self,
        at: usize,
        request: &ShareRequest,
    ) -> Result<ShareStatement, Refusal> {
        let request = NodeRequest::SignShares {
            requests: vec![request.clone()],
        };
        match self.ask(at, request)? {
            NodeReply::Shares(batch) => {
                let hashes = batch.batch();
                let outcome = batch.outcomes.into_iter().next().unwrap()?;
                let receipt = ShareReceipt {
                    statement: outcome.clone(),
                    batch: hashes,
                    signature: batch.signature,
                };
                receipt.verify(&IdentityKey::of(&self.keys[at])).unwrap();
                Ok(outcome)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Signs a message with some of the nodes and verifies the result.
    pub(crate) fn sign(
        &mut self,
        certificate: &CommitCertificate,
        signers: &[usize],
        message: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let name = certificate.statement.key.to_string();
        let command = self.sign_command(&name, vec![Payload::message(message)]);
        let scheme = certificate.statement.scheme;
        let set = self.set(signers, scheme);
        let request = self.share_request(&command, certificate, std::slice::from_ref(&set));
        let mut shares = Vec::new();
        for at in signers {
            let statement = self.shares(*at, &request)?;
            shares.push((index(at + 1), statement.items[0].share));
        }
        let keys = self.public_keys(certificate);
        let checked = SigningSet::from_received(scheme, &set).unwrap();
        Ok(aggregate(&keys, &checked, message, Tweak::None, &shares).unwrap())
    }
}

pub(crate) fn ceremony(reply: NodeReply) -> CeremonyReply {
    match reply {
        NodeReply::Ceremony(reply) => {
            assert!(reply.aborted.is_none(), "{:?}", reply.aborted);
            reply
        }
        other => panic!("{other:?}"),
    }
}

/// The broadcasts of everybody, or the envelopes for one party.
pub(crate) fn inbox(replies: &[CeremonyReply], me: PartyIndex) -> Vec<Vec<u8>> {
    replies
        .iter()
        .flat_map(|reply| &reply.envelopes)
        .filter(|bytes| {
            let recipient = Envelope::from_bytes(bytes).unwrap().header.recipient;
            recipient.is_none_or(|recipient| recipient == me)
        })
        .cloned()
        .collect()
}

pub(crate) fn memory_index() -> MemoryIndex {
    let key = IndexKey::derive(&HedgeSecret::new(&[9; 32]));
    MemoryIndex::open(MemoryRows::new(), key).unwrap().0
}

/// What unseals every node of the harness.
pub(crate) fn unseals(passphrase: &str) -> KekSource {
    KekSource::insecure_passphrase(Passphrase::new(passphrase))
}

pub(crate) const PASSPHRASE: &str = "correct";

/// The disk of a node that was made and pinned.
fn disk(at: usize, key: &SigningKey, signed: &SignedRoster, rng: &mut ChaCha20Rng) -> MemoryDisk {
    let disk = MemoryDisk::new();
    let kek = create_kek(&disk, &node_id(at), &unseals(PASSPHRASE), rng).unwrap();
    let identity = NodeIdentity {
        node: node_id(at),
        identity: key.clone(),
        tls_key: TlsKey::new(Zeroizing::new(vec![1; 32])),
        tls_certificate: vec![2; 32],
        hedge: HedgeSecret::new(&[9; 32]),
    };
    identity.create(&disk, &kek, rng).unwrap();
    let card: NodeCard = {
        let roster: quorate_model::roster::Roster = serde_json::from_str(&signed.roster).unwrap();
        roster.nodes[at].clone()
    };
    disk.write("card.json", &serde_json::to_vec(&card).unwrap())
        .unwrap();
    disk.write("roster.json", &serde_json::to_vec(signed).unwrap())
        .unwrap();
    disk
}

fn core(
    (at, boot): (usize, u8),
    key: &SigningKey,
    (disk, pinned): (MemoryDisk, &PinnedRoster),
    limits: JournalLimits,
    engine: &'static dyn Engine,
) -> Arc<NodeCore<MemoryDisk>> {
    let boot = [boot; 16];
    let kek = open_kek(&disk, &node_id(at), &unseals(PASSPHRASE)).unwrap();
    let (vault, _) = Vault::open(disk.clone(), node_id(at), Arc::new(kek)).unwrap();
    let config = JournalConfig {
        identity: IdentityKey::of(key),
        boot,
        limits,
    };
    let index = memory_index();
    let (journal, _) = Journal::open(disk, &config, |record, _| {
        let changes = ledger::changes(&index, record).unwrap();
        index.apply(record.sequence, changes).unwrap();
    })
    .unwrap();
    let reading = Reading {
        wall: START,
        monotonic_ms: 0,
    };
    NodeCore::new(Parts {
        me: node_id(at),
        identity: key.clone(),
        hedge: Hedge::new([9; 32]),
        boot,
        pinned: pinned.clone(),
        journal,
        vault,
        index: Arc::new(index),
        clock: NodeClock::start(START, reading, Nonce32([1; 32])),
        about: About {
            version: "test".to_owned(),
            pid: 1,
        },
        shares: Box::new(TrueShares),
        engine,
        max_signatures: 8,
    })
}
