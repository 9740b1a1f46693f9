//! Chains of nodes that break rules: what no run shows, as long as the cores keep them.

use quorate_model::{
    CommandId, KeyId, KeyState,
    audit::{Judgment, ShareReleased},
    backup::BackupId,
    command::SignedCommand,
    roster::Followed,
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use super::*;
use crate::{people::People, workload::Operation};

const MADE_MS: u64 = 1_000_000;

/// A chain that is read record by record.
struct Told {
    people: People,
    chain: Chain,
}

impl Told {
    fn new() -> Self {
        let people = People::draw(&mut ChaCha8Rng::seed_from_u64(1), 3, 0);
        let mut told = Self {
            chain: Chain::of(people.node_id(0)),
            people,
        };
        let roster = Vec::new();
        told.tell(0, Entry::RosterPinned { roster }).unwrap();
        told
    }

    /// The next record, so long after the commands were made.
    fn tell(&mut self, after_ms: u64, entry: Entry) -> Result<(), &'static str> {
        let record = Record {
            sequence: 1,
            previous: Digest::ZERO,
            time: UnixMillis(MADE_MS + after_ms),
            boot: [0; 16],
            entry,
        };
        let seen = Seen {
            pinned: &self.people.pinned,
            is_honest: &|_| true,
            made: &|_| Some(UnixMillis(MADE_MS)),
            floor: &|_, _| Some(Epoch(2)),
        };
        let told = self.chain.take(&seen, &record);
        told.map_err(|(invariant, _)| invariant)
    }

    fn key(&self) -> (KeyName, KeyId) {
        let creation = Digest::new([5; 32]);
        (self.people.old_name(), KeyId::of(&creation))
    }

    /// An order of so many admins, made so long after the others.
    fn order(&self, step: DestroyStep, admins: usize, after_ms: u64) -> SignedCommand {
        let id = CommandId(uuid::Uuid::from_u128(7));
        let made = UnixMillis(MADE_MS + after_ms);
        let admins = self.people.admins(admins);
        admins.destroy(id, made, self.key(), step).signed
    }

    fn announce(&mut self) -> Digest {
        let command = self.order(DestroyStep::Announce, 2, 0);
        let digest = command.digest();
        let (key, key_id) = self.key();
        let announced = Entry::DestructionAnnounced {
            judgment: judgment(&command),
            expires: UnixMillis(u64::MAX),
            key,
            key_id,
            from: UnixMillis(0),
            until: UnixMillis(u64::MAX),
            command,
        };
        self.tell(0, announced).unwrap();
        digest
    }

    fn destroyed(&self, command: SignedCommand) -> Entry {
        let (key, key_id) = self.key();
        Entry::KeyDestroyed(KeyDestroyed {
            judgment: judgment(&command),
            expires: UnixMillis(u64::MAX),
            key,
            key_id,
            state: KeyState::Destroyed,
            epochs: Vec::new(),
            backups: 0,
            announcement: None,
            command,
        })
    }

    fn released(&self, epoch: Epoch) -> Entry {
        Entry::ShareReleased(ShareReleased {
            judgment: judgment(&self.order(DestroyStep::Announce, 1, 0)),
            expires: UnixMillis(u64::MAX),
            key: self.key().0,
            epoch,
            purpose: SharePurpose::Sign,
            items: Vec::new(),
        })
    }

    fn activate(&mut self, epoch: Epoch) {
        let (key, proof) = (self.key().0, Vec::new());
        let activated = Entry::KeyActivated { key, epoch, proof };
        self.tell(0, activated).unwrap();
    }

    /// The next roster, without the node whose chain it is, by so many admins.
    fn followed(&mut self, admins: usize) -> Entry {
        let (id, made) = (CommandId(uuid::Uuid::from_u128(8)), UnixMillis(MADE_MS));
        let without = |people: &People, admins| -> Operation {
            let admins = people.admins(admins);
            admins.change_roster(id, made, |roster| {
                roster.nodes.remove(0);
            })
        };
        let whole = without(&self.people, 2).signed;
        let command = without(&self.people, admins).signed;
        let followed = quorate_proto::roster::follow(&self.people.pinned, &whole);
        let Ok(Followed::InForce(chain)) = followed else {
            panic!("the roster is followed");
        };
        self.people.pinned = chain;
        Entry::RosterFollowed {
            judgment: judgment(&command),
            version: 2,
            roster: self.people.pinned.hash(),
            in_force: true,
            command,
        }
    }
}

