//! Passphrases: read from files or prompts, generated for throwaway clusters, never from arguments.

use std::{fmt, fs, io, path::Path};

use rand_core::CryptoRngCore;
use zeroize::{Zeroize as _, Zeroizing};

/// The longest passphrase that is read, in bytes.
pub const MAX_PASSPHRASE_BYTES: usize = 4096;

/// A passphrase that identity files are sealed under.
///
/// # Security
/// It is erased when it is dropped, and neither compared, copied, printed nor serialized.
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// Why a passphrase is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// The file does not open or is no text file of this size.
    #[error("read passphrase file {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("the passphrase is empty")]
    Empty,
    /// It is longer than any real one.
    #[error("the passphrase has {0} bytes, expected at most {MAX_PASSPHRASE_BYTES}")]
    TooLong(usize),
}

impl Passphrase {
    /// Takes a passphrase as it was typed.
    pub fn new(bytes: Vec<u8>) -> Result<Self, PassphraseError> {
        let bytes = Zeroizing::new(bytes);
        if bytes.is_empty() {
            return Err(PassphraseError::Empty);
        }
        if bytes.len() > MAX_PASSPHRASE_BYTES {
            return Err(PassphraseError::TooLong(bytes.len()));
        }
        Ok(Self(bytes))
    }

    /// Reads the whole of a file but the line end that editors add.
    pub fn read(path: &Path) -> Result<Self, PassphraseError> {
        let mut bytes = fs::read(path).map_err(|source| PassphraseError::Unreadable {
            path: path.display().to_string(),
            source,
        })?;
        for end in [b'\n', b'\r'] {
            if bytes.last() == Some(&end) {
                bytes.pop();
            }
        }
        Self::new(bytes)
    }

    /// A passphrase of 256 random bits, in hex.
    pub fn generate(rng: &mut dyn CryptoRngCore) -> Self {
        let mut bits = Zeroizing::new([0_u8; 32]);
        rng.fill_bytes(bits.as_mut());
        let mut text = hex::encode(bits.as_slice());
        let passphrase = Self(Zeroizing::new(text.as_bytes().to_vec()));
        text.zeroize();
        passphrase
    }

    /// The bytes, for the key derivation and for the file of a throwaway cluster.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_file_is_read_without_its_line_end() {
        let dir = tempfile::tempdir().unwrap();
        for (content, expected) in [
            ("correct horse\n", "correct horse"),
            ("a\r\n", "a"),
            ("b", "b"),
            (" c \n\n", " c \n"),
        ] {
            let path = dir.path().join("passphrase");
            fs::write(&path, content).unwrap();

            let read = Passphrase::read(&path).unwrap();

            assert_eq!(read.expose(), expected.as_bytes());
        }
    }

    #[test]
    fn an_empty_or_endless_passphrase_is_refused() {
        assert!(matches!(
            Passphrase::new(vec![]),
            Err(PassphraseError::Empty)
        ));
        assert!(matches!(
            Passphrase::new(vec![1; 5000]),
            Err(PassphraseError::TooLong(5000))
        ));
        assert!(matches!(
            Passphrase::read(Path::new("/nonexistent/passphrase")),
            Err(PassphraseError::Unreadable { .. })
        ));
    }

    #[test]
    fn debug_output_shows_nothing() {
        let shown = format!("{:?}", Passphrase::new(b"hunter2".to_vec()).unwrap());

        assert!(!shown.contains("hunter2"));
    }
}
