//! What can go wrong for a caller, by whose fault it is, and the exit class that scripts see.

use std::{io, time::Duration};

use quorate_evm::EvmRequestError;
use quorate_model::{CommandId, KeyName, Reason, Refusal, operation::CommandState, refusal::Code};

use crate::{
    identity::IdentityError, passphrase::PassphraseError, profile::ProfileError,
    verify::VerificationError,
};

/// Why a call did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The request is refused: the caller's fault, or a matter of rights.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The command came to an end without a result.
    #[error("command {id} is {}{}", state.as_str(), told(.refusal.as_ref()))]
    Ended {
        /// The command.
        id: CommandId,
        /// Its state.
        state: CommandState,
        /// Why.
        refusal: Option<Refusal>,
    },
    /// More principals must endorse the command.
    #[error("command {0} waits for more endorsements")]
    Waiting(CommandId),
    /// The time that the caller gave is over. What was asked may still happen.
    #[error("no result within {} ms; what was asked may still happen", .0.as_millis())]
    TimedOut(Duration),
    /// No coordinator can be reached.
    #[error("no coordinator can be reached: {0}")]
    Unreachable(String),
    /// The connection broke or the coordinator answered in a way that nobody expects.
    #[error("call the coordinator: {message}")]
    Call {
        /// The gRPC code and message.
        message: String,
    },
    /// What came back is not what was asked for, or is not proven.
    #[error(transparent)]
    Unverified(#[from] VerificationError),
    /// The key's evidence is not complete: it is not active yet.
    #[error("key \"{0}\" is not active")]
    NotActive(KeyName),
    /// The profile is not usable.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The identity is not usable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The passphrase is not usable.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The identity is not the principal that the roster lists under its id.
    #[error("identity \"{0}\" is not in the pinned roster")]
    NotInRoster(String),
    /// The TLS settings cannot be made.
    #[error("set up TLS")]
    Tls(#[source] quorate_pinning::PinningError),
    /// A system call.
    #[error("{action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why it went wrong.
        source: io::Error,
    },
    /// The command cannot be written.
    #[error("encode the command: {0}")]
    Unencodable(String),
}

impl From<EvmRequestError> for ClientError {
    fn from(error: EvmRequestError) -> Self {
        Self::Refused(Refusal::from(&error))
    }
}

/// How a call ended, as exit codes tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExitClass {
    /// Another failure.
    Other = 1,
    /// The call itself is wrong.
    Usage = 2,
    /// The rules or a person forbid it.
    Denied = 3,
    /// More principals must endorse it.
    Waiting = 4,
    /// Too few machines answer.
    QuorumUnavailable = 5,
    /// The time ran out.
    TimedOut = 6,
    /// Something is not what it claims to be.
    Verification = 7,
}

impl ExitClass {
    /// The exit code of a process.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The class of a refusal.
    pub fn of_refusal(refusal: &Refusal) -> Self {
        Self::of_reason(refusal.reason)
    }

    fn of_reason(reason: Reason) -> Self {
        let forbidden_by_rule = matches!(
            reason,
            Reason::PurposeMismatch
                | Reason::PayloadRefused
                | Reason::FeeTooHigh
                | Reason::CommandRejected
                | Reason::KeySuspended
                | Reason::KeyDeactivated
                | Reason::KeyCompromised
                | Reason::KeyDestroyed
                | Reason::KeyNotRetired
                | Reason::DestructionNotAnnounced
                | Reason::DestructionTooEarly
                | Reason::PlacementViolated
                | Reason::NodeDrained
                | Reason::NodeHoldsShares
                | Reason::DestinationNotPinned
        );
        if forbidden_by_rule {
            return Self::Denied;
        }
        if reason == Reason::ShapeInvalid {
            return Self::Usage;
        }
        if reason == Reason::EndorsementsMissing {
            return Self::Waiting;
        }
        match reason.code() {
            Code::PermissionDenied | Code::Unauthenticated => Self::Denied,
            Code::Unavailable => Self::QuorumUnavailable,
            Code::DeadlineExceeded => Self::TimedOut,
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::ResourceExhausted
            | Code::Internal => Self::Other,
        }
    }
}

