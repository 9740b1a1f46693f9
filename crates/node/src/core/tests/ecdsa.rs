//! Pairings, signatures in rounds, and what failed ones leave behind.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use quorate_model::{
    Refusal,
    certificate::CommitCertificate,
    command::SignedCommand,
    node_api::{NodeReply, PairingReply, SignedItem, SigningReply, SigningRequest},
    share::whole_signature_hash,
};
use quorate_protocol::{
    ecdsa::{STAND_IN, engine::Engine, signing::round, stand_in::Spoiling},
    envelope::Envelope,
    frost::Tweak,
    verify,
};
use rand_core::OsRng;

use super::*;
use crate::{core::Outcome, journal::JournalLimits};

pub(super) const DIGEST: [u8; 32] = [5; 32];

/// The envelopes of every signer, in order.
pub(super) fn said_in(replies: &[SigningReply]) -> Vec<Vec<Vec<u8>>> {
    replies
        .iter()
        .map(|reply| reply.envelopes.clone())
        .collect()
}

/// The envelopes that are for one party.
pub(super) fn inbox_of(said: &[Vec<Vec<u8>>], at: usize) -> Vec<Vec<u8>> {
    let me = index(at + 1);
    said.iter()
        .flatten()
        .filter(|bytes| {
            let envelope = Envelope::from_bytes_within(bytes, 160 << 10).unwrap();
            envelope.header.recipient.is_none_or(|to| to == me)
        })
        .cloned()
        .collect()
}

