//! Who takes part in a run: identities, the roster, and names.

use ed25519_dalek::SigningKey;
use quorate_model::{
    CoordinatorId, Digest, IdentityKey, KeyName, NodeId, PrincipalId,
    roster::{CoordinatorCard, NodeCard, PinnedRoster, Principal, Role, Roster, SignedRoster},
};
use rand_chacha::ChaCha8Rng;
use rand_core::RngCore as _;

use crate::workload::Speaker;

/// The most coordinators of a run.
pub(crate) const COORDINATORS: usize = 2;

/// How many admins there are. Two of them carry what takes a quorum.
pub(crate) const ADMINS: usize = 3;

/// The delay between announcement and confirmation, in milliseconds.
pub(crate) const DELAY_MS: u64 = 1_000;

/// Everybody of a run.
pub(crate) struct People {
    /// The roster that all of them pinned.
    pub(crate) first: PinnedRoster,
    /// The roster that the admins made last, with those before it.
    pub(crate) pinned: PinnedRoster,
    /// The nodes' identity keys, in the order of the roster, and those of nodes that come later.
    pub(crate) nodes: Vec<SigningKey>,
    /// The cards of nodes that come later.
    pub(crate) newcomers: Vec<NodeCard>,
    /// The admins' keys.
    admins: Vec<SigningKey>,
    /// The client's key.
    client: SigningKey,
}

fn name<T: std::str::FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| unreachable!("the names of a run are names"))
}

/// A coordinator.
pub(crate) fn coordinator_id(at: usize) -> CoordinatorId {
    name(&format!("coordinator-{at}"))
}

fn admin_id(at: usize) -> PrincipalId {
    name(&format!("admin-{at}"))
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
    pub(crate) fn draw(rng: &mut ChaCha8Rng, count: usize, later: usize) -> Self {
        let nodes: Vec<SigningKey> = (0..count + later).map(|_| signing_key(rng)).collect();
        let admins: Vec<SigningKey> = (0..ADMINS).map(|_| signing_key(rng)).collect();
        let client = signing_key(rng);
        let mut cards: Vec<NodeCard> = nodes
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
        let newcomers = cards.split_off(count);
        let mut principal = |id: &str, role, key| Principal {
            id: name(id),
            person: id.to_owned(),
            roles: vec![role],
            identity_key: IdentityKey::of(key),
            tls_key_hash: tls(rng),
        };
        let mut principals = vec![principal("client", Role::Client, &client)];
        for (at, key) in admins.iter().enumerate() {
            principals.push(principal(admin_id(at).as_str(), Role::Admin, key));
        }
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
            admin_quorum: 2,
            lifecycle_quorum: 2,
            policy_hash: Digest::ZERO,
            lifecycle_delay_seconds: u32::try_from(DELAY_MS / 1_000).ok(),
            drained: [].into(),
            placement: quorate_model::roster::Placement::default(),
        };
        let pinned = SignedRoster::unsigned(&roster)
            .and_then(|mut signed| {
                for (at, key) in admins.iter().enumerate() {
                    signed.sign(&admin_id(at), key);
                }
                signed.verify_first()
            })
            .unwrap_or_else(|error| unreachable!("the roster of a run holds: {error}"));
        Self {
            first: pinned.clone(),
            pinned,
            nodes,
            newcomers,
            admins,
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

    /// As many admins as carry everything that takes a quorum.
    pub(crate) fn quorum(&self) -> Speaker<'_> {
        self.admins(2)
    }

    /// So many admins.
    pub(crate) fn admins(&self, count: usize) -> Speaker<'_> {
        let ids = (0..count).map(admin_id);
        self.speaker(Role::Admin, ids.zip(&self.admins).collect())
    }

    /// The client.
    pub(crate) fn client(&self) -> Speaker<'_> {
        self.speaker(Role::Client, vec![(name("client"), &self.client)])
    }

    fn speaker<'a>(
        &'a self,
        role: Role,
        speakers: Vec<(PrincipalId, &'a SigningKey)>,
    ) -> Speaker<'a> {
        Speaker {
            pinned: &self.pinned,
            role,
            speakers,
        }
    }

    /// The key of the run that is retired and destroyed.
    pub(crate) fn old_name(&self) -> KeyName {
        name("old")
    }

    /// The key of the run.
    pub(crate) fn key_name(&self) -> KeyName {
        name("treasury")
    }
}
