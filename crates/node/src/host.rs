//! A node's directory: how it is made, pinned to a roster, and opened.
//!
//! | name | holds |
//! |---|---|
//! | `sealing` | how the KEK is derived, and a value that tells a wrong one |
//! | `identity` | the node's secret keys, sealed |
//! | `card.json` | its public card |
//! | `roster.json` | the signed roster that is pinned |
//! | `vault/`, `keyring` | sealed shares and their wrapped keys |
//! | `journal/` | everything that the node decided |
//! | `index/` | a view over the journal, rebuilt when in doubt |
//! | `console` | the socket of a running node |
//! | `quarantine.json` | that the directory was restored from a backup |

use std::{collections::BTreeSet, path::Path, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use quorate_model::{
    Digest, NodeId,
    audit::Entry,
    backup::RestoreId,
    bytes::Nonce32,
    node_api::ClockState,
    roster::{Followed, NodeCard, PinnedRoster, SignedRoster, Successor},
};
use quorate_pinning::TlsIdentity;
use quorate_protocol::{
    ecdsa::{DKLS23, engine::Engine},
    frost::Hedge,
};
use rand_core::{CryptoRngCore, OsRng};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use zeroize::Zeroizing;

use crate::{
    backup::{MARKER, Marker},
    core::{
        About, MakeShares, NodeCore, Parts, Reading, clock::NodeClock, ledger, membership::Change,
    },
    disk::{Disk, RealDisk},
    index::{Decision, Index, IndexError, IndexKey, Reconciler, RedbIndex, StoreImage, replay},
    journal::{Journal, JournalConfig, JournalError, JournalLimits, OpenReport, Writer},
    sealing::{HedgeSecret, Kek, KekSource, NodeIdentity, TlsKey, create_kek, node_of, open_kek},
    vault::Vault,
};

const CARD: &str = "card.json";
const ROSTER: &str = "roster.json";
const INDEX: &str = "index";
const MAX_FILE: usize = 4 << 20;

/// The software version that nodes report.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The disk of a running node.
pub type HostDisk = Arc<RealDisk>;

/// Keeps secrets out of core dumps, and out of swap where the limits allow it (P40).
pub fn protect_memory() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Each of these may be forbidden in a container; the node is no less correct without them.
    let _dumps = rustix::process::setrlimit(Resource::Core, none);
    let _traced = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _locked = rustix::mm::mlockall(
        rustix::mm::MlockAllFlags::CURRENT
            | rustix::mm::MlockAllFlags::FUTURE
            | rustix::mm::MlockAllFlags::ONFAULT,
    );
}

/// Makes a node in a directory that holds none, and answers with its card.
pub fn init(
    dir: &Path,
    id: &NodeId,
    region: &str,
    organisation: &str,
    source: &KekSource,
) -> Result<NodeCard> {
    let disk = Arc::new(RealDisk::open(dir)?);
    let kek = create_kek(&disk, id, source, &mut OsRng)?;
    let tls = TlsIdentity::generate(id.as_str())?;
    let tls_key = TlsKey::new(Zeroizing::new(tls.key_der().to_vec()));
    let identity = NodeIdentity::generate(
        id.clone(),
        tls_key,
        tls.certificate_der().to_vec(),
        &mut OsRng,
    );
    identity.create(&disk, &kek, &mut OsRng)?;
    let card = NodeCard {
        id: id.clone(),
        identity_key: identity.public(),
        tls_key_hash: tls.key_hash(),
        region: region.to_owned(),
        organisation: organisation.to_owned(),
    };
    crate::disk::replace(&disk, CARD, &serde_json::to_vec_pretty(&card)?)?;
    Ok(card)
}

