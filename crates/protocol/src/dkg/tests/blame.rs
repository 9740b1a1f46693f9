//! For each check one cheat at which exactly that check fires and names exactly the cheat, with
//! evidence that others confirm.

use quorate_model::{Digest, PartyIndex};

use super::harness::{
    Cluster, assert_all_blame, assert_blameless, assert_blames, facts, identity, party,
};
use crate::{
    Fault,
    ceremony::{
        messages::{Commit, Echo, Hello, Package, Reveal, Share, decode, encode},
        terms::view,
    },
    dkg::{Advance, round},
    envelope::{Envelope, Slot, seal},
    evidence::{Evidence, NotProven},
    sharing::{Polynomial, ProofOfKnowledge},
    suite::{Secp, Suite as _, encode_scalar},
};

fn honest_package(cluster: &mut Cluster, dealer: u16, threshold: u16) -> Reveal {
    let polynomial = Polynomial::<Secp>::random(threshold, &mut cluster.rng);
    package_of(cluster, dealer, &polynomial)
}

fn package_of(cluster: &mut Cluster, dealer: u16, polynomial: &Polynomial<Secp>) -> Reveal {
    let session = cluster.session();
    let proof =
        ProofOfKnowledge::prove(&session, party(dealer), polynomial, &mut cluster.rng).unwrap();
    let commitments = polynomial.commit().encode().unwrap();
    let proof = Some(proof);
    Reveal {
        package: Package { commitments, proof },
        opening: cluster.random(),
    }
}

/// A run in which party 2 deals this package.
fn deal(package: impl FnOnce(&mut Cluster) -> Reveal) -> Cluster {
    let mut cluster = Cluster::at(round::COMMIT, &[2], 1);
    let reveal = package(&mut cluster);
    cluster.play_dealers(&[(2, reveal)]);
    cluster
}

#[test]
fn an_honest_package_of_a_puppet_is_taken() {
    let mut cluster = deal(|cluster| honest_package(cluster, 2, 2));

    cluster.step();
}

#[test]
fn a_false_reveal_names_its_sender() {
    let mut cluster = deal(|cluster| honest_package(cluster, 2, 2));
    let other = honest_package(&mut cluster, 2, 2);
    cluster.play(2, &other);

    assert_all_blame(cluster.end(), 2, Fault::FalseReveal);
}

#[test]
fn a_false_opening_names_its_sender() {
    let mut cluster = deal(|cluster| honest_package(cluster, 2, 2));
    let mut reveal: Reveal = decode(round::REVEAL, &cluster.outgoing[&party(2)][0].body).unwrap();
    reveal.opening[0] ^= 1;
    cluster.play(2, &reveal);

    assert_all_blame(cluster.end(), 2, Fault::FalseReveal);
}

#[test]
fn a_copied_commitment_cannot_be_opened_and_names_the_copyist() {
    let mut cluster = Cluster::at(round::COMMIT, &[2], 1);
    let copied: Commit = decode(round::COMMIT, &cluster.outgoing[&party(1)][0].body).unwrap();
    cluster.play(2, &copied);
    cluster.step();
    cluster.play_echo(2);
    cluster.step();
    let copied: Reveal = decode(round::REVEAL, &cluster.outgoing[&party(1)][0].body).unwrap();
    cluster.play(2, &copied);

    assert_all_blame(cluster.end(), 2, Fault::FalseReveal);
}

#[test]
fn a_polynomial_of_the_wrong_degree_names_its_dealer() {
    for threshold in [1, 3] {
        let mut cluster = deal(|cluster| honest_package(cluster, 2, threshold));

        assert_all_blame(cluster.end(), 2, Fault::WrongDegree);
    }
}

#[test]
fn the_identity_as_a_commitment_names_its_dealer() {
    for at in [0, 1] {
        let mut cluster = deal(|cluster| {
            let mut reveal = honest_package(cluster, 2, 2);
            reveal.package.commitments[at] = vec![0; 33];
            reveal
        });

        assert_all_blame(cluster.end(), 2, Fault::BadPoint);
    }
}

