//! `quorate dev`: a whole cluster on this machine, to try it out.
//!
//! It starts real processes, holds the real ceremony, shows one key being made and used, and ends
//! everything when it ends, however it ends. Nothing in it is meant to guard money: all shares lie
//! on one disk.

mod binaries;
mod ceremony;
mod cluster;
mod config;
mod demonstration;
mod error;
pub(crate) mod exec;
mod gateway;
mod place;
mod process;
mod spend;

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use quorate_client::{model::roster::Role, profile::Profile};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use binaries::node_beside_us;
pub(crate) use error::DevError;

use self::{
    binaries::Binaries,
    cluster::Cluster,
    demonstration::Demonstration,
    exec::{Exec, Surroundings},
    gateway::{GatewayOptions, Presented},
    place::Place,
};
use crate::{
    args::Format,
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// Run a whole cluster on this machine, to try it out.
///
/// With --exec, standard output belongs to the command, and everything else is told on standard
/// error.
///
/// quorate-node and quorate-coordinator are taken from beside this program. In a workspace, cargo
/// builds them where they are missing or stale; with `QUORATE_DEV_NO_BUILD=1` set, cargo is never
/// called, and a missing program is an error.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// How many nodes, 3 to 32 [default: 3]
    #[arg(long, value_name = "COUNT")]
    nodes: Option<u16>,
    /// How many of them sign, and the profile's default for new keys [default: a majority]
    #[arg(long, value_name = "COUNT")]
    threshold: Option<u16>,
    /// Make a second admin, admin-2, and a lifecycle quorum of 2: what changes the state of a key
    /// takes both, but for a suspension
    #[arg(long)]
    second_admin: bool,
    /// How many seconds a node waits between the announcement of a destruction and its confirmation;
    /// a real cluster waits for days
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    lifecycle_delay: u32,
    /// Directory to keep the cluster in, and to resume it from [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Command to run with `sh -c` after the demonstration; its end ends the cluster
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// Address to listen on; it must be a loopback address
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    #[command(flatten)]
    gateway: GatewayOptions,
}

