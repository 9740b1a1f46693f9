//! ECDSA over secp256k1, by libsecp256k1 and by `k256`.

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use secp256k1::{Message, PublicKey, ecdsa};

use super::BadSignature;

/// Checks a signature over a digest under a compressed key: both libraries take it, `s` is not
/// above half the order, and the key is recovered from it.
///
/// # Errors
///
/// Says nothing about which of the checks failed.
pub fn ecdsa(
    public_key: &[u8; 33],
    digest: &[u8; 32],
    compact: &[u8; 64],
    recovery_id: u8,
) -> Result<(), BadSignature> {
    let one = by_libsecp256k1(public_key, digest, compact);
    let other = by_k256(public_key, digest, compact, recovery_id);
    if one.is_some() && other.is_some() {
        Ok(())
    } else {
        Err(BadSignature::DoesNotHold)
    }
}

/// libsecp256k1 takes no signature with a high `s`.
fn by_libsecp256k1(public_key: &[u8; 33], digest: &[u8; 32], compact: &[u8; 64]) -> Option<()> {
    let key = PublicKey::from_byte_array_compressed(*public_key).ok()?;
    let signature = ecdsa::Signature::from_compact(compact).ok()?;
    ecdsa::verify(&signature, Message::from_digest(*digest), &key).ok()
}

/// Recovering ends with a verification under what was recovered.
fn by_k256(
    public_key: &[u8; 33],
    digest: &[u8; 32],
    compact: &[u8; 64],
    recovery_id: u8,
) -> Option<()> {
    let signature = Signature::from_slice(compact).ok()?;
    let id = RecoveryId::from_byte(recovery_id)?;
    let recovered = VerifyingKey::recover_from_prehash(digest, &signature, id).ok()?;
    let expected = VerifyingKey::from_sec1_bytes(public_key).ok()?;
    (signature.normalize_s().is_none() && recovered == expected).then_some(())
}
