//! Many keys go to another committee while they sign in turn.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Args;
use quorate_client::{CertifiedKey, Client, CommandOptions, Committee};
use quorate_model::{NodeId, Scheme};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    cluster::{Cluster, creation},
    load,
};

/// What is reshared, and how.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// bip340, frost-secp256k1, ed25519 or ecdsa-secp256k1.
    #[arg(long, default_value = "bip340")]
    scheme: Scheme,
    /// How many keys.
    #[arg(long, default_value_t = 1_000)]
    keys: usize,
    /// How many nodes sign.
    #[arg(long, default_value_t = 2)]
    threshold: u16,
    /// How many nodes hold a key. One more takes the place of the first.
    #[arg(long, default_value_t = 3)]
    holders: u16,
    /// How many resharings are asked for at a time.
    #[arg(long, default_value_t = 16)]
    parallel: usize,
    /// Where the figures go as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What was measured.
#[derive(Serialize)]
struct Figures {
    benchmark: &'static str,
    scheme: Scheme,
    threshold: u16,
    holders: u16,
    keys: usize,
    parallel: usize,
    cores: usize,
    seconds: f64,
    keys_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Signatures that the keys made meanwhile in turn, one at a time.
    signatures: usize,
    /// The longest time from one of them to the next, over all keys.
    worst_gap_ms: f64,
    /// The same before anything was reshared.
    worst_gap_before_ms: f64,
    /// Keys of which some node had not erased its old share when the command ended.
    unerased: usize,
}

/// Runs the benchmark.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let nodes = options.holders.saturating_add(1);
    let cluster = Cluster::start(nodes, options.threshold).await?;
    let all = cluster.node_ids();
    let (old, new) = committees(&all).context("split the nodes into committees")?;
    let keys = create(&cluster, options, &old).await?;

    let calm = signing(&cluster.client, keys.clone(), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(())
    })
    .await?;
    let start = Instant::now();
    let (latencies, unerased) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
    let busy = signing(
        &cluster.client,
        keys.clone(),
        reshare_all(&cluster, options, keys, &new, &latencies, &unerased),
    )
    .await?;
    let elapsed = start.elapsed();
    let latencies = std::mem::take(&mut *latencies.lock().await);
    let measured = load::Measured::new(latencies, options.keys, elapsed);
    Figures {
        benchmark: "reshare",
        scheme: options.scheme,
        threshold: options.threshold,
        holders: options.holders,
        keys: options.keys,
        parallel: options.parallel,
        cores: std::thread::available_parallelism()?.get(),
        seconds: elapsed.as_secs_f64(),
        keys_per_s: measured.per_second(),
        p50_ms: measured.percentile_ms(50),
        p99_ms: measured.percentile_ms(99),
        signatures: busy.count,
        worst_gap_ms: busy.worst.as_secs_f64() * 1e3,
        worst_gap_before_ms: calm.worst.as_secs_f64() * 1e3,
        unerased: unerased.load(Ordering::Relaxed),
    }
    .publish(options.out.as_deref())
}

/// All but the last node, and all but the first.
fn committees(all: &[NodeId]) -> Option<(Vec<NodeId>, Vec<NodeId>)> {
    let (_, old) = all.split_last()?;
    let (_, new) = all.split_first()?;
    Some((old.to_vec(), new.to_vec()))
}

async fn create(
    cluster: &Cluster,
    options: &Options,
    nodes: &[NodeId],
) -> Result<Vec<CertifiedKey>> {
    let mut keys = Vec::with_capacity(options.keys);
    let numbers: Vec<usize> = (0..options.keys).collect();
    for some in numbers.chunks(4) {
        let mut workers = JoinSet::new();
        for number in some {
            let name = format!("bench-{number}");
            let create = creation(&name, options.scheme, options.threshold, nodes)?;
            let admin = cluster.admin.clone();
            workers
                .spawn(async move { admin.create_key(create, &CommandOptions::default()).await });
        }
        while let Some(made) = workers.join_next().await {
            keys.push(made??);
        }
    }
    Ok(keys)
}

type Latencies = tokio::sync::Mutex<Vec<Duration>>;

async fn reshare_all(
    cluster: &Cluster,
    options: &Options,
    keys: Vec<CertifiedKey>,
    new: &[NodeId],
    latencies: &Arc<Latencies>,
    unerased: &Arc<AtomicUsize>,
) -> Result<()> {
    let waiting = Arc::new(tokio::sync::Mutex::new(keys));
    let mut workers = JoinSet::new();
    for _ in 0..options.parallel {
        let (waiting, latencies) = (Arc::clone(&waiting), Arc::clone(latencies));
        let (unerased, admin) = (Arc::clone(unerased), cluster.admin.clone());
        let committee = Committee {
            threshold: options.threshold,
            nodes: new.to_vec(),
            accept_fragile: true,
            first_epoch: None,
        };
        workers.spawn(async move {
            loop {
                let Some(key) = waiting.lock().await.pop() else {
                    return anyhow::Ok(());
                };
                let listed = admin.look_up(&key.record().name.clone().into()).await?;
                let begun = Instant::now();
                let done = admin
                    .reshare(&listed, committee.clone(), &CommandOptions::default())
                    .await?;
                latencies.lock().await.push(begun.elapsed());
                if !done.missing().is_empty() {
                    unerased.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    Ok(())
}

/// Signatures that were made while something else went on.
struct Signed {
    count: usize,
    worst: Duration,
}

/// Signs one message after the other until something else is over, with each key in turn: what a key's
/// change of committee costs is met by the signature that comes after it.
async fn signing(
    client: &Client,
    keys: Vec<CertifiedKey>,
    meanwhile: impl Future<Output = Result<()>>,
) -> Result<Signed> {
    let over = Arc::new(AtomicBool::new(false));
    let client = client.clone();
    let signer = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            let (mut count, mut worst) = (0usize, Duration::ZERO);
            let mut last = Instant::now();
            for key in keys.iter().cycle() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let number = u64::try_from(count).unwrap_or(u64::MAX);
                let payload = load::payload(key.record().scheme, number);
                client
                    .sign(key, vec![payload], &CommandOptions::default())
                    .await?;
                worst = worst.max(last.elapsed());
                last = Instant::now();
                count = count.saturating_add(1);
            }
            anyhow::Ok(Signed { count, worst })
        }
    });
    let ended = meanwhile.await;
    over.store(true, Ordering::Relaxed);
    let made = signer.await??;
    ended.map(|()| made)
}

impl Figures {
    fn publish(&self, out: Option<&std::path::Path>) -> Result<()> {
        println!(
            "reshare {} {}-of-{}, {} keys, {} at a time, {} cores",
            self.scheme, self.threshold, self.holders, self.keys, self.parallel, self.cores
        );
        println!("  all          {:>10.1} s", self.seconds);
        println!("  keys         {:>10.1} /s", self.keys_per_s);
        println!("  p50          {:>10.2} ms", self.p50_ms);
        println!("  p99          {:>10.2} ms", self.p99_ms);
        println!("  signatures   {:>10} meanwhile", self.signatures);
        println!(
            "  worst gap    {:>10.2} ms, {:.2} ms before",
            self.worst_gap_ms, self.worst_gap_before_ms
        );
        println!("  unerased     {:>10} keys", self.unerased);
        if let Some(out) = out {
            let json = serde_json::to_vec_pretty(self)?;
            std::fs::write(out, json).with_context(|| format!("write {}", out.display()))?;
        }
        Ok(())
    }
}
