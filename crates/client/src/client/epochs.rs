//! Keys in later epochs than those that callers hold (P30): fetched, verified again, remembered.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use quorate_model::{Epoch, KeyId, KeyRecord, Reason, Refusal};

use super::Client;
use crate::{
    error::ClientError,
    key::{CertifiedKey, KeyReference, ListedKey},
};

/// How often a key is fetched again for one call.
pub(super) const MOST_FETCHES: usize = 2;

/// How many keys are remembered that were fetched again.
const MOST_RENEWED: usize = 1024;

/// Keys in epochs later than those that callers hold. Callers keep keys for as long as they run,
/// and would have them fetched again for every signature.
#[derive(Debug, Default)]
pub(super) struct Renewed(Mutex<BTreeMap<KeyId, CertifiedKey>>);

impl Renewed {
    fn get(&self, id: &KeyId) -> Option<CertifiedKey> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(id).cloned()
    }

    fn keep(&self, key: &CertifiedKey) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MOST_RENEWED {
            keys.clear();
        }
        keys.insert(key.record().id(), key.clone());
    }
}

impl Client {
    /// A key as it is by now, where an earlier epoch of it is known.
    ///
    /// # Errors
    ///
    /// [`OtherKeyId`](crate::VerificationError::OtherKeyId) or
    /// [`KeyChanged`](crate::VerificationError::KeyChanged) when another key is shown, and
    /// [`Reason::EpochChanged`] when it is shown in an earlier epoch.
    pub(crate) async fn look_up_again(&self, known: &KeyRecord) -> Result<ListedKey, ClientError> {
        let reference = KeyReference {
            name: known.name.clone(),
            id: Some(known.id()),
        };
        let listed = self.look_up(&reference).await?;
        listed.check_unchanged(known)?;
        let (shown, epoch) = (listed.record().epoch, known.epoch);
        if shown < epoch {
            // Holders of an epoch that is over say what they like of it.
            let message = format!(
                "the coordinator shows epoch {shown} of key \"{}\", and epoch {epoch} is known: \
                 ask another coordinator",
                known.name
            );
            let refusal = Refusal::new(Reason::EpochChanged, message).with("key", &known.name);
            return Err(refusal.into());
        }
        Ok(listed)
    }

    /// The same of a key that signs, remembered for the next time.
    pub(super) async fn renew(&self, known: &KeyRecord) -> Result<CertifiedKey, ClientError> {
        let listed = self.look_up_again(known).await?;
        let key = listed
            .certified()
            .ok_or_else(|| ClientError::NotActive(known.name.clone()))?;
        self.0.renewed.keep(&key);
        Ok(key)
    }

    /// A key in an epoch as late as this one: as the caller has it, as it was verified before, or
    /// fetched. An earlier one if the coordinator has no such epoch.
    pub(super) async fn at_least(
        &self,
        key: &CertifiedKey,
        epoch: Epoch,
    ) -> Result<CertifiedKey, ClientError> {
        let mut key = key.clone();
        if key.record().epoch >= epoch {
            return Ok(key);
        }
        if let Some(kept) = self.0.renewed.get(&key.record().id()) {
            kept.listed().check_unchanged(key.record())?;
            key = kept;
        }
        for _ in 0..MOST_FETCHES {
            if key.record().epoch >= epoch {
                break;
            }
            key = self.renew(key.record()).await?;
        }
        Ok(key)
    }
}
