//! The configuration of a coordinator: one TOML file.
//!
//! ```toml
//! # The data directory; `quorate-coordinator init` makes it.
//! dir = "/var/lib/quorate-coordinator"
//! # The signed roster, and its hash as confirmed out of band.
//! roster = "/etc/quorate/roster.json"
//! roster_hash = "1f0c...64 hex digits"
//! # Where callers connect, and where nodes connect.
//! api_listen = "0.0.0.0:7401"
//! node_listen = "0.0.0.0:7402"
//! # Where metrics and health are served; a loopback address. Left out: nowhere.
//! metrics_listen = "127.0.0.1:9464"
//! # "text" or "json".
//! log_format = "json"
//! # How long a stop waits for what is under way, in milliseconds.
//! drain_ms = 10000
//!
//! # EVM JSON-RPC for wallets. Left out: not served.
//! [gateway]
//! listen = "127.0.0.1:8545"
//! identity = "/etc/quorate/gateway.identity"
//! passphrase_file = "/etc/quorate/gateway.passphrase"
//! chain_id = 1
//! accounts = [{ key = "payout", path = "m/0/5" }]
//!
//! # Bounds and delays; every one has a default.
//! [limits]
//! max_pending = 4096
//! ```

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use quorate_model::{
    CoordinatorId, Digest,
    roster::{PinnedRoster, SignedRoster},
};
use quorate_proto::roster::ChainError;
use serde::Deserialize;

use crate::{
    core::Limits,
    gateway::{GatewayConfig, GatewayConfigError},
};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The configuration file. What is not known is refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorConfig {
    /// The id in the roster. May be left out: the TLS key tells.
    pub id: Option<CoordinatorId>,
    /// The data directory.
    pub dir: PathBuf,
    /// The TLS identity; `identity.tls` in the data directory if it is left out.
    pub identity: Option<PathBuf>,
    /// The signed roster.
    pub roster: PathBuf,
    /// The hash of the roster, as confirmed out of band.
    pub roster_hash: Digest,
    /// Where callers connect.
    pub api_listen: SocketAddr,
    /// Where nodes connect.
    pub node_listen: SocketAddr,
    /// Where metrics and health are served; a loopback address.
    pub metrics_listen: Option<SocketAddr>,
    /// How log lines look.
    #[serde(default)]
    pub log_format: LogFormat,
    /// How long a stop waits for what is under way, in milliseconds.
    #[serde(default = "ten_seconds")]
    pub drain_ms: u64,
    /// EVM JSON-RPC; not served if it is left out.
    pub gateway: Option<GatewayConfig>,
    /// Bounds and delays of the core.
    #[serde(default)]
    pub limits: Limits,
}

const fn ten_seconds() -> u64 {
    10_000
}

