use ed25519_dalek::SigningKey;
use quorate_model::NodeId;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use zeroize::Zeroizing;

use super::*;
use crate::disk::{Disk as _, MemoryDisk};

#[test]
fn sealed_bytes_open_only_as_what_they_were_sealed_as() {
    let key = SealKey::generate(&mut rng());
    let [node, other] = nodes();
    let [name, other_name]: [KeyName; 2] = ["demo".parse().unwrap(), "demo2".parse().unwrap()];
    let base = Associated {
        kind: SealedKind::VaultRecord,
        node: &node,
        share: Some((&name, Epoch(1))),
        public: b"public",
    };
    let sealed = key.seal(b"secret", base, &mut rng()).unwrap();

    assert_eq!(*key.open(&sealed, base).unwrap(), b"secret");
    for wrong in [
        Associated {
            kind: SealedKind::DataKey,
            ..base
        },
        Associated {
            node: &other,
            ..base
        },
        Associated {
            share: Some((&other_name, Epoch(1))),
            ..base
        },
        Associated {
            share: Some((&name, Epoch(2))),
            ..base
        },
        Associated {
            share: None,
            ..base
        },
        Associated {
            public: b"publik",
            ..base
        },
    ] {
        assert_eq!(key.open(&sealed, wrong).unwrap_err(), BadSeal, "{wrong:?}");
    }
    assert!(
        SealKey::generate(&mut ChaCha20Rng::from_seed([2; 32]))
            .open(&sealed, base)
            .is_err()
    );
}

#[test]
fn every_flipped_bit_and_every_cut_of_sealed_bytes_is_found() {
    let key = SealKey::generate(&mut rng());
    let [node, _] = nodes();
    let associated = Associated {
        kind: SealedKind::TableKey,
        node: &node,
        share: None,
        public: &[],
    };
    let sealed = key.seal(b"secret", associated, &mut rng()).unwrap();
    assert_eq!(sealed.len(), 6 + SEAL_OVERHEAD);

    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut tampered = sealed.clone();
            tampered[at] ^= 1 << bit;
            assert!(key.open(&tampered, associated).is_err());
        }
        assert!(key.open(&sealed[..at], associated).is_err());
    }
}

#[test]
fn a_passphrase_opens_what_it_sealed_and_another_is_told_to_be_wrong() {
    let disk = MemoryDisk::new();
    let [node, _] = nodes();
    let made = create_kek(&disk, &node, &passphrase("correct"), &mut rng()).unwrap();
    let associated = Associated {
        kind: SealedKind::TableKey,
        node: &node,
        share: None,
        public: &[],
    };
    let wrapped = made.wrap(b"x", associated, &mut rng()).unwrap();

    let opened = open_kek(&disk, &node, &passphrase("correct")).unwrap();
    let wrong = open_kek(&disk, &node, &passphrase("Correct")).unwrap_err();

    assert_eq!(*opened.unwrap(&wrapped, associated).unwrap(), b"x");
    assert!(matches!(wrong, KekError::WrongPassphrase));
    assert_eq!(wrong.to_string(), "the passphrase is wrong");
}

#[test]
fn a_key_file_opens_what_it_sealed_and_another_is_told_to_be_wrong() {
    let disk = MemoryDisk::new();
    let [node, _] = nodes();
    create_kek(&disk, &node, &key_file(1), &mut rng()).unwrap();

    assert!(open_kek(&disk, &node, &key_file(1)).is_ok());
    assert!(matches!(
        open_kek(&disk, &node, &key_file(2)).unwrap_err(),
        KekError::WrongKeyFile
    ));
    assert!(matches!(
        open_kek(&disk, &node, &passphrase("x")).unwrap_err(),
        KekError::NeedsKeyFile
    ));
}

#[test]
fn a_key_file_where_a_passphrase_is_needed_is_told() {
    let disk = MemoryDisk::new();
    let [node, _] = nodes();
    create_kek(&disk, &node, &passphrase("x"), &mut rng()).unwrap();

    assert!(matches!(
        open_kek(&disk, &node, &key_file(1)).unwrap_err(),
        KekError::NeedsPassphrase
    ));
}

