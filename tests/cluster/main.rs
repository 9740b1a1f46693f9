//! Real clusters: separate processes, real TLS, real disks, driven through the command line as a
//! user would. Every wait is for a state, with a deadline.

mod errors;
mod faults;
mod harness;
mod newcomer;
mod signing;
