use super::*;

fn set(sequence: u64, change: StateChange) -> SetKeyState {
    SetKeyState {
        key: "hot".parse().unwrap(),
        key_id: KeyId([7; 32]),
        sequence,
        change,
        reason: "audit".to_owned(),
    }
}

/// A mark whose command has bytes of its own.
fn mark(sequence: u64, change: StateChange) -> StateMark {
    let command = SignedCommand {
        bytes: format!("{sequence} {change}").into_bytes(),
        endorsements: Vec::new(),
    };
    StateMark::new(&set(sequence, change), command)
}

fn standing(marks: &[(u64, StateChange)]) -> Standing {
    let mut standing = Standing::default();
    for (sequence, change) in marks {
        standing.take(mark(*sequence, *change));
    }
    standing
}

fn judged(
    held: &[(u64, StateChange)],
    sequence: u64,
    change: StateChange,
) -> Result<Effect, Reason> {
    let new = mark(sequence, change);
    standing(held)
        .judge(&set(sequence, change), &new.command.digest())
        .map_err(|refusal| refusal.reason)
}

use StateChange::{Compromise, Deactivate, Resume, Suspend};

#[test]
fn the_higher_sequence_wins_and_suspend_wins_ties() {
    for (held, sequence, change, expected) in [
        (vec![], 1, Suspend, Ok(Effect::Changes)),
        (vec![(1, Suspend)], 2, Resume, Ok(Effect::Changes)),
        // Outdone, and heard all the same.
        (vec![(2, Suspend)], 2, Resume, Ok(Effect::Changes)),
        (vec![(2, Resume)], 2, Resume, Ok(Effect::Known)),
        (vec![(3, Resume)], 2, Resume, Err(Reason::StateOutdated)),
        (vec![(2, Resume)], 2, Suspend, Ok(Effect::Changes)),
        (vec![(3, Resume)], 2, Suspend, Err(Reason::StateOutdated)),
        (vec![(1, Suspend)], 1, Suspend, Ok(Effect::Known)),
        (vec![(5, Suspend)], 9, Suspend, Ok(Effect::Changes)),
    ] {
        assert_eq!(
            judged(&held, sequence, change),
            expected,
            "{held:?} {sequence} {change}"
        );
    }
}

#[test]
fn what_cannot_be_undone_is_not_undone_and_counts_whatever_its_sequence() {
    for (held, sequence, change, expected) in [
        (vec![(9, Resume)], 3, Compromise, Ok(Effect::Changes)),
        (vec![(9, Resume)], 3, Deactivate, Ok(Effect::Changes)),
        (vec![(3, Deactivate)], 4, Resume, Err(Reason::StateOutdated)),
        (
            vec![(3, Deactivate)],
            4,
            Suspend,
            Err(Reason::StateOutdated),
        ),
        (
            vec![(3, Deactivate)],
            4,
            Deactivate,
            Err(Reason::StateOutdated),
        ),
        (vec![(3, Deactivate)], 1, Compromise, Ok(Effect::Changes)),
        (
            vec![(3, Compromise)],
            4,
            Deactivate,
            Err(Reason::StateOutdated),
        ),
        (
            vec![(3, Compromise)],
            4,
            Compromise,
            Err(Reason::StateOutdated),
        ),
        (vec![(3, Compromise)], 3, Compromise, Ok(Effect::Known)),
    ] {
        assert_eq!(
            judged(&held, sequence, change),
            expected,
            "{held:?} {sequence} {change}"
        );
    }
}

#[test]
fn no_admin_alone_puts_a_key_where_no_resumption_reaches_it() {
    let step = MAX_SUSPENSION_STEP;
    let outdated = Err(Reason::StateOutdated);

    assert_eq!(judged(&[], step, Suspend), Ok(Effect::Changes));
    assert_eq!(judged(&[], step + 1, Suspend), outdated);
    // Not from suspension to suspension either.
    assert_eq!(judged(&[(step, Suspend)], step + 1, Suspend), outdated);
    // What takes a quorum reaches everywhere.
    for change in [Resume, Deactivate, Compromise] {
        assert_eq!(
            judged(&[(step, Suspend)], u64::MAX, change),
            Ok(Effect::Changes)
        );
    }
    let resumed = [(step, Suspend), (step + 1, Resume)];
    assert_eq!(judged(&resumed, step + 2, Suspend), Ok(Effect::Changes));
}

