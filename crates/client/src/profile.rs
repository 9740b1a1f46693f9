//! The profile: the directory that tells this machine which cluster it talks to and as whom.
//!
//! `profile.toml` holds the pinned hash of roster 1, the addresses of the coordinators, the
//! identity files by role and a few defaults; `roster.json` beside it holds the signed roster, with
//! the commands that changed it since.
//! Nothing in the profile is secret: identity files are sealed.

mod destination;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use quorate_model::{
    CoordinatorId, Digest, Refusal,
    roster::{MAX_ROSTER_BYTES, PinnedRoster, Role, RosterError, SignedRoster},
};
use quorate_proto::roster::ChainError;
use serde::{Deserialize, Serialize};

pub use self::destination::{Destination, directory_of, replace};

/// The name of the settings in a profile directory.
pub const SETTINGS_FILE: &str = "profile.toml";

/// The name of the roster in a profile directory.
pub const ROSTER_FILE: &str = "roster.json";

/// The largest settings that are read, in bytes.
const MAX_SETTINGS_FILE: u64 = 1 << 20;

/// The largest file of rosters that is read, in bytes: each stands in it in hex.
const MAX_ROSTER_FILE: u64 = 256 * MAX_ROSTER_BYTES as u64;

/// What the name of an identity file ends with.
pub const IDENTITY_SUFFIX: &str = ".identity";

/// Where a coordinator listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorAddress {
    /// Its id in the roster, which pins its TLS key.
    pub id: CoordinatorId,
    /// `HOST:PORT`.
    pub address: String,
}

/// What commands use when nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// The threshold of new keys; half of their nodes, rounded up, and at least 2, if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u16>,
    /// A file with the passphrase of the identities, relative to the profile. Meant for throwaway
    /// clusters and for machines whose disk is the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
}

/// The text of `profile.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The hash of roster 1, as it was confirmed out of band.
    pub roster_hash: Digest,
    /// The coordinators, in the order in which they are tried.
    #[serde(default)]
    pub coordinators: Vec<CoordinatorAddress>,
    /// The identity file to use for each role, relative to the profile.
    #[serde(default)]
    pub identities: BTreeMap<String, PathBuf>,
    /// Defaults.
    #[serde(default)]
    pub defaults: Defaults,
}

/// A profile that was read and whose roster is the pinned one.
#[derive(Clone, Debug)]
pub struct Profile {
    home: PathBuf,
    settings: Settings,
    roster: PinnedRoster,
}

