//! Keys that were read from the vault, kept for as long as they are in use.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use quorate_model::{Epoch, KeyName, KeyRecord, NodeId, PartyIndex, Reason, Refusal, Scheme};
use quorate_protocol::{
    ecdsa::{KeyShare, KeyShareError, SharePlace},
    frost::{PublicKeys, SigningKeyShare},
    sharing::SigningShare,
};

use super::{
    Fatal, NodeCore, State,
    destroying::check_not_destroyed,
    ledger::{self, EpochRow, KeyRow},
    lock,
};
use zeroize::Zeroizing;

use crate::{disk::Disk, vault::VaultError};

/// The most keys kept at a time; the least recently used gives way.
const CAPACITY: usize = 4_096;

/// One key in one epoch, ready to use.
pub(super) struct LoadedKey {
    pub(super) record: KeyRecord,
    pub(super) me: PartyIndex,
    pub(super) public: PublicKeys,
    pub(super) share: SigningKeyShare,
    /// The same share as ECDSA uses it, for a key of that scheme.
    pub(super) ecdsa: Option<KeyShare>,
    pub(super) active: bool,
}

/// The keys in use.
#[derive(Default)]
pub(super) struct LoadedKeys(Mutex<Cache>);

#[derive(Default)]
struct Cache {
    keys: BTreeMap<KeyName, (u64, Arc<LoadedKey>)>,
    uses: u64,
    /// How often a key was forgotten.
    forgotten: u64,
}

impl LoadedKeys {
    /// A key that is in memory.
    pub(super) fn get(&self, name: &KeyName) -> Option<Arc<LoadedKey>> {
        let mut cache = lock(&self.0);
        cache.uses = cache.uses.saturating_add(1);
        let now = cache.uses;
        let (last_use, key) = cache.keys.get_mut(name)?;
        *last_use = now;
        Some(Arc::clone(key))
    }

    /// How often a key was forgotten: what was read before one was must not be kept after it.
    fn forgotten(&self) -> u64 {
        lock(&self.0).forgotten
    }

    /// Whether this is the key as it is in memory.
    fn holds(&self, key: &Arc<LoadedKey>) -> bool {
        let cache = lock(&self.0);
        let kept = cache.keys.get(&key.record.name);
        kept.is_some_and(|(_, kept)| Arc::ptr_eq(kept, key))
    }

    fn keep(&self, name: &KeyName, key: &Arc<LoadedKey>, forgotten: u64) {
        let mut cache = lock(&self.0);
        if cache.forgotten != forgotten {
            return;
        }
        if cache.keys.len() >= CAPACITY {
            let oldest = cache.keys.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                cache.keys.remove(&oldest);
            }
        }
        let uses = cache.uses;
        cache.keys.insert(name.clone(), (uses, Arc::clone(key)));
    }

    /// Forgets a key whose row changes, while the state is locked in which it does.
    pub(super) fn forget(&self, name: &KeyName) {
        let mut cache = lock(&self.0);
        cache.forgotten = cache.forgotten.wrapping_add(1);
        cache.keys.remove(name);
    }
}

