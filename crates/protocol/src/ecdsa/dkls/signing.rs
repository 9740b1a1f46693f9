//! Protocol 3.6 of `DKLs23`, a phase at a time. The letters in the comments are the paper's.

use std::collections::BTreeMap;

use dkls23_core::{
    protocols::{
        Parameters, PartyIndex as Index,
        derivation::DerivData,
        signing::{
            Broadcast3to4, KeepPhase1to2, KeepPhase2to3, SignData, TransmitPhase1to2,
            TransmitPhase2to3, UniqueKeep1to2, UniqueKeep2to3,
        },
    },
    utilities::zero_shares::ZeroShare,
};
use k256_next::{
    ProjectivePoint, Sec1Point, Secp256k1,
    elliptic_curve::{
        PrimeField as _, point::AffineCoordinates as _, scalar::IsHigh as _,
        sec1::FromSec1Point as _,
    },
};
use rand_core::CryptoRngCore;

use super::{Party, Point, Scalar, decode, encode, failure_of, index_of, pairs, party_of, shapes};
use crate::{
    abort::Fault,
    ecdsa::engine::{
        Failure, Messages, PhaseStep, RawSignature, SecretBytes, SigningInput, SigningPhase,
    },
};

/// Begins a signature: the steps 4 to 6 of the protocol.
pub(super) fn begin(
    input: &SigningInput<'_>,
) -> Result<(Box<dyn SigningPhase>, Messages), Failure> {
    let signer = Signer {
        party: party(input)?,
        data: SignData {
            sign_id: input.session.as_bytes().to_vec(),
            counterparties: input
                .pairs
                .keys()
                .map(|peer| index_of(*peer))
                .collect::<Result<_, _>>()?,
            message_hash: *input.digest,
        },
    };
    let (unique, kept, sent) = signer
        .party
        .sign_phase1(&signer.data)
        .map_err(|abort| failure_of(&abort))?;
    let messages = sent
        .iter()
        .map(|message| addressed(message.parties.receiver, message))
        .collect::<Result<_, _>>()?;
    let phase = AfterPhase1 {
        signer,
        unique,
        kept,
    };
    Ok((Box::new(phase), messages))
}

/// The library's party for one signature: the tweaked share, and the pairings with the signers.
fn party(input: &SigningInput<'_>) -> Result<Party, Failure> {
    let bug = |what| move || Failure::Invariant(what);
    let me = index_of(input.me)?;
    let small = |number| u8::try_from(number).ok();
    let parameters = small(input.threshold)
        .zip(small(input.count))
        .and_then(|(t, n)| Parameters::new(t, n).ok())
        .ok_or_else(bug("a key has at least 2 signers and at most 32 holders"))?;
    let share = Option::from(Scalar::from_repr((*input.share).into()))
        .ok_or_else(bug("a checked share is a scalar"))?;
    let key = Sec1Point::from_bytes(input.public_key)
        .ok()
        .and_then(|point| Option::<Point>::from(Point::from_sec1_point(&point)))
        .ok_or_else(bug("a checked key is a point"))?;
    let mut seeds = Vec::with_capacity(input.pairs.len());
    let mut senders = BTreeMap::new();
    let mut receivers = BTreeMap::new();
    for (peer, secret) in &input.pairs {
        let pair = pairs::read(input.me, *peer, secret)
            .ok_or_else(bug("a pairing that was made or read is well formed"))?;
        seeds.push(pair.seed);
        senders.insert(index_of(*peer)?, pair.sender);
        receivers.insert(index_of(*peer)?, pair.receiver);
    }
    Ok(Party {
        parameters,
        party_index: me,
        // Everything that tells one signature from another is in the id of the session.
        session_id: b"quorate/v1/pairing".to_vec(),
        poly_point: share,
        pk: key,
        zero_share: ZeroShare::initialize(seeds),
        mul_senders: senders,
        mul_receivers: receivers,
        derivation_data: DerivData {
            depth: 0,
            child_number: 0,
            parent_fingerprint: [0; 4],
            poly_point: share,
            pk: key,
            chain_code: [0; 32],
        },
        address: String::new(),
    })
}

fn addressed<T: serde::Serialize>(
    receiver: Index,
    message: &T,
) -> Result<(quorate_model::PartyIndex, SecretBytes), Failure> {
    Ok((party_of(receiver)?, encode(message)?))
}

struct Signer {
    party: Party,
    data: SignData,
}

