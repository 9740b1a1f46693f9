//! Generated wire types and their conversions to the model.
//!
//! Generated types stop here: services convert with `TryFrom` on entry and work on model types.
//! What needs no state to be judged of a command or a certificate is judged here, because it needs
//! their one encoding; nothing here waits or remembers.

pub mod address;
pub mod admission;
pub mod certificate;
pub mod codec;
pub mod command;
mod convert;
pub mod destruction;
pub mod limits;
pub mod lists;
pub mod names;
pub mod node_api;
pub mod operation;
pub mod roster;
pub mod status;
pub mod types;

#[cfg(test)]
mod arbitrary;

/// The public API, `quorate.v1`.
#[expect(
    unused_qualifications,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code follows the generator's style"
)]
pub mod v1 {
    tonic::include_proto!("quorate.v1");
}

/// The API between coordinators and nodes.
pub mod node {
    /// `quorate.node.v1`.
    #[expect(
        unused_qualifications,
        clippy::pedantic,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code follows the generator's style"
    )]
    pub mod v1 {
        tonic::include_proto!("quorate.node.v1");
    }
}

/// The descriptors of the public API, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/quorate_v1.bin"));
