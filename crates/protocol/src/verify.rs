//! Second opinions: signatures verified by code that had no part in making them.
//!
//! BIP-340 is libsecp256k1's own. ECDSA is verified by libsecp256k1 and by `k256`. Ed25519 is `verify_strict` of ed25519-dalek. FROST(secp256k1) has
//! no other library that verifies it, so RFC 9591's equation is written out here over
//! libsecp256k1's points with a hash to the field of its own. Nothing here is shared with
//! [`frost`](crate::frost).

mod ecdsa;
mod rfc9591;

pub use ecdsa::ecdsa;

use ed25519_dalek::VerifyingKey;
use quorate_model::Scheme;
use secp256k1::{Parity, PublicKey, Scalar, XOnlyPublicKey, schnorr};
use sha2::{Digest as _, Sha256};

use crate::frost::Tweak;

/// A key that no signature can be verified under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadKey {
    /// Not a point in the encoding of the scheme, or a weak one.
    #[error("read the key to verify under")]
    Malformed,
    /// Keys of this scheme have no such tweak.
    #[error("tweak a key of a scheme without tweaks")]
    TweakUnsupported,
    /// A scheme that this module does not know.
    #[error("find a verifier of scheme {0}")]
    Scheme(Scheme),
}

/// A signature that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSignature {
    /// The key.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// The signature.
    #[error("verify a signature")]
    DoesNotHold,
}

enum Inner {
    Bip340(XOnlyPublicKey),
    Rfc9591(PublicKey),
    Ed25519(VerifyingKey),
    Ecdsa([u8; 33]),
}

/// A key with its tweak, ready to verify.
pub struct Verifier(Inner);

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    /// Reads an untweaked group key and tweaks it.
    pub fn new(scheme: Scheme, group_key: &[u8], tweak: Tweak) -> Result<Self, BadKey> {
        Ok(Self(match (scheme, tweak) {
            (Scheme::Bip340, Tweak::None) => Inner::Bip340(x_only(group_key)?),
            (Scheme::Bip340, Tweak::TaprootKeyPath) => Inner::Bip340(tweaked(&x_only(group_key)?)?),
            (Scheme::FrostSecp256k1, Tweak::None) => Inner::Rfc9591(secp_point(group_key)?),
            (Scheme::Ed25519, Tweak::None) => Inner::Ed25519(edwards_key(group_key)?),
            (Scheme::EcdsaSecp256k1, Tweak::None) => {
                Inner::Ecdsa(secp_point(group_key)?.serialize())
            }
            (
                Scheme::FrostSecp256k1 | Scheme::Ed25519 | Scheme::EcdsaSecp256k1,
                Tweak::TaprootKeyPath,
            ) => {
                return Err(BadKey::TweakUnsupported);
            }
            (scheme, _) => return Err(BadKey::Scheme(scheme)),
        }))
    }

    /// Checks a signature over a message of any length; ECDSA signs what a hash function has made,
    /// 32 bytes.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let holds = match &self.0 {
            Inner::Bip340(key) => signature.try_into().is_ok_and(|bytes| {
                schnorr::verify(&schnorr::Signature::from_byte_array(bytes), message, key).is_ok()
            }),
            Inner::Rfc9591(key) => rfc9591::holds(key, message, signature),
            Inner::Ed25519(key) => signature.try_into().is_ok_and(|bytes| {
                key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(bytes))
                    .is_ok()
            }),
            Inner::Ecdsa(key) => ecdsa_holds(key, message, signature),
        };
        if holds {
            Ok(())
        } else {
            Err(BadSignature::DoesNotHold)
        }
    }
}

/// Checks a signature under an untweaked group key and a tweak.
pub fn signature(
    scheme: Scheme,
    group_key: &[u8],
    message: &[u8],
    tweak: Tweak,
    signature: &[u8],
) -> Result<(), BadSignature> {
    Verifier::new(scheme, group_key, tweak)?.verify(message, signature)
}

/// The x coordinate of the taproot output key of an untweaked group key without scripts (BIP-341).
pub fn taproot_output_key(group_key: &[u8]) -> Result<[u8; 32], BadKey> {
    Ok(tweaked(&x_only(group_key)?)?.to_byte_array())
}

/// The signature is r, s and the recovery id.
fn ecdsa_holds(key: &[u8; 33], message: &[u8], signature: &[u8]) -> bool {
    let parts = signature
        .split_first_chunk::<64>()
        .zip(<&[u8; 32]>::try_from(message).ok());
    match parts {
        Some(((compact, [recovery_id]), digest)) => {
            ecdsa(key, digest, compact, *recovery_id).is_ok()
        }
        _ => false,
    }
}

fn secp_point(bytes: &[u8]) -> Result<PublicKey, BadKey> {
    let encoded = bytes.try_into().map_err(|_| BadKey::Malformed)?;
    PublicKey::from_byte_array_compressed(encoded).map_err(|_| BadKey::Malformed)
}

fn x_only(bytes: &[u8]) -> Result<XOnlyPublicKey, BadKey> {
    let (key, _): (_, Parity) = secp_point(bytes)?.x_only_public_key();
    Ok(key)
}

fn tweaked(internal: &XOnlyPublicKey) -> Result<XOnlyPublicKey, BadKey> {
    let tag = Sha256::digest(b"TapTweak");
    let mut hasher = Sha256::new();
    hasher.update(tag);
    hasher.update(tag);
    hasher.update(internal.to_byte_array());
    let tweak = Scalar::from_be_bytes(hasher.finalize().into()).map_err(|_| BadKey::Malformed)?;
    let (output, _) = internal.add_tweak(&tweak).map_err(|_| BadKey::Malformed)?;
    Ok(output)
}

fn edwards_key(bytes: &[u8]) -> Result<VerifyingKey, BadKey> {
    let encoded = bytes.try_into().map_err(|_| BadKey::Malformed)?;
    let key = VerifyingKey::from_bytes(encoded).map_err(|_| BadKey::Malformed)?;
    if key.is_weak() {
        Err(BadKey::Malformed)
    } else {
        Ok(key)
    }
}

#[cfg(test)]
mod tests;
