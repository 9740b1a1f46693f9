//! What each state of a key allows, who may change it, and what a node that hears late makes of it.

use ed25519_dalek::SigningKey;
use quorate_model::{
    Refusal,
    certificate::CommitCertificate,
    command::SignedCommand,
    standing::{SetKeyState, StateChange, StateReceipt},
};
use quorate_protocol::ecdsa::signing::round;
use rand_core::OsRng;

use super::{
    ecdsa::{DIGEST, inbox_of, said_in},
    *,
};
use crate::{
    core::{Context, Outcome, Reading, ledger, lock},
    index::Index,
};

use StateChange::{Compromise, Deactivate, Resume, Suspend};

impl Cluster {
    pub(super) fn state_set(&self, name: &str, sequence: u64, change: StateChange) -> SetKeyState {
        SetKeyState {
            key: name.parse().unwrap(),
            key_id: self.created.get(name).copied().unwrap_or(KeyId([0; 32])),
            sequence,
            change,
            reason: "a drill".to_owned(),
        }
    }

    /// A command about a state, proposed by the first admin.
    pub(super) fn proposed(&mut self, set: SetKeyState) -> SignedCommand {
        let id = self.command_id();
        self.signed(id, Role::Admin, CommandBody::SetKeyState(set))
    }

    /// The same with the word of the second admin.
    pub(super) fn approved(&mut self, set: SetKeyState) -> SignedCommand {
        let mut command = self.proposed(set);
        let key = self.second_admin.clone();
        self.word(
            &mut command,
            EndorsementKind::Approve,
            "the-second-admin",
            &key,
        );
        command
    }

    pub(super) fn word(
        &self,
        command: &mut SignedCommand,
        kind: EndorsementKind,
        who: &str,
        key: &SigningKey,
    ) {
        let cluster = self.pinned.cluster();
        command.endorse(&cluster, kind, &who.parse().unwrap(), Role::Admin, key);
    }

    pub(super) fn bring(
        &mut self,
        at: usize,
        command: &SignedCommand,
    ) -> Result<StateReceipt, Refusal> {
        let request = NodeRequest::SetKeyState {
            command: command.clone(),
        };
        match self.ask(at, request)? {
            NodeReply::StateSet(receipt) => Ok(receipt),
            other => panic!("{other:?}"),
        }
    }

    /// Changes a state at one node, by the word of both admins.
    pub(super) fn change(
        &mut self,
        at: usize,
        name: &str,
        sequence: u64,
        change: StateChange,
    ) -> Result<StateReceipt, Refusal> {
        let set = self.state_set(name, sequence, change);
        let command = self.approved(set);
        self.bring(at, &command)
    }

    fn try_to_sign(&mut self, certificate: &CommitCertificate) -> Result<(), Refusal> {
        let command = self.sign_command("notes", vec![Payload::message(*b"one")]);
        let set = self.set(&[0, 1], Scheme::Bip340);
        let request = self.share_request(&command, certificate, &[set]);
        self.shares(0, &request).map(drop)
    }

    pub(super) fn state_of(&mut self, at: usize, name: &str) -> KeyState {
        let request = NodeRequest::ListKeys {
            after: None,
            limit: 10,
        };
        let NodeReply::Keys(keys) = self.ask(at, request).unwrap() else {
            panic!("no keys")
        };
        keys.iter()
            .find(|key| key.key.as_str() == name)
            .unwrap()
            .state
    }
}

pub(super) fn told(result: Result<impl Sized, Refusal>) -> Option<Reason> {
    result.err().map(|refusal| refusal.reason)
}

#[test]
fn a_key_that_is_not_proven_yet_can_be_retired_and_then_never_signs() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let certificate = cluster.certificate(&command, &prepared);
    assert_eq!(
        told(cluster.change(0, "notes", 1, Compromise)),
        Some(Reason::KeyUnknown),
        "no node knows the key before its certificate"
    );
    let proof = cluster.prove(&certificate).unwrap();

    cluster.change(0, "notes", 1, Compromise).unwrap();
    for at in 0..3 {
        cluster.activate(at, &certificate, &proof).unwrap();
    }

    assert_eq!(cluster.state_of(0, "notes"), KeyState::Compromised);
    assert_eq!(
        told(cluster.try_to_sign(&certificate)),
        Some(Reason::KeyCompromised)
    );
}

