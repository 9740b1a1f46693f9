//! What is checked of a command before the core takes it up: everything that needs no state and no
//! clock, so that it can run on any thread.
//!
//! None of it protects anything, because every node checks all of it again (P7). It keeps garbage
//! away from the nodes and gives callers an answer at once.

use std::sync::Arc;

use quorate_model::{
    Digest, Refusal,
    command::{Command, SignedCommand},
    roster::PinnedRoster,
};
use quorate_proto::admission;

/// A command whose endorsements hold. Only [`admit`] makes one.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub(super) signed: Arc<SignedCommand>,
    pub(super) command: Arc<Command>,
    pub(super) digest: Digest,
    /// Why no node carries it out yet: too few persons speak for it.
    pub(super) missing: Option<Refusal>,
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

/// Checks everything that needs neither state nor a clock.
///
/// # Errors
///
/// The refusal that every node would give as well.
pub fn admit(pinned: &PinnedRoster, signed: SignedCommand) -> Result<Admitted, Refusal> {
    let command = admission::admit_proposal(pinned, &signed)?;
    Ok(admitted(pinned, signed, command))
}

/// The same of a command that is only asked about. It is never carried out: no node takes it.
///
/// # Errors
///
/// The refusal that every node would give as well.
pub fn admit_question(pinned: &PinnedRoster, signed: SignedCommand) -> Result<Admitted, Refusal> {
    let command = admission::admit_question(pinned, &signed)?;
    Ok(admitted(pinned, signed, command))
}

fn admitted(pinned: &PinnedRoster, signed: SignedCommand, command: Command) -> Admitted {
    Admitted {
        missing: admission::check_persons(pinned, &signed, &command).err(),
        digest: signed.digest(),
        signed: Arc::new(signed),
        command: Arc::new(command),
    }
}
