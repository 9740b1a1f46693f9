//! Why a Solana message is not signed, whatever policy says.

use quorate_model::Reason;

use super::MAX_TRANSACTION_BYTES;

/// Why a Solana message cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SolanaRefusal {
    /// The network would not carry the transaction.
    #[error(
        "the Solana transaction has {found} bytes with its signatures, expected at most \
         {MAX_TRANSACTION_BYTES}: split it"
    )]
    TooLarge {
        /// Its length.
        found: usize,
    },
    /// The bytes end too early.
    #[error(
        "the Solana message ends early, after {length} bytes: expected a complete message, \
         without signatures before it"
    )]
    Truncated {
        /// Its length.
        length: usize,
    },
    /// Bytes follow the message.
    #[error("{count} bytes follow the end of the Solana message: expected exactly one message")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A length that is not written in the shortest form, or does not fit 16 bits.
    #[error(
        "the length at byte {at} of the Solana message is not a compact-u16 in its shortest form"
    )]
    LengthForm {
        /// Where it stands.
        at: usize,
    },
    /// A version that is not known.
    #[error("the Solana message has version {version}, expected a legacy message or version 0")]
    UnknownVersion {
        /// The version.
        version: u8,
    },
    /// The bytes are not the ones that their meaning has.
    #[error("the Solana message is not in its one encoding")]
    NotCanonical,
    /// The counts of the header contradict the accounts.
    #[error(
        "the header of the Solana message has {signatures} signers ({readonly_signed} read-only) \
         and {readonly_unsigned} other read-only accounts among {accounts}: expected at least one \
         signer that is written, and no more accounts than there are"
    )]
    Header {
        /// How many sign.
        signatures: u8,
        /// How many of those are only read.
        readonly_signed: u8,
        /// How many of the others are only read.
        readonly_unsigned: u8,
        /// How many accounts there are.
        accounts: usize,
    },
    /// An account stands twice.
    #[error("accounts {first} and {second} of the Solana message are the same")]
    DuplicateAccount {
        /// The first place.
        first: usize,
        /// The second place.
        second: usize,
    },
    /// More accounts than an index can name.
    #[error("the Solana message has {found} accounts, expected at most 256")]
    TooManyAccounts {
        /// How many.
        found: usize,
    },
    /// A table of which nothing is taken.
    #[error("address lookup {table} of the Solana message takes no account from its table")]
    EmptyLookup {
        /// Which lookup.
        table: usize,
    },
    /// Nothing is done.
    #[error("the Solana message has no instructions: it would only pay a fee")]
    NoInstructions,
    /// An instruction calls an account that is none of the message, or the fee payer.
    #[error(
        "instruction {instruction} of the Solana message calls account {index} as a program, \
         expected one of accounts 1 to {accounts} exclusive"
    )]
    ProgramIndex {
        /// The instruction.
        instruction: usize,
        /// The index of the program.
        index: u8,
        /// How many accounts the message itself has.
        accounts: usize,
    },
    /// An instruction names an account that does not exist.
    #[error("instruction {instruction} of the Solana message uses account {index} of {accounts}")]
    AccountIndex {
        /// The instruction.
        instruction: usize,
        /// The index of the account.
        index: u8,
        /// How many accounts there are, with those of tables.
        accounts: usize,
    },
    /// One setting of the compute budget is made twice.
    #[error("instructions {first} and {second} of the Solana message both set {setting}")]
    BudgetTwice {
        /// The first instruction.
        first: usize,
        /// The second instruction.
        second: usize,
        /// What they set.
        setting: &'static str,
    },
    /// The key is not asked to sign.
    #[error(
        "the Solana message is not to be signed by this key: expected {key} among its required \
         signers; check the name of the key"
    )]
    NotSigner {
        /// The address of the key.
        key: String,
    },
    /// Nobody can say what all of it does.
    #[error(
        "the Solana message is blind: {because}; a key signs only transactions that every node \
         decodes in full"
    )]
    Blind {
        /// The first reason.
        because: String,
    },
}

impl SolanaRefusal {
    /// The reason of the catalogue.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::TooLarge { .. } => Reason::TooLarge,
            Self::Truncated { .. }
            | Self::TrailingBytes { .. }
            | Self::LengthForm { .. }
            | Self::UnknownVersion { .. }
            | Self::NotCanonical => Reason::PayloadUndecodable,
            Self::Header { .. }
            | Self::DuplicateAccount { .. }
            | Self::TooManyAccounts { .. }
            | Self::EmptyLookup { .. }
            | Self::NoInstructions
            | Self::ProgramIndex { .. }
            | Self::AccountIndex { .. }
            | Self::BudgetTwice { .. }
            | Self::NotSigner { .. }
            | Self::Blind { .. } => Reason::PayloadRefused,
        }
    }

    /// A stable code for exactly this error, finer than the reason.
    pub const fn detail(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "SOLANA_TOO_LARGE",
            Self::Truncated { .. } => "SOLANA_TRUNCATED",
            Self::TrailingBytes { .. } => "SOLANA_TRAILING_BYTES",
            Self::LengthForm { .. } => "SOLANA_LENGTH_FORM",
            Self::UnknownVersion { .. } => "SOLANA_UNKNOWN_VERSION",
            Self::NotCanonical => "SOLANA_NOT_CANONICAL",
            Self::Header { .. } => "SOLANA_HEADER",
            Self::DuplicateAccount { .. } => "SOLANA_DUPLICATE_ACCOUNT",
            Self::TooManyAccounts { .. } => "SOLANA_TOO_MANY_ACCOUNTS",
            Self::EmptyLookup { .. } => "SOLANA_EMPTY_LOOKUP",
            Self::NoInstructions => "SOLANA_NO_INSTRUCTIONS",
            Self::ProgramIndex { .. } => "SOLANA_PROGRAM_INDEX",
            Self::AccountIndex { .. } => "SOLANA_ACCOUNT_INDEX",
            Self::BudgetTwice { .. } => "SOLANA_BUDGET_TWICE",
            Self::NotSigner { .. } => "SOLANA_NOT_SIGNER",
            Self::Blind { .. } => "SOLANA_BLIND",
        }
    }
}
