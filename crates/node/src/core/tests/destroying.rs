//! The end of keys: announced, waited for, confirmed, and nothing left (P34, P11).

mod epochs;
mod killed;
mod opened;

use quorate_model::{
    Refusal,
    audit::BackupMade,
    backup::BackupId,
    command::{Command, SignedCommand},
    destruction::{
        CONFIRM_WINDOW_MS, DestroyKey, DestroyStep, DestructionReceipt, MAX_ANNOUNCEMENTS, Said,
    },
    node_api::KeyListing,
    standing::StateChange::{Compromise, Deactivate, Suspend},
};
use rand_core::OsRng;

use super::{standing::told, *};
use crate::{
    core::{Context, Outcome, Reading, ledger, lock},
    index::Index,
    vault::VaultError,
};

pub(super) const DELAY_MS: u64 = 7 * 24 * 3_600_000;

use DestroyStep::{Announce, AtOnce};

pub(super) const fn confirm(announcement: Digest) -> DestroyStep {
    DestroyStep::Confirm { announcement }
}

pub(super) const fn cancel(announcement: Digest) -> DestroyStep {
    DestroyStep::Cancel { announcement }
}

impl Cluster {
    /// A command of the first admin, made now.
    pub(super) fn step_of_one(&mut self, name: &str, step: DestroyStep) -> SignedCommand {
        let destroy = DestroyKey {
            key: name.parse().unwrap(),
            key_id: self.created.get(name).copied().unwrap_or(KeyId([0; 32])),
            step,
            reason: "its time is over".to_owned(),
        };
        let now = START.plus(self.monotonic_ms);
        let command = Command {
            cluster: self.pinned.cluster(),
            roster: self.pinned.hash(),
            id: self.command_id(),
            created: now,
            expires: now.plus(3_600_000),
            body: CommandBody::DestroyKey(destroy),
        };
        self.propose(&command, Role::Admin)
    }

    /// The same by the word of both.
    pub(super) fn step(&mut self, name: &str, step: DestroyStep) -> SignedCommand {
        let mut command = self.step_of_one(name, step);
        let key = self.second_admin.clone();
        let second = "the-second-admin";
        self.word(&mut command, EndorsementKind::Approve, second, &key);
        command
    }

    pub(super) fn destroy(
        &mut self,
        at: usize,
        command: &SignedCommand,
    ) -> Result<DestructionReceipt, Refusal> {
        let request = NodeRequest::DestroyKey {
            command: command.clone(),
        };
        match self.ask(at, request)? {
            NodeReply::Destruction(receipt) => Ok(receipt),
            other => panic!("{other:?}"),
        }
    }

    fn listed(&mut self, at: usize, name: &str) -> KeyListing {
        let request = NodeRequest::ListKeys {
            after: None,
            limit: 10,
        };
        let NodeReply::Keys(keys) = self.ask(at, request).unwrap() else {
            panic!("no keys")
        };
        let key = keys.into_iter().find(|key| key.key.as_str() == name);
        key.unwrap()
    }

    /// A key that is deactivated everywhere.
    fn retired(&mut self, name: &str) -> quorate_model::certificate::CommitCertificate {
        let certificate = self.create(name, Scheme::Bip340, 2);
        self.retire(name);
        certificate
    }

    fn retire(&mut self, name: &str) {
        for at in 0..self.cores.len() {
            self.change(at, name, 1, Deactivate).unwrap();
        }
    }

    /// An announcement that every node has heard, after their delays.
    fn announced(&mut self, name: &str) -> SignedCommand {
        let announcement = self.step(name, Announce);
        for at in 0..self.cores.len() {
            self.destroy(at, &announcement).unwrap();
        }
        self.monotonic_ms += DELAY_MS;
        announcement
    }

