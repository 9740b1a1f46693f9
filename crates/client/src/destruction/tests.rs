use quorate_model::{
    Epoch, Scheme, Signature,
    certificate::Certificate,
    destruction::{ErasureMethod, Said},
    standing::{SetKeyState, StateChange, StateMark},
};

use super::*;
use crate::{
    CommandOptions, CommandTimes, Committee, Proven,
    fixtures::{FakeCluster, MadeKey, made_key, next_roster, node_card, node_id, node_key},
    verify_certificate,
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
        let read = Certificate::from_file(&file).unwrap();
        let proven = verify_certificate(&read, &made.roster).unwrap();
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

        let verified =
            Certificate::from_file(&changed).map(|read| verify_certificate(&read, &made.roster));

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
    assert_eq!(one.id, second.id());
    assert_eq!(one.by, [made.identity.card().id.clone()]);
    assert_eq!(one.lapsed, UnixMillis(1_030));
    let at = UnixMillis(500);
    assert_eq!(key.to_withdraw(None, at), Ok(second.digest()));
    assert_eq!(key.to_withdraw(Some(Digest::ZERO), at), Ok(Digest::ZERO));
    // Once it has lapsed, what was withdrawn can be withdrawn again, and nothing confirmed.
    let late = UnixMillis(1_031);
    assert_eq!(key.to_withdraw(None, late), Ok(first.digest()));
    let refused = key.to_confirm(None, &made.roster, late).unwrap_err();
    assert_eq!(refused.reason, Reason::DestructionNotAnnounced);
}

#[test]
fn what_is_not_in_force_is_not_confirmed_and_what_stands_is_named() {
    let mut made = retired();
    let [kept, withdrawn] = [1, 2].map(|_| order(&made, DestroyStep::Announce));
    let (digest, gone) = (kept.digest(), withdrawn.digest());
    let cancel = order(&made, DestroyStep::Cancel { announcement: gone });
    let from = 1_800_000_000_000 + made.roster.roster().lifecycle_delay_ms();
    made.view.destruction = Destruction {
        orders: [&kept, &withdrawn, &cancel]
            .map(|order| order.signed().clone())
            .to_vec(),
        receipts: vec![
            receipt(&made, 1, &kept, announced(from)),
            receipt(&made, 1, &withdrawn, announced(from)),
            receipt(&made, 2, &cancel, Said::Withdrawn { announcement: gone }),
        ],
    };
    let key = listed(&made).unwrap();
    let refused = |named, at| {
        let refusal = key.to_confirm(Some(named), &made.roster, at).unwrap_err();
        assert_eq!(refusal.reason, Reason::DestructionNotAnnounced);
        refusal.message
    };
    let (at, late) = (UnixMillis(from), UnixMillis(from + 1_001));

    assert_eq!(key.to_confirm(Some(digest), &made.roster, at), Ok(digest));
    for (told, why) in [
        (refused(Digest::ZERO, at), "no node shows it"),
        (refused(gone, at), "it was withdrawn"),
    ] {
        assert!(told.contains(why), "{told}");
        assert!(told.contains(&digest.to_string()), "{told}");
    }
    let told = refused(digest, late);
    assert!(
        told.contains("it has lapsed; none is in force: announce it"),
        "{told}"
    );
    assert!(key.shows_announcement(&digest) && key.shows_announcement(&gone));
    assert!(!key.shows_announcement(&Digest::ZERO) && !key.shows_announcement(&cancel.digest()));
    assert_eq!(key.announcements_at(late), []);
    // Those who carried it out show only their ends; whoever was away may have heard it.
    let partial = destroyed_by(&[1, 2]);
    let digest = partial.view.destruction.orders[0].digest();
    let key = listed(&partial).unwrap();
    assert_eq!(
        key.to_confirm(Some(digest), &partial.roster, at),
        Ok(digest)
    );
}

/// A key whose announcement was heard by node 1 at a time.
fn announced_at(from: u64) -> (MadeKey, Digest) {
    let mut made = retired();
    let first = order(&made, DestroyStep::Announce);
    let said = Said::Announced {
        since: UnixMillis(1),
        from: UnixMillis(from),
        until: UnixMillis(u64::MAX),
    };
    made.view.destruction = Destruction {
        orders: vec![first.signed().clone()],
        receipts: vec![receipt(&made, 1, &first, said)],
    };
    (made, first.digest())
}

