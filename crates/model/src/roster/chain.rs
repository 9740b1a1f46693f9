//! The rosters of a cluster, each made by a command that the admins of the one before endorsed (P3).
//!
//! ```text
//! roster 1 ◄── roster 2 ◄── roster 3 ◄── roster 5      a roster names its parents by hash;
//!                      ◄── roster 3' ◄──┘              a fork is healed by one that names both
//! ```
//!
//! What was signed under an earlier roster stays what it was: certificates, receipts and records are
//! judged by the roster that they name. What is to be done now is judged by the one in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{NodeCard, Principal, Role, Roster, SignedRoster, Successor};
use crate::{
    bytes::Digest,
    command::{
        ChangeRoster, Command, CommandBody, EndorsementError, EndorsementKind, SignedCommand,
        endorsement_digest,
    },
    identity::{IdentityKey, Signature, sign_digest},
    ids::{ClusterId, NodeId},
    refusal::{Reason, Refusal},
    tagged::Tagged,
    tagged::{Tag, digest_of},
};

/// The most rosters of one cluster that are followed, forks among them.
pub const MAX_ROSTERS: usize = 1_024;

/// The most bytes of a command that makes a roster: less than a record of a journal may have.
pub const MAX_SUCCESSOR_BYTES: usize = 768 * 1024;

/// One roster and what vouches for it.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    roster: Roster,
    hash: Digest,
    origin: Origin,
}

#[derive(Debug, PartialEq, Eq)]
enum Origin {
    /// Confirmed out of band.
    First(SignedRoster),
    /// Commanded under its parents.
    Next(SignedCommand),
}

/// The roster in force, with every roster that it follows from. Shape and signatures of all of them
/// were checked: [`SignedRoster`] makes the first, [`PinnedRoster::follow`] the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedRoster {
    /// Parents before children; roster 1 is the first.
    links: Vec<Arc<Link>>,
    /// The one in force.
    head: Arc<Link>,
    cluster: ClusterId,
}

/// What a command about the roster leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The roster is in force from here on.
    InForce(PinnedRoster),
    /// The roster is known from here on, and another one stays in force: both follow the same one,
    /// until a roster that names both as its parents heals the fork.
    Aside(PinnedRoster),
    /// The roster was known before.
    Known,
}

impl PinnedRoster {
    /// A chain of one roster, whose signatures were checked.
    pub(super) fn first(signed: &SignedRoster, roster: Roster) -> Self {
        let origin = SignedRoster {
            successors: Vec::new(),
            ..signed.clone()
        };
        let head = Arc::new(Link {
            roster,
            hash: signed.hash(),
            origin: Origin::First(origin),
        });
        Self {
            links: vec![Arc::clone(&head)],
            cluster: head.hash,
            head,
        }
    }

    /// The roster in force.
    pub fn roster(&self) -> &Roster {
        &self.head.roster
    }

    /// The hash of the exact bytes of the roster in force.
    pub fn hash(&self) -> Digest {
        self.head.hash
    }

    /// The id of the cluster: the hash of roster 1.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// How many rosters are known, those aside among them.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Never: there is roster 1.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The command that made the roster in force; none for roster 1.
    pub fn command(&self) -> Option<&SignedCommand> {
        match &self.head.origin {
            Origin::First(_) => None,
            Origin::Next(signed) => Some(signed),
        }
    }

    /// Whether the roster in force is this one or follows from it.
    pub fn follows(&self, hash: &Digest) -> bool {
        *hash == self.head.hash || self.past().any(|link| link.hash == *hash)
    }

    /// The chain as it was while an earlier roster was in force; none when this one does not follow
    /// from it.
    pub fn at(&self, hash: &Digest) -> Option<Self> {
        let link = match self.past().find(|link| link.hash == *hash) {
            Some(link) => Arc::clone(link),
            None if *hash == self.head.hash => Arc::clone(&self.head),
            None => return None,
        };
        Some(Self {
            head: link,
            ..self.clone()
        })
    }

    /// The card of a node in the roster in force, or in the newest earlier one that lists it: what a
    /// node signed before it was removed still holds.
    pub fn card(&self, id: &NodeId) -> Option<&NodeCard> {
        let earlier = || self.past().find_map(|link| link.roster.node(id));
        self.roster().node(id).or_else(earlier)
    }

    /// The rosters that the one in force follows from, itself the first, parents after children.
    pub fn history(&self) -> impl Iterator<Item = (&Roster, Digest)> {
        std::iter::once(&self.head)
            .chain(self.past())
            .map(|link| (&link.roster, link.hash))
    }

