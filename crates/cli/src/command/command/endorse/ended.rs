//! Whether commands came to what an admin said about them.
//!
//! Where a command stands is the bare word of a coordinator. Of an approval that is enough: whoever
//! hides that one is wanted could as well carry nothing out. Of a rejection it is not, as far as the
//! admin knows better: a coordinator that makes a veto look needless never hears it.

use quorate_client::{
    ClientError, ExitClass,
    model::{
        CommandId, Reason, Refusal, UnixMillis,
        command::{Command, EndorsementKind},
        operation::{CommandState, CommandView},
    },
};

use crate::{
    error::{CliError, advice, chain},
    output,
};

/// The most commands that a verdict names: each was told of before.
const NAMED: usize = 10;

/// From when on no node carries a command out; none where one does at any time.
pub(super) fn expiry(command: &Command) -> Option<UnixMillis> {
    command.body.expires().then_some(command.expires)
}

/// Checks that a command stands where it may after the word about it, or without it. `expires` is when
/// it expires, as far as that is known from elsewhere than this view.
///
/// What was approved and came to nothing is no success; what goes on, or waits for more persons, is
/// one. What was rejected must not take effect any more.
pub(super) fn check(
    kind: EndorsementKind,
    view: &CommandView,
    expires: Option<UnixMillis>,
    now: UnixMillis,
) -> Result<(), ClientError> {
    if kind == EndorsementKind::Reject {
        return check_rejected(view, expires, now);
    }
    match view.state {
        CommandState::AwaitingEndorsement | CommandState::Running => Ok(()),
        CommandState::Succeeded
        | CommandState::Denied
        | CommandState::Failed
        | CommandState::Expired
        | CommandState::Cancelled
        | _ => quorate_client::succeeded(view),
    }
}

fn check_rejected(
    view: &CommandView,
    expires: Option<UnixMillis>,
    now: UnixMillis,
) -> Result<(), ClientError> {
    let why = match view.state {
        CommandState::Denied | CommandState::Cancelled => return Ok(()),
        CommandState::Expired => match expires {
            Some(expires) if expires <= now => return Ok(()),
            Some(expires) => format!(
                "only the coordinator says so, and by the clock here it lives until {}: it was not \
                 rejected and may still take effect; look at the clock, or ask another coordinator",
                output::time(expires)
            ),
            None => "only the coordinator says so, and when it expires is not known here: it was \
                     not rejected and may still take effect"
                .to_owned(),
        },
        CommandState::Succeeded => {
            "it was not rejected: the word against it came too late".to_owned()
        }
        CommandState::Failed => {
            "it was not rejected, and takes effect where it is submitted again \
                                 before it expires"
                .to_owned()
        }
        CommandState::AwaitingEndorsement => {
            "it was not rejected and still waits for endorsements".to_owned()
        }
        CommandState::Running | _ => "it was not rejected and may still take effect".to_owned(),
    };
    let (id, state) = (view.id, view.state.as_str());
    let message = format!("command {id} is {state}: {why}");
    Err(Refusal::new(Reason::RequestInvalid, message)
        .with("command_id", id)
        .with("state", state)
        .into())
}

/// The commands of several that did not come to what was said about them.
pub(super) struct Missed {
    kind: EndorsementKind,
    ids: Vec<CommandId>,
}

impl Missed {
    pub(super) fn of(kind: EndorsementKind) -> Self {
        let ids = Vec::new();
        Self { kind, ids }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Takes one, and tells of it at once.
    pub(super) fn tell(&mut self, id: CommandId, error: &ClientError) {
        self.ids.push(id);
        output::progress(&told(id, error));
        if let Some(advice) = error.reason().and_then(advice) {
            output::progress(advice);
        }
    }

    /// Whether the caller may go on as if all had been approved, or rejected.
    pub(super) fn verdict(&self, count: usize) -> Result<(), CliError> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let what = if self.kind == EndorsementKind::Reject {
            "were not rejected"
        } else {
            "came to nothing"
        };
        let first = self.ids.iter().take(NAMED).map(CommandId::to_string);
        let mut names: Vec<String> = first.collect();
        let more = self.ids.len().saturating_sub(NAMED);
        if more > 0 {
            names.push(format!("and {more} more"));
        }
        let failed = self.ids.len();
        Err(CliError::Incomplete {
            message: format!("{failed} of {count} commands {what}: {}", names.join(", ")),
            code: ExitClass::Other.code(),
        })
    }
}

