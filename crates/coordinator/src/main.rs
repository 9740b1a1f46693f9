//! The `quorate-coordinator` daemon.
fn main() {}
