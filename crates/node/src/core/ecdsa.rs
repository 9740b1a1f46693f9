//! Threshold ECDSA at one node: pairings with the other holders, signatures in rounds, and the bans
//! that failed checks lead to.
//!
//! The protocol is `quorate_protocol::ecdsa`; this is what a node does around it. Three things are
//! kept that outlive a session: the pairings, sealed beside the share; the suspension of pairings
//! after a signature that did not hold; and bans, which are for ever and over all keys. A ban is
//! judged again at every step, so that nothing that was under way goes on with a banned peer.

mod pairing;
mod signing;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use quorate_model::{
    Digest, Epoch, KeyName, NodeId, PartyIndex, Reason, Refusal,
    audit::{Entry, PairBanned},
    key::Participant,
};
use quorate_protocol::ecdsa::{Ban, KeyShare, PairingState, StateError, engine::Engine};

use super::{Context, Fatal, NodeCore, Outcome, Pending, State, ledger, loaded::LoadedKey, lock};
use crate::{disk::Disk, vault::VaultError};

pub(super) use pairing::Pairings as PairingSessions;
pub(super) use signing::Signatures;

/// The most keys whose pairings are kept in memory; the least recently used give way. Those of a
/// 3-of-5 key take about 0.2 MB.
const CAPACITY: usize = 256;

/// What a node has for threshold ECDSA.
pub(super) struct Ecdsa {
    engine: &'static dyn Engine,
    loaded: Mutex<Loaded>,
    pairings: Mutex<PairingSessions>,
    signatures: Mutex<Signatures>,
    /// The most signatures under way at a time (P17).
    max_signatures: usize,
}

/// Pairings that were read from the vault.
#[derive(Default)]
struct Loaded {
    of_keys: BTreeMap<(KeyName, Epoch), (u64, Arc<PairingState>)>,
    uses: u64,
}

impl Loaded {
    fn get(&mut self, share: &(KeyName, Epoch)) -> Option<Arc<PairingState>> {
        self.uses = self.uses.saturating_add(1);
        let now = self.uses;
        let (last_use, pairings) = self.of_keys.get_mut(share)?;
        *last_use = now;
        Some(Arc::clone(pairings))
    }

    fn keep(&mut self, share: (KeyName, Epoch), pairings: &Arc<PairingState>) {
        if self.of_keys.len() >= CAPACITY {
            let oldest = self.of_keys.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.of_keys.remove(&oldest);
            }
        }
        let entry = (self.uses, Arc::clone(pairings));
        self.of_keys.insert(share, entry);
    }
}

impl Ecdsa {
    pub(super) fn new(engine: &'static dyn Engine, max_signatures: usize) -> Self {
        Self {
            engine,
            loaded: Mutex::default(),
            pairings: Mutex::default(),
            signatures: Mutex::default(),
            max_signatures,
        }
    }

    /// Forgets the set-ups of a key.
    pub(super) fn forget_set_ups(&self, name: &KeyName) {
        lock(&self.pairings).retain(|_, session| session.key() != name);
    }

    /// Forgets the pairings of shares.
    pub(super) fn forget_pairings(&self, shares: &BTreeSet<(KeyName, Epoch)>) {
        lock(&self.loaded)
            .of_keys
            .retain(|share, _| !shares.contains(share));
    }
}

