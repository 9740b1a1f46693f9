//! What a backup of a node says of itself (P36): its header and its end, both signed by the node.
//!
//! Anybody can seal a file to the public recipients of backups, so a backup is believed for the
//! node's signatures and for nothing else. The end is signed over a chain of hashes that begins
//! with the header and has one link for every file: a file that was changed, left out, added or
//! moved is noticed.

use serde::{Deserialize, Serialize};

use crate::{
    bytes::{Digest, public_bytes},
    identity::Signature,
    ids::{ClusterId, NodeId, UnixMillis},
    tagged::{Pieces, Tag, Tagged},
};

public_bytes! {
    /// The random id of one backup, 16 bytes.
    BackupId, 16
}

public_bytes! {
    /// The random id of one restoration of a backup, 16 bytes.
    RestoreId, 16
}

/// What stands at the beginning of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHeader {
    /// The node that made it.
    pub node: NodeId,
    /// The cluster of the node.
    pub cluster: ClusterId,
    /// The id of the backup; the node's journal records it.
    pub backup: BackupId,
    /// The node's time.
    pub time: UnixMillis,
    /// The last journal record in the backup: the one that says that it was made.
    pub sequence: u64,
    /// The hash of that record.
    pub head: Digest,
}

impl BackupHeader {
    /// What the node signs.
    pub fn digest(&self) -> Digest {
        Tagged::new(Tag::Backup)
            .text("header")
            .text(self.node.as_str())
            .digest(&self.cluster)
            .bytes(self.backup.as_bytes())
            .number(self.time.0)
            .number(self.sequence)
            .digest(&self.head)
            .finish()
    }
}

/// A header with the node's signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHeader {
    /// The header.
    pub header: BackupHeader,
    /// Over [`BackupHeader::digest`].
    pub signature: Signature,
}

/// Begins the hash of one file: a link that holds everything before it. The content follows in
/// pieces.
pub fn begin_file(previous: &Digest, path: &str, length: u64) -> Pieces {
    Tagged::new(Tag::Backup)
        .text("file")
        .digest(previous)
        .text(path)
        .pieces(length)
}

/// What the node signs at the end: how many files there are, and the link of the last one.
pub fn end_digest(files: u64, last: &Digest) -> Digest {
    Tagged::new(Tag::Backup)
        .text("end")
        .number(files)
        .digest(last)
        .finish()
}

/// The hash by which records name a recipient of a backup.
pub fn recipient_fingerprint(recipient: &str) -> Digest {
    Tagged::new(Tag::Backup)
        .text("recipient")
        .text(recipient)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_header_counts() {
        let header = BackupHeader {
            node: "node-a".parse().unwrap(),
            cluster: Digest::new([1; 32]),
            backup: BackupId([2; 16]),
            time: UnixMillis(3),
            sequence: 4,
            head: Digest::new([5; 32]),
        };
        let mut digests = std::collections::BTreeSet::from([header.digest()]);

        for change in [
            |h: &mut BackupHeader| h.node = "node-b".parse().unwrap(),
            |h: &mut BackupHeader| h.cluster = Digest::ZERO,
            |h: &mut BackupHeader| h.backup = BackupId([9; 16]),
            |h: &mut BackupHeader| h.time = UnixMillis(9),
            |h: &mut BackupHeader| h.sequence = 9,
            |h: &mut BackupHeader| h.head = Digest::ZERO,
        ] {
            let mut other = header.clone();
            change(&mut other);
            assert!(digests.insert(other.digest()));
        }
    }

    #[test]
    fn the_link_of_a_file_holds_its_name_its_content_and_what_came_before() {
        let link = |previous, path, content: &[u8]| {
            let mut file = begin_file(&previous, path, content.len() as u64);
            file.push(content);
            file.end().unwrap().finish()
        };
        let first = link(Digest::ZERO, "a", b"x");

        assert_ne!(first, link(Digest::new([1; 32]), "a", b"x"));
        assert_ne!(first, link(Digest::ZERO, "b", b"x"));
        assert_ne!(first, link(Digest::ZERO, "a", b"y"));
        assert_ne!(end_digest(1, &first), end_digest(2, &first));
    }
}