/// Hears commands as a node does, which refuses what is outdated.
fn hear(node: &mut Standing, said: &[(u64, StateChange)]) {
    for (sequence, change) in said {
        let one = mark(*sequence, *change);
        let judged = node.judge(&set(*sequence, *change), &one.command.digest());
        if judged == Ok(Effect::Changes) {
            node.take(one);
        }
    }
}

/// P33: nodes that have heard the same agree, whatever the order, and what one of them lists is
/// taken by every other one, also by one that has heard nothing.
#[test]
fn the_order_in_which_commands_are_heard_does_not_matter() {
    let said = [
        (1, Suspend),
        (1_024, Suspend),
        (10, Resume),
        (1_030, Suspend),
        (1_025, Resume),
        (2_000, Suspend),
        (2_000, Resume),
        (5_000, Resume),
        (6_000, Suspend),
        (2, Deactivate),
        (1, Compromise),
    ];
    for chosen in 0..1u16 << said.len() {
        let some: Vec<_> = said
            .iter()
            .enumerate()
            .filter(|(at, _)| chosen & (1 << at) != 0)
            .map(|(_, one)| *one)
            .collect();
        let mut backwards = some.clone();
        backwards.reverse();
        let (mut one, mut other) = (Standing::default(), Standing::default());
        hear(&mut one, &some);
        hear(&mut other, &backwards);

        // Each tells the other what it holds, as coordinators do.
        for _ in 0..2 {
            let (of_one, of_other) = (listed(&one), listed(&other));
            hear(&mut one, &of_other);
            hear(&mut other, &of_one);
        }
        let mut fresh = Standing::default();
        let told = listed(&one);
        hear(&mut fresh, &told);

        assert_eq!(one.state(true), other.state(true), "{some:?}");
        assert_eq!(fresh.state(true), one.state(true), "{some:?}");
        // Not only the state: what comes next is judged alike.
        if !one.decisive().is_some_and(|mark| mark.change.retires()) {
            assert_eq!(one, other, "{some:?}");
            assert_eq!(fresh, one, "{some:?}");
        }
    }
}

fn listed(standing: &Standing) -> Vec<(u64, StateChange)> {
    standing
        .marks()
        .map(|mark| (mark.sequence, mark.change))
        .collect()
}

#[test]
fn a_receipt_is_one_only_if_its_state_obeys_the_change() {
    use KeyState::{Active, Compromised, Deactivated, PreActive, Suspended};
    for (change, obeyed) in [
        (
            Suspend,
            &[PreActive, Suspended, Deactivated, Compromised][..],
        ),
        (Resume, &[PreActive, Active]),
        (Deactivate, &[Deactivated, Compromised]),
        (Compromise, &[Compromised]),
    ] {
        for state in [PreActive, Active, Suspended, Deactivated, Compromised] {
            assert_eq!(change.is_obeyed_in(state), obeyed.contains(&state));
        }
    }
}

#[test]
fn the_state_is_what_the_gravest_word_says() {
    for (held, unproven, proven) in [
        (vec![], KeyState::PreActive, KeyState::Active),
        (vec![(1, Suspend)], KeyState::PreActive, KeyState::Suspended),
        (
            vec![(1, Suspend), (2, Resume)],
            KeyState::PreActive,
            KeyState::Active,
        ),
        (
            vec![(1, Deactivate), (2, Suspend)],
            KeyState::Deactivated,
            KeyState::Deactivated,
        ),
        (
            vec![(1, Compromise), (2, Deactivate)],
            KeyState::Compromised,
            KeyState::Compromised,
        ),
    ] {
        let standing = standing(&held);

        assert_eq!(standing.state(false), unproven, "{held:?}");
        assert_eq!(standing.state(true), proven, "{held:?}");
        let signs = standing.check_signs(&"hot".parse().unwrap()).is_ok();
        assert_eq!(signs, proven == KeyState::Active, "{held:?}");
    }
}

#[test]
fn a_reason_is_one_line_of_text() {
    let with = |reason: &str| SetKeyState {
        reason: reason.to_owned(),
        ..set(1, Suspend)
    };
    assert_eq!(with("lost a laptop").check(), Ok(()));
    for bad in [
        "",
        "   ",
        "two\nlines",
        "turned \u{202e}",
        "two\u{2028}lines",
        &"x".repeat(MAX_REASON_BYTES + 1),
    ] {
        let refusal = with(bad).check().unwrap_err();
        assert_eq!(refusal.reason, Reason::RequestInvalid, "{bad}");
    }
    assert!(set(0, Suspend).check().is_err());
    assert!(set(u64::MAX, Resume).check().is_err());
}
