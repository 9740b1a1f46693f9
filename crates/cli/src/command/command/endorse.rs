//! `quorate command approve` and `quorate command reject`.

use std::io::{self, BufRead as _, IsTerminal as _};

use clap::Args;
use quorate_client::{
    AwaitingCommand,
    model::{
        CommandId, Digest,
        command::{CommandBody, EndorsementKind},
        roster::Role,
    },
};

use super::print_view;
use crate::{
    args::command_id,
    context::Context,
    error::CliError,
    output::{self, Table},
};

/// Look at a command that waits for endorsements, and speak for it or forbid it.
#[derive(Debug, Args)]
pub(crate) struct Endorse {
    /// Id of the command
    #[arg(value_parser = command_id)]
    id: CommandId,
    /// Do not ask: the digest says what is meant
    #[arg(long, requires = "digest")]
    yes: bool,
    /// Insist on the command with this digest, as whoever proposed it tells it
    #[arg(long, value_name = "HEX", value_parser = digest)]
    digest: Option<Digest>,
}

impl Endorse {
    pub(super) async fn run(
        &self,
        context: &Context,
        kind: EndorsementKind,
    ) -> Result<(), CliError> {
        let client = context.connect(Role::Admin).await?;
        let awaiting = client.awaiting(self.id).await?;
        // What is shown is what is signed: it was decoded from the exact bytes.
        show(&awaiting);
        if self
            .digest
            .is_some_and(|expected| expected != awaiting.digest())
        {
            return Err(CliError::Unverified(format!(
                "command {} has digest {}, which is not the one that is expected",
                self.id,
                awaiting.digest()
            )));
        }
        if !self.yes && !asked(kind)? {
            return Err(CliError::Usage("nothing was signed".to_owned()));
        }
        let view = client.endorse(&awaiting, kind).await?;
        print_view(context, &view)
    }
}

fn digest(text: &str) -> Result<Digest, String> {
    Digest::from_hex(text).ok_or_else(|| "a digest is 64 hex digits".to_owned())
}

fn show(awaiting: &AwaitingCommand) {
    let command = awaiting.command();
    let mut table = Table::default();
    table.pair("command", command.id);
    table.pair("digest", awaiting.digest());
    if let CommandBody::SetKeyState(set) = &command.body {
        table.pair("change", format!("{} key {}", set.change, set.key));
        table.pair("key id", set.key_id);
        table.pair("sequence", set.sequence);
        table.pair("reason", &set.reason);
    }
    let words: Vec<String> = awaiting
        .signed()
        .endorsements
        .iter()
        .map(|word| format!("{} ({})", word.principal, word.kind.as_str()))
        .collect();
    table.pair("endorsed by", words.join(", "));
    output::progress(&table.to_string());
}

/// Asks whoever sits at the terminal.
fn asked(kind: EndorsementKind) -> Result<bool, CliError> {
    let mut input = io::stdin().lock();
    if !io::stdin().is_terminal() {
        return Err(CliError::Usage(format!(
            "there is no terminal to ask at: add --yes and --digest to {} it",
            kind.as_str()
        )));
    }
    output::progress(&format!("{} it? [y/N]", kind.as_str()));
    let mut line = String::new();
    input
        .read_line(&mut line)
        .map_err(|source| CliError::File {
            action: "read the answer",
            path: "at the terminal".to_owned(),
            source,
        })?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