fn judgment(command: &SignedCommand) -> Judgment {
    Judgment {
        command: command.digest(),
        command_id: CommandId(uuid::Uuid::from_u128(7)),
        endorsements: command.endorsement_set_hash(),
        policy: Digest::ZERO,
        rule: "rule".to_owned(),
    }
}

#[test]
fn a_key_that_was_announced_and_confirmed_after_the_delay_ends() {
    let mut told = Told::new();
    let announcement = told.announce();
    let confirmed = told.order(DestroyStep::Confirm { announcement }, 2, DELAY_MS);
    let end = told.destroyed(confirmed);

    assert_eq!(told.tell(DELAY_MS, end), Ok(()));
}

#[test]
fn ends_that_nobody_ordered_so_are_found() {
    let heard = |admins, made, taken| {
        let mut told = Told::new();
        let announcement = told.announce();
        let confirmed = told.order(DestroyStep::Confirm { announcement }, admins, made);
        let end = told.destroyed(confirmed);
        told.tell(taken, end)
    };
    assert_eq!(heard(1, DELAY_MS, DELAY_MS), Err("P34"), "one admin");
    assert_eq!(heard(2, DELAY_MS - 1, DELAY_MS), Err("P34"), "made early");
    assert_eq!(heard(2, DELAY_MS, DELAY_MS - 1), Err("P34"), "taken early");

    let mut told = Told::new();
    let announcement = Digest::new([1; 32]);
    let confirmed = told.order(DestroyStep::Confirm { announcement }, 2, DELAY_MS);
    let end = told.destroyed(confirmed);
    assert_eq!(told.tell(DELAY_MS, end), Err("P34"), "not announced");
    let end = told.destroyed(told.order(DestroyStep::AtOnce, 2, 0));
    assert_eq!(told.tell(0, end), Err("P34"), "not every admin");
    let end = told.destroyed(told.order(DestroyStep::AtOnce, 3, 0));
    told.activate(Epoch(1));
    assert_eq!(told.tell(0, end), Err("P34"), "still in use");
}

#[test]
fn an_end_after_a_withdrawal_is_found() {
    let mut told = Told::new();
    let announcement = told.announce();
    let command = told.order(DestroyStep::Cancel { announcement }, 1, 0);
    let (key, key_id) = told.key();
    let withdrawn = Entry::DestructionWithdrawn {
        judgment: judgment(&command),
        key,
        key_id,
        announcement,
        command,
    };
    told.tell(0, withdrawn).unwrap();
    let confirmed = told.order(DestroyStep::Confirm { announcement }, 2, DELAY_MS);
    let end = told.destroyed(confirmed);

    assert_eq!(told.tell(DELAY_MS, end), Err("P34"));
}

#[test]
fn a_signature_after_a_tombstone_is_found() {
    let mut told = Told::new();
    let end = told.destroyed(told.order(DestroyStep::AtOnce, 3, 0));
    told.tell(0, end).unwrap();

    let released = told.released(Epoch(1));
    assert_eq!(told.tell(0, released), Err("I5"));
}

#[test]
fn what_a_restored_node_may_not_do_is_found() {
    let mut told = Told::new();
    told.activate(Epoch(1));
    let restore = RestoreId([1; 16]);
    let backup = BackupId([2; 16]);
    told.tell(0, Entry::Restored { backup, restore }).unwrap();
    let released = told.released(Epoch(1));
    assert_eq!(told.tell(0, released.clone()), Err("P35"), "in quarantine");

    let witnesses = Vec::new();
    let readmitted = Entry::Readmitted { restore, witnesses };
    told.tell(0, readmitted.clone()).unwrap();
    assert_eq!(told.tell(0, released), Err("P35"), "a superseded epoch");
    told.activate(Epoch(2));
    let released = told.released(Epoch(2));
    assert_eq!(told.tell(0, released.clone()), Ok(()));

    told.tell(1, readmitted).unwrap();
    assert_eq!(told.tell(1, released), Err("P35"), "a command of before");
}

#[test]
fn what_a_removed_node_may_not_do_is_found() {
    let mut told = Told::new();
    told.activate(Epoch(1));
    let followed = told.followed(2);
    told.tell(0, followed).unwrap();

    let released = told.released(Epoch(1));
    assert_eq!(told.tell(0, released), Err("P7"));
}

#[test]
fn a_roster_of_one_admin_is_found() {
    let mut told = Told::new();
    let followed = told.followed(1);

    assert_eq!(told.tell(0, followed), Err("P3"));
}
