use quorate_model::{
    Epoch, KeyState,
    audit::{Judgment, KeyPrepared, KeyStateChanged, SharePurpose, ShareReleased},
    destruction::DestroyKey,
    standing::{SetKeyState, StateChange, StateMark},
};

use super::*;
use crate::{
    CommandOptions, CommandTimes, Prepared,
    fixtures::{MadeKey, made_key, next_roster, node_id},
};
use quorate_model::Scheme;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const DELAY_MS: u64 = 7 * 24 * 3_600_000;

struct Case {
    made: MadeKey,
    endings: Endings,
    sequence: u64,
    /// The chain with rosters that were made since, and which of them the node acts by.
    since: Option<(PinnedRoster, Option<PinnedRoster>)>,
}

impl Case {
    fn new() -> Self {
        Self {
            made: made_key(Scheme::Bip340),
            endings: Endings::default(),
            sequence: 0,
            since: None,
        }
    }

    fn command(&self, body: CommandBody) -> SignedCommand {
        // What confirms is made after the delay.
        let late = matches!(&body, CommandBody::DestroyKey(destroy) if destroy.step.destroys());
        let created = NOW.plus(if late { DELAY_MS } else { 0 });
        self.command_of(body, created)
    }

    fn command_of(&self, body: CommandBody, created: UnixMillis) -> SignedCommand {
        let options = CommandOptions {
            command_id: None,
            times: Some(CommandTimes {
                created,
                expires: created.plus(60_000),
            }),
        };
        let prepared = Prepared::new(&self.made.roster, &self.made.identity, body, &options);
        prepared.signed().clone()
    }

    fn order(&self, step: DestroyStep) -> SignedCommand {
        self.command(CommandBody::DestroyKey(DestroyKey {
            key: self.made.view.record.name.clone(),
            key_id: self.made.view.record.id(),
            step,
            reason: "retired".to_owned(),
        }))
    }

    fn judgment(command: &SignedCommand) -> Judgment {
        Judgment {
            command: command.digest(),
            command_id: quorate_model::CommandId(uuid::Uuid::nil()),
            endorsements: Digest::ZERO,
            policy: Digest::ZERO,
            rule: "quorum:lifecycle".to_owned(),
        }
    }

    fn record(&mut self, time: UnixMillis, entry: Entry) -> Result<(), String> {
        self.sequence = self.sequence.saturating_add(1);
        let record = Record {
            sequence: self.sequence,
            previous: Digest::ZERO,
            time,
            boot: [0; 16],
            entry,
        };
        let first = (self.made.roster.clone(), None);
        let (roster, head) = self.since.as_ref().unwrap_or(&first);
        self.endings
            .record((roster, head.as_ref()), &node_id(1), &record, true)
    }

    fn retire(&mut self) {
        let record = self.made.view.record.clone();
        let set = SetKeyState {
            key: record.name.clone(),
            key_id: record.id(),
            sequence: 1,
            change: StateChange::Deactivate,
            reason: "retired".to_owned(),
        };
        let command = self.command(CommandBody::SetKeyState(set.clone()));
        let entry = Entry::KeyStateChanged(KeyStateChanged {
            judgment: Self::judgment(&command),
            key: record.name.clone(),
            key_id: record.id(),
            mark: StateMark::new(&set, command),
            state: KeyState::Deactivated,
        });
        self.record(NOW, entry).unwrap();
    }

    fn announce(&mut self, command: &SignedCommand, delay_ms: u64) -> Result<(), String> {
        let record = self.made.view.record.clone();
        let from = NOW.plus(delay_ms);
        let entry = Entry::DestructionAnnounced {
            judgment: Self::judgment(command),
            expires: NOW,
            key: record.name.clone(),
            key_id: record.id(),
            from,
            until: from.plus(CONFIRM_WINDOW_MS),
            command: command.clone(),
        };
        self.record(NOW, entry)
    }

    fn withdraw(&mut self, announcement: Digest) {
        let record = self.made.view.record.clone();
        let command = self.order(DestroyStep::Cancel { announcement });
        let entry = Entry::DestructionWithdrawn {
            judgment: Self::judgment(&command),
            key: record.name.clone(),
            key_id: record.id(),
            announcement,
            command,
        };
        self.record(NOW, entry).unwrap();
    }

