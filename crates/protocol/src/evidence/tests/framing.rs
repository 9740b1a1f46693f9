//! Nothing that honest nodes sign can be put together to blame one of them (I6).

use quorate_model::{Digest, SessionPreimage};

use super::super::{Complaint, Evidence, NotProven};
use crate::{
    Fault,
    ceremony::{
        Hello,
        messages::{Share, decode, encode},
        round,
    },
    dkg::tests::harness::{Cluster, assert_blames, facts, identity, party},
    envelope::{Envelope, SessionSecretKey, Slot, seal},
};

fn refuses(evidence: &Evidence, reason: NotProven) {
    assert_eq!(evidence.verify(&facts()), Err(reason));
}

/// An honest run: its preimage and all its messages by round.
fn honest(seed: u64) -> (SessionPreimage, Vec<Vec<Envelope>>) {
    let cluster = Cluster::at(round::SHARE, &[], seed);
    let preimage = cluster.preimage();
    let mut rounds: Vec<_> = cluster.history.values().cloned().collect();
    rounds.push(cluster.outgoing.into_values().flatten().collect());
    (preimage, rounds)
}

#[test]
fn honest_messages_are_not_malformed() {
    let (session, rounds) = honest(1);
    for envelope in rounds.iter().flatten() {
        let evidence = Evidence::Malformed {
            session: session.clone(),
            envelope: envelope.clone(),
        };

        refuses(&evidence, NotProven::NoFault);
    }
}

#[test]
fn a_malformed_message_of_another_session_is_no_evidence_in_this_one() {
    let (session, rounds) = honest(1);
    for round in [round::HELLO, round::COMMIT, round::SHARE] {
        let slot = rounds[usize::from(round)][0].header.slot();
        let slot = Slot {
            session: Digest::new([9; 32]),
            ..slot
        };
        let envelope = Envelope::sign(slot, b"gibberish".to_vec(), &identity(party(1)));

        refuses(
            &Evidence::Malformed {
                session: session.clone(),
                envelope,
            },
            NotProven::Statement,
        );
    }
}

#[test]
fn two_different_honest_messages_are_no_equivocation() {
    let (session, rounds) = honest(1);
    let all: Vec<_> = rounds.iter().flatten().collect();
    for first in &all {
        for second in &all {
            let evidence = Evidence::Equivocation {
                session: session.clone(),
                first: first.signed_header(),
                second: second.signed_header(),
            };
            let same = first == second && first.header.round != round::HELLO;

            let expected = if same {
                NotProven::NoFault
            } else {
                NotProven::Statement
            };
            refuses(&evidence, expected);
        }
    }
}

#[test]
fn two_hellos_are_no_equivocation() {
    let (session, one) = honest(1);
    let (_, two) = honest(2);
    let (first, second) = (&one[0][0], &two[0][0]);
    assert!(first.header.same_place(&second.header));
    assert_ne!(first.digest(), second.digest());

    let evidence = Evidence::Equivocation {
        session,
        first: first.signed_header(),
        second: second.signed_header(),
    };

    refuses(&evidence, NotProven::Statement);
}

#[test]
fn messages_of_two_sessions_are_no_equivocation() {
    let (session, one) = honest(1);
    let (_, two) = honest(2);
    for round in 1..=5 {
        let evidence = Evidence::Equivocation {
            session: session.clone(),
            first: one[round][0].signed_header(),
            second: two[round][0].signed_header(),
        };

        refuses(&evidence, NotProven::Statement);
    }
}

#[test]
fn a_forged_statement_is_no_equivocation() {
    let (session, rounds) = honest(1);
    let first = rounds[1][0].signed_header();
    let mut second = first.clone();
    second.header.body_hash = Digest::ZERO;

    for (first, second) in [(first.clone(), second.clone()), (second, first)] {
        let evidence = Evidence::Equivocation {
            session: session.clone(),
            first,
            second,
        };
        refuses(&evidence, NotProven::Statement);
    }
}

