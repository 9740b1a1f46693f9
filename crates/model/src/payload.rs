//! Payloads: the bytes that a client asks to have signed, and what they claim to be (P9).
//!
//! Nothing here decodes: what a payload means is the business of `quorate-intent`. This module
//! holds the form, the bounds, and the one prefix that keeps proofs which the cluster makes for
//! itself apart from everything that a client can ask for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{bytes::Digest, path::DerivationPath, scheme::KeyPurpose};

/// The largest message or PSBT, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// The most payloads in one command (P17).
pub const MAX_PAYLOADS: usize = 256;

/// The most signatures that one command asks for, over all its payloads.
pub const MAX_SIGNING_ITEMS: usize = 1024;

/// What every internal proof starts with: a byte that no chain parses as the start of a
/// transaction or a signed message, and the tag of this protocol. A payload that starts so is
/// never signed, and nothing that the cluster signs for itself starts otherwise (P9).
pub const INTERNAL_PREFIX: &[u8] = b"\xffquorate/v1/";

/// The message by which every share proves itself before a key becomes active (P20).
///
/// It is [`INTERNAL_PREFIX`], then `pop`, then the hash of the commit certificate.
pub fn pop_message(certificate_digest: &Digest) -> Vec<u8> {
    [INTERNAL_PREFIX, b"pop", certificate_digest.as_bytes()].concat()
}

/// What the bytes of a payload claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PayloadKind {
    /// Exact bytes, signed as they are.
    Message,
    /// A partially signed Bitcoin transaction, BIP-174 version 0, in its binary form.
    Psbt,
    /// A bare digest of 32 bytes.
    Digest,
    /// An unsigned EVM transaction: RLP, behind its type byte where it has one (EIP-2718).
    EvmTransaction,
    /// Exact bytes, signed as an Ethereum personal message (EIP-191).
    EvmMessage,
    /// Typed data of EIP-712, as the JSON document of `eth_signTypedData_v4`.
    EvmTypedData,
    /// A Solana message, legacy or version 0: what the signatures of a transaction are over.
    SolanaMessage,
}

impl PayloadKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Message,
        Self::Psbt,
        Self::Digest,
        Self::EvmTransaction,
        Self::EvmMessage,
        Self::EvmTypedData,
        Self::SolanaMessage,
    ];

    /// The name as the command line writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Psbt => "psbt",
            Self::Digest => "digest",
            Self::EvmTransaction => "evm-transaction",
            Self::EvmMessage => "evm-message",
            Self::EvmTypedData => "evm-typed-data",
            Self::SolanaMessage => "solana-message",
        }
    }

    /// The purpose that a key needs to sign a payload of this kind (P9).
    pub const fn purpose(self) -> KeyPurpose {
        match self {
            Self::Message | Self::EvmMessage | Self::EvmTypedData => KeyPurpose::Messages,
            Self::Psbt | Self::EvmTransaction | Self::SolanaMessage => KeyPurpose::Transactions,
            Self::Digest => KeyPurpose::Digests,
        }
    }
}

impl fmt::Display for PayloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no kind of payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a kind of payload: use message, psbt, digest, evm-transaction, evm-message, \
     evm-typed-data or solana-message"
)]
pub struct UnknownPayloadKind(pub String);

impl FromStr for PayloadKind {
    type Err = UnknownPayloadKind;
    fn from_str(text: &str) -> Result<Self, UnknownPayloadKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownPayloadKind(text.chars().take(80).collect()))
    }
}

/// Bytes to sign, with what they claim to be.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// What the bytes claim to be.
    pub kind: PayloadKind,
    /// The bytes: hex in texts, as they are elsewhere.
    #[serde(serialize_with = "write_bytes", deserialize_with = "read_bytes")]
    pub bytes: Vec<u8>,
    /// Accepts a transaction whose fee is out of all proportion. Means nothing for other kinds.
    #[serde(default)]
    pub allow_high_fee: bool,
    /// Which child of the key signs (P26). A PSBT names the children itself, by its key origins.
    #[serde(default)]
    pub path: DerivationPath,
}

