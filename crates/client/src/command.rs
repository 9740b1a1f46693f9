//! Making commands: exact bytes with the caller's endorsement, which can be kept and sent again.

use std::{fs, io, path::Path, time::SystemTime};

use quorate_model::{
    CommandId, Digest, Refusal, UnixMillis,
    command::{Command, CommandBody, MAX_COMMAND_BYTES, SignedCommand},
    roster::PinnedRoster,
    wire,
};
use rand_core::{OsRng, RngCore as _};

use crate::{
    error::ClientError,
    identity::Identity,
    profile::{self, make_private_directory},
    verify::VerificationError,
};

/// How long a command is carried out after it was made, unless the caller says otherwise.
const LIFETIME_MS: u64 = 10 * 60 * 1000;

/// The same of a command that more persons must approve, who may be asleep.
const APPROVAL_LIFETIME_MS: u64 = 24 * 60 * 60 * 1000;

/// By how much the clocks of two machines may differ, in milliseconds.
pub(crate) const CLOCK_TOLERANCE_MS: u64 = 2 * 60 * 1000;

/// When a command was made and when it expires. Both are part of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandTimes {
    /// When it was made.
    pub created: UnixMillis,
    /// When it stops being carried out.
    pub expires: UnixMillis,
}

/// How long a command lives unless the caller says otherwise.
fn lifetime_ms(body: &CommandBody, roster: &PinnedRoster) -> u64 {
    match body.persons_needed(roster.roster()) {
        0 | 1 => LIFETIME_MS,
        _ => APPROVAL_LIFETIME_MS,
    }
}

impl CommandTimes {
    /// From now on for the default lifetime of a command that needs nobody's approval.
    pub fn from_now() -> Self {
        Self::from_now_for(LIFETIME_MS)
    }

    fn from_now_for(lifetime_ms: u64) -> Self {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let created = UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        Self {
            created,
            expires: created.plus(lifetime_ms),
        }
    }

    /// Whether a client could have made them by now of its own accord, for some command.
    pub(crate) fn are_ordinary(&self) -> bool {
        self.fit(APPROVAL_LIFETIME_MS)
    }

    fn fit(&self, lifetime_ms: u64) -> bool {
        let latest = Self::from_now().created.plus(CLOCK_TOLERANCE_MS);
        self.created <= latest
            && self.created < self.expires
            && self.expires.since(self.created) <= lifetime_ms
    }
}

/// What the caller may fix of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandOptions {
    /// The idempotency key; a fresh random one if it is absent.
    pub command_id: Option<CommandId>,
    /// Its times; from now on if they are absent. The same request with the same id and times has
    /// the same bytes, and so the same outcome.
    pub times: Option<CommandTimes>,
}

/// A command that is ready to be sent, any number of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    command: Command,
    digest: Digest,
    signed: SignedCommand,
}

impl Prepared {
    /// Makes the bytes and endorses them as a proposal.
    pub(crate) fn new(
        roster: &PinnedRoster,
        identity: &Identity,
        body: CommandBody,
        options: &CommandOptions,
    ) -> Self {
        let times = options
            .times
            .unwrap_or_else(|| CommandTimes::from_now_for(lifetime_ms(&body, roster)));
        let command = Command {
            cluster: roster.cluster(),
            roster: roster.hash(),
            id: options.command_id.unwrap_or_else(fresh_id),
            created: times.created,
            expires: times.expires,
            body,
        };
        let bytes = quorate_proto::command::encode(&command);
        let signed = identity.propose(bytes, &roster.cluster(), command.body.role());
        Self {
            command,
            digest: signed.digest(),
            signed,
        }
    }

    /// The id.
    pub fn id(&self) -> CommandId {
        self.command.id
    }

    /// The digest of the exact bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The times.
    pub fn times(&self) -> CommandTimes {
        CommandTimes {
            created: self.command.created,
            expires: self.command.expires,
        }
    }

