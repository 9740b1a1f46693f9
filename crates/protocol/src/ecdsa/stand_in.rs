//! An engine with the same pattern of messages as the real one, deterministic in its randomness and
//! cheap, for the simulator and for tests of everything around an engine.
//!
//! # Security
//!
//! None. In the last round every signer hands its share to the others. It exists only with the
//! feature `stand-in`, which nothing that is shipped turns on, and pairings that it made are
//! refused by the real engine and the other way round.

use std::{collections::BTreeMap, sync::Arc};

use k256::{
    AffinePoint, ProjectivePoint, Scalar,
    elliptic_curve::{
        PrimeField as _, ops::Reduce, point::AffineCoordinates as _, scalar::IsHigh as _,
    },
};
use quorate_model::{Digest, PartyIndex, Tag, Tagged};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::engine::{
    CommittedPair, Engine, Failure, Messages, OpenedPair, PairEnd, PairPlace, PhaseStep,
    RawSignature, SecretBytes, SigningInput, SigningPhase,
};
use crate::{
    abort::Fault,
    suite::{
        Secp, Suite as _, decode_scalar, encode_element, encode_scalar, lagrange, random_scalar,
        zero,
    },
};

/// The stand-in. Insecure; see the module.
#[derive(Clone, Copy, Debug)]
pub struct StandIn;

const LIMIT: usize = 256;

/// One end of a pairing: the same at both ends but for who is who.
#[derive(Serialize, Deserialize)]
struct End {
    me: PartyIndex,
    peer: PartyIndex,
    shared: Digest,
}

/// The second message of a signer: its nonce point, and what only its peer and it can make of it.
#[derive(Serialize, Deserialize)]
struct Opening {
    nonce_point: Vec<u8>,
    check: Digest,
}

/// The last message of a signer.
#[derive(Serialize, Deserialize)]
struct Part {
    nonce: [u8; 32],
    share: [u8; 32],
}

fn encode<T: Serialize>(message: &T) -> Result<SecretBytes, Failure> {
    postcard::to_allocvec(message)
        .map(SecretBytes::new)
        .map_err(|_| Failure::Invariant("a message of the stand-in is encodable"))
}

fn decode<T: DeserializeOwned>(from: PartyIndex, message: &SecretBytes) -> Result<T, Failure> {
    postcard::from_bytes(message.expose()).map_err(|_| Failure::Blamed(from, Fault::Malformed))
}

fn hash(what: &str, session: &Digest, from: PartyIndex, bytes: &[u8]) -> Digest {
    Tagged::new(Tag::Pairing)
        .text("stand-in")
        .text(what)
        .digest(session)
        .number(u64::from(from.number()))
        .bytes(bytes)
        .finish()
}

impl Engine for StandIn {
    fn name(&self) -> &'static str {
        "stand-in/1"
    }

    fn pairing_message_limit(&self) -> usize {
        LIMIT
    }

    fn signing_message_limit(&self, _: u8) -> usize {
        LIMIT
    }

    fn begin_pair(
        &self,
        place: PairPlace,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Box<dyn CommittedPair>, Vec<u8>), Failure> {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let commitment = hash("seed", &place.session, place.me, &seed);
        Ok((
            Box::new(Pair { place, seed }),
            commitment.as_bytes().to_vec(),
        ))
    }

    fn is_pair_end(&self, me: PartyIndex, peer: PartyIndex, secret: &SecretBytes) -> bool {
        decode::<End>(peer, secret).is_ok_and(|end| end.me == me && end.peer == peer)
    }

    fn begin_signing(
        &self,
        input: &SigningInput<'_>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Box<dyn SigningPhase>, Messages), Failure> {
        let mut shared = BTreeMap::new();
        for (peer, end) in &input.pairs {
            shared.insert(*peer, decode::<End>(*peer, end)?.shared);
        }
        let mut signers: Vec<_> = shared.keys().copied().chain([input.me]).collect();
        signers.sort_unstable();
        let share = decode_scalar::<Secp>(input.share)
            .zip(lagrange::<Secp>(&signers, input.me))
            .map(|(share, lambda)| share * lambda)
            .ok_or(Failure::Invariant("a checked share is a scalar"))?;
        let nonce = random_scalar::<Secp>(rng);
        let nonce_point = encode_element::<Secp>(&Secp::mul_base(&nonce))
            .ok_or(Failure::Invariant("a random nonce is not zero"))?;
        let commitment = hash("nonce", &input.session, input.me, &nonce_point);
        let mut messages = Messages::new();
        for peer in shared.keys() {
            messages.insert(*peer, encode(&commitment)?);
        }
        let signer = Signer {
            session: input.session,
            me: input.me,
            digest: *input.digest,
            shared,
            nonce,
            nonce_point,
            share,
        };
        Ok((Box::new(AfterCommit(signer)), messages))
    }
}

