//! Processes: what they say, how they are signaled, how they end.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::PATIENCE;

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

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Done {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The lines that a process writes, kept from the first.
pub(crate) struct Lines {
    arriving: Receiver<String>,
    said: Vec<String>,
}

impl Lines {
    fn of(source: impl Read + Send + 'static) -> Self {
        let (sender, arriving) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            arriving,
            said: Vec::new(),
        }
    }

    /// Waits until a line with this in it has been written, from the beginning on.
    pub(crate) fn wait_for(&mut self, mark: &str) -> String {
        let found = self.find(mark);
        found.unwrap_or_else(|| panic!("no line with \"{mark}\": {:#?}", self.said))
    }

    fn find(&mut self, mark: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.said.iter().find(|line| line.contains(mark)) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.said.push(self.arriving.recv_timeout(left).ok()?);
        }
    }

    /// Waits until a line like this has been written. None: the process ended before.
    pub(crate) fn first(&mut self, is: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.said.iter().find(|line| is(line)) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.arriving.recv_timeout(left) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("there is no end: {:#?}", self.said),
            }
        }
    }

    /// Everything up to the end of the process.
    pub(crate) fn until_end(&mut self) -> &[String] {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.arriving.recv_timeout(left) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => return &self.said,
                Err(RecvTimeoutError::Timeout) => panic!("there is no end: {:#?}", self.said),
            }
        }
    }
}

/// A process that ends when it is dropped: its standard input closes, and it is killed.
pub(crate) struct Process {
    child: Child,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdout: Lines::of(child.stdout.take().unwrap()),
            stderr: Lines::of(child.stderr.take().unwrap()),
            child,
        }
    }

    /// What a daemon says once it runs.
    pub(crate) fn ready(&mut self) -> Value {
        match self.stdout.find("\"ready\"") {
            Some(line) => serde_json::from_str(&line).unwrap(),
            None => panic!("it does not run: {:?}", self.end()),
        }
    }

    pub(crate) fn id(&self) -> i64 {
        self.child.id().into()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the process has ended.
    pub(crate) fn end(&mut self) -> Done {
        let stdout = self.stdout.until_end().join("\n");
        let stderr = self.stderr.until_end().join("\n");
        Done {
            code: self.child.wait().unwrap().code().unwrap_or(-1),
            stdout,
            stderr,
        }
    }

    /// How the process has ended, if it has.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap()?;
        Some(status.code().unwrap_or(-1))
    }

    /// Kills the process the hard way.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.end();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Sends a signal to a process that somebody else has started.
pub(crate) fn signal(pid: i64, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

pub(crate) fn signal_all(pids: &[i64], with: Signal) {
    for pid in pids {
        signal(*pid, with);
    }
}

/// Kills a process the hard way.
pub(crate) fn kill(pid: i64) {
    signal(pid, Signal::KILL);
}

/// Whether a process is there and no zombie. While a process ends, its first thread is a zombie
/// already when others still hold its files.
pub(crate) fn is_alive(pid: i64) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let is_zombie = stat
        .rsplit(") ")
        .next()
        .is_some_and(|rest| rest.starts_with('Z'));
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    !is_zombie || threads > 1
}

/// Waits until a process is gone.
pub(crate) fn wait_until_gone(pid: i64) {
    let deadline = Instant::now() + PATIENCE;
    while is_alive(pid) {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        std::thread::yield_now();
    }
}
