use ed25519_dalek::SigningKey;
use uuid::Uuid;

use super::*;
use crate::identity::{IdentityKey, sign_digest};

#[test]
fn a_whole_chain_verifies_and_says_what_its_signatures_cover() {
    let chain = chain_of(&entries());

    let summary = verify_chain(&chain, &identity()).unwrap();

    assert_eq!(summary.records, entries().len() as u64);
    assert_eq!(summary.head.sequence, summary.records);
    assert_eq!(summary.head.hash, record_hash(chain.last().unwrap()));
    assert_eq!(summary.checkpoints, 1);
    assert_eq!(summary.last_checkpoint, Some(11));
}

#[test]
fn every_kind_of_entry_survives_encoding_and_keeps_its_number() {
    for (number, entry) in entries().into_iter().take(11).enumerate() {
        let record = Record {
            sequence: 1,
            previous: Digest::ZERO,
            time: UnixMillis(5),
            boot: [0; 16],
            entry,
        };
        let bytes = record.to_bytes().unwrap();

        assert_eq!(Record::from_bytes(&bytes).unwrap(), record);
        // Version, sequence, previous, time, boot, then the number of the variant.
        assert_eq!(
            usize::from(bytes[1 + 1 + 32 + 1 + 16]),
            number,
            "{}",
            record.entry.kind()
        );
    }
}

#[test]
fn the_bytes_and_hashes_of_this_format_stay_as_they_are() {
    let chain = chain_of(&entries());

    let digest = Tagged::new(Tag::Audit)
        .list(&chain, |tagged, bytes| tagged.bytes(bytes))
        .finish();

    assert_eq!(
        hex::encode(&chain[0]),
        "01010000000000000000000000000000000000000000000000000000000000000\
         00064030303030303030303030303030303030005302e312e30066e6f64652d61"
    );
    assert_eq!(
        record_hash(&chain[0]).to_string(),
        "66bf127bc23b087fceaa84e84a0c52ed40c5ff8eb303653c7b5afbc32e8eb464"
    );
    assert_eq!(
        digest.to_string(),
        "4a9588bd9912d30d8af9c487038e1ee79687d40c88eae970c7a7cabb54b02b23"
    );
}

#[test]
fn a_flipped_bit_anywhere_is_found_at_or_before_the_next_record() {
    let chain = chain_of(&entries());
    for (at, bytes) in chain.iter().enumerate() {
        for byte in 0..bytes.len() {
            let mut tampered = chain.clone();
            tampered[at][byte] ^= 1;

            // The last record has no successor: its hash is what tells.
            let found = match verify_chain(&tampered, &identity()) {
                Err(error) => error.sequence <= at as u64 + 2,
                Ok(summary) => at + 1 == chain.len() && summary.head.hash != record_hash(bytes),
            };
            assert!(found, "record {} byte {byte}", at + 1);
        }
    }
}

#[test]
fn a_missing_a_repeated_and_a_swapped_record_are_named() {
    let chain = chain_of(&entries());
    let mut missing = chain.clone();
    missing.remove(3);
    let mut repeated = chain.clone();
    repeated.insert(3, chain[2].clone());
    let mut swapped = chain;
    swapped.swap(3, 4);

    check(&missing, 4, &ChainFault::Sequence { found: 5 });
    check(&repeated, 4, &ChainFault::Sequence { found: 3 });
    check(&swapped, 4, &ChainFault::Sequence { found: 5 });
}

#[test]
fn a_record_that_follows_another_is_named() {
    let mut chain = chain_of(&entries());
    let mut record = Record::from_bytes(&chain[4]).unwrap();
    record.previous = Digest::new([9; 32]);
    chain[4] = record.to_bytes().unwrap();

    check(&chain, 5, &ChainFault::Previous);
}