    /// The commands that lead from a roster that somebody else has in force to what is known here, in
    /// the order in which they are followed, those that stand aside last: whoever takes a few at a time
    /// comes to the roster in force. All of them when that roster is not known.
    pub fn since(&self, theirs: &Digest) -> Vec<&SignedCommand> {
        let known = self.at_any(theirs);
        let news = self.links.iter().filter(|link| {
            let known = known.as_ref();
            !known.is_some_and(|known| known.follows(&link.hash))
        });
        let (past, aside): (Vec<_>, Vec<_>) = news.partition(|link| self.follows(&link.hash));
        past.into_iter()
            .chain(aside)
            .filter_map(|link| match &link.origin {
                Origin::First(_) => None,
                Origin::Next(signed) => Some(signed),
            })
            .collect()
    }

    /// Whether a roster is known, in force, earlier or aside.
    pub fn knows(&self, hash: &Digest) -> bool {
        self.links.iter().any(|link| link.hash == *hash)
    }

    /// The whole chain as a file.
    pub fn to_file(&self) -> SignedRoster {
        let mut file = None;
        let mut successors = Vec::new();
        for link in &self.links {
            match &link.origin {
                Origin::First(signed) => file = Some(signed.clone()),
                Origin::Next(signed) => successors.push(Successor(signed.clone())),
            }
        }
        let file = file.unwrap_or_else(|| SignedRoster {
            roster: String::new(),
            signatures: Vec::new(),
            successors: Vec::new(),
        });
        SignedRoster { successors, ..file }
    }

    /// What the roster in force follows from, children before parents.
    fn past(&self) -> impl Iterator<Item = &Arc<Link>> {
        let mut wanted: BTreeSet<Digest> = self.head.roster.parents.iter().copied().collect();
        self.links.iter().rev().filter(move |link| {
            let found = wanted.remove(&link.hash);
            if found {
                wanted.extend(&link.roster.parents);
            }
            found
        })
    }

    /// As [`PinnedRoster::at`], for forks too.
    fn at_any(&self, hash: &Digest) -> Option<Self> {
        let link = self.links.iter().find(|link| link.hash == *hash)?;
        Some(Self {
            head: Arc::clone(link),
            ..self.clone()
        })
    }

    /// Checks that every endorsement of a command is of a principal of some known roster, and holds.
    /// Says nothing about whose word counts.
    ///
    /// # Errors
    ///
    /// When one does not.
    pub fn verify_endorsements(&self, signed: &SignedCommand) -> Result<(), EndorsementError> {
        let mut verified = Err(EndorsementError::Count(0));
        for link in self.links.iter().rev() {
            verified = signed.verify_endorsements(&self.cluster, &link.roster);
            if verified.is_ok() {
                break;
            }
        }
        verified
    }

    /// Takes a command about the roster. `command` is what its bytes decode to. Nothing but the chain
    /// decides: whoever was away for a year follows like one that heard of it at once.
    ///
    /// # Errors
    ///
    /// [`Reason::RosterBehind`] when a parent is not known, and what is wrong with the roster or its
    /// endorsements otherwise.
    pub fn follow(&self, signed: &SignedCommand, command: &Command) -> Result<Followed, Refusal> {
        let CommandBody::ChangeRoster(change) = &command.body else {
            return Err(invalid("the command does not change the roster"));
        };
        if command.cluster != self.cluster {
            return Err(Refusal::new(
                Reason::WrongCluster,
                "the command is for another cluster",
            ));
        }
        let hash = change.hash();
        if self.knows(&hash) {
            return Ok(Followed::Known);
        }
        if signed.stored_bytes() > MAX_SUCCESSOR_BYTES {
            return Err(Refusal::new(
                Reason::TooLarge,
                format!(
                    "the roster with its endorsements has {} bytes, at most {MAX_SUCCESSOR_BYTES} are \
                     followed, so that a journal can record it",
                    signed.stored_bytes()
                ),
            ));
        }
        if self.links.len() >= MAX_ROSTERS {
            return Err(invalid(format!(
                "a cluster has at most {MAX_ROSTERS} rosters"
            )));
        }
        let roster = Roster::parse(&change.roster).map_err(|error| invalid(error.to_string()))?;
        let parents = self.parents_of(&roster)?;
        if !roster.parents.contains(&command.roster) {
            return Err(invalid(
                "the command was made under a roster that is not its parent",
            ));
        }
        check_version(&roster, &parents)?;
        self.check_identities(&roster, &parents)?;
        for parent in &parents {
            check_change(&parent.roster, &roster, parents.len() > 1)?;
        }
        check_endorsed(&self.cluster, signed, &parents)?;
        let in_force = parents.iter().any(|parent| parent.hash == self.head.hash);
        let link = Arc::new(Link {
            roster,
            hash,
            origin: Origin::Next(signed.clone()),
        });
        let mut chain = self.clone();
        chain.links.push(Arc::clone(&link));
        if !in_force {
            return Ok(Followed::Aside(chain));
        }
        chain.head = link;
        Ok(Followed::InForce(chain))
    }

