//! The nouns of Quorate: ids, schemes, commands and endorsements, rosters, key records,
//! certificates, audit records and the catalogue of refusals.
//!
//! Pure: no clock, no randomness, no input or output. Everything that is signed or hashed in
//! Quorate is described here, so that nodes, coordinators, clients and offline verifiers agree.

pub mod address;
pub mod audit;
pub mod backup;
pub mod bytes;
pub mod certificate;
pub mod command;
pub mod destruction;
pub mod evacuation;
pub mod identity;
pub mod ids;
pub mod key;
pub mod life;
pub mod node_api;
pub mod operation;
pub mod path;
pub mod payload;
pub mod quarantine;
pub mod refusal;
pub mod roster;
pub mod scheme;
pub mod session;
pub mod share;
pub mod standing;
pub mod tagged;
pub mod wire;

pub use bytes::{Digest, Nonce32};
pub use identity::{IdentityKey, Signature};
pub use ids::{
    ClusterId, CommandId, CoordinatorId, Epoch, KeyId, KeyName, NameError, NodeId, PartyIndex,
    PrincipalId, TicketId, UnixMillis,
};
pub use key::{KeyRecord, KeyState, Participant};
pub use path::DerivationPath;
pub use payload::{Payload, PayloadKind};
pub use refusal::{Reason, Refusal};
pub use scheme::{KeyPurpose, Purposes, Scheme};
pub use session::{SessionBinding, SessionPreimage, SessionSource};
pub use tagged::{Tag, Tagged};
