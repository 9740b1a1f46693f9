//! The directory of a node, filled with keys.

use std::{
    fs,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use anyhow::{Context as _, Result, ensure};
use ed25519_dalek::SigningKey;
use quorate_client::fresh_id;
use quorate_model::{
    Digest, Epoch, IdentityKey, KeyName, NodeId, Scheme, UnixMillis,
    audit::{Entry, ItemRecord, Judgment, SharePurpose, ShareReleased},
    roster::{CoordinatorCard, Principal, Role, Roster, SignedRoster},
};
use quorate_node::{
    core::{NodeCore, Reading, TrueShares},
    disk::RealDisk,
    host::{self, FoundIndex, Setting},
    index::{IndexKey, RedbIndex},
    sealing::{HedgeSecret, KekSource, KeyFile, LocalKek, NodeIdentity, open_kek},
    vault::{NewRecord, Vault},
};
use quorate_protocol::ecdsa::DKLS23;
use rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use super::{
    births::{Birth, Parents},
    lazy::{LazyDisk, sync_all},
};

/// How many keys are made at a time.
const BATCH: usize = 1_024;

/// How long after one another keys are created, by the node's clock, in milliseconds: about as fast
/// as a cluster creates them one by one. Checkpoints and what is remembered of commands follow it.
const EVERY_MS: u64 = 20;

/// How long after one another signatures are made, in milliseconds.
const SIGN_EVERY_MS: u64 = 2;

/// How long the command of a signature lives, in milliseconds.
const LIFETIME_MS: u64 = 5 * 60 * 1000;

/// How many keys are made durable at a time: what waits for the disk is in memory until then.
const COMMIT_EVERY: usize = 64;

/// The coordinator that the roster lists.
pub(super) const COORDINATOR: &str = "coordinator-1";

/// The first node of a cluster, with its keys.
pub(super) struct Directory {
    place: PathBuf,
    node: NodeId,
    parents: Parents,
    keys: usize,
}

impl Directory {
    /// Makes the nodes of a cluster, of which the first is filled.
    pub(super) fn make(place: &Path, scheme: Scheme, threshold: u16, nodes: u16) -> Result<Self> {
        fs::create_dir_all(place).with_context(|| format!("make {}", place.display()))?;
        let key_file = place.join("key");
        ensure!(
            !key_file.exists(),
            "{} holds a directory of an earlier run: name an empty one with --dir",
            place.display()
        );
        write_key_file(&key_file)?;
        let admin = SigningKey::generate(&mut OsRng);
        let ids = (1..=nodes)
            .map(|number| Ok(format!("node-{number}").parse()?))
            .collect::<Result<Vec<NodeId>>>()?;
        let mut cards = Vec::new();
        let mut holders = Vec::new();
        for id in &ids {
            let dir = place.join(id.as_str());
            let source = KekSource::key_file(KeyFile::read(&key_file)?);
            cards.push(host::init(&dir, id, "region", "organisation", &source)?);
            let disk = RealDisk::open(&dir)?;
            let kek = open_kek(&disk, id, &source)?;
            let identity = NodeIdentity::open(&disk, id, &kek)?;
            holders.push((id.clone(), identity.identity.clone()));
        }
        let signed = roster(cards, &admin)?;
        let pinned = signed.verify_first()?;
        let node = ids.into_iter().next().context("a cluster has nodes")?;
        let source = KekSource::key_file(KeyFile::read(&key_file)?);
        host::pin(&place.join(node.as_str()), &signed, &pinned.hash(), &source)?;
        Ok(Self {
            place: place.to_owned(),
            node,
            parents: Parents::new(pinned, admin, holders, scheme, threshold)?,
            keys: 0,
        })
    }

    /// Where the node keeps what it has.
    pub(super) fn path(&self) -> PathBuf {
        self.place.join(self.node.as_str())
    }

    /// What unseals the node.
    pub(super) fn key_file(&self) -> PathBuf {
        self.place.join("key")
    }

    /// The node.
    pub(super) fn node(&self) -> &NodeId {
        &self.node
    }

    /// The KEK of the node, whose directory is open.
    pub(super) fn kek(&self, disk: &RealDisk) -> Result<LocalKek> {
        let source = KekSource::key_file(KeyFile::read(&self.key_file())?);
        Ok(open_kek(disk, &self.node, &source)?)
    }

    /// Deletes the index, so that the next start makes it again.
    pub(super) fn delete_index(&self) -> Result<()> {
        fs::remove_dir_all(self.path().join("index")).context("delete the index")
    }

    /// The size of a file or of all files below a directory.
    pub(super) fn mib(&self, name: &str) -> Result<f64> {
        #[expect(clippy::cast_precision_loss, reason = "sizes stay far below 2^52")]
        let bytes = bytes_below(&self.path().join(name))? as f64;
        Ok(bytes / f64::from(1 << 20))
    }

    /// Creates keys until there are so many.
    pub(super) fn grow(&mut self, keys: usize) -> Result<()> {
        let missing = keys.saturating_sub(self.keys);
        if missing == 0 {
            return Ok(());
        }
        eprintln!("creating {missing} keys");
        let reading = readings(EVERY_MS, missing);
        let (core, vault) = self.open(reading(0))?;
        let mut made = 0;
        while made < missing {
            let count = BATCH.min(missing.saturating_sub(made));
            let names = (0..count)
                .map(|at| self.keys.saturating_add(made).saturating_add(at))
                .map(name)
                .collect::<Result<Vec<KeyName>>>()?;
            let births = self.bear(&names, reading(made).wall)?;
            self.store(&vault, &births)?;
            for (at, birth) in births.into_iter().enumerate() {
                self.record(&core, reading(made.saturating_add(at)), birth, at)?;
            }
            made = made.saturating_add(count);
        }
        self.keys = keys;
        close(core, reading(missing))
    }

    /// Records that shares of so many signatures left, as fast as a busy cluster signs, and tells how
    /// much memory this process takes after each part of them.
    pub(super) fn sign(&self, parts: &[usize], told: &mut dyn FnMut(usize)) -> Result<()> {
        let all = parts.last().copied().unwrap_or_default();
        let reading = readings(SIGN_EVERY_MS, all);
        let (core, _vault) = self.open(reading(0))?;
        let key = name(0)?;
        let policy = self.parents.policy();
        told(0);
        for at in 1..=all {
            let now = reading(at);
            let released = ShareReleased {
                judgment: Judgment {
                    command: random(),
                    command_id: fresh_id(),
                    endorsements: random(),
                    policy,
                    rule: "role:client".to_owned(),
                },
                expires: now.wall.plus(LIFETIME_MS),
                key: key.clone(),
                epoch: Epoch(1),
                purpose: SharePurpose::Sign,
                items: vec![ItemRecord {
                    message: random(),
                    signing_set: random(),
                }],
            };
            let recorded = core.begin(now, vec![Entry::ShareReleased(released)])?;
            if at.is_multiple_of(COMMIT_EVERY) {
                core.journal().commit(&recorded)?;
            }
            core.tick(now)?;
            if parts.contains(&at) {
                told(at);
            }
        }
        close(core, reading(all))
    }

    /// Opens the node as its program does.
    fn open(&self, reading: Reading) -> Result<(Arc<NodeCore<LazyDisk>>, Vault<LazyDisk>)> {
        let disk = LazyDisk(Arc::new(RealDisk::open(self.path())?));
        let kek = Arc::new(self.kek(&disk.0)?);
        let index = self.path().join("index");
        let open_index = move |hedge: &HedgeSecret| {
            let (index, image, _) = RedbIndex::open_directory(&index, &|| IndexKey::derive(hedge))?;
            Ok(FoundIndex {
                index: Arc::new(index),
                image,
                reset: None,
            })
        };
        let setting = Setting {
            kek: kek.clone(),
            open_index: Box::new(open_index),
            reading,
            confirm_clock: true,
            shares: Box::new(TrueShares),
            engine: DKLS23,
            max_signatures: 1,
            pid: std::process::id(),
        };
        let core = host::open_on(disk.clone(), self.node.clone(), setting, &mut OsRng)?.core;
        let (vault, _) = Vault::open(disk, self.node.clone(), kek)?;
        Ok((core, vault))
    }

    /// Makes keys on all cores.
    fn bear(&self, names: &[KeyName], created: UnixMillis) -> Result<Vec<Birth>> {
        let threads = std::thread::available_parallelism()?.get();
        let share = names.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let workers: Vec<_> = names
                .chunks(share)
                .map(|names| {
                    scope.spawn(move || {
                        names
                            .iter()
                            .map(|name| self.parents.bear(name.clone(), created))
                            .collect::<Result<Vec<_>>>()
                    })
                })
                .collect();
            let mut births = Vec::with_capacity(names.len());
            for worker in workers {
                let made = worker.join().map_err(|_| anyhow::anyhow!("make keys"))?;
                births.extend(made?);
            }
            Ok(births)
        })
    }

    fn store(&self, vault: &Vault<LazyDisk>, births: &[Birth]) -> Result<()> {
        let secret = Zeroizing::new(self.parents.own_share()?.to_vec());
        let records: Vec<_> = births
            .iter()
            .map(|birth| NewRecord {
                key: &birth.name,
                epoch: Epoch(1),
                public: &birth.public,
                secret: &secret,
            })
            .collect();
        let _stored = vault.store_all(&records, &mut OsRng)?;
        Ok(())
    }

    /// The records of one key, in the order in which a node writes them.
    fn record(
        &self,
        core: &NodeCore<LazyDisk>,
        reading: Reading,
        mut birth: Birth,
        at: usize,
    ) -> Result<()> {
        let prepared = birth.prepared.clone();
        let _prepared = core.begin(reading, vec![prepared])?;
        let proves = core.begin(reading, std::mem::take(&mut birth.proves))?;
        let place = proves.positions().last().context("records have places")?;
        let activated = core.begin(reading, vec![self.parents.activate(birth, place)?])?;
        if at.is_multiple_of(COMMIT_EVERY) {
            core.journal().commit(&activated)?;
        }
        core.tick(reading)?;
        Ok(())
    }
}

