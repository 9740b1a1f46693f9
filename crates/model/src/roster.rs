//! The roster: who belongs to the cluster (P3).
//!
//! A roster is JSON text, and its exact bytes are what is hashed and signed, so that a person can
//! read what they sign and no second encoding exists. Rosters are chained by hash; the hash of the
//! first one is the id of the cluster.

mod chain;
mod placement;

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::{
    bytes::Digest,
    command::SignedCommand,
    identity::{IdentityKey, Signature, sign_digest},
    ids::{CoordinatorId, NodeId, PrincipalId},
    tagged::{Tag, digest_of},
    wire,
};

pub use chain::{Followed, MAX_ROSTERS, MAX_SUCCESSOR_BYTES, PinnedRoster, RosterReceipt};
pub use placement::Placement;

/// The largest roster that is read, in bytes.
pub const MAX_ROSTER_BYTES: usize = 1 << 20;

/// The most nodes that a roster lists.
pub const MAX_NODES: usize = 255;

/// What a node shows to those who make the roster: the public half of its identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeCard {
    /// The id of the node.
    pub id: NodeId,
    /// The key that signs everything the node says.
    pub identity_key: IdentityKey,
    /// SHA-256 of the public key (SPKI) of the node's TLS certificate.
    pub tls_key_hash: Digest,
    /// Where the node runs; placement rules count by it.
    pub region: String,
    /// Who runs the node; placement rules count by it.
    pub organisation: String,
}

/// What a coordinator shows to those who make the roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorCard {
    /// The id of the coordinator.
    pub id: CoordinatorId,
    /// SHA-256 of the public key (SPKI) of the coordinator's TLS certificate.
    pub tls_key_hash: Digest,
}

/// What a principal may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Role {
    /// Creates keys and changes the cluster.
    Admin,
    /// Asks for signatures.
    Client,
}

impl Role {
    /// The name as files and the command line write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Client => "client",
        }
    }
}

/// One key of one person or service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// The id of the principal.
    pub id: PrincipalId,
    /// The person or service behind the key; quorums count distinct persons (P6).
    pub person: String,
    /// What the principal may do.
    pub roles: Vec<Role>,
    /// The key that signs its endorsements.
    pub identity_key: IdentityKey,
    /// SHA-256 of the public key (SPKI) of the principal's TLS certificate.
    pub tls_key_hash: Digest,
}

/// Who belongs to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// The form of this file; 1.
    pub format: u32,
    /// 1 for the first roster, then one more each.
    pub version: u32,
    /// A name for people.
    pub cluster_name: String,
    /// The hashes of the rosters that this one follows; none for the first.
    pub parents: Vec<Digest>,
    /// The machines that hold shares.
    pub nodes: Vec<NodeCard>,
    /// The machines that relay.
    pub coordinators: Vec<CoordinatorCard>,
    /// Those whose word counts.
    pub principals: Vec<Principal>,
    /// How many distinct admins endorse a change of the roster; a strict majority of them.
    pub admin_quorum: u16,
    /// How many distinct persons endorse a change in the life of a key (P11).
    pub lifecycle_quorum: u16,
    /// The hash of the policy bundle; all zero while the cluster has role rules only.
    pub policy_hash: Digest,
    /// How many seconds each node waits, from when it heard an announcement, before it takes the
    /// confirmation (P11); 7 days where the roster does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_delay_seconds: Option<u32>,
    /// Nodes that receive no further share: they are to be emptied. What they hold they sign with.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub drained: BTreeSet<NodeId>,
    /// Which committees may hold a key.
    #[serde(default, skip_serializing_if = "Placement::is_empty")]
    pub placement: Placement,
}

/// The delay between announcement and confirmation where the roster does not say: 7 days, in
/// seconds.
pub const DEFAULT_LIFECYCLE_DELAY_SECONDS: u32 = 7 * 24 * 60 * 60;

/// The longest delay that a roster may ask for: 90 days, in seconds.
pub const MAX_LIFECYCLE_DELAY_SECONDS: u32 = 90 * 24 * 60 * 60;

