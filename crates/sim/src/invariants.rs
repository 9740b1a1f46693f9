//! What must hold after every step (I1 to I9 of `docs/protocol/rules.md`), for honest nodes.
//!
//! | | the rule | how it is seen |
//! |---|---|---|
//! | I1 | some certified epoch has t durable shares | after every crash and at the end, the shares that honest disks would keep over a loss of power; and everything that is pending is signed after all machines lost power at once |
//! | I2 | no signature without a command and its endorsements | every released share names a command that a client made |
//! | I3 | no nonce answers two signing sets | commitments of every released share, over all lives of a node |
//! | I4 | one group key per key id for ever | group keys in certificates, proofs and answers; every released share is of the key that its command names, and every answer verifies under it |
//! | I5 | nothing is signed after a tombstone, and epochs never mix | the epoch of every share of a signing set; in each chain whatever follows a tombstone; and what leaves a node after its receipt |
//! | P19 | one PREPARED for one epoch of a key | every PREPARED that leaves a node, over all lives and restorations of it |
//! | P3, P7 | whom the roster in force does not list takes part in nothing | in each chain what follows a roster without the node, and by whose word rosters are followed; the holders of every PREPARED, and the signers of every share, by the roster that the node goes by |
//! | P35 | a restored node acts on nothing that it may have forgotten, and one backup comes back once | in each chain what stands between restoration and readmission, and commands and epochs of before after it; the readmissions of two machines that were restored from one backup |
//! | P34 | a key ends by announcement and confirmation, and nothing of it remains | in each chain what stands before a tombstone: the announcement that was not withdrawn, the delay, the words of enough admins; and the disks of nodes that gave a receipt, then, after every start and at the end |
//! | I6 | an honest node is never blamed | the coordinators' notices, whom the evidence that they keep proves guilty, and whom nodes ban |
//! | I7 | the record is in the chain before the share leaves | the durable journal at the moment a share, or the last message of a session, leaves, and again after every crash |
//! | I8 | what is pending ends | the world's healing phase |
//! | P33 | no signature with a key that does not stand as active | the order of records in each chain: a release after a suspension, and before the next resumption |
//! | I9 | same command id, same outcome | all final answers to one command; two coordinators that share nothing may each have a signature made |
//! | P15 | no secret before all have seen the same | what honest nodes of one attempt were shown when the first of them sends shares |

use std::collections::{BTreeMap, BTreeSet};

use quorate_coordinator::core::{Notice, StoreItem};
use quorate_model::{
    CoordinatorId, Digest, Epoch, KeyId, KeyName, KeyRecord, NodeId, Participant, Refusal,
    UnixMillis,
    backup::{BackupId, RestoreId},
    node_api::{AttemptId, CeremonyReply, NodeReply, NodeRequest, SigningReply},
    operation::{CommandOutcome, CommandView, KeyView, ReshareOutcome},
    roster::PinnedRoster,
    share::{SetOfSigners, ShareStatement},
};
use quorate_protocol::{
    derivation::Child,
    dkg::round,
    ecdsa::signing,
    envelope::Envelope,
    evidence::{Evidence, Facts, SigningFacts},
    frost::{PublicKeys, Tweak},
    verify,
};

mod chain;
mod lifecycle;

use self::chain::Chain;
use crate::workload::Operation;

/// The broadcasts that a node was shown in one attempt, by round.
type View = BTreeMap<u8, Vec<Vec<u8>>>;

