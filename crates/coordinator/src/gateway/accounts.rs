//! The accounts that the gateway serves, each from the verified certificate of its key.

use std::sync::{Arc, Mutex, PoisonError};

use quorate_intent::{EvmAddress, evm_address};
use quorate_model::{
    DerivationPath, KeyRecord, KeyState, Scheme, operation::KeyView, roster::PinnedRoster,
};
use quorate_protocol::derivation::Child;

use super::{cluster::Cluster, config::AccountConfig};

/// An account whose key is certified. One name stands for one key for ever, so that an account
/// that was found once stays what it is.
pub(super) struct Account {
    pub(super) address: EvmAddress,
    pub(super) record: KeyRecord,
    pub(super) path: DerivationPath,
    /// Held from the choice of a nonce until the transaction is sent.
    pub(super) sending: tokio::sync::Mutex<()>,
}

/// Why an account is not served. It is looked at again when it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unserved {
    #[error("the key is not known or not active")]
    NotActive,
    #[error("the certificate of the key does not hold")]
    FalseKey,
    #[error("the key has scheme {0}, and EVM chains take ecdsa-secp256k1")]
    OtherScheme(Scheme),
    #[error("there is no child at the path")]
    NoChild,
    #[error("the account is {found}, and the configuration expects {expected}")]
    OtherAddress {
        found: EvmAddress,
        expected: EvmAddress,
    },
}

/// All accounts of the configuration, in its order.
pub(super) struct Accounts {
    configured: Vec<AccountConfig>,
    found: Mutex<Vec<Option<Arc<Account>>>>,
}

impl Accounts {
    pub(super) fn new(configured: Vec<AccountConfig>) -> Self {
        let found = Mutex::new(configured.iter().map(|_| None).collect());
        Self { configured, found }
    }

    /// How many accounts there are to be.
    pub(super) fn configured(&self) -> usize {
        self.configured.len()
    }

    /// The accounts that can sign.
    pub(super) async fn list(&self, cluster: &impl Cluster) -> Vec<Arc<Account>> {
        let mut served = Vec::new();
        for (at, configured) in self.configured.iter().enumerate() {
            match self.at(at, configured, cluster).await {
                Ok(account) => served.push(account),
                Err(unserved) => {
                    let (key, reason) = (&configured.key, &unserved);
                    tracing::warn!(%key, %reason, "an account of the gateway is not served");
                }
            }
        }
        served
    }

    /// The account with an address, if it is served.
    pub(super) async fn find(
        &self,
        address: EvmAddress,
        cluster: &impl Cluster,
    ) -> Option<Arc<Account>> {
        let known = self.known(|account| account.address == address);
        if known.is_some() {
            return known;
        }
        let served = self.list(cluster).await;
        served
            .into_iter()
            .find(|account| account.address == address)
    }

    fn known(&self, is_it: impl Fn(&Account) -> bool) -> Option<Arc<Account>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found
            .iter()
            .flatten()
            .find(|account| is_it(account))
            .cloned()
    }

    async fn at(
        &self,
        at: usize,
        configured: &AccountConfig,
        cluster: &impl Cluster,
    ) -> Result<Arc<Account>, Unserved> {
        {
            let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(Some(account)) = found.get(at) {
                return Ok(Arc::clone(account));
            }
        }
        let view = cluster.key(configured.key.clone()).await;
        let view = view.ok().flatten().ok_or(Unserved::NotActive)?;
        let account = Arc::new(certified(&view, configured, &cluster.pinned())?);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = found.get_mut(at) else {
            return Ok(account);
        };
        // Another call may have found it meanwhile, and its lock is the one that counts.
        Ok(Arc::clone(slot.get_or_insert(account)))
    }
}

/// The account of a key, from nothing but what its holders certified.
fn certified(
    view: &KeyView,
    configured: &AccountConfig,
    pinned: &PinnedRoster,
) -> Result<Account, Unserved> {
    // A key that signs no more keeps its account: whoever asks is told why.
    if view.state == KeyState::PreActive {
        return Err(Unserved::NotActive);
    }
    let (certificate, birth) = (&view.evidence.certificate, view.evidence.birth.as_deref());
    let (_, record) = quorate_proto::certificate::verify(certificate, birth, pinned)
        .map_err(|_| Unserved::FalseKey)?;
    if record.name != configured.key {
        return Err(Unserved::FalseKey);
    }
    if record.scheme != Scheme::EcdsaSecp256k1 {
        return Err(Unserved::OtherScheme(record.scheme));
    }
    let path = configured.path.clone();
    let child = Child::derive(record.scheme, &record.group_key, &record.chain_code, &path)
        .map_err(|_| Unserved::NoChild)?;
    let found = evm_address(child.key()).map_err(|_| Unserved::NoChild)?;
    match configured.address {
        Some(expected) if expected != found => Err(Unserved::OtherAddress { found, expected }),
        Some(_) | None => Ok(Account {
            address: found,
            record,
            path,
            sending: tokio::sync::Mutex::new(()),
        }),
    }
}
