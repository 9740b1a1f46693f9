use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::*;
use crate::{
    disk::{Fault, MemoryDisk, Survival},
    sealing::LocalKek,
};

#[test]
fn data_keys_are_there_after_a_crash() {
    let rig = Rig::new();
    let keyring = rig.open();
    let keys = keyring.add(&shares(3), &mut rng()).unwrap();
    rig.disk.crash(Survival::Nothing);

    let keyring = rig.open();

    assert_eq!(keyring.len(), 3);
    for (share, key) in shares(3).iter().zip(keys) {
        assert_eq!(
            keyring.data_key(share).unwrap().unwrap().expose(),
            key.expose()
        );
    }
    assert!(keyring.data_key(&share(9)).unwrap().is_none());
}

#[test]
fn a_batch_costs_one_write_and_one_fsync() {
    let rig = Rig::new();
    let keyring = rig.open();
    let before = rig.disk.operations();

    keyring.add(&shares(1000), &mut rng()).unwrap();

    assert_eq!(rig.disk.operations() - before, 2);
}

#[test]
fn an_erased_key_is_gone_from_the_file_and_the_others_stay() {
    let rig = Rig::new();
    let keyring = rig.open();
    let keys = keyring.add(&shares(3), &mut rng()).unwrap();
    let old_file = rig.disk.read(PATH, 0, 1 << 20).unwrap();
    let old_row = keyring.state().wrapped.get(&share(1)).unwrap().clone();

    keyring
        .erase(&BTreeSet::from([share(1), share(7)]), &mut rng())
        .unwrap();
    rig.disk.crash(Survival::Nothing);

    let file = rig.disk.read(PATH, 0, 1 << 20).unwrap();
    assert!(contains(&old_file, &old_row));
    assert!(!contains(&file, &old_row));
    let keyring = rig.open();
    assert!(!keyring.contains(&share(1)));
    for at in [0, 2] {
        let key = keyring.data_key(&share(at)).unwrap().unwrap();
        assert_eq!(key.expose(), keys[usize::try_from(at).unwrap()].expose());
    }
}

#[test]
fn rows_of_an_old_file_do_not_open_after_an_erasure() {
    let rig = Rig::new();
    let keyring = rig.open();
    keyring.add(&shares(2), &mut rng()).unwrap();
    let old_file = rig.disk.read(PATH, 0, 1 << 20).unwrap();
    let mut reader = FrameReader::open(&rig.disk, PATH, 0, MAX_FRAME, hash_of).unwrap();
    reader.next().unwrap();
    let first_row = usize::try_from(reader.position()).unwrap();
    let mut other_rng = ChaCha20Rng::from_seed([2; 32]);
    keyring
        .erase(&BTreeSet::from([share(1)]), &mut other_rng)
        .unwrap();
    rig.disk.append(PATH, &old_file[first_row..]).unwrap();

    let keyring = rig.open();

    assert!(matches!(
        keyring.data_key(&share(1)).unwrap_err(),
        KeyringError::TamperedKey { .. }
    ));
}

#[test]
fn an_unfinished_frame_is_cut_and_every_flipped_bit_is_refused() {
    let rig = Rig::new();
    rig.open().add(&shares(1), &mut rng()).unwrap();
    let kept = rig.disk.length(PATH).unwrap();
    rig.open().add(&[share(1)], &mut rng()).unwrap();
    let whole = rig.disk.length(PATH).unwrap();

    for cut in kept + 1..whole {
        let rig = rig.fork();
        rig.disk.truncate(PATH, cut).unwrap();
        let (keyring, torn) = rig.try_open().unwrap();
        assert_eq!((keyring.len(), torn), (1, Some(cut - kept)));
        assert_eq!(rig.disk.length(PATH).unwrap(), kept);
    }
    for at in 0..usize::try_from(whole).unwrap() {
        for bit in 0..8 {
            let rig = rig.fork();
            rig.disk.flip(PATH, at, 1 << bit).unwrap();
            let Err(error) = rig.try_open() else {
                panic!("byte {at} bit {bit}")
            };
            assert!(matches!(
                error,
                KeyringError::Damaged {
                    damage: Some(_),
                    ..
                }
            ));
            assert!(error.to_string().contains("put its newest copy back"));
        }
    }
}

#[test]
fn the_keyring_of_another_node_or_kek_is_refused() {
    let rig = Rig::new();
    let other_node = Keyring::open(rig.disk.clone(), "node-b".parse().unwrap(), rig.kek.clone());
    let other_kek = Arc::new(LocalKek::generate(&mut ChaCha20Rng::from_seed([9; 32])));
    let other_kek = Keyring::open(rig.disk.clone(), rig.node.clone(), other_kek);

    for result in [other_node, other_kek] {
        assert!(matches!(result.err().unwrap(), KeyringError::Tampered));
    }
}

