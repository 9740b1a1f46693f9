//! Real clusters: separate processes, real TLS, real disks, driven through the command line as a
//! user would. Every wait is for a state, with a deadline.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on has failed"
)]

mod backup;
mod benchmarks;
mod children;
mod commands;
mod destruction;
mod ecdsa;
mod ecdsa_psbt;
mod errors;
mod evacuation;
mod evm;
mod faults;
mod harness;
mod identities;
mod membership;
mod newcomer;
mod operations;
mod placement;
mod psbt;
mod resharing;
mod restarts;
mod rotation;
mod signing;
mod states;
mod storage;
