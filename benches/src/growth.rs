//! What a node costs that holds many keys: its start, its memory, and the erasure of one share.
//!
//! The directory is the one that a node has after it took part in the creation of that many keys:
//! filled through its own vault, core and journal, with keys whose certificates and proofs verify.
//! What is left out of the filling is the ceremonies, of which only one is run.

mod births;
mod directory;
mod erasure;
mod lazy;
mod start;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use quorate_model::Scheme;
use serde::Serialize;

use directory::Directory;
use erasure::Erased;
use start::Started;

/// What is measured, and on what.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// How many keys the node holds; every size is measured, on one directory that grows.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    keys: Vec<usize>,
    /// bip340, frost-secp256k1 or ed25519.
    #[arg(long, default_value = "bip340")]
    scheme: Scheme,
    /// How many nodes sign.
    #[arg(long, default_value_t = 2)]
    threshold: u16,
    /// How many nodes hold each key.
    #[arg(long, default_value_t = 3)]
    nodes: u16,
    /// How many signatures the node of the last size has made; its memory is told after each number,
    /// and its start after the last.
    #[arg(long, value_delimiter = ',')]
    signatures: Vec<usize>,
    /// How often each start is measured; the median is shown.
    #[arg(long, default_value_t = 3)]
    starts: usize,
    /// The `quorate-node` to measure; without it, the one beside this program, built if it is
    /// missing or stale.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Where the directory of the node is made and left; without it, in a temporary place.
    #[arg(long)]
    dir: Option<PathBuf>,
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
    nodes: u16,
    cores: usize,
    sizes: Vec<Size>,
    signed: Option<Signed>,
}

/// What a node costs that has made so many signatures, whose ids it remembers (P8).
#[derive(Serialize)]
struct Signed {
    /// What the process that records them takes, in MiB, after each number of them.
    memory: Vec<(usize, f64)>,
    index_mib: f64,
    /// The start after the last.
    kept: Started,
}

/// What a node with so many keys costs.
#[derive(Serialize)]
struct Size {
    keys: usize,
    journal_mib: f64,
    index_mib: f64,
    vault_mib: f64,
    keyring_mib: f64,
    /// With the index as the node left it.
    kept: Started,
    /// With the index deleted.
    deleted: Started,
    erasure: Erased,
}

/// Runs the benchmark.
pub(crate) async fn run(options: &Options) -> Result<()> {
    ensure!(
        options.scheme != Scheme::EcdsaSecp256k1,
        "a directory of ECDSA keys is filled by pairing nodes for each key: measure another scheme"
    );
    ensure!(
        options.starts > 0,
        "--starts is 0, expected at least 1: the median of none says nothing"
    );
    let program = match &options.program {
        Some(program) => program.clone(),
        None => crate::cluster::provide("quorate-node").await?,
    };
    let temporary;
    let place = if let Some(dir) = &options.dir {
        dir.as_path()
    } else {
        temporary = tempfile::tempdir()?;
        temporary.path()
    };
    let options = options.clone();
    let place = place.to_owned();
    tokio::task::spawn_blocking(move || measure(&options, &place, &program)).await?
}

fn measure(options: &Options, place: &Path, program: &Path) -> Result<()> {
    let mut sizes = options.keys.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let mut directory = Directory::make(place, options.scheme, options.threshold, options.nodes)?;
    let mut figures = Figures {
        benchmark: "growth",
        scheme: options.scheme,
        threshold: options.threshold,
        nodes: options.nodes,
        cores: std::thread::available_parallelism()?.get(),
        sizes: Vec::new(),
        signed: None,
    };
    figures.print_head();
    for keys in sizes {
        directory.grow(keys)?;
        let kept = start::measure(&directory, program, options.starts, &|| Ok(()))?;
        let deleted = start::measure(&directory, program, options.starts, &|| {
            directory.delete_index()
        })?;
        let size = Size {
            keys,
            journal_mib: directory.mib("journal")?,
            index_mib: directory.mib("index")?,
            vault_mib: directory.mib("vault")?,
            keyring_mib: directory.mib("keyring")?,
            kept,
            deleted,
            erasure: erasure::measure(&directory, options.starts)?,
        };
        size.print();
        figures.sizes.push(size);
    }
    if !options.signatures.is_empty() {
        figures.signed = Some(sign(options, &directory, program)?);
    }
    if let Some(out) = &options.out {
        let json = serde_json::to_vec_pretty(&figures)?;
        std::fs::write(out, json).with_context(|| format!("write {}", out.display()))?;
    }
    Ok(())
}

/// Has the node record signatures.
fn sign(options: &Options, directory: &Directory, program: &Path) -> Result<Signed> {
    let mut parts = options.signatures.clone();
    parts.sort_unstable();
    let mut memory = Vec::new();
    directory.sign(&parts, &mut |signatures| {
        let mib = start::memory(std::process::id(), "VmRSS:").unwrap_or_default();
        println!("{signatures} signatures: {mib:.1} MiB in this process");
        memory.push((signatures, mib));
    })?;
    let index_mib = directory.mib("index")?;
    println!("  on disk        index {index_mib:.1} MiB");
    let kept = start::measure(directory, program, options.starts, &|| Ok(()))?;
    kept.print("index kept   ");
    Ok(Signed {
        memory,
        index_mib,
        kept,
    })
}

impl Figures {
    fn print_head(&self) {
        println!(
            "growth {} {}-of-{}, {} cores; files in the page cache, a key file unseals the node",
            self.scheme, self.threshold, self.nodes, self.cores
        );
    }
}

impl Size {
    fn print(&self) {
        println!("{} keys", self.keys);
        println!(
            "  on disk        journal {:.1}, index {:.1}, vault {:.1}, keyring {:.1} MiB",
            self.journal_mib, self.index_mib, self.vault_mib, self.keyring_mib
        );
        self.kept.print("index kept   ");
        self.deleted.print("index deleted");
        println!(
            "  one erasure    {:.0} ms: the keyring is written whole, while no share can be read",
            self.erasure.milliseconds
        );
    }
}
