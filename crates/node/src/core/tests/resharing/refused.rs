//! What is not reshared, and why.

use quorate_model::{
    certificate::KeyEvidence,
    command::SignedCommand,
    node_api::{CeremonyReply, ReshareFrom},
};
use quorate_protocol::ceremony::round;

use super::{super::*, harness::*};

#[test]
fn what_is_to_be_reshared_must_be_the_epoch_in_use() {
    let mut cluster = Cluster::new(4);
    let born = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let other = cluster.born("other", Scheme::Bip340, 2, &[0, 1, 2]);
    let new = cluster.reshare(&born, 2, &[0, 1, 2]);

    // A dealer has moved on.
    let stale = cluster.run(&born, 2, &[0, 1, 3]);
    assert_eq!(reason(cluster.certify(&born, &stale)), Reason::EpochChanged);
    let run = cluster.run(&new, 2, &[3, 0, 1]);
    for (evidence, expected) in [
        (other.evidence(), Reason::RequestInvalid),
        (born.evidence(), Reason::RequestInvalid),
        (
            KeyEvidence {
                proof: None,
                ..new.evidence()
            },
            Reason::KeyNotActive,
        ),
        (
            KeyEvidence {
                proof: born.evidence().proof,
                ..new.evidence()
            },
            Reason::ProtocolViolation,
        ),
        (
            KeyEvidence {
                birth: other.birth.or(Some(other.certificate.to_bytes().unwrap())),
                ..new.evidence()
            },
            Reason::ProtocolViolation,
        ),
        (
            KeyEvidence {
                birth: None,
                ..new.evidence()
            },
            Reason::ProtocolViolation,
        ),
    ] {
        // Node 3 knows nothing of the key, and is asked first.
        let refused = cluster.certify_from(&evidence, &new, &run);
        assert_eq!(reason(refused), expected);
    }
    cluster.certify(&new, &run).unwrap();
}

#[test]
fn a_committee_that_no_key_can_have_is_refused_and_nothing_is_done() {
    let mut cluster = Cluster::new(4);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let good = cluster.run(&held, 2, &[0, 1, 3]);
    let source = ReshareFrom {
        evidence: held.evidence(),
        dealers: good.dealers.iter().map(|at| node_id(*at)).collect(),
    };
    for (threshold, nodes, expected) in [
        (4, &[0, 1, 3][..], Reason::ShapeInvalid),
        (1, &[0, 1, 3], Reason::ShapeInvalid),
        (0, &[0, 1, 3], Reason::ShapeInvalid),
        (2, &[0], Reason::ShapeInvalid),
        (2, &[0, 1, 1], Reason::ShapeInvalid),
        (2, &[0, 1, 9], Reason::NodeUnknown),
    ] {
        let command = cluster.reshare_command(&held, threshold, nodes);
        // A holder that deals, and a node that knows nothing of the key.
        for at in [0, 3] {
            let attempt = cluster.attempt();
            let begun = cluster.begin_all(attempt, &command, Epoch(2), Some(&source), &[at]);
            assert_eq!(reason(begun), expected, "{threshold} of {nodes:?} at {at}");
        }
    }
    assert!(cluster.certify(&held, &good).is_ok());
}

