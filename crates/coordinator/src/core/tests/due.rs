//! What is due, as alarms see it.

use std::collections::BTreeMap;

use quorate_model::{
    KeyName, Scheme, UnixMillis,
    command::CommandBody,
    life::{Duty, KeyLife, Predecessor},
    standing::StateChange,
};

use super::{
    super::due::DueCount,
    world::{WALL, World},
};

const DAY_MS: u64 = 24 * 3_600_000;

impl World {
    fn planned(&mut self, name: &str, life: KeyLife) -> KeyName {
        let signed = self.creation(name, Scheme::Bip340, 2);
        let command = quorate_proto::command::decode(&signed.bytes).unwrap();
        let CommandBody::CreateKey(mut create) = command.body else {
            panic!("it creates a key")
        };
        create.life = life;
        let (_, signed) = self.command(CommandBody::CreateKey(create));
        self.submit(&signed);
        self.run();
        self.pass(50);
        name.parse().unwrap()
    }

    /// The figures of a whole round, looked at a key at a time.
    fn due(&mut self, days: u64) -> BTreeMap<Duty, (u64, u64)> {
        let now = UnixMillis(WALL + days * DAY_MS);
        let mut counts = BTreeMap::new();
        // Two rounds: who replaces whom is told from the round before.
        for _ in 0..20 {
            counts = self.core.count_due(now, 1);
        }
        let pair = |count: DueCount| (count.now, count.soon);
        counts
            .into_iter()
            .map(|(duty, count)| (duty, pair(count)))
            .collect()
    }
}

fn plan(refresh_days: u64, rotation_days: u64) -> KeyLife {
    KeyLife {
        replaces: None,
        evacuation: Vec::new(),
        refresh_s: Some(refresh_days * DAY_MS / 1_000),
        cryptoperiod_s: Some(rotation_days * DAY_MS / 1_000),
    }
}

#[test]
fn keys_are_counted_when_they_are_due_and_a_week_before() {
    let mut world = World::new(3);
    world.planned("one-key", plan(30, 365));
    world.planned("two-key", plan(30, 100));
    world.key("three-key", Scheme::Bip340, 2);

    assert_eq!(world.due(1), [].into());
    assert_eq!(world.due(24), [(Duty::Refresh, (0, 2))].into());
    assert_eq!(world.due(31), [(Duty::Refresh, (2, 2))].into());
    assert_eq!(
        world.due(101),
        [(Duty::Refresh, (2, 2)), (Duty::Rotation, (1, 1))].into()
    );
}

#[test]
fn a_key_with_a_successor_is_due_for_retirement_until_it_is_retired() {
    let mut world = World::new(3);
    let old = world.planned("one-key", plan(30, 100));
    let replaces = Some(Predecessor {
        key: old.clone(),
        key_id: world.created[&old],
    });
    let life = KeyLife {
        replaces,
        ..KeyLife::default()
    };
    world.planned("two-key", life);

    assert_eq!(world.due(101), [(Duty::Retirement, (1, 1))].into());

    let mut retired = world.state_change(&old, 1, StateChange::Deactivate);
    let second = world.word_of_bob(&retired, quorate_model::command::EndorsementKind::Approve);
    retired.endorsements.push(second);
    world.submit(&retired);
    world.run();
    world.pass(50);
    assert_eq!(world.due(101), [].into());
}

#[test]
fn without_keys_nothing_is_due() {
    let mut world = World::new(3);

    assert_eq!(world.due(1_000), [].into());
}
