//! The Quorate coordinator: relays, selects, aggregates; stateless towards safety.
//!
//! - [`core`]: what a coordinator does, as a synchronous function from events to actions.
//! - [`link`]: the connections that nodes open.
//! - [`store`]: what survives a restart.
//! - [`runtime`]: the thread that runs the core, and what carries its actions out.
//! - [`service`]: the public API.
//! - [`gateway`]: EVM JSON-RPC, for wallets that are written for an Ethereum node.
//! - [`run`]: a coordinator from its configuration to its end.

pub mod config;
pub mod core;
pub mod gateway;
pub mod host;
pub mod link;
pub mod run;
pub mod runtime;
pub mod service;
pub mod store;
pub mod telemetry;