/// Why a configuration is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("configuration {} is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Metrics would be served to the network.
    #[error("metrics address {0} is not a loopback address: metrics and health are local")]
    NotLoopback(SocketAddr),
    /// The gateway cannot run like that.
    #[error(transparent)]
    Gateway(#[from] GatewayConfigError),
    /// A bound with which nothing can work.
    #[error("limit {0} is zero")]
    ZeroLimit(&'static str),
    /// The roster file is no roster.
    #[error("roster {} is malformed", path.display())]
    NoRoster {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The roster is not the pinned one, or does not hold.
    #[error("use roster {}", path.display())]
    Roster {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ChainError,
    },
}

impl CoordinatorConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// When a coordinator cannot run with it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let config: Self = toml::from_str(&text).map_err(|source| ConfigError::Malformed {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if let Some(address) = self
            .metrics_listen
            .filter(|address| !address.ip().is_loopback())
        {
            return Err(ConfigError::NotLoopback(address));
        }
        if let Some(gateway) = &self.gateway {
            gateway.check()?;
        }
        let limits = &self.limits;
        let positive = [
            ("max_pending", limits.max_pending),
            ("max_ceremonies", limits.max_ceremonies),
            ("max_batch", limits.max_batch),
            ("calls_in_flight", limits.calls_in_flight),
            ("idle_tickets", limits.idle_tickets),
            ("busy_tickets", limits.busy_tickets),
        ];
        match positive.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(ConfigError::ZeroLimit(name)),
            None => Ok(()),
        }
    }

    /// Reads the roster and checks that it is the pinned one.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn read_roster(&self) -> Result<PinnedRoster, ConfigError> {
        let path = self.roster.clone();
        let text = std::fs::read(&path).map_err(|source| ConfigError::Read {
            path: path.clone(),
            source,
        })?;
        let signed: SignedRoster =
            serde_json::from_slice(&text).map_err(|source| ConfigError::NoRoster {
                path: path.clone(),
                source,
            })?;
        quorate_proto::roster::pin(&signed, &self.roster_hash)
            .map_err(|source| ConfigError::Roster { path, source })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use quorate_model::roster::RosterError;

    use super::*;

    const FULL: &str = r#"
        dir = "/var/lib/quorate-coordinator"
        roster = "/etc/quorate/roster.json"
        roster_hash = "0101010101010101010101010101010101010101010101010101010101010101"
        api_listen = "127.0.0.1:0"
        node_listen = "127.0.0.1:0"
        metrics_listen = "127.0.0.1:0"
        log_format = "json"
    "#;

    fn read(text: &str) -> Result<CoordinatorConfig, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("coordinator.toml");
        std::fs::write(&path, text).unwrap();
        CoordinatorConfig::read(&path)
    }

    #[test]
    fn the_limits_are_documented_with_their_defaults() {
        let page = include_str!("../../../docs/operations/configuration.md");
        let documented: BTreeMap<String, u64> = page
            .lines()
            .skip_while(|line| !line.starts_with("| option in `[limits]`"))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(|row| {
                let cells: Vec<&str> = row.split('|').map(str::trim).collect();
                let name = cells[1].trim_matches('`').to_owned();
                (name, cells[3].parse().unwrap())
            })
            .collect();

        let limits = serde_json::to_value(Limits::default()).unwrap();
        let limits: BTreeMap<String, u64> = serde_json::from_value(limits).unwrap();

        assert_eq!(documented, limits);
    }

    #[test]
    fn a_file_is_read_and_limits_may_be_given_in_part() {
        let config = read(&format!("{FULL}\n[limits]\nmax_pending = 7")).unwrap();

        assert_eq!(config.log_format, LogFormat::Json);
        assert_eq!(
            config.limits,
            Limits {
                max_pending: 7,
                ..Limits::default()
            }
        );
    }

    #[test]
    fn unknown_options_remote_metrics_and_zero_limits_are_refused() {
        assert!(matches!(
            read(&format!("{FULL}\ncolour = 1")),
            Err(ConfigError::Malformed { .. })
        ));
        assert!(matches!(
            read(&format!("{FULL}\n[limits]\nmax_pendin = 1")),
            Err(ConfigError::Malformed { .. })
        ));
        let remote = FULL.replace("metrics_listen = \"127.0.0.1", "metrics_listen = \"0.0.0.0");
        assert!(matches!(read(&remote), Err(ConfigError::NotLoopback(_))));
        assert!(matches!(
            read(&format!("{FULL}\n[limits]\nmax_batch = 0")),
            Err(ConfigError::ZeroLimit("max_batch"))
        ));
    }

    #[test]
    fn another_roster_than_the_pinned_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = read(FULL).unwrap();
        config.roster = dir.path().join("roster.json");
        std::fs::write(&config.roster, r#"{"roster": "{}", "signatures": []}"#).unwrap();
        assert!(matches!(
            config.read_roster(),
            Err(ConfigError::Roster {
                source: ChainError::First(RosterError::NotPinned { .. }),
                ..
            })
        ));

        std::fs::write(&config.roster, "{").unwrap();

        assert!(matches!(
            config.read_roster(),
            Err(ConfigError::NoRoster { .. })
        ));
    }
}
