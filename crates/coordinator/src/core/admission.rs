//! What is checked of a command before the core takes it up: everything that needs no state and no
//! clock, so that it can run on any thread.
//!
//! None of it protects anything, because every node checks all of it again (P7). It keeps garbage
//! away from the nodes and gives callers an answer at once.

use std::sync::Arc;

use quorate_model::{
    Digest, Reason, Refusal,
    command::{
        Command, CommandBody, EndorsementError, MAX_COMMAND_BYTES, MAX_CREATED_AHEAD_MS,
        MAX_LIFETIME_MS, SignedCommand,
    },
    ids::UnixMillis,
    roster::PinnedRoster,
};

/// A command whose endorsements hold. Only [`admit`] makes one.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub(super) signed: Arc<SignedCommand>,
    pub(super) command: Arc<Command>,
    pub(super) digest: Digest,
}

impl Admitted {
    /// The command.
    pub fn command(&self) -> &Command {
        &self.command
    }

    /// The digest of its exact bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// Checks size, endorsements, encoding, cluster, roster, role and shape, in this order.
///
/// # Errors
///
/// The refusal that every node would give as well.
pub fn admit(pinned: &PinnedRoster, signed: SignedCommand) -> Result<Admitted, Refusal> {
    if signed.bytes.len() > MAX_COMMAND_BYTES {
        return Err(Refusal::new(
            Reason::TooLarge,
            format!(
                "the command has {} bytes, at most {MAX_COMMAND_BYTES} are read",
                signed.bytes.len()
            ),
        ));
    }
    check_endorsements(pinned, &signed)?;
    let command = quorate_proto::command::decode(&signed.bytes)?;
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
                "the command was made under roster {}, this coordinator holds roster {}",
                command.roster.short(),
                pinned.hash().short()
            ),
        ));
    }
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
    check_shape(pinned, &command)?;
    Ok(Admitted {
        digest: signed.digest(),
        signed: Arc::new(signed),
        command: Arc::new(command),
    })
}

/// Checks that every endorsement is of a principal of the roster and holds.
pub(super) fn check_endorsements(
    pinned: &PinnedRoster,
    signed: &SignedCommand,
) -> Result<(), Refusal> {
    signed
        .verify_endorsements(&pinned.cluster(), pinned.roster())
        .map_err(|error| {
            let reason = if let EndorsementError::UnknownPrincipal(_) = &error {
                Reason::PrincipalUnknown
            } else if let EndorsementError::NotItsRole { .. } = &error {
                Reason::RoleMissing
            } else {
                Reason::EndorsementInvalid
            };
            Refusal::new(reason, error.to_string())
        })
}

fn check_shape(pinned: &PinnedRoster, command: &Command) -> Result<(), Refusal> {
    let CommandBody::CreateKey(create) = &command.body else {
        return Ok(());
    };
    create
        .check_shape()
        .map_err(|error| Refusal::new(Reason::ShapeInvalid, error.to_string()))?;
    match create
        .nodes
        .iter()
        .find(|id| pinned.roster().node(id).is_none())
    {
        Some(stranger) => Err(Refusal::new(
            Reason::NodeUnknown,
            format!("node \"{stranger}\" is not in the roster"),
        )
        .with("node", stranger)),
        None => Ok(()),
    }
}

/// Checks the times of a command (P6).
pub(super) fn check_time(command: &Command, wall: UnixMillis) -> Result<(), Refusal> {
    let lifetime = command.expires.since(command.created);
    if command.expires <= command.created || lifetime > MAX_LIFETIME_MS {
        return Err(Refusal::new(
            Reason::CommandTimeInvalid,
            format!("the command lives {lifetime} ms, expected 1 to {MAX_LIFETIME_MS} ms"),
        ));
    }
    let ahead = command.created.since(wall);
    if ahead > MAX_CREATED_AHEAD_MS {
        return Err(Refusal::new(
            Reason::CommandTimeInvalid,
            format!(
                "the command was made {ahead} ms ahead of the coordinator's time, at most \
                 {MAX_CREATED_AHEAD_MS} ms: check the clocks"
            ),
        ));
    }
    if command.expires <= wall {
        return Err(expired());
    }
    Ok(())
}

pub(super) fn expired() -> Refusal {
    Refusal::new(
        Reason::CommandExpired,
        "the command has expired: make it again with a new id",
    )
}
