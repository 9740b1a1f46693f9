//! The `quorate` command: keys, signatures, identities, rosters, audits, and a whole cluster on
//! one machine to try things out. Results go to standard output, progress to standard error.
#![expect(
    clippy::print_stderr,
    reason = "a command line tells people how things go on standard error"
)]

mod args;
mod bar;
mod command;
mod context;
mod dev;
mod error;
mod input;
mod output;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::{Cli, Command},
    context::Context,
    error::CliError,
};

/// What shells say of a process that an interrupt ended.
const INTERRUPTED: u8 = 130;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let context = Context::new(cli.options);
    let ended = tokio::select! {
        ended = run(&context, cli.command) => ended,
        () = context.is_interrupted() => {
            output::progress("interrupted; what was asked may still happen");
            tell_sent(&context);
            return ExitCode::from(INTERRUPTED);
        }
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let code = error.report();
            if error.leaves_open() {
                tell_sent(&context);
            }
            code
        }
    }
}

fn tell_sent(context: &Context) {
    if let Some(sent) = context.sent() {
        command::lost_sight_of(context, &sent);
    }
}

async fn run(context: &Context, command: Command) -> Result<u8, CliError> {
    match command {
        Command::Key(key) => key.run(context).await?,
        Command::Sign(sign) => sign.run(context).await?,
        Command::Verify(verify) => verify.run(context).await?,
        Command::Decode(decode) => decode.run(context)?,
        Command::Node(node) => node.run(context).await?,
        Command::Identity(identity) => identity.run(context)?,
        Command::Cluster(cluster) => cluster.run(context).await?,
        Command::Command(command) => command.run(context).await?,
        Command::Audit(audit) => audit.run(context).await?,
        Command::Drill(drill) => drill.run(context).await?,
        Command::Dev(dev) => return dev.run(context).await,
        Command::DevExec(exec) => return exec.run().await,
        Command::Completion(completion) => completion.run()?,
        Command::Version => command::version::run(context)?,
    }
    Ok(0)
}
