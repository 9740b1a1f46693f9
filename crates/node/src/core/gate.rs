//! The gate (P7): what is checked of a command at every node before any protocol message.
//!
//! The order matters: signatures before parsing, and everything that needs no state before
//! everything that does.

use quorate_model::{
    Digest, Refusal, UnixMillis,
    command::{Command, SignedCommand},
    roster::PinnedRoster,
};
use quorate_proto::admission;

/// A command that passed every check that needs no state. Only this module makes one.
#[derive(Debug)]
pub(super) struct Admitted {
    command: Command,
    roster: Digest,
    digest: Digest,
    endorsements: Digest,
    rejected: bool,
}

impl Admitted {
    /// The command.
    pub(super) fn command(&self) -> &Command {
        &self.command
    }

    /// The roster that was in force when it was judged.
    pub(super) fn roster(&self) -> Digest {
        self.roster
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

/// Checks everything that needs no state, and the time.
pub(super) fn admit(
    pinned: &PinnedRoster,
    signed: &SignedCommand,
    now: UnixMillis,
) -> Result<Admitted, Refusal> {
    judged(pinned, admission::admit(pinned, signed)?, signed, now)
}

/// As [`admit`], whoever else must still speak for the command: for a node that is asked what it would
/// do, and does nothing.
///
/// # Errors
///
/// The refusal that no further word changes.
pub(super) fn admit_question(
    pinned: &PinnedRoster,
    signed: &SignedCommand,
    now: UnixMillis,
) -> Result<Admitted, Refusal> {
    let command = admission::admit_question(pinned, signed)?;
    judged(pinned, command, signed, now)
}

/// As [`admit`], by any roster that was in force since the command was made: for what others act by,
/// when whoever commanded it was removed since.
///
/// # Errors
///
/// The refusal under the roster in force.
pub(super) fn admit_ever(
    pinned: &PinnedRoster,
    signed: &SignedCommand,
    now: UnixMillis,
) -> Result<Admitted, Refusal> {
    judged(pinned, admission::admit_ever(pinned, signed)?, signed, now)
}

fn judged(
    pinned: &PinnedRoster,
    command: Command,
    signed: &SignedCommand,
    now: UnixMillis,
) -> Result<Admitted, Refusal> {
    admission::check_time(&command, now)?;
    Ok(Admitted {
        roster: pinned.hash(),
        digest: signed.digest(),
        endorsements: signed.endorsement_set_hash(),
        rejected: signed.is_forbidden(&command.body),
        command,
    })
}
