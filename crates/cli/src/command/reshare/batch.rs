//! Resharing of many keys, some at a time. Whatever is interrupted is taken up by running the
//! same command again: each key is looked at afresh.

mod ended;

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use clap::Args;
use quorate_client::{
    Client, ClientError, CommandOptions, CommandTimes, Committee, KeyReference, ListedKey,
    Prepared,
    model::{
        KeyName, KeyRecord, KeyState, NodeId, Reason,
        command::CommandBody,
        operation::{CommandState, CommandView},
    },
};
use tokio::task::{JoinSet, LocalSet};

use self::ended::{Ended, Skip, summary, summary_json, verdict};
use super::{NO_CURE, asks_for, reshared_json};
use crate::{
    bar::Bar,
    command,
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
    /// The same holders for every key.
    Move(Committee),
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
            Self::Move(committee) if is_held_by(record, committee) => {
                let why = "the nodes hold it with this threshold already";
                (why.to_owned(), false)
            }
            Self::Refresh | Self::Move(_) | Self::Replace { .. } if key.state().is_destroyed() => (
                "it is destroyed: nobody has a share of it".to_owned(),
                false,
            ),
            // New holders would not have heard where it stands, so it goes to nobody else.
            Self::Move(_) if is_stopped(key.state()) => {
                let state = key.state();
                (format!("it is {state}, and goes to nobody else"), true)
            }
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
            Self::Refresh | Self::Move(_) | Self::Replace { .. } if key.certified().is_none() => {
                let is_open = !matches!(self, Self::Refresh);
                ("it is not active yet".to_owned(), is_open)
            }
            Self::Refresh if key.state() == KeyState::Compromised && !is_named => {
                (format!("it is COMPROMISED: {NO_CURE}"), false)
            }
            Self::Refresh => return Ok(Committee::of(record)),
            Self::Move(committee) => return Ok(committee.clone()),
            Self::Replace { old, new } => match Committee::replacing(record, old, new) {
                Ok(committee) => return Ok(committee),
                Err(refusal) => (refusal.message, true),
            },
        };
        Err(Skip { why, is_open })
    }
}

/// Whether a key has the holders and the threshold that it is to have.
fn is_held_by(record: &KeyRecord, committee: &Committee) -> bool {
    let holders = record.participants.iter().map(|holder| &holder.node);
    record.threshold == committee.threshold && holders.eq(&committee.nodes)
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
    /// Where commands are kept that wait for approvals.
    kept: PathBuf,
}

impl Batch {
    /// Changes all keys and prints what it came to.
    pub(crate) async fn run(
        self,
        context: &Context,
        client: &Client,
        parallel: Parallel,
    ) -> Result<(), CliError> {
        let untried = self.keys.iter();
        let untried = untried.map(|key| (key.name.clone(), Ended::Untried));
        let work = Rc::new(Work {
            bar: RefCell::new(Bar::start(self.keys.len())),
            ended: RefCell::new(untried.collect()),
            queue: RefCell::new(self.keys.into()),
            client: client.clone(),
            plan: self.plan,
            are_named: self.are_named,
            kept: context.home()?.join("commands"),
        });
        let worker = || {
            let work = Rc::clone(&work);
            async move { work.run().await }
        };
        let is_interrupted = work_through(parallel.parallel.into(), worker).await;
        work.bar.borrow().finish();
        if is_interrupted {
            output::progress(
                "interrupted: the cluster finishes what was begun; run the command again for the rest",
            );
        }
        let ended = work.ended.take();
        output::print(context.format(), &summary_json(&ended), &summary(&ended))?;
        verdict(&ended)
    }
}

/// Lets so many workers run at a time, until all have ended or the caller is interrupted; says
/// whether it was.
async fn work_through<W: Future<Output = ()> + 'static>(
    at_a_time: usize,
    worker: impl Fn() -> W,
) -> bool {
    let local = LocalSet::new();
    let mut workers = JoinSet::new();
    for _ in 0..at_a_time {
        workers.spawn_local_on(worker(), &local);
    }
    let ended = async move {
        tokio::select! {
            _ = workers.join_all() => false,
            signal = tokio::signal::ctrl_c() => signal.is_ok(),
        }
    };
    local.run_until(ended).await
}