    fn parents_of(&self, roster: &Roster) -> Result<Vec<&Link>, Refusal> {
        let distinct: BTreeSet<&Digest> = roster.parents.iter().collect();
        if !(1..=2).contains(&roster.parents.len()) || distinct.len() != roster.parents.len() {
            return Err(invalid("a roster follows one other, or two that it unites"));
        }
        let known: BTreeMap<Digest, &Link> =
            self.links.iter().map(|link| (link.hash, &**link)).collect();
        let parents: Option<Vec<&Link>> = roster
            .parents
            .iter()
            .map(|hash| known.get(hash).copied())
            .collect();
        parents.ok_or_else(|| {
            Refusal::new(
                Reason::RosterBehind,
                format!(
                    "the roster follows one that is not known here, roster {} is in force: bring \
                     the rosters in between first",
                    self.hash().short()
                ),
            )
        })
    }

    /// An id names one node for ever: what was signed is judged by the card of whoever signed it.
    /// Only what the roster follows from counts, so that everybody judges alike whatever else they know.
    fn check_identities(&self, roster: &Roster, parents: &[&Link]) -> Result<(), Refusal> {
        let before: Vec<Self> = parents
            .iter()
            .filter_map(|parent| self.at_any(&parent.hash))
            .collect();
        let mut by_id: BTreeMap<&NodeId, &NodeCard> = BTreeMap::new();
        let mut keys: BTreeMap<IdentityKey, &str> = BTreeMap::new();
        let mut tls: BTreeMap<Digest, &str> = BTreeMap::new();
        let follows = |link: &&Arc<Link>| before.iter().any(|chain| chain.follows(&link.hash));
        for link in self.links.iter().filter(follows) {
            for node in &link.roster.nodes {
                by_id.insert(&node.id, node);
                keys.insert(node.identity_key, node.id.as_str());
                tls.insert(node.tls_key_hash, node.id.as_str());
            }
            for principal in &link.roster.principals {
                keys.insert(principal.identity_key, principal.id.as_str());
                tls.insert(principal.tls_key_hash, principal.id.as_str());
            }
            for coordinator in &link.roster.coordinators {
                tls.insert(coordinator.tls_key_hash, coordinator.id.as_str());
            }
        }
        for node in &roster.nodes {
            let same = by_id.get(&node.id).is_none_or(|earlier| {
                earlier.identity_key == node.identity_key
                    && earlier.tls_key_hash == node.tls_key_hash
            });
            let own = |owner: Option<&&str>| owner.is_none_or(|owner| *owner == node.id.as_str());
            if !same || !own(keys.get(&node.identity_key)) || !own(tls.get(&node.tls_key_hash)) {
                return Err(invalid(format!(
                    "node \"{}\" has an id or a key that an earlier roster gave to another: make \
                     a node with `quorate-node init` under an id that was never used",
                    node.id
                )));
            }
        }
        Ok(())
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Reason::RosterInvalid, message)
}

fn check_version(roster: &Roster, parents: &[&Link]) -> Result<(), Refusal> {
    let newest = parents.iter().map(|parent| parent.roster.version).max();
    let expected = newest.unwrap_or(0).saturating_add(1);
    if roster.version == expected {
        return Ok(());
    }
    Err(invalid(format!(
        "the roster has version {}, expected {expected}",
        roster.version
    )))
}

