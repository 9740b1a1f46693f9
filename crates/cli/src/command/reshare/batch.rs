//! Resharing of many keys, some at a time. Whatever is interrupted is taken up by running the
//! same command again: each key is looked at afresh.

mod ended;

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use clap::Args;
use quorate_client::{
    Client, ClientError, CommandOptions, Committee, KeyReference, ListedKey, Prepared,
    model::{
        KeyName, KeyState, NodeId, Reason,
        operation::{CommandState, CommandView},
    },
};
use tokio::task::{JoinSet, LocalSet};

use self::ended::{Ended, Skip, summary, summary_json, verdict};
use super::{NO_CURE, reshared_json};
use crate::{
    bar::Bar,
    context::Context,
    error::{CliError, chain},
    output,
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
    fn committee(&self, key: &ListedKey, is_named: bool) -> Result<Committee, Skip> {
        let record = key.record();
        let (why, is_open) = match self {
            Self::Replace { old, .. } if record.index_of(old).is_none() => {
                (format!("it has no share at node \"{old}\" any more"), false)
            }
            Self::Refresh | Self::Replace { .. } if key.state().is_destroyed() => (
                "it is destroyed: nobody has a share of it".to_owned(),
                false,
            ),
            // New holders would not have heard where it stands, so it goes to nobody else.
            Self::Replace { old, .. } if is_stopped(key.state()) => {
                let first = if key.state().is_retired() {
                    "move what it holds, and destroy it"
                } else {
                    "resume it first"
                };
                let state = key.state();
                (
                    format!(
                        "it is {state}, and goes to nobody else: {first}; until then node \
                         \"{old}\" keeps its share"
                    ),
                    true,
                )
            }
            Self::Refresh | Self::Replace { .. } if key.certified().is_none() => {
                let is_open = matches!(self, Self::Replace { .. });
                ("it is not active yet".to_owned(), is_open)
            }
            Self::Refresh if key.state() == KeyState::Compromised && !is_named => {
                (format!("it is COMPROMISED: {NO_CURE}"), false)
            }
            Self::Refresh => return Ok(Committee::of(record)),
            Self::Replace { old, new } => match Committee::replacing(record, old, new) {
                Ok(committee) => return Ok(committee),
                Err(refusal) => (refusal.message, true),
            },
        };
        Err(Skip { why, is_open })
    }
}

const fn is_stopped(state: KeyState) -> bool {
    matches!(
        state,
        KeyState::Suspended | KeyState::Deactivated | KeyState::Compromised
    )
}

/// The keys that are to be changed, and how.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) plan: Plan,
    pub(crate) keys: Vec<KeyReference>,
    /// Whether the caller named each key.
    pub(crate) are_named: bool,
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
            Err(skip) => return Ok(Ended::Skipped(skip)),
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