impl<D: Disk + 'static> NodeCore<D> {
    /// The pairings of a key, from memory or from the vault. None: there are none that can be used,
    /// and a set-up makes them.
    fn pairings_of(&self, key: &LoadedKey) -> Result<Option<Arc<PairingState>>, Fatal> {
        let share = (key.record.name.clone(), key.record.epoch);
        let mut loaded = lock(&self.ecdsa.loaded);
        if let Some(pairings) = loaded.get(&share) {
            return Ok(Some(pairings));
        }
        let Some(pairings) = self.stored_pairings(key)? else {
            return Ok(None);
        };
        let pairings = Arc::new(pairings);
        if key.active {
            loaded.keep(share, &pairings);
        }
        Ok(Some(pairings))
    }

    /// What the vault holds. Pairings are made again more easily than they are repaired.
    fn stored_pairings(&self, key: &LoadedKey) -> Result<Option<PairingState>, Fatal> {
        let record = &key.record;
        let bytes = match self.vault.load_pairings(&record.name, record.epoch) {
            Ok(bytes) => bytes,
            Err(error @ (VaultError::Disk(_) | VaultError::Keyring(_))) => return Err(error.into()),
            Err(_) => return Ok(None),
        };
        match PairingState::from_bytes(self.ecdsa.engine, &bytes) {
            Ok(pairings) => Ok(Some(pairings)),
            Err(StateError::Unencodable) => Err(Fatal::Invariant("pairings were stored")),
            Err(_) => Ok(None),
        }
    }

    /// The others among these participants.
    fn others<'a>(
        &self,
        participants: &'a [Participant],
    ) -> impl Iterator<Item = &'a Participant> + use<'a, D> {
        let me = self.me.clone();
        participants.iter().filter(move |p| p.node != me)
    }

    /// The participants with these indices: strictly ascending holders of the key in the roster,
    /// this node among them (P5).
    fn chosen(&self, key: &LoadedKey, indices: &[PartyIndex]) -> Result<Vec<Participant>, Refusal> {
        let invalid = |what: &str| Refusal::new(Reason::SigningSetInvalid, what.to_owned());
        if !indices.is_sorted_by(|a, b| a < b) {
            return Err(invalid("the holders are not in order, each once"));
        }
        let pinned = self.pinned();
        let roster = pinned.roster();
        let participants: Option<Vec<Participant>> = indices
            .iter()
            .map(|index| {
                let known = key.record.participants.iter().find(|p| p.index == *index)?;
                roster.node(&known.node).map(|_| known.clone())
            })
            .collect();
        participants
            .filter(|chosen| chosen.iter().any(|p| p.node == self.me))
            .ok_or_else(|| {
                invalid("the holders are not all of the key and in the roster, or this node is not among them")
            })
    }

    /// Refuses whatever has a part for a banned peer.
    fn check_bans(
        &self,
        state: &State,
        participants: &[Participant],
    ) -> Result<Result<(), Refusal>, Fatal> {
        for participant in self.others(participants) {
            if ledger::ban(&*state.index, &participant.node)?.is_some() {
                return Ok(Err(self.banned(&participant.node)));
            }
        }
        Ok(Ok(()))
    }

    fn banned(&self, peer: &NodeId) -> Refusal {
        Refusal::new(
            Reason::PairBanned,
            format!(
                "node {} signs nothing together with node {peer}, which failed a consistency \
                 check: other holders can sign",
                self.me
            ),
        )
        .with("node", &self.me)
        .with("peer", peer)
    }

    fn unready(&self, key: &KeyName) -> Refusal {
        Refusal::new(
            Reason::PairingsUnready,
            format!(
                "the pairings of key \"{key}\" at node {} must be set up before it signs",
                self.me
            ),
        )
        .with("node", &self.me)
        .with("key", key)
    }

    /// Refuses what needs pairings that are not there or not to be used.
    fn check_pairings(
        &self,
        state: &State,
        key: &LoadedKey,
        participants: &[Participant],
        pairings: Option<&PairingState>,
    ) -> Result<Result<(), Refusal>, Fatal> {
        let record = &key.record;
        let suspended = ledger::suspended(&*state.index, &record.name, record.epoch)?;
        let paired: BTreeSet<PartyIndex> = pairings
            .map(|pairings| pairings.pairs().map(|(peer, _)| peer).collect())
            .unwrap_or_default();
        let ready = self
            .others(participants)
            .all(|p| paired.contains(&p.index) && !suspended.contains(&p.node));
        Ok(if ready {
            Ok(())
        } else {
            Err(self.unready(&record.name))
        })
    }

    /// Whether this node has pairings with all other holders: only then does it prove its share
    /// (P28).
    pub(super) fn is_paired(&self, key: &LoadedKey) -> Result<Result<(), Refusal>, Fatal> {
        if key.ecdsa.is_none() {
            return Ok(Ok(()));
        }
        let pairings = self.pairings_of(key)?;
        let state = lock(&self.state);
        let everybody = &key.record.participants;
        self.check_pairings(&state, key, everybody, pairings.as_deref())
    }

    /// Keeps a ban; nothing is answered before it is durable.
    fn ban(&self, context: &Context<'_>, key: &LoadedKey, ban: Ban) -> Result<Outcome, Fatal> {
        let peer = key.record.node_at(ban.peer).cloned();
        let peer = peer.ok_or(Fatal::Invariant("a peer that failed a check is a holder"))?;
        let refusal = self.banned(&peer);
        let entry = Entry::PairBanned(PairBanned {
            peer,
            key: key.record.name.clone(),
            epoch: key.record.epoch,
            session: ban.session,
            round: ban.round,
        });
        let mut state = lock(&self.state);
        let time = state.clock.elapsed(context.reading);
        let appended = self.record(&mut state, time, vec![entry])?;
        Ok(Pending::answer(appended, move |_| Err(refusal)))
    }
}

/// The share of an ECDSA key.
fn share_of(key: &LoadedKey) -> Result<&KeyShare, Refusal> {
    key.ecdsa.as_ref().ok_or_else(|| {
        let record = &key.record;
        Refusal::new(
            Reason::SchemeMismatch,
            format!(
                "key \"{}\" is of scheme {}, which needs no pairings",
                record.name, record.scheme
            ),
        )
        .with("key", &record.name)
    })
}

/// The digest that ECDSA signs.
fn digest_of_item(message: &[u8]) -> Result<[u8; 32], Refusal> {
    Digest::from_slice(message)
        .map(|digest| *digest.as_bytes())
        .ok_or_else(|| Refusal::new(Reason::Invariant, "ECDSA signs 32 bytes"))
}
