//! Children of a key as wallets see them: extended public keys, descriptors and addresses (BIP-32,
//! BIP-380, BIP-386).
//!
//! Derivation goes through libraries here and through code of our own where shares are derived;
//! tests hold the two together.

use std::collections::BTreeMap;

use bitcoin::{
    Address, NetworkKind,
    bip32::{self, ChildNumber, Fingerprint, KeySource, Xpub},
    secp256k1::{PublicKey, XOnlyPublicKey},
};
use ed25519_bip32::{DerivationScheme, XPub};
use miniscript::{Descriptor, DescriptorPublicKey};
use quorate_model::{DerivationPath, PayloadKind, Scheme};

use crate::{
    decode::{KeyFacts, admit},
    taproot::{Network, SECP, TaprootKey},
    undecodable::Undecodable,
};

/// How much is derived for the PSBTs of one command, in steps and outputs: what the largest one
/// takes whose wallet keeps its addresses below a few accounts, and some hundred milliseconds.
pub(crate) const MAX_DERIVED: usize = 12_288;

/// A key on secp256k1 with its children, each derived once.
#[derive(Debug)]
pub(crate) struct Family {
    xpub: Xpub,
    fingerprint: Fingerprint,
    derived: BTreeMap<Vec<u32>, Xpub>,
    /// How much may still be derived.
    left: usize,
}

/// How a wallet can follow a key without asking again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchOnly {
    /// The extended public key: of depth 0, with a zero parent fingerprint, with the version bytes
    /// of the network.
    pub xpub: String,
    /// By which the key is named in key origins, 4 bytes in hex.
    pub fingerprint: String,
    /// A descriptor with checksum for addresses to receive at, and one for change; none for keys
    /// that spend nothing.
    pub descriptors: Vec<String>,
}

impl Family {
    pub(crate) fn of(key: &KeyFacts<'_>, network: NetworkKind) -> Result<Self, Undecodable> {
        let public_key =
            PublicKey::from_slice(key.group_key).map_err(|_| Undecodable::MalformedKey {
                found: key.group_key.len(),
            })?;
        let xpub = Xpub {
            network,
            depth: 0,
            parent_fingerprint: Fingerprint::default(),
            child_number: ChildNumber::Normal { index: 0 },
            public_key,
            chain_code: (*key.chain_code).into(),
        };
        Ok(Self {
            xpub,
            fingerprint: xpub.fingerprint(),
            derived: BTreeMap::new(),
            left: MAX_DERIVED,
        })
    }

    /// The same with less that may be derived.
    pub(crate) fn with_left(self, left: usize) -> Self {
        Self { left, ..self }
    }

    /// How much may still be derived.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The extended key of a child. Prefixes are remembered, because the children in one payload
    /// mostly differ in their last step.
    fn child(&mut self, steps: &[u32]) -> Option<Xpub> {
        let Some((last, parents)) = steps.split_last() else {
            return Some(self.xpub);
        };
        if let Some(known) = self.derived.get(steps) {
            return Some(*known);
        }
        self.left = self.left.checked_sub(1)?;
        let parent = self.child(parents)?;
        let step = ChildNumber::from_normal_idx(*last).ok()?;
        let child = parent.derive_pub(&SECP, &[step]).ok()?;
        self.derived.insert(steps.to_vec(), child);
        Some(child)
    }

    /// The taproot output of a child; none where BIP-32 has no child.
    pub(crate) fn taproot(&mut self, path: &DerivationPath) -> Option<TaprootKey> {
        self.left = self.left.checked_sub(1)?;
        let child = self.child(path.steps())?;
        TaprootKey::of(&child.public_key.serialize()).ok()
    }

    /// Which child of this key an origin claims to be: none if it is of another key, an error if it
    /// cannot be true.
    pub(crate) fn claimed(
        &mut self,
        key: &XOnlyPublicKey,
        (fingerprint, path): &KeySource,
    ) -> Result<Option<(DerivationPath, TaprootKey)>, BadClaim> {
        if *fingerprint != self.fingerprint {
            return Ok(None);
        }
        let path = plain(path).ok_or(BadClaim::False)?;
        match self.taproot(&path) {
            Some(child) if child.internal == *key => Ok(Some((path, child))),
            None if self.left == 0 => Err(BadClaim::TooMany),
            Some(_) | None => Err(BadClaim::False),
        }
    }
}

