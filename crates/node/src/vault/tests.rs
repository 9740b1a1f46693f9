use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::*;
use crate::{
    disk::{Fault, MemoryDisk, RealDisk, Survival},
    sealing::LocalKek,
};

#[test]
fn a_stored_record_is_there_after_a_crash() {
    let rig = Rig::new();
    let stored = Rig::store(&rig.open(), "demo", 1).unwrap();
    assert_eq!((stored.key().as_str(), stored.epoch()), ("demo", Epoch(1)));
    rig.disk.crash(Survival::Nothing);

    let vault = rig.open();
    let record = vault.load(&name("demo"), Epoch(1)).unwrap();

    assert_eq!(record.public, b"public demo 1");
    assert_eq!(*record.secret, b"secret demo 1");
    assert_eq!(vault.list().unwrap(), [(name("demo"), Epoch(1))]);
}

#[test]
fn no_secret_lies_on_the_disk_in_clear() {
    let rig = Rig::new();
    let _ = Rig::store(&rig.open(), "demo", 1).unwrap();

    let bytes = rig
        .disk
        .read(&path_of(&name("demo"), Epoch(1)), 0, 1 << 20)
        .unwrap();

    let contains = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(contains(b"public demo 1"));
    assert!(!contains(b"secret"));
    let record = rig.open().load(&name("demo"), Epoch(1)).unwrap();
    assert!(!format!("{record:?}").contains("115, 101"));
}

#[test]
fn many_records_share_one_write_to_the_keyring_and_are_listed() {
    let rig = Rig::new();
    let vault = rig.open();
    let names: Vec<KeyName> = (0..300).map(|at| name(&format!("key-{at}"))).collect();
    let secret = Zeroizing::new(b"secret".to_vec());
    let records: Vec<_> = names
        .iter()
        .map(|key| NewRecord {
            key,
            epoch: Epoch(1),
            public: b"",
            secret: &secret,
        })
        .collect();
    let before = rig.disk.operations();

    let stored = vault.store_all(&records, &mut rng()).unwrap();

    assert_eq!(stored.len(), 300);
    // Two for the keyring, four per record, two per fan-out directory.
    assert!(rig.disk.operations() - before <= 2 + 4 * 300 + 2 * 256);
    assert_eq!(vault.list().unwrap().len(), 300);
    assert!(rig.disk.list(DIRECTORY).unwrap().len() > 100);
}

#[test]
fn a_record_is_never_replaced() {
    let rig = Rig::new();
    let vault = rig.open();
    let _ = Rig::store(&vault, "demo", 1).unwrap();
    let key = name("demo");
    let secret = Zeroizing::new(b"other".to_vec());
    let twice = [1, 1].map(|_| NewRecord {
        key: &key,
        epoch: Epoch(2),
        public: b"",
        secret: &secret,
    });

    let again = Rig::store(&vault, "demo", 1).unwrap_err();
    let both = vault.store_all(&twice, &mut rng()).unwrap_err();

    assert!(matches!(again, VaultError::Exists { .. }));
    assert!(matches!(both, VaultError::Exists { .. }));
    assert_eq!(
        *vault.load(&key, Epoch(1)).unwrap().secret,
        b"secret demo 1"
    );
}

#[test]
fn swapped_records_are_refused() {
    let rig = Rig::new();
    let vault = rig.open();
    for (key, epoch) in [("alpha", 1), ("beta", 1), ("alpha", 2)] {
        let _ = Rig::store(&vault, key, epoch).unwrap();
    }

    for (from, to) in [(("beta", 1), ("alpha", 1)), (("alpha", 2), ("alpha", 1))] {
        let rig = rig.fork();
        let bytes = rig
            .disk
            .read(&path_of(&name(from.0), Epoch(from.1)), 0, 1 << 20)
            .unwrap();
        rig.disk
            .write(&path_of(&name(to.0), Epoch(to.1)), &bytes)
            .unwrap();

        let error = rig.open().load(&name(to.0), Epoch(to.1)).unwrap_err();

        assert!(matches!(error, VaultError::Swapped { .. }));
        let found = format!("key {} epoch {}", from.0, from.1);
        assert!(error.to_string().contains(&found), "{error}");
    }
}

