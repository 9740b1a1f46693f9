//! Children of a key as wallets see them: extended public keys, descriptors and addresses (BIP-32,
//! BIP-380 to BIP-389).
//!
//! Derivation goes through libraries here and through code of our own where shares are derived;
//! tests hold the two together.

use std::collections::BTreeMap;

use bitcoin::{
    Address, NetworkKind,
    bip32::{self, ChildNumber, Fingerprint, KeySource, Xpub},
    secp256k1::PublicKey,
};
use ed25519_bip32::{DerivationScheme, XPub};
use miniscript::{Descriptor, DescriptorPublicKey};
use quorate_model::{
    DerivationPath, PayloadKind, Scheme,
    address::{AddressKind, AddressType, Network},
};

use crate::{
    decode::{KeyFacts, admit},
    evm::{self, address::EvmAddress},
    receiver::{ClaimedKey, Receiver},
    taproot::{SECP, of_library},
    undecodable::Undecodable,
};

/// How much is derived for the PSBTs of one command, in steps and outputs: what the largest one
/// takes whose wallet keeps its addresses below a few accounts, and some hundred milliseconds.
pub(crate) const MAX_DERIVED: usize = 12_288;

/// A key on secp256k1 with its children, each derived once.
#[derive(Debug)]
pub(crate) struct Family {
    scheme: Scheme,
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
    /// A descriptor with checksum for each form of address that the key can spend, the usual one
    /// first; its two branches are addresses to receive at, and change (BIP-389). None for keys
    /// that spend nothing.
    pub descriptors: Vec<String>,
}

