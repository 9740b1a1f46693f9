//! The Quorate coordinator: relays, selects, aggregates; stateless towards safety.
//!
//! - [`core`]: what a coordinator does, as a synchronous function from events to actions.

pub mod core;
pub mod link;