#[test]
fn time_that_goes_back_is_named() {
    let mut writer = Writer::new();
    writer.push(UnixMillis(50), boot_entry());
    writer.push(UnixMillis(49), boot_entry());

    check(
        &writer.chain,
        2,
        &ChainFault::Time {
            found: 49,
            earlier: 50,
        },
    );
}

#[test]
fn a_checkpoint_by_another_key_is_named_in_both_modes() {
    let mut writer = Writer::new();
    writer.push(UnixMillis(1), boot_entry());
    writer.checkpoint(UnixMillis(2), 1, &SigningKey::from_bytes(&[8; 32]));
    writer.push(UnixMillis(3), boot_entry());

    check(&writer.chain, 2, &ChainFault::Signature);

    let mut quick = ChainVerifier::new(&identity(), ChainPosition::START)
        .unwrap()
        .newest_signature_only();
    for bytes in &writer.chain {
        quick.push(bytes).unwrap();
    }
    assert_eq!(
        quick.finish().unwrap_err(),
        ChainError {
            sequence: 2,
            fault: ChainFault::Signature
        }
    );
}

#[test]
fn a_checkpoint_moved_to_another_place_is_named() {
    let key = signer();
    let mut writer = Writer::new();
    writer.push(UnixMillis(1), boot_entry());
    writer.checkpoint(UnixMillis(2), 1, &key);
    let Entry::Checkpoint(checkpoint) = Record::from_bytes(&writer.chain[1]).unwrap().entry else {
        panic!("not a checkpoint");
    };
    writer.push(UnixMillis(2), Entry::Checkpoint(checkpoint));

    check(&writer.chain, 3, &ChainFault::Signature);
}

#[test]
fn a_checkpoint_of_an_index_ahead_of_the_chain_is_named() {
    let mut writer = Writer::new();
    writer.push(UnixMillis(1), boot_entry());
    writer.checkpoint(UnixMillis(2), 2, &signer());

    check(
        &writer.chain,
        2,
        &ChainFault::IndexAhead { index_sequence: 2 },
    );
}

#[test]
fn garbage_an_unknown_version_and_a_giant_are_named() {
    check(&[vec![]], 1, &ChainFault::Undecodable(WireError::Empty));
    check(
        &[vec![9, 1]],
        1,
        &ChainFault::Undecodable(WireError::UnknownVersion(9)),
    );
    check(
        &[vec![1; MAX_RECORD_BYTES + 1]],
        1,
        &ChainFault::TooLarge(MAX_RECORD_BYTES + 1),
    );
}

#[test]
fn verification_goes_on_from_a_known_position_only() {
    let chain = chain_of(&entries());
    let mut first = ChainVerifier::new(&identity(), ChainPosition::START).unwrap();
    for bytes in &chain[..6] {
        first.push(bytes).unwrap();
    }

    let mut second = ChainVerifier::new(&identity(), first.head()).unwrap();
    for bytes in &chain[6..] {
        second.push(bytes).unwrap();
    }
    let mut lost = ChainVerifier::new(&identity(), ChainPosition::START).unwrap();

    assert_eq!(second.finish().unwrap().head.sequence, chain.len() as u64);
    assert_eq!(
        lost.push(&chain[6]).unwrap_err().fault,
        ChainFault::Sequence { found: 7 }
    );
}

#[test]
fn a_weak_identity_key_verifies_no_chain() {
    assert!(verify_chain(chain_of(&entries()), &IdentityKey([0; 32])).is_err());
}

fn check(chain: &[Vec<u8>], sequence: u64, fault: &ChainFault) {
    let error = verify_chain(chain, &identity()).unwrap_err();

    assert_eq!((error.sequence, &error.fault), (sequence, fault));
}

fn signer() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn identity() -> IdentityKey {
    IdentityKey::of(&signer())
}

fn boot_entry() -> Entry {
    Entry::Boot {
        version: "0.1.0".to_owned(),
        node: "node-a".parse().unwrap(),
    }
}