/// An error about a command, with its id once.
fn told(id: CommandId, error: &ClientError) -> String {
    let subject = format!("command {id}");
    let text = chain(error);
    if text.starts_with(&subject) {
        return format!("error: {text}");
    }
    format!("error: {subject}: {text}")
}

#[cfg(test)]
mod tests {
    use quorate_client::model::{Digest, operation::CommandKind};

    use super::*;

    const APPROVE: EndorsementKind = EndorsementKind::Approve;
    const REJECT: EndorsementKind = EndorsementKind::Reject;
    const NOW: UnixMillis = UnixMillis(5_000);

    #[test]
    fn what_runs_or_succeeds_was_approved_and_what_came_to_nothing_was_not() {
        for state in [
            CommandState::AwaitingEndorsement,
            CommandState::Running,
            CommandState::Succeeded,
        ] {
            assert!(check(APPROVE, &view(state), None, NOW).is_ok(), "{state:?}");
        }
        for state in [
            CommandState::Denied,
            CommandState::Failed,
            CommandState::Expired,
            CommandState::Cancelled,
        ] {
            let error = check(APPROVE, &view(state), Some(NOW), NOW).unwrap_err();

            assert!(error.to_string().contains(state.as_str()), "{error}");
            assert_ne!(CliError::from(error).exit_code(), 0);
        }
    }

    #[test]
    fn what_may_have_an_effect_or_had_it_was_not_rejected() {
        for state in [CommandState::Denied, CommandState::Cancelled] {
            assert!(check(REJECT, &view(state), None, NOW).is_ok(), "{state:?}");
        }
        for (state, says) in [
            (CommandState::Succeeded, "too late"),
            (CommandState::Running, "may still take effect"),
            (CommandState::Failed, "submitted again"),
            (CommandState::AwaitingEndorsement, "still waits"),
        ] {
            let error = check(REJECT, &view(state), Some(NOW), NOW).unwrap_err();

            let text = error.to_string();
            assert!(text.contains(state.as_str()), "{text}");
            assert!(text.contains("was not rejected"), "{text}");
            assert!(text.contains(says), "{text}");
            assert_eq!(CliError::from(error).exit_code(), 1);
        }
    }

    /// What the view says of the time is as much the coordinator's word as the state is.
    #[test]
    fn a_veto_is_needless_only_where_the_command_has_expired_by_the_clock_here() {
        let expired = view(CommandState::Expired);
        assert!(expired.expires < NOW);
        let after = |expires| check(REJECT, &expired, expires, NOW);

        assert!(after(Some(NOW)).is_ok());
        for (expires, says) in [
            (Some(UnixMillis(5_001)), "1970-01-01T00:00:05Z"),
            (None, "not known here"),
        ] {
            let text = after(expires).unwrap_err().to_string();

            assert!(text.contains(says), "{text}");
            assert!(text.contains("may still take effect"), "{text}");
        }
    }

    #[test]
    fn a_verdict_names_what_was_missed_and_counts_what_it_does_not_name() {
        for (kind, says) in [(APPROVE, "came to nothing"), (REJECT, "were not rejected")] {
            let mut missed = Missed::of(kind);
            assert!(missed.verdict(40).is_ok());
            for number in 0..12 {
                missed.tell(id(number), &ClientError::Waiting(id(number)));
            }

            let error = missed.verdict(40).unwrap_err();

            let text = error.to_string();
            assert!(
                text.starts_with(&format!("12 of 40 commands {says}: ")),
                "{text}"
            );
            assert!(text.contains(&id(9).to_string()), "{text}");
            assert!(!text.contains(&id(10).to_string()), "{text}");
            assert!(text.ends_with("and 2 more"), "{text}");
            assert_eq!(error.exit_code(), 1);
        }
    }

    #[test]
    fn an_error_names_its_command_once() {
        let limit = Refusal::new(Reason::SessionLimit, "too many");

        for error in [ClientError::Waiting(id(1)), limit.into()] {
            let text = told(id(1), &error);
            assert_eq!(text.matches(&id(1).to_string()).count(), 1, "{text}");
        }
    }

    fn id(number: u128) -> CommandId {
        CommandId(uuid::Uuid::from_u128(number))
    }

    fn view(state: CommandState) -> CommandView {
        CommandView {
            id: id(1),
            digest: Digest::ZERO,
            kind: CommandKind::ReshareKey,
            key: None,
            state,
            created: UnixMillis(0),
            expires: UnixMillis(1),
            progress: None,
            outcome: None,
            error: None,
            awaiting: None,
        }
    }
}
