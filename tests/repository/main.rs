//! The rules that the repository keeps of itself: which crate may use what, and tidy sources.

mod purity;
mod tidy;

use std::path::PathBuf;

/// The top of the checkout.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