/// Checks that a roster changes what one command may change: who the nodes are, and whatever only
/// makes the rules stricter (P11). Where two rosters are united, nothing may be looser than in both.
fn check_change(before: &Roster, after: &Roster, unites: bool) -> Result<(), Refusal> {
    let looser = |what: &str| {
        Err(invalid(format!(
            "{what} may only become stricter: what loosens the rules of a cluster is not done by \
             one command (P11)"
        )))
    };
    if after.cluster_name != before.cluster_name
        || after.policy_hash != before.policy_hash
        || after.coordinators != before.coordinators
    {
        return Err(invalid(
            "the name of the cluster, its coordinators and its policy do not change with its nodes",
        ));
    }
    let kept = |principal: &Principal| before.principals.contains(principal);
    if !after.principals.iter().all(kept) {
        return Err(invalid(
            "principals are only removed: nobody is added and nobody's key or role changes (P11)",
        ));
    }
    if after.admin_quorum < before.admin_quorum {
        return looser("the admin quorum");
    }
    if after.lifecycle_quorum < before.lifecycle_quorum {
        return looser("the lifecycle quorum");
    }
    if after.lifecycle_delay_ms() < before.lifecycle_delay_ms() {
        return looser("the delay of announcements");
    }
    if !after.placement.is_as_strict_as(&before.placement) {
        return looser("the placement rules");
    }
    let mut same = after.clone();
    same.version = before.version;
    same.parents.clone_from(&before.parents);
    if same == *before && !unites {
        return Err(invalid("the roster changes nothing"));
    }
    Ok(())
}

/// Checks that every endorsement holds, that nobody forbids the command, and that the admins of each
/// parent carry it with their quorum.
fn check_endorsed(
    cluster: &ClusterId,
    signed: &SignedCommand,
    parents: &[&Link],
) -> Result<(), Refusal> {
    let digest = signed.digest();
    let mut seen = BTreeSet::new();
    for endorsement in &signed.endorsements {
        let id = &endorsement.principal;
        let principal = parents
            .iter()
            .find_map(|parent| parent.roster.principal(id))
            .ok_or_else(|| {
                Refusal::new(
                    Reason::PrincipalUnknown,
                    format!("principal \"{id}\" is not in the roster"),
                )
            })?;
        let expected = endorsement_digest(cluster, &digest, endorsement.kind, id, endorsement.role);
        let holds = principal.roles.contains(&endorsement.role)
            && seen.insert(id)
            && principal
                .identity_key
                .verify(&expected, &endorsement.signature)
                .is_ok();
        if !holds {
            return Err(Refusal::new(
                Reason::EndorsementInvalid,
                format!("the endorsement of principal \"{id}\" does not hold"),
            ));
        }
        if endorsement.kind == EndorsementKind::Reject {
            return Err(Refusal::new(
                Reason::CommandRejected,
                format!("principal \"{id}\" rejects the roster"),
            ));
        }
    }
    for parent in parents {
        let persons = signed.persons_for(Role::Admin, &parent.roster).len();
        let needed = usize::from(parent.roster.admin_quorum);
        if persons < needed {
            return Err(Refusal::new(
                Reason::EndorsementsMissing,
                format!(
                    "{persons} of {needed} persons with the role admin speak for the roster: have \
                     another one approve it"
                ),
            )
            .with("persons", persons)
            .with("needed", needed));
        }
    }
    Ok(())
}

impl ChangeRoster {
    /// The hash that names the roster.
    pub fn hash(&self) -> Digest {
        digest_of(Tag::Roster, &self.roster)
    }
}

/// A node's signed word that it acts by a roster (P41).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterReceipt {
    /// The node.
    pub node: NodeId,
    /// The hash of the roster that was asked for.
    pub roster: Digest,
    /// The hash of the roster that is in force at this node: that one, or one that follows from it.
    pub in_force: Digest,
    /// The digest of the command that was asked for.
    pub command: Digest,
    /// The journal sequence of the record of the roster.
    pub record: u64,
    /// Over all of it.
    pub signature: Signature,
}

impl RosterReceipt {
    /// What the node signs.
    pub fn digest(&self) -> Digest {
        Tagged::new(Tag::Receipt)
            .text("roster")
            .text(self.node.as_str())
            .digest(&self.roster)
            .digest(&self.in_force)
            .digest(&self.command)
            .number(self.record)
            .finish()
    }

    /// Signs the receipt.
    #[must_use]
    pub fn sign(mut self, key: &ed25519_dalek::SigningKey) -> Self {
        self.signature = sign_digest(key, &self.digest());
        self
    }

    /// Checks that the receipt is this node's and answers a command for this roster. Its command may
    /// carry other endorsements than the one that was sent.
    ///
    /// # Errors
    ///
    /// [`Reason::ProtocolViolation`] when it is not.
    pub fn verify(&self, card: &NodeCard, roster: &Digest) -> Result<(), Refusal> {
        let signed = card
            .identity_key
            .verify(&self.digest(), &self.signature)
            .is_ok();
        if signed && self.node == card.id && self.roster == *roster {
            return Ok(());
        }
        let message = format!("the receipt of node {} is not one for this roster", card.id);
        Err(Refusal::new(Reason::ProtocolViolation, message).with("node", &card.id))
    }
}

#[cfg(test)]
mod tests;
