//! What every command starts from: the profile, the identity for a role, the connection.

use std::{
    cell::RefCell,
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use quorate_client::{
    Client, ClientError, Prepared,
    identity::Identity,
    model::roster::Role,
    passphrase::Passphrase,
    profile::{IDENTITY_SUFFIX, Profile, ProfileError},
};
use tokio::sync::Notify;

use crate::{
    args::{Format, Options},
    command::roster,
    error::{CliError, chain},
    output,
};

/// How long reads and signatures take at most when nothing is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The options of a call, resolved when they are needed.
#[derive(Debug)]
pub(crate) struct Context {
    options: Options,
    /// The command that was sent last.
    sent: RefCell<Option<Prepared>>,
    has_sent: Notify,
}

impl Context {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            sent: RefCell::new(None),
            has_sent: Notify::new(),
        }
    }

    /// Remembers a command that is sent, so that whoever loses sight of it can be told.
    pub(crate) fn sends(&self, prepared: &Prepared) {
        *self.sent.borrow_mut() = Some(prepared.clone());
        self.has_sent.notify_one();
    }

    /// The command that was sent last.
    pub(crate) fn sent(&self) -> Option<Prepared> {
        self.sent.borrow().clone()
    }

    /// Waits until the caller interrupts a call that has sent a command. Before, and where signals
    /// cannot be awaited, the system ends the process.
    pub(crate) async fn is_interrupted(&self) {
        self.has_sent.notified().await;
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.options.output
    }

    /// The file that `--passphrase-file` names.
    pub(crate) fn passphrase_file(&self) -> Option<&Path> {
        self.options.passphrase_file.as_deref()
    }

    /// Passes on to `quorate-node` what unseals a node.
    pub(crate) fn pass_unseal(&self, key_file: Option<&Path>, command: &mut std::process::Command) {
        if let Some(file) = key_file {
            command
                .env_remove("QUORATE_PASSPHRASE_FILE")
                .arg("--key-file")
                .arg(file);
        } else if let Some(file) = self.passphrase_file() {
            command
                .env_remove("QUORATE_KEY_FILE")
                .arg("--passphrase-file")
                .arg(file);
        }
    }

    /// The time for the whole call.
    pub(crate) fn timeout(&self) -> Duration {
        self.options.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// The directory of the profile: `--home`, `QUORATE_HOME`, or `~/.quorate`.
    pub(crate) fn home(&self) -> Result<PathBuf, CliError> {
        if let Some(home) = self
            .options
            .home
            .as_ref()
            .filter(|home| !home.as_os_str().is_empty())
        {
            return Ok(home.clone());
        }
        env::home_dir()
            .filter(|home| !home.as_os_str().is_empty())
            .map(|home| home.join(".quorate"))
            .ok_or_else(|| CliError::Usage("set QUORATE_HOME or --home".to_owned()))
    }

    pub(crate) fn profile(&self) -> Result<Profile, CliError> {
        Ok(Profile::load(&self.home()?)?)
    }

    /// The file of the identity to use: `--identity`, or the profile's for the role.
    fn identity_path(&self, profile: &Profile, role: Role) -> Result<PathBuf, CliError> {
        match &self.options.identity {
            Some(named) => Ok(resolve_identity(profile.home(), named)),
            None => Ok(profile.identity_path(role)?),
        }
    }

    /// Opens the identity for a role.
    pub(crate) fn identity(&self, profile: &Profile, role: Role) -> Result<Identity, CliError> {
        let path = self.identity_path(profile, role)?;
        Ok(Identity::read(
            &path,
            &self.passphrase(profile.passphrase_path().as_deref(), &path)?,
        )?)
    }

    /// Opens the identity for whoever asks and has no role to prove: a client if there is one.
    pub(crate) fn reader(&self, profile: &Profile) -> Result<Identity, CliError> {
        match self.identity(profile, Role::Client) {
            Err(CliError::Client(ClientError::Profile(ProfileError::NoIdentity(_)))) => {
                self.identity(profile, Role::Admin)
            }
            other => other,
        }
    }

    /// The file that `--identity` names, without a profile.
    pub(crate) fn named_identity(&self) -> Result<Option<PathBuf>, CliError> {
        let Some(named) = &self.options.identity else {
            return Ok(None);
        };
        Ok(Some(resolve_identity(&self.home()?, named)))
    }

    /// The passphrase of an identity file: `--passphrase-file`, the profile's own, or a prompt.
    pub(crate) fn passphrase(
        &self,
        of_profile: Option<&Path>,
        identity: &Path,
    ) -> Result<Passphrase, CliError> {
        if let Some(file) = self.options.passphrase_file.as_deref().or(of_profile) {
            return Ok(Passphrase::read(file)?);
        }
        prompt(&format!("passphrase of {}: ", identity.display()))
    }

    /// The passphrase of an identity that is being made: asked for twice.
    pub(crate) fn new_passphrase(&self, identity: &Path) -> Result<Passphrase, CliError> {
        if let Some(file) = &self.options.passphrase_file {
            return Ok(Passphrase::read(file)?);
        }
        let first = prompt(&format!("new passphrase of {}: ", identity.display()))?;
        let second = prompt("the same again: ")?;
        if first.expose() != second.expose() {
            return Err(CliError::Usage("the two passphrases differ".to_owned()));
        }
        Ok(first)
    }

    /// Connects as the identity for a role.
    pub(crate) async fn connect(&self, role: Role) -> Result<Client, CliError> {
        let profile = self.profile()?;
        let identity = self.identity(&profile, role)?;
        self.connect_as(&profile, identity).await
    }

    /// Connects to read.
    pub(crate) async fn connect_to_read(&self) -> Result<Client, CliError> {
        let profile = self.profile()?;
        let identity = self.reader(&profile)?;
        self.connect_as(&profile, identity).await
    }

    /// Connects, and follows the rosters that were made since. The profile keeps them.
    async fn connect_as(&self, profile: &Profile, identity: Identity) -> Result<Client, CliError> {
        let client = Client::connect(profile, identity, self.timeout()).await?;
        match client.refresh_roster().await {
            Ok(true) => roster::keep(self, &client),
            Ok(false) => {}
            // What is known goes on to hold.
            Err(error @ ClientError::Call { .. }) => output::progress(&format!(
                "warning: no rosters were fetched, roster {} is taken for the newest: {}",
                client.roster().roster().version,
                chain(&error)
            )),
            Err(error) => return Err(error.into()),
        }
        Ok(client)
    }
}

/// A path as it is given, or the name of an identity in the profile.
fn resolve_identity(home: &Path, named: &str) -> PathBuf {
    let in_profile = home.join(format!("{named}{IDENTITY_SUFFIX}"));
    if !Path::new(named).exists() && in_profile.exists() {
        return in_profile;
    }
    PathBuf::from(named)
}

fn prompt(text: &str) -> Result<Passphrase, CliError> {
    let typed = rpassword::prompt_password(text).map_err(|source| CliError::File {
        action: "ask for the passphrase (or name a file with --passphrase-file)",
        path: "at the terminal".to_owned(),
        source,
    })?;
    Ok(Passphrase::new(typed.into_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_named_by_its_path_or_by_its_name_in_the_profile() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("ann.identity");
        std::fs::write(&inside, "").unwrap();

        assert_eq!(resolve_identity(dir.path(), "ann"), inside);
        assert_eq!(
            resolve_identity(dir.path(), "/elsewhere/bob"),
            Path::new("/elsewhere/bob")
        );
        assert_eq!(
            resolve_identity(dir.path(), inside.to_str().unwrap()),
            inside
        );
    }
}
