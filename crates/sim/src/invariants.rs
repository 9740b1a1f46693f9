//! What must hold after every step (I1 to I9 of `docs/protocol/rules.md`), for honest nodes.
//!
//! | | the rule | how it is seen |
//! |---|---|---|
//! | I1 | some certified epoch has t durable shares | no node fails to start or to write, and every signature that is pending is made after faults stop |
//! | I2 | no signature without a command and its endorsements | every released share names a command that a client made |
//! | I3 | no nonce answers two signing sets | commitments of every released share, over all lives of a node |
//! | I4 | one group key per key id for ever | group keys in activation proofs and answers |
//! | I6 | an honest node is never blamed | the coordinator's notices |
//! | I7 | the record is in the chain before the share leaves | the durable journal at the moment a share leaves, and again after every crash |
//! | I8 | what is pending ends | the world's healing phase |
//! | I9 | same command id, same outcome | all final answers to one command |

use std::collections::{BTreeMap, BTreeSet};

use quorate_coordinator::core::Notice;
use quorate_model::{
    Digest, KeyName, NodeId, Refusal,
    node_api::{NodeReply, NodeRequest},
    operation::{CommandOutcome, CommandView},
    roster::PinnedRoster,
    share::{SetOfSigners, ShareStatement},
};
use quorate_protocol::{frost::Tweak, verify};

use crate::workload::Operation;

/// What was seen in a run so far.
#[derive(Default)]
pub(crate) struct Invariants {
    /// Signing sets that the coordinator made, by their hash.
    sets: BTreeMap<Digest, SetOfSigners>,
    /// The set that each pair of commitments of each node answered.
    answered: BTreeMap<(NodeId, Vec<u8>), Digest>,
    /// The records that shares left under.
    released: BTreeMap<NodeId, BTreeMap<u64, Digest>>,
    group_keys: BTreeMap<KeyName, Vec<u8>>,
    commands: BTreeSet<Digest>,
    outcomes: BTreeMap<Digest, CommandOutcome>,
    /// The node that breaks a rule on purpose: blame for it is right.
    mutated: Option<NodeId>,
    broken: Option<(&'static str, String)>,
}

impl Invariants {
    /// Nothing seen yet; one node may break a rule on purpose.
    pub(crate) fn new(mutated: Option<NodeId>) -> Self {
        Self {
            mutated,
            ..Self::default()
        }
    }

    /// The first rule that was seen broken.
    pub(crate) fn broken(&self) -> Option<(&'static str, String)> {
        self.broken.clone()
    }

    /// Notes a broken rule.
    pub(crate) fn breaks(&mut self, invariant: &'static str, detail: String) {
        self.broken.get_or_insert((invariant, detail));
    }

    /// Watches what nodes are asked.
    pub(crate) fn asked(&mut self, request: &NodeRequest) {
        match request {
            NodeRequest::SignShares { requests } => {
                for request in requests {
                    self.commands.insert(request.command.digest());
                    for set in &request.items {
                        self.sets.insert(set.digest(), set.clone());
                    }
                }
            }
            NodeRequest::ProveKey { set, .. } => {
                self.sets.insert(set.digest(), set.clone());
            }
            _ => {}
        }
    }

    /// Watches what a node says. `durable` looks a record up in what its disk would keep.
    pub(crate) fn said(&mut self, reply: &NodeReply, durable: &dyn Fn(u64) -> Option<Digest>) {
        match reply {
            NodeReply::Shares(batch) => {
                for statement in batch.outcomes.iter().flatten() {
                    if !self.commands.contains(&statement.command) {
                        let node = &statement.node;
                        self.breaks("I2", format!("{node} signed what nobody asked for"));
                    }
                    self.share_left(statement, durable);
                }
            }
            NodeReply::Proved(receipt) => self.share_left(&receipt.statement, durable),
            _ => {}
        }
    }

