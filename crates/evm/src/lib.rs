//! What wallets of EVM chains ask for and get: parameters of `eth_signTransaction` become payloads,
//! and signatures of the cluster become signed transactions and messages.
//!
//! Pure, like the decoders of `quorate-intent`, which say what a payload means. Whatever is made of
//! a signature here is read again by alloy, which had no part in making it, and the account that
//! alloy recovers must be the one of the key before anybody gets it.

mod request;
mod signed;

pub use request::{EvmRequest, EvmRequestError};
pub use signed::{EvmSignature, EvmSignatureError, SignedEvmMessage, SignedEvmTransaction};