    fn holds(&self, at: usize, name: &str) -> bool {
        let share = (name.parse().unwrap(), Epoch(1));
        let core = &self.cores[at];
        let loaded = core.vault.load(&share.0, share.1);
        let readable = match loaded {
            Ok(_) => true,
            Err(VaultError::Missing { .. } | VaultError::Erased { .. }) => false,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(readable, core.vault.keyring().contains(&share));
        readable
    }
}

#[test]
fn a_key_is_announced_waited_for_confirmed_and_gone() {
    let mut cluster = Cluster::new(3);
    cluster.retired("notes");
    let announcement = cluster.step("notes", Announce);
    let heard = cluster.destroy(0, &announcement).unwrap();
    assert!(
        matches!(heard.said, Said::Announced { since, from, until } if since == START
            && from == START.plus(DELAY_MS)
            && until == from.plus(CONFIRM_WINDOW_MS))
    );
    assert!(cluster.holds(0, "notes"));
    cluster.monotonic_ms = DELAY_MS - 1;
    let confirmation = cluster.step("notes", confirm(announcement.digest()));
    let early = cluster.destroy(0, &confirmation).unwrap_err();
    assert_eq!(early.reason, Reason::DestructionTooEarly);
    assert_eq!(early.get("left_s"), Some("1"));
    cluster.monotonic_ms = DELAY_MS;
    // Endorsed before the delay was over, it does not count after it either (P11).
    assert_eq!(
        told(cluster.destroy(0, &confirmation)),
        Some(Reason::CommandTimeInvalid)
    );
    let confirmation = cluster.step("notes", confirm(announcement.digest()));

    let receipt = cluster.destroy(0, &confirmation).unwrap();

    assert_eq!(receipt.command, confirmation.digest());
    assert!(
        matches!(&receipt.said, Said::Destroyed { state: KeyState::Destroyed, epochs, .. }
            if *epochs == [Epoch(1)])
    );
    let about = (&"notes".parse().unwrap(), cluster.created["notes"]);
    let pinned = &cluster.pinned;
    receipt.verify(pinned, &node_id(0), about).unwrap();
    assert!(receipt.verify(pinned, &node_id(1), about).is_err());
    assert!(!cluster.holds(0, "notes") && cluster.holds(1, "notes"));
    // The same again, whoever asks, and by whatever order.
    assert_eq!(cluster.destroy(0, &confirmation).unwrap(), receipt);
    let another = cluster.step("notes", AtOnce);
    assert_eq!(cluster.destroy(0, &another).unwrap(), receipt);
    let records = entries(&cluster, 0);
    let tombstones = records
        .iter()
        .filter(|entry| matches!(entry, Entry::KeyDestroyed(_)));
    assert_eq!(tombstones.count(), 1);
    let listed = cluster.listed(0, "notes");
    assert_eq!(listed.state, KeyState::Destroyed);
    assert_eq!(listed.destruction.receipts, vec![receipt]);
    assert_eq!(listed.destruction.orders, vec![announcement, confirmation]);
}

/// Whoever reads the journal counts from the time of the record, and blames nobody for what came in
/// between.
#[test]
fn a_delay_is_counted_from_the_record_also_where_the_clock_was_read_before_it() {
    let mut cluster = Cluster::new(3);
    cluster.retired("notes");
    cluster.create("other", Scheme::Bip340, 2);
    cluster.monotonic_ms = 50;
    cluster.change(0, "other", 1, Suspend).unwrap();
    cluster.monotonic_ms = 40;
    let announcement = cluster.step("notes", Announce);

    let heard = cluster.destroy(0, &announcement).unwrap();

    assert!(
        matches!(heard.said, Said::Announced { since, from, .. } if since == START.plus(50)
            && from == START.plus(50 + DELAY_MS))
    );
}

/// Beside what the table of `docs/protocol/states.md` says of it.
#[test]
fn nothing_is_done_with_a_destroyed_key_and_its_name_is_never_used_again() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.retired("notes");
    let gone = Some(Reason::KeyDestroyed);
    let order = cluster.step("notes", AtOnce);
    for at in 0..3 {
        cluster.destroy(at, &order).unwrap();
    }

