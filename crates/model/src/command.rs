//! Commands and endorsements: the one write path (P6, P8).
//!
//! A command is exact bytes. Its digest covers those bytes, and they are parsed only after the
//! endorsements over them hold; the parser lives where the wire form is known (`quorate-proto`).

mod reshare;

pub use reshare::ReshareKey;

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::{
    bytes::Digest,
    destruction::{DestroyKey, DestroyStep},
    evacuation::Evacuate,
    identity::{Signature, sign_digest},
    ids::{ClusterId, CommandId, KeyId, KeyName, NodeId, PrincipalId, UnixMillis},
    key::KeyRecord,
    life::KeyLife,
    payload::Payload,
    quarantine::ReadmitNode,
    refusal::{Reason, Refusal},
    roster::{Role, Roster},
    scheme::{Purposes, Scheme},
    standing::SetKeyState,
    tagged::{Tag, Tagged, digest_of},
};

/// The longest life of a command, 7 days, in milliseconds (P6).
pub const MAX_LIFETIME_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// How far ahead of a node's time a command may be created, in milliseconds (P6).
pub const MAX_CREATED_AHEAD_MS: u64 = 60_000;

/// How long after its expiry a command id is remembered, in milliseconds (P8).
pub const REMEMBER_MARGIN_MS: u64 = 24 * 60 * 60 * 1000;

/// The largest command that is read, in bytes.
pub const MAX_COMMAND_BYTES: usize = 4 << 20;

/// The most endorsements on one command.
pub const MAX_ENDORSEMENTS: usize = 64;

/// What a command asks for, decoded from its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The cluster that the command is for.
    pub cluster: ClusterId,
    /// The roster that the command was made under.
    pub roster: Digest,
    /// The idempotency key.
    pub id: CommandId,
    /// When the command was made.
    pub created: UnixMillis,
    /// When it stops being carried out.
    pub expires: UnixMillis,
    /// What is asked for.
    pub body: CommandBody,
}

/// The body of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandBody {
    /// Create a key.
    CreateKey(CreateKey),
    /// Sign payloads.
    Sign(Sign),
    /// Change the state of a key.
    SetKeyState(SetKeyState),
    /// Deal a key's shares again.
    ReshareKey(ReshareKey),
    /// Destroy a key.
    DestroyKey(DestroyKey),
    /// Change who belongs to the cluster.
    ChangeRoster(ChangeRoster),
    /// Take a restored node back into service.
    ReadmitNode(ReadmitNode),
    /// Sign with a key whose time is over, to where its creation says.
    Evacuate(Evacuate),
}

/// The next roster (P3).
#[derive(Clone, PartialEq, Eq)]
pub struct ChangeRoster {
    /// Its exact text; see [`PinnedRoster::follow`](crate::roster::PinnedRoster::follow).
    pub roster: Vec<u8>,
}

impl std::fmt::Debug for ChangeRoster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ChangeRoster").field(&self.hash()).finish()
    }
}

impl CommandBody {
    /// The role whose word carries the command out, for as long as roles are the only rules.
    pub fn role(&self) -> Role {
        match self {
            Self::CreateKey(_)
            | Self::SetKeyState(_)
            | Self::ReshareKey(_)
            | Self::DestroyKey(_)
            | Self::ChangeRoster(_)
            | Self::ReadmitNode(_)
            | Self::Evacuate(_) => Role::Admin,
            Self::Sign(_) => Role::Client,
        }
    }

    /// How many distinct persons must speak for the command, its proposer among them (P11).
    pub fn persons_needed(&self, roster: &Roster) -> usize {
        match self {
            Self::ReshareKey(_) => usize::from(roster.lifecycle_quorum),
            Self::SetKeyState(set) if !set.change.needs_one() => {
                usize::from(roster.lifecycle_quorum)
            }
            Self::DestroyKey(destroy) => match destroy.step {
                DestroyStep::Announce | DestroyStep::Confirm { .. } => {
                    usize::from(roster.lifecycle_quorum)
                }
                DestroyStep::AtOnce => roster.persons(Role::Admin).len(),
                DestroyStep::Cancel { .. } => 1,
            },
            Self::ChangeRoster(_) | Self::ReadmitNode(_) | Self::Evacuate(_) => {
                usize::from(roster.admin_quorum)
            }
            // Whoever pins a destination has a way to what the key will hold.
            Self::CreateKey(create) if !create.life.evacuation.is_empty() => {
                usize::from(roster.admin_quorum)
            }
            Self::CreateKey(_) | Self::Sign(_) | Self::SetKeyState(_) => 1,
        }
    }

