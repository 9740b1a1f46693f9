//! Verification of exported files, each by itself and then together.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::BufRead,
};

use quorate_intent::{KeyFacts, decode_all};
use quorate_model::{
    Digest, Epoch, KeyName, NodeId, Refusal, UnixMillis,
    audit::{ChainPosition, ChainSummary, ChainVerifier, Entry, Record},
    certificate::{CommitCertificate, PossessionProof},
    command::{Sign, SignedCommand},
    operation::SignOutcome,
    roster::PinnedRoster,
    share::{ShareReceipt, whole_signature_hash},
    wire,
};

use super::{
    cross::{CrossCheck, Matched, PreparedClaim},
    ending::Endings,
    file::{AuditFile, AuditFileError, FileKind},
    proving::Unproven,
    rosters::Followings,
};
use crate::verify::{self, ReceiptChecker, Verifiers};

/// What a verified file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileReport {
    /// Of a journal.
    Journal(JournalReport),
    /// Of signatures.
    Signatures(SignaturesReport),
    /// Of evidence.
    Evidence(EvidenceReport),
}

/// What a verified journal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalReport {
    /// Whose it is.
    pub node: NodeId,
    /// How long its chain is and what signatures cover.
    pub summary: ChainSummary,
    /// How many records there are of each kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Below which epochs of its keys it keeps no shares.
    pub erased: BTreeMap<KeyName, Epoch>,
    /// The keys that it has destroyed.
    pub destroyed: Vec<KeyName>,
    /// Nodes that evidence in the journal proves guilty.
    pub blamed: Vec<NodeId>,
    /// How many pieces of evidence need the command to be checked, and were not.
    pub unchecked_evidence: u64,
}

/// What verified receipts say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignaturesReport {
    /// The key.
    pub key: KeyName,
    /// Who signed shares.
    pub signers: Vec<NodeId>,
    /// How many signatures there are.
    pub count: usize,
}

/// What verified evidence says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceReport {
    /// Who is proven guilty.
    pub culprit: NodeId,
    /// Of what.
    pub fault: String,
}

/// Verifies files against the rosters of a cluster, and what they say about each other. Rosters that a
/// journal adds to the chain are followed.
pub struct Verifier {
    pub(super) roster: PinnedRoster,
    followings: Followings,
    receipts: ReceiptChecker,
    pub(super) cross: CrossCheck,
    endings: Endings,
    /// The keys of which nodes have heard that the epoch in use is one of others.
    given_away: BTreeSet<(NodeId, KeyName)>,
    /// Signatures, until the certificates of their epochs are known.
    signed: Vec<SignedFile>,
}

/// What a file of signatures holds.
struct SignedFile {
    outcome: SignOutcome,
    command: Digest,
    sign: Sign,
}

impl Verifier {
    /// Starts with nothing.
    pub fn new(roster: &PinnedRoster) -> Self {
        let receipts = ReceiptChecker::new(roster);
        Self {
            roster: roster.clone(),
            followings: Followings::default(),
            receipts,
            cross: CrossCheck::default(),
            endings: Endings::default(),
            given_away: BTreeSet::new(),
            signed: Vec::new(),
        }
    }

    /// Verifies one file by itself.
    pub fn add(&mut self, input: impl BufRead) -> Result<FileReport, AuditFileError> {
        let file = AuditFile::open(input)?;
        let (found, expected) = (file.header.roster, self.roster.hash());
        if !self.roster.knows(&found) {
            return Err(AuditFileError::OtherRoster { found, expected });
        }
        match file.header.kind {
            FileKind::Journal => self.journal(file).map(FileReport::Journal),
            FileKind::Signatures => self.signatures(file).map(FileReport::Signatures),
            FileKind::Evidence => self.evidence(file).map(FileReport::Evidence),
        }
    }

    /// Matches what the files say about each other (P38).
    pub fn finish(self) -> Result<Matched, AuditFileError> {
        let matched = self.cross.finish(&self.roster);
        let matched = matched.map_err(AuditFileError::Contradiction)?;
        for signed in &self.signed {
            self.check_signed(signed)?;
        }
        Ok(matched)
    }

    /// Checks signatures and signers under the certificate of the epoch that they were made in,
    /// where a journal that was given holds it with its proof.
    fn check_signed(&self, signed: &SignedFile) -> Result<(), AuditFileError> {
        let SignedFile {
            outcome,
            command,
            sign,
        } = signed;
        let record = self.cross.proven(&outcome.key, outcome.epoch);
        let Some(record) = record.filter(|record| record.id() == sign.key_id) else {
            return Ok(());
        };
        let refused = |error: &dyn std::fmt::Display| does_not_hold("signatures", error);
        let verifiers = Verifiers::new(record).map_err(|error| refused(&error))?;
        let decoded = decode_all(&sign.payloads, &KeyFacts::of(record));
        let decoded = decoded.map_err(|error| refused(&Refusal::from(&error)))?;
        let items: Vec<_> = decoded.iter().flat_map(|payload| &payload.items).collect();
        verify::outcome(record, &verifiers, command, &items, outcome, &self.receipts)
            .map_err(|error| refused(&error))
    }

