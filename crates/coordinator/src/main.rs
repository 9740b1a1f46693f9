//! The `quorate-coordinator` daemon: makes the identity of a coordinator, and runs it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool"
)]

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use quorate_coordinator::{
    config::CoordinatorConfig,
    host,
    run::{self, RunOptions},
};
use quorate_model::CoordinatorId;

/// Relays between callers and nodes. Holds no share, decides nothing, and is trusted with nothing.
#[derive(Parser)]
#[command(name = "quorate-coordinator", version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Makes the TLS identity of a coordinator and prints its public card.
    Init(Init),
    /// Runs the coordinator.
    Run(Run),
}

#[derive(Args)]
struct Init {
    /// The data directory.
    #[arg(long)]
    dir: PathBuf,
    /// The id that the roster will list.
    #[arg(long)]
    id: CoordinatorId,
}

#[derive(Args)]
struct Run {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Ends when standard input closes, so that it does not outlive whoever started it.
    #[arg(long)]
    exit_with_parent: bool,
}

fn main() -> ExitCode {
    match act(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(arguments: Arguments) -> Result<()> {
    match arguments.what {
        What::Init(init) => {
            let card = host::init(&init.dir, &init.id)?;
            println!("{}", serde_json::to_string_pretty(&card)?);
            Ok(())
        }
        What::Run(arguments) => {
            let config = CoordinatorConfig::read(&arguments.config)?;
            run::run(
                &config,
                RunOptions {
                    exit_with_parent: arguments.exit_with_parent,
                },
            )
        }
    }
}
