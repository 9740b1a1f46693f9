//! For each check one cheat at which exactly that check fires and names exactly the cheat, with
//! evidence that others confirm.

use std::collections::BTreeMap;

use quorate_model::{Digest, PartyIndex};

use super::harness::{
    BOTH, Cluster, DEALER, Held, RECEIVER, all_blame, assert_blameless, assert_refused, at, blames,
    facts, honest_polynomial, package_of, part_of, party,
};
use crate::{
    Fault,
    ceremony::{
        messages::{Commit, Echo, Hello, Reveal, Share, decode, encode},
        terms::view,
    },
    envelope::{Envelope, Slot, seal},
    evidence::Evidence,
    reshare::{Advance, Rejected, round},
    sharing::{Polynomial, ProofOfKnowledge, SecretScalar},
    suite::{Secp, Suite as _, encode_element, encode_scalar},
};

/// A run in which the dealer that only deals deals this package; it is out.
fn deal(package: impl FnOnce(&mut Cluster) -> Reveal) -> Cluster {
    let mut cluster = at(round::COMMIT, &[DEALER], 1);
    let reveal = package(&mut cluster);
    cluster.play_dealers(&[(DEALER, reveal)]);
    cluster
}

fn honest_package(cluster: &mut Cluster) -> Reveal {
    let polynomial = honest_polynomial(cluster, DEALER, 2);
    package_of(cluster, &polynomial)
}

/// The package of a polynomial with this constant term.
fn with_constant(cluster: &mut Cluster, constant: SecretScalar<Secp>, threshold: u16) -> Reveal {
    let polynomial = Polynomial::with_constant(constant, threshold, &mut cluster.rng);
    package_of(cluster, &polynomial)
}

/// Signs this in a place, as whoever stands there.
fn signed(cluster: &Cluster, slot: Slot, body: Vec<u8>) -> Envelope {
    Envelope::sign(slot, body, &cluster.identity(slot.sender))
}

#[test]
fn an_honest_package_of_a_puppet_is_taken() {
    let mut cluster = deal(honest_package);

    cluster.step();
}

#[test]
fn a_wrong_constant_term_names_its_dealer() {
    let lies: [fn(&mut Cluster) -> Reveal; 5] = [
        // Any secret.
        |cluster| {
            let other = Polynomial::<Secp>::random(2, &mut cluster.rng);
            package_of(cluster, &other)
        },
        // The share itself, without its coefficient.
        |cluster| {
            let share = crate::sharing::decode_share(Held::small().shares[&party(1)].expose());
            with_constant(cluster, share.unwrap(), 2)
        },
        // The part of the other dealer.
        |cluster| {
            let part = part_of(cluster, BOTH);
            with_constant(cluster, part, 2)
        },
        // Its part and a little more.
        |cluster| {
            let more = *part_of(cluster, DEALER).expose() + Secp::number(1);
            with_constant(cluster, SecretScalar::new(more), 2)
        },
        // The negative of its part, which has the same x.
        |cluster| {
            let negative = -*part_of(cluster, DEALER).expose();
            with_constant(cluster, SecretScalar::new(negative), 2)
        },
    ];
    for lie in lies {
        let mut cluster = deal(lie);

        all_blame(cluster.end(), DEALER, Fault::WrongConstant);
    }
}

#[test]
fn a_wrong_constant_term_of_one_who_receives_too_names_it() {
    let mut cluster = at(round::COMMIT, &[BOTH], 1);
    let other = Polynomial::<Secp>::random(2, &mut cluster.rng);
    let reveal = package_of(&mut cluster, &other);
    cluster.play_dealers(&[(BOTH, reveal)]);

    all_blame(cluster.end(), BOTH, Fault::WrongConstant);
}

#[test]
fn two_dealers_whose_lies_cancel_out_are_found() {
    let mut cluster = at(round::COMMIT, &[BOTH, DEALER], 1);
    let shift = Secp::number(5);
    let up = *part_of(&cluster, BOTH).expose() + shift;
    let down = *part_of(&cluster, DEALER).expose() - shift;
    let up = with_constant(&mut cluster, SecretScalar::new(up), 2);
    let down = with_constant(&mut cluster, SecretScalar::new(down), 2);
    cluster.play_dealers(&[(BOTH, up), (DEALER, down)]);

    // The sum of the terms is the key, so that only the comparison of each finds it.
    all_blame(cluster.end(), BOTH, Fault::WrongConstant);
}

