//! The taproot output of a key: BIP-341 with no script tree.
//!
//! The shared key is the internal key; the tweak is explicit here and at signing, and nowhere
//! else, so that nothing can be tweaked twice.

use std::sync::LazyLock;

use bitcoin::{
    ScriptBuf,
    key::{TapTweak as _, TweakedPublicKey},
    secp256k1::{PublicKey, Secp256k1, VerifyOnly, XOnlyPublicKey},
};
use quorate_model::address::Network;

use crate::undecodable::Undecodable;

/// The tables of libsecp256k1, built once.
pub(crate) static SECP: LazyLock<Secp256k1<VerifyOnly>> =
    LazyLock::new(Secp256k1::verification_only);

/// The length of a compressed point.
const COMPRESSED_LENGTH: usize = 33;

/// A network as the library names it.
pub(crate) const fn of_library(network: Network) -> bitcoin::Network {
    match network {
        Network::Bitcoin => bitcoin::Network::Bitcoin,
        Network::Testnet => bitcoin::Network::Testnet,
        Network::Signet => bitcoin::Network::Signet,
        Network::Regtest => bitcoin::Network::Regtest,
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
