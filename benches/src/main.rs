//! The `quorate-bench` runner.
fn main() {}