/// Why a profile is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// A file does not open.
    #[error("read {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("write {path}")]
    Unwritable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is no profile.
    #[error(
        "no profile in {0}: set QUORATE_HOME or --home, or make one with `quorate cluster pin`"
    )]
    Absent(String),
    /// The settings are no TOML of the expected form.
    #[error("{path} is malformed: {message}")]
    Malformed {
        /// The file.
        path: String,
        /// What and where.
        message: String,
    },
    /// The roster is not the pinned one, or does not hold.
    #[error("the roster is refused")]
    Roster(#[from] RosterError),
    /// A later roster of the file does not follow from those before it.
    #[error("a later roster of the file is refused: {0}")]
    LaterRoster(Refusal),
    /// A coordinator that the roster does not know.
    #[error("coordinator \"{0}\" is not in the pinned roster")]
    UnknownCoordinator(CoordinatorId),
    /// Nothing to connect to.
    #[error("the profile lists no coordinator")]
    NoCoordinator,
    /// No identity for the role that a command needs.
    #[error("the profile has no identity with role {0}: name one with --identity")]
    NoIdentity(&'static str),
    /// A role that does not exist.
    #[error("\"{0}\" is not a role: use admin or client")]
    UnknownRole(String),
}

impl Profile {
    /// Reads a profile directory and checks its roster against the pinned hash.
    pub fn load(home: &Path) -> Result<Self, ProfileError> {
        let path = home.join(SETTINGS_FILE);
        if !path.exists() {
            return Err(ProfileError::Absent(home.display().to_string()));
        }
        let settings = Settings::parse(&read(&path, MAX_SETTINGS_FILE)?, &path)?;
        let roster = pinned_roster(&home.join(ROSTER_FILE), &settings.roster_hash)?;
        Self::new(home, settings, roster)
    }

    /// Writes a profile directory; the roster must be the one that the settings pin.
    pub fn create(
        home: &Path,
        settings: Settings,
        roster: &SignedRoster,
    ) -> Result<Self, ProfileError> {
        let pinned = pin(roster, &settings.roster_hash)?;
        let profile = Self::new(home, settings, pinned)?;
        make_private_directory(home)?;
        write_roster(&home.join(ROSTER_FILE), roster)?;
        profile.save()?;
        Ok(profile)
    }

    fn new(home: &Path, settings: Settings, roster: PinnedRoster) -> Result<Self, ProfileError> {
        for coordinator in &settings.coordinators {
            if roster.roster().coordinator(&coordinator.id).is_none() {
                return Err(ProfileError::UnknownCoordinator(coordinator.id.clone()));
            }
        }
        Ok(Self {
            home: home.to_owned(),
            settings,
            roster,
        })
    }

    /// Writes the settings again, as a whole or not at all.
    pub fn save(&self) -> Result<(), ProfileError> {
        let path = self.home.join(SETTINGS_FILE);
        let text = toml::to_string(&self.settings).map_err(|error| ProfileError::Malformed {
            path: path.display().to_string(),
            message: error.to_string(),
        })?;
        replace(&path, text.as_bytes())
    }

    /// Writes the rosters that were followed since into the profile, as a whole or not at all.
    ///
    /// # Errors
    ///
    /// [`ProfileError::Roster`] when they are another cluster's, and [`ProfileError::Unwritable`].
    pub fn keep_roster(&self, roster: &PinnedRoster) -> Result<(), ProfileError> {
        let (found, expected) = (roster.cluster(), self.settings.roster_hash);
        if found != expected {
            return Err(RosterError::NotPinned { found, expected }.into());
        }
        write_roster(&self.home.join(ROSTER_FILE), &roster.to_file())
    }

    /// The directory.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The settings, to change them before [`Profile::save`].
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// The pinned roster, with those of the file that follow it.
    pub fn roster(&self) -> &PinnedRoster {
        &self.roster
    }

    /// The identity file for a role.
    pub fn identity_path(&self, role: Role) -> Result<PathBuf, ProfileError> {
        self.settings
            .identities
            .get(role.as_str())
            .map(|file| self.home.join(file))
            .ok_or(ProfileError::NoIdentity(role.as_str()))
    }

    /// The passphrase file of the profile, if it has one.
    pub fn passphrase_path(&self) -> Option<PathBuf> {
        self.settings
            .defaults
            .passphrase_file
            .as_ref()
            .map(|file| self.home.join(file))
    }
}

impl Settings {
    fn parse(text: &str, path: &Path) -> Result<Self, ProfileError> {
        let settings: Self = toml::from_str(text).map_err(|error| ProfileError::Malformed {
            path: path.display().to_string(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let known = [Role::Admin, Role::Client].map(Role::as_str);
        match settings
            .identities
            .keys()
            .find(|role| !known.contains(&role.as_str()))
        {
            Some(role) => Err(ProfileError::UnknownRole(role.clone())),
            None => Ok(settings),
        }
    }
}

fn pin(file: &SignedRoster, expected: &Digest) -> Result<PinnedRoster, ProfileError> {
    quorate_proto::roster::pin(file, expected).map_err(|error| match error {
        ChainError::First(error) => error.into(),
        ChainError::Later(refusal) => ProfileError::LaterRoster(refusal),
        _ => ProfileError::LaterRoster(Refusal::new(
            quorate_model::Reason::RosterInvalid,
            error.to_string(),
        )),
    })
}

/// Reads a file of rosters and follows them from the first, whose hash was confirmed out of band.
///
/// # Errors
///
/// [`ProfileError::Roster`] when the first is another one or does not hold, and
/// [`ProfileError::LaterRoster`] when a later one does not.
pub fn pinned_roster(path: &Path, expected: &Digest) -> Result<PinnedRoster, ProfileError> {
    pin(&read_roster(path)?, expected)
}

/// Reads a signed roster; nothing in it is checked yet.
pub fn read_roster(path: &Path) -> Result<SignedRoster, ProfileError> {
    let text = read(path, MAX_ROSTER_FILE)?;
    serde_json::from_str(&text).map_err(|error| ProfileError::Malformed {
        path: path.display().to_string(),
        message: error.to_string(),
    })
}

/// Writes a signed roster, as a whole or not at all.
pub fn write_roster(path: &Path, roster: &SignedRoster) -> Result<(), ProfileError> {
    let mut text =
        serde_json::to_string_pretty(roster).map_err(|error| ProfileError::Malformed {
            path: path.display().to_string(),
            message: error.to_string(),
        })?;
    text.push('\n');
    replace(path, text.as_bytes())
}

/// Makes a directory, and its parents, that only its owner may enter.
pub fn make_private_directory(path: &Path) -> Result<(), ProfileError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .map_err(|source| ProfileError::Unwritable {
            path: path.display().to_string(),
            source,
        })
}

fn read(path: &Path, limit: u64) -> Result<String, ProfileError> {
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_string(&mut text))
        .map_err(|source| ProfileError::Unreadable {
            path: path.display().to_string(),
            source,
        })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use quorate_model::{
        IdentityKey,
        roster::{CoordinatorCard, NodeCard, Principal, Roster},
    };

    use super::*;
    use crate::fixtures;

    #[test]
    fn a_profile_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("deep/home");
        let roster = signed_roster();

        let written = Profile::create(&home, settings(&roster), &roster).unwrap();
        let read = Profile::load(&home).unwrap();

        assert_eq!(read.settings(), written.settings());
        assert_eq!(read.roster(), written.roster());
        assert_eq!(
            read.identity_path(Role::Admin).unwrap(),
            home.join("admin.identity")
        );
        assert_eq!(read.passphrase_path().unwrap(), home.join("passphrase"));
        assert!(matches!(
            read.identity_path(Role::Client),
            Err(ProfileError::NoIdentity("client"))
        ));
    }

    #[test]
    fn a_roster_with_another_hash_than_the_pinned_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let roster = signed_roster();
        Profile::create(dir.path(), settings(&roster), &roster).unwrap();
        let mut other = roster.clone();
        other.roster = other.roster.replace("region-1", "region-9");
        write_roster(&dir.path().join(ROSTER_FILE), &other).unwrap();

        let error = Profile::load(dir.path()).unwrap_err();

        assert!(matches!(
            error,
            ProfileError::Roster(RosterError::NotPinned { .. })
        ));
    }

    #[test]
    fn a_profile_keeps_the_rosters_that_were_followed_since() {
        let dir = tempfile::tempdir().unwrap();
        let (first, admin) = fixtures::cluster();
        let settings = Settings {
            roster_hash: first.cluster(),
            ..settings(&signed_roster())
        };
        let profile = Profile::create(dir.path(), settings, &first.to_file()).unwrap();
        let path = dir.path().join(ROSTER_FILE);
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let (mut command, second) = fixtures::next_roster(&first, &admin, |next| {
            next.nodes.push(fixtures::node_card(5));
        });

        profile.keep_roster(&second).unwrap();

        let read = Profile::load(dir.path()).unwrap();
        assert_eq!(*read.roster(), second);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let (others, _) = fixtures::cluster();
        assert!(matches!(
            profile.keep_roster(&others),
            Err(ProfileError::Roster(RosterError::NotPinned { .. }))
        ));
        let mut forged = second.to_file();
        command.endorsements.clear();
        forged.successors = vec![quorate_model::roster::Successor(command)];
        write_roster(&path, &forged).unwrap();
        assert!(matches!(
            Profile::load(dir.path()),
            Err(ProfileError::LaterRoster(_))
        ));
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_with_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let roster = signed_roster();
        let mut stranger = settings(&roster);
        stranger.coordinators[0].id = "stranger".parse().unwrap();
        let check = |text: &str, expected: &str| {
            fs::write(dir.path().join(SETTINGS_FILE), text).unwrap();
            let error = Profile::load(dir.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };

        let error = Profile::create(dir.path(), stranger, &roster).unwrap_err();

        assert!(matches!(error, ProfileError::UnknownCoordinator(_)));
        assert!(matches!(
            Profile::load(dir.path()),
            Err(ProfileError::Absent(_))
        ));
        let hash = roster.hash();
        check("roster_hash = 1", "malformed");
        check(&format!("roster_hash = \"{hash}\"\ncolour = 1"), "colour");
        check(
            &format!("roster_hash = \"{hash}\"\n[identities]\nking = \"x\""),
            "not a role",
        );
    }

    fn settings(roster: &SignedRoster) -> Settings {
        Settings {
            roster_hash: roster.hash(),
            coordinators: vec![CoordinatorAddress {
                id: "coordinator".parse().unwrap(),
                address: "127.0.0.1:1".to_owned(),
            }],
            identities: BTreeMap::from([("admin".to_owned(), "admin.identity".into())]),
            defaults: Defaults {
                threshold: Some(2),
                passphrase_file: Some("passphrase".into()),
            },
        }
    }

    fn signed_roster() -> SignedRoster {
        let key = |seed: u8| SigningKey::from_bytes(&[seed; 32]);
        let node = |id: &str, seed: u8| NodeCard {
            id: id.parse().unwrap(),
            identity_key: IdentityKey::of(&key(seed)),
            tls_key_hash: Digest::new([seed; 32]),
            region: format!("region-{seed}"),
            organisation: "org".to_owned(),
        };
        let roster = Roster {
            format: 1,
            version: 1,
            cluster_name: "test".to_owned(),
            parents: vec![],
            nodes: vec![node("node-a", 1), node("node-b", 2)],
            coordinators: vec![CoordinatorCard {
                id: "coordinator".parse().unwrap(),
                tls_key_hash: Digest::new([9; 32]),
            }],
            principals: vec![Principal {
                id: "admin".parse().unwrap(),
                person: "Ann".to_owned(),
                roles: vec![Role::Admin],
                identity_key: IdentityKey::of(&key(3)),
                tls_key_hash: Digest::new([3; 32]),
            }],
            admin_quorum: 1,
            lifecycle_quorum: 1,
            policy_hash: Digest::ZERO,
            lifecycle_delay_seconds: None,
            drained: [].into(),
            placement: quorate_model::roster::Placement::default(),
        };
        let mut signed = SignedRoster::unsigned(&roster).unwrap();
        signed.sign(&"admin".parse().unwrap(), &key(3));
        signed
    }
}
