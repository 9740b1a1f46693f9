//! Rosters, as a node follows them.

use quorate_model::{
    Reason, Refusal, Signature,
    command::{CommandBody, SignedCommand},
    node_api::NodeReply,
    roster::{Followed, PinnedRoster, RosterReceipt},
};

use super::FakeNode;

impl FakeNode {
    pub(in super::super) fn pinned(&self) -> &PinnedRoster {
        &self.pinned
    }

    /// Goes by a roster that nobody told it of here.
    pub(in super::super) fn go_by(&mut self, signed: &SignedCommand) {
        self.follow(signed).unwrap();
    }

    pub(super) fn follow(&mut self, signed: &SignedCommand) -> Result<NodeReply, Refusal> {
        if let Some(refusal) = &self.manners.refuses_rosters {
            return Err(refusal.clone());
        }
        match quorate_proto::roster::follow(&self.pinned, signed)? {
            Followed::InForce(next) | Followed::Aside(next) => self.pinned = next,
            Followed::Known => {}
        }
        let command = quorate_proto::command::decode(&signed.bytes)?;
        let CommandBody::ChangeRoster(change) = command.body else {
            panic!("not a change of the roster")
        };
        if !self.pinned.follows(&change.hash()) {
            return Err(Refusal::new(Reason::RosterForked, "a fork"));
        }
        self.sequence += 1;
        let receipt = RosterReceipt {
            node: self.id.clone(),
            roster: change.hash(),
            in_force: self.pinned.hash(),
            command: signed.digest(),
            record: self.sequence,
            signature: Signature([0; 64]),
        };
        Ok(NodeReply::RosterChanged(receipt.sign(&self.key)))
    }
}
