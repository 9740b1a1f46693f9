//! `quorate audit verify`.

use std::{fs::File, io::BufReader, path::PathBuf};

use clap::Args;
use quorate_client::{
    audit::{FileReport, JournalReport, Verifier},
    model::NodeId,
};
use serde_json::{Value, json};

use crate::{
    args::RosterArg,
    context::Context,
    error::{CliError, chain},
    output::{self, Table},
};

/// Verify exported files together, without any machine of the cluster.
///
/// Journals, signatures with their receipts, and evidence may stand in any order. Receipts and
/// certificates are matched against the journals that are given. Evidence about an epoch of a key
/// that is over needs the journal of one who held it, before it in the list.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Exported files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    roster: RosterArg,
}

impl Verify {
    pub(super) fn run(&self, context: &Context) -> Result<(), CliError> {
        let roster = self.roster.resolve(context)?;
        let mut verifier = Verifier::new(&roster);
        let mut reports = Vec::new();
        for path in &self.files {
            let file = File::open(path).map_err(|source| CliError::File {
                action: "read",
                path: path.display().to_string(),
                source,
            })?;
            let report = verifier.add(BufReader::new(file)).map_err(|error| {
                let message = format!("{}: {}", path.display(), chain(&error));
                if error.is_about_content() {
                    CliError::Unverified(message)
                } else {
                    error.into()
                }
            })?;
            reports.push((path, report));
        }
        let matched = verifier.finish()?;
        let mut table = Table::with_header(&["FILE", "KIND", "OF", "CONTENT"]);
        let mut files = Vec::new();
        for (path, report) in &reports {
            let path = path.display().to_string();
            table.row(row(&path, report));
            files.push(report_json(&path, report));
        }
        table.pair("cross-checks", format!("{} hold", matched.matched));
        table.pair(
            "not checked",
            format!("{} name journals not given", matched.unmatched),
        );
        if matched.lost > 0 {
            table.pair(
                "lost",
                format!(
                    "{} name records that were lost with a disk, before a node was restored",
                    matched.lost
                ),
            );
        }
        let value = json!({
            "valid": true,
            "roster_hash": roster.hash(),
            "files": files,
            "cross_checks": matched.matched,
            "unmatched": matched.unmatched,
            "lost": matched.lost,
        });
        output::print(context.format(), &value, &table)
    }
}

fn report_json(path: &str, report: &FileReport) -> Value {
    match report {
        FileReport::Journal(journal) => json!({
            "file": path,
            "kind": "journal",
            "node": journal.node,
            "records": journal.summary.records,
            "checkpoints": journal.summary.checkpoints,
            "head": journal.summary.head.hash,
            "last_checkpoint": journal.summary.last_checkpoint,
            "kinds": journal.kinds,
            "erased_below": erased_json(journal),
            "destroyed": journal.destroyed,
            "blamed": journal.blamed,
        }),
        FileReport::Signatures(signatures) => json!({
            "file": path,
            "kind": "signatures",
            "key": signatures.key,
            "signers": signatures.signers,
            "count": signatures.count,
        }),
        FileReport::Evidence(evidence) => json!({
            "file": path,
            "kind": "evidence",
            "node": evidence.culprit,
            "fault": evidence.fault,
        }),
    }
}

/// Below which epoch the node keeps no share, by key.
fn erased_json(journal: &JournalReport) -> Value {
    let erased = journal.erased.iter();
    let erased: serde_json::Map<_, _> = erased
        .map(|(key, epoch)| (key.to_string(), json!(epoch)))
        .collect();
    Value::Object(erased)
}

fn row(path: &str, report: &FileReport) -> [String; 4] {
    let (kind, of, content) = match report {
        FileReport::Journal(journal) => {
            let summary = &journal.summary;
            let covered = summary.last_checkpoint.unwrap_or(0);
            let open = summary.head.sequence.saturating_sub(covered);
            let mut content = format!(
                "{} records, {} signed checkpoints, {open} records after the last one",
                summary.records, summary.checkpoints
            );
            if !journal.erased.is_empty() {
                let keys = journal.erased.len();
                content = format!("{content}, earlier epochs of {keys} keys erased");
            }
            ("journal", journal.node.to_string(), content)
        }
        FileReport::Signatures(signatures) => {
            let signers: Vec<_> = signatures.signers.iter().map(NodeId::as_str).collect();
            let content = format!("{} signed by {}", signatures.count, signers.join(", "));
            ("signatures", signatures.key.to_string(), content)
        }
        FileReport::Evidence(evidence) => (
            "evidence",
            evidence.culprit.to_string(),
            evidence.fault.clone(),
        ),
    };
    [path.to_owned(), kind.to_owned(), of, content]
}
