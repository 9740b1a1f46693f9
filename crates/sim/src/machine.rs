//! One node's machine: a disk that knows what is durable, and a process that comes and goes.

use std::{collections::BTreeMap, sync::Arc};

use quorate_coordinator::core::Now;
use quorate_model::{
    CoordinatorId, Digest, Epoch, KeyName, KeyRecord, NodeId, Refusal, UnixMillis,
    audit::{BackupMade, ChainPosition, Record, verify_chain},
    backup::{BackupHeader, BackupId, RestoreId},
    identity::IdentityKey,
    node_api::{NodeReply, NodeRequest},
};
use quorate_node::{
    backup::MARKER,
    core::{Context, MakeShares, NodeCore, Outcome, Reading, TrueShares},
    disk::{Disk as _, Fault, MemoryDisk, Survival},
    host::{self, FoundIndex, Setting},
    index::{IndexKey, MemoryIndex, MemoryRows},
    sealing::{HedgeSecret, Kek, LocalKek, NodeIdentity, TlsKey},
    vault::Vault,
};
use quorate_protocol::{
    ecdsa::{STAND_IN, engine::Engine},
    frost::SigningKeyShare,
    sharing::SigningShare,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRngCore, RngCore as _, SeedableRng as _};
use zeroize::Zeroizing;

use crate::{
    cheat::{FalseShares, Left},
    disk::SimulatedDisk,
    invariants::Invariants,
    mutation::Mutation,
    people::People,
};

/// What came of asking a node.
pub(crate) enum Answer {
    /// Nothing runs there.
    Down,
    /// The machine died on it.
    Died,
    /// An answer.
    Said(Result<NodeReply, Refusal>),
}

/// What a backup of a node holds.
#[derive(Clone)]
pub(crate) struct Image {
    disk: MemoryDisk,
    header: BackupHeader,
    released: BTreeMap<u64, Digest>,
}

impl Image {
    /// The id of the backup.
    pub(crate) fn id(&self) -> BackupId {
        self.header.backup
    }

    /// The records in it that shares left under.
    pub(crate) fn released(&self) -> BTreeMap<u64, Digest> {
        self.released.clone()
    }
}

/// One node's machine.
pub(crate) struct Machine {
    /// Its place among the machines.
    at: usize,
    id: NodeId,
    disk: SimulatedDisk,
    kek: Arc<LocalKek>,
    seed: u64,
    rng: ChaCha20Rng,
    running: Option<Arc<NodeCore<SimulatedDisk>>>,
    boots: u32,
    started_us: u64,
    mutation: Option<Mutation>,
    /// How far its chain was read.
    read: u64,
    /// It is gone for good.
    is_scrapped: bool,
    /// How often its signature shares are still false.
    false_shares: Option<Left>,
    /// Computes ECDSA.
    engine: &'static dyn Engine,
}

impl Machine {
    /// The last record of its journal that is durable, while it runs.
    pub(crate) fn durable(&self) -> Option<ChainPosition> {
        let core = self.running.as_ref()?;
        Some(core.journal().durable().position())
    }

    /// Sets a machine up: identity made, roster pinned, not started.
    pub(crate) fn new(
        people: &People,
        (node, at): (usize, usize),
        seed: u64,
        mutation: Option<Mutation>,
        wall: UnixMillis,
    ) -> Self {
        let id = people.node_id(node);
        let seed = seed.wrapping_mul(1_000).wrapping_add(at as u64);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let disk = SimulatedDisk {
            disk: MemoryDisk::new(),
            lies: false,
            keeps: false,
        };
        let kek = Arc::new(LocalKek::generate(&mut rng));
        let mut hedge = [0; 32];
        rng.fill_bytes(&mut hedge);
        let identity = NodeIdentity {
            node: id.clone(),
            identity: people.nodes[node].clone(),
            tls_key: TlsKey::new(Zeroizing::new(Vec::new())),
            tls_certificate: Vec::new(),
            hedge: HedgeSecret::new(&hedge),
        };
        let reading = Reading {
            wall,
            monotonic_ms: 0,
        };
        identity
            .create(&disk, &*kek, &mut rng)
            .map_err(anyhow::Error::from)
            .and_then(|()| {
                let file = people.pinned.to_file();
                host::pin_with(&disk, &file, &people.pinned, &id, &*kek, reading, &mut rng)
            })
            .unwrap_or_else(|error| unreachable!("a fresh machine can be set up: {error:#}"));
        let disk = SimulatedDisk {
            lies: mutation == Some(Mutation::NoFsync),
            keeps: mutation == Some(Mutation::KeepsShares),
            ..disk
        };
        Self {
            at,
            id,
            disk,
            kek,
            seed,
            rng,
            running: None,
            boots: 0,
            started_us: 0,
            mutation,
            read: 0,
            is_scrapped: false,
            false_shares: None,
            engine: STAND_IN,
        }
    }

