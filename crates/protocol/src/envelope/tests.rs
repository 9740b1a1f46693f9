use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::*;

fn slot() -> Slot {
    Slot {
        session: Digest::new([1; 32]),
        protocol: ProtocolId::Dkg,
        round: 5,
        sender: PartyIndex::new(1).unwrap(),
        recipient: PartyIndex::new(2),
        previous: Digest::new([2; 32]),
    }
}

/// Every way in which a place differs from [`slot`] in one field; the protocol has one value.
fn other_slots() -> Vec<Slot> {
    vec![
        Slot {
            session: Digest::new([9; 32]),
            ..slot()
        },
        Slot { round: 4, ..slot() },
        Slot {
            sender: PartyIndex::new(3).unwrap(),
            ..slot()
        },
        Slot {
            recipient: PartyIndex::new(3),
            ..slot()
        },
        Slot {
            recipient: None,
            ..slot()
        },
        Slot {
            previous: Digest::new([9; 32]),
            ..slot()
        },
    ]
}

fn identity(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&[byte; 32])
}

#[test]
fn an_envelope_survives_the_wire_and_its_signature_holds() {
    let envelope = Envelope::sign(slot(), b"body".to_vec(), &identity(1));

    let bytes = envelope.to_bytes().unwrap();
    let read = Envelope::from_bytes(&bytes).unwrap();

    assert_eq!(read, envelope);
    assert!(read.verify(&identity(1).verifying_key()).is_ok());
    assert!(
        read.signed_header()
            .verify(&identity(1).verifying_key())
            .is_ok()
    );
    assert!(read.verify(&identity(2).verifying_key()).is_err());
}

#[test]
fn changing_any_field_breaks_the_signature() {
    let key = identity(1);
    let envelope = Envelope::sign(slot(), b"body".to_vec(), &key);

    for other in other_slots() {
        let mut changed = envelope.clone();
        changed.header = Header {
            body_hash: envelope.header.body_hash,
            ..Header::of(other, b"")
        };
        assert!(changed.verify(&key.verifying_key()).is_err(), "{other:?}");
        assert!(
            changed
                .signed_header()
                .verify(&key.verifying_key())
                .is_err(),
            "{other:?}"
        );
    }
    let mut changed = envelope.clone();
    changed.body = b"yaddy".to_vec();
    assert!(changed.verify(&key.verifying_key()).is_err());
    let mut changed = envelope;
    changed.header.body_hash = Digest::ZERO;
    assert!(
        changed
            .signed_header()
            .verify(&key.verifying_key())
            .is_err()
    );
}

#[test]
fn another_body_under_an_honest_header_is_refused() {
    let key = identity(1);
    let mut envelope = Envelope::sign(slot(), b"body".to_vec(), &key);

    envelope.body = b"evil".to_vec();

    assert!(
        envelope
            .signed_header()
            .verify(&key.verifying_key())
            .is_ok()
    );
    assert!(envelope.verify(&key.verifying_key()).is_err());
}