#[test]
fn rows_moved_to_another_share_do_not_open() {
    let rig = Rig::new();
    let keyring = rig.open();
    keyring.add(&shares(2), &mut rng()).unwrap();
    let mut state = keyring.state();
    let row = state.wrapped.get(&share(0)).unwrap().clone();
    state.wrapped.insert(share(1), row);
    drop(state);

    assert!(keyring.data_key(&share(0)).is_ok());
    assert!(matches!(
        keyring.data_key(&share(1)).unwrap_err(),
        KeyringError::TamperedKey { .. }
    ));
}

#[test]
fn a_keyring_is_made_once_and_never_by_opening() {
    let rig = Rig::new();
    let create = |rig: &Rig| Keyring::create(&rig.disk, &rig.node, &*rig.kek, &mut rng());
    assert!(
        create(&rig).is_ok(),
        "an empty keyring is what an interrupted set-up leaves"
    );
    rig.open().add(&shares(1), &mut rng()).unwrap();

    let again = create(&rig).unwrap_err();
    let missing = Keyring::open(MemoryDisk::new(), rig.node.clone(), rig.kek.clone());

    assert!(matches!(again, KeyringError::Exists));
    assert!(matches!(missing.err().unwrap(), KeyringError::Missing));
}

#[test]
fn a_set_up_that_crashes_at_any_operation_can_be_repeated() {
    for at in 0..6 {
        for seed in 0..20 {
            let (disk, kek) = (MemoryDisk::new(), Arc::new(LocalKek::generate(&mut rng())));
            let node: NodeId = "node-a".parse().unwrap();
            disk.fail_at(at, Fault::Stop);
            let _ = Keyring::create(&disk, &node, &*kek, &mut rng());
            disk.crash(Survival::Torn(seed));

            Keyring::create(&disk, &node, &*kek, &mut rng()).unwrap();
            disk.crash(Survival::Nothing);

            assert!(Keyring::open(disk, node, kek).unwrap().0.is_empty());
        }
    }
}

#[test]
fn a_storage_error_poisons_the_keyring() {
    for operation in 0..2 {
        let rig = Rig::new();
        let keyring = rig.open();
        rig.disk
            .fail_at(rig.disk.operations() + operation, Fault::Error);

        assert!(matches!(
            keyring.add(&shares(1), &mut rng()).unwrap_err(),
            KeyringError::Disk(_)
        ));
        assert!(matches!(
            keyring.add(&shares(1), &mut rng()).unwrap_err(),
            KeyringError::Poisoned
        ));
        assert!(matches!(
            keyring.erase(&BTreeSet::new(), &mut rng()).unwrap_err(),
            KeyringError::Poisoned
        ));
    }
}

#[test]
fn a_crash_at_every_operation_keeps_what_was_acknowledged() {
    // The answer is how many steps were acknowledged.
    let run = |rig: &Rig| -> usize {
        let Ok((keyring, _)) = rig.try_open() else {
            return 0;
        };
        let steps: [&dyn Fn() -> bool; 4] = [
            &|| keyring.add(&shares(2), &mut rng()).is_ok(),
            &|| keyring.add(&[share(2)], &mut rng()).is_ok(),
            &|| {
                keyring
                    .erase(&BTreeSet::from([share(0)]), &mut rng())
                    .is_ok()
            },
            &|| keyring.add(&[share(3)], &mut rng()).is_ok(),
        ];
        steps.iter().take_while(|step| step()).count()
    };
    let whole = Rig::new();
    let before = whole.disk.operations();
    assert_eq!(run(&whole), 4);

    for at in before..whole.disk.operations() {
        for seed in 0..20 {
            let rig = Rig::new();
            rig.disk.fail_at(at, Fault::Stop);
            let done = run(&rig);
            rig.disk.crash(Survival::Torn(seed));

            let keyring = rig.open();

            let has = |number| keyring.data_key(&share(number)).unwrap().is_some();
            assert!(done < 1 || has(1), "{at} {seed}");
            assert!(done < 2 || has(2));
            assert!(done != 1 || has(0));
            assert!(done < 3 || !has(0));
            assert!(done < 4 || has(3));
        }
    }
}

struct Rig {
    disk: MemoryDisk,
    node: NodeId,
    kek: Arc<LocalKek>,
}

impl Rig {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        let node: NodeId = "node-a".parse().unwrap();
        let kek = Arc::new(LocalKek::generate(&mut rng()));
        Keyring::create(&disk, &node, &*kek, &mut rng()).unwrap();
        Self { disk, node, kek }
    }

    fn fork(&self) -> Self {
        Self {
            disk: self.disk.fork(),
            node: self.node.clone(),
            kek: Arc::clone(&self.kek),
        }
    }

    fn try_open(&self) -> Result<(Keyring<MemoryDisk>, Option<u64>), KeyringError> {
        Keyring::open(self.disk.clone(), self.node.clone(), self.kek.clone())
    }

    fn open(&self) -> Keyring<MemoryDisk> {
        self.try_open().unwrap().0
    }
}

fn share(number: u32) -> ShareId {
    ("demo".parse().unwrap(), Epoch(number))
}

fn shares(count: u32) -> Vec<ShareId> {
    (0..count).map(share).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([1; 32])
}
