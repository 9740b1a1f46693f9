//! Why a throwaway cluster does not run.

use std::io;

use quorate_client::{
    ClientError, ExitClass, identity::IdentityError, model::roster::RosterError,
    profile::ProfileError,
};

/// Why a throwaway cluster does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevError {
    /// The options make no cluster.
    #[error("{0}")]
    Usage(String),
    #[error("{action} {path}")]
    File {
        action: &'static str,
        path: String,
        source: io::Error,
    },
    /// The directory belongs to somebody else.
    #[error("{path} {what}")]
    Directory { path: String, what: &'static str },
    #[error("find {name} beside {beside}, and no workspace to build it from")]
    NoBinary { name: &'static str, beside: String },
    #[error(
        "find {name} beside {beside}, and QUORATE_DEV_NO_BUILD is set: put it there, or unset the \
         variable"
    )]
    MayNotBuild { name: &'static str, beside: String },
    #[error("build {0} with cargo")]
    Build(String),
    #[error("run {program}")]
    Spawn { program: String, source: io::Error },
    /// A step of the ceremony went wrong in another program.
    #[error("{program} ended with {status}: {message}")]
    Step {
        program: String,
        status: String,
        message: String,
    },
    #[error("{name} said something else than expected: {message}")]
    Unexpected { name: String, message: String },
    #[error("{name} ended before it was ready; its log is {log}:\n{tail}")]
    NotReady {
        name: String,
        log: String,
        tail: String,
    },
    #[error("{what} took longer than {seconds} s")]
    Slow { what: String, seconds: u64 },
    #[error("{name} listens on {address}, which is not a loopback address")]
    NotLoopback { name: String, address: String },
    #[error("the roster of the throwaway cluster is refused")]
    Roster(#[from] RosterError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the demonstration went wrong: {0}")]
    Demonstration(String),
}

impl DevError {
    /// The exit code that scripts see.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Directory { .. } => ExitClass::Usage.code(),
            Self::Client(error) => error.exit_class().code(),
            Self::Demonstration(_) | Self::Roster(_) => ExitClass::Verification.code(),
            Self::File { .. }
            | Self::NoBinary { .. }
            | Self::MayNotBuild { .. }
            | Self::Build(_)
            | Self::Spawn { .. }
            | Self::Step { .. }
            | Self::Unexpected { .. }
            | Self::NotReady { .. }
            | Self::Slow { .. }
            | Self::NotLoopback { .. }
            | Self::Profile(_)
            | Self::Identity(_) => ExitClass::Other.code(),
        }
    }

    /// A file operation that went wrong.
    pub(super) fn file(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
