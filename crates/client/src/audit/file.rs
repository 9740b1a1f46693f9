//! The form of exported files: reading and writing, without judging what they say.

use std::io::{self, BufRead, Read as _, Write};

use quorate_model::{
    CommandId, Digest, NodeId,
    audit::{ChainError, MAX_RECORD_BYTES},
    certificate::KeyEvidence,
    operation::SignOutcome,
    wire::{self, WireError},
};
use serde::{Deserialize, Serialize};

use crate::command::Prepared;

/// The form of files that this version writes and reads.
const FORMAT: u32 = 1;

/// The longest line: a record in hex, and what stands around it.
const MAX_LINE_BYTES: u64 = 2 * MAX_RECORD_BYTES as u64 + 4096;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// The journal of one node.
    Journal,
    /// The signatures of one command with the receipts of the signers.
    Signatures,
    /// Evidence that a node broke the protocol.
    Evidence,
}

/// Why a file is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditFileError {
    /// Reading or writing goes wrong.
    #[error("read or write the audit file")]
    Io(#[from] io::Error),
    /// A line is none of an audit file.
    #[error("line {line} is no line of an audit file: {message}")]
    Malformed {
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        message: String,
    },
    /// Written by a version that this one does not know.
    #[error("the file has format {0}, this version reads format {FORMAT}")]
    UnknownFormat(u32),
    /// Exported from a cluster with another roster.
    #[error(
        "the file is for roster {found}, which is not known: roster {expected} is in force here, \
         fetch the rosters of the cluster with `quorate cluster export`"
    )]
    OtherRoster {
        /// The roster that the file names.
        found: Digest,
        /// The one in force here.
        expected: Digest,
    },
    /// From a node that no roster lists.
    #[error("node \"{0}\" is in no roster of the cluster")]
    UnknownNode(NodeId),
    /// The end is missing, or does not fit what stands before it.
    #[error("the file is cut or was put together: it has {found} records, its end says {stated}")]
    Cut {
        /// How many records there are.
        found: u64,
        /// What the end says.
        stated: String,
    },
    /// The chain does not hold.
    #[error("the chain of node \"{node}\" does not hold")]
    Chain {
        /// Whose chain.
        node: NodeId,
        /// Where and why.
        source: ChainError,
    },
    /// Something in the file does not hold by itself.
    #[error("{what} does not hold: {message}")]
    DoesNotHold {
        /// What.
        what: String,
        /// Why.
        message: String,
    },
    /// Two things that are signed contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// A structure that cannot be written.
    #[error("encode the file")]
    Unencodable(#[source] WireError),
}

impl AuditFileError {
    /// Whether the content is refused, and not the access to it.
    pub fn is_about_content(&self) -> bool {
        !matches!(self, Self::Io(_) | Self::Unencodable(_))
    }
}

/// The first line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) format: u32,
    pub(super) kind: FileKind,
    /// The hash of the roster in force.
    pub(super) roster: Digest,
    /// Whose journal it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<NodeId>,
    /// Which command the signatures belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) command: Option<CommandId>,
}

/// The last line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    pub(super) records: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Header(Header),
    Record(String),
    End(End),
}

fn write_line(out: &mut dyn Write, line: &Line) -> Result<(), AuditFileError> {
    serde_json::to_writer(&mut *out, line).map_err(io::Error::from)?;
    Ok(out.write_all(b"\n")?)
}

/// Writes the journal of a node as it arrives.
#[must_use = "a journal file is complete only after `finish`"]
pub struct JournalWriter<W> {
    out: W,
    records: u64,
}

impl<W: Write> JournalWriter<W> {
    /// Starts the file.
    pub fn new(mut out: W, roster: Digest, node: NodeId) -> Result<Self, AuditFileError> {
        let header = Header {
            format: FORMAT,
            kind: FileKind::Journal,
            roster,
            node: Some(node),
            command: None,
        };
        write_line(&mut out, &Line::Header(header))?;
        Ok(Self { out, records: 0 })
    }

    /// Adds the exact bytes of the next record.
    pub fn push(&mut self, record: &[u8]) -> Result<(), AuditFileError> {
        self.records = self.records.saturating_add(1);
        write_line(&mut self.out, &Line::Record(hex::encode(record)))
    }

    /// Ends the file and gives the writer back, with the number of records.
    pub fn finish(mut self) -> Result<(W, u64), AuditFileError> {
        write_line(
            &mut self.out,
            &Line::End(End {
                records: self.records,
            }),
        )?;
        self.out.flush()?;
        Ok((self.out, self.records))
    }
}

