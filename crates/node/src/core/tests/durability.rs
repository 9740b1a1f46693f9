//! Answers wait for their records, and records that find no room stop nobody.

use quorate_model::{Refusal, certificate::PossessionProof};
use rand_core::OsRng;

use super::*;
use crate::{
    core::{Fatal, Outcome},
    journal::{JournalError, JournalLimits},
};

#[test]
fn a_journal_without_room_refuses_and_the_node_goes_on() {
    let limits = JournalLimits {
        waiting_bytes: 16 << 10,
        ..JournalLimits::default()
    };
    let mut cluster = Cluster::with_journals(3, limits);
    let certificate = cluster.create("notes", Scheme::Ed25519, 2);
    let judge = |cluster: &mut Cluster| {
        let command = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
        let set = cluster.set(&[0, 1], Scheme::Ed25519);
        let request = cluster.share_request(&command, &certificate, &[set]);
        let requests = vec![request];
        cluster.judge(0, NodeRequest::SignShares { requests })
    };

    let mut waiting = Vec::new();
    let refusal = loop {
        match judge(&mut cluster) {
            Outcome::Pending(pending) => waiting.push(pending),
            Outcome::Ready(reply) => break reply.unwrap_err(),
        }
    };

    assert_eq!(refusal.reason, Reason::Overloaded);
    assert!(!waiting.is_empty());
    for pending in waiting {
        let committed = cluster.cores[0]
            .journal()
            .commit(pending.appended())
            .unwrap();
        pending.release(&committed, &mut OsRng).unwrap().unwrap();
    }
    assert!(matches!(judge(&mut cluster), Outcome::Pending(_)));
}

#[test]
fn only_a_journal_that_would_not_take_so_much_stops_nobody() {
    let cluster = Cluster::new(2);
    let node = &cluster.cores[0];

    for error in [JournalError::TooLarge(2 << 20), JournalError::Backlog] {
        let Ok(Outcome::Ready(reply)) = node.unrecorded(Fatal::Journal(error)) else {
            panic!("no answer");
        };
        assert_eq!(reason(reply), Reason::Overloaded);
    }
    for error in [JournalError::Stopped, JournalError::Unencodable] {
        assert!(node.unrecorded(Fatal::Journal(error)).is_err());
    }
}

#[test]
fn a_checkpoint_that_finds_no_room_comes_later() {
    let limits = JournalLimits {
        waiting_bytes: 4 << 10,
        ..JournalLimits::default()
    };
    let mut cluster = Cluster::with_journals(2, limits);
    let boot = || Entry::Boot {
        version: "test".to_owned(),
        node: node_id(0),
    };
    let mut last = None;
    let full = loop {
        match cluster.cores[0].begin(cluster.reading(), vec![boot()]) {
            Ok(appended) => last = Some(appended),
            Err(fatal) => break fatal,
        }
    };
    assert!(matches!(full, Fatal::Journal(JournalError::Backlog)));
    let (core, last) = (std::sync::Arc::clone(&cluster.cores[0]), last.unwrap());
    cluster.monotonic_ms += 20_000;

    core.tick(cluster.reading()).unwrap();

    assert_eq!(core.journal().head().sequence, last.last());
    core.journal().commit(&last).unwrap();
    core.tick(cluster.reading()).unwrap();
    assert_eq!(core.journal().head().sequence, last.last() + 1);
}

#[test]
fn an_activation_is_confirmed_only_once_its_record_is_durable() {
    let mut cluster = Cluster::new(3);
    let (name, proof) = proven(&mut cluster);
    let activate = || NodeRequest::ActivateKey {
        key: name.clone(),
        epoch: Epoch(1),
        proof: proof.to_bytes().unwrap(),
        certificate: Vec::new(),
    };

    let Outcome::Pending(first) = cluster.judge(0, activate()) else {
        panic!("a receipt that waits for nothing");
    };
    let Outcome::Ready(second) = cluster.judge(0, activate()) else {
        panic!("a second record");
    };
    assert_eq!(reason(second), Reason::Overloaded);

    let committed = cluster.cores[0].journal().commit(first.appended()).unwrap();
    let receipt = first.release(&committed, &mut OsRng).unwrap().unwrap();
    let Outcome::Ready(third) = cluster.judge(0, activate()) else {
        panic!("a second record");
    };
    assert_eq!(third, Ok(receipt));
}

#[test]
fn a_rejection_is_told_only_once_its_record_is_durable() {
    for (request, _) in rejections() {
        let mut cluster = Cluster::new(3);
        let request = request(&mut cluster);

        let Outcome::Pending(pending) = cluster.judge(0, request) else {
            panic!("a rejection that waits for nothing");
        };

        assert!(!is_rejected(&entries(&cluster, 0)));
        let committed = cluster.cores[0]
            .journal()
            .commit(pending.appended())
            .unwrap();
        assert!(is_rejected(&entries(&cluster, 0)));
        assert_eq!(
            told(pending.release(&committed, &mut OsRng).unwrap()),
            Reason::CommandRejected
        );
    }
}

