//! `quorate drill restore`: has `quorate-node`, which lies beside this executable, unseal a backup in a
//! directory that is removed again, and compares what was in it with the keys of the cluster.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
};

use clap::Args;
use quorate_client::{
    ListedKey,
    model::{ClusterId, KeyId, KeyName, NodeId, UnixMillis, ids::Epoch},
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    context::Context,
    dev::{DevError, node_beside_us},
    error::CliError,
    output::{self, Table},
};

/// Try a backup of a node out, and show which of its shares would be usable.
#[derive(Debug, Args)]
#[command(
    after_help = "Everything is checked that a restore checks, in a directory that is removed again; \
no node can be started from it. Then the shares are compared with the keys of the cluster. The command \
ends with 1 when a share that the node should have would not be usable.

Examples:
  quorate drill restore --from node-a.backup --age-identity keeper.key --key-file node-a.key
  quorate drill restore --from node-a.backup --age-identity keeper.key --offline"
)]
pub(crate) struct Restore {
    /// The backup
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// A file of `age-keygen` with the secret key of a recipient of the backup
    #[arg(long, value_name = "FILE")]
    age_identity: PathBuf,
    /// File with the key that seals the node's secrets, instead of --passphrase-file
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Directory below which the backup is tried out [default: that for temporary files]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Do not compare with the cluster
    #[arg(long)]
    offline: bool,
}

/// What `quorate-node rehearse` prints.
#[derive(Debug, Deserialize)]
struct Report {
    node: NodeId,
    cluster: ClusterId,
    backup: String,
    time_ms: u64,
    sequence: u64,
    keys: Vec<Found>,
}

/// One key of a backup.
#[derive(Debug, Deserialize)]
struct Found {
    key: KeyName,
    key_id: Option<KeyId>,
    epoch: Epoch,
    share: String,
    why: String,
}

impl Found {
    fn opens(&self) -> bool {
        matches!(self.share.as_str(), "usable" | "uncertified")
    }
}

/// What would become of one share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The node would sign with it.
    Usable,
    /// Its key has another epoch in use by now.
    Stale,
    /// The key was made, or came to the node, since.
    Missing,
    /// It is in the backup and does not open or fit.
    Lost,
    /// The node has none any more: its key went to others.
    Moved,
    /// Its key is destroyed.
    Destroyed,
    /// The cluster does not list its key.
    Unknown,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Lost => "lost",
            Self::Moved => "moved",
            Self::Destroyed => "destroyed",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the node should have a share, and would have none.
    const fn is_short(self) -> bool {
        matches!(self, Self::Stale | Self::Missing | Self::Lost)
    }
}

/// One line of the result.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    key: KeyName,
    /// The epoch in the backup.
    backed_up: Option<Epoch>,
    /// The epoch in use.
    in_use: Option<Epoch>,
    verdict: Verdict,
    why: String,
}

impl Restore {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let keys = if self.offline {
            None
        } else {
            let client = context.connect_to_read().await?;
            Some((client.roster().cluster(), client.list_keys().await?))
        };
        let report = self.rehearse(context, keys.as_ref().map(|(cluster, _)| *cluster))?;
        let lines = match &keys {
            Some((_, keys)) => compare(&report, keys),
            None => report.keys.iter().map(alone).collect(),
        };
        print(context, &report, &lines)?;
        let short = lines.iter().filter(|line| line.verdict.is_short()).count();
        if short == 0 {
            return Ok(());
        }
        Err(CliError::Incomplete {
            message: format!(
                "{short} of {} shares would not be usable: the node gets them with the next refresh \
                 or resharing of their keys; make a new backup after each ceremony",
                lines.len()
            ),
            code: 1,
        })
    }

    fn rehearse(&self, context: &Context, cluster: Option<ClusterId>) -> Result<Report, CliError> {
        if let Some(scratch) = self.scratch.as_deref().filter(|dir| !dir.is_dir()) {
            return Err(CliError::Usage(format!(
                "--scratch {} is no directory: name one that exists",
                scratch.display()
            )));
        }
        let program = node_beside_us()?;
        let mut command = Command::new(&program);
        command.arg("rehearse").arg("--from").arg(&self.from);
        command.arg("--identity").arg(&self.age_identity);
        if let Some(scratch) = &self.scratch {
            command.arg("--scratch").arg(scratch);
        }
        if let Some(cluster) = cluster {
            command.args(["--roster-hash", &cluster.to_string()]);
        }
        context.pass_unseal(self.key_file.as_deref(), &mut command);
        let spawn = |source| DevError::Spawn {
            program: program.display().to_string(),
            source,
        };
        let child = command.stdout(Stdio::piped()).spawn().map_err(spawn)?;
        let output = child.wait_with_output().map_err(spawn)?;
        if !output.status.success() {
            let code = output
                .status
                .code()
                .and_then(|code| u8::try_from(code).ok());
            return Err(CliError::Delegated(code.unwrap_or(1)));
        }
        serde_json::from_slice(&output.stdout).map_err(|source| CliError::File {
            action: "read the report of",
            path: program.display().to_string(),
            source: source.into(),
        })
    }
}

/// What can be said without the cluster.
fn alone(found: &Found) -> Line {
    let verdict = match found.share.as_str() {
        "usable" | "uncertified" => Verdict::Usable,
        "not-held" => Verdict::Moved,
        "destroyed" => Verdict::Destroyed,
        _ => Verdict::Lost,
    };
    Line {
        key: found.key.clone(),
        backed_up: Some(found.epoch),
        in_use: None,
        verdict,
        why: found.why.clone(),
    }
}

