//! A recording of everything that was relayed, together with the opened disks of t-1 nodes, holds
//! no secret of any other node: no share, no nonce, and no key to which a share was sealed.
//!
//! The thief tries every run of 32 bytes in everything that it has, in both byte orders, as the
//! discrete logarithm of every public point that it saw.

use std::collections::BTreeSet;

use curve25519_dalek::{
    constants::ED25519_BASEPOINT_TABLE, edwards::EdwardsPoint, scalar::Scalar as EdwardsScalar,
};
use k256::{
    ProjectivePoint, Scalar,
    elliptic_curve::{PrimeField as _, ops::MulByGenerator as _, sec1::ToEncodedPoint as _},
};
use quorate_model::{KeyRecord, NodeId, Scheme};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::{Faults, World, world::plan::Shape};

/// The public points whose discrete logarithms nobody else may hold.
type Points = BTreeSet<Vec<u8>>;

/// The points of these that some run of 32 bytes is the discrete logarithm of.
fn found(points: &Points, scheme: Scheme, haystack: &BTreeSet<Vec<u8>>) -> Points {
    let runs: BTreeSet<[u8; 32]> = haystack
        .iter()
        .flat_map(|bytes| bytes.windows(32))
        .filter_map(|run| run.try_into().ok())
        .collect();
    let mut found = Points::new();
    for run in runs {
        let mut turned = run;
        turned.reverse();
        for secret in [run, turned] {
            let curve = match scheme {
                Scheme::Ed25519 => {
                    let secret = EdwardsScalar::from_bytes_mod_order(secret);
                    (&secret * ED25519_BASEPOINT_TABLE).compress().0.to_vec()
                }
                _ => secp_point(secret),
            };
            let session = EdwardsPoint::mul_base_clamped(secret).to_montgomery();
            for point in [curve, session.0.to_vec()] {
                if points.contains(&point) {
                    found.insert(point);
                }
            }
        }
    }
    found
}

fn secp_point(secret: [u8; 32]) -> Vec<u8> {
    Option::<Scalar>::from(Scalar::from_repr(secret.into()))
        .map(|scalar| ProjectivePoint::mul_by_generator(&scalar))
        .map(|point| point.to_affine().to_encoded_point(true).as_bytes().to_vec())
        .unwrap_or_default()
}

/// A run of two signatures, with everything that passed.
fn recorded(scheme: Scheme, nodes: usize, threshold: u16) -> World {
    let shape = Shape {
        states: false,
        spares: 0,
        nodes,
        threshold,
        coordinators: 1,
        signatures: 1,
        scheme,
        mutation: None,
        cheat: None,
        only_reshares: false,
        twice: false,
        reshares: 0,
        ending: None,
        restoring: None,
        moving: None,
    };
    let rng = ChaCha8Rng::seed_from_u64(11);
    let mut world = World::build(11, rng, Faults::NONE, &shape);
    world.record();
    let report = world.run_to_end().unwrap();
    assert_eq!((report.keys, report.signatures), (1, 2));
    world
}

/// What a thief of the recording and of these disks holds, and what it would like to know.
fn heist(world: &World, stolen: usize) -> (BTreeSet<Vec<u8>>, Points, KeyRecord) {
    let recording = world.recording.as_ref().unwrap();
    let record = world.invariants.live_keys().remove(0).remove(0);
    let mut loot = recording.passed.clone();
    for machine in world.machines.iter().take(stolen) {
        loot.extend(machine.opened());
    }
    let is_stolen = |node: &NodeId| world.people.node_at(node).unwrap() < stolen;
    let mut secrets: Points = record
        .participants
        .iter()
        .filter(|participant| !is_stolen(&participant.node))
        .map(|participant| record.verifying_share(participant.index).unwrap().to_vec())
        .collect();
    secrets.insert(record.group_key.clone());
    secrets.extend(recording.session_keys.iter().map(|key| key.to_vec()));
    let of_others = recording
        .commitments
        .iter()
        .filter(|(node, _)| !is_stolen(node));
    secrets.extend(of_others.map(|(_, point)| point.clone()));
    (loot, secrets, record)
}

fn check(scheme: Scheme, nodes: usize, threshold: u16) {
    let world = recorded(scheme, nodes, threshold);
    let fewer = usize::from(threshold) - 1;

    let (loot, secrets, record) = heist(&world, fewer);
    assert!(secrets.len() > 20 && loot.len() > 20);

    // The search finds what lies there, the shares of the stolen nodes, and nothing else.
    let shares: Points = record.verifying_shares[..fewer].iter().cloned().collect();
    let wanted = secrets.union(&shares).cloned().collect();
    assert_eq!(found(&wanted, scheme, &loot), shares);
}

#[test]
fn a_recording_and_the_disks_of_one_node_yield_nothing_of_a_2_of_3_key() {
    check(Scheme::Bip340, 3, 2);
}

#[test]
fn a_recording_and_the_disks_of_two_nodes_yield_nothing_of_a_3_of_5_key() {
    check(Scheme::FrostSecp256k1, 5, 3);
}

#[test]
fn a_recording_and_the_disks_of_one_node_yield_nothing_of_an_ed25519_key() {
    check(Scheme::Ed25519, 3, 2);
}

#[test]
fn the_search_finds_a_session_key_that_lies_there() {
    let secret = StaticSecret::from([9; 32]);
    let points = Points::from([PublicKey::from(&secret).as_bytes().to_vec()]);
    let haystack = BTreeSet::from([[&[1, 2, 3][..], &secret.to_bytes()[..], &[4]].concat()]);

    assert_eq!(found(&points, Scheme::Bip340, &haystack), points);
}
