//! Certificates as files, to be handed around.

use serde::{Deserialize, Serialize};

use super::{CommitCertificate, KeyEvidence};
use crate::{bytes::Digest, destruction::DestructionCertificate, wire};

/// What a file of a certificate begins with; the digit is the form of what follows.
const MAGIC: &[u8] = b"quorate certificate 1\n";

/// The same without the form.
const KIND: &[u8] = b"quorate certificate ";

/// The largest file that is read, in bytes: three certificates, orders and receipts.
pub const MAX_CERTIFICATE_FILE: usize = 8 << 20;

/// A certificate that may be written to a file and handed around.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Certificate {
    /// Of a key in one epoch; of its birth where no other certificate is beside it.
    Key(KeyEvidence),
    /// Of its end.
    Destruction(DestructionCertificate),
}

/// Why a file is not read as a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFileError {
    /// Something else.
    #[error("the file is no certificate: expected what `quorate key certificates` writes")]
    Other,
    /// A form that this version does not know.
    #[error("the certificate is of a newer form than this version reads: upgrade it")]
    Newer,
    /// Cut off, or changed.
    #[error("the certificate is damaged: fetch it again")]
    Damaged,
    /// Larger than any.
    #[error("the file has {0} bytes, a certificate has at most {MAX_CERTIFICATE_FILE}")]
    TooLarge(usize),
}

impl Certificate {
    /// The bytes of its file.
    ///
    /// # Errors
    ///
    /// [`CertificateFileError::Damaged`] when it cannot be encoded.
    pub fn to_file(&self) -> Result<Vec<u8>, CertificateFileError> {
        let body = wire::encode(self).map_err(|_| CertificateFileError::Damaged)?;
        Ok([MAGIC, body.as_slice()].concat())
    }

    /// Reads a file, without verifying what it says.
    ///
    /// # Errors
    ///
    /// [`CertificateFileError`] when it is none.
    pub fn from_file(bytes: &[u8]) -> Result<Self, CertificateFileError> {
        if bytes.len() > MAX_CERTIFICATE_FILE {
            return Err(CertificateFileError::TooLarge(bytes.len()));
        }
        let Some(body) = bytes.strip_prefix(MAGIC) else {
            return Err(if bytes.starts_with(KIND) {
                CertificateFileError::Newer
            } else {
                CertificateFileError::Other
            });
        };
        wire::decode(body).map_err(|_| CertificateFileError::Damaged)
    }

    /// The hash of the certificate of the key's epoch, where it can be read.
    pub fn hash(&self) -> Option<Digest> {
        let evidence = match self {
            Self::Key(evidence) => evidence,
            Self::Destruction(certificate) => &certificate.evidence,
        };
        let parsed = CommitCertificate::from_bytes(&evidence.certificate).ok()?;
        Some(parsed.hash())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_told_from_a_damaged_and_a_newer_one() {
        let evidence = KeyEvidence {
            certificate: vec![1, 2, 3],
            proof: None,
            birth: None,
        };
        let file = Certificate::Key(evidence.clone()).to_file().unwrap();
        let cut = file.get(..file.len() - 1).unwrap();
        let longer = [file.as_slice(), &[0]].concat();

        assert_eq!(
            Certificate::from_file(&file),
            Ok(Certificate::Key(evidence))
        );
        for (bytes, expected) in [
            (cut, CertificateFileError::Damaged),
            (longer.as_slice(), CertificateFileError::Damaged),
            (b"quorate certificate 2\nabc", CertificateFileError::Newer),
            (b"-----BEGIN", CertificateFileError::Other),
            (b"", CertificateFileError::Other),
        ] {
            assert_eq!(Certificate::from_file(bytes), Err(expected));
        }
    }
}