#[test]
fn a_receipt_names_what_the_node_acts_by_and_a_repeat_has_the_same() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    let set = cluster.state_set("notes", 1, Suspend);
    let command = cluster.proposed(set.clone());

    let receipt = cluster.bring(0, &command).unwrap();
    let again = cluster.bring(0, &command).unwrap();

    assert_eq!(receipt, again);
    assert_eq!(receipt.state, KeyState::Suspended);
    let (pinned, digest) = (&cluster.pinned, command.digest());
    receipt.verify(pinned, &node_id(0), &set, &digest).unwrap();
    assert!(receipt.verify(pinned, &node_id(1), &set, &digest).is_err());
    assert!(
        receipt
            .verify(pinned, &node_id(0), &set, &Digest::ZERO)
            .is_err()
    );
    let recorded = entries(&cluster, 0);
    let changes = recorded
        .iter()
        .filter(|entry| matches!(entry, Entry::KeyStateChanged(_)));
    assert_eq!(changes.count(), 1);
}

/// P41: nothing is acknowledged that a crash could undo, and nothing is signed against it meanwhile.
#[test]
fn a_change_binds_at_once_and_is_acknowledged_once_it_is_durable() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let set = cluster.state_set("notes", 1, Suspend);
    let command = cluster.proposed(set);
    let request = || NodeRequest::SetKeyState {
        command: command.clone(),
    };

    let Outcome::Pending(pending) = cluster.judge(0, request()) else {
        panic!("acknowledged without a record")
    };

    let Outcome::Ready(repeat) = cluster.judge(0, request()) else {
        panic!("recorded twice")
    };
    assert_eq!(reason(repeat), Reason::Overloaded);
    assert_eq!(
        told(cluster.try_to_sign(&certificate)),
        Some(Reason::KeySuspended)
    );
    let journal = cluster.cores[0].journal();
    let committed = journal.commit(pending.appended()).unwrap();
    pending.release(&committed, &mut OsRng).unwrap().unwrap();
    assert!(cluster.bring(0, &command).is_ok());
}

#[test]
fn everything_but_a_suspension_takes_two_persons() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    for change in [Resume, Deactivate, Compromise] {
        let set = cluster.state_set("notes", 1, change);
        let alone = cluster.proposed(set.clone());
        assert_eq!(
            told(cluster.bring(0, &alone)),
            Some(Reason::EndorsementsMissing)
        );

        // One person with two keys is one person (P6).
        let mut twice = cluster.proposed(set);
        let phone = cluster.phone.clone();
        cluster.word(&mut twice, EndorsementKind::Approve, "the-phone", &phone);
        assert_eq!(
            told(cluster.bring(0, &twice)),
            Some(Reason::EndorsementsMissing)
        );
    }
    let set = cluster.state_set("notes", 1, Suspend);
    let alone = cluster.proposed(set);
    cluster.bring(0, &alone).unwrap();
}

#[test]
fn words_of_others_and_words_against_carry_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    let set = cluster.state_set("notes", 1, Resume);
    let second = cluster.second_admin.clone();

    // A client's word is none of an admin.
    let id = cluster.command_id();
    let body = CommandBody::SetKeyState(set.clone());
    let by_client = cluster.signed(id, Role::Client, body);
    assert_eq!(
        told(cluster.bring(0, &by_client)),
        Some(Reason::RoleMissing)
    );

    // A stranger's signature does not hold.
    let mut forged = cluster.proposed(set.clone());
    let stranger = SigningKey::from_bytes(&[77; 32]);
    cluster.word(
        &mut forged,
        EndorsementKind::Approve,
        "the-second-admin",
        &stranger,
    );
    assert_eq!(
        told(cluster.bring(0, &forged)),
        Some(Reason::EndorsementInvalid)
    );

    // What an admin forbids is over, also with the word that was missing.
    let mut rejected = cluster.proposed(set);
    let mut approved = rejected.clone();
    cluster.word(
        &mut rejected,
        EndorsementKind::Reject,
        "the-second-admin",
        &second,
    );
    cluster.word(
        &mut approved,
        EndorsementKind::Approve,
        "the-second-admin",
        &second,
    );
    assert_eq!(
        told(cluster.bring(0, &rejected)),
        Some(Reason::CommandRejected)
    );
    assert_eq!(
        told(cluster.bring(0, &approved)),
        Some(Reason::CommandRejected)
    );
}

#[test]
fn a_command_is_for_one_key() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);

    let other = SetKeyState {
        key_id: KeyId([9; 32]),
        ..cluster.state_set("notes", 1, Suspend)
    };
    let other = cluster.proposed(other);
    assert_eq!(told(cluster.bring(0, &other)), Some(Reason::KeyIdMismatch));
    let unknown = cluster.state_set("others", 1, Suspend);
    let unknown = cluster.proposed(unknown);
    assert_eq!(told(cluster.bring(0, &unknown)), Some(Reason::KeyUnknown));
    let sign = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
    assert_eq!(told(cluster.bring(0, &sign)), Some(Reason::RequestInvalid));
}