struct Pair {
    place: PairPlace,
    seed: [u8; 32],
}

impl CommittedPair for Pair {
    fn open(
        self: Box<Self>,
        _: &mut dyn CryptoRngCore,
    ) -> Result<(Box<dyn OpenedPair>, SecretBytes), Failure> {
        let message = encode(&self.seed)?;
        Ok((self, message))
    }
}

impl OpenedPair for Pair {
    fn finish(
        self: Box<Self>,
        commitment: &[u8],
        message: &SecretBytes,
    ) -> Result<PairEnd, Failure> {
        let PairPlace { session, me, peer } = self.place;
        let theirs: [u8; 32] = decode(peer, message)?;
        if hash("seed", &session, peer, &theirs).as_bytes() != commitment {
            return Err(Failure::Blamed(peer, Fault::FalseReveal));
        }
        let (low, first, second) = if me < peer {
            (me, self.seed, theirs)
        } else {
            (peer, theirs, self.seed)
        };
        let seeds = [first, second].concat();
        let shared = hash("shared", &session, low, &seeds);
        Ok(PairEnd {
            secret: encode(&End { me, peer, shared })?,
            id: hash("pair", &session, low, shared.as_bytes()),
        })
    }
}

struct Signer {
    session: Digest,
    me: PartyIndex,
    digest: [u8; 32],
    shared: BTreeMap<PartyIndex, Digest>,
    nonce: Scalar,
    nonce_point: Vec<u8>,
    share: Scalar,
}

impl Signer {
    /// What stands for the consistency check of a multiplication.
    fn check(&self, from: PartyIndex, with: PartyIndex, point: &[u8]) -> Option<Digest> {
        let shared = self.shared.get(&with)?;
        Some(hash(
            "check",
            &self.session,
            from,
            &[shared.as_bytes(), point].concat(),
        ))
    }
}

struct AfterCommit(Signer);

impl SigningPhase for AfterCommit {
    fn advance(
        self: Box<Self>,
        inbox: &Messages,
        _: &mut dyn CryptoRngCore,
    ) -> Result<PhaseStep, Failure> {
        let Self(signer) = *self;
        let mut commitments = BTreeMap::new();
        let mut messages = Messages::new();
        for (peer, message) in inbox {
            commitments.insert(*peer, decode::<Digest>(*peer, message)?);
            let opening = Opening {
                nonce_point: signer.nonce_point.clone(),
                check: signer
                    .check(signer.me, *peer, &signer.nonce_point)
                    .ok_or(Failure::Invariant("a message is from a peer"))?,
            };
            messages.insert(*peer, encode(&opening)?);
        }
        let phase = AfterOpen {
            signer,
            commitments,
        };
        Ok(PhaseStep::Next(Box::new(phase), messages))
    }
}

struct AfterOpen {
    signer: Signer,
    commitments: BTreeMap<PartyIndex, Digest>,
}

impl SigningPhase for AfterOpen {
    fn advance(
        self: Box<Self>,
        inbox: &Messages,
        _: &mut dyn CryptoRngCore,
    ) -> Result<PhaseStep, Failure> {
        let Self {
            signer,
            commitments,
        } = *self;
        let mut messages = Messages::new();
        for (peer, message) in inbox {
            let opening: Opening = decode(*peer, message)?;
            let point = &opening.nonce_point;
            if commitments.get(peer) != Some(&hash("nonce", &signer.session, *peer, point)) {
                return Err(Failure::Blamed(*peer, Fault::FalseReveal));
            }
            if signer.check(*peer, *peer, point) != Some(opening.check) {
                return Err(Failure::Ban(*peer));
            }
            let part = Part {
                nonce: encode_scalar::<Secp>(&signer.nonce),
                share: encode_scalar::<Secp>(&signer.share),
            };
            messages.insert(*peer, encode(&part)?);
        }
        Ok(PhaseStep::Next(Box::new(AfterParts(signer)), messages))
    }
}

