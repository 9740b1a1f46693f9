//! Resharing of many keys, some at a time. Whatever is interrupted is taken up by running the
//! same command again: each key is looked at afresh.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use clap::Args;
use quorate_client::{
    Client, ClientError, CommandOptions, Committee, ExitClass, KeyReference, ListedKey, Prepared,
    model::{
        CommandId, Digest, KeyName, KeyState, NodeId, Reason,
        operation::{CommandState, CommandView},
    },
};
use serde_json::{Value, json};
use tokio::task::{JoinSet, LocalSet};

use super::{NO_CURE, reshared_json};
use crate::{
    bar::Bar,
    context::Context,
    error::{CliError, chain},
    output::{self, Table},
};

/// How many keys are changed at a time.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Parallel {
    /// How many keys to change at a time
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 8,
        value_parser = clap::value_parser!(u8).range(1..=64)
    )]
    parallel: u8,
}

/// What every key of a batch gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// New shares for the holders that it has.
    Refresh,
    /// One node in the place of another.
    Replace {
        /// Who holds a share.
        old: NodeId,
        /// Who is to hold it.
        new: NodeId,
    },
}

impl Plan {
    /// Who is to hold a key, or why it is left alone.
    fn committee(&self, key: &ListedKey, is_named: bool) -> Result<Committee, String> {
        let record = key.record();
        if key.certified().is_none() {
            return Err("it is not active yet".to_owned());
        }
        match self {
            Self::Refresh if key.state() == KeyState::Compromised && !is_named => {
                Err(format!("it is COMPROMISED: {NO_CURE}"))
            }
            Self::Refresh => Ok(Committee::of(record)),
            Self::Replace { old, new } => {
                Committee::replacing(record, old, new).map_err(|refusal| refusal.message)
            }
        }
    }
}

/// The keys that are to be changed, and how.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) plan: Plan,
    pub(crate) keys: Vec<KeyReference>,
    /// Whether the caller named each key.
    pub(crate) are_named: bool,
}

/// How it went with one key.
#[derive(Debug)]
enum Ended {
    Done {
        value: Value,
        missing: Vec<NodeId>,
    },
    Waiting {
        id: CommandId,
        digest: Digest,
    },
    Skipped(String),
    Failed {
        told: String,
        reason: Option<Reason>,
    },
    /// No coordinator can be reached, so that nothing more was tried.
    Untried,
}

/// What workers share.
struct Work {
    queue: RefCell<VecDeque<KeyReference>>,
    ended: RefCell<BTreeMap<KeyName, Ended>>,
    bar: RefCell<Bar>,
    client: Client,
    plan: Plan,
    are_named: bool,
}

impl Batch {
    /// Changes all keys and prints what it came to.
    pub(crate) async fn run(
        self,
        context: &Context,
        client: &Client,
        parallel: Parallel,
    ) -> Result<(), CliError> {
        let work = Rc::new(Work {
            bar: RefCell::new(Bar::start(self.keys.len())),
            queue: RefCell::new(self.keys.into()),
            ended: RefCell::default(),
            client: client.clone(),
            plan: self.plan,
            are_named: self.are_named,
        });
        let local = LocalSet::new();
        let mut workers = JoinSet::new();
        for _ in 0..parallel.parallel {
            let work = Rc::clone(&work);
            workers.spawn_local_on(async move { work.run().await }, &local);
        }
        local.run_until(workers.join_all()).await;
        work.bar.borrow().finish();
        let ended = work.ended.take();
        output::print(context.format(), &summary_json(&ended), &summary(&ended))?;
        verdict(&ended)
    }
}

impl Work {
    async fn run(&self) {
        loop {
            let next = self.queue.borrow_mut().pop_front();
            let Some(key) = next else {
                return;
            };
            let ended = match self.change(&key).await {
                Ok(ended) => ended,
                Err(error) => {
                    if matches!(error, ClientError::Unreachable(_)) {
                        self.give_up();
                    }
                    let reason = error.reason();
                    let told = chain(&error);
                    Ended::Failed { told, reason }
                }
            };
            let told = format!("{}: {}", key.name, ended.told());
            self.bar.borrow_mut().step(&told, !ended.is_failure());
            self.ended.borrow_mut().insert(key.name, ended);
        }
    }

