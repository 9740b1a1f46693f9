//! Key creation up to a prepared share.

use quorate_model::{
    life::{KeyLife, Predecessor},
    node_api::CeremonyReply,
};
use quorate_protocol::envelope::Envelope;

use super::*;

#[test]
fn an_abandoned_attempt_makes_way_for_the_next_and_never_comes_back() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let first = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let kept_back = cluster.certificate(&command, &first);

    let taken = cluster.prepare(&command, Epoch(1), 2).unwrap_err();
    assert_eq!(taken.reason, Reason::EpochTaken);
    assert_eq!(taken.get("next_epoch"), Some("2"));
    let second = cluster.prepare(&command, Epoch(2), 3).unwrap();
    let certificate = cluster.certificate(&command, &second);
    let proof = cluster.prove(&certificate).unwrap();
    cluster.activate(0, &certificate, &proof).unwrap();

    assert_ne!(
        kept_back.statement.group_key,
        certificate.statement.group_key
    );
    assert_eq!(reason(cluster.prove(&kept_back)), Reason::KeyExists);
}

#[test]
fn a_name_is_taken_for_ever() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    let again = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);

    assert_eq!(
        reason(cluster.prepare(&again, Epoch(2), 9)),
        Reason::KeyExists
    );
}

/// The name of the attempt of [`begun`].
const ATTEMPT: [u8; 16] = [5; 16];

/// A cluster in which the creation of a key has begun: how it was asked for, and the hellos.
fn begun() -> (Cluster, NodeRequest, Vec<CeremonyReply>) {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let begin = NodeRequest::BeginCeremony {
        attempt: ATTEMPT,
        command,
        epoch: Epoch(1),
        source: None,
    };
    let hellos = (0..3)
        .map(|at| ceremony(cluster.ask(at, begin.clone()).unwrap()))
        .collect();
    (cluster, begin, hellos)
}

#[test]
fn a_repeated_round_gets_the_same_bytes_and_another_one_nothing() {
    let (mut cluster, begin, hellos) = begun();
    assert_eq!(ceremony(cluster.ask(0, begin).unwrap()), hellos[0]);

    let envelopes = inbox(&hellos, index(1));
    let advance = NodeRequest::AdvanceCeremony {
        attempt: ATTEMPT,
        round: 0,
        envelopes: envelopes.clone(),
    };
    let once = cluster.ask(0, advance.clone()).unwrap();
    let twice = cluster.ask(0, advance).unwrap();
    assert_eq!(once, twice);

    let later = NodeRequest::AdvanceCeremony {
        attempt: ATTEMPT,
        round: 3,
        envelopes,
    };
    assert_eq!(reason(cluster.ask(0, later)), Reason::RequestInvalid);
    let unknown = NodeRequest::AdvanceCeremony {
        attempt: [6; 16],
        round: 0,
        envelopes: vec![],
    };
    assert_eq!(reason(cluster.ask(0, unknown)), Reason::SessionUnknown);
}

/// Headers and signatures name a question, so what is asked with other bodies under them must never
/// become the answer.
#[test]
fn other_bodies_under_true_headers_move_nothing_and_learn_nothing() {
    let (mut cluster, _, hellos) = begun();
    let advance = |envelopes| NodeRequest::AdvanceCeremony {
        attempt: ATTEMPT,
        round: 0,
        envelopes,
    };
    let envelopes = inbox(&hellos, index(1));
    let garbled: Vec<_> = envelopes
        .iter()
        .map(|bytes| {
            let mut envelope = Envelope::from_bytes(bytes).unwrap();
            envelope.body.push(0);
            envelope.to_bytes().unwrap()
        })
        .collect();

    let early = cluster.ask(0, advance(garbled.clone()));
    assert_eq!(reason(early), Reason::ProtocolViolation);
    let answer = cluster.ask(0, advance(envelopes)).unwrap();
    assert_ne!(ceremony(answer.clone()).envelopes, Vec::<Vec<u8>>::new());
    assert_eq!(cluster.ask(0, advance(garbled)), Ok(answer));
}

#[test]
fn an_idle_ceremony_is_dropped() {
    let (mut cluster, _, hellos) = begun();

    cluster.monotonic_ms += 60_001;

    let envelopes = inbox(&hellos, index(1));
    let advance = NodeRequest::AdvanceCeremony {
        attempt: ATTEMPT,
        round: 0,
        envelopes,
    };
    assert_eq!(reason(cluster.ask(0, advance)), Reason::SessionUnknown);
}

#[test]
fn a_share_that_a_crash_left_behind_is_passed_over() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let (key, secret) = (
        "notes".parse().unwrap(),
        zeroize::Zeroizing::new(vec![1; 32]),
    );
    for epoch in [Epoch(1), Epoch(5)] {
        let record = crate::vault::NewRecord {
            key: &key,
            epoch,
            public: b"",
            secret: &secret,
        };
        let _stored = cluster.cores[0]
            .vault
            .store(&record, &mut cluster.rng)
            .unwrap();
    }

    let first = cluster.prepare(&command, Epoch(1), 1).unwrap_err();
    assert_eq!(
        (first.reason, first.get("next_epoch")),
        (Reason::EpochTaken, Some("2"))
    );
    let fifth = cluster.prepare(&command, Epoch(5), 2).unwrap_err();
    assert_eq!(
        (fifth.reason, fifth.get("next_epoch")),
        (Reason::EpochTaken, Some("6"))
    );
    cluster.prepare(&command, Epoch(6), 3).unwrap();
}