impl ClientError {
    /// How the error shows to scripts.
    pub fn exit_class(&self) -> ExitClass {
        match self {
            Self::Ended {
                state: CommandState::Denied,
                ..
            }
            | Self::NotInRoster(_) => ExitClass::Denied,
            Self::Refused(refusal)
            | Self::Ended {
                refusal: Some(refusal),
                ..
            } => ExitClass::of_refusal(refusal),
            Self::Waiting(_) => ExitClass::Waiting,
            Self::TimedOut(_) => ExitClass::TimedOut,
            Self::Unreachable(_) => ExitClass::QuorumUnavailable,
            Self::Unverified(_)
            | Self::Profile(ProfileError::Roster(_) | ProfileError::LaterRoster(_)) => {
                ExitClass::Verification
            }
            Self::Ended { .. }
            | Self::Call { .. }
            | Self::NotActive(_)
            | Self::Profile(_)
            | Self::Identity(_)
            | Self::Passphrase(_)
            | Self::Tls(_)
            | Self::System { .. }
            | Self::Unencodable(_) => ExitClass::Other,
        }
    }

    /// The stable text of the reason, where there is one.
    pub fn reason(&self) -> Option<Reason> {
        self.refusal().map(|refusal| refusal.reason)
    }

    /// The stable text of what exactly is wrong with a payload, where that is the reason.
    pub fn detail(&self) -> Option<&str> {
        self.refusal()?.get("detail")
    }

    fn refusal(&self) -> Option<&Refusal> {
        let (Self::Refused(refusal)
        | Self::Ended {
            refusal: Some(refusal),
            ..
        }) = self
        else {
            return None;
        };
        Some(refusal)
    }
}

fn told(refusal: Option<&Refusal>) -> String {
    refusal
        .map(|refusal| format!(": {}", refusal.message))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_show_as_the_exit_codes_that_scripts_rely_on() {
        for (reason, expected) in [
            (Reason::RoleMissing, 3),
            (Reason::CallerUnknown, 3),
            (Reason::PurposeMismatch, 3),
            (Reason::FeeTooHigh, 3),
            (Reason::CommandRejected, 3),
            (Reason::KeySuspended, 3),
            (Reason::KeyCompromised, 3),
            (Reason::EndorsementsMissing, 4),
            (Reason::StateOutdated, 1),
            (Reason::QuorumUnavailable, 5),
            (Reason::TimedOut, 6),
            (Reason::ShapeInvalid, 2),
            (Reason::KeyUnknown, 1),
            (Reason::KeyExists, 1),
            (Reason::RequestIdReused, 1),
            (Reason::PayloadUndecodable, 1),
        ] {
            let error = ClientError::Refused(Refusal::new(reason, "x"));

            assert_eq!(error.exit_class().code(), expected, "{reason}");
        }
    }

    #[test]
    fn a_command_that_ended_tells_why_and_exits_as_its_reason_says() {
        let ended = |state, refusal| ClientError::Ended {
            id: CommandId(uuid::Uuid::nil()),
            state,
            refusal,
        };
        let refusal = Refusal::new(
            Reason::QuorumUnavailable,
            "1 of 3 nodes answers, 2 must sign",
        );

        let failed = ended(CommandState::Failed, Some(refusal));
        let denied = ended(CommandState::Denied, None);
        let exists = Refusal::new(Reason::KeyExists, "choose another name");
        let exists = ended(CommandState::Denied, Some(exists));
        let expired = ended(CommandState::Expired, None);

        assert_eq!(failed.exit_class(), ExitClass::QuorumUnavailable);
        assert!(
            failed
                .to_string()
                .ends_with("is FAILED: 1 of 3 nodes answers, 2 must sign")
        );
        assert_eq!(failed.reason(), Some(Reason::QuorumUnavailable));
        assert_eq!(denied.exit_class(), ExitClass::Denied);
        assert_eq!(exists.exit_class(), ExitClass::Denied);
        assert_eq!(expired.exit_class(), ExitClass::Other);
        assert_eq!(
            ClientError::Waiting(CommandId(uuid::Uuid::nil()))
                .exit_class()
                .code(),
            4
        );
        assert_eq!(ClientError::TimedOut(Duration::ZERO).exit_class().code(), 6);
        assert_eq!(
            ClientError::Unreachable(String::new()).exit_class().code(),
            5
        );
    }
}
