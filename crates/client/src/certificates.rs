//! Certificates as files: of the birth of a key, of its epoch, and of its end. Whoever has the roster
//! verifies them offline, whatever has become of the cluster.

use quorate_model::{
    KeyRecord, UnixMillis,
    certificate::{Certificate, KeyEvidence},
    destruction::DestructionCount,
    life::KeyLife,
    roster::PinnedRoster,
};

use crate::{
    destruction::verify_destruction,
    key::{ListedKey, Plan},
    verify::{VerificationError, certificate, possession},
};

/// What a certificate proves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Proven {
    /// That all holders certified a key in one epoch.
    Key {
        /// The key.
        record: KeyRecord,
        /// Whether every share has been proven too.
        possession: bool,
        /// What its creation planned for it: its periods, and where it may be evacuated to.
        life: KeyLife,
        /// When its creation was commanded, as the admin gave it.
        created: UnixMillis,
    },
    /// How far the end of a key has come.
    Destruction {
        /// The key, in its last epoch.
        record: KeyRecord,
        /// Who has destroyed what it held, and who has not said so.
        count: DestructionCount,
    },
}

/// All certificates of a key that a coordinator shows, verified: of its birth, of its epoch where
/// that is a later one, and of its end.
///
/// # Errors
///
/// When the certificate of its end does not hold.
pub fn certificates_of(
    key: &ListedKey,
    roster: &PinnedRoster,
) -> Result<Vec<(String, Certificate)>, VerificationError> {
    let evidence = key.evidence();
    let mut all = Vec::new();
    let epoch = match &evidence.birth {
        Some(birth) => {
            let birth = KeyEvidence {
                certificate: birth.clone(),
                proof: None,
                birth: None,
            };
            all.push(("creation".to_owned(), Certificate::Key(birth)));
            format!("epoch-{}", key.record().epoch)
        }
        None => "creation".to_owned(),
    };
    all.push((epoch, Certificate::Key(evidence.clone())));
    if let Some((end, _)) = key.destruction_certificate(roster)? {
        all.push(("destruction".to_owned(), Certificate::Destruction(end)));
    }
    Ok(all)
}

/// Verifies the certificate with nothing but the roster.
///
/// # Errors
///
/// [`VerificationError`] when any part of it does not hold.
pub fn verify_certificate(
    of: &Certificate,
    roster: &PinnedRoster,
) -> Result<Proven, VerificationError> {
    match of {
        Certificate::Key(evidence) => {
            let birth = evidence.birth.as_deref();
            let (certified, record) = certificate(&evidence.certificate, birth, roster)?;
            let plan = Plan::read(&certified, birth)?;
            match &evidence.proof {
                Some(proof) => {
                    possession(proof, &record, roster)?;
                }
                // A later epoch counts for nothing before it is proven (decision 0019).
                None if birth.is_some() => {
                    return Err(VerificationError::UnprovenEpoch {
                        key: record.name,
                        epoch: record.epoch,
                    });
                }
                None => {}
            }
            Ok(Proven::Key {
                record,
                possession: evidence.proof.is_some(),
                life: plan.life,
                created: plan.created,
            })
        }
        Certificate::Destruction(certificate) => {
            let (record, count) = verify_destruction(certificate, roster)?;
            Ok(Proven::Destruction { record, count })
        }
    }
}