fn signing(reply: NodeReply) -> SigningReply {
    match reply {
        NodeReply::Signing(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn pairing(reply: NodeReply) -> PairingReply {
    match reply {
        NodeReply::Pairing(reply) => reply,
        other => panic!("{other:?}"),
    }
}

/// Who stopped a run, and why.
pub(super) type Stopped = (usize, Refusal);

/// A node and where it stands among the holders of a key.
pub(super) type Placed = (usize, usize);

/// Where nodes stand in a key of all nodes.
fn in_order(nodes: &[usize]) -> Vec<Placed> {
    nodes.iter().map(|at| (*at, *at)).collect()
}

impl Cluster {
    fn ecdsa_command(&mut self, name: &str, threshold: u16) -> SignedCommand {
        let purposes = [KeyPurpose::Digests];
        self.create_command(name, Scheme::EcdsaSecp256k1, threshold, &purposes)
    }

    /// Sets up the pairings between these nodes.
    pub(super) fn pair(
        &mut self,
        certificate: &CommitCertificate,
        nodes: &[usize],
        attempt: u8,
    ) -> Result<(), Stopped> {
        self.pair_placed(certificate, &in_order(nodes), [attempt; 16])
    }

    pub(super) fn pair_placed(
        &mut self,
        certificate: &CommitCertificate,
        nodes: &[Placed],
        attempt: [u8; 16],
    ) -> Result<(), Stopped> {
        let mut replies = Vec::new();
        for (at, _) in nodes {
            let request = NodeRequest::BeginPairing {
                attempt,
                certificate: certificate.to_bytes().unwrap(),
                holders: nodes.iter().map(|(_, place)| index(place + 1)).collect(),
            };
            let reply = self.ask(*at, request).map_err(|refusal| (*at, refusal))?;
            replies.push(pairing(reply));
        }
        while !replies.iter().all(|reply| reply.paired) {
            let round = replies[0].round;
            let said: Vec<_> = replies
                .iter()
                .map(|reply| reply.envelopes.clone())
                .collect();
            replies.clear();
            for (at, place) in nodes {
                let request = NodeRequest::AdvancePairing {
                    attempt,
                    round,
                    envelopes: inbox_of(&said, *place),
                };
                let reply = self.ask(*at, request).map_err(|refusal| (*at, refusal))?;
                replies.push(pairing(reply));
            }
        }
        Ok(())
    }

    /// Creates an ECDSA key and makes it active.
    pub(super) fn create_ecdsa(&mut self, name: &str, threshold: u16) -> CommitCertificate {
        let command = self.ecdsa_command(name, threshold);
        self.carry_out_ecdsa(&command)
    }

    /// Creates the ECDSA key of a command and makes it active.
    pub(super) fn carry_out_ecdsa(&mut self, command: &SignedCommand) -> CommitCertificate {
        let prepared = self.prepare(command, Epoch(1), 1).unwrap();
        let certificate = self.certificate(command, &prepared);
        let everybody: Vec<usize> = (0..self.cores.len()).collect();
        self.pair(&certificate, &everybody, 1).unwrap();
        let proof = self.prove(&certificate).unwrap();
        for at in everybody {
            self.activate(at, &certificate, &proof).unwrap();
        }
        certificate
    }

    pub(super) fn request(
        &self,
        certificate: &CommitCertificate,
        command: &SignedCommand,
        item: u32,
        signers: &[usize],
    ) -> SigningRequest {
        let _ = self;
        SigningRequest {
            command: command.clone(),
            key: certificate.statement.key.clone(),
            epoch: certificate.statement.epoch,
            item,
            signers: signers.iter().map(|at| index(at + 1)).collect(),
        }
    }

    pub(super) fn begin(
        &mut self,
        at: usize,
        attempt: u8,
        request: &SigningRequest,
    ) -> Result<SigningReply, Refusal> {
        let request = NodeRequest::BeginSigning {
            attempt: [attempt; 16],
            request: request.clone(),
        };
        self.ask(at, request).map(signing)
    }

    /// Has nodes sign, wherever they stand among the holders.
    pub(super) fn sign_placed(
        &mut self,
        signers: &[Placed],
        attempt: [u8; 16],
        request: &SigningRequest,
    ) -> Result<Vec<SignedItem>, Stopped> {
        let mut replies = Vec::new();
        for (at, _) in signers {
            let request = NodeRequest::BeginSigning {
                attempt,
                request: request.clone(),
            };
            let reply = self.ask(*at, request).map_err(|refusal| (*at, refusal))?;
            replies.push(signing(reply));
        }
        while replies.iter().all(|reply| reply.signed.is_none()) {
            let round = replies[0].round;
            let said = said_in(&replies);
            replies.clear();
            for (at, place) in signers {
                let request = NodeRequest::AdvanceSigning {
                    attempt,
                    round,
                    envelopes: inbox_of(&said, *place),
                };
                let reply = self.ask(*at, request).map_err(|refusal| (*at, refusal))?;
                replies.push(signing(reply));
            }
        }
        let signed = replies.into_iter().filter_map(|reply| reply.signed);
        Ok(signed.collect())
    }

    pub(super) fn advance_signing(
        &mut self,
        at: usize,
        attempt: u8,
        round: u8,
        envelopes: Vec<Vec<u8>>,
    ) -> Result<SigningReply, Refusal> {
        let request = NodeRequest::AdvanceSigning {
            attempt: [attempt; 16],
            round,
            envelopes,
        };
        self.ask(at, request).map(signing)
    }

    /// Runs a session up to a round; the answers to it are returned.
    pub(super) fn run_to(
        &mut self,
        signers: &[usize],
        attempt: u8,
        request: &SigningRequest,
        until: u8,
    ) -> Result<Vec<SigningReply>, Stopped> {
        let mut replies = Vec::new();
        for at in signers {
            let reply = self.begin(*at, attempt, request);
            replies.push(reply.map_err(|refusal| (*at, refusal))?);
        }
        while replies[0].round < until && replies.iter().all(|reply| reply.signed.is_none()) {
            let round = replies[0].round;
            let said = said_in(&replies);
            replies.clear();
            for at in signers {
                let reply = self.advance_signing(*at, attempt, round, inbox_of(&said, *at));
                replies.push(reply.map_err(|refusal| (*at, refusal))?);
            }
        }
        Ok(replies)
    }

    pub(super) fn sign_in_rounds(
        &mut self,
        certificate: &CommitCertificate,
        signers: &[usize],
        attempt: u8,
    ) -> Result<Vec<SignedItem>, Stopped> {
        let name = certificate.statement.key.to_string();
        let command = self.sign_command(&name, vec![Payload::digest(DIGEST)]);
        let request = self.request(certificate, &command, 0, signers);
        let replies = self.run_to(signers, attempt, &request, u8::MAX)?;
        Ok(replies
            .into_iter()
            .filter_map(|reply| reply.signed)
            .collect())
    }
}

/// An engine that spoils its messages of a round while the flag is up.
fn spoiling(round: u8) -> (&'static dyn Engine, Arc<AtomicBool>) {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    let engine = Spoiling::new(round, move || seen.load(Ordering::Relaxed));
    (Box::leak(Box::new(engine)), flag)
}

/// Three nodes of which the last spoils its messages of a round while the flag is up.
fn with_cheat(round: u8) -> (Cluster, Arc<AtomicBool>) {
    let (engine, flag) = spoiling(round);
    let engine_of = |at| if at == 2 { engine } else { STAND_IN };
    let cluster = Cluster::with_engines(3, JournalLimits::default(), engine_of);
    (cluster, flag)
}

#[test]
fn every_subset_signs_and_each_signer_states_the_same_signature() {
    let mut cluster = Cluster::new(4);
    let certificate = cluster.create_ecdsa("hot", 3);

    for (attempt, signers) in [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]
        .into_iter()
        .enumerate()
    {
        let attempt = u8::try_from(attempt).unwrap();
        let signed = cluster
            .sign_in_rounds(&certificate, &signers, attempt)
            .unwrap();

        assert_eq!(signed.len(), 3);
        let first = &signed[0].signature;
        let key = &certificate.statement.group_key;
        verify::signature(Scheme::EcdsaSecp256k1, key, &DIGEST, Tweak::None, first).unwrap();
        for (at, one) in signers.iter().zip(&signed) {
            let item = &one.receipt.statement.items[0];
            assert_eq!(&one.signature, first);
            assert_eq!(item.share, *whole_signature_hash(first).as_bytes());
            assert_eq!(one.receipt.statement.node, node_id(*at));
        }
    }
}

#[test]
fn no_share_is_proven_before_the_pairings_are_durable() {
    let mut cluster = Cluster::new(3);
    let command = cluster.ecdsa_command("hot", 2);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let certificate = cluster.certificate(&command, &prepared);

    assert_eq!(reason(cluster.prove(&certificate)), Reason::PairingsUnready);
    cluster.pair(&certificate, &[0, 1], 1).unwrap();
    assert_eq!(reason(cluster.prove(&certificate)), Reason::PairingsUnready);
    cluster.pair(&certificate, &[0, 1, 2], 2).unwrap();
    assert!(cluster.prove(&certificate).is_ok());
}

#[test]
fn schemes_sign_in_their_own_way_only() {
    let mut cluster = Cluster::new(3);
    let frost = cluster.create("notes", Scheme::Ed25519, 2);
    let ecdsa = cluster.create_ecdsa("hot", 2);
    let command = cluster.sign_command("notes", vec![Payload::message(*b"hello")]);
    let request = cluster.request(&frost, &command, 0, &[0, 1]);
    assert_eq!(
        reason(cluster.begin(0, 1, &request)),
        Reason::SchemeMismatch
    );

    let command = cluster.sign_command("hot", vec![Payload::digest(DIGEST)]);
    let set = cluster.set(&[0, 1], Scheme::FrostSecp256k1);
    let request = cluster.share_request(&command, &ecdsa, &[set]);
    assert_eq!(reason(cluster.shares(0, &request)), Reason::SchemeMismatch);

    let scheme = Scheme::EcdsaSecp256k1;
    let tickets = cluster.ask(0, NodeRequest::MakeTickets { scheme, count: 1 });
    assert_eq!(reason(tickets), Reason::SchemeMismatch);

    let request = NodeRequest::BeginPairing {
        attempt: [9; 16],
        certificate: frost.to_bytes().unwrap(),
        holders: vec![index(1), index(2)],
    };
    assert_eq!(reason(cluster.ask(0, request)), Reason::SchemeMismatch);
}

#[test]
fn signers_are_exactly_t_holders_in_order_and_this_node_is_one() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    let command = cluster.sign_command("hot", vec![Payload::digest(DIGEST)]);

    for signers in [
        &[1, 0][..],
        &[0, 0],
        &[0],
        &[0, 1, 2],
        &[1, 2],
        &[0, 7],
        &[],
    ] {
        let request = cluster.request(&certificate, &command, 0, signers);
        let refused = reason(cluster.begin(0, 1, &request));
        assert_eq!(refused, Reason::SigningSetInvalid, "{signers:?}");
    }
    let request = cluster.request(&certificate, &command, 1, &[0, 1]);
    assert_eq!(
        reason(cluster.begin(0, 1, &request)),
        Reason::RequestInvalid
    );
}

#[test]
fn pairings_are_between_holders_in_order_and_this_node_is_one() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);

    for holders in [&[1, 0][..], &[0, 0], &[1, 2], &[0, 7], &[]] {
        let request = NodeRequest::BeginPairing {
            attempt: [8; 16],
            certificate: certificate.to_bytes().unwrap(),
            holders: holders.iter().map(|at| index(at + 1)).collect(),
        };
        let refused = reason(cluster.ask(0, request));
        assert_eq!(refused, Reason::SigningSetInvalid, "{holders:?}");
    }
    let request = NodeRequest::BeginPairing {
        attempt: [8; 16],
        certificate: vec![1, 2, 3],
        holders: vec![index(1), index(2)],
    };
    assert_eq!(reason(cluster.ask(0, request)), Reason::ProtocolViolation);
}

