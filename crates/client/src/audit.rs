//! Exported audit files, and their verification without any machine of the cluster (P38).
//!
//! A file is lines of JSON, so that it streams and a person can look into it: a header that says
//! what it is and for which roster, the exact bytes of records in hex, and an end that says how
//! many there are, so that a file that was cut is noticed. [`Verifier`] checks any number of files
//! together against a pinned roster and those that follow it.

mod cross;
mod ending;
mod file;
mod proving;
mod rosters;
mod verifier;

pub use cross::Matched;
pub use file::{AuditFileError, FileKind, JournalWriter, write_evidence, write_signatures};
pub use proving::key_of_evidence;
pub use verifier::{EvidenceReport, FileReport, JournalReport, SignaturesReport, Verifier};

#[cfg(test)]
mod tests;