impl Work {
    async fn run(&self) {
        loop {
            let next = self.queue.borrow_mut().pop_front();
            let Some(key) = next else {
                return;
            };
            self.ended
                .borrow_mut()
                .insert(key.name.clone(), Ended::UnderWay);
            let mut ended = self.change(&key).await;
            // Most often by what an interrupted run of this very command had begun: where that did
            // what is asked for, the key is left alone.
            let overtaken =
                matches!(&ended, Err(error) if error.reason() == Some(Reason::EpochChanged));
            if overtaken && self.plan != Plan::Refresh {
                ended = self.change(&key).await;
            }
            let ended = match ended {
                Ok(ended) => ended,
                Err(error) => {
                    if matches!(error, ClientError::Unreachable(_)) {
                        self.queue.borrow_mut().clear();
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

    async fn change(&self, key: &KeyReference) -> Result<Ended, ClientError> {
        let client = &self.client;
        let listed = client.look_up(key).await?;
        let committee = match self.plan.committee(&listed, self.are_named) {
            Ok(committee) => committee,
            Err(skip) => return Ok(Ended::Skipped(skip)),
        };
        let prepared = self.prepare(&listed, committee)?;
        let view = match self.carry_out(&prepared).await {
            // What somebody forbade, or let lapse, is not asked for again under the same id.
            Err(error) if error.reason().is_some_and(Reason::is_final) => {
                forget(&self.kept_at(&listed))?;
                return Err(error);
            }
            carried => carried?,
        };
        if view.state == CommandState::AwaitingEndorsement {
            return Ok(Ended::Waiting {
                id: prepared.id(),
                digest: prepared.digest(),
                expires: prepared.times().expires,
            });
        }
        let reshared = client.reshared(&listed, &prepared, &view).await?;
        let warning = (listed.state() == KeyState::Compromised).then_some(NO_CURE);
        let mut value = reshared_json(&view, &reshared);
        if let (Some(warning), Some(fields)) = (warning, value.as_object_mut()) {
            fields.insert("warning".to_owned(), warning.into());
        }
        Ok(Ended::Done {
            value,
            missing: reshared.missing().to_vec(),
            warning,
        })
    }

    /// Makes the command, or takes the one that an earlier run made and that waits for approvals: what
    /// was approved meanwhile counts, and nothing is proposed twice.
    fn prepare(&self, key: &ListedKey, committee: Committee) -> Result<Prepared, ClientError> {
        let client = &self.client;
        let path = self.kept_at(key);
        let now = CommandTimes::from_now().created;
        let me = &client.identity().card().id;
        // One that cannot be read is as good as none.
        let earlier = Prepared::read(&path).ok().flatten().filter(|earlier| {
            let mut words = earlier.signed().endorsements.iter();
            let is_of_epoch = matches!(
                &earlier.command().body,
                CommandBody::ReshareKey(reshare) if reshare.source_epoch == key.record().epoch
            );
            is_of_epoch
                && earlier.times().expires > now
                && asks_for(earlier, key, &committee)
                && words.any(|word| word.principal == *me)
        });
        if let Some(earlier) = earlier {
            return Ok(earlier);
        }
        let prepared = client.prepare_reshare(key, committee, &CommandOptions::default())?;
        if command::waits(client, &prepared) {
            prepared.write(&path)?;
        }
        Ok(prepared)
    }

    /// Each principal's command has a place of its own: a run as somebody else, which may be refused,
    /// leaves what waits for approvals.
    fn kept_at(&self, key: &ListedKey) -> PathBuf {
        let me = &self.client.identity().card().id;
        self.kept
            .join(format!("{}.{me}.reshare", key.record().id()))
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

fn forget(path: &Path) -> Result<(), ClientError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(ClientError::System {
            action: "remove the kept command",
            source,
        }),
        _ => Ok(()),
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_batch_works_on_so_many_keys_at_a_time_and_on_all_in_the_end() {
        for at_a_time in [1, 3, 64] {
            let queue = Rc::new(RefCell::new((0..200).collect::<VecDeque<usize>>()));
            let under_way = Rc::new(Cell::new(0_usize));
            let most = Rc::new(Cell::new(0_usize));
            let worker = || {
                let (queue, under_way) = (Rc::clone(&queue), Rc::clone(&under_way));
                let most = Rc::clone(&most);
                async move {
                    while queue.borrow_mut().pop_front().is_some() {
                        under_way.set(under_way.get() + 1);
                        most.set(most.get().max(under_way.get()));
                        tokio::task::yield_now().await;
                        under_way.set(under_way.get() - 1);
                    }
                }
            };

            let is_interrupted = work_through(at_a_time, worker).await;

            assert!(!is_interrupted);
            assert!(queue.borrow().is_empty());
            assert_eq!(most.get(), at_a_time);
        }
    }
}
