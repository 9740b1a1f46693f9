use quorate_model::{
    KeyState, Signature, operation::CommandKind, roster::Role, standing::StateReceipt,
};

use super::*;
use crate::fixtures::{MadeKey, made_key, node_id, node_key};
use quorate_model::Scheme;

fn set(made: &MadeKey, sequence: u64, change: StateChange) -> SetKeyState {
    SetKeyState {
        key: made.view.record.name.clone(),
        key_id: made.view.record.id(),
        sequence,
        change,
        reason: "a drill".to_owned(),
    }
}

fn prepared(made: &MadeKey, set: SetKeyState) -> Prepared {
    let body = CommandBody::SetKeyState(set);
    Prepared::new(
        &made.roster,
        &made.identity,
        body,
        &CommandOptions::default(),
    )
}

/// The key as a coordinator shows it after this command.
fn shown(made: &MadeKey, set: &SetKeyState, command: SignedCommand) -> KeyView {
    let mut view = made.view.clone();
    view.standing.take(StateMark::new(set, command));
    view
}

fn receipt(made: &MadeKey, prepared: &Prepared, number: u8) -> StateReceipt {
    StateReceipt {
        node: node_id(number),
        key: made.view.record.name.clone(),
        key_id: made.view.record.id(),
        command: prepared.digest(),
        state: KeyState::Suspended,
        sequence: 1,
        record: 9,
        signature: Signature([0; 64]),
    }
    .sign(&node_key(number))
}

fn ended(prepared: &Prepared, receipts: Vec<StateReceipt>) -> CommandView {
    let command = prepared.command();
    CommandView {
        id: command.id,
        digest: prepared.digest(),
        kind: CommandKind::SetKeyState,
        key: command.body.key().cloned(),
        state: CommandState::Succeeded,
        created: command.created,
        expires: command.expires,
        progress: None,
        outcome: Some(CommandOutcome::KeyStateSet(StateOutcome {
            key: command.body.key().unwrap().clone(),
            // What a coordinator counts is not believed.
            binding: 1,
            receipts,
            missing: Vec::new(),
        })),
        error: None,
        awaiting: None,
    }
}

#[test]
fn the_state_of_a_key_is_what_its_commands_say_and_not_what_a_coordinator_says() {
    let made = made_key(Scheme::Bip340);
    let suspend = set(&made, 1, StateChange::Suspend);
    let command = prepared(&made, suspend.clone()).signed().clone();
    let mut view = shown(&made, &suspend, command);
    view.state = KeyState::Active;

    let key = ListedKey::verify(&view, &made.roster).unwrap();

    assert_eq!(key.state(), KeyState::Suspended);
    assert_eq!(key.standing().sequence(), 1);
    // A word of the coordinator without a command is none.
    let mut claimed = made.view.clone();
    claimed.state = KeyState::Compromised;
    let key = ListedKey::verify(&claimed, &made.roster).unwrap();
    assert_eq!(key.state(), KeyState::Active);
}

#[test]
fn commands_that_no_admin_endorsed_or_that_are_for_another_key_are_refused() {
    let made = made_key(Scheme::Bip340);
    let suspend = set(&made, 1, StateChange::Suspend);
    let good = prepared(&made, suspend.clone()).signed().clone();

    let mut forged = good.clone();
    forged.endorsements[0].signature = Signature([7; 64]);
    let mut silent = good.clone();
    silent.endorsements.clear();
    let other_key = SetKeyState {
        key_id: quorate_model::KeyId([7; 32]),
        ..suspend.clone()
    };
    let other_key = prepared(&made, other_key).signed().clone();
    let other_name = SetKeyState {
        key: "cold".parse().unwrap(),
        ..suspend.clone()
    };
    let other_name = prepared(&made, other_name).signed().clone();
    for command in [forged, silent, other_key, other_name] {
        let view = shown(&made, &suspend, command);
        assert!(ListedKey::verify(&view, &made.roster).is_err());
    }
}

/// What a mark says beside its command counts for nothing.
#[test]
fn what_stands_beside_a_command_is_not_read() {
    let made = made_key(Scheme::Bip340);
    let suspend = set(&made, 1, StateChange::Suspend);
    let command = prepared(&made, suspend).signed().clone();
    let compromise = set(&made, 9, StateChange::Compromise);

    let view = shown(&made, &compromise, command);

    let key = ListedKey::verify(&view, &made.roster).unwrap();
    assert_eq!(key.state(), KeyState::Suspended);
}

#[test]
fn receipts_are_checked_and_whoever_gave_none_is_missing() {
    let made = made_key(Scheme::Bip340);
    let prepared = prepared(&made, set(&made, 1, StateChange::Suspend));
    let verify = |receipts| {
        let view = ended(&prepared, receipts);
        Acknowledged::verify(&made.view.record, &made.roster, &prepared, &view)
    };
    let (one, two) = (receipt(&made, &prepared, 1), receipt(&made, &prepared, 2));

    let good = verify(vec![one.clone(), two.clone()]).unwrap();
    assert_eq!(good.nodes().collect::<Vec<_>>(), [&node_id(1), &node_id(2)]);
    assert_eq!(good.missing(), [node_id(3)]);
    assert_eq!((good.holders(), good.binding()), (3, 2));

    let stranger = receipt(&made, &prepared, 9);
    let mut lowered = two.clone();
    lowered.sequence = 0;
    let lowered = lowered.sign(&node_key(2));
    let mut active = two.clone();
    active.state = KeyState::Active;
    let active = active.sign(&node_key(2));
    let mut unsigned = two.clone();
    unsigned.record = 10;
    for bad in [
        vec![one.clone(), one.clone()],
        vec![stranger],
        vec![lowered],
        vec![unsigned],
        vec![active],
    ] {
        assert!(matches!(verify(bad), Err(VerificationError::BadReceipt(_))));
    }
    // Whoever held the key in another epoch binds nobody in this one.
    let former = receipt(&made, &prepared, 4);
    let with_former = verify(vec![former.clone(), one.clone(), two.clone()]).unwrap();
    assert_eq!(with_former.nodes().count(), 2);
    assert!(verify(vec![former, one.clone()]).is_err());
    // A coordinator that says "succeeded" with too few is not believed.
    assert!(matches!(
        verify(vec![two.clone()]),
        Err(VerificationError::OtherOutcome(_))
    ));
    let mut other = ended(&prepared, vec![two]);
    other.outcome = None;
    assert!(Acknowledged::verify(&made.view.record, &made.roster, &prepared, &other).is_err());
}

#[test]
fn a_suspension_takes_an_admin() {
    let made = made_key(Scheme::Bip340);
    let prepared = prepared(&made, set(&made, 1, StateChange::Suspend));

    assert_eq!(prepared.command().body.role(), Role::Admin);
    assert!(quorate_proto::admission::admit(&made.roster, prepared.signed()).is_ok());
}
