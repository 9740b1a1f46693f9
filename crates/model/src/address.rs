//! Addresses on chains, and what nodes state of them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    bytes::Digest,
    identity::Signature,
    ids::{Epoch, KeyName, NodeId},
    key::KeyRecord,
    path::DerivationPath,
    roster::Roster,
    scheme::Scheme,
    tagged::{Tag, Tagged},
};

/// A Bitcoin network, as far as addresses tell networks apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The main network.
    #[default]
    Bitcoin,
    /// Any testnet.
    Testnet,
    /// Any signet; its addresses look like those of testnet.
    Signet,
    /// A private network for tests.
    Regtest,
}

impl Network {
    /// Every network.
    pub const ALL: [Self; 4] = [Self::Bitcoin, Self::Testnet, Self::Signet, Self::Regtest];

    /// The name as the command line writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bitcoin => "bitcoin",
            Self::Testnet => "testnet",
            Self::Signet => "signet",
            Self::Regtest => "regtest",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a network: use bitcoin, testnet, signet or regtest")]
pub struct UnknownNetwork(pub String);

impl FromStr for Network {
    type Err = UnknownNetwork;
    fn from_str(text: &str) -> Result<Self, UnknownNetwork> {
        Self::ALL
            .into_iter()
            .find(|network| network.as_str() == text)
            .ok_or_else(|| UnknownNetwork(text.chars().take(80).collect()))
    }
}

/// A form of output that pays to a single key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressType {
    /// Taproot, spent by the key path (BIP-341, BIP-86).
    P2tr,
    /// Segwit version 0 (BIP-141, BIP-84).
    P2wpkh,
    /// The same inside a script hash (BIP-49).
    P2shP2wpkh,
    /// The oldest, by the hash of the key (BIP-44).
    P2pkh,
}

impl AddressType {
    /// Every form.
    pub const ALL: [Self; 4] = [Self::P2tr, Self::P2wpkh, Self::P2shP2wpkh, Self::P2pkh];

    /// The name as the command line writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P2tr => "p2tr",
            Self::P2wpkh => "p2wpkh",
            Self::P2shP2wpkh => "p2sh-p2wpkh",
            Self::P2pkh => "p2pkh",
        }
    }

    /// What keys of a scheme can spend, the usual one first.
    pub const fn of_scheme(scheme: Scheme) -> &'static [Self] {
        match scheme {
            Scheme::Bip340 => &[Self::P2tr],
            Scheme::EcdsaSecp256k1 => &[Self::P2wpkh, Self::P2shP2wpkh, Self::P2pkh],
            Scheme::FrostSecp256k1 | Scheme::Ed25519 => &[],
        }
    }
}

impl fmt::Display for AddressType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no form of output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a type of address: use p2wpkh, p2sh-p2wpkh, p2pkh or p2tr")]
pub struct UnknownAddressType(pub String);

impl FromStr for AddressType {
    type Err = UnknownAddressType;
    fn from_str(text: &str) -> Result<Self, UnknownAddressType> {
        Self::ALL
            .into_iter()
            .find(|form| form.as_str() == text)
            .ok_or_else(|| UnknownAddressType(text.chars().take(80).collect()))
    }
}

/// On which chain an address is, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressKind {
    /// Of Bitcoin.
    Bitcoin {
        /// The network.
        network: Network,
        /// The form.
        form: AddressType,
    },
    /// Of every EVM chain.
    Ethereum,
    /// Of every cluster of Solana.
    Solana,
}

impl AddressKind {
    fn hashed(self, tagged: Tagged) -> Tagged {
        match self {
            Self::Bitcoin { network, form } => tagged
                .text("bitcoin")
                .text(network.as_str())
                .text(form.as_str()),
            Self::Ethereum => tagged.text("ethereum").text("").text(""),
            Self::Solana => tagged.text("solana").text("").text(""),
        }
    }
}

/// A question for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressQuery {
    /// The key.
    pub key: KeyName,
    /// The child of the key.
    pub path: DerivationPath,
    /// On which chain, and in which form.
    pub kind: AddressKind,
}

/// Which address of which key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressClaim {
    /// The key.
    pub key: KeyName,
    /// The epoch of the certificate.
    pub epoch: Epoch,
    /// The hash of the commit certificate.
    pub certificate: Digest,
    /// The child of the key.
    pub path: DerivationPath,
    /// On which chain, and in which form.
    pub kind: AddressKind,
    /// The address.
    pub address: String,
}

/// A node's statement that it derives this address from the certificate that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressStatement {
    /// The node.
    pub node: NodeId,
    /// What it states.
    pub claim: AddressClaim,
    /// Over all of it.
    pub signature: Signature,
}

/// Why a statement is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FalseStatement {
    /// The node holds no share of the key, or is not in the roster.
    #[error("the node is no holder of the key")]
    NoHolder,
    /// It states another address than its reader derives.
    #[error("it states another address for the same key, path and kind")]
    OtherAddress,
    /// It is true or not, but of another key, path or kind: whoever brought it brought the wrong
    /// one.
    #[error("it is the address of something else: the coordinator answers another question")]
    OtherQuestion,
    /// Its signature does not hold.
    #[error("the signature does not hold, so it need not be of this node")]
    BadSignature,
}

impl AddressStatement {
    /// What the node signs.
    pub fn digest(&self) -> Digest {
        let claim = &self.claim;
        let tagged = Tagged::new(Tag::Address)
            .text(self.node.as_str())
            .text(claim.key.as_str())
            .number(u64::from(claim.epoch.0))
            .digest(&claim.certificate)
            .list(claim.path.steps(), |tagged, step| {
                tagged.number(u64::from(*step))
            });
        claim.kind.hashed(tagged).text(&claim.address).finish()
    }

    /// Checks that a holder of the key states exactly what its reader derived by itself.
    ///
    /// # Errors
    ///
    /// When it is no holder's, was not signed by that holder, or says something else.
    pub fn verify(
        &self,
        derived: &AddressClaim,
        record: &KeyRecord,
        roster: &Roster,
    ) -> Result<(), FalseStatement> {
        let holder = roster
            .node(&self.node)
            .filter(|_| record.index_of(&self.node).is_some())
            .ok_or(FalseStatement::NoHolder)?;
        holder
            .identity_key
            .verify(&self.digest(), &self.signature)
            .map_err(|_| FalseStatement::BadSignature)?;
        if self.claim == *derived {
            return Ok(());
        }
        let answers = AddressClaim {
            address: derived.address.clone(),
            ..self.claim.clone()
        };
        Err(if answers == *derived {
            FalseStatement::OtherAddress
        } else {
            FalseStatement::OtherQuestion
        })
    }
}