#[test]
fn the_last_message_waits_for_its_record() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    let command = cluster.sign_command("hot", vec![Payload::digest(DIGEST)]);
    let request = cluster.request(&certificate, &command, 0, &[0, 1]);
    let replies = cluster
        .run_to(&[0, 1], 1, &request, round::MULTIPLY)
        .unwrap();
    let said = said_in(&replies);
    let before = entries(&cluster, 0).len();

    let outcome = cluster.judge(
        0,
        NodeRequest::AdvanceSigning {
            attempt: [1; 16],
            round: round::MULTIPLY,
            envelopes: inbox_of(&said, 0),
        },
    );

    let Outcome::Pending(pending) = outcome else {
        panic!("the last message left without a record");
    };
    assert_eq!(entries(&cluster, 0).len(), before);
    let core = Arc::clone(&cluster.cores[0]);
    let committed = core.journal().commit(pending.appended()).unwrap();
    let reply = signing(pending.release(&committed, &mut OsRng).unwrap().unwrap());
    assert_eq!(reply.round, round::COMBINE);
    let last = entries(&cluster, 0).pop();
    assert!(matches!(last, Some(Entry::ShareReleased(_))), "{last:?}");
}

#[test]
fn what_changed_since_the_beginning_is_judged_before_the_last_message() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    let command = cluster.sign_command("hot", vec![Payload::digest(DIGEST)]);
    let request = cluster.request(&certificate, &command, 0, &[0, 1]);
    // Nine seconds before the command expires, and the session may be idle for ten.
    cluster.monotonic_ms = 3_591_000;
    let replies = cluster
        .run_to(&[0, 1], 1, &request, round::MULTIPLY)
        .unwrap();
    let said = said_in(&replies);

    cluster.monotonic_ms = 3_600_000;
    let late = cluster.advance_signing(0, 1, round::MULTIPLY, inbox_of(&said, 0));

    assert_eq!(reason(late), Reason::CommandExpired);
    assert!(!is_released(&cluster, 0, &command));
    // The session is gone.
    let again = cluster.advance_signing(0, 1, round::MULTIPLY, inbox_of(&said, 0));
    assert_eq!(reason(again), Reason::SessionUnknown);
}

