//! The `quorate-node` daemon.
fn main() {}
