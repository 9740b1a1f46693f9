//! Backups of a node, and everything that may be wrong with one.

use std::{
    fs,
    io::{self, Read as _, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use age::x25519::Identity;
use quorate_model::{
    audit::{Entry, Record},
    backup::{SignedHeader, begin_file, end_digest},
    identity::sign_digest,
    wire,
};
use rand_core::OsRng;

use super::{
    harness::{PASSPHRASE, unseals},
    *,
};
use crate::{
    backup::{
        BackupError, FoundKey, MARKER, Made, Marker, Recipients, Restoration, RestoreError,
        Restored, Usable, read_identities, restore, write,
    },
    core::Reading,
    disk::{Disk as _, MemoryDisk, RealDisk},
    journal::{Journal, JournalConfig, JournalLimits},
};

const KEY: &str = "treasury";

/// A cluster with a key, and whoever keeps the backups of its first node.
struct Place {
    cluster: Cluster,
    keeper: Identity,
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let mut cluster = Cluster::new(2);
        let roster = serde_json::to_vec(&cluster.signed_roster).unwrap();
        let pinned = vec![Entry::RosterPinned { roster }];
        let core = Arc::clone(&cluster.cores[0]);
        let appended = core.begin(cluster.reading(), pinned).unwrap();
        core.journal().commit(&appended).unwrap();
        cluster.create(KEY, Scheme::Ed25519, 2);
        Self {
            cluster,
            keeper: Identity::generate(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn recipients(&self) -> Recipients {
        Recipients::parse(&[self.keeper.to_public().to_string()]).unwrap()
    }

    fn back_up(&self) -> (Vec<u8>, Made) {
        let mut sealed = Vec::new();
        let core = &self.cluster.cores[0];
        let made = write(
            core,
            self.reading(),
            &self.recipients(),
            &mut sealed,
            &mut OsRng,
        );
        (sealed, made.unwrap())
    }

    fn reading(&self) -> Reading {
        self.cluster.reading()
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("node")
    }

    fn restore(&self, sealed: &[u8]) -> Result<(Restored, Marker), RestoreError> {
        self.restore_with(sealed, &self.keeper, PASSPHRASE, None)
    }

    fn restore_with(
        &self,
        sealed: &[u8],
        identity: &Identity,
        passphrase: &str,
        roster: Option<Digest>,
    ) -> Result<(Restored, Marker), RestoreError> {
        let what = Restoration {
            identities: std::slice::from_ref(identity),
            source: &unseals(passphrase),
            roster,
        };
        restore(sealed, &what, &self.target(), &mut OsRng)
    }

    /// Tries to restore what must be refused, and looks that nothing is left of it.
    fn refused(&self, sealed: &[u8]) -> RestoreError {
        let error = self.restore(sealed).unwrap_err();
        assert_eq!(names(self.dir.path()), Vec::<String>::new(), "{error}");
        error
    }

    fn open(&self, sealed: &[u8]) -> Vec<u8> {
        let decryptor = age::Decryptor::new_buffered(sealed).unwrap();
        let key: &dyn age::Identity = &self.keeper;
        let mut plain = Vec::new();
        let mut reader = decryptor.decrypt(std::iter::once(key)).unwrap();
        reader.read_to_end(&mut plain).unwrap();
        plain
    }

    /// Anybody can seal anything to a keeper of backups.
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let key = self.keeper.to_public();
        let recipient: &dyn age::Recipient = &key;
        let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient)).unwrap();
        let mut writer = encryptor.wrap_output(Vec::new()).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_backup_becomes_the_directory_of_the_node_again() {
    let place = Place::new();

    let (sealed, made) = place.back_up();
    let (restored, marker) = place.restore(&sealed).unwrap();

    assert_eq!(restored.header, made.header);
    assert_eq!(made.shares, 1);
    let key = FoundKey {
        key: KEY.parse().unwrap(),
        id: restored.keys[0].id,
        epoch: Epoch(1),
        share: Usable::Yes,
    };
    assert_eq!(restored.keys, [key]);
    assert_eq!(marker.backup, made.header.backup);
    let text = fs::read(place.target().join(MARKER)).unwrap();
    assert_eq!(serde_json::from_slice::<Marker>(&text).unwrap(), marker);
    let kept = names(&place.target());
    let expected = [
        "card.json",
        "identity",
        "journal",
        "keyring",
        "lock",
        MARKER,
        "roster.json",
        "sealing",
        "vault",
    ];
    assert_eq!(kept, expected);
    assert_eq!(names(place.dir.path()), ["node"]);
}

#[test]
fn a_backup_is_recorded_before_it_is_made_and_ends_with_its_record() {
    let mut place = Place::new();
    let before = entries(&place.cluster, 0).len();

    let (sealed, made) = place.back_up();
    let all = entries(&place.cluster, 0);
    place.cluster.create("later", Scheme::Ed25519, 2);
    let (restored, _) = place.restore(&sealed).unwrap();

    let Some(Entry::BackupMade(recorded)) = all.last() else {
        panic!("{:?}", all.last())
    };
    assert_eq!(all.len(), before + 1);
    assert_eq!(recorded.backup, made.header.backup);
    assert_eq!(recorded.recipients, place.recipients().fingerprints());
    assert_eq!(made.header.sequence, all.len() as u64);
    assert_eq!(restored.keys.len(), 1);
    let journal = read_journal(&place, &place.target());
    assert_eq!(journal.len() as u64, made.header.sequence);
}

/// Does something in the node while its backup is being written.
struct Meanwhile<F: FnMut()> {
    sealed: Vec<u8>,
    act: Option<F>,
}

impl<F: FnMut()> Write for Meanwhile<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(mut act) = self.act.take() {
            act();
        }
        self.sealed.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_share_that_is_erased_while_the_backup_is_made_is_in_it_and_nowhere_else() {
    let place = Place::new();
    let core = Arc::clone(&place.cluster.cores[0]);
    let share = (KEY.parse().unwrap(), Epoch(1));
    let erased = std::collections::BTreeSet::from([share.clone()]);
    let erase = || core.vault.erase(&erased, &mut OsRng).unwrap();
    let mut out = Meanwhile {
        sealed: Vec::new(),
        act: Some(erase),
    };

    write(
        &core,
        place.reading(),
        &place.recipients(),
        &mut out,
        &mut OsRng,
    )
    .unwrap();
    let (restored, _) = place.restore(&out.sealed).unwrap();

    assert_eq!(restored.keys[0].share, Usable::Yes);
    assert!(!core.vault.keyring().contains(&share));
    assert!(core.vault.list().unwrap().is_empty());
}

#[test]
fn records_that_come_while_the_backup_is_made_are_not_in_it() {
    let place = Place::new();
    let core = Arc::clone(&place.cluster.cores[0]);
    let reading = place.reading();
    let more = || {
        let appended = core.checkpoint_now(reading).unwrap();
        core.journal().commit(&appended).unwrap();
    };
    let mut out = Meanwhile {
        sealed: Vec::new(),
        act: Some(more),
    };

    let made = write(&core, reading, &place.recipients(), &mut out, &mut OsRng).unwrap();
    place.restore(&out.sealed).unwrap();

    assert_eq!(
        entries(&place.cluster, 0).len() as u64,
        made.header.sequence + 1
    );
    let journal = read_journal(&place, &place.target());
    assert_eq!(journal.len() as u64, made.header.sequence);
}

/// Notes the size of each piece that is written, and flips a bit of the source when the first one
/// comes.
struct Streamed<'a> {
    sealed: Vec<u8>,
    largest: usize,
    disk: &'a MemoryDisk,
    path: &'a str,
}

impl Write for Streamed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.sealed.is_empty() {
            self.disk.flip(self.path, MARK_AT, 1).unwrap();
        }
        self.largest = self.largest.max(bytes.len());
        self.sealed.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a bit of a file of the journal is flipped.
const MARK_AT: usize = 100;

/// What is read last is read after the first piece has left the node, and no piece grows with the
/// whole.
#[test]
fn a_backup_leaves_the_node_while_it_is_read() {
    const PIECE: usize = 128 * 1024;
    let limits = JournalLimits {
        segment_bytes: 256 * 1024,
        ..JournalLimits::default()
    };
    let cluster = Cluster::with_journals(2, limits);
    let core = &cluster.cores[0];
    let long = "a".repeat(60_000);
    for _ in 0..40 {
        let boot = Entry::Boot {
            version: long.clone(),
            node: node_id(0),
        };
        let appended = core.begin(cluster.reading(), vec![boot]).unwrap();
        core.journal().commit(&appended).unwrap();
    }
    let mut files = cluster.disks[0].list("journal").unwrap();
    files.sort();
    assert!(files.len() > 4, "{files:?}");
    let last = format!("journal/{}", files.last().unwrap());
    let place = Place {
        cluster,
        keeper: Identity::generate(),
        dir: tempfile::tempdir().unwrap(),
    };
    let before = place.cluster.disks[0].read(&last, 0, 2 * MARK_AT).unwrap();
    let mut out = Streamed {
        sealed: Vec::new(),
        largest: 0,
        disk: &place.cluster.disks[0],
        path: &last,
    };

    let core = &place.cluster.cores[0];
    let to = place.recipients();
    write(core, place.reading(), &to, &mut out, &mut OsRng).unwrap();

    let Streamed {
        sealed, largest, ..
    } = out;
    assert!(sealed.len() > 8 * PIECE, "{}", sealed.len());
    assert!(largest <= PIECE, "{largest} of {}", sealed.len());
    let after = place.cluster.disks[0].read(&last, 0, 2 * MARK_AT).unwrap();
    assert_ne!(before, after);
    let plain = place.open(&sealed);
    let holds = |bytes: &[u8]| plain.windows(bytes.len()).any(|window| window == bytes);
    assert!(holds(&after) && !holds(&before));
}

fn read_journal(place: &Place, dir: &Path) -> Vec<Record> {
    let config = JournalConfig {
        identity: quorate_model::IdentityKey::of(&place.cluster.keys[0]),
        boot: [7; 16],
        limits: JournalLimits::default(),
    };
    let mut records = Vec::new();
    let disk = Arc::new(RealDisk::open(dir).unwrap());
    Journal::open(disk, &config, |record, _| records.push(record.clone())).unwrap();
    records
}

#[test]
fn a_backup_holds_no_share_in_clear() {
    let place = Place::new();
    let core = &place.cluster.cores[0];
    let secret = core
        .vault
        .load(&KEY.parse().unwrap(), Epoch(1))
        .unwrap()
        .secret;
    let (sealed, _) = place.back_up();

    for bytes in [&sealed, &place.open(&sealed)] {
        for secret in [secret.as_slice(), &place.cluster.keys[0].to_bytes()] {
            assert!(!bytes.windows(32).any(|window| window == secret));
        }
    }
}

#[test]
fn a_backup_that_was_cut_changed_or_added_to_restores_nothing() {
    let place = Place::new();
    let (sealed, _) = place.back_up();
    let mut longer = sealed.clone();
    longer.push(0);
    let mut twice = sealed.clone();
    twice.extend_from_slice(&sealed);

    for cut in [0, 1, 20, 150, 300, sealed.len() / 2, sealed.len() - 1] {
        let error = place.refused(&sealed[..cut]);
        let told = matches!(error, RestoreError::Damaged(_) | RestoreError::NotSealed);
        assert!(told, "{cut}: {error}");
    }
    for at in (200..sealed.len()).step_by(sealed.len() / 20) {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        // The header of age stands at the beginning.
        let error = place.refused(&changed);
        let told = matches!(
            error,
            RestoreError::Damaged(_) | RestoreError::NotSealed | RestoreError::WrongIdentity
        );
        assert!(told, "{at}: {error}");
    }
    assert!(matches!(place.refused(&longer), RestoreError::Damaged(_)));
    assert!(matches!(place.refused(&twice), RestoreError::Damaged(_)));
    assert!(place.restore(&sealed).is_ok());
}

/// The seal of age keeps out what is noticed here: whoever seals anew is not the node.
#[test]
fn what_is_sealed_anew_is_found_by_the_hashes_and_signatures_inside() {
    let place = Place::new();
    let (sealed, _) = place.back_up();
    let plain = place.open(&sealed);

    for cut in (0..plain.len()).step_by(plain.len() / 40) {
        let error = place.refused(&place.seal(&plain[..cut]));
        assert!(matches!(error, RestoreError::Damaged(_)), "{cut}: {error}");
    }
    for at in (24..plain.len()).step_by(plain.len() / 40) {
        let mut changed = plain.clone();
        changed[at] ^= 1;
        place.refused(&place.seal(&changed));
    }
    let mut longer = plain.clone();
    longer.push(0);
    let error = place.refused(&place.seal(&longer));
    assert!(
        error.to_string().contains("bytes follow its end"),
        "{error}"
    );
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let place = Place::new();
    let (sealed, _) = place.back_up();
    let mut plain = place.open(&sealed);
    plain[16] = 2;

    let error = place.refused(&place.seal(&plain));

    assert!(matches!(error, RestoreError::NewerFormat(2)));
    let text = error.to_string();
    assert!(text.contains("format 2") && text.contains("format 1") && text.contains("version"));
}

#[test]
fn what_is_no_backup_is_told_from_a_damaged_one() {
    let place = Place::new();

    assert!(matches!(place.refused(b""), RestoreError::NotSealed));
    assert!(matches!(
        place.refused(b"hello, this is text"),
        RestoreError::NotSealed
    ));
    let other = place.seal(b"what somebody else has sealed");
    assert!(matches!(place.refused(&other), RestoreError::NotABackup));
}

#[test]
fn a_backup_opens_for_its_recipients_only() {
    let place = Place::new();
    let (sealed, _) = place.back_up();
    let stranger = Identity::generate();

    let error = place
        .restore_with(&sealed, &stranger, PASSPHRASE, None)
        .unwrap_err();

    assert!(matches!(error, RestoreError::WrongIdentity));
    assert_eq!(names(place.dir.path()), Vec::<String>::new());
}

#[test]
fn the_passphrase_of_the_node_is_needed_beside_the_age_identity() {
    let place = Place::new();
    let (sealed, _) = place.back_up();

    let error = place
        .restore_with(&sealed, &place.keeper, "another", None)
        .unwrap_err();

    assert!(matches!(error, RestoreError::Kek(_)));
    assert_eq!(names(place.dir.path()), Vec::<String>::new());
}

#[test]
fn a_directory_that_holds_anything_is_left_as_it_is() {
    let place = Place::new();
    let (sealed, _) = place.back_up();
    fs::create_dir(place.target()).unwrap();
    fs::write(place.target().join("mine"), "mine").unwrap();

    let error = place.restore(&sealed).unwrap_err();

    assert!(matches!(error, RestoreError::NotEmpty(_)));
    assert_eq!(names(&place.target()), ["mine"]);
    assert_eq!(names(place.dir.path()), ["node"]);
    fs::remove_file(place.target().join("mine")).unwrap();
    assert!(place.restore(&sealed).is_ok());
    let again = place.restore(&sealed).unwrap_err();
    assert!(matches!(again, RestoreError::NotEmpty(_)));
}

#[test]
fn a_directory_whose_parent_is_missing_is_not_made() {
    let place = Place::new();
    let (sealed, _) = place.back_up();
    let what = Restoration {
        identities: std::slice::from_ref(&place.keeper),
        source: &unseals(PASSPHRASE),
        roster: None,
    };
    let dir = place.dir.path().join("a/b/node");

    let error = restore(sealed.as_slice(), &what, &dir, &mut OsRng).unwrap_err();

    assert!(matches!(error, RestoreError::Directory { .. }));
    assert_eq!(names(place.dir.path()), Vec::<String>::new());
}

#[test]
fn a_backup_of_another_cluster_is_refused_where_the_roster_is_named() {
    let place = Place::new();
    let (sealed, _) = place.back_up();
    let with = |roster| place.restore_with(&sealed, &place.keeper, PASSPHRASE, Some(roster));

    let error = with(Digest::new([1; 32])).unwrap_err();

    assert!(matches!(error, RestoreError::OtherRoster { .. }));
    assert_eq!(names(place.dir.path()), Vec::<String>::new());
    assert!(with(place.cluster.pinned.hash()).is_ok());
}

/// Takes a backup apart: its header, and its files with their contents.
fn parts(plain: &[u8]) -> (SignedHeader, Vec<(String, Vec<u8>)>) {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0usize, |sum, byte| sum * 256 + usize::from(*byte))
    };
    let length = number(&plain[20..24]);
    let header = wire::decode(&plain[24..24 + length]).unwrap();
    let mut at = 24 + length;
    let mut files = Vec::new();
    while plain[at] == 1 {
        let name = number(&plain[at + 1..at + 3]);
        let content = at + 3 + name + 8;
        let length = number(&plain[at + 3 + name..content]);
        let text = String::from_utf8(plain[at + 3..at + 3 + name].to_vec()).unwrap();
        files.push((text, plain[content..content + length].to_vec()));
        at = content + length + 32;
    }
    (header, files)
}