    /// A second machine, on which a backup of the same node is restored.
    pub(crate) fn twin(first: &Self, at: usize, seed: u64, image: &Image) -> Self {
        let seed = seed.wrapping_mul(1_000).wrapping_add(at as u64);
        let mut twin = Self {
            at,
            id: first.id.clone(),
            disk: first.disk.clone(),
            kek: Arc::clone(&first.kek),
            seed,
            rng: ChaCha20Rng::seed_from_u64(seed),
            running: None,
            boots: 0,
            started_us: 0,
            mutation: first.mutation,
            read: 0,
            is_scrapped: false,
            false_shares: None,
            engine: first.engine,
        };
        twin.restore(image);
        twin
    }

    /// Makes a backup. What it holds is on the disk when its record is durable, and nothing happens
    /// in between here.
    pub(crate) fn back_up(
        &mut self,
        backup: BackupId,
        now: Now,
        invariants: &Invariants,
    ) -> Option<Image> {
        let core = self.running.clone().filter(|core| !core.is_quarantined())?;
        let made = BackupMade {
            backup,
            recipients: Vec::new(),
        };
        let pending = core.begin_backup(self.reading(now), made).ok()??;
        let committed = core.journal().commit(pending.appended()).ok()?;
        let backup = pending.release(&committed).ok()?;
        let header = backup.header().header.clone();
        let disk = self.disk.disk.fork();
        disk.crash(Survival::Everything);
        Some(Image {
            disk,
            header,
            released: invariants.released(&self.id),
        })
    }

    /// The disk is lost, and what a backup holds takes its place; false when nothing ran.
    pub(crate) fn restore(&mut self, image: &Image) -> bool {
        let ran = self.running.take().is_some();
        let disk = image.disk.fork();
        let header = &image.header;
        let marker = format!(
            r#"{{"format":1,"backup":"{}","restore":"{}","sequence":{},"head":"{}"}}"#,
            header.backup,
            RestoreId([0; 16]),
            header.sequence,
            header.head
        );
        if self.knows_restore() {
            disk.write(MARKER, marker.as_bytes())
                .and_then(|()| disk.sync_file(MARKER))
                .and_then(|()| disk.sync_directory(""))
                .unwrap_or_else(|error| unreachable!("a disk without faults: {error}"));
        }
        self.disk = SimulatedDisk {
            disk,
            ..self.disk.clone()
        };
        ran
    }

    /// Whether its directory says that it was restored.
    pub(crate) fn knows_restore(&self) -> bool {
        self.mutation != Some(Mutation::ForgetsRestore)
    }

    /// Stops the machine for good.
    pub(crate) fn scrap(&mut self) {
        self.crash_to(Survival::Nothing);
        self.is_scrapped = true;
    }

    pub(crate) fn is_scrapped(&self) -> bool {
        self.is_scrapped
    }

    /// Whether the process waits to be readmitted.
    pub(crate) fn is_quarantined(&self) -> bool {
        let core = self.running.as_ref();
        core.is_some_and(|core| core.is_quarantined())
    }

    /// Whether the process runs, and waits for nobody's word.
    pub(crate) fn was_readmitted(&self) -> bool {
        let core = self.running.as_ref();
        core.is_some_and(|core| !core.is_quarantined())
    }

    /// The node that it is a machine of.
    pub(crate) fn id(&self) -> &NodeId {
        &self.id
    }

    /// Has the node make false signature shares, or compute ECDSA falsely.
    pub(crate) fn cheats(&mut self, left: Option<Left>, engine: Option<&'static dyn Engine>) {
        self.false_shares = left;
        self.engine = engine.unwrap_or(STAND_IN);
    }

    /// The run that is under way.
    pub(crate) fn boot(&self) -> Option<u32> {
        self.running.as_ref().map(|_| self.boots)
    }

    /// Whether this run is under way.
    pub(crate) fn is_up(&self, boot: u32) -> bool {
        self.boot() == Some(boot)
    }

    fn reading(&self, now: Now) -> Reading {
        Reading {
            wall: now.wall,
            monotonic_ms: now.mono_us.saturating_sub(self.started_us) / 1_000,
        }
    }

