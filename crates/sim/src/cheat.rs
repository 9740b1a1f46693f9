//! A node that cheats on purpose, and a relay that helps it.
//!
//! The cheat has all that a corrupt host has: its identity key, its own process, and a coordinator
//! that shows each node what the cheat wants it to see. It cheats a bounded number of times, so
//! that what honest nodes promise afterwards can be checked.

mod puppets;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use ed25519_dalek::SigningKey;
use quorate_model::{
    Digest, NodeId, Reason, Refusal,
    command::CommandBody,
    node_api::{CeremonyReply, NodeReply, NodeRequest, SignedItem, SigningReply},
};
use quorate_node::core::{MakeShares, TrueShares};
use quorate_protocol::{
    ceremony::round,
    ecdsa::{engine::Engine, signing, stand_in::Spoiling},
    envelope::{Envelope, ProtocolId},
    frost::{NoncePair, ShareBytes, SignError, SigningKeyShare, SigningSet, Tweak},
};

use crate::{machine::Machine, people::People};
use puppets::Puppets;

/// What the cheat does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// Signature shares that are off by one bit (P25).
    FalseShares,
    /// A package that does not open its commitment (P18).
    FalseReveal,
    /// An echo of what was never said (P15).
    FalseEcho,
    /// A share of the key that does not open, for one recipient (P21).
    FalseSubShare,
    /// Two packages, for two audiences (P15).
    SplitView,
    /// A PREPARED about another key (P19).
    FalsePrepared,
    /// A message of ECDSA that fails the consistency check of its recipient, which bans the cheat.
    FailedCheck,
    /// A last message of ECDSA from which no signature comes, so that nobody can be named.
    SpoiltSignature,
    /// A finished signature that is held back, and told in place of that of a later session, so
    /// that it looks as if another signer had signed something else.
    StaleSignature,
}

impl Trick {
    /// Every trick.
    pub const ALL: [Self; 9] = [
        Self::FalseShares,
        Self::FalseReveal,
        Self::FalseEcho,
        Self::FalseSubShare,
        Self::SplitView,
        Self::FalsePrepared,
        Self::FailedCheck,
        Self::SpoiltSignature,
        Self::StaleSignature,
    ];

    /// Whether only signatures in rounds can be spoilt so.
    pub(crate) fn is_of_ecdsa(self) -> bool {
        self.spoils_from().is_some() || self == Self::StaleSignature
    }
}

impl Trick {
    /// The round of a signature whose messages the cheat's own process spoils.
    fn spoils_from(self) -> Option<u8> {
        match self {
            Self::FailedCheck => Some(signing::round::MULTIPLY),
            Self::SpoiltSignature => Some(signing::round::COMBINE),
            Self::FalseShares
            | Self::FalseReveal
            | Self::FalseEcho
            | Self::FalseSubShare
            | Self::SplitView
            | Self::FalsePrepared
            | Self::StaleSignature => None,
        }
    }
}

/// How often the cheat still cheats; its process and its relay share it.
#[derive(Clone, Debug)]
pub(crate) struct Left(Arc<AtomicU32>);

impl Left {
    fn new(times: u32) -> Self {
        Self(Arc::new(AtomicU32::new(times)))
    }

