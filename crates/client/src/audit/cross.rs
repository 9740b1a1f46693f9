//! What signed statements in one place say about records in another (P38): every receipt names
//! the record that permits its shares, and every certificate the statements that were prepared.

use std::collections::{BTreeMap, HashMap, HashSet};

use quorate_model::{
    Digest, Epoch, KeyId, KeyName, KeyRecord, NodeId, UnixMillis,
    audit::{Entry, Record, ShareReleased},
    backup::{BackupId, RestoreId},
    command::MAX_CREATED_AHEAD_MS,
    node_api::EraseCertificate,
    roster::PinnedRoster,
    share::ShareReceipt,
};

/// What is kept of a record that permits shares.
struct Permit {
    hash: Digest,
    key: KeyName,
    epoch: Epoch,
    signing_sets: Vec<Digest>,
}

/// What is kept of the journal of one node.
#[derive(Default)]
struct Journal {
    permits: HashMap<u64, Permit>,
    prepared: HashMap<(KeyName, Epoch), HashSet<Digest>>,
    /// The key that its node holds under a name.
    certified: HashMap<(KeyName, Epoch), Vec<KeyRecord>>,
    /// The certificate of the birth of each.
    births: HashMap<KeyName, Vec<u8>>,
    /// Below which epochs of a key it keeps no share.
    erased: BTreeMap<KeyName, Epoch>,
    /// The restorations of the node from backups.
    restored: Vec<Restoration>,
    /// The restorations of other nodes that it took note of, and when.
    peers: HashMap<(NodeId, BackupId, RestoreId), UnixMillis>,
    /// The last sequence of the export: what was signed later cannot be in it.
    head: u64,
}

/// A restoration of a node, as its journal says.
struct Restoration {
    backup: BackupId,
    restore: RestoreId,
    /// The record that says so: what stood from there on before was lost with the disk.
    from: u64,
}

/// How far the times of commands and of records may lie apart: commands may be dated ahead, and clocks
/// differ.
const MAX_APART_MS: u64 = MAX_CREATED_AHEAD_MS + 30_000;

/// Whether a journal says what somebody signed of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Matches,
    /// The journal that would say so was not given.
    NotGiven,
    /// The record may have been lost with the disk.
    Lost,
    Contradicts,
}

/// What a signed receipt says about a journal.
pub(super) struct Claim {
    node: NodeId,
    sequence: u64,
    record: Digest,
    key: KeyName,
    epoch: Epoch,
    signing_sets: Vec<Digest>,
    /// The key that the command is for, where the command is known.
    asked: Option<KeyId>,
    /// When the command was made, as it says.
    made: Option<UnixMillis>,
}

/// What a certificate says about a journal.
pub(super) struct PreparedClaim {
    pub(super) node: NodeId,
    pub(super) key: KeyName,
    pub(super) epoch: Epoch,
    pub(super) statement: Digest,
    /// When the command was made.
    pub(super) made: UnixMillis,
}

/// Claims and journals, gathered until all files are read.
#[derive(Default)]
pub(super) struct CrossCheck {
    journals: HashMap<NodeId, Journal>,
    claims: Vec<Claim>,
    prepared: Vec<PreparedClaim>,
    /// What nodes erased shares on.
    erasures: Vec<(NodeId, EraseCertificate)>,
    /// Epochs whose shares were proven, by the hash of their certificates.
    proven: HashMap<Digest, KeyRecord>,
}

/// How many claims were matched against a journal, and how many could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// Claims that a journal confirms.
    pub matched: u64,
    /// Claims about journals, or about later records, that were not given.
    pub unmatched: u64,
    /// Claims about records that may have been lost with a disk: their node was restored from a backup
    /// of before, as the journals of others say. They prove nothing, neither for the node nor against
    /// it (decision 0021).
    pub lost: u64,
}

impl CrossCheck {
    /// Whether a journal of this node was given already.
    pub(super) fn knows(&self, node: &NodeId) -> bool {
        self.journals.contains_key(node)
    }

