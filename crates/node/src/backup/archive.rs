//! The form of what is sealed: written and read as a stream.

use std::io::{self, Read, Write};

use quorate_model::{
    Digest, Signature,
    backup::{SignedHeader, begin_file},
    wire,
};

use super::{BackupError, RestoreError};
use crate::disk::OpenFile;

const MAGIC: &[u8; 16] = b"quorate-backup\0\0";

/// The version of the form.
pub(super) const FORMAT: u32 = 1;

const FILE: u8 = 1;
const END: u8 = 0;

const MAX_HEADER_BYTES: usize = 64 * 1024;
const MAX_NAME_BYTES: usize = 512;

/// How much of a file is in memory at a time.
const PIECE: usize = 256 * 1024;

/// Writes what is sealed.
pub(super) struct Writer<W: Write> {
    out: W,
    link: Digest,
    files: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(mut out: W, header: &SignedHeader) -> Result<Self, BackupError> {
        let bytes = wire::encode(header).map_err(|_| BackupError::Encode)?;
        let length = u32::try_from(bytes.len()).map_err(|_| BackupError::Encode)?;
        out.write_all(MAGIC)
            .and_then(|()| out.write_all(&FORMAT.to_le_bytes()))
            .and_then(|()| out.write_all(&length.to_le_bytes()))
            .and_then(|()| out.write_all(&bytes))
            .map_err(BackupError::Write)?;
        Ok(Self {
            out,
            link: header.header.digest(),
            files: 0,
        })
    }

    /// Writes the first bytes of a file, as many as `length` says.
    pub(super) fn file(
        &mut self,
        name: &str,
        file: &dyn OpenFile,
        length: u64,
    ) -> Result<(), BackupError> {
        let name_length = u16::try_from(name.len()).map_err(|_| BackupError::Encode)?;
        self.put(&[FILE])?;
        self.put(&name_length.to_le_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&length.to_le_bytes())?;
        let mut pieces = begin_file(&self.link, name, length);
        let mut at = 0u64;
        while at < length {
            let left = usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX);
            let piece = file.read(at, left.min(PIECE))?;
            if piece.is_empty() {
                break;
            }
            pieces.push(&piece);
            self.put(&piece)?;
            at = at.saturating_add(piece.len() as u64);
        }
        let ends = || io::Error::new(io::ErrorKind::UnexpectedEof, "a file became shorter");
        let link = pieces.end().ok_or_else(|| BackupError::Write(ends()))?;
        self.link = link.finish();
        self.files = self.files.saturating_add(1);
        let link = *self.link.as_bytes();
        self.put(&link)
    }

    /// Writes the end.
    pub(super) fn end(
        mut self,
        sign: impl FnOnce(u64, &Digest) -> Signature,
    ) -> Result<W, BackupError> {
        let signature = sign(self.files, &self.link);
        let files = self.files;
        self.put(&[END])?;
        self.put(&files.to_le_bytes())?;
        self.put(signature.as_bytes())?;
        Ok(self.out)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.out.write_all(bytes).map_err(BackupError::Write)
    }
}

/// One thing that was read.
pub(super) enum Item {
    /// A file begins; its content must be read next.
    File { name: String, length: u64 },
    /// The end, with what the node signed.
    End {
        files: u64,
        link: Digest,
        signature: Signature,
    },
}

/// Reads what was sealed.
pub(super) struct Reader<R: Read> {
    input: R,
    link: Digest,
    files: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn begin(mut input: R) -> Result<(Self, SignedHeader), RestoreError> {
        if take::<16>(&mut input)? != *MAGIC {
            return Err(RestoreError::NotABackup);
        }
        let format = u32::from_le_bytes(take(&mut input)?);
        if format > FORMAT {
            return Err(RestoreError::NewerFormat(format));
        }
        if format != FORMAT {
            return Err(RestoreError::Damaged("its format is none"));
        }
        let length = u32::from_le_bytes(take(&mut input)?);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_HEADER_BYTES {
            return Err(RestoreError::Damaged("its header is too long"));
        }
        let mut bytes = vec![0; length];
        fill(&mut input, &mut bytes)?;
        let header: SignedHeader =
            wire::decode(&bytes).map_err(|_| RestoreError::Damaged("its header is malformed"))?;
        let reader = Self {
            input,
            link: header.header.digest(),
            files: 0,
        };
        Ok((reader, header))
    }

    /// The next thing. Nothing may come after the end.
    pub(super) fn next(&mut self) -> Result<Item, RestoreError> {
        match take::<1>(&mut self.input)? {
            [FILE] => {
                let length = usize::from(u16::from_le_bytes(take(&mut self.input)?));
                if length > MAX_NAME_BYTES {
                    return Err(RestoreError::Damaged("the name of a file is too long"));
                }
                let mut name = vec![0; length];
                fill(&mut self.input, &mut name)?;
                let name = String::from_utf8(name)
                    .map_err(|_| RestoreError::Damaged("the name of a file is no text"))?;
                let length = u64::from_le_bytes(take(&mut self.input)?);
                Ok(Item::File { name, length })
            }
            [END] => {
                let files = u64::from_le_bytes(take(&mut self.input)?);
                let signature = Signature(take(&mut self.input)?);
                if files != self.files {
                    return Err(RestoreError::Damaged("files are missing"));
                }
                let mut after = [0];
                match self.input.read(&mut after) {
                    Ok(0) => {}
                    Ok(_) => return Err(RestoreError::Damaged("bytes follow its end")),
                    Err(error) => return Err(unreadable(error)),
                }
                Ok(Item::End {
                    files,
                    link: self.link,
                    signature,
                })
            }
            _ => Err(RestoreError::Damaged("it holds what is no file")),
        }
    }

    /// The content of the file that began, in pieces.
    pub(super) fn content(
        &mut self,
        name: &str,
        length: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        let mut pieces = begin_file(&self.link, name, length);
        let mut left = length;
        let mut buffer = vec![0; PIECE];
        while left > 0 {
            let size = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
            let piece = buffer.get_mut(..size).unwrap_or_default();
            fill(&mut self.input, piece)?;
            pieces.push(piece);
            each(piece)?;
            left = left.saturating_sub(size as u64);
        }
        let link = pieces.end().map(quorate_model::Tagged::finish);
        let said = Digest::new(take(&mut self.input)?);
        if link != Some(said) {
            return Err(RestoreError::Damaged("a file does not match its hash"));
        }
        self.link = said;
        self.files = self.files.saturating_add(1);
        Ok(())
    }
}

fn take<const N: usize>(input: &mut impl Read) -> Result<[u8; N], RestoreError> {
    let mut bytes = [0; N];
    fill(input, &mut bytes)?;
    Ok(bytes)
}

fn fill(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), RestoreError> {
    input.read_exact(bytes).map_err(unreadable)
}

/// What age says of a file that is not as it was sealed, or what the disk says.
fn unreadable(error: io::Error) -> RestoreError {
    let kind = error.kind();
    if kind == io::ErrorKind::UnexpectedEof {
        RestoreError::Damaged("it ends early")
    } else if kind == io::ErrorKind::InvalidData {
        RestoreError::Damaged("its seal does not hold")
    } else {
        RestoreError::Read(error)
    }
}
