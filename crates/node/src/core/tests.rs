//! Whole ceremonies and signatures over cores alone, and every way in which a coordinator lies.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    clippy::unused_self,
    reason = "small numbers, answers of one kind, and helpers that read as methods"
)]

mod harness;

use quorate_model::{
    CommandId, Digest, Epoch, KeyPurpose, Payload, Reason, Scheme,
    audit::Entry,
    command::{CommandBody, CreateKey, EndorsementKind},
    key::KeyState,
    node_api::{NodeReply, NodeRequest},
    roster::Role,
};
use uuid::Uuid;

use harness::{Cluster, START, ceremony, coordinator, inbox, index, node_id};

fn reason<T: std::fmt::Debug>(result: Result<T, quorate_model::Refusal>) -> Reason {
    result.unwrap_err().reason
}

fn entries(cluster: &Cluster, at: usize) -> Vec<Entry> {
    let journal = cluster.cores[at].journal();
    let records = journal.read_range(1, 10_000, 1 << 24).unwrap();
    records
        .iter()
        .map(|record| {
            quorate_model::audit::Record::from_bytes(&record.bytes)
                .unwrap()
                .entry
        })
        .collect()
}

#[test]
fn every_scheme_and_every_subset_signs() {
    for scheme in Scheme::ALL {
        let mut cluster = Cluster::new(3);
        let certificate = cluster.create("notes", scheme, 2);

        for signers in [[0, 1], [0, 2], [1, 2]] {
            cluster.sign(&certificate, &signers, b"hello").unwrap();
        }
    }
}

#[test]
fn a_share_leaves_only_with_its_record_in_the_journal() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Ed25519, 2);
    cluster.sign(&certificate, &[0, 1], b"hello").unwrap();

    let released = |at| {
        entries(&cluster, at)
            .iter()
            .filter(|entry| matches!(entry, Entry::ShareReleased(_)))
            .count()
    };
    // One for the proof of possession and one for the message; the third node signed nothing.
    assert_eq!((released(0), released(1), released(2)), (2, 2, 1));
}

#[test]
fn a_ticket_answers_once_whatever_the_coordinator_tries() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let command = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
    let set = cluster.set(&[0, 1], Scheme::Bip340);
    let request = cluster.share_request(&command, &certificate, std::slice::from_ref(&set));
    cluster.shares(0, &request).unwrap();

    assert_eq!(reason(cluster.shares(0, &request)), Reason::TicketUnknown);

    let other = cluster.sign_command("notes", vec![Payload::message(*b"two")]);
    let replayed = cluster.share_request(&other, &certificate, &[set]);
    assert_eq!(reason(cluster.shares(0, &replayed)), Reason::TicketUnknown);
}

#[test]
fn a_ticket_is_gone_after_any_refusal() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let good = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
    let mut bad = good.clone();
    bad.bytes.push(0);
    let set = cluster.set(&[0, 1], Scheme::Bip340);
    let request = cluster.share_request(&bad, &certificate, std::slice::from_ref(&set));

    assert_eq!(
        reason(cluster.shares(0, &request)),
        Reason::EndorsementInvalid
    );

    let request = cluster.share_request(&good, &certificate, &[set]);
    assert_eq!(reason(cluster.shares(0, &request)), Reason::TicketUnknown);
}

#[test]
fn a_ticket_serves_only_the_coordinator_that_it_was_made_for() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let command = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
    let set = cluster.set(&[0, 1], Scheme::Bip340);
    let request = cluster.share_request(&command, &certificate, &[set]);

    let asked = NodeRequest::SignShares {
        requests: vec![request],
    };
    let stranger = "coordinator-2".parse().unwrap();
    let NodeReply::Shares(batch) = cluster.ask_as(&stranger, 0, asked).unwrap() else {
        panic!("not shares");
    };

    assert_eq!(
        reason(batch.outcomes.into_iter().next().unwrap()),
        Reason::TicketUnknown
    );
}

