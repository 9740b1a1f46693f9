//! The `quorate-node` daemon: makes a node, pins its roster, runs it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool"
)]

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use quorate_model::{Digest, NodeId, roster::SignedRoster};
use quorate_node::{
    backup::{self, Recipients, Restoration},
    config::{CoordinatorAddress, LogFormat, NodeConfig},
    console,
    core::TrueShares,
    host,
    run::{self, RunOptions},
    sealing::{KekSource, KeyFile, Passphrase},
};
use rand_core::OsRng;
use zeroize::Zeroizing;

/// Holds one share of each key in one region. Dials its coordinators; listens to nobody.
#[derive(Parser)]
#[command(name = "quorate-node", version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Makes the identity of a node in an empty directory and prints its public card.
    Init(Init),
    /// Prints the public card of a node.
    Card(Place),
    /// Pins roster 1, after its hash was confirmed out of band.
    Pin(Pin),
    /// Runs the node.
    Run(Run),
    /// Brings a stopped node the states of a key from a file of `quorate key states --out`, where
    /// no coordinator does.
    ImportStates(Import),
    /// Brings a stopped node the rosters of a file of `quorate cluster export`, where no coordinator
    /// does.
    ImportRosters(Import),
    /// Brings a stopped node a certificate from a file of `quorate key certificates` or `quorate key
    /// destroy --out`, where no coordinator does: of an epoch, or of a destruction with its orders.
    ImportCertificate(ImportCertificate),
    /// Makes a backup of a node, running or not, sealed to keys of age.
    Backup(Backup),
    /// Makes the directory of a node again from a backup of it.
    Restore(Restore),
    /// Tries a backup out in a directory that is removed again, and prints as JSON what of it would be
    /// usable; `quorate drill restore` compares it with the cluster.
    Rehearse(Rehearse),
}

/// What unseals a node. Secrets are never arguments.
#[derive(Args)]
struct Unseal {
    /// A file whose first line is the passphrase. Without this and --key-file, it is asked for.
    #[arg(long, env = "QUORATE_PASSPHRASE_FILE", conflicts_with = "key_file")]
    passphrase_file: Option<PathBuf>,
    /// A file with a 256-bit key in hex or base64, readable by its owner only.
    #[arg(long, env = "QUORATE_KEY_FILE")]
    key_file: Option<PathBuf>,
}

impl Unseal {
    /// What the command line says, or else the configuration.
    fn or_of(&self, config: &NodeConfig) -> Self {
        let either =
            |said: &Option<PathBuf>, kept: &Option<PathBuf>| said.clone().or_else(|| kept.clone());
        Self {
            passphrase_file: either(&self.passphrase_file, &config.passphrase_file),
            key_file: either(&self.key_file, &config.key_file),
        }
    }
}

#[derive(Args)]
struct Place {
    /// The node's directory.
    #[arg(long)]
    dir: PathBuf,
    #[command(flatten)]
    unseal: Unseal,
}

#[derive(Args)]
struct Init {
    #[command(flatten)]
    place: Place,
    /// The node's id.
    #[arg(long)]
    id: NodeId,
    /// Where it runs.
    #[arg(long)]
    region: String,
    /// Who runs it.
    #[arg(long)]
    organisation: String,
}

#[derive(Args)]
struct Pin {
    #[command(flatten)]
    place: Place,
    /// The signed roster.
    #[arg(long)]
    roster: PathBuf,
    /// Its hash, as confirmed out of band: 64 hex digits.
    #[arg(long, visible_alias = "roster-hash")]
    hash: String,
}

#[derive(Args)]
struct Run {
    /// The node's directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A configuration file; flags override it.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    unseal: Unseal,
    /// A coordinator to dial, as ID=HOST:PORT; may be repeated.
    #[arg(long = "coordinator")]
    coordinators: Vec<CoordinatorAddress>,
    /// A loopback address for metrics and health.
    #[arg(long)]
    metrics: Option<SocketAddr>,
    /// How log lines look.
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// Takes this machine's clock as right, on the word of the person who starts the node.
    #[arg(long)]
    confirm_clock: bool,
    /// Ends when standard input closes, so that a node does not outlive whoever started it.
    #[arg(long)]
    exit_with_parent: bool,
}

#[derive(Args)]
struct Import {
    /// The node's directory.
    #[arg(long, required_unless_present = "config")]
    dir: Option<PathBuf>,
    /// The configuration file that the node runs with; flags override it.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    unseal: Unseal,
    /// The file.
    file: PathBuf,
}

#[derive(Args)]
struct ImportCertificate {
    #[command(flatten)]
    import: Import,
    /// Takes this machine's clock as right, on the word of the person at it: a node that was off for
    /// more than 30 seconds does not trust it, and judges no order of a destruction before.
    #[arg(long)]
    confirm_clock: bool,
}

