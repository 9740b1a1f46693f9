//! `quorate identity show`.

use std::path::PathBuf;

use clap::Args;
use quorate_client::identity::Identity;

use super::new::print_card;
use crate::{context::Context, error::CliError};

/// Print the public card of an identity file.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The file [default: the one that --identity names]
    file: Option<PathBuf>,
}

impl Show {
    pub(crate) fn run(&self, context: &Context) -> Result<(), CliError> {
        let path = match &self.file {
            Some(file) => file.clone(),
            None => context
                .named_identity()?
                .ok_or_else(|| CliError::Usage("name an identity file".to_owned()))?,
        };
        print_card(&Identity::read_card(&path)?)
    }
}