    /// Remembers what matters of a verified record.
    ///
    /// # Errors
    ///
    /// When the node uses a share that it has erased.
    pub(super) fn record(
        &mut self,
        node: &NodeId,
        record: &Record,
        hash: Digest,
    ) -> Result<(), String> {
        let journal = self.journals.entry(node.clone()).or_default();
        journal.head = record.sequence;
        if let Entry::ShareReleased(ShareReleased {
            key, epoch, items, ..
        }) = &record.entry
        {
            if let Some(kept) = journal.erased.get(key).filter(|kept| epoch < kept) {
                return Err(format!(
                    "node \"{node}\" released a share of epoch {epoch} of key \"{key}\" in record \
                     {} after it erased all shares below epoch {kept}: this proves its fault",
                    record.sequence
                ));
            }
            let permit = Permit {
                hash,
                key: key.clone(),
                epoch: *epoch,
                signing_sets: items.iter().map(|item| item.signing_set).collect(),
            };
            journal.permits.insert(record.sequence, permit);
        } else if let Entry::KeyPrepared(prepared) = &record.entry {
            let at = (prepared.key.clone(), prepared.epoch);
            journal
                .prepared
                .entry(at)
                .or_default()
                .insert(prepared.statement);
        } else if let Entry::EpochsErased { certificate } = &record.entry {
            let EraseCertificate { key, epoch, .. } = certificate;
            let kept = journal.erased.entry(key.clone()).or_insert(*epoch);
            *kept = (*kept).max(*epoch);
            self.erasures.push((node.clone(), certificate.clone()));
        } else if let Entry::Restored { backup, restore } = &record.entry {
            journal.restored.push(Restoration {
                backup: *backup,
                restore: *restore,
                from: record.sequence,
            });
        } else if let Entry::PeerRestored {
            node,
            backup,
            restore,
        } = &record.entry
        {
            let peer = (node.clone(), *backup, *restore);
            journal.peers.insert(peer, record.time);
        }
        Ok(())
    }

    /// From which record on a node may have lost what it recorded under a command of this time: where
    /// it says that it was restored from a backup, and the journals of the others bear it out, half of
    /// those that were given or more, and at least one. Each also says when it was: what was commanded
    /// after that it does not bear out. None where it was never restored, or too few bear it out.
    fn lost_from(&self, node: &NodeId, made: Option<UnixMillis>) -> Option<u64> {
        let journal = self.journals.get(node)?;
        let others = self.journals.iter().filter(|(other, _)| *other != node);
        let others: Vec<&Journal> = others.map(|(_, journal)| journal).collect();
        let restored = journal.restored.iter().filter(|one| {
            let said = (node.clone(), one.backup, one.restore);
            let times = others.iter().filter_map(|other| other.peers.get(&said));
            let before =
                |noted: &&UnixMillis| made.is_none_or(|made| made < noted.plus(MAX_APART_MS));
            times.filter(before).count() >= others.len().div_ceil(2).max(1)
        });
        restored.map(|one| one.from).min()
    }

    /// Remembers the verified birth of a key that a node holds.
    pub(super) fn introduce(&mut self, node: &NodeId, key: &KeyName, birth: &[u8]) {
        let journal = self.journals.entry(node.clone()).or_default();
        journal.births.insert(key.clone(), birth.to_vec());
    }

    /// The certificate of the birth of a key, as a node holds it.
    pub(super) fn birth(&self, node: &NodeId, key: &KeyName) -> Option<&[u8]> {
        let journal = self.journals.get(node)?;
        journal.births.get(key).map(Vec::as_slice)
    }

    /// Remembers an epoch with its verified proof of possession.
    pub(super) fn prove(&mut self, record: KeyRecord) {
        self.proven.insert(record.certificate, record);
    }

    /// Below which epochs a node keeps no shares.
    pub(super) fn erased(&self, node: &NodeId) -> BTreeMap<KeyName, Epoch> {
        let journal = self.journals.get(node);
        journal
            .map(|journal| journal.erased.clone())
            .unwrap_or_default()
    }

