//! The taproot output of a key: BIP-341 with no script tree.
//!
//! The shared key is the internal key; the tweak is explicit here and at signing, and nowhere
//! else, so that nothing can be tweaked twice.

use std::{fmt, str::FromStr, sync::LazyLock};

use crate::undecodable::Undecodable;
use bitcoin::{
    ScriptBuf,
    key::{TapTweak as _, TweakedPublicKey},
    secp256k1::{PublicKey, Secp256k1, VerifyOnly, XOnlyPublicKey},
};

/// The tables of libsecp256k1, built once.
pub(crate) static SECP: LazyLock<Secp256k1<VerifyOnly>> =
    LazyLock::new(Secp256k1::verification_only);

/// The length of a compressed point.
const COMPRESSED_LENGTH: usize = 33;

/// A Bitcoin network, as far as addresses tell networks apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

    pub(crate) const fn of_library(self) -> bitcoin::Network {
        match self {
            Self::Bitcoin => bitcoin::Network::Bitcoin,
            Self::Testnet => bitcoin::Network::Testnet,
            Self::Signet => bitcoin::Network::Signet,
            Self::Regtest => bitcoin::Network::Regtest,
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

/// A key with its taproot output.
#[derive(Clone, Debug)]
pub(crate) struct TaprootKey {
    /// The group key without its sign.
    pub(crate) internal: XOnlyPublicKey,
    /// The tweaked key that signatures verify under.
    pub(crate) output: TweakedPublicKey,
    /// The script that pays to it.
    pub(crate) script: ScriptBuf,
}

impl TaprootKey {
    /// Tweaks the group key of 33 bytes.
    pub(crate) fn of(group_key: &[u8]) -> Result<Self, Undecodable> {
        let malformed = Undecodable::MalformedKey {
            found: group_key.len(),
        };
        if group_key.len() != COMPRESSED_LENGTH {
            return Err(malformed);
        }
        let (internal, _) = PublicKey::from_slice(group_key)
            .map_err(|_| malformed)?
            .x_only_public_key();
        let (output, _) = internal.tap_tweak(&SECP, None);
        Ok(Self {
            internal,
            output,
            script: ScriptBuf::new_p2tr_tweaked(output),
        })
    }
}

/// The script that pays to the taproot output of a group key of 33 compressed bytes.
///
/// # Errors
///
/// [`Undecodable::MalformedKey`] when the bytes are no point of secp256k1.
pub fn taproot_script(group_key: &[u8]) -> Result<Vec<u8>, Undecodable> {
    Ok(TaprootKey::of(group_key)?.script.into_bytes())
}
