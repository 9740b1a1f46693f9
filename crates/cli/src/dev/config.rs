//! The configuration files of the processes: with them, whoever kills one can start it again.

use std::{fs, net::SocketAddr};

use quorate_client::{
    model::NodeId,
    profile::{Profile, ROSTER_FILE},
};
use toml::{Table, Value};

use super::{DevError, ceremony::COORDINATOR, gateway::GatewayOptions, place::Place};

/// Where the coordinator listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct CoordinatorPorts {
    pub(super) api: SocketAddr,
    pub(super) nodes: SocketAddr,
    pub(super) metrics: SocketAddr,
    pub(super) gateway: Option<SocketAddr>,
}

/// Writes the configuration of the coordinator.
pub(super) fn coordinator(
    place: &Place,
    profile: &Profile,
    ports: &CoordinatorPorts,
    gateway: &GatewayOptions,
) -> Result<(), DevError> {
    let roster = profile.home().join(ROSTER_FILE);
    let mut config = table([
        ("dir", place.coordinator().display().to_string().into()),
        ("roster", roster.display().to_string().into()),
        ("roster_hash", profile.roster().cluster().to_string().into()),
        ("api_listen", ports.api.to_string().into()),
        ("node_listen", ports.nodes.to_string().into()),
        ("metrics_listen", ports.metrics.to_string().into()),
    ]);
    if let Some(listen) = ports.gateway {
        let section = gateway.section(profile, listen)?;
        config.insert("gateway".to_owned(), Value::Table(section));
    }
    let path = place.coordinator_config();
    fs::write(&path, config.to_string()).map_err(DevError::file("write", &path))
}

/// Writes the configuration of a node.
pub(super) fn node(
    place: &Place,
    id: &NodeId,
    coordinator: SocketAddr,
    metrics: SocketAddr,
) -> Result<(), DevError> {
    let coordinator = table([
        ("id", COORDINATOR.into()),
        ("address", coordinator.to_string().into()),
    ]);
    let config = table([
        ("dir", place.node(id).display().to_string().into()),
        ("key_file", place.node_key(id).display().to_string().into()),
        ("metrics", metrics.to_string().into()),
        ("coordinators", Value::Array(vec![coordinator.into()])),
    ]);
    let path = place.node_config(id);
    fs::write(&path, config.to_string()).map_err(DevError::file("write", &path))
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