    /// An epoch of a key that was proven; none where a name stands for two.
    pub(super) fn proven(&self, key: &KeyName, epoch: Epoch) -> Option<&KeyRecord> {
        let all = self.proven.values();
        let mut of_it = all.filter(|record| record.name == *key && record.epoch == epoch);
        let first = of_it.next();
        first.filter(|_| of_it.next().is_none())
    }

    /// Remembers what a verified receipt says, which key its command is for, and when that was made.
    pub(super) fn receipt(&mut self, receipt: &ShareReceipt, asked: Option<(KeyId, UnixMillis)>) {
        let statement = &receipt.statement;
        self.claims.push(Claim {
            node: statement.node.clone(),
            sequence: statement.sequence,
            record: statement.record,
            key: statement.key.clone(),
            epoch: statement.epoch,
            signing_sets: statement
                .items
                .iter()
                .map(|item| item.signing_set)
                .collect(),
            asked: asked.map(|(key, _)| key),
            made: asked.map(|(_, made)| made),
        });
    }

    /// Remembers what a verified certificate says.
    pub(super) fn prepared(&mut self, claim: PreparedClaim) {
        self.prepared.push(claim);
    }

    /// Remembers a certified key that a node holds.
    ///
    /// # Errors
    ///
    /// When the node holds another key of the name: it certifies one creation of each (decision 0003).
    pub(super) fn certify(&mut self, node: &NodeId, record: KeyRecord) -> Result<(), String> {
        let journal = self.journals.entry(node.clone()).or_default();
        let name = &record.name;
        let held = journal.certified.values().flatten();
        let mut held = held.filter(|one| one.name == *name);
        if let Some(other) = held.find(|one| one.id() != record.id()) {
            return Err(format!(
                "the journal of node \"{node}\" holds two keys of the name \"{name}\", with ids {} \
                 and {}: this proves its fault",
                other.id(),
                record.id()
            ));
        }
        let at = (record.name.clone(), record.epoch);
        // Two committees without a common node may each make an epoch of one number.
        let known = journal.certified.entry(at).or_default();
        if !known.contains(&record) {
            known.push(record);
        }
        Ok(())
    }

    /// What a node knows by the certificate with this hash.
    pub(super) fn certified_as(&self, node: &NodeId, hash: &Digest) -> Option<&KeyRecord> {
        let mut known = self.journals.get(node)?.certified.values().flatten();
        known.find(|record| record.certificate == *hash)
    }

    /// The certified key that a node holds under this name and epoch; one of which it holds a share,
    /// if there is one.
    pub(super) fn certified(
        &self,
        node: &NodeId,
        key: &KeyName,
        epoch: Epoch,
    ) -> Option<&KeyRecord> {
        let journal = self.journals.get(node)?;
        let known = journal.certified.get(&(key.clone(), epoch))?;
        let own = known.iter().find(|record| record.index_of(node).is_some());
        own.or_else(|| known.first())
    }

    /// Matches all claims against all journals.
    pub(super) fn finish(&self, roster: &PinnedRoster) -> Result<Matched, String> {
        let mut matched = Matched::default();
        for claim in &self.claims {
            self.match_claim(claim, &mut matched)?;
        }
        for claim in &self.prepared {
            let fits = self.fit(&claim.node, |journal| {
                claim.fits(journal, self.lost_from(&claim.node, Some(claim.made)))
            });
            matched.count(fits, || {
                format!(
                    "node \"{}\" signed that its share of key \"{}\" is durable, and its journal \
                     does not say so: this proves its fault",
                    claim.node, claim.key
                )
            })?;
        }
        for (node, erasure) in &self.erasures {
            matched.count(self.is_vouched_for(erasure, roster), || {
                format!(
                    "node \"{node}\" erased its shares below epoch {} of key \"{}\" without the \
                     word of every holder of that epoch: this proves its fault",
                    erasure.epoch, erasure.key
                )
            })?;
        }
        self.find_second_statement().map_or(Ok(matched), Err)
    }

