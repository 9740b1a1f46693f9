//! Why a payload is not signed, whatever policy says.

use quorate_model::{
    DerivationPath, PayloadKind, Purposes, Reason, Refusal, Scheme,
    address::AddressType,
    path::MAX_STEPS,
    payload::{MAX_PAYLOAD_BYTES, MAX_PAYLOADS, MAX_SIGNING_ITEMS},
};

use crate::{
    children::MAX_DERIVED,
    evm::{refusal::EvmRefusal, typed_data::refusal::TypedDataRefusal},
    psbt::{HIGH_FEE_SAT, HIGH_FEE_SHARE, MAX_INPUTS, MAX_LEGACY_BYTES, MAX_OUTPUTS},
    solana::refusal::SolanaRefusal,
};

/// Why a payload cannot be signed by a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Undecodable {
    /// More bytes than a payload may have.
    #[error("the {kind} has {found} bytes, expected at most {MAX_PAYLOAD_BYTES}")]
    TooLarge {
        /// What the payload claims to be.
        kind: PayloadKind,
        /// Its length.
        found: usize,
    },
    /// The scheme has no signatures for this kind.
    #[error(
        "a key of scheme {scheme} signs no payload of kind {kind}: use a key of scheme {}",
        fitting(*.kind)
    )]
    SchemeUnfit {
        /// What the payload claims to be.
        kind: PayloadKind,
        /// The scheme of the key.
        scheme: Scheme,
    },
    /// The key was not made for this kind.
    #[error(
        "the key has the purpose {}, a payload of kind {kind} needs the purpose {}: use a key that \
         was created with it, purposes are fixed at creation", listed(.purposes), .kind.purpose()
    )]
    WrongPurpose {
        /// What the payload claims to be.
        kind: PayloadKind,
        /// The purposes of the key.
        purposes: Purposes,
    },
    /// A message that cannot be told from a digest.
    #[error(
        "a message of exactly 32 bytes could be the digest of a transaction under bip340: sign it \
         with a key that has the purpose digests as well, or add a prefix to the message"
    )]
    BareDigest,
    /// A payload that claims to be a proof of the cluster.
    #[error(
        "the payload starts with 0xff \"quorate/v1/\", which is kept for proofs that the cluster \
         makes itself: change its first byte"
    )]
    InternalProof,
    /// A digest of another length.
    #[error("the digest has {found} bytes, expected exactly 32: sign longer texts as a message")]
    DigestLength {
        /// Its length.
        found: usize,
    },
    /// The group key is none.
    #[error(
        "the group key has {found} bytes and is no compressed point of secp256k1, expected 33 \
         bytes: the key record is damaged"
    )]
    MalformedKey {
        /// Its length.
        found: usize,
    },
    /// A path beside a PSBT.
    #[error(
        "a path is given beside the PSBT: expected none, because the PSBT names the children of \
         the key itself, by the key origins (bip32_derivation, tap_bip32_derivation) of its inputs \
         and outputs"
    )]
    PathBesidePsbt,
    /// A key origin with our fingerprint that leads to another key or script.
    #[error(
        "{side} {index} claims by its key origin to belong to this key, and does not: the script \
         or key at that path is another; have the wallet make the PSBT again from this key's \
         descriptors"
    )]
    FalseOrigin {
        /// Input or output.
        side: &'static str,
        /// Which, from 0.
        index: usize,
    },
    /// A key origin with our fingerprint and a hardened step.
    #[error(
        "{side} {index} claims by its key origin to belong to a hardened child of this key, and a \
         shared key has none: have the wallet make the PSBT again from this key's descriptors"
    )]
    HardenedOrigin {
        /// Input or output.
        side: &'static str,
        /// Which, from 0.
        index: usize,
    },
    /// A key origin with our fingerprint and a path that is too long.
    #[error(
        "{side} {index} claims by its key origin to belong to a child of this key {steps} steps \
         away, expected at most {MAX_STEPS}: have the wallet make the PSBT again from this key's \
         descriptors"
    )]
    LongOrigin {
        /// Input or output.
        side: &'static str,
        /// Which, from 0.
        index: usize,
        /// How many steps the path has.
        steps: usize,
    },
    /// Key origins that take longer to derive than a payload may.
    #[error(
        "the key origins of the PSBTs of the command take more than {MAX_DERIVED} derivations: split \
         the command or the transaction"
    )]
    TooManyChildren,
    /// BIP-32 leaves a few indices out; it happens once in 2^127.
    #[error("the key has no child at {path}: use the next index")]
    NoChild {
        /// The path.
        path: DerivationPath,
    },
    /// The bytes do not even start like a PSBT.
    #[error(
        "this is no PSBT: expected the binary form, which starts with \"psbt\", or base64 of it \
         where text is accepted"
    )]
    NotPsbt,
    /// The bytes start like a PSBT and go wrong later.
    ///
    /// The detail is what the parser said, cut short, because it repeats what a client sent.
    #[error(
        "the PSBT cannot be read ({detail}): expected version 0 (BIP-174), complete and unchanged; \
         convert version 2 to version 0 first"
    )]
    Unreadable {
        /// What the parser said.
        detail: String,
    },
    /// Bytes follow the PSBT.
    #[error("{count} bytes follow the end of the PSBT: expected exactly one PSBT")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// More inputs than are signed at a time.
    #[error("the PSBT has {found} inputs, expected at most {MAX_INPUTS}: split the transaction")]
    TooManyInputs {
        /// How many.
        found: usize,
    },
    /// More outputs than are shown at a time.
    #[error("the PSBT has {found} outputs, expected at most {MAX_OUTPUTS}: split the transaction")]
    TooManyOutputs {
        /// How many.
        found: usize,
    },
    /// No output at all.
    #[error("the PSBT has no outputs: no node of the network would accept the transaction")]
    NoOutputs,
    /// One output is spent twice.
    #[error("inputs {first} and {second} of the PSBT spend the same output: remove one of them")]
    DuplicateInput {
        /// The first input.
        first: usize,
        /// The second input.
        second: usize,
    },
    /// The amount of an input is not known.
    #[error(
        "input {input} of the PSBT has no witness_utxo or non_witness_utxo: without the amounts of \
         all inputs nobody knows the fee, so add it (wallets call this updating)"
    )]
    NoAmount {
        /// The input.
        input: usize,
    },
    /// The previous transaction is another one than the input names.
    #[error(
        "non_witness_utxo of input {input} is not the transaction that the input spends: its hash \
         differs from the txid; update the PSBT again"
    )]
    WrongPrevious {
        /// The input.
        input: usize,
    },
    /// The previous transaction has no such output.
    #[error("input {input} spends output {vout} of a transaction that has {outputs} outputs")]
    NoSuchOutput {
        /// The input.
        input: usize,
        /// The output that it names.
        vout: u32,
        /// How many there are.
        outputs: usize,
    },
    /// Two statements about the same output differ.
    #[error(
        "witness_utxo and non_witness_utxo of input {input} disagree about the amount or the \
         script: update the PSBT again"
    )]
    UtxoDisagreement {
        /// The input.
        input: usize,
    },
    /// An amount or a sum that cannot exist.
    #[error("the amounts of the {side} exceed 21,000,000 BTC: they cannot exist")]
    AmountOutOfRange {
        /// Inputs or outputs.
        side: &'static str,
    },
    /// Nothing here is for this key.
    #[error(
        "no input of the PSBT belongs to this key: expected at least one that spends a script of \
         it ({scripts}), or of a child named by a key origin with fingerprint {fingerprint}; check \
         the name of the key and the network"
    )]
    NotOurs {
        /// The scripts of the key, each with its form, in hex.
        scripts: String,
        /// The fingerprint of the key, in hex.
        fingerprint: String,
    },
    /// A signature type that leaves parts of the transaction open.
    #[error(
        "input {input} asks for sighash type {found:#04x}, expected DEFAULT (0x00) or ALL (0x01): \
         other types let somebody change the transaction after it is signed"
    )]
    SighashType {
        /// The input.
        input: usize,
        /// The type.
        found: u32,
    },
    /// The same on an input that is not taproot, where there is no default.
    #[error(
        "input {input} is spent by ECDSA and asks for sighash type {found:#04x}, expected ALL \
         (0x01) or no such field: other types let somebody change the transaction after it is \
         signed"
    )]
    EcdsaSighashType {
        /// The input.
        input: usize,
        /// The type.
        found: u32,
    },
    /// An input of before segwit with nothing but a claim about its amount.
    #[error(
        "input {input} is P2PKH and has no non_witness_utxo: its signature commits to no amount, \
         so only the previous transaction shows how much is spent; add it (wallets call this \
         updating)"
    )]
    NoPrevious {
        /// The input.
        input: usize,
    },
    /// A transaction that takes too long to hash for each of its inputs.
    #[error(
        "the transaction has a P2PKH input and {found} bytes without signatures, expected at most \
         {MAX_LEGACY_BYTES}: the network does not relay it; split it"
    )]
    LegacyTooLarge {
        /// Its length.
        found: usize,
    },
    /// A script beside an input whose own script is another.
    #[error(
        "input {input} spends a {form} script of the key and carries another script in {field}: \
         have the wallet make the PSBT again from this key's descriptors, or remove the field"
    )]
    ScriptMismatch {
        /// The input.
        input: usize,
        /// The field.
        field: &'static str,
        /// The form of the script that is spent.
        form: AddressType,
    },
    /// A script tree on an input whose script has none.
    #[error(
        "input {input} belongs to the key but carries {field}, which speaks of a script tree: the \
         key signs only for the key path with no script tree; remove the field"
    )]
    ScriptPath {
        /// The input.
        input: usize,
        /// The field.
        field: &'static str,
    },
    /// The input claims another internal key than the one that its script is made of.
    #[error(
        "tap_internal_key of input {input} is not the key, although the script is: expected \
         {expected} or no such field"
    )]
    InternalKeyMismatch {
        /// The input.
        input: usize,
        /// The internal key, in hex.
        expected: String,
    },
    /// There is a signature already.
    ///
    /// A signature that is present is neither checked nor replaced here: whoever made the PSBT
    /// believes that it is done, and that belief may be false.
    #[error(
        "input {input} belongs to the key and is signed already ({field} is set): use the PSBT as \
         it is, or remove the field to have it signed again"
    )]
    AlreadySigned {
        /// The input.
        input: usize,
        /// The field.
        field: &'static str,
    },
    /// More is paid than there is.
    #[error("the outputs pay {outputs_sat} sat, more than the {inputs_sat} sat of the inputs")]
    OutputsExceedInputs {
        /// What there is.
        inputs_sat: u64,
        /// What is paid.
        outputs_sat: u64,
    },
    /// The fee is out of all proportion.
    #[error(
        "the fee is {fee_sat} sat of {inputs_sat} sat spent, more than one {HIGH_FEE_SHARE}th of \
         the inputs or {HIGH_FEE_SAT} sat: check the change output, or accept it with \
         --allow-high-fee"
    )]
    HighFee {
        /// The fee.
        fee_sat: u64,
        /// The sum of the inputs.
        inputs_sat: u64,
    },
    /// A form of address that the scheme cannot spend.
    #[error(
        "a key of scheme {scheme} cannot spend {address_type} addresses: use {}",
        usual(*.scheme)
    )]
    AddressTypeUnfit {
        /// The form.
        address_type: AddressType,
        /// The scheme of the key.
        scheme: Scheme,
    },
    /// A message that is a transaction to a chain.
    #[error(
        "the message has the form of a Solana message that this key is to sign, and its signature \
         would be that of a transaction: sign it as a solana-message"
    )]
    MessageIsTransaction,
    /// An EVM transaction.
    #[error(transparent)]
    Evm(#[from] EvmRefusal),
    /// Typed data.
    #[error(transparent)]
    TypedData(#[from] TypedDataRefusal),
    /// A Solana message.
    #[error(transparent)]
    Solana(#[from] SolanaRefusal),
}

impl Undecodable {
    /// The reason of the catalogue.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::TooLarge { .. }
            | Self::TooManyInputs { .. }
            | Self::TooManyOutputs { .. }
            | Self::TooManyChildren
            | Self::LegacyTooLarge { .. } => Reason::TooLarge,
            Self::SchemeUnfit { .. } | Self::AddressTypeUnfit { .. } => Reason::SchemeMismatch,
            Self::WrongPurpose { .. } | Self::BareDigest | Self::MessageIsTransaction => {
                Reason::PurposeMismatch
            }
            Self::MalformedKey { .. } => Reason::Invariant,
            Self::HighFee { .. } => Reason::FeeTooHigh,
            Self::DigestLength { .. }
            | Self::NotPsbt
            | Self::Unreadable { .. }
            | Self::TrailingBytes { .. } => Reason::PayloadUndecodable,
            Self::InternalProof
            | Self::NoOutputs
            | Self::DuplicateInput { .. }
            | Self::NoAmount { .. }
            | Self::WrongPrevious { .. }
            | Self::NoSuchOutput { .. }
            | Self::UtxoDisagreement { .. }
            | Self::AmountOutOfRange { .. }
            | Self::NotOurs { .. }
            | Self::SighashType { .. }
            | Self::EcdsaSighashType { .. }
            | Self::NoPrevious { .. }
            | Self::ScriptMismatch { .. }
            | Self::ScriptPath { .. }
            | Self::InternalKeyMismatch { .. }
            | Self::AlreadySigned { .. }
            | Self::PathBesidePsbt
            | Self::FalseOrigin { .. }
            | Self::HardenedOrigin { .. }
            | Self::LongOrigin { .. }
            | Self::NoChild { .. }
            | Self::OutputsExceedInputs { .. } => Reason::PayloadRefused,
            Self::Evm(refusal) => refusal.reason(),
            Self::TypedData(refusal) => refusal.reason(),
            Self::Solana(refusal) => refusal.reason(),
        }
    }

    /// A stable code for exactly this error, finer than the reason.
    pub const fn detail(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "PAYLOAD_TOO_LARGE",
            Self::SchemeUnfit { .. } => "SCHEME_UNFIT",
            Self::WrongPurpose { .. } => "WRONG_PURPOSE",
            Self::BareDigest => "BARE_DIGEST",
            Self::InternalProof => "INTERNAL_PROOF",
            Self::DigestLength { .. } => "DIGEST_LENGTH",
            Self::MalformedKey { .. } => "KEY_MALFORMED",
            Self::NotPsbt => "NOT_PSBT",
            Self::Unreadable { .. } => "PSBT_UNREADABLE",
            Self::TrailingBytes { .. } => "PSBT_TRAILING_BYTES",
            Self::TooManyInputs { .. } => "PSBT_TOO_MANY_INPUTS",
            Self::TooManyOutputs { .. } => "PSBT_TOO_MANY_OUTPUTS",
            Self::NoOutputs => "PSBT_NO_OUTPUTS",
            Self::DuplicateInput { .. } => "PSBT_DUPLICATE_INPUT",
            Self::NoAmount { .. } => "PSBT_AMOUNT_MISSING",
            Self::WrongPrevious { .. } => "PSBT_WRONG_PREVIOUS_TRANSACTION",
            Self::NoSuchOutput { .. } => "PSBT_NO_SUCH_OUTPUT",
            Self::UtxoDisagreement { .. } => "PSBT_UTXO_DISAGREEMENT",
            Self::AmountOutOfRange { .. } => "PSBT_AMOUNT_OUT_OF_RANGE",
            Self::NotOurs { .. } => "PSBT_NO_INPUT_OF_KEY",
            Self::SighashType { .. } => "PSBT_SIGHASH_TYPE",
            Self::EcdsaSighashType { .. } => "PSBT_ECDSA_SIGHASH_TYPE",
            Self::NoPrevious { .. } => "PSBT_PREVIOUS_TRANSACTION_MISSING",
            Self::LegacyTooLarge { .. } => "PSBT_LEGACY_TOO_LARGE",
            Self::ScriptMismatch { .. } => "PSBT_SCRIPT_MISMATCH",
            Self::AddressTypeUnfit { .. } => "ADDRESS_TYPE_UNFIT",
            Self::ScriptPath { .. } => "PSBT_SCRIPT_PATH",
            Self::InternalKeyMismatch { .. } => "PSBT_INTERNAL_KEY_MISMATCH",
            Self::AlreadySigned { .. } => "PSBT_ALREADY_SIGNED",
            Self::PathBesidePsbt => "PSBT_PATH_BESIDE",
            Self::FalseOrigin { .. } => "PSBT_FALSE_KEY_ORIGIN",
            Self::HardenedOrigin { .. } => "PSBT_HARDENED_KEY_ORIGIN",
            Self::LongOrigin { .. } => "PSBT_LONG_KEY_ORIGIN",
            Self::TooManyChildren => "PSBT_TOO_MANY_CHILDREN",
            Self::NoChild { .. } => "NO_SUCH_CHILD",
            Self::OutputsExceedInputs { .. } => "PSBT_OUTPUTS_EXCEED_INPUTS",
            Self::HighFee { .. } => "PSBT_HIGH_FEE",
            Self::MessageIsTransaction => "MESSAGE_IS_TRANSACTION",
            Self::Evm(refusal) => refusal.detail(),
            Self::TypedData(refusal) => refusal.detail(),
            Self::Solana(refusal) => refusal.detail(),
        }
    }
}