/// Puts a backup together as somebody with a signing key of a node would.
fn assemble(
    header: &SignedHeader,
    files: &[(String, Vec<u8>)],
    key: &ed25519_dalek::SigningKey,
) -> Vec<u8> {
    let mut plain = b"quorate-backup\0\0".to_vec();
    plain.extend_from_slice(&1u32.to_le_bytes());
    let bytes = wire::encode(header).unwrap();
    plain.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
    plain.extend_from_slice(&bytes);
    let mut link = header.header.digest();
    for (name, content) in files {
        plain.push(1);
        plain.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
        plain.extend_from_slice(name.as_bytes());
        plain.extend_from_slice(&(content.len() as u64).to_le_bytes());
        plain.extend_from_slice(content);
        let mut file = begin_file(&link, name, content.len() as u64);
        file.push(content);
        link = file.end().unwrap().finish();
        plain.extend_from_slice(link.as_bytes());
    }
    plain.push(0);
    plain.extend_from_slice(&(files.len() as u64).to_le_bytes());
    let end = end_digest(files.len() as u64, &link);
    plain.extend_from_slice(sign_digest(key, &end).as_bytes());
    plain
}

#[test]
fn a_backup_that_another_node_or_nobody_signed_is_refused() {
    let place = Place::new();
    let (sealed, _) = place.back_up();
    let (header, files) = parts(&place.open(&sealed));
    let [own, other] = [&place.cluster.keys[0], &place.cluster.keys[1]];
    let signed_by = |key| SignedHeader {
        header: header.header.clone(),
        signature: sign_digest(key, &header.header.digest()),
    };

    let check = |header: &SignedHeader, key| {
        let error = place.refused(&place.seal(&assemble(header, &files, key)));
        assert!(matches!(error, RestoreError::Forged), "{error}");
    };
    check(&signed_by(other), own);
    check(&header, other);
    check(&signed_by(other), other);
    let again = place.seal(&assemble(&header, &files, own));
    assert!(place.restore(&again).is_ok());
}

