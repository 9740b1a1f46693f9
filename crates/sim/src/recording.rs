//! What a relay could have recorded.

use quorate_model::node_api::{NodeReply, NodeRequest};

/// Everything that passed between nodes and coordinators, as bytes.
#[derive(Default)]
pub(crate) struct Recording {
    pub(crate) passed: Vec<Vec<u8>>,
}

impl Recording {
    pub(crate) fn request(&mut self, _request: &NodeRequest) {}
    pub(crate) fn reply(&mut self, _reply: &NodeReply) {}
}
