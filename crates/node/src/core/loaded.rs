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

use super::{Fatal, NodeCore, ledger, lock};
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

    fn keep(&self, name: &KeyName, key: &Arc<LoadedKey>) {
        let mut cache = lock(&self.0);
        if cache.keys.len() >= CAPACITY {
            let oldest = cache.keys.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                cache.keys.remove(&oldest);
            }
        }
        let uses = cache.uses;
        cache.keys.insert(name.clone(), (uses, Arc::clone(key)));
    }

    /// Forgets a key whose row has changed.
    pub(super) fn forget(&self, name: &KeyName) {
        lock(&self.0).keys.remove(name);
    }
}

impl<D: Disk + 'static> NodeCore<D> {
    /// The certified sharing of a key, from memory or from the vault.
    pub(super) fn load(&self, name: &KeyName) -> Result<Result<Arc<LoadedKey>, Refusal>, Fatal> {
        if let Some(key) = self.loaded.get(name) {
            return Ok(Ok(key));
        }
        let row = ledger::key(&*lock(&self.state).index, name)?;
        let Some(row) = row else {
            return Ok(Err(unknown(name)));
        };
        let Some((epoch, certificate)) = &row.certified else {
            return Ok(Err(not_active(name, "its creation has not been certified")));
        };
        let (_, record) = match quorate_proto::certificate::verify(certificate, None, &self.pinned)
        {
            Ok(verified) => verified,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let loaded = self.load_share(record, *epoch, row.activated.is_some())?;
        // Only what cannot change is kept: a key that is not active yet is read again.
        if let Ok(key) = &loaded
            && key.active
        {
            self.loaded.keep(name, key);
        }
        Ok(loaded)
    }

    /// Reads one share and checks it against the public share in the certificate.
    pub(super) fn load_share(
        &self,
        record: KeyRecord,
        epoch: Epoch,
        active: bool,
    ) -> Result<Result<Arc<LoadedKey>, Refusal>, Fatal> {
        let Some(me) = record.index_of(&self.me) else {
            return Ok(Err(Refusal::new(
                Reason::KeyUnknown,
                format!("node {} holds no share of key \"{}\"", self.me, record.name),
            )));
        };
        let bug = |()| Refusal::new(Reason::Invariant, "a stored share does not fit its key");
        let share = match self.vault.load(&record.name, epoch) {
            Ok(share) => share,
            Err(error @ (VaultError::Disk(_) | VaultError::Keyring(_))) => return Err(error.into()),
            Err(error) => return Ok(Err(unavailable(&self.me, &record.name, &error))),
        };
        let made = PublicKeys::of_record(&record)
            .map_err(drop)
            .and_then(|public| {
                let verifying_share = record.verifying_share(me).ok_or(())?;
                let secret =
                    Zeroizing::new(<[u8; 32]>::try_from(share.secret.as_slice()).map_err(drop)?);
                let secret = SigningShare::from_bytes(*secret);
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
