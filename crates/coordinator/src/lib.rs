//! The Quorate coordinator: relays, selects, aggregates; stateless towards safety.
//!
//! - [`core`]: what a coordinator does, as a synchronous function from events to actions.
//! - [`link`]: the connections that nodes open.
//! - [`store`]: what survives a restart.

pub mod core;
pub mod link;
pub mod store;
