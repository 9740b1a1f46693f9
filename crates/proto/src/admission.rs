//! What is checked of a command wherever one arrives: everything that needs no state (P6, P7).
//!
//! A node checks it because nobody else is trusted; a coordinator checks the same to keep garbage
//! away from the nodes, and to answer callers at once. Signatures come before parsing.

use quorate_model::{
    NodeId, Reason, Refusal, UnixMillis,
    command::{
        Command, CommandBody, EndorsementError, MAX_COMMAND_BYTES, MAX_CREATED_AHEAD_MS,
        MAX_LIFETIME_MS, ShapeError, SignedCommand,
    },
    roster::{Followed, PinnedRoster, Role},
};

use crate::command;

/// Checks size, endorsements, encoding, cluster, roster, role, shape and persons, in this order.
/// Time is apart: see [`check_time`].
///
/// # Errors
///
/// The refusal that every node gives.
pub fn admit(pinned: &PinnedRoster, signed: &SignedCommand) -> Result<Command, Refusal> {
    let command = admit_proposal(pinned, signed)?;
    check_persons(pinned, signed, &command)?;
    Ok(command)
}

/// As [`admit`], by any roster that was in force since the command was made: for what was carried out
/// then and is looked at now.
///
/// Whoever was removed since still has the key that signs, and dates commands as they like: what
/// [`admit`] refuses counts only with the word of enough nodes that they acted by it in time.
///
/// # Errors
///
/// The refusal under the roster in force, when no roster admits it.
pub fn admit_ever(pinned: &PinnedRoster, signed: &SignedCommand) -> Result<Command, Refusal> {
    admit_noting_when(pinned, signed).map(|(command, _)| command)
}

/// As [`admit_ever`], with whether the roster in force admits the command too.
///
/// # Errors
///
/// The refusal under the roster in force, when no roster admits it.
pub fn admit_noting_when(
    pinned: &PinnedRoster,
    signed: &SignedCommand,
) -> Result<(Command, bool), Refusal> {
    let now = match admit(pinned, signed) {
        Ok(command) => return Ok((command, true)),
        Err(refusal) => refusal,
    };
    let earlier = pinned.history().skip(1);
    let mut earlier = earlier.filter_map(|(_, hash)| admit(&pinned.at(&hash)?, signed).ok());
    earlier
        .next()
        .map_or(Err(now), |command| Ok((command, false)))
}

/// The same for a command for which more persons may have to speak: see [`check_persons`].
///
/// # Errors
///
/// The refusal that every node gives.
pub fn admit_proposal(pinned: &PinnedRoster, signed: &SignedCommand) -> Result<Command, Refusal> {
    admit_spoken(pinned, signed, &SignedCommand::proposed_in)
}

/// The same for a command that is only asked about, and carried out by nobody.
///
/// # Errors
///
/// The refusal that every node gives.
pub fn admit_question(pinned: &PinnedRoster, signed: &SignedCommand) -> Result<Command, Refusal> {
    let is_spoken =
        |signed: &SignedCommand, role| signed.asked_in(role) || signed.proposed_in(role);
    admit_spoken(pinned, signed, &is_spoken)
}

fn admit_spoken(
    pinned: &PinnedRoster,
    signed: &SignedCommand,
    is_spoken: &dyn Fn(&SignedCommand, Role) -> bool,
) -> Result<Command, Refusal> {
    check_size(signed)?;
    check_endorsements(pinned, signed)?;
    let command = command::decode(&signed.bytes)?;
    check_place(pinned, &command)?;
    let role = command.body.role();
    if !is_spoken(signed, role) && !signed.is_forbidden(&command.body) {
        return Err(Refusal::new(
            Reason::RoleMissing,
            format!(
                "the command is proposed by nobody with the role {}",
                role.as_str()
            ),
        )
        .with("role", role.as_str()));
    }
    match &command.body {
        CommandBody::CreateKey(create) => {
            let committee = (&*create.nodes, create.threshold);
            check_shape(pinned, create.check_shape(), committee)?;
        }
        CommandBody::ReshareKey(reshare) => {
            let committee = (&*reshare.nodes, reshare.threshold);
            check_shape(pinned, reshare.check_shape(), committee)?;
        }
        CommandBody::ChangeRoster(_) => check_roster(pinned, signed, &command)?,
        CommandBody::ReadmitNode(readmit) => readmit.check(pinned.roster())?,
        CommandBody::Sign(_) | CommandBody::SetKeyState(_) | _ => {}
    }
    check_lifetime(&command)?;
    Ok(command)
}

