//! Rosters and what nodes say of them.

use proptest::{collection::vec, option, prelude::*};
use quorate_model::{
    NodeId,
    operation::{RosterOutcome, RosterView},
    roster::RosterReceipt,
};

use super::{digest, named, refusal, signature, signed_roster};

pub(super) fn roster_receipt() -> impl Strategy<Value = RosterReceipt> {
    (
        named::<NodeId>(),
        digest(),
        digest(),
        digest(),
        any::<u64>(),
        signature(),
    )
        .prop_map(
            |(node, roster, in_force, command, record, signature)| RosterReceipt {
                node,
                roster,
                in_force,
                command,
                record,
                signature,
            },
        )
}

pub(super) fn roster_outcome() -> impl Strategy<Value = RosterOutcome> {
    (
        any::<u32>(),
        digest(),
        vec(roster_receipt(), 0..3),
        vec((named::<NodeId>(), option::of(refusal())), 0..3),
    )
        .prop_map(|(version, roster, receipts, missing)| RosterOutcome {
            version,
            roster,
            receipts,
            missing,
        })
}

pub(crate) fn roster_view() -> impl Strategy<Value = RosterView> {
    (signed_roster(), vec(roster_receipt(), 0..3))
        .prop_map(|(file, receipts)| RosterView { file, receipts })
}