/// What would become of every share that is in the backup, or that the node has by now.
fn compare(report: &Report, keys: &[ListedKey]) -> Vec<Line> {
    let by_id: BTreeMap<KeyId, &Found> = report
        .keys
        .iter()
        .filter_map(|found| Some((found.key_id?, found)))
        .collect();
    let mut lines: Vec<Line> = keys
        .iter()
        .filter_map(|key| {
            let record = key.record();
            let found = by_id.get(&record.id()).copied();
            let holds = record.index_of(&report.node).is_some();
            let (verdict, why) = judge(found, holds, record.epoch, key.state().is_destroyed())?;
            Some(Line {
                key: record.name.clone(),
                backed_up: found.map(|found| found.epoch),
                in_use: Some(record.epoch),
                verdict,
                why,
            })
        })
        .collect();
    let listed = |found: &&Found| {
        let mut keys = keys.iter();
        found
            .key_id
            .is_some_and(|id| keys.any(|key| key.record().id() == id))
    };
    lines.extend(
        report
            .keys
            .iter()
            .filter(|found| !listed(found))
            .map(|found| Line {
                verdict: if found.share == "destroyed" {
                    Verdict::Destroyed
                } else {
                    Verdict::Unknown
                },
                why: "the cluster does not list the key".to_owned(),
                ..alone(found)
            }),
    );
    lines
}

/// What would become of the share of one key of the cluster; none where the node never had one.
fn judge(
    found: Option<&Found>,
    holds: bool,
    in_use: Epoch,
    is_destroyed: bool,
) -> Option<(Verdict, String)> {
    let said = |verdict, why: &str| Some((verdict, why.to_owned()));
    match found {
        _ if is_destroyed && (found.is_some() || holds) => said(
            Verdict::Destroyed,
            "the key is destroyed: nobody signs with it",
        ),
        None if holds => said(
            Verdict::Missing,
            "the key came to the node after the backup: refresh it",
        ),
        None => None,
        Some(_) if !holds => said(Verdict::Moved, "the key is with other nodes by now"),
        Some(found) if found.epoch != in_use => said(
            Verdict::Stale,
            "another epoch is in use by now: refresh the key, and the node has a share of it",
        ),
        Some(found) if found.opens() => said(Verdict::Usable, &found.why),
        Some(found) => said(Verdict::Lost, &found.why),
    }
}

fn print(context: &Context, report: &Report, lines: &[Line]) -> Result<(), CliError> {
    let epoch = |epoch: Option<Epoch>| epoch.map_or_else(|| "-".to_owned(), |e| e.to_string());
    let mut table = Table::default();
    table.pair("node", &report.node);
    table.pair("backup", &report.backup);
    table.pair("made", output::time(UnixMillis(report.time_ms)));
    table.pair("journal", format!("up to record {}", report.sequence));
    for line in lines {
        table.row([
            format!("key {}", line.key),
            format!(
                "{} (epoch {} in the backup, {} in use): {}",
                line.verdict.as_str(),
                epoch(line.backed_up),
                epoch(line.in_use),
                line.why
            ),
        ]);
    }
    let value = json!({
        "node": report.node,
        "cluster": report.cluster,
        "backup": report.backup,
        "time_ms": report.time_ms,
        "sequence": report.sequence,
        "keys": lines.iter().map(|line| json!({
            "name": line.key,
            "backup_epoch": line.backed_up,
            "epoch": line.in_use,
            "share": line.verdict.as_str(),
            "why": line.why,
        })).collect::<Vec<_>>(),
    });
    output::print(context.format(), &value, &table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(epoch: u32, share: &str) -> Found {
        Found {
            key: "notes".parse().unwrap(),
            key_id: Some(KeyId([1; 32])),
            epoch: Epoch(epoch),
            share: share.to_owned(),
            why: "as it is".to_owned(),
        }
    }

    fn verdict(found: Option<&Found>, holds: bool, is_destroyed: bool) -> Option<Verdict> {
        judge(found, holds, Epoch(2), is_destroyed).map(|(verdict, _)| verdict)
    }

    #[test]
    fn a_share_is_usable_only_in_the_epoch_that_is_in_use() {
        let good = found(2, "usable");

        assert_eq!(verdict(Some(&good), true, false), Some(Verdict::Usable));
        let old = found(1, "usable");
        assert_eq!(verdict(Some(&old), true, false), Some(Verdict::Stale));
        assert_eq!(verdict(None, true, false), Some(Verdict::Missing));
        assert_eq!(verdict(None, false, false), None);
    }

    #[test]
    fn what_the_node_should_not_have_is_not_missed() {
        let good = found(2, "usable");

        assert_eq!(verdict(Some(&good), false, false), Some(Verdict::Moved));
        assert_eq!(verdict(Some(&good), true, true), Some(Verdict::Destroyed));
        assert_eq!(verdict(None, true, true), Some(Verdict::Destroyed));
        assert_eq!(verdict(None, false, true), None);
    }

    #[test]
    fn a_share_that_does_not_open_is_lost_with_its_reason() {
        for share in ["unreadable", "does-not-fit"] {
            let bad = found(2, share);
            assert_eq!(verdict(Some(&bad), true, false), Some(Verdict::Lost));
            assert_eq!(alone(&bad).verdict, Verdict::Lost);
        }
        assert_eq!(alone(&found(2, "usable")).verdict, Verdict::Usable);
        assert_eq!(alone(&found(2, "destroyed")).verdict, Verdict::Destroyed);
    }
}
