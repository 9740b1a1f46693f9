//! Starts `quorate dev`, runs `quorate` against it, and stops and starts its parts by hand.

mod process;

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

pub(crate) use process::{Done, Process, is_alive, kill, run, signal, signal_all, wait_until_gone};

/// How long anything may take on a loaded machine before the test gives up.
const PATIENCE: Duration = Duration::from_mins(2);

/// Says where the programs are, after building them once per run of this test binary. With
/// `QUORATE_TEST_BINARIES` they are taken from there as they are.
pub(crate) fn binaries() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        if let Some(given) = std::env::var_os("QUORATE_TEST_BINARIES") {
            return given.into();
        }
        let mut cargo = Command::new(env!("CARGO"));
        // What cargo says of this package would have ring's build script run again.
        for (name, _) in std::env::vars_os() {
            let describes = |prefix| name.to_string_lossy().starts_with(prefix);
            if describes("CARGO_PKG_") || describes("CARGO_MANIFEST_") {
                cargo.env_remove(&name);
            }
        }
        let status = cargo
            // The whole workspace, because that is what the test run has built already.
            .args(["build", "--locked", "--workspace", "--bins"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .status()
            .unwrap();
        assert!(status.success(), "the binaries do not build");
        // target/debug/deps/cluster-… → target/debug
        let me = std::env::current_exe().unwrap();
        me.parent().unwrap().parent().unwrap().to_owned()
    })
}

/// A command of one of the programs.
pub(crate) fn program(name: &str) -> Command {
    Command::new(binaries().join(name))
}

/// Asks again and again until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} does not come about");
    }
}

/// A running `quorate dev`.
pub(crate) struct Cluster {
    dev: Process,
    directory: tempfile::TempDir,
    home: PathBuf,
    coordinator: i64,
    /// The processes of the nodes that were started again, by name.
    started: Mutex<BTreeMap<String, i64>>,
}

