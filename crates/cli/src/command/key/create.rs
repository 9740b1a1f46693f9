//! `quorate key create`.

use std::{num::NonZeroU16, time::Instant};

use clap::Args;
use quorate_client::{
    Client,
    model::{
        CommandId, KeyName, KeyPurpose, NodeId, Purposes, Reason, Scheme,
        command::CreateKey,
        operation::{CommandView, Progress},
        roster::Role,
    },
};

use super::{
    evident_json,
    life::{self, Periods},
    purposes_text,
};
use crate::{
    args::Submission,
    command::{self, command::print_view, reshare},
    context::Context,
    error::{CliError, refuse},
    output::{self, Table},
};

/// Create a key on all nodes, or on those that are named.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Name of the key
    name: KeyName,
    /// bip340, frost-secp256k1, ed25519 or ecdsa-secp256k1
    #[arg(long)]
    scheme: Scheme,
    /// How many nodes sign [default: the profile's, or half of the nodes, rounded up; at least 2]
    #[arg(long, value_name = "COUNT")]
    threshold: Option<NonZeroU16>,
    /// Nodes that hold shares, separated by commas [default: all that are not drained]
    #[arg(long, value_delimiter = ',', value_name = "NODES")]
    nodes: Vec<NodeId>,
    /// What the key may sign, separated by commas: transactions (not frost-secp256k1), messages,
    /// digests (not ed25519)
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "transactions",
        value_name = "PURPOSES"
    )]
    purpose: Vec<KeyPurpose>,
    /// Accept a shape that a few lost or bad nodes stop for ever
    #[arg(long)]
    accept_fragile: bool,
    #[command(flatten)]
    periods: Periods,
    #[command(flatten)]
    submission: Submission,
}

impl Create {
    pub(super) async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.connect(Role::Admin).await?;
        let create = self.command(&client)?;
        carry_out(context, &client, &self.submission, &create).await?;
        Ok(())
    }

    /// Fills in what was not said.
    fn command(&self, client: &Client) -> Result<CreateKey, CliError> {
        let pinned = client.roster();
        let roster = pinned.roster();
        let nodes: Vec<NodeId> = if self.nodes.is_empty() {
            let all = roster.nodes.iter().map(|node| &node.id);
            let open = all.filter(|id| !roster.drained.contains(*id));
            open.cloned().collect()
        } else {
            self.nodes.clone()
        };
        reshare::check_nodes(&pinned, &nodes)?;
        let threshold = match self.threshold {
            Some(threshold) => threshold.get(),
            None => default_threshold(nodes.len(), client.default_threshold()),
        };
        let purposes = Purposes::new(self.purpose.clone())
            .map_err(|error| CliError::Usage(format!("--purpose: {error}")))?;
        Ok(CreateKey {
            key: self.name.clone(),
            scheme: self.scheme,
            threshold,
            nodes,
            purposes,
            accept_fragile: self.accept_fragile,
            life: self.periods.life(),
        })
    }
}

/// Creates a key and prints it. The answer is whether it exists.
pub(super) async fn carry_out(
    context: &Context,
    client: &Client,
    submission: &Submission,
    create: &CreateKey,
) -> Result<bool, CliError> {
    let shape = create.check_shape();
    shape.map_err(|error| refuse(Reason::ShapeInvalid, error.to_string()))?;
    if create.accept_fragile {
        warn_of_fragility(create);
    }
    for account in life::without_checksum(&create.life) {
        output::progress(&format!("note: {account}"));
    }
    let prepared = command::prepare(context, client, submission, |options| {
        client.prepare_create_key(create, options)
    })
    .await?;
    if submission.validate_only {
        command::validate(context, client, &prepared).await?;
        return Ok(false);
    }
    let start = Instant::now();
    let view = command::submit(context, client, submission, &prepared).await?;
    if submission.no_wait {
        print_view(context, &view)?;
        return Ok(false);
    }
    let mut last = None;
    let view = client
        .follow(view, &mut |view| report(view, &mut last))
        .await?;
    command::check_awaited(context, &view, "more admins")?;
    quorate_client::succeeded(&view)?;
    let key = client.created_key(&prepared).await?;
    output::progress(&format!(
        "created and verified in {:.0} ms",
        start.elapsed().as_secs_f64() * 1000.0
    ));
    let mut value = evident_json(&key.listed(), None);
    if let Some(object) = value.as_object_mut() {
        object.insert(
            "command_id".to_owned(),
            CommandId::to_string(&view.id).into(),
        );
    }
    let record = key.record();
    let mut table = Table::default();
    table.pair("key", &record.name);
    table.pair("id", record.id());
    table.pair("scheme", record.scheme);
    table.pair("purpose", purposes_text(&record.purposes));
    table.pair(
        "threshold",
        format!("{} of {}", record.threshold, record.participants.len()),
    );
    table.pair("public key", hex::encode(&record.group_key));
    table.pair("certificate", record.certificate);
    life::describe(&mut table, &key.listed(), None);
    output::print(context.format(), &value, &table)?;
    Ok(true)
}

/// The profile's threshold where it fits, else half of the nodes, rounded up: a majority, where that
/// does not make the key fragile.
fn default_threshold(nodes: usize, of_profile: Option<u16>) -> u16 {
    let count = u16::try_from(nodes).unwrap_or(u16::MAX);
    let most = count.div_ceil(2);
    of_profile
        .filter(|threshold| *threshold <= most)
        .unwrap_or_else(|| count.div_euclid(2).saturating_add(1).min(most).max(2))
}

fn warn_of_fragility(create: &CreateKey) {
    let strict = CreateKey {
        accept_fragile: false,
        ..create.clone()
    };
    if let Err(error) = strict.check_shape() {
        output::progress(&format!("warning: accepted: {error}"));
    }
}

/// Prints one line per round.
pub(in crate::command) fn report(view: &CommandView, last: &mut Option<Progress>) {
    let Some(progress) = &view.progress else {
        return;
    };
    if last.as_ref().is_some_and(|last| last.step == progress.step) {
        return;
    }
    output::progress(&format!("{:>3}%  {}", progress.percent, progress.step));
    *last = Some(progress.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_threshold_is_a_majority_that_never_makes_a_key_fragile() {
        for (nodes, of_profile, expected) in [
            (3, None, 2),
            (4, None, 2),
            (5, None, 3),
            (7, None, 4),
            (5, Some(2), 2),
            (3, Some(3), 2),
            (2, None, 2),
        ] {
            assert_eq!(default_threshold(nodes, of_profile), expected, "{nodes}");
        }
    }
}