    /// Whether the command stops being carried out at its expiry. Commands about states and rosters do
    /// not, so that a node that was away catches up (P6), nor does the withdrawal of a destruction.
    pub const fn expires(&self) -> bool {
        match self {
            Self::SetKeyState(_) | Self::ChangeRoster(_) => false,
            Self::DestroyKey(destroy) => !destroy.step.needs_one(),
            Self::CreateKey(_)
            | Self::Sign(_)
            | Self::ReshareKey(_)
            | Self::ReadmitNode(_)
            | Self::Evacuate(_) => true,
        }
    }

    /// Whether one admin is enough, and nobody's word against it counts: it stops or keeps.
    pub const fn is_unstoppable(&self) -> bool {
        match self {
            Self::SetKeyState(set) => set.change.needs_one(),
            Self::DestroyKey(destroy) => destroy.step.needs_one(),
            Self::CreateKey(_)
            | Self::Sign(_)
            | Self::ReshareKey(_)
            | Self::ChangeRoster(_)
            | Self::ReadmitNode(_)
            | Self::Evacuate(_) => false,
        }
    }

    /// What is to be signed, of a command that signs.
    pub const fn signs(&self) -> Option<&Sign> {
        match self {
            Self::Sign(sign) => Some(sign),
            Self::Evacuate(evacuate) => Some(&evacuate.sign),
            Self::CreateKey(_)
            | Self::SetKeyState(_)
            | Self::ReshareKey(_)
            | Self::DestroyKey(_)
            | Self::ChangeRoster(_)
            | Self::ReadmitNode(_) => None,
        }
    }

    /// The key that the command is about, if it is about one.
    pub fn key(&self) -> Option<&KeyName> {
        match self {
            Self::CreateKey(create) => Some(&create.key),
            Self::Sign(sign) => Some(&sign.key),
            Self::SetKeyState(set) => Some(&set.key),
            Self::ReshareKey(reshare) => Some(&reshare.key),
            Self::DestroyKey(destroy) => Some(&destroy.key),
            Self::Evacuate(evacuate) => Some(&evacuate.sign.key),
            Self::ChangeRoster(_) | Self::ReadmitNode(_) => None,
        }
    }
}

/// A request for a new key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateKey {
    /// The name of the key.
    pub key: KeyName,
    /// Its scheme.
    pub scheme: Scheme,
    /// How many nodes sign.
    pub threshold: u16,
    /// The nodes that hold shares; the first has index 1.
    pub nodes: Vec<NodeId>,
    /// What the key may sign.
    pub purposes: Purposes,
    /// Accepts a shape that t-1 bad nodes can bring to a halt (n < 2t-1).
    pub accept_fragile: bool,
    /// What is planned for the key.
    pub life: KeyLife,
}

/// A request for signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    /// The name of the key to sign with.
    pub key: KeyName,
    /// The key to sign with.
    pub key_id: KeyId,
    /// What to sign, all or nothing.
    pub payloads: Vec<Payload>,
}

impl Sign {
    /// Checks that a key is the one that the command names, and not another of its name (I4).
    ///
    /// # Errors
    ///
    /// [`Reason::KeyIdMismatch`] when it is another.
    pub fn check_key(&self, held: &KeyRecord) -> Result<(), Refusal> {
        check_key_id(&self.key, self.key_id, held)
    }
}