#[test]
fn a_polynomial_of_the_wrong_degree_names_its_dealer() {
    for threshold in [1, 3] {
        let mut cluster = deal(|cluster| {
            let part = part_of(cluster, DEALER);
            with_constant(cluster, part, threshold)
        });

        all_blame(cluster.end(), DEALER, Fault::WrongDegree);
    }
}

#[test]
fn the_old_degree_is_wrong_where_the_threshold_changes() {
    let held = Held::small();
    let mut cluster = held
        .run(&[1, 3], &[3, 4, 5], 3, 1)
        .go_to(round::COMMIT, &[DEALER]);
    let part = part_of(&cluster, DEALER);
    let reveal = with_constant(&mut cluster, part, 2);
    cluster.play_dealers(&[(DEALER, reveal)]);

    all_blame(cluster.end(), DEALER, Fault::WrongDegree);
}

#[test]
fn the_identity_as_a_commitment_names_its_dealer() {
    for at in [0, 1] {
        let mut cluster = deal(|cluster| {
            let mut reveal = honest_package(cluster);
            reveal.package.commitments[at] = vec![0; 33];
            reveal
        });

        all_blame(cluster.end(), DEALER, Fault::BadPoint);
    }
}

#[test]
fn a_package_with_a_proof_that_nobody_asked_for_names_its_dealer() {
    let mut cluster = deal(|cluster| {
        let polynomial = honest_polynomial(cluster, DEALER, 2);
        let session = cluster.session();
        let mut reveal = package_of(cluster, &polynomial);
        let rng = &mut cluster.rng;
        reveal.package.proof = ProofOfKnowledge::prove(&session, party(DEALER), &polynomial, rng);
        assert!(reveal.package.proof.is_some());
        reveal
    });

    all_blame(cluster.end(), DEALER, Fault::Malformed);
}

#[test]
fn a_package_that_does_not_open_its_commitment_names_its_sender() {
    let mut cluster = deal(honest_package);
    let other = honest_package(&mut cluster);
    cluster.play(DEALER, &other);

    all_blame(cluster.end(), DEALER, Fault::FalseReveal);
}

#[test]
fn a_copied_commitment_cannot_be_opened_and_names_the_copyist() {
    let mut cluster = at(round::COMMIT, &[DEALER], 1);
    let copied: Commit = decode(round::COMMIT, &cluster.outgoing[&party(BOTH)][0].body).unwrap();
    cluster.play(DEALER, &copied);
    cluster.step();
    cluster.play_echo(DEALER);
    cluster.step();
    let copied: Reveal = decode(round::REVEAL, &cluster.outgoing[&party(BOTH)][0].body).unwrap();
    cluster.play(DEALER, &copied);

    all_blame(cluster.end(), DEALER, Fault::FalseReveal);
}

#[test]
fn a_package_with_the_points_of_another_dealer_names_the_copyist() {
    // Two who work together: the commitment is the copyist's own, so it opens.
    let mut cluster = at(round::COMMIT, &[BOTH, DEALER], 1);
    let original = honest_polynomial(&mut cluster, BOTH, 2);
    let packages = [BOTH, DEALER].map(|dealer| (dealer, package_of(&mut cluster, &original)));
    cluster.play_dealers(&packages);

    all_blame(cluster.end(), DEALER, Fault::WrongConstant);
}

#[test]
fn gibberish_names_its_sender_in_every_round_of_a_dealer() {
    for round in [round::COMMIT, round::REVEAL] {
        let mut cluster = at(round, &[DEALER], 1);
        cluster.play(DEALER, &"gibberish gibberish");

        all_blame(cluster.end(), DEALER, Fault::Malformed);
    }
}

/// A run whose hellos are out, with that of one party changed.
fn hello_of(puppet: u16, change: impl FnOnce(&mut Hello)) -> Cluster {
    let mut cluster = at(round::HELLO, &[puppet], 1);
    let envelope = &cluster.outgoing[&party(puppet)][0];
    let mut hello: Hello = decode(round::HELLO, &envelope.body).unwrap();
    change(&mut hello);
    cluster.play(puppet, &hello);
    cluster
}