    /// Leaves the rest alone.
    fn give_up(&self) {
        let rest = self.queue.take();
        let mut ended = self.ended.borrow_mut();
        ended.extend(rest.into_iter().map(|key| (key.name, Ended::Untried)));
    }

    async fn change(&self, key: &KeyReference) -> Result<Ended, ClientError> {
        let client = &self.client;
        let listed = client.look_up(key).await?;
        let committee = match self.plan.committee(&listed, self.are_named) {
            Ok(committee) => committee,
            Err(reason) => return Ok(Ended::Skipped(reason)),
        };
        let prepared = client.prepare_reshare(&listed, committee, &CommandOptions::default())?;
        let view = self.carry_out(&prepared).await?;
        if view.state == CommandState::AwaitingEndorsement {
            return Ok(Ended::Waiting {
                id: prepared.id(),
                digest: prepared.digest(),
            });
        }
        let reshared = client.reshared(&listed, &prepared, &view).await?;
        Ok(Ended::Done {
            value: reshared_json(&view, &reshared),
            missing: reshared.missing().to_vec(),
        })
    }

    /// Follows a command until it has succeeded or waits for others. The same command is sent again
    /// while the machines have too much to do at a time.
    async fn carry_out(&self, prepared: &Prepared) -> Result<CommandView, ClientError> {
        let mut pauses = PAUSES.into_iter();
        loop {
            match self.carry_out_once(prepared).await {
                Err(error) if is_busy(&error) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(error),
                },
                ended => return ended,
            }
        }
    }

    async fn carry_out_once(&self, prepared: &Prepared) -> Result<CommandView, ClientError> {
        let view = self.client.submit(prepared).await?;
        let view = self.client.follow(view, &mut |_| ()).await?;
        if view.state != CommandState::AwaitingEndorsement {
            quorate_client::succeeded(&view)?;
        }
        Ok(view)
    }
}

/// How long to wait before a command is sent again.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Whether a batch has too much going on at a time.
fn is_busy(error: &ClientError) -> bool {
    matches!(
        error.reason(),
        Some(Reason::SessionLimit | Reason::Overloaded)
    )
}

impl Ended {
    fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Untried)
    }

    fn told(&self) -> String {
        match self {
            Self::Done { value, .. } => {
                let epoch = value.get("epoch").and_then(Value::as_u64);
                format!("epoch {}", epoch.unwrap_or_default())
            }
            Self::Waiting { id, .. } => format!("command {id} waits for another admin"),
            Self::Skipped(reason) => format!("skipped: {reason}"),
            Self::Failed { told, reason: None } => format!("failed: {told}"),
            Self::Failed {
                told,
                reason: Some(reason),
            } => format!("failed: {told} ({reason})"),
            Self::Untried => "not tried".to_owned(),
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Waiting { .. } => "waiting",
            Self::Skipped(_) => "skipped",
            Self::Failed { .. } => "failed",
            Self::Untried => "untried",
        }
    }

    fn json(&self, key: &KeyName) -> Value {
        match self {
            Self::Done { value, .. } => value.clone(),
            Self::Waiting { id, digest } => {
                json!({ "key": key, "command_id": id.to_string(), "digest": digest })
            }
            Self::Skipped(why) => json!({ "key": key, "message": why }),
            Self::Failed { told, reason } => {
                let reason = reason.map(Reason::as_str);
                json!({ "key": key, "reason": reason, "message": told })
            }
            Self::Untried => json!({ "key": key }),
        }
    }
}

/// What all kinds of ends are called, in the order in which they are told.
const KINDS: [&str; 5] = ["done", "waiting", "skipped", "failed", "untried"];

fn count(ended: &BTreeMap<KeyName, Ended>, kind: &str) -> usize {
    ended.values().filter(|one| one.kind() == kind).count()
}

fn summary_json(ended: &BTreeMap<KeyName, Ended>) -> Value {
    let of_kind = |kind: &str| {
        let of_it = ended.iter().filter(|(_, one)| one.kind() == kind);
        let values = of_it.map(|(key, one)| one.json(key)).collect();
        (kind.to_owned(), Value::Array(values))
    };
    Value::Object(KINDS.map(of_kind).into_iter().collect())
}

