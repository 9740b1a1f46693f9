//! `quorate completion`: a script that completes commands in a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use crate::{args::Cli, error::CliError, output};

/// Print a completion script for a shell.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self) -> Result<(), CliError> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "quorate", &mut script);
        output::print_text(&String::from_utf8_lossy(&script))
    }
}
