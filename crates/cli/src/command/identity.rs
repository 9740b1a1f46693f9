//! `quorate identity`: the identities of people and services.

mod new;
mod show;

use clap::Subcommand;

use crate::{context::Context, error::CliError};

/// Make identities of people and services.
#[derive(Debug, Subcommand)]
pub(crate) enum Identity {
    /// Make an identity, seal it in a file, and print its public card
    New(new::New),
    /// Print the public card of an identity file
    Show(show::Show),
}

impl Identity {
    pub(crate) fn run(&self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::New(new) => new.run(context),
            Self::Show(show) => show.run(context),
        }
    }
}