#[test]
fn no_proof_or_that_of_another_dealer_session_or_term_names_its_dealer() {
    let foreign: [fn(&mut Cluster) -> Reveal; 4] = [
        |cluster| {
            let mut reveal = honest_package(cluster, 2, 2);
            reveal.package.proof = None;
            reveal
        },
        |cluster| honest_package(cluster, 3, 2),
        |cluster| {
            let polynomial = Polynomial::<Secp>::random(2, &mut cluster.rng);
            let session = Digest::new([9; 32]);
            let proof =
                ProofOfKnowledge::prove(&session, party(2), &polynomial, &mut cluster.rng).unwrap();
            let commitments = polynomial.commit().encode().unwrap();
            let proof = Some(proof);
            Reveal {
                package: Package { commitments, proof },
                opening: [0; 32],
            }
        },
        |cluster| {
            let mut reveal = honest_package(cluster, 2, 2);
            reveal.package.commitments.swap(0, 1);
            reveal
        },
    ];
    for package in foreign {
        let mut cluster = deal(package);

        assert_all_blame(cluster.end(), 2, Fault::BadProof);
    }
}

#[test]
fn a_package_that_is_not_one_names_its_sender() {
    let mut cluster = deal(|cluster| honest_package(cluster, 2, 2));
    cluster.play(2, &"gibberish");

    assert_all_blame(cluster.end(), 2, Fault::Malformed);
}

#[test]
fn equal_constant_terms_are_refused_and_name_nobody() {
    let mut cluster = Cluster::at(round::COMMIT, &[2, 3], 1);
    let polynomial = Polynomial::<Secp>::random(2, &mut cluster.rng);
    let dealers = [2, 3].map(|dealer| (dealer, package_of(&mut cluster, dealer, &polynomial)));
    cluster.play_dealers(&dealers);

    for outcome in cluster.end().into_values() {
        assert_blameless(outcome, Fault::EqualCommitments);
    }
}

#[test]
fn a_commitment_that_is_not_one_names_its_sender() {
    let mut cluster = Cluster::at(round::COMMIT, &[2], 1);
    cluster.play(2, &[1u8, 2, 3].as_slice());

    assert_all_blame(cluster.end(), 2, Fault::Malformed);
}

#[test]
fn a_commitment_after_other_hellos_ends_the_run_and_names_nobody() {
    let mut cluster = Cluster::at(round::COMMIT, &[2], 1);
    let body = encode(&Commit {
        commitment: Digest::ZERO,
    })
    .unwrap();
    let slot = Slot {
        previous: Digest::new([9; 32]),
        ..cluster.slot(party(2), None)
    };
    cluster.outgoing.insert(
        party(2),
        vec![Envelope::sign(slot, body, &identity(party(2)))],
    );

    for outcome in cluster.end().into_values() {
        assert_blameless(outcome, Fault::SplitView);
    }
}

/// A run whose hellos are out, with that of party 2 changed.
fn hello_of_two(change: impl FnOnce(&mut Hello, &mut Slot)) -> Cluster {
    let mut cluster = Cluster::at(round::HELLO, &[2], 1);
    let envelope = &cluster.outgoing[&party(2)][0];
    let mut hello: Hello = decode(round::HELLO, &envelope.body).unwrap();
    let mut slot = envelope.header.slot();
    change(&mut hello, &mut slot);
    let envelope = Envelope::sign(slot, encode(&hello).unwrap(), &identity(party(2)));
    cluster.outgoing.insert(party(2), vec![envelope]);
    cluster
}

#[test]
fn a_hello_without_a_usable_key_for_every_sender_names_its_sender() {
    let changes: [fn(&mut Hello, &mut Slot); 6] = [
        |hello, _| hello.session_keys.truncate(1),
        |hello, _| hello.session_keys.reverse(),
        |hello, _| hello.session_keys[1] = hello.session_keys[0],
        |hello, _| hello.session_keys.push((party(4), [9; 32])),
        |hello, _| hello.session_keys[0].1 = [0; 32],
        |_, slot| slot.previous = Digest::new([9; 32]),
    ];
    for change in changes {
        let mut cluster = hello_of_two(change);

        assert_all_blame(cluster.end(), 2, Fault::Malformed);
    }
}

#[test]
fn an_equivocating_commitment_is_found_by_the_echoes() {
    equivocate_in(round::COMMIT, |cluster| {
        encode(&Commit {
            commitment: Digest::new(cluster.random()),
        })
        .unwrap()
    });
}