/// What was seen in a run so far.
#[derive(Default)]
pub(crate) struct Invariants {
    /// Signing sets that the coordinator made, by their hash, with the holders of the key.
    sets: BTreeMap<Digest, (SetOfSigners, Vec<Participant>)>,
    /// The set that each pair of commitments of each node answered.
    answered: BTreeMap<(NodeId, Vec<u8>), Digest>,
    /// The records that shares left under.
    released: BTreeMap<NodeId, BTreeMap<u64, Digest>>,
    /// How far a node's journal was durable when its last message of a session left.
    last_messages: BTreeMap<(NodeId, Digest), u64>,
    /// What each node signed in each session.
    sessions: BTreeMap<(NodeId, Digest), Digest>,
    /// The first epoch that was seen of each key that lives.
    keys: BTreeMap<KeyId, KeyRecord>,
    /// Every epoch that somebody relies on, by its certificate.
    epochs: BTreeMap<KeyId, BTreeMap<Digest, KeyRecord>>,
    /// The certificate of each key's birth.
    births: BTreeMap<KeyId, Vec<u8>>,
    /// The epoch whose shares answered each signing set.
    epoch_of: BTreeMap<Digest, Epoch>,
    /// What the chain of each machine says.
    chains: BTreeMap<usize, Chain>,
    /// What others had in use when a node came back from a backup.
    floors: BTreeMap<RestoreId, BTreeMap<KeyName, Epoch>>,
    /// Which restorations of each backup there were, and which of them came back.
    restored: BTreeMap<RestoreId, BackupId>,
    readmitted: BTreeMap<BackupId, RestoreId>,
    /// What each node promised about each epoch.
    promised: BTreeMap<(NodeId, KeyName, Epoch), Digest>,
    /// When each command was made.
    made: BTreeMap<Digest, UnixMillis>,
    /// The keys that nodes say are gone.
    gone: BTreeSet<(NodeId, KeyName)>,
    /// The key that each node relies on under a name.
    relied: BTreeMap<(NodeId, KeyName), KeyId>,
    /// What certificates say, whether the shares were proven or not.
    certified: BTreeMap<(KeyId, Epoch), Vec<KeyRecord>>,
    /// The commands of clients, with the key that each names.
    commands: BTreeMap<Digest, KeyId>,
    outcomes: BTreeMap<(Digest, Option<CoordinatorId>), CommandOutcome>,
    /// The broadcasts that honest nodes were shown, by attempt and round.
    views: BTreeMap<AttemptId, BTreeMap<NodeId, View>>,
    /// Nodes that break rules on purpose: blame for them is right.
    guilty: BTreeSet<NodeId>,
    proven: usize,
    broken: Option<(&'static str, String)>,
}

impl Invariants {
    /// Nothing seen yet; some nodes may break rules on purpose.
    pub(crate) fn new(guilty: BTreeSet<NodeId>) -> Self {
        Self {
            guilty,
            ..Self::default()
        }
    }

