use quorate_model::{
    Epoch, Scheme, Signature,
    destruction::ErasureMethod,
    standing::{SetKeyState, StateChange, StateMark},
};

use super::*;
use crate::{
    Certificate, CommandOptions, CommandTimes, Proven,
    fixtures::{MadeKey, made_key, next_roster, node_card, node_id, node_key},
};

/// A key whose time is over, as a coordinator shows it.
fn retired() -> MadeKey {
    let mut made = made_key(Scheme::Bip340);
    let set = SetKeyState {
        key: made.view.record.name.clone(),
        key_id: made.view.record.id(),
        sequence: 1,
        change: StateChange::Deactivate,
        reason: "emptied".to_owned(),
    };
    let command = command(&made, CommandBody::SetKeyState(set.clone()));
    made.view
        .standing
        .take(StateMark::new(&set, command.signed().clone()));
    made.view.state = KeyState::Deactivated;
    made
}

fn command(made: &MadeKey, body: CommandBody) -> Prepared {
    // What confirms is made after the delay.
    let late = matches!(&body, CommandBody::DestroyKey(destroy) if destroy.step.destroys());
    let delay_ms = made.roster.roster().lifecycle_delay_ms();
    let created = UnixMillis(1_800_000_000_000).plus(if late { delay_ms } else { 0 });
    let options = CommandOptions {
        command_id: None,
        times: Some(CommandTimes {
            created,
            expires: created.plus(60_000),
        }),
    };
    Prepared::new(&made.roster, &made.identity, body, &options)
}

fn order(made: &MadeKey, step: DestroyStep) -> Prepared {
    let destroy = DestroyKey {
        key: made.view.record.name.clone(),
        key_id: made.view.record.id(),
        step,
        reason: "emptied".to_owned(),
    };
    command(made, CommandBody::DestroyKey(destroy))
}

fn receipt(made: &MadeKey, number: u8, order: &Prepared, said: Said) -> DestructionReceipt {
    DestructionReceipt {
        node: node_id(number),
        key: made.view.record.name.clone(),
        key_id: made.view.record.id(),
        command: order.digest(),
        said,
        record: 5,
        head: Digest::ZERO,
        signature: Signature([0; 64]),
    }
    .sign(&node_key(number))
}

fn gone() -> Said {
    Said::Destroyed {
        state: KeyState::Destroyed,
        epochs: vec![Epoch(1)],
        method: ErasureMethod::BestEffort,
        backups: 0,
    }
}

fn announced(from: u64) -> Said {
    Said::Announced {
        since: UnixMillis(1),
        from: UnixMillis(from),
        until: UnixMillis(from).plus(1_000),
    }
}

/// A key that some nodes say to have destroyed.
fn destroyed_by(numbers: &[u8]) -> MadeKey {
    let mut made = retired();
    let announcement = order(&made, DestroyStep::Announce);
    let confirmation = order(
        &made,
        DestroyStep::Confirm {
            announcement: announcement.digest(),
        },
    );
    made.view.destruction = Destruction {
        orders: vec![announcement.signed().clone(), confirmation.signed().clone()],
        receipts: numbers
            .iter()
            .map(|number| receipt(&made, *number, &confirmation, gone()))
            .collect(),
    };
    made
}

fn listed(made: &MadeKey) -> Result<ListedKey, VerificationError> {
    ListedKey::verify(&made.view, &made.roster)
}

#[test]
fn nodes_that_come_later_have_nothing_to_say_and_removed_holders_are_missing_for_ever() {
    let gone = destroyed_by(&[1, 2, 3, 4]);
    let (_, grown) = next_roster(&gone.roster, &gone.identity, |next| {
        next.nodes.push(node_card(5));
    });
    let partial = destroyed_by(&[2, 3, 4]);
    let (_, shrunk) = next_roster(&partial.roster, &partial.identity, |next| {
        next.nodes.retain(|card| card.id != node_id(1));
    });

    for (made, roster, state, complete) in [
        (gone, grown, KeyState::Destroyed, true),
        (partial, shrunk, KeyState::Deactivated, false),
    ] {
        let key = ListedKey::verify(&made.view, &roster).unwrap();
        let (_, count) = key.destruction_certificate(&roster).unwrap().unwrap();

        assert_eq!(key.state(), state);
        assert_eq!(count.is_complete(), complete);
    }
}

#[test]
fn a_key_is_destroyed_once_every_node_says_so_and_not_when_the_holders_that_are_shown_do() {
    for (numbers, state, complete) in [
        (&[1, 2][..], KeyState::Deactivated, false),
        (&[1, 2, 3], KeyState::Deactivated, false),
        (&[1, 2, 3, 4], KeyState::Destroyed, true),
    ] {
        let made = destroyed_by(numbers);
        let key = listed(&made).unwrap();
        assert_eq!(key.state(), state);

        let (certificate, count) = key.destruction_certificate(&made.roster).unwrap().unwrap();

        assert_eq!(count.is_complete(), complete);
        assert_eq!(count.destroyed.len(), numbers.len());
        let file = Certificate::Destruction(certificate).to_file().unwrap();
        let proven = Certificate::from_file(&file)
            .unwrap()
            .verify(&made.roster)
            .unwrap();
        assert!(matches!(proven, Proven::Destruction { count: read, .. } if read == count));
    }
}