#[test]
fn signing_sets_of_the_wrong_shape_are_refused() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let mut refused = |change: fn(&mut Vec<quorate_model::share::SetEntry>)| {
        let command = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
        let mut set = cluster.set(&[0, 1], Scheme::Bip340);
        change(&mut set.entries);
        let request = cluster.share_request(&command, &certificate, &[set]);
        reason(cluster.shares(0, &request))
    };

    assert_eq!(refused(|set| set.truncate(1)), Reason::SigningSetInvalid);
    assert_eq!(
        refused(|set| set.push(set[1].clone())),
        Reason::SigningSetInvalid
    );
    assert_eq!(refused(|set| set.reverse()), Reason::SigningSetInvalid);
    assert_eq!(
        refused(|set| set[1].signer = index(9)),
        Reason::SigningSetInvalid
    );
    assert_eq!(
        refused(|set| set[1].commitments.hiding = vec![0; 33]),
        Reason::SigningSetInvalid
    );
    let swapped = refused(|set| set[0].commitments = set[1].commitments.clone());
    assert_eq!(swapped, Reason::SigningSetInvalid);
    assert_eq!(
        refused(|set| set[0].signer = index(3)),
        Reason::TicketUnknown
    );
}

#[test]
fn a_command_id_belongs_to_its_bytes() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let id = CommandId(Uuid::from_u128(77));
    let body = |text: &[u8]| {
        CommandBody::Sign(quorate_model::command::Sign {
            key: "notes".parse().unwrap(),
            payloads: vec![Payload::message(text)],
        })
    };
    let (first, second) = (
        cluster.signed(id, Role::Client, body(b"a")),
        cluster.signed(id, Role::Client, body(b"b")),
    );
    let mut share = |command: &_| {
        let set = cluster.set(&[0, 1], Scheme::Bip340);
        let request = cluster.share_request(command, &certificate, &[set]);
        cluster.shares(0, &request)
    };

    share(&first).unwrap();

    assert_eq!(reason(share(&second)), Reason::RequestIdReused);
    share(&first).unwrap();
}

#[test]
fn one_batch_cannot_bind_an_id_twice() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let id = CommandId(Uuid::from_u128(78));
    let mut requests = Vec::new();
    for text in [b"a", b"b"] {
        let sign = quorate_model::command::Sign {
            key: "notes".parse().unwrap(),
            payloads: vec![Payload::message(*text)],
        };
        let command = cluster.signed(id, Role::Client, CommandBody::Sign(sign));
        let set = cluster.set(&[0, 1], Scheme::Bip340);
        requests.push(cluster.share_request(&command, &certificate, &[set]));
    }

    let NodeReply::Shares(batch) = cluster
        .ask(0, NodeRequest::SignShares { requests })
        .unwrap()
    else {
        panic!("not shares");
    };

    assert!(batch.outcomes[0].is_ok());
    assert_eq!(reason(batch.outcomes[1].clone()), Reason::RequestIdReused);
}

#[test]
fn an_admins_rejection_is_final() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let command = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
    let mut rejected = command.clone();
    let (cluster_id, admin) = (cluster.pinned.cluster(), "the-admin".parse().unwrap());
    rejected.endorse(
        &cluster_id,
        EndorsementKind::Reject,
        &admin,
        Role::Admin,
        &cluster.admin,
    );
    let mut share = |command: &_| {
        let set = cluster.set(&[0, 1], Scheme::Bip340);
        let request = cluster.share_request(command, &certificate, &[set]);
        cluster.shares(0, &request)
    };

    assert_eq!(reason(share(&rejected)), Reason::CommandRejected);
    assert_eq!(reason(share(&command)), Reason::CommandRejected);
}

#[test]
fn commands_outside_their_time_their_role_or_their_cluster_are_refused() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let template = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
    let template = quorate_proto::command::decode(&template.bytes).unwrap();
    let mut refused = |change: fn(&mut quorate_model::command::Command), role| {
        let mut command = template.clone();
        command.id = cluster.command_id();
        change(&mut command);
        let signed = cluster.propose(&command, role);
        let set = cluster.set(&[0, 1], Scheme::Bip340);
        let request = cluster.share_request(&signed, &certificate, &[set]);
        reason(cluster.shares(0, &request))
    };

    assert_eq!(
        refused(|c| c.expires = START, Role::Client),
        Reason::CommandTimeInvalid
    );
    assert_eq!(
        refused(
            |c| {
                c.created = quorate_model::UnixMillis(START.0 - 10);
                c.expires = START;
            },
            Role::Client
        ),
        Reason::CommandExpired
    );
    assert_eq!(
        refused(
            |c| {
                c.created = START.plus(60_001);
                c.expires = START.plus(70_000);
            },
            Role::Client
        ),
        Reason::CommandTimeInvalid
    );
    assert_eq!(
        refused(|c| c.expires = START.plus(8 * 24 * 3_600_000), Role::Client),
        Reason::CommandTimeInvalid
    );
    assert_eq!(refused(|_| (), Role::Admin), Reason::RoleMissing);
    assert_eq!(
        refused(|c| c.roster = Digest::new([3; 32]), Role::Client),
        Reason::RosterBehind
    );
    assert_eq!(
        refused(|c| c.cluster = Digest::new([3; 32]), Role::Client),
        Reason::WrongCluster
    );
}

