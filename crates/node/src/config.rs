//! The configuration of a node: a TOML file, and flags that override it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use quorate_model::CoordinatorId;
use serde::Deserialize;

/// A coordinator to dial.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorAddress {
    /// Its id in the roster.
    pub id: CoordinatorId,
    /// `host:port` of its listener for nodes.
    pub address: String,
}

/// A text that is no `ID=HOST:PORT`.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not ID=HOST:PORT")]
pub struct NoCoordinator(String);

impl std::str::FromStr for CoordinatorAddress {
    type Err = NoCoordinator;
    fn from_str(text: &str) -> Result<Self, NoCoordinator> {
        let wrong = || NoCoordinator(text.to_owned());
        let (id, address) = text.split_once('=').ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        Ok(Self {
            id: id.parse().map_err(|_| wrong())?,
            address: address.to_owned(),
        })
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The configuration file of a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// The node's directory.
    pub dir: Option<PathBuf>,
    /// The coordinators to dial.
    pub coordinators: Vec<CoordinatorAddress>,
    /// A file whose first line is the passphrase that unseals the node.
    pub passphrase_file: Option<PathBuf>,
    /// A file with the key that unseals the node.
    pub key_file: Option<PathBuf>,
    /// Where metrics and health are served; a loopback address.
    pub metrics: Option<SocketAddr>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The most ECDSA signatures under way at a time (P17).
    pub ecdsa_signatures: usize,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            dir: None,
            coordinators: Vec::new(),
            passphrase_file: None,
            key_file: None,
            metrics: None,
            log_format: LogFormat::default(),
            ecdsa_signatures: DEFAULT_ECDSA_SIGNATURES,
        }
    }
}

/// Each takes about 0.2 MB with two signers and 0.5 MB with three.
const DEFAULT_ECDSA_SIGNATURES: usize = 64;

/// Why a configuration is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read configuration {}", path.display())]
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
    /// An option is missing.
    #[error("{0}")]
    Missing(&'static str),
    /// Metrics would be served to the network.
    #[error("metrics address {0} is not a loopback address: metrics and health are local")]
    NotLoopback(SocketAddr),
    /// The same coordinator twice.
    #[error("coordinator \"{0}\" is configured twice")]
    Repeated(CoordinatorId),
}

impl NodeConfig {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| ConfigError::Malformed {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Checks that a node can run with it.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.dir.is_none() {
            return Err(ConfigError::Missing("no directory: give --dir or `dir`"));
        }
        if self.coordinators.is_empty() {
            return Err(ConfigError::Missing(
                "no coordinator: give --coordinator ID=HOST:PORT or `coordinators`",
            ));
        }
        if let Some(address) = self.metrics.filter(|address| !address.ip().is_loopback()) {
            return Err(ConfigError::NotLoopback(address));
        }
        let mut seen = std::collections::BTreeSet::new();
        match self.coordinators.iter().find(|one| !seen.insert(&one.id)) {
            Some(repeated) => Err(ConfigError::Repeated(repeated.id.clone())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_every_option_is_read() {
        let config: NodeConfig = toml::from_str(
            r#"
            dir = "/var/lib/quorate"
            key_file = "/run/credentials/key"
            metrics = "127.0.0.1:9464"
            log_format = "json"
            [[coordinators]]
            id = "coordinator-1"
            address = "coordinator.example:7402"
            "#,
        )
        .unwrap();

        assert!(config.check().is_ok());
        assert_eq!(config.log_format, LogFormat::Json);
    }

    #[test]
    fn misspelt_options_and_open_metrics_are_refused() {
        assert!(toml::from_str::<NodeConfig>("dri = \"x\"").is_err());
        let one: CoordinatorAddress = "coordinator-1=h:1".parse().unwrap();
        let config = NodeConfig {
            dir: Some(PathBuf::from("d")),
            coordinators: vec![one.clone()],
            metrics: Some("0.0.0.0:1".parse().unwrap()),
            ..NodeConfig::default()
        };
        assert!(matches!(config.check(), Err(ConfigError::NotLoopback(_))));
        let twice = NodeConfig {
            coordinators: vec![one.clone(), one],
            metrics: None,
            ..config.clone()
        };
        assert!(matches!(twice.check(), Err(ConfigError::Repeated(_))));
        let none = NodeConfig {
            coordinators: vec![],
            metrics: None,
            ..config
        };
        assert!(matches!(none.check(), Err(ConfigError::Missing(_))));
    }

    #[test]
    fn addresses_need_an_id_a_host_and_a_port() {
        for text in [
            "x",
            "a=",
            "coordinator-1=host",
            "coordinator-1=:1",
            "coordinator-1=h:x",
        ] {
            assert!(text.parse::<CoordinatorAddress>().is_err(), "{text}");
        }
    }
}
