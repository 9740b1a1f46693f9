//! What signed statements in one place say about records in another (P38): every receipt names
//! the record that permits its shares, and every certificate the statements that were prepared.

use std::collections::{HashMap, HashSet};

use quorate_model::{
    Digest, Epoch, KeyId, KeyName, KeyRecord, NodeId,
    audit::{Entry, Record, ShareReleased},
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
    certified: HashMap<(KeyName, Epoch), KeyRecord>,
    /// The last sequence of the export: what was signed later cannot be in it.
    head: u64,
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
}

/// What a certificate says about a journal.
pub(super) struct PreparedClaim {
    pub(super) node: NodeId,
    pub(super) key: KeyName,
    pub(super) epoch: Epoch,
    pub(super) statement: Digest,
}

/// Claims and journals, gathered until all files are read.
#[derive(Default)]
pub(super) struct CrossCheck {
    journals: HashMap<NodeId, Journal>,
    claims: Vec<Claim>,
    prepared: Vec<PreparedClaim>,
}

/// How many claims were matched against a journal, and how many name one that was not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// Claims that a journal confirms.
    pub matched: u64,
    /// Claims about journals, or about later records, that were not given.
    pub unmatched: u64,
}

impl CrossCheck {
    /// Whether a journal of this node was given already.
    pub(super) fn knows(&self, node: &NodeId) -> bool {
        self.journals.contains_key(node)
    }

    /// Remembers what matters of a verified record.
    pub(super) fn record(&mut self, node: &NodeId, record: &Record, hash: Digest) {
        let journal = self.journals.entry(node.clone()).or_default();
        journal.head = record.sequence;
        if let Entry::ShareReleased(ShareReleased {
            key, epoch, items, ..
        }) = &record.entry
        {
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
        }
    }

    /// Remembers what a verified receipt says, and which key its command is for.
    pub(super) fn receipt(&mut self, receipt: &ShareReceipt, asked: Option<KeyId>) {
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
            asked,
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
        let mut held = journal.certified.values().filter(|one| one.name == *name);
        if let Some(other) = held.find(|one| one.id() != record.id()) {
            return Err(format!(
                "the journal of node \"{node}\" holds two keys of the name \"{name}\", with ids {} \
                 and {}: this proves its fault",
                other.id(),
                record.id()
            ));
        }
        let at = (record.name.clone(), record.epoch);
        journal.certified.insert(at, record);
        Ok(())
    }

    /// The certified key that a node holds under this name and epoch.
    pub(super) fn certified(
        &self,
        node: &NodeId,
        key: &KeyName,
        epoch: Epoch,
    ) -> Option<&KeyRecord> {
        let journal = self.journals.get(node)?;
        journal.certified.get(&(key.clone(), epoch))
    }

    /// Matches all claims against all journals.
    pub(super) fn finish(&self) -> Result<Matched, String> {
        let mut matched = Matched::default();
        for claim in &self.claims {
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
            let fits = self
                .journals
                .get(&claim.node)
                .and_then(|journal| claim.fits(journal));
            matched.count(fits, || {
                format!(
                    "node \"{}\" signed shares of key \"{}\" under record {}, and its journal has \
                     no such record: this proves its fault",
                    claim.node, claim.key, claim.sequence
                )
            })?;
        }
        for claim in &self.prepared {
            let fits = self
                .journals
                .get(&claim.node)
                .and_then(|journal| claim.fits(journal));
            matched.count(fits, || {
                format!(
                    "node \"{}\" signed that its share of key \"{}\" is durable, and its journal \
                     does not say so: this proves its fault",
                    claim.node, claim.key
                )
            })?;
        }
        self.find_second_statement().map_or(Ok(matched), Err)
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
    fn fits(&self, journal: &Journal) -> Option<bool> {
        if self.sequence > journal.head {
            return None;
        }
        Some(journal.permits.get(&self.sequence).is_some_and(|permit| {
            permit.hash == self.record
                && permit.key == self.key
                && permit.epoch == self.epoch
                && permit.signing_sets == self.signing_sets
        }))
    }
}

impl PreparedClaim {
    /// A journal that knows nothing of the epoch may have been exported before it was made.
    fn fits(&self, journal: &Journal) -> Option<bool> {
        let at = (self.key.clone(), self.epoch);
        match journal.prepared.get(&at) {
            Some(statements) => Some(statements.contains(&self.statement)),
            None => journal.certified.contains_key(&at).then_some(false),
        }
    }
}

impl Matched {
    fn count(&mut self, fits: Option<bool>, fault: impl FnOnce() -> String) -> Result<(), String> {
        match fits {
            Some(true) => self.matched = self.matched.saturating_add(1),
            None => self.unmatched = self.unmatched.saturating_add(1),
            Some(false) => return Err(fault()),
        }
        Ok(())
    }
}