#[test]
fn a_key_signs_only_under_its_purpose() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let mut refused = |payload: Payload| {
        let command = cluster.sign_command("notes", vec![payload]);
        let set = cluster.set(&[0, 1], Scheme::Bip340);
        let request = cluster.share_request(&command, &certificate, &[set]);
        reason(cluster.shares(0, &request))
    };

    assert_eq!(refused(Payload::digest([1; 32])), Reason::PurposeMismatch);
    assert_eq!(refused(Payload::message([1; 32])), Reason::PurposeMismatch);
    let proof = quorate_model::payload::pop_message(&Digest::new([1; 32]));
    assert_eq!(refused(Payload::message(proof)), Reason::PayloadRefused);
}

#[test]
fn a_key_signs_nothing_before_every_share_is_proven() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let certificate = cluster.certificate(&command, &prepared);

    assert_eq!(
        reason(cluster.sign(&certificate, &[0, 1], b"x")),
        Reason::KeyNotActive
    );
    let proof = cluster.prove(&certificate).unwrap();
    assert_eq!(
        reason(cluster.sign(&certificate, &[0, 1], b"x")),
        Reason::KeyNotActive
    );
    cluster.activate(0, &certificate, &proof).unwrap();
    cluster.activate(1, &certificate, &proof).unwrap();
    cluster.sign(&certificate, &[0, 1], b"x").unwrap();
}

#[test]
fn a_proof_with_one_false_share_activates_nothing() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let certificate = cluster.certificate(&command, &prepared);
    let good = cluster.prove(&certificate).unwrap();

    let mut without = good.clone();
    without.receipts.pop();
    let mut other = good.clone();
    other.signature[0] ^= 1;
    let mut swapped = good.clone();
    swapped.receipts.swap(0, 1);

    for proof in [without, other, swapped] {
        assert_eq!(
            reason(cluster.activate(0, &certificate, &proof)),
            Reason::ProtocolViolation
        );
    }
    cluster.activate(0, &certificate, &good).unwrap();
}

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
fn a_certificate_that_was_tampered_with_is_refused() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let good = cluster.certificate(&command, &prepared);
    let mut refused = |change: fn(&mut quorate_model::certificate::CommitCertificate)| {
        let mut certificate = good.clone();
        change(&mut certificate);
        reason(cluster.prove(&certificate))
    };

    assert_eq!(
        refused(|c| c.statement.threshold = 3),
        Reason::ProtocolViolation
    );
    assert_eq!(
        refused(|c| c.statement.chain_code = [0; 32]),
        Reason::ProtocolViolation
    );
    assert_eq!(
        refused(|c| c.signatures.truncate(2)),
        Reason::ProtocolViolation
    );
    assert_eq!(
        refused(|c| c.signatures.swap(0, 1)),
        Reason::ProtocolViolation
    );
    assert_eq!(
        refused(|c| c.session.nonces.swap(0, 1)),
        Reason::ProtocolViolation
    );
    assert_eq!(
        refused(|c| c.command.endorsements.clear()),
        Reason::ProtocolViolation
    );
    assert_eq!(
        refused(|c| c.command.bytes[0] ^= 1),
        Reason::CommandUndecodable
    );
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

#[test]
fn a_repeated_round_gets_the_same_bytes_and_another_one_nothing() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let attempt = [5; 16];
    let begin = NodeRequest::BeginCeremony {
        attempt,
        command: command.clone(),
        epoch: Epoch(1),
    };
    let hellos: Vec<_> = (0..3)
        .map(|at| ceremony(cluster.ask(at, begin.clone()).unwrap()))
        .collect();
    assert_eq!(ceremony(cluster.ask(0, begin).unwrap()), hellos[0]);

    let envelopes = inbox(&hellos, index(1));
    let advance = NodeRequest::AdvanceCeremony {
        attempt,
        round: 0,
        envelopes: envelopes.clone(),
    };
    let once = cluster.ask(0, advance.clone()).unwrap();
    let twice = cluster.ask(0, advance).unwrap();
    assert_eq!(once, twice);

    let later = NodeRequest::AdvanceCeremony {
        attempt,
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

#[test]
fn an_idle_ceremony_is_dropped() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let attempt = [5; 16];
    let begin = NodeRequest::BeginCeremony {
        attempt,
        command,
        epoch: Epoch(1),
    };
    let hellos: Vec<_> = (0..3)
        .map(|at| ceremony(cluster.ask(at, begin.clone()).unwrap()))
        .collect();

    cluster.monotonic_ms += 60_001;

    let envelopes = inbox(&hellos, index(1));
    let advance = NodeRequest::AdvanceCeremony {
        attempt,
        round: 0,
        envelopes,
    };
    assert_eq!(reason(cluster.ask(0, advance)), Reason::SessionUnknown);
}

