//! Nothing that honest nodes sign in a resharing can be put together to blame one of them (I6),
//! whatever source, session or statement of others stands beside it.

use quorate_model::{Digest, SessionPreimage, certificate::verifying_shares_hash};

use super::super::{Complaint, ConstantProof, Evidence, NotProven};
use crate::{
    Fault,
    ceremony::{
        Hello,
        messages::{Reveal, Share, decode, encode},
    },
    dkg,
    envelope::{Envelope, ProtocolId, SessionSecretKey, Slot, seal},
    reshare::{
        ReshareSource, round,
        tests::harness::{
            BOTH, Cluster, DEALER, Held, RECEIVER, at, blames, facts, identity, party,
        },
    },
    sharing::Polynomial,
    suite::Secp,
};

fn refuses(evidence: &Evidence, reason: NotProven) {
    assert_eq!(evidence.verify(&facts()), Err(reason), "{evidence:?}");
}

/// An honest run: its preimage and all its messages by round.
fn honest(seed: u64) -> (SessionPreimage, Vec<Vec<Envelope>>) {
    let cluster = at(round::SHARE, &[], seed);
    let preimage = cluster.preimage();
    let mut rounds: Vec<_> = cluster.history.values().cloned().collect();
    rounds.push(cluster.outgoing.into_values().flatten().collect());
    (preimage, rounds)
}

fn constant(session: &SessionPreimage, source: ReshareSource, reveal: &Envelope) -> Evidence {
    Evidence::WrongConstant(Box::new(ConstantProof {
        session: session.clone(),
        source,
        reveal: reveal.clone(),
    }))
}

/// A package of party 4 that does not hold its part, with the evidence of a receiver.
fn lie() -> ConstantProof {
    let mut cluster = at(round::COMMIT, &[DEALER], 1);
    let other = Polynomial::<Secp>::random(2, &mut cluster.rng);
    let reveal = crate::reshare::tests::harness::package_of(&mut cluster, &other);
    cluster.play_dealers(&[(DEALER, reveal)]);
    let outcome = cluster.end().remove(&party(RECEIVER)).unwrap();
    let evidence = blames(outcome, DEALER, Fault::WrongConstant);
    let Evidence::WrongConstant(proof) = evidence else {
        panic!()
    };
    *proof
}

#[test]
fn honest_messages_are_neither_malformed_nor_false() {
    let (session, rounds) = honest(1);
    for envelope in rounds.iter().flatten() {
        let malformed = Evidence::Malformed {
            session: session.clone(),
            envelope: envelope.clone(),
        };
        refuses(&malformed, NotProven::NoFault);
        let echo = Evidence::FalseEcho {
            session: session.clone(),
            echo: envelope.clone(),
        };
        let round = envelope.header.round;
        let is_echo = matches!(round, round::COMMIT_ECHO | round::REVEAL_ECHO);
        refuses(
            &echo,
            if is_echo {
                NotProven::NoFault
            } else {
                NotProven::Statement
            },
        );
    }
}

#[test]
fn honest_messages_of_one_or_two_sessions_do_not_contradict_each_other() {
    let (session, rounds) = honest(1);
    let (_, others) = honest(2);
    let all: Vec<_> = rounds.iter().chain(&others).flatten().collect();
    let mut followed = 0;
    for first in &all {
        for second in &all {
            let (one, two) = (first.signed_header(), second.signed_header());
            let equivocation = Evidence::Equivocation {
                session: session.clone(),
                first: one.clone(),
                second: two.clone(),
            };
            assert!(equivocation.verify(&facts()).is_err());
            let contradiction = Evidence::Contradiction {
                session: session.clone(),
                echo: one,
                later: two,
            };
            let refused = contradiction.verify(&facts()).unwrap_err();
            followed += u32::from(refused == NotProven::NoFault);
        }
    }
    // The reveals of two dealers, and their five shares.
    assert_eq!(followed, 7);
}

