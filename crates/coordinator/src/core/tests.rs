//! The core against hand-written nodes: they do the real cryptography, and misbehave on request.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "tests count with small numbers, and look for one kind among many"
)]

mod ceremony;
mod destroying;
mod due;
mod fake_node;
mod keys;
mod membership;
mod resharing;
mod signing;
mod states;
mod submission;
mod successors;
mod upkeep;
mod uses;
mod world;