/// P11: neither a holder nor a node that has never heard of the key goes by the word of one person.
#[test]
fn a_key_is_not_reshared_by_one_admin_alone() {
    let mut cluster = Cluster::new(4);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let good = cluster.run(&held, 2, &[0, 1, 3]);
    let mut alone = good.command.clone();
    alone.endorsements.pop();
    // One person with two keys is one person (P6).
    let mut twice = alone.clone();
    let phone = cluster.phone.clone();
    cluster.word(&mut twice, EndorsementKind::Approve, "the-phone", &phone);

    for command in [alone, twice] {
        for at in [0, 3] {
            let begin = NodeRequest::BeginCeremony {
                attempt: [1; 16],
                command: command.clone(),
                epoch: good.epoch,
                source: Some(ReshareFrom {
                    evidence: held.evidence(),
                    dealers: vec![node_id(0), node_id(1)],
                }),
            };
            assert_eq!(
                reason(cluster.ask(at, begin)),
                Reason::EndorsementsMissing,
                "{at}"
            );
            // Whoever asks what would come of it hears of everything but the words that are missing.
            let validate = NodeRequest::Validate {
                command: command.clone(),
            };
            assert_eq!(cluster.ask(at, validate), Ok(NodeReply::Done), "{at}");
            // A question is answered alike, and counts for nobody beside the word of another.
            let mut question = command.clone();
            let admin = cluster.admin.clone();
            question.endorsements.clear();
            cluster.word(&mut question, EndorsementKind::Ask, "the-admin", &admin);
            let validate = NodeRequest::Validate {
                command: question.clone(),
            };
            assert_eq!(cluster.ask(at, validate), Ok(NodeReply::Done), "{at}");
            let second = cluster.second_admin.clone();
            let propose = EndorsementKind::Propose;
            cluster.word(&mut question, propose, "the-second-admin", &second);
            let begin = NodeRequest::BeginCeremony {
                attempt: [1; 16],
                command: question,
                epoch: good.epoch,
                source: Some(ReshareFrom {
                    evidence: held.evidence(),
                    dealers: vec![node_id(0), node_id(1)],
                }),
            };
            let refused = reason(cluster.ask(at, begin));
            assert_eq!(refused, Reason::EndorsementsMissing, "{at}");
        }
    }
    cluster.certify(&held, &good).unwrap();
}

#[test]
fn exactly_as_many_holders_deal_as_make_the_key() {
    let mut cluster = Cluster::new(5);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    for dealers in [vec![0], vec![0, 1, 2], vec![0, 3], vec![0, 0]] {
        let mut run = cluster.run(&held, 2, &[3, 4, 0]);
        run.dealers = dealers;
        assert_eq!(reason(cluster.certify(&held, &run)), Reason::RequestInvalid);
    }
    // Whoever neither deals nor receives has no part in it.
    let run = cluster.run(&held, 2, &[0, 1, 3]);
    let request = NodeRequest::BeginCeremony {
        attempt: [9; 16],
        command: run.command,
        epoch: run.epoch,
        source: Some(ReshareFrom {
            evidence: held.evidence(),
            dealers: vec![node_id(0), node_id(1)],
        }),
    };
    assert_eq!(
        reason(cluster.ask(2, request.clone())),
        Reason::RequestInvalid
    );
    let NodeRequest::BeginCeremony {
        attempt,
        command,
        epoch,
        ..
    } = request
    else {
        panic!("another request");
    };
    let nothing = NodeRequest::BeginCeremony {
        attempt,
        command,
        epoch,
        source: None,
    };
    assert_eq!(reason(cluster.ask(0, nothing)), Reason::RequestInvalid);
}

#[test]
fn epochs_are_taken_once_and_stay_near_their_source() {
    let mut cluster = Cluster::new(3);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let mut run = cluster.run(&held, 2, &[0, 1, 2]);
    cluster.certify(&held, &run).unwrap();

    assert_eq!(reason(cluster.certify(&held, &run)), Reason::EpochTaken);
    for epoch in [0, 1, 1_002] {
        run.epoch = Epoch(epoch);
        assert_eq!(reason(cluster.certify(&held, &run)), Reason::RequestInvalid);
    }
    run.epoch = Epoch(3);
    cluster.certify(&held, &run).unwrap();
}

#[test]
fn one_command_does_not_use_up_the_numbers_of_others() {
    let mut cluster = Cluster::new(2);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1]);
    let mut run = cluster.run(&held, 2, &[0, 1]);
    for number in 2..18 {
        run.epoch = Epoch(number);
        cluster.certify(&held, &run).unwrap();
    }
    run.epoch = Epoch(18);
    assert_eq!(reason(cluster.certify(&held, &run)), Reason::SessionLimit);

    let mut next = cluster.run(&held, 2, &[0, 1]);
    next.epoch = Epoch(18);
    let new = cluster.prove_run(&held, &next);
    for at in [0, 1] {
        cluster.activate_at(at, &new).unwrap();
    }
    let erase = cluster.vouch(&new);
    cluster.erase_at(0, &erase).unwrap();
    let below = cluster.cores[0]
        .vault
        .keyring()
        .epochs_below(&"notes".parse().unwrap(), Epoch(18));
    assert_eq!(below, []);
    assert_eq!(cluster.cores[0].vault.list().unwrap().len(), 1);
}

