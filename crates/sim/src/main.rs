//! Runs many seeds: `cargo run --release -p quorate-sim -- --seeds 10000`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::arithmetic_side_effects,
    reason = "a command line tool that counts"
)]

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use quorate_sim::{Report, World};

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
    /// Go on with the next seed after a violation.
    #[arg(long)]
    keep_going: bool,
}

/// What all runs showed together.
#[derive(Default)]
struct Sum {
    signatures: usize,
    reshares: usize,
    refreshes: usize,
    replacements: usize,
    destructions: usize,
    restores: usize,
    rosters: usize,
    steps: u64,
    violations: u64,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.signatures += report.signatures;
        self.reshares += report.reshares;
        self.refreshes += report.refreshes;
        self.replacements += report.replacements;
        self.destructions += report.destructions;
        self.restores += report.restores;
        self.rosters += report.rosters;
        self.steps += report.steps;
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let start = Instant::now();
    let mut sum = Sum::default();
    for seed in arguments.first..arguments.first + arguments.seeds {
        match World::from_seed(seed).run() {
            Ok(report) => sum.add(&report),
            Err(violation) => {
                eprintln!("{violation}");
                eprintln!("replay it: quorate-sim --first {seed} --seeds 1");
                sum.violations += 1;
                if !arguments.keep_going {
                    break;
                }
            }
        }
    }
    println!(
        "{} seeds, {} signatures, {} resharings ({} refreshes, {} replacements), {} destructions, {} restores, {} roster changes, {} steps, {} violations, {:.1} s",
        arguments.seeds,
        sum.signatures,
        sum.reshares,
        sum.refreshes,
        sum.replacements,
        sum.destructions,
        sum.restores,
        sum.rosters,
        sum.steps,
        sum.violations,
        start.elapsed().as_secs_f64()
    );
    if sum.violations == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