impl From<&Undecodable> for Refusal {
    fn from(error: &Undecodable) -> Self {
        Self::new(error.reason(), error.to_string()).with("detail", error.detail())
    }
}

/// Why the payloads of a command cannot be signed together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchUndecodable {
    /// Nothing to sign.
    #[error("the command carries no payload, expected 1 to {MAX_PAYLOADS}")]
    Empty,
    /// Too much to sign.
    #[error("the command carries {found} payloads, expected at most {MAX_PAYLOADS}: split it")]
    TooManyPayloads {
        /// How many.
        found: usize,
    },
    /// Too many signatures.
    #[error(
        "up to payload {index} the command asks for more than {MAX_SIGNING_ITEMS} signatures: \
         split it"
    )]
    TooManyItems {
        /// The payload with which the bound is crossed, from 0.
        index: usize,
    },
    /// One payload cannot be signed.
    #[error("payload {index}: {error}")]
    Payload {
        /// Which, from 0.
        index: usize,
        /// Why; part of the message, because people read this one sentence.
        error: Undecodable,
    },
}

impl BatchUndecodable {
    /// The reason of the catalogue.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Empty => Reason::PayloadUndecodable,
            Self::TooManyPayloads { .. } | Self::TooManyItems { .. } => Reason::TooLarge,
            Self::Payload { error, .. } => error.reason(),
        }
    }

    /// A stable code for exactly this error, finer than the reason.
    pub const fn detail(&self) -> &'static str {
        match self {
            Self::Empty => "NO_PAYLOAD",
            Self::TooManyPayloads { .. } => "TOO_MANY_PAYLOADS",
            Self::TooManyItems { .. } => "TOO_MANY_SIGNATURES",
            Self::Payload { error, .. } => error.detail(),
        }
    }
}