#[test]
fn a_rejection_ends_a_creation_that_is_under_way() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let certificate = cluster.certificate(&command, &prepared);
    let mut rejected = command.clone();
    // The same admin cannot both propose and reject in one list, so the proposal gives way.
    rejected.endorsements.clear();
    let (id, admin) = (cluster.pinned.cluster(), "the-admin".parse().unwrap());
    rejected.endorse(
        &id,
        EndorsementKind::Reject,
        &admin,
        Role::Admin,
        &cluster.admin,
    );

    for at in 0..3 {
        let begin = NodeRequest::BeginCeremony {
            attempt: [9; 16],
            command: rejected.clone(),
            epoch: Epoch(2),
            source: None,
        };
        assert_eq!(reason(cluster.ask(at, begin)), Reason::CommandRejected);
    }

    assert_eq!(reason(cluster.prove(&certificate)), Reason::CommandRejected);
}

#[test]
fn two_creations_cannot_share_a_command_id() {
    let mut cluster = Cluster::new(3);
    let create = |name: &str| {
        CommandBody::CreateKey(CreateKey {
            key: name.parse().unwrap(),
            scheme: Scheme::Bip340,
            threshold: 2,
            nodes: (0..3).map(node_id).collect(),
            purposes: quorate_model::Purposes::new(vec![KeyPurpose::Messages]).unwrap(),
            accept_fragile: false,
            life: KeyLife::default(),
        })
    };
    let id = CommandId(Uuid::from_u128(79));
    let first = cluster.signed(id, Role::Admin, create("first"));
    let second = cluster.signed(id, Role::Admin, create("second"));
    // Both begin before either is recorded.
    let begin = |command: &quorate_model::command::SignedCommand| NodeRequest::BeginCeremony {
        attempt: [8; 16],
        command: command.clone(),
        epoch: Epoch(1),
        source: None,
    };
    cluster.ask(0, begin(&second)).unwrap();

    cluster.prepare(&first, Epoch(1), 1).unwrap();

    assert_eq!(
        reason(cluster.prepare(&second, Epoch(1), 2)),
        Reason::RequestIdReused
    );
}

/// Asks the first node to begin a creation in the place of another key, with one change. Whether it
/// would begin it answers the same.
fn replacing(
    cluster: &mut Cluster,
    before: (&str, KeyId),
    change: impl FnOnce(&mut CreateKey),
) -> Result<(), Reason> {
    let (key, key_id) = before;
    let mut create = CreateKey {
        key: "successor".parse().unwrap(),
        scheme: Scheme::Bip340,
        threshold: 2,
        nodes: (0..3).map(node_id).collect(),
        purposes: quorate_model::Purposes::new(vec![KeyPurpose::Messages]).unwrap(),
        accept_fragile: false,
        life: KeyLife {
            replaces: Some(Predecessor {
                key: key.parse().unwrap(),
                key_id,
            }),
            ..KeyLife::default()
        },
    };
    change(&mut create);
    let id = cluster.command_id();
    let command = cluster.signed(id, Role::Admin, CommandBody::CreateKey(create));
    let validate = NodeRequest::Validate {
        command: command.clone(),
    };
    let begin = NodeRequest::BeginCeremony {
        attempt: *id.0.as_bytes(),
        command,
        epoch: Epoch(1),
        source: None,
    };
    let asked_about = cluster.ask(0, validate).map(drop);
    let asked_for = cluster.ask(0, begin).map(drop);
    assert_eq!(asked_about, asked_for);
    asked_for.map_err(|refusal| refusal.reason)
}

#[test]
fn a_key_takes_the_place_of_one_that_it_can_sign_for() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    let id = cluster.created["notes"];
    let other_id = KeyId([9; 32]);
    let purposes = |of: KeyPurpose| quorate_model::Purposes::new(vec![of]).unwrap();

    assert_eq!(replacing(&mut cluster, ("notes", id), |_| ()), Ok(()));
    // Nodes that know nothing of the other key leave it to its holders.
    assert_eq!(replacing(&mut cluster, ("stranger", id), |_| ()), Ok(()));
    assert_eq!(
        replacing(&mut cluster, ("notes", other_id), |_| ()),
        Err(Reason::KeyIdMismatch)
    );
    assert_eq!(
        replacing(&mut cluster, ("notes", id), |create| {
            create.scheme = Scheme::Ed25519;
        }),
        Err(Reason::SchemeMismatch)
    );
    assert_eq!(
        replacing(&mut cluster, ("notes", id), |create| {
            create.purposes = purposes(KeyPurpose::Transactions);
        }),
        Err(Reason::PurposeMismatch)
    );
}