#[test]
fn what_a_coordinator_makes_up_about_the_end_of_a_key_is_refused() {
    let mut forged = destroyed_by(&[1, 2, 3]);
    forged.view.destruction.receipts[0].record = 6;
    let mut repeated = destroyed_by(&[1, 2, 3]);
    let first = repeated.view.destruction.receipts[0].clone();
    repeated.view.destruction.receipts.push(first);
    let mut orderless = destroyed_by(&[1, 2, 3]);
    orderless.view.destruction.orders.pop();
    let mut of_nobody = destroyed_by(&[1, 2, 3]);
    of_nobody.view.destruction.orders[1].endorsements.clear();

    let mut withdrawn = destroyed_by(&[1, 2, 3]);
    let announcement = withdrawn.view.destruction.orders[0].digest();
    withdrawn.view.destruction.receipts[0].said = Said::Withdrawn { announcement };
    let made_up = withdrawn.view.destruction.receipts[0].clone();
    withdrawn.view.destruction.receipts[0] = made_up.sign(&node_key(1));

    for made in [forged, repeated, orderless, of_nobody, withdrawn] {
        assert!(listed(&made).is_err());
    }
    // An order without its announcement is no end.
    let mut unannounced = destroyed_by(&[1, 2, 3]);
    unannounced.view.destruction.orders.remove(0);
    let key = listed(&unannounced).unwrap();
    assert!(key.destruction_certificate(&unannounced.roster).is_err());
}

#[test]
fn a_certificate_of_a_changed_byte_is_refused() {
    let made = destroyed_by(&[1, 2, 3, 4]);
    let key = listed(&made).unwrap();
    let (certificate, _) = key.destruction_certificate(&made.roster).unwrap().unwrap();
    let file = Certificate::Destruction(certificate.clone())
        .to_file()
        .unwrap();
    for at in (0..file.len()).step_by(97) {
        let mut changed = file.clone();
        changed[at] ^= 1;

        let verified = Certificate::from_file(&changed).map(|read| read.verify(&made.roster));

        // What is not covered by any signature says nothing that is relied on.
        if let Ok(Ok(proven)) = verified {
            let Proven::Destruction { record, count } = proven else {
                panic!("another kind")
            };
            assert_eq!(record.id(), made.view.record.id());
            assert!(count.destroyed.len() <= 4);
        }
    }
    let mut unproven = certificate;
    unproven.evidence.proof = Some(vec![1, 2, 3]);
    assert!(verify_destruction(&unproven, &made.roster).is_err());
}

#[test]
fn announcements_are_those_that_nobody_withdrew() {
    let mut made = retired();
    let first = order(&made, DestroyStep::Announce);
    let second = order(&made, DestroyStep::Announce);
    let keep = order(
        &made,
        DestroyStep::Cancel {
            announcement: first.digest(),
        },
    );
    let withdrawn = Said::Withdrawn {
        announcement: first.digest(),
    };
    made.view.destruction = Destruction {
        orders: [&first, &second, &keep]
            .map(|order| order.signed().clone())
            .to_vec(),
        receipts: vec![
            receipt(&made, 1, &first, announced(10)),
            receipt(&made, 1, &second, announced(20)),
            receipt(&made, 2, &second, announced(30)),
            receipt(&made, 2, &keep, withdrawn),
        ],
    };

    let key = listed(&made).unwrap();

    let [one] = key.announcements().try_into().unwrap();
    assert_eq!(one.digest, second.digest());
    assert_eq!(one.from.len(), 2);
    assert_eq!(one.until, UnixMillis(1_020));
    assert_eq!(one.reason, "emptied");
    assert_eq!(key.announcement(None), Ok(second.digest()));
    assert_eq!(key.announcement(Some(Digest::ZERO)), Ok(Digest::ZERO));
}

#[test]
fn without_an_announcement_or_with_two_it_must_be_said_which_one_is_meant() {
    let mut made = retired();
    let none = listed(&made).unwrap().announcement(None).unwrap_err();
    let [first, second] = [1, 2].map(|_| order(&made, DestroyStep::Announce));
    made.view.destruction = Destruction {
        orders: [&first, &second]
            .map(|order| order.signed().clone())
            .to_vec(),
        receipts: vec![
            receipt(&made, 1, &first, announced(10)),
            receipt(&made, 1, &second, announced(20)),
        ],
    };

    let two = listed(&made).unwrap().announcement(None).unwrap_err();

    assert_eq!(none.reason, Reason::DestructionNotAnnounced);
    assert_eq!(two.reason, Reason::DestructionNotAnnounced);
    assert!(two.message.contains(&second.digest().to_string()));
}

#[test]
fn a_key_in_use_and_one_that_is_gone_everywhere_are_not_destroyed() {
    let in_use = made_key(Scheme::Bip340);
    let gone = destroyed_by(&[1, 2, 3, 4]);
    let partial = destroyed_by(&[1]);
    let check = |made: &MadeKey, step| {
        let judged = check_state(&listed(made).unwrap(), step, &made.roster);
        judged.err().and_then(|error| error.reason())
    };

    assert_eq!(
        check(&in_use, DestroyStep::Announce),
        Some(Reason::KeyNotRetired)
    );
    assert_eq!(
        check(&gone, DestroyStep::AtOnce),
        Some(Reason::KeyDestroyed)
    );
    assert_eq!(check(&partial, DestroyStep::AtOnce), None);
}
