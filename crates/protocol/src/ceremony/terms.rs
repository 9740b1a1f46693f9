//! The public terms of a session: what everybody who holds the preimage of its id knows. Who deals
//! and who receives stands there too: everybody does both when a key is born.

use std::collections::BTreeSet;

use quorate_model::{
    Digest, PartyIndex, Scheme, SessionBinding, SessionPreimage, SessionSource, Tag, Tagged,
    session::Dealer,
};

use super::round;
use crate::{
    envelope::{Header, ProtocolId},
    suite::Curve,
};

/// The most dealers and the most receivers of one session.
pub(crate) const MAX_PARTIES: usize = 32;

/// The name and version of key generation for a scheme, as a session is bound to it.
pub const fn birth_protocol(scheme: Scheme) -> Option<&'static str> {
    match scheme {
        Scheme::Bip340 => Some("dkg/2/bip340"),
        Scheme::FrostSecp256k1 => Some("dkg/2/frost-secp256k1"),
        Scheme::Ed25519 => Some("dkg/2/ed25519"),
        Scheme::EcdsaSecp256k1 => Some("dkg/2/ecdsa-secp256k1"),
        _ => None,
    }
}

/// The name and version of resharing for a scheme, as a session is bound to it.
pub const fn reshare_protocol(scheme: Scheme) -> Option<&'static str> {
    match scheme {
        Scheme::Bip340 => Some("reshare/1/bip340"),
        Scheme::FrostSecp256k1 => Some("reshare/1/frost-secp256k1"),
        Scheme::Ed25519 => Some("reshare/1/ed25519"),
        Scheme::EcdsaSecp256k1 => Some("reshare/1/ecdsa-secp256k1"),
        _ => None,
    }
}

/// The scheme of a session whose protocol is the one that it must be: resharing if and only if it
/// has a source.
pub(crate) fn scheme_of(binding: &SessionBinding) -> Option<Scheme> {
    let name = if binding.source.is_none() {
        birth_protocol
    } else {
        reshare_protocol
    };
    Scheme::ALL
        .into_iter()
        .find(|scheme| name(*scheme) == Some(binding.protocol.as_str()))
}

/// The protocol as the headers of a session name it.
pub(crate) fn protocol_id(binding: &SessionBinding) -> ProtocolId {
    if binding.source.is_none() {
        ProtocolId::Dkg
    } else {
        ProtocolId::Reshare
    }
}

/// Whether participants are exactly the indices 1..=n in order, the threshold fits the receivers,
/// and the dealers of a source stand where they must (P5).
pub(crate) fn is_well_shaped(binding: &SessionBinding) -> bool {
    let count = binding.participants.len();
    let source = binding.source.as_ref();
    let receivers = source.map_or(count, |source| usize::from(source.receivers));
    (2..=MAX_PARTIES).contains(&receivers)
        && (receivers..=receivers + MAX_PARTIES).contains(&count)
        && parties(binding)
            .map(PartyIndex::number)
            .eq((1..).take(count))
        && binding.threshold >= 1
        && usize::from(binding.threshold) <= receivers
        && source.is_none_or(|source| are_dealers(source, count))
}

/// Whether dealers stand in order, each once, and whoever receives nothing deals, in the order of
/// the source epoch. So one choice of dealers and receivers has one session.
fn are_dealers(source: &SessionSource, count: usize) -> bool {
    let dealers = &source.dealers;
    let ascends = |key: fn(&Dealer) -> PartyIndex, of: &[Dealer]| {
        of.iter().map(key).is_sorted_by(|one, next| one < next)
    };
    let receiving = dealers.partition_point(|dealer| dealer.index.number() <= source.receivers);
    let apart = dealers.get(receiving..).unwrap_or_default();
    let shares: BTreeSet<_> = dealers.iter().map(|dealer| dealer.source_index).collect();
    (1..=MAX_PARTIES).contains(&dealers.len())
        && shares.len() == dealers.len()
        && ascends(|dealer| dealer.index, dealers)
        && ascends(|dealer| dealer.source_index, apart)
        && apart
            .iter()
            .map(|dealer| usize::from(dealer.index.number()))
            .eq(usize::from(source.receivers) + 1..=count)
}

/// The indices of all participants in order.
pub(crate) fn parties(binding: &SessionBinding) -> impl Iterator<Item = PartyIndex> + '_ {
    binding
        .participants
        .iter()
        .map(|participant| participant.index)
}

/// Whether a party deals.
pub(crate) fn deals(binding: &SessionBinding, party: PartyIndex) -> bool {
    binding
        .source
        .as_ref()
        .is_none_or(|source| source.dealers.iter().any(|dealer| dealer.index == party))
}

/// Whether a party receives.
pub(crate) fn receives(binding: &SessionBinding, party: PartyIndex) -> bool {
    binding
        .source
        .as_ref()
        .is_none_or(|source| party.number() <= source.receivers)
}

/// Who deals, in order.
pub(crate) fn dealers(binding: &SessionBinding) -> impl Iterator<Item = PartyIndex> + '_ {
    parties(binding).filter(|party| deals(binding, *party))
}

/// Who receives, in order.
pub(crate) fn receivers(binding: &SessionBinding) -> impl Iterator<Item = PartyIndex> + '_ {
    parties(binding).filter(|party| receives(binding, *party))
}

/// For whom a party makes session keys: every other dealer, if it receives anything.
pub(crate) fn senders_to(
    binding: &SessionBinding,
    party: PartyIndex,
) -> impl Iterator<Item = PartyIndex> + '_ {
    dealers(binding).filter(move |dealer| *dealer != party && receives(binding, party))
}

/// Who speaks in a round, in order: the dealers where something is dealt, else everybody.
pub(crate) fn speakers(binding: &SessionBinding, round: u8) -> Vec<PartyIndex> {
    match round {
        round::COMMIT | round::REVEAL | round::SHARE => dealers(binding).collect(),
        _ => parties(binding).collect(),
    }
}

/// Whether a header stands in the place of a hello.
pub(crate) fn is_hello(binding: &SessionBinding, header: &Header) -> bool {
    header.session == binding.provisional_id()
        && header.protocol == protocol_id(binding)
        && header.round == round::HELLO
        && header.recipient.is_none()
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

    pub(crate) fn binding(&self) -> &SessionBinding {
        &self.preimage.binding
    }

    pub(crate) fn threshold(&self) -> u16 {
        self.binding().threshold
    }

    pub(crate) fn parties(&self) -> impl Iterator<Item = PartyIndex> + '_ {
        parties(self.binding())
    }

    /// Whether a header stands in this place of this session.
    pub(crate) fn place(&self, header: &Header, round: u8, recipient: Option<PartyIndex>) -> bool {
        header.session == self.session
            && header.protocol == protocol_id(self.binding())
            && header.round == round
            && header.recipient == recipient
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
