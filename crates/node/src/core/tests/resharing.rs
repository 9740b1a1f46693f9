//! Whole resharings over cores alone: what a dealer, a receiver and a holder that leaves each do,
//! and what they refuse.

mod declared;
mod epochs;
mod erased;
pub(crate) mod harness;
mod killed;
mod refused;