/// Refuses what is larger than any command, before anything of it is looked at.
pub(crate) fn check_size(signed: &SignedCommand) -> Result<(), Refusal> {
    if signed.bytes.len() <= MAX_COMMAND_BYTES {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::TooLarge,
        format!(
            "the command has {} bytes, at most {MAX_COMMAND_BYTES} are read",
            signed.bytes.len()
        ),
    ))
}

/// Checks what is wrong with the times of a command by any clock: what a node would refuse for ever
/// is not to be learned from anybody either.
fn check_lifetime(command: &Command) -> Result<(), Refusal> {
    if command.expires <= command.created {
        return Err(invalid("the command expires before it was made".to_owned()));
    }
    let lifetime = command.expires.since(command.created);
    if lifetime > MAX_LIFETIME_MS {
        return Err(invalid(format!(
            "the command lives {lifetime} ms, at most {MAX_LIFETIME_MS} ms"
        )));
    }
    Ok(())
}

/// Checks that enough distinct persons speak for the command (P6, P11). One that an admin forbids
/// needs no more.
///
/// # Errors
///
/// [`Reason::EndorsementsMissing`] when they do not.
pub fn check_persons(
    pinned: &PinnedRoster,
    signed: &SignedCommand,
    command: &Command,
) -> Result<(), Refusal> {
    let roster = pinned.roster();
    let needed = command.body.persons_needed(roster);
    let role = command.body.role();
    let persons = signed.persons_for(role, roster).len();
    if persons >= needed || signed.is_forbidden(&command.body) {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::EndorsementsMissing,
        format!(
            "{persons} of {needed} persons with the role {} speak for the command: have another \
             one approve it",
            role.as_str()
        ),
    )
    .with("persons", persons)
    .with("needed", needed)
    .with("role", role.as_str()))
}

/// Checks that every endorsement is of a principal of the roster and holds.
///
/// # Errors
///
/// When one does not.
pub fn check_endorsements(pinned: &PinnedRoster, signed: &SignedCommand) -> Result<(), Refusal> {
    signed
        .verify_endorsements(&pinned.cluster(), pinned.roster())
        .map_err(|error| refused(&error))
}

/// Why endorsements do not carry a command, as the refusal that every node gives.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other fault is in the endorsement itself"
)]
pub(crate) fn refused(error: &EndorsementError) -> Refusal {
    let reason = match error {
        EndorsementError::UnknownPrincipal(_) => Reason::PrincipalUnknown,
        EndorsementError::NotItsRole { .. } => Reason::RoleMissing,
        _ => Reason::EndorsementInvalid,
    };
    Refusal::new(reason, error.to_string())
}

/// Checks the times of a command against a clock that the caller trusts (P6). A command that does
/// not expire is carried out whenever it is heard of.
///
/// # Errors
///
/// When the command lives too long, is made ahead of time, or has expired.
pub fn check_time(command: &Command, now: UnixMillis) -> Result<(), Refusal> {
    check_lifetime(command)?;
    if !command.body.expires() {
        return Ok(());
    }
    check_made(command, now)?;
    if command.expires <= now {
        return Err(expired());
    }
    Ok(())
}

/// Checks that a command was not made ahead of time.
///
/// # Errors
///
/// [`Reason::CommandTimeInvalid`] when it was.
pub fn check_made(command: &Command, now: UnixMillis) -> Result<(), Refusal> {
    let ahead = command.created.since(now);
    if ahead > MAX_CREATED_AHEAD_MS {
        return Err(invalid(format!(
            "the command was made {ahead} ms ahead of the time here, at most \
             {MAX_CREATED_AHEAD_MS} ms: check the clocks"
        )));
    }
    Ok(())
}

