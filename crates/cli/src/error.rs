//! What the command line reports and exits with.

use std::{io, process::ExitCode};

use quorate_client::{
    ClientError, ExitClass,
    audit::AuditFileError,
    identity::IdentityError,
    model::{Reason, Refusal, roster::RosterError},
    passphrase::PassphraseError,
    profile::ProfileError,
};

use crate::dev::DevError;

/// Why a command of the command line did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The call itself is wrong in a way that the argument parser cannot see.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Audit(#[from] AuditFileError),
    #[error("the roster is refused")]
    Roster(#[from] RosterError),
    #[error("{action} {path}")]
    File {
        action: &'static str,
        path: String,
        source: io::Error,
    },
    /// Something given or received is not what it claims to be.
    #[error("{0}")]
    Unverified(String),
    /// Some of many were not done; each has been told of.
    #[error("{message}")]
    Incomplete { message: String, code: u8 },
    #[error(transparent)]
    Dev(#[from] DevError),
    /// A program that was run in our place has reported already.
    #[error("the program ended with status {0}")]
    Delegated(u8),
    #[error("write the result to standard output")]
    Output(#[source] io::Error),
}

impl CliError {
    /// The exit code that scripts see.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => ExitClass::Usage.code(),
            Self::Client(error) => error.exit_class().code(),
            Self::Audit(error) if error.is_about_content() => ExitClass::Verification.code(),
            Self::Unverified(_) | Self::Roster(_) => ExitClass::Verification.code(),
            Self::Delegated(code) | Self::Incomplete { code, .. } => *code,
            Self::Dev(error) => error.exit_code(),
            Self::Audit(_) | Self::File { .. } | Self::Output(_) => ExitClass::Other.code(),
        }
    }

    /// Whether what was asked may still happen without a word about it.
    pub(crate) fn leaves_open(&self) -> bool {
        matches!(
            self,
            Self::Client(
                ClientError::TimedOut(_) | ClientError::Unreachable(_) | ClientError::Call { .. }
            )
        )
    }

    /// Prints the whole chain of causes once, to standard error.
    pub(crate) fn report(&self) -> ExitCode {
        if let Self::Output(source) = self
            && source.kind() == io::ErrorKind::BrokenPipe
        {
            return ExitCode::from(self.exit_code());
        }
        if !matches!(self, Self::Delegated(_)) {
            eprintln!("error: {}", chain(self));
            if let Self::Client(error) = self
                && let Some(reason) = error.reason()
            {
                eprintln!("reason: {reason}");
                if let Some(detail) = error.detail() {
                    eprintln!("detail: {detail}");
                }
                if let Some(advice) = advice(reason) {
                    eprintln!("{advice}");
                }
            }
        }
        ExitCode::from(self.exit_code())
    }
}

/// What is to be done about a refusal that does not say so itself.
pub(crate) const fn advice(reason: Reason) -> Option<&'static str> {
    if matches!(reason, Reason::SessionLimit) {
        Some(
            "it may still take effect: once fewer are under way, repeat what asked for it with \
             --command-id ID; approvals may be needed anew",
        )
    } else if matches!(reason, Reason::CommandUnknown) {
        Some(
            "a coordinator that restarts forgets the commands that wait for approvals: whoever \
             proposed it runs the same again, a single one with --command-id ID and a batch as it \
             was",
        )
    } else {
        None
    }
}

/// The texts of an error and its causes, each once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

macro_rules! through_client {
    ($($error:ty),*) => {$(
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::Client(error.into())
            }
        }
    )*};
}
through_client!(ProfileError, IdentityError, PassphraseError, Refusal);

/// A refusal that the command line makes itself.
pub(crate) fn refuse(reason: Reason, message: impl Into<String>) -> CliError {
    CliError::Client(ClientError::Refused(Refusal::new(reason, message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_meets_a_limit_is_told_to_repeat_the_same_command_and_not_that_nothing_happened() {
        let told = advice(Reason::SessionLimit).unwrap();

        assert!(told.contains("may still take effect"), "{told}");
        assert!(told.contains("once fewer are under way"), "{told}");
        assert!(told.contains("--command-id ID"), "{told}");
        assert!(!told.contains("nothing"), "{told}");
        assert_eq!(advice(Reason::KeyDestroyed), None);
    }

    #[test]
    fn whoever_names_a_command_that_is_unknown_is_told_how_it_comes_back() {
        let told = advice(Reason::CommandUnknown).unwrap();

        assert!(told.contains("--command-id ID"), "{told}");
    }

    #[test]
    fn only_where_no_answer_came_may_what_was_asked_still_happen() {
        let timed_out = ClientError::TimedOut(std::time::Duration::ZERO);

        assert!(CliError::from(timed_out).leaves_open());
        assert!(!refuse(Reason::KeyUnknown, "no such key").leaves_open());
    }

    #[test]
    fn causes_are_told_once_each() {
        let error = CliError::File {
            action: "read",
            path: "a.psbt".to_owned(),
            source: io::Error::new(io::ErrorKind::NotFound, "no such file"),
        };

        assert_eq!(chain(&error), "read a.psbt: no such file");
        assert_eq!(error.exit_code(), 1);
    }
}