/// P7: a roster may have removed the client or a signer since the session began.
#[test]
fn nothing_is_released_under_another_roster_than_the_one_it_was_judged_by() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    let command = cluster.sign_command("hot", vec![Payload::digest(DIGEST)]);
    let request = cluster.request(&certificate, &command, 0, &[0, 1]);
    let replies = cluster
        .run_to(&[0, 1], 1, &request, round::MULTIPLY)
        .unwrap();
    let said = said_in(&replies);
    cluster.changed(|roster| roster.drained = [node_id(2)].into());

    let refused = cluster.advance_signing(0, 1, round::MULTIPLY, inbox_of(&said, 0));

    assert_eq!(reason(refused), Reason::RosterBehind);
    assert!(!is_released(&cluster, 0, &command));
    // Whoever is still in it signs with another attempt.
    let again = cluster.run_to(&[0, 1], 2, &request, round::MULTIPLY);
    let said = said_in(&again.unwrap());
    cluster
        .advance_signing(0, 2, round::MULTIPLY, inbox_of(&said, 0))
        .unwrap();
    assert!(is_released(&cluster, 0, &command));
}

fn is_released(cluster: &Cluster, at: usize, command: &SignedCommand) -> bool {
    let id = command_id_of(command);
    entries(cluster, at)
        .iter()
        .any(|entry| matches!(entry, Entry::ShareReleased(one) if one.judgment.command_id == id))
}

