//! Starts of the real program: until it says that it serves, and what it has taken by then.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::Value;

use super::directory::{COORDINATOR, Directory};

/// How long a node serves before its memory is measured once more: it has taken a checkpoint and
/// written its index by then.
const SETTLED: Duration = Duration::from_secs(4);

/// The median start.
#[derive(Clone, Serialize)]
pub(super) struct Started {
    /// From the start of the process until it serves.
    pub(super) seconds: f64,
    /// The processor time that this took, which other work on the machine does not stretch.
    pub(super) cpu_seconds: Option<f64>,
    /// Resident when it serves.
    pub(super) memory_mib: Option<f64>,
    /// The most that was resident until then.
    pub(super) peak_mib: Option<f64>,
    /// Resident a few seconds later.
    pub(super) later_mib: Option<f64>,
    /// How many records the journal had.
    pub(super) records: u64,
    /// How many of them were folded into the index.
    pub(super) folded: u64,
    /// Why the index was rebuilt, if it was.
    pub(super) rebuilt: Option<String>,
}

impl Started {
    pub(super) fn print(&self, what: &str) {
        let found = match &self.rebuilt {
            Some(reason) => format!("index rebuilt ({reason})"),
            None if self.folded == 0 => "index up to date".to_owned(),
            None => format!("index up to date but for {} records", self.folded),
        };
        println!(
            "  {what}  serves after {:.2} s ({} s of processor time); {} MiB then, {} at most, \
             {} later; {found} of {} records",
            self.seconds,
            shown(self.cpu_seconds, 2),
            shown(self.memory_mib, 0),
            shown(self.peak_mib, 0),
            shown(self.later_mib, 0),
            self.records
        );
    }
}

fn shown(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(
        || "unknown".to_owned(),
        |figure| format!("{figure:.digits$}"),
    )
}

/// Starts the node so often, each time after `before`.
pub(super) fn measure(
    directory: &Directory,
    program: &Path,
    times: usize,
    before: &dyn Fn() -> Result<()>,
) -> Result<Started> {
    let mut starts = Vec::with_capacity(times);
    for _ in 0..times {
        before()?;
        starts.push(once(directory, program)?);
    }
    starts.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    starts.get(times / 2).cloned().context("a node was started")
}

fn once(directory: &Directory, program: &Path) -> Result<Started> {
    let begun = Instant::now();
    let mut process = Command::new(program)
        .arg("run")
        .arg("--dir")
        .arg(directory.path())
        .arg("--key-file")
        .arg(directory.key_file())
        // Nobody listens there: what is measured is what the node does on its own.
        .args(["--coordinator", &format!("{COORDINATOR}=127.0.0.1:1")])
        .args([
            "--log-format",
            "json",
            "--confirm-clock",
            "--exit-with-parent",
        ])
        .env("RUST_LOG", "info")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let measured = watch(&mut process, begun);
    // The node stops in order when its standard input ends.
    drop(process.stdin.take());
    let mut log = String::new();
    if let Some(stderr) = &mut process.stderr {
        stderr.read_to_string(&mut log)?;
    }
    let status = process.wait()?;
    let mut started = match measured {
        Ok(started) if status.success() => started,
        Ok(_) => bail!("the node ended badly:\n{log}"),
        Err(error) => return Err(error.context(log)),
    };
    for line in log.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        match event.get("message").and_then(Value::as_str) {
            Some("open") => {
                let number = |name: &str| event.get(name).and_then(Value::as_u64);
                started.records = number("records").context("the log names records")?;
                started.folded = number("folded").context("the log names folded records")?;
            }
            Some("rebuilt the index from the journal") => {
                let reason = event.get("reason").and_then(Value::as_str);
                started.rebuilt = reason.map(ToOwned::to_owned);
            }
            _ => {}
        }
    }
    Ok(started)
}

fn watch(process: &mut Child, begun: Instant) -> Result<Started> {
    let stdout = process.stdout.take().context("read what the node says")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let seconds = begun.elapsed().as_secs_f64();
    if !line.contains("\"ready\"") {
        bail!("the node ended before it served");
    }
    let pid = process.id();
    let cpu_seconds = cpu_seconds(pid);
    let memory_mib = memory(pid, "VmRSS:");
    let peak_mib = memory(pid, "VmHWM:");
    std::thread::park_timeout(SETTLED);
    Ok(Started {
        seconds,
        cpu_seconds,
        memory_mib,
        peak_mib,
        later_mib: memory(pid, "VmRSS:"),
        records: 0,
        folded: 0,
        rebuilt: None,
    })
}

pub(super) fn memory(pid: u32, what: &str) -> Option<f64> {
    let kib = crate::cluster::memory_kib(pid, what)?;
    Some(f64::from(u32::try_from(kib).ok()?) / 1024.0)
}

/// What a process has used of the processors. None where there is no `/proc`.
fn cpu_seconds(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold spaces.
    let (_, after) = text.rsplit_once(')')?;
    let ticks = after.split_whitespace().skip(11).take(2);
    let sum: u32 = ticks.filter_map(|field| field.parse::<u32>().ok()).sum();
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some(f64::from(sum) / f64::from(per_second))
}
