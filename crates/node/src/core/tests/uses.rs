//! When keys were put in use and last used.

use quorate_model::{
    UnixMillis,
    audit::{Judgment, Record, SharePurpose, ShareReleased},
    certificate::CommitCertificate,
    command::{Command, SignedCommand},
    life::USE_STEP_MS,
};
use quorate_protocol::ecdsa::signing::round;

use super::{harness::memory_index, *};
use crate::{
    core::{Outcome, ledger},
    index::{Index as _, RowChange, Table},
};

const MINUTE_MS: u64 = 60_000;

impl Cluster {
    fn wait_until(&mut self, minute: u64) {
        self.monotonic_ms = minute * MINUTE_MS;
    }

    /// A request for a signature that is made at this time.
    fn command_now(&mut self, name: &str, payload: Payload) -> SignedCommand {
        let created = START.plus(self.monotonic_ms);
        let command = Command {
            cluster: self.pinned.cluster(),
            roster: self.pinned.hash(),
            id: self.command_id(),
            created,
            expires: created.plus(10 * MINUTE_MS),
            body: CommandBody::Sign(self.sign_body(name, vec![payload])),
        };
        self.propose(&command, Role::Client)
    }

    /// Has the first two nodes sign a message.
    fn sign_at_first_two(&mut self, certificate: &CommitCertificate) {
        let command = self.command_now("notes", Payload::message(*b"one"));
        let set = self.set(&[0, 1], certificate.statement.scheme);
        let request = self.share_request(&command, certificate, std::slice::from_ref(&set));
        for at in [0, 1] {
            self.shares(at, &request).unwrap();
        }
    }

    /// The minutes in which a node says that it put its first key in use and used it last.
    fn uses(&self, at: usize) -> (Option<u64>, Option<u64>) {
        let minute = |time: UnixMillis| time.since(START) / MINUTE_MS;
        match self.cores[at].list_keys(None, 1).unwrap() {
            Outcome::Ready(Ok(NodeReply::Keys(keys))) => {
                (keys[0].activated.map(minute), keys[0].used.map(minute))
            }
            _ => panic!("not keys"),
        }
    }
}

#[test]
fn a_key_is_in_use_from_its_proof_on_and_the_proof_is_no_use_of_it() {
    let mut cluster = Cluster::new(3);
    let command = cluster.create_command("notes", Scheme::Bip340, 2, &[KeyPurpose::Messages]);
    let prepared = cluster.prepare(&command, Epoch(1), 1).unwrap();
    let certificate = cluster.certificate(&command, &prepared);
    assert_eq!(cluster.uses(0), (None, None));
    let proof = cluster.prove(&certificate).unwrap();
    assert_eq!(cluster.uses(0), (None, None));

    cluster.wait_until(5);
    cluster.activate(0, &certificate, &proof).unwrap();
    cluster.wait_until(7);
    cluster.activate(1, &certificate, &proof).unwrap();
    cluster.activate(0, &certificate, &proof).unwrap();

    assert_eq!(cluster.uses(0), (Some(5), None));
    assert_eq!(cluster.uses(1), (Some(7), None));
    assert_eq!(cluster.uses(2), (None, None));
}

#[test]
fn the_last_use_is_told_to_the_hour_by_those_who_signed() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Ed25519, 2);

    for (minute, told) in [(1, 1), (30, 1), (60, 1), (61, 61), (120, 61), (500, 500)] {
        cluster.wait_until(minute);
        cluster.sign_at_first_two(&certificate);

        assert_eq!(cluster.uses(0), (Some(0), Some(told)));
        assert_eq!(cluster.uses(1), (Some(0), Some(told)));
        assert_eq!(cluster.uses(2), (Some(0), None));
    }
}

#[test]
fn signatures_in_rounds_are_uses_once_the_last_message_may_leave() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create_ecdsa("notes", 2);
    let payload = Payload::digest(ecdsa::DIGEST);
    cluster.wait_until(5);
    let command = cluster.command_now("notes", payload.clone());
    let request = cluster.request(&certificate, &command, 0, &[0, 1]);
    cluster
        .run_to(&[0, 1], 1, &request, round::MULTIPLY)
        .unwrap();
    assert_eq!(cluster.uses(0), (Some(0), None));

    for (minute, told) in [(5, 5), (60, 5), (65, 65)] {
        cluster.wait_until(minute);
        let command = cluster.command_now("notes", payload.clone());
        let request = cluster.request(&certificate, &command, 0, &[0, 1]);
        let attempt = 2 + u8::try_from(minute).unwrap();
        cluster.run_to(&[0, 1], attempt, &request, u8::MAX).unwrap();

        assert_eq!(cluster.uses(0), (Some(0), Some(told)));
        assert_eq!(cluster.uses(2), (Some(0), None));
    }
}

#[test]
fn what_is_refused_or_only_asked_about_is_no_use() {
    let mut cluster = Cluster::new(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    let unfit = cluster.sign_command("notes", vec![Payload::digest([1; 32])]);
    let set = cluster.set(&[0, 1], Scheme::Bip340);
    let request = cluster.share_request(&unfit, &certificate, std::slice::from_ref(&set));

    assert_eq!(reason(cluster.shares(0, &request)), Reason::PurposeMismatch);
    let command = cluster.sign_command("notes", vec![Payload::message(*b"one")]);
    cluster.ask(0, NodeRequest::Validate { command }).unwrap();

    assert_eq!(cluster.uses(0), (Some(0), None));
}

#[test]
fn both_times_survive_a_restart_whose_index_is_made_of_the_journal() {
    let mut cluster = Cluster::new(3);
    cluster.wait_until(3);
    let certificate = cluster.create("notes", Scheme::Bip340, 2);
    for minute in [10, 40, 75] {
        cluster.wait_until(minute);
        cluster.sign_at_first_two(&certificate);
    }
    let before = cluster.uses(0);
    assert_eq!(before, (Some(3), Some(75)));

    let disk = cluster.disks[0].clone();
    cluster.start_on(0, disk);

    assert_eq!(cluster.uses(0), before);
    cluster.wait_until(80);
    cluster.sign_at_first_two(&certificate);
    assert_eq!(cluster.uses(0), before);
}

#[test]
fn a_busy_key_costs_one_row_an_hour() {
    let index = memory_index();
    let mut written = 0;

    for (sequence, minute) in (1..=240).enumerate() {
        let released = ShareReleased {
            judgment: Judgment {
                command: Digest::ZERO,
                command_id: CommandId(Uuid::from_u128(1)),
                endorsements: Digest::ZERO,
                policy: Digest::ZERO,
                rule: "role:client".to_owned(),
            },
            expires: START,
            key: "notes".parse().unwrap(),
            epoch: Epoch(1),
            purpose: SharePurpose::Sign,
            items: Vec::new(),
        };
        let record = Record {
            sequence: sequence as u64 + 1,
            previous: Digest::ZERO,
            time: START.plus(minute * MINUTE_MS),
            boot: [0; 16],
            entry: Entry::ShareReleased(released),
        };
        let changes = ledger::changes(&index, &record).unwrap();
        let is_use = |change: &&RowChange| {
            matches!(
                change,
                RowChange::Put {
                    table: Table::Uses,
                    ..
                }
            )
        };
        written += changes.iter().filter(is_use).count();
        index.apply(record.sequence, changes).unwrap();
    }

    assert_eq!(written, 4);
    let row = ledger::uses(&index, &"notes".parse().unwrap()).unwrap();
    let hours = 3 * USE_STEP_MS;
    assert_eq!(row.used, Some(START.plus(MINUTE_MS + hours)));
}