#[derive(Args)]
struct Backup {
    /// The node's directory.
    #[arg(long, required_unless_present = "config")]
    dir: Option<PathBuf>,
    /// The configuration file that the node runs with; flags override it.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Where the node is not running: what unseals it.
    #[command(flatten)]
    unseal: Unseal,
    /// The file to make, or - for standard output.
    #[arg(long)]
    to: PathBuf,
    /// The public key (age1...) of somebody who can open the backup; may be repeated.
    #[arg(long = "recipient", required = true)]
    recipients: Vec<String>,
}

/// A backup, and what opens it.
#[derive(Args)]
struct Source {
    /// The backup, or - for standard input.
    #[arg(long)]
    from: PathBuf,
    /// A file of `age-keygen` with the secret key of a recipient.
    #[arg(long)]
    identity: PathBuf,
    /// The hash of roster 1, as confirmed out of band: 64 hex digits. A backup of another cluster
    /// is refused.
    #[arg(long, visible_alias = "hash")]
    roster_hash: Option<String>,
    /// What unsealed the node when the backup was made.
    #[command(flatten)]
    unseal: Unseal,
}

#[derive(Args)]
struct Restore {
    #[command(flatten)]
    source: Source,
    /// The directory to make; it must not exist, or be empty.
    #[arg(long)]
    dir: PathBuf,
}

#[derive(Args)]
struct Rehearse {
    #[command(flatten)]
    source: Source,
    /// The directory below which the backup is tried out [default: that for temporary files]
    #[arg(long)]
    scratch: Option<PathBuf>,
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
    host::protect_memory();
    match arguments.what {
        What::Init(init) => {
            let source = source(&init.place.unseal, true)?;
            let card = host::init(
                &init.place.dir,
                &init.id,
                &init.region,
                &init.organisation,
                &source,
            )?;
            println!("{}", serde_json::to_string_pretty(&card)?);
            Ok(())
        }
        What::Card(place) => {
            println!(
                "{}",
                serde_json::to_string_pretty(&host::card(&place.dir)?)?
            );
            Ok(())
        }
        What::Pin(pin) => self::pin(&pin),
        What::Run(run) => self::run(run),
        What::ImportStates(import) => import_states(&import),
        What::ImportRosters(import) => import_rosters(&import),
        What::ImportCertificate(import) => import_certificate(&import),
        What::Backup(backup) => self::backup(&backup),
        What::Restore(restore) => self::restore(&restore),
        What::Rehearse(rehearse) => self::rehearse(&rehearse),
    }
}