/// Why a roster is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RosterError {
    /// The text is no roster.
    #[error("roster is not readable: {0}")]
    Unreadable(String),
    /// The roster is larger than any real one.
    #[error("roster has {0} bytes, at most {MAX_ROSTER_BYTES} are read")]
    TooLarge(usize),
    /// A form that this version does not know.
    #[error("roster has format {0}, this version reads format 1")]
    UnknownFormat(u32),
    /// A first roster that names parents, or a later one that does not.
    #[error("roster {0} is not the first of its chain")]
    NotFirst(u32),
    /// A key, credential or id stands twice.
    #[error("{what} \"{which}\" stands more than once in the roster")]
    Repeated {
        /// What kind of thing repeats.
        what: &'static str,
        /// Which one.
        which: String,
    },
    /// An identity key that no signature can be trusted under.
    #[error("identity key of \"{0}\" is not a usable Ed25519 key")]
    WeakKey(String),
    /// A list that is too short or too long.
    #[error("roster lists {found} {what}, expected {expected}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        expected: &'static str,
    },
    /// The admin quorum is not a strict majority of the admins.
    #[error(
        "admin quorum is {quorum} of {admins} admins, expected a strict majority and at most all"
    )]
    AdminQuorum {
        /// The quorum as written.
        quorum: u16,
        /// How many distinct admins there are.
        admins: usize,
    },
    /// The lifecycle quorum cannot be met or is zero.
    #[error("lifecycle quorum is {quorum}, expected 1 to {persons} persons")]
    LifecycleQuorum {
        /// The quorum as written.
        quorum: u16,
        /// How many distinct admins there are.
        persons: usize,
    },
    /// A delay that nobody would live to see the end of.
    #[error(
        "lifecycle delay is {0} seconds, expected at most {MAX_LIFECYCLE_DELAY_SECONDS} (90 days)"
    )]
    LifecycleDelay(u32),
    /// A drained node that is not listed.
    #[error("drained node \"{0}\" is not in the roster")]
    Drained(NodeId),
    /// A signature by somebody who is no admin, or that does not hold.
    #[error("signature of \"{0}\" does not hold or is not an admin's")]
    BadSignature(PrincipalId),
    /// Too few admins signed.
    #[error("roster is signed by {found} admins, expected {expected}")]
    Unsigned {
        /// How many distinct admins signed.
        found: usize,
        /// How many must sign.
        expected: usize,
    },
    /// The roster is another one than the one that was confirmed out of band.
    #[error("roster has hash {found}, expected the pinned {expected}")]
    NotPinned {
        /// The hash of what was given.
        found: Digest,
        /// The hash that was confirmed.
        expected: Digest,
    },
}

impl Roster {
    /// Reads a roster from its exact bytes and checks its shape, without signatures.
    pub fn parse(bytes: &[u8]) -> Result<Self, RosterError> {
        if bytes.len() > MAX_ROSTER_BYTES {
            return Err(RosterError::TooLarge(bytes.len()));
        }
        let roster: Self = serde_json::from_slice(bytes)
            .map_err(|error| RosterError::Unreadable(error.to_string()))?;
        roster.check()?;
        Ok(roster)
    }

