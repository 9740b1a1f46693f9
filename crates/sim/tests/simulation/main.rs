//! Many seeds, seeds that once failed, and mutations that must be found.

use quorate_sim::{Mutation, World};

/// Seeds that once showed a bug; they stay for ever. See README.md.
const ONCE_FAILED: &[u64] = &[];

#[test]
fn two_hundred_seeds_break_no_rule() {
    let mut signatures = 0;
    for seed in 0..200 {
        match World::from_seed(seed).run() {
            Ok(report) => signatures += report.signatures,
            Err(violation) => panic!("{violation}"),
        }
    }
    assert!(signatures > 1_000, "only {signatures} signatures were made");
}

#[test]
fn seeds_that_once_failed_stay_good() {
    for seed in ONCE_FAILED {
        if let Err(violation) = World::from_seed(*seed).run() {
            panic!("{violation}");
        }
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 17] {
        let (first, second) = (World::from_seed(seed).run(), World::from_seed(seed).run());

        assert_eq!(first, second);
    }
    assert_ne!(World::from_seed(3).run(), World::from_seed(17).run());
}

/// The invariant that a mutated node breaks, in the first seed that shows it.
fn found(mutation: Mutation) -> &'static str {
    (0..200)
        .find_map(|seed| World::mutated(seed, mutation).run().err())
        .map_or("nothing", |violation| violation.invariant)
}

#[test]
fn nonces_that_come_again_are_found() {
    assert_eq!(found(Mutation::OldRandomness), "I3");
}

#[test]
fn a_journal_without_fsync_is_found() {
    assert_eq!(found(Mutation::NoFsync), "I7");
}
