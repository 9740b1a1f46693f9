//! Peers that sign and seal, with their own keys, what they should not say: each cheat is found by
//! exactly the check for it, at exactly those who were cheated.

use std::collections::BTreeSet;

use dkls23_core::{
    protocols::{
        PartyIndex as Index,
        signing::{Broadcast3to4, TransmitPhase1to2, TransmitPhase2to3},
    },
    utilities::proofs::{DLogProof, EncProof},
};
use k256_next::{AffinePoint, Scalar, Secp256k1};
use quorate_model::Digest;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    super::{
        Advance, DKLS23,
        engine::{Failure, PairPlace, SecretBytes},
        renews_pairings, signing,
    },
    harness::{Holders, Run},
};
use crate::{
    Abort, Fault,
    dkg::tests::harness::{identity, party},
};

type Phase1 = TransmitPhase1to2;
type Phase2 = TransmitPhase2to3<Secp256k1>;
type Phase3 = Broadcast3to4<Secp256k1>;

/// The message of the set-up as the engine writes it.
#[derive(Serialize, Deserialize)]
struct Opening {
    seed: [u8; 32],
    salt: Vec<u8>,
    dlog_proof: DLogProof<Secp256k1>,
    gadget_nonce: Scalar,
    enc_proofs: Vec<EncProof<Secp256k1>>,
    transfer_seed: [u8; 32],
}

/// Changes a message in the form that it has.
fn edit<T: Serialize + DeserializeOwned>(change: impl FnOnce(&mut T)) -> impl FnOnce(&mut Vec<u8>) {
    |bytes| {
        let mut message = postcard::from_bytes(bytes).unwrap();
        change(&mut message);
        *bytes = postcard::to_allocvec(&message).unwrap();
    }
}

/// What an outcome says: whether there is a ban, who is named, and for what.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Nothing,
    Banned(u16),
    Named(u16, Fault),
    Nobody(Fault),
}

fn said<M: Run>(outcome: Advance<M, M::Output>, round: u8) -> Said {
    match outcome {
        Advance::Running { .. } | Advance::Finished { .. } => Said::Nothing,
        Advance::Banned { ban, abort } => {
            assert_eq!(abort.fault(), Some(Fault::FailedCheck));
            assert_eq!(abort.culprits(), BTreeSet::from([ban.peer]));
            assert!(abort.evidence().is_none());
            assert_eq!(ban.round, round);
            Said::Banned(ban.peer.number())
        }
        Advance::Aborted { abort } => {
            assert!(matches!(abort, Abort::Misbehavior { .. }), "{abort:?}");
            let fault = abort.fault().unwrap();
            assert_eq!(renews_pairings(&abort), fault == Fault::InvalidSignature);
            let named = abort.culprits();
            assert!(named.len() <= 1);
            named.first().map_or(Said::Nobody(fault), |culprit| {
                Said::Named(culprit.number(), fault)
            })
        }
        Advance::Refused { rejected, .. } => panic!("{rejected:?}"),
    }
}

/// Signer 2 of three changes what it says to signer 1 in a round. Signer 1 finds out in the round
/// `found`, and says so; signer 3, to whom nothing false was said, finds nothing.
fn check<T: Serialize + DeserializeOwned>(
    round: u8,
    found: u8,
    expected: Said,
    change: impl FnOnce(&mut T),
) {
    let holders = Holders::all_of_three();
    let mut cluster = holders.sign(&[1, 2, 3], [7; 32], None, 1).to(round);
    cluster.cheat(2, 1, edit(change));
    let mut outcomes = cluster.to(found).end();

    assert_eq!(said(outcomes.remove(&party(1)).unwrap(), found), expected);
    assert_eq!(
        said(outcomes.remove(&party(3)).unwrap(), found),
        Said::Nothing
    );
}

/// What must not be taken for a message at all.
fn check_bytes(round: u8, change: impl FnOnce(&mut Vec<u8>)) {
    let holders = Holders::all_of_three();
    let mut cluster = holders.sign(&[1, 2, 3], [7; 32], None, 1).to(round);
    cluster.cheat(2, 1, change);
    let mut outcomes = cluster.end();

    let expected = Said::Named(2, Fault::Malformed);
    assert_eq!(said(outcomes.remove(&party(1)).unwrap(), round), expected);
    assert_eq!(
        said(outcomes.remove(&party(3)).unwrap(), round),
        Said::Nothing
    );
}

