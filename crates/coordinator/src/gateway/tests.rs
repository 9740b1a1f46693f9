//! The gateway over a cluster that signs with a whole key.

mod accounts;
mod alloy;
mod configuration;
mod http;
mod sending;
mod signing;
mod world;
