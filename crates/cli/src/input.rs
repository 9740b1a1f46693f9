//! Files that people name: `-` is standard input, and a PSBT may be binary or base64.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use quorate_client::{
    model::{CommandId, payload::MAX_PAYLOAD_BYTES},
    profile::{self, Destination, directory_of},
};

use crate::{error::CliError, output};

/// The most that is read: a payload of the largest size in base64 with line ends.
const MAX_INPUT_BYTES: u64 = 2 * MAX_PAYLOAD_BYTES as u64;

/// How every binary PSBT starts.
const PSBT_MAGIC: &[u8] = b"psbt\xff";

/// Reads a file, or standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |source| CliError::File {
        action: "read",
        path: path.display().to_string(),
        source,
    };
    let mut bytes = Vec::new();
    let limit = MAX_INPUT_BYTES.saturating_add(1);
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(failed)?;
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        return Err(failed(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("expected at most {MAX_INPUT_BYTES} bytes"),
        )));
    }
    Ok(bytes)
}

/// Writes a file as a whole or not at all, to what is no regular file in its place, or to standard
/// output for `-`.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    if path == Path::new("-") {
        let mut out = io::stdout().lock();
        return io::Write::write_all(&mut out, bytes)
            .and_then(|()| io::Write::flush(&mut out))
            .map_err(CliError::Output);
    }
    Ok(profile::replace(path, bytes)?)
}