#[test]
fn one_package_with_two_pasts_is_equivocation() {
    let cluster = deal(|cluster| honest_package(cluster, 2, 2));
    let reveal = cluster.outgoing[&party(2)][0].clone();
    // The same package with another hash of the past: two statements in one place.
    let slot = Slot {
        previous: Digest::ZERO,
        ..reveal.header.slot()
    };
    let other = Envelope::sign(slot, reveal.body.clone(), &identity(party(2)));
    let honest = [reveal.signed_header(), other.signed_header()];

    let evidence = Evidence::Equivocation {
        session: cluster.preimage(),
        first: honest[0].clone(),
        second: honest[1].clone(),
    };

    assert_eq!(
        evidence.verify(&facts()).unwrap().fault,
        Fault::Equivocation
    );
}

/// Party 2 says one thing to party 1 and another to party 3 in this round.
fn equivocate_in(round: u8, body: impl Fn(&mut Cluster) -> Vec<u8>) {
    let mut cluster = Cluster::at(round, &[2], 1);
    let mut echoes = std::collections::BTreeMap::new();
    for to in cluster.honest() {
        let slot = cluster.slot(party(2), None);
        let body = body(&mut cluster);
        cluster.outgoing.insert(
            party(2),
            vec![Envelope::sign(slot, body, &identity(party(2)))],
        );
        let inbound = cluster.inbound(to);
        let Advance::Running { machine, outgoing } = cluster.deliver(to, &inbound) else {
            panic!()
        };
        cluster.machines.insert(to, machine);
        echoes.insert(to, outgoing);
    }
    // Party 2 echoes to each what it told it.
    for to in cluster.honest() {
        let own = echoes[&to][0].clone();
        let slot = Slot {
            sender: party(2),
            ..own.header.slot()
        };
        let two = Envelope::sign(slot, own.body.clone(), &identity(party(2)));
        let inbound = [
            echoes[&party(1)][0].clone(),
            two,
            echoes[&party(3)][0].clone(),
        ];

        let outcome = cluster.deliver(to, &inbound);

        assert_blames(outcome, 2, Fault::Equivocation);
    }
}

#[test]
fn two_messages_in_one_delivery_are_equivocation() {
    for round in [
        round::COMMIT,
        round::COMMIT_ECHO,
        round::REVEAL,
        round::REVEAL_ECHO,
    ] {
        let mut cluster = Cluster::at(round, &[2], 1);
        let mut inbound = cluster.inbound(party(1));
        let slot = cluster.slot(party(2), None);
        inbound.push(Envelope::sign(slot, b"other".to_vec(), &identity(party(2))));

        let outcome = cluster.deliver(party(1), &inbound);

        assert_blames(outcome, 2, Fault::Equivocation);
    }
}

#[test]
fn two_shares_for_one_recipient_are_equivocation() {
    let mut cluster = Cluster::at(round::SHARE, &[2], 1);
    let mut inbound = cluster.inbound(party(1));
    let slot = cluster.slot(party(2), Some(party(1)));
    inbound.push(Envelope::sign(slot, b"other".to_vec(), &identity(party(2))));

    let outcome = cluster.deliver(party(1), &inbound);

    assert_blames(outcome, 2, Fault::Equivocation);
}

#[test]
fn a_false_echo_names_its_sender() {
    let changes: [fn(&Cluster, &mut Echo); 6] = [
        |_, echo| echo.seen.truncate(2),
        |_, echo| echo.seen.swap(0, 1),
        |_, echo| echo.seen[0].header.body_hash = Digest::ZERO,
        |cluster, echo| echo.seen[0] = cluster.seen(round::HELLO)[0].clone(),
        |cluster, echo| {
            let slot = cluster.history[&round::COMMIT][0].header.slot();
            let forged = Envelope::sign(slot, b"forged".to_vec(), &identity(party(2)));
            echo.seen[0] = forged.signed_header();
        },
        |_, echo| {
            let again = echo.seen[2].clone();
            echo.seen.push(again);
        },
    ];
    for change in changes {
        let mut cluster = Cluster::at(round::COMMIT_ECHO, &[2], 1);
        let mut echo = Echo {
            seen: cluster.seen(round::COMMIT),
        };
        change(&cluster, &mut echo);
        play_view(&mut cluster, &echo);

        assert_all_blame(cluster.end(), 2, Fault::FalseEcho);
    }
}

