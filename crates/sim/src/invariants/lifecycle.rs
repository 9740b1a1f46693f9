//! What is seen of the chains of machines, of nodes that come back from backups, and of ends of keys.

use std::collections::{BTreeMap, BTreeSet};

use quorate_model::{
    Digest, Epoch, KeyName, NodeId,
    audit::{Entry, Record},
    backup::RestoreId,
    destruction::DestructionReceipt,
    node_api::CeremonyReply,
    roster::PinnedRoster,
};

use super::{
    Invariants,
    chain::{Chain, Seen},
};

impl Invariants {
    /// The chain of a machine is read from its first record again.
    pub(crate) fn reread(&mut self, machine: usize, node: &NodeId) {
        self.chains.insert(machine, Chain::of(node.clone()));
    }

    /// Watches the next durable record in the chain of a machine.
    pub(crate) fn chained(&mut self, machine: usize, pinned: &PinnedRoster, record: &Record) {
        self.comes_back(machine, &record.entry);
        self.is_not_framed(&record.entry);
        let (guilty, made, floors) = (&self.guilty, &self.made, &self.floors);
        let floor = |restore: RestoreId, key: &KeyName| floors.get(&restore)?.get(key).copied();
        let facts = Seen {
            pinned,
            is_honest: &|node| !guilty.contains(node),
            made: &|command| made.get(command).copied(),
            floor: &floor,
        };
        let chain = self.chains.entry(machine).or_default();
        if let Err((invariant, detail)) = chain.take(&facts, record) {
            self.breaks(invariant, detail);
        }
    }

    /// Nobody stands before where it has stood but who was restored (P35).
    fn is_not_framed(&mut self, entry: &Entry) {
        let Entry::PeerRolledBack(incident) = entry else {
            return;
        };
        let peer = Some(&incident.node);
        let mut chains = self.chains.values();
        let was_restored = chains.any(|chain| chain.node.as_ref() == peer && chain.was_restored);
        if self.is_honest(&incident.node) && !was_restored {
            let detail = format!("{} is said to have gone back in time", incident.node);
            self.breaks("P35", detail);
        }
    }

    /// Of all restorations of a backup one comes back at the most (P35).
    fn comes_back(&mut self, machine: usize, entry: &Entry) {
        match entry {
            Entry::Restored { backup, restore } => {
                self.restored.insert(*restore, *backup);
                if self.floors.contains_key(restore) {
                    return;
                }
                let mut floor: BTreeMap<KeyName, Epoch> = BTreeMap::new();
                let others = self.chains.iter().filter(|(at, chain)| {
                    let honest = |node: &NodeId| self.is_honest(node);
                    **at != machine
                        && chain.quarantine().is_none()
                        && chain.node.as_ref().is_some_and(honest)
                });
                for (key, epoch) in others.flat_map(|(_, chain)| chain.in_use()) {
                    let known = floor.entry(key.clone()).or_default();
                    *known = (*known).max(*epoch);
                }
                self.floors.insert(*restore, floor);
            }
            Entry::Readmitted { restore, .. } => {
                let Some(backup) = self.restored.get(restore) else {
                    return self.breaks("P35", "a restoration ends that never began".to_owned());
                };
                let first = *self.readmitted.entry(*backup).or_insert(*restore);
                if first != *restore {
                    let detail = format!("backup {backup} comes back twice: {first} and {restore}");
                    self.breaks("P35", detail);
                }
            }
            _ => {}
        }
    }

    /// How many restored nodes came back.
    pub(crate) fn restores(&self) -> usize {
        self.readmitted.len()
    }

    /// The records that shares of a node left under so far.
    pub(crate) fn released(&self, node: &NodeId) -> BTreeMap<u64, Digest> {
        self.released.get(node).cloned().unwrap_or_default()
    }

    /// The disk of a node was lost, with every record but these.
    pub(crate) fn lost(&mut self, node: &NodeId, released: BTreeMap<u64, Digest>) {
        self.released.insert(node.clone(), released);
    }

    /// The roster that is in force by the chain of a machine.
    pub(crate) fn roster_of(&self, machine: usize) -> Option<Digest> {
        self.chains.get(&machine)?.roster
    }

    /// The roster that is in force at a node, by the chain of the machine that speaks for it.
    pub(super) fn roster_at(&self, node: &NodeId, pinned: &PinnedRoster) -> Option<PinnedRoster> {
        let mut chains = self.chains.values();
        let of_node =
            |chain: &&Chain| chain.node.as_ref() == Some(node) && chain.quarantine().is_none();
        pinned.at(&chains.find(of_node)?.roster?)
    }

    /// Watches what a node promises about an epoch: one thing, for ever (P19), among nodes of its roster
    /// that are not drained (P7).
    pub(crate) fn promised(&mut self, pinned: &PinnedRoster, node: &NodeId, reply: &CeremonyReply) {
        let Some(prepared) = &reply.prepared else {
            return;
        };
        let statement = &prepared.statement;
        if let Some(then) = self.roster_at(node, pinned) {
            let roster = then.roster();
            let receives =
                |node: &NodeId| roster.node(node).is_some() && !roster.drained.contains(node);
            let mut holders = statement.participants.iter();
            let stranger = holders.find(|holder| !receives(&holder.node));
            if let Some(stranger) = stranger.filter(|_| then.hash() == statement.roster) {
                let detail = format!(
                    "{node} prepares shares with {}, which is to have none",
                    stranger.node
                );
                self.breaks("P7", detail);
            }
        }
        let at = (node.clone(), statement.key.clone(), statement.epoch);
        let first = *self.promised.entry(at).or_insert(statement.digest());
        if first != statement.digest() {
            let (key, epoch) = (&statement.key, statement.epoch);
            let detail = format!("{node} prepares epoch {epoch} of \"{key}\" twice");
            self.breaks("P19", detail);
        }
    }

