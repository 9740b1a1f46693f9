//! The shape of what a peer may send, checked before the library computes with it: exact lengths,
//! its own places, no identity points.

use dkls23_core::{
    protocols::{
        PartiesMessage, PartyIndex as Index,
        signing::{TransmitPhase1to2, TransmitPhase2to3},
    },
    utilities::{
        multiplication::{L, OT_WIDTH},
        ot::extension::{BATCH_SIZE, KAPPA},
        proofs::{DLogProof, EncProof, R, T},
    },
};
use k256_next::{Secp256k1, elliptic_curve::CurveAffine as _};

use super::Point;

/// The longest message of the set-up: 256 proofs of about 550 bytes and one of 5 KB, rounded up.
pub(super) const PAIR_LIMIT: usize = 160 * 1024;
/// The longest message of round 1: 256 rows of the extension with their checks.
pub(super) const PHASE_1_LIMIT: usize = 32 * 1024;
/// The longest message of round 2: 4 by 416 scalars, and what is checked.
pub(super) const PHASE_2_LIMIT: usize = 60 * 1024;
/// The longest message of round 3: two scalars.
pub(super) const PHASE_3_LIMIT: usize = 128;

/// The length of a salt of the library's commitments.
pub(super) const SALT_BYTES: usize = 64;

fn is_point(point: &Point) -> bool {
    !bool::from(point.is_identity())
}

/// Whether a message names the two between whom it goes (P5).
fn is_between(parties: &PartiesMessage, from: Index, to: Index) -> bool {
    parties.sender == from && parties.receiver == to
}

pub(super) fn is_dlog_proof(proof: &DLogProof<Secp256k1>) -> bool {
    proof.rand_commitments.len() == usize::from(R)
        && proof.proofs.len() == usize::from(R)
        && is_point(&proof.point)
        && proof.rand_commitments.iter().all(is_point)
        && proof
            .proofs
            .iter()
            .all(|proof| proof.challenge.len() == usize::from(T / 8))
}

pub(super) fn are_enc_proofs(proofs: &[EncProof<Secp256k1>]) -> bool {
    proofs.len() == usize::from(KAPPA)
        && proofs.iter().all(|proof| {
            let sides = [&proof.proof0, &proof.proof1];
            let commitments = [&proof.commitments0, &proof.commitments1];
            sides.iter().all(|side| {
                [&side.base_g, &side.base_h, &side.point_u, &side.point_v]
                    .into_iter()
                    .all(is_point)
            }) && commitments
                .iter()
                .all(|pair| is_point(&pair.rc_g) && is_point(&pair.rc_h))
        })
}

pub(super) fn is_phase_1(message: &TransmitPhase1to2, from: Index, to: Index) -> bool {
    is_between(&message.parties, from, to)
        && message.mul_transmit.u.len() == usize::from(KAPPA)
        && message.mul_transmit.verify_t.len() == usize::from(KAPPA)
}

pub(super) fn is_phase_2(message: &TransmitPhase2to3<Secp256k1>, from: Index, to: Index) -> bool {
    let multiplied = &message.mul_transmit;
    let points = [
        &message.gamma_u,
        &message.gamma_v,
        &message.public_share,
        &message.instance_point,
    ];
    is_between(&message.parties, from, to)
        && message.salt.len() == SALT_BYTES
        && points.into_iter().all(is_point)
        && multiplied.vector_of_tau.len() == usize::from(OT_WIDTH)
        && multiplied
            .vector_of_tau
            .iter()
            .all(|tau| tau.len() == usize::from(BATCH_SIZE))
        && multiplied.verify_u.len() == usize::from(L)
        && multiplied.gamma_sender.len() == usize::from(L)
}