    /// Matches the word of a signer with its journal and with the certificate of the epoch that it
    /// signed in.
    fn match_claim(&self, claim: &Claim, matched: &mut Matched) -> Result<(), String> {
        let held = self.certified(&claim.node, &claim.key, claim.epoch);
        if let (Some(asked), Some(held)) = (claim.asked, held.map(KeyRecord::id))
            && asked != held
        {
            return Err(format!(
                "node \"{}\" signed shares of key \"{}\" with id {held} under a command for the \
                 key with id {asked}: this proves its fault",
                claim.node, claim.key
            ));
        }
        if held.is_some_and(|held| held.index_of(&claim.node).is_none()) {
            return Err(format!(
                "node \"{}\" signed shares of epoch {} of key \"{}\", which it knows to hold none \
                 of: this proves its fault",
                claim.node, claim.epoch, claim.key
            ));
        }
        let fits = self.fit(&claim.node, |journal| {
            claim.fits(journal, self.lost_from(&claim.node, claim.made))
        });
        matched.count(fits, || {
            format!(
                "node \"{}\" signed shares of key \"{}\" under record {}, and its journal has \
                 no such record: this proves its fault",
                claim.node, claim.key, claim.sequence
            )
        })
    }

    fn fit(&self, node: &NodeId, fits: impl FnOnce(&Journal) -> Fit) -> Fit {
        self.journals.get(node).map_or(Fit::NotGiven, fits)
    }

    /// Whether every holder of the epoch that stays has vouched for it; that cannot be told where no
    /// journal that was given holds the evidence for that epoch.
    fn is_vouched_for(&self, erasure: &EraseCertificate, roster: &PinnedRoster) -> Fit {
        let Some(named) = erasure.receipts.first().map(|receipt| receipt.certificate) else {
            return Fit::Contradicts;
        };
        match self.proven.get(&named) {
            Some(record) if erasure.verify(roster, record).is_ok() => Fit::Matches,
            Some(_) => Fit::Contradicts,
            None => Fit::NotGiven,
        }
    }

    /// A node never prepares two shares for one epoch of a key (P19).
    fn find_second_statement(&self) -> Option<String> {
        self.journals.iter().find_map(|(node, journal)| {
            let second = journal
                .prepared
                .iter()
                .find(|(_, statements)| statements.len() > 1);
            second.map(|((key, epoch), _)| {
                format!("node \"{node}\" prepared two shares for epoch {epoch} of key \"{key}\"")
            })
        })
    }
}

impl Claim {
    fn fits(&self, journal: &Journal, lost_from: Option<u64>) -> Fit {
        if self.sequence > journal.head {
            return Fit::NotGiven;
        }
        let permit = journal.permits.get(&self.sequence);
        let matches = permit.is_some_and(|permit| {
            permit.hash == self.record
                && permit.key == self.key
                && permit.epoch == self.epoch
                && permit.signing_sets == self.signing_sets
        });
        if matches {
            Fit::Matches
        } else if lost_from.is_some_and(|from| self.sequence >= from) {
            Fit::Lost
        } else {
            Fit::Contradicts
        }
    }
}

impl PreparedClaim {
    /// A journal that knows nothing of the epoch may have been exported before it was made.
    fn fits(&self, journal: &Journal, lost_from: Option<u64>) -> Fit {
        let at = (self.key.clone(), self.epoch);
        match journal.prepared.get(&at) {
            Some(statements) if statements.contains(&self.statement) => Fit::Matches,
            None if !journal.certified.contains_key(&at) => Fit::NotGiven,
            None if lost_from.is_some() => Fit::Lost,
            Some(_) | None => Fit::Contradicts,
        }
    }
}

impl Matched {
    fn count(&mut self, fits: Fit, fault: impl FnOnce() -> String) -> Result<(), String> {
        let counted = match fits {
            Fit::Matches => &mut self.matched,
            Fit::NotGiven => &mut self.unmatched,
            Fit::Lost => &mut self.lost,
            Fit::Contradicts => return Err(fault()),
        };
        *counted = counted.saturating_add(1);
        Ok(())
    }
}