    let set = cluster.set(&[0, 1], Scheme::Bip340);
    let sign = cluster.sign_command("notes", vec![Payload::message(*b"x")]);
    let request = cluster.share_request(&sign, &certificate, &[set]);
    assert_eq!(told(cluster.shares(0, &request)), gone);
    assert_eq!(
        told(cluster.ask(0, NodeRequest::Validate { command: sign })),
        Some(Reason::KeyDestroyed)
    );
    assert_eq!(told(cluster.change(0, "notes", 9, Compromise)), gone);
    assert_eq!(told(cluster.change(0, "notes", 9, Suspend)), gone);
    let keep = cluster.step_of_one("notes", cancel(order.digest()));
    assert_eq!(told(cluster.destroy(0, &keep)), gone);
    assert_eq!(told(cluster.prove(&certificate)), gone);
    let again = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    assert_eq!(told(cluster.prepare(&again, Epoch(2), 7)), gone);
}

#[test]
fn an_announcement_that_nobody_confirms_in_time_is_worth_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.retired("notes");
    let announcement = cluster.announced("notes");
    cluster.monotonic_ms += CONFIRM_WINDOW_MS + 1;
    let late = cluster.step("notes", confirm(announcement.digest()));

    let refused = told(cluster.destroy(0, &late));

    assert_eq!(refused, Some(Reason::DestructionNotAnnounced));
    assert!(cluster.holds(0, "notes"));
}

#[test]
fn one_admin_withdraws_an_announcement_for_good_and_nobody_is_in_the_way() {
    let mut cluster = Cluster::new(3);
    cluster.retired("notes");
    let announcement = cluster.announced("notes");
    let second = cluster.second_admin.clone();
    let mut keep = cluster.step_of_one("notes", cancel(announcement.digest()));
    cluster.word(
        &mut keep,
        EndorsementKind::Reject,
        "the-second-admin",
        &second,
    );

    let withdrawn = cluster.destroy(0, &keep).unwrap();

    assert_eq!(cluster.destroy(0, &keep).unwrap(), withdrawn);
    assert!(
        matches!(withdrawn.said, Said::Withdrawn { announcement: a } if a == announcement.digest())
    );
    let late = cluster.step("notes", confirm(announcement.digest()));
    let not = Some(Reason::DestructionNotAnnounced);
    assert_eq!(told(cluster.destroy(0, &late)), not);
    // Nor is it announced again by whoever kept a copy; made anew it is.
    cluster.monotonic_ms = 1;
    assert_eq!(told(cluster.destroy(0, &announcement)), not);
    let anew = cluster.step("notes", Announce);
    assert!(cluster.destroy(0, &anew).is_ok());
    // A withdrawal that comes first counts as well.
    assert!(cluster.destroy(1, &keep).is_ok());
    assert_eq!(told(cluster.destroy(1, &announcement)), not);
    let listed = cluster.listed(1, "notes").destruction;
    assert_eq!(listed.orders, vec![keep]);
    assert_eq!(listed.receipts.len(), 1);
}

/// Whoever confirms must hear of every withdrawal, and not of the last one alone.
#[test]
fn withdrawals_are_listed_beside_each_other_and_as_many_as_announcements_are_kept() {
    let mut cluster = Cluster::new(3);
    cluster.retired("notes");
    let mut kept = Vec::new();
    for _ in 0..=MAX_ANNOUNCEMENTS {
        let announcement = cluster.announced("notes");
        let keep = cluster.step_of_one("notes", cancel(announcement.digest()));
        cluster.destroy(0, &keep).unwrap();
        kept.push(keep);
    }

    let listed = cluster.listed(0, "notes").destruction;

    assert_eq!(listed.orders, kept[1..]);
    assert_eq!(listed.receipts.len(), MAX_ANNOUNCEMENTS);
}

/// A withdrawal is of one key: what names another one neither keeps nor spoils anything of this.
#[test]
fn a_withdrawal_under_another_key_changes_nothing_of_this_one() {
    let mut cluster = Cluster::new(3);
    cluster.retired("notes");
    cluster.create("other", Scheme::Bip340, 2);
    let announcement = cluster.step("notes", Announce);
    cluster.destroy(0, &announcement).unwrap();
    let keep = cluster.step_of_one("other", cancel(announcement.digest()));
    cluster.destroy(0, &keep).unwrap();
    // Of the same name with another id, at a node that does not know the key.
    cluster.created.insert("lost".to_owned(), KeyId([5; 32]));
    let of_lost = cluster.announced("lost");
    cluster.created.insert("lost".to_owned(), KeyId([6; 32]));
    let foreign = cluster.step_of_one("lost", cancel(of_lost.digest()));
    cluster.destroy(0, &foreign).unwrap();
    cluster.created.insert("lost".to_owned(), KeyId([5; 32]));

    for (name, announced) in [("notes", announcement), ("lost", of_lost)] {
        cluster.monotonic_ms += 1;
        let order = cluster.step(name, confirm(announced.digest()));
        let receipt = cluster.destroy(0, &order).unwrap();
        assert!(receipt.is_destroyed(), "{name}");
        assert_eq!(receipt.key_id, cluster.created[name]);
        assert_eq!(cluster.listed(0, name).destruction.receipts, vec![receipt]);
    }
}

