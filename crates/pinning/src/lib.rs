//! TLS with keys pinned from the roster, no certificate authority (P3, P4).
//!
//! A certificate is nothing but the carrier of a public key: names, dates, issuers and extensions
//! mean nothing. A peer is who it claims to be when the SHA-256 of its public key (SPKI) is
//! allowed and it signs the handshake with that key. Both sides show a certificate, always.
//! Nothing here opens a socket.

mod config;
mod identity;

pub use config::{
    ALPN, Allowed, UnpinnedKey, allow, client_config, peer_key_hash, server_config, server_name,
};
pub use identity::{TlsIdentity, spki_hash};

/// Why a TLS identity or configuration cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinningError {
    /// A key or certificate cannot be generated.
    #[error("generate TLS identity")]
    Generate(#[source] rcgen::Error),
    /// Stored bytes are no identity.
    #[error("read TLS identity")]
    Read(#[source] quorate_model::wire::WireError),
    /// The certificate or key is not usable, or they do not belong together.
    #[error("use TLS identity")]
    Unusable(#[source] rustls::Error),
}