    /// Checks times that a coordinator told: others would keep what is signed with them alive for
    /// longer than anybody asked.
    ///
    /// # Errors
    ///
    /// [`VerificationError::CommandTimes`] when this client would not have chosen them.
    pub fn check_times(&self, roster: &PinnedRoster) -> Result<(), VerificationError> {
        if self.times().fit(lifetime_ms(&self.command.body, roster)) {
            return Ok(());
        }
        Err(VerificationError::CommandTimes(self.id()))
    }

    /// What is asked for.
    pub fn command(&self) -> &Command {
        &self.command
    }

    /// The exact bytes with the endorsement.
    pub fn signed(&self) -> &SignedCommand {
        &self.signed
    }

    /// Keeps the command in a file, to send it again from another process.
    pub fn write(&self, path: &Path) -> Result<(), ClientError> {
        let bytes = wire::encode(&self.signed)
            .map_err(|error| ClientError::Unencodable(error.to_string()))?;
        if let Some(parent) = path.parent() {
            make_private_directory(parent)?;
        }
        Ok(profile::replace(path, &bytes)?)
    }

    /// Reads a kept command; none if there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>, ClientError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(ClientError::System {
                    action: "read the kept command",
                    source,
                });
            }
        };
        let unreadable = |message: String| {
            Refusal::new(
                quorate_model::Reason::CommandUndecodable,
                format!(
                    "the kept command {} is unreadable: {message}",
                    path.display()
                ),
            )
        };
        if bytes.len() > MAX_COMMAND_BYTES.saturating_mul(2) {
            return Err(unreadable("it is too large".to_owned()).into());
        }
        let signed: SignedCommand =
            wire::decode(&bytes).map_err(|error| unreadable(error.to_string()))?;
        let command = quorate_proto::command::decode(&signed.bytes)?;
        Ok(Some(Self {
            command,
            digest: signed.digest(),
            signed,
        }))
    }
}

/// A random UUID, version 4.
pub fn fresh_id() -> CommandId {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    CommandId::from_random(bytes)
}

#[cfg(test)]
mod tests {
    use quorate_model::{KeyId, Payload, command::Sign};

    use super::*;
    use crate::fixtures;

    #[test]
    fn the_same_request_id_and_times_give_the_same_bytes() {
        let (roster, identity) = fixtures::cluster();
        let first = prepare(&roster, &identity, b"pay", &CommandOptions::default());
        let options = CommandOptions {
            command_id: Some(first.id()),
            times: Some(first.times()),
        };

        let again = prepare(&roster, &identity, b"pay", &options);
        let other = prepare(&roster, &identity, b"pay more", &options);

        assert_eq!(again, first);
        assert_ne!(other.digest(), first.digest());
        assert!(
            first
                .signed()
                .verify_endorsements(&roster.cluster(), roster.roster())
                .is_ok()
        );
    }

    #[test]
    fn a_kept_command_comes_back_as_it_was() {
        let (roster, identity) = fixtures::cluster();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("commands/one.command");
        let prepared = prepare(&roster, &identity, b"pay", &CommandOptions::default());

        assert_eq!(Prepared::read(&path).unwrap(), None);
        prepared.write(&path).unwrap();

        assert_eq!(Prepared::read(&path).unwrap(), Some(prepared));
        fs::write(&path, b"garbage").unwrap();
        assert!(Prepared::read(&path).is_err());
    }

    #[test]
    fn every_command_has_an_id_of_its_own() {
        let (first, second) = (fresh_id(), fresh_id());

        assert_ne!(first, second);
        assert_eq!(first.0.get_version_num(), 4);
    }

    fn prepare(
        roster: &PinnedRoster,
        identity: &Identity,
        message: &[u8],
        options: &CommandOptions,
    ) -> Prepared {
        let body = CommandBody::Sign(Sign {
            key: "hot".parse().unwrap(),
            key_id: KeyId([0; 32]),
            payloads: vec![Payload::message(message)],
        });
        Prepared::new(roster, identity, body, options)
    }
}
