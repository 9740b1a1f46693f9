//! ECDSA over secp256k1, by libsecp256k1 and by `k256`.

use k256::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier as _};
use secp256k1::{
    Message, PublicKey,
    ecdsa::{self, RecoverableSignature, RecoveryId},
};

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
    let one = by_libsecp256k1(public_key, digest, compact, recovery_id);
    let other = by_k256(public_key, digest, compact);
    if one.is_some() && other.is_some() {
        Ok(())
    } else {
        Err(BadSignature::DoesNotHold)
    }
}

/// libsecp256k1 verifies no signature with a high `s`, but recovers a key from it.
fn by_libsecp256k1(
    public_key: &[u8; 33],
    digest: &[u8; 32],
    compact: &[u8; 64],
    recovery_id: u8,
) -> Option<()> {
    let key = PublicKey::from_byte_array_compressed(*public_key).ok()?;
    let id = RecoveryId::try_from(i32::from(recovery_id)).ok()?;
    let signature = RecoverableSignature::from_compact(compact, id).ok()?;
    let message = Message::from_digest(*digest);
    ecdsa::verify(&signature.to_standard(), message, &key).ok()?;
    (signature.recover_ecdsa(message).ok()? == key).then_some(())
}

fn by_k256(public_key: &[u8; 33], digest: &[u8; 32], compact: &[u8; 64]) -> Option<()> {
    let signature = Signature::from_slice(compact).ok()?;
    let key = VerifyingKey::from_sec1_bytes(public_key).ok()?;
    key.verify_prehash(digest, &signature).ok()?;
    signature.normalize_s().is_none().then_some(())
}
