use std::io;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd};
use rustls::{
    ClientConnection, HandshakeKind, ProtocolVersion, ServerConnection,
    client::ResolvesClientCert,
    pki_types::PrivatePkcs8KeyDer,
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, SigningKey},
};
use zeroize::Zeroizing;

use super::*;

#[test]
fn peers_with_pinned_keys_meet_and_see_each_others_keys() {
    let (node, coordinator) = (identity("node"), identity("coordinator"));

    let (client, server) = shake(
        client_config(&node, allow([coordinator.key_hash()])).unwrap(),
        server_config(&coordinator, allow([node.key_hash()])).unwrap(),
    );

    let (client, server) = (client.unwrap(), server.unwrap());
    assert_eq!(peer_key_hash(&client), Some(coordinator.key_hash()));
    assert_eq!(peer_key_hash(&server), Some(node.key_hash()));
    assert_eq!(client.alpn_protocol(), Some(ALPN));
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
}

#[test]
fn a_listener_refuses_a_strangers_key() {
    let (node, coordinator) = (identity("node"), identity("coordinator"));
    let stranger = identity("node");

    let (client, server) = shake(
        client_config(&stranger, allow([coordinator.key_hash()])).unwrap(),
        server_config(&coordinator, allow([node.key_hash()])).unwrap(),
    );

    assert_eq!(unpinned(&server.unwrap_err()), Some(stranger.key_hash()));
    assert!(client.is_err());
}

#[test]
fn a_dialer_refuses_a_strangers_key() {
    let (node, coordinator) = (identity("node"), identity("coordinator"));
    let stranger = identity("coordinator");

    let (client, server) = shake(
        client_config(&node, allow([coordinator.key_hash()])).unwrap(),
        server_config(&stranger, allow([node.key_hash()])).unwrap(),
    );

    assert_eq!(unpinned(&client.unwrap_err()), Some(stranger.key_hash()));
    assert!(server.is_err());
}

#[test]
fn a_dialer_that_shows_anothers_certificate_without_its_key_is_refused() {
    let (node, coordinator) = (identity("node"), identity("coordinator"));
    let thief = identity("thief");
    let mut config = client_config(&thief, allow([coordinator.key_hash()])).unwrap();
    config.client_auth_cert_resolver = Arc::new(Forged::new(&node, &thief));

    let (_, server) = shake(
        config,
        server_config(&coordinator, allow([node.key_hash()])).unwrap(),
    );

    let expected = Error::InvalidCertificate(CertificateError::BadSignature);
    assert_eq!(server.unwrap_err(), expected);
}

#[test]
fn a_listener_that_shows_anothers_certificate_without_its_key_is_refused() {
    let (node, coordinator) = (identity("node"), identity("coordinator"));
    let thief = identity("thief");
    let mut config = server_config(&thief, allow([node.key_hash()])).unwrap();
    config.cert_resolver = Arc::new(Forged::new(&coordinator, &thief));

    let (client, _) = shake(
        client_config(&node, allow([coordinator.key_hash()])).unwrap(),
        config,
    );

    let expected = Error::InvalidCertificate(CertificateError::BadSignature);
    assert_eq!(client.unwrap_err(), expected);
}

#[test]
fn a_dialer_without_a_certificate_is_refused() {
    let (node, coordinator) = (identity("node"), identity("coordinator"));
    let provider = Arc::new(provider());
    let pinned = Arc::new(Pinned::new(&provider, allow([coordinator.key_hash()])));
    let mut bare = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(pinned)
        .with_no_client_auth();
    bare.alpn_protocols = vec![ALPN.to_vec()];

    let (_, server) = shake(
        bare,
        server_config(&coordinator, allow([node.key_hash()])).unwrap(),
    );

    assert_eq!(server.unwrap_err(), Error::NoCertificatesPresented);
}

#[test]
fn a_dialer_that_speaks_only_the_version_before_is_refused() {
    let (node, coordinator) = (identity("node"), identity("coordinator"));
    let provider = Arc::new(provider());
    let pinned = Arc::new(Pinned::new(&provider, allow([coordinator.key_hash()])));
    let old = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(pinned)
        .with_client_auth_cert(vec![node.certificate()], node.private_key())
        .unwrap();

    let (_, server) = shake(
        old,
        server_config(&coordinator, allow([node.key_hash()])).unwrap(),
    );

    assert!(matches!(server.unwrap_err(), Error::PeerIncompatible(_)));
}