#[test]
fn only_an_admin_creates_keys_and_only_on_nodes_of_the_roster() {
    let mut cluster = Cluster::new(3);
    let create = |nodes: Vec<_>, threshold| {
        CommandBody::CreateKey(CreateKey {
            key: "notes".parse().unwrap(),
            scheme: Scheme::Bip340,
            threshold,
            nodes,
            purposes: quorate_model::Purposes::new(vec![KeyPurpose::Messages]).unwrap(),
            accept_fragile: false,
        })
    };
    let all: Vec<_> = (0..3).map(node_id).collect();
    let mut refused = |body: CommandBody, role| {
        let id = cluster.command_id();
        let command = cluster.signed(id, role, body);
        reason(cluster.prepare(&command, Epoch(1), 1))
    };

    assert_eq!(
        refused(create(all.clone(), 2), Role::Client),
        Reason::RoleMissing
    );
    assert_eq!(
        refused(create(all.clone(), 4), Role::Admin),
        Reason::ShapeInvalid
    );
    assert_eq!(
        refused(create(all.clone(), 1), Role::Admin),
        Reason::ShapeInvalid
    );
    assert_eq!(
        refused(create(all.clone(), 3), Role::Admin),
        Reason::ShapeInvalid
    );
    let mut strange = all;
    strange[2] = "node-x".parse().unwrap();
    assert_eq!(
        refused(create(strange, 2), Role::Admin),
        Reason::NodeUnknown
    );
}

#[test]
fn a_clock_that_jumps_stops_signing_until_peers_confirm_it() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Ed25519, 2);
    let core = std::sync::Arc::clone(&cluster.cores[0]);
    let jumped = super::Reading {
        wall: START.plus(3_600_000_000),
        monotonic_ms: 10,
    };
    let command = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
    let mut at = |request: NodeRequest, reading| {
        let caller = coordinator();
        let mut context = super::Context {
            caller: &caller,
            reading,
            rng: &mut cluster.rng,
        };
        match core.handle(&mut context, request).unwrap() {
            super::Outcome::Ready(reply) => reply,
            super::Outcome::Pending(pending) => {
                let committed = core.journal().commit(pending.appended()).unwrap();
                pending.release(&committed)
            }
        }
    };

    let validate = NodeRequest::Validate { command };
    assert_eq!(reason(at(validate.clone(), jumped)), Reason::ClockSuspect);
    let nonce = quorate_model::bytes::Nonce32([4; 32]);
    let NodeReply::Status(status) = at(NodeRequest::Status { nonce }, jumped).unwrap() else {
        panic!("not a status");
    };
    let quorate_model::node_api::ClockState::Suspect { challenge } = status.clock else {
        panic!("the clock is trusted");
    };
    // Back in time with the others, the node still waits for them.
    let back = super::Reading {
        wall: START.plus(20),
        monotonic_ms: 20,
    };
    assert_eq!(reason(at(validate.clone(), back)), Reason::ClockSuspect);
    let mut attestations = Vec::new();
    for peer in [1, 2] {
        match cluster
            .ask(peer, NodeRequest::AttestTime { challenge })
            .unwrap()
        {
            NodeReply::Time(attestation) => attestations.push(attestation),
            other => panic!("{other:?}"),
        }
    }
    cluster.monotonic_ms = 20;
    let few = NodeRequest::ConfirmTime {
        attestations: attestations[..1].to_vec(),
    };
    assert_eq!(reason(cluster.ask(0, few)), Reason::ClockSuspect);
    cluster
        .ask(0, NodeRequest::ConfirmTime { attestations })
        .unwrap();

    assert_eq!(cluster.ask(0, validate), Ok(NodeReply::Done));
    cluster.sign(&certificate, &[0, 1], b"again").unwrap();
}

