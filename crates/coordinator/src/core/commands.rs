//! The commands that are under way or recent, and who waits for them (P8).
//!
//! A command is in memory from its submission until its outcome is durable and no longer recent;
//! after that only the store knows it. Nothing is written before there is an outcome: a coordinator
//! that crashes in between has forgotten the command, and whoever submits the same bytes again has
//! them carried out again, with other tickets, by nodes that charge a command id once (P8).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use quorate_model::{
    Digest, Reason, Refusal,
    command::{Command, CommandBody, REMEMBER_MARGIN_MS, SignedCommand},
    ids::CommandId,
    operation::{CommandKind, CommandOutcome, CommandState, CommandView, Progress},
};

use super::event::{BatchId, Handle, StoredCommand};

pub(super) enum Slot {
    /// Being carried out.
    Running {
        view: Box<CommandView>,
        waiters: Vec<Handle>,
    },
    /// Over, and the outcome is on its way to the disk.
    Storing {
        view: Arc<CommandView>,
        waiters: Vec<Handle>,
    },
    /// Over, and durable.
    Done(Arc<CommandView>),
}

impl Slot {
    fn digest(&self) -> Digest {
        match self {
            Self::Running { view, .. } => view.digest,
            Self::Storing { view, .. } | Self::Done(view) => view.digest,
        }
    }
}

/// What is known of a command that is submitted.
pub(super) enum Lookup {
    /// Nothing, or a failure that may be tried again.
    Fresh,
    /// It is under way; the caller is answered with the others.
    Joined,
    /// It is over.
    Over(Arc<CommandView>),
    /// Its id belongs to other bytes.
    Reused,
}

#[derive(Default)]
pub(super) struct Commands {
    slots: BTreeMap<CommandId, Slot>,
    recent: VecDeque<CommandId>,
    storing: BTreeMap<BatchId, Vec<CommandId>>,
}

impl Commands {
    /// Looks a submitted command up, and lets the caller wait if it is under way.
    pub(super) fn look_up(
        &mut self,
        id: CommandId,
        digest: Digest,
        remembered: Option<&StoredCommand>,
        handle: Handle,
    ) -> Lookup {
        let known = match (self.slots.get(&id), remembered) {
            (Some(slot), _) => Some(slot.digest()),
            (None, Some(stored)) => Some(stored.view.digest),
            (None, None) => None,
        };
        if known.is_some_and(|known| known != digest) {
            return Lookup::Reused;
        }
        match (self.slots.get_mut(&id), remembered) {
            (Some(Slot::Running { waiters, .. } | Slot::Storing { waiters, .. }), _) => {
                waiters.push(handle);
                Lookup::Joined
            }
            (Some(Slot::Done(view)), _) => over(Arc::clone(view)),
            (None, Some(stored)) => over(Arc::new(stored.view.clone())),
            (None, None) => Lookup::Fresh,
        }
    }

    /// Begins a command.
    pub(super) fn begin(&mut self, view: CommandView, handle: Option<Handle>) {
        let waiters = handle.into_iter().collect();
        self.slots.insert(
            view.id,
            Slot::Running {
                view: Box::new(view),
                waiters,
            },
        );
    }

    /// Ends a command; the outcome is to be made durable.
    pub(super) fn end(
        &mut self,
        id: CommandId,
        state: CommandState,
        outcome: Option<CommandOutcome>,
        error: Option<Refusal>,
    ) -> Option<StoredCommand> {
        let Slot::Running { mut view, waiters } = self.slots.remove(&id)? else {
            return None;
        };
        view.state = state;
        view.progress = None;
        view.awaiting = None;
        view.outcome = outcome;
        view.error = error;
        let stored = StoredCommand {
            view: CommandView::clone(&view),
            forget: view.expires.plus(REMEMBER_MARGIN_MS),
        };
        self.slots.insert(
            id,
            Slot::Storing {
                view: Arc::from(view),
                waiters,
            },
        );
        Some(stored)
    }

    /// Notes which commands a batch of writes ends.
    pub(super) fn stored_by(&mut self, batch: BatchId, ids: Vec<CommandId>) {
        self.storing.insert(batch, ids);
    }

