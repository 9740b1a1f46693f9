//! Benchmarks of a real cluster against the same cryptography in one process.
//!
//! Every figure of the two sides comes from one run on the same machine, so the ratio holds where
//! absolute numbers do not.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool"
)]

mod cluster;
mod growth;
mod in_process;
mod load;
mod report;
mod reshare;
mod vault;

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use quorate_model::Scheme;

use cluster::Cluster;
use in_process::Yardstick;
use report::Report;

/// Measures a real cluster: separate processes, mutual TLS, durable journals.
#[derive(Parser)]
#[command(
    name = "quorate-bench",
    version,
    after_help = "The programs of the cluster lie beside this one. They are built where they are \
missing or stale; with QUORATE_DEV_NO_BUILD=1 set, cargo is never called and they are taken as they \
are."
)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Signatures per second, divided by those of the stock library in one process.
    Throughput(Options),
    /// Latency of one request at a time.
    Latency(Options),
    /// Time to create a key: durable, certified, proven.
    Keygen(Options),
    /// Time to read a key's share and pairings from their sealed files; ECDSA only.
    Vault(Options),
    /// Time to give many keys to another committee, and the worst gap in signing meanwhile.
    Reshare(reshare::Options),
    /// Start time and memory of a node by the number of its keys, and what one erasure costs.
    Growth(growth::Options),
}

#[derive(Args, Clone)]
struct Options {
    /// bip340, frost-secp256k1, ed25519 or ecdsa-secp256k1.
    #[arg(long, default_value = "bip340")]
    scheme: Scheme,
    /// How many nodes sign.
    #[arg(long, default_value_t = 2)]
    threshold: u16,
    /// How many nodes there are.
    #[arg(long, default_value_t = 3)]
    nodes: u16,
    /// How many commands are under way at a time.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// How long each side is measured.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How many payloads each command carries.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Where the figures go as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say nothing, use --release");
    }
    match Arguments::parse().what {
        What::Throughput(options) => throughput(&options).await,
        What::Latency(options) => latency(&options).await,
        What::Keygen(options) => keygen(&options).await,
        What::Vault(options) => vault(options).await,
        What::Reshare(options) => reshare::run(&options).await,
        What::Growth(options) => growth::run(&options).await,
    }
}

/// How long each side of a ratio has the machine before it is the other's turn: machines change
/// their speed from minute to minute.
const TURN: Duration = Duration::from_secs(15);

async fn throughput(options: &Options) -> Result<()> {
    let time = Duration::from_secs(options.seconds);
    let cores = std::thread::available_parallelism()?.get();
    let cluster = Cluster::start(options.nodes, options.threshold).await?;
    let key = cluster
        .create_key("bench-key", options.scheme, options.threshold)
        .await?;
    load::run(
        &cluster,
        &key,
        options.in_flight,
        options.batch,
        Duration::from_secs(2),
    )
    .await?;
    let (scheme, threshold, nodes) = (options.scheme, options.threshold, options.nodes);
    let mut yardstick = Yardstick::new(scheme, threshold, nodes, cores)?;
    let before = cluster.node_memory_mib().await?;
    let mut measured = load::Measured::default();
    let mut left = time;
    while !left.is_zero() {
        let turn = left.min(TURN);
        left = left.saturating_sub(turn);
        let run = load::run(&cluster, &key, options.in_flight, options.batch, turn).await?;
        measured = measured.and(run);
        // The cluster has nothing to do meanwhile.
        yardstick = tokio::task::spawn_blocking(move || {
            yardstick.run(turn)?;
            anyhow::Ok(yardstick)
        })
        .await??;
    }
    let after = cluster.node_memory_mib().await?;
    let in_process = yardstick.per_second();
    Report {
        benchmark: "throughput",
        scheme,
        threshold,
        nodes,
        in_flight: options.in_flight,
        batch: options.batch,
        cores,
        cluster_per_s: measured.per_second(),
        in_process_per_s: Some(in_process),
        ratio: Some(measured.per_second() / in_process),
        p50_ms: measured.percentile_ms(50),
        p99_ms: measured.percentile_ms(99),
        samples: measured.count(),
        node_memory_mib: before.zip(after).map(<[f64; 2]>::from),
    }
    .publish(options.out.as_deref())
}

async fn latency(options: &Options) -> Result<()> {
    let time = Duration::from_secs(options.seconds);
    let cluster = Cluster::start(options.nodes, options.threshold).await?;
    let key = cluster
        .create_key("bench-key", options.scheme, options.threshold)
        .await?;
    load::run(&cluster, &key, 1, options.batch, Duration::from_secs(1)).await?;
    let measured = load::run(&cluster, &key, 1, options.batch, time).await?;
    report_cluster_only("latency", options, 1, &measured)
}

async fn keygen(options: &Options) -> Result<()> {
    let time = Duration::from_secs(options.seconds);
    let cluster = Cluster::start(options.nodes, options.threshold).await?;
    let measured = load::create_keys(&cluster, options.scheme, options.threshold, time).await?;
    report_cluster_only("keygen", options, 1, &measured)
}

async fn vault(options: Options) -> Result<()> {
    let Options {
        scheme, threshold, ..
    } = options;
    ensure!(
        scheme == Scheme::EcdsaSecp256k1,
        "only ECDSA has pairings to read"
    );
    let time = Duration::from_secs(options.seconds);
    let cluster = Cluster::start(options.nodes, threshold).await?;
    let key = cluster.create_key("bench-key", scheme, threshold).await?;
    let nodes = cluster.nodes_directory();
    let measured =
        tokio::task::spawn_blocking(move || vault::read_records(&nodes, key.record(), time))
            .await??;
    report_cluster_only("vault", &options, 1, &measured)
}

fn report_cluster_only(
    benchmark: &'static str,
    options: &Options,
    in_flight: usize,
    measured: &load::Measured,
) -> Result<()> {
    Report {
        benchmark,
        scheme: options.scheme,
        threshold: options.threshold,
        nodes: options.nodes,
        in_flight,
        batch: options.batch,
        cores: std::thread::available_parallelism()?.get(),
        cluster_per_s: measured.per_second(),
        in_process_per_s: None,
        ratio: None,
        p50_ms: measured.percentile_ms(50),
        p99_ms: measured.percentile_ms(99),
        samples: measured.count(),
        node_memory_mib: None,
    }
    .publish(options.out.as_deref())
}
