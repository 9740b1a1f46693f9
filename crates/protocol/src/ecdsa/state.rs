//! What a holder keeps of the pairwise set-up: its ends of the pairings with the other holders of
//! one key in one epoch.

use std::collections::BTreeMap;

use quorate_model::{Digest, Epoch, KeyName, PartyIndex, Tag, Tagged};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    MAX_HOLDERS,
    engine::{Engine, PairEnd, SecretBytes},
    key::KeyShare,
};

/// The form of the bytes.
const VERSION: u8 = 1;

/// The longest state that is read, in bytes.
pub const MAX_STATE_BYTES: usize = 4 << 20;

/// Why bytes are no pairings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Written by a version that this one does not know.
    #[error("read pairings of version {0}, expected version {VERSION}")]
    UnknownVersion(u8),
    /// Too long, cut off, followed by other bytes, or altered.
    #[error("read pairings that are damaged")]
    Damaged,
    /// Made by another engine.
    #[error("read pairings of another engine")]
    OtherEngine,
    /// A state that cannot be written.
    #[error("write pairings")]
    Unencodable,
}

/// Why pairings do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("join pairings of another key, epoch, holder or engine")]
pub struct OtherKey;

struct Pair {
    /// What both ends have in common.
    id: Digest,
    end: SecretBytes,
}

/// A holder's pairings for one key and epoch. Secret; zeroized when dropped.
///
/// It holds neither the share nor anything from which the share follows: whoever has it can impair
/// signing and, with the peer's help over many signatures, endanger the key.
pub struct PairingState {
    engine: String,
    key: KeyName,
    epoch: Epoch,
    me: PartyIndex,
    group_key: Vec<u8>,
    pairs: BTreeMap<PartyIndex, Pair>,
}

impl std::fmt::Debug for PairingState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairingState")
            .field("key", &self.key)
            .field("epoch", &self.epoch)
            .field("me", &self.me)
            .field("pairs", &self.pairs.len())
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Out<'a> {
    engine: &'a str,
    key: &'a KeyName,
    epoch: Epoch,
    me: PartyIndex,
    group_key: &'a [u8],
    pairs: Vec<(PartyIndex, Digest, &'a [u8])>,
}

#[derive(Deserialize)]
struct In<'a> {
    engine: &'a str,
    key: KeyName,
    epoch: Epoch,
    me: PartyIndex,
    group_key: &'a [u8],
    #[serde(borrow)]
    pairs: Vec<(PartyIndex, Digest, &'a [u8])>,
}

impl PairingState {
    /// No pairings yet, for this share.
    pub(super) fn empty(engine: &dyn Engine, share: &KeyShare) -> Self {
        let place = share.place();
        Self {
            engine: engine.name().to_owned(),
            key: place.key.clone(),
            epoch: place.epoch,
            me: place.me,
            group_key: share.group_key().to_vec(),
            pairs: BTreeMap::new(),
        }
    }

    /// Takes over the ends of finished set-ups.
    #[must_use]
    pub(super) fn filled(mut self, ends: BTreeMap<PartyIndex, PairEnd>) -> Self {
        let pairs = ends
            .into_iter()
            .map(|(peer, PairEnd { secret, id })| (peer, Pair { id, end: secret }));
        self.pairs.extend(pairs);
        self
    }

