//! Starts `quorate dev` and runs `quorate` against it.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long anything may take on a loaded machine before the test gives up.
const PATIENCE: Duration = Duration::from_mins(2);

/// Builds the binaries once per run of this test binary and says where they are.
pub(crate) fn binaries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let status = Command::new(env!("CARGO"))
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

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that the command ended with this code and said this on standard error.
    pub(crate) fn refused(&self, code: i32, says: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.contains(says), "expected \"{says}\": {self:?}");
    }
}

/// A running `quorate dev`.
pub(crate) struct Cluster {
    process: Child,
    lines: Receiver<String>,
    directory: tempfile::TempDir,
    home: PathBuf,
    said: Vec<String>,
}

impl Cluster {
    /// Starts a cluster and waits until its demonstration is over.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    pub(crate) fn start_in(directory: tempfile::TempDir, arguments: &[&str]) -> Self {
        let mut process = Command::new(binaries().join("quorate"))
            .arg("dev")
            .arg("--dir")
            .arg(directory.path())
            .args(arguments)
            .env("QUORATE_DEV_NO_BUILD", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = process.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let home = PathBuf::new();
        let mut cluster = Self {
            process,
            lines,
            directory,
            home,
            said: Vec::new(),
        };
        let line = cluster.wait_for_line("export QUORATE_HOME=");
        let home = line.split("export QUORATE_HOME=").nth(1).unwrap();
        cluster.home = PathBuf::from(home.trim().trim_matches(['\'', '"']));
        cluster
    }

    fn wait_for_line(&mut self, mark: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(mark) => return line,
                Ok(line) => self.said.push(line),
                Err(error) => panic!("no line with \"{mark}\" ({error}): {:#?}", self.said),
            }
        }
    }

    /// Runs `quorate` with the cluster's profile.
    pub(crate) fn quorate(&self, arguments: &[&str]) -> Done {
        run(Command::new(binaries().join("quorate"))
            .args(arguments)
            .env("QUORATE_HOME", &self.home))
    }

    /// Runs `quorate … -o json`, which must succeed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.extend(["-o", "json"]);
        self.quorate(&arguments).json()
    }

    /// The cluster's directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The nodes as `node list` shows them.
    pub(crate) fn nodes(&self) -> Vec<Value> {
        let listed = self.json(&["node", "list"]);
        listed
            .as_array()
            .cloned()
            .unwrap_or_else(|| listed["nodes"].as_array().cloned().unwrap_or_default())
    }

    /// Kills the coordinator the hard way.
    pub(crate) fn kill_coordinator(&self) {
        let line = self
            .said
            .iter()
            .find(|line| line.starts_with("coordinator"))
            .unwrap();
        let pid = line
            .split("pid ")
            .nth(1)
            .unwrap()
            .split(',')
            .next()
            .unwrap();
        let pid = pid.parse().unwrap();
        kill(pid);
        wait_until_gone(pid);
    }

    /// Kills a node the hard way.
    pub(crate) fn kill_node(&self, name: &str) {
        let nodes = self.nodes();
        let node = nodes.iter().find(|node| node["name"] == name).unwrap();
        kill(node["pid"].as_i64().unwrap());
    }

    /// Waits until `node list` shows exactly so many connected nodes.
    pub(crate) fn wait_for_connected(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let connected = self
                .nodes()
                .iter()
                .filter(|node| node["connected"] == Value::Bool(true))
                .count();
            if connected == count {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{connected} nodes are connected, not {count}"
            );
        }
    }

    /// Ends the cluster as Ctrl-C does and returns `dev`'s exit status.
    pub(crate) fn stop(mut self) -> (i32, tempfile::TempDir) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.process.wait().unwrap();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        (status.code().unwrap_or(-1), directory)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _killed = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Kills a process the hard way.
pub(crate) fn kill(pid: i64) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Whether a process is there and no zombie.
pub(crate) fn is_alive(pid: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| !rest.starts_with('Z'))
    })
}

/// Waits until a process is gone.
pub(crate) fn wait_until_gone(pid: i64) {
    let deadline = Instant::now() + PATIENCE;
    while is_alive(pid) {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        std::thread::yield_now();
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Done {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