    fn journal<R: BufRead>(
        &mut self,
        mut file: AuditFile<R>,
    ) -> Result<JournalReport, AuditFileError> {
        let node = file
            .header
            .node
            .clone()
            .ok_or_else(|| does_not_hold("journal", "no node"))?;
        let card = self
            .roster
            .card(&node)
            .cloned()
            .ok_or_else(|| AuditFileError::UnknownNode(node.clone()))?;
        if self.cross.knows(&node) {
            return Err(does_not_hold(
                "journal",
                "the same node's was given already",
            ));
        }
        let mut chain = ChainVerifier::new(&card.identity_key, ChainPosition::START)
            .map_err(|error| does_not_hold("journal", error))?;
        let mut report = JournalContent::default();
        let broken = |source| AuditFileError::Chain {
            node: node.clone(),
            source,
        };
        while let Some(bytes) = file.next_record()? {
            let (record, hash) = chain.push(&bytes).map_err(broken)?;
            self.record(&node, &record, hash, &mut report)?;
        }
        let summary = chain.finish().map_err(broken)?;
        let JournalContent {
            kinds,
            blamed,
            unchecked_evidence,
        } = report;
        Ok(JournalReport {
            erased: self.cross.erased(&node),
            destroyed: self.endings.destroyed(&node),
            node,
            summary,
            kinds,
            blamed,
            unchecked_evidence,
        })
    }

    fn record(
        &mut self,
        node: &NodeId,
        record: &Record,
        hash: Digest,
        content: &mut JournalContent,
    ) -> Result<(), AuditFileError> {
        let count = content.kinds.entry(record.entry.kind()).or_default();
        *count = count.saturating_add(1);
        let what = || format!("record {} of node \"{node}\"", record.sequence);
        let refused = |error: String| does_not_hold(&what(), error);
        self.cross.record(node, record, hash).map_err(refused)?;
        let followed = self.followings.record(&self.roster, node, record);
        if let Some(next) = followed.map_err(refused)? {
            self.receipts = ReceiptChecker::new(&next);
            self.roster = next;
        }
        let held = if let Entry::KeyDestroyed(destroyed) = &record.entry {
            // Whoever has given its share to others hears no more of where the key stands.
            let at = (node.clone(), destroyed.key.clone());
            self.cross.birth(node, &destroyed.key).is_some() && !self.given_away.contains(&at)
        } else {
            false
        };
        let acted_by = self.followings.head(&self.roster, node);
        self.endings
            .record((&self.roster, acted_by.as_ref()), node, record, held)
            .map_err(refused)?;
        if let Entry::KeyCertified { certificate, .. } = &record.entry {
            self.certificate(node, certificate).map_err(refused)?;
        } else if let Entry::KeyIntroduced { key, birth } = &record.entry {
            self.birth(node, key, birth).map_err(refused)?;
        } else if let Entry::KeyActivated { key, epoch, proof } = &record.entry {
            let proven = PossessionProof::from_bytes(proof)
                .map_err(|error| does_not_hold(&what(), error))?
                .certificate;
            let certified = self.cross.certified_as(node, &proven);
            let certified = certified
                .filter(|record| record.name == *key && record.epoch == *epoch)
                .cloned()
                .ok_or_else(|| does_not_hold(&what(), "its key was never certified here"))?;
            let proof = verify::possession(proof, &certified, &self.roster)
                .map_err(|error| does_not_hold(&what(), error))?;
            proof
                .receipts
                .iter()
                .for_each(|receipt| self.cross.receipt(receipt, None));
            let at = (node.clone(), key.clone());
            if certified.index_of(node).is_some() {
                self.given_away.remove(&at);
            } else {
                self.given_away.insert(at);
            }
            self.cross.prove(certified);
        } else if let Entry::PeerBlamed {
            node: culprit,
            evidence,
        } = &record.entry
        {
            match self.prove(evidence, None) {
                Ok(report) if report.culprit == *culprit => content.blame(culprit),
                Ok(_) => return Err(does_not_hold(&what(), "its evidence blames another node")),
                Err(Unproven::FactsMissing) => {
                    content.unchecked_evidence = content.unchecked_evidence.saturating_add(1);
                }
                Err(Unproven::Refused(message)) => return Err(does_not_hold(&what(), message)),
            }
        }
        Ok(())
    }

    /// Verifies by what a node knows a key of whose first epoch it may have held nothing.
    fn birth(&mut self, node: &NodeId, key: &KeyName, birth: &[u8]) -> Result<(), String> {
        let (_, born) =
            verify::certificate(birth, None, &self.roster).map_err(|error| error.to_string())?;
        if born.name != *key {
            return Err(format!("it is the birth of key \"{}\"", born.name));
        }
        self.cross.introduce(node, key, birth);
        self.cross.certify(node, born)
    }