    /// Whether it cheats this time.
    fn take(&self) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        left > 0
    }

    fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn stop(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Makes shares that are off by one bit, as long as it may.
pub(crate) struct FalseShares(pub(crate) Left);

impl MakeShares for FalseShares {
    fn share(
        &self,
        key: &SigningKeyShare,
        nonces: NoncePair,
        set: &SigningSet,
        message: &[u8],
        tweak: Tweak,
    ) -> Result<ShareBytes, SignError> {
        let mut share = TrueShares.share(key, nonces, set, message, tweak)?;
        if self.0.take()
            && let Some(byte) = share.get_mut(16)
        {
            *byte ^= 1;
        }
        Ok(share)
    }
}

/// The cheat and its relay.
pub(crate) struct Cheat {
    /// Which node it is.
    pub(crate) node: usize,
    /// Whom it cheats, where it cheats one node.
    victim: usize,
    /// The victim's index in the ceremony that began last.
    victim_index: Option<u64>,
    trick: Trick,
    /// It cheats in no ceremony but a resharing.
    only_reshares: bool,
    left: Left,
    key: SigningKey,
    seed: u64,
    /// What its own process said, by what was made of it.
    own: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the victim sees, by what the others see.
    shown: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Finished signatures that were held back, by command and message.
    kept: BTreeMap<(Digest, Option<Digest>), SignedItem>,
    puppets: Option<Puppets>,
}

impl Cheat {
    /// A cheat that cheats so many times.
    pub(crate) fn new(people: &People, node: usize, trick: Trick, times: u32, seed: u64) -> Self {
        Self {
            node,
            victim: (node + 1) % people.nodes.len(),
            victim_index: None,
            trick,
            only_reshares: false,
            left: Left::new(times),
            key: people.nodes[node].clone(),
            seed,
            own: BTreeMap::new(),
            shown: BTreeMap::new(),
            kept: BTreeMap::new(),
            puppets: None,
        }
    }

    /// The same, that is honest where a key is born.
    pub(crate) fn only_in_reshares(self, only_reshares: bool) -> Self {
        Self {
            only_reshares,
            ..self
        }
    }

    /// What makes the signature shares of the cheat's own process.
    pub(crate) fn shares(&self) -> Option<Left> {
        (self.trick == Trick::FalseShares).then(|| self.left.clone())
    }

    /// What computes ECDSA in the cheat's own process. It lives as long as the simulator does.
    pub(crate) fn engine(&self) -> Option<&'static dyn Engine> {
        self.trick.spoils_from().map(|round| {
            let left = self.left.clone();
            let engine: &'static dyn Engine =
                Box::leak(Box::new(Spoiling::new(round, move || left.take())));
            engine
        })
    }

    /// From here on it is honest.
    pub(crate) fn stop(&mut self) {
        self.left.stop();
        self.puppets = None;
    }

    /// What the relay makes of a request on its way to a node.
    pub(crate) fn relay(&self, to: usize, request: NodeRequest) -> NodeRequest {
        let NodeRequest::AdvanceCeremony {
            attempt,
            round,
            envelopes,
        } = request
        else {
            return request;
        };
        let swapped = |by: &BTreeMap<Vec<u8>, Vec<u8>>, envelopes: Vec<Vec<u8>>| {
            envelopes
                .into_iter()
                .map(|bytes| by.get(&bytes).cloned().unwrap_or(bytes))
                .collect()
        };
        let envelopes = if to == self.node {
            swapped(&self.own, envelopes)
        } else if to == self.victim {
            swapped(&self.shown, envelopes)
        } else {
            envelopes
        };
        NodeRequest::AdvanceCeremony {
            attempt,
            round,
            envelopes,
        }
    }

    /// What the cheat answers in place of its process; none when its process answers.
    pub(crate) fn plays(
        &mut self,
        people: &People,
        machine: &Machine,
        request: &NodeRequest,
    ) -> Option<Result<NodeReply, Refusal>> {
        if let NodeRequest::BeginCeremony { command, .. } = request {
            let victim = people.node_id(self.victim);
            self.victim_index = index_of(&victim, &command.bytes);
        }
        if self.trick != Trick::SplitView {
            return None;
        }
        match request {
            NodeRequest::BeginCeremony {
                attempt, source, ..
            } => {
                let repeated = self.puppets.as_ref().is_some_and(|p| p.attempt == *attempt);
                if !repeated {
                    let honest = self.only_reshares && source.is_none();
                    if honest || self.left.is_over() {
                        return None;
                    }
                    self.seed = self.seed.wrapping_add(1);
                    let begun = Puppets::begin(people, machine, self.seed, &self.key, request)?;
                    self.left.take();
                    self.puppets = Some(begun);
                }
                self.puppets.as_ref().and_then(|p| p.repeat(0))
            }
            NodeRequest::AdvanceCeremony {
                attempt,
                round,
                envelopes,
            } => {
                let puppets = self.puppets.as_mut().filter(|p| p.attempt == *attempt)?;
                let reply = puppets.advance(*round, envelopes, &self.key, &mut self.shown);
                Some(reply)
            }
            _ => None,
        }
    }

    /// What the cheat makes of an answer of its own process.
    pub(crate) fn says(&mut self, reply: NodeReply) -> Result<NodeReply, Refusal> {
        match reply {
            NodeReply::Ceremony(reply) => Ok(self.says_in_ceremony(reply)),
            NodeReply::Signing(reply) => self.says_in_rounds(reply).map(NodeReply::Signing),
            other => Ok(other),
        }
    }

    fn says_in_rounds(&mut self, mut reply: SigningReply) -> Result<SigningReply, Refusal> {
        let Some(signed) = &mut reply.signed else {
            return Ok(reply);
        };
        if self.trick != Trick::StaleSignature {
            return Ok(reply);
        }
        let statement = &signed.receipt.statement;
        let what = (
            statement.command,
            statement.items.first().map(|item| item.message),
        );
        if let Some(stale) = self.kept.remove(&what) {
            *signed = stale;
        } else if self.left.take() {
            self.kept.insert(what, signed.clone());
            return Err(Refusal::new(Reason::Overloaded, "held back"));
        }
        Ok(reply)
    }

    fn says_in_ceremony(&mut self, mut reply: CeremonyReply) -> NodeReply {
        let at = match self.trick {
            Trick::FalseReveal => (round::REVEAL, None),
            Trick::FalseEcho => (round::COMMIT_ECHO, None),
            Trick::FalseSubShare => match self.victim_index {
                Some(victim) => (round::SHARE, Some(victim)),
                None => return NodeReply::Ceremony(reply),
            },
            Trick::FalsePrepared => {
                self.false_prepared(&mut reply);
                return NodeReply::Ceremony(reply);
            }
            Trick::FalseShares
            | Trick::SplitView
            | Trick::FailedCheck
            | Trick::SpoiltSignature
            | Trick::StaleSignature => {
                return NodeReply::Ceremony(reply);
            }
        };
        if reply.round == at.0 && reply.aborted.is_none() {
            for bytes in &mut reply.envelopes {
                self.spoil(bytes, at.1);
            }
        }
        NodeReply::Ceremony(reply)
    }

    /// Changes an envelope and signs it again; a repeat is changed in the same way.
    fn spoil(&mut self, bytes: &mut Vec<u8>, recipient: Option<u64>) {
        if let Some((spoilt, _)) = self.own.iter().find(|(_, own)| *own == bytes) {
            bytes.clone_from(spoilt);
            return;
        }
        let Ok(envelope) = Envelope::from_bytes(bytes) else {
            return;
        };
        let honest = self.only_reshares && envelope.header.protocol != ProtocolId::Reshare;
        let to = envelope.header.recipient.map(|to| u64::from(to.number()));
        if honest || to != recipient || !self.left.take() {
            return;
        }
        let mut body = envelope.body.clone();
        // In an echo this byte stands in the first header; in other bodies any byte counts.
        let at = body.len().saturating_sub(1).min(75);
        body[at] ^= 1;
        let spoilt = Envelope::sign(envelope.header.slot(), body, &self.key).to_bytes();
        if let Ok(spoilt) = spoilt {
            self.own.insert(spoilt.clone(), bytes.clone());
            *bytes = spoilt;
        }
    }

    fn false_prepared(&self, reply: &mut CeremonyReply) {
        if let Some(prepared) = &mut reply.prepared
            && (!self.only_reshares || prepared.statement.source.is_some())
            && self.left.take()
        {
            prepared.statement.transcript = Digest::new([7; 32]);
            prepared.signature = prepared.statement.sign(&self.key);
        }
    }
}

/// The index of a node in the ceremony that a command asks for, if it receives.
fn index_of(node: &NodeId, command: &[u8]) -> Option<u64> {
    let nodes = match quorate_proto::command::decode(command).ok()?.body {
        CommandBody::CreateKey(create) => create.nodes,
        CommandBody::ReshareKey(reshare) => reshare.nodes,
        _ => return None,
    };
    let at = nodes.iter().position(|one| one == node)?;
    u64::try_from(at + 1).ok()
}