#[test]
fn another_key_of_the_name_is_not_reshared() {
    let mut cluster = Cluster::new(4);
    let one = cluster.born("notes", Scheme::Bip340, 2, &[0, 1]);
    let two = cluster.born("notes", Scheme::Bip340, 2, &[2, 3]);

    // The command is for the second; node 0 holds the first.
    let run = cluster.run(&two, 2, &[2, 0]);
    let refused = cluster.certify(&two, &run);
    assert!(matches!(
        reason(refused),
        Reason::EpochChanged | Reason::KeyExists
    ));
    let run = cluster.run(&one, 2, &[0, 1]);
    assert_eq!(reason(cluster.certify(&one, &run)), Reason::KeyIdMismatch);
    // Nor does its birth become an epoch of the key that a node holds, whichever is higher.
    for (at, other) in [(0, &two), (2, &one)] {
        assert!(matches!(
            reason(cluster.activate_at(at, other)),
            Reason::ProtocolViolation | Reason::EpochChanged
        ));
    }
    cluster.sign_by(&two, &[2, 3]).unwrap();
    let first = one.certificate.to_bytes().unwrap();
    assert_eq!(cluster.listing(0).certificate, Some(first));
}

#[test]
fn a_command_begins_where_its_admins_say() {
    let mut cluster = Cluster::new(3);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let mut run = cluster.run(&held, 2, &[0, 1, 2]);
    run.epoch = Epoch(1_001);
    cluster.certify(&held, &run).unwrap();
    run.epoch = Epoch(1_002);
    assert_eq!(reason(cluster.certify(&held, &run)), Reason::RequestInvalid);

    run.command = cluster.reshare_command_from(&held, 2, &[0, 1, 2], run.epoch);
    let new = cluster.prove_run(&held, &run);
    cluster.activate_at(0, &new).unwrap();
}

/// The rows of the table in docs/protocol/states.md.
#[test]
fn a_key_that_is_not_active_is_refreshed_and_goes_to_nobody_else() {
    use quorate_model::standing::{SetKeyState, StateChange};

    for (change, refused) in [
        (StateChange::Suspend, Reason::KeySuspended),
        (StateChange::Deactivate, Reason::KeyDeactivated),
        (StateChange::Compromise, Reason::KeyCompromised),
    ] {
        let mut cluster = Cluster::new(4);
        let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
        let others = cluster.run(&held, 2, &[0, 1, 3]);
        let fewer = cluster.run(&held, 2, &[0, 1]);
        let mut raised = cluster.run(&held, 3, &[0, 1, 2]);
        raised.epoch = Epoch(3);
        let (id, key_id) = (cluster.command_id(), cluster.created["notes"]);
        let set = CommandBody::SetKeyState(SetKeyState {
            key: "notes".parse().unwrap(),
            key_id,
            sequence: 1,
            change,
            reason: "an audit".to_owned(),
        });
        let command = cluster.signed(id, Role::Admin, set);
        let command = cluster.endorsed(command);
        for at in 0..3 {
            let command = command.clone();
            cluster
                .ask(at, NodeRequest::SetKeyState { command })
                .unwrap();
        }

        for run in [&others, &fewer, &raised] {
            assert_eq!(reason(cluster.certify(&held, run)), refused);
        }
        let new = cluster.reshare(&held, 2, &[0, 1, 2]);
        assert_eq!(reason(cluster.sign_by(&new, &[0, 1])), refused);
    }
}

#[test]
fn a_key_that_nobody_has_proven_is_not_reshared() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let certificate = cluster.certificate(&command, &prepared);
    let proof = cluster.prove(&certificate).unwrap();
    let held = Held {
        certificate,
        proof,
        birth: None,
        holders: vec![0, 1, 2],
    };
    let run = cluster.run(&held, 2, &[0, 1, 2]);
    let unproven = KeyEvidence {
        proof: None,
        ..held.evidence()
    };

    let refused = cluster.certify_from(&unproven, &held, &run);

    assert_eq!(reason(refused), Reason::KeyNotActive);
}

