//! A coordinator from its configuration to its end.

use std::{io::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use quorate_model::CoordinatorId;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    config::CoordinatorConfig,
    core::CoreConfig,
    gateway::{self, EngineCluster, Gateway, HttpUpstream},
    host,
    link::{self, LinkPolicy},
    runtime::{self, Engine},
    service::{Api, Doorkeeper, accept_callers},
    store::SledStore,
    telemetry::{self, Health},
};

/// How long calls that are under way may take to end after everything else has.
const GOODBYE: Duration = Duration::from_secs(2);

/// What the command line adds to the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// End when standard input closes.
    pub exit_with_parent: bool,
}

/// Where the coordinator listens.
struct Bound {
    id: CoordinatorId,
    api: SocketAddr,
    nodes: SocketAddr,
    metrics: Option<SocketAddr>,
    gateway: Option<SocketAddr>,
}

/// Runs a coordinator until it is told to stop, or must.
///
/// # Errors
///
/// When it cannot start, or its store fails.
pub fn run(config: &CoordinatorConfig, options: RunOptions) -> Result<()> {
    telemetry::start_logging(config.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(serve(config, options));
    // Standard input may be read by a thread that nothing wakes.
    runtime.shutdown_background();
    result
}

async fn serve(config: &CoordinatorConfig, options: RunOptions) -> Result<()> {
    let pinned = config.read_roster()?;
    let identity_file = config
        .identity
        .clone()
        .unwrap_or_else(|| config.dir.join(host::IDENTITY_FILE));
    let identity = host::read_identity(&identity_file)?;
    let id = host::own_id(pinned.roster(), &identity, config.id.as_ref())?;
    let store = open_store(config)?;

    let health = Health::default();
    let core = CoreConfig {
        id: id.clone(),
        limits: config.limits.clone(),
    };
    let (engine, thread) = runtime::start(core, pinned.clone(), store, health.clone())?;

    let api_listener = listen(config.api_listen).await?;
    let node_listener = listen(config.node_listen).await?;
    let metrics = match config.metrics_listen {
        Some(address) => Some(telemetry::serve(address, health).await?),
        None => None,
    };
    let (stop_gateway, gateway_stopped) = watch::channel(false);
    let gateway = serve_gateway(config, &engine, gateway_stopped).await?;
    let bound = Bound {
        id,
        api: api_listener
            .local_addr()
            .context("find the address for callers")?,
        nodes: node_listener
            .local_addr()
            .context("find the address for nodes")?,
        metrics,
        gateway: gateway.as_ref().map(|gateway| gateway.address),
    };

    let (stop_links, links_stopped) = watch::channel(false);
    let links = spawn_links(node_listener, &identity_file, &engine, links_stopped)?;
    let doorkeeper = Doorkeeper::new(&identity, engine.rosters())?;
    let (callers, connections) = mpsc::channel(64);
    let door = tokio::spawn(accept_callers(api_listener, doorkeeper, callers));
    let (stop_api, mut api_done) = watch::channel(false);
    let services = Api::new(engine.clone()).serve_on(api_server()).await?;
    let serving = tokio::spawn(async move {
        let stopped = async move {
            // Whoever would say so may be gone, which says the same.
            let _stopped = api_done.wait_for(|stop| *stop).await;
        };
        services
            .serve_with_incoming_shutdown(ReceiverStream::new(connections), stopped)
            .await
    });
    announce(&bound)?;

    let mut failed = thread.failed.clone();
    let store_failed = tokio::select! {
        stopped = wait(options.exit_with_parent) => { stopped?; false }
        _ = failed.wait_for(|failed| *failed) => true,
    };
    tracing::info!("drain");
    // What callers of the gateway wait for is drained with everything else.
    stop_gateway.send_replace(true);
    if !store_failed {
        engine.drain(Duration::from_millis(config.drain_ms)).await;
    }
    stop_api.send_replace(true);
    door.abort();
    // Streams that go on for ever are cut.
    let _in_time = tokio::time::timeout(GOODBYE, serving).await;
    if let Some(gateway) = gateway {
        let _in_time = tokio::time::timeout(GOODBYE, gateway.done).await;
    }
    stop_links.send_replace(true);
    links.abort();
    drop(engine);
    tokio::task::spawn_blocking(move || thread.stop())
        .await
        .context("end the core thread")?;
    if store_failed {
        bail!("the coordinator stops, because its store failed: see the log");
    }
    tracing::info!("stop");
    Ok(())
}

fn open_store(config: &CoordinatorConfig) -> Result<Arc<SledStore>> {
    let path = config.dir.join(host::STORE_DIR);
    let opened =
        SledStore::open(&path).with_context(|| format!("open the store {}", path.display()))?;
    if let Some(set_aside) = opened.set_aside {
        tracing::warn!(
            reason = %set_aside.display(),
            "the store was damaged and is set aside: keys are learned from the nodes again, and \
             outcomes of earlier commands are forgotten"
        );
    }
    Ok(Arc::new(opened.store))
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address}"))
}

/// Serves EVM JSON-RPC, if it is configured.
async fn serve_gateway(
    config: &CoordinatorConfig,
    engine: &Engine,
    stopped: watch::Receiver<bool>,
) -> Result<Option<gateway::Listening>> {
    let Some(config) = &config.gateway else {
        return Ok(None);
    };
    let upstream = match &config.upstream {
        Some(url) => Some(HttpUpstream::new(url, config.timeout()).context("find the upstream")?),
        None => None,
    };
    let cluster = EngineCluster::new(engine.clone());
    let gateway = Gateway::new(config, cluster, upstream)?;
    Ok(Some(gateway::serve(config, gateway, stopped).await?))
}

/// Accepts nodes, and tells the engine of their links.
fn spawn_links(
    listener: TcpListener,
    identity_file: &std::path::Path,
    engine: &Engine,
    stopped: watch::Receiver<bool>,
) -> Result<tokio::task::JoinHandle<()>> {
    let identity = host::read_identity(identity_file)?;
    let find = link::nodes_of(engine.rosters());
    let (events, mut happened) = mpsc::channel(256);
    let engine = engine.clone();
    tokio::spawn(async move {
        while let Some(event) = happened.recv().await {
            engine.tell_link(event);
        }
    });
    Ok(tokio::spawn(async move {
        let policy = LinkPolicy::default();
        let accepting =
            link::accept_nodes(listener, &identity, find, policy, events, stopped).await;
        if let Err(error) = accepting {
            tracing::error!(reason = %runtime::chain(&error), "accept nodes");
        }
    }))
}

fn api_server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .http2_adaptive_window(Some(true))
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .max_concurrent_streams(Some(2_048))
}

/// One line on standard output tells whoever started the coordinator where it listens.
fn announce(bound: &Bound) -> Result<()> {
    let line = serde_json::json!({
        "event": "ready",
        "coordinator": bound.id,
        "pid": std::process::id(),
        "api": bound.api,
        "public": bound.api,
        "nodes": bound.nodes,
        "metrics": bound.metrics,
        "gateway": bound.gateway,
    });
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .context("say that the coordinator runs")
}

/// Waits for a reason to stop.
async fn wait(exit_with_parent: bool) -> Result<()> {
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
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = parent => {}
    }
    Ok(())
}