#[test]
fn a_confirmation_before_its_time_is_refused_with_the_time_from_which_it_can_be_made() {
    let (made, digest) = announced_at(10);
    let key = listed(&made).unwrap();
    // No node takes it, and none takes one that was made within the delay of the announcement.
    let opens = key.announcements()[0].opens(&made.roster);
    let delay_ms = made.roster.roster().lifecycle_delay_ms();
    assert_eq!(opens, UnixMillis(1_800_000_000_000 + delay_ms));

    let early = UnixMillis(opens.0 - 1_500);
    let refused = key.to_confirm(Some(digest), &made.roster, early);

    let refused = refused.unwrap_err();
    assert_eq!(refused.reason, Reason::DestructionTooEarly);
    assert_eq!(refused.get("left_s"), Some("2"));
    assert_eq!(
        key.to_confirm(Some(digest), &made.roster, opens),
        Ok(digest)
    );
    let (made, _) = announced_at(opens.0 + 5);
    let key = listed(&made).unwrap();
    assert!(key.to_confirm(None, &made.roster, opens).is_err());
}

#[test]
fn what_every_node_has_done_is_told_again_and_what_is_missing_only_while_nothing_else_helps() {
    let confirm = DestroyAction::Confirm(None);
    let taken = |made: &MadeKey, action, now| {
        let key = listed(made).unwrap();
        key.taken(action, &made.roster, now).unwrap()
    };
    let gone = destroyed_by(&[1, 2, 3, 4]);
    let partial = destroyed_by(&[1, 2]);
    let delay_ms = gone.roster.roster().lifecycle_delay_ms();
    let made_at = UnixMillis(1_800_000_000_000).plus(delay_ms);
    let late = made_at.plus(1_000_000);

    for action in [confirm, DestroyAction::AtOnce] {
        let again = taken(&gone, action, late).unwrap();
        let (_, count) = again.progress.certificate.unwrap();
        assert!(count.is_complete());
        assert_eq!(again.told_until, None);
    }
    let again = taken(&partial, confirm, made_at).unwrap();
    assert_eq!(again.told_until, Some(made_at.plus(60_000)));
    assert_eq!(again.progress.receipts.len(), 2);
    let missing = again.progress.missing_holders.len() + again.progress.missing_others.len();
    assert_eq!(missing, 2);
    let lapsed = taken(&partial, confirm, late).unwrap();
    assert_eq!(lapsed.told_until, None);
    assert!(taken(&partial, DestroyAction::AtOnce, made_at).is_none());
    // A missing node heard another announcement, which can be confirmed.
    let mut anew = partial;
    let again = order(&anew, DestroyStep::Announce);
    let heard = receipt(&anew, 4, &again, announced(late.0));
    anew.view.destruction.orders.push(again.signed().clone());
    anew.view.destruction.receipts.push(heard);
    assert!(taken(&anew, confirm, late).is_none());
    assert!(taken(&retired(), confirm, late).is_none());
}

#[test]
fn what_was_confirmed_under_another_roster_is_confirmed_afresh_by_whoever_was_away() {
    let confirm = DestroyAction::Confirm(None);
    let mut made = destroyed_by(&[1, 2]);
    let (_, changed) = next_roster(&made.roster, &made.identity, |next| {
        next.nodes.push(node_card(5));
    });
    let announcement = made.view.destruction.orders[0].clone();
    let at = UnixMillis(1_800_000_000_000).plus(made.roster.roster().lifecycle_delay_ms());
    let taken = |made: &MadeKey, roster: &_, action| {
        let key = ListedKey::verify(&made.view, roster).unwrap();
        key.taken(action, roster, at).unwrap()
    };
    let away = taken(&made, &changed, confirm).unwrap();
    assert!(away.is_outdated);
    assert_eq!(away.told_until, None);
    let unchanged = taken(&made, &made.roster, confirm).unwrap();
    assert!(!unchanged.is_outdated);

    // Whoever was away is back, and shows that it heard the announcement.
    let word = DestructionReceipt {
        command: announcement.digest(),
        said: announced(at.0),
        ..receipt(&made, 4, &order(&made, DestroyStep::Announce), gone())
    };
    let word = word.sign(&node_key(4));
    made.view.destruction.receipts.push(word);

    assert!(taken(&made, &changed, confirm).is_none());
    let named = DestroyAction::Confirm(Some(announcement.digest()));
    assert!(taken(&made, &changed, named).is_none());
    assert!(taken(&made, &made.roster, confirm).is_some());
    let key = ListedKey::verify(&made.view, &changed).unwrap();
    assert!(key.is_ordered_under_another_roster(&changed, at));
    assert!(!key.is_ordered_under_another_roster(&made.roster, at));
    assert_eq!(
        key.to_confirm(None, &changed, at),
        Ok(announcement.digest())
    );
}

