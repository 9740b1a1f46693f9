//! The one storage and transport form of model structures: a version byte, then postcard.

use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;

/// Bytes that are no structure of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Written by a version that this one does not know.
    #[error("structure has version {0}, this version reads version {VERSION}")]
    UnknownVersion(u8),
    /// Nothing at all.
    #[error("structure is empty")]
    Empty,
    /// Not the expected structure.
    #[error("structure is malformed")]
    Malformed,
    /// More bytes than the structure.
    #[error("structure is followed by {0} other bytes")]
    Trailing(usize),
    /// A structure that cannot be written.
    #[error("structure cannot be encoded")]
    Unencodable,
}

/// Encodes a structure.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, WireError> {
    postcard::to_extend(value, vec![VERSION]).map_err(|_| WireError::Unencodable)
}

/// Decodes a structure; unknown versions and trailing bytes are refused.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, WireError> {
    let (version, body) = bytes.split_first().ok_or(WireError::Empty)?;
    if *version != VERSION {
        return Err(WireError::UnknownVersion(*version));
    }
    let (value, rest) = postcard::take_from_bytes(body).map_err(|_| WireError::Malformed)?;
    if !rest.is_empty() {
        return Err(WireError::Trailing(rest.len()));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_versions_trailing_bytes_and_garbage_are_refused() {
        let bytes = encode(&(7u32, "x".to_owned())).unwrap();
        let mut longer = bytes.clone();
        longer.push(0);
        let mut newer = bytes.clone();
        newer[0] = 2;

        assert_eq!(
            decode::<(u32, String)>(&bytes).unwrap(),
            (7, "x".to_owned())
        );
        assert_eq!(
            decode::<(u32, String)>(&longer),
            Err(WireError::Trailing(1))
        );
        assert_eq!(
            decode::<(u32, String)>(&newer),
            Err(WireError::UnknownVersion(2))
        );
        assert_eq!(
            decode::<(u32, String)>(&bytes[..2]),
            Err(WireError::Malformed)
        );
        assert_eq!(decode::<(u32, String)>(&[]), Err(WireError::Empty));
    }
}
