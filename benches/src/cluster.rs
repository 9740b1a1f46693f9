//! The cluster under measurement: `quorate dev`, as a separate process that has its own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use quorate_client::{
    CertifiedKey, Client, CommandOptions, identity::Identity, passphrase::Passphrase,
    profile::Profile,
};
use quorate_model::{KeyPurpose, NodeId, Purposes, Scheme, command::CreateKey, roster::Role};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// The variable that keeps cargo out of it when it is anything but empty or 0, here as in the
/// `quorate dev` that is started.
const NO_BUILD: &str = "QUORATE_DEV_NO_BUILD";

/// How long a call of the SDK may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running cluster with a client and an admin.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) admin: Client,
    _process: Child,
    directory: tempfile::TempDir,
}

impl Cluster {
    /// Starts a cluster and waits until it serves.
    pub(crate) async fn start(nodes: u16, threshold: u16) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut process = Command::new(provide("quorate").await?)
            .arg("dev")
            .arg("--dir")
            .arg(directory.path())
            .args([
                "--nodes",
                &nodes.to_string(),
                "--threshold",
                &threshold.to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .context("start quorate dev")?;
        let stdout = process
            .stdout
            .take()
            .context("read what quorate dev prints")?;
        let mut lines = BufReader::new(stdout).lines();
        let home = loop {
            let Some(line) = lines.next_line().await? else {
                bail!("quorate dev ended before it served");
            };
            if let Some((_, home)) = line.split_once("export QUORATE_HOME=") {
                break PathBuf::from(home.trim().trim_matches(['\'', '"']));
            }
        };
        // Whatever dev prints afterwards must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            client: connect(&home, Role::Client).await?,
            admin: connect(&home, Role::Admin).await?,
            _process: process,
            directory,
        })
    }

    /// Where the nodes keep what they have.
    pub(crate) fn nodes_directory(&self) -> PathBuf {
        self.directory.path().join("nodes")
    }

    /// The memory of the largest node, in MiB, where the system tells of it.
    pub(crate) async fn node_memory_mib(&self) -> Result<Option<f64>> {
        let nodes = self.admin.list_nodes().await?;
        let kib = nodes
            .iter()
            .filter_map(|node| memory_kib(node.pid, "VmRSS:"))
            .max();
        let kib = kib.and_then(|kib| u32::try_from(kib).ok());
        Ok(kib.map(|kib| f64::from(kib) / 1024.0))
    }

    /// Creates a key of all nodes for what [`load`](crate::load) has signed with it.
    pub(crate) async fn create_key(
        &self,
        name: &str,
        scheme: Scheme,
        threshold: u16,
    ) -> Result<CertifiedKey> {
        let create = creation(name, scheme, threshold, &self.node_ids())?;
        Ok(self
            .admin
            .create_key(create, &CommandOptions::default())
            .await?)
    }

    /// All nodes, in the order of the roster.
    pub(crate) fn node_ids(&self) -> Vec<NodeId> {
        let pinned = self.admin.roster();
        let nodes = &pinned.roster().nodes;
        nodes.iter().map(|node| node.id.clone()).collect()
    }
}

/// A key of some of the nodes for what [`load`](crate::load) has signed with it.
pub(crate) fn creation(
    name: &str,
    scheme: Scheme,
    threshold: u16,
    nodes: &[NodeId],
) -> Result<CreateKey> {
    let purpose = if scheme == Scheme::EcdsaSecp256k1 {
        KeyPurpose::Digests
    } else {
        KeyPurpose::Messages
    };
    Ok(CreateKey {
        key: name.parse()?,
        scheme,
        threshold,
        nodes: nodes.to_vec(),
        purposes: Purposes::new(vec![purpose])?,
        accept_fragile: true,
        life: quorate_model::life::KeyLife::default(),
    })
}

/// Memory of a process by a name of the system for it, in KiB. None where there is no `/proc`.
pub(crate) fn memory_kib(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

async fn connect(home: &Path, role: Role) -> Result<Client> {
    let profile = Profile::load(home)?;
    let passphrase = Passphrase::read(
        &profile
            .passphrase_path()
            .context("the profile's passphrase file")?,
    )?;
    let identity = Identity::read(&profile.identity_path(role)?, &passphrase)?;
    Ok(Client::connect(&profile, identity, PATIENCE).await?)
}

/// The path of a program beside this executable, built if a workspace is there to build it from and
/// the environment does not forbid it.
pub(crate) async fn provide(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.with_file_name(name);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if may_build() && workspace.join("Cargo.toml").is_file() {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // The default members, as `cargo run` selects them, so that no crate is compiled twice.
        build
            .current_dir(workspace)
            .args(["build", "--locked", "--bins"]);
        // What cargo says of this package would have ring's build script run again.
        for (name, _) in std::env::vars_os() {
            let describes = |prefix| name.to_string_lossy().starts_with(prefix);
            if describes("CARGO_PKG_") || describes("CARGO_MANIFEST_") {
                build.env_remove(&name);
            }
        }
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        eprintln!("building the cluster's programs where they are missing or stale");
        if !build.status().await.context("run cargo")?.success() {
            bail!("the cluster's programs do not build");
        }
    }
    if !beside.is_file() {
        bail!("there is no {name} beside {}", own.display());
    }
    Ok(beside)
}

fn may_build() -> bool {
    std::env::var_os(NO_BUILD).is_none_or(|value| value.is_empty() || value == "0")
}
