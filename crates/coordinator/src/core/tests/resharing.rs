//! New shares of keys: the coordinator's part in resharing (P27 to P31), with nodes that run the real
//! protocol.

mod approvals;
mod blame;
mod coordinators;
mod destroyed;
mod erasing;
mod honest;
mod limits;
mod listings;
mod numbers;
mod quarantined;
mod removed;
mod restarts;
mod signing;
mod silence;
mod standing;
mod uses;

use quorate_model::{
    Epoch, KeyName, NodeId, Reason, Refusal, Scheme,
    command::{CommandBody, EndorsementKind, ReshareKey, SignedCommand},
    node_api::NodeRequest,
    operation::{CommandOutcome, CommandState, ReshareOutcome},
};

use super::{super::Handle, world::World};

fn is_begin(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::BeginCeremony { .. })
}

fn is_round(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::AdvanceCeremony { .. })
}

fn is_prove(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::ProveKey { .. })
}

fn is_activate(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::ActivateKey { .. })
}

fn is_erase(request: &NodeRequest) -> bool {
    matches!(request, NodeRequest::EraseEpochs { .. })
}

/// Everything that tests of resharing do with a world.
impl World {
    fn nodes_at(&self, indices: &[usize]) -> Vec<NodeId> {
        indices.iter().map(|index| self.id(*index)).collect()
    }

    /// A world of so many nodes in which the first three hold a key, two of which sign.
    fn with_vault(nodes: usize) -> (Self, KeyName) {
        let mut world = Self::new(nodes);
        let holders = world.nodes_at(&[0, 1, 2]);
        let key = world.key_on("vault", Scheme::Bip340, 2, holders);
        (world, key)
    }

    /// A command to reshare a key, for which one person speaks.
    fn proposal(&mut self, key: &KeyName, threshold: u16, nodes: &[usize]) -> SignedCommand {
        let source_epoch = self.core.key(key).unwrap().record.epoch;
        let reshare = ReshareKey {
            key: key.clone(),
            key_id: self.created[key],
            source_epoch,
            first_epoch: Epoch(source_epoch.0 + 1),
            threshold,
            nodes: self.nodes_at(nodes),
            accept_fragile: true,
        };
        self.command(CommandBody::ReshareKey(reshare)).1
    }

    /// The same, with the word of the second person.
    fn reshare_command(&mut self, key: &KeyName, threshold: u16, nodes: &[usize]) -> SignedCommand {
        let mut signed = self.proposal(key, threshold, nodes);
        let word = self.word_of_bob(&signed, EndorsementKind::Approve);
        signed.endorsements.push(word);
        signed
    }

    /// Hands a command in and lets everything happen that needs no time.
    fn hand_in(&mut self, signed: &SignedCommand) -> Handle {
        let handle = self.submit(signed);
        self.run();
        handle
    }

    fn reshare(&mut self, key: &KeyName, threshold: u16, nodes: &[usize]) -> Handle {
        let signed = self.reshare_command(key, threshold, nodes);
        self.hand_in(&signed)
    }

    /// Reshares a key and expects that it works.
    fn reshared(&mut self, key: &KeyName, threshold: u16, nodes: &[usize]) -> ReshareOutcome {
        self.reshared_within(key, threshold, nodes, 100)
    }

    fn reshared_within(
        &mut self,
        key: &KeyName,
        threshold: u16,
        nodes: &[usize],
        ms: u64,
    ) -> ReshareOutcome {
        let handle = self.reshare(key, threshold, nodes);
        self.pass(ms);
        self.reshare_outcome(handle)
    }

    fn reshare_outcome(&self, handle: Handle) -> ReshareOutcome {
        let view = self.view(handle);
        assert_eq!(view.state, CommandState::Succeeded, "{:?}", view.error);
        match &view.outcome {
            Some(CommandOutcome::KeyReshared(outcome)) => outcome.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Why a command came to nothing.
    fn failure(&self, handle: Handle, state: CommandState, reason: Reason) -> Refusal {
        let view = self.view(handle);
        let error = view.error.clone().expect("no refusal");
        assert_eq!((view.state, error.reason), (state, reason), "{error}");
        error
    }

    /// The epoch that the coordinator has in use.
    fn epoch_of(&mut self, key: &KeyName) -> Epoch {
        self.core.key(key).unwrap().record.epoch
    }

    /// The epochs that attempts were begun for, in order.
    fn attempted(&self) -> Vec<Epoch> {
        let mut attempts: Vec<([u8; 16], Epoch)> = Vec::new();
        for (_, request) in &self.requests {
            if let NodeRequest::BeginCeremony {
                attempt,
                epoch,
                source: Some(_),
                ..
            } = request
                && attempts.iter().all(|(known, _)| known != attempt)
            {
                attempts.push((*attempt, *epoch));
            }
        }
        attempts.into_iter().map(|(_, epoch)| epoch).collect()
    }

    /// Who was to deal in each attempt.
    fn dealers(&self) -> Vec<Vec<NodeId>> {
        let mut attempts: Vec<([u8; 16], Vec<NodeId>)> = Vec::new();
        for (_, request) in &self.requests {
            if let NodeRequest::BeginCeremony {
                attempt,
                source: Some(from),
                ..
            } = request
                && attempts.iter().all(|(known, _)| known != attempt)
            {
                attempts.push((*attempt, from.dealers.clone()));
            }
        }
        attempts.into_iter().map(|(_, dealers)| dealers).collect()
    }

    /// These nodes hold shares of an epoch that all of them have in use, nobody else does, and the
    /// key signs.
    fn assert_in_use(&mut self, key: &KeyName, epoch: u32, holders: &[usize]) {
        assert_eq!(self.epoch_of(key), Epoch(epoch));
        for index in 0..self.nodes.len() {
            let node = self.node(index);
            assert_eq!(node.holds(key), holders.contains(&index), "node {index}");
            if node.holds(key) {
                assert_eq!(node.epoch(key), Some(Epoch(epoch)), "node {index}");
                assert!(node.is_active(key), "node {index}");
            }
        }
        self.assert_signs(key, epoch);
    }

    /// The key signs with an epoch.
    fn assert_signs(&mut self, key: &KeyName, epoch: u32) {
        let signed = self.signature(key.as_str(), &["a"]);
        let handle = self.hand_in(&signed);
        self.pass(500);
        let outcome = self.signed(handle, &["a"]);
        assert_eq!(outcome.epoch, Epoch(epoch));
    }

    fn assert_nobody_keeps_old_shares(&mut self, key: &KeyName) {
        for index in 0..self.nodes.len() {
            assert!(!self.node(index).keeps_old(key), "node {index}");
        }
    }
}
