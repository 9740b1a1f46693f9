//! Which holders sign: those that have failed least, then the fastest, and no two that do not work
//! together.

use quorate_model::{
    KeyName, NodeId, PartyIndex, Reason, Refusal, key::Participant, operation::CommandState,
};

use super::Ecdsa;
use crate::core::{
    Core,
    keys::Certified,
    signing::{SignOp, misbehaved, most_common},
};

/// What leaves no t holders that sign together, whoever comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// Bans alone.
    Bans,
    /// Some refuse for good, and bans stand between the others.
    Refusals,
    /// Some cheated, and bans stand between the others.
    Cheats,
}

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

    /// How a command ends that the holders of its key can never sign, because pairs of them are
    /// banned. None: t of them may still sign it.
    pub(super) fn never_signs(
        &self,
        op: &SignOp,
        key: &Certified,
    ) -> Option<(CommandState, Refusal)> {
        let works = |one: &NodeId, other: &NodeId| !self.ecdsa.is_banned(one, other);
        let refuses = |node: &NodeId| op.refusals.contains_key(node);
        let cheats = |node: &NodeId| op.cheats.contains(node);
        let threshold = usize::from(key.record.threshold);
        let holders = &key.record.participants;
        match obstacle(holders, threshold, &works, &refuses, &cheats)? {
            Obstacle::Bans => Some((
                CommandState::Failed,
                banned(&key.record.name, key.record.threshold),
            )),
            Obstacle::Refusals => Some((CommandState::Denied, most_common(op.refusals.values())?)),
            Obstacle::Cheats => Some((CommandState::Failed, misbehaved(op.cheats.iter()))),
        }
    }
}

fn banned(name: &KeyName, threshold: u16) -> Refusal {
    Refusal::new(
        Reason::PairBanned,
        format!(
            "no {threshold} holders of key \"{name}\" work together: nodes have failed consistency \
             checks of each other"
        ),
    )
    .with("key", name)
}

/// Why no so many holders can sign. Bans are told only where they alone are in the way: whoever
/// refuses says what can be done about it, and other commands may still be signed.
fn obstacle(
    holders: &[Participant],
    count: usize,
    works: &impl Fn(&NodeId, &NodeId) -> bool,
    refuses: &impl Fn(&NodeId) -> bool,
    cheats: &impl Fn(&NodeId) -> bool,
) -> Option<Obstacle> {
    let work_without = |left_out: &dyn Fn(&NodeId) -> bool| {
        let left = holders.iter().filter(|p| !left_out(&p.node));
        // A search that was given up has found nothing out.
        let left: Vec<Participant> = left.cloned().collect();
        !matches!(search(&left, count, works), Search::Exhausted)
    };
    if work_without(&|node| refuses(node) || cheats(node)) {
        None
    } else if !work_without(&|_| false) {
        Some(Obstacle::Bans)
    } else if work_without(cheats) {
        Some(Obstacle::Refusals)
    } else {
        Some(Obstacle::Cheats)
    }
}

/// How a search for holders that work together ended.
enum Search {
    Found(Vec<Participant>),
    /// There are none.
    Exhausted,
    /// It took too long.
    GivenUp,
}

/// The first so many, in order of preference, of whom every two work together.
fn subset(
    ranked: &[Participant],
    count: usize,
    works: &impl Fn(&NodeId, &NodeId) -> bool,
) -> Option<Vec<Participant>> {
    match search(ranked, count, works) {
        Search::Found(chosen) => Some(chosen),
        Search::Exhausted | Search::GivenUp => None,
    }
}

/// Searches in order of preference, without those who work with too few of the others: one holder that
/// bans half of them would send the search through all subsets of the rest.
fn search(
    ranked: &[Participant],
    count: usize,
    works: &impl Fn(&NodeId, &NodeId) -> bool,
) -> Search {
    let mut left = ranked.to_vec();
    loop {
        let before = left.len();
        let works_with = |one: &Participant| {
            let others = left.iter().filter(|other| other.node != one.node);
            others.filter(|other| works(&one.node, &other.node)).count()
        };
        let kept: Vec<Participant> = left
            .iter()
            .filter(|one| works_with(one).saturating_add(1) >= count)
            .cloned()
            .collect();
        left = kept;
        if left.len() == before {
            break;
        }
    }
    let mut chosen = Vec::with_capacity(count);
    let mut steps = 0;
    if extend(&left, count, works, &mut chosen, &mut steps) {
        Search::Found(chosen)
    } else if steps > MAX_STEPS {
        Search::GivenUp
    } else {
        Search::Exhausted
    }
}

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
    fn bans_are_told_only_where_nobody_else_is_in_the_way() {
        let number = |node: &NodeId| node.as_str()[5..].parse::<u16>().unwrap();
        // The first holder is banned by all others.
        let works = |one: &NodeId, other: &NodeId| number(one) != 1 && number(other) != 1;
        let check = |count, refusing: &[u16], cheating: &[u16], expected| {
            let refuses = |node: &NodeId| refusing.contains(&number(node));
            let cheats = |node: &NodeId| cheating.contains(&number(node));
            let found = obstacle(&holders(5), count, &works, &refuses, &cheats);
            assert_eq!(found, expected, "{count} of {refusing:?}, {cheating:?}");
        };

        check(3, &[], &[], None);
        check(3, &[2], &[], None);
        check(3, &[2], &[1], None);
        check(3, &[1], &[2], None);
        check(3, &[2, 3], &[], Some(Obstacle::Refusals));
        check(3, &[2], &[3], Some(Obstacle::Refusals));
        check(3, &[2], &[3, 4], Some(Obstacle::Cheats));
        check(3, &[2, 3], &[1], Some(Obstacle::Refusals));
        check(3, &[], &[2, 3], Some(Obstacle::Cheats));
        check(5, &[], &[], Some(Obstacle::Bans));
        check(5, &[2], &[3], Some(Obstacle::Bans));
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
