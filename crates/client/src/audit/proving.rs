//! Evidence against nodes, checked with what is known of the key in the epoch that it is about.

use std::io::BufRead;

use quorate_model::{Epoch, KeyName, KeyRecord, NodeId, certificate::KeyEvidence};
use quorate_protocol::{
    evidence::{Evidence, Facts, NotProven, SigningFacts},
    frost::PublicKeys,
};

use super::{
    file::{AuditFile, AuditFileError},
    verifier::{EvidenceReport, Verifier, does_not_hold},
};
use crate::verify;

impl Verifier {
    pub(super) fn evidence<R: BufRead>(
        &mut self,
        mut file: AuditFile<R>,
    ) -> Result<EvidenceReport, AuditFileError> {
        let missing = || does_not_hold("evidence", "the file holds none");
        let evidence = file.next_record()?.ok_or_else(missing)?;
        let key = match file.next_record()? {
            Some(certificate) => Some(KeyEvidence {
                certificate,
                proof: file.next_record()?,
                birth: file.next_record()?,
            }),
            None => None,
        };
        if key.as_ref().is_some_and(|key| key.birth.is_some()) && file.next_record()?.is_some() {
            return Err(does_not_hold(
                "evidence",
                "the file holds more than one piece",
            ));
        }
        self.prove(&evidence, key.as_ref())
            .map_err(|unproven| match unproven {
                Unproven::Refused(message) => does_not_hold("evidence", message),
                Unproven::FactsMissing => does_not_hold(
                    "evidence",
                    "it is about a signature share, and the file lacks the certificate of its key",
                ),
            })
    }

    /// Checks evidence, with what is known of the key in the epoch that it is about: by a journal
    /// that was given before, or by what stands beside the evidence.
    pub(super) fn prove(
        &self,
        evidence: &[u8],
        key: Option<&KeyEvidence>,
    ) -> Result<EvidenceReport, Unproven> {
        let evidence = Evidence::from_bytes(evidence).map_err(Unproven::refused)?;
        let journaled = epoch_of(&evidence).and_then(|(key, epoch)| self.cross.proven(key, epoch));
        let signing = match (journaled, key) {
            (Some(record), _) => Some(SigningContext::new(record.clone())?),
            (None, Some(key)) => Some(self.signing_context(key)?),
            (None, None) => None,
        };
        let identity_of = |node: &NodeId| self.roster.card(node).map(|card| card.identity_key);
        let facts = Facts {
            identity_of: &identity_of,
            signing: signing.as_ref().map(SigningContext::facts),
        };
        match evidence.verify(&facts) {
            Ok(blamed) => Ok(EvidenceReport {
                culprit: blamed.node,
                fault: blamed.fault.to_string(),
            }),
            Err(NotProven::FactsMissing) => Err(Unproven::FactsMissing),
            Err(error) => Err(Unproven::refused(error)),
        }
    }

    /// The public side of a key, from its certificate; that of a later epoch than the first only
    /// with its proof (decision 0019).
    fn signing_context(&self, key: &KeyEvidence) -> Result<SigningContext, Unproven> {
        let birth = key.birth.as_deref();
        let (_, record) = verify::certificate(&key.certificate, birth, &self.roster)
            .map_err(Unproven::refused)?;
        match &key.proof {
            Some(proof) => {
                verify::possession(proof, &record, &self.roster).map_err(Unproven::refused)?;
            }
            None if birth.is_some() => return Err(Unproven::FactsMissing),
            None => {}
        }
        SigningContext::new(record)
    }
}

/// The key and the epoch whose certificate evidence is checked with, where it needs one.
fn epoch_of(evidence: &Evidence) -> Option<(&KeyName, Epoch)> {
    let Evidence::BadSignatureShare(bad) = evidence else {
        return None;
    };
    let statement = &bad.receipt.statement;
    Some((&statement.key, statement.epoch))
}

/// What signature shares are checked against.
struct SigningContext {
    record: KeyRecord,
    keys: PublicKeys,
}

impl SigningContext {
    fn new(record: KeyRecord) -> Result<Self, Unproven> {
        let keys = PublicKeys::of_record(&record).map_err(Unproven::refused)?;
        Ok(Self { record, keys })
    }

    fn facts(&self) -> SigningFacts<'_> {
        SigningFacts {
            key: &self.record.name,
            epoch: self.record.epoch,
            participants: &self.record.participants,
            keys: &self.keys,
            chain_code: &self.record.chain_code,
        }
    }
}

/// Why evidence proves nothing here.
pub(super) enum Unproven {
    /// It needs the certificate of the key.
    FactsMissing,
    /// It does not hold.
    Refused(String),
}

impl Unproven {
    fn refused(error: impl std::fmt::Display) -> Self {
        Self::Refused(error.to_string())
    }
}

/// The key whose certificate evidence about a signature share is checked with; none for evidence
/// that needs none.
pub fn key_of_evidence(evidence: &[u8]) -> Option<KeyName> {
    let Ok(Evidence::BadSignatureShare(bad)) = Evidence::from_bytes(evidence) else {
        return None;
    };
    Some(bad.receipt.statement.key)
}