/// Party 2 echoes this, under a header that names it, so that only the list can be wrong.
fn play_view(cluster: &mut Cluster, echo: &Echo) {
    let digests: Vec<_> = echo.seen.iter().map(|seen| seen.header.digest()).collect();
    let previous = view(&cluster.session(), round::COMMIT, &digests);
    let slot = Slot {
        previous,
        ..cluster.slot(party(2), None)
    };
    let envelope = Envelope::sign(slot, encode(echo).unwrap(), &identity(party(2)));
    cluster.outgoing.insert(party(2), vec![envelope]);
}

#[test]
fn an_echo_whose_header_names_another_view_names_its_sender() {
    for round in [round::COMMIT_ECHO, round::REVEAL_ECHO] {
        let mut cluster = Cluster::at(round, &[2], 1);
        let body = cluster.outgoing[&party(2)][0].body.clone();
        let slot = Slot {
            previous: Digest::ZERO,
            ..cluster.slot(party(2), None)
        };
        cluster.outgoing.insert(
            party(2),
            vec![Envelope::sign(slot, body, &identity(party(2)))],
        );

        assert_all_blame(cluster.end(), 2, Fault::FalseEcho);
    }
}

#[test]
fn an_echo_that_is_not_one_names_its_sender() {
    let mut cluster = Cluster::at(round::REVEAL_ECHO, &[2], 1);
    cluster.play(2, &"gibberish");

    assert_all_blame(cluster.end(), 2, Fault::Malformed);
}

#[test]
fn an_echo_that_reports_another_message_of_its_reader_ends_the_run() {
    let mut cluster = Cluster::at(round::COMMIT_ECHO, &[2], 1);
    let mut echo = Echo {
        seen: cluster.seen(round::COMMIT),
    };
    let slot = cluster.history[&round::COMMIT][0].header.slot();
    let clone = Envelope::sign(slot, b"clone".to_vec(), &identity(party(1)));
    echo.seen[0] = clone.signed_header();
    play_view(&mut cluster, &echo);

    let mut outcomes = cluster.end();

    assert_blameless(outcomes.remove(&party(1)).unwrap(), Fault::Impersonated);
    assert_blames(outcomes.remove(&party(3)).unwrap(), 1, Fault::Equivocation);
}

#[test]
fn a_message_that_contradicts_its_own_echo_names_its_sender() {
    let mut cluster = deal(|cluster| honest_package(cluster, 2, 2));
    let reveal = cluster.outgoing[&party(2)][0].clone();
    let slot = Slot {
        previous: Digest::ZERO,
        ..reveal.header.slot()
    };
    cluster.outgoing.insert(
        party(2),
        vec![Envelope::sign(slot, reveal.body, &identity(party(2)))],
    );

    assert_all_blame(cluster.end(), 2, Fault::Contradiction);
}

#[test]
fn a_share_that_contradicts_the_echo_before_it_names_its_dealer() {
    let mut cluster = Cluster::at(round::SHARE, &[2], 1);
    for share in cluster.outgoing.get_mut(&party(2)).unwrap() {
        let slot = Slot {
            previous: Digest::ZERO,
            ..share.header.slot()
        };
        *share = Envelope::sign(slot, share.body.clone(), &identity(party(2)));
    }

    assert_all_blame(cluster.end(), 2, Fault::Contradiction);
}

#[test]
fn a_share_that_is_not_one_names_its_dealer_without_revealing_a_key() {
    let mut cluster = Cluster::at(round::SHARE, &[2], 1);
    for share in cluster.outgoing.get_mut(&party(2)).unwrap() {
        *share = Envelope::sign(
            share.header.slot(),
            b"gibberish".to_vec(),
            &identity(party(2)),
        );
    }

    assert_all_blame(cluster.end(), 2, Fault::Malformed);
}

type Plaintext = fn(&Polynomial<Secp>, PartyIndex) -> Vec<u8>;

fn session_key(cluster: &Cluster, recipient: PartyIndex, dealer: PartyIndex) -> [u8; 32] {
    let hello = cluster.history[&round::HELLO]
        .iter()
        .find(|hello| hello.header.sender == recipient)
        .unwrap();
    let hello: Hello = decode(round::HELLO, &hello.body).unwrap();
    hello
        .session_keys
        .iter()
        .find(|(from, _)| *from == dealer)
        .unwrap()
        .1
}