#[test]
fn a_rejection_that_is_repeated_waits_for_the_first_record() {
    for (request, name) in rejections() {
        let mut cluster = Cluster::new(3);
        let request = request(&mut cluster);
        let Outcome::Pending(first) = cluster.judge(0, request.clone()) else {
            panic!("{name}: a rejection that waits for nothing");
        };

        // A record of its own, while there is room for refusals.
        let Outcome::Pending(_) = cluster.judge(0, request.clone()) else {
            panic!("{name}: a repeated rejection that waits for nothing");
        };
        cluster.exhaust_refusals(0);
        let Outcome::Ready(early) = cluster.judge(0, request.clone()) else {
            panic!("{name}: a record without a token");
        };
        assert_eq!(told(early), Reason::Overloaded, "{name}");

        let committed = cluster.cores[0].journal().commit(first.appended()).unwrap();
        let _told = first.release(&committed, &mut OsRng).unwrap();
        let Outcome::Ready(late) = cluster.judge(0, request) else {
            panic!("{name}: a record without a token");
        };
        assert_eq!(told(late), Reason::CommandRejected, "{name}");
    }
}

#[test]
fn a_key_is_kept_in_memory_only_once_it_is_active() {
    let mut cluster = Cluster::new(3);
    let (name, proof) = proven(&mut cluster);
    let mut other = proof.clone();
    other.signature[0] ^= 1;
    let core = std::sync::Arc::clone(&cluster.cores[0]);
    let mut activate = |proof: &PossessionProof| {
        let request = NodeRequest::ActivateKey {
            key: name.clone(),
            epoch: Epoch(1),
            proof: proof.to_bytes().unwrap(),
            certificate: Vec::new(),
        };
        cluster.ask(0, request)
    };

    // Reads the key, and leaves it inactive.
    assert_eq!(reason(activate(&other)), Reason::ProtocolViolation);
    assert!(core.loaded.get(&name).is_none());

    activate(&proof).unwrap();
    let loaded = core.load(&name).unwrap().unwrap();
    assert!(loaded.active);
    assert!(core.loaded.get(&name).is_some());
}

#[test]
fn proofs_of_possession_are_recorded_under_a_bound() {
    let mut cluster = Cluster::new(2);
    let command = cluster.create_command("notes", Scheme::Ed25519, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let certificate = cluster.certificate(&command, &prepared);

    let refusal = (0..100)
        .find_map(|_| cluster.prove(&certificate).err())
        .unwrap();

    assert_eq!(refusal.reason, Reason::Overloaded);
    let released = entries(&cluster, 0)
        .iter()
        .filter(|entry| matches!(entry, Entry::ShareReleased(_)))
        .count();
    // The first needs no token.
    assert_eq!(released, 65);

    cluster.monotonic_ms += 1_000;
    let proof = cluster.prove(&certificate).unwrap();
    cluster.activate(0, &certificate, &proof).unwrap();
}

/// A key that every share of was proven, and that is active nowhere.
fn proven(cluster: &mut Cluster) -> (quorate_model::KeyName, PossessionProof) {
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let certificate = cluster.certificate(&command, &prepared);
    let proof = cluster.prove(&certificate).unwrap();
    (certificate.statement.key.clone(), proof)
}

type MakeRequest = fn(&mut Cluster) -> NodeRequest;

/// The ways in which an admin's rejection reaches a node.
fn rejections() -> [(MakeRequest, &'static str); 2] {
    let sign: MakeRequest = |cluster| {
        let certificate = cluster.create("notes", Scheme::Bip340, 2);
        let mut command = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
        reject(cluster, &mut command);
        let set = cluster.set(&[0, 1], Scheme::Bip340);
        let requests = vec![cluster.share_request(&command, &certificate, &[set])];
        NodeRequest::SignShares { requests }
    };
    let create: MakeRequest = |cluster| {
        let mut command =
            cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
        command.endorsements.clear();
        reject(cluster, &mut command);
        NodeRequest::BeginCeremony {
            attempt: [9; 16],
            command,
            epoch: Epoch(1),
            source: None,
        }
    };
    [(sign, "sign"), (create, "create")]
}

fn reject(cluster: &Cluster, command: &mut quorate_model::command::SignedCommand) {
    let (id, admin) = (cluster.pinned.cluster(), "the-admin".parse().unwrap());
    let reject = EndorsementKind::Reject;
    command.endorse(&id, reject, &admin, Role::Admin, &cluster.admin);
}

/// Why the one thing that was asked for is refused.
fn told(reply: Result<NodeReply, Refusal>) -> Reason {
    match reply {
        Ok(NodeReply::Shares(batch)) => reason(batch.outcomes.into_iter().next().unwrap()),
        other => reason(other),
    }
}

fn is_rejected(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| {
        matches!(entry, Entry::Refused(refused) if refused.reason == Reason::CommandRejected.as_str())
    })
}