struct AfterParts(Signer);

impl SigningPhase for AfterParts {
    fn advance(
        self: Box<Self>,
        inbox: &Messages,
        _: &mut dyn CryptoRngCore,
    ) -> Result<PhaseStep, Failure> {
        let (mut nonce, mut key) = (self.0.nonce, self.0.share);
        for (peer, message) in inbox {
            let part: Part = decode(*peer, message)?;
            let read = |bytes: &[u8; 32]| {
                decode_scalar::<Secp>(bytes).ok_or(Failure::Blamed(*peer, Fault::Malformed))
            };
            nonce += read(&part.nonce)?;
            key += read(&part.share)?;
        }
        let invalid = Failure::Unnamed(Fault::InvalidSignature);
        let point: AffinePoint = (ProjectivePoint::GENERATOR * nonce).to_affine();
        let r = <Scalar as Reduce<k256::U256>>::reduce_bytes(&point.x());
        let digest = <Scalar as Reduce<k256::U256>>::reduce_bytes(&self.0.digest.into());
        let inverse: Scalar = Option::from(nonce.invert()).ok_or(invalid)?;
        let s = inverse * (digest + r * key);
        if s == zero::<Secp>() || r == zero::<Secp>() {
            return Err(invalid);
        }
        let high = bool::from(s.is_high());
        let odd = bool::from(point.y_is_odd()) != high;
        let s = if high { -s } else { s };
        Ok(PhaseStep::Done(RawSignature {
            r: r.to_repr().into(),
            s: s.to_repr().into(),
            recovery_id: u8::from(odd),
        }))
    }
}

/// Computes like the stand-in, and spoils its own messages of one signing round whenever it is told
/// to: in round 2 they fail the check of their recipient, in round 3 they make no signature.
pub struct Spoiling {
    round: u8,
    spoils: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Spoiling {
    /// An engine that asks each time whether it spoils.
    pub fn new(round: u8, spoils: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            round,
            spoils: Arc::new(spoils),
        }
    }
}

impl std::fmt::Debug for Spoiling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spoiling")
            .field("round", &self.round)
            .finish_non_exhaustive()
    }
}

impl Engine for Spoiling {
    fn name(&self) -> &'static str {
        StandIn.name()
    }

    fn pairing_message_limit(&self) -> usize {
        StandIn.pairing_message_limit()
    }

    fn signing_message_limit(&self, round: u8) -> usize {
        StandIn.signing_message_limit(round)
    }

    fn begin_pair(
        &self,
        place: PairPlace,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Box<dyn CommittedPair>, Vec<u8>), Failure> {
        StandIn.begin_pair(place, rng)
    }

    fn is_pair_end(&self, me: PartyIndex, peer: PartyIndex, secret: &SecretBytes) -> bool {
        StandIn.is_pair_end(me, peer, secret)
    }

    fn begin_signing(
        &self,
        input: &SigningInput<'_>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Box<dyn SigningPhase>, Messages), Failure> {
        let (phase, messages) = StandIn.begin_signing(input, rng)?;
        let phase = SpoilingPhase {
            phase,
            next: 2,
            round: self.round,
            spoils: Arc::clone(&self.spoils),
        };
        Ok((Box::new(phase), messages))
    }
}

struct SpoilingPhase {
    phase: Box<dyn SigningPhase>,
    /// Of which round the messages are that come out next.
    next: u8,
    round: u8,
    spoils: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl SigningPhase for SpoilingPhase {
    fn advance(
        self: Box<Self>,
        inbox: &Messages,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<PhaseStep, Failure> {
        let Self {
            phase,
            next,
            round,
            spoils,
        } = *self;
        let (phase, mut messages) = match phase.advance(inbox, rng)? {
            PhaseStep::Next(phase, messages) => (phase, messages),
            done @ PhaseStep::Done(_) => return Ok(done),
        };
        if next == round && spoils() {
            for message in messages.values_mut() {
                let mut bytes = message.expose().to_vec();
                // The last byte belongs to the check, or holds the lowest bits of the share.
                if let Some(byte) = bytes.last_mut() {
                    *byte ^= 1;
                }
                *message = SecretBytes::new(bytes);
            }
        }
        let phase = Self {
            phase,
            next: next.saturating_add(1),
            round,
            spoils,
        };
        Ok(PhaseStep::Next(Box::new(phase), messages))
    }
}
