//! What may stand on the command line. Secrets never do.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use quorate_client::{
    ClientError, KeyReference,
    model::{CommandId, Digest, KeyId, KeyName, roster::PinnedRoster},
    profile::{self, ProfileError},
};

use crate::{command, context::Context, dev, error::CliError};

/// Threshold signing for custody wallets: keys that never exist in one place.
#[derive(Debug, Parser)]
#[command(
    name = "quorate",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command understands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Form of the result on standard output
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Directory of the profile
    #[arg(
        long,
        global = true,
        env = "QUORATE_HOME",
        value_name = "DIR",
        hide_env_values = true
    )]
    pub(crate) home: Option<PathBuf>,
    /// Identity to use: a file, or the name of one in the profile
    #[arg(long, global = true, value_name = "FILE|NAME")]
    pub(crate) identity: Option<String>,
    /// File with the passphrase of the identity
    #[arg(
        long,
        global = true,
        env = "QUORATE_PASSPHRASE_FILE",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// How long to wait for the result: 10, 10s, 500ms or 2m [default: 30s]
    #[arg(long, global = true, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

/// Form of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Options of commands that change something.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Submission {
    /// Id of the command: the same id and request give the same outcome, however often repeated
    #[arg(long, value_name = "UUID", value_parser = command_id)]
    pub(crate) command_id: Option<CommandId>,
    /// Print the command's id and do not wait for its outcome
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Ask every node whether it would carry the command out, and do nothing
    #[arg(long)]
    pub(crate) validate_only: bool,
}

impl Submission {
    /// Refuses what only makes sense for one command.
    pub(crate) fn check_many(&self) -> Result<(), CliError> {
        if self.command_id.is_some() || self.no_wait || self.validate_only {
            return Err(CliError::Usage(
                "--command-id, --no-wait and --validate-only are for one key: name only one"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// Which key is meant.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeyArg {
    /// Name of the key
    pub(crate) name: KeyName,
    /// Insist on the key with this id, as `key show` prints it; a name is only an alias
    #[arg(long, value_name = "HEX")]
    key_id: Option<KeyId>,
}

impl KeyArg {
    /// What the client looks up.
    pub(crate) fn reference(&self) -> KeyReference {
        KeyReference {
            name: self.name.clone(),
            id: self.key_id,
        }
    }
}

/// The rosters that something is verified against offline.
#[derive(Clone, Debug, Args)]
pub(crate) struct RosterArg {
    /// Roster file to verify against [default: the profile's]
    #[arg(long, value_name = "FILE", requires = "hash")]
    roster: Option<PathBuf>,
    /// Hash of the first roster in it, as it was confirmed out of band
    #[arg(long, value_name = "HEX", visible_alias = "roster-hash", requires = "roster", value_parser = command::cluster::hash)]
    hash: Option<Digest>,
}

impl RosterArg {
    /// The roster, checked.
    pub(crate) fn resolve(&self, context: &Context) -> Result<PinnedRoster, CliError> {
        if let (Some(path), Some(hash)) = (&self.roster, &self.hash) {
            return Ok(profile::pinned_roster(path, hash)?);
        }
        let profile = context.profile().map_err(without_profile)?;
        Ok(profile.roster().clone())
    }
}

/// Whoever has no profile may have the roster in a file.
fn without_profile(error: CliError) -> CliError {
    let CliError::Client(ClientError::Profile(ProfileError::Absent(home))) = error else {
        return error;
    };
    CliError::Usage(format!(
        "no profile in {home}: give the roster with --roster F --hash HEX, or set QUORATE_HOME or \
         --home"
    ))
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create keys and look at them
    #[command(subcommand)]
    Key(command::key::Key),
    /// Sign with a key
    #[command(subcommand)]
    Sign(command::sign::Sign),
    /// Check a signature under a key's certified public key, or a certificate offline
    Verify(command::verify::Verify),
    /// Show what a payload says, as nodes see it, without a key and offline
    Decode(command::decode::Decode),
    /// Make, list, add and remove nodes
    #[command(subcommand)]
    Node(command::node::Node),
    /// Make identities of people and services
    #[command(subcommand)]
    Identity(command::identity::Identity),
    /// Make, sign, show, pin and export the roster of a cluster
    #[command(subcommand)]
    Cluster(command::cluster::Cluster),
    /// Look at commands
    #[command(subcommand)]
    Command(command::command::Command),
    /// Export the audit logs of nodes and verify them offline
    #[command(subcommand)]
    Audit(command::audit::Audit),
    /// Rehearse a restore without touching a node
    #[command(subcommand)]
    Drill(command::drill::Drill),
    /// Run a whole cluster on this machine, to try it out
    Dev(dev::Dev),
    /// Print a completion script for a shell
    Completion(command::completion::Completion),
    /// Print the version
    Version,
    /// Runs the command of `dev --exec` so that it ends with its parent
    #[command(name = "dev-exec", hide = true)]
    DevExec(dev::exec::DevExec),
}

/// Reads a time: a number of seconds, or a number with `ms`, `s` or `m`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let refused = || format!("\"{text}\" is no time: use 10, 10s, 500ms or 2m");
    let number: u64 = number.parse().map_err(|_| refused())?;
    let duration = match unit {
        "" | "s" => Duration::from_secs(number),
        "ms" => Duration::from_millis(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err(refused()),
    };
    if duration.is_zero() || duration > Duration::from_hours(7 * 24) {
        return Err(format!("\"{text}\" is out of range: use 1ms to 7 days"));
    }
    Ok(duration)
}

/// Reads a command id.
pub(crate) fn command_id(text: &str) -> Result<CommandId, String> {
    uuid::Uuid::try_parse(text).map(CommandId).map_err(|_| {
        format!(
            "\"{text}\" is no UUID, expected for example {}",
            uuid::Uuid::nil()
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn whoever_has_no_profile_is_told_how_to_give_the_roster() {
        let absent = ProfileError::Absent("/nowhere".to_owned());

        let told = without_profile(absent.into());

        assert!(told.to_string().contains("--roster F --hash HEX"), "{told}");
        assert_eq!(told.exit_code(), 2);
    }

    #[test]
    fn the_hash_of_a_roster_goes_by_both_of_its_names() {
        let hash = "00".repeat(32);
        for name in ["--hash", "--roster-hash"] {
            let verify = [
                "quorate",
                "verify",
                "certificate",
                "f",
                "--roster",
                "r",
                name,
            ];
            let pin = "quorate cluster pin r --coordinator coordinator=localhost:1";
            let pin = pin.split(' ').chain([name]);
            for words in [verify.to_vec(), pin.collect()] {
                let words = words.into_iter().chain([hash.as_str()]);
                Cli::try_parse_from(words).unwrap();
            }
        }
    }

    #[test]
    fn periods_that_are_none_are_wrong_usage() {
        for words in [
            "quorate key list --due --within 3parsecs",
            "quorate key create hot --scheme bip340 --cryptoperiod 0s",
            "quorate key create hot --scheme bip340 --refresh-every 101000d",
        ] {
            let refused = Cli::try_parse_from(words.split(' ')).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{words}");
        }
    }

    #[test]
    fn times_are_read_with_their_units_and_nothing_else() {
        for (text, millis) in [
            ("10", 10_000),
            ("10s", 10_000),
            ("500ms", 500),
            ("2m", 120_000),
        ] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis));
        }
        for text in [
            "",
            "s",
            "0",
            "-1",
            "1h",
            "1.5s",
            "10 s",
            "99999999999999999999",
            "8000000",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
