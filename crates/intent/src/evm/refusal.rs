//! Why an EVM transaction is not signed, whatever policy says.

use quorate_model::Reason;

/// Why an EVM transaction cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvmRefusal {
    /// The first byte stands for no type of transaction.
    #[error(
        "this is no EVM transaction: expected the unsigned RLP of type 1 to 4 behind its type \
         byte, or a legacy list"
    )]
    UnknownType,
    /// A type that hands the account over to code.
    #[error(
        "the transaction carries authorization lists (type 4, EIP-7702): they put code in the \
         place of accounts and are not signed"
    )]
    AuthorizationList,
    /// The bytes are no canonical RLP.
    #[error("the transaction is no canonical RLP: {problem}")]
    Rlp {
        /// What is wrong.
        problem: &'static str,
    },
    /// Bytes follow the transaction.
    #[error("{count} bytes follow the end of the transaction: expected exactly one transaction")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A list that is longer than it may be.
    #[error("a list of the transaction has more than {most} items")]
    TooManyItems {
        /// The bound.
        most: usize,
    },
    /// Another number of fields than the type has.
    #[error("the transaction has {found} fields, expected {expected} for its type, unsigned")]
    FieldCount {
        /// How many.
        found: usize,
        /// How many the type has.
        expected: usize,
    },
    /// The transaction carries a signature.
    #[error("the transaction is signed already: expected the unsigned form")]
    AlreadySigned,
    /// A legacy transaction that is valid on every chain.
    #[error(
        "the transaction has no chain id and would be valid on every chain: expected chain id, 0, \
         0 as its last fields (EIP-155)"
    )]
    ChainIdMissing,
    /// A chain that does not exist.
    #[error("the chain id is 0: expected the id of a chain")]
    ChainIdZero,
    /// A chain id for which no signature can be written (EIP-2294).
    #[error("the chain id is larger than EIP-2294 allows")]
    ChainIdTooLarge,
    /// A field of another form than it has.
    #[error("field {field} of the transaction is malformed: {problem}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// A nonce that no account reaches (EIP-2681).
    #[error("the nonce is the largest number of 64 bits, which no account reaches (EIP-2681)")]
    NonceTooLarge,
    /// The tip exceeds the whole.
    #[error("the priority fee is higher than the fee that it is part of: no block takes it")]
    PriorityAboveMax,
    /// A blob transaction without a destination.
    #[error("a blob transaction has no destination: it cannot create a contract (EIP-4844)")]
    BlobCreation,
    /// A blob transaction without a blob.
    #[error("a blob transaction names no blob (EIP-4844)")]
    NoBlobs,
    /// A blob of an unknown kind.
    #[error("blob hash {index} does not start with version 1 (EIP-4844)")]
    BlobVersion {
        /// Which, from 0.
        index: usize,
    },
    /// The bytes are not the ones that their meaning has.
    #[error("the transaction is not in its one encoding")]
    NotCanonical,
    /// Nobody can say what all of it does.
    #[error(
        "the transaction is blind: {because}; a key signs only transactions that every node \
         decodes in full"
    )]
    Blind {
        /// The first reason.
        because: String,
    },
}

impl EvmRefusal {
    /// The reason of the catalogue.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::TooManyItems { .. } => Reason::TooLarge,
            Self::UnknownType
            | Self::Rlp { .. }
            | Self::TrailingBytes { .. }
            | Self::FieldCount { .. }
            | Self::Field { .. }
            | Self::NotCanonical => Reason::PayloadUndecodable,
            Self::AuthorizationList
            | Self::AlreadySigned
            | Self::ChainIdMissing
            | Self::ChainIdZero
            | Self::ChainIdTooLarge
            | Self::NonceTooLarge
            | Self::PriorityAboveMax
            | Self::BlobCreation
            | Self::NoBlobs
            | Self::BlobVersion { .. }
            | Self::Blind { .. } => Reason::PayloadRefused,
        }
    }

    /// A stable code for exactly this error, finer than the reason.
    pub const fn detail(&self) -> &'static str {
        match self {
            Self::UnknownType => "EVM_UNKNOWN_TYPE",
            Self::AuthorizationList => "EVM_AUTHORIZATION_LIST",
            Self::Rlp { .. } => "EVM_RLP",
            Self::TrailingBytes { .. } => "EVM_TRAILING_BYTES",
            Self::TooManyItems { .. } => "EVM_TOO_MANY_ITEMS",
            Self::FieldCount { .. } => "EVM_FIELD_COUNT",
            Self::AlreadySigned => "EVM_ALREADY_SIGNED",
            Self::ChainIdMissing => "EVM_CHAIN_ID_MISSING",
            Self::ChainIdZero => "EVM_CHAIN_ID_ZERO",
            Self::ChainIdTooLarge => "EVM_CHAIN_ID_TOO_LARGE",
            Self::Field { .. } => "EVM_FIELD",
            Self::NonceTooLarge => "EVM_NONCE_TOO_LARGE",
            Self::PriorityAboveMax => "EVM_PRIORITY_ABOVE_MAX",
            Self::BlobCreation => "EVM_BLOB_CREATION",
            Self::NoBlobs => "EVM_NO_BLOBS",
            Self::BlobVersion { .. } => "EVM_BLOB_VERSION",
            Self::NotCanonical => "EVM_NOT_CANONICAL",
            Self::Blind { .. } => "EVM_BLIND",
        }
    }
}
