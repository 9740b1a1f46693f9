//! What the bytes of a payload mean, and the digests to sign.
//!
//! Every node runs this for itself over the exact bytes that a client signed; nothing that a
//! coordinator says about a payload is used (P7). [`decode()`] turns a payload into [`Facts`],
//! for policy and for people, and into the messages to sign, or says why it must not be signed.
//! [`inspect()`] tells the facts alone, without a key and also of what no key would sign.
//! [`finish()`] puts signatures back where the payload wants them.
//!
//! Pure: no clock, no randomness, no input or output. Nothing here decides whether a payload is
//! *allowed*; that is the business of policy. What is refused here is refused for everybody: it
//! is not what it claims to be, its meaning is unclear, or signing it would be unsafe for any key.

mod amount;
mod children;
mod decode;
mod evacuation;
mod evm;
mod facts;
mod finalize;
mod finish;
mod psbt;
mod receiver;
pub mod solana;
mod taproot;
mod transfer;
mod undecodable;
mod watched;

pub use amount::{Amount, InvalidAmount};
pub use children::{
    Descriptors, WatchOnly, address, address_of_kind, address_type, descriptors, ethereum_address,
    solana_address, watch_only,
};
pub use decode::{Decoded, ItemTweak, KeyFacts, SigningItem, decode, decode_all, inspect};
pub use evacuation::{
    Astray, Unreachable, bitcoin_chain, check_destinations, check_evacuation, pinned_output,
};
pub use evm::{
    address::{EvmAddress, InvalidEvmAddress},
    evm_address,
    facts::{
        EvmApproval, EvmAuthorizationFacts, EvmCall, EvmMessageFacts, EvmTransactionFacts,
        EvmTransactionType,
    },
    refusal::EvmRefusal,
    transaction::{EvmAccess, EvmAuthorization, EvmFees, EvmTransaction, MAX_LIST_ITEMS},
    typed_data::{
        MAX_RENDERED_FIELDS, MAX_TYPED_DATA_BYTES, TypedDataDomain, TypedDataFacts, TypedDataField,
        refusal::TypedDataRefusal,
    },
};
pub use facts::{
    DigestFacts, Facts, InputFacts, InvalidScript, MessageFacts, OutputFacts, PREVIEW_LENGTH,
    PsbtFacts, ScriptKind, ScriptPubkey,
};
pub use finalize::{Finalized, finalize};
pub use finish::{Finished, Unfinishable, finish};
pub use psbt::{
    HIGH_FEE_SAT, HIGH_FEE_SHARE, MAX_INPUTS, MAX_OUTPUTS,
    form::{PsbtForm, psbt_from_text_or_binary},
};
/// The vocabulary of addresses.
pub use quorate_model::address::{AddressKind, AddressType, Network};
pub use solana::{
    facts::{SolanaFacts, SolanaInstruction, SolanaVersion},
    refusal::SolanaRefusal,
};
pub use taproot::taproot_script;
pub use transfer::{Asset, Transfer};
pub use undecodable::{BatchUndecodable, Undecodable};
pub use watched::{InvalidXpub, WatchedKey};

#[cfg(test)]
mod tests;