/// What one admin withdraws is an announcement and nothing else.
#[test]
fn a_withdrawal_keeps_no_suspension_away() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    let set = cluster.state_set("notes", 1, Suspend);
    let suspension = cluster.proposed(set);
    let keep = cluster.step_of_one("notes", cancel(suspension.digest()));
    cluster.destroy(0, &keep).unwrap();

    cluster.bring(0, &suspension).unwrap();

    assert_eq!(cluster.state_of(0, "notes"), KeyState::Suspended);
}

/// Withdrawals do not expire, so whoever has old ones can bring them again and again.
#[test]
fn a_withdrawal_that_is_brought_again_is_answered_and_takes_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.retired("notes");
    let [first, second] = [1, 2].map(|number| {
        let named = Digest::new([number; 32]);
        cluster.step_of_one("notes", cancel(named))
    });
    let receipts = [&first, &second].map(|keep| cluster.destroy(0, keep).unwrap());
    let before = entries(&cluster, 0).len();

    for _ in 0..100 {
        assert_eq!(cluster.destroy(0, &first).unwrap(), receipts[0]);
        assert_eq!(cluster.destroy(0, &second).unwrap(), receipts[1]);
    }

    assert_eq!(entries(&cluster, 0).len(), before);
    // Another admin's count for themselves: one uses up nobody else's.
    let mut last = None;
    for number in 3..200 {
        let named = Digest::new([number; 32]);
        let keep = cluster.step_of_one("notes", cancel(named));
        last = told(cluster.destroy(0, &keep));
    }
    assert_eq!(last, Some(Reason::Overloaded));
    let announcement = cluster.announced("notes");
    let order = cluster.step("notes", confirm(announcement.digest()));
    assert!(cluster.destroy(0, &order).unwrap().is_destroyed());
}

#[test]
fn it_takes_two_persons_to_announce_and_to_confirm_and_every_admin_at_once() {
    let mut cluster = Cluster::new(3);
    cluster.retired("notes");
    let announcement = cluster.announced("notes");
    let missing = Some(Reason::EndorsementsMissing);
    for step in [Announce, confirm(announcement.digest()), AtOnce] {
        let alone = cluster.step_of_one("notes", step);
        assert_eq!(told(cluster.destroy(0, &alone)), missing, "{step:?}");
        // One person with two keys is one person (P6).
        let mut twice = cluster.step_of_one("notes", step);
        let phone = cluster.phone.clone();
        cluster.word(&mut twice, EndorsementKind::Approve, "the-phone", &phone);
        assert_eq!(told(cluster.destroy(0, &twice)), missing, "{step:?}");
    }
    assert!(cluster.holds(0, "notes"));
}

#[test]
fn what_an_admin_forbids_is_not_carried_out_also_later() {
    let mut cluster = Cluster::new(3);
    cluster.retired("notes");
    let announcement = cluster.announced("notes");
    let order = cluster.step("notes", confirm(announcement.digest()));
    let mut rejected = order.clone();
    rejected.endorsements.pop();
    let second = cluster.second_admin.clone();
    let reject = EndorsementKind::Reject;
    cluster.word(&mut rejected, reject, "the-second-admin", &second);
    let forbidden = Some(Reason::CommandRejected);

    assert_eq!(told(cluster.destroy(0, &rejected)), forbidden);
    assert_eq!(told(cluster.destroy(0, &order)), forbidden);
    assert!(cluster.holds(0, "notes"));
}

