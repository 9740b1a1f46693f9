//! `quorate key suspend`, `resume`, `deactivate` and `compromise`.

use clap::Args;
use quorate_client::{
    Acknowledged, ListedKey, Prepared,
    model::{
        NodeId, command::CommandBody, operation::CommandView, roster::Role, standing::StateChange,
    },
};
use serde_json::json;

use crate::{
    args::{KeyArg, Submission},
    command::{self, command::print_view, key::life::way_out},
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// Change the state of a key at every holder.
#[derive(Debug, Args)]
pub(crate) struct ChangeState {
    #[command(flatten)]
    key: KeyArg,
    /// Why, in one line: it stands in the audit log of every holder
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    submission: Submission,
}

impl ChangeState {
    pub(super) async fn run(&self, context: &Context, change: StateChange) -> Result<(), CliError> {
        let client = context.connect(Role::Admin).await?;
        let key = client.look_up(&self.key.reference()).await?;
        let prepared = match self.kept(context, &key, change)? {
            Some(prepared) => prepared,
            None => {
                command::prepare(context, &client, &self.submission, |options| {
                    client.prepare_state_change(&key, change, &self.reason, options)
                })
                .await?
            }
        };
        if change.retires() {
            let told = way_out(key.life(), &key.record().name);
            output::progress(&format!("note: {told}"));
        }
        if self.submission.validate_only {
            return command::validate(context, &client, &prepared).await;
        }
        let view = command::submit(context, &client, &self.submission, &prepared).await?;
        if self.submission.no_wait {
            return print_view(context, &view);
        }
        let view = client.follow(view, &mut |_| ()).await?;
        command::check_awaited(context, &view, "another admin")?;
        quorate_client::succeeded(&view)?;
        let acknowledged = client.acknowledged(&key, &prepared, &view).await?;
        print(context, change, &prepared, &view, &acknowledged)
    }
}

impl ChangeState {
    /// The same request under the same id, made before. It is not made again, because the state of
    /// the key, and with it the sequence, has moved on since.
    fn kept(
        &self,
        context: &Context,
        key: &ListedKey,
        change: StateChange,
    ) -> Result<Option<Prepared>, CliError> {
        let Some(id) = self.submission.command_id else {
            return Ok(None);
        };
        let earlier = Prepared::read(&command::kept_at(context, id)?)?;
        Ok(earlier.filter(|earlier| {
            matches!(
                &earlier.command().body,
                CommandBody::SetKeyState(set) if set.key_id == key.record().id()
                    && set.change == change
                    && set.reason == self.reason
            )
        }))
    }
}

fn print(
    context: &Context,
    change: StateChange,
    prepared: &Prepared,
    view: &CommandView,
    acknowledged: &Acknowledged,
) -> Result<(), CliError> {
    let acting: Vec<&str> = acknowledged.nodes().map(NodeId::as_str).collect();
    let missing: Vec<&str> = acknowledged.missing().iter().map(NodeId::as_str).collect();
    let value = json!({
        "command_id": view.id.to_string(),
        "key": view.key,
        "state": change.target().as_str(),
        "acknowledged_by": acting,
        "missing": missing,
        "holders": acknowledged.holders(),
        "binding": acknowledged.binding(),
        "digest": prepared.digest(),
    });
    let mut table = Table::default();
    table.pair("key", view.about());
    table.pair("state", change.target());
    table.pair(
        "acknowledged",
        format!(
            "{} of {} ({})",
            acting.len(),
            acknowledged.holders(),
            acting.join(", ")
        ),
    );
    if !missing.is_empty() {
        table.pair("missing", missing.join(", "));
    }
    table.pair(
        "binds",
        format!(
            "as long as {} of the holders that acknowledged it are honest",
            acknowledged.binding()
        ),
    );
    output::print(context.format(), &value, &table)
}
