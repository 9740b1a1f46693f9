//! The rules that the repository keeps of itself: which crate may use what, and tidy sources.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod purity;
mod tidy;
mod vectors;

use std::path::PathBuf;

/// The top of the checkout.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
