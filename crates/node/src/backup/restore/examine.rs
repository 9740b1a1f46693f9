//! What of the shares in a restored directory is usable.

use quorate_model::{
    Epoch, KeyId, KeyName, KeyRecord, NodeId, certificate::CommitCertificate, roster::PinnedRoster,
};
use quorate_protocol::{frost::SigningKeyShare, sharing::SigningShare};
use zeroize::Zeroizing;

use crate::{
    core::ledger::{self, KeyRow},
    disk::Disk,
    index::{Index, IndexError},
    vault::{Vault, VaultError},
};

const PAGE: usize = 256;

/// A key as the journal in a backup knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundKey {
    /// The key.
    pub key: KeyName,
    /// Its id, where the node held its certificate.
    pub id: Option<KeyId>,
    /// Its epoch in use at that time, or the highest one that was prepared.
    pub epoch: Epoch,
    /// What became of the share of that epoch.
    pub share: Usable,
}

/// Whether a share can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usable {
    /// It opens, and is the one of the certificate.
    Yes,
    /// It opens. There is no certificate to compare it with.
    Uncertified,
    /// The node held none of this epoch.
    NotHeld,
    /// The key was destroyed before the backup was made.
    Destroyed,
    /// It is there and is not the one of the certificate.
    DoesNotFit,
    /// It does not open, for this reason.
    No(String),
}

impl Usable {
    /// The name that programs read.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Yes => "usable",
            Self::Uncertified => "uncertified",
            Self::NotHeld => "not-held",
            Self::Destroyed => "destroyed",
            Self::DoesNotFit => "does-not-fit",
            Self::No(_) => "unreadable",
        }
    }

    /// Whether nothing is lost.
    pub const fn is_good(&self) -> bool {
        matches!(
            self,
            Self::Yes | Self::Uncertified | Self::NotHeld | Self::Destroyed
        )
    }
}

impl std::fmt::Display for Usable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Yes => f.write_str("opens, and fits the certificate"),
            Self::Uncertified => f.write_str("opens; the key is not certified"),
            Self::NotHeld => f.write_str("none is held of this epoch"),
            Self::Destroyed => f.write_str("the key was destroyed"),
            Self::DoesNotFit => f.write_str("opens, and does not fit the certificate"),
            Self::No(why) => write!(f, "does not open: {why}"),
        }
    }
}

/// Looks at the share of every key.
pub(super) fn keys<D: Disk>(
    index: &dyn Index,
    vault: &Vault<D>,
    pinned: &PinnedRoster,
    node: &NodeId,
) -> Result<Vec<FoundKey>, IndexError> {
    let mut found: Vec<FoundKey> = Vec::new();
    loop {
        let after = found.last().map(|found| &found.key);
        let page = ledger::keys_after(index, after, PAGE)?;
        if page.is_empty() {
            return Ok(found);
        }
        for (key, row) in page {
            let ended = ledger::destruction(index, &key)?;
            let is_destroyed = ended.is_some_and(|row| row.tombstone.is_some());
            let share = if is_destroyed {
                Usable::Destroyed
            } else {
                usable(vault, pinned, node, &key, &row)
            };
            found.push(FoundKey {
                id: row.origin().and_then(id_of),
                epoch: row.epoch(),
                share,
                key,
            });
        }
    }
}

fn id_of(birth: &[u8]) -> Option<KeyId> {
    let certificate = CommitCertificate::from_bytes(birth).ok()?;
    Some(KeyId::of(&certificate.command.digest()))
}

fn usable<D: Disk>(
    vault: &Vault<D>,
    pinned: &PinnedRoster,
    node: &NodeId,
    key: &KeyName,
    row: &KeyRow,
) -> Usable {
    let record = row.current().map(|current| {
        let birth = row.birth_of(current);
        quorate_proto::certificate::verify(&current.certificate, birth, pinned)
    });
    let record = match record {
        None => None,
        Some(Ok((_, record))) => Some(record),
        Some(Err(refusal)) => return Usable::No(refusal.to_string()),
    };
    let epoch = row.epoch();
    let holds = record.as_ref().map_or_else(
        || row.prepared.iter().any(|mark| mark.epoch == epoch),
        |record| record.index_of(node).is_some(),
    );
    if !holds {
        return Usable::NotHeld;
    }
    let stored = match vault.load(key, epoch) {
        Ok(stored) => stored,
        Err(error) => return Usable::No(chain(&error)),
    };
    let Some(record) = record else {
        return Usable::Uncertified;
    };
    match <[u8; 32]>::try_from(stored.secret.as_slice()).map(Zeroizing::new) {
        Ok(secret) if fits(&record, node, &SigningShare::from_bytes(*secret)) => Usable::Yes,
        _ => Usable::DoesNotFit,
    }
}

fn fits(record: &KeyRecord, node: &NodeId, share: &SigningShare) -> bool {
    let Some(me) = record.index_of(node) else {
        return false;
    };
    record.verifying_share(me).is_some_and(|verifying_share| {
        SigningKeyShare::new(
            record.scheme.proven_by(),
            me,
            record.threshold,
            share,
            &record.group_key,
            verifying_share,
        )
        .is_ok()
    })
}

fn chain(error: &VaultError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
