//! How many resharings run and wait at a time (P17).

use quorate_model::{Epoch, KeyName, Reason, Scheme};

use super::{World, is_begin};
use crate::core::Limits;

#[test]
fn so_many_resharings_run_and_wait_and_more_are_refused_until_there_is_room() {
    let limits = Limits {
        max_ceremonies: 2,
        max_waiting_ceremonies: 1,
        ..Limits::default()
    };
    let mut world = World::with_limits(3, limits);
    let keys: Vec<KeyName> = ["aa", "bb", "cc", "dd"]
        .iter()
        .map(|name| world.key(name, Scheme::Bip340, 2))
        .collect();
    let before = world.count(0, is_begin);
    world.silence(2);

    let handles: Vec<_> = keys
        .iter()
        .map(|key| world.reshare(key, 2, &[0, 1, 2]))
        .collect();

    assert_eq!(world.count(0, is_begin) - before, 2, "two run");
    assert_eq!(world.refusal(handles[3]).reason, Reason::Overloaded);
    assert!(
        handles[..3]
            .iter()
            .all(|handle| !world.answers.contains_key(handle))
    );
    world.speak(2);
    world.pass(500);
    for (key, handle) in keys.iter().zip(&handles).take(3) {
        assert_eq!(world.reshare_outcome(*handle).epoch, Epoch(2));
        world.assert_in_use(key, 2, &[0, 1, 2]);
    }
    assert_eq!(world.epoch_of(&keys[3]), Epoch(1));
    assert_eq!(world.reshared(&keys[3], 2, &[0, 1, 2]).epoch, Epoch(2));
}