impl From<&BatchUndecodable> for Refusal {
    fn from(error: &BatchUndecodable) -> Self {
        let refusal = Self::new(error.reason(), error.to_string()).with("detail", error.detail());
        match error {
            BatchUndecodable::Empty | BatchUndecodable::TooManyPayloads { .. } => refusal,
            BatchUndecodable::TooManyItems { index } | BatchUndecodable::Payload { index, .. } => {
                refusal.with("payload", index)
            }
        }
    }
}

fn fitting(kind: PayloadKind) -> &'static str {
    match kind {
        PayloadKind::Message => "bip340, frost-secp256k1 or ed25519",
        PayloadKind::Psbt => "bip340 or ecdsa-secp256k1",
        PayloadKind::Digest => "bip340, frost-secp256k1 or ecdsa-secp256k1",
        PayloadKind::EvmTransaction | PayloadKind::EvmMessage | PayloadKind::EvmTypedData => {
            "ecdsa-secp256k1"
        }
        PayloadKind::SolanaMessage => "ed25519",
    }
}

fn usual(scheme: Scheme) -> String {
    let forms: Vec<_> = AddressType::of_scheme(scheme)
        .iter()
        .map(|form| form.as_str())
        .collect();
    match forms.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "a key of another scheme".to_owned(),
    }
}

fn listed(purposes: &Purposes) -> String {
    let names: Vec<_> = purposes
        .as_slice()
        .iter()
        .map(|purpose| purpose.as_str())
        .collect();
    names.join(", ")
}