    /// The text that is signed: JSON, indented for people.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RosterError> {
        self.check()?;
        serde_json::to_vec_pretty(self).map_err(|error| RosterError::Unreadable(error.to_string()))
    }

    /// The node with this id.
    pub fn node(&self, id: &NodeId) -> Option<&NodeCard> {
        self.nodes.iter().find(|node| node.id == *id)
    }

    /// The coordinator with this id.
    pub fn coordinator(&self, id: &CoordinatorId) -> Option<&CoordinatorCard> {
        self.coordinators.iter().find(|card| card.id == *id)
    }

    /// The principal with this id.
    pub fn principal(&self, id: &PrincipalId) -> Option<&Principal> {
        self.principals.iter().find(|principal| principal.id == *id)
    }

    /// The distinct persons with a role.
    pub fn persons(&self, role: Role) -> BTreeSet<&str> {
        self.principals
            .iter()
            .filter(|principal| principal.roles.contains(&role))
            .map(|principal| principal.person.as_str())
            .collect()
    }

    fn check(&self) -> Result<(), RosterError> {
        if self.format != 1 {
            return Err(RosterError::UnknownFormat(self.format));
        }
        let count = |what, found, expected, good| {
            if good {
                Ok(())
            } else {
                Err(RosterError::Count {
                    what,
                    found,
                    expected,
                })
            }
        };
        let nodes = self.nodes.len();
        count("nodes", nodes, "2 to 255", (2..=MAX_NODES).contains(&nodes))?;
        let coordinators = self.coordinators.len();
        count(
            "coordinators",
            coordinators,
            "1 to 64",
            (1..=64).contains(&coordinators),
        )?;
        let principals = self.principals.len();
        count(
            "principals",
            principals,
            "1 to 4096",
            (1..=4096).contains(&principals),
        )?;
        self.check_distinct()?;
        self.check_quorums()
    }

    fn check_distinct(&self) -> Result<(), RosterError> {
        let mut seen = Distinct::default();
        for node in &self.nodes {
            seen.id("node", node.id.as_str())?;
            seen.key(node.id.as_str(), &node.identity_key)?;
            seen.tls(&node.tls_key_hash)?;
        }
        for coordinator in &self.coordinators {
            seen.id("coordinator", coordinator.id.as_str())?;
            seen.tls(&coordinator.tls_key_hash)?;
        }
        for principal in &self.principals {
            seen.id("principal", principal.id.as_str())?;
            seen.key(principal.id.as_str(), &principal.identity_key)?;
            seen.tls(&principal.tls_key_hash)?;
            let roles: BTreeSet<_> = principal.roles.iter().collect();
            if roles.len() != principal.roles.len() || roles.is_empty() {
                return Err(RosterError::Repeated {
                    what: "role of principal",
                    which: principal.id.to_string(),
                });
            }
        }
        Ok(())
    }

    fn check_quorums(&self) -> Result<(), RosterError> {
        let admins = self.persons(Role::Admin).len();
        let quorum = usize::from(self.admin_quorum);
        if quorum > admins || quorum.saturating_mul(2) <= admins {
            return Err(RosterError::AdminQuorum {
                quorum: self.admin_quorum,
                admins,
            });
        }
        let lifecycle = usize::from(self.lifecycle_quorum);
        if lifecycle == 0 || lifecycle > admins {
            return Err(RosterError::LifecycleQuorum {
                quorum: self.lifecycle_quorum,
                persons: admins,
            });
        }
        if let Some(stranger) = self.drained.iter().find(|id| self.node(id).is_none()) {
            return Err(RosterError::Drained(stranger.clone()));
        }
        match self.lifecycle_delay_seconds {
            Some(delay) if delay > MAX_LIFECYCLE_DELAY_SECONDS => {
                Err(RosterError::LifecycleDelay(delay))
            }
            _ => Ok(()),
        }
    }

    /// How long each node waits between announcement and confirmation, in milliseconds (P11).
    pub fn lifecycle_delay_ms(&self) -> u64 {
        let seconds = self
            .lifecycle_delay_seconds
            .unwrap_or(DEFAULT_LIFECYCLE_DELAY_SECONDS);
        u64::from(seconds).saturating_mul(1_000)
    }
}

/// Refuses a repeated id, identity key or TLS key anywhere in a roster.
#[derive(Default)]
struct Distinct<'a> {
    ids: BTreeSet<(&'static str, &'a str)>,
    keys: BTreeSet<IdentityKey>,
    tls: BTreeSet<Digest>,
}

impl<'a> Distinct<'a> {
    fn id(&mut self, what: &'static str, id: &'a str) -> Result<(), RosterError> {
        if self.ids.insert((what, id)) {
            return Ok(());
        }
        Err(RosterError::Repeated {
            what,
            which: id.to_owned(),
        })
    }

    fn key(&mut self, owner: &str, key: &IdentityKey) -> Result<(), RosterError> {
        if key.parse().is_err() {
            return Err(RosterError::WeakKey(owner.to_owned()));
        }
        if self.keys.insert(*key) {
            return Ok(());
        }
        Err(RosterError::Repeated {
            what: "identity key",
            which: key.to_string(),
        })
    }

    fn tls(&mut self, hash: &Digest) -> Result<(), RosterError> {
        if self.tls.insert(*hash) {
            return Ok(());
        }
        Err(RosterError::Repeated {
            what: "TLS key",
            which: hash.to_string(),
        })
    }
}

/// The signature of one admin on a roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterSignature {
    /// Who signed.
    pub principal: PrincipalId,
    /// Over the roster's hash.
    pub signature: Signature,
}

/// A roster's exact text with the signatures of admins, and the commands that changed it since: the
/// file that the ceremony hands around.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedRoster {
    /// The exact text of the roster.
    pub roster: String,
    /// Signatures over the hash of the text.
    pub signatures: Vec<RosterSignature>,
    /// The commands that made the rosters after it, each after those it follows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub successors: Vec<Successor>,
}

/// A command that changed the roster, as a file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successor(pub SignedCommand);

impl Serialize for Successor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = wire::encode(&self.0).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&hex::encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Successor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = hex::decode(text).map_err(serde::de::Error::custom)?;
        let signed = wire::decode(&bytes).map_err(serde::de::Error::custom)?;
        Ok(Self(signed))
    }
}