#[test]
fn a_damaged_file_is_told_from_a_wrong_passphrase_at_every_bit() {
    let disk = MemoryDisk::new();
    let [node, _] = nodes();
    create_kek(&disk, &node, &passphrase("x"), &mut rng()).unwrap();
    let length = usize::try_from(disk.length("sealing").unwrap()).unwrap();

    for at in 0..length {
        let damaged = disk.fork();
        damaged.flip("sealing", at, 0x10).unwrap();

        assert!(matches!(
            open_kek(&damaged, &node, &passphrase("x")).unwrap_err(),
            KekError::Damaged
        ));
    }
}

#[test]
fn the_directory_of_another_node_or_of_none_is_told() {
    let disk = MemoryDisk::new();
    let [node, other] = nodes();
    assert!(matches!(
        open_kek(&disk, &node, &passphrase("x")).unwrap_err(),
        KekError::Missing
    ));
    create_kek(&disk, &node, &passphrase("x"), &mut rng()).unwrap();

    assert_eq!(node_of(&disk).unwrap(), node);
    assert!(matches!(
        open_kek(&disk, &other, &passphrase("x")).unwrap_err(),
        KekError::WrongNode { .. }
    ));
    assert!(matches!(
        create_kek(&disk, &node, &passphrase("x"), &mut rng()).unwrap_err(),
        KekError::Exists
    ));
}

#[test]
fn costs_outside_of_what_is_secure_and_possible_are_refused() {
    assert!(ArgonCost::new(19 * 1024, 2, 1).is_ok());
    for (memory, passes, lanes) in [
        (19 * 1024 - 1, 2, 1),
        (19 * 1024, 1, 1),
        (19 * 1024, 2, 0),
        (4 * 1024 * 1024 + 1, 2, 1),
        (19 * 1024, 65, 1),
        (19 * 1024, 2, 17),
    ] {
        assert!(matches!(
            ArgonCost::new(memory, passes, lanes).unwrap_err(),
            KekError::Cost { .. }
        ));
    }
}

#[test]
fn a_node_that_was_made_at_no_cost_is_not_opened_as_a_real_one() {
    let disk = MemoryDisk::new();
    let [node, _] = nodes();
    create_kek(&disk, &node, &passphrase("x"), &mut rng()).unwrap();

    let real = KekSource::passphrase(Passphrase::new("x"));

    assert!(matches!(
        open_kek(&disk, &node, &real).unwrap_err(),
        KekError::Cost { .. }
    ));
}

#[test]
fn the_least_secure_cost_works_and_the_cost_of_the_file_is_what_counts() {
    let disk = MemoryDisk::new();
    let [node, _] = nodes();
    let least = ArgonCost::new(19 * 1024, 2, 1).unwrap();
    let made = KekSource::passphrase_with_cost(Passphrase::new("x"), least);
    create_kek(&disk, &node, &made, &mut rng()).unwrap();

    let real = KekSource::passphrase(Passphrase::new("x"));

    assert!(open_kek(&disk, &node, &real).is_ok());
}

#[test]
fn an_empty_passphrase_is_refused() {
    let [node, _] = nodes();

    let error = create_kek(&MemoryDisk::new(), &node, &passphrase(""), &mut rng()).unwrap_err();

    assert!(matches!(error, KekError::EmptyPassphrase));
}

#[test]
fn key_files_are_hex_or_base64_and_nothing_else() {
    let hex = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let base64 = "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=";
    let expected = hex::decode(hex).unwrap();

    for text in [
        hex.to_owned(),
        format!("{hex}\n"),
        hex.to_uppercase(),
        format!(" {base64}\r\n"),
    ] {
        let key = KeyFile::parse(text.as_bytes()).unwrap();
        assert_eq!(key.0.expose().as_slice(), expected);
    }
    for text in [
        "",
        &hex[2..],
        &base64[4..],
        "zz",
        &format!("{hex}00"),
        &hex.repeat(2),
    ] {
        let error = KeyFile::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, KeyFileError::Malformed), "{text}");
    }
    assert!(matches!(
        KeyFile::parse("00".repeat(32).as_bytes()).unwrap_err(),
        KeyFileError::Degenerate
    ));
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    std::fs::write(&path, "0123456789abcdef".repeat(4)).unwrap();
    let set = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };

    for mode in [0o640, 0o604, 0o620] {
        set(mode);
        let error = KeyFile::read(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Exposed { .. }));
        assert!(error.to_string().contains("chmod 600"));
    }
    set(0o600);
    assert!(KeyFile::read(&path).is_ok());
    assert!(matches!(
        KeyFile::read(&directory.path().join("none")).unwrap_err(),
        KeyFileError::Read { .. }
    ));
}

