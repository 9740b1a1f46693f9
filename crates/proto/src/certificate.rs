//! Verification of commit certificates from their bytes (P20).

use quorate_model::{KeyRecord, Refusal, certificate::CommitCertificate, roster::PinnedRoster};

use crate::command;

/// Reads a certificate of a key's birth and checks it in full under a pinned roster: what the
/// command asked for is what all holders signed.
///
/// Says nothing about possession: the key is to be used only once every share has been proven.
///
/// # Errors
///
/// [`Reason::ProtocolViolation`](quorate_model::Reason::ProtocolViolation) when it does not hold,
/// or the refusal of the command that it carries.
pub fn verify(
    bytes: &[u8],
    pinned: &PinnedRoster,
) -> Result<(CommitCertificate, KeyRecord), Refusal> {
    let certificate = CommitCertificate::from_bytes(bytes)?;
    let command = command::decode(&certificate.command.bytes)?;
    let record = certificate.verify_birth(pinned, &command)?;
    Ok((certificate, record))
}

#[cfg(test)]
mod tests;
