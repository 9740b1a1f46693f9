//! What can be asked of the core between events.

use quorate_model::{
    KeyName, KeyRecord, KeyState, NodeId,
    ids::CommandId,
    life::Successor,
    operation::{CommandView, KeyView, NodeView},
};

use super::{Core, keys::Certified, math, peers::Peer, uses::KeyUse};

impl Core {
    /// Takes no further command up; what is under way goes on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether nothing is under way and everything that was decided is durable.
    pub fn is_idle(&self) -> bool {
        self.signing.is_empty()
            && self.ceremonies.is_empty()
            && self.states.is_idle()
            && self.rosters.is_idle()
            && self.readmissions.is_idle()
            && self.destroying.is_idle()
            && self.commands.is_settled()
    }

    /// A command that is under way or recent.
    pub fn command(&self, id: CommandId) -> Option<CommandView> {
        self.commands.get(id)
    }

    /// The commands that are under way.
    pub fn running(&self) -> Vec<CommandView> {
        self.commands.running().cloned().collect()
    }

    /// How many commands are under way.
    pub fn running_count(&self) -> usize {
        self.signing
            .len()
            .saturating_add(self.ceremonies.len())
            .saturating_add(self.states.len())
            .saturating_add(self.rosters.len())
            .saturating_add(self.destroying.len())
    }

    /// The nodes of the roster.
    pub fn nodes(&self) -> Vec<NodeView> {
        self.peers.iter().map(Peer::view).collect()
    }

    /// One key.
    pub fn key(&mut self, name: &KeyName) -> Option<KeyView> {
        let key = self.keys.get(&self.pinned, name)?;
        Some(self.view_of(&key))
    }

    fn view_of(&mut self, key: &Certified) -> KeyView {
        let id = key.record.id();
        let standing = self.states.standing(&id);
        let KeyUse { activated, used } = self.uses.of(&id);
        KeyView {
            next_epoch: self.left_out.next_after(&key.record, self.pinned.roster()),
            activated,
            used,
            replaced_by: self.successor_of(&key.record),
            ..key.view(&self.pinned, standing, &self.destroying)
        }
    }

    /// The key that takes the place of another: the first one that is active, or the first of all.
    fn successor_of(&mut self, before: &KeyRecord) -> Option<Successor> {
        let keys = self.keys.successors(&self.pinned, before);
        let next = keys.iter().min_by_key(|key| {
            let id = key.record.id();
            let stands = self.states.standing(&id).state(true);
            let state = self.destroying.state(&self.pinned, &id, stands);
            (state != KeyState::Active, key.created)
        })?;
        Some(Successor {
            key: next.record.name.clone(),
            key_id: next.record.id(),
        })
    }

    /// A page of keys after a name, in order.
    pub fn keys(&mut self, after: Option<&KeyName>, limit: usize) -> Vec<KeyView> {
        let keys = self.keys.page(&self.pinned, after, limit);
        keys.iter().map(|key| self.view_of(key)).collect()
    }

    /// How many keys are known.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// The evidence that is held, encoded.
    pub fn evidence(&self) -> impl Iterator<Item = &[u8]> {
        self.evidence.iter().map(Vec::as_slice)
    }

    /// Whom evidence accuses, if it is any.
    pub fn accused(&self, evidence: &[u8]) -> Option<NodeId> {
        math::accused(&self.pinned, evidence)
    }

    /// Whether enough nodes are connected to sign with any key: a majority of the roster.
    pub fn is_ready(&self) -> bool {
        self.peers.connected().len() > self.pinned.roster().nodes.len() / 2
    }
}
