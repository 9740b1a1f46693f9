//! A roster with its identities, listeners and nodes, on loopback.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use ed25519_dalek::SigningKey;
use quorate_model::{
    CoordinatorId, Digest, IdentityKey, NodeId,
    roster::{CoordinatorCard, NodeCard, PinnedRoster, Principal, Role, Roster, SignedRoster},
};
use quorate_node::{
    config::CoordinatorAddress,
    link::{Backoff, LinkPolicy as NodePolicy, Target, keep_linked},
};
use quorate_pinning::TlsIdentity;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::rustls::{
    self, SignatureScheme,
    client::ResolvesClientCert,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    sign::{CertifiedKey, SigningKey as TlsSigningKey},
};

use super::Scripted;
use crate::link::{LinkEvent, LinkPolicy, NodeLink, accept_nodes, nodes_of};

/// Waits, but not for ever.
pub(super) async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future)
        .await
        .expect("it happens in time")
}

/// Short times, and room for two half-open connections.
pub(super) fn policy() -> LinkPolicy {
    LinkPolicy {
        handshake_timeout: Duration::from_millis(500),
        probe_timeout: Duration::from_millis(500),
        max_half_open: 2,
        ..LinkPolicy::default()
    }
}

/// Short waits between attempts.
pub(super) fn node_policy() -> NodePolicy {
    let backoff = Backoff {
        first: Duration::from_millis(5),
        cap: Duration::from_millis(20),
    };
    NodePolicy {
        backoff,
        ..NodePolicy::default()
    }
}

pub(super) struct Cluster {
    nodes: BTreeMap<NodeId, TlsIdentity>,
    coordinators: BTreeMap<CoordinatorId, TlsIdentity>,
    pub(super) admin: TlsIdentity,
    pinned: PinnedRoster,
}

impl Cluster {
    pub(super) fn new() -> Self {
        let generate = |id: &str| TlsIdentity::generate(id).unwrap();
        let nodes: BTreeMap<NodeId, _> = ["node-a", "node-b"]
            .map(|id| (id.parse().unwrap(), generate(id)))
            .into();
        let coordinators: BTreeMap<CoordinatorId, _> = ["coordinator-1", "coordinator-2"]
            .map(|id| (id.parse().unwrap(), generate(id)))
            .into();
        let admin = generate("admin");
        let pinned = pin(&nodes, &coordinators, &admin);
        Self {
            nodes,
            coordinators,
            admin,
            pinned,
        }
    }

    pub(super) fn node(&self, id: &str) -> &TlsIdentity {
        &self.nodes[&id.parse().unwrap()]
    }

    /// Starts a coordinator's listener with short times and room for two half-open connections.
    pub(super) async fn listen(&self, id: &str) -> Listening {
        self.listen_with(id, policy()).await
    }

    pub(super) async fn listen_with(&self, id: &str, policy: LinkPolicy) -> Listening {
        let id: CoordinatorId = id.parse().unwrap();
        let identity = &self.coordinators[&id];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (events, received) = mpsc::channel(64);
        let (stop, stopped) = watch::channel(false);
        let key_hash = identity.key_hash();
        let identity = TlsIdentity::from_bytes(&identity.to_bytes().unwrap()).unwrap();
        let pinned = Arc::new(self.pinned.clone());
        let find = nodes_of(Arc::new(move || Arc::clone(&pinned)));
        let task = tokio::spawn(async move {
            accept_nodes(listener, &identity, find, policy, events, stopped)
                .await
                .unwrap();
        });
        let task = Some((stop, task));
        Listening {
            id,
            address,
            key_hash,
            events: received,
            task,
        }
    }

    /// Starts the links of a node.
    pub(super) fn dial(
        &self,
        node: &str,
        handler: &Arc<Scripted>,
        coordinators: &[&Listening],
    ) -> Running {
        self.dial_with(node, handler, coordinators, node_policy())
    }

    pub(super) fn dial_with(
        &self,
        node: &str,
        handler: &Arc<Scripted>,
        coordinators: &[&Listening],
        policy: NodePolicy,
    ) -> Running {
        let (stop, stopped) = watch::channel(false);
        let mut links = JoinSet::new();
        for coordinator in coordinators {
            let address = CoordinatorAddress {
                id: coordinator.id.clone(),
                address: coordinator.address.clone(),
            };
            let target = Target::new(&address, self.node(node), &self.pinned).unwrap();
            links.spawn(keep_linked(
                target,
                policy,
                Arc::clone(handler),
                stopped.clone(),
            ));
        }
        Running { stop, links }
    }
}

