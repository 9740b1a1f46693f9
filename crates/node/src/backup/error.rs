//! Why a backup cannot be made or restored, for the person who tries.

use std::{io, path::PathBuf};

use quorate_model::Digest;
use quorate_proto::roster::ChainError;

use crate::{
    core::Fatal,
    disk::DiskError,
    journal::JournalError,
    sealing::{IdentityFileError, KekError},
    vault::VaultError,
};

use super::archive::FORMAT;

/// A backup that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A text that is no recipient.
    #[error(
        "\"{0}\" is no age recipient: expected the public key that `age-keygen` prints, which \
         begins with age1"
    )]
    NoRecipient(String),
    /// None, too many, or one twice.
    #[error("a backup is sealed to 1 to 16 different recipients, and {0} were given")]
    RecipientCount(usize),
    /// The node has forgotten too much.
    #[error(
        "the node is in quarantine after it was restored: make a backup when it is in service again"
    )]
    Quarantined,
    /// Shares of a destroyed key are being erased.
    #[error(
        "the node is erasing the shares of a key that was destroyed: try again in a moment, and \
         start the node again if it stays so"
    )]
    Destroying,
    /// The node's own files cannot be read.
    #[error("read the node's files")]
    Disk(#[from] DiskError),
    /// The node cannot record or read what the backup needs.
    #[error("record the backup")]
    Node(#[from] Fatal),
    /// The backup cannot be sealed.
    #[error("seal the backup")]
    Seal(#[source] age::EncryptError),
    /// Whoever takes the backup does not take it.
    #[error("write the backup")]
    Write(#[source] io::Error),
    /// A structure that cannot be encoded.
    #[error("the backup cannot be encoded")]
    Encode,
}

/// A backup that cannot be restored. Whatever the reason, nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The directory is in use.
    #[error(
        "directory {} is not empty: restore into one that does not exist or is empty; nothing was \
         changed",
        .0.display()
    )]
    NotEmpty(PathBuf),
    /// The directory cannot be made.
    #[error("make directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The age identity cannot be read.
    #[error("read age identity file {}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds no age identity.
    #[error(
        "{} holds no age identity: expected a file that `age-keygen` wrote, with a line that \
         begins with AGE-SECRET-KEY-1",
        .0.display()
    )]
    NoIdentity(PathBuf),
    /// The backup cannot be read.
    #[error("read the backup")]
    Read(#[source] io::Error),
    /// It is not an age file.
    #[error(
        "this is not a backup that `quorate-node backup` wrote, or its beginning is damaged: it is \
         not sealed with age"
    )]
    NotSealed,
    /// It is an age file of something else.
    #[error("this is not a backup of a node: it is an age file of something else")]
    NotABackup,
    /// It is sealed to others.
    #[error(
        "the age identity does not open this backup: it was sealed to other recipients; use the \
         identity of one of them"
    )]
    WrongIdentity,
    /// It is of a later version.
    #[error(
        "the backup has format {0}, and this version reads format {FORMAT}: restore it with the \
         version of quorate-node that made it, or a later one"
    )]
    NewerFormat(u32),
    /// It is not what was written.
    #[error(
        "the backup is damaged, was cut short or has something after its end ({0}): use another \
         copy of it"
    )]
    Damaged(&'static str),
    /// A file that no backup of a node has.
    #[error("the backup holds \"{0}\", which no node's directory has: it is not restored")]
    UnexpectedFile(String),
    /// The roster inside does not hold.
    #[error("the roster in the backup does not hold")]
    Roster(#[from] ChainError),
    /// The roster inside is another one than was confirmed.
    #[error(
        "the backup is of a cluster with roster {found}, and {expected} was asked for: this is a \
         backup of another cluster"
    )]
    OtherRoster {
        /// The hash of the roster inside.
        found: Digest,
        /// What was asked for.
        expected: Digest,
    },
    /// Somebody else made the backup.
    #[error(
        "the backup is not signed by a node of the roster in it: it was made by somebody else, and \
         is not restored"
    )]
    Forged,
    /// The passphrase or key file does not unseal the node.
    #[error("unseal the node of the backup")]
    Kek(#[from] KekError),
    /// The identity inside does not hold.
    #[error("open the identity in the backup")]
    NodeIdentity(#[from] IdentityFileError),
    /// The keyring inside does not hold.
    #[error("open the keyring in the backup")]
    Vault(#[from] VaultError),
    /// The journal inside does not hold.
    #[error("verify the journal in the backup")]
    Journal(#[from] JournalError),
    /// The journal inside is not the one that the header signs.
    #[error("the journal in the backup does not end where its header says")]
    OtherJournal,
    /// The new directory cannot be written.
    #[error("write the restored directory")]
    Disk(#[from] DiskError),
}