/// Even the node's own signature takes nothing to other places than a node has.
#[test]
fn files_that_no_node_has_are_not_restored() {
    let place = Place::new();
    let (sealed, _) = place.back_up();
    let (header, files) = parts(&place.open(&sealed));
    let key = &place.cluster.keys[0];

    for name in [
        "../escape",
        "/etc/passwd",
        "vault/x",
        "vault/../x",
        "index/db",
        MARKER,
        "lock",
        "console",
        "journal/1.segment",
        "journal/00000000000000000001.segment.tmp",
        "vault/00/treasury.1",
        "identity",
    ] {
        let mut more = files.clone();
        more.push((name.to_owned(), b"x".to_vec()));
        let error = place.refused(&place.seal(&assemble(&header, &more, key)));
        assert!(
            matches!(error, RestoreError::UnexpectedFile(_)),
            "{name}: {error}"
        );
    }
    for left_out in 0..files.len() {
        let mut fewer = files.clone();
        let (name, _) = fewer.remove(left_out);
        let outcome = place.restore(&place.seal(&assemble(&header, &fewer, key)));
        match outcome {
            Err(_) => assert_eq!(names(place.dir.path()), Vec::<String>::new(), "{name}"),
            // The shares of other keys are worth having.
            Ok((restored, _)) => {
                assert!(name.starts_with("vault/") || name == "epochs", "{name}");
                let lost = matches!(restored.keys[0].share, Usable::No(_));
                assert_eq!(lost, name.starts_with("vault/"));
                fs::remove_dir_all(place.target()).unwrap();
            }
        }
    }
}