    /// Whether a node has destroyed a key, by the chain of a machine.
    pub(crate) fn destroyed(&self, machine: usize, key: &KeyName) -> bool {
        let chain = self.chains.get(&machine);
        chain.is_some_and(|chain| chain.destroyed.contains(key))
    }

    /// Whether a machine has heard of a withdrawal, by its chain. One key ends in a run.
    pub(crate) fn heard_withdrawal(&self, machine: usize) -> bool {
        let chain = self.chains.get(&machine);
        chain.is_some_and(|chain| !chain.withdrawn.is_empty())
    }

    /// The keys that a node has destroyed, by the chain of a machine.
    pub(crate) fn ends_at(&self, machine: usize) -> Vec<KeyName> {
        let chain = self.chains.get(&machine);
        chain.map_or_else(Vec::new, |chain| chain.destroyed.iter().cloned().collect())
    }

    /// How many keys were destroyed somewhere.
    pub(crate) fn ends(&self) -> usize {
        let ended = self.chains.values().flat_map(|chain| &chain.destroyed);
        ended.collect::<BTreeSet<_>>().len()
    }

    /// How many pairs are banned by the chains of all nodes.
    pub(crate) fn bans(&self) -> usize {
        self.chains.values().map(|chain| chain.bans).sum()
    }

    /// How often pairings are suspended by the chains of all nodes.
    pub(crate) fn suspensions(&self) -> usize {
        self.chains.values().map(|chain| chain.suspensions).sum()
    }

    /// How many changes of states are in the chains of all nodes.
    pub(crate) fn states(&self) -> usize {
        self.chains.values().map(|chain| chain.states).sum()
    }

    /// Watches what a node says of the end of a key. `remains` says whether anything of the key is
    /// on its disk.
    pub(crate) fn ended(
        &mut self,
        receipt: &DestructionReceipt,
        remains: bool,
        durable: &dyn Fn(u64) -> Option<Digest>,
    ) {
        let node = &receipt.node;
        // What it says rests on a record that is never lost: the one after the head that it names.
        let before = receipt.record.saturating_sub(1);
        if durable(before) != Some(receipt.head) || durable(receipt.record).is_none() {
            let detail = format!("{node} speaks of the end of a key before that is durable");
            self.breaks("I7", detail);
        }
        let released = self.released.entry(node.clone()).or_default();
        released.insert(before, receipt.head);
        if !receipt.is_destroyed() {
            return;
        }
        if remains {
            let detail = format!(
                "{node} says that key \"{}\" is gone, and keeps it",
                receipt.key
            );
            self.breaks("P34", detail);
        }
        self.gone.insert((node.clone(), receipt.key.clone()));
    }
}

#[cfg(test)]
mod tests {
    use quorate_model::{
        UnixMillis,
        audit::{JournalPoint, PeerRolledBack},
        backup::BackupId,
    };
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng as _;

    use super::*;
    use crate::people::People;

    /// What the chains of two machines tell.
    struct Told {
        people: People,
        invariants: Invariants,
    }

    impl Told {
        fn new(guilty: &[usize]) -> Self {
            let people = People::draw(&mut ChaCha8Rng::seed_from_u64(1), 3, 0);
            let guilty = guilty.iter().map(|at| people.node_id(*at)).collect();
            let mut invariants = Invariants::new(guilty);
            for at in [0, 1] {
                invariants.reread(at, &people.node_id(at));
            }
            Self { people, invariants }
        }

        fn tell(&mut self, machine: usize, entry: Entry) -> Option<&'static str> {
            let record = Record {
                sequence: 1,
                previous: Digest::ZERO,
                time: UnixMillis(1),
                boot: [0; 16],
                entry,
            };
            let pinned = &self.people.pinned;
            self.invariants.chained(machine, pinned, &record);
            self.invariants.broken().map(|(invariant, _)| invariant)
        }

        /// The first machine says that the second went back.
        fn accuses(&mut self) -> Option<&'static str> {
            let point = |sequence| JournalPoint {
                sequence,
                head: Digest::ZERO,
                boot: [0; 16],
            };
            let incident = PeerRolledBack {
                node: self.people.node_id(1),
                session: Digest::ZERO,
                before: point(2),
                shown: point(1),
            };
            self.tell(0, Entry::PeerRolledBack(incident))
        }
    }

    #[test]
    fn a_node_that_is_framed_is_found() {
        assert_eq!(Told::new(&[]).accuses(), Some("P35"));
        assert_eq!(Told::new(&[1]).accuses(), None, "it lies about itself");

        let mut told = Told::new(&[]);
        let (backup, restore) = (BackupId([2; 16]), RestoreId([1; 16]));
        assert_eq!(told.tell(1, Entry::Restored { backup, restore }), None);
        assert_eq!(told.accuses(), None, "it was restored");
    }
}