#[test]
fn honest_echoes_are_not_false() {
    let (session, rounds) = honest(1);
    for envelope in rounds.iter().flatten() {
        let evidence = Evidence::FalseEcho {
            session: session.clone(),
            echo: envelope.clone(),
        };
        let is_echo = matches!(
            envelope.header.round,
            round::COMMIT_ECHO | round::REVEAL_ECHO
        );

        refuses(
            &evidence,
            if is_echo {
                NotProven::NoFault
            } else {
                NotProven::Statement
            },
        );
    }
}

#[test]
fn honest_messages_follow_their_echoes() {
    let (session, rounds) = honest(1);
    let (_, others) = honest(2);
    let all: Vec<_> = rounds.iter().chain(&others).flatten().collect();
    let mut followed = 0;
    for echo in &all {
        for later in &all {
            let evidence = Evidence::Contradiction {
                session: session.clone(),
                echo: echo.signed_header(),
                later: later.signed_header(),
            };
            let refused = evidence.verify(&facts()).unwrap_err();
            followed += u32::from(refused == NotProven::NoFault);
        }
    }
    // Three reveals, and six shares.
    assert_eq!(followed, 9);
}

#[test]
fn honest_packages_open_their_commitments() {
    let (session, rounds) = honest(1);
    let (_, others) = honest(2);
    let check = |commit: &Envelope, reveal: &Envelope| {
        let evidence = Evidence::FalseReveal {
            session: session.clone(),
            commit: commit.clone(),
            reveal: reveal.clone(),
        };
        evidence.verify(&facts()).unwrap_err()
    };

    for (commit, reveal) in rounds[1].iter().zip(&rounds[3]) {
        assert_eq!(check(commit, reveal), NotProven::NoFault);
    }
    assert_eq!(check(&rounds[1][0], &rounds[3][1]), NotProven::Statement);
    assert_eq!(check(&others[1][0], &rounds[3][0]), NotProven::Statement);
    assert_eq!(check(&rounds[1][0], &others[3][0]), NotProven::Statement);
    assert_eq!(check(&rounds[2][0], &rounds[3][0]), NotProven::Statement);
    assert_eq!(check(&rounds[1][0], &rounds[1][0]), NotProven::Statement);
}

#[test]
fn a_session_of_another_protocol_or_shape_is_not_read() {
    let (session, rounds) = honest(1);
    let check = |change: fn(&mut SessionPreimage)| {
        let mut other = session.clone();
        change(&mut other);
        for envelope in [&rounds[0][0], &rounds[1][0]] {
            let (session, envelope) = (other.clone(), envelope.clone());
            refuses(
                &Evidence::Malformed { session, envelope },
                NotProven::Session,
            );
        }
    };

    // What was said before packages had their present form convicts nobody.
    check(|session| session.binding.protocol = "dkg/1/bip340".to_owned());
    check(|session| session.binding.threshold = 4);
    check(|session| session.binding.participants.swap(0, 1));
}

#[test]
fn another_shape_of_the_session_has_another_id() {
    let (session, rounds) = honest(1);
    let changes: [fn(&mut SessionPreimage); 4] = [
        |session| session.binding.threshold = 3,
        |session| session.binding.protocol = "dkg/2/frost-secp256k1".to_owned(),
        |session| {
            let (one, two) = (
                session.binding.participants[0].node.clone(),
                session.binding.participants[1].node.clone(),
            );
            session.binding.participants[0].node = two;
            session.binding.participants[1].node = one;
        },
        |session| session.nonces.swap(0, 1),
    ];
    for change in changes {
        let mut other = session.clone();
        change(&mut other);
        let (commit, reveal) = (rounds[1][2].clone(), rounds[3][2].clone());

        refuses(
            &Evidence::FalseReveal {
                session: other,
                commit,
                reveal,
            },
            NotProven::Statement,
        );
    }
}

/// A complaint of party 1 about party 2 in which everything is honest, with the accuser's secret
/// as the accuser alone can know it.
struct Frame {
    complaint: Complaint,
    cluster: Cluster,
}