    /// Starts the process; every record that a share left under must have survived (I7).
    pub(crate) fn start(&mut self, people: &People, now: Now, invariants: &mut Invariants) -> u32 {
        self.boots += 1;
        self.started_us = now.mono_us;
        if self.mutation == Some(Mutation::OldRandomness) {
            self.rng = ChaCha20Rng::seed_from_u64(self.seed);
        }
        let open_index = |hedge: &HedgeSecret| {
            let (index, image) = MemoryIndex::open(MemoryRows::new(), IndexKey::derive(hedge))?;
            Ok(FoundIndex {
                index: Arc::new(index),
                image,
                reset: None,
            })
        };
        let kek: Arc<dyn Kek> = Arc::<LocalKek>::clone(&self.kek);
        let shares: Box<dyn MakeShares> = match &self.false_shares {
            Some(left) => Box::new(FalseShares(left.clone())),
            None => Box::new(TrueShares),
        };
        let setting = Setting {
            kek,
            open_index: Box::new(open_index),
            reading: self.reading(now),
            confirm_clock: false,
            shares,
            engine: self.engine,
            max_signatures: 64,
            pid: self.boots,
        };
        match host::open_on(self.disk.clone(), self.id.clone(), setting, &mut self.rng) {
            Ok(opened) => {
                let core = opened.core;
                #[cfg(debug_assertions)]
                if self.mutation == Some(Mutation::SkipsEcho) {
                    core.leave_echoes_out();
                }
                #[cfg(debug_assertions)]
                if self.mutation == Some(Mutation::IgnoresKeyId) {
                    core.ignore_key_ids();
                }
                #[cfg(debug_assertions)]
                if self.mutation == Some(Mutation::StaysBehind) {
                    core.stay_behind();
                }
                #[cfg(debug_assertions)]
                if self.mutation == Some(Mutation::ErasesEarly) {
                    core.erase_early();
                }
                #[cfg(debug_assertions)]
                if self.mutation == Some(Mutation::IgnoresState) {
                    core.ignore_states();
                }
                // Of two machines with one past only one was ever heard again.
                if !core.is_quarantined() {
                    let durable = |sequence| recorded(&core, sequence);
                    invariants.survived(&self.id, &durable);
                }
                self.running = Some(core);
                self.reread_chain(people, invariants);
                self.check_ends(invariants);
            }
            Err(error) => {
                let node = &self.id;
                invariants.breaks("I1", format!("{node} does not start again: {error:#}"));
            }
        }
        self.boots
    }

    /// Kills the process and, most of the time, takes the machine's power away.
    pub(crate) fn crash(&mut self, rng: &mut impl rand_core::RngCore) -> bool {
        let survival = match rng.next_u32() % 3 {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Torn(rng.next_u64()),
        };
        self.crash_to(survival)
    }

    /// Kills the process and leaves so much of what was not durable; false when nothing ran.
    pub(crate) fn crash_to(&mut self, survival: Survival) -> bool {
        let ran = self.running.take().is_some();
        if ran {
            self.disk.disk.crash(survival);
        }
        ran
    }

    /// Everything that the machine's disk holds, with all that is sealed opened.
    #[cfg(test)]
    pub(crate) fn opened(&self) -> Vec<Vec<u8>> {
        let disk = self.disk.disk.fork();
        let mut found = crate::disk::files(&disk, "");
        let kek: Arc<dyn Kek> = Arc::<LocalKek>::clone(&self.kek);
        let identity = NodeIdentity::open(&disk, &self.id, &*kek).unwrap();
        found.push(identity.identity.to_bytes().to_vec());
        found.push(identity.hedge.expose().to_vec());
        let (vault, _) = Vault::open(disk, self.id.clone(), kek).unwrap();
        for (key, epoch) in vault.list().unwrap() {
            found.push(vault.load(&key, epoch).unwrap().secret.to_vec());
        }
        found
    }

    /// Whether the machine's share of a key would be there after a loss of power (I1).
    pub(crate) fn holds(&self, record: &KeyRecord) -> bool {
        let share = || {
            let share = self.share_after(Survival::Nothing, record)?;
            let me = record.index_of(&self.id)?;
            SigningKeyShare::new(
                record.scheme.proven_by(),
                me,
                record.threshold,
                &share,
                &record.group_key,
                record.verifying_share(me)?,
            )
            .ok()
        };
        share().is_some()
    }

    /// The machine's share of a key, for who has broken into it.
    pub(crate) fn share(&self, record: &KeyRecord) -> Option<SigningShare> {
        self.share_after(Survival::Everything, record)
    }