/// The signals that end the cluster.
struct Ending {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Ending {
    fn listen() -> Result<Self, DevError> {
        let listen =
            |kind| signal(kind).map_err(DevError::file("listen for", Path::new("signals")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for one, and says what a shell would report.
    async fn wait(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
            _ = self.hangup.recv() => 129,
        }
    }
}

/// What has been started and must be ended.
#[derive(Default)]
struct Started {
    cluster: Cluster,
    exec: Option<Exec>,
    /// Last, because a temporary directory goes away with it.
    place: Option<Place>,
}

/// What was shown to work, to be told of.
struct Shown {
    spend: Demonstration,
    gateway: Option<Presented>,
}

impl Dev {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, CliError> {
        if !self.listen.is_loopback() {
            return Err(CliError::Usage(format!(
                "--listen {} is not a loopback address: a throwaway cluster is for this machine \
                 only",
                self.listen
            )));
        }
        let mut ending = Ending::listen()?;
        let mut started = Started::default();
        let ended = tokio::select! {
            result = self.drive(context, &mut started) => result,
            code = ending.wait() => {
                output::progress("ending the cluster ...");
                // Without --exec, a signal is how a cluster is meant to end.
                Ok(if self.exec.is_some() { code } else { 0 })
            }
        };
        if let Some(exec) = &mut started.exec {
            exec.end().await;
        }
        started.cluster.end().await;
        ended
    }

    /// Starts everything, shows it, and then runs the command or waits for ever.
    async fn drive(&self, context: &Context, started: &mut Started) -> Result<u8, CliError> {
        let Started {
            cluster,
            exec,
            place,
        } = started;
        let place = &*place.insert(Place::open(
            self.dir.as_deref(),
            self.nodes,
            self.threshold,
        )?);
        let binaries = binaries::provide().await?;
        let start = Instant::now();
        if place.is_made() {
            output::progress(&format!(
                "resuming the cluster in {} ...",
                place.root().display()
            ));
        } else {
            output::progress(&format!(
                "making a cluster in {} ...",
                place.root().display()
            ));
            let lifecycle = (if self.second_admin { 2 } else { 1 }, self.lifecycle_delay);
            ceremony::hold(place, &binaries, lifecycle).await?;
        }
        let profile = cluster
            .start(place, &binaries, self.listen, &self.gateway)
            .await?;
        if self.second_admin && profile.roster().roster().lifecycle_quorum < 2 {
            return Err(DevError::Usage(format!(
                "the cluster in {} was made with one admin: make another one with --second-admin",
                place.root().display()
            ))
            .into());
        }
        let client = cluster::connect(&profile, Role::Client).await?;
        cluster::all_connected(&client, &place.shape().node_ids()).await?;
        output::progress(&format!(
            "{} nodes and a coordinator are up after {} ms; demonstration ...",
            place.shape().nodes,
            start.elapsed().as_millis()
        ));
        let admin = cluster::connect(&profile, Role::Admin).await?;
        let spend = demonstration::run(&admin, &client, place).await?;
        let gateway = match cluster.gateway_url() {
            Some(url) => Some(
                self.gateway
                    .present(url, &admin, &client, place.shape())
                    .await?,
            ),
            None => None,
        };
        let shown = Shown { spend, gateway };
        self.report(context, place, &binaries, &profile, cluster, &shown)?;
        if let Some(command) = &self.exec {
            let surroundings = Surroundings {
                home: profile.home(),
                programs: &binaries.directory,
                gateway: shown.gateway.as_ref().map(Presented::url),
            };
            *exec = Some(Exec::start(command, &surroundings)?);
        }
        Ok(watch_until_the_end(cluster, exec.as_mut()).await?)
    }

    fn report(
        &self,
        context: &Context,
        place: &Place,
        binaries: &Binaries,
        profile: &Profile,
        cluster: &Cluster,
        shown: &Shown,
    ) -> Result<(), CliError> {
        if self.exec.is_none() && context.format() == Format::Json {
            let value = shown.json(place, profile, cluster);
            return output::print(Format::Json, &value, &Table::default());
        }
        let text = shown.text(place, binaries, profile, cluster);
        if self.exec.is_some() {
            eprintln!("{text}");
            return Ok(());
        }
        output::print_text(&format!("{text}\nCtrl-C ends it.\n"))
    }
}

impl Shown {
    /// For programs.
    fn json(&self, place: &Place, profile: &Profile, cluster: &Cluster) -> Value {
        let processes: Vec<_> = cluster
            .pids()
            .into_iter()
            .map(|(name, pid)| json!({ "name": name, "pid": pid }))
            .collect();
        let mut value = json!({
            "home": profile.home().display().to_string(),
            "dir": place.root().display().to_string(),
            "roster_hash": profile.roster().cluster(),
            "processes": processes,
            "demonstration": self.spend.json(),
            "gateway": self.gateway.as_ref().map(Presented::url),
        });
        if let (Some(gateway), Some(fields)) = (&self.gateway, value.as_object_mut()) {
            fields.insert("gateway_account".to_owned(), gateway.account_json());
        }
        value
    }

    /// For people.
    fn text(
        &self,
        place: &Place,
        binaries: &Binaries,
        profile: &Profile,
        cluster: &Cluster,
    ) -> String {
        let mut steps = Table::default();
        self.spend.describe(&mut steps);
        let mut details = Table::default();
        self.spend.details(&mut details);
        if let Some(gateway) = &self.gateway {
            gateway.describe(&mut steps);
            gateway.details(&mut details);
        }
        for (name, pid) in cluster.pids() {
            details.pair(
                &name,
                format!("pid {pid}, log {}", place.log(&name).display()),
            );
        }
        let root = quoted(&place.root().display().to_string());
        format!(
            "{steps}\n{details}\n\
             This cluster is for trying things out: its roster is thrown away, all shares lie on \
             one disk,\nand {}.\n\
             \nUse it from another terminal:\n\n    \
             export QUORATE_HOME={}\n    \
             export PATH={}:$PATH\n    \
             quorate key list\n    \
             quorate sign psbt demo-taproot --in {root}/demo.psbt --out signed.psbt\n\
             {}\n\
             A killed node is not started again; this does it:\n\n    \
             quorate-node run --config {root}/nodes/node-a.toml\n",
            unsafety(profile),
            quoted(&profile.home().display().to_string()),
            quoted(&binaries.directory.display().to_string()),
            self.gateway
                .as_ref()
                .map(Presented::usage)
                .unwrap_or_default(),
        )
    }
}

/// What is unsafe about the admins of a throwaway roster.
fn unsafety(profile: &Profile) -> &'static str {
    if profile.roster().roster().lifecycle_quorum < 2 {
        "its lifecycle quorum is 1, which is unsafe: one admin alone decides"
    } else {
        "the identities of both admins lie side by side, which is unsafe: one person has both"
    }
}

/// Tells of processes that end, until the command has ended; without one, for ever.
async fn watch_until_the_end(cluster: &Cluster, exec: Option<&mut Exec>) -> Result<u8, DevError> {
    let mut ends = cluster.watch();
    let command = async {
        match exec {
            Some(exec) => exec.wait().await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(command);
    loop {
        tokio::select! {
            Some(end) = ends.recv() => {
                output::progress(&format!("{end}; it is not started again"));
            }
            code = &mut command => return code,
        }
    }
}

/// A path that a shell reads as one word.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if path.chars().all(plain) {
        return path.to_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted("/tmp/quorate-dev-x/home"), "/tmp/quorate-dev-x/home");
        assert_eq!(quoted("/tmp/a b"), "'/tmp/a b'");
        assert_eq!(quoted("/tmp/it's"), r"'/tmp/it'\''s'");
    }
}
