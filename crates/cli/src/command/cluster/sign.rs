//! `quorate cluster sign`.

use std::path::PathBuf;

use clap::Args;
use quorate_client::{identity::Identity, model::Digest, profile};

use super::Standing;
use crate::{context::Context, error::CliError, output};

/// Add the signature of an admin, named with --identity, to a roster.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The roster file
    roster: PathBuf,
    /// Sign only if the roster has this hash, as it was read out by the others
    #[arg(long, value_name = "HEX", value_parser = super::pin::hash)]
    hash: Option<Digest>,
}

impl Sign {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let path = context
            .named_identity()?
            .ok_or_else(|| CliError::Usage("name the admin's identity with --identity".into()))?;
        let mut signed = profile::read_roster(&self.roster)?;
        let found = signed.hash();
        if let Some(expected) = self.hash.filter(|expected| *expected != found) {
            return Err(CliError::Unverified(format!(
                "{} has hash {found}, expected {expected}",
                self.roster.display()
            )));
        }
        Standing::of(&signed)?;
        let identity = Identity::read(&path, &context.passphrase(None, &path)?)?;
        signed.sign(&identity.card().id, identity.signing_key());
        let standing = Standing::of(&signed)?;
        if standing.roster.principal(&identity.card().id) != Some(identity.card()) {
            return Err(CliError::Unverified(format!(
                "the roster lists \"{}\" with another person, role or key than its identity file",
                identity.card().id
            )));
        }
        profile::write_roster(&self.roster, &signed)?;
        output::print(
            context.format(),
            &standing.json(&self.roster),
            &standing.table(&self.roster),
        )
    }
}
