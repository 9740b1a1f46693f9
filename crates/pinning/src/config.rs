//! TLS configurations: version 1.3 only, mutual, keys looked up in a set that may change.

use std::{collections::BTreeSet, fmt, sync::Arc};

use quorate_model::Digest;
use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, Error,
    OtherError, PeerIncompatible, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use crate::{PinningError, TlsIdentity, identity::key_hash_of};

/// The application protocol of every link: HTTP/2.
pub const ALPN: &[u8] = b"h2";

/// Which keys are let in, asked anew at every handshake, so that a roster can change under it.
pub type Allowed = Arc<dyn Fn(&Digest) -> bool + Send + Sync>;

/// Lets a fixed set of keys in.
pub fn allow(hashes: impl IntoIterator<Item = Digest>) -> Allowed {
    let hashes: BTreeSet<Digest> = hashes.into_iter().collect();
    Arc::new(move |hash| hashes.contains(hash))
}

/// A peer whose key is not pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TLS key {found} of the peer is not the pinned one")]
pub struct UnpinnedKey {
    /// The hash of the key that it showed.
    pub found: Digest,
}

pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// The configuration of the side that dials. The key of the other side must be allowed.
///
/// Sessions are never resumed: a resumed session would skip the look at the key.
pub fn client_config(
    identity: &TlsIdentity,
    allowed: Allowed,
) -> Result<ClientConfig, PinningError> {
    let provider = Arc::new(provider());
    let pinned = Arc::new(Pinned::new(&provider, allowed));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder
                .dangerous()
                .with_custom_certificate_verifier(pinned)
                .with_client_auth_cert(vec![identity.certificate()], identity.private_key())
        })
        .map_err(PinningError::Unusable)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// The configuration of the side that listens. A peer must show a certificate, and its key must
/// be allowed.
///
/// Sessions are never resumed: a resumed session would skip the look at the key.
pub fn server_config(
    identity: &TlsIdentity,
    allowed: Allowed,
) -> Result<ServerConfig, PinningError> {
    let provider = Arc::new(provider());
    let pinned = Arc::new(Pinned::new(&provider, allowed));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(pinned)
                .with_single_cert(vec![identity.certificate()], identity.private_key())
        })
        .map_err(PinningError::Unusable)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The server name that TLS libraries ask for. It is neither sent nor checked.
pub fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

/// The hash of the key that the peer of a finished handshake proved to have.
pub fn peer_key_hash(connection: &CommonState) -> Option<Digest> {
    if connection.is_handshaking() {
        return None;
    }
    key_hash_of(connection.peer_certificates()?.first()?).ok()
}

/// Checks the key of a peer, on either side.
struct Pinned {
    allowed: Allowed,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn new(provider: &CryptoProvider, allowed: Allowed) -> Self {
        Self {
            allowed,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let found = key_hash_of(certificate)?;
        if (self.allowed)(&found) {
            return Ok(());
        }
        let stranger = OtherError(Arc::new(UnpinnedKey { found }));
        Err(Error::InvalidCertificate(CertificateError::Other(stranger)))
    }

    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

/// Only version 1.3 is offered, so its predecessor never gets as far as a signature.
fn no_tls12() -> Error {
    Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled)
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
