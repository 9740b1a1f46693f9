//! `quorate identity new`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use quorate_client::{
    identity::{Identity, SealingCost},
    model::{
        PrincipalId,
        roster::{Principal, Role},
    },
    profile::{self, IDENTITY_SUFFIX},
};
use rand_core::OsRng;

use crate::{context::Context, error::CliError, input, output};

/// What a principal may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum RoleArg {
    /// Creates keys and changes the cluster
    Admin,
    /// Asks for signatures
    Client,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Admin => Self::Admin,
            RoleArg::Client => Self::Client,
        }
    }
}

/// Make an identity, seal it in a file, and print its public card.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// Id of the principal in the roster, for example ann-laptop
    id: PrincipalId,
    /// What the principal may do; repeat it for several roles
    #[arg(long = "role", value_enum, required = true)]
    roles: Vec<RoleArg>,
    /// The person or service behind the key; quorums count distinct persons [default: the id]
    #[arg(long)]
    person: Option<String>,
    /// File to write [default: ID.identity in the profile]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl New {
    pub(crate) fn run(&self, context: &Context) -> Result<(), CliError> {
        let path = if let Some(path) = &self.out {
            path.clone()
        } else {
            let home = context.home()?;
            profile::make_private_directory(&home)?;
            home.join(format!("{}{IDENTITY_SUFFIX}", self.id))
        };
        if path.exists() {
            return Err(CliError::Usage(format!(
                "{} exists: name another file",
                path.display()
            )));
        }
        input::check_writable(&path)?;
        let mut roles = self.roles.clone();
        roles.sort_unstable();
        roles.dedup();
        let person = self.person.clone().unwrap_or_else(|| self.id.to_string());
        let identity = Identity::generate(
            self.id.clone(),
            person,
            roles.into_iter().map(Role::from).collect(),
            &mut OsRng,
        )?;
        let passphrase = context.new_passphrase(&path)?;
        identity.write_new(&path, &passphrase, SealingCost::Person, &mut OsRng)?;
        output::progress(&format!(
            "wrote {}; its public card follows",
            path.display()
        ));
        print_card(identity.card())
    }
}

/// Prints a card as the file that goes to whoever makes the roster.
pub(super) fn print_card(card: &Principal) -> Result<(), CliError> {
    let text =
        serde_json::to_string_pretty(card).map_err(|error| CliError::Output(error.into()))?;
    output::print_text(&format!("{text}\n"))
}
