//! Backups of a node (P35, P36): one file, sealed to the age recipients of those who keep it.
//!
//! ```text
//! age( magic, format, header, file..., end )
//!
//! header  node, cluster, backup id, time, journal sequence and head; signed
//! file    0x01, name, length, content, link: the hash of the link before, name and content
//! end     0x00, how many files; signed with the last link
//! ```
//!
//! Everything streams: neither side holds more than a piece of it in memory. What was sealed on the
//! node's disk stays sealed as it was, so whoever opens the file has opened no share: that takes
//! what unseals the node as well.
//!
//! Nothing of the file is believed before the signature at its end was checked, and a restored node
//! is not put in its place before.

mod archive;
mod error;
mod recipients;
mod restore;
mod write;

pub use age::x25519::Identity as AgeIdentity;
pub use error::{BackupError, RestoreError};
pub use recipients::{Recipients, read_identities};
pub use restore::{
    FoundKey, MARKER, Marker, Restoration, Restored, Usable, rehearse, restore, unseal,
};
pub use write::{Made, write};

/// The files of a node that stand alone, in the order in which a backup holds them. The roster
/// comes first: it says whose signatures count.
pub(crate) const PLAIN_FILES: [&str; 4] = ["roster.json", "card.json", "sealing", "identity"];

/// The name in a backup of the list of keys and their epochs. It is made for the backup, and is no
/// file of a node.
pub(crate) const EPOCHS: &str = "epochs";