#[test]
fn refusals_are_recorded_but_not_without_bound() {
    let mut cluster = Cluster::new(2);
    let mut command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    command.endorsements[0].signature.0[0] ^= 1;
    for _ in 0..1_500 {
        let begin = NodeRequest::BeginCeremony {
            attempt: [0; 16],
            command: command.clone(),
            epoch: Epoch(1),
        };
        assert_eq!(reason(cluster.ask(0, begin)), Reason::EndorsementInvalid);
    }
    let appended = cluster.cores[0].checkpoint_now(cluster.reading()).unwrap();
    cluster.cores[0].journal().commit(&appended).unwrap();

    let refused = entries(&cluster, 0)
        .iter()
        .filter(|entry| matches!(entry, Entry::Refused(_)))
        .count();
    assert_eq!(refused, 1_000);
}

#[test]
fn listings_show_what_a_node_knows() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    let pending = cluster.create_command("later", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    cluster.prepare(&pending, Epoch(1), 7).unwrap();

    let NodeReply::Keys(keys) = cluster
        .ask(
            0,
            NodeRequest::ListKeys {
                after: None,
                limit: 10,
            },
        )
        .unwrap()
    else {
        panic!("not keys");
    };

    let seen: Vec<_> = keys
        .iter()
        .map(|key| {
            (
                key.key.as_str(),
                key.state,
                key.certificate.is_some(),
                key.proof.is_some(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("later", KeyState::PreActive, false, false),
            ("notes", KeyState::Active, true, true)
        ]
    );
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
    };
    cluster.ask(0, begin(&second)).unwrap();

    cluster.prepare(&first, Epoch(1), 1).unwrap();

    assert_eq!(
        reason(cluster.prepare(&second, Epoch(1), 2)),
        Reason::RequestIdReused
    );
}

#[test]
fn a_command_releases_shares_only_so_often() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Ed25519, 2);
    let command = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
    let mut share = || {
        let set = cluster.set(&[0, 1], Scheme::Ed25519);
        let request = cluster.share_request(&command, &certificate, &[set]);
        cluster.shares(0, &request)
    };

    for _ in 0..64 {
        share().unwrap();
    }

    assert_eq!(reason(share()), Reason::Overloaded);
}

#[test]
fn evidence_that_is_too_large_or_proves_nothing_is_not_recorded() {
    let mut cluster = Cluster::new(2);
    let mut record = |evidence| reason(cluster.ask(0, NodeRequest::RecordEvidence { evidence }));

    assert_eq!(record(vec![1; 256 * 1024 + 1]), Reason::TooLarge);
    assert_eq!(record(vec![1; 100]), Reason::ProtocolViolation);
}

#[test]
fn a_bad_share_of_a_peer_is_recorded_as_blame_and_a_good_one_is_not() {
    use quorate_model::{
        identity::sign_digest,
        share::{ShareReceipt, share_batch_digest},
    };
    use quorate_protocol::{
        evidence::{BadShare, Evidence},
        frost::Tweak,
    };
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let command = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
    let set = cluster.set(&[1, 2], Scheme::Bip340);
    let request = cluster.share_request(&command, &certificate, std::slice::from_ref(&set));
    let good = cluster.shares(1, &request).unwrap();
    let mut bad = good.clone();
    bad.items[0].share[31] ^= 1;
    let key = cluster.keys[1].clone();
    let mut record = |statement: quorate_model::share::ShareStatement| {
        let batch = vec![statement.digest()];
        let signature = sign_digest(&key, &share_batch_digest(&batch));
        let share = BadShare {
            receipt: ShareReceipt {
                statement,
                batch,
                signature,
            },
            item: 0,
            set: set.clone(),
            message: b"one".to_vec(),
            tweak: Tweak::None,
        };
        let evidence = Evidence::BadSignatureShare(Box::new(share))
            .to_bytes()
            .unwrap();
        cluster.ask(0, NodeRequest::RecordEvidence { evidence })
    };

    assert_eq!(reason(record(good)), Reason::ProtocolViolation);
    assert_eq!(record(bad.clone()), Ok(NodeReply::Done));
    assert_eq!(record(bad), Ok(NodeReply::Done));

    let blamed: Vec<_> = entries(&cluster, 0)
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::PeerBlamed { node, .. } => Some(node),
            _ => None,
        })
        .collect();
    assert_eq!(blamed, [node_id(1)]);
}