    /// The outcomes of a batch are durable: who is to be answered with what.
    pub(super) fn stored(
        &mut self,
        batch: BatchId,
        keep: usize,
    ) -> Vec<(Arc<CommandView>, Vec<Handle>)> {
        let mut answers = Vec::new();
        for id in self.storing.remove(&batch).unwrap_or_default() {
            let Some(Slot::Storing { view, waiters }) = self.slots.remove(&id) else {
                continue;
            };
            self.slots.insert(id, Slot::Done(Arc::clone(&view)));
            self.recent.push_back(id);
            answers.push((view, waiters));
        }
        while self.recent.len() > keep {
            if let Some(id) = self.recent.pop_front()
                && matches!(self.slots.get(&id), Some(Slot::Done(_)))
            {
                self.slots.remove(&id);
            }
        }
        answers
    }

    /// Notes where a command stands.
    pub(super) fn progress(&mut self, id: CommandId, progress: Progress) -> Option<CommandView> {
        let Slot::Running { view, .. } = self.slots.get_mut(&id)? else {
            return None;
        };
        if view.progress.as_ref() == Some(&progress) {
            return None;
        }
        view.progress = Some(progress);
        Some(CommandView::clone(view))
    }

    /// Notes that more persons must speak for a command, with what is to be signed.
    pub(super) fn awaits(&mut self, id: CommandId, signed: &SignedCommand) {
        if let Some(Slot::Running { view, .. }) = self.slots.get_mut(&id) {
            view.state = CommandState::AwaitingEndorsement;
            view.awaiting = Some(signed.clone());
        }
    }

    /// Notes that enough persons speak for a command.
    pub(super) fn is_endorsed(&mut self, id: CommandId) {
        if let Some(Slot::Running { view, .. }) = self.slots.get_mut(&id) {
            view.state = CommandState::Running;
            view.awaiting = None;
        }
    }

    /// A command that is in memory.
    pub(super) fn get(&self, id: CommandId) -> Option<CommandView> {
        Some(match self.slots.get(&id)? {
            Slot::Running { view, .. } => CommandView::clone(view),
            // What is not durable yet is not told.
            Slot::Storing { view, .. } => CommandView {
                state: CommandState::Running,
                outcome: None,
                error: None,
                awaiting: None,
                ..CommandView::clone(view)
            },
            Slot::Done(view) => CommandView::clone(view),
        })
    }

    /// The commands that are under way.
    pub(super) fn running(&self) -> impl Iterator<Item = &CommandView> {
        self.slots.values().filter_map(|slot| match slot {
            Slot::Running { view, .. } => Some(&**view),
            Slot::Storing { .. } | Slot::Done(_) => None,
        })
    }

    pub(super) fn slot(&mut self, id: CommandId) -> Option<&mut Slot> {
        self.slots.get_mut(&id)
    }

    /// Whether no outcome is on its way to the disk.
    pub(super) fn is_settled(&self) -> bool {
        self.storing.values().all(Vec::is_empty)
    }

    pub(super) fn is_storing(&self, id: CommandId) -> bool {
        matches!(self.slots.get(&id), Some(Slot::Storing { .. }))
    }

    pub(super) fn is_running(&self, id: CommandId) -> bool {
        matches!(self.slots.get(&id), Some(Slot::Running { .. }))
    }
}

/// What succeeded stands, and so does a refusal that is final; everything else is judged afresh
/// (P8).
fn over(view: Arc<CommandView>) -> Lookup {
    let again = view.state == CommandState::Failed
        || (view.state == CommandState::Denied
            && view
                .error
                .as_ref()
                .is_none_or(|error| !error.reason.is_final()));
    if again {
        Lookup::Fresh
    } else {
        Lookup::Over(view)
    }
}

/// A command as it begins.
pub(super) fn fresh_view(command: &Command, digest: Digest) -> CommandView {
    CommandView {
        id: command.id,
        digest,
        kind: match &command.body {
            CommandBody::CreateKey(_) => CommandKind::CreateKey,
            CommandBody::SetKeyState(_) => CommandKind::SetKeyState,
            CommandBody::ReshareKey(_) => CommandKind::ReshareKey,
            CommandBody::DestroyKey(_) => CommandKind::DestroyKey,
            CommandBody::ChangeRoster(_) => CommandKind::ChangeRoster,
            CommandBody::ReadmitNode(_) => CommandKind::ReadmitNode,
            CommandBody::Evacuate(_) => CommandKind::Evacuate,
            CommandBody::Sign(_) | _ => CommandKind::Sign,
        },
        key: command.body.key().cloned(),
        state: CommandState::Running,
        created: command.created,
        expires: command.expires,
        progress: None,
        outcome: None,
        error: None,
        awaiting: None,
    }
}

pub(super) fn reused(id: CommandId) -> Refusal {
    Refusal::new(
        Reason::RequestIdReused,
        format!("command id {id} belongs to another command: use a new id"),
    )
    .with("command_id", id)
}
