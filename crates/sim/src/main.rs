//! Runs many seeds: `cargo run --release -p quorate-sim -- --seeds 10000`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::arithmetic_side_effects,
    reason = "a command line tool that counts"
)]

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use quorate_sim::World;

/// Runs simulated clusters and checks the invariants after every step.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let start = Instant::now();
    let (mut signatures, mut reshares, mut steps) = (0, 0, 0);
    for seed in arguments.first..arguments.first + arguments.seeds {
        match World::from_seed(seed).run() {
            Ok(report) => {
                signatures += report.signatures;
                reshares += report.reshares;
                steps += report.steps;
            }
            Err(violation) => {
                eprintln!("{violation}");
                eprintln!("replay it: quorate-sim --first {seed} --seeds 1");
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{} seeds, {signatures} signatures, {reshares} resharings, {steps} steps, no violation, {:.1} s",
        arguments.seeds,
        start.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}
