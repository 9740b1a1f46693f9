//! Tickets, signing sets and shares.

use super::*;

#[test]
fn every_scheme_and_every_subset_signs() {
    for scheme in Scheme::FROST {
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
fn one_batch_cannot_bind_an_id_twice() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let id = CommandId(Uuid::from_u128(78));
    let mut requests = Vec::new();
    for text in [b"a", b"b"] {
        let sign = cluster.sign_body("notes", vec![Payload::message(*text)]);
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
fn a_command_for_another_key_of_the_name_is_refused() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let held = cluster.created["notes"];
    let other = KeyId([7; 32]);
    let id = cluster.command_id();
    let sign = Sign {
        key_id: other,
        ..cluster.sign_body("notes", vec![Payload::message(*b"one")])
    };
    let command = cluster.signed(id, Role::Client, CommandBody::Sign(sign));
    let set = cluster.set(&[0, 1], Scheme::Bip340);
    let request = cluster.share_request(&command, &certificate, &[set]);

    let signed = cluster.shares(0, &request).unwrap_err();
    let validated = cluster
        .ask(0, NodeRequest::Validate { command })
        .unwrap_err();

    for refusal in [signed, validated] {
        assert_eq!(refusal.reason, Reason::KeyIdMismatch);
        assert_eq!(refusal.get("key_id"), Some(other.to_string().as_str()));
        assert_eq!(refusal.get("held"), Some(held.to_string().as_str()));
    }
    assert_eq!(reason(cluster.shares(0, &request)), Reason::TicketUnknown);
    let appended = cluster.cores[0].checkpoint_now(cluster.reading()).unwrap();
    cluster.cores[0].journal().commit(&appended).unwrap();
    let refused = entries(&cluster, 0)
        .into_iter()
        .filter(|entry| match entry {
            Entry::Refused(refused) => refused.reason == "KEY_ID_MISMATCH",
            _ => false,
        })
        .count();
    assert_eq!(refused, 1);
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
