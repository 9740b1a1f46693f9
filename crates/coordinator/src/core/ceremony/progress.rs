//! Where a creation stands, for those who watch.

use std::sync::Arc;

use quorate_model::{KeyName, operation::Progress};

use super::Stage;
use crate::core::{Action, Core};

impl Stage {
    /// Name and place among all steps.
    pub(super) fn step(&self) -> (&'static str, u8) {
        match self {
            Self::Waiting { .. } | Self::Looking => ("connect", 0),
            Self::Rounds { round: None, .. } => ("hello", 1),
            Self::Rounds {
                round: Some(round), ..
            } => match round {
                0 => ("commit", 2),
                1 => ("commit echo", 3),
                2 => ("reveal", 4),
                3 => ("reveal echo", 5),
                4 => ("shares", 6),
                _ => ("prepare", 7),
            },
            Self::Pairing { .. } | Self::Unpaired { .. } => ("pair", 7),
            Self::Tickets { .. } | Self::Proving(_) => ("prove", 8),
            Self::Activating { .. } => ("activate", 9),
            Self::Ending(_) => ("erase old shares", 9),
        }
    }
}

impl Core {
    pub(super) fn tell_progress(&mut self, name: &KeyName) {
        let Some(op) = self.ceremonies.ops.get(name) else {
            return;
        };
        let Some(id) = op.id else {
            return;
        };
        let (step, place) = op.stage.step();
        let awaited = match &op.stage {
            Stage::Waiting { .. } => self.missing_of(name).into_iter().collect(),
            Stage::Ending(ending) => ending.awaited().cloned().collect(),
            Stage::Looking
            | Stage::Rounds { .. }
            | Stage::Pairing { .. }
            | Stage::Unpaired { .. }
            | Stage::Tickets { .. }
            | Stage::Proving(_)
            | Stage::Activating { .. } => op.unanswered(),
        };
        let progress = Progress {
            step: step.to_owned(),
            awaited,
            percent: place.saturating_mul(10),
        };
        if let Some(view) = self.commands.progress(id, progress) {
            self.out.push(Action::Progress(Arc::new(view)));
        }
    }
}
