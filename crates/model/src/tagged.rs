//! Hashing of named, tagged structures (P2).
//!
//! A digest is SHA-256 over the tag and then each field, every one preceded by its length as a
//! big-endian 64-bit number. Bytes are never concatenated without their lengths, so two different
//! structures cannot have the same encoding (the TSSHOCK family of attacks).
//!
//! Computed by `ring`, which TLS needs anyway: on processors without instructions for SHA-256 it is
//! nearly twice as fast as `sha2`, and what nodes say to each other is hashed at every hop.

use ring::digest::{Context, SHA256};

use crate::bytes::Digest;

/// What a digest or a signature is for. No two purposes share a tag (P1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tag {
    /// The exact bytes of a command.
    Command,
    /// One principal's word on a command.
    Endorsement,
    /// A protocol message between nodes.
    Envelope,
    /// The exact bytes of a roster.
    Roster,
    /// A node's statement that its share of an epoch is durable.
    Prepared,
    /// The hash of a commit certificate.
    Commit,
    /// A statement that old epochs may be erased.
    Erase,
    /// A signature share leaving a node.
    Share,
    /// A batch of signing tickets.
    Ticket,
    /// A record or checkpoint of a journal.
    Audit,
    /// A node's acknowledgement of a change of state.
    Receipt,
    /// A proof-of-possession message.
    Pop,
    /// A beacon of a monitor.
    Beacon,
    /// The id of an interactive session.
    Session,
    /// A broadcast round as one participant saw it.
    Echo,
    /// A commitment to a package that is revealed later.
    Commitment,
    /// The challenge of a proof of knowledge.
    ProofOfKnowledge,
    /// The chain code of a key.
    ChainCode,
    /// A signing set: who signs with which commitments.
    SigningSet,
    /// The transcript of a ceremony.
    Transcript,
    /// The verifying shares of an epoch.
    VerifyingShares,
    /// A set of endorsements.
    EndorsementSet,
    /// A row of a node's index.
    IndexRow,
    /// A node's statement of its time.
    Time,
    /// A node's statement of where it stands.
    Status,
    /// The hedging of fresh randomness with a node secret.
    Hedge,
    /// What the two ends of a pairing have in common.
    Pairing,
    /// A node's statement of an address.
    Address,
    /// The header, the files and the end of a node's backup.
    Backup,
    /// What a node tells one that was restored.
    Heads,
}

impl Tag {
    /// The bytes that stand for the tag.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "quorate/v1/command",
            Self::Endorsement => "quorate/v1/endorsement",
            Self::Envelope => "quorate/v1/envelope",
            Self::Roster => "quorate/v1/roster",
            Self::Prepared => "quorate/v1/prepared",
            Self::Commit => "quorate/v1/commit",
            Self::Erase => "quorate/v1/erase",
            Self::Share => "quorate/v1/share",
            Self::Ticket => "quorate/v1/ticket",
            Self::Audit => "quorate/v1/audit",
            Self::Receipt => "quorate/v1/receipt",
            Self::Pop => "quorate/v1/pop",
            Self::Beacon => "quorate/v1/beacon",
            Self::Session => "quorate/v1/session",
            Self::Echo => "quorate/v1/echo",
            Self::Commitment => "quorate/v1/commitment",
            Self::ProofOfKnowledge => "quorate/v1/proof-of-knowledge",
            Self::ChainCode => "quorate/v1/chain-code",
            Self::SigningSet => "quorate/v1/signing-set",
            Self::Transcript => "quorate/v1/transcript",
            Self::VerifyingShares => "quorate/v1/verifying-shares",
            Self::EndorsementSet => "quorate/v1/endorsement-set",
            Self::IndexRow => "quorate/v1/index-row",
            Self::Time => "quorate/v1/time",
            Self::Status => "quorate/v1/status",
            Self::Hedge => "quorate/v1/hedge",
            Self::Pairing => "quorate/v1/pairing",
            Self::Address => "quorate/v1/address",
            Self::Backup => "quorate/v1/backup",
            Self::Heads => "quorate/v1/heads",
        }
    }
}

/// A structure that is being hashed: a tag, then fields in a fixed order.
#[must_use = "a tagged structure is hashed by `finish`"]
pub struct Tagged(Context);

