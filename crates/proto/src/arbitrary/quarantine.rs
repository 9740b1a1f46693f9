//! What nodes say to one that was restored.

use proptest::{array::uniform16, collection::vec, option, prelude::*};
use quorate_model::{
    backup::{BackupId, RestoreId},
    command::CommandBody,
    quarantine::{HeadsAttestation, KeyHead, Quarantine, ReadmitNode},
};

use super::{digest, epoch, named, nonce, signature, standing};

pub(super) fn quarantine() -> impl Strategy<Value = Quarantine> {
    let id = || uniform16(any::<u8>());
    (id(), id(), nonce()).prop_map(|(backup, restore, nonce)| Quarantine {
        backup: BackupId(backup),
        restore: RestoreId(restore),
        nonce,
    })
}

fn head() -> impl Strategy<Value = KeyHead> {
    (
        named(),
        epoch(),
        option::of(digest()),
        epoch(),
        standing(),
        any::<bool>(),
    )
        .prop_map(
            |(key, epoch, certificate, next_epoch, standing, destroyed)| KeyHead {
                key,
                epoch,
                certificate,
                next_epoch,
                standing,
                destroyed,
            },
        )
}

pub(super) fn heads() -> impl Strategy<Value = HeadsAttestation> {
    (
        (named(), named(), quarantine(), digest(), any::<bool>()),
        (
            option::of(named()),
            any::<bool>(),
            vec(head(), 0..3),
            signature(),
        ),
    )
        .prop_map(
            |(
                (node, about, quarantine, roster, is_quarantined),
                (after, is_last, heads, signature),
            )| {
                HeadsAttestation {
                    node,
                    about,
                    quarantine,
                    roster,
                    is_quarantined,
                    after,
                    is_last,
                    heads,
                    signature,
                }
            },
        )
}

pub(super) fn readmit_command() -> impl Strategy<Value = CommandBody> {
    let restore = any::<[u8; 16]>().prop_map(RestoreId);
    (named(), restore, vec(named(), 0..4), "[a-z]{1,20}").prop_map(
        |(node, restore, without, reason)| {
            CommandBody::ReadmitNode(ReadmitNode {
                node,
                restore,
                without,
                reason,
            })
        },
    )
}