#[test]
fn a_listener_that_speaks_only_the_version_before_is_refused() {
    let (node, coordinator) = (identity("node"), identity("coordinator"));
    let provider = Arc::new(provider());
    let pinned = Arc::new(Pinned::new(&provider, allow([node.key_hash()])));
    let old = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_client_cert_verifier(pinned)
        .with_single_cert(vec![coordinator.certificate()], coordinator.private_key())
        .unwrap();

    let (client, server) = shake(
        client_config(&node, allow([coordinator.key_hash()])).unwrap(),
        old,
    );

    assert!(client.is_err());
    assert!(matches!(server.unwrap_err(), Error::PeerIncompatible(_)));
}

#[test]
fn dates_and_names_in_a_certificate_mean_nothing() {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(["elsewhere.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(1990, 1, 1);
    params.not_after = date_time_ymd(1990, 1, 2);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let certificate = params.self_signed(&pair).unwrap();
    let odd = TlsIdentity::from_der(
        certificate.der().to_vec(),
        Zeroizing::new(pair.serialize_der()),
    )
    .unwrap();

    let (client, server) = shake(
        client_config(&odd, allow([odd.key_hash()])).unwrap(),
        server_config(&odd, allow([odd.key_hash()])).unwrap(),
    );

    assert!(client.is_ok());
    assert!(server.is_ok());
}

#[test]
fn a_key_that_leaves_the_set_is_refused_at_the_next_handshake() {
    let (node, coordinator) = (identity("node"), identity("coordinator"));
    let members = Arc::new(std::sync::Mutex::new(BTreeSet::from([node.key_hash()])));
    let live: Allowed = {
        let members = Arc::clone(&members);
        Arc::new(move |hash| members.lock().unwrap().contains(hash))
    };
    let client = client_config(&node, allow([coordinator.key_hash()])).unwrap();
    let server = server_config(&coordinator, live).unwrap();

    let first = shake(client.clone(), server.clone()).1;
    let second = shake(client.clone(), server.clone()).1;
    members.lock().unwrap().clear();
    let third = shake(client, server).1;

    assert_eq!(first.unwrap().handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(second.unwrap().handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(unpinned(&third.unwrap_err()), Some(node.key_hash()));
}

#[test]
fn the_key_of_a_peer_is_not_told_before_the_handshake_is_over() {
    let (node, coordinator) = (identity("node"), identity("coordinator"));
    let config = client_config(&node, allow([coordinator.key_hash()])).unwrap();

    let client = ClientConnection::new(Arc::new(config), server_name()).unwrap();

    assert_eq!(peer_key_hash(&client), None);
}

fn identity(name: &str) -> TlsIdentity {
    TlsIdentity::generate(name).unwrap()
}

fn unpinned(error: &Error) -> Option<Digest> {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return None;
    };
    other
        .0
        .downcast_ref::<UnpinnedKey>()
        .map(|unpinned| unpinned.found)
}

/// Shows one identity's certificate and signs with another's key.
#[derive(Debug)]
struct Forged(Arc<CertifiedKey>);

impl Forged {
    fn new(shown: &TlsIdentity, signing: &TlsIdentity) -> Self {
        let der = PrivatePkcs8KeyDer::from(signing.key_der().to_vec());
        let key: Arc<dyn SigningKey> =
            rustls::crypto::ring::sign::any_ecdsa_type(&der.into()).unwrap();
        Self(Arc::new(CertifiedKey::new(vec![shown.certificate()], key)))
    }
}

impl ResolvesClientCert for Forged {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Forged {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

type Shaken<C> = Result<C, Error>;

/// Runs a handshake in memory until both sides are done or one has failed.
fn shake(
    client: ClientConfig,
    server: ServerConfig,
) -> (Shaken<ClientConnection>, Shaken<ServerConnection>) {
    let mut client = ClientConnection::new(Arc::new(client), server_name()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let (mut client_error, mut server_error) = (None, None);
    for _ in 0..8 {
        let outgoing = written(|out| client.write_tls(out));
        let mut incoming = outgoing.as_slice();
        while server_error.is_none() && !incoming.is_empty() {
            server.read_tls(&mut incoming).unwrap();
            server_error = server.process_new_packets().err();
        }
        let outgoing = written(|out| server.write_tls(out));
        let mut incoming = outgoing.as_slice();
        while client_error.is_none() && !incoming.is_empty() {
            client.read_tls(&mut incoming).unwrap();
            client_error = client.process_new_packets().err();
        }
    }
    let unfinished = || Error::General("the handshake did not end".to_owned());
    let client_error = client_error.or_else(|| client.is_handshaking().then(unfinished));
    let server_error = server_error.or_else(|| server.is_handshaking().then(unfinished));
    (
        client_error.map_or(Ok(client), Err),
        server_error.map_or(Ok(server), Err),
    )
}

fn written(mut write: impl FnMut(&mut Vec<u8>) -> io::Result<usize>) -> Vec<u8> {
    let mut out = Vec::new();
    while write(&mut out).unwrap() > 0 {}
    out
}