/// Whoever holds a suspension back cannot have somebody else use up its id.
#[test]
fn the_id_of_a_suspension_is_taken_by_nobody() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let id = cluster.command_id();
    let set = CommandBody::SetKeyState(cluster.state_set("notes", 1, Suspend));
    let suspension = cluster.signed(id, Role::Admin, set);
    let body = CommandBody::Sign(cluster.sign_body("notes", vec![Payload::message(*b"x")]));
    let hijack = cluster.signed(id, Role::Client, body);
    let set = cluster.set(&[0, 1], Scheme::Bip340);
    let request = cluster.share_request(&hijack, &certificate, &[set]);
    cluster.shares(0, &request).unwrap();

    cluster.bring(0, &suspension).unwrap();

    assert_eq!(cluster.state_of(0, "notes"), KeyState::Suspended);
}

/// P11: one admin suspends, so another one alone does not keep a suspension away.
#[test]
fn a_suspension_is_not_vetoed_by_one_admin() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    let second = cluster.second_admin.clone();
    let set = cluster.state_set("notes", 1, Suspend);
    let mut vetoed = cluster.proposed(set.clone());
    let reject = EndorsementKind::Reject;
    cluster.word(&mut vetoed, reject, "the-second-admin", &second);
    let mut withdrawn = cluster.proposed(set);
    withdrawn.endorsements.clear();
    let first = cluster.admin.clone();
    cluster.word(&mut withdrawn, reject, "the-admin", &first);

    let role = Some(Reason::RoleMissing);
    assert_eq!(
        told(cluster.bring(0, &withdrawn)),
        role,
        "nobody proposes it"
    );
    cluster.bring(0, &vetoed).unwrap();

    assert_eq!(cluster.state_of(0, "notes"), KeyState::Suspended);
}

/// P8: commands about states do not expire, so what forbids one does not lapse either.
#[test]
fn what_an_admin_forbade_stays_forbidden_for_ever() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    cluster.change(0, "notes", 1, Suspend).unwrap();
    let second = cluster.second_admin.clone();
    let set = cluster.state_set("notes", 2, Resume);
    let approved = cluster.approved(set);
    let mut rejected = approved.clone();
    rejected.endorsements.pop();
    let reject = EndorsementKind::Reject;
    cluster.word(&mut rejected, reject, "the-second-admin", &second);
    let forbidden = Some(Reason::CommandRejected);
    assert_eq!(told(cluster.bring(0, &rejected)), forbidden);

    cluster.monotonic_ms += 366 * 24 * 3_600_000;
    let last = cluster.cores[0].checkpoint_now(cluster.reading()).unwrap();
    cluster.cores[0].journal().commit(&last).unwrap();

    assert_eq!(told(cluster.bring(0, &approved)), forbidden);
    // Where it was carried out before, the word comes too late.
    cluster.change(1, "notes", 1, Suspend).unwrap();
    cluster.bring(1, &approved).unwrap();
    assert!(cluster.bring(1, &rejected).is_ok());
    assert_eq!(cluster.state_of(1, "notes"), KeyState::Active);
}

/// A resumption that a suspension outdoes is heard, because it says how far the next may go, and not
/// acknowledged.
#[test]
fn a_resumption_that_is_outdone_is_kept_and_not_acknowledged() {
    let mut cluster = Cluster::new(2);
    cluster.create("notes", Scheme::Bip340, 2);
    cluster.change(0, "notes", 1_024, Suspend).unwrap();
    let set = cluster.state_set("notes", 10, Resume);
    let resume = cluster.approved(set);

    for _ in 0..2 {
        let refused = told(cluster.bring(0, &resume));
        assert_eq!(refused, Some(Reason::StateOutdated));
    }

    assert_eq!(cluster.state_of(0, "notes"), KeyState::Suspended);
    cluster.change(0, "notes", 1_034, Suspend).unwrap();
    let beyond = told(cluster.change(0, "notes", 1_035, Suspend));
    assert_eq!(beyond, Some(Reason::StateOutdated));
}

/// What every node refuses for its times is refused by whoever learns of it too.
#[test]
fn a_command_that_lives_too_long_is_taken_by_nobody() {
    let mut cluster = Cluster::new(2);
    cluster.create("notes", Scheme::Bip340, 2);
    let set = cluster.state_set("notes", 1, Suspend);
    let good = cluster.proposed(set);
    let mut command = quorate_proto::command::decode(&good.bytes).unwrap();
    for (created, expires) in [(START, START), (START, START.plus(8 * 24 * 3_600_000))] {
        (command.created, command.expires) = (created, expires);
        let signed = cluster.propose(&command, Role::Admin);

        let brought = told(cluster.bring(0, &signed));
        let admitted = quorate_proto::admission::admit(&cluster.pinned, &signed);

        assert_eq!(brought, Some(Reason::CommandTimeInvalid));
        assert_eq!(reason(admitted), Reason::CommandTimeInvalid);
    }
}