    /// Verifies a certificate that a node holds, and remembers what all holders have signed. One of
    /// a later epoch is verified beside the birth that the node holds.
    fn certificate(&mut self, node: &NodeId, bytes: &[u8]) -> Result<(), String> {
        let read = CommitCertificate::from_bytes(bytes).map_err(|error| error.to_string())?;
        let key = &read.statement.key;
        let is_later = read.statement.source.is_some();
        let birth = match self.cross.birth(node, key) {
            Some(birth) if is_later => Some(birth),
            None if is_later => return Err(format!("the birth of key \"{key}\" is not here")),
            Some(_) | None => None,
        };
        let (certificate, record) =
            verify::certificate(bytes, birth, &self.roster).map_err(|error| error.to_string())?;
        if !is_later {
            self.cross.introduce(node, &record.name, bytes);
        }
        let statement = certificate.statement.digest();
        let command = quorate_proto::command::decode(&certificate.command.bytes);
        let made = command.map_err(|error| error.to_string())?.created;
        for participant in &record.participants {
            self.cross.prepared(PreparedClaim {
                node: participant.node.clone(),
                key: record.name.clone(),
                epoch: record.epoch,
                statement,
                made,
            });
        }
        self.cross.certify(node, record)
    }

    fn signatures<R: BufRead>(
        &mut self,
        file: AuditFile<R>,
    ) -> Result<SignaturesReport, AuditFileError> {
        let [outcome, command] = file.records()?;
        let outcome: SignOutcome =
            wire::decode(&outcome).map_err(|error| does_not_hold("signatures", error))?;
        let (command, made, sign) = self.sign_command(&command)?;
        if sign.key != outcome.key {
            return Err(does_not_hold(
                "signatures",
                "the command is for another key",
            ));
        }
        let in_rounds = !outcome.scheme.is_frost();
        for (at, receipt) in outcome.receipts.iter().enumerate() {
            let statement = &receipt.statement;
            let is_signers = if in_rounds {
                outcome.signers.contains(&statement.node) && is_of_a_signature(&outcome, receipt)
            } else {
                outcome.signers.get(at) == Some(&statement.node)
                    && statement.items.len() == outcome.signatures.len()
            };
            let fits = is_signers
                && statement.key == outcome.key
                && statement.epoch == outcome.epoch
                && statement.command == command;
            if !fits || !self.receipts.holds(receipt) {
                return Err(does_not_hold(
                    "signatures",
                    format!("the receipt of \"{}\"", statement.node),
                ));
            }
            self.cross.receipt(receipt, Some((sign.key_id, made)));
        }
        let has_receipt = |signer: &NodeId| {
            let mut receipts = outcome.receipts.iter();
            receipts.any(|receipt| receipt.statement.node == *signer)
        };
        let complete = !outcome.signers.is_empty()
            && outcome.signers.iter().all(has_receipt)
            && (in_rounds || outcome.receipts.len() == outcome.signers.len());
        if !complete {
            return Err(does_not_hold(
                "signatures",
                "not one receipt of each signer",
            ));
        }
        let report = SignaturesReport {
            key: outcome.key.clone(),
            signers: outcome.signers.clone(),
            count: outcome.signatures.len(),
        };
        self.signed.push(SignedFile {
            outcome,
            command,
            sign,
        });
        Ok(report)
    }

    /// A command that signs, with its digest and when it was made. That it is endorsed is judged as nodes judge it: no
    /// honest one signs under another.
    fn sign_command(&self, bytes: &[u8]) -> Result<(Digest, UnixMillis, Sign), AuditFileError> {
        let signed: SignedCommand =
            wire::decode(bytes).map_err(|error| does_not_hold("signatures", error))?;
        let command = quorate_proto::admission::admit_ever(&self.roster, &signed)
            .map_err(|error| does_not_hold("signatures", error))?;
        let Some(sign) = command.body.signs() else {
            return Err(does_not_hold("signatures", "the command does not sign"));
        };
        Ok((signed.digest(), command.created, sign.clone()))
    }
}

/// What is counted while a journal is read.
#[derive(Default)]
struct JournalContent {
    kinds: BTreeMap<&'static str, u64>,
    blamed: Vec<NodeId>,
    unchecked_evidence: u64,
}

impl JournalContent {
    fn blame(&mut self, node: &NodeId) {
        if !self.blamed.contains(node) {
            self.blamed.push(node.clone());
        }
    }
}

pub(super) fn does_not_hold(what: &str, message: impl std::fmt::Display) -> AuditFileError {
    AuditFileError::DoesNotHold {
        what: what.to_owned(),
        message: message.to_string(),
    }
}

/// Whether a receipt for ECDSA is of exactly one of the signatures.
fn is_of_a_signature(outcome: &SignOutcome, receipt: &ShareReceipt) -> bool {
    let [item] = receipt.statement.items.as_slice() else {
        return false;
    };
    let mut signatures = outcome.signatures.iter();
    signatures.any(|signature| *whole_signature_hash(signature).as_bytes() == item.share)
}
