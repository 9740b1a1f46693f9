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
        (vec![(2, Suspend)], 2, Resume, Err(Reason::StateOutdated)),
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
fn no_admin_alone_uses_up_the_sequences() {
    let far = MAX_SEQUENCE_STEP + 1;

    assert_eq!(judged(&[], MAX_SEQUENCE_STEP, Suspend), Ok(Effect::Changes));
    assert_eq!(judged(&[], far, Suspend), Err(Reason::StateOutdated));
    assert_eq!(
        judged(&[], u64::MAX, Compromise),
        Err(Reason::StateOutdated)
    );
    assert_eq!(judged(&[(1, Suspend)], far, Resume), Ok(Effect::Changes));
}

/// Nodes that have heard the same agree, whatever the order (P33).
#[test]
fn the_order_in_which_commands_are_heard_does_not_matter() {
    let said = [
        (1, Suspend),
        (2, Resume),
        (2, Suspend),
        (3, Resume),
        (2, Deactivate),
        (1, Compromise),
    ];
    for chosen in 0..1u8 << said.len() {
        let some: Vec<_> = said
            .iter()
            .enumerate()
            .filter(|(at, _)| chosen & (1 << at) != 0)
            .map(|(_, one)| *one)
            .collect();
        let mut backwards = some.clone();
        backwards.reverse();
        let (one, other) = (standing(&some), standing(&backwards));

        assert_eq!(one, other, "{some:?}");
        assert_eq!(one.state(true), other.state(true));
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
    for bad in ["", "   ", "two\nlines", &"x".repeat(MAX_REASON_BYTES + 1)] {
        let refusal = with(bad).check().unwrap_err();
        assert_eq!(refusal.reason, Reason::RequestInvalid, "{bad}");
    }
    assert!(set(0, Suspend).check().is_err());
}
