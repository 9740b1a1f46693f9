//! Ed25519 identity keys and signatures over tagged digests (P1, P3).

use ed25519_dalek::{Signature as DalekSignature, Signer as _, SigningKey, VerifyingKey};

use crate::{
    bytes::{Digest, public_bytes},
    tagged::{Tag, digest_of},
};

public_bytes! {
    /// The public Ed25519 identity key of a node or a principal, 32 bytes.
    IdentityKey, 32
}

public_bytes! {
    /// An Ed25519 signature over the digest of a tagged structure, 64 bytes.
    Signature, 64
}

/// A signature that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signature does not hold under the key")]
pub struct BadSignature;

impl IdentityKey {
    /// The public half of a signing key.
    pub fn of(key: &SigningKey) -> Self {
        Self(key.verifying_key().to_bytes())
    }

    /// The key parsed for verification; small-order and invalid points are refused.
    pub fn parse(&self) -> Result<VerifyingKey, BadSignature> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| BadSignature)?;
        if key.is_weak() {
            return Err(BadSignature);
        }
        Ok(key)
    }

    /// Checks a signature over a digest, strictly.
    pub fn verify(&self, digest: &Digest, signature: &Signature) -> Result<(), BadSignature> {
        verify_with(&self.parse()?, digest, signature)
    }
}

/// Checks a signature over a digest under a key that is parsed already, strictly.
pub fn verify_with(
    key: &VerifyingKey,
    digest: &Digest,
    signature: &Signature,
) -> Result<(), BadSignature> {
    key.verify_strict(digest.as_bytes(), &DalekSignature::from_bytes(&signature.0))
        .map_err(|_| BadSignature)
}

/// Signs a digest of a tagged structure.
pub fn sign_digest(key: &SigningKey, digest: &Digest) -> Signature {
    Signature(key.sign(digest.as_bytes()).to_bytes())
}

/// Signs exact bytes under a tag.
pub fn sign_bytes(key: &SigningKey, tag: Tag, bytes: &[u8]) -> Signature {
    sign_digest(key, &digest_of(tag, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_tag_only() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let signature = sign_bytes(&key, Tag::Roster, b"bytes");
        let public = IdentityKey::of(&key);

        assert!(
            public
                .verify(&digest_of(Tag::Roster, b"bytes"), &signature)
                .is_ok()
        );
        assert!(
            public
                .verify(&digest_of(Tag::Command, b"bytes"), &signature)
                .is_err()
        );
        assert!(
            public
                .verify(&digest_of(Tag::Roster, b"other"), &signature)
                .is_err()
        );
    }

    #[test]
    fn a_weak_key_verifies_nothing() {
        let weak = IdentityKey([0; 32]);

        assert_eq!(weak.parse().unwrap_err(), BadSignature);
    }
}