#[test]
fn a_confirmation_names_what_this_node_has_heard_and_the_key_that_it_has() {
    let mut cluster = Cluster::new(3);
    cluster.retired("notes");
    let announcement = cluster.announced("notes");
    let other = cluster.step("notes", confirm(Digest::new([7; 32])));
    let not = Some(Reason::DestructionNotAnnounced);
    assert_eq!(told(cluster.destroy(0, &other)), not);
    let id = cluster.created.insert("notes".to_owned(), KeyId([9; 32]));
    for step in [Announce, confirm(announcement.digest()), AtOnce] {
        let foreign = cluster.step("notes", step);
        let refused = told(cluster.destroy(0, &foreign));
        assert_eq!(refused, Some(Reason::KeyIdMismatch), "{step:?}");
    }
    cluster.created.insert("notes".to_owned(), id.unwrap());
    let sign = cluster.sign_command("notes", vec![Payload::message(*b"x")]);
    assert_eq!(
        told(cluster.destroy(0, &sign)),
        Some(Reason::CommandExpired)
    );
    cluster.monotonic_ms = 0;
    let set = cluster.step("notes", Announce);
    let brought = NodeRequest::SetKeyState { command: set };
    assert_eq!(told(cluster.ask(0, brought)), Some(Reason::RequestInvalid));
}

