//! The values of a document: hashed as EIP-712 says and rendered as they are hashed.

use std::collections::BTreeMap;

use super::{
    MAX_RENDERED_FIELDS, TypedDataField,
    json::Json,
    refusal::{TypedDataRefusal, short},
    schema::{Schema, Type},
};
use crate::{
    amount::Amount,
    evm::{address::EvmAddress, keccak256},
    facts::{PREVIEW_LENGTH, shown},
};

/// A word of the encoding.
type Word = [u8; 32];

/// Hashes values, and keeps what people see of them.
#[derive(Debug)]
pub(super) struct Hasher<'s> {
    schema: &'s Schema,
    type_hashes: BTreeMap<&'s str, Word>,
    rendered: Vec<TypedDataField>,
    truncated: bool,
}

impl<'s> Hasher<'s> {
    pub(super) fn new(schema: &'s Schema) -> Self {
        Self {
            schema,
            type_hashes: BTreeMap::new(),
            rendered: Vec::new(),
            truncated: false,
        }
    }

    pub(super) fn rendered(&self) -> &[TypedDataField] {
        &self.rendered
    }

    pub(super) fn into_rendered(self) -> Vec<TypedDataField> {
        self.rendered
    }

    pub(super) const fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// The hash of a value of a defined type.
    pub(super) fn hash_struct(
        &mut self,
        name: &'s str,
        path: &str,
        value: &Json,
    ) -> Result<Word, TypedDataRefusal> {
        let place = if path.is_empty() { "message" } else { path };
        let object = value.object(place)?;
        let schema = self.schema;
        let fields = schema.fields(name);
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        object.only(place, &names)?;
        let mut encoded = self.type_hash(name).to_vec();
        for field in fields {
            let path = match path {
                "" => field.name.clone(),
                _ => format!("{path}.{}", field.name),
            };
            let value = object.required(place, &field.name)?;
            encoded.extend(self.encode(&field.kind, &path, value)?);
        }
        Ok(keccak256(&encoded))
    }

    fn type_hash(&mut self, name: &'s str) -> Word {
        let schema = self.schema;
        *self
            .type_hashes
            .entry(name)
            .or_insert_with(|| keccak256(schema.encode_type(name).as_bytes()))
    }

    /// The word of a value.
    fn encode(
        &mut self,
        kind: &'s Type,
        path: &str,
        value: &Json,
    ) -> Result<Word, TypedDataRefusal> {
        match kind {
            Type::Struct(name) => self.hash_struct(name, path, value),
            Type::Array(inner, length) => {
                let items = value.array(path)?;
                if let Some(expected) = length.filter(|length| *length != items.len()) {
                    return Err(TypedDataRefusal::ArrayLength {
                        at: short(path),
                        found: items.len(),
                        expected,
                    });
                }
                if items.is_empty() {
                    self.render(path, kind, "[]");
                }
                let mut encoded = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    encoded.extend(self.encode(inner, &format!("{path}[{index}]"), item)?);
                }
                Ok(keccak256(&encoded))
            }
            Type::Bool
            | Type::Address
            | Type::String
            | Type::Bytes
            | Type::FixedBytes(_)
            | Type::Uint(_)
            | Type::Int(_) => {
                let (word, text) = atom(kind, path, value)?;
                self.render(path, kind, &text);
                Ok(word)
            }
        }
    }

    fn render(&mut self, path: &str, kind: &Type, text: &str) {
        if self.rendered.len() == MAX_RENDERED_FIELDS {
            self.truncated = true;
            return;
        }
        let (value, is_cut) = if *kind == Type::String {
            let is_cut = text.chars().nth(PREVIEW_LENGTH).is_some();
            (shown(text, PREVIEW_LENGTH), is_cut)
        } else {
            // Hex behind 0x, or something shorter.
            let most = 2 * PREVIEW_LENGTH + 2;
            (text.chars().take(most).collect(), text.len() > most)
        };
        self.truncated |= is_cut;
        self.rendered.push(TypedDataField {
            path: path.to_owned(),
            type_name: kind.to_string(),
            value,
        });
    }
}

