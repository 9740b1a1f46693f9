//! A node that does as the test says.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use quorate_model::{
    CoordinatorId, Digest, NodeId, Nonce32, Reason, Refusal, Signature, UnixMillis,
    node_api::{ClockState, NodeReply, NodeRequest, NodeStatus},
};
use quorate_node::service::HandleRequests;
use tokio::sync::Semaphore;

/// A request that is answered once the test releases it.
pub(super) fn held() -> NodeRequest {
    NodeRequest::ListKeys {
        after: None,
        limit: 0,
    }
}

/// A request that is never answered.
pub(super) fn endless() -> NodeRequest {
    NodeRequest::ListKeys {
        after: None,
        limit: 1,
    }
}

pub(super) struct Scripted {
    node: NodeId,
    boot: u8,
    asked: Mutex<Vec<(CoordinatorId, NodeRequest)>>,
    silent: AtomicBool,
    probed: Semaphore,
    began: Semaphore,
    released: Semaphore,
}

impl Scripted {
    /// A node whose process is told from others by a number.
    pub(super) fn new(node: &str, boot: u8) -> Arc<Self> {
        Arc::new(Self {
            node: node.parse().unwrap(),
            boot,
            asked: Mutex::default(),
            silent: AtomicBool::new(false),
            probed: Semaphore::new(0),
            began: Semaphore::new(0),
            released: Semaphore::new(0),
        })
    }

    /// What it was asked, apart from its status.
    pub(super) fn asked(&self) -> Vec<(CoordinatorId, NodeRequest)> {
        self.asked.lock().unwrap().clone()
    }

    /// From here on it does not tell its status.
    pub(super) fn go_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// Ends when it was asked for its status.
    pub(super) async fn probed(&self) {
        self.probed.acquire().await.unwrap().forget();
    }

    /// Ends when a held or an endless request has begun.
    pub(super) async fn began(&self) {
        self.began.acquire().await.unwrap().forget();
    }

    pub(super) fn release(&self) {
        self.released.add_permits(1);
    }

    async fn status(&self, nonce: Nonce32) -> NodeReply {
        self.probed.add_permits(1);
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        NodeReply::Status(NodeStatus {
            node: self.node.clone(),
            nonce,
            boot: [self.boot; 16],
            version: "0.1.0".to_owned(),
            pid: 1,
            roster: Digest::ZERO,
            journal_sequence: 1,
            journal_head: Digest::ZERO,
            time: UnixMillis(0),
            clock: ClockState::Confirmed,
            quarantine: None,
            signature: Signature([0; 64]),
        })
    }
}

impl HandleRequests for Scripted {
    async fn handle(
        &self,
        caller: CoordinatorId,
        request: NodeRequest,
    ) -> Result<NodeReply, Refusal> {
        if let NodeRequest::Status { nonce } = request {
            return Ok(self.status(nonce).await);
        }
        self.asked.lock().unwrap().push((caller, request.clone()));
        if request == endless() {
            self.began.add_permits(1);
            std::future::pending::<()>().await;
        }
        if request == held() {
            self.began.add_permits(1);
            self.released.acquire().await.unwrap().forget();
            return Ok(NodeReply::Keys(Vec::new()));
        }
        if matches!(request, NodeRequest::RecordEvidence { .. }) {
            return Ok(NodeReply::Done);
        }
        Err(Refusal::new(
            Reason::Overloaded,
            "the script says nothing about this",
        ))
    }
}
