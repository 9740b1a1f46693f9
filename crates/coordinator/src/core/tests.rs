//! The core against hand-written nodes: they do the real cryptography, and misbehave on request.

mod ceremony;
mod fake_node;
mod keys;
mod signing;
mod submission;
mod upkeep;
mod world;
