//! `CommandService`: the one write path.

use std::{pin::Pin, time::Duration};

use quorate_model::{
    Refusal,
    command::{Endorsement, SignedCommand},
    ids::{CommandId, UnixMillis},
    operation::CommandView,
};
use quorate_proto::{
    names,
    v1::{self, command_service_server::CommandService},
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Api, invalid, page, refuse};
use crate::{
    core::{admit, admit_question},
    runtime::is_last,
    store::Place,
};

/// How long a call without a deadline waits for the end of its command.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// How long before the deadline of the call its answer leaves.
const ANSWER_BEFORE: Duration = Duration::from_millis(100);

/// The most stored commands that are looked at for one page.
const MAX_SCANNED: usize = 20_000;

fn to_wire(view: CommandView) -> Result<v1::CommandView, Status> {
    v1::CommandView::try_from(view).map_err(refuse)
}

/// How long to wait for the end of a command.
fn wait_of(request: &Request<v1::SubmitCommandRequest>) -> Result<Duration, Status> {
    if let Some(wait) = &request.get_ref().wait_duration {
        return Duration::try_from(*wait).map_err(|_| invalid("wait_duration is negative"));
    }
    let deadline = request.metadata().get("grpc-timeout").and_then(|text| {
        let text = text.to_str().ok()?;
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let number: u64 = number.parse().ok()?;
        Some(match unit {
            "H" => Duration::from_secs(number.saturating_mul(3_600)),
            "M" => Duration::from_secs(number.saturating_mul(60)),
            "S" => Duration::from_secs(number),
            "m" => Duration::from_millis(number),
            "u" => Duration::from_micros(number),
            "n" => Duration::from_nanos(number),
            _ => return None,
        })
    });
    Ok(deadline.map_or(LONGEST_WAIT, |limit| {
        limit.saturating_sub(ANSWER_BEFORE).min(LONGEST_WAIT)
    }))
}

#[tonic::async_trait]
impl CommandService for Api {
    async fn submit_command(
        &self,
        request: Request<v1::SubmitCommandRequest>,
    ) -> Result<Response<v1::CommandView>, Status> {
        let caller = self.caller(&request)?;
        let wait = wait_of(&request)?;
        let request = request.into_inner();
        let validate_only = request.validate_only;
        let signed = SignedCommand::try_from(request).map_err(refuse)?;
        let pinned = self.engine().pinned();
        let command = if validate_only {
            admit_question(&pinned, signed)
        } else {
            admit(&pinned, signed)
        }
        .map_err(refuse)?;
        let id = command.command().id;
        tracing::debug!(request_id = %id, peer = %caller, "command submitted");
        let mut waiting = self
            .engine()
            .submit(command, validate_only)
            .map_err(refuse)?;
        if validate_only {
            let answer = waiting.within(Some(LONGEST_WAIT)).await;
            return match answer {
                Some(answer) => Ok(Response::new(to_wire(answer_of(answer)?)?)),
                None => Err(invalid("the nodes did not answer")),
            };
        }
        if !wait.is_zero()
            && let Some(answer) = waiting.within(Some(wait)).await
        {
            return Ok(Response::new(to_wire(answer_of(answer)?)?));
        }
        // The question reaches the core after the command did.
        let view = self
            .engine()
            .query(move |core| core.command(id))
            .await
            .map_err(refuse)?;
        if let Some(answer) = waiting.at_once() {
            return Ok(Response::new(to_wire(answer_of(answer)?)?));
        }
        match view {
            Some(view) => Ok(Response::new(to_wire(view)?)),
            None => Ok(Response::new(to_wire(
                self.engine().command(id).await.map_err(refuse)?,
            )?)),
        }
    }

    async fn endorse_command(
        &self,
        request: Request<v1::EndorseCommandRequest>,
    ) -> Result<Response<v1::CommandView>, Status> {
        self.caller(&request)?;
        let request = request.into_inner();
        let id = names::parse_command(&request.name).map_err(refuse)?;
        let endorsement = request
            .endorsement
            .ok_or_else(|| invalid("endorsement is missing"))?;
        let endorsement = Endorsement::try_from(endorsement).map_err(refuse)?;
        let mut waiting = self.engine().endorse(id, endorsement).map_err(refuse)?;
        match waiting.within(Some(LONGEST_WAIT)).await {
            Some(answer) => Ok(Response::new(to_wire(answer_of(answer)?)?)),
            None => Err(invalid("the command did not end")),
        }
    }