#[test]
fn a_swapped_record_with_a_forged_label_is_refused() {
    let rig = Rig::new();
    let vault = rig.open();
    let _ = Rig::store(&vault, "alpha", 1).unwrap();
    let _ = Rig::store(&vault, "beta", 1).unwrap();
    let read = |key| {
        rig.disk
            .read(&path_of(&name(key), Epoch(1)), 0, 1 << 20)
            .unwrap()
    };
    let (alpha, beta) = (read("alpha"), read("beta"));
    let (clear, _, _) = parse(&alpha).unwrap();
    let (_, _, sealed) = parse(&beta).unwrap();
    let path = path_of(&name("alpha"), Epoch(1));
    rig.disk.write(&path, &assemble(clear, sealed)).unwrap();

    let error = vault.load(&name("alpha"), Epoch(1)).unwrap_err();

    assert!(matches!(error, VaultError::Tampered { .. }));
}

#[test]
fn a_record_of_another_node_is_refused() {
    let rig = Rig::new();
    let _ = Rig::store(&rig.open(), "demo", 1).unwrap();
    let other = Rig::named("node-b");
    let path = path_of(&name("demo"), Epoch(1));
    let vault = other.open();
    let _ = Rig::store(&vault, "demo", 1).unwrap();
    other
        .disk
        .write(&path, &rig.disk.read(&path, 0, 1 << 20).unwrap())
        .unwrap();

    let error = vault.load(&name("demo"), Epoch(1)).unwrap_err();

    assert!(matches!(error, VaultError::Swapped { .. }));
}

#[test]
fn every_changed_byte_is_refused_with_the_file_named() {
    let rig = Rig::new();
    let _ = Rig::store(&rig.open(), "demo", 1).unwrap();
    let path = path_of(&name("demo"), Epoch(1));
    let length = usize::try_from(rig.disk.length(&path).unwrap()).unwrap();
    let vault = rig.open();

    for at in 0..length {
        for bit in 0..8 {
            rig.disk.flip(&path, at, 1 << bit).unwrap();
            let error = vault.load(&name("demo"), Epoch(1)).unwrap_err();
            rig.disk.flip(&path, at, 1 << bit).unwrap();

            assert!(
                matches!(
                    error,
                    VaultError::Tampered { .. } | VaultError::Swapped { .. }
                ),
                "byte {at} bit {bit}: {error:?}"
            );
            assert!(error.to_string().contains(&path));
            assert!(error.to_string().contains("back"));
        }
    }
    for cut in 0..length {
        let rig = rig.fork();
        rig.disk.truncate(&path, cut as u64).unwrap();
        let error = rig.open().load(&name("demo"), Epoch(1)).unwrap_err();
        assert!(matches!(error, VaultError::Tampered { .. }));
    }
}

#[test]
fn an_erased_share_is_gone_even_for_who_kept_its_file() {
    let rig = Rig::new();
    let vault = rig.open();
    let _ = Rig::store(&vault, "demo", 1).unwrap();
    let _ = Rig::store(&vault, "demo", 2).unwrap();
    let path = path_of(&name("demo"), Epoch(1));
    let kept = rig.disk.read(&path, 0, 1 << 20).unwrap();

    vault
        .erase(&BTreeSet::from([(name("demo"), Epoch(1))]), &mut rng())
        .unwrap();
    rig.disk.crash(Survival::Nothing);

    let vault = rig.open();
    let missing = vault.load(&name("demo"), Epoch(1)).unwrap_err();
    assert!(matches!(missing, VaultError::Missing { .. }));
    rig.disk.write(&path, &kept).unwrap();
    let erased = vault.load(&name("demo"), Epoch(1)).unwrap_err();
    assert!(matches!(erased, VaultError::Erased { .. }));
    assert!(vault.load(&name("demo"), Epoch(2)).is_ok());
    vault
        .erase(&BTreeSet::from([(name("demo"), Epoch(1))]), &mut rng())
        .unwrap();
    assert!(!vault.contains(&name("demo"), Epoch(1)).unwrap());
}

#[test]
fn a_record_that_is_too_large_is_refused() {
    let rig = Rig::new();
    let key = name("demo");
    let secret = Zeroizing::new(vec![0; MAX_RECORD_BYTES]);
    let record = NewRecord {
        key: &key,
        epoch: Epoch(1),
        public: b"x",
        secret: &secret,
    };

    let error = rig.open().store(&record, &mut rng()).unwrap_err();

    assert!(matches!(error, VaultError::TooLarge(_)));
}