/// Checks that a key is the one that a command names, and not another of its name (I4).
pub(crate) fn check_key_id(key: &KeyName, asked: KeyId, held: &KeyRecord) -> Result<(), Refusal> {
    let held = held.id();
    if asked == held {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::KeyIdMismatch,
        format!(
            "the command is for key \"{key}\" with id {asked}, the key of this name here has id \
             {held}: compare the ids with whoever created the key"
        ),
    )
    .with("key", key)
    .with("key_id", asked)
    .with("held", held))
}

/// The most holders of one key.
pub const MAX_HOLDERS: usize = 32;

/// Why the shape of a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// One node alone could sign.
    #[error("threshold is {0}, expected at least 2: with 1, a single machine could sign alone")]
    ThresholdTooLow(u16),
    /// More signers than holders.
    #[error("threshold is {threshold} but the key has {nodes} nodes: lower it or name more nodes")]
    ThresholdAboveNodes {
        /// The threshold as asked.
        threshold: u16,
        /// How many nodes were named.
        nodes: usize,
    },
    /// More holders than a key may have.
    #[error("the key has {0} nodes, expected at most {MAX_HOLDERS}")]
    TooManyNodes(usize),
    /// A node stands twice.
    #[error("a node is named twice")]
    RepeatedNode,
    /// t-1 bad nodes can halt the key.
    #[error(
        "{threshold} of {nodes} is fragile: {tolerated} lost or bad nodes stop it for ever, while \
         it claims to resist {resisted} bad ones; use at least {wanted} nodes or accept it with \
         --accept-fragile"
    )]
    Fragile {
        /// The threshold as asked.
        threshold: u16,
        /// How many nodes were named.
        nodes: usize,
        /// How many nodes whose loss stops the key.
        tolerated: usize,
        /// t-1.
        resisted: u16,
        /// 2t-1.
        wanted: usize,
    },
}

impl CreateKey {
    /// Checks the shape: t >= 2, t <= n <= 32, and n >= 2t-1 unless fragility is accepted.
    pub fn check_shape(&self) -> Result<(), ShapeError> {
        check_shape(self.threshold, &self.nodes, self.accept_fragile)
    }

    /// Whether the shape is one that a few lost or bad nodes stop for ever (n < 2t-1), accepted or
    /// not.
    pub fn is_fragile(&self) -> bool {
        let judged = check_shape(self.threshold, &self.nodes, false);
        matches!(judged, Err(ShapeError::Fragile { .. }))
    }

    /// Checks that the key that this one takes the place of, if it does of one, is the one that is
    /// meant, and that what signed with it can sign with this one.
    ///
    /// # Errors
    ///
    /// [`Reason::KeyIdMismatch`], [`Reason::SchemeMismatch`] or [`Reason::PurposeMismatch`].
    pub fn check_replaced(&self, held: &KeyRecord) -> Result<(), Refusal> {
        let Some(before) = &self.life.replaces else {
            return Ok(());
        };
        check_key_id(&before.key, before.key_id, held)?;
        if held.scheme != self.scheme {
            let message = format!(
                "key \"{}\" has scheme {}, and the key that is to take its place has {}: make it \
                 with the same",
                before.key, held.scheme, self.scheme
            );
            return Err(Refusal::new(Reason::SchemeMismatch, message).with("key", &before.key));
        }
        if held.purposes != self.purposes {
            let message = format!(
                "key \"{}\" has other purposes than the key that is to take its place: make it \
                 with the same",
                before.key
            );
            return Err(Refusal::new(Reason::PurposeMismatch, message).with("key", &before.key));
        }
        Ok(())
    }
}

fn check_shape(threshold: u16, holders: &[NodeId], accept_fragile: bool) -> Result<(), ShapeError> {
    let nodes = holders.len();
    let needed = usize::from(threshold);
    if needed < 2 {
        return Err(ShapeError::ThresholdTooLow(threshold));
    }
    if nodes > MAX_HOLDERS {
        return Err(ShapeError::TooManyNodes(nodes));
    }
    if needed > nodes {
        return Err(ShapeError::ThresholdAboveNodes { threshold, nodes });
    }
    if holders.iter().collect::<BTreeSet<_>>().len() != nodes {
        return Err(ShapeError::RepeatedNode);
    }
    let wanted = needed.saturating_mul(2).saturating_sub(1);
    if nodes < wanted && !accept_fragile {
        return Err(ShapeError::Fragile {
            threshold,
            nodes,
            tolerated: nodes.saturating_sub(needed).saturating_add(1),
            resisted: threshold.saturating_sub(1),
            wanted,
        });
    }
    Ok(())
}