#[test]
fn honest_packages_open_their_commitments_and_hold_the_parts_of_their_dealers() {
    let (session, rounds) = honest(1);
    let (_, others) = honest(2);
    let source = Held::small().source;
    let opens = |commit: &Envelope, reveal: &Envelope| {
        let evidence = Evidence::FalseReveal {
            session: session.clone(),
            commit: commit.clone(),
            reveal: reveal.clone(),
        };
        evidence.verify(&facts()).unwrap_err()
    };
    for (commit, reveal) in rounds[1].iter().zip(&rounds[3]) {
        assert_eq!(opens(commit, reveal), NotProven::NoFault);
        refuses(
            &constant(&session, source.clone(), reveal),
            NotProven::NoFault,
        );
    }
    assert_eq!(opens(&rounds[1][0], &rounds[3][1]), NotProven::Statement);
    assert_eq!(opens(&rounds[1][0], &others[3][0]), NotProven::Statement);
    for envelope in [&rounds[1][0], &rounds[2][0], &rounds[5][0], &others[3][0]] {
        let evidence = constant(&session, source.clone(), envelope);
        refuses(&evidence, NotProven::Statement);
    }
}

#[test]
fn an_honest_package_beside_another_source_blames_nobody() {
    let (session, rounds) = honest(1);
    let other_key = Held::dealt(quorate_model::Scheme::Bip340, 2, 3, 9).source;
    let refreshed = Held::small().reshare(&[1, 2], &[1, 2, 3], 2, 1).source;
    let mut only_shares = Held::small().source;
    only_shares.verifying_shares = other_key.verifying_shares.clone();
    let mut signed_shares = only_shares.clone();
    signed_shares.statement.verifying_shares =
        verifying_shares_hash(&signed_shares.verifying_shares);
    let mut fewer = Held::small().source;
    fewer.verifying_shares.truncate(2);
    let mut swapped = Held::small().source;
    swapped.verifying_shares.swap(0, 2);

    for source in [
        other_key,
        refreshed,
        only_shares,
        signed_shares,
        fewer,
        swapped,
    ] {
        for reveal in &rounds[3] {
            let evidence = constant(&session, source.clone(), reveal);
            refuses(&evidence, NotProven::OtherSource);
        }
    }
}

#[test]
fn an_honest_package_in_another_session_blames_nobody() {
    let (session, rounds) = honest(1);
    let source = Held::small().source;
    let changes: [fn(&mut SessionPreimage); 6] = [
        // Other coefficients: as if other shares were dealt.
        |s| s.binding.source.as_mut().unwrap().dealers[0].source_index = party(2),
        |s| s.binding.source.as_mut().unwrap().certificate = Digest::ZERO,
        |s| s.binding.source.as_mut().unwrap().epoch = quorate_model::Epoch(0),
        |s| s.binding.threshold = 3,
        |s| s.binding.protocol = "reshare/1/frost-secp256k1".to_owned(),
        |s| s.nonces.swap(0, 1),
    ];
    for change in changes {
        let mut other = session.clone();
        change(&mut other);
        let evidence = constant(&other, source.clone(), &rounds[3][1]);
        refuses(&evidence, NotProven::Statement);
    }
}

#[test]
fn a_session_of_another_shape_or_protocol_is_not_read() {
    let (session, rounds) = honest(1);
    let changes: [fn(&mut SessionPreimage); 6] = [
        |s| s.binding.source = None,
        |s| s.binding.protocol = "dkg/2/bip340".to_owned(),
        |s| s.binding.source.as_mut().unwrap().receivers = 2,
        |s| s.binding.source.as_mut().unwrap().dealers.clear(),
        |s| s.binding.participants.swap(0, 1),
        |s| s.nonces.truncate(3),
    ];
    for change in changes {
        let mut other = session.clone();
        change(&mut other);
        let evidence = constant(&other, Held::small().source, &rounds[3][0]);
        refuses(&evidence, NotProven::Session);
        let hello = Evidence::Malformed {
            session: other.clone(),
            envelope: rounds[0][0].clone(),
        };
        if other.nonces.len() == session.nonces.len() {
            refuses(&hello, NotProven::Session);
        }
    }
}

#[test]
fn a_package_of_key_generation_is_no_wrong_part_of_anything() {
    let cluster = dkg::tests::harness::Cluster::at(round::REVEAL, &[], 1);
    let session = cluster.preimage();
    for reveal in cluster.outgoing.values().flatten() {
        let evidence = constant(&session, Held::small().source, reveal);
        refuses(&evidence, NotProven::OtherSource);
    }
}