#[test]
fn hellos_hold_a_key_for_every_dealer_exactly() {
    let keys_of = |index: u16| {
        let cluster = at(round::HELLO, &[], 1);
        let body = &cluster.outgoing[&party(index)][0].body;
        let hello: Hello = decode(round::HELLO, body).unwrap();
        let keys = hello.session_keys.into_iter();
        keys.map(|(dealer, _)| dealer.number()).collect::<Vec<_>>()
    };

    assert_eq!(keys_of(BOTH), [DEALER]);
    assert_eq!(keys_of(RECEIVER), [BOTH, DEALER]);
    assert!(keys_of(DEALER).is_empty());
}

#[test]
fn a_hello_with_other_keys_names_its_sender() {
    type Change = fn(&mut Hello);
    let changes: [(u16, Change); 6] = [
        (RECEIVER, |hello| hello.session_keys.truncate(1)),
        (RECEIVER, |hello| hello.session_keys.reverse()),
        (RECEIVER, |hello| hello.session_keys[0].1 = [0; 32]),
        (RECEIVER, |hello| {
            hello.session_keys.insert(1, (party(3), [9; 32]));
        }),
        (BOTH, |hello| {
            hello.session_keys.insert(0, (party(BOTH), [9; 32]));
        }),
        (DEALER, |hello| {
            hello.session_keys.push((party(BOTH), [9; 32]));
        }),
    ];
    for (puppet, change) in changes {
        let mut cluster = hello_of(puppet, change);

        all_blame(cluster.end(), puppet, Fault::Malformed);
    }
}

#[test]
fn a_commitment_after_other_hellos_ends_the_run_and_names_nobody() {
    let mut cluster = at(round::COMMIT, &[DEALER], 1);
    let body = cluster.outgoing[&party(DEALER)][0].body.clone();
    let slot = Slot {
        previous: Digest::new([9; 32]),
        ..cluster.slot(party(DEALER), None)
    };
    let envelope = signed(&cluster, slot, body);
    cluster.outgoing.insert(party(DEALER), vec![envelope]);

    for outcome in cluster.end().into_values() {
        assert_blameless(outcome, Fault::SplitView);
    }
}

/// A receiver shows its hello with other session keys to one of the others.
#[test]
fn a_split_hello_of_a_receiver_lets_nobody_finish_and_names_nobody() {
    let mut cluster = at(round::HELLO, &[RECEIVER], 1);
    let honest = cluster.outgoing[&party(RECEIVER)].clone();
    let mut hello: Hello = decode(round::HELLO, &honest[0].body).unwrap();
    hello.session_keys[0].1[0] ^= 1;
    let mut next = BTreeMap::new();
    for to in cluster.honest() {
        if to == party(3) {
            cluster.play(RECEIVER, &hello);
        } else {
            cluster.outgoing.insert(party(RECEIVER), honest.clone());
        }
        let inbound = cluster.inbound(to);
        let Advance::Running { machine, outgoing } = cluster.deliver(to, &inbound) else {
            panic!()
        };
        cluster.machines.insert(to, machine);
        next.insert(to, outgoing);
    }
    let commits: Vec<_> = next.into_values().flatten().collect();
    assert_eq!(commits.len(), 2);

    // The session is the same, but not what the dealers say that they saw.
    let outcome = cluster.deliver(party(3), &commits);

    assert_blameless(outcome, Fault::SplitView);
}

/// The dealer says one thing to the party that also deals, and another to the receivers.
fn equivocate_in(round: u8, body: impl Fn(&mut Cluster) -> Vec<u8>) {
    let mut cluster = at(round, &[DEALER], 1);
    let mut echoes = BTreeMap::new();
    for to in cluster.honest() {
        let slot = cluster.slot(party(DEALER), None);
        let body = body(&mut cluster);
        let envelope = signed(&cluster, slot, body);
        cluster.outgoing.insert(party(DEALER), vec![envelope]);
        let inbound = cluster.inbound(to);
        let Advance::Running { machine, outgoing } = cluster.deliver(to, &inbound) else {
            panic!()
        };
        cluster.machines.insert(to, machine);
        echoes.insert(to, outgoing[0].clone());
    }
    for to in cluster.honest() {
        // The dealer echoes to each what it told it.
        let own = echoes[&to].clone();
        let slot = Slot {
            sender: party(DEALER),
            ..own.header.slot()
        };
        let mut inbound: Vec<_> = echoes.values().cloned().collect();
        inbound.push(signed(&cluster, slot, own.body.clone()));

        let outcome = cluster.deliver(to, &inbound);

        blames(outcome, DEALER, Fault::Equivocation);
    }
}