struct Writer {
    chain: Vec<Vec<u8>>,
    head: ChainPosition,
}

impl Writer {
    fn new() -> Self {
        Self {
            chain: Vec::new(),
            head: ChainPosition::START,
        }
    }

    fn push(&mut self, time: UnixMillis, entry: Entry) {
        let record = Record {
            sequence: self.head.next_sequence(),
            previous: self.head.hash,
            time,
            boot: [3; 16],
            entry,
        };
        let bytes = record.to_bytes().unwrap();
        self.head = ChainPosition {
            sequence: record.sequence,
            hash: record_hash(&bytes),
            time,
        };
        self.chain.push(bytes);
    }

    fn checkpoint(&mut self, time: UnixMillis, index_sequence: u64, key: &SigningKey) {
        let index_digest = Digest::new([4; 32]);
        let digest = checkpoint_digest(
            self.head.next_sequence(),
            &self.head.hash,
            time,
            &[3; 16],
            index_sequence,
            &index_digest,
        );
        let signature = sign_digest(key, &digest);
        self.push(
            time,
            Entry::Checkpoint(Checkpoint {
                index_sequence,
                index_digest,
                signature,
            }),
        );
    }
}

fn chain_of(entries: &[Entry]) -> Vec<Vec<u8>> {
    let mut writer = Writer::new();
    for (at, entry) in entries.iter().enumerate() {
        let time = UnixMillis(100).plus(at as u64 / 2);
        if let Entry::Checkpoint(_) = entry {
            writer.checkpoint(time, 5, &signer());
        } else {
            writer.push(time, entry.clone());
        }
    }
    writer.chain
}

/// Every kind in the order of the encoding, then one more.
fn entries() -> Vec<Entry> {
    let key: KeyName = "demo".parse().unwrap();
    let node: NodeId = "node-b".parse().unwrap();
    let judgment = Judgment {
        command: Digest::new([1; 32]),
        command_id: CommandId(Uuid::from_bytes([2; 16])),
        endorsements: Digest::new([3; 32]),
        policy: Digest::ZERO,
        rule: "role:client".to_owned(),
    };
    vec![
        boot_entry(),
        Entry::RosterPinned {
            roster: vec![1, 2, 3],
        },
        Entry::Refused(Refused {
            command: Some(Digest::new([1; 32])),
            command_id: None,
            endorsements: None,
            policy: Digest::ZERO,
            key: Some(key.clone()),
            epoch: None,
            reason: "KEY_UNKNOWN".to_owned(),
            detail: "no key has the name demo".to_owned(),
        }),
        Entry::KeyPrepared(KeyPrepared {
            judgment: judgment.clone(),
            key: key.clone(),
            epoch: Epoch(1),
            session: Digest::new([5; 32]),
            statement: Digest::new([6; 32]),
        }),
        Entry::KeyCertified {
            key: key.clone(),
            epoch: Epoch(1),
            certificate: vec![7; 40],
        },
        Entry::ShareReleased(ShareReleased {
            judgment,
            expires: UnixMillis(9),
            key: key.clone(),
            epoch: Epoch(1),
            purpose: SharePurpose::Sign,
            items: vec![ItemRecord {
                message: message_hash(b"m"),
                signing_set: Digest::new([8; 32]),
            }],
        }),
        Entry::KeyActivated {
            key,
            epoch: Epoch(1),
            proof: vec![1],
        },
        Entry::PeerBlamed {
            node: node.clone(),
            evidence: vec![2],
        },
        Entry::ClockConfirmed {
            time: UnixMillis(4),
            witnesses: vec![node],
        },
        Entry::ClockSuspect {
            expected: UnixMillis(4),
            observed: UnixMillis(5),
        },
        Entry::Checkpoint(Checkpoint {
            index_sequence: 0,
            index_digest: Digest::ZERO,
            signature: Signature([0; 64]),
        }),
        boot_entry(),
    ]
}
