//! The EVM JSON-RPC gateway: what is written for an account that a node unlocks works with a key
//! of the cluster.
//!
//! It speaks the account methods of Ethereum nodes over HTTP and, with an upstream, passes reads on
//! to it. Each account is a child of a key that the configuration names; there are no others. The
//! gateway is a principal of its own: it signs commands with an identity that the roster lists, and
//! hands them in where every caller hands them in, so that nodes judge them by the same rules. What
//! comes back is put together, and alloy must recover the account from it, before anybody gets it.
//!
//! There is no way to sign a bare digest here: `eth_sign` is the personal message of EIP-191.
//!
//! ```text
//!  http ─► rpc ─► methods ─► accounts, fill ─► signing ─► the core, as the public API
//!                    └─────► upstream
//! ```

mod accounts;
mod cluster;
mod config;
mod fill;
mod http;
mod methods;
mod params;
mod rpc;
mod server;
mod signing;
mod upstream;

use std::{io, path::PathBuf};

use quorate_identity::{IdentityError, passphrase::PassphraseError};
use quorate_model::PrincipalId;

pub use cluster::{Cluster, EngineCluster};
pub use config::{AccountConfig, GatewayConfig, GatewayConfigError, Secret};
pub use http::app;
pub use methods::Gateway;
pub use server::{Listening, serve};
pub use upstream::{HttpUpstream, Upstream, UpstreamError};

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The identity does not open.
    #[error("open the identity of the gateway")]
    Identity(#[from] IdentityError),
    /// The passphrase is not usable.
    #[error("read the passphrase of the gateway's identity")]
    Passphrase(#[from] PassphraseError),
    /// The roster knows no such client.
    #[error("the identity of the gateway, \"{0}\", is no principal of the roster with role client")]
    NoClient(PrincipalId),
    /// The token is not usable.
    #[error("use the token file {}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The upstream cannot be called.
    #[error("use the upstream of the gateway")]
    Upstream(#[from] UpstreamError),
    /// The address cannot be listened on.
    #[error("listen on {address} for the gateway")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests;