#[test]
fn a_split_view_of_the_commitments_names_whoever_split_it() {
    equivocate_in(round::COMMIT, |cluster| {
        let commitment = Digest::new(cluster.random());
        encode(&Commit { commitment }).unwrap()
    });
}

#[test]
fn two_messages_in_one_delivery_are_equivocation() {
    for round in round::COMMIT..=round::REVEAL_ECHO {
        let mut cluster = at(round, &[DEALER], 1);
        let mut inbound = cluster.inbound(party(RECEIVER));
        let slot = cluster.slot(party(DEALER), None);
        inbound.push(signed(&cluster, slot, b"other".to_vec()));

        let outcome = cluster.deliver(party(RECEIVER), &inbound);

        blames(outcome, DEALER, Fault::Equivocation);
    }
}

#[test]
fn two_echoes_of_a_receiver_are_equivocation() {
    let mut cluster = at(round::REVEAL_ECHO, &[RECEIVER], 1);
    let slot = cluster.slot(party(RECEIVER), None);
    let other = signed(&cluster, slot, b"other".to_vec());
    cluster
        .outgoing
        .get_mut(&party(RECEIVER))
        .unwrap()
        .push(other);

    all_blame(cluster.end(), RECEIVER, Fault::Equivocation);
}

#[test]
fn a_false_echo_names_its_sender_whether_it_deals_or_receives() {
    let changes: [fn(&Cluster, &mut Echo); 4] = [
        |_, echo| echo.seen.truncate(1),
        |_, echo| echo.seen.swap(0, 1),
        |_, echo| echo.seen[0].header.body_hash = Digest::ZERO,
        // What a receiver said stands among what the dealers said.
        |cluster, echo| echo.seen.insert(1, cluster.seen(round::HELLO)[1].clone()),
    ];
    for puppet in [RECEIVER, DEALER] {
        for change in changes {
            let mut cluster = at(round::COMMIT_ECHO, &[puppet], 1);
            let mut echo = Echo {
                seen: cluster.seen(round::COMMIT),
            };
            assert_eq!(echo.seen.len(), 2);
            change(&cluster, &mut echo);
            let digests: Vec<_> = echo.seen.iter().map(|seen| seen.header.digest()).collect();
            let slot = Slot {
                previous: view(&cluster.session(), round::COMMIT, &digests),
                ..cluster.slot(party(puppet), None)
            };
            let envelope = signed(&cluster, slot, encode(&echo).unwrap());
            cluster.outgoing.insert(party(puppet), vec![envelope]);

            all_blame(cluster.end(), puppet, Fault::FalseEcho);
        }
    }
}

#[test]
fn a_message_that_contradicts_its_own_echo_names_its_sender() {
    for round in [round::REVEAL, round::SHARE] {
        let mut cluster = at(round, &[DEALER], 1);
        let said = cluster.outgoing[&party(DEALER)].clone();
        let changed = said
            .into_iter()
            .map(|envelope| {
                let slot = Slot {
                    previous: Digest::ZERO,
                    ..envelope.header.slot()
                };
                signed(&cluster, slot, envelope.body)
            })
            .collect();
        cluster.outgoing.insert(party(DEALER), changed);

        all_blame(cluster.end(), DEALER, Fault::Contradiction);
    }
}

fn session_key(cluster: &Cluster, recipient: PartyIndex, dealer: u16) -> [u8; 32] {
    let mut hellos = cluster.history[&round::HELLO].iter();
    let hello = hellos.find(|hello| hello.header.sender == recipient);
    let hello: Hello = decode(round::HELLO, &hello.unwrap().body).unwrap();
    let mut keys = hello.session_keys.into_iter();
    keys.find(|(from, _)| *from == party(dealer)).unwrap().1
}

/// A run in which the dealer deals honestly but for the bytes that it seals for everybody.
fn share_of_dealer(plaintext: impl Fn(&Polynomial<Secp>, PartyIndex) -> Vec<u8>) -> Cluster {
    let mut polynomial = None;
    let mut cluster = deal(|cluster| {
        let own = honest_polynomial(cluster, DEALER, 2);
        let reveal = package_of(cluster, &own);
        polynomial = Some(own);
        reveal
    });
    let polynomial = polynomial.unwrap();
    cluster.step();
    cluster.play_echo(DEALER);
    cluster.step();
    let shares = PartyIndex::first(3)
        .map(|to| {
            let slot = cluster.slot(party(DEALER), Some(to));
            let key = session_key(&cluster, to, DEALER);
            let sealed = seal(&key, &slot, &plaintext(&polynomial, to), &mut cluster.rng).unwrap();
            signed(&cluster, slot, encode(&Share { sealed }).unwrap())
        })
        .collect();
    cluster.outgoing.insert(party(DEALER), shares);
    cluster
}