impl Frame {
    /// Plays party 1, whose session keys the test makes.
    fn new(seed: u64) -> Self {
        let secret = [7; 32];
        let key = SessionSecretKey::from_revealed(secret);
        let mut cluster = Cluster::at(round::HELLO, &[1], seed);
        let mut hello: Hello = decode(round::HELLO, &cluster.outgoing[&party(1)][0].body).unwrap();
        hello.session_keys[0].1 = key.public();
        cluster.play(1, &hello);
        cluster.step();
        let reveal = {
            use crate::{
                ceremony::messages::{Package, Reveal},
                sharing::{Polynomial, ProofOfKnowledge},
                suite::Secp,
            };
            let session = cluster.session();
            let own = Polynomial::<Secp>::random(2, &mut cluster.rng);
            let proof =
                ProofOfKnowledge::prove(&session, party(1), &own, &mut cluster.rng).unwrap();
            let commitments = own.commit().encode().unwrap();
            let proof = Some(proof);
            Reveal {
                package: Package { commitments, proof },
                opening: [1; 32],
            }
        };
        cluster.play_dealers(&[(1, reveal)]);
        cluster.step();
        cluster.play_echo(1);
        cluster.step();
        let complaint = Complaint {
            session: cluster.preimage(),
            hellos: cluster.history[&round::HELLO]
                .iter()
                .map(Envelope::digest)
                .collect(),
            hello: cluster.history[&round::HELLO][0].clone(),
            commit: cluster.history[&round::COMMIT][1].signed_header(),
            reveal: cluster.history[&round::REVEAL][1].clone(),
            share: cluster.outgoing[&party(2)][0].clone(),
            revealed: secret,
        };
        assert_eq!(complaint.share.header.recipient, Some(party(1)));
        Self { complaint, cluster }
    }

    fn verdict(&self, change: impl FnOnce(&mut Complaint)) -> NotProven {
        let mut complaint = self.complaint.clone();
        change(&mut complaint);
        let evidence = Evidence::BadSubShare(Box::new(complaint));
        evidence.verify(&facts()).unwrap_err()
    }

    /// The accuser's hello with another key for the dealer, signed by the accuser.
    fn other_hello(&self) -> Envelope {
        let envelope = &self.complaint.hello;
        let mut hello: Hello = decode(round::HELLO, &envelope.body).unwrap();
        hello.session_keys[0].1 = SessionSecretKey::from_revealed([8; 32]).public();
        let body = encode(&hello).unwrap();
        Envelope::sign(envelope.header.slot(), body, &identity(party(1)))
    }
}

#[test]
fn a_complaint_about_a_good_share_blames_nobody() {
    assert_eq!(Frame::new(3).verdict(|_| ()), NotProven::NoFault);
}

#[test]
fn a_complaint_with_another_session_key_blames_nobody() {
    let frame = Frame::new(3);
    let other = frame.other_hello();

    assert_eq!(
        frame.verdict(|complaint| complaint.revealed = [8; 32]),
        NotProven::Statement
    );
    let verdict = frame.verdict(|complaint| {
        complaint.revealed = [8; 32];
        complaint.hello = other.clone();
    });
    assert_eq!(verdict, NotProven::Statement);
    let verdict = frame.verdict(|complaint| {
        complaint.revealed = [8; 32];
        complaint.hellos[0] = other.digest();
        complaint.hello = other;
    });
    assert_eq!(verdict, NotProven::Statement);
}

#[test]
fn a_complaint_with_statements_of_others_or_of_other_rounds_blames_nobody() {
    let frame = Frame::new(3);
    let history = &frame.cluster.history;
    let verdict = |change: &dyn Fn(&mut Complaint)| frame.verdict(change);
    let three = frame.cluster.outgoing[&party(3)][0].clone();
    let for_three = frame.cluster.outgoing[&party(2)][1].clone();
    assert_eq!(three.header.recipient, Some(party(1)));

    let changes: [&dyn Fn(&mut Complaint); 9] = [
        &|complaint| complaint.share = three.clone(),
        &|complaint| complaint.share = for_three.clone(),
        &|complaint| complaint.share = history[&round::REVEAL][1].clone(),
        &|complaint| complaint.reveal = history[&round::REVEAL][2].clone(),
        &|complaint| complaint.reveal = history[&round::COMMIT][1].clone(),
        &|complaint| complaint.commit = history[&round::COMMIT][2].signed_header(),
        &|complaint| complaint.commit = history[&round::REVEAL][1].signed_header(),
        &|complaint| complaint.hello = history[&round::HELLO][2].clone(),
        &|complaint| complaint.hellos.truncate(2),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(verdict(change), NotProven::Statement, "change {number}");
    }
}