impl SignedRoster {
    /// A roster that nobody has signed yet.
    pub fn unsigned(roster: &Roster) -> Result<Self, RosterError> {
        let text = String::from_utf8(roster.to_bytes()?)
            .map_err(|error| RosterError::Unreadable(error.to_string()))?;
        Ok(Self {
            roster: text,
            signatures: Vec::new(),
            successors: Vec::new(),
        })
    }

    /// The hash of the roster's exact text: what admins sign and what hosts confirm out of band.
    pub fn hash(&self) -> Digest {
        digest_of(Tag::Roster, self.roster.as_bytes())
    }

    /// Adds the signature of an admin, replacing an earlier one of the same principal.
    pub fn sign(&mut self, principal: &PrincipalId, key: &SigningKey) {
        let signature = sign_digest(key, &self.hash());
        self.signatures
            .retain(|signed| signed.principal != *principal);
        self.signatures.push(RosterSignature {
            principal: principal.clone(),
            signature,
        });
    }

    /// Checks a first roster: no parents, and signed by **every** admin it lists, because no
    /// earlier roster vouches for it. Those after it are commands, and followed where commands are
    /// read.
    pub fn verify_first(&self) -> Result<PinnedRoster, RosterError> {
        let roster = Roster::parse(self.roster.as_bytes())?;
        if roster.version != 1 || !roster.parents.is_empty() {
            return Err(RosterError::NotFirst(roster.version));
        }
        let hash = self.hash();
        let mut signed = BTreeSet::new();
        for entry in &self.signatures {
            let refused = || RosterError::BadSignature(entry.principal.clone());
            let principal = roster.principal(&entry.principal).ok_or_else(refused)?;
            if !principal.roles.contains(&Role::Admin) {
                return Err(refused());
            }
            principal
                .identity_key
                .verify(&hash, &entry.signature)
                .map_err(|_| refused())?;
            signed.insert(&entry.principal);
        }
        let expected = roster
            .principals
            .iter()
            .filter(|p| p.roles.contains(&Role::Admin))
            .count();
        if signed.len() != expected {
            return Err(RosterError::Unsigned {
                found: signed.len(),
                expected,
            });
        }
        Ok(PinnedRoster::first(self, roster))
    }

    /// Checks a first roster that must be the one confirmed out of band.
    pub fn verify_pinned(&self, expected: &Digest) -> Result<PinnedRoster, RosterError> {
        let found = self.hash();
        if found != *expected {
            return Err(RosterError::NotPinned {
                found,
                expected: *expected,
            });
        }
        self.verify_first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::CommandBody,
        destruction::{DestroyKey, DestroyStep},
        ids::KeyId,
    };

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn roster() -> Roster {
        let node = |id: &str, seed: u8| NodeCard {
            id: id.parse().unwrap(),
            identity_key: IdentityKey::of(&key(seed)),
            tls_key_hash: Digest::new([seed; 32]),
            region: format!("region-{seed}"),
            organisation: "org".to_owned(),
        };
        let principal = |id: &str, seed: u8, role| Principal {
            id: id.parse().unwrap(),
            person: id.to_owned(),
            roles: vec![role],
            identity_key: IdentityKey::of(&key(seed)),
            tls_key_hash: Digest::new([seed; 32]),
        };
        Roster {
            format: 1,
            version: 1,
            cluster_name: "test".to_owned(),
            parents: vec![],
            nodes: vec![node("node-a", 1), node("node-b", 2), node("node-c", 3)],
            coordinators: vec![CoordinatorCard {
                id: "coordinator-1".parse().unwrap(),
                tls_key_hash: Digest::new([9; 32]),
            }],
            principals: vec![
                principal("ada", 11, Role::Admin),
                principal("wallet", 12, Role::Client),
            ],
            admin_quorum: 1,
            lifecycle_quorum: 1,
            policy_hash: Digest::ZERO,
            lifecycle_delay_seconds: None,
            drained: BTreeSet::new(),
            placement: Placement::default(),
        }
    }

    fn signed(roster: &Roster) -> SignedRoster {
        let mut signed = SignedRoster::unsigned(roster).unwrap();
        signed.sign(&"ada".parse().unwrap(), &key(11));
        signed
    }

    #[test]
    fn a_first_roster_signed_by_every_admin_is_accepted_under_its_own_hash() {
        let signed = signed(&roster());

        let pinned = signed.verify_pinned(&signed.hash()).unwrap();

        assert_eq!(pinned.roster(), &roster());
        assert_eq!(pinned.cluster(), signed.hash());
    }