    fn destroy(
        &mut self,
        time: UnixMillis,
        command: &SignedCommand,
        announcement: Option<&SignedCommand>,
    ) -> Result<(), String> {
        let record = self.made.view.record.clone();
        let entry = Entry::KeyDestroyed(KeyDestroyed {
            judgment: Self::judgment(command),
            expires: NOW,
            key: record.name.clone(),
            key_id: record.id(),
            state: KeyState::Destroyed,
            epochs: vec![Epoch(1)],
            backups: 0,
            announcement: announcement.cloned(),
            command: command.clone(),
        });
        self.record(time, entry)
    }

    fn confirmed(&mut self) -> (SignedCommand, SignedCommand) {
        let announcement = self.order(DestroyStep::Announce);
        let order = self.order(DestroyStep::Confirm {
            announcement: announcement.digest(),
        });
        (announcement, order)
    }
}

#[test]
fn an_end_that_was_ordered_announced_and_waited_for_holds() {
    let mut case = Case::new();
    case.retire();
    let (announcement, order) = case.confirmed();
    case.announce(&announcement, DELAY_MS).unwrap();

    case.destroy(NOW.plus(DELAY_MS), &order, Some(&announcement))
        .unwrap();

    let name = case.made.view.record.name.clone();
    assert_eq!(case.endings.destroyed(&node_id(1)), vec![name]);
}

#[test]
fn a_node_waits_as_long_as_the_roster_says_that_it_acts_by() {
    let longer = DELAY_MS + 1_000;
    for (acts, delay_ms, holds) in [
        (None, DELAY_MS, true),
        (Some(false), DELAY_MS, true),
        (Some(false), DELAY_MS - 1, false),
        (Some(true), DELAY_MS, false),
        (Some(true), longer, true),
    ] {
        let mut case = Case::new();
        let (announcement, _) = case.confirmed();
        let first = case.made.roster.clone();
        let (_, second) = next_roster(&first, &case.made.identity, |next| {
            next.lifecycle_delay_seconds = Some(7 * 24 * 3_600 + 1);
        });
        let head = acts.map(|newest| if newest { second.clone() } else { first });
        case.since = Some((second, head));

        let judged = case.announce(&announcement, delay_ms);

        assert_eq!(judged.is_ok(), holds, "{acts:?} {delay_ms} {judged:?}");
    }
}

#[test]
fn an_end_out_of_its_time_or_withdrawn_or_of_a_key_in_use_proves_a_fault() {
    let late = DELAY_MS + CONFIRM_WINDOW_MS + 1;
    for (retires, announces, withdraws, after_ms) in [
        (true, true, false, DELAY_MS - 1),
        (true, true, false, late),
        (true, false, false, DELAY_MS),
        (true, true, true, DELAY_MS),
        (false, true, false, DELAY_MS),
    ] {
        let mut case = Case::new();
        if retires {
            case.retire();
        }
        let (announcement, order) = case.confirmed();
        if announces {
            case.announce(&announcement, DELAY_MS).unwrap();
        }
        if withdraws {
            case.withdraw(announcement.digest());
        }

        let judged = case.destroy(NOW.plus(after_ms), &order, Some(&announcement));

        assert!(judged.unwrap_err().contains("proves its fault"));
    }
}

/// P11: both steps were endorsed in one sitting.
#[test]
fn an_end_that_was_confirmed_before_the_delay_proves_a_fault() {
    let mut case = Case::new();
    case.retire();
    let (announcement, _) = case.confirmed();
    case.announce(&announcement, DELAY_MS).unwrap();
    let record = case.made.view.record.clone();
    let destroy = DestroyKey {
        key: record.name.clone(),
        key_id: record.id(),
        step: DestroyStep::Confirm {
            announcement: announcement.digest(),
        },
        reason: "retired".to_owned(),
    };
    let early = case.command_of(CommandBody::DestroyKey(destroy), NOW.plus(DELAY_MS - 1));

    let judged = case.destroy(NOW.plus(DELAY_MS), &early, Some(&announcement));

    assert!(judged.unwrap_err().contains("proves its fault"));
}