/// Moments at this distance, the last of them now.
fn readings(every_ms: u64, count: usize) -> impl Fn(usize) -> Reading {
    let first_ms = now_ms().saturating_sub(every_ms.saturating_mul(count as u64));
    move |at| {
        let monotonic_ms = every_ms.saturating_mul(at as u64);
        Reading {
            wall: UnixMillis(first_ms.saturating_add(monotonic_ms)),
            monotonic_ms,
        }
    }
}

fn name(number: usize) -> Result<KeyName> {
    Ok(format!("treasury-{number:06}").parse()?)
}

fn random() -> Digest {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    Digest::new(bytes)
}

/// Ends as a node does that drains, with everything on the disk.
fn close(core: Arc<NodeCore<LazyDisk>>, reading: Reading) -> Result<()> {
    let last = core.checkpoint_now(reading)?;
    core.journal().commit(&last)?;
    core.tick(reading)?;
    drop(core);
    sync_all();
    Ok(())
}

fn write_key_file(path: &Path) -> Result<()> {
    let mut key = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(&mut *key);
    let digits = Zeroizing::new(Digest::new(*key).to_string());
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    std::io::Write::write_all(&mut options.open(path)?, digits.as_bytes())?;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o600),
    )?)
}

fn roster(nodes: Vec<quorate_model::roster::NodeCard>, admin: &SigningKey) -> Result<SignedRoster> {
    let principal = |id: &str, role, key: &SigningKey| -> Result<Principal> {
        Ok(Principal {
            id: id.parse()?,
            person: id.to_owned(),
            roles: vec![role],
            identity_key: IdentityKey::of(key),
            tls_key_hash: Digest::new(*IdentityKey::of(key).as_bytes()),
        })
    };
    let client = SigningKey::generate(&mut OsRng);
    let roster = Roster {
        format: 1,
        version: 1,
        cluster_name: "growth".to_owned(),
        parents: Vec::new(),
        nodes,
        coordinators: vec![CoordinatorCard {
            id: COORDINATOR.parse()?,
            tls_key_hash: Digest::new([9; 32]),
        }],
        principals: vec![
            principal("admin-1", Role::Admin, admin)?,
            principal("client-1", Role::Client, &client)?,
        ],
        admin_quorum: 1,
        lifecycle_quorum: 1,
        policy_hash: Digest::ZERO,
        lifecycle_delay_seconds: None,
        drained: [].into(),
        placement: quorate_model::roster::Placement::default(),
    };
    let mut signed = SignedRoster::unsigned(&roster)?;
    signed.sign(&"admin-1".parse()?, admin);
    Ok(signed)
}

fn bytes_below(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path).with_context(|| format!("measure {}", path.display()))?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut sum = 0_u64;
    for entry in fs::read_dir(path)? {
        sum = sum.saturating_add(bytes_below(&entry?.path())?);
    }
    Ok(sum)
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |elapsed| {
            u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
        })
}