fn read_rosters(path: &Path) -> Result<SignedRoster> {
    let text = std::fs::read(path).with_context(|| format!("read roster {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("read roster {}", path.display()))
}

fn pin(pin: &Pin) -> Result<()> {
    let expected = Digest::from_hex(&pin.hash)
        .with_context(|| format!("\"{}\" is not a hash of 64 hex digits", pin.hash))?;
    let signed = read_rosters(&pin.roster)?;
    let source = source(&pin.place.unseal, false)?;
    host::pin(&pin.place.dir, &signed, &expected, &source)?;
    println!("pinned roster {expected}");
    Ok(())
}

impl Import {
    /// The directory of the node, and what unseals it.
    fn place(&self) -> Result<(PathBuf, KekSource)> {
        let config = match &self.config {
            Some(path) => NodeConfig::read(path)?,
            None => NodeConfig::default(),
        };
        let dir = self.dir.clone().or_else(|| config.dir.clone());
        let dir = dir.context("no directory: name it with --dir")?;
        let source = source(&self.unseal.or_of(&config), false)?;
        Ok((dir, source))
    }
}

fn import_states(import: &Import) -> Result<()> {
    let states = console::read_states(&import.file)?;
    let (dir, source) = import.place()?;
    tell(console::import_states(&dir, &source, &states)?, |receipt| {
        format!(
            "acted by, key \"{}\" is {} (record {})",
            receipt.key, receipt.state, receipt.record
        )
    })
}

fn import_rosters(import: &Import) -> Result<()> {
    let rosters = read_rosters(&import.file)?;
    let (dir, source) = import.place()?;
    let imported = console::import_rosters(&dir, &source, &rosters)?;
    if imported.is_empty() {
        println!("the file holds roster 1 alone: nothing to follow");
    }
    tell(imported, |receipt| {
        let in_force = receipt.in_force.short();
        format!(
            "followed, {in_force} is in force (record {})",
            receipt.record
        )
    })
}

fn import_certificate(arguments: &ImportCertificate) -> Result<()> {
    let import = &arguments.import;
    let certificate = console::read_certificate(&import.file)?;
    let (dir, source) = import.place()?;
    let imported =
        console::import_certificate(&dir, &source, &certificate, arguments.confirm_clock)?;
    tell(imported, String::clone)
}

/// Says what became of each command that was brought.
fn tell<Receipt>(
    imported: Vec<console::Imported<Receipt>>,
    acted: impl Fn(&Receipt) -> String,
) -> Result<()> {
    let mut refused = 0usize;
    for one in imported {
        match one.receipt {
            Ok(receipt) => println!("{}: {}", one.what, acted(&receipt)),
            Err(refusal) => {
                refused = refused.saturating_add(1);
                println!("{}: refused, {refusal} ({})", one.what, refusal.reason);
            }
        }
    }
    if refused > 0 {
        bail!("{refused} of the commands were refused");
    }
    Ok(())
}

fn backup(arguments: &Backup) -> Result<()> {
    let recipients = Recipients::parse(&arguments.recipients)?;
    let config = match &arguments.config {
        Some(path) => NodeConfig::read(path)?,
        None => NodeConfig::default(),
    };
    let dir = arguments.dir.as_ref().or(config.dir.as_ref());
    let dir = dir.context("no directory: name it with --dir")?;
    let unseal = || source(&arguments.unseal.or_of(&config), false);
    let to_standard_output = arguments.to == Path::new("-");
    let made = if to_standard_output {
        let mut out = std::io::stdout().lock();
        let made = console::backup(dir, unseal, &recipients, &mut out)?;
        out.flush()?;
        made
    } else {
        let mut file = NewFile::create(&arguments.to)?;
        let made = console::backup(dir, unseal, &recipients, &mut file.file)?;
        file.keep()?;
        made
    };
    let text = format!(
        "backup {} of node {}: {} shares, journal up to record {}",
        made.backup, made.node, made.shares, made.sequence
    );
    if to_standard_output {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
    Ok(())
}

/// A file that gets its name when it is whole and durable, and is gone otherwise.
struct NewFile {
    file: File,
    path: PathBuf,
    temporary: PathBuf,
}

impl NewFile {
    fn create(path: &Path) -> Result<Self> {
        if path.try_exists()? {
            bail!(
                "{} exists: a backup never replaces a file; name another one",
                path.display()
            );
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".partial");
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .with_context(|| format!("make file {}", temporary.display()))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            temporary,
        })
    }

    fn keep(self) -> Result<()> {
        let parent = self
            .path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        self.file
            .sync_all()
            .and_then(|()| std::fs::rename(&self.temporary, &self.path))
            .and_then(|()| File::open(parent.unwrap_or(Path::new(".")))?.sync_all())
            .with_context(|| format!("write {}", self.path.display()))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // One that was kept has another name.
        let _gone = std::fs::remove_file(&self.temporary);
    }
}

/// What a backup is opened with.
struct Keys {
    identities: Vec<backup::AgeIdentity>,
    source: KekSource,
    roster: Option<Digest>,
}

impl Keys {
    fn read(arguments: &Source) -> Result<Self> {
        let roster = match &arguments.roster_hash {
            Some(text) => Some(
                Digest::from_hex(text)
                    .with_context(|| format!("\"{text}\" is not a hash of 64 hex digits"))?,
            ),
            None => None,
        };
        Ok(Self {
            identities: backup::read_identities(&arguments.identity)?,
            source: source(&arguments.unseal, false)?,
            roster,
        })
    }

    fn restoration(&self) -> Restoration<'_> {
        Restoration {
            identities: &self.identities,
            source: &self.source,
            roster: self.roster,
        }
    }
}

fn restore(arguments: &Restore) -> Result<()> {
    let from = open_backup(&arguments.source.from)?;
    let keys = Keys::read(&arguments.source)?;
    let (restored, marker) = backup::restore(from, &keys.restoration(), &arguments.dir, &mut OsRng)
        .map_err(|error| anyhow::Error::from(error).context("nothing was restored"))?;
    println!(
        "restored node {} from backup {}, journal up to record {}",
        restored.header.node, marker.backup, marker.sequence
    );
    println!(
        "its restoration gets an id of its own when the node first starts: `quorate node list -o json` \
         shows it as restore_id, and `quorate command approve` as the restoration that is readmitted"
    );
    for found in restored.keys.iter().filter(|found| !found.share.is_good()) {
        println!("key {} epoch {}: {}", found.key, found.epoch, found.share);
    }
    println!(
        "the node is in quarantine: it signs nothing before the other nodes have told it what it missed"
    );
    Ok(())
}