impl Signer {
    /// Reads one message of every other signer, in the form of its round.
    fn read<T: serde::de::DeserializeOwned>(
        &self,
        inbox: &Messages,
        is_shaped: impl Fn(&T, Index, Index) -> bool,
    ) -> Result<Vec<T>, Failure> {
        inbox
            .iter()
            .map(|(sender, message)| {
                let from = index_of(*sender)?;
                decode(message)
                    .filter(|message| is_shaped(message, from, self.party.party_index))
                    .ok_or(Failure::Blamed(*sender, Fault::Malformed))
            })
            .collect()
    }
}

struct AfterPhase1 {
    signer: Signer,
    unique: UniqueKeep1to2<Secp256k1>,
    kept: BTreeMap<Index, KeepPhase1to2<Secp256k1>>,
}

impl SigningPhase for AfterPhase1 {
    /// Step 7: the own part in every multiplication, as its sender.
    fn advance(
        self: Box<Self>,
        inbox: &Messages,
        _: &mut dyn CryptoRngCore,
    ) -> Result<PhaseStep, Failure> {
        let Self {
            signer,
            unique,
            kept,
        } = *self;
        let received: Vec<TransmitPhase1to2> = signer.read(inbox, shapes::is_phase_1)?;
        let (unique, kept, sent) = signer
            .party
            .sign_phase2(&signer.data, unique, kept, &received)
            .map_err(|abort| failure_of(&abort))?;
        let messages = sent
            .iter()
            .map(|message| addressed(message.parties.receiver, message))
            .collect::<Result<_, _>>()?;
        let phase = AfterPhase2 {
            signer,
            unique,
            kept,
        };
        Ok(PhaseStep::Next(Box::new(phase), messages))
    }
}

struct AfterPhase2 {
    signer: Signer,
    unique: UniqueKeep2to3<Secp256k1>,
    kept: BTreeMap<Index, KeepPhase2to3<Secp256k1>>,
}

impl SigningPhase for AfterPhase2 {
    /// Steps 8 and 9: the checks, and the own part u, w of denominator and numerator.
    fn advance(
        self: Box<Self>,
        inbox: &Messages,
        _: &mut dyn CryptoRngCore,
    ) -> Result<PhaseStep, Failure> {
        let Self {
            signer,
            unique,
            kept,
        } = *self;
        let received: Vec<TransmitPhase2to3<Secp256k1>> = signer.read(inbox, shapes::is_phase_2)?;
        let nonce_point = received
            .iter()
            .fold(
                ProjectivePoint::from(unique.instance_point),
                |sum, message| sum + message.instance_point,
            )
            .to_affine();
        let (_, part) = signer
            .party
            .sign_phase3(&signer.data, unique, kept, &received)
            .map_err(|abort| failure_of(&abort))?;
        let messages = inbox
            .keys()
            .map(|peer| Ok((*peer, encode(&part)?)))
            .collect::<Result<_, Failure>>()?;
        let phase = AfterPhase3 {
            signer,
            nonce_point,
            part,
        };
        Ok(PhaseStep::Next(Box::new(phase), messages))
    }
}

struct AfterPhase3 {
    signer: Signer,
    /// R, the sum of all nonce points.
    nonce_point: Point,
    part: Broadcast3to4<Secp256k1>,
}

impl SigningPhase for AfterPhase3 {
    /// Step 10: s = w / u, with low s.
    ///
    /// Computed here and not by the library, which would recompute R and verify the signature; that
    /// is done by others, who had no part in it.
    fn advance(
        self: Box<Self>,
        inbox: &Messages,
        _: &mut dyn CryptoRngCore,
    ) -> Result<PhaseStep, Failure> {
        let Self {
            signer,
            nonce_point,
            part,
        } = *self;
        let (mut u, mut w) = (part.u, part.w);
        for part in signer.read::<Broadcast3to4<Secp256k1>>(inbox, |_, _, _| true)? {
            u += part.u;
            w += part.w;
        }
        let invalid = Failure::Unnamed(Fault::InvalidSignature);
        let inverse: Scalar = Option::from(u.invert()).ok_or(invalid)?;
        let s = w * inverse;
        // An x coordinate above the order does not occur.
        let r: Scalar = Option::from(Scalar::from_repr(nonce_point.x())).ok_or(invalid)?;
        // The negative of s belongs to the negative of R.
        let high = bool::from(s.is_high());
        let odd = bool::from(nonce_point.y_is_odd()) != high;
        let s = if high { -s } else { s };
        Ok(PhaseStep::Done(RawSignature {
            r: r.to_repr().into(),
            s: s.to_repr().into(),
            recovery_id: u8::from(odd),
        }))
    }
}