    async fn get_command(
        &self,
        request: Request<v1::GetCommandRequest>,
    ) -> Result<Response<v1::CommandView>, Status> {
        self.caller(&request)?;
        let id = names::parse_command(&request.into_inner().name).map_err(refuse)?;
        Ok(Response::new(to_wire(
            self.engine().command(id).await.map_err(refuse)?,
        )?))
    }

    async fn list_commands(
        &self,
        request: Request<v1::ListCommandsRequest>,
    ) -> Result<Response<v1::ListCommandsResponse>, Status> {
        self.caller(&request)?;
        let request = request.into_inner();
        let terms = page::terms(&request.filter, &["state", "key"])?;
        let (state, key) = (page::value(&terms, "state"), page::value(&terms, "key"));
        let fits = |view: &CommandView| {
            state.is_none_or(|state| view.state.as_str() == state)
                && key.is_none_or(|key| view.key.as_ref().is_some_and(|name| name.as_str() == key))
        };
        let size = page::size(request.page_size);
        let mut after = place(&request.page_token)?;
        let mut commands = Vec::new();
        if after.is_none() {
            // What is under way stands before everything that is over.
            let running = self
                .engine()
                .query(|core| core.running())
                .await
                .map_err(refuse)?;
            commands.extend(running.into_iter().filter(|view| fits(view)).take(size));
        }
        let mut scanned: usize = 0;
        let mut more = true;
        while commands.len() < size && more && scanned < MAX_SCANNED {
            let stored = self
                .engine()
                .store()
                .commands(after, page::MAX_PAGE)
                .map_err(|error| {
                    tracing::error!(reason = %error, "list stored commands");
                    Status::internal("the store of the coordinator is damaged")
                })?;
            scanned = scanned.saturating_add(stored.len());
            more = !stored.is_empty();
            for command in stored {
                if commands.len() >= size {
                    break;
                }
                after = Some(Place::of(&command.view));
                if fits(&command.view) {
                    commands.push(command.view);
                }
            }
        }
        let next_page_token = match after {
            Some(place) if more => format!("{}:{}", place.created.0, place.id),
            _ => String::new(),
        };
        let commands = commands
            .into_iter()
            .map(to_wire)
            .collect::<Result<_, _>>()?;
        Ok(Response::new(v1::ListCommandsResponse {
            commands,
            next_page_token,
        }))
    }

    type WatchCommandsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchCommandsResponse, Status>> + Send>>;

    async fn watch_commands(
        &self,
        request: Request<v1::WatchCommandsRequest>,
    ) -> Result<Response<Self::WatchCommandsStream>, Status> {
        self.caller(&request)?;
        let id = names::parse_command(&request.into_inner().name).map_err(refuse)?;
        // Followed before it is looked at, so that no change falls between.
        let mut watching = self.engine().watch(id).map_err(refuse)?;
        let first = self.engine().command(id).await.map_err(refuse)?;
        let (changes, told) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let mut view = first;
            loop {
                let last = is_last(view.state);
                let change = to_wire(view).map(|view| v1::WatchCommandsResponse {
                    command: Some(view),
                });
                // A caller who hangs up ends the stream.
                if changes.send(change).await.is_err() || last {
                    return;
                }
                let next = tokio::select! {
                    next = watching.next() => next,
                    () = changes.closed() => None,
                };
                match next {
                    Some(next) => view = CommandView::clone(&next),
                    None => return,
                }
            }
        });
        Ok(Response::new(Box::pin(
            tokio_stream::wrappers::ReceiverStream::new(told),
        )))
    }
}

fn answer_of(answer: Result<std::sync::Arc<CommandView>, Refusal>) -> Result<CommandView, Status> {
    answer.map(|view| CommandView::clone(&view)).map_err(refuse)
}

/// Where a page goes on: `TIME:ID` of the last command of the page before.
fn place(token: &str) -> Result<Option<Place>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong = || invalid("page_token is none that this coordinator gave");
    let (created, id) = token.split_once(':').ok_or_else(wrong)?;
    Ok(Some(Place {
        created: UnixMillis(created.parse().map_err(|_| wrong())?),
        id: CommandId(Uuid::parse_str(id).map_err(|_| wrong())?),
    }))
}
