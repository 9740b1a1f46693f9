//! What a command must be, and when, to be carried out at all.
use rand_core::OsRng;

use super::*;
use crate::core::{Context, Outcome, Reading};

#[test]
fn a_command_id_belongs_to_its_bytes() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let id = CommandId(Uuid::from_u128(77));
    let body =
        |text: &[u8]| CommandBody::Sign(cluster.sign_body("notes", vec![Payload::message(text)]));
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
            life: quorate_model::life::KeyLife::default(),
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
    let jumped = Reading {
        wall: START.plus(3_600_000_000),
        monotonic_ms: 10,
    };
    let command = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
    let mut at = |request: NodeRequest, reading| {
        let caller = coordinator();
        let mut context = Context {
            caller: &caller,
            reading,
            rng: &mut cluster.rng,
        };
        match core.handle(&mut context, request).unwrap() {
            Outcome::Ready(reply) => reply,
            Outcome::Pending(pending) => {
                let committed = core.journal().commit(pending.appended()).unwrap();
                pending.release(&committed, &mut OsRng).unwrap()
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
    let back = Reading {
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
            source: None,
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
