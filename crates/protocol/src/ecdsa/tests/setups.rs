//! What a session does not start with, what parties must agree on, and broadcasts that are false.

use std::collections::BTreeSet;

use quorate_model::{Digest, Epoch, SessionBinding};
use serde::Serialize;

use super::{
    super::{
        Advance, SetupError,
        pairing::{self, Commits, Echo},
        signing,
        terms::Hello,
    },
    harness::{Cluster, Holders, Run, assert_refused, identities},
};
use crate::{
    Fault,
    ceremony::{
        Rejected,
        harness::{facts, identity, node, party, some_source, state},
        terms::view,
    },
    envelope::{Envelope, ProtocolId, SignedHeader, Slot},
    evidence::{Blamed, Evidence, NotProven},
};

const SIGNERS: [u16; 3] = [1, 2, 4];

fn sign_with(change: impl FnOnce(&mut signing::Setup<'_>), key: u16) -> Result<(), SetupError> {
    let holders = Holders::stand_in();
    let (share, pairings) = (holders.share(1), holders.pairings(1));
    let mut setup = holders.signing(&share, &pairings, &SIGNERS, [1; 32], None);
    change(&mut setup);
    let mut rng = holders.pair(&[1, 2], 1).rng;
    signing::start(setup, &identity(party(key)), &mut rng).map(|_| ())
}

fn pair_with(change: impl FnOnce(&mut pairing::Setup<'_>)) -> Result<(), SetupError> {
    let holders = Holders::stand_in();
    let share = holders.share(1);
    let mut setup = pairing::Setup {
        engine: holders.engine,
        roster_key_of: identities(&SIGNERS),
        share: &share,
        binding: holders.binding(pairing::PROTOCOL, &SIGNERS),
        state: state(1),
    };
    change(&mut setup);
    let mut rng = holders.pair(&[1, 2], 1).rng;
    pairing::start(setup, &identity(party(1)), &mut rng).map(|_| ())
}

type Change = fn(&mut SessionBinding);

/// Changes to a binding that neither protocol starts with.
fn foreign_bindings() -> Vec<(Change, SetupError)> {
    vec![
        (
            |b| b.protocol = "dkg/2/ed25519".to_owned(),
            SetupError::Protocol,
        ),
        (|b| b.key = "other".parse().unwrap(), SetupError::Binding),
        (|b| b.target_epoch = Epoch(2), SetupError::Binding),
        (|b| b.source = Some(some_source()), SetupError::Binding),
        (|b| b.threshold = 2, SetupError::Binding),
        (|b| b.participants.reverse(), SetupError::Participants),
        (
            |b| b.participants[2] = b.participants[1].clone(),
            SetupError::Participants,
        ),
        (
            |b| b.participants[2].index = party(6),
            SetupError::Participants,
        ),
    ]
}

#[test]
fn a_session_for_another_key_epoch_or_shape_does_not_start() {
    assert_eq!(sign_with(|_| (), 1), Ok(()));
    assert_eq!(pair_with(|_| ()), Ok(()));
    for (change, error) in foreign_bindings() {
        assert_eq!(sign_with(|setup| change(&mut setup.binding), 1), Err(error));
        assert_eq!(pair_with(|setup| change(&mut setup.binding)), Err(error));
    }
    let fewer = |binding: &mut SessionBinding| binding.participants.truncate(1);
    let of_fewer = Err(SetupError::Participants);
    assert_eq!(sign_with(|setup| fewer(&mut setup.binding), 1), of_fewer);
    assert_eq!(pair_with(|setup| fewer(&mut setup.binding)), of_fewer);
}

#[test]
fn more_or_fewer_than_t_signers_do_not_start() {
    for signers in [vec![1, 2], vec![1, 2, 3, 4]] {
        let refused = sign_with(
            |setup| {
                setup.binding = Holders::stand_in().binding(signing::PROTOCOL, &signers);
                setup.roster_key_of = identities(&signers);
            },
            1,
        );

        assert_eq!(refused, Err(SetupError::Participants));
    }
}

#[test]
fn a_signer_outside_of_the_set_or_with_another_key_does_not_start() {
    let without = sign_with(
        |setup| {
            setup.binding = Holders::stand_in().binding(signing::PROTOCOL, &[2, 3, 4]);
            setup.roster_key_of = identities(&[2, 3, 4]);
        },
        1,
    );

    assert_eq!(without, Err(SetupError::NotParticipant));
    assert_eq!(sign_with(|_| (), 2), Err(SetupError::NotParticipant));
}

#[test]
fn every_participant_has_an_identity_key_of_its_own() {
    let twice = identity(party(1)).verifying_key();
    let changes: [fn(&mut signing::Setup<'_>, _); 3] = [
        |setup, _| {
            setup.roster_key_of.remove(&party(4));
        },
        |setup, key| {
            setup.roster_key_of.insert(party(5), key);
        },
        |setup, key| {
            setup.roster_key_of.insert(party(4), key);
        },
    ];
    for change in changes {
        let refused = sign_with(|setup| change(setup, twice), 1);
        assert_eq!(refused, Err(SetupError::IdentityKeys));
    }
}

#[test]
fn a_signature_without_a_pairing_or_with_a_tweak_too_large_does_not_start() {
    let holders = Holders::stand_in();
    let mut lacking = holders.pairings(1);
    lacking.forget(party(2));
    let (lacking, foreign) = (&*Box::leak(Box::new(lacking)), holders.pairings(2));
    let foreign = &*Box::leak(Box::new(foreign));

    let refused = Err(SetupError::Pairings);
    assert_eq!(sign_with(|setup| setup.pairings = lacking, 1), refused);
    assert_eq!(sign_with(|setup| setup.pairings = foreign, 1), refused);
    let tweaked = sign_with(|setup| setup.tweak = Some([0xff; 32]), 1);
    assert_eq!(tweaked, Err(SetupError::Tweak));
}

/// Signers that were told different things have no session in common, so nothing can go wrong
/// between them.
#[test]
fn signers_that_disagree_about_what_is_signed_never_meet() {
    let holders = Holders::stand_in();
    let changes: [fn(&mut signing::Setup<'_>); 6] = [
        |setup| setup.digest = [2; 32],
        |setup| setup.tweak = Some([1; 32]),
        |setup| setup.binding.command = Digest::new([9; 32]),
        |setup| setup.binding.payload_index = 1,
        |setup| setup.binding.roster = Digest::new([9; 32]),
        |setup| setup.binding.cluster = Digest::new([9; 32]),
    ];
    for change in changes {
        let mut cluster = holders.sign(&SIGNERS, [1; 32], None, 1);
        let (share, pairings) = (holders.share(2), holders.pairings(2));
        let mut setup = holders.signing(&share, &pairings, &SIGNERS, [1; 32], None);
        change(&mut setup);
        let (machine, hello) =
            signing::start(setup, &identity(party(2)), &mut cluster.rng).unwrap();
        cluster.machines.insert(party(2), machine);
        cluster.outgoing[1] = hello;

        for (me, outcome) in cluster.end() {
            let other = if me == party(2) { 1 } else { 2 };
            assert_refused(outcome, &Rejected::OtherSession(party(other)));
        }
    }
}

/// Party 2 says something else to everybody in the round that is awaited.
fn say<M: Run, T: Serialize>(cluster: &mut Cluster<M>, body: &T, change: impl FnOnce(&mut Slot)) {
    let place = cluster
        .outgoing
        .iter()
        .position(|envelope| envelope.header.sender == party(2))
        .unwrap();
    let mut slot = cluster.outgoing[place].header.slot();
    change(&mut slot);
    let body = quorate_model::wire::encode(body).unwrap();
    cluster.outgoing[place] = Envelope::sign(slot, body, &identity(party(2)));
}

fn read<T: serde::de::DeserializeOwned>(envelope: &Envelope) -> T {
    quorate_model::wire::decode(&envelope.body).unwrap()
}

fn assert_all<M: Run>(mut cluster: Cluster<M>, culprit: Option<u16>, fault: Fault) {
    for honest in [1, 4] {
        let inbound = cluster.inbound(honest);
        let outcome = cluster.deliver(honest, &inbound);
        let Advance::Aborted { abort } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(abort.fault(), Some(fault));
        let culprits: BTreeSet<_> = culprit.into_iter().map(party).collect();
        assert_eq!(abort.culprits(), culprits);
    }
}

#[test]
fn a_malformed_hello_names_its_sender() {
    let changes: [fn(&mut Hello, &mut Slot); 7] = [
        |hello, _| hello.session_keys.truncate(1),
        |hello, _| hello.session_keys.reverse(),
        |hello, _| hello.session_keys[0].1 = [0; 32],
        |hello, _| hello.pairs.truncate(1),
        |hello, _| hello.pairs.reverse(),
        |hello, _| hello.pairs.clear(),
        |_, slot| slot.previous = Digest::new([1; 32]),
    ];
    for change in changes {
        let mut cluster = Holders::stand_in().sign(&SIGNERS, [1; 32], None, 1);
        let mut hello: Hello = read(&cluster.outgoing[1]);
        let mut slot = cluster.outgoing[1].header.slot();
        change(&mut hello, &mut slot);
        say(&mut cluster, &hello, |place| *place = slot);

        assert_all(cluster, Some(2), Fault::Malformed);
    }
}

fn set_up(round: u8) -> Cluster<pairing::Machine> {
    Holders::stand_in().pair(&SIGNERS, 1).to(round)
}

#[test]
fn a_malformed_commitment_of_a_set_up_names_its_sender() {
    let changes: [fn(&mut Commits); 3] = [
        |commits| commits.commitments.truncate(1),
        |commits| commits.commitments.reverse(),
        |commits| commits.commitments[0].1 = vec![0; 65],
    ];
    for change in changes {
        let mut cluster = set_up(1);
        let mut commits: Commits = read(&cluster.outgoing[1]);
        change(&mut commits);
        say(&mut cluster, &commits, |_| ());

        assert_all(cluster, Some(2), Fault::Malformed);
    }
}

#[test]
fn a_commitment_after_other_hellos_ends_the_run_and_names_nobody() {
    let mut cluster = set_up(1);
    let commits: Commits = read(&cluster.outgoing[1]);
    say(&mut cluster, &commits, |slot| slot.previous = Digest::ZERO);

    assert_all(cluster, None, Fault::SplitView);
}

#[test]
fn an_opening_after_other_commitments_ends_the_run_and_names_nobody() {
    let mut cluster = set_up(3);
    for envelope in &mut cluster.outgoing {
        if envelope.header.sender == party(2) {
            let mut slot = envelope.header.slot();
            slot.previous = Digest::ZERO;
            *envelope = Envelope::sign(slot, envelope.body.clone(), &identity(party(2)));
        }
    }

    assert_all(cluster, None, Fault::SplitView);
}

#[test]
fn a_false_echo_names_its_sender() {
    let changes: [fn(&mut Vec<SignedHeader>); 4] = [
        |seen| seen.truncate(2),
        |seen| seen.reverse(),
        |seen| seen[0].header.body_hash = Digest::ZERO,
        |seen| seen[0].header.round = 2,
    ];
    for change in changes {
        let mut cluster = set_up(2);
        let mut echo: Echo = read(&cluster.outgoing[1]);
        change(&mut echo.seen);
        say(&mut cluster, &echo, |_| ());

        assert_all(cluster, Some(2), Fault::FalseEcho);
    }
    let mut cluster = set_up(2);
    say(&mut cluster, &"gibberish", |_| ());
    assert_all(cluster, Some(2), Fault::FalseEcho);
    let mut cluster = set_up(2);
    let echo: Echo = read(&cluster.outgoing[1]);
    say(&mut cluster, &echo, |slot| slot.previous = Digest::ZERO);
    assert_all(cluster, Some(2), Fault::FalseEcho);
}

/// Party 2 commits to one thing towards parties 1 and 2, and to another towards party 4.
#[test]
fn a_split_view_of_the_commitments_names_who_said_two_things() {
    let mut cluster = set_up(1);
    let mut commits: Commits = read(&cluster.outgoing[1]);
    commits.commitments[0].1[0] ^= 1;
    let original = cluster.outgoing.clone();
    say(&mut cluster, &commits, |_| ());
    let split = std::mem::replace(&mut cluster.outgoing, original);
    let mut echoes = Vec::new();
    for (to, seen) in [(1, None), (2, None), (4, Some(split))] {
        let inbound = seen.unwrap_or_else(|| cluster.inbound(to));
        let Advance::Running { machine, outgoing } = cluster.deliver(to, &inbound) else {
            panic!("nobody has compared yet")
        };
        cluster.machines.insert(party(to), machine);
        echoes.extend(outgoing);
    }
    cluster.outgoing = echoes;

    for honest in [1, 4] {
        let inbound = cluster.inbound(honest);
        let outcome = cluster.deliver(honest, &inbound);
        assert_equivocation(outcome);
    }
}

fn assert_equivocation<M: Run>(outcome: Advance<M, M::Output>) -> Evidence {
    let Advance::Aborted { abort } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(abort.fault(), Some(Fault::Equivocation));
    assert_eq!(abort.culprits(), BTreeSet::from([party(2)]));
    let evidence = abort.evidence().unwrap().clone();
    let read = Evidence::from_bytes(&evidence.to_bytes().unwrap()).unwrap();
    assert_eq!(read, evidence);
    let blamed = Blamed {
        node: node(party(2)),
        party: party(2),
        fault: Fault::Equivocation,
    };
    assert_eq!(evidence.verify(&facts()), Ok(blamed));
    evidence
}

#[test]
fn two_messages_in_one_place_are_equivocation_with_evidence_that_frames_nobody_else() {
    let mut cluster = Holders::stand_in().sign(&SIGNERS, [1; 32], None, 1).to(1);
    let first = cluster.inbound(1);
    cluster.cheat(2, 1, |message| message[0] ^= 1);
    let both = [first, cluster.inbound(1)].concat();
    let Evidence::TwoStatements {
        node: culprit,
        first,
        second,
    } = assert_equivocation(cluster.deliver(1, &both))
    else {
        panic!("equivocation is two statements")
    };
    let verify = |node: &quorate_model::NodeId, first: &SignedHeader, second: &SignedHeader| {
        Evidence::TwoStatements {
            node: node.clone(),
            first: first.clone(),
            second: second.clone(),
        }
        .verify(&facts())
    };

    assert_eq!(verify(&culprit, &first, &first), Err(NotProven::NoFault));
    let other = node(party(1));
    assert_eq!(verify(&other, &first, &second), Err(NotProven::Statement));
    let nobody = "stranger".parse().unwrap();
    let unknown = Err(NotProven::UnknownParticipant);
    assert_eq!(verify(&nobody, &first, &second), unknown);
    let elsewhere: [fn(&mut Slot); 5] = [
        |slot| slot.session = Digest::ZERO,
        |slot| slot.round = 2,
        |slot| slot.recipient = None,
        |slot| slot.protocol = ProtocolId::EcdsaPairing,
        |slot| slot.sender = party(4),
    ];
    for change in elsewhere {
        let mut slot = cluster_slot(&first);
        change(&mut slot);
        let moved = Envelope::sign(slot, vec![1], &identity(party(2))).signed_header();
        assert_eq!(verify(&culprit, &first, &moved), Err(NotProven::Statement));
    }
    for change in [(|slot| slot.round = 0) as fn(&mut Slot), |slot| {
        slot.protocol = ProtocolId::Dkg;
    }] {
        let mut slot = cluster_slot(&first);
        change(&mut slot);
        let [one, two] = [1, 2]
            .map(|body| Envelope::sign(slot, vec![body], &identity(party(2))).signed_header());
        assert_eq!(verify(&culprit, &one, &two), Err(NotProven::Statement));
    }
}

fn cluster_slot(statement: &SignedHeader) -> Slot {
    statement.header.slot()
}

#[test]
fn an_envelope_under_this_party_s_name_that_it_did_not_send_ends_the_run() {
    let mut cluster = set_up(1);
    let slot = cluster.outgoing[0].header.slot();
    cluster.outgoing[0] = Envelope::sign(slot, vec![1], &identity(party(1)));
    let inbound = cluster.inbound(1);

    let Advance::Aborted { abort } = cluster.deliver(1, &inbound) else {
        panic!("the identity key is used elsewhere")
    };

    assert_eq!(abort.fault(), Some(Fault::Impersonated));
    assert!(abort.culprits().is_empty());
}

#[test]
fn everybody_learns_where_the_others_stand() {
    let mut cluster = Holders::stand_in().pair(&SIGNERS, 1);
    assert!(cluster.machines[&party(1)].states().is_empty());
    assert_eq!(cluster.machines[&party(1)].session(), None);
    cluster.step();

    let sequences: Vec<_> = cluster.machines[&party(1)]
        .states()
        .values()
        .map(|state| state.journal_sequence)
        .collect();

    assert_eq!(sequences, [1, 2, 4]);
}

#[test]
fn where_the_others_stand_is_proven_only_once_all_have_committed() {
    let mut cluster = Holders::stand_in().pair(&SIGNERS, 1);
    for _ in 0..2 {
        assert_eq!(cluster.machines[&party(1)].proven(), None);
        cluster.step();
    }

    let machine = &cluster.machines[&party(1)];
    assert_eq!(&machine.proven().unwrap().states, machine.states());
}

#[test]
fn the_round_that_releases_a_signature_is_known_before() {
    let mut cluster = Holders::stand_in().sign(&SIGNERS, [1; 32], None, 1);
    for releases in [false, false, true, false] {
        let machine = &cluster.machines[&party(1)];
        assert_eq!(machine.releases_next(), releases);
        assert_eq!(machine.peers(), BTreeSet::from([party(2), party(4)]));
        if cluster.round < 3 {
            cluster.step();
        }
    }
}

#[test]
fn the_view_of_a_session_covers_every_hello() {
    let digest = |seed| {
        let cluster = Holders::stand_in().sign(&SIGNERS, [1; 32], None, seed);
        let digests: Vec<_> = cluster.outgoing.iter().map(Envelope::digest).collect();
        view(&Digest::ZERO, 0, &digests)
    };

    assert_ne!(digest(1), digest(2));
}

/// Whoever drives a machine may carry it from thread to thread.
#[test]
fn machines_and_their_outcomes_move_between_threads() {
    fn moves<T: Send>() {}

    moves::<Advance<pairing::Machine, super::super::PairingState>>();
    moves::<Advance<signing::Machine, super::super::EcdsaSignature>>();
}
