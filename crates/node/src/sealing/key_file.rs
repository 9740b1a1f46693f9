//! A key file: 32 random bytes as hex or base64 text, readable by their owner only.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::SealKey;

/// The most bytes that a key file may have: hex digits and a line end.
const MAX_BYTES: usize = 128;

/// The permission bits of group and others.
const OTHERS: u32 = 0o077;

/// The key in a key file.
pub struct KeyFile(pub(super) SealKey);

/// A file that holds no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("read key file {path}")]
    Read {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may read or change the file.
    #[error("key file {path} is open to others (mode {mode:o}); run chmod 600 on it")]
    Exposed {
        /// The path.
        path: String,
        /// The permission bits.
        mode: u32,
    },
    /// The content is no key.
    #[error("key file does not hold 32 bytes as 64 hex digits or as base64")]
    Malformed,
    /// The content is a key that nobody drew at random.
    #[error("key file holds one byte value repeated; draw 32 random bytes")]
    Degenerate,
}

impl KeyFile {
    /// Reads a key file.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let shown = || path.display().to_string();
        let read = |source| KeyFileError::Read {
            path: shown(),
            source,
        };
        let metadata = fs::metadata(path).map_err(read)?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & OTHERS != 0 {
            return Err(KeyFileError::Exposed {
                path: shown(),
                mode,
            });
        }
        if metadata.len() > MAX_BYTES as u64 {
            return Err(KeyFileError::Malformed);
        }
        Self::parse(&Zeroizing::new(fs::read(path).map_err(read)?))
    }

    /// Reads the text of a key file; white space around it is ignored.
    pub fn parse(text: &[u8]) -> Result<Self, KeyFileError> {
        let text = text.trim_ascii();
        let mut bytes = Zeroizing::new([0; 32]);
        let is_hex = hex::decode_to_slice(text, bytes.as_mut_slice()).is_ok();
        if !is_hex {
            // The decoder asks for room for whole groups of three bytes.
            let mut room = Zeroizing::new([0; 36]);
            match STANDARD.decode_slice(text, room.as_mut_slice()) {
                Ok(32) => {
                    for (to, from) in bytes.iter_mut().zip(room.iter()) {
                        *to = *from;
                    }
                }
                _ => return Err(KeyFileError::Malformed),
            }
        }
        if bytes.windows(2).all(|pair| pair.first() == pair.last()) {
            return Err(KeyFileError::Degenerate);
        }
        SealKey::from_slice(bytes.as_slice())
            .map(Self)
            .ok_or(KeyFileError::Malformed)
    }
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyFile(redacted)")
    }
}
