//! The files of a journal: their names, their first frame, and the scan through all of them.

use quorate_model::{
    Digest, IdentityKey,
    audit::{ChainError, ChainPosition, ChainSummary, ChainVerifier, MAX_RECORD_BYTES, Record},
    audit::{Entry, record_hash},
};

use super::{
    JournalError,
    error::{Broken, BrokenFault},
};
use crate::{
    disk::{self, Disk, DiskError},
    frame::{self, Found, FrameReader},
};

pub(super) const DIRECTORY: &str = "journal";
const SUFFIX: &str = ".segment";
const MAGIC: &[u8; 16] = b"quorate-journal1";
const DIGITS: usize = 20;

/// How far apart the remembered places of a file are, in bytes: what a reader skips at the most.
const MARK_EVERY: u64 = 64 * 1024;

/// One file of the journal.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// The sequence of its first record.
    pub(super) first: u64,
    /// How many bytes it has.
    pub(super) length: u64,
    /// Sequences and where their frames begin, ascending.
    marks: Vec<(u64, u64)>,
}

impl Segment {
    pub(super) fn path(&self) -> String {
        path_of(self.first)
    }

    /// The file without its remembered places, cheap to hand out.
    pub(super) fn without_marks(&self) -> Self {
        Self {
            first: self.first,
            length: self.length,
            marks: Vec::new(),
        }
    }

    /// Remembers where a record begins, if it is far enough from the place before.
    pub(super) fn mark(&mut self, sequence: u64, offset: u64) {
        let far = self
            .marks
            .last()
            .is_none_or(|(_, last)| offset.saturating_sub(*last) >= MARK_EVERY);
        if far {
            self.marks.push((sequence, offset));
        }
    }

    /// The last remembered place at or before a record.
    pub(super) fn place_before(&self, sequence: u64) -> Option<(u64, u64)> {
        let after = self
            .marks
            .partition_point(|(marked, _)| *marked <= sequence);
        self.marks.get(after.checked_sub(1)?).copied()
    }
}

fn path_of(first: u64) -> String {
    format!("{DIRECTORY}/{first:0DIGITS$}{SUFFIX}")
}

/// Makes the file that begins with a record, such that a crash leaves all of it or nothing.
pub(super) fn create(disk: &dyn Disk, first: u64, previous: &Digest) -> Result<Segment, DiskError> {
    let mut body = MAGIC.to_vec();
    body.extend_from_slice(&first.to_le_bytes());
    body.extend_from_slice(previous.as_bytes());
    let mut bytes = Vec::new();
    frame::push(&mut bytes, &body, &record_hash(&body));
    disk::replace(disk, &path_of(first), &bytes)?;
    Ok(Segment {
        first,
        length: bytes.len() as u64,
        marks: Vec::new(),
    })
}

/// The first sequences of the files that are there, ascending. Files that were not put in place
/// before a crash are removed.
pub(super) fn list(disk: &dyn Disk) -> Result<Vec<u64>, JournalError> {
    let names = match disk.list(DIRECTORY) {
        Ok(names) => names,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(JournalError::Disk(error)),
    };
    let mut firsts = Vec::new();
    for name in names {
        if let Some(target) = name.strip_suffix(".tmp")
            && first_of(target).is_some()
        {
            disk.remove(&format!("{DIRECTORY}/{name}"))
                .map_err(JournalError::Disk)?;
            continue;
        }
        firsts.push(first_of(&name).ok_or(JournalError::Unexpected { name })?);
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Whether the only file of a journal is damaged or holds a record, torn ones aside: then it is not
/// what an interrupted set-up leaves.
pub(super) fn holds_more_than_a_header(disk: &dyn Disk, first: u64) -> Result<bool, JournalError> {
    let path = path_of(first);
    let mut reader = FrameReader::open(disk, &path, 0, MAX_RECORD_BYTES, record_hash)
        .map_err(JournalError::Disk)?;
    for _ in 0..2 {
        match reader.next().map_err(JournalError::Disk)? {
            Found::Frame { .. } => {}
            Found::End | Found::Torn(_) => return Ok(false),
            Found::Damaged(_) => return Ok(true),
        }
    }
    Ok(true)
}

/// Whether a path is one that a file of the journal has.
pub(crate) fn is_file_of_journal(path: &str) -> bool {
    let name = path.strip_prefix(DIRECTORY);
    name.and_then(|name| first_of(name.strip_prefix('/')?))
        .is_some()
}

fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// An unfinished record at the end of a journal: the write that a crash interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file.
    pub segment: String,
    /// Where the unfinished bytes begin.
    pub offset: u64,
    /// How many bytes there are.
    pub bytes: u64,
    /// The last record before them.
    pub after: u64,
}

impl std::fmt::Display for TornTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "cut {} bytes of an unfinished record after record {} from {}",
            self.bytes, self.after, self.segment
        )
    }
}