    /// With whom there are pairings, and what each has in common with the other end.
    pub fn pairs(&self) -> impl Iterator<Item = (PartyIndex, Digest)> + '_ {
        self.pairs.iter().map(|(peer, pair)| (*peer, pair.id))
    }

    /// The own end of one pairing with its id.
    pub(super) fn pair(&self, peer: PartyIndex) -> Option<(Digest, &SecretBytes)> {
        self.pairs.get(&peer).map(|pair| (pair.id, &pair.end))
    }

    /// Whether these are the pairings of this share, made by this engine.
    pub(super) fn is_of(&self, engine: &dyn Engine, share: &KeyShare) -> bool {
        let place = share.place();
        self.engine == engine.name()
            && self.key == place.key
            && self.epoch == place.epoch
            && self.me == place.me
            && self.group_key == share.group_key()
    }

    /// Takes over the pairings of a later set-up, in the place of those with the same peers: how
    /// the pairings of a failed session are renewed.
    ///
    /// # Errors
    ///
    /// Changes nothing if the other pairings are not of the same key, epoch, holder and engine.
    pub fn renew(&mut self, later: Self) -> Result<(), OtherKey> {
        if later.engine != self.engine
            || later.key != self.key
            || later.epoch != self.epoch
            || later.me != self.me
            || later.group_key != self.group_key
        {
            return Err(OtherKey);
        }
        self.pairs.extend(later.pairs);
        Ok(())
    }

    /// Forgets the pairing with a peer. Whether there was one.
    pub fn forget(&mut self, peer: PartyIndex) -> bool {
        self.pairs.remove(&peer).is_some()
    }

    /// The bytes, for sealing: a version, the pairings, and a digest that no altered byte passes.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, StateError> {
        let out = Out {
            engine: &self.engine,
            key: &self.key,
            epoch: self.epoch,
            me: self.me,
            group_key: &self.group_key,
            pairs: self
                .pairs
                .iter()
                .map(|(peer, pair)| (*peer, pair.id, pair.end.expose()))
                .collect(),
        };
        let mut bytes =
            encode_secret(&out, &[VERSION], DIGEST_BYTES).ok_or(StateError::Unencodable)?;
        let check = check(&bytes);
        bytes.extend_from_slice(check.as_bytes());
        Ok(bytes)
    }

    /// Reads the bytes of [`PairingState::to_bytes`].
    pub fn from_bytes(engine: &dyn Engine, bytes: &[u8]) -> Result<Self, StateError> {
        let version = *bytes.first().ok_or(StateError::Damaged)?;
        if version != VERSION {
            return Err(StateError::UnknownVersion(version));
        }
        let at = bytes
            .len()
            .checked_sub(DIGEST_BYTES)
            .filter(|at| *at > 0 && bytes.len() <= MAX_STATE_BYTES)
            .ok_or(StateError::Damaged)?;
        let (covered, digest) = bytes.split_at(at);
        if check(covered).as_bytes() != digest {
            return Err(StateError::Damaged);
        }
        let body = covered.get(1..).ok_or(StateError::Damaged)?;
        let (read, rest): (In<'_>, _) =
            postcard::take_from_bytes(body).map_err(|_| StateError::Damaged)?;
        if !rest.is_empty() || read.pairs.len() >= MAX_HOLDERS {
            return Err(StateError::Damaged);
        }
        if read.engine != engine.name() {
            return Err(StateError::OtherEngine);
        }
        let mut pairs = BTreeMap::new();
        for (peer, id, secret) in read.pairs {
            let end = SecretBytes::new(secret.to_vec());
            let fits = engine.is_pair_end(read.me, peer, &end);
            if !fits || pairs.insert(peer, Pair { id, end }).is_some() {
                return Err(StateError::Damaged);
            }
        }
        Ok(Self {
            engine: read.engine.to_owned(),
            key: read.key,
            epoch: read.epoch,
            me: read.me,
            group_key: read.group_key.to_vec(),
            pairs,
        })
    }
}

const DIGEST_BYTES: usize = 32;

fn check(covered: &[u8]) -> Digest {
    Tagged::new(Tag::Pairing)
        .text("state")
        .bytes(covered)
        .finish()
}

/// Encodes a secret after a prefix, with room for what follows. The length is measured first, so
/// that no copy of a growing vector is left behind in memory.
pub(super) fn encode_secret<T: Serialize>(
    value: &T,
    prefix: &[u8],
    room: usize,
) -> Option<Zeroizing<Vec<u8>>> {
    let size = postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default());
    let mut bytes = Vec::with_capacity(prefix.len() + size.ok()? + room);
    bytes.extend_from_slice(prefix);
    postcard::to_extend(value, bytes).ok().map(Zeroizing::new)
}