fn pin(
    nodes: &BTreeMap<NodeId, TlsIdentity>,
    coordinators: &BTreeMap<CoordinatorId, TlsIdentity>,
    admin: &TlsIdentity,
) -> PinnedRoster {
    let admin_key = SigningKey::from_bytes(&[200; 32]);
    let card = |(seed, (id, tls)): (u8, (&NodeId, &TlsIdentity))| NodeCard {
        id: id.clone(),
        identity_key: IdentityKey::of(&SigningKey::from_bytes(&[seed; 32])),
        tls_key_hash: tls.key_hash(),
        region: format!("region-{seed}"),
        organisation: format!("organisation-{seed}"),
    };
    let roster = Roster {
        format: 1,
        version: 1,
        cluster_name: "test".to_owned(),
        parents: Vec::new(),
        nodes: (1..).zip(nodes).map(card).collect(),
        coordinators: coordinators
            .iter()
            .map(|(id, tls)| CoordinatorCard {
                id: id.clone(),
                tls_key_hash: tls.key_hash(),
            })
            .collect(),
        principals: vec![Principal {
            id: "admin".parse().unwrap(),
            person: "Ada".to_owned(),
            roles: vec![Role::Admin],
            identity_key: IdentityKey::of(&admin_key),
            tls_key_hash: admin.key_hash(),
        }],
        admin_quorum: 1,
        lifecycle_quorum: 1,
        policy_hash: Digest::ZERO,
        lifecycle_delay_seconds: None,
        drained: [].into(),
        placement: quorate_model::roster::Placement::default(),
    };
    let mut signed = SignedRoster::unsigned(&roster).unwrap();
    signed.sign(&"admin".parse().unwrap(), &admin_key);
    signed.verify_first().unwrap()
}

/// A coordinator's listener.
pub(super) struct Listening {
    pub(super) id: CoordinatorId,
    pub(super) address: String,
    pub(super) key_hash: Digest,
    pub(super) events: mpsc::Receiver<LinkEvent>,
    task: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl Listening {
    /// The same coordinator behind another address, without its events.
    pub(super) fn shallow(&self, address: String) -> Self {
        Self {
            id: self.id.clone(),
            address,
            key_hash: self.key_hash,
            events: mpsc::channel(1).1,
            task: None,
        }
    }

    pub(super) async fn event(&mut self) -> LinkEvent {
        within(self.events.recv()).await.expect("the listener runs")
    }

    pub(super) async fn up(&mut self, node: &str) -> NodeLink {
        let event = self.event().await;
        let LinkEvent::Up(id, link) = event else {
            panic!("expected {node} to come up: {event:?}")
        };
        assert_eq!(id.as_str(), node);
        link
    }

    pub(super) async fn down(&mut self, node: &str, generation: u64) {
        let event = self.event().await;
        let LinkEvent::Down(id, ended) = event else {
            panic!("expected {node} to go down: {event:?}")
        };
        assert_eq!((id.as_str(), ended), (node, generation));
    }

    pub(super) async fn stop(&mut self) {
        let (stop, task) = self.task.take().unwrap();
        stop.send_replace(true);
        within(task).await.unwrap();
    }
}

/// The links of a node.
pub(super) struct Running {
    stop: watch::Sender<bool>,
    links: JoinSet<()>,
}

impl Running {
    /// Tells the links to end; the future ends when they have.
    pub(super) fn stop(mut self) -> impl Future<Output = ()> {
        self.stop.send_replace(true);
        async move { while self.links.join_next().await.is_some() {} }
    }
}

/// Shows one identity's certificate and signs with another's key.
#[derive(Debug)]
pub(super) struct Forged(Arc<CertifiedKey>);

impl Forged {
    pub(super) fn new(shown: &TlsIdentity, signing: &TlsIdentity) -> Self {
        let der = PrivatePkcs8KeyDer::from(signing.key_der().to_vec());
        let key: Arc<dyn TlsSigningKey> =
            rustls::crypto::ring::sign::any_ecdsa_type(&der.into()).unwrap();
        let certificate = CertificateDer::from(shown.certificate_der().to_vec());
        Self(Arc::new(CertifiedKey::new(vec![certificate], key)))
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
