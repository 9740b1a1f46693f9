//! The two forms in which people keep a PSBT: binary and base64.

use bitcoin::base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use quorate_model::{PayloadKind, payload::MAX_PAYLOAD_BYTES};

use super::MAGIC;
use crate::undecodable::Undecodable;

/// Reads base64 whether or not it is padded, because mail and shells lose the padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &bitcoin::base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The form that a PSBT was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsbtForm {
    /// Bytes as they are.
    Binary,
    /// Base64 text.
    Base64 {
        /// Whether a line end follows.
        newline: bool,
    },
}

impl PsbtForm {
    /// Writes a binary PSBT in this form.
    pub fn write(self, psbt: &[u8]) -> Vec<u8> {
        match self {
            Self::Binary => psbt.to_vec(),
            Self::Base64 { newline } => {
                let mut text = BASE64_STANDARD.encode(psbt);
                if newline {
                    text.push('\n');
                }
                text.into_bytes()
            }
        }
    }
}

/// Takes a PSBT out of a file that holds it in binary or in base64, and says in which.
///
/// # Errors
///
/// [`Undecodable::NotPsbt`] when it is neither, [`Undecodable::TooLarge`] when it is too long.
pub fn psbt_from_text_or_binary(input: &[u8]) -> Result<(Vec<u8>, PsbtForm), Undecodable> {
    let bounded = |bytes: Vec<u8>, form| {
        if bytes.len() > MAX_PAYLOAD_BYTES {
            return Err(Undecodable::TooLarge {
                kind: PayloadKind::Psbt,
                found: bytes.len(),
            });
        }
        Ok((bytes, form))
    };
    if input.starts_with(MAGIC) {
        return bounded(input.to_vec(), PsbtForm::Binary);
    }
    let text: Vec<u8> = input
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let bytes = LENIENT.decode(text).map_err(|_| Undecodable::NotPsbt)?;
    if !bytes.starts_with(MAGIC) {
        return Err(Undecodable::NotPsbt);
    }
    bounded(
        bytes,
        PsbtForm::Base64 {
            newline: input.ends_with(b"\n"),
        },
    )
}