fn command_id_of(command: &SignedCommand) -> CommandId {
    quorate_proto::command::decode(&command.bytes).unwrap().id
}

#[test]
fn a_failed_check_is_final_for_the_pair_over_all_keys() {
    let (mut cluster, cheats) = with_cheat(round::MULTIPLY);
    let first = cluster.create_ecdsa("hot", 2);
    let second = cluster.create_ecdsa("warm", 2);

    cheats.store(true, Ordering::Relaxed);
    let (node, refusal) = cluster.sign_in_rounds(&first, &[0, 2], 1).unwrap_err();
    cheats.store(false, Ordering::Relaxed);

    assert_eq!((node, refusal.reason), (0, Reason::PairBanned));
    assert_eq!(refusal.get("peer"), Some("node-2"));
    let last = entries(&cluster, 0).pop();
    assert!(
        matches!(&last, Some(Entry::PairBanned(banned)) if banned.peer == node_id(2)),
        "{last:?}"
    );
    // Never again, with any key, and no set-up lifts it.
    for certificate in [&first, &second] {
        let (node, refusal) = cluster.sign_in_rounds(certificate, &[0, 2], 2).unwrap_err();
        assert_eq!((node, refusal.reason), (0, Reason::PairBanned));
        let (node, refusal) = cluster.pair(certificate, &[0, 2], 3).unwrap_err();
        assert_eq!((node, refusal.reason), (0, Reason::PairBanned));
    }
    // Everybody else goes on.
    assert!(cluster.sign_in_rounds(&first, &[0, 1], 4).is_ok());
    assert!(cluster.sign_in_rounds(&second, &[1, 2], 5).is_ok());
}

#[test]
fn a_ban_is_durable_before_it_is_answered_and_ends_what_is_under_way() {
    let (mut cluster, cheats) = with_cheat(round::MULTIPLY);
    let certificate = cluster.create_ecdsa("hot", 2);
    let command = cluster.sign_command("hot", vec![Payload::digest(DIGEST)]);
    let request = cluster.request(&certificate, &command, 0, &[0, 2]);
    // One session is honest and waits before its second round, another one fails.
    let waiting = cluster.run_to(&[0, 2], 1, &request, round::COMMIT).unwrap();
    cheats.store(true, Ordering::Relaxed);
    let failing = cluster
        .run_to(&[0, 2], 2, &request, round::MULTIPLY)
        .unwrap();
    let said: Vec<_> = failing
        .iter()
        .map(|reply| reply.envelopes.clone())
        .collect();

    let outcome = cluster.judge(
        0,
        NodeRequest::AdvanceSigning {
            attempt: [2; 16],
            round: round::MULTIPLY,
            envelopes: inbox_of(&said, 0),
        },
    );
    let Outcome::Pending(pending) = outcome else {
        panic!("a ban was answered before it was durable");
    };

    let said: Vec<_> = waiting
        .iter()
        .map(|reply| reply.envelopes.clone())
        .collect();
    let stopped = cluster.advance_signing(0, 1, round::COMMIT, inbox_of(&said, 0));
    assert_eq!(reason(stopped), Reason::PairBanned);
    let core = Arc::clone(&cluster.cores[0]);
    let committed = core.journal().commit(pending.appended()).unwrap();
    assert_eq!(
        reason(pending.release(&committed, &mut OsRng).unwrap()),
        Reason::PairBanned
    );
}

#[test]
fn a_signature_that_does_not_hold_suspends_the_pairings_until_they_are_set_up_afresh() {
    let (mut cluster, cheats) = with_cheat(round::COMBINE);
    let certificate = cluster.create_ecdsa("hot", 2);

    cheats.store(true, Ordering::Relaxed);
    let (node, refusal) = cluster
        .sign_in_rounds(&certificate, &[0, 2], 1)
        .unwrap_err();
    cheats.store(false, Ordering::Relaxed);

    assert_eq!((node, refusal.reason), (0, Reason::PairingsUnready));
    let last = entries(&cluster, 0).pop();
    assert!(
        matches!(&last, Some(Entry::PairingsSuspended(one)) if one.peers == [node_id(2)]),
        "{last:?}"
    );
    let (node, refusal) = cluster
        .sign_in_rounds(&certificate, &[0, 2], 2)
        .unwrap_err();
    assert_eq!((node, refusal.reason), (0, Reason::PairingsUnready));
    // The other pairings of the key are as good as before.
    assert!(cluster.sign_in_rounds(&certificate, &[0, 1], 3).is_ok());

    cluster.pair(&certificate, &[0, 2], 4).unwrap();

    assert!(cluster.sign_in_rounds(&certificate, &[0, 2], 5).is_ok());
    assert!(cluster.sign_in_rounds(&certificate, &[0, 1], 6).is_ok());
}

