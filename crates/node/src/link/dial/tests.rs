use std::{future::Future, time::Duration};

use quorate_model::{
    CoordinatorId, Refusal,
    node_api::{NodeReply, NodeRequest},
};
use quorate_pinning::{TlsIdentity, allow, client_config, server_config};
use tokio::{io::AsyncReadExt as _, net::TcpListener, task::JoinHandle};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

use super::*;
use crate::link::Backoff;

#[tokio::test]
async fn a_coordinator_with_the_wrong_key_is_refused_and_hears_so() {
    let (node, coordinator, rogue) = (identity(), identity(), identity());
    let config = server_config(&rogue, Arc::new(|_| true)).unwrap();
    let (listener, dialing) = dial(&node, &coordinator).await;

    let heard = shake(&listener, config).await.unwrap_err();

    assert!(heard.to_string().contains("alert"), "{heard}");
    dialing.end().await;
}

#[tokio::test]
async fn a_coordinator_that_shows_anothers_certificate_is_refused() {
    let (node, coordinator, thief) = (identity(), identity(), identity());
    let mut config = server_config(&thief, Arc::new(|_| true)).unwrap();
    config.cert_resolver = Arc::new(Forged::new(&coordinator, &thief));
    let (listener, dialing) = dial(&node, &coordinator).await;

    let heard = shake(&listener, config).await.unwrap_err();

    assert!(heard.to_string().contains("alert"), "{heard}");
    dialing.end().await;
}

#[tokio::test]
async fn the_pinned_coordinator_is_served() {
    let (node, coordinator) = (identity(), identity());
    let config = server_config(&coordinator, allow([node.key_hash()])).unwrap();
    let (listener, dialing) = dial(&node, &coordinator).await;

    let first = shake(&listener, config).await.unwrap();

    assert!(
        first > 0,
        "the node speaks HTTP/2 once it knows whom it talks to"
    );
    dialing.end().await;
}

#[tokio::test]
async fn it_dials_again_whenever_a_connection_comes_to_nothing() {
    let (node, coordinator) = (identity(), identity());
    let (listener, dialing) = dial(&node, &coordinator).await;

    for _ in 0..4 {
        drop(within(listener.accept()).await.unwrap());
    }

    dialing.end().await;
}

#[tokio::test]
async fn it_stops_while_it_waits_to_dial_again() {
    let (node, coordinator) = (identity(), identity());
    let backoff = Backoff {
        first: Duration::from_hours(1),
        cap: Duration::from_hours(1),
    };
    let (listener, dialing) = dial_after(&node, &coordinator, backoff).await;
    drop(within(listener.accept()).await.unwrap());

    dialing.end().await;
}

fn identity() -> TlsIdentity {
    TlsIdentity::generate("someone").unwrap()
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future)
        .await
        .expect("it happens in time")
}

/// Accepts one connection and reads the first that the node says after the handshake.
async fn shake(listener: &TcpListener, config: ServerConfig) -> io::Result<usize> {
    let (stream, _) = within(listener.accept()).await?;
    let mut stream = within(TlsAcceptor::from(Arc::new(config)).accept(stream)).await?;
    within(stream.read(&mut [0; 64])).await
}

struct Dialing {
    stop: watch::Sender<bool>,
    link: JoinHandle<()>,
}

impl Dialing {
    async fn end(self) {
        self.stop.send_replace(true);
        within(self.link).await.unwrap();
    }
}

async fn dial(node: &TlsIdentity, coordinator: &TlsIdentity) -> (TcpListener, Dialing) {
    let backoff = Backoff {
        first: Duration::from_millis(1),
        cap: Duration::from_millis(5),
    };
    dial_after(node, coordinator, backoff).await
}

async fn dial_after(
    node: &TlsIdentity,
    coordinator: &TlsIdentity,
    backoff: Backoff,
) -> (TcpListener, Dialing) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target {
        id: "coordinator-1".parse().unwrap(),
        address: listener.local_addr().unwrap().to_string(),
        tls: Arc::new(client_config(node, allow([coordinator.key_hash()])).unwrap()),
    };
    let drain_timeout = Duration::from_millis(50);
    let policy = LinkPolicy {
        drain_timeout,
        backoff,
        ..LinkPolicy::default()
    };
    let (stop, stopped) = watch::channel(false);
    let link = tokio::spawn(keep_linked(target, policy, Arc::new(Nobody), stopped));
    (listener, Dialing { stop, link })
}

/// Is never asked.
struct Nobody;

impl HandleRequests for Nobody {
    async fn handle(
        &self,
        caller: CoordinatorId,
        _request: NodeRequest,
    ) -> Result<NodeReply, Refusal> {
        panic!("{caller} was served");
    }
}

/// Shows one identity's certificate and signs with another's key.
#[derive(Debug)]
struct Forged(Arc<CertifiedKey>);

impl Forged {
    fn new(shown: &TlsIdentity, signing: &TlsIdentity) -> Self {
        let der = PrivatePkcs8KeyDer::from(signing.key_der().to_vec());
        let key = rustls::crypto::ring::sign::any_ecdsa_type(&der.into()).unwrap();
        let certificate = CertificateDer::from(shown.certificate_der().to_vec());
        Self(Arc::new(CertifiedKey::new(vec![certificate], key)))
    }
}

impl ResolvesServerCert for Forged {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
