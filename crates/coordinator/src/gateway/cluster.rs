//! What the gateway needs of the cluster, and the core as that.

use std::{sync::Arc, time::Duration};

use quorate_model::{
    KeyName, Refusal,
    command::SignedCommand,
    operation::{CommandView, KeyView},
    roster::PinnedRoster,
};

use crate::{core::admit, runtime::Engine};

/// Whatever carries commands out.
pub trait Cluster: Send + Sync + 'static {
    /// The roster in force.
    fn pinned(&self) -> Arc<PinnedRoster>;

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
}

impl EngineCluster {
    /// The core behind an engine.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

impl Cluster for EngineCluster {
    fn pinned(&self) -> Arc<PinnedRoster> {
        self.engine.pinned()
    }

    async fn key(&self, name: KeyName) -> Result<Option<KeyView>, Refusal> {
        self.engine.query(move |core| core.key(&name)).await
    }

    async fn carry_out(
        &self,
        command: SignedCommand,
        limit: Duration,
    ) -> Result<Option<CommandView>, Refusal> {
        let admitted = admit(&self.engine.pinned(), command)?;
        let mut waiting = self.engine.submit(admitted, false)?;
        match waiting.within(Some(limit)).await {
            Some(answer) => answer.map(|view| Some(CommandView::clone(&view))),
            None => Ok(None),
        }
    }
}
