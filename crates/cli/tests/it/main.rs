//! The command line as scripts see it: what is said, where, and with which exit code. Nothing here
//! needs a cluster.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "all of this crate is tests"
)]

mod audit;
mod ceremony;
mod decode;
mod usage;
mod workspace;