/// What a scan found.
pub(super) struct Scan {
    pub(super) segments: Vec<Segment>,
    pub(super) summary: ChainSummary,
    pub(super) torn: Option<TornTail>,
}

/// Reads every record of every file and checks the chain.
pub(super) fn scan(
    disk: &dyn Disk,
    firsts: &[u64],
    identity: &IdentityKey,
    visit: &mut dyn FnMut(&Record, &Digest),
) -> Result<Scan, JournalError> {
    let verifier = ChainVerifier::new(identity, ChainPosition::START)
        .map_err(|_| JournalError::Identity)?
        .newest_signature_only();
    let mut scanner = Scanner {
        disk,
        verifier,
        checkpoint: None,
        visit,
    };
    let mut segments = Vec::new();
    let mut torn = None;
    for (at, first) in firsts.iter().enumerate() {
        let (segment, tail) = scanner.segment(*first)?;
        if let Some(tail) = tail {
            if at.saturating_add(1) != firsts.len() {
                return Err(broken(
                    *first,
                    tail.offset,
                    tail.after,
                    BrokenFault::EndsEarly,
                ));
            }
            torn = Some(tail);
        }
        segments.push(segment);
    }
    let checkpoint = scanner.checkpoint;
    let summary = scanner
        .verifier
        .finish()
        .map_err(|ChainError { sequence, fault }| {
            let (first, offset) = checkpoint.unwrap_or_default();
            JournalError::from(Box::new(Broken {
                segment: path_of(first),
                offset,
                sequence,
                fault: BrokenFault::Chain(fault),
            }))
        })?;
    Ok(Scan {
        segments,
        summary,
        torn,
    })
}

struct Scanner<'a> {
    disk: &'a dyn Disk,
    verifier: ChainVerifier,
    /// The file and the place of the newest checkpoint.
    checkpoint: Option<(u64, u64)>,
    visit: &'a mut dyn FnMut(&Record, &Digest),
}

impl Scanner<'_> {
    /// Reads one file.
    fn segment(&mut self, first: u64) -> Result<(Segment, Option<TornTail>), JournalError> {
        let path = path_of(first);
        let before = self.verifier.head();
        if first != before.next_sequence() {
            let fault = BrokenFault::Gap {
                expected: before.next_sequence(),
            };
            return Err(broken(first, 0, before.sequence, fault));
        }
        let mut reader = FrameReader::open(self.disk, &path, 0, MAX_RECORD_BYTES, record_hash)
            .map_err(JournalError::Disk)?;
        self.header(&mut reader, first)?;
        let mut segment = Segment {
            first,
            length: 0,
            marks: Vec::new(),
        };
        loop {
            let offset = reader.position();
            segment.length = offset;
            let last = self.verifier.head().sequence;
            match reader.next().map_err(JournalError::Disk)? {
                Found::Frame { body, hash } => {
                    // The reader has computed this hash over the body.
                    let record = self.verifier.push_hashed(&body, hash).map_err(|error| {
                        broken(first, offset, last, BrokenFault::Chain(error.fault))
                    })?;
                    if let Entry::Checkpoint(_) = record.entry {
                        self.checkpoint = Some((first, offset));
                    }
                    segment.mark(record.sequence, offset);
                    (self.visit)(&record, &hash);
                }
                Found::End => return Ok((segment, None)),
                Found::Torn(bytes) => {
                    let torn = TornTail {
                        segment: path,
                        offset,
                        bytes,
                        after: last,
                    };
                    return Ok((segment, Some(torn)));
                }
                Found::Damaged(damage) => {
                    return Err(broken(first, offset, last, BrokenFault::Frame(damage)));
                }
            }
        }
    }

    /// Checks the first frame of a file. It is put in place whole, so that it is never torn.
    fn header(&self, reader: &mut FrameReader<'_>, first: u64) -> Result<(), JournalError> {
        let before = self.verifier.head();
        let fault = match reader.next().map_err(JournalError::Disk)? {
            Found::Frame { body, .. } => {
                let mut expected = MAGIC.to_vec();
                expected.extend_from_slice(&first.to_le_bytes());
                expected.extend_from_slice(before.hash.as_bytes());
                if body == expected {
                    return Ok(());
                }
                BrokenFault::Header
            }
            Found::Damaged(damage) => BrokenFault::Frame(damage),
            Found::End | Found::Torn(_) => BrokenFault::Header,
        };
        Err(broken(first, 0, before.sequence, fault))
    }
}

/// The error for the record after `last`.
pub(super) fn broken(first: u64, offset: u64, last: u64, fault: BrokenFault) -> JournalError {
    JournalError::from(Box::new(Broken {
        segment: path_of(first),
        offset,
        sequence: last.saturating_add(1),
        fault,
    }))
}
