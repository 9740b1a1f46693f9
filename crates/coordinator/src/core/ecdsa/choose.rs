//! Which holders sign: those that have failed least, then the fastest, and no two that do not work
//! together.

use quorate_model::{NodeId, PartyIndex, Reason, Refusal, key::Participant};

use super::Ecdsa;
use crate::core::{Core, keys::Certified};

impl Core {
    /// The best subset of the candidates. None: there is none at the moment.
    pub(super) fn choose(
        &self,
        key: &Certified,
        candidates: Vec<(PartyIndex, NodeId)>,
    ) -> Option<Vec<Participant>> {
        let mut ranked: Vec<Participant> = candidates
            .into_iter()
            .map(|(index, node)| Participant { index, node })
            .collect();
        // A stable sort: among equals the faster stays first.
        ranked.sort_by_key(|p| self.ecdsa.failures.get(&p.node).copied().unwrap_or(0));
        let name = &key.record.name;
        let works = |one: &NodeId, other: &NodeId| {
            !self.ecdsa.is_banned(one, other) && !self.ecdsa.renewals.covers(name, one, other)
        };
        let mut chosen = subset(&ranked, usize::from(key.record.threshold), &works)?;
        chosen.sort_by_key(|p| p.index);
        Some(chosen)
    }

    /// Why these holders can never sign, if too many pairs of them are banned.
    pub(super) fn all_banned(&self, key: &Certified, willing: &[Participant]) -> Option<Refusal> {
        let works = |one: &NodeId, other: &NodeId| !self.ecdsa.is_banned(one, other);
        let threshold = usize::from(key.record.threshold);
        if willing.len() < threshold || subset(willing, threshold, &works).is_some() {
            return None;
        }
        let name = &key.record.name;
        Some(
            Refusal::new(
                Reason::PairBanned,
                format!(
                    "no {threshold} holders of key \"{name}\" work together: nodes have failed \
                     consistency checks of each other"
                ),
            )
            .with("key", name),
        )
    }
}

/// The first so many, in order of preference, of whom every two work together.
fn subset(
    ranked: &[Participant],
    count: usize,
    works: &impl Fn(&NodeId, &NodeId) -> bool,
) -> Option<Vec<Participant>> {
    fn extend(
        ranked: &[Participant],
        count: usize,
        works: &impl Fn(&NodeId, &NodeId) -> bool,
        chosen: &mut Vec<Participant>,
        steps: &mut usize,
    ) -> bool {
        if chosen.len() == count {
            return true;
        }
        for (at, next) in ranked.iter().enumerate() {
            // Who works with whom can be arranged so that a search never ends; then none is found.
            *steps = steps.saturating_add(1);
            let missing = count.saturating_sub(chosen.len());
            if *steps > MAX_STEPS || ranked.len().saturating_sub(at) < missing {
                return false;
            }
            if chosen.iter().all(|one| works(&one.node, &next.node)) {
                chosen.push(next.clone());
                let rest = ranked.get(at.saturating_add(1)..).unwrap_or_default();
                if extend(rest, count, works, chosen, steps) {
                    return true;
                }
                chosen.pop();
            }
        }
        false
    }
    let mut chosen = Vec::with_capacity(count);
    extend(ranked, count, works, &mut chosen, &mut 0).then_some(chosen)
}

/// The most steps of one search.
const MAX_STEPS: usize = 20_000;

impl Ecdsa {
    /// Notes how a session ended for those who took part.
    pub(super) fn note_failure(&mut self, participants: &[Participant]) {
        for participant in participants {
            let failures = self.failures.entry(participant.node.clone()).or_default();
            *failures = failures.saturating_add(1);
        }
    }

    pub(super) fn note_success(&mut self, participants: &[Participant]) {
        for participant in participants {
            self.failures.remove(&participant.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holders(count: u16) -> Vec<Participant> {
        PartyIndex::first(count)
            .map(|index| Participant {
                index,
                node: format!("node-{}", index.number()).parse().unwrap(),
            })
            .collect()
    }

    fn numbers(chosen: Option<Vec<Participant>>) -> Option<Vec<u16>> {
        chosen.map(|chosen| chosen.iter().map(|p| p.index.number()).collect())
    }

    #[test]
    fn the_first_that_all_work_together_are_chosen() {
        let ranked = holders(5);
        let banned = |pairs: &'static [(u16, u16)]| {
            move |one: &NodeId, other: &NodeId| {
                let number = |node: &NodeId| node.as_str()[5..].parse::<u16>().unwrap();
                let pair = (number(one), number(other));
                !pairs
                    .iter()
                    .any(|(a, b)| pair == (*a, *b) || pair == (*b, *a))
            }
        };

        let free = subset(&ranked, 3, &banned(&[]));
        let one = subset(&ranked, 3, &banned(&[(1, 2)]));
        let two = subset(&ranked, 3, &banned(&[(1, 2), (1, 3), (2, 3)]));
        let none = subset(&ranked, 4, &banned(&[(1, 2), (3, 4)]));

        assert_eq!(numbers(free), Some(vec![1, 2, 3]));
        assert_eq!(numbers(one), Some(vec![1, 3, 4]));
        assert_eq!(numbers(two), Some(vec![1, 4, 5]));
        assert_eq!(numbers(none), None);
        assert_eq!(numbers(subset(&ranked[..2], 3, &banned(&[]))), None);
    }

    #[test]
    fn a_search_that_would_never_end_ends() {
        let ranked = holders(32);

        assert_eq!(
            subset(&ranked, 16, &|_: &NodeId, other: &NodeId| {
                other.as_str() < "node-2"
            }),
            None
        );
    }
}