/// The card of a node.
pub fn card(dir: &Path) -> Result<NodeCard> {
    let path = dir.join(CARD);
    let text = std::fs::read(&path)
        .with_context(|| format!("read {}: is this the directory of a node?", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
}

/// Pins roster 1 and begins the node's journal.
pub fn pin(dir: &Path, signed: &SignedRoster, expected: &Digest, source: &KekSource) -> Result<()> {
    let disk = Arc::new(RealDisk::open(dir)?);
    let pinned = quorate_proto::roster::pin(signed, expected)?;
    let node = node_of(&disk)?;
    let kek = open_kek(&disk, &node, source)?;
    check_own_tls_key(&pinned, &NodeIdentity::open(&disk, &node, &kek)?)?;
    let reading = crate::shell::MachineClock::start().read();
    pin_with(&disk, signed, &pinned, &node, &kek, reading, &mut OsRng)
}

/// Pins a verified roster on any disk, with an open KEK.
pub fn pin_with<D: Disk + Clone>(
    disk: &D,
    signed: &SignedRoster,
    pinned: &PinnedRoster,
    node: &NodeId,
    kek: &dyn Kek,
    reading: Reading,
    rng: &mut dyn CryptoRngCore,
) -> Result<()> {
    let identity = NodeIdentity::open(disk, node, kek)?;
    check_own_card(pinned, &identity)?;
    let exists = Journal::exists(disk)?;
    if exists {
        let held = read_roster(disk)?;
        ensure!(
            held.hash() == pinned.cluster(),
            "this node has pinned another roster, {}: a node belongs to one cluster for ever",
            held.hash()
        );
    } else {
        ensure!(
            !was_in_service(disk)?,
            "this directory holds shares or an index of a node that ran, and no journal: a node that \
             begins anew has forgotten what it promised. Put the newest journal back, or restore the \
             node from a backup"
        );
        crate::disk::replace(disk, ROSTER, &serde_json::to_vec_pretty(signed)?)?;
        Vault::create(disk, node, kek, rng)?;
        Journal::create(disk)?;
    }
    let mut boot = [0; 16];
    rng.fill_bytes(&mut boot);
    let config = JournalConfig {
        identity: identity.public(),
        boot,
        limits: JournalLimits::default(),
    };
    let mut recorded = BTreeSet::new();
    let (journal, _) = Journal::open(disk.clone(), &config, |record, _| {
        if let Entry::RosterPinned { .. } = &record.entry {
            recorded.insert(pinned.cluster());
        } else if let Entry::RosterFollowed { roster, .. } = &record.entry {
            recorded.insert(*roster);
        }
    })?;
    // Whoever died in the middle of it pins again, and what is missing is added.
    let mut entries = Vec::new();
    if !recorded.contains(&pinned.cluster()) {
        // The roster comes first: a journal that holds any record holds its roster.
        let first = SignedRoster {
            successors: Vec::new(),
            ..signed.clone()
        };
        entries.push(Entry::RosterPinned {
            roster: serde_json::to_vec_pretty(&first)?,
        });
        entries.push(Entry::Boot {
            version: VERSION.to_owned(),
            node: node.clone(),
        });
    }
    entries.extend(followed(signed, &recorded)?);
    for entry in entries {
        let appended = journal.append(reading.wall, vec![entry])?;
        journal.commit(&appended)?;
    }
    Ok(())
}

/// The records of the rosters of a file that a journal does not hold yet, one by one: together they
/// may be larger than a record is.
fn followed(file: &SignedRoster, recorded: &BTreeSet<Digest>) -> Result<Vec<Entry>> {
    let mut pinned = file.verify_first()?;
    let mut entries = Vec::new();
    for Successor(signed) in &file.successors {
        let change = Change::of(signed)?;
        let (chain, in_force) = match quorate_proto::roster::follow(&pinned, signed)? {
            Followed::InForce(chain) => (chain, true),
            Followed::Aside(chain) => (chain, false),
            Followed::Known => continue,
        };
        if !recorded.contains(&change.hash) {
            let policy = pinned.roster().policy_hash;
            entries.push(change.entry(signed, policy, in_force));
        }
        pinned = chain;
    }
    Ok(entries)
}

/// Each host checks that the roster contains its own key (P3).
fn check_own_card(pinned: &PinnedRoster, identity: &NodeIdentity) -> Result<()> {
    // One that was removed still says what it did, and ends what it holds.
    let card = pinned.card(&identity.node);
    ensure!(
        card.is_some_and(|card| card.identity_key == identity.public()),
        "the roster does not list node \"{}\" with the identity key of this directory",
        identity.node
    );
    Ok(())
}

fn check_own_tls_key(pinned: &PinnedRoster, identity: &NodeIdentity) -> Result<()> {
    let hash = quorate_pinning::spki_hash(&identity.tls_certificate)?;
    let card = pinned.card(&identity.node);
    ensure!(
        card.is_some_and(|card| card.tls_key_hash == hash),
        "the roster does not list node \"{}\" with the TLS key of this directory",
        identity.node
    );
    Ok(())
}

fn read_roster(disk: &dyn Disk) -> Result<SignedRoster> {
    let text = crate::disk::read_whole(disk, ROSTER, MAX_FILE)?
        .context("no roster is pinned: run `quorate-node pin` first")?;
    serde_json::from_slice(&text).context("read roster.json")
}

/// Tells a node that was made and never pinned from one whose journal is lost, before anything is
/// made. Pinning begins with the roster's file.
fn check_pinned<D: Disk + Clone>(disk: &D) -> Result<()> {
    if Journal::exists(disk)? {
        return Ok(());
    }
    let is_pinned =
        disk.exists(ROSTER)? || disk.exists(crate::keyring::PATH)? || was_in_service(disk)?;
    if is_pinned {
        return Err(JournalError::Missing.into());
    }
    anyhow::bail!(
        "this node has no roster pinned yet: run `quorate-node pin --dir DIR --roster FILE --hash \
         HEX` first, with the hash as it was confirmed out of band. If it ever ran, its disk is lost: \
         restore it from a backup, or make a new node; never pin this one again"
    );
}

/// Whether shares or an index are left of a node that ran, whatever became of its journal.
fn was_in_service(disk: &dyn Disk) -> Result<bool> {
    for directory in [crate::vault::DIRECTORY, INDEX] {
        if disk.exists(directory)? && !disk.list(directory)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The roster whose hash the journal's first records vouch for.
fn pinned_roster(disk: &dyn Disk, recorded: Option<&Vec<u8>>) -> Result<PinnedRoster> {
    let recorded = recorded.context("the journal names no roster: run `quorate-node pin` first")?;
    let signed: SignedRoster =
        serde_json::from_slice(recorded).context("read the roster in the journal")?;
    let held = read_roster(disk)?;
    ensure!(
        held.hash() == signed.hash(),
        "roster.json is not the roster that the journal says was pinned: put the file of the ceremony \
         back"
    );
    Ok(quorate_proto::roster::open(&signed)?)
}

/// The roster in force: what was followed since the first was pinned.
pub(crate) fn follow_recorded(pinned: PinnedRoster, index: &dyn Index) -> Result<PinnedRoster> {
    let commands = ledger::rosters(index)?;
    quorate_proto::roster::follow_all(pinned, &commands)
        .context("follow the rosters of the journal: a record does not fit the ones before it")
}

/// An open node.
pub struct Opened<D: Disk> {
    /// The core.
    pub core: Arc<NodeCore<D>>,
    /// The thread that writes the journal, where there is one.
    pub writer: Option<Writer>,
    /// The node's keys.
    pub identity: NodeIdentity,
    /// The roster.
    pub pinned: PinnedRoster,
    /// What opening found.
    pub report: HostReport,
}

/// What opening a directory found, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReport {
    /// The node.
    pub node: NodeId,
    /// What the journal's opening found.
    pub journal: OpenReport,
    /// How many bytes of an unfinished write were cut off the keyring.
    pub keyring_cut: Option<u64>,
    /// Why the index was rebuilt, if it was.
    pub rebuilt: Option<String>,
    /// How many records were folded into the index to bring it up to the journal.
    pub folded: u64,
    /// Whether the clock is trusted.
    pub clock_confirmed: bool,
    /// How many shares of old epochs were erased whose erasure an earlier run had recorded.
    pub erased: usize,
    /// Whether the node was restored from a backup and waits to be readmitted.
    pub quarantined: bool,
}

impl HostReport {
    /// Tells the operator.
    pub fn log(&self) {
        if let Some(torn) = &self.journal.torn {
            tracing::warn!(
                node = %self.node,
                segment = %torn.segment,
                offset = torn.offset,
                "cut an unfinished record off the end of the journal: a crash interrupted its \
                 write, and nothing had left the node on its strength"
            );
        }
        if let Some(bytes) = self.keyring_cut {
            tracing::warn!(node = %self.node, bytes, "cut an unfinished write off the keyring");
        }
        if let Some(reason) = &self.rebuilt {
            tracing::warn!(node = %self.node, reason = %reason, "rebuilt the index from the journal");
        }
        if !self.clock_confirmed {
            tracing::warn!(
                node = %self.node,
                "the clock is not trusted after the gap: peers confirm it through a coordinator, \
                 or start with --confirm-clock"
            );
        }
        if self.erased > 0 {
            let shares = self.erased;
            tracing::warn!(
                node = %self.node,
                shares,
                "erased shares of old epochs, which an earlier run had recorded and not finished"
            );
        }
        if self.quarantined {
            tracing::warn!(
                node = %self.node,
                "the node was restored from a backup and is in quarantine: it signs nothing before \
                 all other nodes have told it, through a coordinator, what it missed"
            );
        }
        tracing::info!(
            node = %self.node,
            records = self.journal.records,
            folded = self.folded,
            "open"
        );
    }
}

/// Opens a node's directory, with the writer thread running.
pub fn open(
    dir: &Path,
    source: &KekSource,
    reading: Reading,
    confirm_clock: bool,
    shares: Box<dyn MakeShares>,
    max_signatures: usize,
) -> Result<Opened<HostDisk>> {
    let disk = Arc::new(RealDisk::open(dir)?);
    let node = node_of(&disk)?;
    let kek = open_kek(&disk, &node, source)?;
    let index = dir.join(INDEX);
    let open_index = move |hedge: &HedgeSecret| {
        let (index, image, reset) = RedbIndex::open_directory(&index, &|| IndexKey::derive(hedge))?;
        let reset = reset.map(|error| error.to_string());
        Ok(FoundIndex {
            index: Arc::new(index),
            image,
            reset,
        })
    };
    let setting = Setting {
        kek: Arc::new(kek),
        open_index: Box::new(open_index),
        reading,
        confirm_clock,
        shares,
        engine: DKLS23,
        max_signatures,
        pid: std::process::id(),
    };
    let mut opened = open_on(disk, node, setting, &mut OsRng)?;
    check_own_tls_key(&opened.pinned, &opened.identity)?;
    opened.writer = Some(
        opened
            .core
            .journal()
            .start_writer()
            .context("start the writer")?,
    );
    Ok(opened)
}

/// An index as it was found.
pub struct FoundIndex {
    /// The index.
    pub index: Arc<dyn Index>,
    /// What its store held.
    pub image: StoreImage,
    /// Why it was begun again, if it was.
    pub reset: Option<String>,
}

/// Opens an index whose digest is made with a secret of the node.
pub type OpenIndex = Box<dyn FnOnce(&HedgeSecret) -> Result<FoundIndex, IndexError>>;

/// Everything about a node that is not on its disk.
pub struct Setting {
    /// The KEK.
    pub kek: Arc<dyn Kek>,
    /// Opens the index.
    pub open_index: OpenIndex,
    /// The clocks.
    pub reading: Reading,
    /// Take the wall clock as right.
    pub confirm_clock: bool,
    /// Makes signature shares.
    pub shares: Box<dyn MakeShares>,
    /// Computes threshold ECDSA.
    pub engine: &'static dyn Engine,
    /// The most ECDSA signatures under way at a time (P17).
    pub max_signatures: usize,
    /// The process id that the status shows.
    pub pid: u32,
}

/// Opens a node on any disk.
pub fn open_on<D: Disk + Clone + 'static>(
    disk: D,
    node: NodeId,
    setting: Setting,
    rng: &mut dyn CryptoRngCore,
) -> Result<Opened<D>> {
    let identity = NodeIdentity::open(&disk, &node, &*setting.kek)?;
    check_pinned(&disk)?;
    let mut boot = [0; 16];
    rng.fill_bytes(&mut boot);
    let config = JournalConfig {
        identity: identity.public(),
        boot,
        limits: JournalLimits::default(),
    };
    let found = (setting.open_index)(&identity.hedge)?;
    let mut reconciler = Reconciler::new(found.image);
    let mut roster = None;
    let mut restored = None;
    let (journal, journal_report) = Journal::open(disk.clone(), &config, |record, _| {
        if let Entry::RosterPinned { roster: bytes } = &record.entry {
            roster = Some(bytes.clone());
        }
        if let Entry::Restored { restore, .. } = &record.entry {
            restored = Some((*restore, false));
        } else if let Entry::Readmitted { restore, .. } = &record.entry {
            restored = Some((*restore, true));
        }
        reconciler.observe(record);
    })?;
    let pinned = pinned_roster(&disk, roster.as_ref())?;
    let decision = reconciler.decide();
    replay(decision, &journal, &*found.index, ledger::changes)?;
    let pinned = follow_recorded(pinned, &*found.index)?;
    check_own_card(&pinned, &identity)?;
    let marked = restoration(&disk, &journal_report, restored, rng)?;
    let (vault, keyring_cut) = Vault::open(disk, node.clone(), setting.kek)?;

    let mut challenge = [0; 32];
    rng.fill_bytes(&mut challenge);
    let mut clock = NodeClock::start(
        journal_report.head.time,
        setting.reading,
        Nonce32(challenge),
    );
    // First, so that no crash leaves another record without it.
    let mut entries: Vec<Entry> = marked.into_iter().collect();
    entries.push(Entry::Boot {
        version: VERSION.to_owned(),
        node: node.clone(),
    });
    if setting.confirm_clock {
        clock.confirm_at_console(setting.reading);
        let time = clock.elapsed(setting.reading);
        entries.push(Entry::ClockConfirmed {
            time,
            witnesses: Vec::new(),
        });
    } else if clock.state() != ClockState::Confirmed {
        let expected = clock.elapsed(setting.reading);
        entries.push(Entry::ClockSuspect {
            expected,
            observed: setting.reading.wall,
        });
    }
    let folded = decision.folds(journal_report.head.sequence);
    let mut report = HostReport {
        erased: 0,
        quarantined: false,
        node: node.clone(),
        journal: journal_report,
        keyring_cut,
        rebuilt: rebuilt(decision, found.reset),
        folded,
        clock_confirmed: clock.state() == ClockState::Confirmed,
    };
    let core = NodeCore::new(Parts {
        me: node,
        identity: identity.identity.clone(),
        hedge: Hedge::new(*identity.hedge.expose()),
        boot,
        pinned: pinned.clone(),
        journal,
        vault,
        index: found.index,
        clock,
        about: About {
            version: VERSION.to_owned(),
            pid: setting.pid,
        },
        shares: setting.shares,
        engine: setting.engine,
        max_signatures: setting.max_signatures,
    });
    // Before the record of this start, with which they count as done.
    let erased = core.finish_erasures(rng)?;
    let appended = core.begin(setting.reading, entries)?;
    core.journal().commit(&appended)?;
    report.erased = erased;
    report.quarantined = core.is_quarantined();
    Ok(Opened {
        core,
        writer: None,
        identity,
        pinned,
        report,
    })
}

/// The record of a restoration that the journal does not hold yet. The mark of one that is over is
/// removed.
fn restoration(
    disk: &dyn Disk,
    journal: &OpenReport,
    recorded: Option<(RestoreId, bool)>,
    rng: &mut dyn CryptoRngCore,
) -> Result<Option<Entry>> {
    let Some(text) = crate::disk::read_whole(disk, MARKER, MAX_FILE)? else {
        return Ok(None);
    };
    let marker: Marker = serde_json::from_slice(&text)
        .ok()
        .filter(|marker: &Marker| marker.format == 1)
        .with_context(|| {
            format!("{MARKER} is malformed: restore the backup again into another directory")
        })?;
    match recorded {
        Some((restore, true)) if restore == marker.restore => {
            disk.remove(MARKER)?;
            disk.sync_directory("")?;
            Ok(None)
        }
        Some((restore, false)) if restore == marker.restore => Ok(None),
        _ => {
            ensure!(
                journal.head.sequence == marker.sequence && journal.head.hash == marker.head,
                "{MARKER} is of another journal than the one in this directory: restore the backup \
                 again into another directory"
            );
            // Drawn where the node starts, so that two copies of the directory are two restorations.
            let mut restore = [0; 16];
            rng.fill_bytes(&mut restore);
            let marker = Marker {
                restore: RestoreId(restore),
                ..marker
            };
            crate::disk::replace(disk, MARKER, &serde_json::to_vec_pretty(&marker)?)?;
            Ok(Some(Entry::Restored {
                backup: marker.backup,
                restore: marker.restore,
            }))
        }
    }
}

fn rebuilt(decision: Decision, reset: Option<String>) -> Option<String> {
    match decision {
        Decision::Rebuild(reason) => Some(reset.unwrap_or_else(|| reason.to_string())),
        Decision::Use | Decision::CatchUp { .. } | Decision::JournalLost { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{core::TrueShares, sealing::KeyFile, shell::MachineClock};

    #[test]
    fn a_node_that_was_never_pinned_is_told_from_one_that_lost_its_journal() {
        let place = tempfile::tempdir().unwrap();
        let key = place.path().join("node.key");
        let bytes: Vec<u8> = (0..32).collect();
        std::fs::write(&key, hex::encode(bytes)).unwrap();
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, owner_only).unwrap();
        let source = KekSource::key_file(KeyFile::read(&key).unwrap());
        let dir = place.path().join("node");
        let id = "node-a".parse().unwrap();
        init(&dir, &id, "region-a", "example", &source).unwrap();
        let refused = || {
            let reading = MachineClock::start().read();
            let opened = open(&dir, &source, reading, false, Box::new(TrueShares), 1);
            format!("{:#}", opened.err().unwrap())
        };

        let unpinned = refused();
        // Whatever is left of a node that ran says so.
        for (directory, file) in [(crate::vault::DIRECTORY, "ab"), (INDEX, "rows.redb")] {
            std::fs::create_dir(dir.join(directory)).unwrap();
            std::fs::write(dir.join(directory).join(file), "left").unwrap();
            let lost = refused();
            assert!(lost.contains("newest journal"), "{lost}");
            let disk = RealDisk::open(&dir).unwrap();
            assert!(was_in_service(&disk).unwrap());
            std::fs::remove_dir_all(dir.join(directory)).unwrap();
        }
        std::fs::write(dir.join(ROSTER), "{}").unwrap();
        let lost = refused();
        assert!(
            !dir.join(INDEX).exists(),
            "whoever died while pinning pins again"
        );

        assert!(unpinned.contains("quorate-node pin"), "{unpinned}");
        assert!(!unpinned.contains("newest journal"), "{unpinned}");
        assert!(lost.contains("newest journal"), "{lost}");
    }
}