fn rehearse(arguments: &Rehearse) -> Result<()> {
    let from = open_backup(&arguments.source.from)?;
    let keys = Keys::read(&arguments.source)?;
    let below = arguments.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let restored = backup::rehearse(from, &keys.restoration(), &below, &mut OsRng)
        .map_err(|error| anyhow::Error::from(error).context("the backup cannot be restored"))?;
    let header = &restored.header;
    let found = |found: &backup::FoundKey| {
        serde_json::json!({
            "key": found.key,
            "key_id": found.id,
            "epoch": found.epoch,
            "share": found.share.as_str(),
            "why": found.share.to_string(),
        })
    };
    let report = serde_json::json!({
        "node": header.node,
        "cluster": header.cluster,
        "backup": header.backup,
        "time_ms": header.time.0,
        "sequence": header.sequence,
        "keys": restored.keys.iter().map(found).collect::<Vec<_>>(),
    });
    println!("{report}");
    Ok(())
}

fn open_backup(path: &Path) -> Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = File::open(path).with_context(|| format!("read backup {}", path.display()))?;
    Ok(Box::new(file))
}

fn run(arguments: Run) -> Result<()> {
    let mut config = match &arguments.config {
        Some(path) => NodeConfig::read(path)?,
        None => NodeConfig::default(),
    };
    if !arguments.coordinators.is_empty() {
        config.coordinators = arguments.coordinators;
    }
    config.dir = arguments.dir.or(config.dir);
    config.metrics = arguments.metrics.or(config.metrics);
    config.log_format = arguments.log_format.unwrap_or(config.log_format);
    config.check()?;
    let source = source(&arguments.unseal.or_of(&config), false)?;
    let options = RunOptions {
        confirm_clock: arguments.confirm_clock,
        exit_with_parent: arguments.exit_with_parent,
    };
    run::run(&config, &source, options, Box::new(TrueShares))
}

/// Reads what unseals a node from a file, or asks for it.
fn source(unseal: &Unseal, twice: bool) -> Result<KekSource> {
    if let Some(path) = &unseal.key_file {
        return Ok(KekSource::key_file(KeyFile::read(path)?));
    }
    let passphrase = if let Some(path) = &unseal.passphrase_file {
        first_line(path)?
    } else {
        let typed = ask("Passphrase: ")?;
        if twice && *typed != *ask("Again: ")? {
            bail!("the passphrases differ");
        }
        Zeroizing::new(typed.as_bytes().to_vec())
    };
    if passphrase.is_empty() {
        bail!("the passphrase is empty");
    }
    Ok(KekSource::passphrase(Passphrase::new(passphrase.to_vec())))
}

fn ask(prompt: &str) -> Result<Zeroizing<String>> {
    let typed = rpassword::prompt_password(prompt).map_err(unasked)?;
    Ok(Zeroizing::new(typed))
}

/// What to do where nobody can be asked: the system only says that a device is not there.
fn unasked(source: std::io::Error) -> anyhow::Error {
    anyhow::Error::from(source).context(
        "nothing says what unseals the node, and there is no terminal to ask for its passphrase: \
         give --key-file F or --passphrase-file F",
    )
}

fn first_line(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let bytes = Zeroizing::new(
        std::fs::read(path).with_context(|| format!("read passphrase file {}", path.display()))?,
    );
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    Ok(Zeroizing::new(line.trim_ascii_end().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_it_says_what_to_give() {
        let error = unasked(std::io::Error::from_raw_os_error(6));

        let told = format!("{error:#}");
        assert!(
            told.contains("--key-file F or --passphrase-file F"),
            "{told}"
        );
    }

    #[test]
    fn a_file_that_is_missing_is_named_with_what_it_is() {
        let missing = PathBuf::from("nowhere/node.key");
        let unseal = |key_file, passphrase_file| Unseal {
            passphrase_file,
            key_file,
        };
        for (unseal, says) in [
            (unseal(Some(missing.clone()), None), "key file"),
            (unseal(None, Some(missing.clone())), "passphrase file"),
        ] {
            let error = source(&unseal, false).err().unwrap();

            let told = format!("{error:#}");
            assert!(
                told.contains(says) && told.contains("nowhere/node.key"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_certificate_is_imported_under_a_clock_that_a_person_confirms() {
        let import = "quorate-node import-certificate --dir d --confirm-clock f";

        let parsed = Arguments::try_parse_from(import.split(' ')).unwrap();

        assert!(matches!(
            parsed.what,
            What::ImportCertificate(ImportCertificate {
                confirm_clock: true,
                ..
            })
        ));
    }

    #[test]
    fn the_hash_of_the_roster_has_one_name_here_and_another_there_and_both_are_taken() {
        let pin = "quorate-node pin --dir d --roster r";
        let restore = "quorate-node restore --from f --identity i --dir d";
        for words in [pin, restore] {
            for hash in ["--hash", "--roster-hash"] {
                let words = words.split(' ').chain([hash, "00"]);
                assert!(Arguments::try_parse_from(words).is_ok(), "{hash}");
            }
        }
    }
}
