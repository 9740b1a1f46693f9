//! The Quorate coordinator: relays, selects, aggregates; stateless towards safety.