/// A run in which party 2 deals honestly but for the bytes that it seals for everybody.
fn share_of_two(plaintext: impl Fn(&Polynomial<Secp>, PartyIndex) -> Vec<u8>) -> Cluster {
    let mut polynomial = None;
    let mut cluster = deal(|cluster| {
        let own = Polynomial::<Secp>::random(2, &mut cluster.rng);
        let reveal = package_of(cluster, 2, &own);
        polynomial = Some(own);
        reveal
    });
    let polynomial = polynomial.unwrap();
    cluster.step();
    cluster.play_echo(2);
    cluster.step();
    let shares = cluster
        .honest()
        .into_iter()
        .map(|to| {
            let slot = cluster.slot(party(2), Some(to));
            let key = session_key(&cluster, to, party(2));
            let sealed = seal(&key, &slot, &plaintext(&polynomial, to), &mut cluster.rng).unwrap();
            Envelope::sign(
                slot,
                encode(&Share { sealed }).unwrap(),
                &identity(party(2)),
            )
        })
        .collect();
    cluster.outgoing.insert(party(2), shares);
    cluster
}

#[test]
fn the_honest_share_of_a_puppet_is_taken() {
    let mut cluster = share_of_two(|polynomial, to| polynomial.evaluate(to).to_bytes().to_vec());

    for outcome in cluster.end().into_values() {
        assert!(matches!(outcome, Advance::Finished { .. }), "{outcome:?}");
    }
}

#[test]
fn a_share_that_does_not_fit_its_commitments_names_its_dealer() {
    let plaintexts: [Plaintext; 4] = [
        |polynomial, to| {
            let share = *polynomial.evaluate(to).expose() + Secp::number(1);
            encode_scalar::<Secp>(&share).to_vec()
        },
        |polynomial, _| polynomial.evaluate(party(2)).to_bytes().to_vec(),
        |_, _| vec![0xff; 32],
        |polynomial, to| polynomial.evaluate(to).to_bytes()[..31].to_vec(),
    ];
    for plaintext in plaintexts {
        let mut cluster = share_of_two(plaintext);

        assert_all_blame(cluster.end(), 2, Fault::BadSubShare);
    }
}

#[test]
fn a_share_that_does_not_open_names_its_dealer() {
    let mut cluster = Cluster::at(round::SHARE, &[2], 1);
    for envelope in cluster.outgoing.get_mut(&party(2)).unwrap() {
        let mut share: Share = decode(round::SHARE, &envelope.body).unwrap();
        share.sealed.ciphertext[0] ^= 1;
        let body = encode(&share).unwrap();
        *envelope = Envelope::sign(envelope.header.slot(), body, &identity(party(2)));
    }

    assert_all_blame(cluster.end(), 2, Fault::BadSubShare);
}

#[test]
fn a_complaint_goes_out_to_everybody_as_the_last_message() {
    let mut cluster = share_of_two(|_, _| vec![1; 32]);
    let inbound = cluster.inbound(party(1));

    let outcome = cluster.deliver(party(1), &inbound);

    let Advance::Aborted { abort, outgoing } = outcome else {
        panic!()
    };
    let [complaint] = outgoing.as_slice() else {
        panic!()
    };
    assert_eq!(complaint.header.round, round::COMPLAINT);
    assert_eq!(complaint.header.sender, party(1));
    assert_eq!(complaint.header.recipient, None);
    assert!(
        complaint
            .verify(&identity(party(1)).verifying_key())
            .is_ok()
    );
    let evidence = Evidence::from_bytes(&complaint.body).unwrap();
    assert_eq!(Some(&evidence), abort.evidence());
    assert_eq!(evidence.verify(&facts()).unwrap().party, party(2));
}

#[test]
fn evidence_of_one_session_does_not_hold_in_another() {
    let mut cluster = deal(|cluster| honest_package(cluster, 2, 3));
    let outcome = cluster.end().remove(&party(1)).unwrap();
    let evidence = assert_blames(outcome, 2, Fault::WrongDegree);
    let Evidence::FalseReveal {
        mut session,
        commit,
        reveal,
    } = evidence
    else {
        panic!()
    };
    session.binding.threshold = 3;

    let other = Evidence::FalseReveal {
        session,
        commit,
        reveal,
    };

    assert_eq!(other.verify(&facts()), Err(NotProven::Statement));
}