#[test]
fn a_complaint_with_statements_of_two_sessions_blames_nobody() {
    // The accuser makes the same session key in both, so that everything opens.
    let (frame, other) = (Frame::new(3), Frame::new(4));
    assert_eq!(other.verdict(|_| ()), NotProven::NoFault);

    let changes: [&dyn Fn(&mut Complaint); 6] = [
        &|complaint| complaint.share = other.complaint.share.clone(),
        &|complaint| complaint.reveal = other.complaint.reveal.clone(),
        &|complaint| complaint.commit = other.complaint.commit.clone(),
        &|complaint| {
            complaint.commit = other.complaint.commit.clone();
            complaint.hello = other.complaint.hello.clone();
            complaint.hellos = other.complaint.hellos.clone();
        },
        &|complaint| {
            complaint.reveal = other.complaint.reveal.clone();
            complaint.commit = other.complaint.commit.clone();
            complaint.hello = other.complaint.hello.clone();
            complaint.hellos = other.complaint.hellos.clone();
        },
        &|complaint| complaint.session = other.complaint.session.clone(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(
            frame.verdict(change),
            NotProven::Statement,
            "change {number}"
        );
    }
}

#[test]
fn a_complaint_with_forged_signatures_blames_nobody() {
    let frame = Frame::new(3);
    let forge = |envelope: &mut Envelope| envelope.body.push(0);

    assert_eq!(
        frame.verdict(|complaint| forge(&mut complaint.share)),
        NotProven::Statement
    );
    assert_eq!(
        frame.verdict(|complaint| forge(&mut complaint.reveal)),
        NotProven::Statement
    );
    assert_eq!(
        frame.verdict(|complaint| forge(&mut complaint.hello)),
        NotProven::Statement
    );
    let verdict = frame.verdict(|complaint| complaint.commit.header.body_hash = Digest::ZERO);
    assert_eq!(verdict, NotProven::Statement);
}

#[test]
fn a_complaint_about_a_bad_share_of_the_same_run_is_proven() {
    let mut frame = Frame::new(3);
    let slot = frame.complaint.share.header.slot();
    let public = SessionSecretKey::from_revealed(frame.complaint.revealed).public();
    let sealed = seal(&public, &slot, &[1; 32], &mut frame.cluster.rng).unwrap();
    let body = encode(&Share { sealed }).unwrap();
    frame.complaint.share = Envelope::sign(slot, body, &identity(party(2)));

    let evidence = Evidence::BadSubShare(Box::new(frame.complaint));

    let blamed = evidence.verify(&facts()).unwrap();
    assert_eq!((blamed.party, blamed.fault), (party(2), Fault::BadSubShare));
}

#[test]
fn evidence_that_is_too_large_or_garbage_is_not_read() {
    use super::super::MAX_EVIDENCE_BYTES;
    use quorate_model::wire::WireError;

    let oversized = vec![1; MAX_EVIDENCE_BYTES + 1];

    assert_eq!(Evidence::from_bytes(&oversized), Err(WireError::Malformed));
    assert_eq!(Evidence::from_bytes(&[1, 99]), Err(WireError::Malformed));
    assert_eq!(Evidence::from_bytes(&[]), Err(WireError::Empty));
}

#[test]
fn evidence_names_the_session_to_check_it_under() {
    let mut cluster = Cluster::at(round::COMMIT, &[2], 1);
    let expected = cluster.preimage();
    cluster.play(2, &"gibberish");
    let outcome = cluster.end().remove(&party(1)).unwrap();

    let evidence = assert_blames(outcome, 2, Fault::Malformed);

    assert_eq!(evidence.session(), Some(&expected));
}