#[test]
fn a_withdrawal_is_told_again_once_every_node_has_heard_it() {
    let mut made = retired();
    let first = order(&made, DestroyStep::Announce);
    let announcement = first.digest();
    let keep = order(&made, DestroyStep::Cancel { announcement });
    let orders = [&first, &keep].map(|order| order.signed().clone());
    let mut check = |numbers: &[u8], expected: bool| {
        let receipts = numbers
            .iter()
            .map(|number| receipt(&made, *number, &keep, Said::Withdrawn { announcement }));
        let receipts = receipts.collect();
        made.view.destruction = Destruction {
            orders: orders.to_vec(),
            receipts,
        };
        let key = listed(&made).unwrap();
        let cancel = DestroyAction::Cancel(None);
        let taken = key.taken(cancel, &made.roster, UnixMillis(1)).unwrap();
        assert_eq!(taken.map(|one| one.id), expected.then_some(keep.id()));
    };

    check(&[1, 2, 3, 4], true);
    check(&[1, 2, 3], false);
    check(&[], false);
}

/// Who shows the announcement, who the withdrawal, who says it just now, and who has destroyed its
/// shares; then who is missing, and whether one of those shows what it would act by.
type WithdrawalRow = (
    &'static [u8],
    &'static [u8],
    &'static [u8],
    &'static [u8],
    &'static [u8],
    bool,
);

#[test]
fn a_withdrawal_is_complete_once_every_node_of_the_roster_has_said_so() {
    let mut made = retired();
    let [first, other] = [1, 2].map(|_| order(&made, DestroyStep::Announce));
    let announcement = first.digest();
    let keep = order(&made, DestroyStep::Cancel { announcement });
    let end = order(&made, DestroyStep::AtOnce);
    let orders = [&first, &other, &keep, &end].map(|order| order.signed().clone());
    let withdrawn = Said::Withdrawn { announcement };
    let heard = |made: &MadeKey, number| receipt(made, number, &first, announced(10));
    let kept = |made: &MadeKey, number| receipt(made, number, &keep, withdrawn.clone());
    let nodes = |numbers: &[u8]| -> Vec<NodeId> { numbers.iter().copied().map(node_id).collect() };
    let table: [WithdrawalRow; 7] = [
        (&[], &[1, 2, 3, 4], &[], &[], &[], false),
        (&[], &[1, 2, 3], &[4], &[], &[], false),
        (&[3, 4], &[1, 2], &[3, 4], &[], &[], true),
        (&[4], &[1, 2, 3], &[], &[], &[4], true),
        (&[], &[1, 2, 3], &[], &[], &[4], false),
        (&[2, 3, 4], &[1], &[], &[], &[2, 3, 4], true),
        (&[], &[1, 2], &[], &[3], &[4], false),
    ];
    for (shows, withdrew, says, gone_at, missing, stands) in table {
        let mut receipts: Vec<_> = shows.iter().map(|number| heard(&made, *number)).collect();
        receipts.extend(withdrew.iter().map(|number| kept(&made, *number)));
        receipts.extend(gone_at.iter().map(|at| receipt(&made, *at, &end, gone())));
        // Another announcement is another matter.
        receipts.push(receipt(&made, 4, &other, announced(10)));
        let said: Vec<_> = says.iter().map(|number| kept(&made, *number)).collect();
        made.view.destruction = Destruction {
            orders: orders.to_vec(),
            receipts,
        };
        let key = listed(&made).unwrap();

        let count = key.withdrawal(announcement, &said, &made.roster);
        let half = key.half_withdrawn(&made.roster, UnixMillis(500));

        assert_eq!(count.missing, nodes(missing));
        assert_eq!(count.destroyed, nodes(gone_at));
        assert_eq!(count.nodes(), 4);
        assert_eq!(
            count.is_complete(),
            missing.is_empty() && gone_at.is_empty()
        );
        // One node's word takes it off the list of what can be confirmed, and off this one only where
        // nobody shows it.
        let listed: Vec<_> = key.announcements().iter().map(|one| one.digest).collect();
        assert_eq!(listed, [other.digest()]);
        assert_eq!(
            half.iter().any(|one| one.announcement == announcement),
            stands
        );
        // What has lapsed stands nowhere.
        assert_eq!(key.half_withdrawn(&made.roster, UnixMillis(2_000)), []);
    }
}