#[test]
fn skimming_reads_the_statement_whole_or_not_at_all() {
    let envelope = Envelope::sign(slot(), vec![7; 300], &identity(1));
    let bytes = envelope.to_bytes().unwrap();

    assert_eq!(Envelope::skim(&bytes), Ok(envelope.signed_header()));
    for length in 0..bytes.len() {
        assert!(Envelope::skim(&bytes[..length]).is_err(), "{length}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Envelope::skim(&longer), Err(WireError::Trailing(1)));
}

#[test]
fn an_oversized_envelope_is_not_read() {
    let mut bytes = Envelope::sign(slot(), vec![0; MAX_ENVELOPE_BYTES], &identity(1))
        .to_bytes()
        .unwrap();

    assert_eq!(Envelope::from_bytes(&bytes), Err(WireError::Malformed));
    bytes.truncate(40);
    assert_eq!(Envelope::from_bytes(&bytes), Err(WireError::Malformed));
}

#[test]
fn a_sealed_body_opens_with_its_key_in_its_place_only() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let key = SessionSecretKey::generate(&mut rng);
    let sealed = seal(&key.public(), &slot(), b"secret", &mut rng).unwrap();

    assert_eq!(open(&key, &slot(), &sealed).unwrap().as_slice(), b"secret");
    for other in other_slots() {
        assert_eq!(
            open(&key, &other, &sealed).unwrap_err(),
            OpenError,
            "{other:?}"
        );
    }
    let stranger = SessionSecretKey::generate(&mut rng);
    assert_eq!(open(&stranger, &slot(), &sealed).unwrap_err(), OpenError);
}

#[test]
fn a_changed_ciphertext_does_not_open() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let key = SessionSecretKey::generate(&mut rng);
    let sealed = seal(&key.public(), &slot(), b"secret", &mut rng).unwrap();

    for at in 0..sealed.ciphertext.len() {
        let mut changed = sealed.clone();
        changed.ciphertext[at] ^= 1;
        assert_eq!(open(&key, &slot(), &changed).unwrap_err(), OpenError);
    }
    let mut changed = sealed;
    changed.encapsulated[0] ^= 1;
    assert_eq!(open(&key, &slot(), &changed).unwrap_err(), OpenError);
}

#[test]
fn points_of_small_order_are_no_session_keys() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut one = [0; 32];
    one[0] = 1;

    for bytes in [[0; 32], one] {
        assert!(!is_session_key(&bytes));
        assert_eq!(seal(&bytes, &slot(), b"secret", &mut rng), Err(SealError));
    }
    assert!(is_session_key(
        &SessionSecretKey::generate(&mut rng).public()
    ));
}

#[test]
fn a_revealed_key_is_the_same_key() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let key = SessionSecretKey::generate(&mut rng);
    let public = key.public();

    assert_eq!(
        SessionSecretKey::from_revealed(key.reveal()).public(),
        public
    );
}

#[test]
fn debug_output_of_a_session_key_shows_nothing() {
    let key = SessionSecretKey::from_revealed([0xab; 32]);

    assert_eq!(format!("{key:?}"), "SessionSecretKey(<redacted>)");
}

#[test]
fn a_sequence_opens_in_its_order_and_each_body_in_its_place() {
    let mut rng = ChaCha20Rng::from_seed([4; 32]);
    let key = SessionSecretKey::generate(&mut rng);
    let (mut sealer, encapsulated) = Sealer::new(&key.public(), &mut rng).unwrap();
    let first = sealer.seal(&slot(), b"one").unwrap();
    let second = sealer.seal(&slot(), b"two").unwrap();
    let opener = || Opener::new(&key, &encapsulated).unwrap();

    let mut in_order = opener();
    assert_eq!(in_order.open(&slot(), &first).unwrap().as_slice(), b"one");
    assert_eq!(in_order.open(&slot(), &first), Err(OpenError));
    assert_eq!(in_order.open(&slot(), &second).unwrap().as_slice(), b"two");
    assert_eq!(opener().open(&slot(), &second), Err(OpenError));
    for other in other_slots() {
        assert_eq!(opener().open(&other, &first), Err(OpenError));
    }
}

#[test]
fn a_body_sealed_by_itself_is_none_of_a_sequence() {
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let key = SessionSecretKey::generate(&mut rng);
    let single = seal(&key.public(), &slot(), b"one", &mut rng).unwrap();

    let mut opener = Opener::new(&key, &single.encapsulated).unwrap();

    assert_eq!(opener.open(&slot(), &single.ciphertext), Err(OpenError));
    let shown = format!(
        "{opener:?} {:?}",
        Sealer::new(&key.public(), &mut rng).unwrap().0
    );
    assert_eq!(shown, "Opener(<redacted>) Sealer(<redacted>)");
}