impl Cluster {
    /// Starts a cluster and waits until its demonstration is over.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    pub(crate) fn start_in(directory: tempfile::TempDir, arguments: &[&str]) -> Self {
        let mut dev = Process::start(
            program("quorate")
                .arg("dev")
                .arg("--dir")
                .arg(directory.path())
                .args(arguments)
                .env("QUORATE_DEV_NO_BUILD", "1"),
        );
        let line = dev.stdout.wait_for("export QUORATE_HOME=");
        let home = line.split("export QUORATE_HOME=").nth(1).unwrap();
        let home = PathBuf::from(home.trim().trim_matches(['\'', '"']));
        let line = dev.stdout.wait_for("coordinator  ");
        let pid = line.split("pid ").nth(1).unwrap();
        let coordinator = pid.split(',').next().unwrap().parse().unwrap();
        Self {
            dev,
            directory,
            home,
            coordinator,
            started: Mutex::default(),
        }
    }

    /// Waits until `dev` has told a line with this in it.
    pub(crate) fn told(&mut self, mark: &str) -> String {
        self.dev.stdout.wait_for(mark)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program("quorate");
        command.args(arguments).env("QUORATE_HOME", &self.home);
        command
    }

    /// Runs `quorate` with the cluster's profile.
    pub(crate) fn quorate(&self, arguments: &[&str]) -> Done {
        run(&mut self.command(arguments))
    }

    /// Runs `quorate … -o json`, which must succeed, however long it takes on a loaded machine.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.extend(["-o", "json", "--timeout", "2m"]);
        self.quorate(&arguments).json()
    }

    /// Starts `quorate … -o json` and does not wait for its end.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Process {
        Process::start(self.command(arguments).args(["-o", "json"]))
    }

    /// Starts `quorate …` for people, with its progress on standard error.
    pub(crate) fn watch(&self, arguments: &[&str]) -> Process {
        Process::start(&mut self.command(arguments))
    }

    /// Creates a key on all nodes.
    pub(crate) fn create_key(&self, name: &str, scheme: &str, purpose: &str) -> Value {
        self.json(&[
            "key",
            "create",
            name,
            "--scheme",
            scheme,
            "--purpose",
            purpose,
        ])
    }

    /// Waits until a command is in this state, and shows it.
    pub(crate) fn wait_for_state(&self, id: &str, state: &str) -> Value {
        wait_for(&format!("command {id} in state {state}"), || {
            let shown = self.quorate(&["command", "show", id, "-o", "json"]);
            (shown.code == 0)
                .then(|| shown.json())
                .filter(|shown| shown["state"] == state)
        })
    }

    /// Waits until a command waits for exactly these nodes.
    pub(crate) fn wait_for_awaited(&self, id: &str, nodes: &[&str]) {
        wait_for(&format!("command {id} that awaits {nodes:?}"), || {
            let shown = self.json(&["command", "show", id]);
            (shown["progress"]["awaited"] == serde_json::json!(nodes)).then_some(())
        });
    }

    /// The cluster's directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The profile.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// A file in the cluster's directory, as an argument.
    pub(crate) fn file(&self, name: &str) -> String {
        self.directory().join(name).to_str().unwrap().to_owned()
    }

    /// What a process that `dev` has started has logged.
    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(&format!("logs/{name}.log"))).unwrap()
    }

    /// The files of a key's shares in a node's vault.
    pub(crate) fn vault_files(&self, node: &str, key: &str) -> Vec<String> {
        let vault = self.directory().join("nodes").join(node).join("vault");
        let mut found = Vec::new();
        for fan in std::fs::read_dir(vault).unwrap() {
            for file in std::fs::read_dir(fan.unwrap().path()).unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                found.extend(name.starts_with(&format!("{key}.")).then_some(name));
            }
        }
        found.sort();
        found
    }

    /// The nodes as `node list` shows them.
    pub(crate) fn nodes(&self) -> Vec<Value> {
        self.json(&["node", "list"]).as_array().unwrap().clone()
    }

    /// The names and process ids of the nodes that are connected and have said which process they
    /// are, in the order of the roster.
    fn connected(&self) -> Vec<(String, i64)> {
        let named = |node: &Value| {
            let pid = node["pid"].as_i64().filter(|pid| *pid > 0)?;
            let name = node["name"].as_str().unwrap().to_owned();
            // Until a node that was started again has told its status, the process before it is shown.
            let started = self.started.lock().unwrap().get(&name).copied();
            let is_current = started.is_none_or(|started| started == pid);
            (node["connected"] == true && is_current).then_some((name, pid))
        };
        self.nodes().iter().filter_map(named).collect()
    }

    /// The process ids of the connected nodes.
    pub(crate) fn node_pids(&self) -> Vec<i64> {
        self.connected().into_iter().map(|(_, pid)| pid).collect()
    }

    /// The process id of a node, once it is connected.
    pub(crate) fn node_pid(&self, name: &str) -> i64 {
        wait_for(&format!("a connected {name}"), || {
            let connected = self.connected();
            let node = connected.into_iter().find(|(node, _)| node == name);
            node.map(|(_, pid)| pid)
        })
    }

    /// The process id of the coordinator that `dev` has started.
    pub(crate) const fn coordinator_pid(&self) -> i64 {
        self.coordinator
    }

    /// Kills the coordinator that `dev` has started the hard way.
    pub(crate) fn kill_coordinator(&self) {
        kill(self.coordinator);
        wait_until_gone(self.coordinator);
    }

    /// Adds lines to the coordinator's configuration and has it start again with them.
    pub(crate) fn restart_coordinator_with(&self, lines: &str) -> Process {
        self.kill_coordinator();
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(self.directory().join("coordinator.toml"))
            .unwrap();
        writeln!(file, "{lines}").unwrap();
        let coordinator = self.start_coordinator();
        self.wait_for_connected(3);
        coordinator
    }

    /// Starts the coordinator where the nodes and the profile look for it.
    pub(crate) fn start_coordinator(&self) -> Process {
        let mut process = Process::start(
            program("quorate-coordinator")
                .args(["run", "--exit-with-parent", "--config"])
                .arg(self.directory().join("coordinator.toml")),
        );
        process.ready();
        process
    }

    /// The command that starts a node of this cluster.
    pub(crate) fn node_command(&self, name: &str) -> Command {
        let mut command = program("quorate-node");
        command
            .args(["run", "--exit-with-parent", "--config"])
            .arg(self.node_config(name));
        command
    }

    /// Starts a node of this cluster.
    pub(crate) fn start_node(&self, name: &str) -> Process {
        let mut process = Process::start(&mut self.node_command(name));
        process.ready();
        let pid = process.id();
        self.started.lock().unwrap().insert(name.to_owned(), pid);
        process
    }

    pub(crate) fn node_config(&self, name: &str) -> PathBuf {
        self.directory().join("nodes").join(format!("{name}.toml"))
    }

    /// Kills a node the hard way.
    pub(crate) fn kill_node(&self, name: &str) {
        let pid = self.node_pid(name);
        kill(pid);
        wait_until_gone(pid);
    }

    /// Waits until `node list` shows exactly so many connected nodes.
    pub(crate) fn wait_for_connected(&self, count: usize) {
        wait_for(&format!("{count} connected nodes"), || {
            (self.connected().len() == count).then_some(())
        });
    }

    /// Ends the cluster as Ctrl-C does and returns `dev`'s exit status.
    pub(crate) fn stop(mut self) -> (i32, tempfile::TempDir) {
        self.dev.signal(Signal::TERM);
        let code = self.dev.end().code;
        (code, self.directory)
    }
}
