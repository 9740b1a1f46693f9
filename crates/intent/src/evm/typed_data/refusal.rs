//! Why typed data are not signed, whatever policy says.

use quorate_model::Reason;

use super::{
    MAX_TYPED_DATA_BYTES,
    json::{MAX_DEPTH, MAX_VALUES},
    schema::{MAX_FIELDS, MAX_TYPES},
};

/// How much of what a client sent is repeated.
const SHORT: usize = 80;

/// Text of a client, cut short and escaped.
pub(super) fn short(text: &str) -> String {
    crate::facts::shown(text, SHORT)
}

/// Why typed data cannot be signed. Texts repeat what a client sent, cut short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypedDataRefusal {
    /// More bytes than a document may have.
    #[error("the typed data have {found} bytes, expected at most {MAX_TYPED_DATA_BYTES}")]
    TooLarge {
        /// Its length.
        found: usize,
    },
    /// Deeper than a document may be.
    #[error("the typed data nest deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More values than a document may have.
    #[error("the typed data hold more than {MAX_VALUES} values")]
    TooManyValues,
    /// More types than a document may have.
    #[error("the typed data define {found} types, expected at most {MAX_TYPES}")]
    TooManyTypes {
        /// How many.
        found: usize,
    },
    /// More fields than a type may have.
    #[error("type {name} has {found} fields, expected at most {MAX_FIELDS}")]
    TooManyFields {
        /// The type.
        name: String,
        /// How many.
        found: usize,
    },
    /// No JSON.
    #[error("the typed data are no JSON: {detail}")]
    NotJson {
        /// What the parser said.
        detail: String,
    },
    /// A key that stands twice.
    #[error("the key \"{key}\" stands twice in one object")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A number that readers round.
    #[error("a number is a fraction or exceeds 64 bits: write large numbers as strings")]
    InexactNumber,
    /// A field that is not there.
    #[error("{at} has no \"{name}\"")]
    MissingField {
        /// Where.
        at: String,
        /// The field.
        name: String,
    },
    /// A field that the type does not have and the signature would not cover.
    #[error("{at} has \"{name}\", which its type does not have and no signature would cover")]
    ExtraField {
        /// Where.
        at: String,
        /// The field.
        name: String,
    },
    /// A value of another type.
    #[error("{at} is {found}, expected {expected}")]
    WrongType {
        /// Where.
        at: String,
        /// What the type wants.
        expected: String,
        /// What there is.
        found: &'static str,
    },
    /// A text or number that is no value of the type.
    #[error("{at} is no {expected}")]
    WrongValue {
        /// Where.
        at: String,
        /// What the type wants.
        expected: String,
    },
    /// A number that the type does not hold.
    #[error("{at} does not fit {expected}")]
    OutOfRange {
        /// Where.
        at: String,
        /// The type.
        expected: String,
    },
    /// An array of another length.
    #[error("{at} has {found} elements, expected {expected}")]
    ArrayLength {
        /// Where.
        at: String,
        /// How many there are.
        found: usize,
        /// How many the type has.
        expected: usize,
    },
    /// A name that a type or field cannot have.
    #[error("\"{name}\" is no name for a type or a field")]
    Name {
        /// The name.
        name: String,
    },
    /// A field that a type has twice.
    #[error("type {name} has the field \"{field}\" twice")]
    FieldTwice {
        /// The type.
        name: String,
        /// The field.
        field: String,
    },
    /// A type that nobody defines.
    #[error("the type \"{name}\" is neither one of EIP-712 nor defined in types")]
    UnknownType {
        /// The type.
        name: String,
    },
    /// A type that contains itself.
    #[error("the type {name} contains itself")]
    TypeLoop {
        /// The type.
        name: String,
    },
    /// The type of the domain is not the one of EIP-712.
    #[error("EIP712Domain is not as EIP-712 has it: {problem}")]
    DomainType {
        /// What is wrong.
        problem: &'static str,
    },
    /// A chain that does not exist.
    #[error("the chain id of the domain is 0: expected the id of a chain")]
    ChainIdZero,
}

impl TypedDataRefusal {
    /// The reason of the catalogue.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::TooLarge { .. }
            | Self::TooDeep
            | Self::TooManyValues
            | Self::TooManyTypes { .. }
            | Self::TooManyFields { .. } => Reason::TooLarge,
            Self::ChainIdZero | Self::TypeLoop { .. } | Self::DomainType { .. } => {
                Reason::PayloadRefused
            }
            Self::NotJson { .. }
            | Self::DuplicateKey { .. }
            | Self::InexactNumber
            | Self::MissingField { .. }
            | Self::ExtraField { .. }
            | Self::WrongType { .. }
            | Self::WrongValue { .. }
            | Self::OutOfRange { .. }
            | Self::ArrayLength { .. }
            | Self::Name { .. }
            | Self::FieldTwice { .. }
            | Self::UnknownType { .. } => Reason::PayloadUndecodable,
        }
    }

    /// A stable code for exactly this error, finer than the reason.
    pub const fn detail(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "TYPED_DATA_TOO_LARGE",
            Self::TooDeep => "TYPED_DATA_TOO_DEEP",
            Self::TooManyValues => "TYPED_DATA_TOO_MANY_VALUES",
            Self::TooManyTypes { .. } => "TYPED_DATA_TOO_MANY_TYPES",
            Self::TooManyFields { .. } => "TYPED_DATA_TOO_MANY_FIELDS",
            Self::NotJson { .. } => "TYPED_DATA_NOT_JSON",
            Self::DuplicateKey { .. } => "TYPED_DATA_DUPLICATE_KEY",
            Self::InexactNumber => "TYPED_DATA_INEXACT_NUMBER",
            Self::MissingField { .. } => "TYPED_DATA_MISSING_FIELD",
            Self::ExtraField { .. } => "TYPED_DATA_EXTRA_FIELD",
            Self::WrongType { .. } => "TYPED_DATA_WRONG_TYPE",
            Self::WrongValue { .. } => "TYPED_DATA_WRONG_VALUE",
            Self::OutOfRange { .. } => "TYPED_DATA_OUT_OF_RANGE",
            Self::ArrayLength { .. } => "TYPED_DATA_ARRAY_LENGTH",
            Self::Name { .. } => "TYPED_DATA_NAME",
            Self::FieldTwice { .. } => "TYPED_DATA_FIELD_TWICE",
            Self::UnknownType { .. } => "TYPED_DATA_UNKNOWN_TYPE",
            Self::TypeLoop { .. } => "TYPED_DATA_TYPE_LOOP",
            Self::DomainType { .. } => "TYPED_DATA_DOMAIN_TYPE",
            Self::ChainIdZero => "TYPED_DATA_CHAIN_ID_ZERO",
        }
    }
}