#[test]
fn a_false_first_message_bans_its_sender_or_names_it() {
    let malformed = Said::Named(2, Fault::Malformed);
    check(1, 1, Said::Banned(2), |m: &mut Phase1| {
        m.mul_transmit.u[3][5] ^= 1;
    });
    check(1, 1, Said::Banned(2), |m: &mut Phase1| {
        m.mul_transmit.verify_x[0] ^= 1;
    });
    check(1, 1, Said::Banned(2), |m: &mut Phase1| {
        m.mul_transmit.verify_t[9][0] ^= 1;
    });
    check(1, 1, Said::Banned(2), |m: &mut Phase1| {
        m.mul_transmit.nonce[0] ^= 1;
    });
    let false_reveal = Said::Named(2, Fault::FalseReveal);
    check(1, 2, false_reveal, |m: &mut Phase1| m.commitment[0] ^= 1);
    check(1, 1, malformed, |m: &mut Phase1| {
        m.session_binding[0] ^= 1;
    });
    check(1, 1, malformed, |m: &mut Phase1| {
        m.parties.sender = Index::new(3).unwrap();
    });
    check(1, 1, malformed, |m: &mut Phase1| {
        m.parties.receiver = Index::new(3).unwrap();
    });
    check(1, 1, malformed, |m: &mut Phase1| {
        m.mul_transmit.verify_t.truncate(255);
    });
    check(1, 1, malformed, |m: &mut Phase1| {
        m.mul_transmit.u.truncate(255);
    });
    check_bytes(1, |bytes| bytes.push(0));
    check_bytes(1, Vec::clear);
    check_bytes(1, |bytes| *bytes = vec![0xff; 32 * 1024 + 1]);
}

#[test]
fn a_false_second_message_bans_its_sender_or_names_it() {
    let ban = Said::Banned(2);
    let false_reveal = Said::Named(2, Fault::FalseReveal);
    let malformed = Said::Named(2, Fault::Malformed);
    let other = AffinePoint::GENERATOR;
    check(2, 2, ban, |m: &mut Phase2| {
        m.mul_transmit.vector_of_tau[0][0] += Scalar::ONE;
    });
    check(2, 2, ban, |m: &mut Phase2| {
        m.mul_transmit.verify_r[0] ^= 1;
    });
    check(2, 2, ban, |m: &mut Phase2| {
        m.mul_transmit.verify_u[0] += Scalar::ONE;
    });
    check(2, 2, ban, |m: &mut Phase2| {
        m.mul_transmit.gamma_sender[1] += Scalar::ONE;
    });
    check(2, 2, ban, |m: &mut Phase2| {
        m.mul_transmit.ote_salt[0] ^= 1;
    });
    check(2, 2, ban, |m: &mut Phase2| m.gamma_u = other);
    check(2, 2, ban, |m: &mut Phase2| m.gamma_v = other);
    check(2, 2, ban, |m: &mut Phase2| m.public_share = other);
    check(2, 2, false_reveal, |m: &mut Phase2| {
        m.instance_point = other;
    });
    check(2, 2, false_reveal, |m: &mut Phase2| m.psi += Scalar::ONE);
    check(2, 2, false_reveal, |m: &mut Phase2| m.salt[0] ^= 1);
    check(2, 2, malformed, |m: &mut Phase2| {
        m.session_binding[0] ^= 1;
    });
    check(2, 2, malformed, |m: &mut Phase2| m.salt.truncate(63));
    check(2, 2, malformed, |m: &mut Phase2| {
        m.mul_transmit.vector_of_tau.truncate(3);
    });
    check(2, 2, malformed, |m: &mut Phase2| {
        m.mul_transmit.vector_of_tau[2].truncate(415);
    });
    check(2, 2, malformed, |m: &mut Phase2| {
        m.mul_transmit.verify_u.push(Scalar::ONE);
    });
    check(2, 2, malformed, |m: &mut Phase2| {
        m.mul_transmit.gamma_sender.clear();
    });
    let identities: [fn(&mut Phase2); 4] = [
        |m| m.gamma_u = AffinePoint::IDENTITY,
        |m| m.gamma_v = AffinePoint::IDENTITY,
        |m| m.public_share = AffinePoint::IDENTITY,
        |m| m.instance_point = AffinePoint::IDENTITY,
    ];
    for identity in identities {
        check(2, 2, malformed, identity);
    }
    check_bytes(2, |bytes| bytes.truncate(1000));
}