/// Why a key origin with our fingerprint is not believed.
#[derive(Debug)]
pub(crate) enum BadClaim {
    /// Its key or its path is another's.
    False,
    /// Too much has been derived for one command.
    TooMany,
}

fn plain(path: &bip32::DerivationPath) -> Option<DerivationPath> {
    let steps: Option<Vec<u32>> = path
        .into_iter()
        .map(|step| match step {
            ChildNumber::Normal { index } => Some(*index),
            ChildNumber::Hardened { .. } => None,
        })
        .collect();
    DerivationPath::new(steps?).ok()
}

/// The public key of a child, encoded like the group key.
///
/// # Errors
///
/// When the group key is none of its scheme, or has no such child.
pub(crate) fn child_key(key: &KeyFacts<'_>, path: &DerivationPath) -> Result<Vec<u8>, Undecodable> {
    if path.is_root() {
        return Ok(key.group_key.to_vec());
    }
    let no_child = || Undecodable::NoChild { path: path.clone() };
    if key.scheme == Scheme::Ed25519 {
        let group_key = key.group_key.try_into().map_err(|_| no_child())?;
        let mut child = XPub::from_pk_and_chaincode(group_key, key.chain_code);
        for step in path.steps() {
            child = child
                .derive(DerivationScheme::V2, *step)
                .map_err(|_| no_child())?;
        }
        return Ok(child.public_key_bytes().to_vec());
    }
    let child = Family::of(key, NetworkKind::Main)?.child(path.steps());
    let child = child.ok_or_else(no_child)?;
    Ok(child.public_key.serialize().to_vec())
}

/// What a watch-only wallet needs to derive the addresses of a key on secp256k1.
///
/// # Errors
///
/// [`Undecodable::MalformedKey`] when the group key is no point of secp256k1.
pub fn watch_only(key: &KeyFacts<'_>, network: Network) -> Result<WatchOnly, Undecodable> {
    let family = Family::of(key, network.of_library().into())?;
    let xpub = family.xpub.to_string();
    let spends = admit(PayloadKind::Psbt, key).is_ok();
    let descriptors = [0, 1]
        .into_iter()
        .filter(|_| spends)
        .filter_map(|branch| {
            let descriptor: Descriptor<DescriptorPublicKey> =
                format!("tr({xpub}/{branch}/*)").parse().ok()?;
            // The library writes it with its checksum.
            Some(descriptor.to_string())
        })
        .collect();
    Ok(WatchOnly {
        fingerprint: family.fingerprint.to_string(),
        xpub,
        descriptors,
    })
}

/// The taproot address of a child of a key; of the key itself without steps.
///
/// # Errors
///
/// When the key could not spend what the address receives: its scheme is not bip340, or it does
/// not have the purpose `transactions`. Showing an address for such a key would lose money.
pub fn address(
    key: &KeyFacts<'_>,
    path: &DerivationPath,
    network: Network,
) -> Result<String, Undecodable> {
    admit(PayloadKind::Psbt, key)?;
    let library = network.of_library();
    let taproot = Family::of(key, library.into())?
        .taproot(path)
        .ok_or_else(|| Undecodable::NoChild { path: path.clone() })?;
    Ok(Address::p2tr_tweaked(taproot.output, library).to_string())
}

/// The Solana address of a child of a key; of the key itself without steps.
///
/// # Errors
///
/// When the key could not spend what the address receives: its scheme is not ed25519, or it does
/// not have the purpose `transactions`.
pub fn solana_address(key: &KeyFacts<'_>, path: &DerivationPath) -> Result<String, Undecodable> {
    admit(PayloadKind::SolanaMessage, key)?;
    Ok(crate::solana::address(&child_key(key, path)?))
}