impl<D: Disk + 'static> NodeCore<D> {
    /// The sharing of a key that is in use, from memory or from the vault.
    pub(super) fn load(&self, name: &KeyName) -> Result<Result<Arc<LoadedKey>, Refusal>, Fatal> {
        if let Some(key) = self.loaded.get(name) {
            return Ok(Ok(key));
        }
        let forgotten = self.loaded.forgotten();
        let state = lock(&self.state);
        if let Err(refusal) = check_not_destroyed(&state, name)? {
            return Ok(Err(refusal));
        }
        let row = ledger::key(&*state.index, name)?;
        drop(state);
        let Some(row) = row else {
            return Ok(Err(unknown(name)));
        };
        let Some(epoch) = row.current() else {
            return Ok(Err(not_active(name, "its creation has not been certified")));
        };
        let active = epoch.proof.is_some();
        if let Err(refusal) = self.check_superseded(name, epoch.epoch)? {
            return Ok(Err(refusal));
        }
        let record = match self.record_of(&row, epoch) {
            Ok(record) => record,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let loaded = self.load_share(record, active)?;
        // A key that is not active yet is read again.
        if let Ok(key) = &loaded
            && key.active
        {
            self.loaded.keep(name, key, forgotten);
        }
        Ok(loaded)
    }

    /// What the certificate of an epoch says, verified again.
    pub(super) fn record_of(&self, row: &KeyRow, epoch: &EpochRow) -> Result<KeyRecord, Refusal> {
        let birth = row.birth_of(epoch);
        quorate_proto::certificate::verify(&epoch.certificate, birth, &self.pinned())
            .map(|(_, record)| record)
    }

    /// Refuses to use a share of an epoch that is not the one in use any more (P30).
    pub(super) fn check_in_force(
        &self,
        state: &State,
        key: &Arc<LoadedKey>,
    ) -> Result<Result<(), Refusal>, Fatal> {
        if self.loaded.holds(key) {
            return Ok(Ok(()));
        }
        let record = &key.record;
        let row = ledger::key(&*state.index, &record.name)?;
        let active = row.as_ref().and_then(KeyRow::active);
        Ok(match active {
            Some(active) if active.hash == record.certificate => Ok(()),
            Some(active) => Err(epoch_changed(&record.name, active.epoch)),
            None => Err(not_active(&record.name, "not every share has been proven")),
        })
    }

    /// Reads one share and checks it against the public share in the certificate.
    pub(super) fn load_share(
        &self,
        record: KeyRecord,
        active: bool,
    ) -> Result<Result<Arc<LoadedKey>, Refusal>, Fatal> {
        let Some(me) = record.index_of(&self.me) else {
            return Ok(Err(self.holds_none(&record)));
        };
        let bug = |()| Refusal::new(Reason::Invariant, "a stored share does not fit its key");
        let secret = match self.secret_of(&record)? {
            Ok(secret) => secret,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let made = PublicKeys::of_record(&record)
            .map_err(drop)
            .and_then(|public| {
                let verifying_share = record.verifying_share(me).ok_or(())?;
                let share = SigningKeyShare::new(
                    record.scheme.proven_by(),
                    me,
                    record.threshold,
                    &secret,
                    &record.group_key,
                    verifying_share,
                )
                .map_err(drop)?;
                let ecdsa = if record.scheme == Scheme::EcdsaSecp256k1 {
                    Some(ecdsa_share(&record, me, &secret).map_err(drop)?)
                } else {
                    None
                };
                Ok((public, share, ecdsa))
            });
        Ok(made.map_err(bug).map(|(public, share, ecdsa)| {
            Arc::new(LoadedKey {
                record,
                me,
                public,
                share,
                ecdsa,
                active,
            })
        }))
    }
}

impl<D: Disk + 'static> NodeCore<D> {
    /// The stored share of an epoch. Whether it is the one of its certificate is for the caller to
    /// check.
    pub(super) fn secret_of(
        &self,
        record: &KeyRecord,
    ) -> Result<Result<SigningShare, Refusal>, Fatal> {
        let stored = match self.vault.load(&record.name, record.epoch) {
            Ok(stored) => stored,
            Err(error @ (VaultError::Disk(_) | VaultError::Keyring(_))) => return Err(error.into()),
            Err(error) => return Ok(Err(unavailable(&self.me, &record.name, &error))),
        };
        let bug = |_| Refusal::new(Reason::Invariant, "a stored share has another size");
        Ok(<[u8; 32]>::try_from(stored.secret.as_slice())
            .map(Zeroizing::new)
            .map(|secret| SigningShare::from_bytes(*secret))
            .map_err(bug))
    }

    /// The key was here and has gone to others: whoever asks has not heard of it yet.
    fn holds_none(&self, record: &KeyRecord) -> Refusal {
        let message = format!(
            "node {} holds no share of key \"{}\" in epoch {}",
            self.me, record.name, record.epoch
        );
        Refusal::new(Reason::EpochChanged, message)
            .with("node", &self.me)
            .with("key", &record.name)
            .with("epoch", record.epoch)
    }
}

fn ecdsa_share(
    record: &KeyRecord,
    me: PartyIndex,
    secret: &SigningShare,
) -> Result<KeyShare, KeyShareError> {
    let place = SharePlace {
        key: record.name.clone(),
        epoch: record.epoch,
        me,
        threshold: record.threshold,
    };
    KeyShare::new(place, secret, &record.group_key, &record.verifying_shares)
}

/// The node's own share cannot be used; other nodes can sign.
fn unavailable(me: &NodeId, name: &KeyName, error: &VaultError) -> Refusal {
    Refusal::new(
        Reason::ShareUnavailable,
        format!("node {me} cannot use its share of key \"{name}\": {error}"),
    )
    .with("node", me)
    .with("key", name)
}

/// Another epoch of the key is in use.
pub(super) fn epoch_changed(name: &KeyName, epoch: Epoch) -> Refusal {
    Refusal::new(
        Reason::EpochChanged,
        format!("key \"{name}\" is in epoch {epoch}"),
    )
    .with("key", name)
    .with("epoch", epoch)
}

/// No key has this name.
pub(super) fn unknown(name: &KeyName) -> Refusal {
    Refusal::new(Reason::KeyUnknown, format!("there is no key \"{name}\"")).with("key", name)
}

/// The key does not sign.
pub(super) fn not_active(name: &KeyName, why: &str) -> Refusal {
    Refusal::new(
        Reason::KeyNotActive,
        format!("key \"{name}\" is not active: {why}"),
    )
    .with("key", name)
}