#[test]
fn a_fresh_set_up_ends_what_began_with_the_pairings_before_it() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    let command = cluster.sign_command("hot", vec![Payload::digest(DIGEST)]);
    let request = cluster.request(&certificate, &command, 0, &[0, 1]);
    let replies = cluster
        .run_to(&[0, 1], 1, &request, round::MULTIPLY)
        .unwrap();
    let said = said_in(&replies);

    cluster.pair(&certificate, &[0, 1], 4).unwrap();
    let last = cluster.advance_signing(0, 1, round::MULTIPLY, inbox_of(&said, 0));

    assert_eq!(reason(last), Reason::PairingsUnready);
    assert!(!is_released(&cluster, 0, &command));
    // Pairings with others do not matter to it.
    let replies = cluster
        .run_to(&[0, 1], 2, &request, round::MULTIPLY)
        .unwrap();
    let said = said_in(&replies);
    cluster.pair(&certificate, &[0, 2], 5).unwrap();
    let last = cluster.advance_signing(0, 2, round::MULTIPLY, inbox_of(&said, 0));
    assert!(last.is_ok());
}

#[test]
fn two_ends_of_different_set_ups_sign_nothing_and_ban_nobody() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    // A set-up of which the second node never hears the end.
    let attempt = [7; 16];
    let mut said = Vec::new();
    for at in [0, 1] {
        let request = NodeRequest::BeginPairing {
            attempt,
            certificate: certificate.to_bytes().unwrap(),
            holders: vec![index(1), index(2)],
        };
        said.push(pairing(cluster.ask(at, request).unwrap()).envelopes);
    }
    for round in 0..4 {
        let mut next = Vec::new();
        for at in [0, 1] {
            if round == 3 && at == 1 {
                continue;
            }
            let request = NodeRequest::AdvancePairing {
                attempt,
                round,
                envelopes: inbox_of(&said, at),
            };
            next.push(pairing(cluster.ask(at, request).unwrap()).envelopes);
        }
        said = next;
    }

    let (_, refusal) = cluster
        .sign_in_rounds(&certificate, &[0, 1], 1)
        .unwrap_err();

    assert_eq!(refusal.reason, Reason::PairingsUnready);
    for at in 0..3 {
        let bans = entries(&cluster, at)
            .iter()
            .any(|entry| matches!(entry, Entry::PairBanned(_) | Entry::PairingsSuspended(_)));
        assert!(!bans);
    }
    cluster.pair(&certificate, &[0, 1], 8).unwrap();
    assert!(cluster.sign_in_rounds(&certificate, &[0, 1], 2).is_ok());
}

#[test]
fn altered_crossed_and_repeated_envelopes_change_nothing() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    let command = cluster.sign_command("hot", vec![Payload::digest(DIGEST)]);
    let request = cluster.request(&certificate, &command, 0, &[0, 1]);
    let hellos = cluster.run_to(&[0, 1], 1, &request, round::HELLO).unwrap();
    let said: Vec<_> = hellos.iter().map(|reply| reply.envelopes.clone()).collect();
    let good = inbox_of(&said, 0);

    let mut altered = good.clone();
    let end = altered[1].len() - 1;
    altered[1][end] ^= 1;
    for bad in [
        altered,
        good[..1].to_vec(),
        Vec::new(),
        vec![good[0].clone(); 2],
    ] {
        let refused = cluster.advance_signing(0, 1, round::HELLO, bad);
        assert_eq!(reason(refused), Reason::ProtocolViolation);
    }
    let early = cluster.advance_signing(0, 1, round::COMMIT, good.clone());
    assert_eq!(reason(early), Reason::RequestInvalid);
    let first = cluster
        .advance_signing(0, 1, round::HELLO, good.clone())
        .unwrap();
    let again = cluster.advance_signing(0, 1, round::HELLO, good).unwrap();
    assert_eq!(first, again);
}

