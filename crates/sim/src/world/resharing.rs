//! Resharings that admins ask for: a refresh, a replacement of one holder, or a committee and a
//! threshold that chance draws.

use quorate_model::{Epoch, KeyName, KeyRecord, NodeId, Reason, Refusal, operation::CommandView};

use super::{
    World,
    happenings::{Happening, RESUBMIT_US},
};
use crate::{faults::pick, workload::Renewal};

/// The committees that keep a key usable, whatever goes wrong in a run.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Somebody breaks rules, and may hold a key up for ever where n < 2t-1.
    cheats: bool,
    /// A disk is lost, and the others keep every key.
    loses: bool,
}

impl Bounds {
    fn least_nodes(self) -> usize {
        if self.cheats || self.loses { 3 } else { 2 }
    }

    fn most_threshold(self, nodes: usize) -> usize {
        if self.cheats {
            nodes.div_ceil(2)
        } else if self.loses {
            nodes - 1
        } else {
            nodes
        }
    }

    fn allow(self, nodes: usize, threshold: u16) -> bool {
        nodes >= self.least_nodes() && usize::from(threshold) <= self.most_threshold(nodes)
    }
}

impl World {
    /// An admin looks at a key and asks for new shares of it.
    pub(super) fn reshare(&mut self, name: KeyName) {
        let shown = self.desks.iter_mut().find_map(|desk| desk.shows(&name));
        let Some(shown) = shown.filter(|key| key.evidence.proof.is_some()) else {
            self.after(RESUBMIT_US, Happening::Reshare { key: name });
            return;
        };
        self.reshare_shown(&shown.record);
    }

    /// Asks for new shares of a key; the answer is the place of the operation.
    pub(super) fn reshare_shown(&mut self, record: &KeyRecord) -> usize {
        let (nodes, threshold) = self.draw_committee(record);
        let id = self.id();
        let created = self.now().wall;
        let next = Epoch(record.epoch.0 + 1);
        let advised = self.first_epochs.get(&record.name).copied();
        let first = advised.map_or(next, |advised| advised.max(next));
        let operation = self
            .people
            .quorum()
            .reshare(id, created, record, first, threshold, nodes);
        self.ask(operation)
    }

    /// A refresh, a replacement or anything else, where the holders and the roster leave the choice.
    fn draw_committee(&mut self, record: &KeyRecord) -> (Vec<NodeId>, u16) {
        let roster = self.people.pinned.roster();
        let ids = roster.nodes.iter().map(|card| card.id.clone());
        let mut nodes: Vec<NodeId> = ids.filter(|id| !roster.drained.contains(id)).collect();
        // Nobody waits for a node that never comes back.
        let out = self.stuck().map(|node| self.people.node_id(node));
        nodes.retain(|node| Some(node) != out.as_ref());
        let bounds = Bounds {
            cheats: !nodes.iter().all(|node| self.invariants.is_honest(node)),
            loses: self.loses_disks(),
        };
        let holders = record.participants.iter();
        let holders: Vec<NodeId> = holders.map(|holder| holder.node.clone()).collect();
        let threshold = record.threshold;
        let fits = |drawn: &Vec<NodeId>| bounds.allow(drawn.len(), threshold);
        let all = nodes.len();
        match pick(&mut self.rng, 4) {
            0 if fits(&holders) && holders.iter().all(|id| nodes.contains(id)) => {
                (holders, threshold)
            }
            // Somebody has to go out before anybody can take a place.
            1 | 2 if nodes.iter().all(|id| holders.contains(id)) => {
                self.draw_any(nodes, all - 1, bounds)
            }
            1 | 2 => match self.replace_one(holders, &nodes).filter(fits) {
                Some(drawn) => (drawn, threshold),
                None => self.draw_any(nodes, all, bounds),
            },
            _ => self.draw_any(nodes, all, bounds),
        }
    }

    /// One holder goes out and another node takes its place; none where two would have to go, or
    /// nobody can come.
    fn replace_one(&mut self, mut holders: Vec<NodeId>, usable: &[NodeId]) -> Option<Vec<NodeId>> {
        let free: Vec<&NodeId> = usable.iter().filter(|id| !holders.contains(id)).collect();
        let gone: Vec<usize> = (0..holders.len())
            .filter(|at| !usable.contains(&holders[*at]))
            .collect();
        if free.is_empty() || gone.len() > 1 {
            return None;
        }
        let new = free[pick(&mut self.rng, free.len())].clone();
        let old = match gone.first() {
            Some(old) => *old,
            None => pick(&mut self.rng, holders.len()),
        };
        holders[old] = new;
        Some(holders)
    }

    /// Any of these nodes, so many at the most where that is enough, and any threshold.
    fn draw_any(
        &mut self,
        mut nodes: Vec<NodeId>,
        most_nodes: usize,
        bounds: Bounds,
    ) -> (Vec<NodeId>, u16) {
        let least = bounds.least_nodes().min(nodes.len());
        let keep = least + pick(&mut self.rng, most_nodes.max(least) - least + 1);
        while nodes.len() > keep {
            let at = pick(&mut self.rng, nodes.len());
            nodes.remove(at);
        }
        let turn = pick(&mut self.rng, nodes.len());
        nodes.rotate_left(turn);
        let most = bounds.most_threshold(nodes.len());
        let threshold = 2 + u16::try_from(pick(&mut self.rng, most - 1)).unwrap_or(0);
        (nodes, threshold)
    }

    /// An admin who is told that numbers are used up asks again with higher ones.
    pub(super) fn take_advice(&mut self, operation: usize, result: &Result<CommandView, Refusal>) {
        let Ok(CommandView {
            error: Some(refusal),
            ..
        }) = result
        else {
            return;
        };
        let next = refusal.get("next_epoch").and_then(|text| text.parse().ok());
        if let Some(next) = next.filter(|_| refusal.reason == Reason::EpochTaken) {
            let key = self.operations[operation].key.clone();
            let before = self.first_epochs.insert(key.clone(), Epoch(next));
            if before != Some(Epoch(next)) {
                self.after(RESUBMIT_US, Happening::Reshare { key });
            }
        }
    }

    /// How many resharings of a kind succeeded.
    pub(super) fn renewed(&self, renewal: Renewal) -> usize {
        let operations = self.operations.iter();
        operations
            .filter(|operation| operation.done && operation.is_reshared())
            .filter(|operation| operation.renewal == Some(renewal))
            .count()
    }
}