impl Payload {
    /// Bytes of a kind, with nothing accepted beyond what is ordinary.
    pub fn new(kind: PayloadKind, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            bytes: bytes.into(),
            allow_high_fee: false,
            path: DerivationPath::ROOT,
        }
    }

    /// A message, signed as it is.
    pub fn message(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(PayloadKind::Message, bytes)
    }

    /// A PSBT in its binary form.
    pub fn psbt(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(PayloadKind::Psbt, bytes)
    }

    /// The same, to be signed by a child of the key.
    #[must_use]
    pub fn at(self, path: DerivationPath) -> Self {
        Self { path, ..self }
    }

    /// A bare digest.
    pub fn digest(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(PayloadKind::Digest, bytes)
    }

    /// A Solana message.
    pub fn solana_message(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(PayloadKind::SolanaMessage, bytes)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("kind", &self.kind)
            .field("bytes", &self.bytes.len())
            .field("allow_high_fee", &self.allow_high_fee)
            .field("path", &self.path)
            .finish()
    }
}

fn write_bytes<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
    if s.is_human_readable() {
        s.serialize_str(&hex::encode(bytes))
    } else {
        s.serialize_bytes(bytes)
    }
}

fn read_bytes<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
    if d.is_human_readable() {
        hex::decode(String::deserialize(d)?).map_err(serde::de::Error::custom)
    } else {
        Vec::<u8>::deserialize(d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tagged::Tag;

    #[test]
    fn a_proof_of_possession_starts_like_every_internal_proof_and_names_its_tag() {
        let message = pop_message(&Digest::new([7; 32]));

        let tagged = [b"\xff", Tag::Pop.as_str().as_bytes(), &[7; 32]].concat();
        assert_eq!(message, tagged);
        assert!(message.starts_with(INTERNAL_PREFIX));
        assert_ne!(
            message.len(),
            32,
            "a proof must not have the length of a digest"
        );
    }

    #[test]
    fn moving_money_saying_something_and_the_unknown_have_a_purpose_each() {
        let of = |purpose| {
            let mut kinds = PayloadKind::ALL.to_vec();
            kinds.retain(|kind| kind.purpose() == purpose);
            kinds
        };

        let transactions = [
            PayloadKind::Psbt,
            PayloadKind::EvmTransaction,
            PayloadKind::SolanaMessage,
        ];
        let messages = [
            PayloadKind::Message,
            PayloadKind::EvmMessage,
            PayloadKind::EvmTypedData,
        ];
        assert_eq!(of(KeyPurpose::Transactions), transactions);
        assert_eq!(of(KeyPurpose::Messages), messages);
        assert_eq!(of(KeyPurpose::Digests), [PayloadKind::Digest]);
    }

    #[test]
    fn stored_kinds_keep_their_numbers() {
        for (number, kind) in (0..).zip(PayloadKind::ALL) {
            assert_eq!(postcard::to_allocvec(&kind).unwrap(), [number], "{kind}");
        }
    }

    #[test]
    fn a_kind_is_read_from_its_name_and_from_nothing_else() {
        for kind in PayloadKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!(
            "Psbt".parse::<PayloadKind>(),
            Err(UnknownPayloadKind("Psbt".to_owned()))
        );
    }

    #[test]
    fn a_payload_survives_text_and_binary_and_text_shows_hex() {
        let payload = Payload {
            allow_high_fee: true,
            ..Payload::psbt([0xab, 0xcd])
        };

        let text = serde_json::to_string(&payload).unwrap();
        let binary = postcard::to_allocvec(&payload).unwrap();

        assert_eq!(
            text,
            r#"{"kind":"psbt","bytes":"abcd","allow_high_fee":true,"path":"m"}"#
        );
        assert_eq!(serde_json::from_str::<Payload>(&text).unwrap(), payload);
        assert_eq!(postcard::from_bytes::<Payload>(&binary).unwrap(), payload);
    }

    #[test]
    fn debug_output_tells_the_length_and_not_the_bytes() {
        let shown = format!("{:?}", Payload::message(*b"attack at dawn"));

        assert!(shown.contains("14"));
        assert!(!shown.contains("attack"));
        assert!(!shown.contains("97, 116"));
    }
}