impl Tagged {
    /// Starts the structure with its tag.
    pub fn new(tag: Tag) -> Self {
        Self(Context::new(&SHA256)).bytes(tag.as_str().as_bytes())
    }

    /// Adds a field of bytes.
    pub fn bytes(mut self, field: &[u8]) -> Self {
        self.0.update(&(field.len() as u64).to_be_bytes());
        self.0.update(field);
        self
    }

    /// Adds a field of text.
    pub fn text(self, field: &str) -> Self {
        self.bytes(field.as_bytes())
    }

    /// Adds a number, as eight big-endian bytes.
    pub fn number(self, field: u64) -> Self {
        self.bytes(&field.to_be_bytes())
    }

    /// Adds a digest.
    pub fn digest(self, field: &Digest) -> Self {
        self.bytes(field.as_bytes())
    }

    /// Adds a list: its length, then whatever `each` adds for every item in order.
    pub fn list<T>(self, items: &[T], mut each: impl FnMut(Self, &T) -> Self) -> Self {
        let mut tagged = self.number(items.len() as u64);
        for item in items {
            tagged = each(tagged, item);
        }
        tagged
    }

    /// Adds a field of a known length whose bytes come in pieces.
    pub fn pieces(mut self, length: u64) -> Pieces {
        self.0.update(&length.to_be_bytes());
        Pieces {
            tagged: self,
            left: Some(length),
        }
    }

    /// The digest of the whole structure.
    pub fn finish(self) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        Digest::new(digest)
    }
}

/// A field that is being added in pieces, because it is too large for memory.
#[must_use = "a field that comes in pieces is ended by `end`"]
pub struct Pieces {
    tagged: Tagged,
    /// How many bytes are still to come; none after too many have come.
    left: Option<u64>,
}

impl Pieces {
    /// Adds the next bytes of the field.
    pub fn push(&mut self, bytes: &[u8]) {
        self.left = self
            .left
            .and_then(|left| left.checked_sub(bytes.len() as u64));
        self.tagged.0.update(bytes);
    }

    /// The structure with the whole field; none unless exactly as many bytes came as were said.
    pub fn end(self) -> Option<Tagged> {
        (self.left == Some(0)).then_some(self.tagged)
    }
}

/// The digest of one field under a tag.
pub fn digest_of(tag: Tag, bytes: &[u8]) -> Digest {
    Tagged::new(tag).bytes(bytes).finish()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn moving_a_byte_between_fields_changes_the_digest() {
        let one = Tagged::new(Tag::Command).bytes(b"ab").bytes(b"c").finish();
        let other = Tagged::new(Tag::Command).bytes(b"a").bytes(b"bc").finish();

        assert_ne!(one, other);
        assert_ne!(
            one,
            Tagged::new(Tag::Roster).bytes(b"ab").bytes(b"c").finish()
        );
    }

    #[test]
    fn a_field_in_pieces_is_the_same_field_and_has_the_length_that_was_said() {
        let whole = Tagged::new(Tag::Backup).bytes(b"abc").text("d").finish();
        let pieces = |length, parts: &[&[u8]]| {
            let mut field = Tagged::new(Tag::Backup).pieces(length);
            for part in parts {
                field.push(part);
            }
            field.end().map(|tagged| tagged.text("d").finish())
        };

        assert_eq!(pieces(3, &[b"a", b"", b"bc"]), Some(whole));
        assert_eq!(pieces(3, &[b"ab"]), None);
        assert_eq!(pieces(3, &[b"abcd"]), None);
        assert_eq!(pieces(3, &[b"abcd", b""]), None);
    }

    /// By another library. The lengths are those at which padding and blocks end differently.
    #[test]
    fn the_encoding_is_lengths_and_bytes() {
        for length in (0..200).chain([4096, 100_003]) {
            let field: Vec<u8> = (0..=250).cycle().take(length).collect();
            let mut expected = Sha256::new();
            expected.update(18u64.to_be_bytes());
            expected.update(b"quorate/v1/command");
            expected.update((length as u64).to_be_bytes());
            expected.update(&field);

            assert_eq!(
                digest_of(Tag::Command, &field).as_bytes()[..],
                expected.finalize()[..],
                "{length}"
            );
        }
    }
}