#[test]
fn a_journal_that_ends_elsewhere_than_the_header_says_is_refused() {
    let place = Place::new();
    let (sealed, _) = place.back_up();
    let (mut header, files) = parts(&place.open(&sealed));
    let key = &place.cluster.keys[0];
    header.header.sequence -= 1;
    header.signature = sign_digest(key, &header.header.digest());

    let error = place.refused(&place.seal(&assemble(&header, &files, key)));

    assert!(matches!(error, RestoreError::OtherJournal), "{error}");
}

#[test]
fn recipients_are_public_keys_of_age_and_each_is_named_once() {
    let one = Identity::generate().to_public().to_string();
    let parse = |texts: &[&str]| Recipients::parse(texts).err();

    assert!(parse(&[&one]).is_none());
    assert!(matches!(parse(&[]), Some(BackupError::RecipientCount(0))));
    assert!(matches!(
        parse(&[&one, &one]),
        Some(BackupError::RecipientCount(2))
    ));
    let error = parse(&["age1nonsense"]).unwrap();
    assert!(error.to_string().contains("age-keygen"), "{error}");
    assert!(parse(&["ssh-ed25519 AAAA"]).is_some());
}

#[test]
fn identity_files_hold_secret_keys_of_age_and_errors_never_show_them() {
    use age::secrecy::ExposeSecret as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let secret = Identity::generate().to_string();
    let secret = secret.expose_secret();

    fs::write(
        &path,
        format!("# created: today\n# public key: age1x\n{secret}\n"),
    )
    .unwrap();
    assert_eq!(read_identities(&path).unwrap().len(), 1);
    for text in [
        String::new(),
        "# nothing\n".to_owned(),
        format!("{secret}x\n"),
    ] {
        fs::write(&path, text).unwrap();
        let error = read_identities(&path).err().unwrap();
        assert!(matches!(error, RestoreError::NoIdentity(_)));
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(&secret[..20].replace("AGE-SECRET-KEY-1", "")[..4]));
    }
    let missing = read_identities(&dir.path().join("none")).err().unwrap();
    assert!(matches!(missing, RestoreError::Identity { .. }));
}

#[test]
fn an_erased_share_leaves_no_file_when_no_copy_needs_it() {
    let place = Place::new();
    let vault = &place.cluster.cores[0].vault;
    let share = (KEY.parse().unwrap(), Epoch(1));
    let erased = std::collections::BTreeSet::from([share.clone()]);
    let [file, _] = crate::vault::Vault::<MemoryDisk>::files_of(&share);

    let first = vault.begin_copy().unwrap();
    let second = vault.begin_copy().unwrap();
    vault.erase(&erased, &mut OsRng).unwrap();

    assert_eq!(first.shares, std::slice::from_ref(&share));
    assert_eq!(second.shares, std::slice::from_ref(&share));
    assert!(!vault.keyring().contains(&share));
    assert!(vault.disk().exists(&file).unwrap());
    vault.end_copy().unwrap();
    assert!(vault.disk().exists(&file).unwrap());
    vault.end_copy().unwrap();
    assert!(!vault.disk().exists(&file).unwrap());
}