#[test]
fn a_storage_error_at_any_operation_is_never_a_stored_share() {
    let whole = Rig::new();
    let vault = whole.open();
    let before = whole.disk.operations();
    let _ = Rig::store(&vault, "demo", 1).unwrap();
    let operations = whole.disk.operations() - before;
    assert_eq!(operations, 2 + 2 + 4);

    for at in 0..operations {
        for fault in [Fault::Error, Fault::Half, Fault::Stop] {
            let rig = Rig::new();
            let vault = rig.open();
            rig.disk.fail_at(rig.disk.operations() + at, fault);

            assert!(Rig::store(&vault, "demo", 1).is_err(), "{at} {fault:?}");
        }
    }
}

#[test]
fn a_crash_at_every_operation_keeps_what_was_acknowledged_and_never_half_a_record() {
    let run = |rig: &Rig| -> usize {
        let Ok((vault, _)) = rig.try_open() else {
            return 0;
        };
        let done = |epoch| Rig::store(&vault, "demo", epoch).is_ok();
        (1..=3).take_while(|epoch| done(*epoch)).count()
    };
    let whole = Rig::new();
    let before = whole.disk.operations();
    assert_eq!(run(&whole), 3);

    for at in before..whole.disk.operations() {
        for seed in 0..20 {
            let rig = Rig::new();
            rig.disk.fail_at(at, Fault::Stop);
            let done = run(&rig);
            rig.disk.crash(Survival::Torn(seed));

            let vault = rig.open();

            for epoch in 1..=3 {
                match vault.load(&name("demo"), Epoch(epoch)) {
                    Ok(record) => {
                        assert_eq!(*record.secret, format!("secret demo {epoch}").as_bytes());
                    }
                    Err(VaultError::Missing { .. }) => {
                        assert!(epoch as usize > done, "{at} {seed}");
                        let _ = Rig::store(&vault, "demo", epoch).unwrap();
                    }
                    Err(error) => panic!("{at} {seed}: {error:?}"),
                }
            }
        }
    }
}

#[test]
fn a_vault_on_a_real_disk_is_read_back_by_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let node: NodeId = "node-a".parse().unwrap();
    let kek = Arc::new(LocalKek::generate(&mut rng()));
    let key = name("demo");
    let secret = Zeroizing::new(vec![5; 100]);
    {
        let disk = Arc::new(RealDisk::open(directory.path()).unwrap());
        Vault::create(&disk, &node, &*kek, &mut rng()).unwrap();
        let (vault, _) = Vault::open(disk, node.clone(), kek.clone()).unwrap();
        let record = NewRecord {
            key: &key,
            epoch: Epoch(1),
            public: b"p",
            secret: &secret,
        };
        let _ = vault.store(&record, &mut rng()).unwrap();
    }

    let disk = Arc::new(RealDisk::open(directory.path()).unwrap());
    let (vault, _) = Vault::open(disk, node, kek).unwrap();

    assert_eq!(vault.load(&key, Epoch(1)).unwrap().secret, secret);
}

struct Rig {
    disk: MemoryDisk,
    node: NodeId,
    kek: Arc<LocalKek>,
}

impl Rig {
    fn new() -> Self {
        Self::named("node-a")
    }

    fn named(node: &str) -> Self {
        let disk = MemoryDisk::new();
        let node: NodeId = node.parse().unwrap();
        let kek = Arc::new(LocalKek::generate(&mut rng()));
        Vault::create(&disk, &node, &*kek, &mut rng()).unwrap();
        Self { disk, node, kek }
    }

    fn fork(&self) -> Self {
        Self {
            disk: self.disk.fork(),
            node: self.node.clone(),
            kek: Arc::clone(&self.kek),
        }
    }

    fn try_open(&self) -> Result<(Vault<MemoryDisk>, Option<u64>), VaultError> {
        Vault::open(self.disk.clone(), self.node.clone(), self.kek.clone())
    }

    fn open(&self) -> Vault<MemoryDisk> {
        self.try_open().unwrap().0
    }

    fn store(vault: &Vault<MemoryDisk>, key: &str, epoch: u32) -> Result<Stored, VaultError> {
        let secret = Zeroizing::new(format!("secret {key} {epoch}").into_bytes());
        let public = format!("public {key} {epoch}");
        let key = name(key);
        let record = NewRecord {
            key: &key,
            epoch: Epoch(epoch),
            public: public.as_bytes(),
            secret: &secret,
        };
        vault.store(&record, &mut rng())
    }
}

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([1; 32])
}
