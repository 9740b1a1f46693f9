//! A Quorate node: gate, protocols, vault, journal, index, sealing.
//!
//! - [`core`]: what the node decides, synchronous, over injected storage, clock and randomness.
//! - [`journal`], [`vault`], [`keyring`], [`index`], [`sealing`], [`disk`]: what it keeps.
//! - [`backup`]: how it is saved, and made again from what was saved.
//! - [`host`], [`shell`], [`run`], [`console`], [`config`], [`telemetry`]: the process around it.

pub mod backup;
pub mod config;
pub mod console;
pub mod core;
pub mod disk;
mod frame;
pub mod host;
pub mod index;
pub mod journal;
pub mod keyring;
pub mod link;
pub mod run;
pub mod sealing;
pub mod service;
pub mod shell;
pub mod telemetry;
pub mod vault;