    fn share_after(&self, survival: Survival, record: &KeyRecord) -> Option<SigningShare> {
        let disk = self.disk.disk.fork();
        disk.crash(survival);
        let kek: Arc<dyn Kek> = Arc::<LocalKek>::clone(&self.kek);
        let (vault, _) = Vault::open(disk, self.id.clone(), kek).ok()?;
        let stored = vault.load(&record.name, record.epoch).ok()?;
        let secret = Zeroizing::new(<[u8; 32]>::try_from(stored.secret.as_slice()).ok()?);
        Some(SigningShare::from_bytes(*secret))
    }

    /// Takes a checkpoint if one is due; false when this run is over.
    pub(crate) fn tick(&mut self, boot: u32, now: Now) -> bool {
        if !self.is_up(boot) {
            return false;
        }
        let reading = self.reading(now);
        let Some(core) = &self.running else {
            return false;
        };
        let ticked = core.tick(reading).is_ok();
        if ticked && let Ok(appended) = core.checkpoint_now(reading) {
            return core.journal().commit(&appended).is_ok();
        }
        ticked
    }

    /// Asks the node. `dies` kills the machine after the record was appended and before the answer
    /// leaves, with the record durable or not.
    pub(crate) fn answer(
        &mut self,
        people: &People,
        caller: &CoordinatorId,
        request: NodeRequest,
        now: Now,
        dies: bool,
        invariants: &mut Invariants,
    ) -> Answer {
        let Some(core) = self.running.clone() else {
            return Answer::Down;
        };
        let proves = matches!(request, NodeRequest::ProveKey { .. });
        if proves && self.mutation == Some(Mutation::NeverProves) {
            return Answer::Down;
        }
        let reading = self.reading(now);
        let mut context = Context {
            caller,
            reading,
            rng: &mut self.rng,
        };
        let death = dies.then(|| Death::draw(&self.disk.disk, context.rng));
        let Some(reply) = answered(&core, &mut context, request, death) else {
            let mut rng = self.rng.clone();
            self.crash(&mut rng);
            if death.is_none() {
                invariants.breaks("I1", format!("{} stops", self.id));
            }
            self.read_chain(&core, people, invariants);
            return Answer::Died;
        };
        self.read_chain(&core, people, invariants);
        if let Ok(reply) = &reply {
            let durable = |sequence| recorded(&core, sequence);
            invariants.said(&people.pinned, reply, &durable);
            if let NodeReply::Ceremony(reply) = reply {
                invariants.promised(&people.pinned, &self.id, reply);
            }
            if let NodeReply::Destruction(receipt) = reply {
                let remains = receipt.is_destroyed() && self.remains(&receipt.key);
                invariants.ended(receipt, remains, &durable);
            }
            if let NodeReply::Signing(reply) = reply {
                let head = core.journal().durable().sequence();
                invariants.signs_in_rounds(&self.id, reply, head, &durable);
            }
            if matches!(reply, NodeReply::Activated(_)) {
                self.show_keys(people, caller, now, invariants);
            }
        }
        Answer::Said(reply)
    }

    /// Shows the keys that count here: those with certificate and proof.
    fn show_keys(
        &mut self,
        people: &People,
        caller: &CoordinatorId,
        now: Now,
        invariants: &mut Invariants,
    ) {
        let Some(core) = self.running.clone() else {
            return;
        };
        let reading = self.reading(now);
        let mut context = Context {
            caller,
            reading,
            rng: &mut self.rng,
        };
        let request = NodeRequest::ListKeys {
            after: None,
            limit: 100,
        };
        let Ok(Outcome::Ready(Ok(NodeReply::Keys(keys)))) = core.handle(&mut context, request)
        else {
            return;
        };
        for key in keys {
            let Some(certificate) = key.proof.and(key.certificate) else {
                continue;
            };
            let birth = key.birth.as_deref();
            match quorate_proto::certificate::verify(&certificate, birth, &people.pinned) {
                Ok((_, record)) => invariants.relies(&self.id, record),
                Err(error) => {
                    let node = &self.id;
                    invariants.breaks("P20", format!("{node} relies on a false key: {error}"));
                }
            }
        }
    }

    /// Verifies the whole chain as an auditor does (I7).
    pub(crate) fn check_chain(&mut self, people: &People, now: Now, invariants: &mut Invariants) {
        let Some(core) = self.running.clone() else {
            return;
        };
        if let Ok(appended) = core.checkpoint_now(self.reading(now)) {
            let _committed = core.journal().commit(&appended);
        }
        let identity = people
            .node_at(&self.id)
            .and_then(|at| people.nodes.get(at))
            .map(IdentityKey::of);
        let records = core
            .journal()
            .read_range(1, usize::MAX, usize::MAX)
            .unwrap_or_default();
        let verified = identity.map(|identity| {
            verify_chain(
                records.iter().map(|record| record.bytes.as_slice()),
                &identity,
            )
        });
        if !matches!(verified, Some(Ok(_))) {
            invariants.breaks("I7", format!("the chain of {} does not verify", self.id));
        }
        if !core.is_quarantined() {
            let durable = |sequence| recorded(&core, sequence);
            invariants.survived(&self.id, &durable);
        }
        self.reread_chain(people, invariants);
        self.check_ends(invariants);
    }

