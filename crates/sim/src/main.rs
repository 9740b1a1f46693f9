//! The `quorate-sim` runner.
fn main() {}