/// What a principal says about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EndorsementKind {
    /// Asks for it.
    Propose,
    /// Agrees to it.
    Approve,
    /// Forbids it, for good.
    Reject,
    /// Asks what would come of it. Whoever has such a word carries nothing out by it, and it counts for
    /// nobody: a question that a coordinator keeps is worth nothing to it.
    Ask,
}

impl EndorsementKind {
    /// The name as hashed and as files write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Propose => "propose",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Ask => "ask",
        }
    }

    /// Whether who says it is for the command.
    pub const fn is_for_it(self) -> bool {
        match self {
            Self::Propose | Self::Approve => true,
            Self::Reject | Self::Ask => false,
        }
    }
}

/// One principal's signed word on a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endorsement {
    /// What is said.
    pub kind: EndorsementKind,
    /// Who says it.
    pub principal: PrincipalId,
    /// In which role.
    pub role: Role,
    /// Over [`endorsement_digest`].
    pub signature: Signature,
}

/// The digest of a command's exact bytes (P6).
pub fn command_digest(bytes: &[u8]) -> Digest {
    digest_of(Tag::Command, bytes)
}

/// What an endorsement signs: `H(/endorsement, cluster, command digest, kind, principal, role)`.
pub fn endorsement_digest(
    cluster: &ClusterId,
    command: &Digest,
    kind: EndorsementKind,
    principal: &PrincipalId,
    role: Role,
) -> Digest {
    Tagged::new(Tag::Endorsement)
        .digest(cluster)
        .digest(command)
        .text(kind.as_str())
        .text(principal.as_str())
        .text(role.as_str())
        .finish()
}

/// The exact bytes of a command with what principals say about it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedCommand {
    /// The exact bytes.
    pub bytes: Vec<u8>,
    /// The words of principals over their digest.
    pub endorsements: Vec<Endorsement>,
}

impl std::fmt::Debug for SignedCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedCommand")
            .field("digest", &self.digest())
            .field("bytes", &self.bytes.len())
            .field("endorsements", &self.endorsements.len())
            .finish()
    }
}

/// Why the endorsements of a command do not carry it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndorsementError {
    /// Nobody endorsed, or too many did.
    #[error("the command carries {0} endorsements, expected 1 to {MAX_ENDORSEMENTS}")]
    Count(usize),
    /// The principal is not in the roster.
    #[error("principal \"{0}\" is not in the roster")]
    UnknownPrincipal(PrincipalId),
    /// The principal does not have the role it speaks in.
    #[error("principal \"{principal}\" does not have the role {}", role.as_str())]
    NotItsRole {
        /// Who spoke.
        principal: PrincipalId,
        /// The role it claimed.
        role: Role,
    },
    /// The signature does not hold.
    #[error(
        "endorsement of \"{0}\" does not hold: it was made for other bytes or with another key"
    )]
    BadSignature(PrincipalId),
    /// The same principal speaks twice.
    #[error("principal \"{0}\" endorses twice")]
    Repeated(PrincipalId),
}

impl SignedCommand {
    /// A command with the proposal of one principal.
    pub fn propose(
        bytes: Vec<u8>,
        cluster: &ClusterId,
        principal: &PrincipalId,
        role: Role,
        key: &SigningKey,
    ) -> Self {
        let mut command = Self {
            bytes,
            endorsements: Vec::new(),
        };
        command.endorse(cluster, EndorsementKind::Propose, principal, role, key);
        command
    }

    /// Adds the word of a principal.
    pub fn endorse(
        &mut self,
        cluster: &ClusterId,
        kind: EndorsementKind,
        principal: &PrincipalId,
        role: Role,
        key: &SigningKey,
    ) {
        let digest = endorsement_digest(cluster, &self.digest(), kind, principal, role);
        self.endorsements.push(Endorsement {
            kind,
            principal: principal.clone(),
            role,
            signature: sign_digest(key, &digest),
        });
    }