#[test]
fn the_honest_share_of_a_puppet_is_taken() {
    let mut cluster = share_of_dealer(|own, to| own.evaluate(to).to_bytes().to_vec());

    for outcome in cluster.end().into_values() {
        assert!(matches!(outcome, Advance::Finished { .. }), "{outcome:?}");
    }
}

#[test]
fn a_share_that_does_not_fit_its_commitments_names_its_dealer() {
    type Plaintext = fn(&Polynomial<Secp>, PartyIndex) -> Vec<u8>;
    let plaintexts: [Plaintext; 4] = [
        |own, to| {
            let share = *own.evaluate(to).expose() + Secp::number(1);
            encode_scalar::<Secp>(&share).to_vec()
        },
        |own, _| own.evaluate(party(DEALER)).to_bytes().to_vec(),
        |_, _| vec![0xff; 32],
        |own, to| own.evaluate(to).to_bytes()[..31].to_vec(),
    ];
    for plaintext in plaintexts {
        let mut cluster = share_of_dealer(plaintext);
        let outcomes = cluster.end();
        assert_eq!(outcomes.len(), 3);

        all_blame(outcomes, DEALER, Fault::BadSubShare);
    }
}

#[test]
fn a_complaint_goes_out_as_the_last_message_and_convinces_whoever_reads_it() {
    let mut cluster = share_of_dealer(|_, _| vec![1; 32]);
    let inbound = cluster.inbound(party(RECEIVER));

    let outcome = cluster.deliver(party(RECEIVER), &inbound);

    let Advance::Aborted { outgoing, .. } = outcome else {
        panic!()
    };
    let [complaint] = outgoing.as_slice() else {
        panic!()
    };
    assert_eq!(complaint.header.round, round::COMPLAINT);
    assert_eq!(complaint.header.sender, party(RECEIVER));
    let evidence = Evidence::from_bytes(&complaint.body).unwrap();
    assert_eq!(evidence.verify(&facts()).unwrap().party, party(DEALER));
}

#[test]
fn a_share_that_is_not_one_names_its_dealer_without_revealing_a_key() {
    let mut cluster = at(round::SHARE, &[DEALER], 1);
    let said = cluster.outgoing[&party(DEALER)].clone();
    let changed = said
        .into_iter()
        .map(|envelope| signed(&cluster, envelope.header.slot(), b"gibberish".to_vec()))
        .collect();
    cluster.outgoing.insert(party(DEALER), changed);

    all_blame(cluster.end(), DEALER, Fault::Malformed);
}

#[test]
fn what_a_receiver_says_in_a_round_of_the_dealers_is_dropped() {
    for round in [round::COMMIT, round::REVEAL, round::SHARE] {
        let recipient = (round == round::SHARE).then(|| party(BOTH));
        let whole = || at(round, &[RECEIVER], 1);
        let mut cluster = whole();
        let slot = cluster.slot(party(RECEIVER), recipient);
        let body = cluster.outgoing[&party(BOTH)][0].body.clone();
        let stray = signed(&cluster, slot, body);
        let mut inbound = cluster.inbound(party(BOTH));
        inbound.push(stray.clone());
        assert!(matches!(
            cluster.deliver(party(BOTH), &inbound),
            Advance::Running { .. } | Advance::Finished { .. }
        ));

        // It never stands for what is missing.
        let mut cluster = whole();
        let mut inbound = cluster.inbound(party(BOTH));
        inbound.retain(|envelope| envelope.header.sender != party(DEALER));
        inbound.push(stray);
        let outcome = cluster.deliver(party(BOTH), &inbound);
        assert_refused(outcome, &Rejected::Stranger(party(RECEIVER)));
    }
}

#[test]
fn parts_are_what_the_certificate_says_that_they_are() {
    let cluster = at(round::COMMIT, &[], 1);
    let held = Held::small();
    let sum = *part_of(&cluster, BOTH).expose() + *part_of(&cluster, DEALER).expose();

    let key = encode_element::<Secp>(&Secp::mul_base(&sum)).unwrap();

    assert_eq!(key, held.source.statement.group_key);
}
