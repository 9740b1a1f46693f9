//! Conversions of everything that a coordinator asks of a node and of the answers.
//!
//! Each variant of [`NodeRequest`](quorate_model::node_api::NodeRequest) has one method. A client
//! turns a request into a [`WireRequest`] and the response back into a
//! [`NodeReply`](quorate_model::node_api::NodeReply); a server goes the other way.

mod reply;
mod request;

pub use request::WireRequest;

#[cfg(test)]
mod tests;
