//! Runs a node: opens its directory, dials its coordinators, and stops when told to.

use std::{io::Write as _, sync::Arc};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::AsyncReadExt as _,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    config::NodeConfig,
    console::socket,
    core::MakeShares,
    host::{self, Opened},
    link,
    sealing::KekSource,
    shell::{FatalSignal, MachineClock, Shell},
    telemetry,
};

/// What the command line adds to the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Take the wall clock as right (P43).
    pub confirm_clock: bool,
    /// End when standard input closes.
    pub exit_with_parent: bool,
}

/// Why a node stops.
enum Stop {
    Signal,
    Parent,
    Fatal,
}

/// Runs a node until it is told to stop, or must. `shares` makes the signature shares.
pub fn run(
    config: &NodeConfig,
    source: &KekSource,
    options: RunOptions,
    shares: Box<dyn MakeShares>,
) -> Result<()> {
    telemetry::start_logging(config.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(serve(config, source, options, shares));
    // Standard input may be read by a thread that nothing wakes.
    runtime.shutdown_background();
    result
}

async fn serve(
    config: &NodeConfig,
    source: &KekSource,
    options: RunOptions,
    shares: Box<dyn MakeShares>,
) -> Result<()> {
    let dir = config.dir.as_deref().context("no directory")?;
    let clock = MachineClock::start();
    let opened = host::open(
        dir,
        source,
        clock.read(),
        options.confirm_clock,
        shares,
        config.ecdsa_signatures,
    )?;
    let Opened {
        core,
        writer,
        identity,
        pinned,
        report,
    } = opened;
    report.log();
    let node = identity.node.clone();

    let metrics = telemetry::serve(config.metrics).await?;
    let (shell, fatal) = Shell::new(core, clock);
    let checkpoints = tokio::spawn(Arc::clone(&shell).keep_checkpoints());
    let console = match socket::listen(dir) {
        Ok(listener) => Some(tokio::spawn(socket::serve(listener, Arc::clone(&shell)))),
        // The node signs without it; backups are made while it is stopped.
        Err(error) => {
            tracing::warn!(reason = %format!("{error:#}"), "no backups while the node runs");
            None
        }
    };
    let (stop, stopped) = watch::channel(false);
    let links = link::dial_all(&config.coordinators, &identity, &pinned, &shell, &stopped)?;
    announce(&node, metrics)?;

    let why = wait(options.exit_with_parent, fatal.clone()).await?;
    tracing::info!(node = %node, "drain");
    shell.drain();
    stop.send_replace(true);
    links.await;
    checkpoints.abort();
    if let Some(console) = console {
        console.abort();
    }
    if matches!(why, Stop::Fatal) {
        let cause = fatal.borrow().clone();
        if let Some(cause) = cause {
            tracing::error!(node = %node, cause = %chain(&*cause), "storage failed");
        }
        bail!("the node stops, because its storage failed: see the log; nothing was answered");
    }
    shell.close().await?;
    drop(writer);
    tracing::info!(node = %node, "stop");
    Ok(())
}

/// One line on standard output tells whoever started the node that it runs.
fn announce(node: &quorate_model::NodeId, metrics: Option<std::net::SocketAddr>) -> Result<()> {
    let line = serde_json::json!({
        "event": "ready",
        "node": node,
        "pid": std::process::id(),
        "metrics": metrics,
    });
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .context("say that the node runs")
}

async fn wait(exit_with_parent: bool, mut fatal: FatalSignal) -> Result<Stop> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let parent = async {
        if !exit_with_parent {
            std::future::pending::<()>().await;
        }
        let mut input = tokio::io::stdin();
        let mut sink = [0; 64];
        while matches!(input.read(&mut sink).await, Ok(read) if read > 0) {}
    };
    Ok(tokio::select! {
        _ = terminate.recv() => Stop::Signal,
        _ = interrupt.recv() => Stop::Signal,
        () = parent => Stop::Parent,
        _ = fatal.wait_for(Option::is_some) => Stop::Fatal,
    })
}

/// An error with its causes, once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