#[test]
fn suspensions_of_a_suspended_key_are_bounded_in_rate() {
    let mut cluster = Cluster::new(2);
    cluster.create("notes", Scheme::Bip340, 2);
    let mut sequence = 1;
    let refused = loop {
        let changed = cluster.change(0, "notes", sequence, Suspend);
        if let Err(refusal) = changed {
            break refusal;
        }
        sequence += 1;
        assert!(sequence < 1_000, "nothing bounds them");
    };

    assert_eq!(refused.reason, Reason::Overloaded);
    // The others still count.
    cluster.change(0, "notes", sequence, Compromise).unwrap();
}

/// P6: state commands do not expire, and no clock is needed to obey them.
#[test]
fn a_node_that_was_away_for_a_year_or_doubts_its_clock_catches_up() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    let set = cluster.state_set("notes", 1, Suspend);
    let early = cluster.proposed(set);
    let set = cluster.state_set("notes", 2, Deactivate);
    let late = cluster.approved(set);

    cluster.monotonic_ms += 366 * 24 * 3_600_000;
    cluster.bring(0, &early).unwrap();

    let core = std::sync::Arc::clone(&cluster.cores[0]);
    let mut context = Context {
        caller: &coordinator(),
        reading: Reading {
            wall: START,
            ..cluster.reading()
        },
        rng: &mut cluster.rng,
    };
    let request = NodeRequest::SetKeyState { command: late };
    let outcome = core.handle(&mut context, request).unwrap();
    assert!(matches!(outcome, Outcome::Pending(_)));
}

#[test]
fn what_was_heard_later_wins_and_is_told() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    cluster.change(0, "notes", 3, Resume).unwrap();

    let refusal = cluster.change(0, "notes", 2, Suspend).unwrap_err();

    assert_eq!(refusal.reason, Reason::StateOutdated);
    assert_eq!(refusal.get("sequence"), Some("3"));
    assert_eq!(cluster.state_of(0, "notes"), KeyState::Active);
}

/// P7: ECDSA judges the state again before its last message.
#[test]
fn a_suspension_stops_what_is_under_way_before_its_last_message() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("hot", 2);
    let command = cluster.sign_command("hot", vec![Payload::digest(DIGEST)]);
    let request = cluster.request(&certificate, &command, 0, &[0, 1]);
    let replies = cluster
        .run_to(&[0, 1], 5, &request, round::MULTIPLY)
        .unwrap();

    cluster.change(0, "hot", 1, Suspend).unwrap();

    let said = said_in(&replies);
    let last = cluster.advance_signing(0, 5, round::MULTIPLY, inbox_of(&said, 0));
    assert_eq!(told(last), Some(Reason::KeySuspended));
    let fresh = cluster.sign_in_rounds(&certificate, &[0, 1], 6);
    let (at, refusal) = fresh.unwrap_err();
    assert_eq!((at, refusal.reason), (0, Reason::KeySuspended));
    // The others have not heard of it, and sign.
    assert!(cluster.sign_in_rounds(&certificate, &[1, 2], 7).is_ok());
    cluster.change(0, "hot", 2, Resume).unwrap();
    assert!(cluster.sign_in_rounds(&certificate, &[0, 1], 8).is_ok());
}

/// A node that lost its index stands where it stood.
#[test]
fn where_a_key_stands_is_folded_from_the_journal_alone() {
    let mut cluster = Cluster::new(3);
    cluster.create("notes", Scheme::Bip340, 2);
    cluster.change(0, "notes", 1, Suspend).unwrap();
    cluster.change(0, "notes", 2, Resume).unwrap();
    cluster.change(0, "notes", 2, Deactivate).unwrap();
    let name = "notes".parse().unwrap();
    let before = ledger::standing(&*lock(&cluster.cores[0].state).index, &name).unwrap();

    let fresh = harness::memory_index();
    let journal = cluster.cores[0].journal();
    for record in journal.read_range(1, 10_000, 1 << 24).unwrap() {
        let record = quorate_model::audit::Record::from_bytes(&record.bytes).unwrap();
        let changes = ledger::changes(&fresh, &record).unwrap();
        fresh.apply(record.sequence, changes).unwrap();
    }

    assert_eq!(ledger::standing(&fresh, &name).unwrap(), before);
    assert_eq!(before.standing.state(true), KeyState::Deactivated);
}