#[test]
fn without_an_announcement_or_with_two_it_must_be_said_which_one_is_meant() {
    let mut made = retired();
    let at = UnixMillis(50);
    let none = listed(&made).unwrap();
    let confirm = none.to_confirm(None, &made.roster, at).unwrap_err();
    let withdraw = none.to_withdraw(None, at).unwrap_err();
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

    let two = listed(&made).unwrap().to_withdraw(None, at).unwrap_err();

    assert_eq!(confirm.reason, Reason::DestructionNotAnnounced);
    assert!(confirm.message.ends_with("announce it"));
    assert_eq!(withdraw.reason, Reason::DestructionNotAnnounced);
    assert!(withdraw.message.ends_with("nothing to withdraw"));
    assert_eq!(two.reason, Reason::RequestInvalid);
    assert!(two.message.contains(&second.digest().to_string()));
}

#[tokio::test]
async fn no_command_is_made_for_new_shares_or_a_report_of_a_key_that_is_gone_or_stopped() {
    let cluster = FakeCluster::start(&quorate_model::KeyPurpose::ALL).await;
    let client = &cluster.client;
    let gone = listed(&destroyed_by(&[1, 2, 3, 4])).unwrap();
    let retired = listed(&retired()).unwrap();
    let options = CommandOptions::default();
    let reason = |prepared: Result<Prepared, ClientError>| prepared.unwrap_err().reason();
    let reshare = |key: &ListedKey, is_refresh: bool| {
        let mut committee = Committee::of(key.record());
        if !is_refresh {
            committee.nodes[0] = node_id(4);
        }
        client.prepare_reshare(key, committee, &options)
    };
    let destroyed = Some(Reason::KeyDestroyed);

    assert_eq!(reason(reshare(&gone, true)), destroyed);
    assert_eq!(reason(reshare(&gone, false)), destroyed);
    assert!(reshare(&retired, true).is_ok());
    assert_eq!(
        reason(reshare(&retired, false)),
        Some(Reason::KeyDeactivated)
    );
    for (change, expected) in [
        (StateChange::Compromise, destroyed),
        (StateChange::Suspend, Some(Reason::StateOutdated)),
        (StateChange::Deactivate, Some(Reason::StateOutdated)),
    ] {
        let prepared = client.prepare_state_change(&gone, change, "a drill", &options);
        assert_eq!(reason(prepared), expected, "{change}");
    }
}

#[test]
fn a_key_in_use_and_one_that_is_gone_everywhere_are_not_destroyed() {
    let in_use = made_key(Scheme::Bip340);
    let gone = destroyed_by(&[1, 2, 3, 4]);
    let partial = destroyed_by(&[1]);
    let check = |made: &MadeKey, needs_one| {
        let judged = check_state(&listed(made).unwrap(), needs_one, &made.roster);
        judged.err().and_then(|error| error.reason())
    };

    assert_eq!(check(&in_use, false), Some(Reason::KeyNotRetired));
    assert_eq!(check(&in_use, true), None);
    assert_eq!(check(&gone, false), Some(Reason::KeyDestroyed));
    assert_eq!(check(&gone, true), Some(Reason::KeyDestroyed));
    assert_eq!(check(&partial, false), None);
}