/// The word and the text of a value that is not made of others.
fn atom(kind: &Type, at: &str, value: &Json) -> Result<(Word, String), TypedDataRefusal> {
    let wrong_value = || TypedDataRefusal::WrongValue {
        at: short(at),
        expected: kind.to_string(),
    };
    match (kind, value) {
        (Type::Bool, Json::Bool(value)) => {
            let word = Amount::from(u64::from(*value)).to_be_bytes();
            Ok((word, value.to_string()))
        }
        (Type::Address, Json::String(text)) => {
            let address: EvmAddress = text.parse().map_err(|_| wrong_value())?;
            let mut word = [0; 32];
            if let Some(low) = word.last_chunk_mut() {
                *low = *address.as_bytes();
            }
            Ok((word, address.to_string()))
        }
        (Type::String, Json::String(text)) => Ok((keccak256(text.as_bytes()), text.clone())),
        (Type::Bytes, Json::String(text)) => {
            let bytes = hex_bytes(text).ok_or_else(wrong_value)?;
            Ok((keccak256(&bytes), format!("0x{}", hex::encode(bytes))))
        }
        (Type::FixedBytes(length), Json::String(text)) => {
            let bytes = hex_bytes(text)
                .filter(|bytes| bytes.len() == *length)
                .ok_or_else(wrong_value)?;
            let mut word = [0; 32];
            for (place, byte) in word.iter_mut().zip(&bytes) {
                *place = *byte;
            }
            Ok((word, format!("0x{}", hex::encode(bytes))))
        }
        (Type::Uint(bits), Json::String(text) | Json::Number(text)) => {
            let (negative, size) = number(text).ok_or_else(wrong_value)?;
            let fits = |size: &Amount| !negative && size.bit_length() <= *bits;
            size.filter(fits)
                .map(|size| (size.to_be_bytes(), size.to_string()))
                .ok_or_else(|| out_of_range(kind, at))
        }
        (Type::Int(bits), Json::String(text) | Json::Number(text)) => {
            let (negative, size) = number(text).ok_or_else(wrong_value)?;
            size.and_then(|size| signed(negative, size, *bits))
                .ok_or_else(|| out_of_range(kind, at))
        }
        _ => Err(value.wrong(at, &kind.to_string())),
    }
}

fn out_of_range(kind: &Type, at: &str) -> TypedDataRefusal {
    TypedDataRefusal::OutOfRange {
        at: short(at),
        expected: kind.to_string(),
    }
}

/// Bytes after 0x.
fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.strip_prefix("0x")?).ok()
}

/// A number as JSON documents write it: decimal with a sign, or hex after 0x. None when it is
/// neither; its size is none when it exceeds 256 bits.
fn number(text: &str) -> Option<(bool, Option<Amount>)> {
    if let Some(digits) = text.strip_prefix("0x") {
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let padded = format!("{:0>64}", digits.trim_start_matches('0'));
        let bytes = hex::decode(&padded).ok();
        return Some((false, bytes.and_then(|bytes| Amount::from_be_slice(&bytes))));
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let is_padded = digits.len() > 1 && digits.starts_with('0');
    if digits.is_empty() || is_padded || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some((negative, digits.parse().ok()))
}

/// Two's complement, when the number fits.
fn signed(negative: bool, size: Amount, bits: usize) -> Option<(Word, String)> {
    let most = bits.checked_sub(1)?;
    let magnitude = size.to_be_bytes();
    if !negative {
        return (size.bit_length() <= most).then(|| (magnitude, size.to_string()));
    }
    // One less than the size, inverted.
    let less = size.checked_sub(Amount::from(1_u64))?;
    if less.bit_length() > most {
        return None;
    }
    Some((less.to_be_bytes().map(|byte| !byte), format!("-{size}")))
}