#[test]
fn a_false_part_is_an_incident_that_names_nobody() {
    let incident = Said::Nobody(Fault::InvalidSignature);
    check(3, 3, incident, |m: &mut Phase3| m.u += Scalar::ONE);
    check(3, 3, incident, |m: &mut Phase3| m.w += Scalar::ONE);
    check_bytes(3, |bytes| bytes.push(0));
}

#[test]
fn a_peer_that_cheats_everybody_is_banned_by_everybody_else() {
    let holders = Holders::all_of_three();
    let mut cluster = holders.sign(&[1, 2, 3], [7; 32], None, 1).to(1);
    for victim in [1, 3] {
        cluster.cheat(
            2,
            victim,
            edit(|m: &mut Phase1| m.mul_transmit.u[0][0] ^= 1),
        );
    }
    let mut outcomes = cluster.end();

    for victim in [1, 3] {
        let outcome = outcomes.remove(&party(victim)).unwrap();
        assert_eq!(said(outcome, 1), Said::Banned(2));
    }
    assert_eq!(said(outcomes.remove(&party(2)).unwrap(), 1), Said::Nothing);
}

/// A signer whose share is not the one behind its verifying share passes every check between two;
/// the sum does not come out.
#[test]
fn a_signer_with_another_share_makes_no_signature_and_nobody_is_named() {
    let holders = Holders::all_of_three();
    let signers = [1, 2, 3];
    let mut cluster = holders.sign(&signers, [7; 32], None, 1);
    let (share, pairings) = (holders.share(2).wrong(), holders.pairings(2));
    let setup = holders.signing(&share, &pairings, &signers, [7; 32], None);
    let (machine, hello) = signing::start(setup, &identity(party(2)), &mut cluster.rng).unwrap();
    cluster.machines.insert(party(2), machine);
    cluster.outgoing[1] = hello;
    let mut outcomes = cluster.to(2).end();

    for honest in [1, 3] {
        let outcome = outcomes.remove(&party(honest)).unwrap();
        assert_eq!(said(outcome, 2), Said::Nobody(Fault::InvalidSignature));
    }
}

/// What holder 2 says to holder 1 in a set-up.
struct Said2 {
    commitment: Vec<u8>,
    message: SecretBytes,
}

fn here() -> PairPlace {
    PairPlace {
        session: Digest::ZERO,
        me: party(1),
        peer: party(2),
    }
}

fn say(place: PairPlace) -> Said2 {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (pair, commitment) = DKLS23.begin_pair(place, &mut rng).unwrap();
    let (_, message) = pair.open(&mut rng).unwrap();
    Said2 {
        commitment,
        message,
    }
}

/// How the set-up ends for holder 1.
fn finish(commitment: &[u8], message: Vec<u8>) -> Option<Failure> {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let (pair, _) = DKLS23.begin_pair(here(), &mut rng).unwrap();
    let (pair, _) = pair.open(&mut rng).unwrap();
    pair.finish(commitment, &SecretBytes::new(message)).err()
}

#[test]
fn a_false_opening_of_a_set_up_is_its_sender_s_fault_and_no_ban() {
    let one = Scalar::ONE;
    let identity = AffinePoint::IDENTITY;
    let honest = say(here().reversed());
    let check = |fault, change: fn(&mut Opening, Scalar, AffinePoint)| {
        let mut message = honest.message.expose().to_vec();
        edit(|opening: &mut Opening| change(opening, one, identity))(&mut message);
        let expected = Some(Failure::Blamed(party(2), fault));
        assert_eq!(finish(&honest.commitment, message), expected);
    };

    check(Fault::FalseReveal, |m, _, _| m.seed[0] ^= 1);
    check(Fault::FalseReveal, |m, _, _| m.salt[0] ^= 1);
    check(Fault::BadProof, |m, one, _| {
        m.dlog_proof.proofs[0].challenge_response += one;
    });
    check(Fault::BadProof, |m, one, _| {
        m.enc_proofs[255].challenge0 += one;
    });
    check(Fault::BadProof, |m, _, _| m.transfer_seed[0] ^= 1);
    check(Fault::Malformed, |m, _, _| m.salt.truncate(63));
    check(Fault::Malformed, |m, _, _| m.enc_proofs.truncate(255));
    check(Fault::Malformed, |m, _, point| m.dlog_proof.point = point);
    check(Fault::Malformed, |m, _, point| {
        m.enc_proofs[0].commitments1.rc_h = point;
    });
    check(Fault::Malformed, |m, _, point| {
        m.enc_proofs[7].proof1.point_u = point;
    });
    check(Fault::Malformed, |m, _, _| {
        m.dlog_proof.proofs[9].challenge.clear();
    });
    check(Fault::Malformed, |m, _, _| m.dlog_proof.proofs.truncate(63));
    let malformed = Some(Failure::Blamed(party(2), Fault::Malformed));
    assert_eq!(finish(&honest.commitment, vec![0; 8]), malformed);
    let short = &honest.commitment[1..];
    assert_eq!(finish(short, honest.message.expose().to_vec()), malformed);
}