#[test]
fn an_attempt_is_one_session_and_its_hello_is_repeated() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    let command = cluster.sign_command("hot", vec![Payload::digest(DIGEST)]);
    let one = cluster.request(&certificate, &command, 0, &[0, 1]);
    let other = cluster.request(&certificate, &command, 0, &[0, 2]);

    let first = cluster.begin(0, 1, &one).unwrap();

    assert_eq!(cluster.begin(0, 1, &one).unwrap(), first);
    assert_eq!(reason(cluster.begin(0, 1, &other)), Reason::RequestInvalid);
}

#[test]
fn signatures_under_way_are_bounded_and_idle_ones_give_way() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    let command = cluster.sign_command("hot", vec![Payload::digest(DIGEST)]);
    let request = cluster.request(&certificate, &command, 0, &[0, 1]);
    // The harness allows eight, half of them to each of two coordinators.
    for attempt in 1..=4 {
        cluster.begin(0, attempt, &request).unwrap();
    }

    assert_eq!(reason(cluster.begin(0, 5, &request)), Reason::SessionLimit);
    let begin = NodeRequest::BeginSigning {
        attempt: [1; 16],
        request: request.clone(),
    };
    assert!(
        cluster
            .ask_as(&harness::other_coordinator(), 0, begin)
            .is_ok()
    );
    cluster.monotonic_ms += 10_001;
    assert!(cluster.begin(0, 5, &request).is_ok());
}

#[test]
fn a_signature_under_way_has_an_age_however_often_it_is_asked_for() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    let command = cluster.sign_command("hot", vec![Payload::digest(DIGEST)]);
    let request = cluster.request(&certificate, &command, 0, &[0, 1]);
    cluster.begin(0, 1, &request).unwrap();

    for _ in 0..6 {
        cluster.monotonic_ms += 10_000;
        let nothing = cluster.advance_signing(0, 1, round::HELLO, Vec::new());
        assert_eq!(reason(nothing), Reason::ProtocolViolation);
    }
    cluster.monotonic_ms += 1;

    let nothing = cluster.advance_signing(0, 1, round::HELLO, Vec::new());
    assert_eq!(reason(nothing), Reason::SessionUnknown);
}

#[test]
fn set_ups_are_bounded_in_number_and_rate() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    let begin = |cluster: &mut Cluster, attempt: u8| {
        let request = NodeRequest::BeginPairing {
            attempt: [attempt; 16],
            certificate: certificate.to_bytes().unwrap(),
            holders: vec![index(1), index(2)],
        };
        cluster.ask(0, request)
    };

    let refused = (10..100).find_map(|attempt| begin(&mut cluster, attempt).err());

    assert_eq!(refused.unwrap().reason, Reason::Overloaded);
    cluster.monotonic_ms += 1_000;
    assert!(begin(&mut cluster, 200).is_ok());
}

#[test]
fn a_command_with_many_messages_has_each_signed_by_a_session_of_its_own() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    let payloads = (0..3).map(|at| Payload::digest([at + 1; 32])).collect();
    let command = cluster.sign_command("hot", payloads);

    for item in 0..3_u8 {
        let request = cluster.request(&certificate, &command, item.into(), &[1, 2]);
        let replies = cluster.run_to(&[1, 2], item, &request, u8::MAX).unwrap();
        let signature = &replies[0].signed.as_ref().unwrap().signature;
        let key = &certificate.statement.group_key;
        let digest = [item + 1; 32];
        verify::signature(Scheme::EcdsaSecp256k1, key, &digest, Tweak::None, signature).unwrap();
    }
}

#[test]
fn releases_of_one_message_are_bounded_and_not_those_of_a_command_with_many() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    let payloads = (1..=2).map(|at| Payload::digest([at; 32])).collect();
    let command = cluster.sign_command("hot", payloads);
    let request = cluster.request(&certificate, &command, 0, &[1, 2]);

    for attempt in 0..128 {
        cluster
            .run_to(&[1, 2], attempt, &request, u8::MAX)
            .unwrap_or_else(|refused| panic!("release {attempt}: {refused:?}"));
    }
    let one_more = cluster.run_to(&[1, 2], 128, &request, u8::MAX);

    assert_eq!(one_more.unwrap_err().1.reason, Reason::Overloaded);
}