/// Writes the signatures of a command with the receipts of those who signed, and the command.
pub fn write_signatures(
    out: &mut dyn Write,
    roster: Digest,
    command: &Prepared,
    outcome: &SignOutcome,
) -> Result<(), AuditFileError> {
    let outcome = wire::encode(outcome).map_err(AuditFileError::Unencodable)?;
    let signed = wire::encode(command.signed()).map_err(AuditFileError::Unencodable)?;
    let header = Header {
        format: FORMAT,
        kind: FileKind::Signatures,
        roster,
        node: None,
        command: Some(command.id()),
    };
    write_all(out, header, [&outcome[..], &signed].into_iter())
}

/// Writes evidence against a node, in its encoded form. Evidence about a signature share is only
/// checked with what is known of the key in that epoch.
pub fn write_evidence(
    out: &mut dyn Write,
    roster: Digest,
    evidence: &[u8],
    key: Option<&KeyEvidence>,
) -> Result<(), AuditFileError> {
    let header = Header {
        format: FORMAT,
        kind: FileKind::Evidence,
        roster,
        node: None,
        command: None,
    };
    let mut parts = vec![evidence];
    if let Some(key) = key {
        parts.push(&key.certificate);
        parts.extend(key.proof.as_deref());
        // Its place says what it is.
        parts.extend(key.birth.as_deref().filter(|_| key.proof.is_some()));
    }
    write_all(out, header, parts.into_iter())
}

fn write_all<'a>(
    out: &mut dyn Write,
    header: Header,
    parts: impl Iterator<Item = &'a [u8]>,
) -> Result<(), AuditFileError> {
    write_line(out, &Line::Header(header))?;
    let mut records = 0_u64;
    for part in parts {
        write_line(out, &Line::Record(hex::encode(part)))?;
        records = records.saturating_add(1);
    }
    write_line(out, &Line::End(End { records }))?;
    Ok(out.flush()?)
}

/// Reads a file line by line.
pub(super) struct AuditFile<R> {
    input: R,
    line: u64,
    records: u64,
    ended: bool,
    pub(super) header: Header,
}

impl<R: BufRead> AuditFile<R> {
    /// Reads the header.
    pub(super) fn open(mut input: R) -> Result<Self, AuditFileError> {
        let first = read_line(&mut input, 1)?;
        let Some(Line::Header(header)) = first else {
            return Err(AuditFileError::Malformed {
                line: 1,
                message: "expected a header".to_owned(),
            });
        };
        if header.format != FORMAT {
            return Err(AuditFileError::UnknownFormat(header.format));
        }
        Ok(Self {
            input,
            line: 1,
            records: 0,
            ended: false,
            header,
        })
    }

    /// The bytes of the next record; none after a good end.
    pub(super) fn next_record(&mut self) -> Result<Option<Vec<u8>>, AuditFileError> {
        self.line = self.line.saturating_add(1);
        let line = self.line;
        let malformed = |message: &str| AuditFileError::Malformed {
            line,
            message: message.into(),
        };
        match read_line(&mut self.input, line)? {
            Some(_) if self.ended => Err(malformed("expected nothing after the end")),
            Some(Line::Record(text)) => {
                self.records = self.records.saturating_add(1);
                hex::decode(text)
                    .map(Some)
                    .map_err(|_| malformed("expected hex"))
            }
            Some(Line::End(End { records })) if records == self.records => {
                self.ended = true;
                self.next_record()
            }
            Some(Line::End(End { records })) => Err(AuditFileError::Cut {
                found: self.records,
                stated: records.to_string(),
            }),
            Some(Line::Header(_)) => Err(malformed("expected no second header")),
            None if self.ended => Ok(None),
            None => Err(AuditFileError::Cut {
                found: self.records,
                stated: "nothing".to_owned(),
            }),
        }
    }

    /// The records of a file that holds exactly so many.
    pub(super) fn records<const N: usize>(mut self) -> Result<[Vec<u8>; N], AuditFileError> {
        let mut records = Vec::with_capacity(N);
        while let Some(record) = self.next_record()? {
            records.push(record);
            if records.len() > N {
                break;
            }
        }
        records
            .try_into()
            .map_err(|records: Vec<_>| AuditFileError::Cut {
                found: u64::try_from(records.len()).unwrap_or(u64::MAX),
                stated: N.to_string(),
            })
    }
}

fn read_line(input: &mut impl BufRead, line: u64) -> Result<Option<Line>, AuditFileError> {
    let mut text = Vec::new();
    input.take(MAX_LINE_BYTES).read_until(b'\n', &mut text)?;
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| AuditFileError::Malformed {
            line,
            message: error.to_string(),
        })
}
