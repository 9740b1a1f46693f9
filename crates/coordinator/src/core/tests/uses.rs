//! When keys were put in use and last used, with nodes that lie about it.

use quorate_model::{KeyName, Scheme, UnixMillis};

use super::{
    super::{StoreItem, StoredUse},
    world::{WALL, World},
};

const HOUR_US: u64 = 3_600_000_000;

/// What a node claims, in minutes.
type Claim = (Option<u64>, Option<u64>);

const fn minutes(minutes: u64) -> UnixMillis {
    UnixMillis(minutes * 60_000)
}

impl World {
    /// Has nodes list these times of a key.
    pub(super) fn claim(&mut self, key: &KeyName, claims: &[Claim]) {
        for (index, (activated, used)) in claims.iter().enumerate() {
            let times = (activated.map(minutes), used.map(minutes));
            let uses = &mut self.node(index).manners.uses;
            uses.insert(key.clone(), times);
        }
    }

    /// What callers are told of a key.
    pub(super) fn told(&mut self, key: &KeyName) -> (Option<UnixMillis>, Option<UnixMillis>) {
        let view = self.core.key(key).unwrap();
        (view.activated, view.used)
    }

    fn wall(&self) -> UnixMillis {
        UnixMillis(WALL + self.now_us / 1_000)
    }

    /// What was stored of uses, in order.
    fn stored_uses(&self) -> Vec<StoredUse> {
        let used = |item: &StoreItem| match item {
            StoreItem::Use(used) => Some(*used),
            _ => None,
        };
        self.store.iter().filter_map(used).collect()
    }
}

/// What a coordinator that knows nothing tells of a key of 3 of 5, by these claims.
fn told_by(claims: [Claim; 5]) -> Claim {
    let mut world = World::new(5);
    let key = world.key("vault", Scheme::Bip340, 3);
    world.claim(&key, &claims);
    world.restart_coordinator(vec![]);
    world.pass(300);

    let minute = |time: UnixMillis| time.0 / 60_000;
    let (activated, used) = world.told(&key);
    (activated.map(minute), used.map(minute))
}

const fn claim(activated: u64, used: u64) -> Claim {
    (Some(activated), Some(used))
}

#[test]
fn times_are_told_that_as_many_holders_bear_out_as_sign() {
    let honest = [
        claim(10, 90),
        claim(12, 80),
        claim(14, 70),
        claim(16, 60),
        (Some(18), None),
    ];

    assert_eq!(told_by(honest), claim(14, 70));
}

#[test]
fn liars_fewer_than_sign_move_no_time_past_what_an_honest_holder_saw() {
    let honest = [claim(14, 70), claim(16, 60), claim(18, 50)];
    let with = |liar: Claim| {
        let [one, two, three] = honest;
        told_by([one, liar, two, liar, three])
    };

    // The earliest and the latest that an honest one saw.
    assert_eq!(with(claim(0, u64::MAX / 60_000)), claim(14, 70));
    // To say less holds back what others say, and no more.
    assert_eq!(with(claim(u64::MAX / 60_000, 0)), claim(18, 50));
    assert_eq!(with((None, None)), claim(18, 50));
}

#[test]
fn what_fewer_holders_say_than_sign_is_not_told() {
    let few = [claim(1, 2), claim(1, 2), (None, None), (None, None)];
    let [one, two, three, four] = few;

    assert_eq!(told_by([one, two, three, four, (None, None)]), (None, None));
}

#[test]
fn what_the_coordinator_saw_itself_counts_at_once_and_is_stored_once_an_hour() {
    let mut world = World::new(3);
    let before = world.wall();
    let key = world.key("vault", Scheme::Bip340, 2);
    let (activated, used) = world.told(&key);
    assert!(activated.unwrap() >= before && activated.unwrap() <= world.wall());
    assert_eq!((used, world.stored_uses().len()), (None, 1));
    let mut sign = || {
        let signed = world.signature("vault", &["a"]);
        let handle = world.submit(&signed);
        world.run();
        world.pass(100);
        world.signed(handle, &["a"]);
        let at = world.told(&key).1.unwrap();
        world.now_us += HOUR_US / 4;
        world.pass(1_000);
        (at, world.stored_uses().len())
    };

    let first = sign();

    assert_eq!(first.1, 2);
    for _ in 0..3 {
        assert_eq!(sign(), first);
    }
    let later = sign();
    assert!(later.0.since(first.0) >= HOUR_US / 1_000);
    assert_eq!(later.1, 3);
}

#[test]
fn what_is_stored_is_known_again_without_any_node() {
    let mut world = World::new(3);
    let key = world.key("vault", Scheme::Bip340, 2);
    let signed = world.signature("vault", &["a"]);
    world.submit(&signed);
    world.run();
    let before = world.told(&key);
    assert!(before.1.is_some());
    (0..3).for_each(|index| world.silence(index));

    let stored = world.store.clone();
    world.restart_coordinator(stored);

    assert_eq!(world.told(&key), before);
}
