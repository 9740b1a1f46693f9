//! The running cluster: one coordinator, n nodes, each a process of its own.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use quorate_client::{
    Client,
    identity::Identity,
    model::{NodeId, roster::Role},
    passphrase::Passphrase,
    profile::{CoordinatorAddress, Profile},
};
use serde_json::Value;
use tokio::{
    process::Command,
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    DevError,
    binaries::Binaries,
    ceremony::{self, COORDINATOR},
    config::{self, CoordinatorPorts},
    gateway::GatewayOptions,
    place::Place,
    process::Process,
};

/// How long the nodes may take to connect.
const CONNECT_SECONDS: u64 = 30;

/// How often it is asked whether they have.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// The time for each call of the demonstration.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The processes, in the order in which they were started.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    processes: Vec<Process>,
    gateway: Option<SocketAddr>,
}

impl Cluster {
    /// Starts everything and writes the coordinator's address into the profile.
    pub(super) async fn start(
        &mut self,
        place: &Place,
        binaries: &Binaries,
        listen: IpAddr,
        gateway: &GatewayOptions,
    ) -> Result<Profile, DevError> {
        let mut profile = Profile::load(&place.home())?;
        let any_port = SocketAddr::new(listen, 0);
        let mut ports = CoordinatorPorts {
            api: any_port,
            nodes: any_port,
            metrics: any_port,
            gateway: gateway.address(any_port),
        };
        config::coordinator(place, &profile, &ports, gateway)?;
        let mut command = Command::new(&binaries.coordinator);
        command
            .arg("run")
            .arg("--config")
            .arg(place.coordinator_config());
        let ready = self
            .start_one(COORDINATOR, place, command.arg("--exit-with-parent"))
            .await?;
        ports = CoordinatorPorts {
            api: loopback_address(&ready, "api")?,
            nodes: loopback_address(&ready, "nodes")?,
            metrics: loopback_address(&ready, "metrics")?,
            gateway: match ports.gateway {
                Some(_) => Some(loopback_address(&ready, "gateway")?),
                None => None,
            },
        };
        self.gateway = ports.gateway;
        // Whoever starts it again after a crash finds it where the others look for it.
        config::coordinator(place, &profile, &ports, gateway)?;
        let id = ceremony::coordinator_id()?;
        profile.settings_mut().coordinators = vec![CoordinatorAddress {
            id,
            address: ports.api.to_string(),
        }];
        profile.save()?;
        for id in place.shape().node_ids() {
            config::node(place, &id, ports.nodes, any_port)?;
            let mut command = binaries.node_command("run");
            command
                .arg("--config")
                .arg(place.node_config(&id))
                .arg("--exit-with-parent");
            let log = place.log(id.as_str());
            self.processes
                .push(Process::start(id.as_str(), &log, &mut command)?);
        }
        for process in self
            .processes
            .iter_mut()
            .filter(|process| process.name() != COORDINATOR)
        {
            process.ready().await?;
        }
        Ok(profile)
    }

    async fn start_one(
        &mut self,
        name: &str,
        place: &Place,
        command: &mut Command,
    ) -> Result<Value, DevError> {
        let mut process = Process::start(name, &place.log(name), command)?;
        let ready = process.ready().await;
        self.processes.push(process);
        ready
    }

    /// The URL of the gateway, if there is one.
    pub(super) fn gateway_url(&self) -> Option<String> {
        self.gateway.map(|address| format!("http://{address}"))
    }

    /// The name and process id of each process.
    pub(super) fn pids(&self) -> Vec<(String, u32)> {
        self.processes
            .iter()
            .map(|process| (process.name().to_owned(), process.pid()))
            .collect()
    }

    /// Tells of processes that end from here on, each once.
    pub(super) fn watch(&self) -> mpsc::UnboundedReceiver<String> {
        let (tell, told) = mpsc::unbounded_channel();
        for process in &self.processes {
            let (tell, exited) = (tell.clone(), process.watch_exit());
            let (name, pid) = (process.name().to_owned(), process.pid());
            tokio::spawn(async move {
                if let Some(status) = exited.await {
                    // Nobody listens any more when the cluster is ending anyway.
                    let _ = tell.send(format!("{name} (pid {pid}) ended: {status}"));
                }
            });
        }
        told
    }

    /// Ends every process: nodes and coordinator at once.
    pub(super) async fn end(&mut self) {
        for process in &mut self.processes {
            process.ask_to_end();
        }
        for process in &mut self.processes {
            process.end().await;
        }
    }
}

/// Connects as the profile's principal for a role.
pub(super) async fn connect(profile: &Profile, role: Role) -> Result<Client, DevError> {
    let path = profile
        .passphrase_path()
        .unwrap_or_else(|| profile.home().to_owned());
    let passphrase = Passphrase::read(&path).map_err(quorate_client::ClientError::from)?;
    let identity = Identity::read(&profile.identity_path(role)?, &passphrase)?;
    Ok(Client::connect(profile, identity, CALL_TIMEOUT).await?)
}

/// Waits until every node has dialed the coordinator.
pub(super) async fn all_connected(client: &Client, ids: &[NodeId]) -> Result<(), DevError> {
    let wait = async {
        loop {
            let nodes = client.list_nodes().await?;
            if ids
                .iter()
                .all(|id| nodes.iter().any(|node| node.id == *id && node.connected))
            {
                return Ok(());
            }
            sleep(ASK_EVERY).await;
        }
    };
    timeout(Duration::from_secs(CONNECT_SECONDS), wait)
        .await
        .map_err(|_| DevError::Slow {
            what: "connecting the nodes".to_owned(),
            seconds: CONNECT_SECONDS,
        })?
}

/// An address of a ready line, which must lie on this machine.
fn loopback_address(ready: &Value, name: &str) -> Result<SocketAddr, DevError> {
    let text = ready.get(name).and_then(Value::as_str).unwrap_or_default();
    let address: SocketAddr = text.parse().map_err(|_| DevError::Unexpected {
        name: COORDINATOR.to_owned(),
        message: format!("its ready line has no address \"{name}\": {ready}"),
    })?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(DevError::NotLoopback {
        name: COORDINATOR.to_owned(),
        address: address.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_beyond_this_machine_is_refused() {
        let ready = json!({ "api": "127.0.0.1:9", "nodes": "[::1]:9", "open": "0.0.0.0:9" });

        assert_eq!(loopback_address(&ready, "api").unwrap().port(), 9);
        assert!(loopback_address(&ready, "nodes").is_ok());
        assert!(matches!(
            loopback_address(&ready, "open"),
            Err(DevError::NotLoopback { .. })
        ));
        assert!(matches!(
            loopback_address(&ready, "none"),
            Err(DevError::Unexpected { .. })
        ));
    }
}
