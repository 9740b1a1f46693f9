//! Frames: how journal and keyring lay records one after another in a file, and how a torn end is
//! told from damage.
//!
//! ```text
//! ┌────────────┬─────────────┬──────────────┬───────────┬────────┐
//! │ length, 4  │ check, 8    │ body, length │ hash, 32  │ end, 1 │
//! └────────────┴─────────────┴──────────────┴───────────┴────────┘
//! ```
//!
//! The check covers the length, so that a flipped bit in a length cannot pass for an end of file:
//! a length is believed only when its check holds. The hash covers the body. The end is a constant
//! with several bits set.
//!
//! An append that a crash interrupted leaves a *prefix* of what was written, followed by nothing
//! or, on file systems that write lengths before data, by zeros up to the end of the file. That,
//! and only that, counts as torn. No flipped bit can look so: it does not shorten a file, and it
//! does not turn the end of a frame into zero. A hole in the middle of the last write is treated as
//! damage, because it cannot be told from the loss of something acknowledged.

use quorate_model::Digest;
use sha2::{Digest as _, Sha256};

use crate::disk::{Disk, DiskError};

const LENGTH: usize = 4;
const CHECK: usize = 8;
const HEADER: usize = LENGTH + CHECK;
const HASH: usize = 32;
const END: u8 = 0xa5;

/// How many bytes a frame has beside its body.
pub(crate) const OVERHEAD: usize = HEADER + HASH + 1;

/// How much of a file is read at a time.
const CHUNK: usize = 256 * 1024;

/// Adds a frame to a buffer.
pub(crate) fn push(buffer: &mut Vec<u8>, body: &[u8], hash: &Digest) {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    buffer.reserve(body.len().saturating_add(OVERHEAD));
    buffer.extend_from_slice(&length);
    buffer.extend_from_slice(&check_of(length));
    buffer.extend_from_slice(body);
    buffer.extend_from_slice(hash.as_bytes());
    buffer.push(END);
}

fn check_of(length: [u8; LENGTH]) -> [u8; CHECK] {
    let digest = Sha256::new()
        .chain_update(b"quorate/v1/frame")
        .chain_update(length)
        .finalize();
    let mut check = [0; CHECK];
    for (to, from) in check.iter_mut().zip(digest) {
        *to = from;
    }
    check
}

/// One thing found in a file of frames.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A frame whose hash holds.
    Frame {
        /// The body.
        body: Vec<u8>,
        /// Its hash.
        hash: Digest,
    },
    /// The file ends after the frame before.
    End,
    /// The file ends in an interrupted append: this many bytes of it.
    Torn(u64),
    /// The bytes are neither a frame nor an interrupted append.
    Damaged(Damage),
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The check over the length does not hold.
    #[error("its length does not match its check")]
    Length,
    /// The frame is larger than any can be.
    #[error("its length is larger than allowed")]
    TooLong,
    /// The hash over the body does not hold.
    #[error("its bytes do not match their hash")]
    Hash,
}

/// Reads the frames of one file in order.
pub(crate) struct FrameReader<'a> {
    disk: &'a dyn Disk,
    path: &'a str,
    limit: usize,
    hash: fn(&[u8]) -> Digest,
    length: u64,
    /// The offset in the file of the first byte in `buffer`.
    offset: u64,
    buffer: Vec<u8>,
    /// How many bytes of `buffer` belong to frames already returned.
    used: usize,
}

impl<'a> FrameReader<'a> {
    /// Reads from an offset; bodies larger than `limit` are damage.
    pub(crate) fn open(
        disk: &'a dyn Disk,
        path: &'a str,
        offset: u64,
        limit: usize,
        hash: fn(&[u8]) -> Digest,
    ) -> Result<Self, DiskError> {
        let length = disk.length(path)?;
        Ok(Self {
            disk,
            path,
            limit,
            hash,
            length,
            offset,
            buffer: Vec::new(),
            used: 0,
        })
    }

    /// The offset of the frame that [`Self::next`] looks at.
    pub(crate) fn position(&self) -> u64 {
        self.offset.saturating_add(self.used as u64)
    }

    /// The next frame, or how the file ends.
    pub(crate) fn next(&mut self) -> Result<Found, DiskError> {
        self.fill(HEADER)?;
        let rest = self.rest();
        if rest.is_empty() {
            return Ok(Found::End);
        }
        let Some((length, after)) = rest.split_first_chunk::<LENGTH>() else {
            return Ok(self.torn());
        };
        let Some(check) = after.first_chunk::<CHECK>() else {
            return Ok(self.torn());
        };
        if check_of(*length) != *check {
            return self.torn_header_or(Damage::Length);
        }
        let size = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if size > self.limit {
            return Ok(Found::Damaged(Damage::TooLong));
        }
        let whole = size.saturating_add(OVERHEAD);
        self.fill(whole)?;
        let Some(frame) = self.rest().get(..whole) else {
            return Ok(self.torn());
        };
        let Some((body, hash, end)) = split(frame) else {
            return Ok(self.torn());
        };
        let computed = (self.hash)(body);
        if computed != hash || end != END {
            let end_at = self
                .position()
                .saturating_add(whole as u64)
                .saturating_sub(1);
            if self.is_zero_from(end_at)? {
                return Ok(self.torn());
            }
            return Ok(Found::Damaged(Damage::Hash));
        }
        let body = body.to_vec();
        self.used = self.used.saturating_add(whole);
        Ok(Found::Frame { body, hash })
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }

    /// Reads on until `wanted` bytes lie ahead, or the file ends.
    fn fill(&mut self, wanted: usize) -> Result<(), DiskError> {
        if self.rest().len() >= wanted {
            return Ok(());
        }
        self.buffer.drain(..self.used.min(self.buffer.len()));
        self.offset = self.offset.saturating_add(self.used as u64);
        self.used = 0;
        while self.buffer.len() < wanted {
            let at = self.offset.saturating_add(self.buffer.len() as u64);
            let limit = CHUNK.max(wanted.saturating_sub(self.buffer.len()));
            let more = self.disk.read(self.path, at, limit)?;
            if more.is_empty() {
                break;
            }
            self.buffer.extend_from_slice(&more);
        }
        Ok(())
    }

    fn torn(&self) -> Found {
        Found::Torn(self.length.saturating_sub(self.position()))
    }

    /// A header that does not hold is torn if no whole frame fits behind it, or if zeros begin
    /// inside it and reach to the end of the file: every whole frame ends in a byte that is not
    /// zero.
    fn torn_header_or(&self, damage: Damage) -> Result<Found, DiskError> {
        let left = self.length.saturating_sub(self.position());
        let last_of_header = self
            .position()
            .saturating_add(HEADER as u64)
            .saturating_sub(1);
        if left < OVERHEAD as u64 || self.is_zero_from(last_of_header)? {
            return Ok(self.torn());
        }
        Ok(Found::Damaged(damage))
    }

    fn is_zero_from(&self, start: u64) -> Result<bool, DiskError> {
        let mut at = start;
        loop {
            let bytes = self.disk.read(self.path, at, CHUNK)?;
            if bytes.is_empty() {
                return Ok(true);
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at = at.saturating_add(bytes.len() as u64);
        }
    }
}

/// Body, hash and end of a frame.
fn split(frame: &[u8]) -> Option<(&[u8], Digest, u8)> {
    let (end, frame) = frame.get(HEADER..)?.split_last()?;
    let (body, hash) = frame.split_last_chunk::<HASH>()?;
    Some((body, Digest::new(*hash), *end))
}

#[cfg(test)]
mod tests {
    use quorate_model::audit::record_hash;

    use super::*;
    use crate::disk::MemoryDisk;

    const LIMIT: usize = 1000;

    #[test]
    fn frames_are_read_back_in_order() {
        let bodies = [vec![1; 10], vec![], vec![3; LIMIT]];

        let (found, end) = read(&file(&bodies));

        assert_eq!(found, bodies);
        assert_eq!(end, Found::End);
    }

    #[test]
    fn every_cut_is_torn_and_keeps_the_frames_before_it() {
        let whole = file(&[vec![1; 10], vec![2; 5]]);
        let first = 10 + OVERHEAD;
        for cut in 0..whole.len() {
            let (found, end) = read(&whole[..cut]);

            let kept = usize::from(cut >= first);
            let left = cut - kept * first;
            assert_eq!(found.len(), kept, "cut at {cut}");
            assert_eq!(
                end,
                if left == 0 {
                    Found::End
                } else {
                    Found::Torn(left as u64)
                }
            );
        }
    }

    #[test]
    fn every_cut_that_is_filled_with_zeros_is_torn() {
        let whole = file(&[vec![1; 10], vec![2; 5]]);
        let first = 10 + OVERHEAD;
        for cut in first..whole.len() {
            for zeros in 1..200 {
                let mut bytes = whole[..cut].to_vec();
                bytes.resize(cut + zeros, 0);

                let (found, end) = read(&bytes);

                assert_eq!(found.len(), 1);
                assert_eq!(
                    end,
                    Found::Torn((bytes.len() - first) as u64),
                    "{cut} + {zeros}"
                );
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_damage_and_never_torn() {
        let whole = file(&[vec![0; 10], vec![2; 5]]);
        for byte in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[byte] ^= 1 << bit;

                let (found, end) = read(&bytes);

                assert_eq!(found.len(), usize::from(byte >= 10 + OVERHEAD));
                assert!(
                    matches!(end, Found::Damaged(_)),
                    "byte {byte} bit {bit}: {end:?}"
                );
            }
        }
    }

    #[test]
    fn the_bytes_of_this_format_stay_as_they_are() {
        assert_eq!(
            hex::encode(file(&[b"body".to_vec()])),
            "0400000092dbc3a70ad79b35626f647991d13b0564c01d085\
             5844dd980a3df4ef4e44baafe728e37e2278a8558de6811a5"
        );
    }

    #[test]
    fn a_length_above_the_limit_is_damage() {
        let (_, end) = read(&file(&[vec![1; LIMIT + 1]]));

        assert_eq!(end, Found::Damaged(Damage::TooLong));
    }

    fn file(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for body in bodies {
            push(&mut bytes, body, &record_hash(body));
        }
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Found) {
        let disk = MemoryDisk::new();
        disk.write("file", bytes).unwrap();
        let mut reader = FrameReader::open(&disk, "file", 0, LIMIT, record_hash).unwrap();
        let mut found = Vec::new();
        loop {
            match reader.next().unwrap() {
                Found::Frame { body, .. } => found.push(body),
                end @ (Found::End | Found::Torn(_) | Found::Damaged(_)) => return (found, end),
            }
        }
    }
}
