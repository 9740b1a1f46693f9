//! The public terms of a session: what everybody who holds the preimage of its id knows.

use quorate_model::{Digest, PartyIndex, Scheme, SessionBinding, SessionPreimage, Tag, Tagged};

use crate::suite::Curve;

/// The most parties of one session.
pub(crate) const MAX_PARTIES: usize = 32;

/// The name and version of the protocol for a scheme, as a session is bound to it.
pub const fn protocol_name(scheme: Scheme) -> Option<&'static str> {
    match scheme {
        Scheme::Bip340 => Some("dkg/1/bip340"),
        Scheme::FrostSecp256k1 => Some("dkg/1/frost-secp256k1"),
        Scheme::Ed25519 => Some("dkg/1/ed25519"),
        Scheme::EcdsaSecp256k1 => Some("dkg/1/ecdsa-secp256k1"),
        _ => None,
    }
}

pub(crate) fn scheme_of(binding: &SessionBinding) -> Option<Scheme> {
    Scheme::ALL
        .into_iter()
        .find(|scheme| protocol_name(*scheme) == Some(binding.protocol.as_str()))
}

/// Whether participants are exactly the indices 1..=n in order and the threshold fits them.
pub(crate) fn is_well_shaped(binding: &SessionBinding) -> bool {
    let count = binding.participants.len();
    let indices = binding
        .participants
        .iter()
        .map(|participant| participant.index.number());
    (2..=MAX_PARTIES).contains(&count)
        && indices.eq((1..).take(count))
        && binding.threshold >= 1
        && usize::from(binding.threshold) <= count
}

/// The indices of all participants in order.
pub(crate) fn parties(binding: &SessionBinding) -> impl Iterator<Item = PartyIndex> + '_ {
    binding
        .participants
        .iter()
        .map(|participant| participant.index)
}

/// A well-shaped session with its id.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) scheme: Scheme,
    pub(crate) curve: Curve,
    pub(crate) preimage: SessionPreimage,
    pub(crate) session: Digest,
}

impl Terms {
    pub(crate) fn new(preimage: SessionPreimage) -> Option<Self> {
        let scheme = scheme_of(&preimage.binding)?;
        let curve = Curve::of(scheme).ok()?;
        if !is_well_shaped(&preimage.binding)
            || preimage.nonces.len() != preimage.binding.participants.len()
        {
            return None;
        }
        let session = preimage.id();
        Some(Self {
            scheme,
            curve,
            preimage,
            session,
        })
    }

    pub(crate) fn threshold(&self) -> u16 {
        self.preimage.binding.threshold
    }

    pub(crate) fn parties(&self) -> impl Iterator<Item = PartyIndex> + '_ {
        parties(&self.preimage.binding)
    }
}

/// The hash of one round's broadcasts, in order of their senders. It covers the digests that are
/// signed and not the signatures, of which one sender can make many for one message.
pub(crate) fn view(session: &Digest, round: u8, digests: &[Digest]) -> Digest {
    Tagged::new(Tag::Echo)
        .text("view")
        .digest(session)
        .number(u64::from(round))
        .list(digests, Tagged::digest)
        .finish()
}

/// The hash of an echo round in which everybody saw the same. It follows from what was seen, so a
/// later message that names another one contradicts its sender's own echo.
pub(crate) fn agreed(view: &Digest) -> Digest {
    Tagged::new(Tag::Echo).text("agreed").digest(view).finish()
}
