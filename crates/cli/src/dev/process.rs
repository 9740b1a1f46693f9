//! One program of the cluster: started, awaited until it is ready, and ended.
//!
//! Its standard input is a pipe that closes when this process is gone in whatever way, which is
//! its sign to end; its first line of standard output says that it is ready; its standard error
//! is its log.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{ChildStdin, ChildStdout, Command},
    sync::watch,
    time::timeout,
};

use super::DevError;

/// How long a program may take until it is ready.
const READY_SECONDS: u64 = 30;

/// How long a program may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// How much of a log is shown when its program does not start.
const TAIL_BYTES: u64 = 2000;

/// A running program.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    /// Held until the end: the program ends when it closes.
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    exited: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// Starts a program in a process group of its own, so that Ctrl-C reaches it through us only.
    pub(super) fn start(name: &str, log: &Path, command: &mut Command) -> Result<Self, DevError> {
        let spawn = |source| DevError::Spawn {
            program: name.to_owned(),
            source,
        };
        let log_file = open_log(log)?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(spawn)?;
        let pid = child.id().unwrap_or(0);
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        let (exit, exited) = watch::channel(None);
        tokio::spawn(async move {
            if let Ok(status) = child.wait().await {
                exit.send_replace(Some(status));
            }
        });
        Ok(Self {
            name: name.to_owned(),
            pid,
            log: log.to_owned(),
            stdin,
            stdout,
            exited,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the line that says that the program is ready.
    pub(super) async fn ready(&mut self) -> Result<Value, DevError> {
        let Some(mut stdout) = self.stdout.take() else {
            return Err(self.not_ready());
        };
        let mut line = String::new();
        let read = timeout(
            Duration::from_secs(READY_SECONDS),
            stdout.read_line(&mut line),
        );
        let count = read
            .await
            .map_err(|_| DevError::Slow {
                what: self.name.clone(),
                seconds: READY_SECONDS,
            })?
            .unwrap_or(0);
        if count == 0 {
            return Err(self.not_ready());
        }
        // What follows is read and dropped, so that the program never blocks on a full pipe.
        tokio::spawn(async move {
            let mut rest = String::new();
            while stdout
                .read_line(&mut rest)
                .await
                .is_ok_and(|count| count > 0)
            {
                rest.clear();
            }
        });
        serde_json::from_str(&line)
            .ok()
            .filter(|value: &Value| value.get("event").and_then(Value::as_str) == Some("ready"))
            .ok_or_else(|| DevError::Unexpected {
                name: self.name.clone(),
                message: line,
            })
    }

    fn not_ready(&self) -> DevError {
        DevError::NotReady {
            name: self.name.clone(),
            log: self.log.display().to_string(),
            tail: tail(&self.log).unwrap_or_default(),
        }
    }

    /// Waits until the program has ended.
    async fn exited(&self) -> Option<ExitStatus> {
        self.watch_exit().await
    }

    /// Ends with the program, without holding on to it.
    pub(super) fn watch_exit(&self) -> impl Future<Output = Option<ExitStatus>> + use<> {
        let mut exited = self.exited.clone();
        async move {
            let status = exited.wait_for(Option::is_some).await.ok()?;
            *status
        }
    }

    /// Asks the program to end, without waiting.
    pub(super) fn ask_to_end(&mut self) {
        self.stdin = None;
        self.send(Signal::TERM);
    }

    /// Waits until the program has ended, and ends it if it takes too long.
    pub(super) async fn end(&mut self) {
        if timeout(GRACE, self.exited()).await.is_err() {
            self.send(Signal::KILL);
            // A killed process is gone as soon as the kernel gets to it.
            let _ = timeout(GRACE, self.exited()).await;
        }
    }

    fn send(&self, signal: Signal) {
        let is_running = self.exited.borrow().is_none();
        if let Some(pid) = pid_of(self.pid).filter(|_| is_running) {
            // It may have ended in this moment, which is what is wanted.
            let _ = kill_process(pid, signal);
        }
    }
}

/// A process id as the system calls take it.
pub(super) fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 1)
        .and_then(Pid::from_raw)
}

/// Runs a program to its end and returns what it printed.
pub(super) async fn run_step(program: &Path, command: &mut Command) -> Result<Vec<u8>, DevError> {
    let program = program.display().to_string();
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| DevError::Spawn {
            program: program.clone(),
            source,
        })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(DevError::Step {
        program,
        status: output.status.to_string(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn open_log(path: &Path) -> Result<File, DevError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(DevError::file("make", parent))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(DevError::file("open", path))
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_program_is_ready_when_it_says_so_and_ends_when_its_pipe_closes() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("logs/one.log");
        let script = r#"echo '{"event":"ready","pid":1}'; cat >/dev/null"#;
        let mut process = Process::start("one", &log, &mut shell(script)).unwrap();

        let ready = process.ready().await.unwrap();
        process.stdin = None;
        let status = process.exited().await.unwrap();

        assert_eq!(ready["pid"], 1);
        assert!(status.success());
        assert_eq!(process.name(), "one");
    }

    #[tokio::test]
    async fn a_program_that_is_asked_to_end_is_gone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"echo '{"event":"ready"}'; while :; do sleep 1; done"#;
        let mut process =
            Process::start("stubborn", &dir.path().join("log"), &mut shell(script)).unwrap();
        process.ready().await.unwrap();

        process.ask_to_end();
        process.end().await;

        assert!(process.exited.borrow().is_some());
    }

    #[tokio::test]
    async fn a_program_that_ends_before_it_is_ready_shows_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::start(
            "broken",
            &dir.path().join("log"),
            &mut shell("echo why >&2"),
        )
        .unwrap();

        let error = process.ready().await.unwrap_err();

        assert!(error.to_string().contains("why"), "{error}");
    }

    #[tokio::test]
    async fn another_line_than_the_expected_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut process =
            Process::start("chatty", &dir.path().join("log"), &mut shell("echo hello")).unwrap();

        assert!(matches!(
            process.ready().await,
            Err(DevError::Unexpected { .. })
        ));
    }

    #[test]
    fn the_process_that_is_everybodys_parent_is_never_signaled() {
        assert!(pid_of(0).is_none());
        assert!(pid_of(1).is_none());
        assert!(pid_of(u32::MAX).is_none());
        assert!(pid_of(2).is_some());
    }
}
