//! What is known of the use of a key when others hold it.

use quorate_model::UnixMillis;

use super::World;

#[test]
fn holders_that_are_new_hide_nothing_of_what_was_borne_out_before() {
    let (mut world, key) = World::with_vault(6);
    world.claim(&key, &[(Some(1), Some(50)), (Some(2), Some(60))]);
    let stored: Vec<_> = world.store.clone();
    world.restart_coordinator(stored);
    world.pass(300);
    let minute = |minute: u64| Some(UnixMillis(minute * 60_000));
    let before = (minute(2), minute(50));
    assert_eq!(world.told(&key), before);

    world.reshared(&key, 2, &[3, 4, 5]);

    assert_eq!(world.told(&key), before);
    // Who holds it no more has no say, not even together.
    let gone = (Some(0), Some(99));
    world.claim(&key, &[gone, gone, gone]);
    let stored: Vec<_> = world.store.clone();
    world.restart_coordinator(stored);
    world.pass(300);
    assert_eq!(world.told(&key), before);
    // Without its store the coordinator knows what the new holders know.
    let later = (None, Some(70));
    world.claim(&key, &[gone, gone, gone, later, later]);
    world.restart_coordinator(vec![]);
    world.pass(300);
    assert_eq!(world.told(&key), (None, minute(70)));
}
