//! Who takes part in a run: identities, the roster, and names.

use ed25519_dalek::SigningKey;
use quorate_model::{
    CoordinatorId, Digest, IdentityKey, KeyName, NodeId, PrincipalId,
    roster::{CoordinatorCard, NodeCard, PinnedRoster, Principal, Role, Roster, SignedRoster},
};
use rand_chacha::ChaCha8Rng;
use rand_core::RngCore as _;

/// The most coordinators of a run.
pub(crate) const COORDINATORS: usize = 2;

/// Everybody of a run.
pub(crate) struct People {
    /// The roster that all of them pinned.
    pub(crate) pinned: PinnedRoster,
    /// The same with its signatures.
    pub(crate) signed: SignedRoster,
    /// The nodes' identity keys, in the order of the roster.
    pub(crate) nodes: Vec<SigningKey>,
    /// The admin's key.
    pub(crate) admin: SigningKey,
    /// The client's key.
    pub(crate) client: SigningKey,
}

fn name<T: std::str::FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| unreachable!("the names of a run are names"))
}

/// A coordinator.
pub(crate) fn coordinator_id(at: usize) -> CoordinatorId {
    name(&format!("coordinator-{at}"))
}

fn signing_key(rng: &mut ChaCha8Rng) -> SigningKey {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    SigningKey::from_bytes(&seed)
}

fn tls(rng: &mut ChaCha8Rng) -> Digest {
    let mut hash = [0; 32];
    rng.fill_bytes(&mut hash);
    Digest::new(hash)
}

impl People {
    /// Draws everybody from a seed.
    pub(crate) fn draw(rng: &mut ChaCha8Rng, count: usize) -> Self {
        let nodes: Vec<SigningKey> = (0..count).map(|_| signing_key(rng)).collect();
        let (admin, client) = (signing_key(rng), signing_key(rng));
        let cards = nodes
            .iter()
            .enumerate()
            .map(|(at, key)| NodeCard {
                id: name(&format!("node-{at}")),
                identity_key: IdentityKey::of(key),
                tls_key_hash: tls(rng),
                region: format!("region-{at}"),
                organisation: format!("organisation-{at}"),
            })
            .collect();
        let mut principal = |id: &str, role, key| Principal {
            id: name(id),
            person: id.to_owned(),
            roles: vec![role],
            identity_key: IdentityKey::of(key),
            tls_key_hash: tls(rng),
        };
        let principals = vec![
            principal("admin", Role::Admin, &admin),
            principal("client", Role::Client, &client),
        ];
        let roster = Roster {
            format: 1,
            version: 1,
            cluster_name: "simulated".to_owned(),
            parents: Vec::new(),
            nodes: cards,
            coordinators: (0..COORDINATORS)
                .map(|at| CoordinatorCard {
                    id: coordinator_id(at),
                    tls_key_hash: tls(rng),
                })
                .collect(),
            principals,
            admin_quorum: 1,
            lifecycle_quorum: 1,
            policy_hash: Digest::ZERO,
            lifecycle_delay_seconds: None,
            drained: [].into(),
            placement: quorate_model::roster::Placement::default(),
        };
        let (signed, pinned) = SignedRoster::unsigned(&roster)
            .and_then(|mut signed| {
                signed.sign(&name("admin"), &admin);
                let pinned = signed.verify_first()?;
                Ok((signed, pinned))
            })
            .unwrap_or_else(|error| unreachable!("the roster of a run holds: {error}"));
        Self {
            pinned,
            signed,
            nodes,
            admin,
            client,
        }
    }

    /// The id of a node.
    pub(crate) fn node_id(&self, at: usize) -> NodeId {
        name(&format!("node-{at}"))
    }

    /// Where a node stands.
    pub(crate) fn node_at(&self, id: &NodeId) -> Option<usize> {
        (0..self.nodes.len()).find(|at| self.node_id(*at) == *id)
    }

    /// The admin.
    pub(crate) fn admin_id(&self) -> PrincipalId {
        name("admin")
    }

    /// The client.
    pub(crate) fn client_id(&self) -> PrincipalId {
        name("client")
    }

    /// The key of the run.
    pub(crate) fn key_name(&self) -> KeyName {
        name("treasury")
    }
}