    #[test]
    fn a_key_is_destroyed_at_once_by_every_admin_and_else_by_the_lifecycle_quorum() {
        let admin = |id: &str, person: &str, seed: u8| Principal {
            id: id.parse().unwrap(),
            person: person.to_owned(),
            roles: vec![Role::Admin],
            identity_key: IdentityKey::of(&key(seed)),
            tls_key_hash: Digest::new([seed; 32]),
        };
        let mut roster = roster();
        roster.principals.extend([
            admin("bob", "bob", 13),
            // Two keys of one person.
            admin("bob-phone", "bob", 14),
            admin("eve", "eve", 15),
        ]);
        roster.lifecycle_quorum = 2;
        let announcement = Digest::ZERO;
        for (step, expected) in [
            (DestroyStep::Announce, 2),
            (DestroyStep::Confirm { announcement }, 2),
            (DestroyStep::Cancel { announcement }, 1),
            (DestroyStep::AtOnce, 3),
        ] {
            let body = CommandBody::DestroyKey(DestroyKey {
                key: "vault".parse().unwrap(),
                key_id: KeyId([0; 32]),
                step,
                reason: "over".to_owned(),
            });
            assert_eq!(body.persons_needed(&roster), expected, "{step:?}");
        }
    }

    #[test]
    fn another_roster_than_the_pinned_one_is_refused() {
        let other = Roster {
            cluster_name: "other".to_owned(),
            ..roster()
        };

        let error = signed(&other)
            .verify_pinned(&signed(&roster()).hash())
            .unwrap_err();

        assert!(matches!(error, RosterError::NotPinned { .. }));
    }

    #[test]
    fn a_changed_byte_takes_the_signatures_away() {
        let mut signed = signed(&roster());
        signed.roster = signed.roster.replace("\"test\"", "\"tset\"");

        assert!(matches!(
            signed.verify_first(),
            Err(RosterError::BadSignature(_))
        ));
    }

    #[test]
    fn a_roster_without_every_admin_or_with_a_client_as_signer_is_refused() {
        let unsigned = SignedRoster::unsigned(&roster()).unwrap();
        let mut by_client = signed(&roster());
        by_client.sign(&"wallet".parse().unwrap(), &key(12));

        assert!(matches!(
            unsigned.verify_first(),
            Err(RosterError::Unsigned {
                found: 0,
                expected: 1
            })
        ));
        assert!(matches!(
            by_client.verify_first(),
            Err(RosterError::BadSignature(_))
        ));
    }

    #[test]
    fn a_repeated_key_or_id_is_refused_wherever_it_stands() {
        let check = |change: fn(&mut Roster), what: &str| {
            let mut roster = roster();
            change(&mut roster);
            match roster.to_bytes() {
                Err(RosterError::Repeated { what: found, .. }) => assert_eq!(found, what),
                other => panic!("{what}: {other:?}"),
            }
        };
        check(|r| r.nodes[1].id = r.nodes[0].id.clone(), "node");
        check(
            |r| r.nodes[1].identity_key = r.nodes[0].identity_key,
            "identity key",
        );
        check(
            |r| r.principals[0].identity_key = r.nodes[0].identity_key,
            "identity key",
        );
        check(
            |r| r.coordinators[0].tls_key_hash = r.nodes[2].tls_key_hash,
            "TLS key",
        );
        check(
            |r| r.principals[0].roles.push(Role::Admin),
            "role of principal",
        );
    }

    #[test]
    fn quorums_that_cannot_hold_are_refused() {
        let quorum = |admin, lifecycle| {
            Roster {
                admin_quorum: admin,
                lifecycle_quorum: lifecycle,
                ..roster()
            }
            .to_bytes()
        };

        assert!(matches!(quorum(0, 1), Err(RosterError::AdminQuorum { .. })));
        assert!(matches!(quorum(2, 1), Err(RosterError::AdminQuorum { .. })));
        assert!(matches!(
            quorum(1, 0),
            Err(RosterError::LifecycleQuorum { .. })
        ));
        assert!(matches!(
            quorum(1, 2),
            Err(RosterError::LifecycleQuorum { .. })
        ));
    }

    #[test]
    fn garbage_and_unknown_fields_are_refused() {
        assert!(matches!(
            Roster::parse(b"{"),
            Err(RosterError::Unreadable(_))
        ));
        let text = String::from_utf8(roster().to_bytes().unwrap()).unwrap();
        let extra = text.replacen('{', "{\"surprise\": 1,", 1);
        assert!(matches!(
            Roster::parse(extra.as_bytes()),
            Err(RosterError::Unreadable(_))
        ));
    }
}