/// Whoever may ever have held a share answers, and a name that was destroyed is used nowhere.
#[test]
fn a_node_without_a_share_says_so_and_never_takes_one() {
    let mut cluster = Cluster::new(3);
    let other = cluster.create_command("other", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&other, Epoch(1), 7).unwrap();
    let proof = cluster.certificate(&other, &prepared);
    let proof = cluster.prove(&proof).unwrap();
    cluster.created.insert("lost".to_owned(), KeyId([5; 32]));
    let announcement = cluster.announced("lost");
    let order = cluster.step("lost", confirm(announcement.digest()));

    let receipt = cluster.destroy(2, &order).unwrap();

    assert!(matches!(receipt.said, Said::Destroyed { epochs, .. } if epochs.is_empty()));
    let listed = cluster.listed(2, "lost");
    assert_eq!(listed.state, KeyState::Destroyed);
    assert_eq!(listed.certificate, None);
    let create = cluster.create_command("lost", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    cluster.monotonic_ms = 0;
    let begin = NodeRequest::BeginCeremony {
        attempt: [1; 16],
        command: create,
        epoch: Epoch(1),
        source: None,
    };
    let gone = Some(Reason::KeyDestroyed);
    assert_eq!(told(cluster.ask(2, begin)), gone);
    cluster.monotonic_ms = DELAY_MS;
    cluster.created.insert("lost".to_owned(), KeyId([6; 32]));
    let other = cluster.step("lost", AtOnce);
    assert_eq!(told(cluster.destroy(2, &other)), gone);
    // And nobody is told that there is no such key, or that it could not be used for now.
    let activate = NodeRequest::ActivateKey {
        key: "lost".parse().unwrap(),
        epoch: Epoch(1),
        certificate: Vec::new(),
        proof: proof.to_bytes().unwrap(),
    };
    assert_eq!(told(cluster.ask(2, activate)), gone);
    cluster.monotonic_ms = 0;
    let command = cluster.sign_command("lost", vec![Payload::message(*b"x")]);
    let validate = NodeRequest::Validate { command };
    assert_eq!(told(cluster.ask(2, validate)), gone);
}

/// P34: the tombstone comes first; whatever dies after it is finished at the start, or by whoever
/// asks again.
#[test]
fn a_node_that_dies_after_the_tombstone_erases_when_it_starts_or_is_asked_again() {
    for restarts in [true, false] {
        let mut cluster = Cluster::new(3);
        cluster.retired("notes");
        let order = cluster.step("notes", AtOnce);
        let request = NodeRequest::DestroyKey {
            command: order.clone(),
        };
        let Outcome::Pending(pending) = cluster.judge(0, request.clone()) else {
            panic!("nothing is recorded");
        };
        let Outcome::Ready(meanwhile) = cluster.judge(0, request) else {
            panic!("recorded twice")
        };
        assert_eq!(reason(meanwhile), Reason::Overloaded);
        let journal = cluster.cores[0].journal();
        journal.commit(pending.appended()).unwrap();
        drop(pending);
        assert!(cluster.holds(0, "notes"));
        assert!(cluster.listed(0, "notes").destruction.is_empty());

        if restarts {
            let erased = cluster.cores[0].finish_erasures(&mut OsRng).unwrap();
            assert_eq!(erased, 1);
        }
        let receipt = cluster.destroy(0, &order).unwrap();

        assert!(receipt.is_destroyed());
        assert!(!cluster.holds(0, "notes"));
        assert_eq!(cluster.cores[0].finish_erasures(&mut OsRng).unwrap(), 0);
    }
}

/// A process may die between the data keys and the files: what is left is noise, and goes too.
#[test]
fn a_file_that_has_lost_its_data_key_goes_with_the_next_start() {
    let mut cluster = Cluster::new(3);
    cluster.retired("notes");
    let order = cluster.step("notes", AtOnce);
    let request = NodeRequest::DestroyKey { command: order };
    let Outcome::Pending(pending) = cluster.judge(0, request) else {
        panic!("nothing is recorded");
    };
    let core = &cluster.cores[0];
    core.journal().commit(pending.appended()).unwrap();
    drop(pending);
    let share = ("notes".parse().unwrap(), Epoch(1));
    let shares = std::collections::BTreeSet::from([share.clone()]);
    core.vault.keyring().erase(&shares, &mut OsRng).unwrap();
    assert!(core.vault.has_files(&share.0, share.1).unwrap());

    assert_eq!(core.finish_erasures(&mut OsRng).unwrap(), 1);

    assert!(!core.vault.has_files(&share.0, share.1).unwrap());
}

/// A ceremony that was under way when the tombstone came leaves no share behind.
#[test]
fn a_run_that_is_under_way_prepares_nothing_after_the_tombstone() {
    let mut cluster = Cluster::new(3);
    let create = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let order = cluster.step("notes", AtOnce);
    let attempt = [1; 16];
    let mut replies = Vec::new();
    for at in 0..3 {
        let request = NodeRequest::BeginCeremony {
            attempt,
            command: create.clone(),
            epoch: Epoch(1),
            source: None,
        };
        replies.push(ceremony(cluster.ask(at, request).unwrap()));
    }

    cluster.destroy(0, &order).unwrap();

    let round = replies[0].round;
    let request = NodeRequest::AdvanceCeremony {
        attempt,
        round,
        envelopes: inbox(&replies, index(1)),
    };
    assert_eq!(told(cluster.ask(0, request)), Some(Reason::SessionUnknown));
    assert!(!cluster.holds(0, "notes"));
}

#[test]
fn a_node_that_doubts_its_clock_destroys_nothing_and_keeps_everything() {
    let mut cluster = Cluster::new(3);
    cluster.retired("notes");
    let announcement = cluster.announced("notes");
    let order = cluster.step("notes", confirm(announcement.digest()));
    let keep = cluster.step_of_one("notes", cancel(announcement.digest()));
    let core = std::sync::Arc::clone(&cluster.cores[0]);
    let ask = |cluster: &mut Cluster, command: SignedCommand| {
        let reading = Reading {
            wall: START.plus(cluster.monotonic_ms + 60_000),
            ..cluster.reading()
        };
        let mut context = Context {
            caller: &coordinator(),
            reading,
            rng: &mut cluster.rng,
        };
        let request = NodeRequest::DestroyKey { command };
        core.handle(&mut context, request).unwrap()
    };

    let Outcome::Ready(doubted) = ask(&mut cluster, order) else {
        panic!("carried out by a clock in doubt")
    };

    assert_eq!(reason(doubted), Reason::ClockSuspect);
    assert!(matches!(ask(&mut cluster, keep), Outcome::Pending(_)));
}

#[test]
fn announcements_of_one_key_are_bounded() {
    let mut cluster = Cluster::new(2);
    cluster.retired("notes");
    for _ in 0..MAX_ANNOUNCEMENTS {
        let announcement = cluster.step("notes", Announce);
        cluster.destroy(0, &announcement).unwrap();
    }
    let one_more = cluster.step("notes", Announce);
    assert_eq!(
        told(cluster.destroy(0, &one_more)),
        Some(Reason::Overloaded)
    );

    // Those that have lapsed make room.
    cluster.monotonic_ms += DELAY_MS + CONFIRM_WINDOW_MS + 1;
    let later = cluster.step("notes", Announce);
    assert!(cluster.destroy(0, &later).is_ok());
    assert_eq!(cluster.listed(0, "notes").destruction.orders, vec![later]);
}

/// A node that lost its index stands where it stood.
#[test]
fn the_end_of_a_key_is_folded_from_the_journal_alone() {
    let mut cluster = Cluster::new(3);
    cluster.retired("notes");
    let announcement = cluster.announced("notes");
    let other = cluster.step("notes", Announce);
    cluster.destroy(0, &other).unwrap();
    let keep = cluster.step_of_one("notes", cancel(other.digest()));
    cluster.destroy(0, &keep).unwrap();
    let name = "notes".parse().unwrap();
    let rows = |cluster: &Cluster| {
        let state = lock(&cluster.cores[0].state);
        let ended = ledger::destruction(&*state.index, &name).unwrap();
        (ended, ledger::key(&*state.index, &name).unwrap())
    };
    let folded = |cluster: &Cluster| {
        let fresh = harness::memory_index();
        let journal = cluster.cores[0].journal();
        for record in journal.read_range(1, 10_000, 1 << 24).unwrap() {
            let record = quorate_model::audit::Record::from_bytes(&record.bytes).unwrap();
            let changes = ledger::changes(&fresh, &record).unwrap();
            fresh.apply(record.sequence, changes).unwrap();
        }
        let ended = ledger::destruction(&fresh, &name).unwrap();
        (ended, ledger::key(&fresh, &name).unwrap())
    };
    assert_eq!(folded(&cluster), rows(&cluster));

    let order = cluster.step("notes", confirm(announcement.digest()));
    cluster.destroy(0, &order).unwrap();

    assert_eq!(folded(&cluster), rows(&cluster));
    assert!(rows(&cluster).0.unwrap().tombstone.is_some());
}

/// Whoever destroys a key is told which backups still hold its shares.
#[test]
fn a_receipt_counts_the_backups_that_hold_shares_of_the_key() {
    let mut cluster = Cluster::new(3);
    let backed_up = |cluster: &Cluster, at: usize| {
        let made = BackupMade {
            backup: BackupId([1; 16]),
            recipients: vec![Digest::ZERO],
        };
        let core = &cluster.cores[at];
        let entry = Entry::BackupMade(made);
        let appended = core.begin(cluster.reading(), vec![entry]).unwrap();
        core.journal().commit(&appended).unwrap();
    };
    backed_up(&cluster, 0);
    cluster.retired("notes");
    backed_up(&cluster, 0);
    backed_up(&cluster, 0);
    let order = cluster.step("notes", AtOnce);
    let counted = |receipt: &DestructionReceipt| match receipt.said {
        Said::Destroyed { backups, .. } => backups,
        _ => panic!("not destroyed"),
    };

    let [first, second] = [0, 1].map(|at| cluster.destroy(at, &order).unwrap());

    assert_eq!((counted(&first), counted(&second)), (2, 0));
}

/// A backup that begins between the tombstone and the end would hold shares that nobody counts.
#[test]
fn no_backup_begins_while_shares_of_a_destroyed_key_are_there() {
    let mut cluster = Cluster::new(3);
    cluster.retired("notes");
    let order = cluster.step("notes", AtOnce);
    let request = NodeRequest::DestroyKey {
        command: order.clone(),
    };
    let Outcome::Pending(pending) = cluster.judge(0, request) else {
        panic!("nothing is recorded");
    };
    let made = || BackupMade {
        backup: BackupId([1; 16]),
        recipients: vec![Digest::ZERO],
    };
    let reading = cluster.reading();

    let refused = cluster.cores[0].begin_backup(reading, made()).unwrap();

    assert!(refused.is_none());
    let core = std::sync::Arc::clone(&cluster.cores[0]);
    let committed = core.journal().commit(pending.appended()).unwrap();
    pending.release(&committed, &mut OsRng).unwrap().unwrap();
    assert!(core.begin_backup(reading, made()).unwrap().is_some());
}
