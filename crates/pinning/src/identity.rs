//! The TLS key of a node, coordinator or principal, with the certificate that carries it.

use std::fmt;

use quorate_model::{Digest, wire};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{PinningError, config::provider};

/// SHA-256 of the public key (SPKI) in a certificate: how rosters name TLS keys.
pub fn spki_hash(certificate: &[u8]) -> Result<Digest, PinningError> {
    key_hash_of(&CertificateDer::from(certificate)).map_err(PinningError::Unusable)
}

pub(crate) fn key_hash_of(certificate: &CertificateDer<'_>) -> Result<Digest, rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let spki = parsed.subject_public_key_info();
    Ok(Digest::new(Sha256::digest(spki.as_ref()).into()))
}

/// A TLS key with the self-signed certificate that carries its public half.
///
/// # Security
///
/// The private key is wiped when the identity is dropped; copies that the TLS library makes while
/// connections live are its own.
pub struct TlsIdentity {
    certificate: CertificateDer<'static>,
    key: Zeroizing<Vec<u8>>,
    hash: Digest,
}

impl TlsIdentity {
    /// Generates an ECDSA P-256 key and a certificate with this name, which only people read.
    pub fn generate(name: &str) -> Result<Self, PinningError> {
        let mut pair =
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PinningError::Generate)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&pair);
        let key = Zeroizing::new(pair.serialized_der().to_vec());
        pair.zeroize();
        let certificate = certificate.map_err(PinningError::Generate)?;
        Self::from_der(certificate.der().to_vec(), key)
    }

    /// Takes a DER certificate and its PKCS#8 key; refuses a pair that does not belong together.
    pub fn from_der(certificate: Vec<u8>, key: Zeroizing<Vec<u8>>) -> Result<Self, PinningError> {
        let certificate = CertificateDer::from(certificate);
        let hash = key_hash_of(&certificate).map_err(PinningError::Unusable)?;
        let identity = Self {
            certificate,
            key,
            hash,
        };
        identity.certified_key()?;
        Ok(identity)
    }

    /// Reads what [`TlsIdentity::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PinningError> {
        let (certificate, key): (Vec<u8>, Vec<u8>) =
            wire::decode(bytes).map_err(PinningError::Read)?;
        Self::from_der(certificate, Zeroizing::new(key))
    }

    /// Certificate and private key as bytes, to be sealed by the caller.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, PinningError> {
        wire::encode(&(self.certificate.as_ref(), self.key.as_slice()))
            .map(Zeroizing::new)
            .map_err(PinningError::Read)
    }

    /// SHA-256 of the public key (SPKI), as the roster states it.
    pub const fn key_hash(&self) -> Digest {
        self.hash
    }

    /// The DER certificate.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The private key as PKCS#8 DER, to be sealed by the caller.
    pub fn key_der(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.to_vec()).into()
    }

    fn certified_key(&self) -> Result<CertifiedKey, PinningError> {
        CertifiedKey::from_der(vec![self.certificate()], self.private_key(), &provider())
            .map_err(PinningError::Unusable)
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            certificate: _,
            key: _,
            hash,
        } = self;
        f.debug_struct("TlsIdentity")
            .field("key_hash", hash)
            .field("key", &"redacted")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_storage() {
        let identity = TlsIdentity::generate("node-a").unwrap();

        let stored = TlsIdentity::from_bytes(&identity.to_bytes().unwrap()).unwrap();
        let parts = TlsIdentity::from_der(
            identity.certificate_der().to_vec(),
            Zeroizing::new(identity.key_der().to_vec()),
        )
        .unwrap();

        assert_eq!(stored.key_hash(), identity.key_hash());
        assert_eq!(stored.key_der(), identity.key_der());
        assert_eq!(parts.key_hash(), identity.key_hash());
        assert_eq!(
            spki_hash(identity.certificate_der()).unwrap(),
            identity.key_hash()
        );
    }

    #[test]
    fn the_hash_is_that_of_the_key_and_not_of_the_certificate() {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let one = CertificateParams::new(["one".to_owned()])
            .unwrap()
            .self_signed(&pair)
            .unwrap();
        let two = CertificateParams::new(["two".to_owned()])
            .unwrap()
            .self_signed(&pair)
            .unwrap();
        let expected: [u8; 32] =
            Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&pair)).into();

        assert_ne!(one.der(), two.der());
        assert_eq!(spki_hash(one.der()).unwrap(), Digest::new(expected));
        assert_eq!(spki_hash(two.der()).unwrap(), Digest::new(expected));
    }

    #[test]
    fn a_key_that_is_not_the_certificates_is_refused() {
        let one = TlsIdentity::generate("one").unwrap();
        let two = TlsIdentity::generate("two").unwrap();

        let mixed = TlsIdentity::from_der(
            one.certificate_der().to_vec(),
            Zeroizing::new(two.key_der().to_vec()),
        );

        assert!(matches!(mixed, Err(PinningError::Unusable(_))));
    }

    #[test]
    fn garbage_is_no_identity() {
        assert!(matches!(
            TlsIdentity::from_bytes(b"\x01garbage"),
            Err(PinningError::Read(_))
        ));
        assert!(matches!(
            spki_hash(b"garbage"),
            Err(PinningError::Unusable(_))
        ));
    }

    #[test]
    fn debug_output_tells_nothing_of_the_private_key() {
        let identity = TlsIdentity::generate("node-a").unwrap();

        let shown = format!("{identity:?}");

        let short = identity.key_hash().short();
        assert_eq!(
            shown,
            format!("TlsIdentity {{ key_hash: Digest({short}), key: \"redacted\" }}")
        );
    }
}