/// The same, and says where it went.
pub(crate) fn write_and_tell(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    write(path, bytes)?;
    if path != Path::new("-") {
        output::progress(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// Checks that a file can be written, by making one beside it: what is done for a result that finds
/// no place is done for nothing. Standard output always can, and devices and pipes are taken at their
/// word.
pub(crate) fn check_writable(path: &Path) -> Result<(), CliError> {
    if path == Path::new("-") {
        return Ok(());
    }
    let failed = |source| CliError::File {
        action: "write",
        path: path.display().to_string(),
        source,
    };
    let target = match Destination::of(path).map_err(failed)? {
        Destination::File(target) => target,
        // Whoever reads from a pipe would take a look at it for its end.
        Destination::InPlace(_) => return Ok(()),
    };
    tempfile::NamedTempFile::new_in(directory_of(&target))
        .map(drop)
        .map_err(failed)
}

/// Writes what a command came to. Where that fails although it was checked, as on a full disk, the
/// command is named, whose outcome is had again.
pub(crate) fn write_outcome(path: &Path, bytes: &[u8], id: CommandId) -> Result<(), CliError> {
    write_or_tell(path, bytes, id, output::progress)
}

fn write_or_tell(
    path: &Path,
    bytes: &[u8],
    id: CommandId,
    tell: impl FnOnce(&str),
) -> Result<(), CliError> {
    let written = write(path, bytes);
    if written.is_err() {
        tell(&format!(
            "what was signed is not lost: run this again with --command-id {id}"
        ));
    }
    written
}

/// The form in which a PSBT was given and goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PsbtForm {
    /// As BIP-174 defines it.
    Binary,
    /// In base64, with or without a line end.
    Base64 { line_end: bool },
}

impl PsbtForm {
    /// Takes a PSBT in either form. What is neither passes as it is, for the decoder to refuse.
    pub(crate) fn read(bytes: Vec<u8>) -> (Self, Vec<u8>) {
        if bytes.starts_with(PSBT_MAGIC) {
            return (Self::Binary, bytes);
        }
        let line_end = bytes.last() == Some(&b'\n');
        let text: Vec<u8> = bytes
            .iter()
            .copied()
            .filter(|b| !b.is_ascii_whitespace())
            .collect();
        match BASE64_STANDARD.decode(text) {
            Ok(decoded) if decoded.starts_with(PSBT_MAGIC) => (Self::Base64 { line_end }, decoded),
            _ => (Self::Binary, bytes),
        }
    }

    /// The bytes in the form.
    pub(crate) fn write(self, psbt: &[u8]) -> Vec<u8> {
        match self {
            Self::Binary => psbt.to_vec(),
            Self::Base64 { line_end } => {
                let mut text = BASE64_STANDARD.encode(psbt);
                if line_end {
                    text.push('\n');
                }
                text.into_bytes()
            }
        }
    }
}

/// Bytes that may be given as text: base64, or hex behind 0x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextForm {
    /// As they are.
    Binary,
    /// In hex behind 0x, with or without a line end.
    Hex { line_end: bool },
    /// In base64, with or without a line end.
    Base64 { line_end: bool },
}

impl TextForm {
    /// Takes bytes in any of the forms. A file that is no text, or no text of a form, passes as
    /// it is, for the decoder to refuse.
    pub(crate) fn read(bytes: Vec<u8>) -> (Self, Vec<u8>) {
        let line_end = bytes.last() == Some(&b'\n');
        let text: Vec<u8> = bytes
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let is_text = !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
        if !is_text {
            return (Self::Binary, bytes);
        }
        if let Some(digits) = text.strip_prefix(b"0x") {
            return match hex::decode(digits) {
                Ok(decoded) => (Self::Hex { line_end }, decoded),
                Err(_) => (Self::Binary, bytes),
            };
        }
        match BASE64_STANDARD.decode(&text) {
            Ok(decoded) => (Self::Base64 { line_end }, decoded),
            Err(_) => (Self::Binary, bytes),
        }
    }

    /// The bytes in the form.
    pub(crate) fn write(self, bytes: &[u8]) -> Vec<u8> {
        let (mut text, line_end) = match self {
            Self::Binary => return bytes.to_vec(),
            Self::Hex { line_end } => (format!("0x{}", hex::encode(bytes)), line_end),
            Self::Base64 { line_end } => (BASE64_STANDARD.encode(bytes), line_end),
        };
        if line_end {
            text.push('\n');
        }
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_as_they_are_in_hex_and_in_base64() {
        let binary = vec![1, 0, 1, 3, 0xff];
        for given in [
            &binary[..],
            b"0x01000103ff",
            b"0x01000103ff\n",
            b"AQABA/8=",
            b"AQAB\nA/8=\n",
        ] {
            let (form, read) = TextForm::read(given.to_vec());

            assert_eq!(read, binary);
            assert_eq!(TextForm::read(form.write(&read)), (form, read));
        }
        for given in [&b"0xabc"[..], b"", b"no form!"] {
            assert_eq!(TextForm::read(given.to_vec()).1, given);
        }
    }

    #[test]
    fn a_psbt_goes_back_in_the_form_in_which_it_came() {
        let binary = b"psbt\xff\x01\x02".to_vec();
        let base64 = BASE64_STANDARD.encode(&binary).into_bytes();
        let with_line_end = [base64.as_slice(), b"\n"].concat();

        for given in [binary.clone(), base64, with_line_end] {
            let (form, read) = PsbtForm::read(given.clone());

            assert_eq!(read, binary);
            assert_eq!(form.write(&read), given);
        }
    }

    #[test]
    fn what_is_no_psbt_passes_unchanged() {
        for given in [&b"garbage"[..], b"", b"Z2FyYmFnZQ=="] {
            let (form, read) = PsbtForm::read(given.to_vec());

            assert_eq!((form, read.as_slice()), (PsbtForm::Binary, given));
        }
    }

    #[test]
    fn a_file_that_is_too_large_or_absent_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large");
        fs::write(
            &large,
            vec![0; usize::try_from(MAX_INPUT_BYTES).unwrap() + 1],
        )
        .unwrap();

        assert!(read(&large).is_err());
        assert!(read(&dir.path().join("absent")).is_err());
    }

    #[test]
    fn what_has_no_place_is_refused_before_it_is_made_and_a_look_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("out.psbt");

        check_writable(&file).unwrap();
        check_writable(Path::new("-")).unwrap();
        fs::write(&file, "old").unwrap();
        check_writable(&file).unwrap();

        assert_eq!(fs::read(&file).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        for absent in [dir.path(), &dir.path().join("nowhere/x"), &file.join("x")] {
            let refused = check_writable(absent).unwrap_err();
            assert!(refused.to_string().starts_with("write "), "{refused}");
        }
    }

    #[test]
    fn an_outcome_that_cannot_be_written_is_an_error_and_its_command_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let id = CommandId(uuid::Uuid::from_u128(7));
        let outcome = |path: &Path| {
            let mut told = Vec::new();
            let written = write_or_tell(path, b"signed", id, |text| told.push(text.to_owned()));
            (written.is_ok(), told)
        };
        let out = dir.path().join("out.psbt");

        // The place that was there when it was looked at is gone.
        let (lost, told) = outcome(&dir.path().join("nowhere/out.psbt"));
        let written = outcome(&out);

        assert!(!lost);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(&format!("--command-id {id}")), "{told:?}");
        assert_eq!(written, (true, Vec::new()));
        assert_eq!(fs::read(&out).unwrap(), b"signed");
        assert!(write_outcome(&dir.path().join("nowhere/out.psbt"), b"signed", id).is_err());
    }

    #[test]
    fn a_written_file_replaces_the_old_one_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.psbt");
        fs::write(&path, "old").unwrap();

        write(&path, b"new").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