/// The descriptors of a key for one form of address, each with its checksum (BIP-380).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// The form of address.
    pub form: AddressType,
    /// Both branches in one (BIP-389).
    pub both: String,
    /// Addresses to receive at, for wallets that read one branch at a time.
    pub receiving: String,
    /// Change, likewise.
    pub change: String,
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
            scheme: key.scheme,
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

    /// What pays to a child; none where BIP-32 has no child.
    pub(crate) fn receiver(&mut self, path: &DerivationPath) -> Option<Receiver> {
        self.left = self.left.checked_sub(1)?;
        let child = self.child(path.steps())?;
        Receiver::of(self.scheme, &child.public_key.serialize()).ok()
    }

    /// Which child of this key an origin claims to be: none if it is of another key, an error if it
    /// cannot be true.
    pub(crate) fn claimed(
        &mut self,
        key: ClaimedKey<'_>,
        (fingerprint, path): &KeySource,
    ) -> Result<Option<(DerivationPath, Receiver)>, BadClaim> {
        if *fingerprint != self.fingerprint {
            return Ok(None);
        }
        let path = plain(path)?;
        match self.receiver(&path) {
            Some(child) if key.is_of(&child) => Ok(Some((path, child))),
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
    /// Its path has a hardened step.
    Hardened,
    /// Its path has so many steps, which is too many.
    TooLong(usize),
    /// Too much has been derived for one command.
    TooMany,
}

fn plain(path: &bip32::DerivationPath) -> Result<DerivationPath, BadClaim> {
    let steps: Option<Vec<u32>> = path
        .into_iter()
        .map(|step| match step {
            ChildNumber::Normal { index } => Some(*index),
            ChildNumber::Hardened { .. } => None,
        })
        .collect();
    DerivationPath::new(steps.ok_or(BadClaim::Hardened)?).map_err(|_| BadClaim::TooLong(path.len()))
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
    let family = Family::of(key, of_library(network).into())?;
    let xpub = family.xpub.to_string();
    let forms = match admit(PayloadKind::Psbt, key) {
        Ok(()) => AddressType::of_scheme(key.scheme),
        Err(_) => &[],
    };
    let descriptors = forms
        .iter()
        .filter_map(|form| described(*form, &xpub, "<0;1>"))
        .collect();
    Ok(WatchOnly {
        fingerprint: family.fingerprint.to_string(),
        xpub,
        descriptors,
    })
}

/// The descriptors of a key for one form of address; the usual one of its scheme if none is named.
///
/// # Errors
///
/// When the key could not spend what the addresses receive.
pub fn descriptors(
    key: &KeyFacts<'_>,
    network: Network,
    form: Option<AddressType>,
) -> Result<Descriptors, Undecodable> {
    let form = address_type(key, form)?;
    let xpub = Family::of(key, of_library(network).into())?
        .xpub
        .to_string();
    let written = |branches| {
        described(form, &xpub, branches).ok_or(Undecodable::MalformedKey {
            found: key.group_key.len(),
        })
    };
    Ok(Descriptors {
        form,
        both: written("<0;1>")?,
        receiving: written("0")?,
        change: written("1")?,
    })
}

/// A descriptor with its checksum, which the library appends.
fn described(form: AddressType, xpub: &str, branches: &str) -> Option<String> {
    let key = format!("{xpub}/{branches}/*");
    let text = match form {
        AddressType::P2tr => format!("tr({key})"),
        AddressType::P2wpkh => format!("wpkh({key})"),
        AddressType::P2shP2wpkh => format!("sh(wpkh({key}))"),
        AddressType::P2pkh => format!("pkh({key})"),
    };
    let descriptor: Descriptor<DescriptorPublicKey> = text.parse().ok()?;
    Some(descriptor.to_string())
}

/// The form of address that is asked for, or the usual one of the scheme.
///
/// # Errors
///
/// When the key could not spend what such an address receives.
pub fn address_type(
    key: &KeyFacts<'_>,
    asked: Option<AddressType>,
) -> Result<AddressType, Undecodable> {
    admit(PayloadKind::Psbt, key)?;
    let forms = AddressType::of_scheme(key.scheme);
    let found = match asked {
        Some(asked) => forms.iter().find(|form| **form == asked),
        None => forms.first(),
    };
    found.copied().ok_or(Undecodable::AddressTypeUnfit {
        address_type: asked.unwrap_or(AddressType::P2tr),
        scheme: key.scheme,
    })
}

/// The address of a child of a key on a chain; of the key itself without steps.
///
/// # Errors
///
/// When the key could not spend what the address receives.
pub fn address_of_kind(
    key: &KeyFacts<'_>,
    path: &DerivationPath,
    kind: AddressKind,
) -> Result<String, Undecodable> {
    match kind {
        AddressKind::Bitcoin { network, form } => address(key, path, network, Some(form)),
        AddressKind::Ethereum => Ok(ethereum_address(key, path)?.to_string()),
        AddressKind::Solana => solana_address(key, path),
    }
}

/// The Bitcoin address of a child of a key; of the key itself without steps. Without a form it has
/// the usual one of the scheme.
///
/// # Errors
///
/// When the key could not spend what the address receives: its scheme does not sign for such
/// addresses, or it does not have the purpose `transactions`. Showing an address for such a key
/// would lose money.
pub fn address(
    key: &KeyFacts<'_>,
    path: &DerivationPath,
    network: Network,
    form: Option<AddressType>,
) -> Result<String, Undecodable> {
    let form = address_type(key, form)?;
    let library = of_library(network);
    let no_child = || Undecodable::NoChild { path: path.clone() };
    let receiver = Family::of(key, library.into())?
        .receiver(path)
        .ok_or_else(no_child)?;
    let script = receiver.script(form).ok_or_else(no_child)?;
    let address = Address::from_script(script, library).map_err(|_| no_child())?;
    Ok(address.to_string())
}

/// The account of a child of a key on every EVM chain; of the key itself without steps.
///
/// # Errors
///
/// When the key could not spend what the account receives: its scheme is not ecdsa-secp256k1, or it
/// does not have the purpose `transactions`.
pub fn ethereum_address(
    key: &KeyFacts<'_>,
    path: &DerivationPath,
) -> Result<EvmAddress, Undecodable> {
    admit(PayloadKind::EvmTransaction, key)?;
    evm::evm_address(&child_key(key, path)?)
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
