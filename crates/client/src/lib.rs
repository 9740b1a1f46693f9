//! The Quorate SDK: identities, typed commands, verification by default.
//!
//! A [`Client`] speaks to a cluster through coordinators that it does not trust. It trusts a key
//! only after its certificate and its proof of possession hold under the pinned roster, and returns
//! a signature only after it has verified under that key, over the message that this side decoded.
//! A name is an alias: who keeps the id of a key beside its name gives both in a [`KeyReference`].
//!
//! ```no_run
//! # async fn pay() -> Result<(), quorate_client::ClientError> {
//! use std::{path::Path, time::Duration};
//! use quorate_client::{Client, CommandOptions, identity::Identity, model::{Payload, roster::Role}};
//! use quorate_client::{passphrase::Passphrase, profile::Profile};
//!
//! let profile = Profile::load(Path::new("/etc/wallet/quorate"))?;
//! let passphrase = Passphrase::read(Path::new("/run/secrets/passphrase"))?;
//! let identity = Identity::read(&profile.identity_path(Role::Client)?, &passphrase)?;
//! let client = Client::connect(&profile, identity, Duration::from_secs(10)).await?;
//! let key = client.key(&"hot".parse().expect("a name")).await?;
//! let payload = Payload::message(*b"withdrawal 42");
//! let signed = client.sign(&key, vec![payload], &CommandOptions::default()).await?;
//! println!("{:?}", signed.outcome().signatures);
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `alloy`, a key is a signer for programs that are written with alloy; see the
//! module of that name.

mod address;
#[cfg(feature = "alloy")]
pub mod alloy;
pub mod audit;
mod certificates;
mod client;
mod command;
mod destruction;
mod error;
mod evm;
#[cfg(test)]
mod fixtures;
mod key;
pub mod profile;
mod readmission;
mod reshare;
mod roster;
mod signed;
mod state;
mod transport;
mod verify;

pub use address::AttestedAddress;
pub use certificates::{Proven, certificates_of, verify_certificate};
pub use client::{Client, succeeded};
pub use command::{CommandOptions, CommandTimes, Prepared, fresh_id};
pub use destruction::{
    Announcement, DestroyAction, DestructionProgress, TakenStep, Withdrawal, verify_destruction,
};
pub use error::{ClientError, ExitClass};
pub use key::{CertifiedKey, KeyReference, ListedKey, fitting_purposes};
pub use quorate_evm::{
    EvmRequest, EvmRequestError, EvmSignature, EvmSignatureError, SignedEvmMessage,
    SignedEvmTransaction,
};
/// The identities that a client speaks as.
pub use quorate_identity as identity;
pub use quorate_identity::passphrase;
/// The vocabulary that the SDK speaks.
pub use quorate_model as model;
pub use reshare::{Committee, Reshared};
pub use roster::{RosterDifference, RosterProgress, roster_of};
pub use signed::Signed;
pub use state::{Acknowledged, AwaitingCommand};
pub use verify::VerificationError;
