//! Verification of commit certificates from their bytes (P20).

use quorate_model::{
    KeyRecord, Reason, Refusal,
    certificate::{CommitCertificate, EpochChange},
    command::CommandBody,
    roster::PinnedRoster,
};

use crate::{admission, command};

/// Reads the certificate of an epoch of a key and checks it under a pinned roster: what the command
/// asked for is what all holders signed. An epoch later than the first needs the certificate of the
/// key's birth beside it, and the key's id, group key and chain code are those of the birth.
///
/// Says nothing about possession: an epoch is to be used only once every share has been proven, and
/// a later one is not to be relied on for anything before (decision 0019).
///
/// # Errors
///
/// [`Reason::ProtocolViolation`] when it does not hold,
/// or the refusal of the command that it carries.
pub fn verify(
    bytes: &[u8],
    birth: Option<&[u8]>,
    pinned: &PinnedRoster,
) -> Result<(CommitCertificate, KeyRecord), Refusal> {
    let certificate = CommitCertificate::from_bytes(bytes)?;
    let command = command::decode(&certificate.command.bytes)?;
    let Some(birth) = birth else {
        let record = certificate.verify_birth(pinned, &command)?;
        // Whoever relies on the destinations of a key looks for the quorum that pinned them.
        if let CommandBody::CreateKey(create) = &command.body
            && !create.life.evacuation.is_empty()
        {
            // As every holder judged it, by the roster under which the key was made.
            let made_under = pinned.at(&certificate.statement.roster);
            let made_under = made_under.as_ref().unwrap_or(pinned);
            admission::check_persons(made_under, &certificate.command, &command)?;
        }
        return Ok((certificate, record));
    };
    let CommandBody::ReshareKey(reshare) = &command.body else {
        return Err(Refusal::new(
            Reason::ProtocolViolation,
            "certificate does not hold: its command does not reshare a key",
        ));
    };
    let (_, birth) = verify(birth, None, pinned)?;
    let change = EpochChange {
        cluster: command.cluster,
        roster: command.roster,
        reshare,
    };
    let record = certificate.verify_epoch_change(pinned, change, &birth)?;
    Ok((certificate, record))
}

#[cfg(test)]
pub(crate) mod tests;
