//! The command of `dev --exec`, run so that nothing of it is left behind.
//!
//! Between `dev` and the shell stands this executable once more, as `quorate dev-exec`: it ends
//! the shell and everything that it started when `dev` is gone, even by SIGKILL. At a terminal the
//! shell stays in the foreground group, so that it can read and Ctrl-C reaches it; elsewhere it
//! has a process group of its own, which is ended as a whole.

use std::{
    env, io, io::IsTerminal as _, os::unix::process::ExitStatusExt as _, path::Path,
    process::ExitStatus, time::Duration,
};

use clap::Args;
use rustix::process::{Pid, Signal, getpgrp, getpid, getppid, kill_process, kill_process_group};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::{interval, timeout},
};

use super::{DevError, process::pid_of};
use crate::error::CliError;

/// How often the guard looks whether its parent lives.
const WATCH: Duration = Duration::from_millis(100);

/// How long the command may take to end by itself.
const GRACE: Duration = Duration::from_secs(3);

/// Runs the command of `dev --exec` so that it ends with its parent.
#[derive(Debug, Args)]
pub(crate) struct DevExec {
    /// The process to end with
    #[arg(long)]
    parent: u32,
    /// The command
    command: String,
}

impl DevExec {
    pub(crate) async fn run(&self) -> Result<u8, CliError> {
        let spawn = |source| DevError::Spawn {
            program: "sh".to_owned(),
            source,
        };
        let mut terminate = signal(SignalKind::terminate()).map_err(spawn)?;
        // At a terminal Ctrl-C is for the command; the guard reports how it ended.
        let _interrupt = signal(SignalKind::interrupt()).map_err(spawn)?;
        let mut shell = Command::new("sh")
            .arg("-c")
            .arg(&self.command)
            .spawn()
            .map_err(spawn)?;
        let mut watch = interval(WATCH);
        loop {
            tokio::select! {
                status = shell.wait() => return Ok(status.map_err(spawn).map(code_of)?),
                _ = terminate.recv() => end_shell(&shell, Signal::TERM),
                _ = watch.tick() => {
                    if !self.is_parent_alive() {
                        end_shell(&shell, Signal::KILL);
                        end_own_group();
                        return Ok(1);
                    }
                }
            }
        }
    }

    fn is_parent_alive(&self) -> bool {
        pid_of(self.parent).is_some_and(|parent| getppid() == Some(parent))
    }
}

/// Ends everything in our process group, if it is ours alone; this process with it.
fn end_own_group() {
    if getpgrp() == getpid() {
        let _ = kill_process_group(getpgrp(), Signal::KILL);
    }
}

fn end_shell(shell: &Child, signal: Signal) {
    if let Some(pid) = shell.id().and_then(pid_of) {
        // It may have ended in this moment, which is what is wanted.
        let _ = kill_process(pid, signal);
    }
}

/// The exit code that a shell would report.
fn code_of(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The running command.
#[derive(Debug)]
pub(super) struct Exec {
    guard: Child,
    /// Its process id, which is also that of its group.
    pid: Option<Pid>,
    has_group: bool,
}

/// What the command finds in its environment.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// The profile.
    pub(super) home: &'a Path,
    /// The directory of our programs, which comes first in the path.
    pub(super) programs: &'a Path,
    /// The URL of the gateway, under the name that Foundry reads it by.
    pub(super) gateway: Option<&'a str>,
}

impl Exec {
    /// Starts the command.
    pub(super) fn start(command: &str, surroundings: &Surroundings<'_>) -> Result<Self, DevError> {
        let spawn = |source| DevError::Spawn {
            program: "sh".to_owned(),
            source,
        };
        let own = env::current_exe().map_err(spawn)?;
        let has_group = !io::stdin().is_terminal();
        let mut guard = Command::new(own);
        guard
            .args([
                "dev-exec",
                "--parent",
                &std::process::id().to_string(),
                "--",
                command,
            ])
            .env("QUORATE_HOME", surroundings.home)
            .env("PATH", path_with(surroundings.programs))
            .env_remove("QUORATE_PASSPHRASE_FILE")
            .kill_on_drop(true);
        if let Some(url) = surroundings.gateway {
            guard.env("ETH_RPC_URL", url);
        }
        if has_group {
            guard.process_group(0);
        }
        let guard = guard.spawn().map_err(spawn)?;
        let pid = guard.id().and_then(pid_of);
        Ok(Self {
            guard,
            pid,
            has_group,
        })
    }

    /// Waits for the end of the command.
    pub(super) async fn wait(&mut self) -> Result<u8, DevError> {
        let status = self.guard.wait().await;
        status.map(code_of).map_err(|source| DevError::Spawn {
            program: "sh".to_owned(),
            source,
        })
    }

    /// Ends the command, and what it has left running in the background.
    pub(super) async fn end(&mut self) {
        self.send(Signal::TERM);
        if timeout(GRACE, self.guard.wait()).await.is_err() || self.has_group {
            self.send(Signal::KILL);
        }
    }

    fn send(&self, signal: Signal) {
        // Whatever has ended in this moment is what is wanted.
        let _ = match self.pid {
            Some(pid) if self.has_group => kill_process_group(pid, signal),
            Some(pid) if self.guard.id().is_some() => kill_process(pid, signal),
            _ => Ok(()),
        };
    }
}

fn path_with(programs: &Path) -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(programs.to_owned()).chain(env::split_paths(&path));
    env::join_paths(all).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_the_command() {
        assert_eq!(code_of(ExitStatus::from_raw(0)), 0);
        assert_eq!(code_of(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code_of(ExitStatus::from_raw(15)), 143);
    }

    #[test]
    fn our_programs_come_first() {
        let path = path_with(Path::new("/programs"));

        assert_eq!(
            env::split_paths(&path).next().unwrap(),
            Path::new("/programs")
        );
    }
}