fn invalid(message: String) -> Refusal {
    Refusal::new(Reason::CommandTimeInvalid, message)
}

/// The command came too late.
pub fn expired() -> Refusal {
    Refusal::new(
        Reason::CommandExpired,
        "the command has expired: make it again with a new id",
    )
}

fn check_place(pinned: &PinnedRoster, command: &Command) -> Result<(), Refusal> {
    if command.cluster != pinned.cluster() {
        return Err(Refusal::new(
            Reason::WrongCluster,
            format!(
                "the command is for cluster {}, this is cluster {}",
                command.cluster.short(),
                pinned.cluster().short()
            ),
        ));
    }
    // The words of principals are judged by the roster in force, whichever the command was made under.
    if !pinned.follows(&command.roster) {
        return Err(Refusal::new(
            Reason::RosterBehind,
            format!(
                "the command was made under roster {}, roster {} is held here: bring both to the \
                 same roster and make the command again",
                command.roster.short(),
                pinned.hash().short()
            ),
        ));
    }
    Ok(())
}

fn check_shape(
    pinned: &PinnedRoster,
    shape: Result<(), ShapeError>,
    (holders, threshold): (&[NodeId], u16),
) -> Result<(), Refusal> {
    shape.map_err(|error| Refusal::new(Reason::ShapeInvalid, error.to_string()))?;
    pinned.roster().check_committee(holders, threshold)
}

/// Checks the next roster by everything but how many persons speak for it.
fn check_roster(
    pinned: &PinnedRoster,
    signed: &SignedCommand,
    command: &Command,
) -> Result<(), Refusal> {
    match pinned.follow(signed, command) {
        Ok(Followed::InForce(_) | Followed::Known) => Ok(()),
        Ok(Followed::Aside(_)) => Err(Refusal::new(
            Reason::RosterForked,
            "another roster follows the same one and is in force: make the change again on top of it",
        )),
        Err(refusal)
            if matches!(
                refusal.reason,
                Reason::EndorsementsMissing | Reason::CommandRejected
            ) =>
        {
            Ok(())
        }
        Err(refusal) => Err(refusal),
    }
}

#[cfg(test)]
mod tests {
    use quorate_model::{
        CommandId, Digest, KeyId,
        command::{REMEMBER_MARGIN_MS, Sign},
    };
    use uuid::Uuid;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn command(created: UnixMillis, expires: UnixMillis) -> Command {
        Command {
            cluster: Digest::ZERO,
            roster: Digest::ZERO,
            id: CommandId(Uuid::nil()),
            created,
            expires,
            body: CommandBody::Sign(Sign {
                key: "notes".parse().unwrap(),
                key_id: KeyId([0; 32]),
                payloads: Vec::new(),
            }),
        }
    }

    #[test]
    fn a_command_is_carried_out_from_its_making_to_its_expiry() {
        let ago = |ms: u64| UnixMillis(NOW.0.saturating_sub(ms));
        for (created, expires, expected) in [
            (NOW, NOW.plus(1), None),
            (
                NOW.plus(MAX_CREATED_AHEAD_MS),
                NOW.plus(MAX_LIFETIME_MS),
                None,
            ),
            (ago(1), NOW.plus(MAX_LIFETIME_MS - 1), None),
            (
                ago(1),
                NOW.plus(MAX_LIFETIME_MS),
                Some(Reason::CommandTimeInvalid),
            ),
            (NOW, NOW, Some(Reason::CommandTimeInvalid)),
            (NOW, ago(1), Some(Reason::CommandTimeInvalid)),
            (
                NOW.plus(MAX_CREATED_AHEAD_MS + 1),
                NOW.plus(MAX_LIFETIME_MS),
                Some(Reason::CommandTimeInvalid),
            ),
            (ago(1), NOW, Some(Reason::CommandExpired)),
            (
                ago(REMEMBER_MARGIN_MS),
                ago(1),
                Some(Reason::CommandExpired),
            ),
        ] {
            let judged = check_time(&command(created, expires), NOW);

            assert_eq!(judged.err().map(|refusal| refusal.reason), expected);
        }
    }
}
