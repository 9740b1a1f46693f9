//! What is said of the announcements of a key's destruction after one was withdrawn.

use quorate_client::{
    CommandTimes, ListedKey, Withdrawal,
    model::{Digest, KeyName, destruction::DestructionReceipt, roster::PinnedRoster},
};

use super::joined;
use crate::output;

/// Says which announcements still stand after one was withdrawn, and where.
pub(super) fn tell(
    key: &ListedKey,
    withdrawn: Digest,
    said: &[DestructionReceipt],
    roster: &PinnedRoster,
) {
    let now = CommandTimes::from_now().created;
    let standing = key.announcements_at(now);
    let standing: Vec<(Digest, String)> = standing
        .into_iter()
        .map(|one| (one.digest, one.reason))
        .collect();
    let mut withdrawals = vec![key.withdrawal(withdrawn, said, roster)];
    let mut others = key.half_withdrawn(roster, now);
    others.retain(|one| one.announcement != withdrawn);
    withdrawals.append(&mut others);
    for text in standing_texts(&key.record().name, &standing, &withdrawals) {
        output::progress(&text);
    }
}

/// What is said after a withdrawal: that nothing is announced only where every node has withdrawn what
/// any of them could act by.
fn standing_texts(
    name: &KeyName,
    standing: &[(Digest, String)],
    withdrawals: &[Withdrawal],
) -> Vec<String> {
    let half = withdrawals.iter().filter_map(|one| half_text(name, one));
    let mut texts: Vec<String> = half.collect();
    let is_withdrawn = |digest: &Digest| withdrawals.iter().any(|one| one.announcement == *digest);
    let left = standing.iter().filter(|(digest, _)| !is_withdrawn(digest));
    let left: Vec<_> = left
        .map(|(digest, reason)| format!("{digest} ({reason})"))
        .collect();
    if !left.is_empty() {
        texts.push(format!(
            "warning: the destruction of key \"{name}\" is still announced: {}; withdraw it with \
             --announcement and its digest",
            left.join(", ")
        ));
    }
    if texts.is_empty() {
        texts.push(format!(
            "no announcement of the destruction of key \"{name}\" stands"
        ));
    }
    texts
}

/// What is said of a withdrawal that not every node has heard; none of one that all have.
pub(super) fn half_text(name: &KeyName, withdrawal: &Withdrawal) -> Option<String> {
    if withdrawal.is_complete() {
        return None;
    }
    let digest = withdrawal.announcement;
    let mut parts = vec![format!(
        "warning: announcement {digest} of the destruction of key \"{name}\" is withdrawn at {} of \
         {} nodes",
        withdrawal.withdrawn.len(),
        withdrawal.nodes()
    )];
    if !withdrawal.destroyed.is_empty() {
        let nodes = joined(&withdrawal.destroyed);
        parts.push(format!("shares are destroyed already at: {nodes}"));
    }
    if !withdrawal.missing.is_empty() {
        let nodes = joined(&withdrawal.missing);
        parts.push(format!(
            "it still stands, where it was heard, at: {nodes}; once they are back, repeat quorate \
             key destroy {name} --cancel --announcement {digest} --reason TEXT"
        ));
    }
    Some(parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_still_stands_after_a_withdrawal_is_named_and_the_withdrawn_is_not() {
        let other = Digest::new([7; 32]);
        let all = [
            (Digest::ZERO, "emptied".to_owned()),
            (other, "moved".to_owned()),
        ];
        let everywhere = withdrawal(Digest::ZERO, &["a", "b", "c", "d"], &[], &[]);

        let left = told(&all, std::slice::from_ref(&everywhere));
        let none = told(&all[..1], &[everywhere]);

        assert!(left.contains(&format!("{other} (moved)")), "{left}");
        assert!(!left.contains("emptied"), "{left}");
        assert!(none.starts_with("no announcement"), "{none}");
    }

    #[test]
    fn nothing_is_said_to_be_announced_no_more_before_every_node_has_withdrawn_it() {
        let other = Digest::new([7; 32]);
        let everywhere = withdrawal(Digest::ZERO, &["a", "b", "c", "d"], &[], &[]);
        let table = [
            (
                vec![withdrawal(Digest::ZERO, &["a", "b"], &[], &["c", "d"])],
                vec![
                    "withdrawn at 2 of 4 nodes",
                    "at: node-c, node-d;",
                    "--cancel",
                ],
            ),
            (
                vec![withdrawal(Digest::ZERO, &["a", "b", "c"], &[], &["d"])],
                vec!["withdrawn at 3 of 4 nodes", "at: node-d;", "--cancel"],
            ),
            (
                vec![withdrawal(Digest::ZERO, &[], &[], &["a", "b", "c", "d"])],
                vec![
                    "withdrawn at 0 of 4 nodes",
                    "at: node-a, node-b, node-c, node-d;",
                ],
            ),
            (
                vec![withdrawal(Digest::ZERO, &["a", "b", "c"], &["d"], &[])],
                vec!["withdrawn at 3 of 4 nodes", "destroyed already at: node-d"],
            ),
            // An earlier one that a node has not heard of being withdrawn.
            (
                vec![everywhere, withdrawal(other, &["a"], &[], &["b"])],
                vec!["withdrawn at 1 of 2 nodes", "at: node-b;"],
            ),
        ];
        for (withdrawals, says) in table {
            let text = told(&[], &withdrawals);

            assert!(!text.contains("no announcement"), "{text}");
            for part in says {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }

    fn told(standing: &[(Digest, String)], withdrawals: &[Withdrawal]) -> String {
        standing_texts(&"old".parse().unwrap(), standing, withdrawals).join("\n")
    }

    fn withdrawal(
        announcement: Digest,
        withdrawn: &[&str],
        destroyed: &[&str],
        missing: &[&str],
    ) -> Withdrawal {
        let nodes = |names: &[&str]| {
            let ids = names
                .iter()
                .map(|name| format!("node-{name}").parse().unwrap());
            ids.collect()
        };
        Withdrawal {
            announcement,
            withdrawn: nodes(withdrawn),
            destroyed: nodes(destroyed),
            missing: nodes(missing),
        }
    }
}