#[test]
fn what_is_heard_in_the_middle_ends_a_run_before_shares_are_dealt() {
    use quorate_model::standing::{SetKeyState, StateChange};

    let mut cluster = Cluster::new(4);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let run = cluster.run(&held, 2, &[0, 1, 3]);
    let source = ReshareFrom {
        evidence: held.evidence(),
        dealers: vec![node_id(0), node_id(1)],
    };
    let mut replies = Vec::new();
    for at in [0, 1, 3] {
        let request = NodeRequest::BeginCeremony {
            attempt: [1; 16],
            command: run.command.clone(),
            epoch: run.epoch,
            source: Some(source.clone()),
        };
        replies.push(ceremony(cluster.ask(at, request).unwrap()));
    }
    let advance = |replies: &[CeremonyReply], place: usize| NodeRequest::AdvanceCeremony {
        attempt: [1; 16],
        round: replies[0].round,
        envelopes: inbox(replies, index(place + 1)),
    };
    while replies[0].round < round::REVEAL_ECHO {
        let mut next = Vec::new();
        for (place, at) in [0, 1, 3].into_iter().enumerate() {
            let request = advance(&replies, place);
            next.push(ceremony(cluster.ask(at, request).unwrap()));
        }
        replies = next;
    }
    let (id, key_id) = (cluster.command_id(), cluster.created["notes"]);
    let suspend = CommandBody::SetKeyState(SetKeyState {
        key: "notes".parse().unwrap(),
        key_id,
        sequence: 1,
        change: StateChange::Suspend,
        reason: "an audit".to_owned(),
    });
    let command = cluster.signed(id, Role::Admin, suspend);
    cluster
        .ask(0, NodeRequest::SetKeyState { command })
        .unwrap();

    let request = advance(&replies, 0);
    assert_eq!(
        reason(cluster.ask(0, request.clone())),
        Reason::KeySuspended
    );
    // The run is over for this node, also when it is asked again.
    assert_eq!(reason(cluster.ask(0, request)), Reason::KeySuspended);
}

#[test]
fn one_coordinator_changes_a_key_at_a_time() {
    let mut cluster = Cluster::new(3);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let run = cluster.run(&held, 2, &[0, 1, 2]);
    let begin = |attempt: u8| NodeRequest::BeginCeremony {
        attempt: [attempt; 16],
        command: run.command.clone(),
        epoch: run.epoch,
        source: Some(ReshareFrom {
            evidence: held.evidence(),
            dealers: vec![node_id(0), node_id(1)],
        }),
    };
    cluster.ask(0, begin(1)).unwrap();

    let other = harness::other_coordinator();
    assert_eq!(
        reason(cluster.ask_as(&other, 0, begin(2))),
        Reason::SessionLimit
    );
    // The same one has given the first up.
    cluster.ask(0, begin(3)).unwrap();
}

#[test]
fn a_command_that_an_admin_rejects_in_the_middle_ends_the_run() {
    let mut cluster = Cluster::new(3);
    let held = cluster.born("notes", Scheme::Bip340, 2, &[0, 1, 2]);
    let run = cluster.run(&held, 2, &[0, 1, 2]);
    let begin = |command: &SignedCommand, attempt| NodeRequest::BeginCeremony {
        attempt: [attempt; 16],
        command: command.clone(),
        epoch: run.epoch,
        source: Some(ReshareFrom {
            evidence: held.evidence(),
            dealers: vec![node_id(0), node_id(1)],
        }),
    };
    let mut hellos = Vec::new();
    for at in 0..3 {
        hellos.push(ceremony(cluster.ask(at, begin(&run.command, 1)).unwrap()));
    }
    let mut rejected = run.command.clone();
    let cluster_id = cluster.pinned.cluster();
    rejected.endorse(
        &cluster_id,
        EndorsementKind::Reject,
        &"the-phone".parse().unwrap(),
        Role::Admin,
        &cluster.phone,
    );
    assert_eq!(
        reason(cluster.ask(0, begin(&rejected, 2))),
        Reason::CommandRejected
    );

    let request = NodeRequest::AdvanceCeremony {
        attempt: [1; 16],
        round: round::HELLO,
        envelopes: inbox(&hellos, index(1)),
    };

    assert_eq!(reason(cluster.ask(0, request)), Reason::CommandRejected);
}