#[test]
fn a_message_of_key_generation_in_the_place_of_one_of_resharing_proves_nothing() {
    let proof = lie();
    let slot = Slot {
        protocol: ProtocolId::Dkg,
        ..proof.reveal.header.slot()
    };
    let reveal = Envelope::sign(slot, proof.reveal.body.clone(), &identity(party(1)));

    refuses(
        &constant(&proof.session, proof.source, &reveal),
        NotProven::Statement,
    );
}

type Change<'a> = &'a dyn Fn(&mut ConstantProof);

#[test]
fn a_lie_is_proven_by_its_own_session_source_and_signature_and_by_no_other() {
    let proof = lie();
    let evidence = |change: &dyn Fn(&mut ConstantProof)| {
        let mut changed = proof.clone();
        change(&mut changed);
        Evidence::WrongConstant(Box::new(changed)).verify(&facts())
    };
    let other = Held::dealt(quorate_model::Scheme::Bip340, 2, 3, 9).source;

    assert_eq!(evidence(&|_| ()).unwrap().party, party(DEALER));
    let refused: [(Change<'_>, NotProven); 5] = [
        (&|p| p.source = other.clone(), NotProven::OtherSource),
        (
            &|p| p.source.statement.chain_code = [0; 32],
            NotProven::OtherSource,
        ),
        (&|p| p.session.nonces.swap(0, 1), NotProven::Statement),
        (
            &|p| p.reveal.header.sender = party(BOTH),
            NotProven::Statement,
        ),
        (&|p| p.reveal.body.push(0), NotProven::Statement),
    ];
    for (number, (change, reason)) in refused.into_iter().enumerate() {
        assert_eq!(evidence(change), Err(reason), "change {number}");
    }
}

#[test]
fn a_malformed_hello_of_key_generation_is_none_of_resharing() {
    let (session, rounds) = honest(1);
    let honest = rounds[0][0].header.slot();
    for (protocol, verdict) in [
        (ProtocolId::Dkg, Err(NotProven::Statement)),
        (ProtocolId::Reshare, Ok(Fault::Malformed)),
    ] {
        let slot = Slot { protocol, ..honest };
        let envelope = Envelope::sign(slot, b"gibberish".to_vec(), &identity(party(3)));
        let session = session.clone();
        let evidence = Evidence::Malformed { session, envelope };
        assert_eq!(
            evidence.verify(&facts()).map(|blamed| blamed.fault),
            verdict
        );
    }
}

#[test]
fn two_messages_under_another_protocol_are_no_equivocation_here() {
    let (session, rounds) = honest(1);
    let slot = rounds[1][1].header.slot();
    let verdict = |protocol| {
        let [first, second] = [b"one", b"two"].map(|body| {
            let slot = Slot { protocol, ..slot };
            Envelope::sign(slot, body.to_vec(), &identity(party(1))).signed_header()
        });
        let session = session.clone();
        let evidence = Evidence::Equivocation {
            session,
            first,
            second,
        };
        evidence.verify(&facts()).map(|blamed| blamed.fault)
    };

    assert_eq!(verdict(ProtocolId::Dkg), Err(NotProven::Statement));
    assert_eq!(verdict(ProtocolId::Reshare), Ok(Fault::Equivocation));
}

/// Somebody who deals nothing signs a package: it is nobody's part.
#[test]
fn a_package_of_one_who_does_not_deal_is_no_wrong_part() {
    let cluster = at(round::REVEAL, &[RECEIVER], 1);
    let slot = cluster.slot(party(RECEIVER), None);
    let body = cluster.outgoing[&party(DEALER)][0].body.clone();
    let reveal = Envelope::sign(slot, body, &cluster.identity(party(RECEIVER)));

    let evidence = constant(&cluster.preimage(), Held::small().source, &reveal);

    refuses(&evidence, NotProven::Statement);
}

/// A complaint of a receiver, whose session keys the test makes, about the honest dealer.
struct Frame {
    complaint: Complaint,
    cluster: Cluster,
}

impl Frame {
    fn new(seed: u64) -> Self {
        let secret = [7; 32];
        let mut cluster = at(round::HELLO, &[RECEIVER], seed);
        let said = &cluster.outgoing[&party(RECEIVER)][0];
        let mut hello: Hello = decode(round::HELLO, &said.body).unwrap();
        assert_eq!(hello.session_keys[1].0, party(DEALER));
        hello.session_keys[1].1 = SessionSecretKey::from_revealed(secret).public();
        cluster.play(RECEIVER, &hello);
        cluster.step();
        cluster.step();
        cluster.play_echo(RECEIVER);
        cluster.step();
        cluster.step();
        cluster.play_echo(RECEIVER);
        cluster.step();
        let share = cluster.outgoing[&party(DEALER)][1].clone();
        assert_eq!(share.header.recipient, Some(party(RECEIVER)));
        let complaint = Complaint {
            session: cluster.preimage(),
            hellos: cluster.history[&round::HELLO]
                .iter()
                .map(Envelope::digest)
                .collect(),
            hello: cluster.history[&round::HELLO][1].clone(),
            commit: cluster.history[&round::COMMIT][1].signed_header(),
            reveal: cluster.history[&round::REVEAL][1].clone(),
            share,
            revealed: secret,
        };
        Self { complaint, cluster }
    }

    fn verdict(&self, change: impl FnOnce(&mut Complaint)) -> NotProven {
        let mut complaint = self.complaint.clone();
        change(&mut complaint);
        let evidence = Evidence::BadSubShare(Box::new(complaint));
        evidence.verify(&facts()).unwrap_err()
    }
}

#[test]
fn a_complaint_about_a_good_share_blames_nobody() {
    assert_eq!(Frame::new(3).verdict(|_| ()), NotProven::NoFault);
}

#[test]
fn a_complaint_with_other_keys_statements_or_sessions_blames_nobody() {
    let (frame, other) = (Frame::new(3), Frame::new(4));
    let history = &frame.cluster.history;
    let of_both = frame.cluster.outgoing[&party(BOTH)][0].clone();
    let for_three = frame.cluster.outgoing[&party(DEALER)][2].clone();
    assert_eq!(of_both.header.recipient, Some(party(RECEIVER)));
    let changes: [&dyn Fn(&mut Complaint); 12] = [
        &|complaint| complaint.revealed = [8; 32],
        &|complaint| complaint.share = of_both.clone(),
        &|complaint| complaint.share = for_three.clone(),
        &|complaint| complaint.share = other.complaint.share.clone(),
        &|complaint| complaint.reveal = history[&round::REVEAL][0].clone(),
        &|complaint| complaint.reveal = other.complaint.reveal.clone(),
        &|complaint| complaint.commit = history[&round::COMMIT][0].signed_header(),
        &|complaint| complaint.commit = other.complaint.commit.clone(),
        &|complaint| complaint.hello = history[&round::HELLO][0].clone(),
        &|complaint| complaint.hellos.truncate(3),
        &|complaint| complaint.session = other.complaint.session.clone(),
        &|complaint| complaint.share.body.push(0),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let verdict = frame.verdict(change);
        assert_eq!(verdict, NotProven::Statement, "change {number}");
    }
}

#[test]
fn a_complaint_about_a_bad_share_of_the_same_run_is_proven() {
    let mut frame = Frame::new(3);
    let slot = frame.complaint.share.header.slot();
    let public = SessionSecretKey::from_revealed(frame.complaint.revealed).public();
    let sealed = seal(&public, &slot, &[1; 32], &mut frame.cluster.rng).unwrap();
    let body = encode(&Share { sealed }).unwrap();
    frame.complaint.share = Envelope::sign(slot, body, &identity(party(1)));

    let evidence = Evidence::BadSubShare(Box::new(frame.complaint));

    let blamed = evidence.verify(&facts()).unwrap();
    assert_eq!(
        (blamed.party, blamed.fault),
        (party(DEALER), Fault::BadSubShare)
    );
}

#[test]
fn a_package_of_a_wrong_form_is_judged_as_such_and_not_by_its_constant() {
    let proof = lie();
    let mut reveal: Reveal = decode(round::REVEAL, &proof.reveal.body).unwrap();
    reveal.package.commitments.pop();
    let slot = proof.reveal.header.slot();
    let signed = Envelope::sign(slot, encode(&reveal).unwrap(), &identity(party(1)));

    refuses(
        &constant(&proof.session, proof.source, &signed),
        NotProven::Statement,
    );
}