    /// Reads the chain from its first record to its last durable one.
    fn reread_chain(&mut self, people: &People, invariants: &mut Invariants) {
        self.read = 0;
        invariants.reread(self.at, &self.id);
        if let Some(core) = self.running.clone() {
            self.read_chain(&core, people, invariants);
        }
    }

    /// Reads what became durable in the chain since it was last read.
    fn read_chain(
        &mut self,
        core: &NodeCore<SimulatedDisk>,
        people: &People,
        invariants: &mut Invariants,
    ) {
        let last = core.journal().durable().sequence();
        if last <= self.read {
            return;
        }
        let records = core
            .journal()
            .read_range(self.read + 1, usize::MAX, usize::MAX)
            .unwrap_or_default();
        for record in records.iter().filter(|record| record.sequence <= last) {
            if let Ok(read) = Record::from_bytes(&record.bytes) {
                invariants.chained(self.at, &people.pinned, &read);
            }
            self.read = record.sequence;
        }
    }

    /// Of a key that the chain says is destroyed nothing is on the disk (P34).
    fn check_ends(&self, invariants: &mut Invariants) {
        for key in invariants.ends_at(self.at) {
            if self.remains(&key) {
                let detail = format!("{} keeps key \"{key}\", which it has destroyed", self.id);
                invariants.breaks("P34", detail);
            }
        }
    }

    /// Whether anything of a key is on the disk as it is, or would be there after a loss of power.
    fn remains(&self, key: &KeyName) -> bool {
        [Survival::Everything, Survival::Nothing]
            .into_iter()
            .any(|survival| {
                let disk = self.disk.disk.fork();
                disk.crash(survival);
                let kek: Arc<dyn Kek> = Arc::<LocalKek>::clone(&self.kek);
                let Ok((vault, _)) = Vault::open(disk, self.id.clone(), kek) else {
                    return true;
                };
                let sealed = vault.keyring().epochs_below(key, Epoch(u32::MAX));
                let files = vault.list().unwrap_or_default();
                !sealed.is_empty() || files.iter().any(|(name, _)| name == key)
            })
    }
}

/// How a machine dies that is asked something.
#[derive(Clone, Copy)]
enum Death {
    /// Before its record is durable.
    Before,
    /// After that, and before it acted on it.
    After,
    /// Somewhere between, at an operation of its disk.
    Between,
}

impl Death {
    fn draw(disk: &MemoryDisk, rng: &mut dyn CryptoRngCore) -> Self {
        match rng.next_u32() % 3 {
            0 => Self::Before,
            1 => Self::After,
            _ => {
                let operations = u64::from(rng.next_u32() % 24);
                disk.fail_at(disk.operations() + operations, Fault::Stop);
                Self::Between
            }
        }
    }
}

/// What a process answers; none when it stops. One that is to die and writes nothing goes on.
fn answered(
    core: &Arc<NodeCore<SimulatedDisk>>,
    context: &mut Context<'_>,
    request: NodeRequest,
    death: Option<Death>,
) -> Option<Result<NodeReply, Refusal>> {
    let pending = match core.handle(context, request).ok()? {
        Outcome::Ready(_) if matches!(death, Some(Death::Between)) => return None,
        Outcome::Ready(reply) => return Some(reply),
        Outcome::Pending(_) if matches!(death, Some(Death::Before)) => return None,
        Outcome::Pending(pending) => pending,
    };
    let committed = core.journal().commit(pending.appended()).ok()?;
    if matches!(death, Some(Death::After)) {
        return None;
    }
    let reply = pending.release(&committed, context.rng).ok();
    reply.filter(|_| death.is_none())
}

/// The hash of a durable record.
fn recorded(core: &NodeCore<SimulatedDisk>, sequence: u64) -> Option<Digest> {
    let records = core.journal().read_range(sequence, 1, usize::MAX).ok()?;
    let record = records
        .into_iter()
        .next()
        .filter(|record| record.sequence == sequence)?;
    Record::from_bytes(&record.bytes).ok().map(|_| record.hash)
}