    fn share_left(&mut self, statement: &ShareStatement, durable: &dyn Fn(u64) -> Option<Digest>) {
        let ShareStatement {
            node,
            sequence,
            record,
            items,
            ..
        } = statement;
        if durable(*sequence) != Some(*record) {
            self.breaks(
                "I7",
                format!("{node} let a share go before record {sequence} was durable"),
            );
        }
        self.released
            .entry(node.clone())
            .or_default()
            .insert(*sequence, *record);
        for item in items {
            let Some(set) = self.sets.get(&item.signing_set) else {
                self.breaks(
                    "I2",
                    format!("{node} answered a signing set that nobody made"),
                );
                continue;
            };
            let own: Vec<Vec<u8>> = set
                .entries
                .iter()
                .filter(|entry| u64::from(entry.signer.number()) == index_of(node))
                .map(|entry| [&entry.commitments.hiding[..], &entry.commitments.binding].concat())
                .collect();
            for commitments in own {
                let first = *self
                    .answered
                    .entry((node.clone(), commitments))
                    .or_insert(item.signing_set);
                if first != item.signing_set {
                    self.breaks(
                        "I3",
                        format!("{node} answered two signing sets with one nonce"),
                    );
                }
            }
        }
    }

    /// What a chain must still hold after a crash: every record that a share left under.
    pub(crate) fn survived(&mut self, node: &NodeId, durable: &dyn Fn(u64) -> Option<Digest>) {
        let lost = self
            .released
            .get(node)
            .and_then(|records| {
                records
                    .iter()
                    .find(|(at, hash)| durable(**at) != Some(**hash))
            })
            .map(|(at, _)| *at);
        if let Some(sequence) = lost {
            self.breaks(
                "I7",
                format!("{node} lost record {sequence}, under which a share left"),
            );
        }
    }

    /// A group key that a node or an answer shows for a key.
    pub(crate) fn group_key(&mut self, key: &KeyName, group_key: &[u8]) {
        let first = self
            .group_keys
            .entry(key.clone())
            .or_insert_with(|| group_key.to_vec())
            .clone();
        if first != group_key {
            self.breaks("I4", format!("key {key} has two group keys"));
        }
    }

    /// Watches what operators are told: in a run without cheats nobody is to blame.
    pub(crate) fn noticed(&mut self, notice: &Notice) {
        if let Notice::Misbehaved { node, what, .. } = notice
            && self.mutated.as_ref() != Some(node)
        {
            self.breaks("I6", format!("{node} is honest and blamed: {what}"));
        }
    }

    /// Watches what clients are answered.
    pub(crate) fn answered(
        &mut self,
        _pinned: &PinnedRoster,
        operation: &Operation,
        result: &Result<CommandView, Refusal>,
    ) {
        let Ok(CommandView {
            outcome: Some(outcome),
            ..
        }) = result
        else {
            return;
        };
        let first = self
            .outcomes
            .entry(operation.digest())
            .or_insert_with(|| outcome.clone())
            .clone();
        if first != *outcome {
            self.breaks("I9", format!("command {} has two outcomes", operation.id));
        }
        let CommandOutcome::Signed(signed) = outcome else {
            return;
        };
        let group_key = self
            .group_keys
            .get(&operation.key)
            .cloned()
            .unwrap_or_default();
        for (payload, signature) in operation.payloads.iter().zip(&signed.signatures) {
            let holds = verify::signature(
                signed.scheme,
                &group_key,
                &payload.bytes,
                Tweak::None,
                signature,
            );
            if holds.is_err() {
                self.breaks(
                    "I2",
                    format!("a signature of command {} fails", operation.id),
                );
            }
        }
    }
}

/// Nodes of a run are numbered from zero, and hold the shares in that order.
fn index_of(node: &NodeId) -> u64 {
    node.as_str()
        .strip_prefix("node-")
        .and_then(|number| number.parse::<u64>().ok())
        .map_or(0, |number| number + 1)
}
