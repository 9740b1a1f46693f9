//! Figures, as a table for people and as JSON for programs.

use std::path::Path;

use anyhow::{Context as _, Result};
use quorate_model::Scheme;
use serde::Serialize;

/// What one benchmark measured.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) benchmark: &'static str,
    pub(crate) scheme: Scheme,
    pub(crate) threshold: u16,
    pub(crate) nodes: u16,
    pub(crate) in_flight: usize,
    pub(crate) batch: usize,
    pub(crate) cores: usize,
    /// Signatures, keys or records per second of the cluster.
    pub(crate) cluster_per_s: f64,
    /// Signatures per second of the stock library in one process on all cores.
    pub(crate) in_process_per_s: Option<f64>,
    /// The first divided by the second.
    pub(crate) ratio: Option<f64>,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) samples: usize,
    /// Memory of the largest node before the commands and after them, in MiB.
    pub(crate) node_memory_mib: Option<[f64; 2]>,
}

impl Report {
    /// Prints the table and writes the JSON file.
    pub(crate) fn publish(&self, out: Option<&Path>) -> Result<()> {
        println!(
            "{} {} {}-of-{}, {} in flight, batch {}, {} cores",
            self.benchmark,
            self.scheme,
            self.threshold,
            self.nodes,
            self.in_flight,
            self.batch,
            self.cores
        );
        println!("  cluster      {:>10.1} /s", self.cluster_per_s);
        if let (Some(in_process), Some(ratio)) = (self.in_process_per_s, self.ratio) {
            println!("  in process   {in_process:>10.1} /s");
            println!("  ratio        {ratio:>10.2}");
        }
        println!("  p50          {:>10.2} ms", self.p50_ms);
        println!("  p99          {:>10.2} ms", self.p99_ms);
        println!("  samples      {:>10}", self.samples);
        if let Some([before, after]) = self.node_memory_mib {
            println!("  node memory  {before:>10.1} MiB before, {after:.1} MiB after");
        }
        if let Some(out) = out {
            let json = serde_json::to_vec_pretty(self)?;
            std::fs::write(out, json).with_context(|| format!("write {}", out.display()))?;
        }
        Ok(())
    }
}
