//! What the gateway needs of the cluster, and the core as that.

use std::time::Duration;

use quorate_model::{
    KeyName, Refusal,
    command::SignedCommand,
    operation::{CommandView, KeyView},
    roster::PinnedRoster,
};

use crate::{core::admit, runtime::Engine};

/// Whatever carries commands out.
pub trait Cluster: Send + Sync + 'static {
    /// A key that is known.
    fn key(&self, name: KeyName) -> impl Future<Output = Result<Option<KeyView>, Refusal>> + Send;

    /// Hands a command in and waits for its end; none if it does not end in time.
    fn carry_out(
        &self,
        command: SignedCommand,
        limit: Duration,
    ) -> impl Future<Output = Result<Option<CommandView>, Refusal>> + Send;
}

/// The core of this coordinator, asked as the public API asks it.
pub struct EngineCluster {
    engine: Engine,
    pinned: PinnedRoster,
}

impl EngineCluster {
    /// The core behind an engine.
    pub fn new(engine: Engine, pinned: PinnedRoster) -> Self {
        Self { engine, pinned }
    }
}

impl Cluster for EngineCluster {
    async fn key(&self, name: KeyName) -> Result<Option<KeyView>, Refusal> {
        self.engine.query(move |core| core.key(&name)).await
    }

    async fn carry_out(
        &self,
        command: SignedCommand,
        limit: Duration,
    ) -> Result<Option<CommandView>, Refusal> {
        let admitted = admit(&self.pinned, command)?;
        let mut waiting = self.engine.submit(admitted, false)?;
        match waiting.within(Some(limit)).await {
            Some(answer) => answer.map(|view| Some(CommandView::clone(&view))),
            None => Ok(None),
        }
    }
}
