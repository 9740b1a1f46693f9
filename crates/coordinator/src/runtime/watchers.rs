//! Those who follow commands.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use quorate_model::{
    Reason, Refusal,
    ids::CommandId,
    operation::{CommandState, CommandView},
};
use tokio::sync::watch;

use super::{Shared, lock};

/// The most commands that are followed at a time.
const MAX_WATCHED: usize = 1_024;

type Latest = watch::Sender<Option<Arc<CommandView>>>;

#[derive(Default)]
pub(super) struct Watchers(Mutex<BTreeMap<CommandId, Latest>>);

/// A command that is followed. Steps in quick succession are told as the last of them.
pub struct Watching {
    id: CommandId,
    latest: watch::Receiver<Option<Arc<CommandView>>>,
    shared: Arc<Shared>,
}

impl Watchers {
    pub(super) fn watch(shared: &Arc<Shared>, id: CommandId) -> Result<Watching, Refusal> {
        let mut watched = lock(&shared.watchers.0);
        if watched.len() >= MAX_WATCHED && !watched.contains_key(&id) {
            return Err(Refusal::new(
                Reason::Overloaded,
                format!("{MAX_WATCHED} commands are followed already: ask for this one instead"),
            ));
        }
        let latest = watched
            .entry(id)
            .or_insert_with(|| watch::channel(None).0)
            .subscribe();
        Ok(Watching {
            id,
            latest,
            shared: Arc::clone(shared),
        })
    }

    /// Tells whoever follows the command.
    pub(super) fn tell(&self, view: &Arc<CommandView>) {
        if let Some(latest) = lock(&self.0).get(&view.id) {
            latest.send_replace(Some(Arc::clone(view)));
        }
    }
}

impl Watching {
    /// The next change; none when the coordinator goes down.
    pub async fn next(&mut self) -> Option<Arc<CommandView>> {
        self.latest.changed().await.ok()?;
        self.latest.borrow_and_update().clone()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watched = lock(&self.shared.watchers.0);
        // This one still counts.
        if watched
            .get(&self.id)
            .is_some_and(|latest| latest.receiver_count() <= 1)
        {
            watched.remove(&self.id);
        }
    }
}

/// Whether nothing follows a state.
pub(crate) fn is_last(state: CommandState) -> bool {
    !matches!(
        state,
        CommandState::Running | CommandState::AwaitingEndorsement
    )
}