#[test]
fn an_identity_is_read_back_as_it_was_made() {
    let (disk, kek, made) = identity();

    let read = NodeIdentity::open(&disk, &made.node, &kek).unwrap();

    assert_eq!(read.public(), made.public());
    assert_eq!(read.hedge.expose(), made.hedge.expose());
    assert_eq!(read.tls_key.expose(), b"private der");
    assert_eq!(read.tls_certificate, b"certificate");
    assert_eq!(read.node, made.node);
    assert_ne!(read.hedge.expose(), &read.identity.to_bytes());
}

#[test]
fn a_tampered_identity_or_one_of_another_node_or_kek_is_refused() {
    let (disk, kek, made) = identity();
    let [_, other] = nodes();
    let length = usize::try_from(disk.length("identity").unwrap()).unwrap();

    for at in 0..length {
        let damaged = disk.fork();
        damaged.flip("identity", at, 1).unwrap();
        assert!(matches!(
            NodeIdentity::open(&damaged, &made.node, &kek).unwrap_err(),
            IdentityFileError::Tampered
        ));
    }
    assert!(matches!(
        NodeIdentity::open(&disk, &other, &kek).unwrap_err(),
        IdentityFileError::Tampered
    ));
    let other_kek = LocalKek::generate(&mut ChaCha20Rng::from_seed([9; 32]));
    assert!(matches!(
        NodeIdentity::open(&disk, &made.node, &other_kek).unwrap_err(),
        IdentityFileError::Tampered
    ));
    assert!(matches!(
        NodeIdentity::open(&MemoryDisk::new(), &made.node, &kek).unwrap_err(),
        IdentityFileError::Missing
    ));
    assert!(matches!(
        made.create(&disk, &kek, &mut rng()).unwrap_err(),
        IdentityFileError::Exists
    ));
}

#[test]
fn no_secret_shows_in_debug_output() {
    let (_, kek, made) = identity();
    let shown = [
        format!("{:?}", SealKey::from_slice(&[0xab; 32]).unwrap()),
        format!("{kek:?}"),
        format!("{:?}", passphrase("hunter2")),
        format!("{:?}", Passphrase::new("hunter2")),
        format!("{:?}", key_file(0xab)),
        format!("{:?}", HedgeSecret::new(&[0xab; 32])),
        format!("{:?}", TlsKey::new(Zeroizing::new(vec![0xab; 4]))),
        format!("{made:?}"),
    ];

    for text in shown {
        for secret in ["hunter2", "171", "0xab", "abab", "private der", "112, 114"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([1; 32])
}

fn nodes() -> [NodeId; 2] {
    ["node-a".parse().unwrap(), "node-b".parse().unwrap()]
}

fn passphrase(text: &str) -> KekSource {
    KekSource::insecure_passphrase(Passphrase::new(text))
}

fn key_file(seed: u8) -> KekSource {
    let text = format!("{seed:02x}{}", "ab".repeat(31));
    // A key of one value repeated is refused.
    let text = if seed == 0xab {
        "cdab".repeat(16)
    } else {
        text
    };
    KekSource::key_file(KeyFile::parse(text.as_bytes()).unwrap())
}

fn identity() -> (MemoryDisk, LocalKek, NodeIdentity) {
    let disk = MemoryDisk::new();
    let mut rng = rng();
    let kek = LocalKek::generate(&mut rng);
    let tls_key = TlsKey::new(Zeroizing::new(b"private der".to_vec()));
    let [node, _] = nodes();
    let made = NodeIdentity::generate(node, tls_key, b"certificate".to_vec(), &mut rng);
    made.create(&disk, &kek, &mut rng).unwrap();
    assert!(SigningKey::from_bytes(&made.identity.to_bytes()) == made.identity);
    (disk, kek, made)
}