#[test]
fn an_opening_for_another_place_is_false() {
    let own = honest_bytes(here());
    let false_reveal = Some(Failure::Blamed(party(2), Fault::FalseReveal));
    let elsewhere = PairPlace {
        session: Digest::new([1; 32]),
        ..here().reversed()
    };

    assert_eq!(finish(&own.0, own.1), false_reveal, "sent back");
    let other = honest_bytes(elsewhere);
    assert_eq!(finish(&other.0, other.1), false_reveal, "another session");
}

fn honest_bytes(place: PairPlace) -> (Vec<u8>, Vec<u8>) {
    let said = say(place);
    (said.commitment, said.message.expose().to_vec())
}

#[test]
fn a_false_opening_ends_the_set_up_at_whoever_received_it_and_names_its_sender() {
    let mut cluster = Holders::stand_in().pair(&[1, 2, 4], 3).to(3);
    cluster.cheat(2, 1, |message| message[0] ^= 1);
    let mut outcomes = cluster.end();

    let found = said(outcomes.remove(&party(1)).unwrap(), 3);
    assert_eq!(found, Said::Named(2, Fault::FalseReveal));
    for other in [2, 4] {
        assert_eq!(
            said(outcomes.remove(&party(other)).unwrap(), 3),
            Said::Nothing
        );
    }
}

#[test]
fn another_gadget_shows_in_the_ids_of_the_pairing() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut begin = |place| {
        let (pair, commitment) = DKLS23.begin_pair(place, &mut rng).unwrap();
        let (pair, message) = pair.open(&mut rng).unwrap();
        (pair, commitment, message)
    };
    let (one, commitment, message) = begin(here());
    let (other, other_commitment, other_message) = begin(here().reversed());
    let mut changed = other_message.expose().to_vec();
    edit(|opening: &mut Opening| opening.gadget_nonce += Scalar::ONE)(&mut changed);

    let one = one.finish(&other_commitment, &SecretBytes::new(changed));
    let other = other.finish(&commitment, &message);

    assert_ne!(one.unwrap().id, other.unwrap().id);
}

/// No message of a peer, however it is bent, makes the engine panic or doubt itself: every outcome
/// is a fault of the peer, an incident, or none.
#[test]
fn a_message_with_any_byte_changed_never_looks_like_a_bug_of_ours() {
    let holders = Holders::small();
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    for attempt in 0..90u64 {
        let round = u8::try_from(attempt % 3 + 1).unwrap();
        let mut cluster = holders.sign(&[1, 2], [7; 32], None, attempt).to(round);
        cluster.cheat(2, 1, |message| {
            let at = usize::try_from(rng.next_u64()).unwrap() % message.len();
            if attempt % 10 == 9 {
                message.truncate(at);
            } else {
                message[at] = message[at].wrapping_add(1 + rng.next_u32().to_le_bytes()[0] / 2);
            }
        });
        let mut outcomes = cluster.end();

        let found = said(outcomes.remove(&party(1)).unwrap(), round);
        let expected = match found {
            Said::Banned(peer) | Said::Named(peer, _) => peer == 2,
            Said::Nobody(fault) => fault == Fault::InvalidSignature,
            // What is only opened in the next round.
            Said::Nothing => round == 1,
        };
        assert!(expected, "{found:?}");
    }
}
