//! The gate (P7): what is checked of a command at every node before any protocol message.
//!
//! The order matters: signatures before parsing, and everything that needs no state before
//! everything that does.

use quorate_model::{
    Digest, Reason, Refusal, UnixMillis,
    command::{
        Command, CommandBody, EndorsementError, MAX_COMMAND_BYTES, MAX_CREATED_AHEAD_MS,
        MAX_LIFETIME_MS, SignedCommand,
    },
    roster::PinnedRoster,
};

/// A command that passed every check that needs no state. Only [`admit`] makes one.
#[derive(Debug)]
pub(super) struct Admitted {
    command: Command,
    digest: Digest,
    endorsements: Digest,
    rejected: bool,
}

impl Admitted {
    /// The command.
    pub(super) fn command(&self) -> &Command {
        &self.command
    }

    /// The digest of its exact bytes.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// The hash of its endorsements.
    pub(super) fn endorsements(&self) -> Digest {
        self.endorsements
    }

    /// Whether an admin forbids the command: final, for every later try (P8).
    pub(super) fn is_rejected(&self) -> bool {
        self.rejected
    }
}

/// Checks signatures, decodes, and checks cluster, roster, time and role.
pub(super) fn admit(
    pinned: &PinnedRoster,
    signed: &SignedCommand,
    now: UnixMillis,
) -> Result<Admitted, Refusal> {
    if signed.bytes.len() > MAX_COMMAND_BYTES {
        return Err(Refusal::new(
            Reason::TooLarge,
            format!(
                "the command has {} bytes, at most {MAX_COMMAND_BYTES} are read",
                signed.bytes.len()
            ),
        ));
    }
    signed
        .verify_endorsements(&pinned.cluster(), pinned.roster())
        .map_err(|error| endorsement_refusal(&error))?;
    let command = quorate_proto::command::decode(&signed.bytes)?;
    check_place(pinned, &command)?;
    check_time(&command, now)?;
    let role = command.body.role();
    if !signed.proposed_in(role) && !signed.rejected() {
        return Err(Refusal::new(
            Reason::RoleMissing,
            format!(
                "the command is proposed by nobody with the role {}",
                role.as_str()
            ),
        )
        .with("role", role.as_str()));
    }
    if let CommandBody::CreateKey(create) = &command.body {
        create
            .check_shape()
            .map_err(|error| Refusal::new(Reason::ShapeInvalid, error.to_string()))?;
        if let Some(stranger) = create
            .nodes
            .iter()
            .find(|id| pinned.roster().node(id).is_none())
        {
            return Err(Refusal::new(
                Reason::NodeUnknown,
                format!("node \"{stranger}\" is not in the roster"),
            )
            .with("node", stranger));
        }
    }
    Ok(Admitted {
        digest: signed.digest(),
        endorsements: signed.endorsement_set_hash(),
        rejected: signed.rejected(),
        command,
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other fault is in the endorsement itself"
)]
fn endorsement_refusal(error: &EndorsementError) -> Refusal {
    let reason = match error {
        EndorsementError::UnknownPrincipal(_) => Reason::PrincipalUnknown,
        EndorsementError::NotItsRole { .. } => Reason::RoleMissing,
        _ => Reason::EndorsementInvalid,
    };
    Refusal::new(reason, error.to_string())
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
    if command.roster != pinned.hash() {
        return Err(Refusal::new(
            Reason::RosterBehind,
            format!(
                "the command was made under roster {}, this node holds roster {}: bring both to \
                 the same roster and make the command again",
                command.roster.short(),
                pinned.hash().short()
            ),
        ));
    }
    Ok(())
}

fn check_time(command: &Command, now: UnixMillis) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(Reason::CommandTimeInvalid, message));
    if command.expires <= command.created {
        return invalid("the command expires before it was made".to_owned());
    }
    let lifetime = command.expires.since(command.created);
    if lifetime > MAX_LIFETIME_MS {
        return invalid(format!(
            "the command lives {lifetime} ms, at most {MAX_LIFETIME_MS} ms"
        ));
    }
    let ahead = command.created.since(now);
    if ahead > MAX_CREATED_AHEAD_MS {
        return invalid(format!(
            "the command was made {ahead} ms ahead of this node's time, at most \
             {MAX_CREATED_AHEAD_MS} ms: check the clocks"
        ));
    }
    if command.expires <= now {
        return Err(Refusal::new(
            Reason::CommandExpired,
            "the command has expired: make it again with a new id",
        ));
    }
    Ok(())
}
