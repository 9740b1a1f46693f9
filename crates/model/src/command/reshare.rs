//! What a command to reshare a key asks for (P27).

use super::{ShapeError, check_key_id, check_shape};
use crate::{
    ids::{Epoch, KeyId, KeyName, NodeId},
    key::KeyRecord,
    refusal::Refusal,
};

/// How many numbers the attempts of one command may take: no coordinator alone uses up more.
const MAX_ATTEMPTS: u32 = 1_000;

/// A request for new shares of a key: refresh, another threshold, other nodes.
///
/// It does not say who deals: any t holders may, and which of them are up is for whoever drives the
/// run to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReshareKey {
    /// The name of the key.
    pub key: KeyName,
    /// The key; one name can stand for two.
    pub key_id: KeyId,
    /// The epoch whose shares are dealt again.
    pub source_epoch: Epoch,
    /// The lowest number that the new epoch may have, above the source. Attempts take rising numbers
    /// that no node has used.
    pub first_epoch: Epoch,
    /// How many nodes sign afterwards.
    pub threshold: u16,
    /// The nodes that hold shares afterwards; the first has index 1.
    pub nodes: Vec<NodeId>,
    /// Accepts a shape that t-1 bad nodes can bring to a halt (n < 2t-1).
    pub accept_fragile: bool,
}

impl ReshareKey {
    /// Checks the shape as at a key's birth: t >= 2, t <= n <= 32, and n >= 2t-1 unless fragility
    /// is accepted.
    pub fn check_shape(&self) -> Result<(), ShapeError> {
        check_shape(self.threshold, &self.nodes, self.accept_fragile)
    }

    /// Whether an attempt may take this number: one above the source, and of those that the command
    /// gives (P30).
    pub fn can_make(&self, epoch: Epoch) -> bool {
        let end = self.first_epoch.0.saturating_add(MAX_ATTEMPTS);
        epoch > self.source_epoch && epoch >= self.first_epoch && epoch.0 < end
    }

    /// Checks that a key is the one that the command names, and not another of its name (I4).
    ///
    /// # Errors
    ///
    /// [`Reason::KeyIdMismatch`](crate::Reason::KeyIdMismatch) when it is another.
    pub fn check_key(&self, held: &KeyRecord) -> Result<(), Refusal> {
        check_key_id(&self.key, self.key_id, held)
    }
}