    /// Whether a node breaks no rule on purpose.
    pub(crate) fn is_honest(&self, node: &NodeId) -> bool {
        !self.guilty.contains(node)
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
    pub(crate) fn asked(&mut self, pinned: &PinnedRoster, request: &NodeRequest) {
        match request {
            NodeRequest::SignShares { requests } => {
                for request in requests {
                    let named = self.commands.get(&request.command.digest());
                    let keys = named.and_then(|id| self.certified.get(&(*id, request.epoch)));
                    let holders = keys.into_iter().flatten();
                    let holders: Vec<Participant> =
                        holders.flat_map(|key| key.participants.clone()).collect();
                    for set in &request.items {
                        let made = (set.clone(), holders.clone());
                        self.sets.insert(set.digest(), made);
                    }
                }
            }
            NodeRequest::ProveKey { certificate, set } => {
                if let Some(record) = self.record_of(pinned, certificate) {
                    let made = (set.clone(), record.participants.clone());
                    self.sets.insert(set.digest(), made);
                    self.certifies(record);
                }
            }
            _ => {}
        }
    }

    /// A command that a client made.
    pub(crate) fn made(&mut self, operation: &Operation) {
        if let Ok(command) = quorate_proto::command::decode(&operation.signed.bytes) {
            self.made.insert(operation.digest(), command.created);
        }
        if operation.signs() {
            self.commands.insert(operation.digest(), operation.key_id);
        }
    }

    /// What a certificate says: of a birth, or of a later epoch of a key whose birth was seen.
    fn record_of(&mut self, pinned: &PinnedRoster, certificate: &[u8]) -> Option<KeyRecord> {
        let verify = quorate_proto::certificate::verify;
        if let Ok((_, record)) = verify(certificate, None, pinned) {
            self.births.insert(record.id(), certificate.to_vec());
            return Some(record);
        }
        let mut births = self.births.values();
        births.find_map(|birth| Some(verify(certificate, Some(birth), pinned).ok()?.1))
    }

    /// A certificate; attempts that were given up may leave some without a proof.
    fn certifies(&mut self, record: KeyRecord) {
        let at = (record.id(), record.epoch);
        let known = self.certified.entry(at).or_default();
        let other = known
            .iter()
            .any(|known| known.group_key != record.group_key);
        if !known.contains(&record) {
            known.push(record);
        }
        if other {
            let detail = format!("epoch {} of key {} has two group keys", at.1, at.0);
            self.breaks("I4", detail);
        }
    }

    /// Watches what a node says. `durable` looks a record up in what its disk would keep.
    pub(crate) fn said(
        &mut self,
        pinned: &PinnedRoster,
        reply: &NodeReply,
        durable: &dyn Fn(u64) -> Option<Digest>,
    ) {
        match reply {
            NodeReply::Shares(batch) => {
                for statement in batch.outcomes.iter().flatten() {
                    self.check_command(statement);
                    self.check_signers(pinned, statement);
                    self.share_left(statement, durable);
                }
            }
            NodeReply::Proved(receipt) => self.share_left(&receipt.statement, durable),
            _ => {}
        }
    }

    /// Watches a signature that is made in rounds. `head` is how far the node's journal is durable.
    pub(crate) fn signs_in_rounds(
        &mut self,
        node: &NodeId,
        reply: &SigningReply,
        head: u64,
        durable: &dyn Fn(u64) -> Option<Digest>,
    ) {
        if reply.round == signing::round::COMBINE
            && let Some(last) = reply.envelopes.first()
            && let Ok(last) = Envelope::from_bytes(last)
        {
            let session = (node.clone(), last.header.session);
            self.last_messages.entry(session).or_insert(head);
        }
        let Some(signed) = &reply.signed else {
            return;
        };
        let statement = &signed.receipt.statement;
        self.check_command(statement);
        let ShareStatement {
            sequence,
            record,
            items,
            ..
        } = statement;
        if self.gone.contains(&(node.clone(), statement.key.clone())) {
            let detail = format!(
                "{node} signs with key \"{}\", which it said is gone",
                statement.key
            );
            self.breaks("I5", detail);
        }
        for item in items {
            let session = (node.clone(), item.signing_set);
            let head = self.last_messages.get(&session).copied();
            if head.is_none_or(|head| head < *sequence) || durable(*sequence) != Some(*record) {
                let detail =
                    format!("{node} let a last message go before record {sequence} was durable");
                self.breaks("I7", detail);
            }
            let first = *self.sessions.entry(session).or_insert(item.message);
            if first != item.message {
                self.breaks("I3", format!("{node} signed two messages in one session"));
            }
        }
        self.released
            .entry(node.clone())
            .or_default()
            .insert(*sequence, *record);
    }

    /// A share leaves under a command of a client, and is of the key that the command names.
    fn check_command(&mut self, statement: &ShareStatement) {
        let node = &statement.node;
        let Some(id) = self.commands.get(&statement.command) else {
            return self.breaks("I2", format!("{node} signed what nobody asked for"));
        };
        let mut named = self
            .certified
            .get(&(*id, statement.epoch))
            .into_iter()
            .flatten();
        if !named.any(|key| key.index_of(node).is_some()) {
            let detail =
                format!("{node} signed with another key than {id}, which it was asked for");
            self.breaks("I4", detail);
        }
    }

    /// A share leaves only where all signers are in the roster that the node goes by (P7).
    fn check_signers(&mut self, pinned: &PinnedRoster, statement: &ShareStatement) {
        let Some(then) = self.roster_at(&statement.node, pinned) else {
            return;
        };
        let stranger = statement.items.iter().find_map(|item| {
            let (set, holders) = self.sets.get(&item.signing_set)?;
            set.entries.iter().find_map(|entry| {
                let signer = |holder: &&Participant| holder.index == entry.signer;
                let mut signers = holders.iter().filter(signer);
                let first = signers.clone().next()?;
                let known = signers.any(|holder| then.roster().node(&holder.node).is_some());
                (!known).then(|| first.clone())
            })
        });
        if let Some(stranger) = stranger {
            let (node, who) = (&statement.node, &stranger.node);
            let detail = format!("{node} signs with {who}, which is not in its roster any more");
            self.breaks("P7", detail);
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
        if self.gone.contains(&(node.clone(), statement.key.clone())) {
            let detail = format!(
                "{node} signs with key \"{}\", which it said is gone",
                statement.key
            );
            self.breaks("I5", detail);
        }
        self.released
            .entry(node.clone())
            .or_default()
            .insert(*sequence, *record);
        for item in items {
            let epoch = *self
                .epoch_of
                .entry(item.signing_set)
                .or_insert(statement.epoch);
            if epoch != statement.epoch {
                let detail = format!(
                    "{node} mixes shares of epochs {epoch} and {}",
                    statement.epoch
                );
                self.breaks("I5", detail);
            }
            let Some((set, holders)) = self.sets.get(&item.signing_set) else {
                self.breaks(
                    "I2",
                    format!("{node} answered a signing set that nobody made"),
                );
                continue;
            };
            let own: Vec<Vec<u8>> = set
                .entries
                .iter()
                .filter(|entry| {
                    holders
                        .iter()
                        .any(|holder| holder.index == entry.signer && holder.node == *node)
                })
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

    /// A key that a node relies on: the only one of its name, for ever.
    pub(crate) fn relies(&mut self, node: &NodeId, record: KeyRecord) {
        let at = (node.clone(), record.name.clone());
        let first = *self.relied.entry(at).or_insert(record.id());
        if first != record.id() {
            let detail = format!("{node} relies on two keys of the name {}", record.name);
            self.breaks("I4", detail);
        }
        self.lives(record);
    }

    /// A key that a client is shown, with its proof.
    pub(crate) fn shown(&mut self, pinned: &PinnedRoster, key: &KeyView) {
        let birth = key.evidence.birth.as_deref();
        match quorate_proto::certificate::verify(&key.evidence.certificate, birth, pinned) {
            Ok((_, record)) => self.lives(record),
            Err(error) => self.breaks("P20", format!("a client is shown a false key: {error}")),
        }
    }

    fn lives(&mut self, record: KeyRecord) {
        let first = self.keys.get(&record.id());
        if first.is_some_and(|first| first.group_key != record.group_key) {
            self.breaks("I4", format!("key {} has two group keys", record.id()));
        }
        let epochs = self.epochs.entry(record.id()).or_default();
        epochs.insert(record.certificate, record.clone());
        self.keys.entry(record.id()).or_insert(record);
    }

    /// The keys that are alive and that no honest node has destroyed, each with the epochs that somebody relies on.
    pub(crate) fn live_keys(&self) -> Vec<Vec<KeyRecord>> {
        let ended: BTreeSet<&KeyName> = self
            .chains
            .iter()
            .filter(|(_, chain)| chain.node.as_ref().is_some_and(|node| self.is_honest(node)))
            .flat_map(|(_, chain)| &chain.destroyed)
            .collect();
        let epochs = self.epochs.values();
        epochs
            .map(|epochs| epochs.values().cloned().collect::<Vec<_>>())
            .filter(|epochs| !epochs.iter().any(|record| ended.contains(&record.name)))
            .collect()
    }

    /// Watches an honest node that took a round of a ceremony and answered.
    pub(crate) fn carried(
        &mut self,
        node: &NodeId,
        attempt: AttemptId,
        shown: (u8, Vec<Vec<u8>>),
        reply: &CeremonyReply,
    ) {
        let views = self.views.entry(attempt).or_default();
        let own = views.entry(node.clone()).or_default();
        let (round, mut envelopes) = shown;
        if reply.aborted.is_none() && matches!(round, round::COMMIT | round::REVEAL) {
            envelopes.sort_unstable();
            own.insert(round, envelopes);
        }
        let own = own.clone();
        let sends_secrets = reply.round == round::SHARE && !reply.envelopes.is_empty();
        let other = views.iter().find(|(_, theirs)| **theirs != own);
        if sends_secrets && let Some((other, _)) = other {
            let detail = format!("{node} sends shares although {other} saw something else");
            self.breaks("P15", detail);
        }
    }

    /// Watches what operators are told: only who cheats is blamed.
    pub(crate) fn noticed(&mut self, notice: &Notice) {
        let (node, what) = match notice {
            Notice::Misbehaved { node, what, .. } => (node, (*what).to_owned()),
            Notice::FalseKey { node, key } => (node, format!("listed a false key \"{key}\"")),
            _ => return,
        };
        if self.is_honest(node) {
            self.breaks("I6", format!("{node} is honest and blamed: {what}"));
        }
    }

    /// Watches evidence that is kept: it proves somebody guilty who is.
    pub(crate) fn stored(&mut self, pinned: &PinnedRoster, item: &StoreItem) {
        let StoreItem::Evidence(bytes) = item else {
            return;
        };
        let identity_of = |id: &NodeId| pinned.card(id).map(|card| card.identity_key);
        let blamed = Evidence::from_bytes(bytes).ok().and_then(|evidence| {
            let key = match &evidence {
                Evidence::BadSignatureShare(bad) => {
                    let statement = &bad.receipt.statement;
                    self.certified.values().flatten().find(|key| {
                        key.name == statement.key
                            && key.epoch == statement.epoch
                            && key.index_of(&statement.node).is_some()
                    })
                }
                _ => None,
            };
            let public = key.and_then(|record| PublicKeys::of_record(record).ok());
            let signing = key.zip(public.as_ref()).map(|(record, keys)| SigningFacts {
                key: &record.name,
                epoch: record.epoch,
                participants: &record.participants,
                keys,
                chain_code: &record.chain_code,
            });
            let facts = Facts {
                identity_of: &identity_of,
                signing,
            };
            evidence.verify(&facts).ok()
        });
        match blamed {
            Some(blamed) if !self.is_honest(&blamed.node) => self.proven += 1,
            Some(blamed) => {
                let node = blamed.node;
                self.breaks(
                    "I6",
                    format!("evidence proves {node} guilty, who is honest"),
                );
            }
            None => self.breaks("I6", "evidence that proves nothing is kept".to_owned()),
        }
    }

    /// How much evidence proved somebody guilty who is.
    pub(crate) fn proven(&self) -> usize {
        self.proven
    }

    /// Watches what clients are answered.
    pub(crate) fn answered(
        &mut self,
        by: &CoordinatorId,
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
        let digest = operation.digest();
        // A signature is random: who shares nothing may make another one of the same message.
        let by = match outcome {
            CommandOutcome::Signed(_) => Some(by.clone()),
            _ => None,
        };
        let made = same(outcome);
        let first = self
            .outcomes
            .entry((digest, by))
            .or_insert_with(|| made.clone())
            .clone();
        if first != made {
            self.breaks("I9", format!("command {} has two outcomes", operation.id));
        }
        let CommandOutcome::Signed(signed) = outcome else {
            return;
        };
        let Some(key) = self.keys.get(&operation.key_id) else {
            let detail = format!("key {} signs and does not live", operation.key_id);
            return self.breaks("I2", detail);
        };
        let mut fails = false;
        for (payload, signature) in operation.payloads.iter().zip(&signed.signatures) {
            let child = Child::derive(key.scheme, &key.group_key, &key.chain_code, &payload.path);
            fails |= child.is_err()
                || child.is_ok_and(|child| {
                    let (key, message) = (child.key(), &payload.bytes);
                    verify::signature(signed.scheme, key, message, Tweak::None, signature).is_err()
                });
        }
        if fails {
            let detail = format!(
                "a signature of command {} does not verify under the key that it names",
                operation.id
            );
            self.breaks("I4", detail);
        }
    }
}

/// What must be the same in all answers to a command. Two coordinators may each bring the runs of
/// one resharing to their end, and which nodes have erased what is a matter of time.
fn same(outcome: &CommandOutcome) -> CommandOutcome {
    match outcome {
        CommandOutcome::KeyReshared(done) => CommandOutcome::KeyReshared(ReshareOutcome {
            key: done.key.clone(),
            epoch: Epoch(0),
            erased: Vec::new(),
            missing: Vec::new(),
        }),
        _ => outcome.clone(),
    }
}
