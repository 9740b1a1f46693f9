//! Load: independent, separately signed commands, each verified by the SDK.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use quorate_client::{CertifiedKey, CommandOptions};
use quorate_model::{Payload, Scheme};
use tokio::task::JoinSet;

use crate::{cluster::Cluster, in_process};

/// How long each unit of work took, and all of them together.
#[derive(Default)]
pub(crate) struct Measured {
    /// Sorted.
    latencies: Vec<Duration>,
    units: usize,
    elapsed: Duration,
}

impl Measured {
    pub(crate) fn new(mut latencies: Vec<Duration>, units: usize, elapsed: Duration) -> Self {
        latencies.sort_unstable();
        Self {
            latencies,
            units,
            elapsed,
        }
    }

    /// Adds what was measured at another time.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        let (mut latencies, units) = (self.latencies, self.units.saturating_add(other.units));
        latencies.extend(other.latencies);
        Self::new(latencies, units, self.elapsed.saturating_add(other.elapsed))
    }

    /// Signatures, keys or records per second.
    pub(crate) fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let units = self.units as f64;
        units / self.elapsed.as_secs_f64()
    }

    /// A percentile of the latency of one command.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let at = self.latencies.len().saturating_mul(percent) / 100;
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get(at.min(last))
            .map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }

    /// How many commands were measured.
    pub(crate) fn count(&self) -> usize {
        self.latencies.len()
    }
}

/// Signs for a while with so many commands under way at a time.
pub(crate) async fn run(
    cluster: &Cluster,
    key: &CertifiedKey,
    in_flight: usize,
    batch: usize,
    time: Duration,
) -> Result<Measured> {
    let number = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..in_flight {
        let (client, key, number) = (cluster.client.clone(), key.clone(), Arc::clone(&number));
        workers.spawn(async move {
            let mut latencies = Vec::new();
            while start.elapsed() < time {
                let payloads = (0..batch)
                    .map(|_| payload(key.record().scheme, number.fetch_add(1, Ordering::Relaxed)))
                    .collect();
                let begun = Instant::now();
                client
                    .sign(&key, payloads, &CommandOptions::default())
                    .await?;
                latencies.push(begun.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(worker) = workers.join_next().await {
        latencies.extend(worker??);
    }
    let units = latencies.len().saturating_mul(batch);
    Ok(Measured::new(latencies, units, start.elapsed()))
}

/// Something to sign that differs from all others.
pub(crate) fn payload(scheme: Scheme, number: u64) -> Payload {
    if scheme == Scheme::EcdsaSecp256k1 {
        Payload::digest(in_process::numbered(number))
    } else {
        Payload::message(format!("message {number}").into_bytes())
    }
}

/// Creates keys one after the other for a while.
pub(crate) async fn create_keys(
    cluster: &Cluster,
    scheme: Scheme,
    threshold: u16,
    time: Duration,
) -> Result<Measured> {
    cluster
        .create_key("bench-warm-up", scheme, threshold)
        .await?;
    let start = Instant::now();
    let mut latencies = Vec::new();
    while start.elapsed() < time {
        let begun = Instant::now();
        let name = format!("bench-{}", latencies.len());
        cluster.create_key(&name, scheme, threshold).await?;
        latencies.push(begun.elapsed());
    }
    let units = latencies.len();
    Ok(Measured::new(latencies, units, start.elapsed()))
}
