//! A simulated cluster from one seed; never shipped.
//!
//! The cores of n nodes and of their coordinators run in one thread over simulated disks, clocks and
//! links. The seed decides everything, so a failing run replays exactly. After every step the
//! invariants of `docs/protocol/rules.md` are checked.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unused_self,
    clippy::wildcard_enum_match_arm,
    clippy::large_enum_variant,
    reason = "a simulator that panics on its own mistakes is right to"
)]

mod cheat;
mod desk;
mod disk;
mod faults;
mod invariants;
mod machine;
mod mutation;
mod people;
mod recording;
mod two_faced;
mod workload;
mod world;

pub use cheat::Trick;
pub use faults::Faults;
pub use mutation::Mutation;
pub use world::{Report, Violation, World};
