//! `quorate cluster pin`.

use std::{collections::BTreeMap, env, path::PathBuf};

use clap::Args;
use quorate_client::{
    model::{Digest, roster::Role},
    profile::{self, CoordinatorAddress, Defaults, Profile, SETTINGS_FILE, Settings},
};
use serde_json::json;

use crate::{
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// Make the profile of this machine from a roster and its hash, confirmed out of band.
#[derive(Debug, Args)]
pub(crate) struct Pin {
    /// The roster file, signed by every admin, or what `cluster export` wrote
    roster: PathBuf,
    /// The hash of the first roster, as it was confirmed out of band
    #[arg(long, visible_alias = "roster-hash", value_name = "HEX", value_parser = hash)]
    hash: Digest,
    /// A coordinator and where it listens; repeat it for several
    #[arg(long = "coordinator", required = true, value_name = "ID=HOST:PORT", value_parser = address)]
    coordinators: Vec<CoordinatorAddress>,
    /// Identity file to use where an admin is needed
    #[arg(long, value_name = "FILE")]
    admin: Option<PathBuf>,
    /// Identity file to use where a client is needed
    #[arg(long, value_name = "FILE")]
    client: Option<PathBuf>,
    /// Threshold of new keys [default: half of their nodes, rounded up; at least 2]
    #[arg(long, value_name = "COUNT")]
    threshold: Option<u16>,
}

impl Pin {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let home = context.home()?;
        if home.join(SETTINGS_FILE).exists() {
            return Err(CliError::Usage(format!(
                "{} holds a profile already: name another directory with --home",
                home.display()
            )));
        }
        let mut identities = BTreeMap::new();
        for (role, file) in [(Role::Admin, &self.admin), (Role::Client, &self.client)] {
            if let Some(file) = file {
                identities.insert(role.as_str().to_owned(), absolute(file)?);
            }
        }
        let settings = Settings {
            roster_hash: self.hash,
            coordinators: self.coordinators.clone(),
            identities,
            defaults: Defaults {
                threshold: self.threshold,
                passphrase_file: None,
            },
        };
        let profile = Profile::create(&home, settings, &profile::read_roster(&self.roster)?)?;
        let mut table = Table::default();
        table.pair("profile", home.display());
        table.pair("roster", profile.roster().cluster());
        table.pair("version", profile.roster().roster().version);
        let value = json!({
            "home": home.display().to_string(),
            "roster_hash": profile.roster().cluster(),
            "version": profile.roster().roster().version,
        });
        output::print(context.format(), &value, &table)
    }
}

/// Profiles name their files absolutely unless they lie beside the settings.
fn absolute(path: &PathBuf) -> Result<PathBuf, CliError> {
    let directory = env::current_dir().map_err(|source| CliError::File {
        action: "find",
        path: path.display().to_string(),
        source,
    })?;
    Ok(directory.join(path))
}

/// Reads a hash.
pub(crate) fn hash(text: &str) -> Result<Digest, String> {
    Digest::from_hex(text).ok_or_else(|| "expected 64 hex digits".to_owned())
}

/// Reads a coordinator's id and address.
fn address(text: &str) -> Result<CoordinatorAddress, String> {
    let (id, address) = text
        .split_once('=')
        .ok_or_else(|| format!("\"{text}\" is not ID=HOST:PORT"))?;
    let (host, port) = address
        .rsplit_once(':')
        .ok_or_else(|| format!("\"{address}\" is not HOST:PORT"))?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(format!("\"{address}\" is not HOST:PORT"));
    }
    let id = id.parse().map_err(|error| format!("{error}"))?;
    Ok(CoordinatorAddress {
        id,
        address: address.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_is_an_id_and_an_address() {
        let read = address("coordinator-a=signing.example:4400").unwrap();

        assert_eq!(read.id.as_str(), "coordinator-a");
        assert_eq!(read.address, "signing.example:4400");
        for text in [
            "coordinator-a",
            "x=a:1",
            "coordinator-a=:1",
            "coordinator-a=host:port",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