/// A withdrawal is of one key: what names another one says nothing of this.
#[test]
fn a_withdrawal_under_another_key_blames_nobody() {
    let mut case = Case::new();
    case.retire();
    let (announcement, order) = case.confirmed();
    case.announce(&announcement, DELAY_MS).unwrap();
    let other: KeyName = "other".parse().unwrap();
    let step = DestroyStep::Cancel {
        announcement: announcement.digest(),
    };
    let keep = case.command(CommandBody::DestroyKey(DestroyKey {
        key: other.clone(),
        key_id: KeyId([9; 32]),
        step,
        reason: "kept".to_owned(),
    }));
    let withdrawn = Entry::DestructionWithdrawn {
        judgment: Case::judgment(&keep),
        key: other,
        key_id: KeyId([9; 32]),
        announcement: announcement.digest(),
        command: keep,
    };
    case.record(NOW, withdrawn).unwrap();

    let judged = case.destroy(NOW.plus(DELAY_MS), &order, Some(&announcement));

    assert_eq!(judged, Ok(()));
}

#[test]
fn a_node_that_waits_less_than_the_roster_says_is_at_fault() {
    let mut case = Case::new();
    let announcement = case.order(DestroyStep::Announce);

    let judged = case.announce(&announcement, DELAY_MS - 1);

    assert!(judged.unwrap_err().contains("waits less"));
}

#[test]
fn an_order_of_nobody_or_about_something_else_is_refused() {
    let mut case = Case::new();
    case.retire();
    let mut unsigned = case.order(DestroyStep::AtOnce);
    unsigned.endorsements.clear();
    let keep = case.order(DestroyStep::Cancel {
        announcement: Digest::ZERO,
    });

    assert!(case.destroy(NOW, &unsigned, None).is_err());
    assert!(case.destroy(NOW, &keep, None).is_err());
    assert!(case.announce(&keep, DELAY_MS).is_err());
}

#[test]
fn whatever_is_done_with_a_key_after_its_end_proves_a_fault() {
    let mut case = Case::new();
    case.retire();
    let order = case.order(DestroyStep::AtOnce);
    case.destroy(NOW, &order, None).unwrap();
    let key = case.made.view.record.name.clone();
    let judgment = Case::judgment(&order);
    let share = Entry::ShareReleased(ShareReleased {
        judgment: judgment.clone(),
        expires: NOW,
        key: key.clone(),
        epoch: Epoch(1),
        purpose: SharePurpose::Sign,
        items: Vec::new(),
    });
    let prepared = Entry::KeyPrepared(KeyPrepared {
        judgment,
        key: key.clone(),
        epoch: Epoch(2),
        session: Digest::ZERO,
        statement: Digest::ZERO,
    });
    let activated = Entry::KeyActivated {
        key,
        epoch: Epoch(2),
        proof: Vec::new(),
    };

    for entry in [share, prepared, activated] {
        let judged = case.record(NOW, entry);

        assert!(judged.unwrap_err().contains("after it destroyed it"));
    }
    assert!(case.destroy(NOW, &order, None).is_err());
}

#[test]
fn a_retired_key_that_signs_for_a_client_proves_a_fault_and_one_that_is_evacuated_does_not() {
    let mut case = Case::new();
    let order = case.order(DestroyStep::AtOnce);
    let key = case.made.view.record.name.clone();
    let share = |rule: &str| {
        Entry::ShareReleased(ShareReleased {
            judgment: Judgment {
                rule: rule.to_owned(),
                ..Case::judgment(&order)
            },
            expires: NOW,
            key: key.clone(),
            epoch: Epoch(1),
            purpose: SharePurpose::Sign,
            items: Vec::new(),
        })
    };
    assert_eq!(case.record(NOW, share(RULE_OF_CLIENTS)), Ok(()));

    case.retire();

    let judged = case.record(NOW, share(RULE_OF_CLIENTS));
    assert!(judged.unwrap_err().contains("signed for a client"));
    assert_eq!(case.record(NOW, share("quorum:admin")), Ok(()));
}