    /// The digest of the exact bytes.
    pub fn digest(&self) -> Digest {
        command_digest(&self.bytes)
    }

    /// About how many bytes the command takes where it is kept.
    pub fn stored_bytes(&self) -> usize {
        // A name, a role, a kind and a signature.
        const ENDORSEMENT_BYTES: usize = 192;
        let endorsements = self.endorsements.len().saturating_mul(ENDORSEMENT_BYTES);
        self.bytes.len().saturating_add(endorsements)
    }

    /// The hash of the endorsements as they stand, for the audit record (P37).
    pub fn endorsement_set_hash(&self) -> Digest {
        Tagged::new(Tag::EndorsementSet)
            .list(&self.endorsements, |tagged, e| {
                tagged
                    .text(e.kind.as_str())
                    .text(e.principal.as_str())
                    .text(e.role.as_str())
                    .bytes(e.signature.as_bytes())
            })
            .finish()
    }

    /// Checks that every endorsement is of a principal of the roster, in a role that it has, and
    /// holds over these bytes. Says nothing about whether they suffice.
    pub fn verify_endorsements(
        &self,
        cluster: &ClusterId,
        roster: &Roster,
    ) -> Result<(), EndorsementError> {
        if !(1..=MAX_ENDORSEMENTS).contains(&self.endorsements.len()) {
            return Err(EndorsementError::Count(self.endorsements.len()));
        }
        let digest = self.digest();
        let mut seen = BTreeSet::new();
        for endorsement in &self.endorsements {
            let id = &endorsement.principal;
            if !seen.insert(id) {
                return Err(EndorsementError::Repeated(id.clone()));
            }
            let principal = roster
                .principal(id)
                .ok_or_else(|| EndorsementError::UnknownPrincipal(id.clone()))?;
            if !principal.roles.contains(&endorsement.role) {
                return Err(EndorsementError::NotItsRole {
                    principal: id.clone(),
                    role: endorsement.role,
                });
            }
            let expected =
                endorsement_digest(cluster, &digest, endorsement.kind, id, endorsement.role);
            principal
                .identity_key
                .verify(&expected, &endorsement.signature)
                .map_err(|_| EndorsementError::BadSignature(id.clone()))?;
        }
        Ok(())
    }

    /// Whether somebody proposes the command in this role.
    pub fn proposed_in(&self, role: Role) -> bool {
        self.endorsements
            .iter()
            .any(|e| e.kind == EndorsementKind::Propose && e.role == role)
    }

    /// Whether somebody asks in this role what would come of the command.
    pub fn asked_in(&self, role: Role) -> bool {
        self.endorsements
            .iter()
            .any(|e| e.kind == EndorsementKind::Ask && e.role == role)
    }

    /// The distinct persons who propose or approve the command in this role (P6). Only of a command
    /// whose endorsements hold.
    pub fn persons_for<'a>(&self, role: Role, roster: &'a Roster) -> BTreeSet<&'a str> {
        self.endorsements
            .iter()
            .filter(|e| e.kind.is_for_it() && e.role == role)
            .filter_map(|e| roster.principal(&e.principal))
            .map(|principal| principal.person.as_str())
            .collect()
    }

    /// Whether an admin forbids a command with this body, so that it is not carried out. One admin
    /// suspends or keeps a key, so none alone is in the way of that.
    pub fn is_forbidden(&self, body: &CommandBody) -> bool {
        self.rejected() && !body.is_unstoppable()
    }

    /// The admin who proposes the command, if one does.
    pub fn proposing_admin(&self) -> Option<&PrincipalId> {
        self.endorsements
            .iter()
            .find(|e| e.kind == EndorsementKind::Propose && e.role == Role::Admin)
            .map(|e| &e.principal)
    }

    /// Whether an admin speaks against the command.
    pub fn rejected(&self) -> bool {
        self.endorsements
            .iter()
            .any(|e| e.kind == EndorsementKind::Reject && e.role == Role::Admin)
    }
}