fn summary(ended: &BTreeMap<KeyName, Ended>) -> Table {
    let mut table = Table::default();
    for (key, one) in ended.iter().filter(|(_, one)| one.kind() != "done") {
        table.row([key.as_str(), &one.told()]);
    }
    for kind in KINDS {
        let number = count(ended, kind);
        if number > 0 || kind == "done" {
            table.pair(kind, number);
        }
    }
    let mut missing: BTreeMap<&NodeId, usize> = BTreeMap::new();
    for one in ended.values() {
        if let Ended::Done { missing: of_it, .. } = one {
            for node in of_it {
                let keys = missing.entry(node).or_default();
                *keys = keys.saturating_add(1);
            }
        }
    }
    for (node, keys) in missing {
        let told = format!("{node} (keys: {keys}); it erases them when it is back");
        table.pair("not erased yet by", told);
    }
    table
}

/// Whether the caller may go on as if all keys were changed.
fn verdict(ended: &BTreeMap<KeyName, Ended>) -> Result<(), CliError> {
    let waiting: Vec<_> = ended
        .values()
        .filter_map(|one| match one {
            Ended::Waiting { id, .. } => Some(id.to_string()),
            Ended::Done { .. } | Ended::Skipped(_) | Ended::Failed { .. } | Ended::Untried => None,
        })
        .collect();
    if !waiting.is_empty() {
        output::progress(&format!(
            "another admin must approve them: quorate command approve {}",
            waiting.join(" ")
        ));
    }
    let failed = ended.values().filter(|one| one.is_failure()).count();
    if failed > 0 {
        return Err(CliError::Incomplete {
            message: format!(
                "{failed} of {} keys were not changed: run the command again",
                ended.len()
            ),
            code: ExitClass::Other.code(),
        });
    }
    if !waiting.is_empty() {
        return Err(CliError::Incomplete {
            message: format!("{} commands wait for more endorsements", waiting.len()),
            code: ExitClass::Waiting.code(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> KeyName {
        text.parse().unwrap()
    }

    fn done() -> Ended {
        Ended::Done {
            value: json!({ "key": "one", "epoch": 2 }),
            missing: vec!["node-c".parse().unwrap()],
        }
    }

    fn waiting() -> Ended {
        Ended::Waiting {
            id: CommandId(uuid::Uuid::nil()),
            digest: Digest::ZERO,
        }
    }

    fn failed() -> Ended {
        Ended::Failed {
            told: "too few nodes answer".to_owned(),
            reason: Some(Reason::QuorumUnavailable),
        }
    }

    #[test]
    fn a_summary_lists_what_was_not_done_and_counts_the_rest() {
        let ended = BTreeMap::from([
            (name("one"), done()),
            (name("three"), failed()),
            (
                name("two"),
                Ended::Skipped("it is not active yet".to_owned()),
            ),
        ]);

        let table = summary(&ended).to_string();
        let value = summary_json(&ended);

        assert!(!table.lines().any(|line| line.starts_with("one")));
        assert!(table.contains("too few nodes answer (QUORUM_UNAVAILABLE)"));
        assert!(table.contains("skipped: it is not active yet"));
        assert!(table.contains("node-c (keys: 1)"), "{table}");
        assert_eq!(value["done"][0]["epoch"], 2);
        assert_eq!(value["failed"][0]["reason"], "QUORUM_UNAVAILABLE");
        assert_eq!(value["skipped"][0]["key"], "two");
        assert_eq!(value["waiting"], json!([]));
    }

    #[test]
    fn a_batch_ends_well_only_if_nothing_failed_and_nothing_waits() {
        let code = |all: Vec<Ended>| {
            let keys = ["aa", "bb", "cc"].map(name);
            let ended = keys.into_iter().zip(all).collect();
            verdict(&ended).err().map(|error| error.exit_code())
        };
        let skipped = || Ended::Skipped(String::new());

        assert_eq!(code(vec![]), None);
        assert_eq!(code(vec![done(), skipped()]), None);
        assert_eq!(code(vec![done(), waiting()]), Some(4));
        assert_eq!(code(vec![waiting(), failed()]), Some(1));
        assert_eq!(code(vec![done(), Ended::Untried]), Some(1));
    }
}
